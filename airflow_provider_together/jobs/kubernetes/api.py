"""
The requests of Kubernetes' API that a job needs, and what its answers mean.

They are values as those to Together are; who sends them has the kubeconfig. All of them may be sent twice: an object
has a name that is known before, so that the second create is refused, and whoever made it looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from airflow_provider_together.api.call import Call, quoted
from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import (
    AuthenticationError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from airflow_provider_together.jobs.kubernetes.manifests import CONTAINER, JOB_LABEL, OWNER_LABEL

T = TypeVar("T")

#: Label that Airflow's own pod operator gives to a pod whose outcome is known.
_CHECKED_LABEL = "already_checked"
_TIMEOUT = 408
_CONFLICT = 409
_LOCKED = 423
_TOO_MANY = 429
_SERVER_ERROR = 500
_GOOD = range(200, 300)
#: Longest piece of a server's words that a message repeats, in characters.
_LONGEST_WORDS = 500


def get_job(namespace: str, name: str) -> Call[dict[str, Any]]:
    """Read a Job."""
    return Call(f"read job {name!r}", "GET", _jobs(namespace, name), _as_object)


def create_job(manifest: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Make a Job."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    return Call(f"create job {name!r}", "POST", _jobs(namespace), _as_object, body=manifest)


def change_job(namespace: str, name: str, change: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Change a Job by a merge patch."""
    return Call(f"change job {name!r}", "PATCH", _jobs(namespace, name), _as_object, body=change)


def delete_job(namespace: str, name: str, *, uid: str | None = None) -> Call[dict[str, Any]]:
    """
    Delete a Job; its name stays taken until its pods and its Service are gone.

    :param uid: delete this very one only, not one that has got its name meanwhile.
    """
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
    if uid is not None:
        body["preconditions"] = {"uid": uid}
    return Call(f"delete job {name!r}", "DELETE", _jobs(namespace, name), _as_object, body=body)


def list_pods(namespace: str, name: str) -> Call[list[dict[str, Any]]]:
    """List the pods that bear the label of a Job."""
    params = {"labelSelector": f"{JOB_LABEL}={name}"}
    return Call(f"list pods of job {name!r}", "GET", _core(namespace, "pods"), _as_items, params=params)


def list_pods_of_owner(namespace: str, owner: str) -> Call[list[dict[str, Any]]]:
    """
    List the pods of a task instance, apart from those that Airflow's own operator is done with.

    :param owner: digest of the task instance.
    """
    params = {"labelSelector": f"{OWNER_LABEL}={owner},{_CHECKED_LABEL}!=True"}
    return Call("list pods of earlier tries", "GET", _core(namespace, "pods"), _as_items, params=params)


def delete_pod(namespace: str, name: str, *, uid: str, grace: int | None = None) -> Call[dict[str, Any]]:
    """
    Delete a pod.

    :param uid: delete this very one only.
    :param grace: seconds that it gets to end; None for what it asks for itself.
    """
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    if grace is not None:
        body["gracePeriodSeconds"] = grace
    return Call(f"delete pod {name!r}", "DELETE", _core(namespace, "pods", name), _as_object, body=body)


def get_pod(namespace: str, name: str) -> Call[dict[str, Any]]:
    """Read a pod."""
    return Call(f"read pod {name!r}", "GET", _core(namespace, "pods", name), _as_object)


def list_pod_events(namespace: str, pod: str | None = None) -> Call[list[dict[str, Any]]]:
    """List the events about a pod, or about all."""
    selector = "involvedObject.kind=Pod" + ("" if pod is None else f",involvedObject.name={pod}")
    params = {"fieldSelector": selector}
    return Call("list events of pods", "GET", _core(namespace, "events"), _as_items, params=params)


def read_log(  # noqa: PLR0913 - each is a setting of the request
    namespace: str,
    pod: str,
    *,
    container: str = CONTAINER,
    since: str | None = None,
    limit: int | None = None,
    tail: int | None = None,
    follow: bool = False,
) -> Call[bytes]:
    """
    Read a container's log, each line with its time.

    :param since: time from which on to read, in RFC 3339.
    :param limit: bytes to read at the most.
    :param tail: how many lines to read at the most, counted from the end.
    :param follow: whether the answer goes on as long as the container runs.
    """
    params = {"container": container, "timestamps": "true"}
    given = {
        "follow": "true" if follow else None,
        "sinceTime": since,
        "limitBytes": limit,
        "tailLines": tail,
    }
    params |= {name: str(value) for name, value in given.items() if value is not None}
    path = f"{_core(namespace, 'pods', pod)}/log"
    return Call(f"read log of pod {pod!r}", "GET", path, lambda content: content, lambda content: content, params)


