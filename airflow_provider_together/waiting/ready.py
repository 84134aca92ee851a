"""Waiting until a cluster is READY: what each phase means to that."""

from __future__ import annotations

from typing import Any

from airflow_provider_together.api.models import Cluster, Sight
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.waiting.patience import Wait
from airflow_provider_together.waiting.verdict import REACTIONS, Reaction, Verdict


class ReadyWait(Wait):
    """
    Waits until a cluster is READY.

    :param on_degraded: what to do while it is DEGRADED: some nodes are unhealthy and may be repaired.
    :param on_paused: what to do while it is PAUSED: Together paused it, mostly because credits ran out.
    :param num_gpus: wait until its workers have this many GPUs, after a change; None takes any number.
    :raises SpecError: if a reaction is none of :data:`REACTIONS`.
    """

    __slots__ = ("num_gpus", "on_degraded", "on_paused")

    def __init__(  # noqa: PLR0913 - each is a setting of the wait
        self,
        cluster_id: str,
        *,
        started: float,
        deadline: float | None = None,
        poll_interval: float = 15.0,
        on_degraded: Reaction = "wait",
        on_paused: Reaction = "fail",
        num_gpus: int | None = None,
    ) -> None:
        super().__init__(cluster_id, started=started, deadline=deadline, poll_interval=poll_interval)
        self.num_gpus = num_gpus
        self.on_degraded = _checked("on_degraded", on_degraded)
        self.on_paused = _checked("on_paused", on_paused)

    def settings(self) -> dict[str, Any]:
        """See :meth:`~airflow_provider_together.waiting.patience.Wait.settings`."""
        own = {name: getattr(self, name) for name in ("on_degraded", "on_paused", "num_gpus")}
        return {**super().settings(), **own}

    def _judge(self, cluster: Cluster | Sight) -> Verdict:
        phase = cluster.phase
        if phase is Phase.DEGRADED:
            verdict = _VERDICTS[self.on_degraded]
        elif phase is Phase.PAUSED:
            verdict = _VERDICTS[self.on_paused]
        else:
            verdict = _MEANINGS[phase]
        if verdict is Verdict.READY and self.num_gpus is not None and cluster.gpus_present() != self.num_gpus:
            return Verdict.GO_ON
        return verdict


def _checked(name: str, reaction: Reaction) -> Reaction:
    if reaction not in _VERDICTS:
        raise SpecError([f"{name}={reaction!r} is wrong: use one of {', '.join(map(repr, REACTIONS))}"])
    return reaction


_VERDICTS: dict[Reaction, Verdict] = {"wait": Verdict.GO_ON, "ready": Verdict.READY, "fail": Verdict.FAILED}
#: What a phase means to a wait for READY where the user has no say.
_MEANINGS = {
    Phase.PENDING: Verdict.GO_ON,
    Phase.READY: Verdict.READY,
    Phase.FAILED: Verdict.FAILED,
    Phase.DELETING: Verdict.GONE,
    Phase.GONE: Verdict.GONE,
}
