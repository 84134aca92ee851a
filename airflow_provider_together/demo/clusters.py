"""
Watching the clusters of a run, and making sure that none is left: on the emulator, or for real.

One small interface, so that nobody else knows which of the two it is. The emulator is asked for its own truth;
the real API is asked as any client would, and only about clusters that are proved to be of this run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import httpx

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.demo.view import ClusterRow
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.lifecycle.delete import delete_and_prove
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.verdict import Verdict

_REQUEST_TIMEOUT = 10.0
_SECONDS_PER_HOUR = 3600.0
_DELETE_TIMEOUT = 1800.0
#: A new cluster may be listed late, so an empty list is believed after several looks only.
_LAST_LOOKS = 4


class Clusters(Protocol):
    """The clusters of one run; ``is_simulated`` says that they cost nothing."""

    @property
    def is_simulated(self) -> bool:
        """Whether their time is the emulator's."""
        ...

    def claim(self, cluster_id: str) -> None:
        """Count in a cluster that a task of the run says it has made."""
        ...

    def look(self, *, fresh: bool = False) -> list[ClusterRow]:
        """
        Return the clusters, those that are gone included.

        :param fresh: whether the picture may not be some seconds old.
        :raises TogetherError: or :class:`httpx.HTTPError`, if they are not available.
        """
        ...

    def known(self) -> list[ClusterRow]:
        """Return them as they were at the last look, without another one."""
        ...

    def give_back(self, say: Callable[[str], None]) -> list[ClusterRow]:
        """
        Delete what is alive, once nothing runs that could make more; return what is still alive.

        :raises TogetherError: if nobody knows what is alive.
        """
        ...


class EmulatedClusters:
    """
    The clusters of an emulator, which all end with it.

    :param url: of the emulator.
    """

    is_simulated = True

    def __init__(self, url: str) -> None:
        self._url = url

    def claim(self, cluster_id: str) -> None:
        """Nothing to do: all clusters of the emulator are of the run."""

    def look(self, *, fresh: bool = False) -> list[ClusterRow]:
        """See :class:`Clusters`. It is always fresh."""
        del fresh
        response = httpx.get(f"{self._url}/_emulator/clusters", trust_env=False, timeout=_REQUEST_TIMEOUT)
        response.raise_for_status()
        return [
            ClusterRow(
                cluster_id=row["cluster_id"],
                cluster_name=row["cluster_name"],
                status=row["status"],
                num_gpus=row["num_gpus"],
                gpu_type=row["gpu_type"],
                region=row["region"],
                gpu_hours=row["gpu_hours"],
                is_alive=row["alive"],
            )
            for row in response.json()["clusters"]
        ]

    def known(self) -> list[ClusterRow]:
        """See :class:`Clusters`. None outlives the demo, so none is worth naming."""
        return []

    def give_back(self, say: Callable[[str], None]) -> list[ClusterRow]:
        """See :class:`Clusters`. What is alive ends with the emulator."""
        alive = [row for row in self.look() if row.is_alive]
        for row in alive:
            say(f"Cluster {row.cluster_id} was emulated, costs nothing, and ends with the emulator.")
        return alive


class LiveClusters:
    """
    The clusters that one run has made at Together.

    They are told from all others by the deployment in their names, which is made up for this run alone. A
    cluster whose name the DAG chooses is counted in through :meth:`claim`.

    :param settings: the connection of the run.
    :param interval: seconds between two requests, however often somebody looks.
    :param delete_interval: seconds between two looks while clusters are given back.
    """

    is_simulated = False

    def __init__(
        self,
        settings: Settings,
        *,
        interval: float = 10.0,
        delete_interval: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = Client(settings)
        self._deployment = settings.deployment
        self._interval = interval
        self._delete_interval = delete_interval
        self._monotonic = monotonic
        self._next_look = 0.0
        self._rows: dict[str, ClusterRow] = {}
        self._first_seen: dict[str, datetime] = {}
        self._others = {cluster.cluster_id for cluster in self._list()}
        self._claimed: set[str] = set()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def claim(self, cluster_id: str) -> None:
        """See :class:`Clusters`. One that was there before the run is not its own."""
        if cluster_id not in self._others:
            self._claimed.add(cluster_id)

    def look(self, *, fresh: bool = False) -> list[ClusterRow]:
        """See :class:`Clusters`."""
        if fresh or self._monotonic() >= self._next_look:
            self._refresh()
            self._next_look = self._monotonic() + self._interval
        return list(self._rows.values())

    def known(self) -> list[ClusterRow]:
        """See :class:`Clusters`."""
        return list(self._rows.values())

    def give_back(self, say: Callable[[str], None]) -> list[ClusterRow]:
        """See :class:`Clusters`. What it deletes it proves to be gone."""
        for attempt in range(_LAST_LOOKS):
            if attempt:
                time.sleep(self._delete_interval)
            self._refresh()
            alive = [row for row in self._rows.values() if row.is_alive]
            for row in alive:
                say(f"Deleting {row.cluster_id} ({row.status}) ...")
                try:
                    self._delete(row.cluster_id, say)
                except TogetherError as error:
                    say(str(error))
        self._refresh()
        return [row for row in self._rows.values() if row.is_alive]

    def _delete(self, cluster_id: str, say: Callable[[str], None]) -> None:
        now = self._client.now()
        wait = GoneWait(cluster_id, started=now, deadline=now + _DELETE_TIMEOUT, poll_interval=self._delete_interval)
        look = self._client.run(delete_and_prove(self._client.dialect, wait), note=lambda note: say(note.message))
        if look.verdict is not Verdict.GONE:
            say(f"{cluster_id} is not gone: {look.verdict.value}.")

    def _refresh(self) -> None:
        now = datetime.now(UTC)
        listed = {cluster.cluster_id: cluster for cluster in self._list() if self._is_ours(cluster)}
        for cluster_id, cluster in listed.items():
            begun = self._first_seen.setdefault(cluster_id, cluster.created_at or now)
            self._rows[cluster_id] = _row(cluster, seconds=(now - begun).total_seconds())
        for cluster_id, row in self._rows.items():
            if cluster_id not in listed and row.is_alive:
                self._rows[cluster_id] = replace(row, status="GONE", is_alive=False)

    def _list(self) -> list[Cluster]:
        return self._client.send(self._client.dialect.list_clusters())

    def _is_ours(self, cluster: Cluster) -> bool:
        name = ClusterName.parse(cluster.cluster_name)
        is_named_by_us = name is not None and name.deployment == self._deployment
        return is_named_by_us or cluster.cluster_id in self._claimed


def _row(cluster: Cluster, *, seconds: float) -> ClusterRow:
    gpus = cluster.num_gpus or 0
    return ClusterRow(
        cluster_id=cluster.cluster_id,
        cluster_name=cluster.cluster_name,
        status=cluster.status,
        num_gpus=gpus,
        gpu_type=cluster.gpu_type,
        region=cluster.region,
        gpu_hours=gpus * max(0.0, seconds) / _SECONDS_PER_HOUR,
        is_alive=cluster.phase is not Phase.GONE,
    )
