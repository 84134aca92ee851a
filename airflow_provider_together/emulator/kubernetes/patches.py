"""
The three forms of a patch: JSON merge, strategic merge, JSON. Pure functions; it imports only the refusals.

Sources: RFC 7386, RFC 6902, and for the keys of lists the ``patchMergeKey`` tags of k8s.io/api.
"""

from __future__ import annotations

import copy
from typing import Any

from airflow_provider_together.emulator.kubernetes.refusal import ApiError

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
#: Not server-side apply's ownership of fields, only its effect on fields that are given.
APPLY = "application/apply-patch+yaml"

#: Lists that a strategic merge patch merges, by the field that tells their items apart; a first key that fits is taken.
_MERGE_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "taints": ("key",),
    "hostAliases": ("ip",),
    "secrets": ("name",),
    "addresses": ("type",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
}
_SETS = ("finalizers",)
_DIRECTIVES = ("$patch", "$retainKeys")


def apply_patch(content_type: str, thing: Any, patch: Any) -> Any:
    """
    Return a patched copy.

    :raises ApiError: 415 for an unknown form, 400 or 422 for a patch that cannot be applied.
    """
    if content_type == JSON:
        return _json_patch(copy.deepcopy(thing), patch)
    if content_type not in (MERGE, STRATEGIC, APPLY):
        message = f"the body of the request was in an unknown format - accepted media types include: {JSON}, {MERGE}"
        raise ApiError(415, f"{message}, {STRATEGIC}, {APPLY}")
    if not isinstance(patch, dict):
        message = "error decoding patch: it is no JSON object"
        raise ApiError(400, message)
    return _merge(thing, patch) if content_type == MERGE else _strategic(thing, patch)


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = _merge(new.get(name), value)
    return new


def _strategic(old: Any, patch: dict[str, Any]) -> dict[str, Any]:
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if name in _DIRECTIVES or name.startswith("$setElementOrder/"):
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            target = name.partition("/")[2]
            new[target] = [item for item in new.get(target) or [] if item not in value]
        elif value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            new[name] = _strategic(new.get(name), value)
        elif isinstance(value, list):
            new[name] = _strategic_list(name, new.get(name) or [], value)
        else:
            new[name] = value
    return new


def _strategic_list(name: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if name in _SETS:
        return [*old, *(item for item in patch if item not in old)]
    keys = _MERGE_KEYS.get(name, ())
    key = next((key for key in keys if all(isinstance(item, dict) and key in item for item in patch)), None)
    if key is None or {"$patch": "replace"} in patch:
        return [copy.deepcopy(item) for item in patch if item != {"$patch": "replace"}]
    new = list(old)
    for item in patch:
        place = next((place for place, one in enumerate(new) if one.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            new = [one for one in new if one.get(key) != item[key]]
        elif place is None:
            new.append(_strategic({}, item))
        else:
            new[place] = _strategic(new[place], item)
    return new


def _json_patch(document: Any, steps: Any) -> Any:
    if not isinstance(steps, list):
        message = "error decoding patch: it is no JSON array"
        raise ApiError(400, message)
    root = {"": document}
    for step in steps:
        try:
            _take_step(root, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            message = f"the server rejected our request due to an error in our request: {step}: {error}"
            raise ApiError(422, message) from None
    return root[""]


def _take_step(root: dict[str, Any], step: dict[str, Any]) -> None:
    action, path = step["op"], step["path"]
    if action in ("move", "copy"):
        value = copy.deepcopy(_look(root, step["from"]))
        if action == "move":
            _remove(root, step["from"])
        _add(root, path, value)
    elif action == "add":
        _add(root, path, step["value"])
    elif action == "remove":
        _remove(root, path)
    elif action == "replace":
        _look(root, path)
        _remove(root, path)
        _add(root, path, step["value"])
    elif action == "test":
        if _look(root, path) != step["value"]:
            message = "testing value failed"
            raise ValueError(message)
    else:
        message = f"unexpected kind: {action}"
        raise ValueError(message)


def _walk(root: Any, pointer: str) -> tuple[Any, Any]:
    """Return the container that the last part of a JSON pointer is in, and that part."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    for part in parts[:-1]:
        root = root[int(part)] if isinstance(root, list) else root[part]
    return root, parts[-1]


def _look(root: Any, pointer: str) -> Any:
    holder, last = _walk(root, pointer)
    return holder[int(last)] if isinstance(holder, list) else holder[last]


def _remove(root: Any, pointer: str) -> None:
    holder, last = _walk(root, pointer)
    del holder[int(last) if isinstance(holder, list) else last]


def _add(root: Any, pointer: str, value: Any) -> None:
    holder, last = _walk(root, pointer)
    if isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else int(last), value)
    else:
        holder[last] = value
