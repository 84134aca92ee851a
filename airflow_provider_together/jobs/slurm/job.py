"""
What a Slurm job of ours is and what becomes of it: its name, its options, what Slurm says of it, and what that means.

A job belongs to a task instance, not to a try of it. All tries find its attempts under one digest: below it lies a
folder for each attempt, on the home that login and compute nodes share, and the digest is in the job's name. So a try
that begins looks at the latest attempt, and follows it or begins the next one.

Slurm forgets a job minutes after its end, and not every site keeps accounts. So the job's own record of its exit code
counts as well, but never against a final word of Slurm: a script that was cancelled may have ended with 0.

Pure: no Airflow, no ssh, no clock. What is sent to the login host is in ``programs.py``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from airflow_provider_together.lifecycle.name import digest_of

log = logging.getLogger(__name__)

#: The script has ended with 0, and nobody has ended it early.
COMPLETED = "COMPLETED"
#: The script has ended with another exit code.
FAILED = "FAILED"
#: Words of ours beside Slurm's: Slurm knows the job no more and it has left no record; our own deadline has passed;
#: the cluster that it ran on is no more; who waits may not enter the login host.
LOST, TIMED_OUT, CLUSTER_GONE, UNREACHABLE = "LOST", "TIMED_OUT", "CLUSTER_GONE", "UNREACHABLE"

#: Slurm's final states, each with what to know about it.
_FINAL = {
    COMPLETED: "",
    FAILED: "",
    "BOOT_FAIL": "a node did not start for it",
    "CANCELLED": "somebody has cancelled it, or Slurm's administrator",
    "DEADLINE": "it could not end before the deadline that it was given",
    "LAUNCH_FAILED": "Slurm could not start it on its nodes",
    "NODE_FAIL": "one of its nodes has failed",
    "OUT_OF_MEMORY": "it used more memory than it had been given; the options mem and mem-per-gpu give more",
    "PREEMPTED": "another job took its place",
    "RECONFIG_FAIL": "its nodes could not be set up",
    "REVOKED": "another cluster of the federation runs it",
    "TIMEOUT": "its time limit has passed; the option time gives more",
}
_OURS = {
    LOST: "Slurm does not know it any more, and it has left no exit code",
    TIMED_OUT: "the task's timeout has passed",
    CLUSTER_GONE: "its cluster was deleted",
    UNREACHABLE: "nobody knows how it ends",
}
#: States in which a script of the job may run, so that a record of its end is of this run of it.
_RUNS = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "STOPPED", "SUSPENDED", "SIGNALING", "RESIZING"})
_WAITS = frozenset(
    {
        "CONFIGURING",
        "PENDING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
        "POWER_UP_NODE",
    }
)
#: Unknown words that the log has named already; bounded, since a server chooses them.
_reported: set[str] = set()
_MOST_REPORTED = 100

#: Seconds in which Slurm must come to know what the job's own record says, before the record counts alone.
RECORD_PATIENCE = 60.0
#: Seconds in which a job that is unknown to Slurm and has no record may still turn up.
LOST_PATIENCE = 60.0

#: Characters of what a job is found by.
_DIGEST_LENGTH = 16
_LONGEST_WORDS = 80
#: The largest result that is read, in bytes, as large as Kubernetes allows for a pod's.
LARGEST_RESULT = 4096


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """
    One attempt at the job of a task instance.

    :param digest: stands for the task instance on its cluster.
    :param attempt: 1 for the first; 0 for the latest, whichever that is.
    :param job_id: Slurm's; empty before there is one.
    """

    digest: str
    attempt: int
    job_id: str = ""

    def __str__(self) -> str:
        return f"Slurm job {self.job_id or (f'(attempt {self.attempt})' if self.attempt else '(the latest)')}"


def job_digest(cluster_id: str, deployment: str, owner_digest: str) -> str:
    """
    Return what stands for a task instance on a cluster, the same for all its tries.

    The cluster is in it, because a shared volume outlives clusters and each has job ids of its own; the deployment,
    because two Airflows may use one cluster.
    """
    return digest_of(cluster_id, deployment, owner_digest, length=_DIGEST_LENGTH)


def job_name(words: str, job: SlurmJob) -> str:
    """Return the name of a job: words for people, of which nothing depends, then what it is found by."""
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", words)[:_LONGEST_WORDS].strip("-.")
    return f"{words or 'job'}.{job.digest}.{job.attempt}"


def is_job_id(text: str) -> bool:
    """Whether it can be the id of a job: asked for an empty one, Slurm shows all jobs."""
    return re.fullmatch(r"[1-9][0-9]*", text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class Record:
    """
    How the script has ended, as the job itself has written it down.

    :param exit_code: the script's.
    :param signal: that the script was asked to end by, before it did; empty for none.
    """

    exit_code: int
    signal: str = ""

    @property
    def ending(self) -> Ending:
        """What it says where Slurm says nothing."""
        if self.exit_code == 0 and not self.signal:
            return Ending(COMPLETED, exit_code=0)
        reason = f"Signal{self.signal}" if self.signal else "NonZeroExitCode"
        return Ending(FAILED, exit_code=self.exit_code, reason=reason)


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a job has ended.

    :param state: Slurm's word, or one of ours.
    :param exit_code: the script's; None if nobody knows.
    :param reason: Slurm's word for why.
    """

    state: str
    exit_code: int | None = None
    reason: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the script has ended with 0 by itself."""
        return self.state == COMPLETED

    def sentence(self, job_id: str) -> str:
        """Say what became of the job."""
        details = [] if self.exit_code is None else [f"exit code {self.exit_code}"]
        details += [f"reason {self.reason}"] if self.reason not in {"", "None"} else []
        shown = f" ({', '.join(details)})" if details else ""
        explained = {**_FINAL, **_OURS}.get(self.state, "")
        return f"Slurm job {job_id} has ended {self.state}{shown}{': ' if explained else ''}{explained}."


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What Slurm says of a job.

    :param state: its word; empty if Slurm knows no such job.
    :param exit_code: as Slurm has it; None if it does not say.
    :param reason: its word for why.
    """

    state: str
    exit_code: int | None = None
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the job will not run any more."""
        return self.state in _FINAL

    @property
    def ending(self) -> Ending:
        """What became of the job, if that is final."""
        if self.state == COMPLETED and self.exit_code:
            return Ending(FAILED, exit_code=self.exit_code, reason=self.reason)
        return Ending(self.state, exit_code=self.exit_code, reason=self.reason)


@dataclass(frozen=True, slots=True)
class Look:
    """
    What one look at a job has shown.

    :param standing: what Slurm says; None if it does not answer.
    :param record: what the job has recorded itself; None if nothing (yet).
    :param log_size: bytes of output so far.
    :param output: bytes of it from the offset that was asked for.
    :param complaint: what Slurm said instead of an answer.
    """

    standing: Standing | None
    record: Record | None = None
    log_size: int = 0
    output: bytes = b""
    complaint: str = ""


class JobWait:
    """
    A wait for the end of a job, without I/O and without a clock.

    :param deadline: when it ends without a verdict, in epoch seconds.
    """

    def __init__(self, *, deadline: float) -> None:
        self.deadline = deadline
        self._since: float | None = None

    def on_look(self, look: Look, *, now: float) -> Ending | None:
        """
        Take in a look; return how the job has ended, or None to look again.

        :param now: when it was made, in epoch seconds.
        """
        ending = ending_of(look)
        if ending is None:
            ending = self._after_patience(look, now)
        return ending or self.on_nothing(now=now)

    def on_nothing(self, *, now: float) -> Ending | None:
        """Take in that a look was not possible; no outage ends a wait but the one that outlasts the deadline."""
        return Ending(TIMED_OUT) if now >= self.deadline else None

    def _after_patience(self, look: Look, now: float) -> Ending | None:
        doubtful = _doubtful_ending(look)
        if doubtful is None:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        patience = LOST_PATIENCE if doubtful.state == LOST else RECORD_PATIENCE
        return doubtful if now - self._since >= patience else None


def ending_of(look: Look) -> Ending | None:
    """Return how a job has ended where one look is enough to know; None if it may run, or nobody knows."""
    standing, record = look.standing, look.record
    if standing is not None and standing.is_final:
        ending = standing.ending
        if ending.exit_code in {None, 0} and record is not None and not ending.is_success:
            return Ending(ending.state, exit_code=record.exit_code or ending.exit_code, reason=ending.reason)
        return ending
    if standing is not None and not standing.state and record is not None:
        return record.ending
    return None


def _doubtful_ending(look: Look) -> Ending | None:
    """Return what has become of a job if nothing else is heard."""
    standing, record = look.standing, look.record
    if standing is not None and not standing.state:
        return Ending(LOST)
    if record is None or (standing is not None and standing.state not in _RUNS):
        return None  # a job that waits to run again has a record of its former run
    return record.ending


@dataclass(frozen=True, slots=True)
class Latest:
    """
    The latest attempt of a task instance.

    :param attempt: its number; 0 if there is none.
    :param job_id: empty if none is known.
    :param is_concluded: whether its end was told to Airflow already.
    :param look: a look at its job; None without one.
    """

    attempt: int = 0
    job_id: str = ""
    is_concluded: bool = False
    look: Look | None = None

    def job_to_follow(self, digest: str, *, concluded: int = 0) -> SlurmJob | None:
        """
        Return the job that this try goes on with; None if it has to submit one.

        A job whose end was told belongs to the past: a task that runs again wants another one. A job that has failed
        while nobody watched it is what a retry is for.

        :param concluded: the latest attempt whose end Airflow remembers to have been told.
        """
        if not self.attempt or not self.job_id or self.is_concluded or self.attempt <= concluded:
            return None
        job = SlurmJob(digest, self.attempt, self.job_id)
        look = self.look
        if look is None:
            return job
        ending = ending_of(look)
        if ending is None:
            is_lost = look.standing is not None and not look.standing.state
            return None if is_lost else job
        return job if ending.is_success else None

    def next_job(self, digest: str, *, concluded: int = 0) -> SlurmJob:
        """Return the attempt to submit: the latest one if it has no job, else the next."""
        has_begun_only = self.attempt > concluded and not self.job_id and not self.is_concluded
        return SlurmJob(digest, max(1, self.attempt if has_begun_only else max(self.attempt, concluded) + 1))


def read_standing(answer: str, job: SlurmJob) -> Standing | None:
    """
    Read what ``scontrol --oneliner show job`` says; None if Slurm does not answer.

    :param answer: its exit status and what it wrote, in one line.
    :param job: whom it is about. A Slurm that has lost its state gives the same ids to others' jobs.
    """
    status, _, text = answer.partition(" ")
    if status != "0":
        return Standing("") if "Invalid job id" in text else None
    found = {name: _field(name, text) for name in ("JobName", "JobState", "Reason", "ExitCode")}
    if not found["JobState"]:
        return None
    if not found["JobName"].endswith(f".{job.digest}.{job.attempt}"):
        return Standing("")
    return _standing(found["JobState"], found["ExitCode"], found["Reason"])


def read_account(answer: str) -> Standing | None:
    """
    Read what ``sacct`` says of a job: ``STATE|EXIT:SIGNAL``; None if it does not know it, or keeps no accounts.

    :param answer: its exit status and its first line.
    """
    status, _, text = answer.partition(" ")
    state, _, exit_code = text.strip().partition("|")
    if status != "0" or not state:
        return None
    return _standing(state.split()[0].rstrip("+"), exit_code)


def _field(name: str, text: str) -> str:
    match = re.search(rf"(?:^| ){name}=(\S*)", text)
    return match[1] if match else ""


def _standing(state: str, exit_code: str, reason: str = "") -> Standing:
    is_known = state in _FINAL or state in _RUNS | _WAITS | _reported
    if not is_known and len(_reported) < _MOST_REPORTED:
        _reported.add(state)
        log.warning("Slurm answered with an unknown state %r; the wait goes on.", state)
    return Standing(state, _exit_code(exit_code), reason)


def _exit_code(text: str) -> int | None:
    """Read ``CODE:SIGNAL``; a script that was ended by a signal counts as a shell counts it."""
    match = re.fullmatch(r"(\d+):(\d+)", text.strip(), re.ASCII)
    if match is None:
        return None
    code, signal = int(match[1]), int(match[2])
    return code or (128 + signal if signal else 0)


def read_record(text: str) -> Record | None:
    """Read what the job has written when its script had ended; None if it is not whole."""
    match = re.fullmatch(r"(\d{1,3}) (none|[A-Z0-9]+)", text.strip(), re.ASCII)
    return match and Record(int(match[1]), "" if match[2] == "none" else match[2])


#: What Slurm says where nobody knows whether the job was submitted, or where it was not but may be soon: its controller
#: is not there, has too much to do, or has no room in its queue.
_OUTAGE = (
    "unable to contact slurm controller",
    "socket timed out",
    "zero bytes were transmitted",
    "unexpected message received",
    "connection refused",
    "connection reset",
    "connection timed out",
    "temporarily unable to accept job",
    "resource temporarily unavailable",
    "configuration source",
    "protocol authentication error",
    "transport endpoint is not connected",
    "slurm_load_jobs error",
    "communication connection failure",
    "communication send failure",
    "communication receive failure",
    "message send failure",
    "message receive failure",
    "standby mode",
    "queue full",
    "queue is full",
    "maxsubmitjob",
    "grpsubmitjob",
)
#: What it says where it forbids; then waiting does not help, whatever it says beside.
_FORBIDDEN = ("permission denied", "not permitted", "invalid account")
#: What sbatch says while the nodes of a young cluster have not yet reported to Slurm, or if they never will suffice.
_NO_NODES = ("requested node configuration is not available", "node count specification invalid")


def is_outage(message: str) -> bool:
    """Whether a message of Slurm's says that its controller could not be asked, or has no room yet."""
    text = message.lower()
    return any(words in text for words in _OUTAGE) and not any(words in text for words in _FORBIDDEN)


def is_about_nodes(message: str) -> bool:
    """Whether sbatch refuses for want of nodes, which may still be about to come."""
    return any(words in message.lower() for words in _NO_NODES)


class Lines:
    """
    The output of a job as whole lines, from the bytes of one look after the other.

    :param offset: bytes of it that were shown already.
    """

    def __init__(self, offset: int = 0) -> None:
        #: Where to read next: a line that has no end yet is read again.
        self.offset = offset

    def take(self, output: bytes, *, is_all: bool = False) -> list[str]:
        """
        Return the lines that have become whole.

        :param output: bytes from :attr:`offset` on.
        :param is_all: whether nothing more will come, or the line is too long to wait for its end.
        """
        end = len(output) if is_all else output.rfind(b"\n") + 1
        self.offset += end
        return output[:end].decode(errors="replace").splitlines()
