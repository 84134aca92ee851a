"""Doing what clients ask for: create, replace, patch, delete. It imports the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from airflow_provider_together.emulator.kubernetes.admission import admit_change, admit_new, check_name
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.deletion import check_preconditions, delete
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.patches import APPLY, apply_patch
from airflow_provider_together.emulator.kubernetes.paths import Target
from airflow_provider_together.emulator.kubernetes.query import deletion_options, is_dry
from airflow_provider_together.emulator.kubernetes.reading import list_of
from airflow_provider_together.emulator.kubernetes.refusal import not_allowed
from airflow_provider_together.emulator.kubernetes.selectors import select

_CREATED = 201
#: Kinds whose deletion is answered with the object itself, also when it is gone at once.
_ANSWERED_WITH_OBJECT = (
    "pods",
    "services",
    "persistentvolumeclaims",
    "persistentvolumes",
    "serviceaccounts",
)


def create(cluster: KubernetesCluster, target: Target, body: Any, query: Mapping[str, str]) -> Response:
    """Answer a POST to a kind."""
    if target.namespace is None:
        raise not_allowed()
    thing = admit_new(cluster.store, target.resource, target.namespace, body)
    if not is_dry(query, None):
        thing = cluster.store.create(target.resource.plural, thing)
    return JSONResponse(thing, _CREATED)


def replace(cluster: KubernetesCluster, target: Target, body: Any, query: Mapping[str, str]) -> Response:
    """Answer a PUT."""
    check_name(target.name, body)
    return JSONResponse(_change(cluster, target, lambda _old: body, query, version=_version(body)))


def patch(
    cluster: KubernetesCluster, target: Target, body: Any, query: Mapping[str, str], *, content_type: str
) -> Response:
    """
    Answer a PATCH.

    :param content_type: the form of the patch.
    """
    store, plural = cluster.store, target.resource.plural
    if content_type == APPLY and store.find(plural, target.namespace or "", target.name) is None:
        applied = admit_new(store, target.resource, target.namespace or "", body)
        return JSONResponse(applied if is_dry(query, None) else store.create(plural, applied), _CREATED)

    def patched(old: Object) -> Any:
        return apply_patch(content_type, old, body)

    return JSONResponse(_change(cluster, target, patched, query, version=_version(body)))


def remove(cluster: KubernetesCluster, target: Target, body: Any, query: Mapping[str, str]) -> Response:
    """Answer a DELETE of one object or of all that are selected."""
    options = body if isinstance(body, dict) else {}
    propagation, grace, preconditions = deletion_options(options, query)
    plural = target.resource.plural
    if not target.name:
        if target.namespace is None:
            raise not_allowed()
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        selector = select(target.resource.kind, labels=labels, fields=fields)
        doomed = [thing for thing in cluster.store.all(plural, target.namespace) if selector(thing)]
        if not is_dry(query, body):
            doomed = [delete(cluster.store, plural, one, propagation=propagation, grace=grace) for one in doomed]
        return JSONResponse(list_of(target, doomed, str(cluster.store.version)))
    thing = cluster.store.get(plural, target.namespace or "", target.name)
    check_preconditions(plural, thing, preconditions)
    if not is_dry(query, body):
        thing = delete(cluster.store, plural, thing, propagation=propagation, grace=grace)
    is_left = cluster.store.find(plural, target.namespace or "", target.name) is not None
    if is_left or plural in _ANSWERED_WITH_OBJECT:
        return JSONResponse(thing)
    return JSONResponse(_deleted(target, thing))


def _change(
    cluster: KubernetesCluster,
    target: Target,
    make: Callable[[Object], Any],
    query: Mapping[str, str],
    *,
    version: str,
) -> Object:
    def change(old: Object) -> Object:
        return admit_change(target.resource, old, make(old), subresource=target.subresource)

    plural, namespace = target.resource.plural, target.namespace or ""
    if is_dry(query, None):
        return change(cluster.store.get(plural, namespace, target.name))
    return cluster.store.update(plural, namespace, target.name, change, version=version)


def _version(body: Any) -> str:
    """Return the version that an object must have to be changed; empty for any."""
    return str(find(body, "metadata.resourceVersion") or "")


def _deleted(target: Target, thing: Object) -> Object:
    details = {"name": meta(thing)["name"], "kind": target.resource.plural, "uid": meta(thing)["uid"]}
    details |= {"group": target.resource.group} if target.resource.group else {}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
