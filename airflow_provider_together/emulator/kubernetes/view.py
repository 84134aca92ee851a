"""
Pods and Jobs at one moment, as values, and the words that say in short how they are. Pure; it imports small things.

The words are those that ``kubectl get`` shows under STATUS.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.objects import Object, condition, find, has_condition, meta


@dataclass(frozen=True, kw_only=True)
class PodView:
    """
    A pod at one moment.

    :param reason: why its phase is what it is, where Kubernetes says it; else that of its first container that waits
        or has failed.
    :param manifest: all of it.
    """

    name: str
    namespace: str
    phase: str
    reason: str
    node: str
    address: str
    labels: dict[str, str]
    annotations: dict[str, str]
    manifest: Object


@dataclass(frozen=True, kw_only=True)
class JobView:
    """
    A Job at one moment.

    :param state: ``Running``, ``Suspended``, ``Complete`` or ``Failed``.
    :param reason: that of its last condition.
    :param manifest: all of it.
    """

    name: str
    namespace: str
    state: str
    reason: str
    active: int
    succeeded: int
    failed: int
    manifest: Object


def view_pod(pod: Object) -> PodView:
    """Return a pod as a value."""
    return PodView(
        name=meta(pod)["name"],
        namespace=meta(pod)["namespace"],
        phase=str(find(pod, "status.phase")),
        reason=str(find(pod, "status.reason") or "") or container_reason(pod) or _scheduling_reason(pod),
        node=find(pod, "spec.nodeName") or "",
        address=find(pod, "status.podIP") or "",
        labels=dict(meta(pod).get("labels") or {}),
        annotations=dict(meta(pod).get("annotations") or {}),
        manifest=pod,
    )


def view_job(job: Object) -> JobView:
    """Return a Job as a value."""
    conditions = find(job, "status.conditions") or ()
    return JobView(
        name=meta(job)["name"],
        namespace=meta(job)["namespace"],
        state=job_state(job),
        reason=str(conditions[-1].get("reason", "")) if conditions else "",
        active=find(job, "status.active") or 0,
        succeeded=find(job, "status.succeeded") or 0,
        failed=find(job, "status.failed") or 0,
        manifest=job,
    )


def container_reason(pod: Object) -> str:
    """Return why the first container of a pod that waits or has failed does so; empty if there is none."""
    for status in (*(find(pod, "status.initContainerStatuses") or ()), *(find(pod, "status.containerStatuses") or ())):
        for state in ("waiting", "terminated"):
            reason = find(status, f"state.{state}.reason")
            if reason and reason != "Completed":
                return str(reason)
    return ""


def job_state(job: Object) -> str:
    """Return the state of a Job: its condition that is true, or ``Running``."""
    return next((kind for kind in ("Complete", "Failed", "Suspended") if has_condition(job, kind)), "Running")


def _scheduling_reason(pod: Object) -> str:
    scheduled = condition(pod, "PodScheduled") or {}
    return str(scheduled.get("reason", "")) if scheduled.get("status") == "False" else ""
