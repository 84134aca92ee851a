"""What is asked of the containers of one pod: their logs, and commands in them. It imports the cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from airflow_provider_together.emulator.kubernetes.admission import LACKS
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.container import LogRequest
from airflow_provider_together.emulator.kubernetes.exec import serve_exec
from airflow_provider_together.emulator.kubernetes.objects import ApiError, Object, read_time
from airflow_provider_together.emulator.kubernetes.pods import PodRun

_NO_CONTENT = 204


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false; Python's clients write ``True`` and ``False``."""
    return query.get(name, "").lower() in {"true", "1"}


def read_log(cluster: KubernetesCluster, pod: Object, query: Mapping[str, str]) -> Response:
    """
    Answer a request for a log.

    :raises ApiError: 400 if the container has not begun, or the request is wrong; 501 for what is not there.
    """
    run, name = _container(cluster, pod, query)
    wanted = _log_request(query)
    if flag(query, "previous"):
        raise ApiError(501, f"previous: {LACKS}, which runs each container once")
    if not pod["spec"].get("nodeName"):
        return Response(status_code=_NO_CONTENT)
    if run is None or name not in run.processes:
        reason = "ContainerCreating" if run is None else run.waiting_reason(name)
        raise ApiError(400, f'container "{name}" in pod "{pod["metadata"]["name"]}" is waiting to start: {reason}')
    return StreamingResponse(run.processes[name].log.read(wanted), media_type="text/plain")


async def run_command(cluster: KubernetesCluster, websocket: WebSocket, pod: Object) -> None:
    """
    Run a command in a container, with its streams on a WebSocket.

    :raises ApiError: before anything is accepted: 400, 404 or 500 if there is nothing to run, or nowhere.
    """
    query, phase = websocket.query_params, pod["status"]["phase"]
    run, name = _container(cluster, pod, query)
    command = query.getlist("command")
    if not command:
        raise ApiError(400, "you must specify at least one command for the container")
    if phase in {"Succeeded", "Failed"}:
        raise ApiError(500, f"cannot exec into a container in a completed pod; current phase is {phase}")
    if run is None or not run.is_running(name):
        raise ApiError(404, f'container not found ("{name}")')
    await serve_exec(websocket, run.processes[name], command, has_stdin=flag(query, "stdin"))


def _log_request(query: Mapping[str, str]) -> LogRequest:
    numbers = {}
    for name in ("tailLines", "limitBytes", "sinceSeconds"):
        text = query.get(name) or ""
        if text and not text.isdecimal():
            raise ApiError(400, f"{name}={text!r} is not a whole number")
        numbers[name] = int(text) if text else None
    try:
        since = read_time(query["sinceTime"]) if query.get("sinceTime") else None
    except ValueError:
        raise ApiError(400, f"sinceTime={query['sinceTime']!r} is not a time") from None
    if numbers["sinceSeconds"] is not None:
        since = time.time() - numbers["sinceSeconds"]
    return LogRequest(
        follow=flag(query, "follow"),
        timestamps=flag(query, "timestamps"),
        since=since,
        tail_lines=numbers["tailLines"],
        limit_bytes=numbers["limitBytes"],
    )


def _container(cluster: KubernetesCluster, pod: Object, query: Mapping[str, str]) -> tuple[PodRun | None, str]:
    """Return the run of a pod, and the name of the container that is meant."""
    own = [container["name"] for container in pod["spec"]["containers"]]
    names = [*own, *(container["name"] for container in pod["spec"].get("initContainers") or ())]
    name, pod_name = query.get("container") or (own[0] if len(own) == 1 else ""), pod["metadata"]["name"]
    if not name:
        raise ApiError(400, f"a container name must be specified for pod {pod_name}, choose one of: {names}")
    if name not in names:
        raise ApiError(400, f"container {name} is not valid for pod {pod_name}")
    return cluster.kubelets.run_of(pod), name
