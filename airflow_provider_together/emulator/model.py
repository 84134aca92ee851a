"""
What exists in the emulated cloud: clusters, their nodes, volumes; and what a request wishes for.

Each object is a record of what was decided and when; what is true at a moment is a method of ``now``
(simulated epoch seconds). Rules about several objects are in ``state.py``, spelling is in the dialects. It
imports only the phases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_together.emulator.lifecycle import Phase, Transition, before, first_time

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class VolumeWish:
    """A shared volume that a request asks for; ``size_tib`` in TiB."""

    name: str
    size_tib: int
    region: str
    project_id: str | None = None
    # None: nobody said. Together's documents contradict each other about what happens then.
    is_lifecycle_independent: bool | None = None
    cluster_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterWish:
    """
    A cluster that a request asks for, in the words of neither dialect.

    :param ends_at: end of a reservation, in epoch seconds.
    :param extras: fields that only the current API has, as they were sent; they are given back in its answers.
    """

    name: str
    region: str
    gpu_type: str
    num_gpus: int
    billing_type: str
    cluster_type: str = "KUBERNETES"
    nvidia_version_id: str | None = None
    cuda_version: str | None = None
    driver_version: str | None = None
    duration_days: int | None = None
    starts_at: float | None = None
    ends_at: float | None = None
    volume: VolumeWish | None = None
    volume_id: str | None = None
    project_id: str | None = None
    num_preemptible_gpus: int = 0
    has_tests: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Node:
    """A machine of a cluster; times in simulated epoch seconds."""

    node_id: str
    host_name: str
    born_at: float
    running_at: float
    removed_at: float | None = None

    def exists(self, now: float) -> bool:
        """Tell whether the node is there."""
        return self.born_at <= now and not self.is_removed(now)

    def is_removed(self, now: float) -> bool:
        """Tell whether the node was there and has been taken away."""
        return self.born_at <= now and self.removed_at is not None and self.removed_at <= now

    def hurry(self, now: float) -> None:
        """Let the node run by now."""
        self.born_at, self.running_at = min(self.born_at, now), min(self.running_at, now)


@dataclass(kw_only=True)
class Cluster:
    """
    A cluster, alive or gone.

    :param plan: its transitions, future ones included, without its end.
    :param holdings: since when it holds how many GPUs.
    :param ends_at: when it ends by itself, in simulated epoch seconds; None is never.
    :param deleted_at: when its deletion was asked for.
    :param word: shown as its status instead of the truth.
    """

    cluster_id: str
    wish: ClusterWish
    project_id: str
    software_id: str
    os: str
    cuda_version: str
    driver_version: str
    cluster_type: str
    num_gpus: int
    num_preemptible_gpus: int
    created_at: float
    starts_at: float
    delete_takes: float
    plan: list[Transition]
    extras: dict[str, Any]
    holdings: list[tuple[float, int]]
    ends_at: float | None = None
    deleted_at: float | None = None
    word: str | None = None
    control_plane: list[Node] = field(default_factory=list)
    workers: list[Node] = field(default_factory=list)

    def end_begins_at(self) -> float | None:
        """Return when it becomes DELETING, by request or by itself."""
        ends = [moment for moment in (self.deleted_at, self.ends_at) if moment is not None]
        return min(ends) if ends else None

    def gone_at(self) -> float | None:
        """Return when it is gone."""
        begins = self.end_begins_at()
        return None if begins is None else begins + self.delete_takes

    def is_gone(self, now: float) -> bool:
        """Tell whether it is gone."""
        gone_at = self.gone_at()
        return gone_at is not None and gone_at <= now

    def is_ending(self, now: float) -> bool:
        """Tell whether it is DELETING or gone."""
        begins = self.end_begins_at()
        return begins is not None and begins <= now

    def transitions(self, now: float) -> list[Transition]:
        """Return what has happened by now, in order."""
        begins = self.end_begins_at()
        if begins is None or begins > now:
            return before(self.plan, now)
        return [*before(self.plan, begins), Transition(Phase.DELETING, begins)]

    def phase(self, now: float) -> Phase:
        """Return the present phase."""
        return Phase.GONE if self.is_gone(now) else self.shown_phase(now)

    def shown_phase(self, now: float) -> Phase:
        """Return the present phase as a client may see it: what is gone was last seen DELETING."""
        return self.transitions(now)[-1].phase

    def ready_at(self, now: float) -> float | None:
        """Return when it became READY for the first time, if it did."""
        return first_time(self.transitions(now), Phase.READY)

    def gpus_held(self, now: float) -> int:
        """Return the number of GPUs that nobody else can have now."""
        return 0 if self.is_gone(now) else _latest(self.holdings, now)

    def gpu_hours(self, now: float) -> float:
        """
        Return the GPU-hours that are billed by now.

        Together says both that billing begins at the creation and that it begins at READY: this is the dearer.
        """
        gone_at = self.gone_at()
        until = now if gone_at is None else min(now, gone_at)
        steps = [(max(at, self.starts_at), gpus) for at, gpus in self.holdings]
        ends = [*(at for at, _ in steps[1:]), until]
        hours = ((min(end, until) - at) * gpus for (at, gpus), end in zip(steps, ends, strict=True) if at < until)
        return sum(hours) / _SECONDS_PER_HOUR


@dataclass(kw_only=True)
class Volume:
    """
    A shared volume; ``size_tib`` in TiB, times in simulated epoch seconds.

    :param cluster_id: the cluster that it is or was attached to.
    """

    volume_id: str
    name: str
    size_tib: int
    region: str
    project_id: str
    created_at: float
    available_at: float
    is_lifecycle_independent: bool | None = None
    cluster_id: str | None = None
    deleted_at: float | None = None


def _latest(holdings: list[tuple[float, int]], now: float) -> int:
    return next((gpus for at, gpus in reversed(holdings) if at <= now), 0)
