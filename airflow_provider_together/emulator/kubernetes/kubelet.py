"""
The kubelets of a cluster: they start the pods that are bound to their nodes, end those that are deleted, and report.

It stands between the store and ``pod_processes.py``. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from airflow_provider_together.emulator.kubernetes.container_setting import PodPlace
from airflow_provider_together.emulator.kubernetes.environment import MissingSourceError
from airflow_provider_together.emulator.kubernetes.events import NORMAL, WARNING, Recorder
from airflow_provider_together.emulator.kubernetes.folders import MountError, SharedFolders, prepare_volumes
from airflow_provider_together.emulator.kubernetes.host_names import Addresses, known_names
from airflow_provider_together.emulator.kubernetes.nodes import is_lost
from airflow_provider_together.emulator.kubernetes.objects import Object, find, is_finished, is_terminating, meta
from airflow_provider_together.emulator.kubernetes.pod_processes import PodProcesses
from airflow_provider_together.emulator.kubernetes.rewriting import name_rewriter
from airflow_provider_together.emulator.kubernetes.store import Store


class Kubelets:
    """
    All kubelets of a cluster.

    :param folder: where the folders of pods are.
    :param mark: the cluster's mark, which that of a pod is below.
    :param shared: the folders of shared volumes.
    """

    def __init__(self, store: Store, *, folder: Path, mark: str, shared: SharedFolders, addresses: Addresses) -> None:
        self._store = store
        self._folder = folder
        self._mark = mark
        self._shared = shared
        self._addresses = addresses
        self._recorder = Recorder(store, "kubelet")
        self._pods: dict[str, PodProcesses] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: dict[str, int] = {}

    def processes(self, pod: Object) -> PodProcesses | None:
        """Return what runs or ran for a pod; None before it was started."""
        return self._pods.get(meta(pod)["uid"])

    def step(self) -> None:
        """Look at all pods once, and begin what is to be done."""
        present = set()
        for pod in self._store.all("pods"):
            uid = meta(pod)["uid"]
            present.add(uid)
            if is_terminating(pod):
                self._end(pod)
            elif find(pod, "spec.nodeName") and uid not in self._pods and not is_finished(pod):
                self._start(pod)
        for uid in [uid for uid in self._pods if uid not in present]:
            self._forget(uid)

    async def close(self) -> None:
        """Kill everything at once."""
        for processes in self._pods.values():
            self._spawn(processes.stop(0))
        while self._tasks:
            await asyncio.wait(self._tasks)

    def fail(self, pod: Object, reason: str, message: str, *, disruption: str) -> None:
        """Let a pod fail from outside, with a condition ``DisruptionTarget``."""
        processes = self.processes(pod)
        if processes is not None:
            processes.fail(reason, message, disruption=disruption)

    def lose(self, node: str) -> None:
        """Let all pods of a node be lost with it."""
        for pod in self._store.all("pods"):
            if find(pod, "spec.nodeName") == node and not is_finished(pod):
                name = meta(pod)["name"]
                message = f"Node {node} which was running pod {name} is unresponsive"
                self.fail(pod, "NodeLost", message, disruption="DeletionByTaintManager")

    def _start(self, pod: Object) -> None:
        node = self._store.find("nodes", "", pod["spec"]["nodeName"])
        if node is None or is_lost(node):
            return
        namespace, uid = meta(pod)["namespace"], meta(pod)["uid"]
        folder = self._folder / uid
        try:
            volumes = prepare_volumes(pod, folder, store=self._store, shared=self._shared)
        except (MountError, MissingSourceError) as error:
            self._recorder.record_once(pod, WARNING, "FailedMount", f"MountVolume.SetUp failed: {error}")
            return

        def resolve(text: str) -> str:
            # Looked up when a container starts: its Service may be younger than its pod.
            return name_rewriter(known_names(self._store, self._addresses, namespace))(text)

        place = PodPlace(
            folder=folder,
            mark=f"{self._mark}/{uid}",
            volumes=volumes,
            look_up=lambda plural, name: self._store.find(plural, namespace, name),
            resolve=resolve,
        )
        processes = PodProcesses(
            pod,
            place=place,
            address=self._addresses.of_pod(pod),
            on_status=lambda status: self._report(pod, status),
            on_event=lambda kind, reason, message, container: self._note(pod, kind, reason, message, container),
        )
        self._pods[uid] = processes
        self._spawn(processes.run())

    def _end(self, pod: Object) -> None:
        """End the processes of a deleted pod, and then the pod."""
        uid, grace = meta(pod)["uid"], int(meta(pod).get("deletionGracePeriodSeconds") or 0)
        earlier = self._stopping.get(uid)
        if earlier is not None and earlier <= grace:
            return
        self._stopping[uid] = grace
        self._spawn(self._stop(pod, grace))

    async def _stop(self, pod: Object, grace: int) -> None:
        processes = self.processes(pod)
        if processes is not None:
            for container in pod["spec"]["containers"]:
                name = container["name"]
                if processes.is_running(name):
                    self._note(pod, NORMAL, "Killing", f"Stopping container {name}", name)
            await processes.stop(grace)
            await processes.wait()
        self._update(pod, _without_grace)

    def _forget(self, uid: str) -> None:
        processes = self._pods.pop(uid)
        self._stopping.pop(uid, None)
        self._spawn(self._remove(processes, uid))

    async def _remove(self, processes: PodProcesses, uid: str) -> None:
        await processes.stop(0)
        await processes.wait()
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def _report(self, pod: Object, status: Object) -> None:
        self._update(pod, lambda new: new | {"status": status})

    def _update(self, pod: Object, change: Callable[[Object], Object | None]) -> None:
        """Change a pod in the store, unless it is gone, and perhaps another has its name."""
        namespace, name = meta(pod)["namespace"], meta(pod)["name"]
        current = self._store.find("pods", namespace, name)
        if current is not None and meta(current)["uid"] == meta(pod)["uid"]:
            self._store.update("pods", namespace, name, change)

    def _note(self, pod: Object, kind: str, reason: str, message: str, container: str) -> None:
        is_init = any(one["name"] == container for one in pod["spec"].get("initContainers") or ())
        group = "initContainers" if is_init else "containers"
        field_path = f"spec.{group}{{{container}}}" if container else ""
        self._recorder.record(pod, kind, reason, message, field_path=field_path)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _without_grace(pod: Object) -> None:
    meta(pod)["deletionGracePeriodSeconds"] = 0
