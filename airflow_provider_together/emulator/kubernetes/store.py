"""
The objects of one cluster, their versions, and the history of their changes, from which watches are served.

No rules about kinds in here; those are in ``admission.py``, ``deletion.py`` and the controllers. Objects that it gives
out are never changed: a change is a new object in the place of the old one. All of it belongs to one event loop.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.notice import Notice
from airflow_provider_together.emulator.kubernetes.objects import Object, clone, is_terminating, meta, time_text
from airflow_provider_together.emulator.kubernetes.refusal import already_exists, conflict, not_found
from airflow_provider_together.emulator.kubernetes.resources import BY_PLURAL

#: So many changes are remembered; a watch that wants older ones is told to list again.
_REMEMBERED = 20_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    One step of the history.

    :param word: as watches have it: ``ADDED``, ``MODIFIED``, ``DELETED``.
    :param new: the object after it; one that was deleted has the version of its deletion.
    :param old: the object before it, if there was one.
    """

    version: int
    plural: str
    word: str
    new: Object
    old: Object | None


class Store:
    """All objects of a cluster, by plural, namespace (empty for none) and name."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in BY_PLURAL}
        self._history: deque[Change] = deque(maxlen=_REMEMBERED)
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
            raise not_found(plural, name, group=BY_PLURAL[plural].group)
        return thing

    def all(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return objects of a kind, of one namespace or of all, in the order of their creation."""
        return [thing for (place, _), thing in self._objects[plural].items() if namespace in (None, place)]

    def everything(self) -> list[tuple[str, Object]]:
        """Return every object with the plural of its kind."""
        return [(plural, thing) for plural, things in self._objects.items() for thing in things.values()]

    def changes(self, after: int) -> list[Change] | None:
        """Return what has happened after a version; None if that is too long ago."""
        if self._history and after < self._history[0].version - 1:
            return None
        # New ones are at the end, and mostly few.
        found: list[Change] = []
        for change in reversed(self._history):
            if change.version <= after:
                break
            found.append(change)
        return found[::-1]

    # --- writing ---

    def create(self, plural: str, thing: Object) -> Object:
        """
        Add an object, with all that a server gives it, and return it.

        :raises ApiError: 409 if its name is taken.
        """
        resource = BY_PLURAL[plural]
        new = clone(thing) | {"kind": resource.kind, "apiVersion": resource.api_version}
        metadata = meta(new)
        namespace = metadata.get("namespace", "")
        if self.find(plural, namespace, metadata["name"]) is not None:
            raise already_exists(plural, metadata["name"], group=resource.group)
        metadata |= {"uid": metadata.get("uid") or str(uuid.uuid4()), "creationTimestamp": time_text()}
        return self._put(plural, "ADDED", new, None)

    def update(
        self, plural: str, namespace: str, name: str, change: Callable[[Object], Object | None], *, version: str = ""
    ) -> Object:
        """
        Change an object and return the new one; a change that changes nothing leaves no trace.

        :param change: changes the copy that it is given, or returns another object.
        :param version: the version that the object must have; empty for any.
        :raises ApiError: 404 if there is none, 409 if it has another version.
        """
        old = self.get(plural, namespace, name)
        if version and version != meta(old)["resourceVersion"]:
            cause = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(plural, name, cause, group=BY_PLURAL[plural].group)
        new = clone(old)
        new = change(new) or new
        meta(new)["resourceVersion"] = meta(old)["resourceVersion"]
        if new == old:
            return old
        return self._put(plural, "DELETED" if _is_to_go(new) else "MODIFIED", new, old)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Take an object away at once, whatever would keep it, if it is there."""
        thing = self.find(plural, namespace, name)
        if thing is not None:
            self._put(plural, "DELETED", clone(thing), thing)

    def _put(self, plural: str, word: str, new: Object, old: Object | None) -> Object:
        things, key = self._objects[plural], (meta(new).get("namespace", ""), meta(new)["name"])
        if word == "DELETED":
            del things[key]
        else:
            things[key] = new
        self.version += 1
        meta(new)["resourceVersion"] = str(self.version)
        self._history.append(Change(version=self.version, plural=plural, word=word, new=new, old=old))
        self.notice.give()
        return new


def _is_to_go(thing: Object) -> bool:
    """Tell whether nothing keeps an object any more whose deletion was asked for: no finalizer, no grace period."""
    metadata = meta(thing)
    is_kept = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return is_terminating(thing) and not is_kept
