"""
What requests of the current API, ``/v1/compute/clusters``, may look like, and what they wish for.

Source: https://docs.together.ai/reference/clusters-create and the types of the ``together`` package 3.1.1.
Separate from ``compute.py`` because the requests of this API are many; answers are spelled there.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_together.emulator.catalog import GPU_TYPES, GPUS_PER_NODE
from airflow_provider_together.emulator.check import MAX_DAYS, array, flag, integer, moment, record, text, word
from airflow_provider_together.emulator.errors import InvalidRequestError
from airflow_provider_together.emulator.model import ClusterWish, VolumeWish
from airflow_provider_together.emulator.words import refuse_two_volumes

_BILLING_TYPES = ("RESERVED", "ON_DEMAND", "SCHEDULED_CAPACITY")
_CLUSTER_TYPES = ("KUBERNETES", "SLURM")
_some_gpus = integer(multiple_of=GPUS_PER_NODE)
_at_least_a_node = integer(minimum=GPUS_PER_NODE, multiple_of=GPUS_PER_NODE)
_any_text = text(is_blank_allowed=True)

_SWITCH = record({"enabled": flag})
_ADD_ON_CONFIG = record({"dashboard": _SWITCH, "headlamp": _SWITCH, "ingress": _SWITCH, "slurm_web": _SWITCH})
_SLURM_SCRIPTS = record(
    dict.fromkeys(
        (
            "controller_prolog",
            "controller_epilog",
            "worker_prolog",
            "worker_epilog",
            "login_init_script",
            "nodeset_init_script",
            "extra_slurm_conf",
        ),
        _any_text,
    )
)
_CLUSTER_CONFIG = record(
    {
        "load_balancer": word("NONE", "TRAEFIK", "NGINX", "ISTIO"),
        "gpu_operator_version": _any_text,
        "network_operator_version": _any_text,
        "ingress": _SWITCH,
        "observability": _SWITCH,
        "jumphost_enabled": flag,
        "kubernetes_dashboard_enabled": flag,
        "ssh_ca_enabled": flag,
        "slurm_startup_scripts": _SLURM_SCRIPTS,
    },
    required=("load_balancer",),
)
_OIDC_NAMES = ("client_id", "issuer_url", "username_claim", "username_prefix", "group_claim", "group_prefix")
_OIDC = record(dict.fromkeys((*_OIDC_NAMES, "ca_cert"), _any_text), required=_OIDC_NAMES)
_ACCEPTANCE_TESTS = record(
    {
        "enabled": flag,
        "dcgm_diag_level": word(*(f"DCGM_DIAG_LEVEL_{depth}" for depth in ("SHORT", "MEDIUM", "LONG", "EXTENDED"))),
        "dcgm_diag_skipped": flag,
        "gpu_burn_duration": integer(),
        "gpu_burn_skipped": flag,
        "nccl_multi_node_skipped": flag,
        "nccl_single_node_skipped": flag,
        "storage_skipped": flag,
    }
)
_VOLUME = record(
    {
        "region": text(),
        "size_tib": integer(minimum=1),
        "volume_name": text(),
        "instance_cluster_id": text(),
        "is_lifecycle_independent": flag,
        "project_id": text(),
    },
    required=("region", "size_tib", "volume_name"),
)
_VOLUME_CHANGE = record({"volume_id": text(), "size_tib": integer(minimum=1)}, required=("volume_id",))
_CLUSTER = record(
    {
        "region": text(),
        "gpu_type": word(*GPU_TYPES),
        "num_gpus": _at_least_a_node,
        "cluster_name": text(),
        "cluster_type": word(*_CLUSTER_TYPES),
        "project_id": text(),
        "nvidia_version_id": text(),
        "cuda_version": text(),
        "nvidia_driver_version": text(),
        "billing_type": word(*_BILLING_TYPES),
        "duration_days": integer(minimum=1, maximum=MAX_DAYS),
        "reservation_start_time": moment,
        "reservation_end_time": moment,
        "capacity_pool_id": text(),
        "num_capacity_pool_gpus": _some_gpus,
        "num_preemptible_gpus": _some_gpus,
        "num_reserved_gpus": integer(),
        "auto_scale": flag,
        "auto_scale_max_gpus": integer(),
        "shared_volume": _VOLUME,
        "volume_id": text(),
        "add_ons": array(
            record({"add_on_type": text(), "name": text(), "config": _ADD_ON_CONFIG}, required=("add_on_type", "name"))
        ),
        "cluster_config": _CLUSTER_CONFIG,
        "oidc_config": _OIDC,
        "acceptance_tests_params": _ACCEPTANCE_TESTS,
        "install_traefik": flag,
        "slurm_image": text(),
        "slurm_shm_size_gib": integer(),
    },
    required=("region", "gpu_type", "num_gpus", "cluster_name", "billing_type"),
)
_CLUSTER_CHANGE = record(
    {
        "cluster_type": word(*_CLUSTER_TYPES),
        "num_gpus": _at_least_a_node,
        "num_capacity_pool_gpus": _some_gpus,
        "num_preemptible_gpus": _some_gpus,
        "num_reserved_gpus": integer(),
        "reservation_end_time": moment,
        "add_ons": array(record({"name": text(), "config": _ADD_ON_CONFIG}, required=("name",))),
        "cluster_config": _CLUSTER_CONFIG,
    }
)

#: Fields that change nothing in the emulated world, but are shown in answers.
_ECHOED = (
    "capacity_pool_id",
    "num_capacity_pool_gpus",
    "num_reserved_gpus",
    "add_ons",
    "cluster_config",
    "oidc_config",
    "install_traefik",
    "slurm_shm_size_gib",
)


def read_cluster_wish(body: Any) -> ClusterWish:
    """
    Read the body of a create.

    :raises InvalidRequestError: naming the field that is wrong.
    """
    fields = _CLUSTER("", body)
    refuse_two_volumes(fields)
    _check_software(fields)
    _check_billing(fields)
    _check_counts(fields)
    volume = fields.get("shared_volume")
    return ClusterWish(
        name=fields["cluster_name"],
        region=fields["region"],
        gpu_type=fields["gpu_type"],
        num_gpus=fields["num_gpus"],
        billing_type=fields["billing_type"],
        cluster_type=fields.get("cluster_type", "KUBERNETES"),
        nvidia_version_id=fields.get("nvidia_version_id"),
        cuda_version=fields.get("cuda_version"),
        driver_version=fields.get("nvidia_driver_version"),
        duration_days=fields.get("duration_days"),
        starts_at=fields.get("reservation_start_time"),
        ends_at=fields.get("reservation_end_time"),
        volume=None if volume is None else _volume_wish(volume, project_id=fields.get("project_id")),
        volume_id=fields.get("volume_id"),
        project_id=fields.get("project_id"),
        num_preemptible_gpus=fields.get("num_preemptible_gpus", 0),
        has_tests=fields.get("acceptance_tests_params", {}).get("enabled", False),
        extras={name: fields[name] for name in _ECHOED if name in fields},
    )


def read_cluster_change(body: Any) -> dict[str, Any]:
    """
    Read the body of an update: the fields that it holds, times in epoch seconds.

    :raises InvalidRequestError: naming the field that is wrong.
    """
    fields: dict[str, Any] = _CLUSTER_CHANGE("", body)
    return fields


def read_volume_wish(body: Any) -> VolumeWish:
    """
    Read the body of the creation of a volume.

    :raises InvalidRequestError: naming the field that is wrong.
    """
    return _volume_wish(_VOLUME("", body), project_id=None)


def read_volume_change(body: Any) -> dict[str, Any]:
    """
    Read the body of the change of a volume: the fields that it holds.

    :raises InvalidRequestError: naming the field that is wrong.
    """
    fields: dict[str, Any] = _VOLUME_CHANGE("", body)
    return fields


def _volume_wish(fields: dict[str, Any], *, project_id: str | None) -> VolumeWish:
    return VolumeWish(
        name=fields["volume_name"],
        size_tib=fields["size_tib"],
        region=fields["region"],
        project_id=fields.get("project_id", project_id),
        is_lifecycle_independent=fields.get("is_lifecycle_independent"),
        cluster_id=fields.get("instance_cluster_id"),
    )


def _check_software(fields: dict[str, Any]) -> None:
    if "nvidia_version_id" not in fields and not {"cuda_version", "nvidia_driver_version"} <= fields.keys():
        message = "nvidia_version_id is missing: cuda version and nvidia driver version are required without it"
        raise InvalidRequestError(message, param="nvidia_version_id")
    if fields["region"] != fields.get("shared_volume", fields)["region"]:
        message = f"shared_volume.region={fields['shared_volume']['region']!r} is not the cluster's region"
        raise InvalidRequestError(message, param="shared_volume.region")


def _check_billing(fields: dict[str, Any]) -> None:
    billing = fields["billing_type"]
    has_end = "reservation_end_time" in fields
    if billing == "RESERVED" and "duration_days" not in fields and not has_end:
        _missing("duration_days", "billing_type='RESERVED'")
    if billing == "SCHEDULED_CAPACITY":
        if "reservation_start_time" not in fields:
            _missing("reservation_start_time", "billing_type='SCHEDULED_CAPACITY'")
        if not has_end:
            _missing("reservation_end_time", "billing_type='SCHEDULED_CAPACITY'")
    if fields.get("cluster_type") == "SLURM" and "slurm_shm_size_gib" not in fields:
        _missing("slurm_shm_size_gib", "cluster_type='SLURM'")


def _check_counts(fields: dict[str, Any]) -> None:
    gpus = fields["num_gpus"]
    if fields.get("num_capacity_pool_gpus", 0) > gpus:
        message = f"num_capacity_pool_gpus={fields['num_capacity_pool_gpus']} is more than num_gpus={gpus}"
        raise InvalidRequestError(message, param="num_capacity_pool_gpus")
    if fields.get("auto_scale_max_gpus", gpus) < gpus:
        message = f"auto_scale_max_gpus={fields['auto_scale_max_gpus']} is less than num_gpus={gpus}"
        raise InvalidRequestError(message, param="auto_scale_max_gpus")
    if fields.get("num_preemptible_gpus", 0) and "project_id" not in fields:
        _missing("project_id", "num_preemptible_gpus")


def _missing(field: str, reason: str) -> None:
    message = f"{field} is missing: {reason} requires it"
    raise InvalidRequestError(message, param=field)
