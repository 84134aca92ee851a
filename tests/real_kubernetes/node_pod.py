"""
One pod on a node of the real control plane.

Its containers are run as the emulator runs them; here is what stands between them and a real API server: volumes and
sources are looked up there, status and events are written there, in their order.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.real_kubernetes.components import Object, forget, get, tell, write_status
from tests.real_kubernetes.kubelet.container_setting import PodPlace
from tests.real_kubernetes.kubelet.environment import read_data
from tests.real_kubernetes.kubelet.pod_processes import PodProcesses

_CLAIM_INTERVAL = 0.1
_FLUSH_SECONDS = 10.0
_SOURCES = {"secret": ("secrets", "secretName"), "configMap": ("configmaps", "name")}


class NodePod:
    """
    A pod from its start until nothing is left of it.

    :param client: with the node's credentials.
    :param pod: its JSON.
    :param folder: of its own; need not exist.
    :param mark: tells its processes from all others.
    :param address: its address.
    :param on_error: takes what nobody waits for.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        pod: Object,
        *,
        folder: Path,
        mark: str,
        address: str,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.pod = pod
        self.processes: PodProcesses | None = None
        self._client = client
        self._folder = folder
        self._mark = mark
        self._address = address
        self._on_error = on_error
        self._to_write: asyncio.Queue[Awaitable[None]] = asyncio.Queue()
        self._writer = self._task(self._write())
        self._life: asyncio.Task[None] | None = None
        self._removal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run its containers."""
        self._life = self._task(self._live())

    def remove(self, grace: float) -> None:
        """End its containers, and let the API server forget it."""
        if self._removal is None:
            self._removal = self._task(self._remove(grace))

    async def flush(self) -> None:
        """Return when the API server knows all that has happened so far."""
        await asyncio.wait_for(self._to_write.join(), _FLUSH_SECONDS)

    async def end(self, grace: float) -> None:
        """End its containers."""
        if self.processes is not None:
            await self.processes.stop(grace)
        elif self._life is not None:
            # It waits for a volume.
            self._life.cancel()
        if self._life is not None:
            await asyncio.wait([self._life])

    async def _remove(self, grace: float) -> None:
        await self.end(grace)
        await self.flush()
        self._writer.cancel()
        await forget(self._client, self.pod)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _live(self) -> None:
        namespace = self.pod["metadata"]["namespace"]
        sources = {
            (kind, one["metadata"]["name"]): one
            for kind in ("secrets", "configmaps")
            for one in (await get(self._client, f"/api/v1/namespaces/{namespace}/{kind}"))["items"]
        }
        volumes = {one["name"]: await self._volume(one, sources) for one in self.pod["spec"].get("volumes", ())}
        place = PodPlace(
            folder=self._folder,
            mark=self._mark,
            volumes=volumes,
            look_up=lambda kind, name: sources.get((kind, name)),
            resolve=str,
        )
        self.processes = PodProcesses(
            dict(self.pod), place=place, address=self._address, on_status=self._on_status, on_event=self._on_event
        )
        await self.processes.run()

    async def _volume(self, volume: Object, sources: Mapping[tuple[str, str], Any]) -> Path:
        if claim := volume.get("persistentVolumeClaim"):
            return await self._claimed(claim["claimName"])
        folder: Path = self._folder / "volumes" / volume["name"]
        # A folder of a few small files is made at once.
        folder.mkdir(parents=True)  # noqa: ASYNC240
        for source, (kind, key) in _SOURCES.items():
            if source in volume:
                for name, content in read_data(kind, sources[kind, volume[source][key]]).items():
                    (folder / name).write_bytes(content)
        return folder

    async def _claimed(self, claim: str) -> Path:
        """Return the folder of the volume that a claim has got; as on any node, its pod waits for it."""
        path = f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/persistentvolumeclaims/{claim}"
        found = await get(self._client, path)
        while found["status"]["phase"] != "Bound":
            await asyncio.sleep(_CLAIM_INTERVAL)
            found = await get(self._client, path)
        volume = await get(self._client, f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
        return Path(volume["spec"]["hostPath"]["path"])

    # --- what is written ---

    def _on_status(self, status: Object) -> None:
        self._to_write.put_nowait(write_status(self._client, self.pod, status))

    def _on_event(self, kind: str, reason: str, text: str, container: str) -> None:
        self._to_write.put_nowait(
            tell(self._client, self.pod, reason, text, kind=kind, component="kubelet", container=container)
        )

    async def _write(self) -> None:
        while True:
            writing = await self._to_write.get()
            await writing
            self._to_write.task_done()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def notice(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._on_error(error)

        task = asyncio.create_task(work)
        task.add_done_callback(notice)
        return task
