"""
Operators that can wait until a cluster is READY, in the worker or in the triggerer.

The deadline is a point in time, fixed when the wait begins; the same settings make the wait here and the
trigger there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.runtime.deferral import defer
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    Kind,
    default_deferrable,
    one_of,
    optional,
    seconds_of,
)
from airflow_provider_together.waiting.verdict import REACTIONS, Reaction

if TYPE_CHECKING:
    from airflow_provider_together.lifecycle.reservation import Reservation
    from airflow_provider_together.waiting.patience import Look
    from airflow_provider_together.waiting.ready import ReadyWait


class ReadyWaitingOperator(TogetherOperator):
    """
    Base of operators that can wait until a cluster is READY.

    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait at the most; for capacity that starts later, from its start on.
    :param on_degraded: ``wait``, ``ready`` or ``fail`` while some nodes are unhealthy.
    :param on_paused: ``wait``, ``ready`` or ``fail`` while Together has paused the cluster.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "deferrable",
        "poll_interval",
        "timeout",
        "on_degraded",
        "on_paused",
    )

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "deferrable": optional(FLAG),
        "poll_interval": DURATION,
        "timeout": DURATION,
        "on_degraded": one_of(*REACTIONS),
        "on_paused": one_of(*REACTIONS),
    }

    def __init__(
        self,
        *,
        deferrable: bool | str | None = None,
        poll_interval: float | str = 15.0,
        timeout: float | timedelta | str = timedelta(hours=2),
        on_degraded: Reaction = "wait",
        on_paused: Reaction = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_degraded = on_degraded
        self.on_paused = on_paused

    @property
    def is_deferrable(self) -> bool:
        """Whether to wait in the triggerer."""
        return default_deferrable(self.deferrable)

    def wait_here(self, cluster_id: str, *, num_gpus: int | None = None, paid: Reservation | None = None) -> Look:
        """
        Wait in this process.

        :param paid: the reservation that the cluster is: the time of the wait counts from its start.
        """
        from airflow_provider_together.waiting.look import wait_until_ready  # noqa: PLC0415 - for a task only

        return self.running.run_flow(wait_until_ready(self.hook.client.dialect, self._wait(cluster_id, num_gpus, paid)))

    def defer_until_ready(
        self,
        cluster_id: str,
        *,
        num_gpus: int | None = None,
        delete_on_kill: bool = False,
        paid: Reservation | None = None,
    ) -> NoReturn:
        """Wait in the triggerer, as :meth:`wait_here` does; ``execute_complete`` goes on."""
        wait = self._wait(cluster_id, num_gpus, paid)
        defer(self, wait, self.together_conn_id, delete_on_kill=delete_on_kill)

    def _wait(self, cluster_id: str, num_gpus: int | None, paid: Reservation | None) -> ReadyWait:
        """Begin a wait, with what the parameters were rendered to."""
        from airflow_provider_together.waiting.ready import ReadyWait  # noqa: PLC0415 - for a task only

        now = self.hook.client.now()
        return ReadyWait(
            cluster_id,
            started=now,
            deadline=_begin(now, paid) + seconds_of("timeout", self.timeout),
            poll_interval=seconds_of("poll_interval", self.poll_interval),
            on_degraded=self.on_degraded,
            on_paused=self.on_paused,
            num_gpus=num_gpus,
        )


def _begin(now: float, paid: Reservation | None) -> float:
    """Return when the time of a wait begins to count, in epoch seconds."""
    return now if paid is None else paid.wait_begins(now)
