"""
What one look at a training job means.

A job is an Indexed Job of Kubernetes, one pod for each rank. It starts as a whole or not at all, and ends with the
first rank that fails. Whoever looks, in the worker or in the triggerer, gives what Kubernetes answered and the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_together.api.wording import counted
from airflow_provider_together.jobs.kubernetes.diagnosis import (
    Diagnosis,
    Object,
    Word,
    diagnose,
    disruption_of,
    is_hopeless,
    words_of,
)
from airflow_provider_together.jobs.kubernetes.manifests import CONTAINER

_INDEX = "batch.kubernetes.io/job-completion-index"


class JobVerdict(StrEnum):
    """What a look comes to."""

    GO_ON = "go on"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_STARTED = "not started"
    TIMED_OUT = "timed out"
    GONE = "gone"
    CLUSTER_GONE = "cluster gone"
    REFUSED = "refused"


class RankPhase(StrEnum):
    """Where one rank is."""

    MISSING = "missing"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Terms:
    """
    When the job must have started and ended.

    :param start_by: when all ranks must have begun, in epoch seconds.
    :param end_by: when the job must be over, in epoch seconds; None for never.
    """

    start_by: float
    end_by: float | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """
    One rank, as its pod shows it.

    :param has_begun: whether its container has ever run.
    :param ended_at: when its container ended, or the one that failed in its place, in epoch seconds.
    :param message: what it wrote to its termination message.
    :param is_victim: whether it was stopped from outside, most likely since another one had failed.
    """

    number: int
    phase: RankPhase = RankPhase.MISSING
    pod: str = ""
    node: str = ""
    has_begun: bool = False
    ended_at: float | None = None
    message: str = ""
    diagnosis: Diagnosis | None = None
    is_victim: bool = False

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        why = f" ({self.diagnosis})" if self.diagnosis else ""
        return f"rank {self.number}{where} {_PHASES[self.phase]}{why}"


_PHASES = {
    RankPhase.MISSING: "has no pod",
    RankPhase.WAITING: "waits",
    RankPhase.RUNNING: "runs",
    RankPhase.SUCCEEDED: "has ended",
    RankPhase.FAILED: "has failed",
}


@dataclass(frozen=True, slots=True)
class JobState:
    """
    A job at one time.

    :param reason: Kubernetes' own words about the job as a whole.
    :param culprit: the rank that failed first.
    """

    verdict: JobVerdict
    ranks: Sequence[Rank] = ()
    reason: str = ""
    culprit: Rank | None = None
    has_started: bool = field(default=False)

    @property
    def is_over(self) -> bool:
        """Whether waiting has come to an end."""
        return self.verdict is not JobVerdict.GO_ON

    @property
    def word(self) -> Word | None:
        """The word for what went wrong, where something did."""
        if self.verdict in {JobVerdict.GO_ON, JobVerdict.SUCCEEDED}:
            return None
        if self.verdict is JobVerdict.TIMED_OUT:
            return Word.DEADLINE
        suspects = [self.culprit] if self.culprit else self.missing
        return next((rank.diagnosis.word for rank in suspects if rank and rank.diagnosis), Word.UNKNOWN)

    @property
    def result(self) -> str:
        """What rank 0 has left as the result, as text; empty for nothing."""
        return self.ranks[0].message if self.ranks else ""

    @property
    def missing(self) -> list[Rank]:
        """The ranks that have not begun."""
        return [rank for rank in self.ranks if not rank.has_begun]

    def sentence(self) -> str:
        """Tell what the ranks do, at most a few of them by name."""
        numbers = {phase: sum(rank.phase is phase for rank in self.ranks) for phase in RankPhase}
        parts = [f"{number} {phase.value}" for phase, number in numbers.items() if number]
        told = [str(rank) for rank in self.ranks if rank.diagnosis is not None][:_RANKS_TOLD]
        return "; ".join([f"{counted(len(self.ranks), 'rank')}: {', '.join(parts)}", *told])


#: How many ranks a sentence names.
_RANKS_TOLD = 8


def look_at(  # noqa: PLR0911, PLR0913 - one verdict after the other; what was seen, and when
    job: Object | None,
    pods: Iterable[Object],
    events: Iterable[Object] = (),
    *,
    now: float,
    terms: Terms,
    has_started: bool = False,
) -> JobState:
    """
    Return what a look means.

    :param job: the Job; None if there is none.
    :param pods: pods that bear its label, of earlier jobs of that name as well.
    :param events: events about these pods, where they are known.
    :param now: epoch seconds.
    :param has_started: whether an earlier look has seen all ranks begin.
    """
    if job is None:
        return JobState(JobVerdict.GONE, has_started=has_started)
    failure = _condition(job, "Failed") or _condition(job, "FailureTarget")
    ranks = _ranks(job, pods, list(events), is_failed=failure is not None)
    started = has_started or all(rank.has_begun for rank in ranks)

    def state(verdict: JobVerdict, reason: str = "", culprit: Rank | None = None) -> JobState:
        return JobState(verdict, ranks, reason, culprit, started)

    is_complete = _condition(job, "Complete") is not None
    if is_complete or all(rank.phase is RankPhase.SUCCEEDED for rank in ranks):
        return state(JobVerdict.SUCCEEDED)
    culprit = _culprit(ranks)
    if failure is not None and failure.get("reason") == "DeadlineExceeded":
        return state(JobVerdict.TIMED_OUT, _words(failure), culprit)
    is_deleted = bool(job["metadata"].get("deletionTimestamp")) and failure is None
    if is_deleted and (culprit is None or culprit.is_victim):
        return state(JobVerdict.GONE)  # its pods go with it, and none of them has failed
    if failure is not None or culprit is not None:
        return state(JobVerdict.FAILED, _words(failure), culprit)
    if terms.end_by is not None and now >= terms.end_by:
        return state(JobVerdict.TIMED_OUT)
    hopeless = any(is_hopeless(pod) for pod in _own(job, pods))
    if not started and (hopeless or now >= terms.start_by):
        reason = "it is suspended" if (job.get("spec") or {}).get("suspend") else ""
        return state(JobVerdict.NOT_STARTED, reason)
    return state(JobVerdict.GO_ON)


def epoch(text: Any) -> float | None:
    """Return a time of Kubernetes in epoch seconds; None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _ranks(job: Object, pods: Iterable[Object], events: list[Object], *, is_failed: bool) -> list[Rank]:
    number = int((job.get("spec") or {}).get("completions") or 1)
    ranks = {index: Rank(index) for index in range(number)}
    for pod in _own(job, pods):
        rank = _rank(pod, events, is_failed=is_failed)
        # Of two pods of one rank the later replaces one that was taken away before it began.
        if rank.number in ranks and _weight(rank) >= _weight(ranks[rank.number]):
            ranks[rank.number] = rank
    return list(ranks.values())


