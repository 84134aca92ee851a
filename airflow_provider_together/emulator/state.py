"""
The one truth behind both dialects: the clusters and volumes there are, and what may be done with them.

Everything is a function of the simulated clock; nothing runs in the background. No HTTP and no wire words in
here: refusals are raised as values of ``errors.py``. Callers hold :attr:`World.lock` around what belongs together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from airflow_provider_together.emulator.catalog import Catalog, Software
from airflow_provider_together.emulator.clock import SimulatedClock, to_text
from airflow_provider_together.emulator.errors import (
    ConflictError,
    InvalidRequestError,
    OutOfStockError,
    UnknownResourceError,
)
from airflow_provider_together.emulator.identity import IdSource
from airflow_provider_together.emulator.kubeconfig import make_kubeconfig
from airflow_provider_together.emulator.lifecycle import (
    Phase,
    Transition,
    before,
    plan_creation,
    plan_failure,
    plan_resize,
)
from airflow_provider_together.emulator.model import Cluster, ClusterWish, Volume, VolumeWish
from airflow_provider_together.emulator.nodes import match_workers, order_control_plane
from airflow_provider_together.emulator.options import DEFAULT_PROJECT, Options

_SECONDS_PER_DAY = 86400.0


class World:
    """
    The emulated cloud.

    :param options: how it is set up.
    :param clock: its time.
    """

    def __init__(self, options: Options, *, clock: SimulatedClock) -> None:
        self.lock = threading.RLock()
        self.options = options
        self.clock = clock
        self.catalog = Catalog(regions=options.regions, capacity=options.capacity)
        #: Makes the kubeconfig of a cluster, by its id; replaced where there is a Kubernetes API behind it.
        self.make_kubeconfig: Callable[[str], str] = lambda cluster_id: make_kubeconfig(
            cluster_id, text=options.kube_config
        )
        self._ids = IdSource(seed=options.seed)
        self._clusters: dict[str, Cluster] = {}
        self._volumes: dict[str, Volume] = {}

    def clear(self) -> None:
        """Forget all clusters and volumes."""
        self._clusters.clear()
        self._volumes.clear()

    # --- clusters ---

    def all_clusters(self) -> list[Cluster]:
        """Return every cluster that there ever was, oldest first."""
        return list(self._clusters.values())

    def cluster(self, cluster_id: str) -> Cluster:
        """
        Return a cluster that is not gone.

        :raises UnknownResourceError: if there is none.
        """
        cluster = self._clusters.get(cluster_id)
        if cluster is None or cluster.is_gone(self.clock.now()):
            message = f"cluster_id={cluster_id!r}: no such GPU cluster"
            raise UnknownResourceError(message, param="cluster_id")
        return cluster

    def any_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, also one that is gone."""
        return self._clusters.get(cluster_id)

    def create_cluster(self, wish: ClusterWish) -> Cluster:
        """
        Create a cluster. Names need not differ: the real API promises no uniqueness.

        :raises RefusedError: saying what is wrong with the wish, or that there is no stock.
        """
        now = self.clock.now()
        software = self._check_offer(wish)
        starts_at, ends_at = self._check_times(wish, now=now)
        if wish.volume_id is not None:
            self._check_attachable(wish)
        total = wish.num_gpus + wish.num_preemptible_gpus
        self._check_stock(wish.region, wish.gpu_type, more=total)
        cluster = self._make_cluster(wish, software, now=now, starts_at=starts_at, ends_at=ends_at)
        self._clusters[cluster.cluster_id] = cluster
        if wish.volume is not None:
            self.create_volume(wish.volume).cluster_id = cluster.cluster_id
        if wish.volume_id is not None:
            self.volume(wish.volume_id).cluster_id = cluster.cluster_id
        return cluster

    def resize_cluster(
        self, cluster: Cluster, *, num_gpus: int | None = None, num_preemptible_gpus: int | None = None
    ) -> None:
        """
        Change the number of GPUs; the cluster goes back to waiting until it is READY with the new number.

        :raises ConflictError: while the cluster is being deleted.
        :raises OutOfStockError: if it is to grow, and there is no stock.
        """
        now = self.clock.now()
        self.check_changeable(cluster)
        old = cluster.num_gpus + cluster.num_preemptible_gpus
        gpus = cluster.num_gpus if num_gpus is None else num_gpus
        preemptible = cluster.num_preemptible_gpus if num_preemptible_gpus is None else num_preemptible_gpus
        new = gpus + preemptible
        if new > old:
            self._check_stock(cluster.wish.region, cluster.wish.gpu_type, more=new - old)
        cluster.num_gpus, cluster.num_preemptible_gpus = gpus, preemptible
        if new == old:
            return
        is_ready = cluster.ready_at(now) is not None
        plan = plan_resize(now, takes=self.options.resize_takes) if is_ready else cluster.plan
        match_workers(cluster, plan, new_id=self._ids.new)
        if is_ready:
            cluster.plan = [*before(cluster.plan, now), *plan]
            cluster.word = None
        # What is given up is held until it is really away, what is new at once.
        cluster.holdings.append((now if new > old or not is_ready else plan[-1].at, new))
        cluster.holdings.sort(key=lambda holding: holding[0])

    def check_changeable(self, cluster: Cluster) -> None:
        """
        Refuse to change what is being deleted.

        :raises ConflictError: while the cluster is being deleted.
        """
        if cluster.is_ending(self.clock.now()):
            message = f"cluster_id={cluster.cluster_id!r} is being deleted and cannot be changed"
            raise ConflictError(message, param="cluster_id")

    def delete_cluster(self, cluster: Cluster) -> None:
        """Begin to delete a cluster; asking again changes nothing."""
        if not cluster.is_ending(self.clock.now()):
            cluster.deleted_at = self.clock.now()

    def enter(self, cluster: Cluster, phase: Phase) -> None:
        """Put a cluster into a phase, in which it stays; READY with all its nodes, DELETING with its end."""
        now = self.clock.now()
        cluster.word = None
        if phase is Phase.DELETING:
            self.delete_cluster(cluster)
            return
        cluster.plan = [*before(cluster.plan, now), Transition(phase, now)]
        if phase is Phase.READY:
            for node in (*cluster.control_plane, *cluster.workers):
                node.hurry(now)

    def fail_later(self, cluster: Cluster, *, after: float | None) -> None:
        """Let a new cluster fail instead of becoming READY; ``after`` in simulated seconds from its creation."""
        cluster.plan = plan_failure(cluster.created_at, cluster.plan, after=after)

    def _check_offer(self, wish: ClusterWish) -> Software:
        region = self.catalog.region(wish.region)
        if wish.gpu_type not in region.gpu_types:
            message = f"gpu_type={wish.gpu_type!r} is not offered in region {wish.region!r}"
            raise InvalidRequestError(message, param="gpu_type")
        ways = {"id": wish.nvidia_version_id, "cuda": wish.cuda_version, "driver": wish.driver_version}
        return region.find_software(**ways)

    def _check_times(self, wish: ClusterWish, *, now: float) -> tuple[float, float | None]:
        """Return when a cluster begins and when it ends by itself, in simulated epoch seconds."""
        if wish.billing_type == "ON_DEMAND":
            # Nothing tells that duration_days ends such a cluster: the price of a safety net that is none is high.
            return now, None
        starts_at = now
        if wish.billing_type == "SCHEDULED_CAPACITY" and wish.starts_at is not None:
            starts_at = max(now, wish.starts_at)
        ends_at = wish.ends_at
        if ends_at is None and wish.duration_days is not None:
            ends_at = now + wish.duration_days * _SECONDS_PER_DAY
        if ends_at is not None and ends_at <= starts_at:
            message = (
                f"reservation_end_time={to_text(ends_at)!r} is not after the begin, {to_text(starts_at)!r}; "
                f"the emulator's simulated time is {to_text(now)!r}"
            )
            raise InvalidRequestError(message, param="reservation_end_time")
        return starts_at, ends_at

    def _check_stock(self, region: str, gpu_type: str, *, more: int) -> None:
        capacity = self.catalog.capacity(region, gpu_type)
        if capacity is None:
            return
        now = self.clock.now()
        same = (c for c in self._clusters.values() if (c.wish.region, c.wish.gpu_type) == (region, gpu_type))
        free = capacity - sum(cluster.gpus_held(now) for cluster in same)
        if more > free:
            message = f"Out of stock: {more} more {gpu_type} are not available in region {region!r}; {free} are free"
            raise OutOfStockError(message, param="num_gpus")

    def _make_cluster(
        self, wish: ClusterWish, software: Software, *, now: float, starts_at: float, ends_at: float | None
    ) -> Cluster:
        plan = plan_creation(
            now,
            starts_at=starts_at,
            has_volume=wish.volume is not None or wish.volume_id is not None,
            has_tests=wish.has_tests,
            ready_after=self.options.ready_after,
        )
        cluster = Cluster(
            cluster_id=self._ids.new(),
            wish=wish,
            project_id=wish.project_id or DEFAULT_PROJECT,
            software_id=software.id,
            os=software.os,
            cuda_version=software.cuda_version,
            driver_version=software.driver_version,
            cluster_type=wish.cluster_type,
            num_gpus=wish.num_gpus,
            num_preemptible_gpus=wish.num_preemptible_gpus,
            created_at=now,
            starts_at=starts_at,
            ends_at=ends_at,
            delete_takes=self.options.delete_takes,
            plan=plan,
            extras=dict(wish.extras),
            holdings=[(now, wish.num_gpus + wish.num_preemptible_gpus)],
        )
        order_control_plane(cluster, new_id=self._ids.new)
        match_workers(cluster, plan, new_id=self._ids.new)
        return cluster

    # --- volumes ---

    def all_volumes(self) -> list[Volume]:
        """Return every volume that there ever was, oldest first."""
        return list(self._volumes.values())

    def volumes_of(self, cluster: Cluster) -> list[Volume]:
        """Return the volumes that are attached to a cluster."""
        mine = (volume for volume in self._volumes.values() if volume.cluster_id == cluster.cluster_id)
        return [volume for volume in mine if not self.is_volume_gone(volume)]

    def volume(self, volume_id: str) -> Volume:
        """
        Return a volume that is not gone.

        :raises UnknownResourceError: if there is none.
        """
        volume = self._volumes.get(volume_id)
        if volume is None or self.is_volume_gone(volume):
            message = f"volume_id={volume_id!r}: no such shared volume"
            raise UnknownResourceError(message, param="volume_id")
        return volume

    def create_volume(self, wish: VolumeWish) -> Volume:
        """
        Create a shared volume.

        :raises InvalidRequestError: if its region or the cluster that it is meant for does not exist.
        """
        self.catalog.region(wish.region)
        if wish.cluster_id is not None:
            self._check_place(wish.cluster_id, region=wish.region)
        now = self.clock.now()
        volume = Volume(
            volume_id=self._ids.new(),
            name=wish.name,
            size_tib=wish.size_tib,
            region=wish.region,
            project_id=wish.project_id or DEFAULT_PROJECT,
            created_at=now,
            available_at=now + self.options.volume_takes,
            is_lifecycle_independent=wish.is_lifecycle_independent,
        )
        self._volumes[volume.volume_id] = volume
        return volume

    def grow_volume(self, volume: Volume, *, size_tib: int) -> None:
        """
        Change a volume's size, in TiB.

        :raises InvalidRequestError: if it is to shrink.
        """
        if size_tib < volume.size_tib:
            message = f"size_tib={size_tib} is wrong: a volume of {volume.size_tib} TiB cannot shrink"
            raise InvalidRequestError(message, param="size_tib")
        volume.size_tib = size_tib

    def delete_volume(self, volume: Volume) -> None:
        """
        Delete a volume.

        :raises ConflictError: while it is attached.
        """
        cluster = self.holder(volume)
        if cluster is not None:
            message = f"volume_id={volume.volume_id!r} is attached to cluster {cluster.cluster_id!r}: delete that first"
            raise ConflictError(message, param="volume_id")
        volume.deleted_at = self.clock.now()

    def holder(self, volume: Volume) -> Cluster | None:
        """Return the cluster that a volume is attached to: one that is not gone."""
        cluster = None if volume.cluster_id is None else self._clusters.get(volume.cluster_id)
        return None if cluster is None or cluster.is_gone(self.clock.now()) else cluster

    def volume_gone_at(self, volume: Volume) -> float | None:
        """
        Return when a volume is gone, in simulated epoch seconds.

        One source says that a volume goes with its cluster unless it is independent, another that volumes
        persist. Here it goes only if the request said in so many words that it is not independent.
        """
        if volume.deleted_at is not None:
            return volume.deleted_at
        cluster = None if volume.cluster_id is None else self._clusters.get(volume.cluster_id)
        return cluster.gone_at() if cluster is not None and volume.is_lifecycle_independent is False else None

    def is_volume_gone(self, volume: Volume) -> bool:
        """Tell whether a volume is gone."""
        gone_at = self.volume_gone_at(volume)
        return gone_at is not None and gone_at <= self.clock.now()

    def _check_attachable(self, wish: ClusterWish) -> None:
        volume = self._volumes.get(wish.volume_id or "")
        if volume is None or self.is_volume_gone(volume) or volume.region != wish.region:
            message = f"volume_id={wish.volume_id!r}: Shared volume does not exist in region {wish.region!r}"
            raise InvalidRequestError(message, param="volume_id")
        holder = self.holder(volume)
        if holder is not None:
            message = f"volume_id={wish.volume_id!r} is attached to cluster {holder.cluster_id!r} already"
            raise InvalidRequestError(message, param="volume_id")

    def _check_place(self, cluster_id: str, *, region: str) -> None:
        cluster = self._clusters.get(cluster_id)
        if cluster is None or cluster.is_gone(self.clock.now()) or cluster.wish.region != region:
            message = f"instance_cluster_id={cluster_id!r}: no such GPU cluster in region {region!r}"
            raise InvalidRequestError(message, param="instance_cluster_id")
