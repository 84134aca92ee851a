"""
The environment variables of a container: given values, and those taken from secrets, config maps and the pod itself.

Pure: what it needs of the cluster comes through ``look_up``. It imports only small things.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable

from tests.real_kubernetes.kubelet.objects import Object, find, meta, quantity
from tests.real_kubernetes.kubelet.rewriting import Rewrite, expand

#: Finds a Secret or a ConfigMap of the pod's namespace: ``look_up("secrets", "name")``.
LookUp = Callable[[str, str], Object | None]

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_KINDS = {"secrets": "secret", "configmaps": "configmap"}
_SOURCES = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}
_BULK_SOURCES = {"secretRef": "secrets", "configMapRef": "configmaps"}


class MissingSourceError(Exception):
    """A variable or a file is to come from an object, or a part of one, that is not there."""


def read_data(kind: str, thing: Object) -> dict[str, bytes]:
    """Return what a Secret or a ConfigMap holds."""
    data = thing.get("data") or {}
    if kind == "secrets":
        return {name: base64.b64decode(value) for name, value in data.items()}
    binary = {name: base64.b64decode(value) for name, value in (thing.get("binaryData") or {}).items()}
    return {name: value.encode() for name, value in data.items()} | binary


def find_data(kind: str, name: str, *, look_up: LookUp, is_optional: bool) -> dict[str, bytes]:
    """
    Return what a Secret or a ConfigMap of a name holds.

    :raises MissingSourceError: if there is none, unless it may be missing.
    """
    thing = look_up(kind, name)
    if thing is None and not is_optional:
        message = f'{_KINDS[kind]} "{name}" not found'
        raise MissingSourceError(message)
    return {} if thing is None else read_data(kind, thing)


def make_environment(
    container: Object, pod: Object, *, base: dict[str, str], look_up: LookUp, rewrite: Rewrite
) -> dict[str, str]:
    """
    Return all the variables of a container.

    :param base: what every container has.
    :param rewrite: applied to every value that was given or looked up.
    :raises MissingSourceError: if a variable comes from what is not there.
    """
    variables = dict(base)
    for source in container.get("envFrom") or ():
        for name, value in _bulk(source, look_up).items():
            variables[f"{source.get('prefix') or ''}{name}"] = rewrite(value)
    for entry in container.get("env") or ():
        source = entry.get("valueFrom")
        given = expand(str(entry.get("value") or ""), variables)
        taken = _taken(source, container, pod, look_up) if source else given
        if taken is not None:
            variables[entry["name"]] = rewrite(taken)
    return variables


def field_of(path: str, pod: Object) -> str:
    """Return a field of a pod as the downward API gives it; empty for one that is not there."""
    match = _KEYED.fullmatch(path)
    if match is not None:
        return str((meta(pod).get(match[1]) or {}).get(match[2], ""))
    return str(find(pod, path) or "")


def _bulk(source: Object, look_up: LookUp) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, kind in _BULK_SOURCES.items():
        reference = source.get(field)
        if reference:
            is_optional = bool(reference.get("optional"))
            data = find_data(kind, reference["name"], look_up=look_up, is_optional=is_optional)
            found |= {name: value.decode(errors="surrogateescape") for name, value in data.items()}
    return found


def _taken(source: Object, container: Object, pod: Object, look_up: LookUp) -> str | None:
    if "fieldRef" in source:
        return field_of(source["fieldRef"]["fieldPath"], pod)
    if "resourceFieldRef" in source:
        return _resource(source["resourceFieldRef"], container)
    field, kind = next((field, kind) for field, kind in _SOURCES.items() if field in source)
    reference, is_optional = source[field], bool(source[field].get("optional"))
    data = find_data(kind, reference["name"], look_up=look_up, is_optional=is_optional)
    value = data.get(reference["key"])
    if value is None and not is_optional:
        message = f"couldn't find key {reference['key']} in {_KINDS[kind]} {reference['name']}"
        raise MissingSourceError(message)
    return None if value is None else value.decode(errors="surrogateescape")


def _resource(reference: Object, container: Object) -> str:
    group, _, name = str(reference["resource"]).partition(".")
    amount = quantity(((container.get("resources") or {}).get(group) or {}).get(name, 0))
    divisor = quantity(reference.get("divisor") or "1") or quantity(1)
    return str(math.ceil(amount / divisor))
