"""
How each operation is spelled on the wire, in either of Together's two APIs.

A dialect turns specs into :class:`~airflow_provider_together.api.call.Call` values and answers into models.
Words of the wire stop here; so does every difference between the two APIs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from airflow_provider_together.api.dialects.compute import Compute
from airflow_provider_together.api.dialects.tcloud import TCloud
from airflow_provider_together.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_together.api.call import Call
    from airflow_provider_together.api.models import Cluster, Listing, Region, SharedVolume, Sight
    from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec

__all__ = ["DIALECTS", "Compute", "Dialect", "TCloud", "dialect_class", "dialect_for_host"]


class Dialect(Protocol):
    """
    What both APIs can do.

    Methods that take a spec raise :class:`~airflow_provider_together.exceptions.SpecError` for a field that
    this API lacks or for a value that it does not know.
    """

    name: ClassVar[str]
    default_url: ClassVar[str]
    #: Names of the hosts on which Together serves it.
    hosts: ClassVar[frozenset[str]]
    #: Regular expression of its paths, as documentation and browsers show them.
    resource_path: ClassVar[str]

    def create_cluster(self, spec: ClusterSpec) -> Call[Cluster]:
        """Make a cluster. Not repeatable: each request that arrives makes one."""
        ...

    def get_cluster(self, cluster_id: str) -> Call[Cluster]:
        """Read one cluster."""
        ...

    def list_clusters(self) -> Call[Listing[Cluster]]:
        """Read all clusters that the key may see."""
        ...

    def list_sights(self) -> Call[list[Sight]]:
        """Read of all clusters that the key may see what those who wait must know: the same request, read faster."""
        ...

    def update_cluster(self, cluster_id: str, change: ClusterUpdate) -> Call[Cluster]:
        """Change a cluster."""
        ...

    def delete_cluster(self, cluster_id: str) -> Call[None]:
        """Begin to delete a cluster."""
        ...

    def list_regions(self) -> Call[Listing[Region]]:
        """Read the regions and what they offer."""
        ...

    def create_shared_volume(self, spec: SharedVolumeSpec) -> Call[SharedVolume]:
        """Make a shared volume. Not repeatable."""
        ...

    def get_shared_volume(self, volume_id: str) -> Call[SharedVolume]:
        """Read one shared volume."""
        ...

    def list_shared_volumes(self) -> Call[Listing[SharedVolume]]:
        """Read all shared volumes that the key may see."""
        ...

    def update_shared_volume(self, volume_id: str, *, size_tib: int) -> Call[SharedVolume]:
        """Change the size of a shared volume, in TiB."""
        ...

    def delete_shared_volume(self, volume_id: str) -> Call[bool]:
        """Delete a shared volume; attached ones are refused by Together."""
        ...


DIALECTS: dict[str, type[TCloud | Compute]] = {TCloud.name: TCloud, Compute.name: Compute}


def dialect_class(name: str) -> type[TCloud | Compute]:
    """
    Return the class of the dialect with this name.

    :raises ConfigurationError: if there is none.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        message = f"api={name!r} is wrong: use one of {', '.join(DIALECTS)}"
        raise ConfigurationError(message) from None


def dialect_for_host(host: str) -> str | None:
    """Return the name of the dialect that Together serves on this host, if it is one of its own."""
    return next((dialect.name for dialect in DIALECTS.values() if host in dialect.hosts), None)
