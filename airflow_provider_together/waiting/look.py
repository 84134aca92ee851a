"""Looking at a cluster until there is a verdict: the flows of a single waiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.ready import ReadyWait

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect


def wait_until_ready(dialect: Dialect, wait: ReadyWait) -> Flow[Look]:
    """Look at a cluster until there is a verdict; the pace and the verdict are the wait's."""
    while True:
        look = yield from poll_once(dialect, wait)
        if look.is_over:
            return look
        yield from Pause(look.delay)


def look_once(dialect: Dialect, wait: ReadyWait) -> Flow[Look]:
    """
    Look at a cluster for somebody who comes again by himself.

    Only an absence is settled at once, which takes up to
    :data:`~airflow_provider_together.waiting.patience.ABSENCE_SECONDS`: a caller that is a new process each time could
    not tell how long it has lasted.
    """
    look = yield from poll_once(dialect, wait)
    while wait.is_absence_open and not look.is_over:
        yield from Pause(look.delay)
        look = yield from poll_once(dialect, wait)
    return look


def poll_once(dialect: Dialect, wait: ReadyWait | GoneWait) -> Flow[Look]:
    """Look at a cluster, and tell what is new."""
    get = dialect.get_cluster(wait.cluster_id).once()
    try:
        cluster = yield from get
    except TogetherError as error:
        look = wait.on_error(error, now=(yield from Pause(0)))
    else:
        look = wait.on_cluster(cluster, now=(yield from Pause(0)))
    if look.news:
        yield Note(look.news)
    return look
