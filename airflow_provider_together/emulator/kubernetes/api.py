"""
The API of all clusters, as an ASGI application: each under a path of its own, ``/clusters/CLUSTER_ID``.

It has what the shipped operators and Airflow's pod operator ask for: objects by name, lists and watches by selector,
merge patches, deletion, logs and exec. What it does not have is refused and named. A cluster that is not up answers
503, as the load balancer before an API server would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from airflow_provider_together.emulator.kubernetes.admission import LACKS, admit_change, admit_new
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.objects import (
    KINDS,
    ApiError,
    Kind,
    Object,
    clone,
    find,
    meta,
)
from airflow_provider_together.emulator.kubernetes.pod_requests import flag, read_log, run_command
from airflow_provider_together.emulator.kubernetes.record import ClusterRecord, KubernetesRequest
from airflow_provider_together.emulator.kubernetes.selection import select, watch
from airflow_provider_together.emulator.kubernetes.store import FOREGROUND

_SWITCHED = 101
_CREATED = 201
_VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0+emulated", "platform": "linux/amd64"}

_PATH = re.compile(r"(?:api/(v1)|apis/(batch/v1))(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?")
_PARTS = {("pods", "log"), ("pods", "exec")}
_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


class Backend(Protocol):
    """What the application needs to know."""

    async def find(self, cluster_id: str) -> KubernetesCluster | None:
        """Return a cluster that is up now."""

    def record(self, cluster_id: str) -> ClusterRecord:
        """Return what is remembered of a cluster."""

    def token(self, cluster_id: str) -> str:
        """Return the token that is valid now."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """
    What a request is about.

    :param namespace: None for all namespaces; empty for a kind that has none.
    :param name: empty for all objects of the kind.
    :param part: ``log`` or ``exec`` of a pod; empty for the object itself.
    """

    kind: Kind
    namespace: str | None
    name: str
    part: str

    def find_in(self, cluster: KubernetesCluster) -> Object:
        """
        Return the object itself.

        :raises ApiError: 404 if there is none.
        """
        return cluster.store.get(self.kind.plural, self.namespace or "", self.name)


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
                pod = _read_path(path, part="exec").find_in(cluster)
                await run_command(cluster, WebSocket(scope, receive, send_and_record), pod)
                return
            response = await _answer(cluster, Request(scope, receive), path)
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
        raise ApiError(503, "the server is currently unable to handle the request: the cluster is not READY, or gone")
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    if headers.get(b"authorization", b"").decode("latin-1") != f"Bearer {backend.token(cluster_id)}":
        raise ApiError(401, "Unauthorized")
    failure = record.failure_for(scope.get("method", "GET"), f"/{path}")
    if failure is not None:
        raise ApiError(failure, "a test lets this request fail")
    return cluster


async def _answer(cluster: KubernetesCluster, request: Request, path: str) -> Response:
    if path == "version":
        return JSONResponse(_VERSION)
    target, query = _read_path(path), request.query_params
    if "dryRun" in query:
        raise ApiError(501, f"dryRun: {LACKS}")
    match request.method, bool(target.name), target.part:
        case "GET", True, _:
            return _get(cluster, target, query)
        case "GET", False, _:
            return _list(cluster, target, query)
        case "POST", False, _ if target.namespace is not None:
            return _create(cluster, target, await _body(request))
        case "PATCH", True, "":
            content_type = request.headers.get("content-type", "").partition(";")[0]
            return _patch(cluster, target, await _body(request), content_type)
        case "DELETE", True, "":
            return _delete(cluster, target, await _body(request), query)
    raise ApiError(501, f"{request.method} of /{path}: {LACKS}")


def _read_path(path: str, *, part: str | None = None) -> _Target:
    """
    Return what a path means.

    :param part: what it has to mean of a pod; None for anything.
    :raises ApiError: 501 if the emulator does not have it.
    """
    match = _PATH.fullmatch(path)
    core, batch, namespace, plural, name, below = match.groups() if match else [""] * 6
    kind = KINDS.get(plural)
    if kind is None or kind.api_version != (core or batch) or (namespace and not kind.is_namespaced):
        raise ApiError(501, f"/{path}: {LACKS}; it has {', '.join(KINDS)}")
    if (below and (plural, below) not in _PARTS) or part not in {None, below}:
        raise ApiError(501, f"{below or 'a WebSocket'} of {plural}: {LACKS}")
    return _Target(kind=kind, namespace=namespace if kind.is_namespaced else "", name=name or "", part=below or "")


async def _body(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ApiError(400, f"the body of the request is not JSON: {error}") from None


# --- objects ---


def _get(cluster: KubernetesCluster, target: _Target, query: Mapping[str, str]) -> Response:
    thing = target.find_in(cluster)
    if target.part == "exec":
        raise ApiError(400, "Upgrade request required: only WebSockets are spoken here")
    return read_log(cluster, thing, query) if target.part else JSONResponse(thing)


def _list(cluster: KubernetesCluster, target: _Target, query: Mapping[str, str]) -> Response:
    selector = select(query)
    if flag(query, "watch"):
        return StreamingResponse(
            watch(cluster, target.kind.plural, target.namespace, query), media_type="application/json"
        )
    found = [thing for thing in cluster.store.all(target.kind.plural, target.namespace) if selector(thing)]
    head = {"kind": f"{target.kind.name}List", "apiVersion": target.kind.api_version}
    return JSONResponse({**head, "metadata": {"resourceVersion": str(cluster.store.version)}, "items": found})


def _create(cluster: KubernetesCluster, target: _Target, body: Any) -> Response:
    thing = admit_new(target.kind, target.namespace or "", body)
    if target.namespace:
        cluster.store.get("namespaces", "", target.namespace)
    return JSONResponse(cluster.store.create(target.kind.plural, thing), _CREATED)


def _patch(cluster: KubernetesCluster, target: _Target, patch: Any, content_type: str) -> Response:
    plural = target.kind.plural
    old = target.find_in(cluster)
    if content_type not in _PATCHES or not isinstance(patch, dict):
        raise ApiError(415, f"{content_type}: the emulator's Kubernetes has merge patches only")
    if content_type != _PATCHES[0] and _says_how(patch):
        raise ApiError(415, f"lists and directives in a strategic merge patch: {LACKS}")
    changed = admit_change(target.kind, old, _merged(old, patch))
    return JSONResponse(cluster.store.update(plural, old, lambda new: _replace(new, changed)))


def _replace(new: Object, changed: Object) -> None:
    new.clear()
    new.update(changed)


def _merged(old: Any, patch: Any) -> Any:
    """Return a value with a merge patch of RFC 7386 in it."""
    if not isinstance(patch, dict):
        return patch
    new = clone(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = _merged(new.get(name), value)
    return new


def _says_how(patch: Any) -> bool:
    """Whether a strategic merge patch has more to it than a merge patch."""
    if isinstance(patch, dict):
        return any(name.startswith("$") or _says_how(value) for name, value in patch.items())
    return isinstance(patch, list)


def _delete(cluster: KubernetesCluster, target: _Target, options: Any, query: Mapping[str, str]) -> Response:
    kind = target.kind
    thing = target.find_in(cluster)
    given = {**(options if isinstance(options, dict) else {}), **query}
    propagation, grace = given.get("propagationPolicy") or "", given.get("gracePeriodSeconds")
    # Left out, a Job's pods stay or go by the client's version: say what you mean.
    allowed = {FOREGROUND, "Background"} if kind.plural == "jobs" else {FOREGROUND, "Background", ""}
    if propagation not in allowed:
        raise ApiError(422, f"propagationPolicy={propagation!r} of {kind.plural}: {LACKS}")
    if kind.plural in {"nodes", "persistentvolumes", "namespaces"}:
        raise ApiError(501, f"deletion of {kind.plural}: {LACKS}")
    wanted = find(given, "preconditions.uid") or meta(thing)["uid"]
    if wanted != meta(thing)["uid"]:
        message = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta(thing)['uid']}"
        message = f'Operation cannot be fulfilled on {kind.qualified} "{target.name}": {message}'
        raise ApiError(409, message, about=target.name)
    seconds = None if grace is None else int(grace)
    deleted = cluster.store.delete(kind.plural, thing, propagation=propagation, grace=seconds)
    if kind.plural in {"pods", "services", "persistentvolumeclaims"}:
        return JSONResponse(deleted)
    details = {"name": target.name, "kind": kind.plural, "uid": meta(thing)["uid"]}
    return JSONResponse({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
