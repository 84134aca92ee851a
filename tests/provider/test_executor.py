"""The executor of the throw-away Airflow tells the end of a deferred task's process from the end of its next one."""

from __future__ import annotations

from multiprocessing import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey

from airflow_provider_together.demo.executor import CountingLocalExecutor

KEY = TaskInstanceKey("dag", "wait_until_ready", "run", 1, -1)


class WithoutWorkers(CountingLocalExecutor):
    """It sends, and nobody takes: the test itself says how processes have ended."""

    def start(self) -> None:
        self.activity_queue = SimpleQueue()
        self._unread_messages: Any = Counted()

    def _check_workers(self) -> None:
        """There are none."""

    def send(self, key: TaskInstanceKey) -> None:
        workload: Any = SimpleNamespace(key=key, ti=SimpleNamespace(key=key))
        self.queued_tasks[key] = workload
        self._process_workloads([workload])


class Counted:
    """Stands in for the shared counter of messages."""

    value = 0

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def executor() -> WithoutWorkers:
    executor = WithoutWorkers(parallelism=1)
    executor.start()
    return executor


def test_the_end_of_a_process_is_told(executor: WithoutWorkers) -> None:
    executor.send(KEY)
    executor.success(KEY)
    assert list(executor.get_event_buffer()) == [KEY]


def test_the_late_end_of_the_process_that_has_deferred_is_not_taken_for_the_end_of_the_next(
    executor: WithoutWorkers,
) -> None:
    executor.send(KEY)
    executor.send(KEY)
    executor.success(KEY)
    assert list(executor.get_event_buffer()) == []
    executor.success(KEY)
    assert list(executor.get_event_buffer()) == [KEY]


def test_two_tasks_are_counted_apart(executor: WithoutWorkers) -> None:
    other = KEY._replace(task_id="other")
    for key in (KEY, other):
        executor.send(key)
    executor.fail(other)
    assert list(executor.get_event_buffer()) == [other]
