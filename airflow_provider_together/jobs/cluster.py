"""
What a GPU cluster offers to a training, and whether it can be trained on at all.

It reads what Together tells of the cluster, before anything is sent to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Ask
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.specs import GPUS_PER_NODE
from airflow_provider_together.api.wording import counted
from airflow_provider_together.exceptions import ClusterGoneError, ConfigurationError, SpecError

if TYPE_CHECKING:
    from airflow_provider_together.api.models import Cluster


def _is_for_the_driver() -> str:
    message = "the driver answers this question, since asking Together takes a client of its own"
    raise TypeError(message)


@dataclass(frozen=True, slots=True)
class ClusterQuestion(Ask[str]):
    """Asks Together whether the cluster is gone: the answer is the word that says so, or an empty one."""

    answer: Callable[[], str] = _is_for_the_driver


_LOST = frozenset({Phase.DELETING, Phase.GONE, Phase.FAILED})


def check_cluster(cluster: Cluster, *, shared_volume: str | None = None) -> None:
    """
    Refuse a cluster whose Kubernetes cannot be used.

    :param shared_volume: name of the volume to mount.
    :raises SpecError: if the cluster or the volume is the wrong one.
    :raises ClusterGoneError: if the cluster is no more.
    :raises ConfigurationError: if it has no kubeconfig yet.
    """
    name = f"cluster_id={cluster.cluster_id!r}"
    if cluster.cluster_type.upper() == "SLURM":
        raise SpecError([f"{name} is wrong: it is a SLURM cluster, and takes Slurm jobs; make one of type KUBERNETES"])
    if cluster.phase in _LOST:
        message = f"Cluster {cluster.cluster_id} cannot be trained on: it is {cluster.failure or cluster.status}"
        raise ClusterGoneError(message)
    if cluster.kubeconfig() is None:
        message = (
            f"cluster {cluster.cluster_id} has no kubeconfig yet (status {cluster.status or 'unknown'}): wait until it "
            "is READY before training on it"
        )
        raise ConfigurationError(message)
    names = [volume.volume_name for volume in cluster.volumes if volume.volume_name]
    if shared_volume is not None and names and shared_volume not in names:
        known = ", ".join(repr(one) for one in names)
        raise SpecError([f"shared_volume={shared_volume!r} is wrong: attached to the cluster are {known}"])


def gpus_of_node(cluster: Cluster) -> int:
    """Return the GPUs of one node, the largest where they differ; what is usual where Together tells none."""
    counts = [node.num_gpus for node in cluster.gpu_worker_nodes if node.num_gpus]
    return max(counts, default=GPUS_PER_NODE)


def check_alike(cluster: Cluster) -> None:
    """
    Refuse to choose where one node has come up with fewer GPUs than the others: all ranks ask for as many.

    :raises SpecError: naming the nodes that have fewer.
    """
    most = gpus_of_node(cluster)
    small = [node for node in cluster.gpu_worker_nodes if node.num_gpus and node.num_gpus < most]
    if not small:
        return
    listed = ", ".join(f"{node.node_name or node.host_name or node.node_id} has {node.num_gpus}" for node in small)
    least = min(node.num_gpus for node in small if node.num_gpus)
    fault = (
        f"gpus_per_node is missing, and the nodes of cluster {cluster.cluster_id} differ: {listed}, the others have "
        f"{most}: give gpus_per_node={least} to train on all of them, or gpus_per_node={most} with a num_nodes that "
        "leaves these out"
    )
    raise SpecError([fault])


def num_workers(cluster: Cluster) -> int:
    """Return the number of nodes with GPUs; at least one, also where Together tells none."""
    return len(cluster.gpu_worker_nodes) or max(1, (cluster.num_gpus or 0) // GPUS_PER_NODE)


def size_of_volume(cluster: Cluster, volume_name: str) -> int | None:
    """Return the size of an attached volume in TiB; None if it is not known."""
    sizes = [volume.size_tib for volume in cluster.volumes if volume.volume_name == volume_name]
    return next(iter(sizes), None)


def check_share(name: str, wanted: int, present: int, noun: str, where: str = "") -> int:
    """
    Return a number that the cluster has as well.

    :param name: the parameter.
    :param noun: what is counted, in the singular.
    :param where: words that follow it.
    :raises SpecError: if the cluster has less.
    """
    if wanted > present:
        raise SpecError([f"{name}={wanted} is too many: the cluster has {counted(present, noun)}{where}"])
    return wanted
