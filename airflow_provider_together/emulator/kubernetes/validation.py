"""
What is wrong with an object: the rules that mistakes in training manifests break. Pure; it imports only small things.

Each rule yields the field and Kubernetes' wording. Source: pkg/apis/core/validation and pkg/apis/batch/validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_together.emulator.kubernetes.field_types import JOB_NUMBERS
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta, quantity

Causes = Iterator[tuple[str, str]]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_LENGTH, _SUBDOMAIN_LENGTH = 63, 253

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_VARIABLE_RULE = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not "
    "start with a digit"
)
_KEY_RULE = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

#: The rule for the names of a kind, where it is not that of a subdomain.
_NAMES = {
    "services": (_SERVICE_RULE, _SERVICE, _LABEL_LENGTH),
    "namespaces": (_LABEL_RULE, _LABEL, _LABEL_LENGTH),
}


def causes_against(plural: str, thing: Object) -> list[tuple[str, str]]:
    """Return what is wrong with an object with its defaults filled in."""
    rules: dict[str, Callable[[Object], Causes]] = {
        "pods": _pod,
        "jobs": _job,
        "persistentvolumeclaims": _claim,
        "services": _service,
        "secrets": _data,
        "configmaps": _data,
    }
    causes = [*_metadata(plural, thing)]
    if plural in rules:
        causes += rules[plural](thing)
    return causes


def _metadata(plural: str, thing: Object) -> Causes:
    name = meta(thing)["name"]
    rule, pattern, length = _NAMES.get(plural, (_SUBDOMAIN_RULE, _SUBDOMAIN, _SUBDOMAIN_LENGTH))
    yield from _word(name, "metadata.name", pattern, rule, length)
    yield from _labels(meta(thing).get("labels"), "metadata.labels")


def _labels(labels: Any, field: str) -> Causes:
    for key, value in (labels or {}).items():
        if not _LABEL_KEY.fullmatch(key):
            yield field, f"Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.'"
        yield from _word(value, field, _LABEL_VALUE, _VALUE_RULE, _LABEL_LENGTH)


def _word(value: Any, field: str, pattern: re.Pattern[str], rule: str, length: int) -> Causes:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        yield field, f'Invalid value: "{value}": {rule}'
    elif len(value) > length:
        yield field, f'Invalid value: "{value}": must be no more than {length} characters'


def _pod(pod: Object) -> Causes:
    yield from _pod_spec(pod["spec"], "spec")
    policy = pod["spec"]["restartPolicy"]
    if policy not in ("Always", "OnFailure", "Never"):
        words = 'supported values: "Always", "OnFailure", "Never"'
        yield "spec.restartPolicy", f'Unsupported value: "{policy}": {words}'


def _pod_spec(spec: Object, at: str) -> Causes:
    if not spec.get("containers"):
        yield f"{at}.containers", "Required value"
    names: set[str] = set()
    volumes = [volume.get("name") for volume in spec.get("volumes") or ()]
    for place, name in enumerate(volumes):
        yield from _word(name, f"{at}.volumes[{place}].name", _LABEL, _LABEL_RULE, _LABEL_LENGTH)
        if name in volumes[:place]:
            yield f"{at}.volumes[{place}].name", f'Duplicate value: "{name}"'
    for group in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(group) or ()):
            field = f"{at}.{group}[{place}]"
            yield from _container(container, field, volumes)
            if container.get("name") in names:
                yield f"{field}.name", f'Duplicate value: "{container["name"]}"'
            names.add(container.get("name"))
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            yield from _word(spec[field], f"{at}.{field}", _LABEL, _LABEL_RULE, _LABEL_LENGTH)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        yield f"{at}.activeDeadlineSeconds", f"Invalid value: {deadline}: must be between 1 and 2147483647, inclusive"


def _container(container: Object, at: str, volumes: list[Any]) -> Causes:
    name = container.get("name")
    if not name:
        yield f"{at}.name", "Required value"
    else:
        yield from _word(name, f"{at}.name", _LABEL, _LABEL_RULE, _LABEL_LENGTH)
    if not container.get("image"):
        yield f"{at}.image", "Required value"
    for place, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f"{at}.volumeMounts[{place}].name", f'Not found: "{mount.get("name")}"'
        if not mount.get("mountPath"):
            yield f"{at}.volumeMounts[{place}].mountPath", "Required value"
    for place, variable in enumerate(container.get("env") or ()):
        word = variable.get("name") or ""
        if not _VARIABLE.fullmatch(word):
            yield (
                f"{at}.env[{place}].name",
                f'Invalid value: "{word}": {_VARIABLE_RULE}',
            )
    yield from _resources(container.get("resources") or {}, f"{at}.resources")


def _resources(resources: Object, at: str) -> Causes:
    limits = resources.get("limits") or {}
    for group in ("limits", "requests"):
        for name, value in (resources.get(group) or {}).items():
            try:
                amount = quantity(value)
            except ValueError:
                yield f"{at}.{group}[{name}]", f'Invalid value: "{value}": quantities must match the regular expression'
                continue
            if "/" in name and amount != int(amount):
                yield f"{at}.{group}[{name}]", f'Invalid value: "{value}": must be an integer'
            limit = limits.get(name)
            if "/" in name and limit is None:
                yield f"{at}.limits", "Required value: Limit must be set for non overcommitable resources"
            elif "/" in name and quantity(limit) != amount:
                yield f"{at}.{group}[{name}]", f'Invalid value: "{value}": must be equal to {name} limit of {limit}'
            elif group == "requests" and limit is not None and amount > quantity(limit):
                yield (
                    f"{at}.requests",
                    f'Invalid value: "{value}": must be less than or equal to {name} limit of {limit}',
                )


def _job(job: Object) -> Causes:
    spec, template = job["spec"], job["spec"]["template"]["spec"]
    yield from _pod_spec(template, "spec.template.spec")
    yield from _labels(find(spec, "template.metadata.labels"), "spec.template.labels")
    if template["restartPolicy"] not in ("OnFailure", "Never"):
        words = 'Required value: valid values: "OnFailure", "Never"'
        yield "spec.template.spec.restartPolicy", words
    for field in JOB_NUMBERS:
        value = spec.get(field)
        if value is not None and value < 0:
            yield f"spec.{field}", f"Invalid value: {value}: must be greater than or equal to 0"
    yield from _completion_mode(job)
    yield from _selector(job)
    policy = spec.get("podFailurePolicy")
    if policy and template["restartPolicy"] != "Never":
        yield (
            "spec.template.spec.restartPolicy",
            f'Invalid value: "{template["restartPolicy"]}": only "Never" is supported',
        )


def _selector(job: Object) -> Causes:
    spec = job["spec"]
    generated = {"batch.kubernetes.io/controller-uid": meta(job).get("uid")}
    if (spec.get("selector") or {}).get("matchLabels") != generated:
        yield "spec.selector", "Invalid value: `selector` not auto-generated"
        yield "spec.template.metadata.labels", "Invalid value: `selector` does not match template `labels`"


def _completion_mode(job: Object) -> Causes:
    spec, mode = job["spec"], job["spec"]["completionMode"]
    if mode not in ("Indexed", "NonIndexed"):
        yield "spec.completionMode", f'Unsupported value: "{mode}": supported values: "Indexed", "NonIndexed"'
    if mode == "Indexed":
        if spec.get("completions") is None:
            yield "spec.completions", "Required value: when completion mode is Indexed"
        else:
            last = f"{meta(job)['name']}-{max(int(spec['completions']) - 1, 0)}"
            for _, text in _word(last, "", _LABEL, _LABEL_RULE, _LABEL_LENGTH):
                yield "metadata.name", f"{text}: will not able to create pod with invalid DNS label: {last}"
    elif spec.get("backoffLimitPerIndex") is not None:
        value = spec["backoffLimitPerIndex"]
        yield "spec.backoffLimitPerIndex", f"Invalid value: {value}: requires indexed completion mode"


def _claim(claim: Object) -> Causes:
    spec = claim["spec"]
    if not spec.get("accessModes"):
        yield "spec.accessModes", "Required value: at least 1 access mode is required"
    if not find(spec, "resources.requests.storage"):
        yield "spec.resources[storage]", "Required value"


def _service(service: Object) -> Causes:
    spec = service["spec"]
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        yield "spec.ports", "Required value"


def _data(thing: Object) -> Causes:
    for group in ("data", "binaryData"):
        for key in thing.get(group) or {}:
            yield from _word(key, f"{group}[{key}]", _KEY, _KEY_RULE, _SUBDOMAIN_LENGTH)
