"""
The ASGI application of the Kubernetes side: every cluster under a path of its own, ``/clusters/CLUSTER_ID``.

It checks the token, records the request, and hands it on. A cluster that is not up answers 503, as the load balancer
before an API server would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from airflow_provider_together.emulator.kubernetes import reading, writing
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.execution import Streams, serve_exec
from airflow_provider_together.emulator.kubernetes.paths import Target, read_path
from airflow_provider_together.emulator.kubernetes.pod_target import running_container
from airflow_provider_together.emulator.kubernetes.query import flag
from airflow_provider_together.emulator.kubernetes.record import ClusterRecord, KubernetesRequest
from airflow_provider_together.emulator.kubernetes.refusal import ApiError, not_allowed
from airflow_provider_together.emulator.kubernetes.resources import discovery

_SWITCHED = 101
_NO_PATH = "the server could not find the requested resource"
#: An OpenAPI document without definitions: clients that validate with it accept everything.
_OPENAPI_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_EMPTY_OPENAPI = b"\x0a\x032.0"


class Backend(Protocol):
    """What the application needs to know."""

    async def find(self, cluster_id: str) -> KubernetesCluster | None:
        """Return a cluster that is up now."""

    def record(self, cluster_id: str) -> ClusterRecord:
        """Return what is remembered of a cluster."""

    def token(self, cluster_id: str) -> str:
        """Return the token that is valid now."""


def make_app(backend: Backend) -> ASGIApp:
    """Return the application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _, _, cluster_id, path = [*scope["path"].split("/", 3), "", "", ""][:4]
        record = backend.record(cluster_id)
        number = record.begin(_describe(scope, path))

        async def send_and_record(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                record.end(number, message.get("status", _SWITCHED))
            await send(message)

        try:
            cluster = await _admit(backend, record, scope, cluster_id, path)
            if scope["type"] == "websocket":
                await _exec(cluster, WebSocket(scope, receive, send_and_record), path)
                return
            request = Request(scope, receive)
            response = await _answer(cluster, request, path)
        except ApiError as error:
            response = JSONResponse(error.to_status(), error.code)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send_and_record).send_denial_response(response)
                return
        await response(scope, receive, send_and_record)

    return app


def _describe(scope: Scope, path: str) -> KubernetesRequest:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return KubernetesRequest(
        method=scope.get("method", "GET"),
        path=f"/{path}",
        query=scope["query_string"].decode("latin-1"),
        user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
    )


async def _admit(
    backend: Backend, record: ClusterRecord, scope: Scope, cluster_id: str, path: str
) -> KubernetesCluster:
    """
    Return the cluster that a request may talk to.

    :raises ApiError: 401 without the token, 503 if the cluster is not up, or whatever is to go wrong.
    """
    cluster = await backend.find(cluster_id)
    if cluster is None:
        message = "the server is currently unable to handle the request: the cluster is not READY, or gone"
        raise ApiError(503, message)
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    if headers.get(b"authorization", b"").decode("latin-1") != f"Bearer {backend.token(cluster_id)}":
        message = "Unauthorized"
        raise ApiError(401, message)
    failure = record.failure_for(scope.get("method", "GET"), f"/{path}")
    if failure is not None:
        message = "the emulator was told to let this request fail"
        raise ApiError(failure, message)
    return cluster


async def _answer(cluster: KubernetesCluster, request: Request, path: str) -> Response:
    parts = [part for part in path.split("/") if part]
    if parts in (["healthz"], ["livez"], ["readyz"]):
        return Response("ok", media_type="text/plain")
    if parts == ["openapi", "v2"]:
        return Response(_EMPTY_OPENAPI, media_type=_OPENAPI_TYPE)
    document = discovery(parts, server=request.url.netloc)
    if document is not None:
        return JSONResponse(document)
    target = read_path(parts)
    if target is None:
        raise ApiError(404, _NO_PATH)
    return await _operate(cluster, request, target)


async def _operate(cluster: KubernetesCluster, request: Request, target: Target) -> Response:
    query, method = request.query_params, request.method
    _check_subresource(cluster, target, method)
    if method == "GET":
        return reading.read(cluster, target, query, accept=request.headers.get("accept", ""))
    body = await _body(request)
    match method, bool(target.name), target.subresource:
        case "POST", False, "":
            return writing.create(cluster, target, body, query)
        case "PUT", True, _:
            return writing.replace(cluster, target, body, query)
        case "PATCH", True, _:
            content_type = request.headers.get("content-type", "").partition(";")[0]
            return writing.patch(cluster, target, body, query, content_type=content_type)
        case "DELETE", _, "":
            return writing.remove(cluster, target, body, query)
    raise not_allowed()


def _check_subresource(cluster: KubernetesCluster, target: Target, method: str) -> None:
    """
    Refuse what an object does not have below it.

    :raises ApiError: 404; 400 for a command, which only a WebSocket can carry.
    """
    match target.resource.plural, target.subresource:
        case _, "":
            return
        case _, "status" if target.resource.has_status:
            return
        case "pods", "log" if method == "GET":
            return
        case "pods", "exec":
            cluster.store.get("pods", target.namespace or "", target.name)
            message = "Upgrade request required: only WebSockets are spoken here"
            raise ApiError(400, message)
    raise ApiError(404, _NO_PATH)


async def _body(request: Request) -> Any:
    content = await request.body()
    if not content:
        return {}
    if "protobuf" in request.headers.get("content-type", ""):
        message = "the body of the request was in an unknown format - accepted media types include: application/json"
        raise ApiError(415, message)
    try:
        return json.loads(content)
    except ValueError as error:
        message = f"couldn't get version/kind; json parse error: {error}"
        raise ApiError(400, message) from None


async def _exec(cluster: KubernetesCluster, websocket: WebSocket, path: str) -> None:
    target, query = read_path([part for part in path.split("/") if part]), websocket.query_params
    if target is None or (target.resource.plural, target.subresource) != ("pods", "exec"):
        raise ApiError(404, _NO_PATH)
    pod = cluster.store.get("pods", target.namespace or "", target.name)
    command = query.getlist("command")
    if not command:
        message = "you must specify at least one command for the container"
        raise ApiError(400, message)
    processes, container = running_container(cluster, pod, query.get("container", ""))
    streams = Streams(stdin=flag(query, "stdin"), stdout=flag(query, "stdout"), stderr=flag(query, "stderr"))
    await serve_exec(websocket, processes, container, command, streams)
