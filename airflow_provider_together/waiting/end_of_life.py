"""Warning the waiters for a cluster, and the tasks that use it, that the end of its life is near."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.wording import duration
from airflow_provider_together.lifecycle.name import ClusterName

#: From this many seconds before a cluster's end of life on, its waiters and users are warned.
NEAR_END_SECONDS = 3600.0


def end_of_life_warning(cluster: Cluster, *, now: float) -> str:
    """
    Return a sentence for those who use a cluster whose end of life is near or has passed, else an empty one.

    :param now: epoch seconds.
    """
    return end_warning(cluster.cluster_id, end_of_life(cluster.cluster_name), now)


def end_of_life(cluster_name: str) -> float:
    """Return the end of life that a name tells, in epoch seconds; infinity if it tells none."""
    name = ClusterName.parse(cluster_name)
    return math.inf if name is None or name.end_of_life is None else name.end_of_life.timestamp()


def end_warning(cluster_id: str, end: float, now: float) -> str:
    """Return that sentence for an end of life; an empty one as long as it is not near."""
    if now < end - NEAR_END_SECONDS:
        return ""
    left = end - now
    when = f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"
    return (
        f"The life of cluster {cluster_id} {'ends' if left > 0 else 'ended'} {when} "
        f"({datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC): from then on the next create or sweep deletes it. "
        "Give the next one a longer max_lifetime"
    )
