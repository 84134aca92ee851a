"""
One container of a pod through all its runs: its image, what it needs, its process, and the waits before the next run.

``pod_processes.py`` has one of these for each container; ``container_process.py`` is a single run. All of it belongs
to one event loop. Source of reasons and messages: pkg/kubelet of Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.notice import is_set_within
from tests.real_kubernetes.kubelet import pod_status
from tests.real_kubernetes.kubelet.container_log import ContainerLog
from tests.real_kubernetes.kubelet.container_process import ContainerProcess, Exit
from tests.real_kubernetes.kubelet.container_setting import (
    NoCommandError,
    PodPlace,
    Setting,
    make_setting,
)
from tests.real_kubernetes.kubelet.environment import MissingSourceError
from tests.real_kubernetes.kubelet.objects import Object, meta

#: Seconds that a kubelet waits before it tries again, ten times shorter than its own.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0
#: How much of a termination message, or of a log in its place, is kept.
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80

#: Told as type (``Normal``, ``Warning``), reason, message, container.
OnEvent = Callable[[str, str, str, str], None]


@dataclass(frozen=True, kw_only=True)
class PodRun:
    """
    What the containers of a pod have in common.

    :param pod: its JSON, with the defaults that an API server fills in.
    :param place: where it lives.
    :param stopping: set when it is to end; then nothing is started any more.
    :param on_change: called whenever the status of a container has changed.
    :param on_event: takes what a kubelet would report as an event.
    """

    pod: Object
    place: PodPlace
    stopping: asyncio.Event
    on_change: Callable[[], None]
    on_event: OnEvent


class ContainerLife:
    """
    A container that has not been started yet.

    :param container: its JSON.
    """

    def __init__(self, container: Object, run: PodRun) -> None:
        init_containers = run.pod["spec"].get("initContainers") or ()
        self._container = container
        self._name: str = container["name"]
        self._is_init = container in init_containers
        self._pod = run.pod
        self._place = run.place
        self._stopping = run.stopping
        self._on_change = run.on_change
        self._on_event = run.on_event
        self._process: ContainerProcess | None = None
        self._has_ended = asyncio.Event()
        #: Of its runs, the latest last.
        self.logs: list[ContainerLog] = []
        #: Of its latest run.
        self.setting: Setting | None = None
        self.status = pod_status.waiting(container, "PodInitializing" if init_containers else "ContainerCreating")

    @property
    def is_running(self) -> bool:
        """Whether it has processes now."""
        return self._process is not None

    async def run(self) -> int | None:
        """Run it as often as its pod's restart policy says; the result is its last exit code, None without a run."""
        backoff = _FIRST_BACKOFF
        while True:
            code = await self._run_once()
            if self._stopping.is_set() or not self._is_repeated(code):
                return code
            pod_name = f"{meta(self._pod)['name']}_{meta(self._pod).get('namespace', 'default')}"
            self._show(pod_status.restarting(self._container, self.status, seconds=backoff, pod=pod_name))
            self._tell("Warning", "BackOff", self.status["state"]["waiting"]["message"])
            if await is_set_within(self._stopping, backoff):
                return code
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    async def wait(self) -> None:
        """Return when it does not run any more."""
        if self._process is not None:
            await self._has_ended.wait()

    def signal(self, number: int) -> None:
        """Send a signal to its processes, if it runs."""
        if self._process is not None:
            self._process.signal(number)

    def terminate(self) -> None:
        """Ask it to end, if it runs."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill its processes, if it runs."""
        if self._process is not None:
            self._process.kill()

    def _is_repeated(self, code: int | None) -> bool:
        policy = self._pod["spec"].get("restartPolicy", "Always")
        if policy == "Always" and not self._is_init:
            return True
        return policy != "Never" and code != 0

    async def _run_once(self) -> int | None:
        setting = await self._prepare()
        if setting is None:
            return None
        self.setting = setting
        log = ContainerLog()
        self.logs.append(log)
        self._process, self._has_ended = ContainerProcess(setting, log), asyncio.Event()
        container_id = f"emulated://{meta(self._pod)['uid']}-{self._name}-{self.status['restartCount']}"
        self._tell("Normal", "Created", f"Created container: {self._name}")
        self._tell("Normal", "Started", f"Started container {self._name}")
        self._show(pod_status.running(self._container, self.status, container_id=container_id))
        try:
            end = await self._process.run()
        finally:
            self._process = None
            self._has_ended.set()
        text = _termination_message(self._container, setting, end, log)
        self._show(pod_status.terminated(self._container, self.status, end, message=text))
        # Clients take the end of a followed log before that status for a lost connection.
        log.complete()
        return end.code

    async def _prepare(self) -> Setting | None:
        """Return what it needs once that is to be had; None if the pod is stopped before."""
        backoff = _FIRST_BACKOFF
        while not self._stopping.is_set():
            error = self._pull()
            if error is None:
                try:
                    return make_setting(self._container, self._pod, self._place)
                except NoCommandError as problem:
                    self._fail_to_create("CreateContainerError", str(problem))
                except MissingSourceError as problem:
                    self._fail_to_create("CreateContainerConfigError", str(problem))
                await is_set_within(self._stopping, backoff)
                continue
            self._wait_for("ErrImagePull", error)
            if await is_set_within(self._stopping, backoff):
                return None
            backing_off = f'Back-off pulling image "{self._container["image"]}"'
            self._tell("Normal", "BackOff", backing_off)
            self._wait_for("ImagePullBackOff", f"{backing_off}: {error}")
            await is_set_within(self._stopping, backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)
        return None

    def _pull(self) -> str | None:
        """Return why its image is not available; None if it is."""
        image = self._container.get("image", "")
        error = _pull_error(image)
        if error is None:
            self._tell("Normal", "Pulled", f'Container image "{image}" already present on machine')
            return None
        self._tell("Normal", "Pulling", f'Pulling image "{image}"')
        self._tell("Warning", "Failed", f'Failed to pull image "{image}": {error}')
        self._tell("Warning", "Failed", "Error: ErrImagePull")
        return error

    def _fail_to_create(self, reason: str, message: str) -> None:
        self._tell("Warning", "Failed", f"Error: {message}")
        self._wait_for(reason, message)

    def _wait_for(self, reason: str, message: str) -> None:
        restarts = {"restartCount": self.status["restartCount"]}
        self._show(pod_status.waiting(self._container, reason, message) | restarts)

    def _show(self, status: Object) -> None:
        self.status = status
        self._on_change()

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._on_event(kind, reason, message, self._name)


def _pull_error(image: str) -> str | None:
    """
    Return why an image cannot be pulled; None for one that can, which is every other name, since there are no images.

    It cannot if its registry is under ``.invalid``, where no host ever is (RFC 2606), or if its tag is ``missing``.
    """
    registry, separator, _ = image.partition("/")
    host = registry.partition(":")[0]
    if separator and host.endswith(".invalid"):
        return f'failed to pull and unpack image "{image}": dial tcp: lookup {host}: no such host'
    if image.rpartition("/")[2].partition(":")[2] == "missing":
        return f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    return None


def _termination_message(container: Object, setting: Setting, end: Exit, log: ContainerLog) -> str:
    try:
        with setting.termination_file.open("rb") as file:
            text = file.read(_MESSAGE_BYTES).decode(errors="replace")
    except OSError:
        text = ""
    if not text and end.code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        text = log.tail(lines=_FALLBACK_LINES, size=_FALLBACK_BYTES)
    return text or end.message
