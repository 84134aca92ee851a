"""
Who acts in a history: tasks of two Airflows that share one Together project, their tries, sweeps, and strangers.

What Airflow does around the flows is here in its simplest form: a task's record outlives its tries, a retry is told
that it is one, a DAG run is over some time. What is recorded and what is not is the package's own code. What ought
to happen is not said here; that is ``rules.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow_provider_together.api.call import Flow
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.lifecycle.create import IfExists, create_or_adopt
from airflow_provider_together.lifecycle.delete import delete_and_prove
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.orphans import Finding, Standing, sweep
from airflow_provider_together.lifecycle.owner import Creation, Identity
from airflow_provider_together.runtime.memory import OwnerMemory
from airflow_provider_together.runtime.registry import Entry, Registry
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import Look
from tests.histories.cloud import EPOCH, GPU_TYPE, REGION, Cloud
from tests.histories.process import Process

#: Where a task's record is kept: in its own storage (Airflow 3.3 and later), or in the variables only.
MemoryKind = Literal["storage", "variables"]
MEMORIES: tuple[MemoryKind, ...] = ("storage", "variables")

#: The tasks of every history by their places: one, its neighbour, its double in the other Airflow, one with a name of
#: the user's own.
FIRST, NEIGHBOUR, DOUBLE, NAMED = range(4)
#: The place, among the names of strangers, of the one that a user has chosen for a cluster, too.
TAKEN_NAME = 0
#: A digit to Python, and to no DNS label.
ARABIC_ZERO = "\N{ARABIC-INDIC DIGIT ZERO}"
#: The two Airflows of every history.
DEPLOYMENTS = ("prod", "staging")
#: Seconds that a delete, or all deletions of a sweep, may take before they are given up.
PATIENCE = 3600.0


class Storage(dict[str, Any]):
    """A task's own storage."""

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        self[key] = value


class SharedVariables(dict[str, str]):
    """The variables of one Airflow."""

    def set(self, key: str, value: str, *, description: str) -> None:  # noqa: ARG002 - for people
        """Store a variable."""
        self[key] = value

    def delete(self, key: str) -> None:
        """Remove a variable."""
        self.pop(key, None)


@dataclass
class Task:
    """
    A task that makes a cluster: the owner, what it has recorded, and its tries.

    :param actor: who it is, in the cloud's books.
    :param registry: of its Airflow.
    :param storage: its own; None in an Airflow that has none.
    :param own_name: the user's own name for the cluster; None lets one be made.
    :param lifetime: how long its cluster may live.
    :param is_over: whether its work has ended and its cluster is not needed any more.
    :param cleared_tries: how many tries there were when it was cleared: what they came out with is void.
    """

    actor: str
    owner: Owner
    registry: Registry
    storage: Storage | None
    lifetime: timedelta | None = None
    own_name: str | None = None
    if_exists: IfExists = "adopt"
    tries: list[Process[Creation]] = field(default_factory=list)
    is_over: bool = False
    cleared_tries: int = 0

    def memory(self, *, now: Callable[[], float] = time.time) -> OwnerMemory:
        """Return what a try that begins now can remember; ``now`` tells the time, in epoch seconds."""
        entry = Entry.of(self.owner, keep_on_failure=False)
        return OwnerMemory(entry, store=self.storage, entries=self.registry, now=now)

    def identity(self) -> Identity:
        """Return how a try that begins now would know its cluster."""
        return Identity(owner=None if self.own_name else self.owner, is_retry=bool(self.tries))

    def new_name(self, now: float) -> str:
        """Return the name that a try would give its cluster, at a time in epoch seconds."""
        moment = datetime.fromtimestamp(now, UTC)
        return self.own_name or str(ClusterName.of(self.owner, now=moment, lifetime=self.lifetime))

    def works_with(self) -> str | None:
        """Return the cluster that the try to which Airflow listens, the newest, has come out with."""
        newest = self.tries[-1] if len(self.tries) > self.cleared_tries and not self.is_over else None
        return None if newest is None or newest.result is None else newest.result.cluster.cluster_id

    def has_open_request(self) -> bool:
        """Whether a try has asked, or was about to ask, for a cluster, and nobody knows what came of it."""
        return self.memory().recall().has_open_request

    def recorded_id(self) -> str | None:
        """Return the id that the task has on record."""
        return self.memory().recall().cluster_id


