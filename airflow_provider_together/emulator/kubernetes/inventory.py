"""
What the Kubernetes side sees of the emulated cloud: the clusters that are up, their GPU workers, their volumes.

The only module here that reads the emulated cloud's state; what it returns are values. Times are simulated ones only
in here: everything else about Kubernetes runs in real time, since its processes do.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_together.emulator.catalog import GPUS_PER_NODE
from airflow_provider_together.emulator.model import Cluster
from airflow_provider_together.emulator.nodes import BOOT, boot_steps
from airflow_provider_together.emulator.state import World

_RUNNING = BOOT[-1][0]


@dataclass(frozen=True, kw_only=True)
class SharedVolume:
    """A shared volume; its data belong to its id, whichever cluster it is attached to."""

    volume_id: str
    name: str
    size_tib: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """
    A cluster that is up.

    :param nodes: host names of its GPU workers that run.
    """

    gpu_type: str
    gpus_per_node: int
    nodes: tuple[str, ...]
    volumes: tuple[SharedVolume, ...]


def take_inventory(world: World) -> dict[str, Inventory]:
    """Return every cluster that has a Kubernetes API now: from its first READY on, until its deletion is asked for."""
    with world.lock:
        now = world.clock.now()
        up = [one for one in world.all_clusters() if one.ready_at(now) is not None and not one.is_ending(now)]
        return {cluster.cluster_id: _inventory(world, cluster, now) for cluster in up}


def living_volumes(world: World) -> set[str]:
    """Return the ids of all shared volumes that are not gone."""
    with world.lock:
        return {volume.volume_id for volume in world.all_volumes() if not world.is_volume_gone(volume)}


def _inventory(world: World, cluster: Cluster, now: float) -> Inventory:
    present = [node for node in cluster.workers if node.exists(now)]
    volumes = [
        SharedVolume(volume_id=volume.volume_id, name=volume.name, size_tib=volume.size_tib)
        for volume in world.volumes_of(cluster)
        if volume.available_at <= now
    ]
    return Inventory(
        gpu_type=cluster.wish.gpu_type,
        gpus_per_node=GPUS_PER_NODE,
        nodes=tuple(node.host_name for node in present if boot_steps(node, now)[-1][0] == _RUNNING),
        volumes=tuple(volumes),
    )
