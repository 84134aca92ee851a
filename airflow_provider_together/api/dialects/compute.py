"""
Together's current API, ``/v1/compute/clusters``.

Source: https://docs.together.ai/reference/clusters-create and its siblings, and the types of the ``together``
package 3.1.1. Our specs speak the older API's words: the driver version is taken apart here.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from airflow_provider_together.api.call import Call, from_json_or_nothing, quoted
from airflow_provider_together.api.dialects import wire
from airflow_provider_together.api.models import Cluster, Listing, Region, SharedVolume, Sight
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec
from airflow_provider_together.exceptions import SpecError

_CLUSTERS = "/v1/compute/clusters"
_VOLUMES = "/v1/compute/clusters/storage/volumes"

#: GiB of shared memory of a Slurm cluster where none is given. This API requires the field and documents no usual
#: value; the other API lacks the field, and the same DAG has to run on both. It limits /dev/shm and costs nothing.
DEFAULT_SLURM_SHM_SIZE_GIB = 64


class Compute:
    """
    The current API.

    :param project_id: Together project to work in; empty leaves it to the key.
    """

    name: ClassVar[str] = "compute"
    default_url: ClassVar[str] = "https://api.together.ai"
    #: Together's older domain serves the same.
    hosts: ClassVar[frozenset[str]] = frozenset({"api.together.ai", "api.together.xyz"})
    resource_path: ClassVar[str] = r"/v1(/compute(/.*)?)?"

    def __init__(self, *, project_id: str = "") -> None:
        self.project_id = project_id

    def create_cluster(self, spec: ClusterSpec) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        if spec.billing_type == "RESERVED" and spec.duration_days is None and spec.reservation_end_time is None:
            raise SpecError(["duration_days is missing: billing_type='RESERVED' needs to know for how long"])
        body, note = self._owned(spec.given()), ""
        if spec.cluster_type == "SLURM" and spec.slurm_shm_size_gib is None:
            body["slurm_shm_size_gib"] = DEFAULT_SLURM_SHM_SIZE_GIB
            note = (
                f"slurm_shm_size_gib is not given, and the {self.name} API requires it for cluster_type='SLURM': "
                f"asking for {DEFAULT_SLURM_SHM_SIZE_GIB} GiB of shared memory."
            )
        if (driver_version := body.pop("driver_version", None)) is not None:
            body["cuda_version"], body["nvidia_driver_version"] = wire.split_driver_version(driver_version)
        if spec.shared_volume is not None:
            body["shared_volume"] = self._volume_body(spec.shared_volume, region=spec.region)
        return Call(
            what=f"create GPU cluster {spec.cluster_name!r}",
            method="POST",
            path=_CLUSTERS,
            body=body,
            read=_read_cluster,
            is_repeatable=False,
            note=note,
        )

    def get_cluster(self, cluster_id: str) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_CLUSTERS}/{quoted('cluster_id', cluster_id)}"
        return Call(what=f"get GPU cluster {cluster_id}", method="GET", path=path, read=_read_cluster)

    def list_clusters(self) -> Call[Listing[Cluster]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        read = wire.read_list("clusters", _read_cluster, name="cluster_name")
        return Call(what="list GPU clusters", method="GET", path=_CLUSTERS, params=self._filter(), read=read)

    def list_sights(self) -> Call[list[Sight]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        return wire.for_those_who_wait(self.list_clusters())

    def update_cluster(self, cluster_id: str, change: ClusterUpdate) -> Call[Cluster]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        return Call(
            what=f"update GPU cluster {cluster_id}",
            method="PUT",
            decode=from_json_or_nothing,
            path=f"{_CLUSTERS}/{quoted('cluster_id', cluster_id)}",
            body=change.given(),
            read=_read_cluster,
        )

    def delete_cluster(self, cluster_id: str) -> Call[None]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_CLUSTERS}/{quoted('cluster_id', cluster_id)}"
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
        return Call(what="list regions", method="GET", path="/v1/compute/regions", read=read)

    def create_shared_volume(self, spec: SharedVolumeSpec) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        return Call(
            what=f"create shared volume {spec.volume_name!r}",
            method="POST",
            path=_VOLUMES,
            body=self._volume_body(spec),
            read=partial(wire.read_model, SharedVolume),
            is_repeatable=False,
        )

    def get_shared_volume(self, volume_id: str) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_VOLUMES}/{quoted('volume_id', volume_id)}"
        read = partial(wire.read_model, SharedVolume)
        return Call(what=f"get shared volume {volume_id}", method="GET", path=path, read=read)

    def list_shared_volumes(self) -> Call[Listing[SharedVolume]]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        read = wire.read_list("volumes", partial(wire.read_model, SharedVolume), name="volume_name")
        return Call(what="list shared volumes", method="GET", path=_VOLUMES, params=self._filter(), read=read)

    def update_shared_volume(self, volume_id: str, *, size_tib: int) -> Call[SharedVolume]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        quoted("volume_id", volume_id)
        return Call(
            what=f"update shared volume {volume_id}",
            method="PUT",
            decode=from_json_or_nothing,
            path=_VOLUMES,
            body={"volume_id": volume_id, "size_tib": size_tib},
            read=partial(wire.read_model, SharedVolume),
        )

    def delete_shared_volume(self, volume_id: str) -> Call[bool]:
        """See :class:`~airflow_provider_together.api.dialects.Dialect`."""
        path = f"{_VOLUMES}/{quoted('volume_id', volume_id)}"
        return Call(
            what=f"delete shared volume {volume_id}",
            method="DELETE",
            path=path,
            decode=from_json_or_nothing,
            read=wire.read_success,
        )

    def _filter(self) -> dict[str, str]:
        return {"projectId": self.project_id} if self.project_id else {}

    def _owned(self, body: dict[str, Any]) -> dict[str, Any]:
        """Name the connection's project, unless the user named one."""
        return {"project_id": self.project_id, **body} if self.project_id else body

    def _volume_body(self, spec: SharedVolumeSpec, *, region: str | None = None) -> dict[str, Any]:
        if spec.region is None and region is None:
            raise SpecError(["region is missing: a shared volume is made in one region"])
        return self._owned({"region": region, **spec.given()})


def _read_cluster(body: Any) -> Cluster:
    fields = wire.read_object(body)
    version = wire.join_driver_version(fields.get("cuda_version"), fields.get("nvidia_driver_version"))
    return wire.read_cluster(fields, driver_version=version)


def _read_region(body: Any) -> Region:
    fields = wire.read_object(body)
    versions = fields.get("driver_versions")
    entries = [entry for entry in versions if isinstance(entry, dict)] if isinstance(versions, list) else []
    named = [
        {
            **entry,
            "driver_version": wire.join_driver_version(entry.get("cuda_version"), entry.get("nvidia_driver_version")),
        }
        for entry in entries
    ]
    types = fields.get("supported_instance_types")
    return wire.read_model(Region, {**fields, "gpu_types": types, "driver_versions": named})
