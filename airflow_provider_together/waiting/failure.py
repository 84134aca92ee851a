"""The error for a wait that did not end well."""

from __future__ import annotations

from airflow_provider_together.exceptions import (
    ClusterFailedError,
    ClusterGoneError,
    PermanentError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.waiting.verdict import Verdict


def failure_of(cluster_id: str, verdict: Verdict, word: str, *, fate: str = "", error: str = "") -> TogetherError:
    """
    Return the error for a wait that did not end well.

    :param word: the raw status word that the verdict rests on.
    :param fate: a sentence on the fate of the cluster.
    :param error: what Together answered last instead of doing what was asked for.
    """
    status = f" (status {word})" if word else ""
    unknown = (
        f"Together does not know cluster {cluster_id}: it is gone, or that is not its id, or the connection is not "
        "that of its project."
    )
    gone = f"Cluster {cluster_id} is deleted or being deleted{status}." if word else unknown
    sentences: dict[Verdict, tuple[type[TogetherError], str]] = {
        Verdict.FAILED: (ClusterFailedError, f"Cluster {cluster_id} will not become READY{status}."),
        Verdict.GONE: (ClusterGoneError, gone),
        Verdict.REFUSED: (
            PermanentError,
            f"Together keeps refusing requests about cluster {cluster_id}{status}.",
        ),
        Verdict.TIMED_OUT: (WaitTimeoutError, f"The time for cluster {cluster_id} is over{status}."),
    }
    kind, sentence = sentences[verdict]
    return kind(" ".join(filter(None, (sentence, fate, error))))
