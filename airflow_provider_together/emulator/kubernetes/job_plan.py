"""
What a Job needs next: pods to make, pods to delete, its new status.

Pure: the same Job, pods and time give the same plan. ``jobs.py`` carries plans out. Source:
https://kubernetes.io/docs/concepts/workloads/controllers/job/ and pkg/controller/job of Kubernetes 1.33.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_provider_together.emulator.kubernetes.job_failure import FAIL_JOB, IGNORE, judge
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

INDEX = "batch.kubernetes.io/job-completion-index"
#: Seconds before a failed pod is replaced, ten times shorter than Kubernetes' own.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 36.0


@dataclass(kw_only=True)
class Tally:
    """
    What is remembered of pods that have ended, also when they are deleted.

    :param succeeded: uid of the pod to its index; -1 without indexes.
    :param failed: the same.
    :param failed_at: when the latest of them failed, in epoch seconds; 0 is never.
    """

    succeeded: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    failed_at: float = 0.0
    job_failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    What is to be done now.

    :param create: indexes of the pods to make; -1 without indexes.
    :param delete: pods to delete.
    :param wake_after: seconds after which to look again, whatever happens; None is not before something happens.
    """

    status: Object
    create: tuple[int, ...] = ()
    delete: tuple[Object, ...] = ()
    wake_after: float | None = None


def index_of(pod: Object) -> int:
    """Return the index of a Job's pod; -1 if it has none."""
    return int((meta(pod).get("annotations") or {}).get(INDEX, -1))


def count(job: Object, pods: Iterable[Object], tally: Tally, *, now: float) -> None:
    """Enter pods that have ended, or whose end has been asked for, into the tally."""
    for pod in pods:
        uid, phase = meta(pod)["uid"], find(pod, "status.phase")
        if uid in tally.succeeded or uid in tally.failed or uid in tally.ignored:
            continue
        if phase == "Succeeded":
            tally.succeeded[uid] = index_of(pod)
        elif phase == "Failed" or (is_terminating(pod) and job["spec"]["podReplacementPolicy"] != "Failed"):
            _count_failure(job, pod, tally, now=now)


def count_lost(uid: str, index: int, tally: Tally, *, now: float) -> None:
    """Enter a pod that is gone, and was never seen to end."""
    if uid not in tally.succeeded and uid not in tally.failed and uid not in tally.ignored:
        tally.failed[uid] = index
        tally.failed_at = now


def plan(job: Object, pods: list[Object], tally: Tally, *, now: float) -> Plan:
    """
    Return what a Job that has not ended needs next.

    :param pods: its pods.
    :param now: epoch seconds.
    """
    spec = job["spec"]
    status = clone(job.get("status") or {})
    unfinished = [pod for pod in pods if not is_finished(pod)]
    active = [pod for pod in unfinished if not is_terminating(pod)]
    if spec["suspend"]:
        return _suspended(job, status, active, tally)
    if has_condition(job, "Suspended"):
        set_condition(status, "Suspended", "False", reason="JobResumed", message="Job resumed")
    status.setdefault("startTime", time_text(now))
    _fill_counts(status, job, active, unfinished, tally)
    failure = _failure(job, status, tally, pods, now=now)
    if failure is not None:
        return _failing(status, unfinished, *failure)
    if _is_complete(job, tally, active):
        return _completing(status, unfinished, tally)
    create, wait = _missing(job, active, tally, now=now)
    surplus = _surplus(job, active, tally)
    deadline = spec.get("activeDeadlineSeconds")
    ends = [] if deadline is None else [read_time(status["startTime"]) + deadline - now]
    wakes = [*ends, *([wait] if wait > 0 else [])]
    status["active"] = len(active) + len(create) - len(surplus)
    wake_after = min(wakes) if wakes else None
    return Plan(status=_tidy(status), create=tuple(create), delete=tuple(surplus), wake_after=wake_after)


def _count_failure(job: Object, pod: Object, tally: Tally, *, now: float) -> None:
    uid, index = meta(pod)["uid"], index_of(pod)
    verdict = judge(job, pod)
    if verdict.action == IGNORE:
        tally.ignored.add(uid)
        return
    tally.failed[uid] = index
    tally.failed_at = now
    if verdict.action == FAIL_JOB:
        tally.job_failure = verdict.message
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is not None and sum(one == index for one in tally.failed.values()) > limit:
        tally.failed_indexes.add(index)


def _suspended(job: Object, status: Object, active: list[Object], tally: Tally) -> Plan:
    status.pop("startTime", None)
    # What the suspension ends is no failure.
    tally.ignored |= {meta(pod)["uid"] for pod in active}
    _fill_counts(status, job, [], active, tally)
    set_condition(status, "Suspended", "True", reason="JobSuspended", message="Job suspended")
    return Plan(status=_tidy(status), delete=tuple(active))