def _weight(rank: Rank) -> int:
    return (RankPhase.MISSING, RankPhase.WAITING, RankPhase.FAILED, RankPhase.RUNNING, RankPhase.SUCCEEDED).index(
        rank.phase
    )


def _own(job: Object, pods: Iterable[Object]) -> list[Object]:
    """Return the pods of this very job: those of an earlier one of its name may still be there."""
    uid = job["metadata"].get("uid")
    return [
        pod
        for pod in pods
        if any(owner.get("uid") == uid for owner in (pod.get("metadata") or {}).get("ownerReferences") or ())
    ]


def _rank(pod: Object, events: list[Object], *, is_failed: bool) -> Rank:
    metadata, status = pod["metadata"], pod.get("status") or {}
    marks: Mapping[str, str] = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    current = _container_state(status, CONTAINER)
    ended = current.get("terminated") or {}
    phase = _phase(status.get("phase"), current)
    is_taken_away = bool(metadata.get("deletionTimestamp")) and phase is not RankPhase.SUCCEEDED
    disruption = disruption_of(pod)
    # Once the job has failed, Kubernetes deletes the pods that still run. Before that, a pod that goes is a loss.
    is_victim = is_taken_away and disruption is None
    if is_taken_away and not (is_victim and is_failed and phase is not RankPhase.FAILED):
        phase = RankPhase.FAILED
    diagnosis = diagnose(pod, events, main=CONTAINER)
    if diagnosis is None and phase is RankPhase.FAILED:
        diagnosis = Diagnosis(Word.UNKNOWN, "its pod was deleted")
    failed = _container_state(status, diagnosis.container).get("terminated") if diagnosis else None
    return Rank(
        int(marks.get(_INDEX, -1)),
        phase,
        pod=metadata.get("name", ""),
        node=(pod.get("spec") or {}).get("nodeName", ""),
        has_begun=current.get("running") is not None or bool(ended),
        ended_at=epoch((failed or ended).get("finishedAt")),
        message=ended.get("message") or "",
        diagnosis=diagnosis,
        is_victim=is_victim,
    )


def _container_state(status: Object, name: str) -> Object:
    """Return the state of a container by its name: others may be listed before it, put there by a template."""
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    container: Object = next((one for one in statuses if one["name"] == name), {})
    state: Object = container.get("state") or {}
    return state


def _phase(phase: str | None, container: Object) -> RankPhase:
    if phase == "Failed":
        return RankPhase.FAILED
    if phase == "Succeeded":
        return RankPhase.SUCCEEDED
    ended = container.get("terminated")
    if ended:  # the container tells it before the pod's phase does
        return RankPhase.FAILED if ended.get("exitCode") else RankPhase.SUCCEEDED
    return RankPhase.RUNNING if container.get("running") is not None else RankPhase.WAITING


def _culprit(ranks: Iterable[Rank]) -> Rank | None:
    """
    Return the rank that failed first: the others mostly fail since it did.

    Times are whole seconds, so that among those of one second a reason of Kubernetes' own goes before an exit code.
    """
    failed = [rank for rank in ranks if rank.phase is RankPhase.FAILED]

    def order(rank: Rank) -> tuple[bool, float, bool, int]:
        is_plain = rank.diagnosis is None or rank.diagnosis.word in {Word.NON_ZERO_EXIT, Word.UNKNOWN}
        return rank.is_victim, float("inf") if rank.ended_at is None else rank.ended_at, is_plain, rank.number

    return min(failed, key=order, default=None)


def _condition(job: Object, kind: str) -> Object | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Object = condition
            return found
    return None


def _words(condition: Object | None) -> str:
    if condition is None:
        return ""
    return words_of(condition.get("reason"), condition.get("message"))
