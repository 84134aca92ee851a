"""The whole matrix, played once for all tests on the distributed Airflow, and the option that writes it down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from airflow_provider_together.demo.airflow_stack import AirflowStack
from tests.e2e.kill_matrix.director import Director, Observed
from tests.e2e.kill_matrix.distributed import distributed_stack
from tests.e2e.kill_matrix.plan import ACTS, ROWS

_OPTION = "--write-kill-matrix"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; it is known where this folder is named on the command line."""
    parser.addoption(_OPTION, action="store_true", help="write the kill matrix into docs/evidence.md")


@pytest.fixture(scope="session")
def is_to_write(pytestconfig: pytest.Config) -> bool:
    """Whether the table is to be written instead of compared."""
    return bool(pytestconfig.getoption(_OPTION, default=False))


@pytest.fixture(scope="session")
def distributed() -> Iterator[AirflowStack]:
    """CeleryExecutor on PostgreSQL, with Redis, two triggerers and two workers."""
    with distributed_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def observed(distributed: AirflowStack) -> Mapping[str, Observed]:
    """What each row came to."""
    with Director(distributed, ROWS, name="kill_matrix") as director:
        for groups in ACTS:
            director.play(*groups)
        return director.observed()
