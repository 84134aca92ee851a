"""
The table of scenarios, and what they have in common.

A scenario's pods want more GPUs than there are, so that they stay Pending, and what differs between two kubelets does
not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.real_kubernetes.conformance import Ask

Scenario = Callable[[Ask], None]
SCENARIOS: list[Scenario] = []

CORE = "/api/v1"
HERE = f"{CORE}/namespaces/default"
PODS = f"{HERE}/pods"
JOBS = "/apis/batch/v1/namespaces/default/jobs"

IDENTITY = ("metadata.name", "metadata.namespace", "metadata.uid", "metadata.resourceVersion")
NAMES = ("items[].metadata.name",)
MERGE = "application/merge-patch+json"
_TOO_MANY_GPUS = "4096"


def scenario(function: Scenario) -> Scenario:
    """Enter a function into the table."""
    SCENARIOS.append(function)
    return function


def container(**more: Any) -> dict[str, Any]:
    """Return a container that no node can hold."""
    limits = {"nvidia.com/gpu": _TOO_MANY_GPUS}
    return {"name": "base", "image": "train:1", "command": ["true"], "resources": {"limits": limits}, **more}


def pod(name: str, *, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pod that stays Pending."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"containers": [container()], **spec},
    }


def job(name: str, **spec: Any) -> dict[str, Any]:
    """Return a Job whose pods stay Pending."""
    template = {"metadata": {"labels": {"of": name}}, "spec": {"restartPolicy": "Never", "containers": [container()]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def pods_of(ask: Ask, name: str) -> list[dict[str, Any]]:
    """Return the pods that a Job has made and that are not being deleted."""
    found: list[dict[str, Any]] = ask.quietly("GET", PODS, labelSelector=f"of={name}")["items"]
    return [one for one in found if "deletionTimestamp" not in one["metadata"]]


def number_of_pods(ask: Ask, name: str) -> Callable[[], int]:
    """Return what counts the pods of a Job."""
    return lambda: len(pods_of(ask, name))


def status_of(ask: Ask, path: str) -> Callable[[], int]:
    """Return what looks for an object."""
    return lambda: ask.quietly("GET", path).status


def end(ask: Ask, one: Mapping[str, Any], phase: str) -> None:
    """Let a pod have ended, as its kubelet would say it."""
    path = f"{PODS}/{one['metadata']['name']}/status"
    ask.quietly("PATCH", path, {"status": {"phase": phase}}, content_type=MERGE)


def conditions(ask: Ask, name: str) -> list[list[Any]]:
    """Return type and status of a Job's last conditions, and why it has failed. Later versions have more of them."""
    found = ask.quietly("GET", f"{JOBS}/{name}")["status.conditions"] or ()
    return [
        [one["type"], one["status"], one["reason"] if one["type"] == "Failed" else None]
        for one in found
        if one["type"] in {"Complete", "Failed"}
    ]
