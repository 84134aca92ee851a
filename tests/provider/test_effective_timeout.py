"""How long a deferred wait may take: Airflow does not enforce ``execution_timeout`` meanwhile."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_together.runtime.deferral import effective_timeout

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("execution_timeout", "timeout", "hours_ago", "expected"),
    [
        (None, 7200, 5, 7200),
        (HOUR, 60, 0, 60),
        (2 * HOUR, 86400, 1, 3600),
        (HOUR, 86400, 5, 0),
    ],
)
def test_it_is_the_smaller_of_the_timeout_and_what_is_left_of_the_tasks(
    execution_timeout: timedelta | None, timeout: float, hours_ago: int, expected: float
) -> None:
    task = BaseOperator(task_id="wait", execution_timeout=execution_timeout)
    started = time.time() - hours_ago * HOUR.total_seconds()
    assert effective_timeout(task, timeout, started) == pytest.approx(expected, abs=30)
