"""
What is paid for whether or not it is used: from when, until when, and whether a cluster is such a reservation.

Together does not refund a RESERVED or SCHEDULED_CAPACITY cluster that is deleted early, so every clean-up asks here
before it deletes. One of the two APIs says in no answer how a cluster is billed: there the owner's record and the
name, whose END is the end of the paid time, say so. All times are epoch seconds. It imports models and names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_together.lifecycle.name import ClusterName

if TYPE_CHECKING:
    from airflow_provider_together.api.models import Cluster

#: Billing types that are paid for to the end of their time, used or not.
PREPAID = frozenset({"RESERVED", "SCHEDULED_CAPACITY"})
#: Billing types that end with the cluster. A word in neither set says nothing.
_PAY_AS_YOU_GO = frozenset({"ON_DEMAND"})
_SECONDS_PER_DAY, _SECONDS_PER_HOUR = 86400.0, 3600.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    Capacity that is paid for.

    :param billing_type: ``RESERVED`` or ``SCHEDULED_CAPACITY``.
    :param starts: when the capacity starts; None if at once, or not known.
    :param ends: until when it is paid for; None if not known.
    """

    billing_type: str
    starts: float | None = None
    ends: float | None = None

    @classmethod
    def asked_for(cls, values: Mapping[str, Any], *, now: float) -> Self | None:
        """
        Return what a create asks for; None if it pays as it goes.

        :param values: fields of a :class:`~airflow_provider_together.api.specs.ClusterSpec`, as a DAG writes them;
            what is missing or cannot be read is left to the spec's own check.
        :param now: when the cluster is made.
        """
        billing_type = values.get("billing_type")
        if billing_type not in PREPAID:
            return None
        starts, ends = (_moment(values.get(f"reservation_{edge}_time")) for edge in ("start", "end"))
        days = values.get("duration_days")
        if ends is None and days is not None:
            try:
                ends = max(now, starts or now) + int(days) * _SECONDS_PER_DAY
            except (TypeError, ValueError):
                ends = None
        return cls(str(billing_type), starts, ends)

    def is_paid(self, now: float) -> bool:
        """Whether its time is not over yet; in doubt it is not, since an early deletion is not refunded."""
        return self.ends is None or now < self.ends

    def wait_begins(self, now: float) -> float:
        """Return when the time of a wait for READY begins to count: when the capacity starts."""
        return now if self.starts is None else max(now, self.starts)

    def __str__(self) -> str:
        until = "an unknown time" if self.ends is None else when(self.ends)
        start = "" if self.starts is None else f"starts at {when(self.starts)}, "
        return f"{self.billing_type}, {start}paid until {until}"


def reservation_of(cluster: Cluster, known: Reservation | None = None) -> Reservation | None:
    """
    Return the reservation that a cluster is; None if it pays as it goes, or if nothing says that it does not.

    :param known: what its owner asked for; the answer's own words go before it.
    """
    billing_type = cluster.billing_type
    if billing_type not in PREPAID:
        if known is None or billing_type in _PAY_AS_YOU_GO:
            return None
        billing_type = known.billing_type
    starts = _epoch(cluster.reservation_start_time)
    if starts is None and known is not None:
        starts = known.starts
    ends = _epoch(cluster.reservation_end_time)
    if ends is None:
        ends = max(_ends(cluster, known, starts), default=None)
    return Reservation(billing_type, starts, ends)


def _ends(cluster: Cluster, known: Reservation | None, starts: float | None) -> list[float]:
    """Return when its paid time ends by each of the sources that tell."""
    name, created, hours = ClusterName.parse(cluster.cluster_name), _epoch(cluster.created_at), cluster.duration_hours
    return [
        *([] if known is None or known.ends is None else [known.ends]),
        *([] if name is None or name.end_of_life is None else [name.end_of_life.timestamp()]),
        *([] if created is None or hours is None else [max(created, starts or 0.0) + hours * _SECONDS_PER_HOUR]),
    ]


def when(moment: float) -> str:
    """Return a moment for people, in UTC to the minute."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(value: Any) -> float | None:
    """Read a time as a DAG writes it: a datetime or text with a time zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return value.timestamp() if isinstance(value, datetime) and value.tzinfo is not None else None
