"""
Running a pod: its containers as local processes, and the status that a kubelet would report.

It knows no store and no API, so that it can serve behind any API server: it is given a pod's JSON, and tells what
becomes of it through ``on_status`` and ``on_event``. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from airflow_provider_together.emulator.kubernetes import pod_status
from airflow_provider_together.emulator.kubernetes.container_log import ContainerLog
from airflow_provider_together.emulator.kubernetes.container_process import ContainerProcess, Exit
from airflow_provider_together.emulator.kubernetes.container_setting import (
    NoCommandError,
    PodPlace,
    Setting,
    make_setting,
)
from airflow_provider_together.emulator.kubernetes.environment import MissingSourceError
from airflow_provider_together.emulator.kubernetes.images import pull_error
from airflow_provider_together.emulator.kubernetes.objects import Object, clone, meta, set_condition, time_text
from airflow_provider_together.emulator.kubernetes.supervision import kill_marked

#: Seconds that a kubelet waits before it tries again, ten times shorter than its own.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80

OnStatus = Callable[[Object], None]
#: Told as type (``Normal``, ``Warning``), reason, message, container; the last is empty for the pod itself.
OnEvent = Callable[[str, str, str, str], None]


class PodProcesses:
    """
    A pod on this machine.

    :param pod: its JSON, with the defaults that an API server fills in.
    :param place: where it lives.
    :param address: its address, on loopback.
    :param on_status: takes the whole status whenever it changes; the last one is final.
    :param on_event: takes what a kubelet would report as an event.
    """

    def __init__(self, pod: Object, *, place: PodPlace, address: str, on_status: OnStatus, on_event: OnEvent) -> None:
        self._pod = pod
        self._spec: Object = pod["spec"]
        self._place = place
        self._on_status = on_status
        self._on_event = on_event
        self._is_initialized = not self._spec.get("initContainers")
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_over = asyncio.Event()
        self._logs: dict[str, list[ContainerLog]] = {}
        self._running: dict[str, ContainerProcess] = {}
        self.settings: dict[str, Setting] = {}
        self.status = self._first_status(address)

    # --- for those who run it ---

    async def run(self) -> None:
        """Run all containers, and return when none runs any more, whatever the reason."""
        self._publish()
        deadline = self._spec.get("activeDeadlineSeconds")
        work = asyncio.create_task(self._run_all())
        try:
            await asyncio.wait([work], timeout=deadline)
            if not work.done():
                self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            await work
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            kill_marked(self._place.mark)
            self._complete_logs()
            self._is_over.set()

    async def wait(self) -> None:
        """Return when all of it has ended."""
        await self._is_over.wait()

    async def stop(self, seconds: float) -> None:
        """End all containers: by SIGTERM, and after some seconds by SIGKILL."""
        self._stopping.set()
        if seconds > 0:
            for process in self._running.values():
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), seconds)
        for process in self._running.values():
            process.kill()

    def fail(self, reason: str, message: str, *, disruption: str = "") -> None:
        """
        Let the whole pod fail now, from outside: evicted, too late, its node lost.

        :param disruption: reason of the condition ``DisruptionTarget``.
        """
        if self.has_ended:
            return
        self._stopping.set()
        self.status |= {"phase": "Failed", "reason": reason, "message": message}
        if disruption:
            set_condition(self.status, "DisruptionTarget", "True", reason=disruption, message=message)
        for kind in ("Ready", "ContainersReady"):
            set_condition(self.status, kind, "False", reason="PodFailed")
        for process in self._running.values():
            process.kill()
        self._publish()

    @property
    def has_ended(self) -> bool:
        """Whether the pod's phase is final."""
        return self.status["phase"] in ("Succeeded", "Failed")

    def log(self, container: str, *, is_previous: bool = False) -> ContainerLog | None:
        """Return the log of a container's latest run, or of the one before; None if there is none."""
        logs = self._logs.get(container, [])
        wanted = 2 if is_previous else 1
        return logs[-wanted] if len(logs) >= wanted else None

    def signal(self, container: str, number: int) -> None:
        """Send a signal to the processes of a container, if it runs."""
        if container in self._running:
            self._running[container].signal(number)

    def is_running(self, container: str) -> bool:
        """Tell whether a container runs."""
        return container in self._running

    # --- its containers ---

    async def _run_all(self) -> None:
        try:
            for container in self._spec.get("initContainers") or ():
                if await self._run_container(container, "initContainerStatuses") != 0:
                    self._end_uninitialized()
                    return
            self._is_initialized = True
            runs = [self._run_container(one, "containerStatuses") for one in self._spec["containers"]]
            await _all(runs)
        finally:
            self._ended.set()

    def _end_uninitialized(self) -> None:
        if not self.has_ended and not self._stopping.is_set():
            self.status["phase"] = "Failed"
            self._publish()

    async def _run_container(self, container: Object, group: str) -> int | None:
        """Run a container as often as its pod's restart policy says; the result is its last exit code."""
        backoff = _FIRST_BACKOFF
        while True:
            code = await self._run_once(container, group)
            if self._stopping.is_set() or not self._is_repeated(code, group):
                return code
            previous = self._container_status(container, group)
            pod_name = f"{meta(self._pod)['name']}_{meta(self._pod).get('namespace', 'default')}"
            restarting = pod_status.restarting(container, previous, seconds=backoff, pod=pod_name)
            self._report(group, restarting)
            self._on_event("Warning", "BackOff", restarting["state"]["waiting"]["message"], container["name"])
            if await self._is_stopped_within(backoff):
                return code
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    def _is_repeated(self, code: int | None, group: str) -> bool:
        policy = self._spec.get("restartPolicy", "Always")
        if policy == "Always" and group == "containerStatuses":
            return True
        return policy != "Never" and code != 0

    async def _run_once(self, container: Object, group: str) -> int | None:
        setting = await self._prepare(container, group)
        if setting is None:
            return None
        name = container["name"]
        self.settings[name] = setting
        log = ContainerLog()
        self._logs.setdefault(name, []).append(log)
        process = ContainerProcess(setting, log)
        previous = self._container_status(container, group)
        container_id = f"emulated://{meta(self._pod)['uid']}-{name}-{previous['restartCount']}"
        self._running[name] = process
        self._on_event("Normal", "Created", f"Created container: {name}", name)
        self._on_event("Normal", "Started", f"Started container {name}", name)
        self._report(group, pod_status.running(container, previous, container_id=container_id))
        try:
            end = await process.run()
        finally:
            del self._running[name]
        text = _termination_message(container, setting, end, log)
        status = pod_status.terminated(container, self._container_status(container, group), end, message=text)
        self._report(group, status)
        # Clients take the end of a followed log before that status for a lost connection.
        log.complete()
        return end.code

    async def _prepare(self, container: Object, group: str) -> Setting | None:
        """Return what a container needs once it is to be had; None if the pod is stopped before."""
        backoff = _FIRST_BACKOFF
        while True:
            if self._stopping.is_set():
                return None
            reason, message = self._pull(container)
            if not reason:
                try:
                    return make_setting(container, self._pod, self._place)
                except NoCommandError as error:
                    reason, message = "CreateContainerError", str(error)
                except MissingSourceError as error:
                    reason, message = "CreateContainerConfigError", str(error)
                self._on_event("Warning", "Failed", f"Error: {message}", container["name"])
            previous = self._container_status(container, group)
            waiting = pod_status.waiting(container, reason, message)
            self._report(group, waiting | {"restartCount": previous["restartCount"]})
            if await self._is_stopped_within(backoff):
                return None
            if reason == "ErrImagePull":
                image, name = container["image"], container["name"]
                backing_off = f'Back-off pulling image "{image}"'
                self._on_event("Normal", "BackOff", backing_off, name)
                self._report(group, pod_status.waiting(container, "ImagePullBackOff", f"{backing_off}: {message}"))
                if await self._is_stopped_within(backoff):
                    return None
                backoff = min(2 * backoff, _LONGEST_BACKOFF)

    def _pull(self, container: Object) -> tuple[str, str]:
        image, name = container.get("image", ""), container["name"]
        error = pull_error(image)
        if error is None:
            self._on_event("Normal", "Pulled", f'Container image "{image}" already present on machine', name)
            return "", ""
        self._on_event("Normal", "Pulling", f'Pulling image "{image}"', name)
        self._on_event("Warning", "Failed", f'Failed to pull image "{image}": {error}', name)
        self._on_event("Warning", "Failed", "Error: ErrImagePull", name)
        return "ErrImagePull", error

    async def _is_stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    # --- its status ---

    def _first_status(self, address: str) -> Object:
        status = clone(self._pod.get("status") or {})
        status |= {"phase": "Pending", "hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}]}
        status |= {"podIP": address, "podIPs": [{"ip": address}], "startTime": time_text()}
        reason = "ContainerCreating" if self._is_initialized else "PodInitializing"
        groups = {"initContainers": "initContainerStatuses", "containers": "containerStatuses"}
        for containers, group in groups.items():
            if self._spec.get(containers):
                status[group] = [pod_status.waiting(container, reason) for container in self._spec[containers]]
        return status

    def _container_status(self, container: Object, group: str) -> Object:
        statuses: list[Object] = self.status[group]
        return next(status for status in statuses if status["name"] == container["name"])

    def _report(self, group: str, new: Object) -> None:
        self.status[group] = [new if old["name"] == new["name"] else old for old in self.status[group]]
        self._publish()

    def _publish(self) -> None:
        if not self.has_ended:
            is_final = self._is_final()
            pod_status.conclude(self.status, is_initialized=self._is_initialized, is_final=is_final)
        self._on_status(clone(self.status))

    def _is_final(self) -> bool:
        """Tell whether no container will run again, so that the phase may be final."""
        policy = self._spec.get("restartPolicy", "Always")
        codes = [pod_status.exit_code(status) for status in self.status["containerStatuses"]]
        if self._stopping.is_set():
            return True
        return policy == "Never" or (policy == "OnFailure" and not any(codes))

    def _complete_logs(self) -> None:
        for logs in self._logs.values():
            for log in logs:
                log.complete()


async def _all(runs: list[Coroutine[Any, Any, int | None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(run)


def _termination_message(container: Object, setting: Setting, end: Exit, log: ContainerLog) -> str:
    try:
        with setting.termination_file.open("rb") as file:
            text = file.read(_MESSAGE_BYTES).decode(errors="replace")
    except OSError:
        text = ""
    if not text and end.code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        text = log.tail(lines=_FALLBACK_LINES, size=_FALLBACK_BYTES)
    return text or end.message
