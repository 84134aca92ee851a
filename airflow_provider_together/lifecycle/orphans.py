"""
The sweep: what was forgotten goes, everything else stays.

It judges by Together's list and by names, not by anybody's memory. A cluster goes if its name is of this
deployment and either its end of life has passed or its owner is over by Airflow's own word; in doubt it stays.
Airflow is asked through a function that is given, so that this module imports nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Ask, Flow, Note, Pause
from airflow_provider_together.api.wording import duration
from airflow_provider_together.lifecycle.delete import prove_gone, request_deletion, request_deletion_once
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect
    from airflow_provider_together.api.models import Cluster


class Fate(StrEnum):
    """What becomes of a cluster."""

    SPARED = "spared"
    FORGOTTEN = "forgotten"
    DELETED = "deleted"
    STUCK = "not deleted"


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What Airflow says of the owner in a name.

    :param why: in words, after "its owner": ``DAG run x of DAG y is running``.
    :param is_over: whether it is certain that nobody needs the cluster any more.
    :param recorded_id: the cluster that the owner has on record.
    :param reservation: what the owner paid for, if it was a reservation.
    :param deletes_reserved: whether the owner said that it may be deleted before its time is over.
    """

    why: str
    is_over: bool = False
    recorded_id: str | None = None
    reservation: Reservation | None = None
    deletes_reserved: bool = False


#: Tells how the owner in a name stands; None if nothing is known of it.
StandingOf = Callable[[ClusterName], Standing | None]


