"""
The Job controller, for Indexed Jobs all of whose pods run at once and none of which is tried again.

That is how the shipped operator makes them: suspended at first, one pod for each rank, failed with the first rank that
fails. Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable

from airflow_provider_together.emulator.kubernetes.admission import fill_pod
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    clone,
    condition,
    find,
    has_condition,
    is_finished,
    is_terminating,
    meta,
    read_time,
    set_condition,
    time_text,
)
from airflow_provider_together.emulator.kubernetes.store import Store

INDEX = "batch.kubernetes.io/job-completion-index"
_VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_NAME = 63


class JobController:
    """Looks after all Jobs of a cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Indexes that have succeeded, by the Job's uid: also of pods that are gone.
        self._succeeded: dict[str, set[int]] = {}

    def step(self) -> None:
        """Look at all Jobs once and do what they need."""
        for job in self._store.all("jobs"):
            if not (is_terminating(job) or has_condition(job, "Complete") or has_condition(job, "Failed")):
                self._look_after(job)

    def _look_after(self, job: Object) -> None:
        status = clone(job["status"])
        if job["spec"]["suspend"]:
            set_condition(status, "Suspended", reason="JobSuspended", message="Job suspended")
        else:
            if "startTime" not in status:
                self._start(job, status)
            self._judge(job, status)
        self._store.update("jobs", job, lambda new: new.update(status=status))

    def _start(self, job: Object, status: Object) -> None:
        status["startTime"] = time_text()
        if has_condition(job, "Suspended"):
            set_condition(status, "Suspended", value=False, reason="JobResumed", message="Job resumed")
        for index in range(job["spec"]["completions"]):
            pod = self._store.create("pods", _pod_of(job, index))
            self._store.record_event(job, "SuccessfulCreate", f"Created pod: {meta(pod)['name']}")

    def _judge(self, job: Object, status: Object) -> None:
        pods = [pod for pod in self._store.all("pods", meta(job)["namespace"]) if _is_owned(pod, job)]
        succeeded = self._succeeded.setdefault(meta(job)["uid"], set())
        succeeded |= {_index_of(pod) for pod in pods if find(pod, "status.phase") == "Succeeded"}
        active = [pod for pod in pods if not is_finished(pod)]
        wanted = range(job["spec"]["completions"])
        # One that is gone, or is to go, has failed as well.
        alive = {_index_of(pod) for pod in active if not is_terminating(pod)}
        failed = set(wanted) - succeeded - alive
        known = condition({"status": status}, "FailureTarget")
        reason, message = (known["reason"], known["message"]) if known else _failure(job, status, failed)
        status["succeeded"] = len(succeeded)
        status["ready"] = sum(has_condition(pod, "Ready") for pod in active)
        status["active"] = len(alive)
        if reason:
            self._fail(job, status, active, reason, message)
        elif len(succeeded) == len(wanted):
            message = "Reached expected number of succeeded pods"
            set_condition(status, "Complete", reason="CompletionsReached", message=message)
            status["completionTime"] = time_text()
            self._store.record_event(job, "Completed", "Job completed")
        if not known:
            status["failed"] = len(failed)
        for field in ("active", "failed", "succeeded"):
            if not status.get(field):
                status.pop(field, None)

    def _fail(self, job: Object, status: Object, active: Iterable[Object], reason: str, message: str) -> None:
        """Delete what runs; the Job has failed once that has ended."""
        set_condition(status, "FailureTarget", reason=reason, message=message)
        status["active"] = 0
        for pod in active:
            if not is_terminating(pod):
                self._store.delete("pods", pod)
        if not any(self._store.find("pods", meta(pod)["namespace"], meta(pod)["name"]) for pod in active):
            set_condition(status, "Failed", reason=reason, message=message)
            self._store.record_event(job, reason, message, kind="Warning")


def _failure(job: Object, status: Object, failed: set[int]) -> tuple[str, str]:
    """Return reason and message of a Job that has failed, empty ones for another."""
    if failed:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    seconds = job["spec"].get("activeDeadlineSeconds")
    if seconds is not None and time.time() >= read_time(status["startTime"]) + seconds:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return "", ""


def _pod_of(job: Object, index: int) -> Object:
    template, name = clone(job["spec"]["template"]), f"{meta(job)['name']}-{index}"
    suffix = f"-{uuid.uuid4().hex[:5]}"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True, "blockOwnerDeletion": True}
    given = template.get("metadata") or {}
    metadata = {
        "name": f"{name[: _LONGEST_NAME - len(suffix)]}{suffix}",
        "namespace": meta(job)["namespace"],
        "labels": {**(given.get("labels") or {}), INDEX: str(index), "job-name": meta(job)["name"]},
        "annotations": {**(given.get("annotations") or {}), INDEX: str(index)},
        "ownerReferences": [{**owner, **{field: meta(job)[field] for field in ("name", "uid")}}],
    }
    spec = {**template["spec"], "hostname": name}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        container["env"] = [{"name": _VARIABLE, "value": str(index)}, *(container.get("env") or ())]
    pod: Object = {"metadata": metadata, "spec": spec}
    fill_pod(pod)
    return pod


def _is_owned(pod: Object, job: Object) -> bool:
    return any(owner["uid"] == meta(job)["uid"] for owner in meta(pod).get("ownerReferences") or ())


def _index_of(pod: Object) -> int:
    return int(meta(pod)["annotations"][INDEX])
