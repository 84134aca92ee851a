"""
A client of the few routes of Airflow's REST API that the demo and the tests need.

Separate, so that nobody else knows paths and JSON of Airflow. It talks to the one Airflow that was started
beside it, never through a proxy, and imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

#: Seconds for one request. The first ones are slow, since the server imports as it answers.
REQUEST_TIMEOUT = 30.0
_API = "/api/v2"
#: The components by their names in the health report, with the key of the time of their last sign of life.
_HEARTBEATS = {
    "scheduler": "latest_scheduler_heartbeat",
    "triggerer": "latest_triggerer_heartbeat",
    "dag_processor": "latest_dag_processor_heartbeat",
}


class AirflowAPIError(Exception):
    """
    Airflow's API refused a request.

    :param status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class AirflowUnavailableError(AirflowAPIError):
    """Airflow's API failed (5xx), as it does for a moment when its database is busy. Asking again may help."""


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run, by its ids."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"{_API}/dags/{_quoted(self.dag_id)}/dagRuns/{_quoted(self.run_id)}"


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """
    A task of a run, as it is now.

    :param state: Airflow's word; ``none`` before the scheduler has looked at it.
    :param started: of the present try.
    :param pid: process of the task itself; its parent supervises it.
    """

    task_id: str
    map_index: int
    state: str
    try_number: int
    operator: str
    started: datetime | None
    ended: datetime | None
    pid: int | None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Take it from an answer."""
        return cls(
            task_id=data["task_id"],
            map_index=data["map_index"],
            state=data["state"] or "none",
            try_number=data["try_number"],
            operator=data.get("operator_name") or data.get("operator") or "",
            started=_time(data["start_date"]),
            ended=_time(data["end_date"]),
            pid=data["pid"],
        )

    def seconds(self, now: datetime) -> float | None:
        """Return how long the present try has taken, waiting included; None before it has begun."""
        # Airflow's own duration counts the time before a deferral twice in some versions.
        return None if self.started is None else ((self.ended or now) - self.started).total_seconds()

    @property
    def name(self) -> str:
        """Its id, with the index of a mapped one: ``train[2]``."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class AirflowAPI:
    """
    Client of one Airflow.

    Every method raises :class:`AirflowAPIError` if Airflow refuses, and :class:`httpx.HTTPError` if it does not
    answer.

    :param base_url: of the api-server.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=REQUEST_TIMEOUT)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def log_in(self) -> None:
        """Get a token, as everybody may where all are admins."""
        token = self._json("GET", "/auth/token")["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def heartbeats(self) -> dict[str, float]:
        """Return the healthy components with the epoch seconds of their last sign of life."""
        health = self._json("GET", f"{_API}/monitor/health")
        return {
            name.replace("_", "-"): datetime.fromisoformat(report[key]).timestamp()
            for name, key in _HEARTBEATS.items()
            if (report := health.get(name) or {}).get("status") == "healthy" and report.get(key)
        }

    def dag_ids(self) -> list[str]:
        """Return the ids of all DAGs that the DAG processor has read."""
        return [dag["dag_id"] for dag in self._json("GET", f"{_API}/dags")["dags"]]

    def import_errors(self) -> list[str]:
        """Return the traceback of each DAG file that cannot be imported."""
        answer = self._json("GET", f"{_API}/importErrors")
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in answer["import_errors"]]

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause a DAG, or let it go on."""
        self._json("PATCH", f"{_API}/dags/{_quoted(dag_id)}", json={"is_paused": is_paused})

    def trigger(self, dag_id: str, *, conf: Mapping[str, Any] | None = None) -> Run:
        """Start a run of a DAG."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        answer = self._json("POST", f"{_API}/dags/{_quoted(dag_id)}/dagRuns", json=body)
        return Run(dag_id, answer["dag_run_id"])

    def run_state(self, run: Run) -> str:
        """Return ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self._json("GET", run.path)["state"])

    def set_run_state(self, run: Run, state: str) -> None:
        """Mark a run as ``success`` or ``failed``, or set it to ``queued``."""
        self._json("PATCH", run.path, json={"state": state})

    def task_instances(self, run: Run) -> list[TaskInstance]:
        """Return the tasks of a run, as they are now."""
        answer = self._json("GET", f"{run.path}/taskInstances", params={"limit": 100})
        return [TaskInstance.read(data) for data in answer["task_instances"]]

    def task_instance(self, run: Run, task_id: str, *, map_index: int = -1) -> TaskInstance:
        """Return one task of a run, as it is now."""
        return TaskInstance.read(self._json("GET", _task_path(run, task_id, map_index)))

    def set_task_state(self, run: Run, task_id: str, state: str, *, map_index: int = -1) -> None:
        """Mark a task as ``success``, ``failed`` or ``skipped``."""
        self._json("PATCH", _task_path(run, task_id, map_index), json={"new_state": state})

    def clear(self, run: Run, task_ids: Sequence[str], *, with_downstream: bool = False) -> list[str]:
        """Clear tasks, so that they run again; return the ids of those that were."""
        body = {
            "dry_run": False,
            "dag_run_id": run.run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "reset_dag_runs": True,
            "include_downstream": with_downstream,
        }
        answer = self._json("POST", f"{_API}/dags/{_quoted(run.dag_id)}/clearTaskInstances", json=body)
        return [data["task_id"] for data in answer["task_instances"]]

    def xcom(self, run: Run, task_id: str, *, key: str = "return_value", map_index: int = -1) -> Any:
        """Return a task's XCom; None if it has none of that key."""
        path = f"{_task_path(run, task_id, -1)}/xcomEntries/{_quoted(key)}"
        try:
            return self._json("GET", path, params={"map_index": map_index})["value"]
        except AirflowAPIError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def log(self, run: Run, task_id: str, *, try_number: int, map_index: int = -1) -> list[str]:
        """Return the messages that a try of a task has logged, with the traceback of an error."""
        path = f"{_task_path(run, task_id, -1)}/logs/{try_number}"
        answer = self._json("GET", path, params={"map_index": map_index, "full_content": True})
        return [line for message in answer["content"] for line in _log_lines(message)]

    def create_connection(self, conn_id: str, conn_type: str, **fields: Any) -> None:
        """Store a connection; ``fields`` are those of the API, such as ``host``, ``password``, ``extra``."""
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        self._json("POST", f"{_API}/connections", json=body)

    def test_connection(self, conn_id: str, conn_type: str, **fields: Any) -> tuple[bool, str]:
        """Test a connection as the button of the form does; return whether it works, and what was said."""
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        answer = self._json("POST", f"{_API}/connections/test", json=body)
        return answer["status"], answer["message"]

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of any other route below ``/api/v2``."""
        return self._json("GET", f"{_API}{path}", params=params)

    def ui(self, path: str, **params: Any) -> Any:
        """Return the JSON of a route below ``/ui``, which Airflow's own pages use and no version promises."""
        return self._json("GET", f"/ui{path}", params=params)

    def _json(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._http.request(method, path, **arguments)
        if response.is_error:
            message = f"Airflow answered {method} {path} with {response.status_code}: {response.text[:500]}"
            kind = AirflowUnavailableError if response.is_server_error else AirflowAPIError
            raise kind(message, status=response.status_code)
        return response.json()


def _task_path(run: Run, task_id: str, map_index: int) -> str:
    path = f"{run.path}/taskInstances/{_quoted(task_id)}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _log_lines(message: str | Mapping[str, Any]) -> list[str]:
    if isinstance(message, str):
        return message.splitlines()
    lines = str(message.get("event", "")).splitlines()
    for error in message.get("error_detail") or ():
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines
