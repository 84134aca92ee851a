"""
What is done with a Slurm job, program by program: it is found, submitted, watched, cancelled and concluded.

Each is a generator of programs, pauses and notes, as the flows for clusters and for Kubernetes jobs are. One driver
runs them, :class:`~airflow_provider_together.runtime.slurm_driver.SlurmDriver`, in worker and triggerer alike, since a
connection by ssh belongs to an event loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from airflow_provider_together.api.backoff import doubled
from airflow_provider_together.api.call import Alert, Note, Pause, Step
from airflow_provider_together.exceptions import (
    ConfigurationError,
    LoginRefusedError,
    OutcomeUnknownError,
    PermanentError,
    SpecError,
    TogetherError,
    TransientError,
    WaitTimeoutError,
)
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.result import parse_result
from airflow_provider_together.jobs.slurm import programs
from airflow_provider_together.jobs.slurm.job import (
    CLUSTER_GONE,
    TIMED_OUT,
    UNREACHABLE,
    Ending,
    JobWait,
    Latest,
    Lines,
    Look,
    SlurmJob,
    is_about_nodes,
    is_outage,
)
from airflow_provider_together.jobs.slurm.programs import RemoteProgram, Submission, Submitted

T = TypeVar("T")

#: Seconds between two attempts while the login host or Slurm does not answer, at most.
_LONGEST_PAUSE = 30.0
#: Seconds of an outage after which, and then how often, Together is asked whether the cluster is there at all.
ASK_TOGETHER_EVERY = 120.0
#: Seconds that a young cluster's nodes are given to report to Slurm, before a refusal for want of nodes counts.
NODES_PATIENCE = 120.0
#: Seconds that the rest of the output of a job that has ended may take to be shown, beyond the deadline of the wait.
REST_SECONDS = 60.0

SlurmStep: TypeAlias = "RemoteProgram[Any] | Step"
SlurmFlow: TypeAlias = "Generator[SlurmStep, Any, T]"


def _pauses() -> Iterator[float]:
    """Return the seconds between attempts, one after the other: doubling up to the longest."""
    return (doubled(1.0, attempt=attempt, longest=_LONGEST_PAUSE) for attempt in itertools.count(1))


@dataclass(frozen=True, slots=True)
class OutputLines(Note):
    """
    New lines of the job's output.

    :param lines: the lines.
    """

    message: str = ""
    lines: Sequence[str] = ()


def find_latest(digest: str, *, deadline: float) -> SlurmFlow[Latest]:
    """
    Find the latest attempt of a task instance.

    :param deadline: until when to go on asking, in epoch seconds.
    """
    return _insist(programs.find(digest), deadline)


def submit_job(
    job: SlurmJob, what: Submission, *, token: str, deadline: float, busy_deadline: float | None = None
) -> SlurmFlow[SlurmJob]:
    """
    Submit an attempt once, whatever is lost on the way.

    :param token: of the try that submits; see :func:`cancel_job`.
    :param deadline: until when to go on asking where nobody answers, in epoch seconds.
    :param busy_deadline: the same where Slurm answers that it has no room yet, if that may take longer.
    :raises SpecError: if Slurm refuses it.
    :raises ConfigurationError: if the login host does not have what it takes.
    :raises OutcomeUnknownError: if the try was cancelled, and its job with it.
    :raises WaitTimeoutError: if it was not submitted until then.
    """
    program, pauses = programs.submit(job, what, token=token), _pauses()
    nodes_until = (yield from Pause(0)) + NODES_PATIENCE
    while True:
        try:
            submitted = yield from program
        except TransientError as error:
            submitted = Submitted(trouble=str(error))
        now = yield from Pause(0)
        trouble = _trouble_of(submitted, may_lack_nodes=now < nodes_until)
        if submitted.job_id:
            job = replace(job, job_id=submitted.job_id)
            yield from Note(f"{job} is {'submitted' if submitted.is_new else 'there already; going on with it'}.")
            return job
        until = max(deadline, busy_deadline or 0.0) if is_outage(submitted.refusal) else deadline
        if now >= until:
            message = f"the job could not be submitted in time; the last answer: {trouble}"
            raise WaitTimeoutError(message)
        yield from Alert(f"Not submitted yet: {trouble}. Looking again.")
        yield from Pause(next(pauses))


def _trouble_of(submitted: Submitted, *, may_lack_nodes: bool) -> str:
    """
    Return why a job is not submitted yet, if that may pass.

    :raises TogetherError: if it will not.
    """
    if submitted.missing:
        raise ConfigurationError(submitted.missing)
    if submitted.is_cancelled:
        message = "the job is cancelled, as the try of the task that was submitting it"
        raise OutcomeUnknownError(message)
    if not submitted.refusal:
        return submitted.trouble
    if is_outage(submitted.refusal) or (is_about_nodes(submitted.refusal) and may_lack_nodes):
        return submitted.refusal
    raise SpecError([f"Slurm refuses the job: {submitted.refusal}"])


@dataclass(slots=True)
class JobWatch:
    """
    Waiting for a job.

    :param poll_interval: seconds between two looks.
    :param lines: takes in the output; None if it is not wanted.
    """

    job: SlurmJob
    wait: JobWait
    poll_interval: float
    lines: Lines | None = None
    state: str | None = None
    complaint: str = ""
    has_answered: bool = False
    #: While nobody answers: how long to pause, and when to ask Together, in epoch seconds.
    pauses: Iterator[float] = field(default_factory=_pauses)
    ask_at: float | None = None


def watch_job(watch: JobWatch) -> SlurmFlow[Ending]:
    """
    Look at a job until it has ended or its time is over; no outage ends the wait.

    A user whom the login host refuses learns no more of the job, which goes on: the ending says so, the same in worker
    and triggerer, so that a retry follows the job once the refusal is mended.
    """
    while True:
        offset = None if watch.lines is None else watch.lines.offset
        try:
            look = yield from programs.look(watch.job, offset=offset)
        except (TransientError, PermanentError) as error:
            may_pass = isinstance(error, LoginRefusedError) and watch.has_answered  # who was let in will be again
            if isinstance(error, PermanentError) and not may_pass:
                return Ending(UNREACHABLE, reason=str(error))
            ending, pause = yield from _after_failure(watch, error)
        else:
            ending, pause = yield from _after_look(watch, look)
        if ending is not None:
            return ending
        now = yield from Pause(0)
        yield from Pause(min(pause, max(0.0, watch.wait.deadline - now)))


def _after_failure(watch: JobWatch, error: TogetherError) -> SlurmFlow[tuple[Ending | None, float]]:
    now = yield from Pause(0)
    if watch.ask_at is None:
        yield from Alert(f"{error}; the job goes on, and so does the wait.")
        watch.ask_at = now + ASK_TOGETHER_EVERY
    if now >= watch.ask_at:
        watch.ask_at = now + ASK_TOGETHER_EVERY
        if (yield from ClusterQuestion()):
            return Ending(CLUSTER_GONE), 0.0
        now = yield from Pause(0)
    return watch.wait.on_nothing(now=now), next(watch.pauses)


def _after_look(watch: JobWatch, look: Look) -> SlurmFlow[tuple[Ending | None, float]]:
    if watch.ask_at is not None:
        yield from Note("The login host answers again.")
        watch.ask_at, watch.pauses = None, _pauses()
    watch.has_answered = True
    ending = watch.wait.on_look(look, now=(yield from Pause(0)))
    if look.standing is not None and look.standing.state != watch.state:
        watch.state = look.standing.state
        yield from Note(f"{watch.job} is {watch.state or 'unknown to Slurm'}.")
    if look.complaint != watch.complaint:
        watch.complaint = look.complaint
        yield from Alert(f"Slurm {look.complaint}.") if look.complaint else Note("Slurm answers again.")
    has_more = watch.lines is not None and (yield from _show(watch, watch.lines, look, ending))
    return ending, 0.0 if has_more else watch.poll_interval


def _show(watch: JobWatch, lines: Lines, look: Look, ending: Ending | None) -> SlurmFlow[bool]:
    """
    Show new output, all of it if the job has ended; return whether there is more already.

    A job that runs on after the deadline of the wait may write faster than it is read here.

    :param ending: how the job has ended; None if it has not.
    """
    is_all, until = ending is not None, watch.wait.deadline
    if ending is not None and ending.state != TIMED_OUT:
        until = max(until, (yield from Pause(0)) + REST_SECONDS)
    while True:
        is_full = len(look.output) >= programs.OUTPUT_PIECE
        is_last = is_all and not is_full
        before = lines.offset
        whole = lines.take(look.output, is_all=is_last or (is_full and b"\n" not in look.output))
        if whole:
            yield from OutputLines(lines=whole)
        if not is_all or is_last or lines.offset == before:
            return is_full
        if (yield from Pause(0)) >= until:
            yield from Alert(
                f"The rest of the output of {watch.job} is not shown: it is longer than there is time for."
            )
            return False
        try:
            look = yield from programs.look(watch.job, offset=lines.offset)
        except TransientError as error:
            yield from Alert(f"{error} The rest of the output of {watch.job} is not shown.")
            return False


def cancel_job(job: SlurmJob, *, token: str = "", concluded: int = 0, deadline: float = 0.0) -> SlurmFlow[str]:
    """
    Cancel a job; return what went wrong, or nothing.

    :param token: of a try that may be submitting it right now.
    :param concluded: the latest attempt whose end was told, if the job is the latest one.
    :param deadline: until when to go on asking, in epoch seconds.
    """
    program, pauses = programs.cancel(job, token=token, concluded=concluded), _pauses()
    while True:
        try:
            trouble = yield from program
        except TogetherError as error:
            trouble = str(error)
        if not trouble or (yield from Pause(0)) >= deadline:
            return trouble
        yield from Pause(next(pauses))


def read_result(job: SlurmJob, *, deadline: float) -> SlurmFlow[Any]:
    """
    Return what a script has left as its result.

    :param deadline: until when to go on asking, in epoch seconds.
    """
    return parse_result((yield from _insist(programs.result(job), deadline)))


def conclude_job(job: SlurmJob) -> SlurmFlow[None]:
    """Write down that the end of a job was told; where that fails, Airflow's own storage remembers it."""
    try:
        yield from programs.conclude(job)
    except TogetherError as error:
        yield from Note(str(error))


def _insist(program: RemoteProgram[T], deadline: float) -> SlurmFlow[T]:
    pauses = _pauses()
    while True:
        try:
            return (yield from program)
        except TransientError as error:
            if (yield from Pause(0)) >= deadline:
                raise
            yield from Alert(f"{error}. Asking again.")
        yield from Pause(next(pauses))
