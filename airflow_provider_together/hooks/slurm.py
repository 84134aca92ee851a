"""
The Slurm of a cluster: submitting a job once, watching and cancelling it.

The methods are coroutines, the same for worker and triggerer. What they do is in
:mod:`airflow_provider_together.jobs.slurm.flows`; how the login host is entered, in
:mod:`airflow_provider_together.runtime.login_host`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk import BaseHook

from airflow_provider_together.exceptions import NotFoundError, TogetherError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.slurm import flows
from airflow_provider_together.jobs.slurm.job import Ending, JobWait, Latest, Lines, SlurmJob
from airflow_provider_together.runtime.login_host import Address, LoginHost
from airflow_provider_together.runtime.slurm_driver import IsGone, Say, SlurmDriver

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_together.jobs.slurm.programs import Submission

log = logging.getLogger(__name__)


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
        self._driver = SlurmDriver(self.login_host)

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
        """See :func:`~airflow_provider_together.jobs.slurm.flows.find_latest`."""
        return await self._driver.run(flows.find_latest(digest, deadline=deadline))

    async def submit(
        self, job: SlurmJob, what: Submission, *, token: str, deadline: float, busy_deadline: float | None = None
    ) -> SlurmJob:
        """See :func:`~airflow_provider_together.jobs.slurm.flows.submit_job`."""
        flow = flows.submit_job(job, what, token=token, deadline=deadline, busy_deadline=busy_deadline)
        return await self._driver.run(flow)

    async def watch(  # noqa: PLR0913 - the wait, and who is told what
        self,
        job: SlurmJob,
        wait: JobWait,
        *,
        poll_interval: float,
        lines: Lines | None = None,
        say: Say = log.info,
        is_gone: IsGone | None = None,
    ) -> Ending:
        """
        See :func:`~airflow_provider_together.jobs.slurm.flows.watch_job`.

        :param poll_interval: seconds between two looks.
        :param lines: takes in the output; None if it is not wanted.
        :param say: takes each line of the output.
        :param is_gone: tells whether the cluster is deleted, in case that nobody answers for long.
        """
        watch = flows.JobWatch(job, wait, poll_interval, lines)
        return await self._driver.run(flows.watch_job(watch), say=say, is_gone=is_gone)

    async def cancel(self, job: SlurmJob, *, token: str = "", concluded: int = 0, deadline: float = 0.0) -> str:
        """See :func:`~airflow_provider_together.jobs.slurm.flows.cancel_job`."""
        return await self._driver.run(flows.cancel_job(job, token=token, concluded=concluded, deadline=deadline))

    async def result(self, job: SlurmJob, *, deadline: float) -> Any:
        """See :func:`~airflow_provider_together.jobs.slurm.flows.read_result`."""
        return await self._driver.run(flows.read_result(job, deadline=deadline))

    async def conclude(self, job: SlurmJob) -> None:
        """See :func:`~airflow_provider_together.jobs.slurm.flows.conclude_job`."""
        await self._driver.run(flows.conclude_job(job))


async def is_cluster_gone(cluster_id: str, hook: TogetherHook) -> bool:
    """Whether Together says that a cluster is deleted or being deleted; if it does not say, it is not."""
    try:
        async with hook.async_client() as client:
            cluster = await client.send(client.dialect.get_cluster(cluster_id))
    except NotFoundError:
        return True
    except TogetherError as error:
        log.warning("%s", error)
        return False
    return not cluster.phase.has_to_be_deleted
