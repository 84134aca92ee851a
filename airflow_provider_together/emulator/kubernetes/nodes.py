"""The nodes of a cluster: one for each GPU worker that runs, and what it means to lose one. It imports the store."""

from __future__ import annotations

from airflow_provider_together.emulator.kubernetes.events import NORMAL, Recorder
from airflow_provider_together.emulator.kubernetes.inventory import Inventory
from airflow_provider_together.emulator.kubernetes.objects import Object, has_condition, meta, set_condition
from airflow_provider_together.emulator.kubernetes.resources import VERSION
from airflow_provider_together.emulator.kubernetes.store import Store

GPU = "nvidia.com/gpu"
#: What the network operator of such clusters offers for InfiniBand; how many there are is no source's word.
RDMA = "rdma/rdma_shared_device_a"
_CAPACITY = {"cpu": "192", "memory": "1536Gi", "ephemeral-storage": "6Ti", "pods": "110", RDMA: "63"}
_COMPONENT = "node-controller"
_UNREACHABLE = "node.kubernetes.io/unreachable"


def match_nodes(store: Store, inventory: Inventory) -> None:
    """Let there be a node for each worker, and no other."""
    wanted = set(inventory.nodes)
    present = {meta(node)["name"] for node in store.all("nodes")}
    for name in inventory.nodes:
        if name not in present:
            node = store.create("nodes", _node(name, inventory))
            message = f"Node {name} event: Registered Node {name} in Controller"
            Recorder(store, _COMPONENT).record(node, NORMAL, "RegisteredNode", message)
    for name in present - wanted:
        store.remove("nodes", "", name)


def lose(store: Store, name: str) -> None:
    """
    Let a node's kubelet fall silent.

    :raises ApiError: 404 if there is no such node.
    """

    def fall_silent(node: Object) -> None:
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready"):
            message = "Kubelet stopped posting node status."
            set_condition(node["status"], kind, "Unknown", reason="NodeStatusUnknown", message=message)
        taints = [{"key": _UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        node["spec"]["taints"] = [*(node["spec"].get("taints") or ()), *taints]

    node = store.update("nodes", "", name, fall_silent)
    Recorder(store, _COMPONENT).record(node, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")


def set_gpus(store: Store, name: str, number: int) -> None:
    """
    Let a node have so many GPUs for pods; what runs on it goes on.

    :raises ApiError: 404 if there is no such node.
    """

    def change(node: Object) -> None:
        node["status"]["allocatable"][GPU] = str(number)

    store.update("nodes", "", name, change)


def is_lost(node: Object) -> bool:
    """Tell whether a node's kubelet has fallen silent."""
    return not has_condition(node, "Ready")


def _node(name: str, inventory: Inventory) -> Object:
    capacity = {**_CAPACITY, GPU: str(inventory.gpus_per_node)}
    status: Object = {
        "capacity": capacity,
        "allocatable": dict(capacity),
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
            "kernelVersion": "emulated",
            "kubeletVersion": VERSION["gitVersion"],
            "kubeProxyVersion": VERSION["gitVersion"],
            "osImage": "emulated",
            "architecture": "amd64",
            "operatingSystem": "linux",
            "containerRuntimeVersion": "processes://1",
        },
        "phase": "Running",
    }
    for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"):
        set_condition(status, kind, "False", reason=f"KubeletHasNo{kind}")
    set_condition(status, "Ready", "True", reason="KubeletReady", message="kubelet is posting ready status")
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(inventory.gpus_per_node),
        # As NVIDIA's feature discovery has it, as far as the API's word for the type tells it.
        "nvidia.com/gpu.product": f"NVIDIA-{inventory.gpu_type.replace('_', '-')}",
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}
