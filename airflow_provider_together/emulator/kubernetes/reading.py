"""Answering what clients read: one object, a list, a watch, a log. It imports the cluster."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping

from starlette.responses import JSONResponse, Response, StreamingResponse

from airflow_provider_together.emulator.kubernetes import tables
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.paths import Target
from airflow_provider_together.emulator.kubernetes.pod_target import container_name, log_container
from airflow_provider_together.emulator.kubernetes.query import check_version_match, flag, log_request, number
from airflow_provider_together.emulator.kubernetes.refusal import ApiError
from airflow_provider_together.emulator.kubernetes.selectors import Selector, select
from airflow_provider_together.emulator.kubernetes.store import Change, Store

#: Seconds that a watch lasts if the client does not say, and at the most between two looks.
_WATCH_SECONDS, _LOOK_SECONDS = 1800, 0.5
_EXPIRED, _NO_CONTENT = 410, 204


def read(cluster: KubernetesCluster, target: Target, query: Mapping[str, str], *, accept: str) -> Response:
    """
    Answer a GET.

    :param accept: media types that the client takes.
    :raises ApiError: if it cannot be answered.
    """
    if target.subresource == "log":
        return _log(cluster, target, query)
    if target.name and not flag(query, "watch"):
        thing = cluster.store.get(target.resource.plural, target.namespace or "", target.name)
        return JSONResponse(tables.table([thing], "") if tables.is_wanted(accept) else thing)
    check_version_match(query)
    fields = query.get("fieldSelector", "")
    if target.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
    selector = select(target.resource.kind, labels=query.get("labelSelector", ""), fields=fields)
    if flag(query, "watch"):
        return StreamingResponse(_watch(cluster, target, selector, query), media_type="application/json")
    things = [thing for thing in cluster.store.all(target.resource.plural, target.namespace) if selector(thing)]
    version = str(cluster.store.version)
    if tables.is_wanted(accept):
        return JSONResponse(tables.table(things, version))
    return JSONResponse(list_of(target, things, version))


def list_of(target: Target, things: list[Object], version: str) -> Object:
    """Return the list of some objects of a kind, which do not say their kind again."""
    resource = target.resource
    things = [{name: value for name, value in one.items() if name not in ("kind", "apiVersion")} for one in things]
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return {**head, "metadata": {"resourceVersion": version}, "items": things}


async def _watch(
    cluster: KubernetesCluster, target: Target, selector: Selector, query: Mapping[str, str]
) -> AsyncIterator[bytes]:
    store, plural = cluster.store, target.resource.plural
    deadline = time.monotonic() + (number(query, "timeoutSeconds") or _WATCH_SECONDS)
    begin = number(query, "resourceVersion") or 0
    if not begin:
        begin = store.version
        for thing in store.all(plural, target.namespace):
            if selector(thing):
                yield _line("ADDED", thing)
    while cluster.is_up and time.monotonic() < deadline:
        changes = store.changes(begin)
        if changes is None:
            yield _line("ERROR", ApiError(_EXPIRED, f"too old resource version: {begin} ({store.version})").to_status())
            return
        begin = store.version
        for change in changes:
            word = _word(change, target, selector)
            if word:
                yield _line(word, change.new)
        if begin == store.version:
            await store.notice.wait(min(_LOOK_SECONDS, deadline - time.monotonic()))
    if flag(query, "allowWatchBookmarks"):
        resource = target.resource
        mark = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {"resourceVersion": str(begin)}}
        yield _line("BOOKMARK", mark)


def _word(change: Change, target: Target, selector: Selector) -> str:
    """Return what a change is to those who see only what is selected; empty if nothing."""
    if change.plural != target.resource.plural or not _is_in(change.new, target.namespace):
        return ""
    was = change.old is not None and selector(change.old)
    is_now = change.word != "DELETED" and selector(change.new)
    if is_now:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else ""


def _is_in(thing: Object, namespace: str | None) -> bool:
    return namespace is None or meta(thing).get("namespace", "") == namespace


def _line(word: str, thing: Object) -> bytes:
    return json.dumps({"type": word, "object": thing}).encode() + b"\n"


def _log(cluster: KubernetesCluster, target: Target, query: Mapping[str, str]) -> Response:
    store: Store = cluster.store
    pod = store.get("pods", target.namespace or "", target.name)
    wanted = log_request(query, now=time.time(), pod=target.name)
    if not find(pod, "spec.nodeName"):
        container_name(pod, query.get("container", ""))
        return Response(status_code=_NO_CONTENT)
    log = log_container(cluster, pod, query.get("container", ""), is_previous=flag(query, "previous"))
    return StreamingResponse(log.read(wanted), media_type="text/plain")
