"""
What a request may put into the store: the fields that the emulator has, their defaults, and what may change later.

A field that is not listed here, and that says something, is refused by its name: to ignore it would let a test pass
that means something else on a real cluster. Empty values say nothing. Pure functions.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from typing import Any

from airflow_provider_together.emulator.kubernetes.objects import ApiError, Kind, Object, clone, find, meta

HOST_NAME_LABEL = "kubernetes.io/hostname"
LACKS = "the emulator's Kubernetes does not have this"


def _below(path: str, words: str) -> set[str]:
    return {f"{path}.{word}" for word in words.split()}


#: The rule that two pods may not share a node, which is the only affinity that there is.
ANTI_AFFINITY = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
_METADATA = _below("metadata", "name generateName namespace labels annotations ownerReferences")
_CONTAINER = """
    name image command args env.name env.value env.valueFrom.fieldRef env.valueFrom.secretKeyRef
    env.valueFrom.configMapKeyRef envFrom resources volumeMounts terminationMessagePath terminationMessagePolicy
"""
_POD = f"""
    volumes.name volumes.emptyDir volumes.secret volumes.configMap volumes.persistentVolumeClaim nodeSelector
    {ANTI_AFFINITY}.labelSelector.matchLabels {ANTI_AFFINITY}.topologyKey
    restartPolicy activeDeadlineSeconds terminationGracePeriodSeconds
"""
#: Fields that make no difference to a process of this machine. A login for a registry would be judged in ``pods.py``.
_IDLE_OF_CONTAINER = "imagePullPolicy securityContext ports"
_IDLE_OF_POD = """
    imagePullSecrets tolerations serviceAccountName serviceAccount automountServiceAccountToken securityContext
    priorityClassName schedulerName dnsPolicy enableServiceLinks hostNetwork
