"""
Talking to the API server as one of the cluster's own components does.

Separate, because scheduler and kubelet both do. A component is always granted what it asks for, so that any other
answer than the expected is an error.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tests.real_kubernetes.kubelet.objects import time_text

Object = Mapping[str, Any]

#: Seconds in which a server that restarts is back.
_RESTART_SECONDS = 30.0
_LOOK_INTERVAL = 0.1
#: What is written about may be gone meanwhile, or be another one of the same name.
_GONE = frozenset({404, 409})
#: In a namespace that is being deleted nothing can be made.
_TERMINATING = frozenset({403, 404})


class ComponentError(Exception):
    """The API server does not grant what a component of the cluster asks for."""


def pod_path(pod: Object) -> str:
    """Return the path of a pod in the API."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Return an object or a list."""
    answer = await _send(client, "GET", path)
    found: dict[str, Any] = answer.json()
    return found


async def register_node(client: httpx.AsyncClient, name: str, status: Object) -> None:
    """Make a node, and write its status."""
    await _send(client, "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    await _send(client, "PATCH", f"/api/v1/nodes/{name}/status", {"status": status})


async def bind(client: httpx.AsyncClient, pod: Object, node: str) -> None:
    """Put a pod on a node."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    metadata = {key: pod["metadata"][key] for key in ("name", "uid")}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    await _send(client, "POST", f"{pod_path(pod)}/binding", body, tolerated=_GONE)


async def write_status(client: httpx.AsyncClient, pod: Object, status: Object) -> None:
    """Write a pod's status; with its uid, so that a pod of the same name is left alone."""
    body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
    await _send(client, "PATCH", f"{pod_path(pod)}/status", body, tolerated=_GONE)


async def forget(client: httpx.AsyncClient, pod: Object) -> None:
    """Let the API server forget a pod, of which nothing is left on its node."""
    preconditions = {"uid": pod["metadata"]["uid"]}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": preconditions}
    await _send(client, "DELETE", pod_path(pod), options, tolerated=_GONE)


async def tell(
    client: httpx.AsyncClient, pod: Object, reason: str, text: str, *, kind: str, component: str, container: str = ""
) -> None:
    """Write an event about a pod, or about one of its containers."""
    metadata = pod["metadata"]
    about = {key: metadata[key] for key in ("name", "namespace", "uid")}
    about |= {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
        "type": kind,
        "reason": reason,
        "message": text,
        "source": {"component": component},
        "firstTimestamp": time_text(),
        "lastTimestamp": time_text(),
        "count": 1,
    }
    await _send(client, "POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event, tolerated=_TERMINATING)


async def _send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    body: Object | None = None,
    *,
    tolerated: frozenset[int] = frozenset(),
) -> httpx.Response:
    """
    Send a request, again and again while there is no server.

    :param tolerated: statuses that are no error.
    """
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    content = None if body is None else json.dumps(body)
    deadline = time.monotonic() + _RESTART_SECONDS
    while True:
        try:
            answer = await client.request(method, path, content=content, headers={"Content-Type": kind})
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_INTERVAL)
            continue
        if not answer.is_success and answer.status_code not in tolerated:
            message = f"{method} {path} answered {answer.status_code}: {answer.text}"
            raise ComponentError(message)
        return answer
