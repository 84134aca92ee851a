"""Looking at the pods of the real server, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

PODS = "/api/v1/namespaces/default/pods"
PATIENCE_SECONDS = 120.0
_LOOK_INTERVAL = 0.1


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return as soon as something is so; fail if it does not become so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it has not become so"
        time.sleep(_LOOK_INTERVAL)


def all_pods(kubernetes: httpx.Client) -> list[dict[str, Any]]:
    """Return all pods of the namespace."""
    items: list[dict[str, Any]] = kubernetes.get(PODS).raise_for_status().json()["items"]
    return items


def kept_pods(kubernetes: httpx.Client) -> list[str]:
    """Return the names of the pods that nobody has begun to delete."""
    return [pod["metadata"]["name"] for pod in all_pods(kubernetes) if "deletionTimestamp" not in pod["metadata"]]


def running_pods(kubernetes: httpx.Client) -> list[str]:
    """Return the names of the pods that run."""
    return [pod["metadata"]["name"] for pod in all_pods(kubernetes) if pod["status"]["phase"] == "Running"]


def uids(kubernetes: httpx.Client) -> set[str]:
    """Return what tells one pod from another of the same name."""
    return {pod["metadata"]["uid"] for pod in all_pods(kubernetes)}
