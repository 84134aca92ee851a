"""
How a create knows which cluster it is about, and what its owner remembers.

Values only, and what a memory has to offer. Neither API has idempotency keys, labels or unique names, so that a name,
and what the owner has recorded, are all there is to go by. Several tries of one owner may run at the same time: what
is recorded is shared by them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of


@dataclass(frozen=True, slots=True)
class Record:
    """
    What an owner has recorded of its cluster; all its tries share it.

    A request that was begun does not replace what is known of an earlier one: the tries of an owner may run at the
    same time, and a cluster that one of them has made must not be forgotten because another one begins.

    :param cluster_name: name that was asked for last.
    :param cluster_id: cluster that was made, or adopted as this owner's, last; None as long as nobody knows one.
    :param noted_at: when that id was recorded, in epoch seconds.
    :param has_open_request: whether a try asked for a cluster and never learned what came of it.
    :param billing_type: of a cluster that is paid for to the end of its time; empty for one that pays as it goes.
    :param starts: see :class:`~airflow_provider_together.lifecycle.reservation.Reservation`.
    :param ends: the same.
    """

    cluster_name: str | None = None
    cluster_id: str | None = None
    noted_at: float = 0.0
    has_open_request: bool = False
    billing_type: str = ""
    starts: float | None = None
    ends: float | None = None

    @property
    def reservation(self) -> Reservation | None:
        """What was paid for, if it was."""
        return Reservation(self.billing_type, self.starts, self.ends) if self.billing_type else None

    def paid_by(self, reservation: Reservation | None) -> Record:
        """Return the record of a cluster that is this reservation, or none."""
        paid = Reservation("") if reservation is None else reservation
        return replace(self, billing_type=paid.billing_type, starts=paid.starts, ends=paid.ends)

    def begun(self, cluster_name: str, reservation: Reservation | None) -> Record:
        """Return what is on record once a cluster is about to be asked for; a reservation is paid from then on."""
        return replace(self, cluster_name=cluster_name, has_open_request=True).paid_by(reservation)

    def withdrawn(self) -> Record:
        """Return what is on record once that request was refused: nothing was made."""
        return replace(self, has_open_request=False)

    def kept(self, cluster: Cluster, *, now: float) -> Record:
        """
        Return what is on record once a cluster is known to be this owner's.

        :param now: epoch seconds.
        """
        made = Record(cluster.cluster_name, cluster.cluster_id, now)
        return made.paid_by(reservation_of(cluster, self.reservation))

    def proves(self, cluster: Cluster) -> bool:
        """Whether the owner has a record of having made the cluster."""
        is_asked_for = self.has_open_request and cluster.cluster_name == self.cluster_name
        return is_asked_for or cluster.cluster_id == self.cluster_id


class Memory(Protocol):
    """
    What an owner remembers of its cluster: "never a second one" rests on it.

    All tries of the owner share it, also those that run at the same time.
    """

    def recall(self) -> Record:
        """Return what any try has recorded by now."""

    def begin(self, cluster_name: str, reservation: Reservation | None) -> None:
        """Record that a cluster of this name is about to be asked for."""

    def withdraw(self) -> None:
        """Record that the last request was refused: the cluster was not made."""

    def keep(self, cluster: Cluster) -> None:
        """Record that this cluster exists and is the owner's, before anything else can fail."""


@dataclass(frozen=True, slots=True)
class Creation:
    """
    How a create ended.

    :param cluster: the cluster.
    :param is_ours: whether this owner made it; False for somebody else's that the user said to adopt.
    """

    cluster: Cluster
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """
    How a cluster is recognised as the one that a create is about.

    :param owner: for a name that we made: the task instance in it. None for a name of the user's own.
    :param is_retry: whether an earlier try may still run, cut off from Airflow.
    :param reservation: what this create asks for, if it is paid for whether or not it is used.
    :param deletes_reserved: whether the user said that a reservation may be deleted before its time is over.
    """

    owner: Owner | None = None
    is_retry: bool = False
    reservation: Reservation | None = None
    deletes_reserved: bool = False

    def keeps(self, cluster: Cluster, record: Record, *, now: float) -> Reservation | None:
        """Return the reservation that a cluster of this owner is, if it must not be deleted yet."""
        paid = reservation_of(cluster, record.reservation or self.reservation)
        return paid if paid is not None and paid.is_paid(now) and not self.deletes_reserved else None

    def matches(self, cluster: Cluster, cluster_name: str) -> bool:
        """
        Whether the cluster is of the name that is looked for.

        :param cluster_name: that name; of one that we made, the owner in it is all that counts.
        """
        return self.matches_name(cluster.cluster_name, cluster_name)

    def matches_name(self, name: str, cluster_name: str) -> bool:
        """Whether that is the name of a cluster that matches; see :meth:`matches`."""
        if self.owner is None:
            return name == cluster_name
        parsed = ClusterName.parse(name)
        return parsed is not None and parsed.is_of(self.owner)

    def owns(self, cluster: Cluster, record: Record) -> bool:
        """Whether there is proof that this owner made a cluster that matches."""
        return self.owner is not None or record.proves(cluster)
