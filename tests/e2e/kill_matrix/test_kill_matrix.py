"""Every row of the kill matrix, on an Airflow as it is in production; the evidence page shows what was observed."""

from __future__ import annotations

from collections.abc import Mapping

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from airflow_provider_together.demo.airflow_stack import COMPONENTS, AirflowStack
from airflow_provider_together.demo.environment import LOOPBACK
from tests.e2e.kill_matrix import distributed as setting
from tests.e2e.kill_matrix.checks import check
from tests.e2e.kill_matrix.director import Observed
from tests.e2e.kill_matrix.plan import ROWS
from tests.e2e.kill_matrix.row import Row
from tests.e2e.kill_matrix.table import difference, table, write

pytestmark = pytest.mark.kill_matrix


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_no_second_cluster_and_none_forgotten(row: Row, observed: Mapping[str, Observed]) -> None:
    check(row, observed[row.key])


def test_only_loopback_is_listened_on(distributed: AirflowStack, observed: Mapping[str, Observed]) -> None:
    """After the rows, when everything has been restarted once."""
    del observed
    names = (*COMPONENTS, setting.WORKER, setting.DOOMED_WORKER, setting.SECOND_TRIGGERER)
    pids = [pid for name in names for pid in distributed.component(name).session()]
    listening = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {LOOPBACK}


def test_the_page_shows_what_was_observed(observed: Mapping[str, Observed], *, is_to_write: bool) -> None:
    markdown = table(ROWS, observed)
    if is_to_write:
        write(markdown)
    assert difference(markdown) == ""
