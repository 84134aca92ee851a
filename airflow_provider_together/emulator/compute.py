"""
The current API, ``/v1/compute/clusters``: its operations, and how its answers are spelled.

Source: https://docs.together.ai/reference/clusters-create and the types of the ``together`` package 3.1.1. Wire
words stop here; requests are read in ``compute_requests.py``. It imports nothing about HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_together.emulator.catalog import GPUS_PER_NODE, Region
from airflow_provider_together.emulator.clock import to_text
from airflow_provider_together.emulator.compute_requests import (
    read_cluster_change,
    read_cluster_wish,
    read_volume_change,
    read_volume_wish,
)
from airflow_provider_together.emulator.errors import InvalidRequestError
from airflow_provider_together.emulator.kubeconfig import encode
from airflow_provider_together.emulator.lifecycle import Phase, Transition
from airflow_provider_together.emulator.model import Cluster, Node, Volume
from airflow_provider_together.emulator.nodes import boot_steps
from airflow_provider_together.emulator.operation import (
    Call,
    Operation,
    create_cluster,
    create_volume,
    get_cluster,
    listed_clusters,
    listed_volumes,
    refuse_without_stock,
)
from airflow_provider_together.emulator.state import World
from airflow_provider_together.emulator.words import current_status, volume_status

_HOURS_PER_DAY = 24

_PHASE_WORDS = {phase: f"CLUSTER_PHASE_{phase.value}" for phase in Phase} | {
    Phase.CONTROL_PLANE: "CLUSTER_PHASE_WAITING_FOR_CONTROL_PLANE_NODES",
    Phase.DATA_PLANE: "CLUSTER_PHASE_WAITING_FOR_DATA_PLANE_NODES",
    Phase.SUBNET: "CLUSTER_PHASE_WAITING_FOR_SUBNET",
    Phase.SHARED_VOLUME: "CLUSTER_PHASE_WAITING_FOR_SHARED_VOLUME",
    Phase.DRIVERS: "CLUSTER_PHASE_INSTALLING_DRIVERS",
    Phase.ACCEPTANCE_TESTS: "CLUSTER_PHASE_RUNNING_ACCEPTANCE_TESTS",
    Phase.NCCL_TESTS: "CLUSTER_PHASE_RUNNING_NCCL_TESTS",
}


def operations() -> list[Operation]:
    """Return everything that this API can do."""
    clusters, volumes = "/v1/compute/clusters", "/v1/compute/clusters/storage/volumes"
    one_cluster, one_volume = f"{clusters}/{{cluster_id}}", f"{volumes}/{{volume_id}}"
    return [
        _operation("list_clusters", "GET", clusters, _list_clusters, parameters=("projectId",)),
        _operation("create_cluster", "POST", clusters, _create_cluster),
        _operation("get_cluster", "GET", one_cluster, _get_cluster),
        _operation("update_cluster", "PUT", one_cluster, _update_cluster),
        _operation("delete_cluster", "DELETE", one_cluster, _delete_cluster),
        _operation("list_regions", "GET", "/v1/compute/regions", _list_regions),
        _operation("list_volumes", "GET", volumes, _list_volumes, parameters=("projectId",)),
        _operation("create_volume", "POST", volumes, _create_volume),
        _operation("update_volume", "PUT", volumes, _update_volume),
        _operation("get_volume", "GET", one_volume, _get_volume),
        _operation("delete_volume", "DELETE", one_volume, _delete_volume),
    ]


def _operation(
    name: str, method: str, path: str, run: Callable[[Call], Any], *, parameters: tuple[str, ...] = ()
) -> Operation:
    return Operation(
        name=name,
        dialect="compute",
        method=method,
        path=path,
        run=run,
        is_change=method != "GET",
        has_body=method in ("POST", "PUT"),
        parameters=parameters,
    )


# --- operations ---


def _create_cluster(call: Call) -> dict[str, Any]:
    return _cluster(call.world, create_cluster(call, read_cluster_wish(call.body)))


def _get_cluster(call: Call) -> dict[str, Any]:
    return _cluster(call.world, get_cluster(call))


def _list_clusters(call: Call) -> dict[str, Any]:
    project = call.query.get("projectId")
    shown = (cluster for cluster in listed_clusters(call) if project in (None, cluster.project_id))
    return {"clusters": [_cluster(call.world, cluster) for cluster in shown]}


def _update_cluster(call: Call) -> dict[str, Any]:
    change = read_cluster_change(call.body)
    cluster = call.world.cluster(call.path["cluster_id"])
    call.world.check_changeable(cluster)
    add_ons = _changed_add_ons(cluster, change.get("add_ons", []))
    end = _changed_end(call.world, cluster, change.get("reservation_end_time"))
    refuse_without_stock(call)
    call.world.resize_cluster(
        cluster, num_gpus=change.get("num_gpus"), num_preemptible_gpus=change.get("num_preemptible_gpus")
    )
    cluster.ends_at = end
    cluster.cluster_type = change.get("cluster_type", cluster.cluster_type)
    echoed = ("num_capacity_pool_gpus", "num_reserved_gpus", "cluster_config")
    cluster.extras |= {name: change[name] for name in echoed if name in change} | {"add_ons": add_ons}
    return _cluster(call.world, cluster)


def _delete_cluster(call: Call) -> dict[str, Any]:
    cluster = get_cluster(call)
    call.world.delete_cluster(cluster)
    return {"cluster_id": cluster.cluster_id}


def _list_regions(call: Call) -> dict[str, Any]:
    return {"regions": [_region(region) for region in call.world.catalog.regions.values()]}


def _create_volume(call: Call) -> dict[str, Any]:
    return _volume(call.world, create_volume(call, read_volume_wish(call.body)))


def _get_volume(call: Call) -> dict[str, Any]:
    return _volume(call.world, call.world.volume(call.path["volume_id"]))


def _list_volumes(call: Call) -> dict[str, Any]:
    project = call.query.get("projectId")
    shown = (volume for volume in listed_volumes(call) if project in (None, volume.project_id))
    return {"volumes": [_volume(call.world, volume) for volume in shown]}


def _update_volume(call: Call) -> dict[str, Any]:
    change = read_volume_change(call.body)
    volume = call.world.volume(change["volume_id"])
    call.world.grow_volume(volume, size_tib=change.get("size_tib", volume.size_tib))
    return _volume(call.world, volume)


def _delete_volume(call: Call) -> dict[str, Any]:
    call.world.delete_volume(call.world.volume(call.path["volume_id"]))
    return {"success": True}


def _changed_add_ons(cluster: Cluster, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the add-ons with their changes, which name them."""
    add_ons = {add_on["name"]: add_on for add_on in cluster.extras.get("add_ons", [])}
    for index, change in enumerate(changes):
        if change["name"] not in add_ons:
            message = f"add_ons[{index}].name={change['name']!a} is no add-on of this cluster"
            raise InvalidRequestError(message, param=f"add_ons[{index}].name")
        add_ons[change["name"]] = {**add_ons[change["name"]], **change}
    return list(add_ons.values())


