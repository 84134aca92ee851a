"""Kubernetes' answers in short, for tests."""

from __future__ import annotations

from typing import Any

INDEX = "batch.kubernetes.io/job-completion-index"


def job(*, nodes: int = 2, uid: str = "u1", conditions: tuple[dict[str, Any], ...] = (), **changes: Any) -> Any:
    """Return a Job with these conditions."""
    metadata = {"name": "train", "namespace": "default", "uid": uid, **changes.pop("metadata", {})}
    spec = {"completions": nodes, "parallelism": nodes, **changes.pop("spec", {})}
    assert not changes
    return {"metadata": metadata, "spec": spec, "status": {"conditions": list(conditions)}}


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(rank: int = 0, *, uid: str = "u1", name: str = "", phase: str = "Running", **changes: Any) -> Any:
    """
    Return a pod of one rank.

    :param changes: ``state`` of its container; other fields of its status; ``deleted`` for when it was told to go.
    """
    state = changes.pop("state", {"running": {}} if phase == "Running" else {})
    metadata: dict[str, Any] = {
        "name": name or f"train-{rank}-abcde",
        "annotations": {INDEX: str(rank)},
        "ownerReferences": [{"kind": "Job", "uid": uid}],
    }
    if deleted := changes.pop("deleted", None):
        metadata["deletionTimestamp"] = deleted
    status = {"phase": phase, "containerStatuses": [{"name": "train", "state": state}], **changes}
    return {"metadata": metadata, "spec": {"nodeName": f"node-{rank}"}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(exit_code: int, *, at: str = "2026-01-01T00:00:10Z", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": exit_code, "finishedAt": at, **more}}


def event(pod_name: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"involvedObject": {"kind": "Pod", "name": pod_name}, "reason": reason, "message": message}


def node(name: str, gpus: int, **labels: str) -> dict[str, Any]:
    """Return a node with so many GPUs for pods."""
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}
