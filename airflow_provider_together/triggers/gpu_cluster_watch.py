"""
What :class:`~airflow_provider_together.triggers.gpu_cluster.GPUClusterTrigger` does in a triggerer.

The trigger's other half: a worker that defers makes the trigger, and only a triggerer that runs it imports this, with
the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from airflow_provider_together.api.client import AsyncClient, shared_async_client
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.delete import delete_and_prove
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.shared_poll import watch
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.call import Note
    from airflow_provider_together.api.settings import Settings
    from airflow_provider_together.triggers.gpu_cluster import GPUClusterTrigger
    from airflow_provider_together.waiting.patience import Look

log = logging.getLogger(__name__)

#: Seconds that a killed task's cluster is tried to be deleted. The deletion goes on in the triggerer after
#: ``on_kill`` has returned, since Together may fail for longer than that.
_DELETION_SECONDS = 1800.0


class ClusterWatch:
    """
    The requests of one trigger.

    Thousands wait at the same time, so that what lasts as long as a wait is little: no hook, and no coroutine of ours.

    :param trigger: says which cluster, and what is waited for.
    """

    __slots__ = ("_trigger",)

    def __init__(self, trigger: GPUClusterTrigger) -> None:
        self._trigger = trigger

    def client(self, settings: Settings) -> AbstractAsyncContextManager[AsyncClient]:
        """Lend the async client that everybody on this event loop shares for one connection."""
        return shared_async_client(settings)

    def verdict(self, client: AsyncClient) -> Coroutine[Any, Any, Look]:
        """Wait until there is a verdict."""
        started = client.now() if self._trigger.started is None else self._trigger.started
        return watch(client, self._wait(started), note=_log_note)

    async def delete(self) -> None:
        """Delete the cluster of a task that was ended, and wait until it is gone."""
        cluster_id = self._trigger.cluster_id
        log.info("The task that waited for cluster %s was ended; deleting it.", cluster_id)
        async with TogetherHook(self._trigger.together_conn_id).async_client() as client:
            now = client.now()
            wait = GoneWait(cluster_id, started=now, deadline=now + _DELETION_SECONDS, poll_interval=1.0)
            try:
                look = await client.run(delete_and_prove(client.dialect, wait))
            except TogetherError:
                log.exception("Cluster %s could not be deleted; it is still billed.", cluster_id)
                return
        if look.verdict is not Verdict.GONE:
            why = look.error or look.word
            log.warning("Deletion of cluster %s was requested, but it is not gone yet (%s).", cluster_id, why)

    def _wait(self, started: float) -> GoneWait | ReadyWait:
        trigger = self._trigger
        if trigger.wait_for == "gone":
            wait = GoneWait(
                trigger.cluster_id, started=started, deadline=trigger.end_time, poll_interval=trigger.poll_interval
            )
            wait.accept()  # who defers to this trigger has seen the deletion accepted
            return wait
        return ReadyWait(
            trigger.cluster_id,
            started=started,
            deadline=trigger.end_time,
            poll_interval=trigger.poll_interval,
            on_degraded=trigger.on_degraded,
            on_paused=trigger.on_paused,
            num_gpus=trigger.num_gpus,
        )


def _log_note(note: Note) -> None:
    log.info("%s", note.message)
