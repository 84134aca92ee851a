"""
Clusters and volumes as the emulator's owner sees them: the truth, whatever a fault shows to clients.

Separate from the model, because these are values for tests and people, with names that stay. It imports the world
and its words.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_together.emulator.lifecycle import Phase
from airflow_provider_together.emulator.model import Cluster, Volume
from airflow_provider_together.emulator.state import World
from airflow_provider_together.emulator.words import older_status

_PAUSED = (Phase.PAUSED, Phase.ON_DEMAND_COMPUTE_PAUSED)


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """
    A cluster; times are simulated epoch seconds.

    :param status: one of PENDING, QUEUED, WAITING_CONTROL_PLANE, WAITING_DATA_PLANE, READY, DEGRADED, PAUSED, FAILED,
        DELETING, GONE.
    :param ready_at: when it became READY for the first time.
    :param deleted_at: when it was gone.
    :param gpu_hours: what is billed so far.
    :param alive: it still bills.
    """

    cluster_id: str
    cluster_name: str
    status: str
    num_gpus: int
    gpu_type: str
    region: str
    billing_type: str
    created_at: float
    ready_at: float | None
    deleted_at: float | None
    gpu_hours: float
    alive: bool


@dataclass(frozen=True, kw_only=True)
class VolumeView:
    """
    A shared volume.

    :param cluster_id: the cluster that it is attached to now; None for none.
    """

    volume_id: str
    volume_name: str
    size_tib: int
    region: str
    cluster_id: str | None
    alive: bool


def view_cluster(cluster: Cluster, *, now: float) -> ClusterView:
    """Return a cluster as its owner sees it at a moment, in simulated epoch seconds."""
    phase = cluster.phase(now)
    is_gone = phase is Phase.GONE
    return ClusterView(
        cluster_id=cluster.cluster_id,
        cluster_name=cluster.wish.name,
        status="PAUSED" if phase in _PAUSED else older_status(phase) or phase.value,
        num_gpus=cluster.num_gpus,
        gpu_type=cluster.wish.gpu_type,
        region=cluster.wish.region,
        billing_type=cluster.wish.billing_type,
        created_at=cluster.created_at,
        ready_at=cluster.ready_at(now),
        deleted_at=cluster.gone_at() if is_gone else None,
        gpu_hours=cluster.gpu_hours(now),
        alive=not is_gone,
    )


def view_volume(volume: Volume, *, world: World) -> VolumeView:
    """Return a volume as its owner sees it now."""
    holder = world.holder(volume)
    return VolumeView(
        volume_id=volume.volume_id,
        volume_name=volume.name,
        size_tib=volume.size_tib,
        region=volume.region,
        cluster_id=None if holder is None else holder.cluster_id,
        alive=not world.is_volume_gone(volume),
    )
