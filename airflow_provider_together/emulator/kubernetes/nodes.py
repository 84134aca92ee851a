"""
The nodes of a cluster, one for each GPU worker that runs, and which of them a pod gets.

A pod gets the node with the most GPUs left, by the GPUs and the like that its containers ask for, its nodeSelector, and
the rule that two pods of a Job may not share a node. One that fits nowhere waits, and says why in Kubernetes' words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from airflow_provider_together.emulator.kubernetes.admission import ANTI_AFFINITY, HOST_NAME_LABEL
from airflow_provider_together.emulator.kubernetes.inventory import Inventory
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    condition,
    find,
    has_condition,
    is_finished,
    is_terminating,
    meta,
    set_condition,
)
from airflow_provider_together.emulator.kubernetes.store import Store
from airflow_provider_together.emulator.kubernetes.volumes import unbound_reason

GPU = "nvidia.com/gpu"
#: What the network operator of such clusters offers for InfiniBand; how many there are is nowhere documented.
RDMA = "rdma/rdma_shared_device_a"
_CAPACITY = {"cpu": "192", "memory": "1536Gi", "ephemeral-storage": "6Ti", "pods": "110", RDMA: "63"}
_UNREACHABLE = "node.kubernetes.io/unreachable"


def match_nodes(store: Store, inventory: Inventory) -> None:
    """Let there be a node for each worker, and no other."""
    present = {meta(node)["name"]: node for node in store.all("nodes")}
    for name in inventory.nodes:
        if name not in present:
            store.create("nodes", _node(name, inventory))
    for name in set(present) - set(inventory.nodes):
        store.remove("nodes", present[name])


def lose_node(store: Store, node: Object) -> None:
    """Let a node's kubelet fall silent: it gets no more pods."""

    def fall_silent(new: Object) -> None:
        message = "Kubelet stopped posting node status."
        set_condition(new["status"], "Ready", value=None, reason="NodeStatusUnknown", message=message)
        new["spec"]["taints"] = [{"key": _UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]

    store.update("nodes", node, fall_silent)


def set_gpus(store: Store, node: Object, number: int) -> None:
    """Let a node have so many GPUs for pods; what runs on it goes on."""

    def change(new: Object) -> None:
        new["status"]["allocatable"][GPU] = str(number)

    store.update("nodes", node, change)


def schedule(store: Store, *, obstacle: str = "") -> None:
    """
    Give every waiting pod a node that has room for it, the oldest first.

    :param obstacle: keeps all of them waiting, as its message says.
    """
    for pod in store.all("pods"):
        if find(pod, "spec.nodeName") or is_finished(pod) or is_terminating(pod):
            continue
        name, message = "", obstacle
        if not message:
            name, message = _choose(store, pod)
        if name:
            _bind(store, pod, name)
        elif (condition(pod, "PodScheduled") or {}).get("message") != message:
            _leave_pending(store, pod, message)


def _choose(store: Store, pod: Object) -> tuple[str, str]:
    """Return the name of a node; or an empty one, and why there is none."""
    nodes = store.all("nodes")
    if reason := unbound_reason(store, pod):
        return "", f"0/{len(nodes)} nodes are available: {reason}."
    reasons = Counter[str]()
    fitting = []
    for order, node in enumerate(nodes):
        name = meta(node)["name"]
        others = [one for one in store.all("pods") if find(one, "spec.nodeName") == name and not is_finished(one)]
        left = _left(node, others)
        refusals = _refusals(pod, node, others, left)
        reasons.update(refusals)
        if not refusals:
            fitting.append((-left[GPU], len(others), order, name))
    if fitting:
        return min(fitting)[-1], ""
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    return "", f"0/{len(nodes)} nodes are available: {listed}." if nodes else "no nodes available to schedule pods"


def _refusals(pod: Object, node: Object, others: Iterable[Object], left: Counter[str]) -> list[str]:
    """Return why a node does not take a pod."""
    if not has_condition(node, "Ready"):
        return [f"node(s) had untolerated taint {{{_UNREACHABLE}: }}"]
    if not (find(pod, "spec.nodeSelector") or {}).items() <= meta(node)["labels"].items():
        return ["node(s) didn't match Pod's node affinity/selector"]
    for rule in find(pod, f"spec.{ANTI_AFFINITY}") or ():
        wanted = find(rule, "labelSelector.matchLabels") or {}
        if any(wanted.items() <= (meta(other).get("labels") or {}).items() for other in others):
            return ["node(s) didn't match pod anti-affinity rules"]
    wanted = _requested(pod)
    return [f"Insufficient {name}" for name, amount in wanted.items() if amount > left.get(name, 0)]


def _left(node: Object, others: Iterable[Object]) -> Counter[str]:
    left = Counter(_counted(node["status"]["allocatable"]))
    for pod in others:
        left.subtract(_requested(pod))
    return left


def _requested(pod: Object) -> Counter[str]:
    """Return what a pod needs of its node: all containers together, or an init container if that is more."""
    total = Counter[str]()
    for container in pod["spec"]["containers"]:
        total.update(_amounts(container))
    for container in pod["spec"].get("initContainers") or ():
        total |= Counter(_amounts(container))
    return total


def _amounts(container: Object) -> dict[str, int]:
    resources = container["resources"]
    return _counted({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _counted(amounts: Object) -> dict[str, int]:
    """Return the resources that are counted: GPUs and their like. The processors and memory of a node are plenty."""
    return {name: int(amount) for name, amount in amounts.items() if "/" in name}


def _bind(store: Store, pod: Object, node: str) -> None:
    def bind(new: Object) -> None:
        new["spec"]["nodeName"] = node
        set_condition(new["status"], "PodScheduled")

    place = f"{meta(pod)['namespace']}/{meta(pod)['name']}"
    store.record_event(store.update("pods", pod, bind), "Scheduled", f"Successfully assigned {place} to {node}")


def _leave_pending(store: Store, pod: Object, message: str) -> None:
    def note(new: Object) -> None:
        set_condition(new["status"], "PodScheduled", value=False, reason="Unschedulable", message=message)

    store.record_event(store.update("pods", pod, note), "FailedScheduling", message, kind="Warning")


def _node(name: str, inventory: Inventory) -> Object:
    capacity = {**_CAPACITY, GPU: str(inventory.gpus_per_node)}
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}]
    status: Object = {"capacity": capacity, "allocatable": dict(capacity), "addresses": addresses}
    set_condition(status, "Ready", reason="KubeletReady", message="kubelet is posting ready status")
    labels = {
        HOST_NAME_LABEL: name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(inventory.gpus_per_node),
        # As NVIDIA's feature discovery has it, as far as the API's word for the type tells it.
        "nvidia.com/gpu.product": f"NVIDIA-{inventory.gpu_type.replace('_', '-')}",
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}
