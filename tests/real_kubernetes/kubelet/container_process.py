"""
One run of a container: a process group on this machine, its output, its memory limit, and its end.

It knows no pod and no Kubernetes object; ``pod_processes.py`` gives it everything. Linux only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, kill_marked, marked_processes
from tests.real_kubernetes.kubelet.container_log import ContainerLog
from tests.real_kubernetes.kubelet.container_setting import Setting

_CHUNK = 64 * 1024
#: Seconds between two looks at the memory in use.
_MEMORY_SECONDS = 0.05
#: Seconds that output is waited for after all processes are dead.
_OUTPUT_SECONDS = 2.0
#: posix_spawn cannot change the folder, so that a shell does it and becomes the command.
_ENTER_AND_RUN = 'cd "$0" && unset OLDPWD && exec "$@"'

_START_ERROR, _SIGNALLED = 128, 128


@dataclass(frozen=True, kw_only=True)
class Exit:
    """
    How a container ended.

    :param reason: the word of its status: ``Completed``, ``Error``, ``OOMKilled``, ``StartError``.
    :param started_at: epoch seconds.
    :param finished_at: epoch seconds.
    """

    code: int
    reason: str
    started_at: float
    finished_at: float
    message: str = ""


class ContainerProcess:
    """
    A command that runs, as the leader of a process group.

    :param setting: what it is started with.
    :param log: takes what it writes.
    """

    def __init__(self, setting: Setting, log: ContainerLog) -> None:
        self._command = setting.command
        self._environment = {**setting.environment, MARK_VARIABLE: setting.mark}
        self._folder = setting.folder
        self._mark = setting.mark
        self._memory_limit = setting.memory_limit
        self._log = log
        self._is_out_of_memory = False
        self._leader: int | None = None
        self._started_at = time.time()

    async def run(self) -> Exit:
        """Start, and return when it and all that it has started have ended."""
        self._started_at = time.time()
        if shutil.which(self._command[0], path=self._environment.get("PATH")) is None:
            message = f"exec: {self._command[0]!r}: executable file not found in $PATH"
            return self._exit(_START_ERROR, "StartError", message)
        try:
            output, leader, handle = self._spawn()
        except (OSError, ValueError) as error:
            # More words than a command can have, or such that none can have.
            return self._exit(_START_ERROR, "StartError", f"exec: {error}")
        self._leader = leader
        drained = self._collect(output)
        watch = None if self._memory_limit is None else asyncio.create_task(self._watch_memory(self._memory_limit))
        try:
            await _readable(handle)
            # The leader is dead, but not yet reaped: nobody else can have its number.
            self.signal(signal.SIGKILL)
            while kill_marked(self._mark):  # noqa: ASYNC110 - nobody tells of the end of grandchildren
                await asyncio.sleep(0.005)
            await asyncio.wait([drained], timeout=_OUTPUT_SECONDS)
        finally:
            self.kill()
            self._leader = None
            if watch is not None:
                watch.cancel()
            asyncio.get_running_loop().remove_reader(output)
            os.close(output)
            os.close(handle)
            # It is dead: this does not block.
            _, status = os.waitpid(leader, 0)  # noqa: ASYNC222
        code = os.waitstatus_to_exitcode(status)
        return self._ended(code if code >= 0 else _SIGNALLED - code)

    def signal(self, number: int) -> None:
        """Send a signal to the process group, if it still runs."""
        if self._leader is not None:
            os.killpg(self._leader, number)

    def terminate(self) -> None:
        """Send SIGTERM to the leader alone, as a kubelet does to the first process of a container."""
        if self._leader is not None:
            os.kill(self._leader, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all its processes."""
        self.signal(signal.SIGKILL)
        kill_marked(self._mark)

    def _spawn(self) -> tuple[int, int, int]:
        """Start the processes; the result is the pipe of their output, the leader's id and a handle to it."""
        output, its_end = os.pipe()
        try:
            os.set_blocking(output, False)
            leader = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _ENTER_AND_RUN, str(self._folder), *self._command],
                self._environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, its_end, 1),
                    (os.POSIX_SPAWN_DUP2, its_end, 2),
                ],
                setsid=True,
                setsigmask=(),
                # A process in the background ignores SIGINT, and a shell cannot trap what it inherits ignored.
                setsigdef=(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
            )
        except (OSError, ValueError):
            os.close(output)
            raise
        finally:
            os.close(its_end)
        return output, leader, os.pidfd_open(leader)

    def _collect(self, output: int) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        drained: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            try:
                chunk = os.read(output, _CHUNK)
            except BlockingIOError:
                return
            if chunk:
                self._log.write(chunk)
            else:
                loop.remove_reader(output)
                if not drained.done():
                    drained.set_result(None)

        loop.add_reader(output, read)
        return drained

    async def _watch_memory(self, limit: int) -> None:
        while self._resident_bytes() <= limit:  # noqa: ASYNC110 - nobody tells how much there is
            await asyncio.sleep(_MEMORY_SECONDS)
        self._is_out_of_memory = True
        self.kill()

    def _resident_bytes(self) -> int:
        return sum(_resident_bytes(process_id) for process_id in marked_processes(self._mark))

    def _ended(self, code: int) -> Exit:
        if self._is_out_of_memory:
            return self._exit(_SIGNALLED + signal.SIGKILL, "OOMKilled")
        return self._exit(code, "Completed" if code == 0 else "Error")

    def _exit(self, code: int, reason: str, message: str = "") -> Exit:
        now = time.time()
        return Exit(code=code, reason=reason, started_at=self._started_at, finished_at=now, message=message)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(descriptor, finish)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)


def _resident_bytes(process_id: int) -> int:
    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return 0