def owners() -> list[Owner]:
    """Return the owners of every history, in the order of their places."""
    first = Owner(DEPLOYMENTS[0], "train", "scheduled__2027-01-15", "create")
    return [
        first,
        replace(first, map_index=1),
        replace(first, deployment=DEPLOYMENTS[1]),
        replace(first, task_id="own"),
    ]


def strange_names() -> list[str]:
    """Return names that strangers choose: innocent ones, and ones that look like ours."""
    ours = str(ClusterName.of(owners()[0], now=datetime.fromtimestamp(EPOCH, UTC), lifetime=timedelta(days=1)))
    without_end = ours.rsplit("-", 1)[0]
    return [
        "train",
        "dev-box",
        "train ",
        "Train",
        "af-prod",
        ours[:-1],
        f"x{ours}",
        f"{ours} ",
        ours.upper(),
        ours.replace("-prod-", "-qa-"),
        ours.replace("-prod-", "-prod1-"),
        without_end,
        f"{without_end}-20270231t0000z",
        f"{without_end}-2027{ARABIC_ZERO}131t0000z",
    ]


class Scene:
    """
    One history under way.

    :param dialect_name: the wire API that everybody speaks.
    :param memory: where tasks keep their records.
    """

    def __init__(self, dialect_name: str, memory: MemoryKind) -> None:
        self.cloud = Cloud(dialect_name)
        self.registries = {deployment: Registry(SharedVariables()) for deployment in DEPLOYMENTS}
        self.processes: list[Process[Any]] = []
        self.strangers: list[str] = []
        #: Kinds of what has gone wrong so far.
        self.troubles: set[str] = set()
        self.tasks = [
            Task(actor, owner, self.registries[owner.deployment], Storage() if memory == "storage" else None, **what)
            for actor, owner, what in zip(("first", "neighbour", "double", "named"), owners(), _PLANS, strict=True)
        ]

    def running(self) -> list[Process[Any]]:
        """Return the processes that go on."""
        return [process for process in self.processes if not process.is_over]

    def start_create(self, task: Task) -> Process[Creation]:
        """Begin a try of a task."""
        spec = ClusterSpec.parse(
            {
                "region": REGION,
                "gpu_type": GPU_TYPE,
                "num_gpus": 8,
                "cluster_name": task.new_name(self.cloud.now()),
                "billing_type": "ON_DEMAND",
                "duration_days": 1,
                "driver_version": "CUDA_12_8_570",
            }
        )
        flow = create_or_adopt(
            self.cloud.dialect,
            spec,
            task.identity(),
            task.memory(now=self.cloud.now),
            if_exists=task.if_exists,
            visibility=DEFAULT_VISIBILITY,
            heal=task.owner.deployment,
        )
        process = self._start(task.actor, flow)
        task.tries.append(process)
        return process

    def start_delete(self, task: Task, cluster_id: str) -> Process[Look]:
        """Begin the teardown of a task's cluster."""
        now = self.cloud.now()
        wait = GoneWait(cluster_id, started=now, deadline=now + PATIENCE, poll_interval=15.0)
        return self._start(f"{task.actor}'s teardown", delete_and_prove(self.cloud.dialect, wait))

    def start_sweep(self, deployment: str) -> Process[list[Finding]]:
        """Begin a sweep of an Airflow."""

        def standing_of(name: ClusterName) -> Standing | None:
            return self._standing(name, deployment)

        flow = sweep(
            self.cloud.dialect, standing_of, deployment=deployment, delete=True, timeout=PATIENCE, poll_interval=15.0
        )
        return self._start(f"{deployment}'s sweep", flow)

    def _standing(self, name: ClusterName, deployment: str) -> Standing | None:
        entry = self.registries[deployment].entry_for(name)
        if entry is None:
            return None
        is_over = next(task.is_over for task in self.tasks if task.owner == entry.owner)
        return Standing("its run is over" if is_over else "its run goes on", is_over, entry.record.cluster_id)

    def _start(self, actor: str, flow: Flow[Any]) -> Process[Any]:
        process: Process[Any] = Process(actor, flow, cloud=self.cloud)
        self.processes.append(process)
        return process

    def run_all(self) -> None:
        """Let every process run to its end, always the one that is due first."""
        while running := self.running():
            min(running, key=lambda process: process.wakes_at).advance()


#: How the tasks differ, in the order of their owners.
_PLANS: list[dict[str, Any]] = [
    {"lifetime": timedelta(days=1)},
    {"lifetime": timedelta(minutes=20)},
    {"lifetime": timedelta(days=1)},
    {"own_name": "train", "if_exists": "fail"},
]
