"""
What objects of Kubernetes have in common: they are plain dicts here, and this file reads and fills their usual parts.

It also has the kinds that the emulator knows, and the error that its API answers with. It imports nothing of ours.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

Object = dict[str, Any]


class Kind(NamedTuple):
    """One kind of object, and where it is found."""

    plural: str
    name: str
    api_version: str = "v1"
    is_namespaced: bool = True

    @property
    def qualified(self) -> str:
        """The plural as error messages have it, such as ``jobs.batch``."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("pods", "Pod"),
        Kind("jobs", "Job", "batch/v1"),
        Kind("services", "Service"),
        Kind("secrets", "Secret"),
        Kind("configmaps", "ConfigMap"),
        Kind("events", "Event"),
        Kind("persistentvolumeclaims", "PersistentVolumeClaim"),
        Kind("persistentvolumes", "PersistentVolume", is_namespaced=False),
        Kind("nodes", "Node", is_namespaced=False),
        Kind("namespaces", "Namespace", is_namespaced=False),
    )
}

#: Where Kubernetes has another word for a status than HTTP.
_REASONS = {422: "Invalid", 500: "InternalError", 410: "Expired"}


class ApiError(Exception):
    """
    A request that is refused.

    :param code: status code of HTTP; 422 and 501 also for what only this emulator does not have.
    :param reason: Kubernetes' word; by default the one that goes with the code.
    :param about: name of the object that it is about.
    """

    def __init__(self, code: int, message: str, *, reason: str = "", about: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.about = about
        self.reason = reason or _REASONS.get(code) or HTTPStatus(code).phrase.replace(" ", "")

    def to_status(self) -> Object:
        """Return the ``Status`` object that a client gets."""
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        details = {"details": {"name": self.about}} if self.about else {}
        return {**head, "message": self.message, "reason": self.reason, "code": self.code, **details}


def meta(thing: Object) -> Object:
    """Return the metadata of an object."""
    metadata: Object = thing["metadata"]
    return metadata


def clone(thing: Object) -> Object:
    """Return a deep copy."""
    return copy.deepcopy(thing)


def find(thing: Any, path: str) -> Any:
    """Return what is at a dotted path of fields; None where nothing is."""
    for part in path.split("."):
        thing = thing.get(part) if isinstance(thing, dict) else None
    return thing


def is_finished(pod: Object) -> bool:
    """Whether a pod has ended, one way or the other."""
    return find(pod, "status.phase") in {"Succeeded", "Failed"}


def is_terminating(thing: Object) -> bool:
    """Whether the deletion of an object was requested."""
    return meta(thing).get("deletionTimestamp") is not None


def time_text(moment: float | None = None) -> str:
    """Return epoch seconds, by default the present, as Kubernetes writes them."""
    return f"{datetime.fromtimestamp(time.time() if moment is None else moment, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def read_time(text: str) -> float:
    """
    Return epoch seconds of a time of RFC 3339.

    :raises ValueError: if it is not one.
    """
    return datetime.fromisoformat(text).timestamp()


def condition(thing: Object, kind: str) -> Object | None:
    """Return a condition of an object, if it has it."""
    conditions: Iterable[Object] = find(thing, "status.conditions") or ()
    return next((one for one in conditions if one["type"] == kind), None)


def has_condition(thing: Object, kind: str) -> bool:
    """Whether a condition of an object is true."""
    found = condition(thing, kind)
    return found is not None and found["status"] == "True"


def set_condition(status: Object, kind: str, *, value: bool | None = True, reason: str = "", message: str = "") -> None:
    """
    Put a condition into a status; its time of transition changes only if its value does.

    :param value: None is unknown.
    """
    word = {True: "True", False: "False", None: "Unknown"}[value]
    old = condition({"status": status}, kind)
    is_same = old is not None and old["status"] == word
    new = {
        "type": kind,
        "status": word,
        "lastTransitionTime": old["lastTransitionTime"] if is_same and old else time_text(),
    }
    new |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
    status["conditions"] = [*(one for one in status.get("conditions") or () if one["type"] != kind), new]
