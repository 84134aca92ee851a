"""
The types of the fields that clients get wrong.

A value of the wrong type is never decoded, so that it is refused before any rule looks at it. Pure functions; it
imports only the refusals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_together.emulator.kubernetes.refusal import ApiError

#: A type; a list of one of these; a dict of fields, where ``*`` is any field.
FieldType = Any

_TEXTS: FieldType = {"*": str}
_RESOURCES: FieldType = {"limits": {"*": (str, int, float)}, "requests": {"*": (str, int, float)}}
_CONTAINER: FieldType = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "workingDir": str,
    "env": [{"name": str, "value": str, "valueFrom": dict}],
    "envFrom": [dict],
    "volumeMounts": [{"name": str, "mountPath": str, "subPath": str, "readOnly": bool}],
    "resources": _RESOURCES,
    "ports": [{"containerPort": int}],
}
_POD_SPEC: FieldType = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "volumes": [{"name": str}],
    "restartPolicy": str,
    "nodeName": str,
    "nodeSelector": _TEXTS,
    "tolerations": [dict],
    "hostname": str,
    "subdomain": str,
    "activeDeadlineSeconds": int,
    "terminationGracePeriodSeconds": int,
}
_METADATA: FieldType = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "finalizers": [str],
    "ownerReferences": [{"apiVersion": str, "kind": str, "name": str, "uid": str}],
}
#: Fields of a Job's spec that are whole numbers, none of them negative.
JOB_NUMBERS = (
    "parallelism",
    "completions",
    "backoffLimit",
    "backoffLimitPerIndex",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)
_TYPES: dict[str, FieldType] = {
    "pods": {"spec": _POD_SPEC},
    "jobs": {
        "spec": {
            "template": {"metadata": _METADATA, "spec": _POD_SPEC},
            "completionMode": str,
            "suspend": bool,
            "podFailurePolicy": dict,
            **dict.fromkeys(JOB_NUMBERS, int),
        }
    },
    "secrets": {"data": _TEXTS, "stringData": _TEXTS, "type": str},
    "configmaps": {"data": _TEXTS, "binaryData": _TEXTS},
    "services": {"spec": {"ports": [{"port": int}], "selector": _TEXTS, "clusterIP": str}},
    "persistentvolumeclaims": {"spec": {"accessModes": [str], "volumeName": str, "storageClassName": str}},
}


def check_types(plural: str, kind: str, thing: Any) -> None:
    """
    Refuse what could not be decoded.

    :raises ApiError: 400, naming the first field of a wrong type.
    """
    wanted = {"metadata": _METADATA, "spec": dict, "status": dict, **_TYPES.get(plural, {})}
    wrong = next(_mismatches(wanted, thing, ""), None)
    if wrong is not None:
        message = f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal into field {wrong}'
        raise ApiError(400, message)


def _mismatches(wanted: FieldType, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            yield path
            return
        for name, inner in value.items():
            if name in wanted or "*" in wanted:
                yield from _mismatches(wanted.get(name, wanted.get("*")), inner, f"{path}.{name}".lstrip("."))
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            yield path
            return
        for inner in value:
            yield from _mismatches(wanted[0], inner, path)
    elif not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
        yield path
