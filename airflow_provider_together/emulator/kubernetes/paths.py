"""What a path of the Kubernetes API means. Pure functions; it imports the kinds of objects."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.resources import Resource, find_resource

_OF_NAMESPACES = ("status", "finalize")


@dataclass(frozen=True, kw_only=True)
class Target:
    """
    What a request is about.

    :param namespace: None for all namespaces; empty for a kind that has none.
    :param name: empty for all objects of the kind.
    :param subresource: empty for the object itself.
    """

    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""


def read_path(parts: list[str]) -> Target | None:
    """
    Return what a path means; None if it means nothing.

    :param parts: its parts, such as ``["api", "v1", "namespaces", "default", "pods"]``.
    """
    match parts:
        case ["api", "v1", *rest]:
            return _target("", "v1", rest)
        case ["apis", group, version, *rest]:
            return _target(group, version, rest)
    return None


def _target(group: str, version: str, parts: list[str]) -> Target | None:
    match parts:
        case ["namespaces", name, subresource] if subresource in _OF_NAMESPACES and not group:
            return _make(group, version, "namespaces", "", name, subresource)
        case ["namespaces", namespace, plural, *rest] if namespace:
            return _make(group, version, plural, namespace, *rest)
        case [plural, *rest]:
            return _make(group, version, plural, None, *rest)
    return None


def _make(group: str, version: str, plural: str, namespace: str | None, *rest: str) -> Target | None:
    resource = find_resource(group, version, plural)
    if resource is None or len(rest) > 2:  # noqa: PLR2004 - a name and a subresource
        return None
    name, subresource = [*rest, "", ""][:2]
    if not resource.is_namespaced:
        return None if namespace else Target(resource=resource, namespace="", name=name, subresource=subresource)
    if namespace is None and name:
        return None
    return Target(resource=resource, namespace=namespace, name=name, subresource=subresource)
