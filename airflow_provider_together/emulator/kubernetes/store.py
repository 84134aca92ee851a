"""
The objects of one cluster, their versions, and the history of their changes, from which watches are served.

No rules about kinds in here; those are in ``admission.py``, ``deletion.py`` and the controllers. Objects that it gives
out are never changed: a change is a new object in the place of the old one. All of it belongs to one event loop.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.notice import Notice
from airflow_provider_together.emulator.kubernetes.objects import Object, clone, is_terminating, meta, time_text
from airflow_provider_together.emulator.kubernetes.refusal import already_exists, conflict, not_found
from airflow_provider_together.emulator.kubernetes.resources import BY_PLURAL

#: So many changes are remembered; a watch that wants older ones is told to list again.
_REMEMBERED = 20_000
_RANDOM_LENGTH = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    One step of the history.

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
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._history: deque[Change] = deque(maxlen=_REMEMBERED)
        self.version = 0
        self.notice = Notice()

    # --- reading ---

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        return self._objects.get((plural, namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """
        Return an object.

        :raises ApiError: 404 if there is none.
        """
        thing = self.find(plural, namespace, name)
        if thing is None:
            raise not_found(plural, name, group=BY_PLURAL[plural].group)
        return thing

    def all(self, plural: str, namespace: str | None = None) -> Iterator[Object]:
        """Return objects of a kind, of one namespace or of all, in the order of their creation."""
        kept = list(self._objects.items())
        return (thing for key, thing in kept if key[0] == plural and namespace in (None, key[1]))

    def everything(self) -> Iterator[tuple[str, Object]]:
        """Return every object with the plural of its kind."""
        return ((key[0], thing) for key, thing in list(self._objects.items()))

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
        if not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:_RANDOM_LENGTH]}"
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        if key in self._objects:
            raise already_exists(plural, metadata["name"], group=resource.group)
        metadata |= {"uid": metadata.get("uid") or str(uuid.uuid4()), "creationTimestamp": time_text()}
        if plural in ("pods", "jobs"):
            metadata["generation"] = 1
        return self._put(key, "ADDED", new)

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
        if "generation" in meta(new) and new.get("spec") != old.get("spec"):
            meta(new)["generation"] = meta(old).get("generation", 0) + 1
        key = (plural, namespace, name)
        if is_terminating(new) and not meta(new).get("finalizers") and _is_graceless(new):
            return self._remove(key, new)
        return self._put(key, "MODIFIED", new)

    def remove(self, plural: str, namespace: str, name: str) -> Object | None:
        """Take an object away at once; the result is its last form, None if it was not there."""
        thing = self.find(plural, namespace, name)
        return None if thing is None else self._remove((plural, namespace, name), clone(thing))

    def _put(self, key: tuple[str, str, str], word: str, new: Object) -> Object:
        old = self._objects.get(key)
        self._objects[key] = new
        self._remember(key[0], word, new, old)
        return new

    def _remove(self, key: tuple[str, str, str], last: Object) -> Object:
        old = self._objects.pop(key)
        self._remember(key[0], "DELETED", last, old)
        return last

    def _remember(self, plural: str, word: str, new: Object, old: Object | None) -> None:
        self.version += 1
        meta(new)["resourceVersion"] = str(self.version)
        self._history.append(Change(version=self.version, plural=plural, word=word, new=new, old=old))
        self.notice.give()


def _is_graceless(thing: Object) -> bool:
    """Tell whether nothing but finalizers keeps an object whose deletion was asked for."""
    return not meta(thing).get("deletionGracePeriodSeconds")
