"""
The programs that run on a cluster's login host, as values: which one, with which arguments, and how to read its answer.

Their shell stands beside this module: ``remote.sh`` for the login host, ``batch.sh`` for the job itself. No value is
ever pasted into it: they are quoted arguments. A program is sent through the standard input of ``/bin/sh``, never as a
command line, which all users of the host can read. Whatever must not be torn apart happens inside of one program: a job
is looked for, submitted and written down under one lock, so that a lost answer, a killed worker and two tries at once
all end in one job. Each program may be sent again after a lost answer.

Below the home, which login and compute nodes share, ``.airflow-together/DIGEST/ATTEMPT/`` holds ``job_id``, the
``script`` and the ``batch`` script that runs it, the path of its output, ``exit`` once it has ended, ``result`` if the
script leaves one, and ``concluded`` once its end was told to Airflow.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Generic, TypeVar

from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import MalformedAnswerError
from airflow_provider_together.jobs.slurm.job import (
    LARGEST_RESULT,
    Latest,
    Look,
    SlurmJob,
    is_job_id,
    job_name,
    read_account,
    read_record,
    read_standing,
)

T = TypeVar("T")

#: Begins an answer; what a login shell writes before it is of no interest.
_BEGIN = "airflow-together-answer"
#: Bytes of output that one look brings.
OUTPUT_PIECE = 256 * 1024

_SHELL = files("airflow_provider_together.jobs.slurm")
_REMOTE = _SHELL.joinpath("remote.sh").read_text(encoding="utf-8")
_BATCH = _SHELL.joinpath("batch.sh").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RemoteProgram(Generic[T]):
    """
    One program to be run on the login host: a step of the flows in :mod:`airflow_provider_together.jobs.slurm.flows`.

    :param command: the function in ``remote.sh``.
    :param arguments: its arguments, among which may be secrets.
    :param read: reads the answer.
    """

    command: str
    arguments: Sequence[str] = field(repr=False)
    read: Callable[[bytes], T] = field(repr=False)

    @property
    def text(self) -> str:
        """What ``/bin/sh`` reads from its standard input, which no command inside reads on."""
        # In braces: whatever is cut off on the way, a line that has not arrived as a whole does not run.
        return f"{_REMOTE}\n{{\nmain {shlex.join([self.command, *self.arguments])}\n}} </dev/null\nexit 0\n"

    def __iter__(self) -> Generator[RemoteProgram[T], Any, T]:
        """Let a flow ask for what the answer means: ``latest = yield from find(digest)``."""
        result: T = yield self
        return result


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What is submitted.

    :param words: words for the job's name.
    :param script: the user's, with its first line.
    :param batch_lines: its lines for sbatch.
    :param options: words for sbatch, which take precedence.
    :param env: additional environment of the job; it is in no command line and in no file of ours.
    :param output: where the output goes, absolute or below the home, with ``%j`` for the job's id; empty for the
        folder of the job.
    """

    words: str
    script: str
    batch_lines: Sequence[str] = ()
    options: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    output: str = ""

    @property
    def batch_script(self) -> str:
        """The script that Slurm gets."""
        first, _, rest = _BATCH.partition("\n")
        return "\n".join([first, *self.batch_lines, rest])


@dataclass(frozen=True, slots=True)
class Submitted:
    """
    What became of a submission.

    :param job_id: of the job; empty if there is none.
    :param is_new: whether it was submitted just now.
    :param refusal: Slurm's message, if it refused.
    :param missing: a command that the login host does not have, as a sentence.
    :param trouble: why nobody knows yet: look again.
    :param is_cancelled: whether the try that submits was cancelled meanwhile, and its job with it.
    """

    job_id: str = ""
    is_new: bool = False
    refusal: str = ""
    missing: str = ""
    trouble: str = ""
    is_cancelled: bool = False


def find(digest: str) -> RemoteProgram[Latest]:
    """Show the latest attempt."""
    return RemoteProgram("find_latest", [digest], lambda answer: read_latest(answer, digest))


def submit(job: SlurmJob, what: Submission, *, token: str) -> RemoteProgram[Submitted]:
    """
    Submit an attempt, unless it has a job already.

    :param token: of the try; see :func:`cancel`.
    """
    environment = [f"{name}={value}" for name, value in (what.env or {}).items()]
    ours = ["--parsable", f"--job-name={job_name(what.words, job)}", "--open-mode=append"]
    fixed = [job.digest, str(job.attempt), token, what.output, what.script, what.batch_script]
    return RemoteProgram("submit_job", [*fixed, *environment, "--", *what.options, *ours], read_submitted)


def look(job: SlurmJob, *, offset: int | None) -> RemoteProgram[Look]:
    """
    Show how a job is getting on.

    :param offset: bytes of its output that are known already; None if the output is not wanted.
    """
    piece = [] if offset is None else [str(offset), str(OUTPUT_PIECE)]
    arguments = [job.digest, str(job.attempt), job.job_id, *piece]
    return RemoteProgram("look_at_job", arguments, lambda answer: read_look(answer, job))


