"""
What a node serves to the API server: logs, and what is executed in its containers.

Separate from the node, of which it only asks for a pod by its name. The paths and parameters are a kubelet's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.real_kubernetes.kubelet.container_log import ContainerLog, LogRequest
from tests.real_kubernetes.kubelet.execution import Streams, serve_exec
from tests.real_kubernetes.node_pod import NodePod

#: Finds a pod of the node by namespace and name.
FindPod = Callable[[str, str], NodePod | None]
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error"}


def make_node_app(find_pod: FindPod) -> Starlette:
    """Return the application."""

    async def log(request: Request) -> Response:
        found = find_pod(request.path_params["namespace"], request.path_params["pod"])
        query = request.query_params
        container = request.path_params["container"]
        is_previous = query.get("previous") == "true"
        processes = None if found is None else found.processes
        text = None if processes is None else processes.log(container, is_previous=is_previous)
        if found is None or text is None:
            return PlainTextResponse(f"container {container!r} has no such log", status_code=400)
        return StreamingResponse(_log(found, text, _log_request(query)), media_type="text/plain")

    async def execute(socket: WebSocket) -> None:
        found = find_pod(socket.path_params["namespace"], socket.path_params["pod"])
        container = socket.path_params["container"]
        if found is None or found.processes is None or not found.processes.is_running(container):
            await socket.close()
            return
        query = socket.query_params
        wanted = {stream: query.get(name) == "1" for stream, name in _STREAMS.items()}
        await serve_exec(socket, found.processes, container, query.getlist("command"), Streams(**wanted))

    path = "{namespace}/{pod}/{container}"
    return Starlette(routes=[Route(f"/containerLogs/{path}", log), WebSocketRoute(f"/exec/{path}", execute)])


def _log_request(query: QueryParams) -> LogRequest:
    since = datetime.fromisoformat(query["sinceTime"]).timestamp() if "sinceTime" in query else None
    if "sinceSeconds" in query:
        since = time.time() - int(query["sinceSeconds"])
    return LogRequest(
        follow=query.get("follow") == "true",
        timestamps=query.get("timestamps") == "true",
        since=since,
        tail_lines=int(query["tailLines"]) if "tailLines" in query else None,
        limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
    )


async def _log(pod: NodePod, log: ContainerLog, request: LogRequest) -> AsyncIterator[bytes]:
    async for chunk in log.read(request):
        yield chunk
    # Who has followed a log to its end looks at the status next, and takes a container that runs for a lost connection.
    await pod.flush()