def _changed_end(world: World, cluster: Cluster, end: float | None) -> float | None:
    """Return when the cluster is to end by itself, in simulated epoch seconds."""
    if end is None:
        return cluster.ends_at
    if cluster.wish.billing_type == "ON_DEMAND":
        message = "reservation_end_time is accepted for prepaid clusters only, and this one is ON_DEMAND"
        raise InvalidRequestError(message, param="reservation_end_time")
    if end <= world.clock.now():
        message = f"reservation_end_time={to_text(end)!r} is over; simulated time: {to_text(world.clock.now())!r}"
        raise InvalidRequestError(message, param="reservation_end_time")
    return end


# --- answers ---


def _cluster(world: World, cluster: Cluster) -> dict[str, Any]:
    now = world.clock.now()
    return {
        **_identity(cluster, now),
        **_counts(cluster, now),
        **_times(cluster, now),
        **_parts(world, cluster, now),
        **_optional(cluster),
    }


def _identity(cluster: Cluster, now: float) -> dict[str, Any]:
    return {
        "cluster_id": cluster.cluster_id,
        "cluster_name": cluster.wish.name,
        "cluster_type": cluster.cluster_type,
        "project_id": cluster.project_id,
        "region": cluster.wish.region,
        "status": cluster.word or current_status(cluster.shown_phase(now)),
        "billing_type": cluster.wish.billing_type,
        "gpu_type": cluster.wish.gpu_type,
        "cuda_version": cluster.cuda_version,
        "nvidia_driver_version": cluster.driver_version,
        "nvidia_driver_version_id": cluster.software_id,
        "os_image": cluster.os,
    }


