"""
What a row's script sees and does: its run, its clusters, its cloud.

Separate from the rows, so that each of them is a sentence with three lines under it. It judges on the observer's last
picture and on the emulator's own truth, and acts through Airflow's API or with signals.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_together.demo.airflow_api import Run, TaskInstance
from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import ClusterView, Emulator
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from tests.e2e.kill_matrix.observer import Observer
from tests.e2e.kill_matrix.row import Row, Script, Until
from tests.e2e.kill_matrix.shapes import MAPPED, RELEASES

#: Seconds without any request about a live cluster after which nobody is going to end it. The deletion that follows
#: the end of a deferred task begins with a look-up in the triggerer, which takes some seconds the first time.
QUIET = 30.0
_ACTIVE = frozenset({"queued", "running", "scheduled", "deferred", "restarting", "up_for_retry", "up_for_reschedule"})
_OVER = frozenset({"success", "failed", None})


class Scene:
    """
    One row while it happens.

    :param row: the row.
    :param cloud: the emulator behind its connection, at the speed of real time.
    """

    def __init__(self, row: Row, *, stack: AirflowStack, observer: Observer, cloud: Emulator) -> None:
        self.row = row
        self.stack = stack
        self.cloud = cloud
        self.is_struck = False
        self._observer = observer
        self._run: Run | None = None
        self._pids: set[int] = set()
        self._ready: set[str] = set()

    # --- looking ---

    @property
    def run(self) -> Run:
        """Its run, once it was started."""
        assert self._run is not None, "the run has not been started"
        return self._run

    @property
    def run_state(self) -> str | None:
        """The state of its run; None before it was started, and once it was deleted."""
        return None if self._run is None else self._observer.run_state(self._run)

    def tasks(self) -> list[TaskInstance]:
        """Its tasks; what processes they have is remembered."""
        found = [seen.instance for seen in self._observer.tasks(self._run).values()] if self._run else []
        self._pids |= {task.pid for task in found if task.pid and task.state == "running"}
        return found

    def state(self, task_id: str, map_index: int = -1) -> str:
        """The state of a task; ``none`` if there is none."""
        seen = self._observer.tasks(self.run).get((task_id, map_index))
        return "none" if seen is None else seen.instance.state

    def triggerer_of(self, task_id: str) -> int | None:
        """The job of the triggerer that waits for a task."""
        seen = self._observer.tasks(self.run).get((task_id, -1))
        return None if seen is None else seen.triggerer_id

    def clusters(self) -> list[ClusterView]:
        """All clusters that were ever made for this row."""
        clusters = self.cloud.clusters()
        return clusters if self.row.has_cloud else [c for c in clusters if self._is_ours(c)]

    def alive(self) -> list[ClusterView]:
        """Those that still cost money."""
        return [cluster for cluster in self.clusters() if cluster.alive]

    def has_logged(self, text: str) -> bool:
        """Whether a task of the run, or a triggerer for it, has logged a text."""
        logs = Path(self.stack.home, "logs").rglob(f"dag_id={self.row.key}/**/*.log*")
        return any(text in log.read_text(errors="replace") for log in logs)

    # --- waiting ---

    def until_state(self, task_id: str, *states: str) -> Script:
        """Wait until a task is in one of these states."""
        yield Until(f"{task_id} {' or '.join(states)}", lambda: self.state(task_id) in states)

    def until_watched(self, task_id: str, state: str) -> Script:
        """Wait until a task is in that state and somebody looks at the clusters: before, nobody hears of its end."""
        indexes = range(MAPPED) if self.row.shape.is_mapped else [-1]
        yield Until(
            f"{task_id} {state} and its cluster there",
            lambda: len(self.alive()) == len(indexes) and all(self.state(task_id, i) == state for i in indexes),
        )
        since = len(self.cloud.requests)
        is_looked_at = (
            partial(self._is_seen_by_triggerer, task_id) if state == "deferred" else partial(self._is_asked_for, since)
        )
        yield Until(f"{task_id} {state}, a look at its clusters", is_looked_at)

    def until_try(self, number: int, state: str) -> Script:
        """Wait until that try of the create is in that state, and looks at its cluster."""
        yield from self.until_task_try("create", number, state)
        yield from self.until_watched("create", state)

    def until_task_try(self, task_id: str, number: int, state: str) -> Script:
        """Wait until that try of a task is in that state."""
        yield Until(
            f"try {number} of {task_id} {state}",
            lambda: any((t.task_id, t.try_number, t.state) == (task_id, number, state) for t in self.tasks()),
        )

    def until_asked(self, route: str) -> Script:
        """Wait until a request of that kind waits for its answer; only in a cloud of the row's own."""
        yield Until(
            f"a {route} under way",
            lambda: any(record.route == route and record.status is None for record in self.cloud.requests),
        )

    def until_run_is(self, state: str | None) -> Script:
        """Wait for a state of the run; None for its deletion."""
        yield Until(f"the run {state}", lambda: self.run_state == state)

    def until_settled(self) -> Script:
        """Wait until Airflow has nothing more to do for this row."""
        yield Until("the run is over", lambda: self.run_state in _OVER and not self._active())
        yield Until("the clusters are left alone", self._is_quiet)

    def until_struck(self) -> Script:
        """Wait for the strike of the group: this row is at its stage."""
        yield Until("the strike", lambda: self.is_struck)

    # --- acting ---

    def start(self) -> None:
        """Start the run."""
        self.stack.api.set_paused(self.row.key, is_paused=False)
        self._run = self.stack.api.trigger(self.row.key)

    def make_ready(self) -> None:
        """Let the clusters be READY."""
        for cluster in self.alive():
            self.cloud.set_status(cluster.cluster_id, "READY")

    def make_new_ready(self) -> None:
        """Let those clusters be READY that have not been before."""
        for cluster in self.alive():
            if cluster.cluster_id not in self._ready:
                self._ready.add(cluster.cluster_id)
                self.cloud.set_status(cluster.cluster_id, "READY")

    def fail_clusters(self) -> None:
        """Let the clusters fail."""
        for cluster in self.alive():
            self.cloud.fail(cluster.cluster_id)

    def release(self) -> None:
        """Let the held work end."""
        folder = Path(self.stack.home, RELEASES)
        folder.mkdir(exist_ok=True)
        (folder / self.row.key).touch()

    def signal(self, task_id: str, signum: signal.Signals) -> None:
        """Send a signal to the process of a running task."""
        instance = self.stack.api.task_instance(self.run, task_id)
        assert instance.state == "running", instance
        assert instance.pid, instance
        os.kill(instance.pid, signum)

    def freeze(self, task_id: str) -> list[psutil.Process]:
        """Stop a running task and its supervisor, as a machine does that is out of breath; return both."""
        task = psutil.Process(self.stack.api.task_instance(self.run, task_id).pid)
        processes = [task.parent(), task]
        for process in processes:
            process.suspend()
        return processes

    def mark(self, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task as a user does."""
        self.stack.api.set_task_state(self.run, task_id, state, map_index=map_index)

    def mark_run(self, state: str) -> None:
        """Mark the run as a user does."""
        self.stack.api.set_run_state(self.run, state)

    def clear(self, task_id: str) -> None:
        """Clear a task as a user does."""
        self.stack.api.clear(self.run, [task_id])

    def delete_dag(self) -> None:
        """Delete the DAG with all its runs, as a user does."""
        with httpx.Client(base_url=self.stack.api.base_url, trust_env=False, timeout=30) as client:
            token = client.get("/auth/token").json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            client.delete(f"/api/v2/dags/{self.row.key}", headers=headers).raise_for_status()

    # --- judging ---

    def story(self) -> str:
        """What is known about the row, for messages."""
        tasks = ", ".join(f"{task.name} {task.state} (try {task.try_number})" for task in self.tasks())
        clusters = ", ".join(f"{c.cluster_id} {c.status} alive={c.alive}" for c in self.clusters())
        return f"run {self.run_state}; tasks: {tasks}; clusters: {clusters or 'none'}"

    def _active(self) -> list[TaskInstance]:
        return [task for task in self.tasks() if task.state in _ACTIVE]

    def _is_quiet(self) -> bool:
        alive = self.alive()
        if any(psutil.pid_exists(pid) for pid in self._pids) or any(c.status == "DELETING" for c in alive):
            return False
        last = max(self._requests_about(alive), default=0.0)
        return not alive or self.cloud.now() - max(last, self._over_since()) > QUIET

    def _over_since(self) -> float:
        """When its last task ended, in epoch seconds."""
        return max((task.ended.timestamp() for task in self.tasks() if task.ended), default=0.0)

    def _requests_about(self, clusters: list[ClusterView]) -> Iterator[float]:
        ids = tuple(cluster.cluster_id for cluster in clusters)
        return (record.at for record in self.cloud.requests if record.path.endswith(ids))

    def _is_asked_for(self, since: int) -> bool:
        """Whether each live cluster was asked for by itself since that request."""
        paths = [record.path for record in self.cloud.requests[since:] if record.route == "get_cluster"]
        alive = self.alive()
        return bool(alive) and all(any(path.endswith(c.cluster_id) for path in paths) for c in alive)

    def _is_seen_by_triggerer(self, task_id: str) -> bool:
        """
        Whether the triggerer that waits for a task now has told its log of each live cluster.

        The requests do not tell: a triggerer asks for the clusters of all rows at once.
        """
        waiting = [seen for (name, _), seen in self._observer.tasks(self.run).items() if name == task_id]
        folder = Path(self.stack.home, "logs")
        logs = [
            log.read_text(errors="replace")
            for seen in waiting
            for log in folder.rglob(
                f"dag_id={self.row.key}/**/task_id={task_id}/**/"
                f"attempt={seen.instance.try_number}.log.trigger.{seen.triggerer_id}.log*"
            )
        ]
        alive = self.alive()
        return bool(alive) and all(any(f"Cluster {c.cluster_id} is " in log for log in logs) for c in alive)

    def _is_ours(self, cluster: ClusterView) -> bool:
        """Whether a create of this run has made a cluster."""
        name = ClusterName.parse(cluster.cluster_name)
        if name is None or self._run is None:
            return False
        run, indexes = self._run, [-1, *range(MAPPED)]
        owners = [Owner(name.deployment, run.dag_id, run.run_id, "create", index) for index in indexes]
        return any(name.is_of(owner) for owner in owners)