@dataclass(frozen=True, slots=True)
class Unreadable(Note):
    """
    Together's list has an entry without an id.

    :param name: what it is named; empty if it has no name either.
    """

    name: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One cluster, its fate and the reason.

    :param name: its name taken apart, if it is one of ours.
    """

    cluster: Cluster
    fate: Fate
    why: str
    name: ClusterName | None = None

    @property
    def num_gpus(self) -> int:
        """How many GPUs it has, by the answer of Together; 0 if that does not tell."""
        return self.cluster.num_gpus or 0


def sweep(  # noqa: PLR0913 - each is a setting of its own
    dialect: Dialect,
    standing_of: StandingOf,
    *,
    deployment: str | None,
    delete: bool,
    timeout: float,
    poll_interval: float,
    delete_reserved: bool = False,
) -> Flow[list[Finding]]:
    """
    Judge every cluster that there is, and delete the forgotten ones.

    :param standing_of: asks Airflow; in doubt a cluster stays.
    :param deployment: id of this Airflow; None if it has none yet, so that only its own entries prove a name.
    :param delete: whether to delete; otherwise the forgotten are only named.
    :param timeout: seconds that all deletions together may take until they are proven.
    :param poll_interval: seconds between two looks at what was deleted.
    :param delete_reserved: whether forgotten reservations go as well before their paid time is over.
    :returns: a finding for each cluster that does not end anyway, in the order of Together's list.
    """
    clusters = yield from dialect.list_clusters()
    for name in clusters.unreadable:
        yield Unreadable(f"An entry of Together's list, named {name!r}, has no id, so that it cannot be judged.", name)
    present = [cluster for cluster in clusters if cluster.phase.has_to_be_deleted]

    def judge(cluster: Cluster) -> Flow[Finding]:
        return _judge(cluster, present, standing_of, deployment, delete_reserved=delete_reserved)

    findings = yield from _one_by_one([judge(cluster) for cluster in present])
    if not delete:
        return findings
    now = yield from Pause(0)
    waits = [
        GoneWait(cluster.cluster_id, started=now, deadline=now + timeout, poll_interval=poll_interval)
        for cluster in present
    ]
    # All are asked to go before the first is waited for, and before one that is refused is asked again: each of them
    # costs money.
    steps = [
        _ask_to_go(dialect, finding, wait, judge(finding.cluster))
        for finding, wait in zip(findings, waits, strict=True)
    ]
    findings = yield from _one_by_one(steps)
    findings = yield from _one_by_one(
        [_ask_again(dialect, finding, wait) for finding, wait in zip(findings, waits, strict=True)]
    )
    return (
        yield from _one_by_one([_prove(dialect, finding, wait) for finding, wait in zip(findings, waits, strict=True)])
    )


def _one_by_one(flows: Sequence[Flow[Finding]]) -> Flow[list[Finding]]:
    findings = []
    for flow in flows:
        finding = yield from flow
        findings.append(finding)
    return findings


def _judge(
    cluster: Cluster,
    present: Sequence[Cluster],
    standing_of: StandingOf,
    deployment: str | None,
    *,
    delete_reserved: bool,
) -> Flow[Finding]:
    name = ClusterName.parse(cluster.cluster_name)
    if name is None:
        return Finding(cluster, Fate.SPARED, "its name is not one that an Airflow has made")
    standing = yield from Ask(partial(standing_of, name))
    if name.deployment != deployment and standing is None:
        return Finding(cluster, Fate.SPARED, f"it is of deployment {name.deployment!r}", name)
    now = yield from Pause(0)
    reason = _reason_to_go(cluster, name, standing, present, now)
    paid = reservation_of(cluster, None if standing is None else standing.reservation)
    may_go = delete_reserved or (standing is not None and standing.deletes_reserved)
    if reason and paid is not None and paid.is_paid(now) and not may_go:
        return Finding(cluster, Fate.SPARED, f"{reason}, but it is {paid}", name)
    if reason:
        return Finding(cluster, Fate.FORGOTTEN, reason, name)
    why = "nobody knows its owner" if standing is None else standing.why
    return Finding(cluster, Fate.SPARED, f"{why}; {_until(name)}", name)


def _reason_to_go(
    cluster: Cluster, name: ClusterName, standing: Standing | None, present: Sequence[Cluster], now: float
) -> str:
    """Return why a cluster of ours is forgotten; an empty text if it is not, or nobody knows."""
    if name.end_of_life is not None and name.is_over(now):
        return f"its life ended {duration(now - name.end_of_life.timestamp())} ago"
    if standing is None:
        return ""
    if standing.is_over:
        return standing.why
    others = {other.cluster_id for other in present if other.phase.is_alive and other is not cluster}
    if standing.recorded_id in others:
        return f"its task works with cluster {standing.recorded_id}"
    return ""


def _ask_to_go(dialect: Dialect, finding: Finding, wait: GoneWait, judgement: Flow[Finding]) -> Flow[Finding]:
    """Ask once more whether it is forgotten, since a user may have cleared its task meanwhile, and delete it."""
    if finding.fate is not Fate.FORGOTTEN:
        return finding
    finding = yield from judgement
    if finding.fate is not Fate.FORGOTTEN:
        return finding
    yield Note(f"Deleting cluster {finding.cluster.cluster_name!r} ({finding.cluster.cluster_id}): {finding.why}.")
    yield from request_deletion_once(dialect, wait)
    return finding


def _ask_again(dialect: Dialect, finding: Finding, wait: GoneWait) -> Flow[Finding]:
    """Ask once more, and again and again, for what Together has not accepted."""
    if finding.fate is not Fate.FORGOTTEN or wait.is_accepted:
        return finding
    look = yield from request_deletion(dialect, wait)
    if look is None:
        return finding
    return replace(finding, fate=Fate.STUCK, why=f"{finding.why}, but it cannot be deleted: {_outcome(look)}")


def _prove(dialect: Dialect, finding: Finding, wait: GoneWait) -> Flow[Finding]:
    if finding.fate is not Fate.FORGOTTEN:
        return finding
    look = yield from prove_gone(dialect, wait)
    if look.verdict is Verdict.GONE:
        return replace(finding, fate=Fate.DELETED)
    return replace(finding, fate=Fate.STUCK, why=f"{finding.why}, but it is not gone: {_outcome(look)}")


def _outcome(look: Look) -> str:
    return f"{look.verdict.value}; {look.error}" if look.error else look.verdict.value


def _until(name: ClusterName) -> str:
    if name.end_of_life is None:
        return "it has no end of life"
    return f"its life ends {name.end_of_life:%Y-%m-%d %H:%M} UTC"
