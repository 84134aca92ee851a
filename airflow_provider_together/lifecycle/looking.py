"""
Looking for what was made, where a list may lag and an entry may be unreadable.

Nothing here changes anything: what is done about what was seen stands in the modules beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_together.api.backoff import doubled
from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.api.models import Cluster, Listing
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.api.wording import duration
from airflow_provider_together.exceptions import MalformedAnswerError, NotFoundError, TogetherError
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.owner import Record

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect


T = TypeVar("T")
_FIRST_LOOK = 1.0
LONGEST_LOOK = 15.0


def require_readable(listing: Listing[Any], may_be: Callable[[str], bool]) -> None:
    """
    Refuse to conclude from a list that something is not there, if an entry that cannot be read may be it.

    :param may_be: whether an entry of that name may be it; the name is empty if the entry has none.
    :raises MalformedAnswerError: if one may.
    """
    for name in listing.unreadable:
        if may_be(name):
            message = (
                f"an entry of Together's list, named {name!r}, has no id, so that nobody can tell what it is: "
                "nothing is concluded from that list"
            )
            raise MalformedAnswerError(message)


def is_alive(dialect: Dialect, cluster: Cluster) -> Flow[bool]:
    """Whether a cluster that was seen still lives; in doubt it does."""
    try:
        now = yield from dialect.get_cluster(cluster.cluster_id).once()
    except NotFoundError:
        return False
    except TogetherError:
        return True
    return now.phase.is_alive


def look_longer(look: Callable[[], Flow[T | None]], seconds: float) -> Flow[T | None]:
    """
    Look again and again for something that was asked for, for as long as a list may lag.

    :raises TogetherError: if the last look failed: then nobody knows.
    """
    failure: TogetherError | None = None
    for pause in looks(seconds):
        yield from Pause(pause)
        try:
            found = yield from look()
        except TogetherError as error:
            failure = error
            yield Note(f"{error} Looking again.")
            continue
        failure = None
        if found is not None:
            return found
    if failure is not None:
        raise failure
    return None


def looks(seconds: float) -> list[float]:
    """Return the pauses between looks, in seconds, that add up to the given time."""
    pauses: list[float] = []
    while (left := seconds - sum(pauses)) > 0:
        pauses.append(min(doubled(_FIRST_LOOK, attempt=len(pauses) + 1, longest=LONGEST_LOOK), left))
    return pauses


def find_by_name(dialect: Dialect, cluster_name: str) -> Flow[list[Cluster]]:
    """Return all clusters of exactly this name, whatever their state."""
    clusters = yield from dialect.list_clusters()
    require_readable(clusters, lambda other: other == cluster_name)
    return [cluster for cluster in clusters if cluster.cluster_name == cluster_name]


def find_of_owner(
    dialect: Dialect, owner: Owner, record: Record, *, visibility: float = DEFAULT_VISIBILITY
) -> Flow[list[Cluster]]:
    """
    Return all clusters that an owner has made, whatever their state.

    The recorded one is among them even if the list does not show it. If the owner never learned what came of its
    request, its effect is looked for.

    :param visibility: seconds that a new cluster may take to show in the list.
    """

    def find() -> Flow[list[Cluster] | None]:
        clusters = yield from dialect.list_clusters()
        found = [c for c in clusters if _is_of(c.cluster_name, owner) or record.proves(c)]
        if not found:
            require_readable(clusters, lambda other: _is_of(other, owner) if other else record.has_open_request)
        return found or None

    made = yield from find()
    if made is None and record.has_open_request:
        yield Note(f"A cluster may have been asked for. Looking for it for {duration(visibility)}.")
        made = yield from look_longer(find, visibility)
    made = made or []
    if record.cluster_id and all(cluster.cluster_id != record.cluster_id for cluster in made):
        made.append(Cluster(cluster_id=record.cluster_id, cluster_name=record.cluster_name or ""))
    return made


def _is_of(cluster_name: str, owner: Owner) -> bool:
    name = ClusterName.parse(cluster_name)
    return name is not None and name.is_of(owner)


def described(cluster: Cluster) -> str:
    """Return how notes and errors speak of a cluster."""
    return f"cluster {cluster.cluster_name!r} ({cluster.cluster_id}, {cluster.status or 'status unknown'})"
