"""
Waiting for a cluster in the triggerer, together with everybody else who waits there on the same connection.

The trigger carries an id and settings, never a secret; it fires one event of ids and status words. What a
look means is in :mod:`airflow_provider_together.waiting`. Its deadline is a point in time inside it:
Airflow's own deferral timeout would end the task without giving it a chance to delete the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.ended_task import ToldWhenKilled, undo_if_over
from airflow_provider_together.runtime.parameters import (
    AMOUNT,
    DURATION,
    FLAG,
    IDENTIFIER,
    CheckedParameters,
    Kind,
    number_between,
    one_of,
    optional,
)
from airflow_provider_together.waiting.verdict import REACTIONS, Reaction, Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.call import Note
    from airflow_provider_together.waiting.gone import GoneWait
    from airflow_provider_together.waiting.patience import Look
    from airflow_provider_together.waiting.ready import ReadyWait

log = logging.getLogger(__name__)

#: Seconds that a killed task's cluster is tried to be deleted. The deletion goes on in the triggerer after
#: ``on_kill`` has returned, since Together may fail for longer than that.
_DELETION_SECONDS = 1800.0

WaitFor = Literal["ready", "gone"]


class GPUClusterTrigger(CheckedParameters, ToldWhenKilled, BaseTrigger):
    """
    Waits for one cluster and fires exactly one event: ``{"cluster_id", "verdict", "status", "error"}``.

    ``verdict`` is one of the words of :class:`~airflow_provider_together.waiting.verdict.Verdict`, ``status`` the
    raw word of Together that it rests on, ``error`` what Together answered last instead of doing what was asked for.

    :param cluster_id: id of the cluster.
    :param together_conn_id: connection to ask through.
    :param poll_interval: seconds between two looks; of all who wait on the connection the shortest counts.
    :param wait_for: ``ready``, or ``gone`` for a cluster whose deletion was requested.
    :param started: when the wait began, in epoch seconds, for the log.
    :param end_time: when it ends without a verdict, in epoch seconds; None for never.
    :param on_degraded: see :class:`~airflow_provider_together.waiting.ready.ReadyWait`.
    :param on_paused: see :class:`~airflow_provider_together.waiting.ready.ReadyWait`.
    :param num_gpus: see :class:`~airflow_provider_together.waiting.ready.ReadyWait`.
    :param delete_on_kill: whether to delete the cluster when a user ends the task that waits.
    :raises SpecError: if one of them is wrong.
    """

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "together_conn_id": IDENTIFIER,
        "poll_interval": DURATION,
        "wait_for": one_of("ready", "gone"),
        "started": optional(AMOUNT),
        "end_time": optional(AMOUNT),
        "on_degraded": one_of(*REACTIONS),
        "on_paused": one_of(*REACTIONS),
        "num_gpus": optional(number_between(0, 2**31 - 1)),
        "delete_on_kill": FLAG,
    }

    def __init__(  # noqa: PLR0913 - each is a field of the trigger's row
        self,
        cluster_id: str,
        together_conn_id: str = DEFAULT_CONNECTION,
        poll_interval: float = 15.0,
        *,
        wait_for: WaitFor = "ready",
        started: float | None = None,
        end_time: float | None = None,
        on_degraded: Reaction = "wait",
        on_paused: Reaction = "fail",
        num_gpus: int | None = None,
        delete_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cluster_id = cluster_id
        self.together_conn_id = together_conn_id
        self.poll_interval = poll_interval
        self.wait_for = wait_for
        self.started = started
        self.end_time = end_time
        self.on_degraded = on_degraded
        self.on_paused = on_paused
        self.num_gpus = num_gpus
        self.delete_on_kill = delete_on_kill
        self.check_final_parameters()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what is needed to make this trigger again in another process."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "cluster_id": self.cluster_id,
                "together_conn_id": self.together_conn_id,
                "poll_interval": self.poll_interval,
                "wait_for": self.wait_for,
                "started": self.started,
                "end_time": self.end_time,
                "on_degraded": self.on_degraded,
                "on_paused": self.on_paused,
                "num_gpus": self.num_gpus,
                "delete_on_kill": self.delete_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        from airflow_provider_together.api.client import shared_async_client  # noqa: PLC0415 - for a triggerer only
        from airflow_provider_together.waiting.shared_poll import watch  # noqa: PLC0415 - for a triggerer only

        # Without the hook, which thousands who wait would keep.
        async with shared_async_client(await TogetherHook(self.together_conn_id).asettings()) as client:
            started = client.now() if self.started is None else self.started
            look = await watch(client, self._wait(started), note=_log_note)
        self._has_fired = True
        yield TriggerEvent(event_of(self.cluster_id, look))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Delete the cluster if a user has ended the task (Airflow 3.3 and later)."""
        if self.delete_on_kill:
            await undo_if_over(self, self._delete, what=f"Cluster {self.cluster_id}")

    async def _delete(self) -> None:
        from airflow_provider_together.lifecycle.delete import delete_and_prove  # noqa: PLC0415 - for a triggerer only
        from airflow_provider_together.waiting.gone import GoneWait  # noqa: PLC0415 - for a triggerer only

        log.info("The task that waited for cluster %s was ended; deleting it.", self.cluster_id)
        async with TogetherHook(self.together_conn_id).async_client() as client:
            now = client.now()
            wait = GoneWait(self.cluster_id, started=now, deadline=now + _DELETION_SECONDS, poll_interval=1.0)
            try:
                look = await client.run(delete_and_prove(client.dialect, wait))
            except TogetherError:
                log.exception("Cluster %s could not be deleted; it is still billed.", self.cluster_id)
                return
        if look.verdict is not Verdict.GONE:
            why = look.error or look.word
            log.warning("Deletion of cluster %s was requested, but it is not gone yet (%s).", self.cluster_id, why)

    def _wait(self, started: float) -> GoneWait | ReadyWait:
        from airflow_provider_together.waiting.gone import GoneWait  # noqa: PLC0415 - for a triggerer only
        from airflow_provider_together.waiting.ready import ReadyWait  # noqa: PLC0415 - for a triggerer only

        if self.wait_for == "gone":
            wait = GoneWait(self.cluster_id, started=started, deadline=self.end_time, poll_interval=self.poll_interval)
            wait.accept()  # who defers to this trigger has seen the deletion accepted
            return wait
        return ReadyWait(
            self.cluster_id,
            started=started,
            deadline=self.end_time,
            poll_interval=self.poll_interval,
            on_degraded=self.on_degraded,
            on_paused=self.on_paused,
            num_gpus=self.num_gpus,
        )


def _log_note(note: Note) -> None:
    log.info("%s", note.message)


def event_of(cluster_id: str, look: Look) -> dict[str, str]:
    """Return the payload of the event: an id and words, never an answer of Together, which holds a kubeconfig."""
    return {"cluster_id": cluster_id, "verdict": look.verdict.value, "status": look.word, "error": look.error}
