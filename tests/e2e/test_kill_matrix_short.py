"""A few rows of the kill matrix on the small Airflow: SQLite, LocalExecutor, one triggerer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from airflow_provider_together.demo.airflow_stack import AirflowStack
from tests.e2e.kill_matrix.checks import check
from tests.e2e.kill_matrix.director import Director, Group, Observed
from tests.e2e.kill_matrix.plan import SHORT
from tests.e2e.kill_matrix.row import Row

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def observed(stack: AirflowStack) -> Mapping[str, Observed]:
    """What each row came to."""
    with Director(stack, SHORT, name="kill_matrix") as director:
        director.play(Group(SHORT))
        return director.observed()


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.key)
def test_no_second_cluster_and_none_forgotten(row: Row, observed: Mapping[str, Observed]) -> None:
    check(row, observed[row.key])
