"""
One emulated cloud, the one clock of a history, and the truth about who made and who deleted what.

The truth is the emulator's own, read where no fault can reach it; what an answer says is never believed here.
Separate from the processes, which know only what they are answered. It imports no flow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import httpx

from airflow_provider_together.api.answer import error_for_transport
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.dialects import dialect_class
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.emulator.model import Cluster, ClusterWish
from airflow_provider_together.emulator.options import Options
from airflow_provider_together.emulator.simulation import Simulation
from airflow_provider_together.exceptions import TogetherError
from tests.histories.wire import Wire

T = TypeVar("T")

#: When every history begins, in epoch seconds: 2027-01-15, 08:00 in UTC.
EPOCH = 1_800_000_000.0
REGION, GPU_TYPE = "us-central-8", "H100_SXM"


@dataclass(frozen=True)
class _Arrival:
    """A request that is still on its way although its sender has given up waiting: ``due`` in epoch seconds."""

    due: float
    call: Call[Any]
    actor: str


@dataclass
class Cloud:
    """
    The emulated cloud of one history.

    :param dialect_name: the wire API that is spoken.
    :param makers: cluster id to whoever's request made it.
    :param deletions: cluster id to whoever's request deleted it.
    :param late_posts: by how many seconds the next POSTs come late; their senders do not wait.
    """

    dialect_name: str
    makers: dict[str, str] = field(default_factory=dict)
    deletions: dict[str, str] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    late_posts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = Options(speed=0, epoch=EPOCH, seed=0, ready_after=120, delete_takes=40)
        self.simulation = Simulation(options)
        self.settings = Settings("http://127.0.0.1", options.api_key, dialect=self.dialect_name, retries=2)
        self.dialect = dialect_class(self.dialect_name)()
        self._wire = Wire(self.simulation, self.settings)
        self._arrivals: list[_Arrival] = []

    # --- time ---

    def now(self) -> float:
        """Return the time in epoch seconds."""
        return self.simulation.clock.now()

    def wait_until(self, moment: float) -> None:
        """Let time pass, and requests arrive that were late."""
        for arrival in sorted(self._arrivals, key=lambda each: each.due):
            if arrival.due <= moment:
                self._arrivals.remove(arrival)
                self._pass(arrival.due)
                self._observed(arrival.actor, partial(self._arrive, arrival))
        self._pass(moment)

    def catch_up(self) -> None:
        """Let time pass until no request is on its way any more."""
        self.wait_until(max((arrival.due for arrival in self._arrivals), default=self.now()))

    def _pass(self, moment: float) -> None:
        self.simulation.advance(max(0.0, moment - self.now()))

    # --- requests ---

    def send(self, call: Call[T], *, actor: str) -> T:
        """
        Send one request once, and take down whose it was.

        :raises TogetherError: as the package's client would raise it.
        """
        if call.method == "POST":
            self.posts.append(actor)
            if self.late_posts:
                self._arrivals.append(_Arrival(self.now() + self.late_posts.pop(0), call, actor))
                raise error_for_transport(call, httpx.ReadTimeout("the answer took too long"), self.settings)
        return self._observed(actor, lambda: self._wire.send(call))

    def _arrive(self, arrival: _Arrival) -> None:
        with contextlib.suppress(TogetherError):  # nobody hears of it
            self._wire.send(arrival.call)

    def _observed(self, actor: str, act: Callable[[], T]) -> T:
        """Do something, and compare the truth before and after."""
        known = {cluster.cluster_id for cluster in self.clusters()}
        ending = self._ending()
        try:
            return act()
        finally:
            self.makers.update({each.cluster_id: actor for each in self.clusters() if each.cluster_id not in known})
            self.deletions.update(dict.fromkeys(self._ending() - ending, actor))

    def _ending(self) -> set[str]:
        return {cluster.cluster_id for cluster in self.clusters() if cluster.deleted_at is not None}

    # --- the truth ---

    def clusters(self) -> list[Cluster]:
        """Return every cluster that there ever was, oldest first."""
        return self.simulation.world.all_clusters()

    def usable(self) -> list[Cluster]:
        """Return the clusters that go on billing, since nobody has asked for their deletion."""
        return [cluster for cluster in self.clusters() if not cluster.is_ending(self.now())]

    def make_by_hand(self, name: str, *, maker: str) -> str:
        """Make a cluster as somebody would who knows nothing of us; return its id."""
        wish = ClusterWish(name=name, region=REGION, gpu_type=GPU_TYPE, num_gpus=8, billing_type="ON_DEMAND")
        cluster_id = self.simulation.world.create_cluster(wish).cluster_id
        self.makers[cluster_id] = maker
        return cluster_id
