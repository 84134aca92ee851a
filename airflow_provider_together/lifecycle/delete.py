"""
Delete a cluster, and prove that it is gone.

A refusal, a fault or a stray 404 ends nothing: a cluster that was not proven to be gone costs money.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.exceptions import NotFoundError, TogetherError
from airflow_provider_together.waiting.gone import GoneWait, ask_again
from airflow_provider_together.waiting.look import poll_once
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect


def delete_and_prove(dialect: Dialect, wait: GoneWait) -> Flow[Look]:
    """
    Delete a cluster and wait until neither Get nor List shows it.

    :returns: GONE, TIMED_OUT or REFUSED.
    """
    look = yield from request_deletion(dialect, wait)
    return look if look is not None else (yield from prove_gone(dialect, wait))


def request_deletion(dialect: Dialect, wait: GoneWait) -> Flow[Look | None]:
    """
    Ask for the deletion of a cluster until Together accepts it, or knows no such cluster.

    Refusals and faults are met with patience until the wait's deadline, since the cluster costs money as long as
    it lives.

    :returns: None, or TIMED_OUT or REFUSED if it did not get through.
    """
    while True:
        look = yield from request_deletion_once(dialect, wait)
        if look is None or look.is_over:
            return look
        yield from Pause(look.delay)


def request_deletion_once(dialect: Dialect, wait: GoneWait) -> Flow[Look | None]:
    """
    Ask once for the deletion of a cluster.

    :returns: None if Together accepts it, or knows no such cluster; else what to do next.
    """
    delete = dialect.delete_cluster(wait.cluster_id).once()
    try:
        yield from delete
    except NotFoundError:
        yield Note(f"Together knows no cluster {wait.cluster_id}; making sure.")
        return None
    except TogetherError as error:
        look = wait.on_error(error, now=(yield from Pause(0)))
        if look.news:
            yield Note(look.news)
        return look
    wait.accept()
    yield Note(f"Deletion of cluster {wait.cluster_id} was requested; waiting until it is gone.")
    return None


def prove_gone(dialect: Dialect, wait: GoneWait) -> Flow[Look]:
    """
    Wait until neither Get nor List shows a cluster whose deletion was requested.

    It is asked again if it goes on living: a 404 to the request may have been a stray one.
    """
    while True:
        look = yield from poll_once(dialect, wait)
        if look.is_unheard:
            yield from ask_again(dialect, wait)
        if look.verdict is Verdict.GONE:
            try:
                clusters = yield from dialect.list_clusters().once()
            except NotFoundError:  # no list at all, which proves nothing
                look = wait.on_listed(now=(yield from Pause(0)))
            except TogetherError as error:
                look = wait.on_error(error, now=(yield from Pause(0)))
            else:
                is_hidden = bool(wait.cluster_name) and wait.cluster_name in clusters.unreadable
                if not is_hidden and all(cluster.cluster_id != wait.cluster_id for cluster in clusters):
                    return look
                look = wait.on_listed(now=(yield from Pause(0)))
        if look.is_over:
            return look
        yield from Pause(look.delay)
