"""
The nodes of the real control plane: a scheduler and a kubelet in a thread of the tests.

Separate from the control plane, which takes it for what runs on any node: it puts pods on nodes by the GPUs that they
want, runs their containers as processes of this machine (``node_pod.py``), and serves logs and exec
(``node_server.py``) to the API server, and to nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import ssl
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn

from airflow_provider_together.demo.environment import LOOPBACK
from airflow_provider_together.emulator.kubernetes.supervision import Supervisor
from tests.real_kubernetes.components import Object, bind, get, register_node, tell, write_status
from tests.real_kubernetes.control_plane import ControlPlane, free_ports
from tests.real_kubernetes.node_pod import NodePod
from tests.real_kubernetes.node_server import make_node_app

GPU = "nvidia.com/gpu"
GPUS_PER_NODE = 8

_LOOK_INTERVAL = 0.1
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_REQUEST_SECONDS = 10.0


class NodeAgentError(Exception):
    """The nodes do not start, or have stopped by themselves."""


class NodeAgent:
    """
    Nodes with GPUs, whose containers are processes of this machine.

    :param control_plane: that the nodes belong to.
    :param nodes: their names.
    """

    def __init__(self, control_plane: ControlPlane, nodes: Sequence[str]) -> None:
        self._control_plane = control_plane
        self._nodes = nodes
        self._folder = Path(tempfile.mkdtemp(prefix="together-nodes-"))
        self._mark = secrets.token_hex(8)
        self._supervisor = Supervisor(self._mark, self._folder)
        self._addresses = (f"127.77.{high}.{low}" for high, low in itertools.product(range(256), range(1, 255)))
        (self._port,) = free_ports(1)
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._pods: dict[str, NodePod] = {}
        self._unschedulable: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="node-agent", daemon=True)

    @property
    def url(self) -> str:
        """Where the API server reaches the nodes."""
        return f"https://{LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_ready.wait(_START_SECONDS) or self._error is not None:
            self._stop()
            message = "The nodes do not start"
            raise NodeAgentError(message) from self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self.check()

    def check(self) -> None:
        """
        See whether the nodes are as they should be.

        :raises NodeAgentError: if they have stopped by themselves.
        """
        if self._error is not None:
            message = "The nodes have stopped by themselves"
            raise NodeAgentError(message) from self._error

    def _stop(self) -> None:
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(_STOP_SECONDS)
        # Kills what is left and removes the folder; also if this process dies.
        self._supervisor.close()

    # --- in the thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the block ends
            self._fail(error)
        finally:
            self._is_ready.set()

    def _fail(self, error: BaseException) -> None:
        """Let an error in one pod be the end of all: who waits for that pod would wait in vain."""
        self._error = self._error or error
        if self._main is not None:
            self._main.cancel()

    async def _live(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        plane = self._control_plane
        async with httpx.AsyncClient(
            base_url=plane.url,
            headers={"Authorization": f"Bearer {plane.component_token}"},
            verify=plane.credentials.trust(),
            timeout=_REQUEST_SECONDS,
        ) as client:
            server = self._server()
            serving = asyncio.create_task(server.serve())
            try:
                for node in self._nodes:
                    await register_node(client, node, self._node_status())
                while True:
                    await self._look(client)
                    if server.started:
                        self._is_ready.set()
                    await asyncio.sleep(_LOOK_INTERVAL)
            finally:
                await asyncio.gather(*(pod.end(0.0) for pod in self._pods.values()))
                server.should_exit = True
                await serving

    async def _look(self, client: httpx.AsyncClient) -> None:
        pods = (await get(client, "/api/v1/pods"))["items"]
        for pod in pods:
            known = self._pods.get(pod["metadata"]["uid"])
            if pod["metadata"].get("deletionTimestamp"):
                known = known or self._admit(client, pod)
                known.remove(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
            elif not pod["spec"].get("nodeName"):
                await self._schedule(client, pod, pods)
            elif known is None and _has_place(pod):
                self._admit(client, pod).start()

    def _admit(self, client: httpx.AsyncClient, pod: Object) -> NodePod:
        uid = pod["metadata"]["uid"]
        self._pods[uid] = NodePod(
            client,
            pod,
            folder=self._folder / uid,
            mark=f"{self._mark}/{uid}",
            address=next(self._addresses),
            on_error=self._fail,
        )
        return self._pods[uid]

    def _find(self, namespace: str, name: str) -> NodePod | None:
        """Return the youngest pod of a name."""
        key = (namespace, name)
        of_that_name = (
            one for one in self._pods.values() if (one.pod["metadata"]["namespace"], one.pod["metadata"]["name"]) == key
        )
        return max(of_that_name, key=lambda one: str(one.pod["metadata"]["creationTimestamp"]), default=None)

    async def _schedule(self, client: httpx.AsyncClient, pod: dict[str, Any], pods: Sequence[Object]) -> None:
        for node in self._nodes:
            taken = sum(_gpus(other) for other in pods if other["spec"].get("nodeName") == node and _has_place(other))
            if taken + _gpus(pod) <= GPUS_PER_NODE:
                await bind(client, pod, node)
                # Those that are looked at next see it taken.
                pod["spec"]["nodeName"] = node
                return
        if pod["metadata"]["uid"] not in self._unschedulable:
            self._unschedulable.add(pod["metadata"]["uid"])
            number = len(self._nodes)
            text = f"0/{number} nodes are available: {number} Insufficient {GPU}."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
            await write_status(client, pod, {"conditions": [condition]})
            await tell(client, pod, "FailedScheduling", text, kind="Warning", component="default-scheduler")

    def _node_status(self) -> Object:
        capacity = {GPU: str(GPUS_PER_NODE), "cpu": "64", "memory": "512Gi", "pods": "110"}
        return {
            "addresses": [{"type": "InternalIP", "address": LOOPBACK}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }

    def _server(self) -> uvicorn.Server:
        credentials = self._control_plane.credentials
        config = uvicorn.Config(
            make_node_app(self._find),
            host=LOOPBACK,
            port=self._port,
            ssl_certfile=credentials.certificate_file,
            ssl_keyfile=credentials.key_file,
            # It runs commands, and not for everybody on this machine.
            ssl_cert_reqs=ssl.CERT_REQUIRED,
            ssl_ca_certs=str(credentials.ca_file),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        return uvicorn.Server(config)


def _has_place(pod: Object) -> bool:
    """Tell whether a pod takes GPUs of its node."""
    return pod["status"]["phase"] in {"Pending", "Running"}


def _gpus(pod: Object) -> int:
    return sum(int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in pod["spec"]["containers"])