def result(job: SlurmJob) -> RemoteProgram[str]:
    """Show what the script has left as its result."""
    return RemoteProgram("read_result", [job.digest, str(job.attempt), str(LARGEST_RESULT)], read_result)


def conclude(job: SlurmJob) -> RemoteProgram[str]:
    """Write down that the end of a job was told."""
    return RemoteProgram("conclude_job", [job.digest, str(job.attempt)], read_trouble)


def cancel(job: SlurmJob, *, token: str = "", concluded: int = 0) -> RemoteProgram[str]:
    """
    Cancel the job of an attempt, whether its id is known here or not.

    :param job: of attempt 0, the latest one whose end was not told yet.
    :param token: of a try that may be about to submit: it will not, or will cancel what it submits.
    :param concluded: the latest attempt whose end Airflow remembers to have been told.
    """
    arguments = [job.digest, str(job.attempt), job.job_id, token, str(concluded)]
    return RemoteProgram("cancel_job", arguments, read_trouble)


def read_latest(answer: bytes, digest: str) -> Latest:
    """
    Read the answer of :func:`find`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    attempt = fields.get("attempt", "")
    if not attempt.isdecimal():
        raise MalformedAnswerError(_shown(answer))
    job_id = fields.get("job", "")
    if not is_job_id(job_id):
        return Latest(int(attempt), is_concluded="concluded" in fields)
    job = SlurmJob(digest, int(attempt), job_id)
    return Latest(job.attempt, job_id, is_concluded="concluded" in fields, look=_look(fields, job))


def read_submitted(answer: bytes) -> Submitted:
    """
    Read the answer of :func:`submit`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    job_id = fields.get("job", "")
    submitted = Submitted(
        job_id=job_id,
        is_new="new" in fields,
        refusal=fields.get("refused", ""),
        missing=_missing(fields),
        trouble=fields.get("trouble", ""),
        is_cancelled="cancelled" in fields,
    )
    is_answer = is_job_id(job_id) or submitted.is_cancelled
    if not is_answer and fields.keys().isdisjoint({"refused", "missing", "trouble"}):
        raise MalformedAnswerError(_shown(answer))
    return submitted


def read_look(answer: bytes, job: SlurmJob) -> Look:
    """
    Read the answer of :func:`look`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, output = _fields(answer)
    if "output" not in fields:
        raise MalformedAnswerError(_shown(answer))
    return _look(fields, job, output=output)


def read_result(answer: bytes) -> str:
    """
    Read the answer of :func:`result`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, output = _fields(answer)
    if "output" not in fields:
        raise MalformedAnswerError(_shown(answer))
    return output.decode(errors="replace").strip()


def read_trouble(answer: bytes) -> str:
    """
    Read the answer of :func:`cancel` or :func:`conclude`: what went wrong, or nothing.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    if fields.keys().isdisjoint({"cancelled", "concluded", "missing", "trouble"}):
        raise MalformedAnswerError(_shown(answer))
    return fields.get("trouble", "") or _missing(fields)


def _missing(fields: Mapping[str, str]) -> str:
    """Say which command the login host does not have, and what to do; nothing if it has all."""
    command, _, words = fields.get("missing", "").partition(" ")
    if not command:
        return ""
    said = f" ({words})" if words else ""
    return (
        f"the login host has no {command} in its PATH{said}. Add the folder of Slurm's programs to PATH there, in "
        "/etc/profile or in the profile of the user who logs in (~/.bash_profile, ~/.profile): these are read where "
        "sbatch is not found without them"
    )


def _look(fields: Mapping[str, str], job: SlurmJob, *, output: bytes = b"") -> Look:
    standing = read_standing(fields.get("scontrol", ""), job)
    if standing is not None and not standing.state:
        standing = read_account(fields.get("sacct", "")) or standing
    size = fields.get("output", "0").strip()
    return Look(
        standing,
        read_record(fields.get("exit", "")),
        int(size) if size.isdecimal() else 0,
        output,
        complaint=fields.get("scontrol", "").partition(" ")[2] if standing is None else "",
    )


def _fields(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Take an answer apart: its lines ``NAME VALUE`` up to the output's, and the output."""
    _, found, rest = answer.partition(f"{_BEGIN}\n".encode())
    if not found:
        raise MalformedAnswerError(_shown(answer))
    fields: dict[str, str] = {}
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, _, value = line.decode(errors="replace").partition(" ")
        if re.fullmatch(r"[a-z]+", name, re.ASCII):
            fields.setdefault(name, printable(value.strip()))
        if name == "output":
            break
    return fields, rest


def _shown(answer: bytes) -> str:
    return f"the login host answered {answer[-500:].decode(errors='replace')!r}"
