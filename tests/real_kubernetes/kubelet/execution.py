"""
Commands in a running container, over the WebSocket protocols of Kubernetes (``v4`` and ``v5.channel.k8s.io``).

A command here runs on this machine, not in a container. One that is to end its container's processes by searching for
them would hit others, and is therefore never run: the container gets the signal instead. Source of the protocol:
k8s.io/apimachinery/pkg/util/remotecommand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, kill_marked
from tests.real_kubernetes.kubelet.container_setting import rewrite_command
from tests.real_kubernetes.kubelet.objects import Object
from tests.real_kubernetes.kubelet.pod_processes import PodProcesses

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024

_KILL = re.compile(r"\b(?:kill|pkill|killall)\b(?:\s+(?:-s\s+|-n\s+|--signal[= ]|-)(?:SIG)?([A-Z]+[12]?|\d+)\b)?")


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Which streams of a command the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool


def meant_signal(text: str) -> int | None:
    """Return the signal that a command sends to processes; None if it sends none."""
    match = _KILL.search(text)
    if match is None:
        return None
    word = match[1] or "TERM"
    try:
        return int(signal.Signals(int(word)) if word.isdecimal() else signal.Signals[f"SIG{word}"])
    except (KeyError, ValueError):
        return int(signal.SIGTERM)


async def serve_exec(
    websocket: WebSocket, processes: PodProcesses, container: str, command: list[str], streams: Streams
) -> None:
    """Run a command in a container that runs, with its streams on a WebSocket, and close that."""
    offered = websocket.scope["subprotocols"]
    protocol = next((one for one in PROTOCOLS if one in offered), None)
    await websocket.accept(subprotocol=protocol)
    number = meant_signal(" ".join(command))
    if number is not None:
        processes.signal(container, number)
        status = _success()
    else:
        status = await _Command(websocket, processes, container, streams).run(command)
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.send_bytes(bytes([_ERROR]) + json.dumps(status).encode())
        await websocket.close()


class _Command:
    """One command, from its start to its end."""

    def __init__(self, websocket: WebSocket, processes: PodProcesses, container: str, streams: Streams) -> None:
        self._websocket = websocket
        self._processes = processes
        self._container = container
        self._streams = streams
        self._setting = processes.setting(container)
        # Below the container's, so that it ends with it, and apart, so that it can end before.
        self._mark = f"{self._setting.mark}/exec-{os.urandom(4).hex()}"

    async def run(self, command: list[str]) -> Object:
        """Run it; the result is its ``Status``."""
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        setting = self._setting
        try:
            process = await asyncio.create_subprocess_exec(
                *rewrite_command(command, {}, setting.rewrite),
                cwd=setting.folder,
                env={**setting.environment, MARK_VARIABLE: self._mark},
                stdin=pipe if self._streams.stdin else nothing,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _failure("InternalError", f"error executing command in container: {error}", code=500)
        reading = asyncio.create_task(self._read(process))
        ending = asyncio.create_task(self._end_with_container(process))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(process.stdout, _STDOUT, is_wanted=self._streams.stdout))
                group.create_task(self._send(process.stderr, _STDERR, is_wanted=self._streams.stderr))
            code = await process.wait()
        finally:
            reading.cancel()
            ending.cancel()
            kill_marked(self._mark)
        if code == 0:
            return _success()
        code = code if code > 0 else 128 - code
        causes = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
        message = f"command terminated with non-zero exit code: exit status {code}"
        return _failure("NonZeroExitCode", message, details=causes)

    async def _send(self, stream: asyncio.StreamReader | None, channel: int, *, is_wanted: bool) -> None:
        while stream is not None and (chunk := await stream.read(_CHUNK)):
            if is_wanted:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await self._websocket.send_bytes(bytes([channel]) + chunk)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the client sends; when it hangs up, the command ends."""
        with contextlib.suppress(RuntimeError):
            while (frame := await self._websocket.receive())["type"] == "websocket.receive":
                # Python's client sends text.
                message = frame.get("bytes") or (frame.get("text") or "").encode()
                if message[:1] == bytes([_STDIN]) and process.stdin is not None:
                    await self._pass_on(process.stdin, message[1:])
                elif message == bytes([_CLOSE, _STDIN]) and process.stdin is not None:
                    process.stdin.close()
        kill_marked(self._mark)

    async def _end_with_container(self, process: asyncio.subprocess.Process) -> None:
        """
        Kill the command when its container ends, should it have been missed there.

        A process is told apart by its environment, which cannot be read yet in the moment after its start.
        """
        await self._processes.wait_for_container(self._container)
        process.kill()
        kill_marked(self._mark)

    async def _pass_on(self, stdin: asyncio.StreamWriter, data: bytes) -> None:
        number = meant_signal(data.decode(errors="replace"))
        if number is not None:
            self._processes.signal(self._container, number)
            return
        with contextlib.suppress(ConnectionError):
            stdin.write(data)
            await stdin.drain()


def _success() -> Object:
    return {"metadata": {}, "status": "Success"}


def _failure(reason: str, message: str, *, details: Object | None = None, code: int | None = None) -> Object:
    status = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return status | ({"details": details} if details else {}) | ({"code": code} if code else {})
