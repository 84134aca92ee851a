"""
Running the flows of :mod:`airflow_provider_together.jobs.slurm.flows` at a login host.

One driver, for worker and triggerer alike, that decides nothing. It is async, since a connection by ssh belongs to an
event loop; a worker has one beside its own thread, see :mod:`airflow_provider_together.runtime.background`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from airflow_provider_together.api.call import Alert, Flow, Note, Pause
from airflow_provider_together.api.client import Clock, adrive
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.slurm.flows import OutputLines, SlurmFlow
from airflow_provider_together.jobs.slurm.programs import RemoteProgram
from airflow_provider_together.runtime.login_host import LoginHost

log = logging.getLogger(__name__)

T = TypeVar("T")

Say = Callable[[str], None]
IsGone = Callable[[], Awaitable[bool]]


class SlurmDriver:
    """
    Runs flows at one login host.

    :param login_host: where their programs run.
    """

    def __init__(self, login_host: LoginHost) -> None:
        self._login_host = login_host
        self.now = Clock()

    async def run(self, flow: SlurmFlow[T], *, say: Say = log.info, is_gone: IsGone | None = None) -> T:
        """
        Run a flow to its end.

        :param say: takes each line of a job's output.
        :param is_gone: tells whether the cluster is deleted; without one it is taken to be there.
        """
        # The drivers' loop hands steps on and knows none of them; its type names those of Together's flows.
        return await adrive(cast("Flow[T]", flow), lambda step: self._do(step, say, is_gone))

    async def _do(self, step: Any, say: Say, is_gone: IsGone | None) -> Any:
        if isinstance(step, RemoteProgram):
            return step.read(await self._login_host.run(step.text))
        if isinstance(step, Pause):
            if step.seconds > 0:
                await asyncio.sleep(step.seconds)
            return self.now()
        if isinstance(step, ClusterQuestion):
            return "gone" if is_gone is not None and await is_gone() else ""
        return _take(step, say)


def _take(note: Note, say: Say) -> None:
    if isinstance(note, OutputLines):
        for line in note.lines:
            say(line)
    else:
        log.log(logging.WARNING if isinstance(note, Alert) else logging.INFO, "%s", note.message)
