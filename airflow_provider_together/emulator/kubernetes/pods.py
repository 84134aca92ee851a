"""
The kubelets of a cluster: they run the pods that have a node, end those that are deleted, and report their status.

Each container runs once: there are no restarts, no images and no probes. An image of a registry under ``.invalid``, or
one that a test has named, cannot be pulled. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from airflow_provider_together.emulator.kubernetes.container import ContainerLog, ContainerProcess, Exit
from airflow_provider_together.emulator.kubernetes.environment import (
    MissingSourceError,
    PodPlace,
    Setting,
    make_setting,
)
from airflow_provider_together.emulator.kubernetes.notice import is_set_within
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    clone,
    find,
    has_condition,
    is_finished,
    is_terminating,
    meta,
    set_condition,
    time_text,
)
from airflow_provider_together.emulator.kubernetes.store import Store
from airflow_provider_together.emulator.kubernetes.supervision import kill_marked
from airflow_provider_together.emulator.kubernetes.volumes import prepare_volumes

#: Seconds between two looks at whether what a container waits for is there.
_LOOK_SECONDS = 1.0
#: How much of a termination message, or of the log in its place, is kept.
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80


class Kubelets:
    """
    All kubelets of a cluster.

    :param folder: where the folders of pods are.
    :param mark: the cluster's mark, which that of a pod is below.
    :param shared: the folder of all shared volumes.
    """

    def __init__(self, store: Store, *, folder: Path, mark: str, shared: Path) -> None:
        self.store = store
        self.folder = folder
        self.mark = mark
        self.shared = shared
        #: Images that cannot be pulled, beside those under ``.invalid``.
        self.missing_images: set[str] = set()
        self._runs: dict[str, PodRun] = {}
        self._graces: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def run_of(self, pod: Object) -> PodRun | None:
        """Return what runs or ran for a pod; None before it was started."""
        return self._runs.get(meta(pod)["uid"])

    def step(self) -> None:
        """Look at all pods once, and begin what is to be done."""
        pods = {meta(pod)["uid"]: pod for pod in self.store.all("pods")}
        for uid, pod in pods.items():
            node = self.store.find("nodes", "", find(pod, "spec.nodeName") or "")
            if is_terminating(pod):
                self._end(pod, int(meta(pod)["deletionGracePeriodSeconds"]))
            elif uid not in self._runs and not is_finished(pod) and node is not None and has_condition(node, "Ready"):
                self._runs[uid] = PodRun(self, pod)
                self._spawn(self._runs[uid].run())
        for uid in set(self._runs) - set(pods):
            self._spawn(self._forget(uid, self._runs.pop(uid)))

    async def close(self) -> None:
        """Kill everything at once."""
        for run in self._runs.values():
            self._spawn(run.stop(0))
        while self._tasks:
            await asyncio.wait(self._tasks)

    def address_of(self, pod: Object) -> str:
        """Return the address of a pod on loopback; a rank of a Job always has the same."""
        host, subdomain = find(pod, "spec.hostname"), find(pod, "spec.subdomain")
        return self._address(f"{host}.{subdomain}.{meta(pod)['namespace']}" if host and subdomain else meta(pod)["uid"])

    def known_names(self, namespace: str) -> dict[str, str]:
        """
        Return the names by which the ranks of Jobs find each other, with their addresses: ``JOB-0.SERVICE``.

        As in Kubernetes there has to be a Service of the subdomain's name.
        """
        services, names = {meta(service)["name"] for service in self.store.all("services", namespace)}, {}
        for job in self.store.all("jobs", namespace):
            subdomain = find(job, "spec.template.spec.subdomain")
            for index in range(job["spec"]["completions"] if subdomain in services else 0):
                name = f"{meta(job)['name']}-{index}.{subdomain}"
                for suffix in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local"):
                    names[f"{name}{suffix}"] = self._address(f"{name}.{namespace}")
        return names

    def pull_error(self, image: str) -> str:
        """Return why an image cannot be pulled; empty if it can, which all others can, since there are no images."""
        registry = image.partition("/")[0].partition(":")[0]
        if registry.endswith(".invalid"):
            return f'failed to pull and unpack image "{image}": dial tcp: lookup {registry}: no such host'
        if image in self.missing_images:
            return f'failed to pull and unpack image "{image}": {image}: not found'
        # Here goes a registry that wants a login: whether spec.imagePullSecrets names a Secret that has it.
        return ""

    def _address(self, key: str) -> str:
        # Random ones, since other emulators may run on this machine, and the first block is everybody's.
        if key not in self._addresses:
            numbers = (random.SystemRandom().randint(1, 254) for _ in range(3))
            self._addresses[key] = ".".join(["127", *map(str, numbers)])
        return self._addresses[key]

    def _end(self, pod: Object, grace: int) -> None:
        uid = meta(pod)["uid"]
        if grace < self._graces.get(uid, grace + 1):
            self._graces[uid] = grace
            self._spawn(self._stop(pod, grace))

    async def _stop(self, pod: Object, grace: int) -> None:
        run = self.run_of(pod)
        if run is not None:
            await run.stop(grace)
        self.store.remove("pods", pod)

    async def _forget(self, uid: str, run: PodRun) -> None:
        self._graces.pop(uid, None)
        await run.stop(0)
        shutil.rmtree(self.folder / uid, ignore_errors=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class PodRun:
    """A pod on this machine, from its start until its last process has ended."""

    def __init__(self, kubelets: Kubelets, pod: Object) -> None:
        self._kubelets = kubelets
        self._store = kubelets.store
        self._pod = pod
        self._spec: Object = pod["spec"]
        self._folder = kubelets.folder / meta(pod)["uid"]
        self._mark = f"{kubelets.mark}/{meta(pod)['uid']}"
        self._volumes: dict[str, Path] = {}
        self._stopping, self._is_over = asyncio.Event(), asyncio.Event()
        #: The containers that have been started, by name.
        self.processes: dict[str, ContainerProcess] = {}
        reason = "PodInitializing" if self._spec.get("initContainers") else "ContainerCreating"
        self._states: dict[str, Object] = {}
        for container in (*(self._spec.get("initContainers") or ()), *self._spec["containers"]):
            self._states[container["name"]] = {"waiting": {"reason": reason}}
        address = kubelets.address_of(pod)
        self._status: Object = {**clone(pod["status"]), "hostIP": "127.0.0.1", "podIP": address}
        self._status |= {"podIPs": [{"ip": address}], "startTime": time_text()}

    async def run(self) -> None:
        """Run all containers, and return when none runs any more, whatever the reason."""
        work = asyncio.create_task(self._run_all())
        try:
            await asyncio.wait([work], timeout=self._spec.get("activeDeadlineSeconds"))
            if not work.done():
                self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            await work
        finally:
            work.cancel()
            kill_marked(self._mark)
            self._is_over.set()

    async def stop(self, seconds: float) -> None:
        """End all containers, by SIGTERM and after some seconds by SIGKILL, and return when they have ended."""
        self._stopping.set()
        if seconds > 0:
            for process in self.processes.values():
                process.terminate()
            await is_set_within(self._is_over, seconds)
        for process in self.processes.values():
            process.kill()
        await self._is_over.wait()

    def fail(self, reason: str, message: str, *, disruption: str = "") -> None:
        """
        Let the whole pod fail now, from outside: evicted, too late, its node lost.

        :param disruption: reason of the condition ``DisruptionTarget``.
        """
        if is_finished({"status": self._status}):
            return
        self._stopping.set()
        self._status |= {"phase": "Failed", "reason": reason, "message": message}
        if disruption:
            set_condition(self._status, "DisruptionTarget", reason=disruption, message=message)
        self._publish()
        for process in self.processes.values():
            process.kill()

    def is_running(self, name: str) -> bool:
        """Whether a container runs."""
        return "running" in self._states[name]

    def waiting_reason(self, name: str) -> str:
        """Return why a container has not begun."""
        return str(find(self._states[name], "waiting.reason") or "ContainerCreating")

    # --- its containers ---

    async def _run_all(self) -> None:
        self._publish()
        if not await self._mount():
            return
        for container in self._spec.get("initContainers") or ():
            if await self._run_container(container) != 0:
                return
        await asyncio.gather(*map(self._run_container, self._spec["containers"]))

    async def _mount(self) -> bool:
        """Prepare the volumes once their sources are there; whether they are before the pod is stopped."""
        while not self._stopping.is_set():
            try:
                self._volumes = prepare_volumes(self._store, self._pod, self._folder, self._kubelets.shared)
            except MissingSourceError as error:
                self._store.record_event(self._pod, "FailedMount", f"MountVolume.SetUp failed: {error}", kind="Warning")
                await is_set_within(self._stopping, _LOOK_SECONDS)
            else:
                return True
        return False

    async def _run_container(self, container: Object) -> int | None:
        """Run a container once what it needs is there; the result is its exit code, None if it never ran."""
        name = container["name"]
        setting = await self._prepare(container)
        if setting is None:
            return None
        process = self.processes[name] = ContainerProcess(setting, ContainerLog())
        for reason, message in (("Created", f"Created container: {name}"), ("Started", f"Started container {name}")):
            self._store.record_event(self._pod, reason, message, container=name)
        started_at = time_text()
        self._show(name, {"running": {"startedAt": started_at}})
        end = await process.run()
        state = {"exitCode": end.code, "reason": end.reason, "startedAt": started_at, "finishedAt": time_text()}
        message = _termination_message(container, process, end)
        self._show(name, {"terminated": state | ({"message": message} if message else {})})
        # Clients take the end of a followed log before that status for a lost connection.
        process.log.complete()
        return end.code

    async def _prepare(self, container: Object) -> Setting | None:
        name, image = container["name"], container["image"]
        while not self._stopping.is_set():
            if error := self._kubelets.pull_error(image):
                self._record_warning(name, "Failed", f'Failed to pull image "{image}": {error}')
                self._wait_for(name, "ErrImagePull", error, event="Error: ErrImagePull")
                await is_set_within(self._stopping, _LOOK_SECONDS)
                backing_off = f'Back-off pulling image "{image}"'
                self._wait_for(name, "ImagePullBackOff", f"{backing_off}: {error}", event=backing_off)
                await is_set_within(self._stopping, _LOOK_SECONDS)
                continue
            try:
                # The names are looked up now: a Service may be younger than the pod.
                names = self._kubelets.known_names(meta(self._pod)["namespace"])
                place = PodPlace(folder=self._folder, mark=self._mark, volumes=self._volumes, addresses=names)
                return make_setting(self._store, self._pod, container, place)
            except MissingSourceError as error:
                self._wait_for(name, "CreateContainerConfigError", str(error), event=f"Error: {error}")
                await is_set_within(self._stopping, _LOOK_SECONDS)
        return None

    # --- its status ---

    def _wait_for(self, name: str, reason: str, message: str, *, event: str) -> None:
        self._record_warning(name, "BackOff" if reason == "ImagePullBackOff" else "Failed", event)
        self._show(name, {"waiting": {"reason": reason, "message": message}})

    def _record_warning(self, name: str, reason: str, message: str) -> None:
        self._store.record_event(self._pod, reason, message, kind="Warning", container=name)

    def _show(self, name: str, state: Object) -> None:
        self._states[name] = state
        self._publish()

    def _phase(self) -> str:
        """Return the phase that follows from the states of the containers."""
        states = [self._states[container["name"]] for container in self._spec["containers"]]
        codes = [find(state, "terminated.exitCode") for state in states]
        prepared = [self._states[container["name"]] for container in self._spec.get("initContainers") or ()]
        if any(find(state, "terminated.exitCode") for state in prepared):
            return "Failed"
        if None in codes:
            return "Pending" if all("waiting" in state for state in states) else "Running"
        return "Failed" if any(codes) else "Succeeded"

    def _publish(self) -> None:
        for field, group in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
            if self._spec.get(group):
                self._status[field] = [self._container_status(container) for container in self._spec[group]]
        if not is_finished({"status": self._status}):
            self._status["phase"] = self._phase()
        is_ready = all(self.is_running(container["name"]) for container in self._spec["containers"])
        set_condition(self._status, "Ready", value=is_ready, reason="" if is_ready else "ContainersNotReady")
        status = clone(self._status)
        self._store.update("pods", self._pod, lambda new: new.update(status=status))

    def _container_status(self, container: Object) -> Object:
        state = self._states[container["name"]]
        has_begun = "waiting" not in state
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"emulated://{container['image']}" if has_begun else "",
            "containerID": f"emulated://{meta(self._pod)['uid']}-{container['name']}" if has_begun else "",
            "state": state,
            "lastState": {},
            "ready": "running" in state,
            "started": "running" in state,
            "restartCount": 0,
        }


def _termination_message(container: Object, process: ContainerProcess, end: Exit) -> str:
    text = ""
    if process.setting.termination_file.is_file():
        text = process.setting.termination_file.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
    if not text and end.code != 0 and container["terminationMessagePolicy"] == "FallbackToLogsOnError":
        text = process.log.tail(lines=_FALLBACK_LINES, size=_FALLBACK_BYTES)
    return text or end.message
