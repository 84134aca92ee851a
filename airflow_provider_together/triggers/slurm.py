"""
Waiting for a Slurm job in the triggerer.

The trigger carries ids, an address and settings, never a secret; it fires one event of ids and words. How the job is
looked at, and what a look means, is the same as in a worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_together.hooks.slurm import SlurmHook, is_cluster_gone
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.slurm.job import Ending, JobWait, Lines, SlurmJob
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.ended_task import ToldWhenKilled, undo_if_over
from airflow_provider_together.runtime.login_host import Address
from airflow_provider_together.runtime.parameters import (
    AMOUNT,
    DURATION,
    FLAG,
    IDENTIFIER,
    MAPPING,
    CheckedParameters,
    Kind,
    number_between,
)

log = logging.getLogger(__name__)

#: Seconds that a killed task's job is tried to be cancelled, in the triggerer, after ``on_kill`` has returned.
_CANCEL_SECONDS = 1800.0


class GPUClusterSlurmTrigger(CheckedParameters, ToldWhenKilled, BaseTrigger):
    """
    Waits for one job and fires exactly one event.

    It is ``{"cluster_id", "job_id", "attempt", "state", "exit_code", "reason"}``. ``state`` is Slurm's final state, or
    one of the words of ours beside them.

    :param cluster_id: id of the cluster at Together.
    :param address: the login host, see :class:`~airflow_provider_together.runtime.login_host.Address`.
    :param digest: see :class:`~airflow_provider_together.jobs.slurm.job.SlurmJob`.
    :param attempt: see :class:`~airflow_provider_together.jobs.slurm.job.SlurmJob`.
    :param job_id: the job's id.
    :param together_conn_id: connection to ask whether the cluster is there, if its login host is silent.
    :param poll_interval: seconds between two looks.
    :param end_time: when the wait ends without a verdict, in epoch seconds.
    :param get_logs: whether to show the output of the job.
    :param cancel_on_kill: whether to cancel the job when a user ends the task that waits.
    :raises SpecError: if one of them is wrong.
    """

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "address": MAPPING,
        "digest": IDENTIFIER,
        "attempt": number_between(1, 2**31 - 1),
        "job_id": IDENTIFIER,
        "together_conn_id": IDENTIFIER,
        "poll_interval": DURATION,
        "end_time": AMOUNT,
        "get_logs": FLAG,
        "cancel_on_kill": FLAG,
    }

    def __init__(  # noqa: PLR0913 - each is a field of the trigger's row
        self,
        cluster_id: str,
        address: dict[str, Any],
        digest: str,
        attempt: int,
        job_id: str,
        *,
        together_conn_id: str = DEFAULT_CONNECTION,
        poll_interval: float,
        end_time: float,
        get_logs: bool = True,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cluster_id = cluster_id
        self.address = address
        self.digest = digest
        self.attempt = attempt
        self.job_id = job_id
        self.together_conn_id = together_conn_id
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.get_logs = get_logs
        self.cancel_on_kill = cancel_on_kill
        self.check_final_parameters()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what is needed to make this trigger again in another process."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "cluster_id": self.cluster_id,
                "address": self.address,
                "digest": self.digest,
                "attempt": self.attempt,
                "job_id": self.job_id,
                "together_conn_id": self.together_conn_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "get_logs": self.get_logs,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        together = TogetherHook(self.together_conn_id)
        async with SlurmHook(Address(**self.address)) as hook:
            ending = await hook.watch(
                self._job,
                JobWait(deadline=self.end_time),
                poll_interval=self.poll_interval,
                lines=Lines() if self.get_logs else None,
                is_gone=lambda: is_cluster_gone(self.cluster_id, together),
            )
        self._has_fired = True
        yield TriggerEvent({"cluster_id": self.cluster_id, **event_of(self._job, ending)})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job if a user has ended the task (Airflow 3.3 and later)."""
        if self.cancel_on_kill:
            await undo_if_over(self, self._cancel, what=str(self._job))

    @property
    def _job(self) -> SlurmJob:
        return SlurmJob(self.digest, self.attempt, self.job_id)

    async def _cancel(self) -> None:
        log.info("The task that waited for %s was ended; cancelling the job.", self._job)
        async with SlurmHook(Address(**self.address)) as hook:
            if trouble := await hook.cancel(self._job, deadline=time.time() + _CANCEL_SECONDS):
                log.error("%s could not be cancelled: %s", self._job, trouble)


def event_of(job: SlurmJob, ending: Ending) -> dict[str, Any]:
    """Return the payload of the event."""
    return {
        "job_id": job.job_id,
        "attempt": job.attempt,
        "state": ending.state,
        "exit_code": ending.exit_code,
        "reason": ending.reason,
    }
