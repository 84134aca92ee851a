"""
Which cluster is the one of this owner: finding it, claiming it, and choosing between several.

The part of a create that keeps a second cluster from staying. Several tries of one owner may run at the same time, and
a list may lag; so nothing is given back for a cluster that was not seen alive just before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Alert, Ask, Flow, Note, Pause, Save
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.api.wording import duration
from airflow_provider_together.exceptions import NotFoundError, OutcomeUnknownError, TogetherError
from airflow_provider_together.lifecycle.looking import (
    LONGEST_LOOK,
    described,
    is_alive,
    look_longer,
    looks,
    require_readable,
)
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.owner import Identity, Memory, Record
from airflow_provider_together.lifecycle.reservation import reservation_of

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect

#: Seconds between learning of two clusters of one owner and choosing, so that all its tries have recorded theirs.
_SETTLING = 2.0
#: How often a create starts over when other tries give back what it has found.
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Adoption:
    """
    The search of one owner for its cluster.

    :param cluster_name: name that is looked for; of one that we made, the owner in it is all that counts.
    :param identity: how the cluster is recognised.
    :param memory: what all tries of the owner have recorded.
    :param visibility: seconds that a new cluster may take to show in the list.
    """

    dialect: Dialect
    cluster_name: str
    identity: Identity
    memory: Memory
    visibility: float = DEFAULT_VISIBILITY

    def recall(self) -> Flow[Record]:
        """Ask what is on record."""
        return (yield from Ask(self.memory.recall))

    def keep(self, message: str, cluster: Cluster) -> Flow[None]:
        """Say that a cluster is this owner's, and have it recorded."""
        yield from Save(partial(self.memory.keep, cluster), message)

    def find(self, *, heal: str | None = None) -> Flow[Cluster | None]:
        """
        Look for the live cluster that a create is about; give back what of ours has ended, failed or is one too many.

        A reservation is never given back before its time is over. One of this owner that has failed is returned if
        there is no other, so that the caller buys no second one.
        """
        clusters = yield from self.dialect.list_clusters()
        # What is on record is read after the list, which may show what another try has made and recorded since.
        record, now = (yield from self.recall()), (yield from Pause(0))
        usable, lost = [], []
        for cluster in clusters:
            parsed = ClusterName.parse(cluster.cluster_name)
            is_match = self.identity.matches(cluster, self.cluster_name)
            is_ours = is_match and self.identity.owns(cluster, record)
            is_healed = parsed is not None and parsed.deployment == heal
            if not cluster.phase.has_to_be_deleted:
                continue
            # Of a cluster of another owner only the answer tells; the name of a reservation ends with its paid time.
            paid = self.identity.keeps(cluster, record, now=now) if is_match else reservation_of(cluster)
            is_paid = paid is not None and paid.is_paid(now)
            if (is_ours or is_healed) and parsed is not None and parsed.is_over(now) and not is_paid:
                yield from self._give_back(cluster, why="its end of life has passed")
            elif is_ours and not cluster.phase.is_alive and is_paid:
                lost.append(cluster)
            elif is_ours and not cluster.phase.is_alive:
                yield from self._give_back(cluster, why="it has failed, and is replaced")
            elif is_match and cluster.phase.is_alive:
                usable.append(cluster)
        if len(usable) > 1 and self.identity.owner is not None:
            return (yield from self._choose())
        if not (usable or lost):
            require_readable(clusters, partial(self._may_be, record))
        return min(usable or lost, key=lambda cluster: _rank(cluster, record), default=None)

    def recorded(self, record: Record, *, visibility: float | None = None) -> Flow[Cluster | None]:
        """
        Ask for the recorded cluster by its id, since a list may miss one that lives.

        One that was recorded just now is asked for until it may be expected to be visible. One that has failed is given
        back; a reservation that has failed is returned.
        """
        if record.cluster_id is None:
            return None
        visible = self.visibility if visibility is None else visibility
        get = self.dialect.get_cluster(record.cluster_id)
        while True:
            try:
                cluster = yield from get
            except NotFoundError:
                now = yield from Pause(0)
                age = now - record.noted_at
                if not 0 <= age < visible:
                    return None
                yield from Pause(min(LONGEST_LOOK, visible - age))
                continue
            if cluster.phase.is_alive:
                return cluster
            if cluster.phase.has_to_be_deleted:
                if self.identity.keeps(cluster, record, now=(yield from Pause(0))) is not None:
                    return cluster
                yield from self._give_back(cluster, why="it has failed, and is replaced")
            return None

    def claim(self, made: Cluster, *, past_id: str | None) -> Flow[Cluster | None]:
        """
        Have the cluster that was just made recorded as the owner's, unless another try was faster.

        An earlier try that was cut off from Airflow may ask at the same time. Each recalls and looks after it has
        asked, so that at least the slower one learns of both clusters; and all go by what is on record in the end.

        :param past_id: cluster that was on record before, and is known not to live.
        :returns: the cluster that is kept; None if another try has given it back meanwhile.
        """
        rival = yield from self._rival(made, past_id)
        if rival is not None:
            return (yield from self._give_way(made, rival))
        yield from self.keep(f"Created {described(made)}.", made)
        if self.identity.owner is None:
            # Another cluster of the user's own name may be anybody's: only the record tells of another try.
            yield from Pause(_SETTLING)
            rival = yield from self._rival(made, past_id)
            return made if rival is None else (yield from self._give_way(made, rival))
        for pause in looks(self.visibility) if self.identity.is_retry else [0.0]:
            yield from Pause(pause)
            try:
                clusters = yield from self.dialect.list_clusters().once()
            except TogetherError as error:
                yield Note(f"{error} Whether this task has a second cluster is left to later looks.")
                continue
            alive = [c for c in clusters if c.phase.is_alive and self.identity.matches(c, self.cluster_name)]
            if any(c.cluster_id != made.cluster_id for c in alive):
                return (yield from self._choose(made))
        return made

    def look_for_effect(self, error: OutcomeUnknownError) -> Flow[Cluster]:
        """Look for the cluster of a POST whose answer was lost, for as long as a list may lag."""
        yield Note(f"{error} Looking for it for {duration(self.visibility)}.")
        try:
            found = yield from look_longer(self.find, self.visibility)
        except TogetherError as failed:
            # Ending with that would look like an error after which asking again is safe.
            message = f"{error} Looking for its effect failed: {failed} A retry of the task looks before it asks again."
            raise OutcomeUnknownError(message) from failed
        if found is not None:
            return found
        message = (
            f"{error} No cluster named {self.cluster_name!r} has shown up within {duration(self.visibility)}; "
            "a retry of the task looks again before it asks again."
        )
        raise OutcomeUnknownError(message) from error

    def _rival(self, made: Cluster, past_id: str | None) -> Flow[Cluster | None]:
        """Return the live cluster that another try has on record instead of this one."""
        record = yield from self.recall()
        if record.cluster_id in {made.cluster_id, past_id}:
            return None
        rival = yield from self.recorded(record, visibility=0)
        return rival if rival is not None and rival.phase.is_alive else None

    def _give_way(self, made: Cluster, rival: Cluster) -> Flow[Cluster | None]:
        yield from self.keep(f"Another try of this task has made {described(rival)}.", rival)
        if not (yield from is_alive(self.dialect, rival)):
            return None
        yield from self._give_back_surplus(made, why="one is enough")
        return rival

    def _choose(self, made: Cluster | None = None) -> Flow[Cluster | None]:
        """
        Choose between clusters of tries that ran at the same time, as each would choose, and give back the rest.

        The one on record is kept, else the oldest; ties are broken by id. Nothing is given back for a cluster that was
        not seen alive just before.

        :param made: the cluster of this try, which a list may not show yet.
        """
        for _ in range(ROUNDS):
            yield from Pause(_SETTLING)  # for the others to have recorded theirs
            clusters = yield from self.dialect.list_clusters()
            record = yield from self.recall()
            alive = {
                c.cluster_id: c for c in clusters if c.phase.is_alive and self.identity.matches(c, self.cluster_name)
            }
            if made is not None and made.cluster_id not in alive and (yield from is_alive(self.dialect, made)):
                alive[made.cluster_id] = made
            if not alive:
                return None
            kept, *surplus = sorted(alive.values(), key=lambda cluster: _rank(cluster, record))
            if not (yield from is_alive(self.dialect, kept)):
                continue
            if record.cluster_id != kept.cluster_id:
                yield from self.keep(f"Of several clusters of this task {described(kept)} is kept.", kept)
            for cluster in surplus:
                why = f"its task has cluster {kept.cluster_id} already"
                yield from self._give_back_surplus(cluster, why=why)
            return kept
        return None

    def _give_back_surplus(self, cluster: Cluster, *, why: str) -> Flow[None]:
        """
        Ask for the deletion of a second cluster of one owner, unless it is a reservation.

        That one was bought twice by mistake, but deleting it would bring back no money, while a person may still use it
        or claim it back.
        """
        record, now = (yield from self.recall()), (yield from Pause(0))
        paid = self.identity.keeps(cluster, record, now=now)
        if paid is None:
            yield from self._give_back(cluster, why=why)
            return
        yield Alert(
            f"BOUGHT TWICE: {described(cluster)} is left alive although {why}: it is {paid}, and deleting it early is "
            "not refunded. Use it, or ask Together to take it back."
        )

    def _give_back(self, cluster: Cluster, *, why: str) -> Flow[None]:
        """Ask for the deletion of a cluster that is ours and one too many; a failure is told and left to the sweep."""
        yield Note(f"Deleting {described(cluster)}: {why}.")
        try:
            yield from self.dialect.delete_cluster(cluster.cluster_id).once()
        except NotFoundError:
            return
        except TogetherError as error:
            yield Note(f"{error} Cluster {cluster.cluster_id} is still billed; the next create or sweep tries again.")

    def _may_be(self, record: Record, other: str) -> bool:
        """
        Whether an entry that cannot be read may be the cluster that a create is about.

        One that has no name either can only be that of an owner who has asked for one and never learned what came of
        it.
        """
        return self.identity.matches_name(other, self.cluster_name) if other else record.has_open_request


def _rank(cluster: Cluster, record: Record) -> tuple[bool, float, str, str]:
    """Order the clusters of one owner: the one that counts comes first."""
    return (cluster.cluster_id != record.cluster_id, _created(cluster), cluster.cluster_name, cluster.cluster_id)


def _created(cluster: Cluster) -> float:
    return cluster.created_at.timestamp() if cluster.created_at is not None else float("inf")
