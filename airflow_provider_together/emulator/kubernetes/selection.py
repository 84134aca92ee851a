"""Which objects a request means, by their labels and fields, and the watch that follows them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping

from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.objects import ApiError, Object, find, meta
from airflow_provider_together.emulator.kubernetes.store import Change

Selector = Callable[[Object], bool]

#: Seconds that a watch lasts if the client does not say, and between two looks.
_WATCH_SECONDS, _LOOK_SECONDS = 1800, 0.5

_LABEL_TERM = re.compile(r"(!?)([\w./-]+)(?:\s*(!=|==?)\s*([\w.-]*))?")
_FIELD_TERM = re.compile(r"([\w.]+)(!=|==?)(.*)")
_FIELDS = re.compile(r"metadata\.name(space)?|involvedObject\.(kind|name|namespace|uid)|status\.phase|spec\.nodeName")


def select(query: Mapping[str, str]) -> Selector:
    """
    Return the predicate that a label selector and a field selector mean together.

    :raises ApiError: 400 for what the emulator does not understand.
    """
    labels = [_match(_LABEL_TERM, term).groups() for term in query.get("labelSelector", "").split(",") if term]
    fields = [_match(_FIELD_TERM, term).groups() for term in query.get("fieldSelector", "").split(",") if term]
    for field, _, _ in fields:
        _match(_FIELDS, field)

    def passes(thing: Object) -> bool:
        own = meta(thing).get("labels") or {}
        return all(_has_label(own, *term) for term in labels) and all(
            (str(find(thing, field) or "") == value) == (sign != "!=") for field, sign, value in fields
        )

    return passes


def _has_label(labels: Mapping[str, str], negation: str, name: str, sign: str | None, value: str | None) -> bool:
    if sign is None:
        return (name in labels) == (not negation)
    return (labels.get(name) == value) == (sign != "!=")


def _match(pattern: re.Pattern[str], term: str) -> re.Match[str]:
    match = pattern.fullmatch(term.strip())
    if match is None:
        raise ApiError(400, f"unable to parse selector {term!r}, or the emulator's Kubernetes does not have it")
    return match


async def watch(
    cluster: KubernetesCluster, plural: str, namespace: str | None, query: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """Yield what happens to the objects that a query selects, a line for each change."""
    store, selector = cluster.store, select(query)
    deadline = time.monotonic() + int(query.get("timeoutSeconds") or _WATCH_SECONDS)
    begin = int(query.get("resourceVersion") or 0)
    if not begin:
        begin = store.version
        for thing in filter(selector, store.all(plural, namespace)):
            yield _line("ADDED", thing)
    while cluster.is_up and time.monotonic() < deadline:
        changes = store.changes(begin)
        if changes is None:
            yield _line("ERROR", ApiError(410, f"too old resource version: {begin} ({store.version})").to_status())
            return
        begin = store.version
        for change in changes:
            if change.plural == plural and namespace in (None, meta(change.new).get("namespace")):
                word = _word(change, selector)
                if word:
                    yield _line(word, change.new)
        if begin == store.version:
            await store.notice.wait(min(_LOOK_SECONDS, deadline - time.monotonic()))


def _word(change: Change, selector: Selector) -> str:
    """Return what a change is to those who see only what is selected; empty if nothing."""
    was = change.old is not None and selector(change.old)
    if change.word != "DELETED" and selector(change.new):
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else ""


def _line(word: str, thing: Object) -> bytes:
    return json.dumps({"type": word, "object": thing}).encode() + b"\n"