def _failure(job: Object, status: Object, tally: Tally, pods: list[Object], *, now: float) -> tuple[str, str] | None:
    """Return reason and message if the Job has failed."""
    spec, target = job["spec"], condition({"status": status}, "FailureTarget")
    if target is not None:
        return target["reason"], target["message"]
    if tally.job_failure:
        return "PodFailurePolicy", tally.job_failure
    restarts = sum(one["restartCount"] for pod in pods for one in find(pod, "status.containerStatuses") or ())
    limit = spec["backoffLimit"]
    if len(tally.failed) > limit or (restarts and restarts >= max(limit, 1)):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and now >= read_time(status["startTime"]) + deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return _index_failure(job, tally)


def _index_failure(job: Object, tally: Tally) -> tuple[str, str] | None:
    failed = tally.failed_indexes
    if failed and len(failed | set(tally.succeeded.values())) >= job["spec"]["completions"]:
        return "FailedIndexes", "Job has failed indexes"
    return None


def _failing(status: Object, unfinished: list[Object], reason: str, message: str) -> Plan:
    """Delete what runs; the Job has failed only when it has ended."""
    set_condition(status, "FailureTarget", "True", reason=reason, message=message)
    if unfinished:
        going = tuple(pod for pod in unfinished if not is_terminating(pod))
        status["active"] = 0
        return Plan(status=_tidy(status), delete=going)
    set_condition(status, "Failed", "True", reason=reason, message=message)
    return Plan(status=_tidy(status | {"active": 0, "ready": 0, "terminating": 0}))


def _is_complete(job: Object, tally: Tally, active: list[Object]) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:
        return bool(tally.succeeded) and not active
    return bool(_number_succeeded(job, tally) >= completions)


def _completing(status: Object, unfinished: list[Object], tally: Tally) -> Plan:
    message = "Reached expected number of succeeded pods"
    set_condition(status, "SuccessCriteriaMet", "True", reason="CompletionsReached", message=message)
    if unfinished:
        going = tuple(pod for pod in unfinished if not is_terminating(pod))
        tally.ignored |= {meta(pod)["uid"] for pod in going}
        return Plan(status=_tidy(status | {"active": 0}), delete=going)
    set_condition(status, "Complete", "True", reason="CompletionsReached", message=message)
    status["completionTime"] = time_text()
    return Plan(status=_tidy(status | {"active": 0, "ready": 0, "terminating": 0}))


def _missing(job: Object, active: list[Object], tally: Tally, *, now: float) -> tuple[list[int], float]:
    """Return the indexes of pods to be made now, and after how many seconds more will be if none are."""
    spec, running = job["spec"], {index_of(pod) for pod in active}
    room = spec["parallelism"] - len(active)
    if spec["completionMode"] == "Indexed":
        done = running | set(tally.succeeded.values()) | tally.failed_indexes
        wanted = [index for index in range(spec["completions"]) if index not in done][: max(room, 0)]
    else:
        completions = spec.get("completions")
        left = room if completions is None else completions - len(tally.succeeded) - len(active)
        if completions is None and tally.succeeded:
            left = 0
        wanted = [-1] * max(min(room, left), 0)
    wait = tally.failed_at + _backoff(len(tally.failed)) - now if tally.failed_at else 0.0
    return ([], wait) if wanted and wait > 0 else (wanted, 0.0)


def _surplus(job: Object, active: list[Object], tally: Tally) -> list[Object]:
    surplus = active[job["spec"]["parallelism"] :]
    tally.ignored |= {meta(pod)["uid"] for pod in surplus}
    return surplus


def _backoff(failures: int) -> float:
    return min(_FIRST_BACKOFF * 2.0 ** max(min(failures, 10) - 1, 0), _LONGEST_BACKOFF)


def _fill_counts(status: Object, job: Object, active: list[Object], unfinished: list[Object], tally: Tally) -> None:
    ready = sum(has_condition(pod, "Ready") for pod in active)
    status |= {"active": len(active), "ready": ready, "terminating": len(unfinished) - len(active)}
    status |= {"succeeded": _number_succeeded(job, tally), "failed": len(tally.failed), "uncountedTerminatedPods": {}}
    if job["spec"]["completionMode"] == "Indexed":
        status["completedIndexes"] = interval_text(tally.succeeded.values())
        if job["spec"].get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = interval_text(tally.failed_indexes)


def _number_succeeded(job: Object, tally: Tally) -> int:
    if job["spec"]["completionMode"] == "Indexed":
        return len({index for index in tally.succeeded.values() if index < job["spec"]["completions"]})
    return len(tally.succeeded)


def interval_text(indexes: Iterable[int]) -> str:
    """Return indexes as Kubernetes writes them: ``0,2-4``."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _tidy(status: Mapping[str, object]) -> Object:
    """Leave out counts of zero, as Kubernetes does."""
    zero_is_shown = ("ready", "terminating")
    return {name: value for name, value in status.items() if name in zero_is_shown or value not in (0, "")}
