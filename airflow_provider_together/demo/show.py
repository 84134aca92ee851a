"""
One run of a DAG on a stack that is up, shown while it goes on and judged at its end.

It is the loop between the real things (Airflow, clusters, screen) and the pure ones (view, report). Whether
the clusters are emulated or real makes no difference here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx

from airflow_provider_together.demo.airflow_api import AirflowUnavailableError, Run, TaskInstance
from airflow_provider_together.demo.airflow_stack import AirflowStack, StackError
from airflow_provider_together.demo.clusters import Clusters
from airflow_provider_together.demo.report import closing_table, shortcomings
from airflow_provider_together.demo.screen import Screen
from airflow_provider_together.demo.view import ClusterRow, Progress, Snapshot, status_line
from airflow_provider_together.exceptions import TransientError

_LOOK_INTERVAL = 0.4
#: Seconds that Airflow's API may be silent, as it may be on a busy machine.
_PATIENCE = 60.0
_TAIL = 25


class Show:
    """
    A run, watched.

    :param price_per_gpu_hour: None to say nothing about money.
    """

    def __init__(
        self, stack: AirflowStack, clusters: Clusters, screen: Screen, *, price_per_gpu_hour: float | None
    ) -> None:
        self._stack = stack
        self._clusters = clusters
        self._screen = screen
        self._price = price_per_gpu_hour
        self._progress = Progress()
        self._claimed: set[str] = set()
        self._moved: list[str] = []
        self._rows: list[ClusterRow] = []

    def play(self, dag_id: str, *, must_defer: str | None, timeout: float | None) -> bool:
        """
        Run a DAG, show it, and return whether everything happened that should.

        :param must_defer: the task that has to be seen waiting in the triggerer, if one has to.
        :param timeout: seconds; None waits as long as the run takes.
        :raises StackError: if Airflow dies, or time is over.
        """
        run = self._stack.start_run(dag_id)
        self._screen.line(f"DAG {dag_id}, run {run.run_id}")
        self._screen.line()
        snapshot = self._watch(run, timeout=timeout)
        self._screen.line()
        self._sum_up(run, snapshot)
        missing = shortcomings(snapshot, self._progress, must_defer=must_defer)
        for line in missing:
            self._screen.line(line)
        self._show_failure(run, snapshot)
        return not missing

    def _sum_up(self, run: Run, snapshot: Snapshot) -> None:
        table = closing_table(
            snapshot,
            results=self._results(run, snapshot),
            price_per_gpu_hour=self._price,
            is_simulated=self._clusters.is_simulated,
        )
        for line in [*table, ""]:
            self._screen.line(line)

    def _watch(self, run: Run, *, timeout: float | None) -> Snapshot:
        begun = heard = time.monotonic()
        while True:
            self._stack.check()
            now = time.monotonic()
            if timeout is not None and now - begun > timeout:
                message = f"the run takes more than {timeout:.0f} s"
                raise StackError(message)
            try:
                snapshot = self._look(run, elapsed=now - begun)
            except (httpx.TransportError, AirflowUnavailableError):
                if now - heard > _PATIENCE:
                    raise
            else:
                heard = now
                for line in self._progress.on_snapshot(snapshot):
                    self._screen.line(line)
                if snapshot.is_over:
                    return snapshot
                self._screen.status(status_line(snapshot))
            time.sleep(_LOOK_INTERVAL)

    def _look(self, run: Run, *, elapsed: float) -> Snapshot:
        # The run first: once it is over, nothing that is asked later changes any more.
        state = self._stack.api.run_state(run)
        tasks = self._stack.api.task_instances(run)
        for task in tasks:
            if task.operator == "CreateGPUClusterOperator":
                self._claim(run, task)
        return Snapshot(elapsed, datetime.now(UTC), state, tasks, self._cluster_rows(state, tasks))

    def _cluster_rows(self, state: str, tasks: Sequence[TaskInstance]) -> list[ClusterRow]:
        """Look at once when Airflow has moved, since a short work would hide a READY between two looks."""
        moved = [state, *(f"{task.name} {task.state}" for task in tasks)]
        with suppress(TransientError):
            self._rows = self._clusters.look(fresh=moved != self._moved)
            self._moved = moved
        return self._rows

    def _claim(self, run: Run, task: TaskInstance) -> None:
        """Count in the cluster that a task says it has made, whatever its name."""
        if task.name not in self._claimed:
            cluster_id = self._stack.api.xcom(run, task.task_id, key="cluster_id", map_index=task.map_index)
            if isinstance(cluster_id, str):
                self._clusters.claim(cluster_id)
                self._claimed.add(task.name)

    def _results(self, run: Run, snapshot: Snapshot) -> dict[str, Any]:
        return {
            task.name: self._stack.api.xcom(run, task.task_id, map_index=task.map_index)
            for task in snapshot.tasks
            if task.state == "success"
        }

    def _show_failure(self, run: Run, snapshot: Snapshot) -> None:
        """Print the end of the log of the first task that failed."""
        failed = [task for task in snapshot.tasks if task.state == "failed"]
        for task in failed[:1]:
            lines = self._stack.api.log(run, task.task_id, try_number=task.try_number, map_index=task.map_index)
            self._screen.line(f"--- the end of the log of {task.name}")
            for line in lines[-_TAIL:]:
                self._screen.line(f"    {line}")
