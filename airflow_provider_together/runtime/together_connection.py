"""
An Airflow connection of type ``together`` in use: its settings, the clients made of them, and what needs the engine.

The hook's other half: DAG files import the hook, and only a process that talks to Together imports this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.log import mask_secret

from airflow_provider_together.api.client import AsyncClient, Client, shared_async_client, shared_client
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterUpdate
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.runtime.compat.versions import AirflowNotFoundException, aget_connection, get_connection
from airflow_provider_together.runtime.connection import (
    API_KEY_VARIABLE,
    settings_from_connection,
    settings_from_environment,
)
from airflow_provider_together.runtime.connection_check import check
from airflow_provider_together.runtime.connection_form import CONNECTION_TYPE, DEFAULT_CONNECTION
from airflow_provider_together.runtime.missing_connection import missing_connection
from airflow_provider_together.runtime.single_flight import read_once
from airflow_provider_together.waiting.end_of_life import end_of_life_warning

if TYPE_CHECKING:
    from airflow.sdk import Connection


class TogetherConnection:
    """
    What the hook does once it is used.

    :param conn_id: id of the connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._settings: Settings | None = None
        self._client: Client | None = None

    @property
    def settings(self) -> Settings:
        """See :attr:`~airflow_provider_together.hooks.together.TogetherHook.settings`."""
        if self._settings is None:
            try:
                connection = get_connection(self._conn_id)
            except AirflowNotFoundException as error:
                self._settings = self._settings_of(error)
            else:
                self._settings = self._settings_of(connection)
        return self._settings

    async def asettings(self) -> Settings:
        """Return :attr:`settings` without blocking the event loop, as the triggerer needs it."""
        if self._settings is None:
            self._settings = await read_once(self._conn_id, self._read_settings)
        return self._settings

    @property
    def client(self) -> Client:
        """The sync client, shared with all hooks of this connection in this process."""
        # Asked for each time: after a fork it is another one.
        self._client = shared_client(self.settings)
        return self._client

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AsyncClient]:
        """Lend the async client, shared with all hooks of this connection on this event loop."""
        async with shared_async_client(await self.asettings()) as client:
            yield client

    def end_of_life_warning(self, cluster: Cluster) -> str:
        """Return what to say of a cluster whose end of life is near; empty if it is not."""
        return end_of_life_warning(cluster, now=self.client.now())

    def update_cluster(self, cluster_id: str, changes: Mapping[str, Any]) -> Cluster:
        """Change a cluster: fields of :class:`~airflow_provider_together.api.specs.ClusterUpdate`."""
        change = ClusterUpdate.parse(changes)
        return self.client.send(self.client.dialect.update_cluster(cluster_id, change))

    def check(self) -> tuple[bool, str]:
        """Read the regions once, as the button of the UI does, and say what was reached or what to change."""
        try:
            settings = self.settings
        except TogetherError as error:
            return False, str(error)
        return check(settings)

    async def _read_settings(self) -> Settings:
        try:
            connection = await aget_connection(self._conn_id)
        except AirflowNotFoundException as error:
            return self._settings_of(error)
        return self._settings_of(connection)

    def _settings_of(self, found: Connection | AirflowNotFoundException) -> Settings:
        if not isinstance(found, AirflowNotFoundException):
            settings = settings_from_connection(found)
        elif self._conn_id == DEFAULT_CONNECTION and (ambient := settings_from_environment()):
            settings = ambient
        else:
            raise missing_connection(
                self._conn_id,
                conn_type=CONNECTION_TYPE,
                holds="the API key as its password",
                options="--conn-password YOUR-KEY",
                instead=f"set {API_KEY_VARIABLE} alone" if self._conn_id == DEFAULT_CONNECTION else "",
            ) from None
        mask_secret(settings.api_key)
        return settings
