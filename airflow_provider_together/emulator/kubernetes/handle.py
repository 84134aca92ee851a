"""
The Python side of one emulated Kubernetes cluster: looking into it, and letting things go wrong.

Safe to use from any thread: what it does is done on the loop of the API server. Views are values of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.nodes import set_gpus
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    clone,
    condition,
    find,
    has_condition,
    meta,
)
from airflow_provider_together.emulator.kubernetes.record import ClusterRecord, Failure, KubernetesRequest
from airflow_provider_together.emulator.kubernetes.supervision import marked_processes
from airflow_provider_together.emulator.kubernetes.volumes import set_storage_class

#: Does something with a cluster that is up, on its loop; None where it is not up.
Ask = Callable[[str, Callable[[KubernetesCluster | None], Any]], Any]


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
    manifest: Object


class KubernetesHandle:
    """
    One emulated Kubernetes cluster, for its owner. A cluster that is not up has no pods, Jobs and processes.

    What lets something go wrong raises ``ApiError`` (404) if there is no such object, and ``RuntimeError`` if the
    cluster is not up.

    :param mark: of its processes.
    :param renew_certificate: of the server.
    """

    def __init__(
        self, cluster_id: str, record: ClusterRecord, *, ask: Ask, mark: str, renew_certificate: Callable[[], None]
    ) -> None:
        self.cluster_id = cluster_id
        self._record = record
        self._ask = ask
        self._mark = mark
        self._renew_certificate = renew_certificate

    # --- looking ---

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

    @property
    def requests(self) -> list[KubernetesRequest]:
        """The requests so far, in the order of their arrival."""
        return list(self._record.requests)

    def processes(self) -> list[int]:
        """Return the ids of the processes of its pods that are alive."""
        return marked_processes(self._mark)

    # --- letting things go wrong ---

    def evict(self, pod: str, namespace: str = "default") -> None:
        """Let a pod be evicted by its kubelet for want of memory on its node."""
        self._do(lambda cluster: cluster.evict(cluster.store.get("pods", namespace, pod)))

    def run_out_of_memory(self, pod: str, container: str = "", namespace: str = "default") -> None:
        """
        Let a container that runs be killed for having used more memory than its limit.

        :param container: its name; empty for the first one.
        """
        self._do(lambda cluster: cluster.run_out_of_memory(cluster.store.get("pods", namespace, pod), container))

    def lose_image(self, image: str) -> None:
        """Let an image be impossible to pull from now on, as those of a registry under ``.invalid`` always are."""
        self._do(lambda cluster: cluster.kubelets.missing_images.add(image))

    def hold_pods(self, message: str) -> None:
        """
        Let no pod get a node from now on.

        :param message: what is said of pods that wait; with an empty one they get their nodes again.
        """
        self._do(lambda cluster: setattr(cluster, "scheduling_obstacle", message))

    def lose_node(self, name: str) -> None:
        """Let a node fall silent, and its pods be lost with it."""
        self._do(lambda cluster: cluster.lose_node(cluster.store.get("nodes", "", name)))

    def set_gpus(self, node: str, number: int) -> None:
        """Let a node have so many GPUs for pods, as when some are broken; 0 is as before its driver is up."""
        self._do(lambda cluster: set_gpus(cluster.store, cluster.store.get("nodes", "", node), number))

    def set_storage_class(self, volume: str, storage_class: str) -> None:
        """Let a persistent volume have another storage class; an empty one is none."""

        def change(cluster: KubernetesCluster) -> None:
            set_storage_class(cluster.store, cluster.store.get("persistentvolumes", "", volume), storage_class)

        self._do(change)

    def rotate_token(self) -> None:
        """Make the present token worthless; the cluster's kubeconfig has the new one from now on."""
        self._record.rotations += 1

    def rotate_certificate(self) -> None:
        """
        Give the server another certificate, and end all connections; kubeconfigs have it from now on.

        All clusters of an emulator have the same server.
        """
        self._renew_certificate()

    def fail_next(self, status: int, times: int = 1, path_contains: str = "", *, method: str | None = None) -> None:
        """
        Answer the next requests with a status of failure; nothing of what they ask is done.

        :param path_contains: only requests whose path contains this.
        :param method: only requests of this method; None for all.
        :raises ValueError: naming what is wrong.
        """
        failure = Failure(status=status, times=times, path_contains=path_contains, method=method)
        self._record.failures.append(failure)

    def _do(self, command: Callable[[KubernetesCluster], None]) -> None:
        def run(cluster: KubernetesCluster | None) -> None:
            if cluster is None:
                message = f"cluster_id={self.cluster_id!r}: its Kubernetes API is not up: it is not READY, or gone"
                raise RuntimeError(message)
            command(cluster)

        self._ask(self.cluster_id, run)


def _view_pod(pod: Object) -> PodView:
    scheduled = condition(pod, "PodScheduled") or {}
    waits_for_node = str(scheduled.get("reason", "")) if scheduled.get("status") == "False" else ""
    return PodView(
        name=meta(pod)["name"],
        namespace=meta(pod)["namespace"],
        phase=pod["status"]["phase"],
        reason=pod["status"].get("reason") or _container_reason(pod) or waits_for_node,
        node=find(pod, "spec.nodeName") or "",
        address=find(pod, "status.podIP") or "",
        labels=dict(meta(pod).get("labels") or {}),
        annotations=dict(meta(pod).get("annotations") or {}),
        manifest=pod,
    )


def _container_reason(pod: Object) -> str:
    statuses = (*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ()))
    reasons = (find(one, f"state.{state}.reason") for one in statuses for state in ("waiting", "terminated"))
    return next((str(reason) for reason in reasons if reason and reason != "Completed"), "")


def _view_job(job: Object) -> JobView:
    conditions = job["status"].get("conditions") or ()
    return JobView(
        name=meta(job)["name"],
        namespace=meta(job)["namespace"],
        state=next((kind for kind in ("Complete", "Failed", "Suspended") if has_condition(job, kind)), "Running"),
        reason=str(conditions[-1].get("reason", "")) if conditions else "",
        manifest=job,
    )
