"""
One container: a process group on this machine, and the log of what it writes. Linux only.

It knows no pod and no Kubernetes object but what ``environment.py`` has made of it; ``pods.py`` runs it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_together.emulator.kubernetes.environment import Setting
from airflow_provider_together.emulator.kubernetes.notice import Notice
from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, kill_marked

_CHUNK = 64 * 1024
#: Seconds between two looks at a log when nothing is written; and for its last output when all processes are dead.
_LOOK_SECONDS, _OUTPUT_SECONDS = 1.0, 2.0
#: posix_spawn cannot change the folder, so that a shell does it and becomes the command.
_ENTER_AND_RUN = 'cd "$0" && unset OLDPWD && exec "$@"'
#: A process in the background ignores SIGINT, and a shell cannot trap what it inherits ignored.
_RESET_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """
    The part of a log that a client wants.

    :param since: only what was written at or after this moment, in epoch seconds.
    """

    follow: bool = False
    timestamps: bool = False
    since: float | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


class ContainerLog:
    """The lines of a container with their times, in nanoseconds since the epoch, in the order of their writing."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []
        self._begun = b""
        self._is_complete = False
        self._notice = Notice()

    def write(self, chunk: bytes) -> None:
        """Add what a process wrote."""
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        self._lines += [(time.time_ns(), line + b"\n") for line in lines]
        self._notice.give()

    def complete(self) -> None:
        """Say that no more will come, which ends the following of it."""
        if self._begun:
            self._lines.append((time.time_ns(), self._begun))
            self._begun = b""
        self._is_complete = True
        self._notice.give()

    def tail(self, *, lines: int, size: int) -> str:
        """Return the end of the log: at most so many lines and bytes."""
        return b"".join(line for _, line in self._lines[-lines:])[-size:].decode(errors="replace")

    async def read(self, request: LogRequest) -> AsyncIterator[bytes]:
        """Yield the wanted part; with ``follow`` until the container has ended."""
        left, position = request.limit_bytes, self._first(request)
        while True:
            chunk = b"".join(_line(at, line, request) for at, line in self._lines[position:])
            position = len(self._lines)
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk[:left])
            if chunk:
                yield chunk
            if position == len(self._lines):
                if not request.follow or self._is_complete or left == 0:
                    return
                await self._notice.wait(_LOOK_SECONDS)

    def _first(self, request: LogRequest) -> int:
        first = 0
        if request.since is not None:
            # In microseconds, since a float holds no nanoseconds.
            since = round(request.since * 1e6)
            first = sum(at // 1000 < since for at, _ in self._lines)
        return first if request.tail_lines is None else max(first, len(self._lines) - request.tail_lines)


def _line(at: int, line: bytes, request: LogRequest) -> bytes:
    if not request.timestamps:
        return line
    seconds, nanoseconds = divmod(at, 10**9)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z ".encode() + line


@dataclass(frozen=True, kw_only=True)
class Exit:
    """
    How a container ended.

    :param reason: the word of its status: ``Completed``, ``Error``, ``OOMKilled``, ``StartError``.
    """

    code: int
    reason: str
    message: str = ""


class ContainerProcess:
    """A command that runs, as the leader of a process group, until it and all that it has started have ended."""

    def __init__(self, setting: Setting, log: ContainerLog) -> None:
        self.setting = setting
        self.log = log
        self.has_ended = asyncio.Event()
        self._leader: int | None = None
        self._is_out_of_memory = False

    async def run(self) -> Exit:
        """Start it, and return when it has ended."""
        try:
            return await self._run()
        except (OSError, ValueError) as error:
            # More words than a command can have, or such that none can have.
            return Exit(code=128, reason="StartError", message=f"exec: {error}")
        finally:
            self.has_ended.set()

    def signal(self, number: int) -> None:
        """Send a signal to its process group, if it runs."""
        if self._leader is not None:
            os.killpg(self._leader, number)

    def terminate(self) -> None:
        """Send SIGTERM to the leader alone, as a kubelet does to the first process of a container."""
        if self._leader is not None:
            os.kill(self._leader, signal.SIGTERM)

    def kill(self, *, is_out_of_memory: bool = False) -> None:
        """Kill all its processes."""
        self._is_out_of_memory |= is_out_of_memory and self._leader is not None
        self.signal(signal.SIGKILL)
        kill_marked(self.setting.mark)

    async def _run(self) -> Exit:
        program = self.setting.command[0]
        if shutil.which(program, path=self.setting.environment["PATH"]) is None:
            return Exit(code=128, reason="StartError", message=f"exec: {program!r}: executable file not found in $PATH")
        loop = asyncio.get_running_loop()
        output, its_end = os.pipe()
        try:
            leader = self._leader = self._spawn(its_end)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(its_end)
        handle, is_over = os.pidfd_open(leader), asyncio.Event()
        loop.add_reader(handle, is_over.set)
        reading = asyncio.create_task(self._read(output))
        try:
            await is_over.wait()
            # The leader is dead, but not yet reaped: nobody else can have its number.
            self.signal(signal.SIGKILL)
            while kill_marked(self.setting.mark):  # noqa: ASYNC110 - the end of grandchildren cannot be awaited
                await asyncio.sleep(0.005)
            await asyncio.wait([reading], timeout=_OUTPUT_SECONDS)
        finally:
            self.kill()
            self._leader = None
            reading.cancel()
            loop.remove_reader(handle)
            os.close(handle)
            # It is dead: this does not block.
            _, status = os.waitpid(leader, 0)  # noqa: ASYNC222
        code = os.waitstatus_to_exitcode(status)
        if self._is_out_of_memory:
            return Exit(code=137, reason="OOMKilled")
        return Exit(code=code if code >= 0 else 128 - code, reason="Error" if code else "Completed")

    def _spawn(self, output: int) -> int:
        """Start the process and return its id."""
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _ENTER_AND_RUN, str(self.setting.folder), *self.setting.command],
            {**self.setting.environment, MARK_VARIABLE: self.setting.mark},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_RESET_SIGNALS,
        )

    async def _read(self, output: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", buffering=0)
        )
        try:
            while chunk := await reader.read(_CHUNK):
                self.log.write(chunk)
        finally:
            transport.close()
