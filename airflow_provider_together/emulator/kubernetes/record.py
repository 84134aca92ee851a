"""
What is remembered of a cluster, also when it is gone: its requests, the failures that are to come, its tokens.

It imports nothing of ours. Each change is a single step of a list, so that any thread may look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_STATUSES = range(400, 600)


@dataclass(frozen=True, kw_only=True)
class KubernetesRequest:
    """
    A request to the Kubernetes API, without its body and its token.

    :param path: without the prefix of the cluster.
    :param status: what it was answered with; 101 for a WebSocket; None while it is not answered.
    """

    method: str
    path: str
    query: str
    user_agent: str
    status: int | None = None


@dataclass(kw_only=True)
class Failure:
    """
    An answer that some requests get whatever they ask.

    :param path_contains: only requests whose path contains this.
    :param method: only requests of this method; None for all.
    :raises ValueError: naming what is wrong.
    """

    status: int
    times: int
    path_contains: str
    method: str | None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES or self.times < 1:
            given = f"status={self.status!r}, times={self.times!r}"
            message = f"{given} is wrong: give a status from 400 to 599, and at least once"
            raise ValueError(message)


class ClusterRecord:
    """What is remembered of a cluster, also when it is gone."""

    def __init__(self) -> None:
        self.rotations = 0
        #: Those that are to come, the first one first.
        self.failures: list[Failure] = []
        #: In the order of their arrival.
        self.requests: list[KubernetesRequest] = []

    def begin(self, request: KubernetesRequest) -> int:
        """Record the arrival of a request; the result is its number, for :meth:`end`."""
        self.requests.append(request)
        return len(self.requests) - 1

    def end(self, number: int, status: int) -> None:
        """Record what a request is answered with."""
        self.requests[number] = replace(self.requests[number], status=status)

    def failure_for(self, method: str, path: str) -> int | None:
        """Return the status that a request is to get, and count it down."""
        for failure in self.failures:
            if failure.path_contains in path and failure.method in (None, method):
                failure.times -= 1
                if not failure.times:
                    self.failures.remove(failure)
                return failure.status
        return None
