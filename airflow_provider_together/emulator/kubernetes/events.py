"""Writing Kubernetes events about pods and other objects. It imports the store and small things."""

from __future__ import annotations

import uuid

from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta, time_text
from airflow_provider_together.emulator.kubernetes.store import Store

NORMAL, WARNING = "Normal", "Warning"
#: So many are kept in all, the latest ones; a server would forget them after an hour.
_KEPT = 5_000


class Recorder:
    """
    Writes what one component has to tell.

    :param component: its name, such as ``kubelet``.
    """

    def __init__(self, store: Store, component: str) -> None:
        self._store = store
        self._component = component

    def record(self, about: Object, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """
        Record an event; one that happens again is counted up.

        :param kind: ``Normal`` or ``Warning``.
        :param field_path: the part of the object that it is about.
        """
        again = self._find(about, reason, message)
        if again is None:
            self._create(about, kind, reason, message, field_path=field_path)
            return
        change = {"count": int(again["count"]) + 1, "lastTimestamp": time_text()}
        self._store.update("events", meta(again)["namespace"], meta(again)["name"], lambda new: new | change)

    def record_once(self, about: Object, kind: str, reason: str, message: str) -> None:
        """Record an event unless it is known: controllers look at the same thing again and again."""
        if self._find(about, reason, message) is None:
            self._create(about, kind, reason, message, field_path="")

    def _find(self, about: Object, reason: str, message: str) -> Object | None:
        known = self._store.all("events", _namespace(about))
        return next((event for event in known if _is_same(event, about, reason, message)), None)

    def _create(self, about: Object, kind: str, reason: str, message: str, *, field_path: str) -> None:
        now, namespace = time_text(), _namespace(about)
        involved = {
            "kind": about["kind"],
            "apiVersion": about["apiVersion"],
            "namespace": namespace,
            "name": meta(about)["name"],
            "uid": meta(about)["uid"],
            "resourceVersion": meta(about).get("resourceVersion", ""),
        }
        host = find(about, "spec.nodeName")
        event = {
            "metadata": {"name": f"{meta(about)['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": involved | ({"fieldPath": field_path} if field_path else {}),
            "reason": reason,
            "message": message,
            "type": kind,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "eventTime": None,
            "source": {"component": self._component} | ({"host": host} if host else {}),
            "reportingComponent": self._component,
            "reportingInstance": "",
        }
        self._store.create("events", event)
        _forget_old(self._store)


def _namespace(about: Object) -> str:
    return str(meta(about).get("namespace", "default"))


def _is_same(event: Object, about: Object, reason: str, message: str) -> bool:
    same_object = event["involvedObject"]["uid"] == meta(about)["uid"]
    return same_object and (event["reason"], event["message"]) == (reason, message)


def _forget_old(store: Store) -> None:
    kept = store.all("events")
    for event in kept[: max(len(kept) - _KEPT, 0)]:
        store.remove("events", meta(event)["namespace"], meta(event)["name"])
