"""
The table of scenarios, and what they have in common: they are about what the emulator has, and nothing beyond it.

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
        "spec": {"restartPolicy": "Never", "containers": [container()], **spec},
    }


def status_of(ask: Ask, path: str) -> Callable[[], int]:
    """Return what looks for an object."""
    return lambda: ask.quietly("GET", path).status
