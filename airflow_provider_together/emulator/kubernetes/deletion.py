"""
Deleting objects: grace periods, finalizers, and what goes with its owner (the garbage collector).

It decides and changes the store; processes are ended by the kubelet, which sees the changes. It imports the store.
"""

from __future__ import annotations

from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    find,
    is_finished,
    is_terminating,
    meta,
    time_text,
)
from airflow_provider_together.emulator.kubernetes.refusal import conflict
from airflow_provider_together.emulator.kubernetes.resources import BY_PLURAL
from airflow_provider_together.emulator.kubernetes.store import Store

FOREGROUND, BACKGROUND, ORPHAN = "Foreground", "Background", "Orphan"
_FOREGROUND_FINALIZER = "foregroundDeletion"
#: Kinds that leave behind what they own if a request does not say otherwise: a legacy of the first API of Jobs.
_ORPHANING = ("jobs",)


def delete(store: Store, plural: str, thing: Object, *, propagation: str = "", grace: int | None = None) -> Object:
    """
    Delete an object, or begin to, and return its latest form.

    :param propagation: what becomes of what it owns; by default that goes in the background.
    :param grace: seconds that a pod's containers have for their end; None is what the pod says.
    """
    namespace, name = meta(thing).get("namespace", ""), meta(thing)["name"]
    if not propagation and plural in _ORPHANING:
        propagation = ORPHAN
    if propagation == ORPHAN:
        _orphan(store, thing)
    seconds = _grace(plural, thing, grace)
    is_foreground = propagation == FOREGROUND and bool(_owned(store, thing))

    def mark(new: Object) -> None:
        metadata = meta(new)
        metadata.setdefault("deletionTimestamp", time_text())
        metadata["deletionGracePeriodSeconds"] = seconds
        if plural == "namespaces":
            new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        if is_foreground and _FOREGROUND_FINALIZER not in metadata.get("finalizers", ()):
            metadata["finalizers"] = [*metadata.get("finalizers", ()), _FOREGROUND_FINALIZER]

    # Without grace and finalizers this removes it.
    return store.update(plural, namespace, name, mark)


def check_preconditions(plural: str, thing: Object, preconditions: Object) -> None:
    """
    Refuse to delete another object than the one that was meant.

    :raises ApiError: 409.
    """
    for field in ("uid", "resourceVersion"):
        wanted, found = preconditions.get(field), meta(thing)[field]
        if wanted and wanted != found:
            word = "UID" if field == "uid" else "ResourceVersion"
            cause = f"Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {found}"
            raise conflict(plural, meta(thing)["name"], cause, group=BY_PLURAL[plural].group)


def collect_garbage(store: Store) -> None:
    """Delete what has lost its owner, and let go what waited for that."""
    uids = {meta(thing)["uid"]: thing for _, thing in store.everything()}
    for plural, thing in store.everything():
        owners = meta(thing).get("ownerReferences") or ()
        if owners and not is_terminating(thing) and all(_is_going(uids.get(owner["uid"])) for owner in owners):
            delete(store, plural, thing, propagation=BACKGROUND)
    for plural, thing in store.everything():
        if _FOREGROUND_FINALIZER in (meta(thing).get("finalizers") or ()) and not _owned(store, thing):
            release(store, plural, thing, _FOREGROUND_FINALIZER)


def release(store: Store, plural: str, thing: Object, finalizer: str) -> None:
    """Take a finalizer away, which may end the object."""

    def let_go(new: Object) -> None:
        meta(new)["finalizers"] = [one for one in meta(new).get("finalizers") or () if one != finalizer]

    store.update(plural, meta(thing).get("namespace", ""), meta(thing)["name"], let_go)


def _is_going(owner: Object | None) -> bool:
    return owner is None or (is_terminating(owner) and _FOREGROUND_FINALIZER in (meta(owner).get("finalizers") or ()))


def _grace(plural: str, thing: Object, wanted: int | None) -> int:
    if plural != "pods" or is_finished(thing) or not find(thing, "spec.nodeName"):
        return 0
    period = find(thing, "spec.terminationGracePeriodSeconds")
    seconds = wanted if wanted is not None else 30 if period is None else int(period)
    # Asking again can only shorten it.
    earlier = meta(thing).get("deletionGracePeriodSeconds")
    return max(seconds if earlier is None else min(seconds, int(earlier)), 0)


def _owned(store: Store, owner: Object) -> list[tuple[str, Object]]:
    uid = meta(owner)["uid"]
    return [
        (plural, thing)
        for plural, thing in store.everything()
        if any(reference["uid"] == uid for reference in meta(thing).get("ownerReferences") or ())
    ]


def _orphan(store: Store, owner: Object) -> None:
    uid = meta(owner)["uid"]

    def let_go(new: Object) -> None:
        meta(new)["ownerReferences"] = [one for one in meta(new)["ownerReferences"] if one["uid"] != uid]

    for plural, thing in _owned(store, owner):
        store.update(plural, meta(thing).get("namespace", ""), meta(thing)["name"], let_go)
