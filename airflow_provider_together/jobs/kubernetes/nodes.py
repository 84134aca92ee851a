"""
Whether the nodes of a cluster have the GPUs that a job asks for.

A pod that asks for more GPUs than its node has waits until its time is over, on GPUs that are paid for. So the nodes
are looked at before the job is made. In doubt it is made: Kubernetes then tells what it cannot schedule, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_together.api.wording import counted
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.jobs.kubernetes.diagnosis import Object
from airflow_provider_together.jobs.kubernetes.spec import GPU, JobSpec, count_of

#: So many nodes that are too small are named.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Node:
    """
    What a node has for pods.

    :param gpus: its allocatable GPUs; 0 as long as the driver is not up, and on nodes without any.
    :param is_selected: whether the job may run on it at all.
    """

    name: str
    gpus: int
    is_selected: bool


def gpus_of_pod(pod: Mapping[str, Any]) -> int:
    """Return the GPUs that the containers of a pod ask for together."""
    limits = [(one.get("resources") or {}).get("limits") or {} for one in pod.get("containers") or ()]
    return sum(count_of(amounts.get(GPU, 0)) or 0 for amounts in limits)


def read_nodes(nodes: Iterable[Object], *, selector: Mapping[str, str]) -> list[Node]:
    """
    Return what Kubernetes' nodes have.

    :param selector: labels that a node must have to be selected.
    """
    return [_node(node, selector) for node in nodes]


def check_nodes(spec: JobSpec, nodes: Sequence[Node], *, gpus: int) -> str:
    """
    Refuse a job that asks more GPUs of its nodes than they have; return a sentence if it has to wait for nodes.

    A node without GPUs, or one that Kubernetes does not know yet, may get as many as any.

    :param gpus: what each rank asks for.
    :raises SpecError: naming the nodes that have too few.
    """
    fitting = sum(node.is_selected and node.gpus >= gpus for node in nodes)
    small = [node for node in nodes if node.is_selected and 0 < node.gpus < gpus]
    unsuited = len(small) + sum(node.gpus > 0 and not node.is_selected for node in nodes)
    at_most = max(fitting, max(spec.num_workers, spec.num_nodes) - unsuited)
    if small and at_most < spec.num_nodes:
        raise SpecError([_too_many(spec, nodes, small, gpus=gpus, at_most=at_most)])
    if fitting < spec.num_nodes:
        wanted = f"{counted(spec.num_nodes, 'node')} with {counted(gpus, 'GPU')}"
        return f"The job needs {wanted}, of which {fitting} can be seen by now; it waits for more."
    return ""


def _too_many(spec: JobSpec, nodes: Sequence[Node], small: Sequence[Node], *, gpus: int, at_most: int) -> str:
    listed = ", ".join(f"node {node.name} has {node.gpus}" for node in small[:_NAMED])
    more = f", {len(small) - _NAMED} more have too few as well" if len(small) > _NAMED else ""
    counts = sorted((node.gpus for node in nodes if node.is_selected and node.gpus), reverse=True)
    needed = f"{counted(spec.num_nodes, 'node')} with {gpus}"
    fewer = f", or num_nodes={at_most}" if at_most else ""
    return (
        f"gpus_per_node={gpus} is too many: {listed}{more} (allocatable {GPU}), and the job needs {needed}; "
        f"give gpus_per_node={counts[: spec.num_nodes][-1]}{fewer}"
    )


def _node(node: Object, selector: Mapping[str, str]) -> Node:
    metadata, status = node.get("metadata") or {}, node.get("status") or {}
    gpus = count_of((status.get("allocatable") or {}).get(GPU, 0)) or 0
    return Node(metadata.get("name", ""), gpus, selector.items() <= (metadata.get("labels") or {}).items())
