"""
The older API, ``/api/v1/gpu_cluster``: how its requests are checked and its answers spelled.

Source: https://docs.together.ai/api-reference/gpuclusterservice/create-gpu-cluster and its siblings. Wire words
stop here. It imports neither the other dialect's requests nor anything about HTTP.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_together.emulator.catalog import GPUS_PER_NODE, Region
from airflow_provider_together.emulator.check import MAX_DAYS, MAX_UINT32, integer, record, text, word
from airflow_provider_together.emulator.kubeconfig import encode
from airflow_provider_together.emulator.lifecycle import Phase
from airflow_provider_together.emulator.model import Cluster, ClusterWish, Node, Volume, VolumeWish
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
from airflow_provider_together.emulator.words import current_status, older_status, refuse_two_volumes, volume_status

GPU_TYPES = ("H100_SXM", "H200_SXM", "RTX_6000_PCI")
CLUSTER_TYPES = ("KUBERNETES", "SLURM")
#: This API has one word for what the other calls CUDA version and driver version.
DRIVERS = {
    "CUDA_12_5_555": ("12.5", "555"),
    "CUDA_12_6_560": ("12.6", "560"),
    "CUDA_12_6_565": ("12.6", "565"),
    "CUDA_12_8_570": ("12.8", "570"),
}
_DRIVER_WORDS = {pair: driver for driver, pair in DRIVERS.items()}
_HOURS_PER_DAY = 24

#: Create and update answer an enum. It has no word for the other phases, but one that says so.
_NO_WORD = "UNKNOWN_STATUS"
#: Get and list answer any string, of which the contract tells none for a cluster that is being deleted.
_DELETING = "DELETING"

_VOLUME_FIELDS = {"volume_name": text(), "size_tib": integer(minimum=1, maximum=MAX_UINT32), "region": text()}
_CREATE = record(
    {
        "region": text(),
        "gpu_type": word(*GPU_TYPES),
        "num_gpus": integer(minimum=GPUS_PER_NODE, multiple_of=GPUS_PER_NODE),
        "cluster_name": text(),
        "duration_days": integer(minimum=1, maximum=MAX_DAYS),
        "driver_version": word(*DRIVERS),
        "billing_type": word("RESERVED", "ON_DEMAND"),
        "cluster_type": word(*CLUSTER_TYPES),
        "shared_volume": record(_VOLUME_FIELDS, required=("volume_name", "size_tib")),
        "volume_id": text(),
    },
    required=(
        "region",
        "gpu_type",
        "num_gpus",
        "cluster_name",
        "duration_days",
        "driver_version",
        "billing_type",
    ),
)
_UPDATE = record(
    {
        "cluster_id": text(),
        "cluster_type": word(*CLUSTER_TYPES),
        "num_gpus": integer(minimum=GPUS_PER_NODE, multiple_of=GPUS_PER_NODE),
    },
    # The contract requires no field, but without this one nothing is meant.
    required=("cluster_id",),
)
_CREATE_VOLUME = record(_VOLUME_FIELDS, required=("volume_name", "size_tib", "region"))
_UPDATE_VOLUME = record(
    {"volume_id": text(), "size_tib": integer(minimum=1, maximum=MAX_UINT32)}, required=("volume_id",)
)


def operations() -> list[Operation]:
    """Return everything that this API can do."""
    clusters, cluster = "/api/v1/gpu_clusters", "/api/v1/gpu_cluster"
    volumes, volume = "/api/v1/shared_volumes", "/api/v1/shared_volume"
    one_cluster, one_volume = f"{cluster}/{{cluster_id}}", f"{volume}/{{volume_id}}"
    return [
        _operation("list_clusters", "GET", clusters, _list_clusters),
        _operation("create_cluster", "POST", cluster, _create_cluster),
        _operation("update_cluster", "PUT", cluster, _update_cluster),
        _operation("get_cluster", "GET", one_cluster, _get_cluster),
        _operation("delete_cluster", "DELETE", one_cluster, _delete_cluster),
        _operation("list_regions", "GET", "/api/v1/regions", _list_regions),
        _operation("list_volumes", "GET", volumes, _list_volumes),
        _operation("create_volume", "POST", volume, _create_volume),
        _operation("update_volume", "PUT", volume, _update_volume),
        _operation("get_volume", "GET", one_volume, _get_volume),
        _operation("delete_volume", "DELETE", one_volume, _delete_volume),
    ]


def _operation(name: str, method: str, path: str, run: Any) -> Operation:
    return Operation(
        name=name,
        dialect="tcloud",
        method=method,
        path=path,
        run=run,
        is_change=method != "GET",
        has_body=method in ("POST", "PUT"),
    )


# --- requests ---


def _create_cluster(call: Call) -> dict[str, Any]:
    body = _CREATE("", call.body)
    refuse_two_volumes(body)
    cuda, driver = DRIVERS[body["driver_version"]]
    volume = body.get("shared_volume")
    wish = ClusterWish(
        name=body["cluster_name"],
        region=body["region"],
        gpu_type=body["gpu_type"],
        num_gpus=body["num_gpus"],
        billing_type=body["billing_type"],
        cluster_type=body.get("cluster_type", "KUBERNETES"),
        cuda_version=cuda,
        driver_version=driver,
        duration_days=body["duration_days"],
        volume=None if volume is None else _volume_wish({"region": body["region"], **volume}),
        volume_id=body.get("volume_id"),
    )
    return _accepted(call.world, create_cluster(call, wish))


def _update_cluster(call: Call) -> dict[str, Any]:
    body = _UPDATE("", call.body)
    cluster = call.world.cluster(body["cluster_id"])
    call.world.check_changeable(cluster)
    refuse_without_stock(call)
    call.world.resize_cluster(cluster, num_gpus=body.get("num_gpus"))
    cluster.cluster_type = body.get("cluster_type", cluster.cluster_type)
    return _accepted(call.world, cluster)


def _get_cluster(call: Call) -> dict[str, Any]:
    return _cluster(call.world, get_cluster(call))


def _list_clusters(call: Call) -> dict[str, Any]:
    return {"clusters": [_cluster(call.world, cluster) for cluster in listed_clusters(call)]}


def _delete_cluster(call: Call) -> dict[str, Any]:
    cluster = get_cluster(call)
    call.world.delete_cluster(cluster)
    return {"cluster_id": cluster.cluster_id}


def _list_regions(call: Call) -> dict[str, Any]:
    return {"regions": [_region(region) for region in call.world.catalog.regions.values()]}


def _create_volume(call: Call) -> dict[str, Any]:
    wish = _volume_wish(_CREATE_VOLUME("", call.body))
    return {"volume_id": create_volume(call, wish).volume_id}


def _update_volume(call: Call) -> dict[str, Any]:
    body = _UPDATE_VOLUME("", call.body)
    volume = call.world.volume(body["volume_id"])
    call.world.grow_volume(volume, size_tib=body.get("size_tib", volume.size_tib))
    return _volume(volume)


def _get_volume(call: Call) -> dict[str, Any]:
    return _volume(call.world.volume(call.path["volume_id"]))


def _list_volumes(call: Call) -> dict[str, Any]:
    return {"volumes": [_volume(volume) for volume in listed_volumes(call)]}


def _delete_volume(call: Call) -> dict[str, Any]:
    call.world.delete_volume(call.world.volume(call.path["volume_id"]))
    return {"success": True}


def _volume_wish(body: dict[str, Any]) -> VolumeWish:
    return VolumeWish(name=body["volume_name"], size_tib=body["size_tib"], region=body["region"])


# --- answers ---


def _accepted(world: World, cluster: Cluster) -> dict[str, Any]:
    phase = cluster.shown_phase(world.clock.now())
    return {"cluster_id": cluster.cluster_id, "status": older_status(phase) or _NO_WORD}


def _cluster(world: World, cluster: Cluster) -> dict[str, Any]:
    now = world.clock.now()
    gpu_type = cluster.wish.gpu_type
    software = (cluster.cuda_version, cluster.driver_version)
    answer: dict[str, Any] = {
        "cluster_id": cluster.cluster_id,
        "cluster_name": cluster.wish.name,
        "cluster_type": cluster.cluster_type,
        "status": cluster.word or _status(world, cluster, now),
        "region": cluster.wish.region,
        "gpu_type": gpu_type if gpu_type in GPU_TYPES else "UNKNOWN_GPU_TYPE",
        "num_gpus": cluster.num_gpus,
        "driver_version": _DRIVER_WORDS.get(software, "UNKNOWN_DRIVER"),
        "volumes": [
            {**_volume(volume), "status": volume_status(world, volume)} for volume in world.volumes_of(cluster)
        ],
        "control_plane_nodes": [_control_plane_node(node, now) for node in cluster.control_plane if node.exists(now)],
        "gpu_worker_nodes": [_worker(node, now) for node in cluster.workers if node.exists(now)],
        "kube_config": _kube_config(world, cluster, now),
    }
    if cluster.wish.duration_days is not None:
        answer["duration_hours"] = cluster.wish.duration_days * _HOURS_PER_DAY
    return answer


def _status(world: World, cluster: Cluster, now: float) -> str:
    phase = cluster.shown_phase(now)
    if world.options.tcloud_status_words == "current":
        return current_status(phase)
    return _DELETING if phase is Phase.DELETING else older_status(phase) or current_status(phase)


def _kube_config(world: World, cluster: Cluster, now: float) -> str:
    if cluster.ready_at(now) is None:
        return ""
    config = world.make_kubeconfig(cluster.cluster_id)
    return encode(config) if world.options.tcloud_kube_config == "base64" else config


def _control_plane_node(node: Node, now: float) -> dict[str, Any]:
    return {**_node(node, now), "num_cpu_cores": 16, "memory_gib": 64.0, "network": "10.0.0.0/16"}


def _worker(node: Node, now: float) -> dict[str, Any]:
    more = {"num_cpu_cores": 192, "num_gpus": GPUS_PER_NODE, "memory_gib": 1536.0}
    return {**_node(node, now), **more, "networks": ["10.0.0.0/16", "10.1.0.0/16"]}


def _node(node: Node, now: float) -> dict[str, Any]:
    word = boot_steps(node, now)[-1][0]
    return {"node_id": node.node_id, "node_name": node.host_name, "host_name": node.host_name, "status": word}


def _volume(volume: Volume) -> dict[str, Any]:
    return {"volume_id": volume.volume_id, "volume_name": volume.name, "size_tib": volume.size_tib}


def _region(region: Region) -> dict[str, Any]:
    pairs = ((entry.cuda_version, entry.driver_version) for entry in region.software)
    return {
        "id": region.name,
        "name": region.name,
        "availability_zones": [f"{region.name}a"],
        "driver_versions": [_DRIVER_WORDS[pair] for pair in pairs if pair in _DRIVER_WORDS],
    }
