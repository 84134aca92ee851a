"""Waiting until a cluster whose deletion was requested is gone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_together.api.call import Flow, Note
from airflow_provider_together.api.models import Cluster, Sight
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.exceptions import NotFoundError, TogetherError
from airflow_provider_together.waiting.patience import Look, Wait
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect

#: How many intervals a cluster whose deletion was requested may be seen living on until it is asked again.
_UNHEARD_LOOKS = 2


class GoneWait(Wait):
    """Waits until a cluster whose deletion was requested is gone: absent from Get, and from List."""

    __slots__ = ("_alive_since", "_refusal", "cluster_name", "is_accepted")

    def __init__(self, cluster_id: str, *, started: float, deadline: float | None, poll_interval: float) -> None:
        super().__init__(cluster_id, started=started, deadline=deadline, poll_interval=poll_interval)
        self.is_accepted = False
        #: As it was seen last; empty as long as it was not.
        self.cluster_name = ""
        self._refusal = ""
        self._alive_since: float | None = None

    def settings(self) -> dict[str, Any]:
        """See :meth:`~airflow_provider_together.waiting.patience.Wait.settings`."""
        return {**super().settings(), "wait_for": "gone"}

    def accept(self) -> None:
        """
        Take note that Together has accepted the deletion, so that the first 404 counts.

        A 404 to the deletion itself proves less: a cluster that is very new may not be visible yet.
        """
        self.is_accepted = True
        self._absence_seconds = 0.0
        self._refusal = ""

    def refuse(self, error: TogetherError) -> None:
        """Take note that Together did not accept the deletion this time, for the error that the wait may end with."""
        self._refusal = str(error)

    def on_cluster(self, cluster: Cluster | Sight, *, now: float) -> Look:
        """Judge an answer that shows the cluster; one that lives on is to be asked again."""
        self.cluster_name = cluster.cluster_name
        if not cluster.phase.has_to_be_deleted:
            self._alive_since = None
        elif self._alive_since is None:
            self._alive_since = now
        return self._unheard(super().on_cluster(cluster, now=now), now)

    def on_error(self, error: TogetherError, *, now: float) -> Look:
        """Judge a look that failed; a cluster that is not found does not live on."""
        if isinstance(error, NotFoundError):
            self._alive_since = None
        return super().on_error(error, now=now)

    def on_time(self, *, now: float) -> Look:
        """See :meth:`Wait.on_time`."""
        return self._unheard(super().on_time(now=now), now)

    @property
    def alarm(self) -> float:
        """See :attr:`Wait.alarm`."""
        return min(super().alarm, math.inf if self._alive_since is None else self._alive_since + self._patience)

    def on_listed(self, *, now: float) -> Look:
        """Judge a list that still shows a cluster which Get says is gone."""
        return self._go_on(self.poll_interval, now=now)

    @property
    def _patience(self) -> float:
        """Seconds that a cluster may live on before it is asked again."""
        return _UNHEARD_LOOKS * self.poll_interval

    def _unheard(self, look: Look, now: float) -> Look:
        if look.verdict is Verdict.TIMED_OUT and not look.error:
            return replace(look, error=self._refusal)
        if look.is_over or self._alive_since is None or now < self._alive_since + self._patience:
            return look
        self._alive_since = now
        return replace(look, is_unheard=True)

    def _judge(self, cluster: Cluster | Sight) -> Verdict:
        return Verdict.GONE if cluster.phase is Phase.GONE else Verdict.GO_ON

    def _end_of(self, cluster: Cluster | Sight) -> float:  # noqa: ARG002 - it is ending anyway
        return math.inf


def ask_again(dialect: Dialect, wait: GoneWait) -> Flow[None]:
    """Repeat the request to delete a cluster that lives on as if it had not been heard."""
    try:
        yield from dialect.delete_cluster(wait.cluster_id).once()
    except TogetherError as error:
        wait.refuse(error)
        yield Note(str(error))
    else:
        wait.accept()
