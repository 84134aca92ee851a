"""
What happens to an object between a request and the store: identity, defaults, rules, and what a change may not touch.

It imports what knows the kinds. Source for immutable fields: pkg/registry of Kubernetes.
"""

from __future__ import annotations

import base64
from typing import Any

from airflow_provider_together.emulator.kubernetes.defaults import fill_in
from airflow_provider_together.emulator.kubernetes.field_types import check_types
from airflow_provider_together.emulator.kubernetes.objects import Object, clone, find, meta, random_suffix
from airflow_provider_together.emulator.kubernetes.refusal import ApiError, invalid
from airflow_provider_together.emulator.kubernetes.resources import Resource
from airflow_provider_together.emulator.kubernetes.store import Store
from airflow_provider_together.emulator.kubernetes.validation import causes_against

#: What only the server sets, and no client changes.
_SERVERS_OWN = ("uid", "creationTimestamp", "resourceVersion", "generation", "selfLink", "managedFields")
_OF_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")
_MUTABLE_OF_JOB = (
    "parallelism",
    "suspend",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "podFailurePolicy",
)


def admit_new(store: Store, resource: Resource, namespace: str, body: Any) -> Object:
    """
    Return what is to be stored for an object that a client sends.

    :raises ApiError: 400, 404 or 422, saying what is wrong.
    """
    thing = check_kind(resource, body)
    check_types(resource.plural, resource.kind, thing)
    metadata: Object = dict(thing.get("metadata") or {})
    thing["metadata"] = metadata
    check_namespace(store, namespace, metadata)
    if resource.is_namespaced:
        metadata["namespace"] = namespace
    for field in (*_SERVERS_OWN, *_OF_DELETION):
        metadata.pop(field, None)
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            raise invalid(resource.kind, "", [("metadata.name", "Required value: name or generateName is required")])
        metadata["name"] = f"{metadata['generateName']}{random_suffix()}"
    _check_encoding(resource, thing)
    try:
        fill_in(resource.plural, thing)
    except (KeyError, TypeError, AttributeError):
        raise invalid(resource.kind, metadata["name"], [("spec", "Required value")], group=resource.group) from None
    _check_rules(resource, thing)
    return thing


def admit_change(resource: Resource, old: Object, new: Object, *, subresource: str) -> Object:
    """
    Return what is to be stored for a changed object.

    :param subresource: ``status`` changes the status only, and everything else changes all but the status.
    :raises ApiError: 400 or 422, saying what is wrong.
    """
    check_kind(resource, new)
    check_name(meta(old)["name"], new)
    check_types(resource.plural, resource.kind, new)
    if subresource == "status":
        return {**old, "status": new.get("status") or {}}
    admitted = clone(new) | ({"status": old["status"]} if "status" in old and resource.has_status else {})
    for field in (*_SERVERS_OWN, *_OF_DELETION, "namespace"):
        meta(admitted).pop(field, None)
        if field in meta(old):
            meta(admitted)[field] = meta(old)[field]
    _check_immutable(resource, old, admitted)
    _check_rules(resource, admitted)
    return admitted


def check_name(name: str, body: Any) -> None:
    """
    Refuse an object of another name than its path's.

    :raises ApiError: 400.
    """
    sent = (body.get("metadata") or {}).get("name") if isinstance(body, dict) else None
    if sent != name:
        message = f"the name of the object ({sent}) does not match the name on the URL ({name})"
        raise ApiError(400, message)


def check_kind(resource: Resource, body: Any) -> Object:
    """
    Return a body as an object of the kind that its path means.

    :raises ApiError: 400 if it is another, or none.
    """
    if not isinstance(body, dict):
        message = "the object provided is unrecognized (must be of type " + resource.kind + ")"
        raise ApiError(400, message)
    sent = (body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind)
    if sent != (resource.api_version, resource.kind):
        message = f"{sent[1]} in version {sent[0]!r} cannot be handled as a {resource.kind}"
        raise ApiError(400, message)
    return clone(body)


def check_namespace(store: Store, namespace: str, metadata: Object) -> None:
    """
    Refuse an object for another namespace than its path's, or for one that is not there.

    :raises ApiError: 400, 403 or 404.
    """
    if not namespace:
        return
    if metadata.get("namespace") not in (None, "", namespace):
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise ApiError(400, message)
    if meta(store.get("namespaces", "", namespace)).get("deletionTimestamp"):
        message = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise ApiError(403, message, reason="Forbidden")


def _check_encoding(resource: Resource, thing: Object) -> None:
    encoded = {"secrets": "data", "configmaps": "binaryData"}.get(resource.plural)
    for key, value in (thing.get(encoded) or {}).items() if encoded else ():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            problem = f"{encoded}[{key}]: illegal base64 data"
            message = f'{resource.kind} in version "v1" cannot be handled as a {resource.kind}: {problem}'
            raise ApiError(400, message) from None


def _check_rules(resource: Resource, thing: Object) -> None:
    try:
        causes = causes_against(resource.plural, thing)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"{resource.kind} in version {resource.api_version!r} cannot be handled as a {resource.kind}: {error}"
        raise ApiError(400, message) from None
    if causes:
        raise invalid(resource.kind, meta(thing)["name"], causes, group=resource.group)


def _check_immutable(resource: Resource, old: Object, new: Object) -> None:
    kind, name = resource.kind, meta(old)["name"]
    if resource.plural == "pods" and _fixed_of_pod(old["spec"]) != _fixed_of_pod(new.get("spec") or {}):
        allowed = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`"
        text = f"Forbidden: pod updates may not change fields other than {allowed},`spec.tolerations`"
        raise invalid(kind, name, [("spec", text)])
    if resource.plural == "jobs":
        names = sorted((set(old["spec"]) | set(new.get("spec") or {})) - set(_MUTABLE_OF_JOB))
        changed = [field for field in names if old["spec"].get(field) != find(new, f"spec.{field}")]
        causes = [(f"spec.{field}", "Invalid value: field is immutable") for field in changed]
        if causes:
            raise invalid(kind, name, causes, group=resource.group)
    if resource.plural == "persistentvolumeclaims" and _fixed_of_claim(old) != _fixed_of_claim(new):
        text = "Forbidden: spec is immutable after creation except resources.requests for bound claims"
        raise invalid(kind, name, [("spec", text)])
    is_fixed = resource.plural in ("secrets", "configmaps") and old.get("immutable")
    if is_fixed and any(old.get(field) != new.get(field) for field in ("data", "binaryData", "immutable")):
        raise invalid(kind, name, [("data", "Forbidden: field is immutable when `immutable` is set")])


def _fixed_of_claim(claim: Object) -> Object:
    return {field: value for field, value in (claim.get("spec") or {}).items() if field != "resources"}


def _fixed_of_pod(spec: Object) -> Object:
    fixed = {field: value for field, value in spec.items() if field not in ("activeDeadlineSeconds", "tolerations")}
    for group in ("containers", "initContainers"):
        if group in fixed:
            fixed[group] = [{**container, "image": ""} for container in fixed[group]]
    return fixed
