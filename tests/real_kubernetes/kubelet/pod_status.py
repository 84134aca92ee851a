"""
The status of a pod: how what its containers do is spelled in Kubernetes' words.

Pure functions over dicts; ``pod_processes.py`` calls them while it runs a pod. It imports only small things.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.real_kubernetes.kubelet.container_process import Exit
from tests.real_kubernetes.kubelet.objects import Object, set_condition, time_text


def waiting(container: Object, reason: str, message: str = "") -> Object:
    """Return the status of a container that waits for something."""
    state = {"reason": reason} | ({"message": message} if message else {})
    return _status(container, {"waiting": state})


def running(container: Object, previous: Object, *, container_id: str) -> Object:
    """Return the status of a container that runs."""
    status = _status(container, {"running": {"startedAt": time_text()}}, previous=previous, container_id=container_id)
    return {**status, "ready": True, "started": True}


def terminated(container: Object, previous: Object, end: Exit, *, message: str) -> Object:
    """Return the status of a container that has ended."""
    container_id = previous.get("containerID", "")
    state = {
        "exitCode": end.code,
        "reason": end.reason,
        "startedAt": time_text(end.started_at),
        "finishedAt": time_text(end.finished_at),
        "containerID": container_id,
    }
    state |= {"message": message} if message else {}
    return _status(container, {"terminated": state}, previous=previous, container_id=container_id)


def restarting(container: Object, previous: Object, *, seconds: float, pod: str) -> Object:
    """Return the status of a container that waits for its next run."""
    message = f"back-off {seconds:g}s restarting failed container={container['name']} pod={pod}"
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    status = _status(container, state, previous=previous, container_id=previous.get("containerID", ""))
    return {**status, "lastState": previous["state"], "restartCount": previous["restartCount"] + 1}


def exit_code(status: Object) -> int | None:
    """Return the exit code of a container that has ended, else None."""
    state = status["state"].get("terminated")
    return None if state is None else int(state["exitCode"])


def conclude(status: Object, *, is_initialized: bool, is_final: bool) -> None:
    """
    Set phase and conditions of a status after those of its containers.

    :param is_final: what has ended will not be started again.
    """
    containers: Iterable[Object] = status.get("containerStatuses") or ()
    codes = [exit_code(one) for one in containers]
    if is_final and codes and all(code is not None for code in codes):
        status["phase"] = "Succeeded" if not any(codes) else "Failed"
    elif is_initialized and any("waiting" not in one["state"] or one["restartCount"] for one in containers):
        status["phase"] = "Running"
    is_ready = all(one["ready"] for one in containers)
    reason = "PodCompleted" if status["phase"] == "Succeeded" else "ContainersNotReady"
    if status["phase"] == "Failed":
        reason = "PodFailed"
    _set_ready(
        status, is_ready=is_ready, reason=reason, unready=[one["name"] for one in containers if not one["ready"]]
    )
    if is_initialized:
        set_condition(status, "Initialized", "True", reason="PodCompleted" if status["phase"] == "Succeeded" else "")
    else:
        incomplete = [one["name"] for one in status.get("initContainerStatuses") or () if exit_code(one) != 0]
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        set_condition(status, "Initialized", "False", reason="ContainersNotInitialized", message=message)


def _set_ready(status: Object, *, is_ready: bool, reason: str, unready: list[str]) -> None:
    word, text = ("True", {}) if is_ready else ("False", {"reason": reason})
    if reason == "ContainersNotReady" and not is_ready:
        text["message"] = f"containers with unready status: [{' '.join(unready)}]"
    for kind in ("Ready", "ContainersReady"):
        set_condition(status, kind, word, **text)


def _status(container: Object, state: Object, *, previous: Object | None = None, container_id: str = "") -> Object:
    status: dict[str, Any] = {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": f"emulated://{container.get('image', '')}" if container_id else "",
        "state": state,
        "lastState": previous.get("lastState", {}) if previous else {},
        "ready": False,
        "started": False,
        "restartCount": previous["restartCount"] if previous else 0,
    }
    return status | ({"containerID": container_id} if container_id else {})