def _counts(cluster: Cluster, now: float) -> dict[str, Any]:
    reserved = cluster.num_gpus if cluster.wish.billing_type == "RESERVED" else 0
    has_all = cluster.ready_at(now) is not None
    return {
        "num_gpus": cluster.num_gpus,
        "num_reserved_gpus": cluster.extras.get("num_reserved_gpus", reserved),
        "num_capacity_pool_gpus": cluster.extras.get("num_capacity_pool_gpus", 0),
        "desired_preemptible_gpus": cluster.num_preemptible_gpus,
        "allocated_preemptible_gpus": cluster.num_preemptible_gpus if has_all else 0,
        "num_cpu_workers": 0,
    }


def _times(cluster: Cluster, now: float) -> dict[str, Any]:
    transitions, ready_at = cluster.transitions(now), cluster.ready_at(now)
    moments = {
        "created_at": cluster.created_at,
        "first_ready_at": ready_at,
        "reservation_start_time": cluster.wish.starts_at,
        "reservation_end_time": cluster.ends_at,
    }
    return {
        "phase_transitions": [_transition(step) for step in transitions],
        **{name: to_text(moment) for name, moment in moments.items() if moment is not None},
    }


def _parts(world: World, cluster: Cluster, now: float) -> dict[str, Any]:
    control_plane = [_control_plane_node(node, now) for node in cluster.control_plane if node.exists(now)]
    is_ready = cluster.ready_at(now) is not None
    config = world.make_kubeconfig(cluster.cluster_id)
    return {
        "control_plane_nodes": control_plane,
        "control_plane_ready": any(node["status"] == "RUNNING" for node in control_plane),
        "gpu_worker_nodes": [_worker(cluster, node, now) for node in cluster.workers if node.exists(now)],
        "deleted_gpu_worker_nodes": [_worker(cluster, node, now) for node in cluster.workers if node.is_removed(now)],
        "volumes": [_volume(world, volume) for volume in world.volumes_of(cluster)],
        "add_ons": [{"config": {}, "state": {}, **add_on} for add_on in cluster.extras.get("add_ons", [])],
        "kube_config": encode(config) if is_ready else "",
    }


def _optional(cluster: Cluster) -> dict[str, Any]:
    names = ("capacity_pool_id", "cluster_config", "oidc_config", "install_traefik", "slurm_shm_size_gib")
    given = {name: cluster.extras[name] for name in names if name in cluster.extras}
    if cluster.wish.duration_days is not None:
        given["duration_hours"] = cluster.wish.duration_days * _HOURS_PER_DAY
    return given


def _transition(step: Transition) -> dict[str, str]:
    return {"phase": _PHASE_WORDS[step.phase], "transition_time": to_text(step.at)}


def _node(node: Node, now: float) -> dict[str, Any]:
    steps = boot_steps(node, now)
    return {
        "node_id": node.node_id,
        "host_name": node.host_name,
        "status": steps[-1][0],
        "phase_transitions": [
            {"phase": f"NODE_PHASE_{word}", "transition_time": to_text(moment)} for word, moment in steps
        ],
    }


def _control_plane_node(node: Node, now: float) -> dict[str, Any]:
    return {**_node(node, now), "num_cpu_cores": 16, "memory_gib": 64.0, "network": "10.0.0.0/16"}


def _worker(cluster: Cluster, node: Node, now: float) -> dict[str, Any]:
    answer = {
        **_node(node, now),
        "num_cpu_cores": 192,
        "num_gpus": GPUS_PER_NODE,
        "memory_gib": 1536.0,
        "networks": ["10.0.0.0/16", "10.1.0.0/16"],
        "instance_id": node.node_id,
    }
    if cluster.cluster_type == "SLURM":
        answer["slurm_worker_hostname"] = node.host_name
    if node.removed_at is not None:
        answer |= {"marked_for_deletion": True}
        if node.is_removed(now):
            answer["deleted_at"] = to_text(node.removed_at)
    return answer


def _volume(world: World, volume: Volume) -> dict[str, Any]:
    return {
        "volume_id": volume.volume_id,
        "volume_name": volume.name,
        "size_tib": volume.size_tib,
        "status": volume_status(world, volume),
    }


def _region(region: Region) -> dict[str, Any]:
    versions = [
        {
            "id": entry.id,
            "os": entry.os,
            "cuda_version": entry.cuda_version,
            "nvidia_driver_version": entry.driver_version,
        }
        for entry in region.software
    ]
    return {
        "name": region.name,
        "supported_instance_types": list(region.gpu_types),
        "driver_versions": versions,
    }
