"""
Serving an emulated cloud: a socket on loopback, uvicorn in a thread, and the Python side of the commands.

Separate, so that all else can be used without a server. It imports uvicorn only when a server is started.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_together.emulator.errors import UnknownResourceError
from airflow_provider_together.emulator.faults import Fault
from airflow_provider_together.emulator.options import Options
from airflow_provider_together.emulator.simulation import Ledger, RequestRecord, Simulation
from airflow_provider_together.emulator.view import ClusterView, VolumeView

if TYPE_CHECKING:
    import uvicorn

    from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
    from airflow_provider_together.emulator.kubernetes.server import KubernetesServer

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_BACKLOG = 128


#: Simulated seconds that a client looks for a cluster after a create of unknown outcome; and real ones at the least.
_VISIBILITY, _SHORTEST_VISIBILITY = 60.0, 0.2


class Emulator:
    """
    An emulator of Together's GPU-cluster API, both dialects on one port over one state.

    A context manager: it listens inside the ``with`` block.

    .. code-block:: python

        with Emulator(speed=600) as emulator:
            os.environ["AIRFLOW_CONN_TOGETHER_DEFAULT"] = emulator.connection(api="tcloud")
            ...
            assert emulator.alive() == []

    :param host: address to listen on; only loopback, unless ``allow_remote``.
    :param port: TCP port; 0 takes a free one.
    :param allow_remote: listen on an address that other machines can reach.
    :param options: see :class:`~airflow_provider_together.emulator.options.Options`; given by their names.
    :raises ValueError: naming the option that is wrong.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, allow_remote: bool = False, **options: Any) -> None:
        if not allow_remote and not _is_loopback(host):
            message = f"host={host!r} can be reached from other machines: use 127.0.0.1, or allow it (allow_remote)"
            raise ValueError(message)
        self.options = Options(**options)
        self._simulation = Simulation(self.options)
        self._address = (host, port)
        self._running: _Running | None = None
        self._kubernetes: KubernetesServer | None = None
        if self.options.kubernetes:
            from airflow_provider_together.emulator.kubernetes.server import check_system  # noqa: PLC0415

            check_system()

    # --- serving ---

    def start(self) -> Self:
        """
        Listen, and return when requests are answered.

        :raises RuntimeError: if it has been started already, or the server does not start.
        :raises OSError: if the address is not available.
        """
        if self._running is not None:
            message = "This emulator has been started already: make another one"
            raise RuntimeError(message)
        if self.options.kubernetes:
            self._start_kubernetes()
        try:
            self._running = _Running(self._simulation, self._address)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """
        Stop listening and close all connections. What happened can still be asked for.

        All processes of containers are killed, and all folders removed.
        """
        if self._running is not None:
            self._running.stop()
        if self._kubernetes is not None:
            self._kubernetes.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """
        The address for clients, of both dialects, such as ``http://127.0.0.1:8123``.

        :raises RuntimeError: before it has been started.
        """
        if self._running is None:
            message = "The emulator has no address before it is started: use it in a with block"
            raise RuntimeError(message)
        return self._running.url

    @property
    def api_key(self) -> str:
        """The key that may do everything."""
        return self.options.api_key

    def connection(self, api: str = "tcloud", **extra: Any) -> str:
        """
        Return the JSON for an environment variable ``AIRFLOW_CONN_…`` that leads here.

        Waiting for a list that lags is sped up as the lists are.

        :param api: the dialect, ``tcloud`` or ``compute``.
        :param extra: more fields of the connection's extra.
        """
        connection = {"conn_type": "together", "host": self.url, "password": self.api_key}
        visibility = max(_SHORTEST_VISIBILITY, _VISIBILITY / max(self.options.speed, 1.0))
        return json.dumps({**connection, "extra": {"api": api, "visibility": visibility, **extra}})

    # --- looking and commanding ---

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, in the order of their arrival."""
        return self._simulation.requests

    def clusters(self) -> list[ClusterView]:
        """Return every cluster that there ever was, oldest first."""
        return self._simulation.clusters()

    def alive(self) -> list[ClusterView]:
        """Return the clusters that still bill: all that are not gone."""
        return self._simulation.alive()

    def volumes(self) -> list[VolumeView]:
        """Return every shared volume that there ever was, oldest first."""
        return self._simulation.volumes()

    def ledger(self) -> Ledger:
        """Return the GPU-hours billed, in all and by cluster."""
        return self._simulation.ledger()

    def now(self) -> float:
        """Return the simulated time in epoch seconds."""
        return self._simulation.clock.now()

    def inject(self, *faults: Fault) -> None:
        """Put faults in force, in this order."""
        self._simulation.inject(*faults)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._simulation.clear_faults()

    def advance(self, seconds: float) -> float:
        """See :meth:`~airflow_provider_together.emulator.simulation.Simulation.advance`."""
        return self._simulation.advance(seconds)

    def set_status(self, cluster_id: str, word: str) -> None:
        """See :meth:`~airflow_provider_together.emulator.simulation.Simulation.set_status`."""
        self._simulation.set_status(cluster_id, word)

    def fail(self, cluster_id: str, *, nccl: bool = False) -> None:
        """See :meth:`~airflow_provider_together.emulator.simulation.Simulation.fail`."""
        self._simulation.fail(cluster_id, nccl=nccl)

    def reset(self) -> None:
        """Forget clusters, volumes, faults and requests. Simulated time goes on."""
        self._simulation.reset()
        if self._kubernetes is not None:
            self._kubernetes.reconcile()

    def kubernetes(self, cluster_id: str) -> KubernetesHandle:
        """
        Return the Kubernetes side of a cluster, to look into it and to let things go wrong there.

        :raises RuntimeError: if the emulator was not started with ``kubernetes=True``.
        :raises UnknownResourceError: if there never was such a cluster.
        """
        if self._kubernetes is None:
            message = "This emulator has no Kubernetes side: start it with kubernetes=True"
            raise RuntimeError(message)
        if self._simulation.world.any_cluster(cluster_id) is None:
            message = f"cluster_id={cluster_id!r}: no such GPU cluster"
            raise UnknownResourceError(message, param="cluster_id")
        return self._kubernetes.handle(cluster_id)

    def _start_kubernetes(self) -> None:
        from airflow_provider_together.emulator.kubernetes.server import KubernetesServer  # noqa: PLC0415

        world = self._simulation.world
        self._kubernetes = KubernetesServer(world)
        world.make_kubeconfig = self._kubernetes.kubeconfig


class _Running:
    """A server in a thread of its own, from its first moment to its last."""

    def __init__(self, simulation: Simulation, address: tuple[str, int]) -> None:
        self._socket = listen(*address)
        self._has_started = threading.Event()
        self._server = _make_server(simulation, self._has_started)
        self._thread = threading.Thread(target=self._serve, name="together-emulator", daemon=True)
        self._thread.start()
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if not self._has_started.wait(_START_SECONDS) or not self._server.started:
            self.stop()
            message = f"The emulator did not start on {self.url} within {_START_SECONDS:g} seconds"
            raise RuntimeError(message)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._has_started.set()


def _make_server(simulation: Simulation, has_started: threading.Event) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415 - the options and faults are of use without it

    from airflow_provider_together.emulator.app import make_app  # noqa: PLC0415
    from airflow_provider_together.emulator.connection import BreakableProtocol  # noqa: PLC0415

    app = make_app(simulation)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            has_started.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.stopping.set()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=BreakableProtocol,
        # Its writes reach the socket at once, on which the faults of connections depend.
        loop="asyncio",
        ws="none",
        lifespan="off",
        # The logging of the process that we are guests in stays as it is.
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """
    Return a socket that listens.

    :raises OSError: if the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off, which would cost 40 ms of every answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
