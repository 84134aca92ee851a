"""
Commands in a running container, over the WebSocket protocols of Kubernetes (``v4`` and ``v5.channel.k8s.io``).

By them Airflow's pod operator reads a result from its sidecar, and ends that. A command here runs on this machine,
not in a container. One that is to end its container's processes by searching for them would hit others, and is
therefore never run: the container gets the signal instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Sequence

from starlette.websockets import WebSocket, WebSocketDisconnect

from airflow_provider_together.emulator.kubernetes.container import ContainerProcess
from airflow_provider_together.emulator.kubernetes.objects import Object
from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, kill_marked

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _RESULT, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024
_SUCCESS: Object = {"metadata": {}, "status": "Success"}

_KILL = re.compile(r"\b(?:kill|pkill|killall)\b(?:\s+(?:-s\s+|-n\s+|--signal[= ]|-)(?:SIG)?([A-Z]+[12]?|\d+)\b)?")


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
    websocket: WebSocket, container: ContainerProcess, command: Sequence[str], *, has_stdin: bool
) -> None:
    """Run a command in a container that runs, with its streams on a WebSocket, and close that."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=next((one for one in _PROTOCOLS if one in offered), None))
    number = meant_signal(" ".join(command))
    if number is None:
        status = await _Command(websocket, container).run(command, has_stdin=has_stdin)
    else:
        container.signal(number)
        status = _SUCCESS
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.send_bytes(bytes([_RESULT]) + json.dumps(status).encode())
        await websocket.close()


class _Command:
    """One command, from its start to its end."""

    def __init__(self, websocket: WebSocket, container: ContainerProcess) -> None:
        self._websocket = websocket
        self._container = container
        # Below the container's, so that it ends with it, and apart, so that it can end before.
        self._mark = f"{container.setting.mark}/exec-{os.urandom(4).hex()}"

    async def run(self, command: Sequence[str], *, has_stdin: bool) -> Object:
        """Run it; the result is its ``Status``."""
        setting, pipe = self._container.setting, asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *map(setting.rewrite, command),
                cwd=setting.folder,
                env={**setting.environment, MARK_VARIABLE: self._mark},
                stdin=pipe if has_stdin else asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _failure("InternalError", f"error executing command in container: {error}")
        beside = [asyncio.create_task(self._receive(process)), asyncio.create_task(self._end_with_container(process))]
        try:
            await asyncio.gather(self._send(process.stdout, _STDOUT), self._send(process.stderr, _STDERR))
            code = await process.wait()
        finally:
            for task in beside:
                task.cancel()
            kill_marked(self._mark)
        if code == 0:
            return _SUCCESS
        code = code if code > 0 else 128 - code
        causes = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
        text = f"command terminated with non-zero exit code: exit status {code}"
        return {**_failure("NonZeroExitCode", text), "details": causes}

    async def _send(self, stream: asyncio.StreamReader | None, channel: int) -> None:
        while stream is not None and (chunk := await stream.read(_CHUNK)):
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.send_bytes(bytes([channel]) + chunk)

    async def _receive(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the client sends; when it hangs up, the command ends."""
        stdin = process.stdin
        with contextlib.suppress(RuntimeError):
            while (frame := await self._websocket.receive())["type"] == "websocket.receive":
                # Python's client sends text.
                message = frame.get("bytes") or (frame.get("text") or "").encode()
                if stdin is not None and message[:1] == bytes([_STDIN]):
                    await self._pass_on(stdin, message[1:])
                elif stdin is not None and message == bytes([_CLOSE, _STDIN]):
                    stdin.close()
        kill_marked(self._mark)

    async def _pass_on(self, stdin: asyncio.StreamWriter, data: bytes) -> None:
        number = meant_signal(data.decode(errors="replace"))
        if number is not None:
            self._container.signal(number)
            return
        with contextlib.suppress(ConnectionError):
            stdin.write(data)
            await stdin.drain()

    async def _end_with_container(self, process: asyncio.subprocess.Process) -> None:
        """Kill the command when its container ends: in the moment after its start its mark cannot be read."""
        await self._container.has_ended.wait()
        process.kill()
        kill_marked(self._mark)


def _failure(reason: str, message: str) -> Object:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
