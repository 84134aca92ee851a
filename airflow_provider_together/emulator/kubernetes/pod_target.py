"""Finding the container of a pod that a request for a log or a command means. It imports the cluster."""

from __future__ import annotations

from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.container_log import ContainerLog
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.pod_processes import PodProcesses
from airflow_provider_together.emulator.kubernetes.refusal import ApiError

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def container_name(pod: Object, wanted: str) -> str:
    """
    Return the name of the container that is meant.

    :param wanted: as the request has it; empty means the only one.
    :raises ApiError: 400 if there is none of that name, or several to choose from.
    """
    own = [container["name"] for container in pod["spec"]["containers"]]
    init = [container["name"] for container in pod["spec"].get("initContainers") or ()]
    name = wanted or (meta(pod).get("annotations") or {}).get(_DEFAULT_CONTAINER, "")
    if not name and len(own) > 1:
        choice = f"choose one of: [{' '.join(own)}]" + (
            f" or one of the init containers: [{' '.join(init)}]" if init else ""
        )
        message = f"a container name must be specified for pod {meta(pod)['name']}, {choice}"
        raise ApiError(400, message)
    name = name or own[0]
    if name not in (*own, *init):
        message = f"container {name} is not valid for pod {meta(pod)['name']}"
        raise ApiError(400, message)
    return str(name)


def log_container(cluster: KubernetesCluster, pod: Object, wanted: str, *, is_previous: bool) -> ContainerLog:
    """
    Return the log that is meant.

    :raises ApiError: 400 if the container has not run.
    """
    name = container_name(pod, wanted)
    processes = cluster.kubelets.processes(pod)
    log = None if processes is None else processes.log(name, is_previous=is_previous)
    if log is not None:
        return log
    pod_name = meta(pod)["name"]
    if is_previous:
        message = f'previous terminated container "{name}" in pod "{pod_name}" not found'
        raise ApiError(400, message)
    message = f'container "{name}" in pod "{pod_name}" is waiting to start: {_waiting_reason(pod, name)}'
    raise ApiError(400, message)


def running_container(cluster: KubernetesCluster, pod: Object, wanted: str) -> tuple[PodProcesses, str]:
    """
    Return the processes of a pod and the name of the container that is meant.

    :raises ApiError: 400, 404 or 500 if a command cannot be run in it.
    """
    name = container_name(pod, wanted)
    processes = cluster.kubelets.processes(pod)
    if processes is None:
        message = f"pod {meta(pod)['name']} does not have a host assigned"
        raise ApiError(400, message)
    if processes.has_ended:
        message = f"cannot exec into a container in a completed pod; current phase is {find(pod, 'status.phase')}"
        raise ApiError(500, message)
    if not processes.is_running(name):
        message = f'container not found ("{name}")'
        raise ApiError(404, message)
    return processes, name


def _waiting_reason(pod: Object, container: str) -> str:
    for group in ("containerStatuses", "initContainerStatuses"):
        for status in find(pod, f"status.{group}") or ():
            if status["name"] == container:
                return str(find(status, "state.waiting.reason") or "ContainerCreating")
    return "ContainerCreating"
