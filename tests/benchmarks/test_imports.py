"""
What a DAG file pays for its imports, on top of airflow.sdk: every parse of it, and every task, pays it again.

Ours are the operators, the sensor and the trigger together; the peer is the http provider's operator alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.processes import measured
from tests.benchmarks.report import Subject

_OURS = PEERS["ours"].modules
_SUBJECTS = [
    ("ours", "ours", _OURS),
    *((module.removeprefix("airflow_provider_together."), "ours", [module]) for module in _OURS),
    ("http operator", "http", ["airflow.providers.http.operators.http"]),
    ("databricks operators", "databricks", ["airflow.providers.databricks.operators.databricks"]),
]


@pytest.fixture(scope="module")
def table(new_subject: Callable[[Subject], Subject]) -> Subject:
    says = "CPU and wall milliseconds of an import on top of airflow.sdk, and the modules that it brings (medians)."
    return new_subject(Subject("Import cost", says, "ours", ("CPU ms", "modules")))


@pytest.mark.parametrize(("row", "name", "modules"), _SUBJECTS, ids=[row for row, _, _ in _SUBJECTS])
def test_importing(
    row: str,
    name: str,
    modules: list[str],
    installed: Callable[[str], Peer],
    request: pytest.FixtureRequest,
    table: Subject,
) -> None:
    installed(name)
    rounds = [measured("imports", limit=120, modules=modules) for _ in range(request.config.getoption("rounds"))]
    cpu, wall, new = (statistics.median(one[figure] for one in rounds) for figure in ("cpu", "wall", "modules"))
    table.add(row, {"CPU ms": 1e3 * cpu, "wall ms": 1e3 * wall, "modules": new})
