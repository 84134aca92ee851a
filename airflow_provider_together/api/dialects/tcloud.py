"""
The older API, ``/api/v1/gpu_cluster``, whose words the operators speak.

Source: https://docs.together.ai/api-reference/gpuclusterservice/create-gpu-cluster and its siblings.
Its answers to create and update hold an id and a status only; all fields of all answers are optional.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from airflow_provider_together.api.call import Call, from_json_or_nothing, quoted
from airflow_provider_together.api.dialects import wire
from airflow_provider_together.api.models import Cluster, Listing, Region, SharedVolume, Sight
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec
from airflow_provider_together.exceptions import SpecError

_CLUSTER = "/api/v1/gpu_cluster"
_VOLUME = "/api/v1/shared_volume"

GPU_TYPES = ("H100_SXM", "H200_SXM", "RTX_6000_PCI")
DRIVER_VERSIONS = ("CUDA_12_5_555", "CUDA_12_6_560", "CUDA_12_6_565", "CUDA_12_8_570")
BILLING_TYPES = ("RESERVED", "ON_DEMAND")

_CLUSTER_FIELDS = (
    "region",
    "gpu_type",
    "num_gpus",
    "cluster_name",
    "duration_days",
    "driver_version",
    "billing_type",
    "cluster_type",
    "shared_volume",
    "volume_id",
)
_UPDATE_FIELDS = ("num_gpus", "cluster_type")
_VOLUME_FIELDS = ("volume_name", "size_tib", "region")


class TCloud:
    """
    The older API.

    :param project_id: accepted for symmetry; this API takes the project from the key.
    """

    name: ClassVar[str] = "tcloud"
    default_url: ClassVar[str] = "https://manager.cloud.together.ai"
    hosts: ClassVar[frozenset[str]] = frozenset({"manager.cloud.together.ai"})
    resource_path: ClassVar[str] = r"/api/v1(/(gpu_cluster|shared_volume|region)s?(/.*)?)?"

    def __init__(self, *, project_id: str = "") -> None:
        self.project_id = project_id

    def create_cluster(self, spec: ClusterSpec) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        wire.refuse_unknown_fields(spec, _CLUSTER_FIELDS, dialect=self.name, other="compute")
        wire.refuse_unknown_word("gpu_type", spec.gpu_type, GPU_TYPES, dialect=self.name)
        wire.refuse_unknown_word("driver_version", spec.driver_version, DRIVER_VERSIONS, dialect=self.name)
        wire.refuse_unknown_word("billing_type", spec.billing_type, BILLING_TYPES, dialect=self.name)
        if spec.duration_days is None:
            raise SpecError([f"duration_days is missing: the {self.name} API wants it for every billing type"])
        body = spec.given()
        if spec.shared_volume is not None:
            body["shared_volume"] = _volume_body(spec.shared_volume, region=spec.region)
        known = {name: body[name] for name in ("cluster_name", "region", "gpu_type", "num_gpus", "billing_type")}
        return Call(
            what=f"create GPU cluster {spec.cluster_name!r}",
            method="POST",
            path=_CLUSTER,
            body=body,
            read=partial(wire.read_cluster, **known),
            is_repeatable=False,
        )

    def get_cluster(self, cluster_id: str) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_CLUSTER}/{quoted('cluster_id', cluster_id)}"
        read = partial(wire.read_cluster, cluster_id=cluster_id)
        return Call(what=f"get GPU cluster {cluster_id}", method="GET", path=path, read=read)

    def list_clusters(self) -> Call[Listing[Cluster]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        read = wire.read_list("clusters", wire.read_cluster, name="cluster_name")
        return Call(what="list GPU clusters", method="GET", path="/api/v1/gpu_clusters", read=read)

    def list_sights(self) -> Call[list[Sight]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        return wire.for_those_who_wait(self.list_clusters())

    def update_cluster(self, cluster_id: str, change: ClusterUpdate) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        wire.refuse_unknown_fields(change, _UPDATE_FIELDS, dialect=self.name, other="compute")
        quoted("cluster_id", cluster_id)
        return Call(
            what=f"update GPU cluster {cluster_id}",
            method="PUT",
            decode=from_json_or_nothing,
            path=_CLUSTER,
            body={"cluster_id": cluster_id, **change.given()},
            read=partial(wire.read_cluster, cluster_id=cluster_id),
        )

    def delete_cluster(self, cluster_id: str) -> Call[None]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_CLUSTER}/{quoted('cluster_id', cluster_id)}"
        return Call(
            what=f"delete GPU cluster {cluster_id}",
            method="DELETE",
            path=path,
            decode=from_json_or_nothing,
            read=lambda _: None,
        )

    def list_regions(self) -> Call[Listing[Region]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        read = wire.read_list("regions", _read_region, name="name")
        return Call(what="list regions", method="GET", path="/api/v1/regions", read=read)

    def create_shared_volume(self, spec: SharedVolumeSpec) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        body = _volume_body(spec)
        return Call(
            what=f"create shared volume {spec.volume_name!r}",
            method="POST",
            path=_VOLUME,
            body=body,
            read=partial(wire.read_model, SharedVolume, volume_name=spec.volume_name, size_tib=spec.size_tib),
            is_repeatable=False,
        )

    def get_shared_volume(self, volume_id: str) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_VOLUME}/{quoted('volume_id', volume_id)}"
        read = partial(wire.read_model, SharedVolume, volume_id=volume_id)
        return Call(what=f"get shared volume {volume_id}", method="GET", path=path, read=read)

    def list_shared_volumes(self) -> Call[Listing[SharedVolume]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        read = wire.read_list("volumes", partial(wire.read_model, SharedVolume), name="volume_name")
        return Call(what="list shared volumes", method="GET", path="/api/v1/shared_volumes", read=read)

    def update_shared_volume(self, volume_id: str, *, size_tib: int) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        quoted("volume_id", volume_id)
        return Call(
            what=f"update shared volume {volume_id}",
            method="PUT",
            decode=from_json_or_nothing,
            path=_VOLUME,
            body={"volume_id": volume_id, "size_tib": size_tib},
            read=partial(wire.read_model, SharedVolume, volume_id=volume_id),
        )

    def delete_shared_volume(self, volume_id: str) -> Call[bool]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_VOLUME}/{quoted('volume_id', volume_id)}"
        return Call(
            what=f"delete shared volume {volume_id}",
            method="DELETE",
            path=path,
            decode=from_json_or_nothing,
            read=wire.read_success,
        )


def _volume_body(spec: SharedVolumeSpec, *, region: str | None = None) -> dict[str, Any]:
    wire.refuse_unknown_fields(spec, _VOLUME_FIELDS, dialect=TCloud.name, other="compute")
    body = spec.given()
    if spec.region is None and region is None:
        raise SpecError(["region is missing: a shared volume is made in one region"])
    return {"region": region, **body}


def _read_region(body: Any) -> Region:
    fields = wire.read_object(body)
    versions = fields.get("driver_versions")
    words = [word for word in versions if isinstance(word, str)] if isinstance(versions, list) else []
    entries = [{"driver_version": word} for word in words]
    return wire.read_model(
        Region, {**fields, "name": fields.get("name") or fields.get("id"), "driver_versions": entries}
    )
