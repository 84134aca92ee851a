"""
Lists as tables, which ``kubectl get`` asks for, so that it shows what is worth seeing. Pure functions.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    find,
    has_condition,
    is_terminating,
    meta,
    read_time,
)
from airflow_provider_together.emulator.kubernetes.view import container_reason, job_state

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def is_wanted(accept: str) -> bool:
    """Tell whether a client prefers a table."""
    return "as=Table" in accept.partition(",")[0]


def table(things: list[Object], version: str) -> Object:
    """Return objects of one kind as a table."""
    kind = things[0]["kind"] if things else ""
    columns = {"Name": lambda thing: meta(thing)["name"], **_COLUMNS.get(kind, {}), "Age": _age}
    definitions = [
        {"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name in columns
    ]
    rows = [
        {"cells": [cell(thing) for cell in columns.values()], "object": {**_PARTIAL, "metadata": meta(thing)}}
        for thing in things
    ]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version}}
    return {**head, "columnDefinitions": definitions, "rows": rows}


_PARTIAL = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}


def _age(thing: Object) -> str:
    seconds = int(time.time() - read_time(meta(thing)["creationTimestamp"]))
    for length, letter in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{letter}"
    return f"{max(seconds, 0)}s"


def _pod_state(pod: Object) -> str:
    if is_terminating(pod):
        return "Terminating"
    reason = container_reason(pod)
    if reason:
        return reason
    phase = find(pod, "status.reason") or find(pod, "status.phase")
    return "Completed" if phase == "Succeeded" else str(phase)


def _readiness(pod: Object) -> str:
    statuses = find(pod, "status.containerStatuses") or ()
    return f"{sum(status['ready'] for status in statuses)}/{len(pod['spec']['containers'])}"


def _restarts(pod: Object) -> str:
    return str(sum(status["restartCount"] for status in find(pod, "status.containerStatuses") or ()))


def _field(path: str) -> Callable[[Object], str]:
    return lambda thing: str(find(thing, path) or "")


_COLUMNS: dict[str, dict[str, Callable[[Object], Any]]] = {
    "Pod": {"Ready": _readiness, "Status": _pod_state, "Restarts": _restarts, "Node": _field("spec.nodeName")},
    "Job": {
        "Status": job_state,
        "Completions": lambda job: f"{find(job, 'status.succeeded') or 0}/{find(job, 'spec.completions') or 1}",
    },
    "Node": {"Status": lambda node: "Ready" if has_condition(node, "Ready") else "NotReady"},
    "PersistentVolume": {
        "Capacity": _field("spec.capacity.storage"),
        "Status": _field("status.phase"),
        "Claim": _field("spec.claimRef.name"),
    },
    "PersistentVolumeClaim": {"Status": _field("status.phase"), "Volume": _field("spec.volumeName")},
    "Event": {"Type": _field("type"), "Reason": _field("reason"), "Message": _field("message")},
    "Namespace": {"Status": _field("status.phase")},
    "Service": {"Type": _field("spec.type"), "Cluster-IP": _field("spec.clusterIP")},
}