"""


def _pod_fields(path: str) -> set[str]:
    containers = [f"{path}.{group}" for group in ("containers", "initContainers")]
    fields = [_below(one, _CONTAINER + _IDLE_OF_CONTAINER) for one in containers]
    return _below(path, _POD + _IDLE_OF_POD).union(*fields)


#: The fields of the kinds that clients may create; anything may be below them.
_FIELDS: dict[str, set[str]] = {
    "pods": _pod_fields("spec"),
    "jobs": _pod_fields("spec.template.spec")
    | _below("spec", "suspend completionMode completions parallelism backoffLimit activeDeadlineSeconds")
    | _below("spec.template", "metadata.labels metadata.annotations spec.subdomain"),
    "services": _below("spec", "clusterIP publishNotReadyAddresses selector ports"),
    "secrets": {"data", "stringData", "type"},
    "configmaps": {"data", "binaryData"},
    "persistentvolumeclaims": _below("spec", "accessModes storageClassName volumeName volumeMode resources.requests"),
    "namespaces": set(),
}
#: What a server sets itself, and clients may send back to it.
_OF_THE_SERVER = ("uid", "creationTimestamp", "resourceVersion", "generation", "selfLink", "managedFields")
#: What a later change may touch.
_MAY_CHANGE = {"secrets": {"data"}, "configmaps": {"data", "binaryData"}, "jobs": {"spec.suspend"}}

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_FIELD_PATH = re.compile(r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.nodeName")

_Problems = Iterator[tuple[str, str]]


def admit_new(kind: Kind, namespace: str, body: Any) -> Object:
    """
    Return what is to be stored for an object that a client sends.

    :raises ApiError: 400 or 422, naming what is wrong or not supported; 501 for a kind that clients do not make.
    """
    if kind.plural not in _FIELDS:
        raise ApiError(501, f"creation of {kind.plural}: {LACKS}")
    sent = (body.get("apiVersion", kind.api_version), body.get("kind", kind.name)) if isinstance(body, dict) else None
    if sent != (kind.api_version, kind.name) or not isinstance(body.get("metadata"), dict):
        raise ApiError(400, f"the body of the request is not a {kind.name} of {kind.api_version}")
    thing = {name: part for name, part in clone(body).items() if name not in {"apiVersion", "kind", "status"}}
    metadata = thing["metadata"] = {name: part for name, part in meta(thing).items() if name not in _OF_THE_SERVER}
    if kind.is_namespaced and metadata.setdefault("namespace", namespace) != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
    problems = [(place, LACKS) for place in _unsupported(thing, _FIELDS[kind.plural] | _METADATA)]
    problems = problems or list(_problems(kind.plural, thing))
    if problems:
        raise _invalid(kind, metadata.get("name") or "", problems)
    _fill_in(kind.plural, thing)
    return thing


def admit_change(kind: Kind, old: Object, new: Object) -> Object:
    """
    Return what is to be stored for a changed object.

    :raises ApiError: 422, naming what may not change here.
    """
    free = {"metadata.labels", "metadata.annotations", "metadata.ownerReferences", *_MAY_CHANGE.get(kind.plural, ())}
    changed = list(_changed(old, new, free))
    if find(new, "spec.suspend") and find(old, "status.startTime"):
        changed.append("spec.suspend")
    if changed:
        raise _invalid(kind, meta(old)["name"], [(place, f"its change: {LACKS}") for place in changed])
    return new


def fill_pod(pod: Object) -> None:
    """Fill in what a pod does not say, in place."""
    spec = pod["spec"]
    spec.setdefault("terminationGracePeriodSeconds", 30)
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
    pod["status"] = {"phase": "Pending"}


def _fill_in(plural: str, thing: Object) -> None:
    if plural == "pods":
        fill_pod(thing)
    elif plural == "jobs":
        thing["spec"].setdefault("suspend", False)
        thing["status"] = {}
    elif plural == "secrets":
        thing.setdefault("type", "Opaque")
        text = thing.pop("stringData", None) or {}
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
        thing["data"] = {**(thing.get("data") or {}), **encoded}
    elif plural in {"persistentvolumeclaims", "namespaces"}:
        thing["status"] = {"phase": "Pending" if plural == "persistentvolumeclaims" else "Active"}


def _invalid(kind: Kind, name: str, problems: list[tuple[str, str]]) -> ApiError:
    listed = ", ".join(f"{place}: {text}" for place, text in problems)
    return ApiError(422, f'{kind.name} "{name}" is invalid: {listed}')


def _unsupported(value: Any, fields: set[str], path: str = "", place: str = "") -> Iterator[str]:
    """Yield the places of what says something and is not below any of the fields."""
    if path in fields or value is None or value is False or value == "":
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _unsupported(inner, fields, f"{path}.{name}".strip("."), f"{place}.{name}".strip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unsupported(inner, fields, path, f"{place}[{number}]")
    else:
        yield place


def _changed(old: Any, new: Any, free: set[str], place: str = "") -> Iterator[str]:
    """Yield the places of what has changed and may not."""
    if place in free or old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _changed(old.get(name), new.get(name), free, f"{place}.{name}".strip("."))
    else:
        yield place


def _problems(plural: str, thing: Object) -> _Problems:
    """Yield what is wrong with an object all of whose fields are known."""
    spec = thing.get("spec") or {}
    if not _NAME.fullmatch(meta(thing).get("name") or ""):
        yield "metadata.name", "a lowercase RFC 1123 name is needed"
    if plural == "pods":
        yield from _problems_of_pod(spec, "spec")
    if plural == "jobs":
        yield from _problems_of_job(spec)
    if plural == "services" and spec.get("clusterIP") != "None":
        yield "spec.clusterIP", f"other than None, of a headless Service: {LACKS}"
    if plural == "persistentvolumeclaims":
        needed = ("volumeName", "accessModes", "resources.requests.storage")
        yield from ((f"spec.{field}", "Required value") for field in needed if not find(spec, field))
    encoded = {"secrets": "data", "configmaps": "binaryData"}.get(plural, "")
    for key, value in (thing.get(encoded) or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (TypeError, ValueError):
            yield key, "illegal base64 data"


def _problems_of_job(spec: Object) -> _Problems:
    if spec.get("completionMode") != "Indexed" or spec.get("parallelism") != spec.get("completions"):
        yield "spec.completionMode", f"other than Indexed, with as many completions as parallelism: {LACKS}"
    if not isinstance(spec.get("completions"), int):
        yield "spec.completions", "Required value"
    if spec.get("backoffLimit") != 0:
        yield "spec.backoffLimit", f"other than 0: {LACKS}"
    yield from _problems_of_pod(find(spec, "template.spec") or {}, "spec.template.spec")


def _problems_of_pod(spec: Object, path: str) -> _Problems:
    if not spec.get("containers"):
        yield f"{path}.containers", "Required value"
    if spec.get("restartPolicy") != "Never":
        yield f"{path}.restartPolicy", f"other than Never: {LACKS}"
    if any(rule.get("topologyKey") != HOST_NAME_LABEL for rule in find(spec, ANTI_AFFINITY) or ()):
        yield f"{path}.{ANTI_AFFINITY}.topologyKey", f"other than {HOST_NAME_LABEL}: {LACKS}"
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for group in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(group) or ()):
            yield from _problems_of_container(container, volumes, f"{path}.{group}[{number}]")


def _problems_of_container(container: Object, volumes: set[Any], path: str) -> _Problems:
    for field, text in (
        ("name", ""),
        ("image", ""),
        ("command", ": no image is pulled: give the command of its container"),
    ):
        if not container.get(field):
            yield f"{path}.{field}", f"Required value{text}"
    for mount in container.get("volumeMounts") or ():
        if mount.get("name") not in volumes:
            yield f"{path}.volumeMounts", f"Not found: {mount.get('name')!r}"
        if not str(mount.get("mountPath") or "").strip("/"):
            yield f"{path}.volumeMounts", f"a mountPath other than the root: {LACKS}"
    for entry in container.get("env") or ():
        field_path = find(entry, "valueFrom.fieldRef.fieldPath")
        if field_path is not None and not _FIELD_PATH.fullmatch(field_path):
            yield f"{path}.env.valueFrom.fieldRef", f"{field_path}: {LACKS}"
