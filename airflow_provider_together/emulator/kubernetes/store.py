"""
The objects of one cluster: made, changed, deleted, collected when their owner is gone, with the history for watches.

Objects that it returns are never changed: a change puts a new object in the place of the old one. All of it belongs
to one event loop. It knows no rules about kinds; those are in ``admission.py``, ``jobs.py`` and ``pods.py``.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from airflow_provider_together.emulator.kubernetes.notice import Notice
from airflow_provider_together.emulator.kubernetes.objects import (
    KINDS,
    ApiError,
    Object,
    clone,
    find,
    is_finished,
    is_terminating,
    meta,
    time_text,
)

FOREGROUND = "Foreground"
_FINALIZER = "foregroundDeletion"
#: So many changes are remembered; a watch that wants older ones has to list again. And so many events are kept.
_CHANGES, _EVENTS = 20_000, 5_000


class Change(NamedTuple):
    """
    One step of the history.

    :param word: as watches have it: ``ADDED``, ``MODIFIED``, ``DELETED``.
    """

    version: int
    plural: str
    word: str
    new: Object
    old: Object | None


class Store:
    """All objects of a cluster, by plural, namespace (empty for none) and name."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in KINDS}
        self._history: deque[Change] = deque(maxlen=_CHANGES)
        self.version = 0
        self.notice = Notice()

    # --- reading ---

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        return self._objects[plural].get((namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """
        Return an object.

        :raises ApiError: 404 if there is none.
        """
        thing = self.find(plural, namespace, name)
        if thing is None:
            raise ApiError(404, f'{KINDS[plural].qualified} "{name}" not found', about=name)
        return thing

    def all(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind, of one namespace or of all, in the order of their creation."""
        return [thing for (place, _), thing in self._objects[plural].items() if namespace in (None, place)]

    def changes(self, after: int) -> list[Change] | None:
        """Return what has happened after a version; None if that is too long ago."""
        if self._history and after < self._history[0].version - 1:
            return None
        return [change for change in self._history if change.version > after]

    # --- changing ---

    def create(self, plural: str, thing: Object) -> Object:
        """
        Add an object, with all that a server gives it, and return it.

        :raises ApiError: 409 if its name is taken.
        """
        kind, new = KINDS[plural], clone(thing)
        name = meta(new)["name"]
        if self.find(plural, meta(new).get("namespace", ""), name) is not None:
            raise ApiError(409, f'{kind.qualified} "{name}" already exists', reason="AlreadyExists", about=name)
        new |= {"kind": kind.name, "apiVersion": kind.api_version}
        meta(new).update(uid=str(uuid.uuid4()), creationTimestamp=time_text())
        return self._put(plural, "ADDED", new, None)

    def update(self, plural: str, thing: Object, change: Callable[[Object], None]) -> Object:
        """
        Change an object and return the new one; a change that changes nothing leaves no trace.

        :param thing: tells which by its namespace and name, and by its uid: nothing is done to another of that name.
        :param change: changes the copy that it gets.
        """
        old = self.find(plural, meta(thing).get("namespace", ""), meta(thing)["name"])
        if old is None or meta(old)["uid"] != meta(thing)["uid"]:
            return thing
        new = clone(old)
        change(new)
        return old if new == old else self._put(plural, "MODIFIED", new, old)

    def remove(self, plural: str, thing: Object) -> None:
        """Take an object away at once, if it is still there."""
        old = self.find(plural, meta(thing).get("namespace", ""), meta(thing)["name"])
        if old is not None and meta(old)["uid"] == meta(thing)["uid"]:
            self._put(plural, "DELETED", clone(old), old)

    def delete(self, plural: str, thing: Object, *, propagation: str = "", grace: int | None = None) -> Object:
        """
        Delete an object, or begin to, and return its latest form.

        A pod that runs goes once its kubelet has ended it. What an object owns goes with it: before it if
        ``propagation`` is ``Foreground``, else after it.

        :param grace: seconds that a pod's containers have for their end; None is what the pod says.
        """
        runs = plural == "pods" and bool(find(thing, "spec.nodeName")) and not is_finished(thing)
        is_kept = propagation == FOREGROUND and bool(self._owned(thing))
        seconds = thing["spec"]["terminationGracePeriodSeconds"] if runs and grace is None else grace or 0

        def mark(new: Object) -> None:
            metadata = meta(new)
            metadata.setdefault("deletionTimestamp", time_text())
            # Asking again can only shorten it.
            metadata["deletionGracePeriodSeconds"] = min(seconds, metadata.get("deletionGracePeriodSeconds", seconds))
            if is_kept:
                metadata["finalizers"] = [_FINALIZER]

        if runs or is_kept:
            return self.update(plural, thing, mark)
        self.remove(plural, thing)
        return thing

    def collect_garbage(self) -> None:
        """Delete what has lost its owners, and let go what waited for that."""
        everything = [(plural, thing) for plural, things in self._objects.items() for thing in things.values()]
        living = {meta(thing)["uid"] for _, thing in everything if _FINALIZER not in meta(thing).get("finalizers", ())}
        for plural, thing in everything:
            owners = meta(thing).get("ownerReferences") or ()
            if owners and not is_terminating(thing) and not any(owner["uid"] in living for owner in owners):
                self.delete(plural, thing)
        for plural, thing in everything:
            if _FINALIZER in meta(thing).get("finalizers", ()) and not self._owned(thing):
                self.remove(plural, thing)

    def record_event(
        self, about: Object, reason: str, message: str, *, kind: str = "Normal", container: str = ""
    ) -> None:
        """
        Record an event about an object, unless it is known.

        :param kind: ``Normal`` or ``Warning``.
        """
        involved = {name: about[name] for name in ("kind", "apiVersion")}
        involved |= {name: meta(about).get(name, "") for name in ("namespace", "name", "uid")}
        involved |= {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
        event = {"involvedObject": involved, "reason": reason, "message": message, "type": kind}
        if any(event.items() <= known.items() for known in self.all("events")):
            return
        place = {
            "name": f"{meta(about)['name']}.{uuid.uuid4().hex[:16]}",
            "namespace": involved["namespace"] or "default",
        }
        times = {"firstTimestamp": time_text(), "lastTimestamp": time_text(), "count": 1}
        self.create("events", {"metadata": place, **event, **times, "source": {"component": "emulator"}})
        for old in self.all("events")[:-_EVENTS]:
            self.remove("events", old)

    def _owned(self, owner: Object) -> bool:
        uid = meta(owner)["uid"]
        return any(
            reference["uid"] == uid
            for things in self._objects.values()
            for thing in things.values()
            for reference in meta(thing).get("ownerReferences") or ()
        )

    def _put(self, plural: str, word: str, new: Object, old: Object | None) -> Object:
        key = (meta(new).get("namespace", ""), meta(new)["name"])
        if word == "DELETED":
            del self._objects[plural][key]
        else:
            self._objects[plural][key] = new
        self.version += 1
        meta(new)["resourceVersion"] = str(self.version)
        self._history.append(Change(self.version, plural, word, new, old))
        self.notice.give()
        return new
