"""
The Job controller: carries out what ``job_plan.py`` plans, makes the pods of Jobs, and removes Jobs whose time is over.

It imports the store.
"""

from __future__ import annotations

import time

from airflow_provider_together.emulator.kubernetes.defaults import fill_in
from airflow_provider_together.emulator.kubernetes.deletion import FOREGROUND, delete
from airflow_provider_together.emulator.kubernetes.events import NORMAL, WARNING, Recorder
from airflow_provider_together.emulator.kubernetes.job_plan import INDEX, Plan, Tally, count, count_lost, index_of, plan
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    clone,
    condition,
    controller,
    controller_reference,
    find,
    has_condition,
    is_terminating,
    meta,
    random_suffix,
    read_time,
)
from airflow_provider_together.emulator.kubernetes.store import Store

_VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_NAME = 63


class JobController:
    """Looks after all Jobs of a cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorder = Recorder(store, "job-controller")
        self._tallies: dict[str, Tally] = {}
        self._seen: dict[str, dict[str, int]] = {}

    def step(self) -> float | None:
        """Look at all Jobs once and do what they need; the result is after how many seconds to look again."""
        now = time.time()
        pods: dict[str, list[Object]] = {}
        for pod in self._store.all("pods"):
            owner = controller(pod)
            if owner is not None and owner["kind"] == "Job":
                pods.setdefault(owner["uid"], []).append(pod)
        jobs = self._store.all("jobs")
        wakes = [self._look_after(job, pods.get(meta(job)["uid"], []), now=now) for job in jobs]
        for uid in set(self._tallies) - {meta(job)["uid"] for job in jobs}:
            del self._tallies[uid], self._seen[uid]
        known = [wake for wake in wakes if wake is not None]
        return min(known) if known else None

    def _look_after(self, job: Object, pods: list[Object], *, now: float) -> float | None:
        if is_terminating(job):
            return None
        if has_condition(job, "Complete") or has_condition(job, "Failed"):
            return self._expire(job, now=now)
        tally = self._count(job, pods, now=now)
        wanted = plan(job, pods, tally, now=now)
        self._carry_out(job, wanted)
        return wanted.wake_after

    def _count(self, job: Object, pods: list[Object], *, now: float) -> Tally:
        uid = meta(job)["uid"]
        tally, seen = self._tallies.setdefault(uid, Tally()), self._seen.setdefault(uid, {})
        count(job, pods, tally, now=now)
        seen |= {meta(pod)["uid"]: index_of(pod) for pod in pods}
        for lost in set(seen) - {meta(pod)["uid"] for pod in pods}:
            count_lost(lost, seen[lost], tally, now=now)
        return tally

    def _carry_out(self, job: Object, wanted: Plan) -> None:
        namespace, name = meta(job)["namespace"], meta(job)["name"]
        for pod in wanted.delete:
            delete(self._store, "pods", pod)
            self._note(job, NORMAL, "SuccessfulDelete", f"Deleted pod: {meta(pod)['name']}")
        for index in wanted.create:
            pod = self._store.create("pods", _pod_of(job, index))
            self._seen[meta(job)["uid"]][meta(pod)["uid"]] = index
            self._note(job, NORMAL, "SuccessfulCreate", f"Created pod: {meta(pod)['name']}")
        changed = self._store.update("jobs", namespace, name, lambda new: new | {"status": wanted.status})
        self._tell_conditions(job, changed)

    def _tell_conditions(self, old: Object, new: Object) -> None:
        for kind, event in (("Complete", NORMAL), ("Failed", WARNING), ("Suspended", NORMAL)):
            before, after = condition(old, kind), condition(new, kind)
            if after is None or (before is not None and before["status"] == after["status"]):
                continue
            if kind == "Complete":
                self._note(new, event, "Completed", "Job completed")
            elif kind == "Failed":
                self._note(new, event, after["reason"], after["message"])
            else:
                self._note(new, event, "Suspended" if after["status"] == "True" else "Resumed", after["message"])

    def _expire(self, job: Object, *, now: float) -> float | None:
        seconds = find(job, "spec.ttlSecondsAfterFinished")
        if seconds is None:
            return None
        ended = condition(job, "Complete") or condition(job, "Failed")
        left = 0.0 if ended is None else read_time(ended["lastTransitionTime"]) + seconds - now
        if left > 0:
            return left
        delete(self._store, "jobs", job, propagation=FOREGROUND)
        return None

    def _note(self, job: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.record(job, kind, reason, message)


def _pod_of(job: Object, index: int) -> Object:
    template = clone(job["spec"]["template"])
    metadata: Object = template.get("metadata") or {}
    name = meta(job)["name"] if index < 0 else f"{meta(job)['name']}-{index}"
    suffix = f"-{random_suffix()}"
    metadata |= {"name": f"{name[: _LONGEST_NAME - len(suffix)]}{suffix}", "namespace": meta(job)["namespace"]}
    metadata["ownerReferences"] = [controller_reference(job)]
    spec = template["spec"]
    if index >= 0:
        metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
        spec["hostname"] = name
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            container["env"] = [{"name": _VARIABLE, "valueFrom": source}, *(container.get("env") or ())]
    pod: Object = {"metadata": metadata, "spec": spec}
    fill_in("pods", pod)
    return pod
