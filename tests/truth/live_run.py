"""
A DAG run that can be cleared, marked and played on, in this process.

``dag.test()`` plays a run once, to its end. Here Airflow's own scheduling decides what comes next, its own API clears
and marks, and its own code runs the tasks, one at a time, as with a single slot: the one of the highest priority goes
first. Nothing is decided here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from airflow.sdk import DAG

from tests.support.dag_runs import serialize

#: More tasks than any run here has, tries included.
_MOST_STEPS = 200
_WAITING = frozenset({"up_for_retry", "up_for_reschedule"})


class LiveRun:
    """
    One run of a DAG.

    :param dag: the DAG, as a file would define it; it is written to the database.
    :param logical_date: of the run; None where runs do not depend on each other.
    """

    def __init__(self, dag: DAG, *, logical_date: str | None = None) -> None:
        self.dag = dag
        serialize(dag)
        _call("PATCH", f"/dags/{dag.dag_id}", json={"is_paused": False})
        answer = _call("POST", f"/dags/{dag.dag_id}/dagRuns", json={"logical_date": logical_date})
        self.run_id: str = answer["dag_run_id"]
        self.order: list[str] = []
        self._is_changed = False
        self._logical_date = logical_date

    @property
    def state(self) -> str:
        """The state of the run."""
        return str(_call("GET", self._path)["state"])

    @property
    def states(self) -> dict[str, str | None]:
        """The states of its tasks; of mapped ones with their index."""
        rows = _call("GET", f"{self._path}/taskInstances", params={"limit": 100})["task_instances"]
        return {_name(row["task_id"], row["map_index"]): row["state"] for row in rows}

    def play(self, *, stop_after: str = "", change: Callable[[str], DAG | None] = lambda _: None) -> LiveRun:
        """
        Let the scheduler's decisions be carried out until there is none left.

        :param stop_after: name of the task after which to stop.
        :param change: is told which task has just ended, and may return another version of the DAG.
        """
        for _ in range(_MOST_STEPS):
            name = self._step()
            if not name:
                return self
            self.order.append(name)
            if (changed := change(name)) is not None:
                self.dag, self._is_changed = changed, True
                serialize(changed)
            if name == stop_after:
                return self
        message = f"the run of {self.dag.dag_id} does not end: {self.order}"
        raise RuntimeError(message)

    def clear(self, *task_ids: str | tuple[str, int], **options: Any) -> LiveRun:
        """
        Clear tasks as the UI does.

        :param options: of the API: ``include_downstream``, ``only_failed``, ….
        """
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [list(task_id) if isinstance(task_id, tuple) else task_id for task_id in task_ids] or None,
            "only_failed": False,
            "reset_dag_runs": True,
            **options,
        }
        _call("POST", f"/dags/{self.dag.dag_id}/clearTaskInstances", json=body)
        return self

    def clear_run(self, *, only_failed: bool = False) -> LiveRun:
        """Clear the run as the UI does."""
        _call("POST", f"{self._path}/clear", json={"dry_run": False, "only_failed": only_failed})
        return self

    def mark(self, task_id: str, state: str) -> LiveRun:
        """Mark a task that does not run."""
        _call("PATCH", f"{self._path}/taskInstances/{task_id}", json={"new_state": state})
        return self

    def mark_run(self, state: str) -> LiveRun:
        """Mark the run."""
        _call("PATCH", self._path, json={"state": state})
        return self

    def backfill(self) -> LiveRun:
        """Let a backfill run its day again."""
        day = {"from_date": self._logical_date, "to_date": self._logical_date}
        _call("POST", "/backfills", json={"dag_id": self.dag.dag_id, **day, "reprocess_behavior": "completed"})
        return self

    @property
    def _path(self) -> str:
        return f"/dags/{self.dag.dag_id}/dagRuns/{self.run_id}"

    def _step(self) -> str:
        """Run the task that is next; return its name, or an empty text if there is none."""
        from airflow.models.dag_version import DagVersion
        from airflow.models.dagrun import DagRun
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            run: Any = session.scalar(
                select(DagRun).where(DagRun.dag_id == self.dag.dag_id, DagRun.run_id == self.run_id)
            )
            if run.state not in {"queued", "running"}:
                return ""
            run.state = "running"
            stored: Any = SerializedDagModel.get(self.dag.dag_id, session=session)
            run.dag = stored.dag
            if self._is_changed:
                version: Any = DagVersion.get_latest_version(self.dag.dag_id, session=session)
                run.verify_integrity(session=session, dag_version_id=version.id)
                self._is_changed = False
            ready = self._decide(run, session)
            waiting = [ti for ti in run.get_task_instances(session=session) if ti.state in _WAITING]
            if not ready and not waiting:
                return ""
            ti = min(ready or waiting, key=lambda one: (-one.priority_weight, one.task_id, one.map_index))
            if ti.state != "up_for_reschedule":
                ti.try_number += 1
            ti.state = "scheduled"
            session.commit()
            _run_task(ti=ti, task=self.dag.task_dict[ti.task_id], run_triggerer=True)
            return _name(ti.task_id, ti.map_index)

    @staticmethod
    def _decide(run: Any, session: Any) -> list[Any]:
        """Return what may run now; each decision not to run a task may lead to others."""
        while True:
            before = [ti.state for ti in run.get_task_instances(session=session)]
            ready, _ = run.update_state(session=session)
            session.flush()
            if ready or before == [ti.state for ti in run.get_task_instances(session=session)]:
                return list(ready)


def _name(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


@functools.cache
def _client() -> Any:
    """Return Airflow's api-server, in this process, for a user who may do everything."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    client = TestClient(create_app(apps="core"))
    client.headers["Authorization"] = f"Bearer {client.get('/auth/token').json()['access_token']}"
    return client


def _call(method: str, path: str, **arguments: Any) -> Any:
    answer = _client().request(method, f"/api/v2{path}", **arguments)
    if answer.is_error:
        message = f"{method} {path} answered {answer.status_code}: {answer.text}"
        raise RuntimeError(message)
    return answer.json()
