"""
Planning the machines of a cluster: which come when, which go.

Separate from ``state.py`` because it is arithmetic about one cluster only. It imports the phases and the model.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_together.emulator.catalog import GPUS_PER_NODE
from airflow_provider_together.emulator.lifecycle import Phase, Transition, first_time
from airflow_provider_together.emulator.model import Cluster, Node

#: What a machine goes through before it runs, and the part of its way at which each begins.
BOOT = (("PENDING", 0.0), ("SCHEDULING", 0.05), ("BOOTING", 0.2), ("BOOTSTRAPPING", 0.6), ("RUNNING", 1.0))
#: Machines are not ordered all at the same moment: the last after this part of the phase.
_STAGGER = 0.5


def order_control_plane(cluster: Cluster, *, new_id: Callable[[], str]) -> None:
    """Give a new cluster the machine of its control plane, running when that phase ends."""
    born_at, running_at = _span(cluster.plan, Phase.CONTROL_PLANE)
    name = f"control-plane-{cluster.cluster_id[:8]}-0"
    cluster.control_plane = [Node(node_id=new_id(), host_name=name, born_at=born_at, running_at=running_at)]


def match_workers(cluster: Cluster, plan: list[Transition], *, new_id: Callable[[], str]) -> None:
    """
    Order or give up GPU workers until there is one per eight GPUs.

    :param plan: the transitions of this change; workers come while it waits for the data plane, and those given
        up go when it is READY.
    """
    wanted = (cluster.num_gpus + cluster.num_preemptible_gpus) // GPUS_PER_NODE
    staying = [node for node in cluster.workers if node.removed_at is None]
    for node in staying[wanted:]:
        node.removed_at = plan[-1].at
    born_at, running_at = _span(plan, Phase.DATA_PLANE)
    missing = max(wanted - len(staying), 0)
    for index in range(missing):
        ordered_at = born_at + (running_at - born_at) * _STAGGER * index / missing
        name = f"gpu-worker-{cluster.cluster_id[:8]}-{len(cluster.workers)}"
        node = Node(node_id=new_id(), host_name=name, born_at=ordered_at, running_at=running_at)
        cluster.workers.append(node)


def boot_steps(node: Node, now: float) -> list[tuple[str, float]]:
    """Return what a machine has gone through by now: the word, and since when in simulated epoch seconds."""
    length = node.running_at - node.born_at
    steps = [(word, node.born_at + part * length) for word, part in BOOT]
    return [step for step in steps if step[1] <= now]


def _span(plan: list[Transition], phase: Phase) -> tuple[float, float]:
    """Return when a phase begins and ends."""
    begins = first_time(plan, phase)
    if begins is None:
        return plan[0].at, plan[-1].at
    return begins, next((step.at for step in plan if step.at > begins), begins)
