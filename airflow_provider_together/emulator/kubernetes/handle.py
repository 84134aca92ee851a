"""
The Python side of one emulated Kubernetes cluster: looking into it, and letting things go wrong.

Safe to use from any thread: what it does is done on the loop of the API server. Views are values of the moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.objects import Object, clone, find, has_condition, meta
from airflow_provider_together.emulator.kubernetes.supervision import marked_processes

#: Does something with a cluster that is up, on its loop; None where it is not up.
Ask = Callable[[str, Callable[[KubernetesCluster | None], Any]], Any]

_STATUSES = range(400, 600)
#: So many requests are remembered, the latest ones.
_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True)
class PodView:
    """
    A pod at one moment.

    :param reason: why its phase is what it is, where Kubernetes says it; else that of its first container that waits
        or has failed.
    :param manifest: all of it.
    """

    name: str
    namespace: str
    phase: str
    reason: str
    node: str
    address: str
    labels: dict[str, str]
    annotations: dict[str, str]
    manifest: Object


@dataclass(frozen=True, kw_only=True)
class JobView:
    """
    A Job at one moment.

    :param state: ``Running``, ``Suspended``, ``Complete`` or ``Failed``.
    :param reason: that of its last condition.
    :param manifest: all of it.
    """

    name: str
    namespace: str
    state: str
    reason: str
    active: int
    succeeded: int
    failed: int
    manifest: Object


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
    """An answer that some requests get whatever they ask."""

    status: int
    times: int
    path_contains: str
    method: str | None


class ClusterRecord:
    """What is remembered of a cluster, also when it is gone."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.rotations = 0
        self._requests: dict[int, KubernetesRequest] = {}
        self._numbers = itertools.count()

    @property
    def requests(self) -> list[KubernetesRequest]:
        """The latest requests, in the order of their arrival."""
        return list(self._requests.values())

    def begin(self, request: KubernetesRequest) -> int:
        """Record the arrival of a request; the result is its number, for :meth:`end`."""
        number = next(self._numbers)
        self._requests[number] = request
        self._requests.pop(number - _REMEMBERED, None)
        return number

    def end(self, number: int, status: int) -> None:
        """Record what a request is answered with."""
        if number in self._requests:
            self._requests[number] = replace(self._requests[number], status=status)

    def failure_for(self, method: str, path: str) -> int | None:
        """Return the status that a request is to get, and count it down."""
        for failure in self.failures:
            if failure.path_contains in path and failure.method in (None, method):
                failure.times -= 1
                if not failure.times:
                    self.failures.remove(failure)
                return failure.status
        return None


class KubernetesHandle:
    """
    One emulated Kubernetes cluster, for its owner. A cluster that is not up has no pods, Jobs and processes.

    :param mark: of its processes.
    """

    def __init__(self, cluster_id: str, record: ClusterRecord, *, ask: Ask, mark: str) -> None:
        self.cluster_id = cluster_id
        self._record = record
        self._ask = ask
        self._mark = mark

    def pods(self, namespace: str | None = None) -> list[PodView]:
        """Return the pods, oldest first, of one namespace or of all."""
        return [_view_pod(pod) for pod in self.objects("pods", namespace)]

    def jobs(self, namespace: str | None = None) -> list[JobView]:
        """Return the Jobs, oldest first, of one namespace or of all."""
        return [_view_job(job) for job in self.objects("jobs", namespace)]

    def objects(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return all objects of a kind, such as ``services``."""

        def copies(cluster: KubernetesCluster | None) -> list[Object]:
            return [] if cluster is None else [clone(thing) for thing in cluster.store.all(plural, namespace)]

        found: list[Object] = self._ask(self.cluster_id, copies)
        return found

    def evict(self, pod: str, namespace: str = "default") -> None:
        """
        Let a pod be evicted by its kubelet for want of memory.

        :raises ApiError: 404 if there is no such pod.
        :raises RuntimeError: if the cluster is not up.
        """
        self._do(lambda cluster: cluster.evict(cluster.store.get("pods", namespace, pod)))

    def lose_node(self, name: str) -> None:
        """
        Let a node fall silent, and its pods be lost with it.

        :raises ApiError: 404 if there is no such node.
        :raises RuntimeError: if the cluster is not up.
        """
        self._do(lambda cluster: cluster.lose_node(name))

    @property
    def requests(self) -> list[KubernetesRequest]:
        """The requests so far, in the order of their arrival."""
        return self._record.requests

    def rotate_token(self) -> None:
        """Make the present token worthless; the cluster's kubeconfig has the new one from now on."""
        self._record.rotations += 1

    def fail_next(self, status: int, times: int = 1, path_contains: str = "", *, method: str | None = None) -> None:
        """
        Answer the next requests with a status of failure; nothing of what they ask is done.

        :param path_contains: only requests whose path contains this.
        :param method: only requests of this method; None for all.
        :raises ValueError: naming what is wrong.
        """
        if status not in _STATUSES or times < 1:
            message = f"status={status!r}, times={times!r} is wrong: give a status from 400 to 599, and at least once"
            raise ValueError(message)
        failure = Failure(status=status, times=times, path_contains=path_contains, method=method)
        self._record.failures.append(failure)

    def processes(self) -> list[int]:
        """Return the ids of the processes of its pods that are alive."""
        return marked_processes(self._mark)

    def _do(self, command: Callable[[KubernetesCluster], None]) -> None:
        def run(cluster: KubernetesCluster | None) -> None:
            if cluster is None:
                message = f"cluster_id={self.cluster_id!r}: its Kubernetes API is not up: it is not READY, or gone"
                raise RuntimeError(message)
            command(cluster)

        self._ask(self.cluster_id, run)


def _view_pod(pod: Object) -> PodView:
    return PodView(
        name=meta(pod)["name"],
        namespace=meta(pod)["namespace"],
        phase=str(find(pod, "status.phase")),
        reason=_pod_reason(pod),
        node=find(pod, "spec.nodeName") or "",
        address=find(pod, "status.podIP") or "",
        labels=dict(meta(pod).get("labels") or {}),
        annotations=dict(meta(pod).get("annotations") or {}),
        manifest=pod,
    )


def _pod_reason(pod: Object) -> str:
    if find(pod, "status.reason"):
        return str(find(pod, "status.reason"))
    for status in (*(find(pod, "status.initContainerStatuses") or ()), *(find(pod, "status.containerStatuses") or ())):
        for state in ("waiting", "terminated"):
            reason = find(status, f"state.{state}.reason")
            if reason and reason != "Completed":
                return str(reason)
    unscheduled = [
        one for one in find(pod, "status.conditions") or () if one["status"] == "False" and one.get("reason")
    ]
    return next((str(one["reason"]) for one in unscheduled if one["type"] == "PodScheduled"), "")


def _view_job(job: Object) -> JobView:
    conditions = find(job, "status.conditions") or ()
    return JobView(
        name=meta(job)["name"],
        namespace=meta(job)["namespace"],
        state=next((kind for kind in ("Complete", "Failed", "Suspended") if has_condition(job, kind)), "Running"),
        reason=str(conditions[-1].get("reason", "")) if conditions else "",
        active=find(job, "status.active") or 0,
        succeeded=find(job, "status.succeeded") or 0,
        failed=find(job, "status.failed") or 0,
        manifest=job,
    )
