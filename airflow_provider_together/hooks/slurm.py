"""
The Slurm of a cluster: submitting a job once, watching and cancelling it.

The methods are coroutines, the same for worker and triggerer. What is sent to the login host and what its answers mean
is in :mod:`airflow_provider_together.jobs.slurm.programs`; how it is entered, in ``login_host.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_together.exceptions import (
    ConfigurationError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    SpecError,
    TogetherError,
    TransientError,
    WaitTimeoutError,
)
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.result import parse_result
from airflow_provider_together.jobs.slurm import programs as slurm_programs
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
from airflow_provider_together.runtime.login_host import Address, LoginHost, LoginRefusedError

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two attempts while the login host or Slurm does not answer, at most.
_LONGEST_PAUSE = 30.0
#: Seconds of an outage after which, and then how often, Together is asked whether the cluster is there at all.
_ASK_TOGETHER_EVERY = 120.0
#: Seconds that a young cluster's nodes are given to report to Slurm, before a refusal for want of nodes counts.
NODES_PATIENCE = 120.0
#: Seconds that the rest of the output of a job that has ended may take to be shown, beyond the deadline of the wait.
_REST_SECONDS = 60.0

Say = Callable[[str], None]


class SlurmHook(BaseHook):
    """
    The Slurm of one cluster. All methods are coroutines of one event loop.

    :param address: where its login host is.
    :param connection: the address's Airflow connection, where it was read already.
    """

    conn_name_attr = "ssh_conn_id"

    def __init__(self, address: Address, connection: Connection | None = None) -> None:
        super().__init__()
        self.login_host = LoginHost(address, connection)

    @property
    def address(self) -> Address:
        """Where the login host is, with the keys of hosts whose first one was accepted."""
        return self.login_host.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the login host."""
        await self.login_host.close()

    async def latest(self, digest: str, *, deadline: float) -> Latest:
        """
        Return the latest attempt of a task instance.

        :param deadline: until when to go on asking, in epoch seconds.
        """
        program = slurm_programs.find(digest)
        return await self._insist(program, deadline)

    async def submit(
        self,
        job: SlurmJob,
        what: slurm_programs.Submission,
        *,
        token: str,
        deadline: float,
        busy_deadline: float | None = None,
    ) -> SlurmJob:
        """
        Submit an attempt once, whatever is lost on the way.

        :param deadline: until when to go on asking where nobody answers, in epoch seconds.
        :param busy_deadline: the same where Slurm answers that it has no room yet, if that may take longer.
        :raises SpecError: if Slurm refuses it.
        :raises ConfigurationError: if the login host does not have what it takes.
        :raises WaitTimeoutError: if it was not submitted until then.
        """
        program, pauses = slurm_programs.submit(job, what, token=token), _pauses()
        nodes_until = time.time() + NODES_PATIENCE
        while True:
            try:
                submitted = slurm_programs.read_submitted(await self.login_host.run(program.text))
            except TransientError as error:
                submitted = slurm_programs.Submitted(trouble=str(error))
            trouble, until = submitted.trouble, deadline
            if submitted.missing:
                raise ConfigurationError(submitted.missing)
            if submitted.is_cancelled:
                message = "the job is cancelled, as the try of the task that was submitting it"
                raise OutcomeUnknownError(message)
            if submitted.job_id:
                job = replace(job, job_id=submitted.job_id)
                log.info("%s is %s.", job, "submitted" if submitted.is_new else "there already; going on with it")
                return job
            if is_outage(submitted.refusal):
                trouble, until = submitted.refusal, max(deadline, busy_deadline or 0.0)
            elif is_about_nodes(submitted.refusal) and time.time() < nodes_until:
                trouble = submitted.refusal
            elif submitted.refusal:
                raise SpecError([f"Slurm refuses the job: {submitted.refusal}"])
            if time.time() >= until:
                message = f"the job could not be submitted in time; the last answer: {trouble}"
                raise WaitTimeoutError(message)
            log.warning("Not submitted yet: %s. Looking again.", trouble)
            await asyncio.sleep(next(pauses))

    async def watch(  # noqa: PLR0913 - the wait, and who is told what
        self,
        job: SlurmJob,
        wait: JobWait,
        *,
        poll_interval: float,
        lines: Lines | None = None,
        say: Say = log.info,
        is_gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Ending:
        """
        Return how a job has ended, once it has; no outage ends the wait.

        Who is refused by the login host learns no more of the job, which goes on: the ending says so, the same in
        worker and triggerer, so that a retry follows the job once the refusal is mended.

        :param poll_interval: seconds between two looks.
        :param lines: takes in the output; None if it is not wanted.
        :param say: takes each line of the output.
        :param is_gone: tells whether the cluster is no more, in case that nobody answers for long.
        """
        outage = _Outage(is_gone)
        state, complaint = None, ""
        passing: tuple[type[TogetherError], ...] = (TransientError,)
        while True:
            try:
                look = await self.look(job, offset=None if lines is None else lines.offset)
            except passing as error:
                ending = await outage.on_error(error) or wait.on_nothing(now=time.time())
                pause = outage.pause
            except PermanentError as error:
                return Ending(UNREACHABLE, reason=str(error))
            else:
                outage.on_answer()
                passing = (TransientError, LoginRefusedError)  # who was let in once will be let in again
                ending = wait.on_look(look, now=time.time())
                pause = poll_interval
                if look.standing is not None and look.standing.state != state:
                    state = look.standing.state
                    log.info("%s is %s.", job, state or "unknown to Slurm")
                if look.complaint != complaint:
                    complaint = look.complaint
                    log.log(logging.WARNING if complaint else logging.INFO, "Slurm %s.", complaint or "answers again")
                if lines is not None and await self._show(job, lines, look, say, ending, deadline=wait.deadline):
                    pause = 0.0
            if ending is not None:
                return ending
            await asyncio.sleep(min(pause, max(0.0, wait.deadline - time.time())))

    async def look(self, job: SlurmJob, *, offset: int | None = None) -> Look:
        """Return how a job is getting on, and its output from an offset on."""
        return slurm_programs.read_look(await self.login_host.run(slurm_programs.look(job, offset=offset).text), job)

    async def cancel(self, job: SlurmJob, *, token: str = "", concluded: int = 0, deadline: float = 0.0) -> str:
        """
        Cancel a job; return what went wrong, or nothing.

        :param token: of a try that may be submitting it right now.
        :param concluded: the latest attempt whose end was told, if the job is the latest one.
        :param deadline: until when to go on asking, in epoch seconds.
        """
        pauses = _pauses()
        while True:
            try:
                program = slurm_programs.cancel(job, token=token, concluded=concluded)
                trouble = slurm_programs.read_trouble(await self.login_host.run(program.text))
            except TogetherError as error:
                trouble = str(error)
            if not trouble or time.time() >= deadline:
                return trouble
            await asyncio.sleep(next(pauses))

    async def result(self, job: SlurmJob, *, deadline: float) -> Any:
        """
        Return what a script has left as its result.

        :param deadline: until when to go on asking, in epoch seconds.
        """
        return parse_result(await self._insist(slurm_programs.result(job), deadline))

    async def conclude(self, job: SlurmJob) -> None:
        """Write down that the end of a job was told; where that fails, Airflow's own storage remembers it."""
        try:
            slurm_programs.read_trouble(await self.login_host.run(slurm_programs.conclude(job).text))
        except TogetherError as error:
            log.info("%s", error)

    async def _insist(self, program: slurm_programs.RemoteProgram[T], deadline: float) -> T:
        pauses = _pauses()
        while True:
            try:
                return program.read(await self.login_host.run(program.text))
            except TransientError as error:
                if time.time() >= deadline:
                    raise
                log.warning("%s. Asking again.", error)
            await asyncio.sleep(next(pauses))

    async def _show(  # noqa: PLR0913 - what is shown of which job, to whom, until when
        self, job: SlurmJob, lines: Lines, look: Look, say: Say, ending: Ending | None, *, deadline: float
    ) -> bool:
        """
        Show new output, all of it if the job has ended; return whether there is more already.

        :param ending: how the job has ended; None if it has not.
        :param deadline: of the wait. A job that runs on after it may write faster than it is read here.
        """
        is_all = ending is not None
        until = deadline if ending is None or ending.state == TIMED_OUT else max(deadline, time.time() + _REST_SECONDS)
        while True:
            is_full = len(look.output) >= slurm_programs.OUTPUT_PIECE
            is_last = is_all and not is_full
            before = lines.offset
            for line in lines.take(look.output, is_all=is_last or (is_full and b"\n" not in look.output)):
                say(line)
            if not is_all or is_last or lines.offset == before:
                return is_full
            if time.time() >= until:
                log.warning("The rest of the output of %s is not shown: it is longer than there is time for.", job)
                return False
            try:
                look = await self.look(job, offset=lines.offset)
            except TransientError as error:
                log.warning("%s The rest of the output of %s is not shown.", error, job)
                return False


class _Outage:
    """Nobody answers: how long to pause, when to tell it, and whether the cluster is there at all."""

    def __init__(self, is_gone: Callable[[], Awaitable[bool]] | None) -> None:
        self._is_gone = is_gone
        self._pauses = _pauses()
        self._ask_at: float | None = None

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return next(self._pauses)

    def on_answer(self) -> None:
        """Take in that it is over."""
        if self._ask_at is not None:
            log.info("The login host answers again.")
        self._ask_at, self._pauses = None, _pauses()

    async def on_error(self, error: TogetherError) -> Ending | None:
        """Take in that it goes on; return an ending if the cluster is no more."""
        now = time.monotonic()
        if self._ask_at is None:
            log.warning("%s; the job goes on, and so does the wait.", error)
            self._ask_at = now + _ASK_TOGETHER_EVERY
        if self._is_gone is None or now < self._ask_at:
            return None
        self._ask_at = now + _ASK_TOGETHER_EVERY
        return Ending(CLUSTER_GONE) if await self._is_gone() else None


async def is_cluster_gone(cluster_id: str, hook: TogetherHook) -> bool:
    """Whether Together says that a cluster is no more, or about to be; if it does not say, it is not."""
    try:
        async with hook.async_client() as client:
            cluster = await client.send(client.dialect.get_cluster(cluster_id))
    except NotFoundError:
        return True
    except TogetherError as error:
        log.warning("%s", error)
        return False
    return not cluster.phase.has_to_be_deleted


def _pauses() -> Iterator[float]:
    """Return the seconds between attempts, one after the other: doubling up to the longest."""
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
