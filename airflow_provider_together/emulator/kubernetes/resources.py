"""
The kinds of objects that the API server has, and the documents by which clients discover them.

Reference data. It imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+emulated",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2025-04-23T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """
    One kind of object.

    :param plural: its name in paths.
    :param subresources: what can be asked for below one object; verbs by name.
    """

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    is_namespaced: bool = True
    short_names: tuple[str, ...] = ()
    has_status: bool = False
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """Group and version as objects name them."""
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES = (
    Resource(plural="pods", kind="Pod", short_names=("po",), has_status=True, subresources=("log", "exec")),
    Resource(plural="events", kind="Event", short_names=("ev",)),
    Resource(plural="services", kind="Service", short_names=("svc",), has_status=True),
    Resource(plural="secrets", kind="Secret"),
    Resource(plural="configmaps", kind="ConfigMap", short_names=("cm",)),
    Resource(plural="serviceaccounts", kind="ServiceAccount", short_names=("sa",)),
    Resource(plural="persistentvolumeclaims", kind="PersistentVolumeClaim", short_names=("pvc",), has_status=True),
    Resource(
        plural="persistentvolumes",
        kind="PersistentVolume",
        is_namespaced=False,
        short_names=("pv",),
        has_status=True,
    ),
    Resource(plural="nodes", kind="Node", is_namespaced=False, short_names=("no",), has_status=True),
    Resource(plural="namespaces", kind="Namespace", is_namespaced=False, short_names=("ns",), has_status=True),
    Resource(plural="jobs", kind="Job", group="batch", has_status=True),
)
BY_PLURAL = {resource.plural: resource for resource in RESOURCES}


def find_resource(group: str, version: str, plural: str) -> Resource | None:
    """Return the kind of object that a path means."""
    resource = BY_PLURAL.get(plural)
    return resource if resource is not None and (resource.group, resource.version) == (group, version) else None


def discovery(parts: list[str], *, server: str) -> dict[str, Any] | None:
    """
    Return the discovery document at a path, if there is one.

    :param parts: the path's parts, such as ``["apis", "batch", "v1"]``.
    :param server: host and port of this server.
    """
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]
    # Made only when asked for: every request comes by here.
    documents: dict[str, Callable[[], dict[str, Any]]] = {
        "version": lambda: VERSION,
        "api": lambda: {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses},
        "api/v1": lambda: _resource_list("", "v1"),
        "apis": lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group("batch")]},
        "apis/batch": lambda: {"kind": "APIGroup", "apiVersion": "v1", **_group("batch")},
        "apis/batch/v1": lambda: _resource_list("batch", "v1"),
        "openapi/v3": lambda: {"paths": {}},
    }
    make = documents.get("/".join(parts))
    return None if make is None else make()


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource_list(group: str, version: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for resource in RESOURCES:
        if (resource.group, resource.version) != (group, version):
            continue
        common = {"singularName": "", "namespaced": resource.is_namespaced, "kind": resource.kind}
        entry = common | {"name": resource.plural, "singularName": resource.kind.lower(), "verbs": list(_VERBS)}
        entries.append(entry | ({"shortNames": list(resource.short_names)} if resource.short_names else {}))
        if resource.has_status:
            entries.append({**common, "name": f"{resource.plural}/status", "verbs": ["get", "patch", "update"]})
        for name in resource.subresources:
            special = {"kind": "PodExecOptions", "verbs": ["create", "get"]} if name == "exec" else {"verbs": ["get"]}
            entries.append({**common, "name": f"{resource.plural}/{name}", **special})
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}
