"""
Serving the Kubernetes side: one TLS socket on loopback for all clusters, an event loop in a thread of its own.

It starts and ends everything: the folder, the supervisor, the clusters as they come and go in the emulated cloud.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_together.emulator.kubeconfig import kubeconfig_for
from airflow_provider_together.emulator.kubernetes.api import make_app
from airflow_provider_together.emulator.kubernetes.certificate import renew_certificate
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.emulator.kubernetes.inventory import living_volumes, take_inventory
from airflow_provider_together.emulator.kubernetes.record import ClusterRecord
from airflow_provider_together.emulator.kubernetes.supervision import Supervisor
from airflow_provider_together.emulator.kubernetes.volumes import remove_dead_volumes
from airflow_provider_together.emulator.server import listen
from airflow_provider_together.emulator.state import World

if TYPE_CHECKING:
    import socket

    import uvicorn

_LOG = logging.getLogger(__name__)

_START_SECONDS, _STOP_SECONDS, _ANSWER_SECONDS = 30.0, 20.0, 30.0
#: Seconds between two looks at which clusters there are.
_LOOK_SECONDS = 0.05
#: Seconds for the ends of followed logs and watches to be sent.
_LAST_WORDS_SECONDS = 0.05


class KubernetesServer:
    """
    The Kubernetes APIs of all clusters of an emulated cloud.

    :param world: the emulated cloud.
    :raises OSError: if there is no socket for it.
    :raises RuntimeError: if the server does not start.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._mark = uuid.uuid4().hex
        self._folder = Path(tempfile.mkdtemp(prefix="together-emulator-"))
        self._shared = self._folder / "shared-volumes"
        self._clusters: dict[str, KubernetesCluster] = {}
        self._is_closing = False
        self._records: dict[str, ClusterRecord] = {}
        self._supervisor = Supervisor(self._mark, self._folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_started = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate = renew_certificate(self._context)
        self._socket = listen("127.0.0.1", 0)
        self._server = _make_server(self, self._context, self._has_started)
        self._thread = threading.Thread(target=self._serve, name="together-emulator-kubernetes", daemon=True)
        self._thread.start()
        if not self._has_started.wait(_START_SECONDS) or not self._server.started:
            self.stop()
            message = f"The emulator's Kubernetes side did not start within {_START_SECONDS:g} seconds"
            raise RuntimeError(message)

    def stop(self) -> None:
        """Kill all processes, stop listening, remove all folders."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()
        self._supervisor.close()

    def kubeconfig(self, cluster_id: str) -> str:
        """Return the kubeconfig of a cluster as it is now."""
        return kubeconfig_for(
            cluster_id,
            server=f"https://127.0.0.1:{self._socket.getsockname()[1]}/clusters/{cluster_id}",
            authority=base64.b64encode(self._certificate).decode(),
            token=self.token(cluster_id),
        )

    def handle(self, cluster_id: str) -> KubernetesHandle:
        """Return the Python side of a cluster."""
        return KubernetesHandle(
            cluster_id,
            self.record(cluster_id),
            ask=self._ask,
            mark=f"{self._mark}/{cluster_id}",
            renew_certificate=self._renew_certificate,
        )

    def reconcile(self) -> None:
        """Follow the emulated cloud now instead of soon."""
        self._ask("", lambda _cluster: None)

    def _renew_certificate(self) -> None:
        def renew(_cluster: KubernetesCluster | None) -> None:
            self._certificate = renew_certificate(self._context)
            _end_connections(self._server)

        self._ask("", renew)

    # --- for the application, on the loop ---

    async def find(self, cluster_id: str) -> KubernetesCluster | None:
        """Return a cluster that is up now."""
        await self._follow()
        return self._clusters.get(cluster_id)

    def record(self, cluster_id: str) -> ClusterRecord:
        """Return what is remembered of a cluster."""
        return self._records.setdefault(cluster_id, ClusterRecord())

    def token(self, cluster_id: str) -> str:
        """Return the token that is valid now."""
        rotations = self.record(cluster_id).rotations
        return f"emulated-token-{cluster_id}" + (f"-{rotations}" if rotations else "")

    async def follow_for_ever(self) -> None:
        """Follow the emulated cloud until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                await self._follow()
            except Exception:  # noqa: BLE001 - it is logged, and one mistake must not leave all clusters behind
                _LOG.exception("The emulator's Kubernetes side could not follow the cloud; it looks again soon")
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Close all clusters for good."""
        self._is_closing = True
        while self._clusters:
            await self._clusters.pop(next(iter(self._clusters))).close()

    async def _follow(self) -> None:
        if self._is_closing:
            return
        up = take_inventory(self._world)
        for cluster_id, inventory in up.items():
            if cluster_id in self._clusters:
                self._clusters[cluster_id].match(inventory)
            else:
                folder, mark = self._folder / "clusters" / cluster_id, f"{self._mark}/{cluster_id}"
                cluster = KubernetesCluster(inventory, folder=folder, mark=mark, shared=self._shared)
                self._clusters[cluster_id] = cluster
        remove_dead_volumes(self._shared, living_volumes(self._world))
        # Last, since the world goes on during the wait.
        for cluster_id in set(self._clusters) - set(up):
            # Another request may have seen it as well, and be faster.
            gone = self._clusters.pop(cluster_id, None)
            if gone is not None:
                await gone.close()

    def _ask(self, cluster_id: str, question: Callable[[KubernetesCluster | None], Any]) -> Any:
        """Do something with a cluster on its loop, from another thread, and return what that returns."""
        loop = self._loop
        if loop is None or not self._thread.is_alive():
            return question(None)

        async def run() -> Any:
            return question(await self.find(cluster_id))

        return asyncio.run_coroutine_threadsafe(run(), loop).result(_ANSWER_SECONDS)

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._has_started.set()


def check_system() -> None:
    """
    Refuse to start where containers cannot be run as processes.

    :raises ValueError: on another system than Linux.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        message = f"kubernetes=True is wrong on {sys.platform}: containers run as processes of Linux"
        raise ValueError(message)


def _make_server(backend: KubernetesServer, context: ssl.SSLContext, has_started: threading.Event) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415 - as for the emulator's other server

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self._following = asyncio.create_task(backend.follow_for_ever())
            await asyncio.sleep(0)
            await super().startup(sockets)
            has_started.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._following.cancel()
            await asyncio.wait([self._following])
            # Before the connections: what follows a log or watches ends by itself then.
            await backend.close()
            await asyncio.sleep(_LAST_WORDS_SECONDS)
            # A client that is idle would not answer the farewell of TLS.
            _end_connections(self)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        make_app(backend),
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    config.ssl = context
    return Server(config)


def _end_connections(server: uvicorn.Server) -> None:
    for connection in list(server.server_state.connections):
        connection.transport.abort()
