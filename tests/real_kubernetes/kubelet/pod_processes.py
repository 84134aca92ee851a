"""
Running a pod: its containers as local processes, and the status that a kubelet would report.

It knows no store and no API, so that it can serve behind any API server: it is given a pod's JSON, and tells what
becomes of it through ``on_status`` and ``on_event``. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from airflow_provider_together.emulator.kubernetes.notice import is_set_within
from airflow_provider_together.emulator.kubernetes.supervision import kill_marked
from tests.real_kubernetes.kubelet import pod_status
from tests.real_kubernetes.kubelet.container_life import ContainerLife, OnEvent, PodRun
from tests.real_kubernetes.kubelet.container_log import ContainerLog
from tests.real_kubernetes.kubelet.container_setting import PodPlace, Setting
from tests.real_kubernetes.kubelet.objects import Object, clone, set_condition, time_text

OnStatus = Callable[[Object], None]


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
        self._spec: Object = pod["spec"]
        self._mark = place.mark
        self._on_status = on_status
        self._is_initialized = not self._spec.get("initContainers")
        self._stopping = asyncio.Event()
        self._have_ended = asyncio.Event()
        self._is_over = asyncio.Event()
        run = PodRun(pod=pod, place=place, stopping=self._stopping, on_change=self._publish, on_event=on_event)
        self._init_containers = [ContainerLife(one, run) for one in self._spec.get("initContainers") or ()]
        self._containers = [ContainerLife(one, run) for one in self._spec["containers"]]
        self._by_name = {life.status["name"]: life for life in (*self._init_containers, *self._containers)}
        self._status = {**clone(pod.get("status") or {}), **_first_status(address)}

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
            kill_marked(self._mark)
            for life in self._by_name.values():
                for log in life.logs:
                    log.complete()
            self._is_over.set()

    async def wait(self) -> None:
        """Return when all of it has ended."""
        await self._is_over.wait()

    async def stop(self, seconds: float) -> None:
        """End all containers: by SIGTERM, and after some seconds by SIGKILL."""
        self._stopping.set()
        if seconds > 0:
            for life in self._by_name.values():
                life.terminate()
            await is_set_within(self._have_ended, seconds)
        for life in self._by_name.values():
            life.kill()

    def fail(self, reason: str, message: str, *, disruption: str = "") -> None:
        """
        Let the whole pod fail now, from outside: evicted, too late, its node lost.

        :param disruption: reason of the condition ``DisruptionTarget``.
        """
        if self.has_ended:
            return
        self._stopping.set()
        self._status |= {"phase": "Failed", "reason": reason, "message": message}
        if disruption:
            set_condition(self._status, "DisruptionTarget", "True", reason=disruption, message=message)
        for kind in ("Ready", "ContainersReady"):
            set_condition(self._status, kind, "False", reason="PodFailed")
        for life in self._by_name.values():
            life.kill()
        self._publish()

    @property
    def has_ended(self) -> bool:
        """Whether the pod's phase is final."""
        return self._status["phase"] in ("Succeeded", "Failed")

    def log(self, container: str, *, is_previous: bool = False) -> ContainerLog | None:
        """Return the log of a container's latest run, or of the one before; None if there is none."""
        logs = self._by_name[container].logs if container in self._by_name else []
        wanted = 2 if is_previous else 1
        return logs[-wanted] if len(logs) >= wanted else None

    def setting(self, container: str) -> Setting:
        """
        Return what a container was started with.

        :raises KeyError: if it never was.
        """
        setting = self._by_name[container].setting
        if setting is None:
            raise KeyError(container)
        return setting

    def signal(self, container: str, number: int) -> None:
        """Send a signal to the processes of a container, if it runs."""
        self._by_name[container].signal(number)

    async def wait_for_container(self, container: str) -> None:
        """Return when a container does not run any more."""
        await self._by_name[container].wait()

    def is_running(self, container: str) -> bool:
        """Tell whether a container runs."""
        return container in self._by_name and self._by_name[container].is_running

    async def _run_all(self) -> None:
        try:
            for life in self._init_containers:
                if await life.run() != 0:
                    self._end_uninitialized()
                    return
            self._is_initialized = True
            async with asyncio.TaskGroup() as group:
                for life in self._containers:
                    group.create_task(life.run())
        finally:
            self._have_ended.set()

    def _end_uninitialized(self) -> None:
        if not self.has_ended and not self._stopping.is_set():
            self._status["phase"] = "Failed"
            self._publish()

    def _publish(self) -> None:
        groups = {"initContainerStatuses": self._init_containers, "containerStatuses": self._containers}
        self._status |= {group: [life.status for life in lives] for group, lives in groups.items() if lives}
        if not self.has_ended:
            is_final = self._is_final()
            pod_status.conclude(self._status, is_initialized=self._is_initialized, is_final=is_final)
        self._on_status(clone(self._status))

    def _is_final(self) -> bool:
        """Tell whether no container will run again, so that the phase may be final."""
        if self._stopping.is_set():
            return True
        policy = self._spec.get("restartPolicy", "Always")
        codes = [pod_status.exit_code(life.status) for life in self._containers]
        return policy == "Never" or (policy == "OnFailure" and not any(codes))


def _first_status(address: str) -> Object:
    status: Object = {"phase": "Pending", "hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}]}
    return status | {"podIP": address, "podIPs": [{"ip": address}], "startTime": time_text()}
