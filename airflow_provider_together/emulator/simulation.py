"""
The emulator without its server: the world, its faults, the record of requests, and what their owner may do.

Both ways to command an emulator, Python (``server.py``) and HTTP (``control.py``), come through here, so that
they cannot differ. No HTTP inside.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow_provider_together.emulator.clock import SimulatedClock
from airflow_provider_together.emulator.errors import UnknownResourceError
from airflow_provider_together.emulator.faults import Fault, FaultBook
from airflow_provider_together.emulator.lifecycle import Phase
from airflow_provider_together.emulator.model import Cluster
from airflow_provider_together.emulator.options import Options
from airflow_provider_together.emulator.state import World
from airflow_provider_together.emulator.view import ClusterView, VolumeView, view_cluster, view_volume
from airflow_provider_together.emulator.words import phase_of

#: Query parameters whose values are recorded; others might be secrets.
_SHOWN_PARAMETERS = ("projectId",)
#: So many requests are remembered, the latest ones: an emulator may serve for weeks.
_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """
    A request to either dialect, without its body and its key.

    :param at: simulated epoch seconds of its arrival.
    :param status: None while it is not answered, and for ever if the answer was lost by a fault.
    :param route: the operation, such as ``create_cluster``; None if there is no such path.
    """

    method: str
    path: str
    query: str
    dialect: str | None
    route: str | None
    at: float
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What has been billed, in GPU-hours of simulated time."""

    gpu_hours: float
    clusters: list[ClusterView]


class Simulation:
    """
    An emulated cloud under the eyes of its owner. Safe to use from several threads.

    :param options: how it is set up.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = SimulatedClock(speed=options.speed, epoch=options.epoch)
        self.world = World(options, clock=self.clock)
        self.faults = FaultBook(now=self.clock.now)
        self._lock = threading.Lock()
        self._requests: dict[int, RequestRecord] = {}
        self._numbers = itertools.count()

    def clusters(self) -> list[ClusterView]:
        """Return every cluster that there ever was, oldest first."""
        with self.world.lock:
            now = self.clock.now()
            return [view_cluster(cluster, now=now) for cluster in self.world.all_clusters()]

    def alive(self) -> list[ClusterView]:
        """Return the clusters that still bill: all that are not gone."""
        return [cluster for cluster in self.clusters() if cluster.alive]

    def volumes(self) -> list[VolumeView]:
        """Return every shared volume that there ever was, oldest first."""
        with self.world.lock:
            return [view_volume(volume, world=self.world) for volume in self.world.all_volumes()]

    def ledger(self) -> Ledger:
        """Return the GPU-hours billed, in all and by cluster."""
        clusters = self.clusters()
        return Ledger(gpu_hours=sum(cluster.gpu_hours for cluster in clusters), clusters=clusters)

    def set_status(self, cluster_id: str, word: str) -> None:
        """
        Put a cluster into the state that a status word of either dialect means; there it stays.

        DELETING begins an ordinary deletion. A word that neither dialect knows is shown as it is.

        :raises UnknownResourceError: if there is no such cluster.
        """
        with self.world.lock:
            cluster = self._cluster(cluster_id)
            phase = phase_of(word)
            if phase is None:
                cluster.word = word
            else:
                self.world.enter(cluster, phase)

    def fail(self, cluster_id: str, *, nccl: bool = False) -> None:
        """
        Let a cluster fail now.

        :param nccl: the NCCL tests fail instead of the other acceptance tests.
        :raises UnknownResourceError: if there is no such cluster.
        """
        with self.world.lock:
            phase = Phase.NCCL_TESTS_FAILED if nccl else Phase.ACCEPTANCE_TESTS_FAILED
            self.world.enter(self._cluster(cluster_id), phase)

    def advance(self, seconds: float) -> float:
        """
        Let simulated time pass at once.

        :param seconds: simulated seconds.
        :returns: the simulated time in epoch seconds.
        :raises ValueError: if time would go back.
        """
        return self.clock.advance(seconds)

    def inject(self, *faults: Fault) -> None:
        """Put faults in force, in this order."""
        for fault in faults:
            self.faults.inject(fault)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self.faults.clear()

    def reset(self) -> None:
        """Forget clusters, volumes, faults and requests. Simulated time goes on."""
        with self.world.lock:
            self.world.clear()
        self.clear_faults()
        with self._lock:
            self._requests.clear()

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests.values())

    def record(
        self, *, method: str, path: str, query: Iterable[tuple[str, str]], dialect: str | None, route: str | None
    ) -> int:
        """Record the arrival of a request; the result is its number, for :meth:`record_status`."""
        shown = "&".join(f"{name}={value if name in _SHOWN_PARAMETERS else '***'}" for name, value in query)
        now = self.clock.now()
        entry = RequestRecord(method=method, path=path, query=shown, dialect=dialect, route=route, at=now)
        with self._lock:
            number = next(self._numbers)
            self._requests[number] = entry
            self._requests.pop(number - _REMEMBERED, None)
            return number

    def record_status(self, number: int, status: int) -> None:
        """Record what a request is answered with."""
        with self._lock:
            # A reset may have come between.
            if number in self._requests:
                self._requests[number] = replace(self._requests[number], status=status)

    def _cluster(self, cluster_id: str) -> Cluster:
        cluster = self.world.any_cluster(cluster_id)
        if cluster is None or cluster.is_gone(self.clock.now()):
            message = f"cluster_id={cluster_id!r}: no such GPU cluster; clusters alive: {self._alive_ids()}"
            raise UnknownResourceError(message, param="cluster_id")
        return cluster

    def _alive_ids(self) -> str:
        return ", ".join(cluster.cluster_id for cluster in self.alive()) or "none"


def to_json(value: Any) -> Any:
    """Return a view, a record or a ledger as what JSON can hold."""
    return asdict(value)
