"""
What one deferred wait takes of a worker.

A worker's slot is taken twice: until the sensor defers, and when it is resumed; see :mod:`.deferral`. A cluster that
is READY already should not go through the triggerer at all, so what becomes of it is counted too.

The peers are ``HttpSensor`` and ``DatabricksSQLStatementsSensor``, the one deferrable sensor of the databricks
provider: like ours, both look once before they defer, and are given the id of what they wait for.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from tests.benchmarks.peers import Peer
from tests.benchmarks.processes import Control, measured
from tests.benchmarks.report import Subject

_LIMIT = 120.0
_WAITING, _READY = 1, 10


@pytest.fixture(scope="module")
def table(new_subject: Callable[[Subject], Subject]) -> Subject:
    says = "Milliseconds of a worker for one wait of a deferrable sensor (medians of fresh processes)."
    return new_subject(Subject("Sensor deferral", says, "ours", ("worker ms per wait", "CPU ms per wait")))


@pytest.mark.parametrize("name", ["ours", "http", "databricks"])
def test_a_sensor_defers_and_is_resumed(
    name: str, installed: Callable[[str], Peer], request: pytest.FixtureRequest, server: Control, table: Subject
) -> None:
    peer = installed(name)

    def medians(part: str, index: int) -> dict[str, Any]:
        rounds = [
            measured("deferral", port=server.port, limit=_LIMIT, peer=name, part=part, index=index)
            for _ in range(request.config.getoption("rounds"))
        ]
        return {figure: statistics.median(one[figure] for one in rounds) for figure in rounds[0]}

    defer, resume = medians("defer", _WAITING), medians("resume", _WAITING)
    asked = server.counters()["requests"]
    ready = measured("deferral", port=server.port, limit=_LIMIT, peer=name, part="look", index=_READY)
    asked = server.counters()["requests"] - asked
    shown = {
        "worker ms per wait": 1e3 * (defer["wall"] + resume["wall"]),
        "CPU ms per wait": 1e3 * (defer["cpu"] + resume["cpu"]),
        "until deferred ms": 1e3 * defer["wall"],
        "of it import CPU ms": 1e3 * defer["import_cpu"],
        "resumed ms": 1e3 * resume["wall"],
        "if READY already": f"{'defers' if ready['has_deferred'] else 'done'} after {asked:g} request",
        "version": peer.version,
    }
    table.add(name, shown)
    assert defer["has_deferred"]
    assert not resume["has_deferred"]
    if name == "ours":
        assert (ready["has_deferred"], asked) == (False, 1)
