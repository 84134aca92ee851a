"""
Waiting for a cluster in the triggerer, together with everybody else who waits there on the same connection.

The trigger carries an id and settings, never a secret; it fires one event of ids and status words. What a
look means is in :mod:`airflow_provider_together.waiting`. Its deadline is a point in time inside it:
Airflow's own deferral timeout would end the task without giving it a chance to delete the cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

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
from airflow_provider_together.waiting.verdict import REACTIONS, Reaction

if TYPE_CHECKING:
    from airflow_provider_together.triggers.gpu_cluster_watch import ClusterWatch
    from airflow_provider_together.waiting.patience import Look

WaitFor = Literal["ready", "gone"]


class GPUClusterTrigger(CheckedParameters, ToldWhenKilled, BaseTrigger):
    """
    Waits for one cluster and fires exactly one event: ``{"cluster_id", "verdict", "status", "error"}``.

    ``verdict`` is one of the words of :class:`~airflow_provider_together.waiting.verdict.Verdict`, ``status`` the
    raw word of Together that it rests on, ``error`` what Together answered last instead of doing what was asked for.

    :param cluster_id: id of the cluster.
    :param together_conn_id: connection to ask through.
    :param poll_interval: seconds between two looks; of all who wait on the connection the shortest counts.
    :param wait_for: ``ready``, or ``gone`` for a cluster that was asked to go.
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
        watch = self._watch()
        # Without the hook, which thousands who wait would keep.
        async with watch.client(await TogetherHook(self.together_conn_id).asettings()) as client:
            look = await watch.verdict(client)
        self._has_fired = True
        yield TriggerEvent(event_of(self.cluster_id, look))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Delete the cluster if a user has ended the task (Airflow 3.3 and later)."""
        if self.delete_on_kill:
            await undo_if_over(self, self._watch().delete, what=f"Cluster {self.cluster_id}")

    def _watch(self) -> ClusterWatch:
        """Make what a triggerer does; only here is it imported, since workers make triggers as well."""
        from airflow_provider_together.triggers.gpu_cluster_watch import ClusterWatch  # noqa: PLC0415

        return ClusterWatch(self)


def event_of(cluster_id: str, look: Look) -> dict[str, str]:
    """Return the payload of the event: an id and words, never an answer of Together, which holds a kubeconfig."""
    return {"cluster_id": cluster_id, "verdict": look.verdict.value, "status": look.word, "error": look.error}
