"""
What the two dialects have in common: an operation as a value, a call of it, and the effects that faults change.

Separate from ``app.py``, which does the I/O. It knows the world and the faults, no path and no wire word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_together.emulator.errors import OutOfStockError
from airflow_provider_together.emulator.faults import Fault, FaultBook
from airflow_provider_together.emulator.model import Cluster, ClusterWish, Volume, VolumeWish
from airflow_provider_together.emulator.state import World


@dataclass(frozen=True, kw_only=True)
class Call:
    """
    A request that is to be carried out.

    :param path: the parameters in the path.
    :param query: the parameters of the query.
    :param body: the JSON body; None if the operation takes none.
    :param words: the faults that show another status.
    """

    world: World
    faults: FaultBook
    route: str
    dialect: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    words: Sequence[Fault] = ()

    def take(self, kind: str) -> list[Fault]:
        """Return the faults of a kind that this call meets, and count them."""
        return self.faults.take(kind, self.route, self.dialect)

    @property
    def speed(self) -> float:
        """Simulated seconds per real second."""
        return self.world.clock.speed


@dataclass(frozen=True, kw_only=True)
class Operation:
    """
    One method on one path.

    :param name: what it is called in faults and records; equal in both dialects for the same deed.
    :param path: with parameters in braces.
    :param is_change: a key that may only read is refused.
    :param has_body: a JSON body is read.
    :param parameters: those that the query may hold.
    :param run: carries it out and returns the answer, which can be JSON.
    """

    name: str
    dialect: str
    method: str
    path: str
    run: Callable[[Call], Any]
    is_change: bool = False
    has_body: bool = False
    parameters: tuple[str, ...] = ()


def create_cluster(call: Call, wish: ClusterWish) -> Cluster:
    """Create the cluster that a request asks for."""
    refuse_without_stock(call)
    copies = 1 + len(call.take("duplicate"))
    clusters = [call.world.create_cluster(wish) for _ in range(copies)]
    for fault in call.take("failed_life"):
        for cluster in clusters:
            call.world.fail_later(cluster, after=fault.simulated_seconds(speed=call.speed))
    return clusters[0]


def create_volume(call: Call, wish: VolumeWish) -> Volume:
    """Create the volume that a request asks for."""
    copies = 1 + len(call.take("duplicate"))
    first, *_ = [call.world.create_volume(wish) for _ in range(copies)]
    return first


def refuse_without_stock(call: Call) -> None:
    """
    Let a fault say that there are no GPUs.

    :raises OutOfStockError: if one does.
    """
    if call.take("out_of_stock"):
        message = "Out of stock: an injected fault says so"
        raise OutOfStockError(message, param="num_gpus")


def get_cluster(call: Call) -> Cluster:
    """Return the cluster in the path; one that is gone too, if a fault shows a status for it."""
    cluster_id = call.path["cluster_id"]
    cluster = call.world.any_cluster(cluster_id)
    if cluster is not None and any(fault.cluster_id in (None, cluster_id) for fault in call.words):
        return cluster
    return call.world.cluster(cluster_id)


def listed_clusters(call: Call) -> list[Cluster]:
    """Return the clusters that a list shows now."""
    now, lag = call.world.clock.now(), _lag(call)
    hiding = call.take("hide_cluster")
    return [
        cluster
        for cluster in call.world.all_clusters()
        if _is_listed(cluster.created_at, cluster.gone_at(), now=now, lag=lag)
        and not any(fault.cluster_id in (None, cluster.cluster_id) for fault in hiding)
    ]


def listed_volumes(call: Call) -> list[Volume]:
    """Return the volumes that a list shows now."""
    now, lag = call.world.clock.now(), _lag(call)
    volumes, gone_at = call.world.all_volumes(), call.world.volume_gone_at
    return [volume for volume in volumes if _is_listed(volume.created_at, gone_at(volume), now=now, lag=lag)]


def show_words(answer: Any, faults: Sequence[Fault]) -> None:
    """Put the words of faults in the place of the status of clusters, in an answer that is ready to be sent."""
    clusters = answer.get("clusters", [answer])
    for fault in faults:
        for cluster in clusters:
            if fault.cluster_id in (None, cluster.get("cluster_id")) and "status" in cluster:
                cluster["status"] = fault.word


def _lag(call: Call) -> float:
    lags = (fault.simulated_seconds(speed=call.speed) or 0.0 for fault in call.take("lag_list"))
    return max(lags, default=0.0)


def _is_listed(created_at: float, gone_at: float | None, *, now: float, lag: float) -> bool:
    return created_at + lag <= now and (gone_at is None or now < gone_at + lag)
