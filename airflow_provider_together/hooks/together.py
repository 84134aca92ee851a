"""
The hook: an Airflow connection turned into a client of Together's API.

It adds no behaviour of its own to the engine's operations; what a request means and when it is repeated
is in :mod:`airflow_provider_together.api`. Since DAGs import it, what needs the engine is a module of its own,
:mod:`airflow_provider_together.runtime.together_connection`, which is imported when the hook is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.runtime.connection_form import (
    CONNECTION_TYPE,
    DEFAULT_CONNECTION,
    FIELDS,
    HOOK_NAME,
    UI_FIELD_BEHAVIOUR,
)
from airflow_provider_together.runtime.kubeconfig import mask_kubeconfig

if TYPE_CHECKING:
    from airflow_provider_together.api.client import AsyncClient, Client
    from airflow_provider_together.api.models import Cluster, Listing, Region, SharedVolume
    from airflow_provider_together.api.settings import Settings
    from airflow_provider_together.api.specs import ClusterSpec, SharedVolumeSpec
    from airflow_provider_together.runtime.together_connection import TogetherConnection


class TogetherHook(BaseHook):
    """
    Together's GPU clusters and shared volumes, through an Airflow connection of type ``together``.

    Where the API key comes from, in this order:

    1. the connection's password;
    2. the environment variable ``TOGETHER_API_KEY``, if the password is empty;
    3. the same variable, with Together's own host, if the *default* connection does not exist at all. A
       connection of another id that is missing is an error, since somebody named it on purpose.

    All methods raise :class:`~airflow_provider_together.exceptions.TogetherError`, whose type says whether
    trying again helps.

    :param together_conn_id: id of the connection.
    """

    conn_name_attr = "together_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = CONNECTION_TYPE
    hook_name = HOOK_NAME

    def __init__(self, together_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.together_conn_id = together_conn_id

    @property
    def settings(self) -> Settings:
        """
        The connection, read once.

        :raises ConfigurationError: if a field of it is wrong.
        """
        return self._connection.settings

    async def asettings(self) -> Settings:
        """Return :attr:`settings` without blocking the event loop, as the triggerer needs it."""
        return await self._connection.asettings()

    @property
    def client(self) -> Client:
        """The sync client, shared with all hooks of this connection in this process."""
        return self._connection.client

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AsyncClient]:
        """Lend the async client, shared with all hooks of this connection on this event loop."""
        async with self._connection.async_client() as client:
            yield client

    def get_conn(self) -> Client:
        """Return the sync client."""
        return self.client

    def create_gpu_cluster(self, spec: ClusterSpec) -> Cluster:
        """
        Send one request for a cluster, whatever exists already.

        Operators use :func:`~airflow_provider_together.lifecycle.create.create_or_adopt`, which looks first.

        :param spec: the cluster to make.
        :returns: the cluster as Together has answered; its id, and mostly little else.
        :raises SpecError: if the connection's API lacks a field of the spec, or does not know a value.
        :raises OutOfStockError: if there are no such GPUs at the moment.
        :raises OutcomeUnknownError: if nobody knows whether the cluster was made. Look before asking again.
        """
        return self.client.send(self.client.dialect.create_cluster(spec))

    def get_gpu_cluster(self, cluster_id: str) -> Cluster:
        """
        Return a cluster as it is now; one whose end of life is near says so in the log.

        :param cluster_id: id of the cluster.
        :returns: the cluster.
        :raises NotFoundError: if Together knows no such cluster.
        """
        cluster = self.client.send(self.client.dialect.get_cluster(cluster_id))
        if warning := self._connection.end_of_life_warning(cluster):
            self.log.warning("%s.", warning)
        return cluster

    def list_gpu_clusters(self) -> Listing[Cluster]:
        """
        Return all clusters that the API key may see.

        :returns: the clusters. Its ``unreadable`` holds the names of entries that have no id.
        :raises TogetherError: if there is no list to be read.
        """
        clusters = self.client.send(self.client.dialect.list_clusters())
        if clusters.unreadable:
            self.log.warning("Together's list has entries without an id, named %s.", list(clusters.unreadable))
        return clusters

    def update_gpu_cluster(self, cluster_id: str, **changes: Any) -> Cluster:
        """
        Change a cluster.

        :param cluster_id: id of the cluster.
        :param changes: fields of :class:`~airflow_provider_together.api.specs.ClusterUpdate`, such as ``num_gpus``.
        :returns: the cluster as Together has answered, which changes some time later.
        :raises SpecError: if a change is wrong, or the connection's API does not have it.
        :raises NotFoundError: if Together knows no such cluster.
        """
        return self._connection.update_cluster(cluster_id, changes)

    def delete_gpu_cluster(self, cluster_id: str) -> None:
        """
        Begin to delete a cluster; it is gone some time later.

        :param cluster_id: id of the cluster.
        :raises NotFoundError: if Together knows no such cluster.
        """
        self.client.send(self.client.dialect.delete_cluster(cluster_id))

    def list_regions(self) -> list[Region]:
        """
        Return the regions and what they offer.

        :returns: a region for each entry of Together's list.
        :raises TogetherError: if there is no list to be read.
        """
        return self.client.send(self.client.dialect.list_regions())

    def create_shared_volume(self, spec: SharedVolumeSpec) -> SharedVolume:
        """
        Send one request for a shared volume, whatever exists already.

        :param spec: the volume to make.
        :returns: the volume as Together has answered.
        :raises SpecError: if the connection's API lacks a field of the spec.
        :raises OutcomeUnknownError: if nobody knows whether the volume was made.
        """
        return self.client.send(self.client.dialect.create_shared_volume(spec))

    def get_shared_volume(self, volume_id: str) -> SharedVolume:
        """
        Return a shared volume as it is now.

        :param volume_id: id of the volume.
        :returns: the volume.
        :raises NotFoundError: if Together knows no such volume.
        """
        return self.client.send(self.client.dialect.get_shared_volume(volume_id))

    def list_shared_volumes(self) -> list[SharedVolume]:
        """
        Return all shared volumes that the API key may see.

        :returns: the volumes.
        :raises TogetherError: if there is no list to be read.
        """
        return self.client.send(self.client.dialect.list_shared_volumes())

    def update_shared_volume(self, volume_id: str, *, size_tib: int) -> SharedVolume:
        """
        Change the size of a shared volume.

        :param volume_id: id of the volume.
        :param size_tib: the new size, in TiB.
        :returns: the volume as Together has answered.
        :raises NotFoundError: if Together knows no such volume.
        """
        return self.client.send(self.client.dialect.update_shared_volume(volume_id, size_tib=size_tib))

    def delete_shared_volume(self, volume_id: str) -> bool:
        """
        Delete a shared volume; Together refuses while it is attached.

        :param volume_id: id of the volume.
        :returns: whether Together says that it was deleted.
        :raises NotFoundError: if Together knows no such volume.
        :raises RequestRefusedError: if it is attached.
        """
        return self.client.send(self.client.dialect.delete_shared_volume(volume_id))

    def get_kubeconfig(self, cluster_id: str) -> str:
        """
        Return the kubeconfig of a cluster as YAML text. It makes its holder an admin of the cluster.

        Its credentials are masked in this task's log from now on.

        :param cluster_id: id of the cluster.
        :returns: the decoded YAML text.
        :raises ConfigurationError: if the cluster has none (yet).
        """
        return _masked_kubeconfig(cluster_id, self.get_gpu_cluster(cluster_id))

    async def aget_kubeconfig(self, cluster_id: str) -> str:
        """
        Return the same as :meth:`get_kubeconfig` without blocking the event loop, as the triggerer needs it.

        :param cluster_id: id of the cluster.
        :returns: the decoded YAML text.
        :raises ConfigurationError: if the cluster has none (yet).
        """
        async with self.async_client() as client:
            return _masked_kubeconfig(cluster_id, await client.send(client.dialect.get_cluster(cluster_id)))

    def test_connection(self) -> tuple[bool, str]:
        """
        Read the regions once, as the button of the UI does.

        :returns: whether that works, and a sentence on what was reached or what to change.
        """
        return self._connection.check()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels to Airflow 3.1, which reads no metadata."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields to Airflow 3.1, which reads no metadata."""
        # While 3.1 asks, it lends a stand-in for these two, and for no field of numbers with a fraction.
        from wtforms import IntegerField, StringField  # noqa: PLC0415

        return {
            name: (IntegerField if "integer" in field["schema"]["type"] else StringField)(
                field["label"], description=field["description"]
            )
            for name, field in FIELDS.items()
        }

    @cached_property
    def _connection(self) -> TogetherConnection:
        """The connection in use; only here is it imported, since DAG files import this module."""
        from airflow_provider_together.runtime.together_connection import TogetherConnection  # noqa: PLC0415

        return TogetherConnection(self.together_conn_id)


def _masked_kubeconfig(cluster_id: str, cluster: Cluster) -> str:
    text = cluster.kubeconfig()
    if text is None:
        message = f"cluster {cluster_id} has no kubeconfig: wait until it is READY"
        raise ConfigurationError(message)
    mask_kubeconfig(text)
    return text
