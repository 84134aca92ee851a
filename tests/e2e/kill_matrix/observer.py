"""
What Airflow says about all runs of a matrix, in two requests.

Separate, so that forty rows that wait do not ask forty times: each round takes one picture, and every condition is
judged on it. It knows no row and changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from airflow_provider_together.demo.airflow_api import AirflowUnavailableError, Run, TaskInstance
from airflow_provider_together.demo.airflow_stack import AirflowStack

_MOST_ROWS = 1000


@dataclass(frozen=True)
class SeenTask:
    """
    A task as it was in the last picture.

    :param triggerer_id: the job of the triggerer that waits for it.
    """

    instance: TaskInstance
    triggerer_id: int | None


class Observer:
    """
    Takes pictures of one Airflow.

    :param stack: the Airflow.
    """

    def __init__(self, stack: AirflowStack) -> None:
        self._stack = stack
        self._runs: dict[Run, str] = {}
        self._tasks: dict[Run, dict[tuple[str, int], SeenTask]] = {}

    def refresh(self) -> None:
        """Take a new picture; that Airflow does not answer now leaves the old one."""
        with contextlib.suppress(httpx.TransportError, AirflowUnavailableError):
            runs = self._all("/dags/~/dagRuns", "dag_runs")
            tasks = self._all("/dags/~/dagRuns/~/taskInstances", "task_instances")
            self._runs = {_run_of(data): data["state"] for data in runs}
            self._tasks = {}
            for data in tasks:
                seen = _seen(data)
                key = (seen.instance.task_id, seen.instance.map_index)
                self._tasks.setdefault(_run_of(data), {})[key] = seen

    def run_state(self, run: Run) -> str | None:
        """Return the state of a run; None if there is no such run (any more)."""
        return self._runs.get(run)

    def tasks(self, run: Run) -> Mapping[tuple[str, int], SeenTask]:
        """Return the tasks of a run by task id and map index."""
        return self._tasks.get(run, {})

    def _all(self, path: str, key: str) -> list[dict[str, Any]]:
        """Return all rows, page by page: an Airflow need not grant large pages."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self._stack.api.get(path, limit=_MOST_ROWS, offset=len(found), order_by="id")
            found += answer[key]
            if not answer[key] or len(found) >= answer["total_entries"]:
                return found


def _seen(data: Mapping[str, Any]) -> SeenTask:
    trigger = data.get("trigger") or {}
    return SeenTask(TaskInstance.read(data), trigger.get("triggerer_id"))


def _run_of(data: Mapping[str, Any]) -> Run:
    return Run(data["dag_id"], data["dag_run_id"])
