"""Namespaces: those that every cluster has, and how one takes its contents with it. It imports the store."""

from __future__ import annotations

from airflow_provider_together.emulator.kubernetes.defaults import NAMESPACE_FINALIZER, fill_in
from airflow_provider_together.emulator.kubernetes.deletion import BACKGROUND, delete, release
from airflow_provider_together.emulator.kubernetes.objects import Object, is_terminating, meta
from airflow_provider_together.emulator.kubernetes.resources import BY_PLURAL
from airflow_provider_together.emulator.kubernetes.store import Store

_FIRST = ("default", "kube-system", "kube-public", "kube-node-lease")


def make_first(store: Store) -> None:
    """Make the namespaces of a new cluster."""
    for name in _FIRST:
        namespace: Object = {"metadata": {"name": name}}
        fill_in("namespaces", namespace)
        store.create("namespaces", namespace)


def step(store: Store) -> None:
    """Give every namespace its service account; delete what is in those that are going, and let the empty ones go."""
    for namespace in store.all("namespaces"):
        name = meta(namespace)["name"]
        if is_terminating(namespace):
            _empty(store, namespace)
        elif store.find("serviceaccounts", name, "default") is None:
            store.create("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})


def _empty(store: Store, namespace: Object) -> None:
    name = meta(namespace)["name"]
    inside = [(plural, thing) for plural, thing in store.everything() if BY_PLURAL[plural].is_namespaced]
    mine = [(plural, thing) for plural, thing in inside if meta(thing)["namespace"] == name]
    for plural, thing in mine:
        # An event about a deletion may have gone with its like.
        if not is_terminating(thing) and store.find(plural, name, meta(thing)["name"]) is not None:
            delete(store, plural, thing, propagation=BACKGROUND)
    if not mine:
        release(store, "namespaces", namespace, NAMESPACE_FINALIZER)