def list_nodes() -> Call[list[dict[str, Any]]]:
    """List the nodes of the cluster."""
    return Call("list nodes", "GET", "/api/v1/nodes", _as_items)


def create_service(manifest: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Make a Service."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    return Call(f"create service {name!r}", "POST", _core(namespace, "services"), _as_object, body=manifest)


def get_service(namespace: str, name: str) -> Call[dict[str, Any]]:
    """Read a Service."""
    return Call(f"read service {name!r}", "GET", _core(namespace, "services", name), _as_object)


def delete_service(namespace: str, name: str) -> Call[dict[str, Any]]:
    """Delete a Service."""
    return Call(f"delete service {name!r}", "DELETE", _core(namespace, "services", name), _as_object)


def create_claim(manifest: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Make a PersistentVolumeClaim."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    path = _core(namespace, "persistentvolumeclaims")
    return Call(f"create claim {name!r}", "POST", path, _as_object, body=manifest)


def get_volume(name: str) -> Call[dict[str, Any]]:
    """Read a PersistentVolume."""
    path = f"/api/v1/persistentvolumes/{quoted('shared_volume', name)}"
    return Call(f"read persistent volume {name!r}", "GET", path, _as_object)


def is_conflict(error: TogetherError) -> bool:
    """Whether a request was refused since its object exists already, or is not the one that was meant."""
    return getattr(error, "status", None) == _CONFLICT


def read_answer(call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """
    Return what an answer says.

    :param headers: with names in lower case.
    :raises TogetherError: as the status demands.
    """
    if status not in _GOOD:
        raise error_for_status(call, status, headers, content)
    try:
        return call.read(call.decode(content))
    except ValueError as error:
        message = f"{place(call)} answered {status}, but it is not JSON ({type(error).__name__})"
        raise MalformedAnswerError(message) from None


def error_for_status(call: Call[Any], status: int, headers: Mapping[str, str], content: bytes) -> TogetherError:
    """
    Return the error that a status stands for.

    A conflict says of a create that the object exists. Of all else it says that somebody changes the object just now,
    which passes as what a busy server says does.
    """
    message = f"{place(call)} answered {status}{_words(content)}"
    if status == _TOO_MANY:
        return RateLimitError(message, retry_after=_retry_after(headers))
    if status in {_TIMEOUT, _LOCKED} or status >= _SERVER_ERROR or (status == _CONFLICT and call.method != "POST"):
        return ServerError(message, status=status, retry_after=_retry_after(headers))
    return _REFUSALS.get(status, RequestRefusedError)(message, status=status)


def place(call: Call[Any]) -> str:
    """Return how messages name a call."""
    return f"Kubernetes: {call.what} ({call.method} {call.path})"


_REFUSALS: dict[int, type[RequestRefusedError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    return float(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else None


def _words(content: bytes) -> str:
    """Return the server's own words: the message of a Status, or the text itself."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    said = body.get("message") if isinstance(body, dict) else text
    said = printable(" ".join(str(said or "").split()))
    if len(said) > _LONGEST_WORDS:
        said = f"{said[:_LONGEST_WORDS]}…"
    return f": {said}" if said else ""


def _as_object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        message = "the answer is no object"
        raise MalformedAnswerError(message)
    return body


def _as_items(body: Any) -> list[dict[str, Any]]:
    items = _as_object(body).get("items") or []
    return [item for item in items if isinstance(item, dict)]


def _jobs(namespace: str, name: str | None = None) -> str:
    path = f"/apis/batch/v1/namespaces/{quoted('namespace', namespace)}/jobs"
    return path if name is None else f"{path}/{quoted('job_name', name)}"


def _core(namespace: str, kind: str, name: str | None = None) -> str:
    path = f"/api/v1/namespaces/{quoted('namespace', namespace)}/{kind}"
    return path if name is None else f"{path}/{quoted('name', name)}"
