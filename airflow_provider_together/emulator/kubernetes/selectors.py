"""
Label and field selectors: from the text of a query to a predicate. Pure functions; it imports only small things.

Source of the grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.refusal import ApiError

Selector = Callable[[Object], bool]
_Labels = Callable[[Mapping[str, str]], bool]

_COMMA = re.compile(r",(?![^(]*\))")
_KEY = r"([\w./-]+)"
_SET = re.compile(rf"{_KEY}\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"{_KEY}\s*(==|=|!=)\s*([\w.-]*)")
_EXISTS = re.compile(rf"(!?)\s*{_KEY}")
_FIELD = re.compile(r"([\w.]+)\s*(==|=|!=)\s*(.*)")

#: Fields that may be selected by, beside the name and the namespace, which every kind has.
_FIELDS = {
    "Pod": {
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    },
    "Event": {f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")}
    | {"reason", "type", "source", "reportingComponent"},
    "Job": {"status.successful"},
    "Node": {"spec.unschedulable"},
    "Secret": {"type"},
    "Namespace": {"status.phase"},
}


def select(kind: str, *, labels: str, fields: str) -> Selector:
    """
    Return the predicate that two selectors mean together; an empty one lets everything pass.

    :raises ApiError: 400 for a selector that cannot be read.
    """
    label_tests = [_label_test(part.strip()) for part in _COMMA.split(labels) if part.strip()]
    field_tests = [_field_test(kind, part.strip()) for part in fields.split(",") if part.strip()]

    def passes(thing: Object) -> bool:
        own = meta(thing).get("labels") or {}
        return all(test(own) for test in label_tests) and all(test(thing) for test in field_tests)

    return passes


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether labels have all wanted values."""
    return all(labels.get(name) == value for name, value in wanted.items())


def _label_test(text: str) -> _Labels:
    if match := _SET.fullmatch(text):
        key, word, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        return lambda labels: (labels.get(key) in values) == (word == "in")
    if match := _EQUAL.fullmatch(text):
        key, sign, value = match.groups()
        return lambda labels: (labels.get(key) == value) == (sign != "!=")
    if match := _EXISTS.fullmatch(text):
        key, is_absent = match[2], bool(match[1])
        return lambda labels: (key not in labels) == is_absent
    message = f"unable to parse requirement: found {text!r}"
    raise ApiError(400, message)


def _field_test(kind: str, text: str) -> Selector:
    match = _FIELD.fullmatch(text)
    if match is None:
        message = f"invalid selector: {text!r}; can't understand {text!r}"
        raise ApiError(400, message)
    field, sign, value = match.groups()
    if field not in {"metadata.name", "metadata.namespace"} | _FIELDS.get(kind, set()):
        message = f'field label "{field}" not supported for {kind}'
        raise ApiError(400, message)
    return lambda thing: (str(find(thing, field) or "") == value) == (sign != "!=")
