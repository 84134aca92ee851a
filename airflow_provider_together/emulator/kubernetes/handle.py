"""
The Python side of one emulated Kubernetes cluster: looking into it, and letting things go wrong.

Safe to use from any thread: what it does is done on the loop of the API server. Views are values of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_together.emulator.kubernetes.claims import set_storage_class
from airflow_provider_together.emulator.kubernetes.cluster import KubernetesCluster
from airflow_provider_together.emulator.kubernetes.nodes import set_gpus
from airflow_provider_together.emulator.kubernetes.objects import Object, clone
from airflow_provider_together.emulator.kubernetes.record import ClusterRecord, Failure, KubernetesRequest
from airflow_provider_together.emulator.kubernetes.supervision import marked_processes
from airflow_provider_together.emulator.kubernetes.view import JobView, PodView, view_job, view_pod

#: Does something with a cluster that is up, on its loop; None where it is not up.
Ask = Callable[[str, Callable[[KubernetesCluster | None], Any]], Any]


class KubernetesHandle:
    """
    One emulated Kubernetes cluster, for its owner. A cluster that is not up has no pods, Jobs and processes.

    :param mark: of its processes.
    :param renew_certificates: of the server.
    """

    def __init__(
        self, cluster_id: str, record: ClusterRecord, *, ask: Ask, mark: str, renew_certificates: Callable[[], None]
    ) -> None:
        self.cluster_id = cluster_id
        self._record = record
        self._ask = ask
        self._mark = mark
        self._renew_certificates = renew_certificates

    def pods(self, namespace: str | None = None) -> list[PodView]:
        """Return the pods, oldest first, of one namespace or of all."""
        return [view_pod(pod) for pod in self.objects("pods", namespace)]

    def jobs(self, namespace: str | None = None) -> list[JobView]:
        """Return the Jobs, oldest first, of one namespace or of all."""
        return [view_job(job) for job in self.objects("jobs", namespace)]

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

    def set_gpus(self, node: str, number: int) -> None:
        """
        Let a node have so many GPUs for pods, as when some are broken; 0 is as before its driver is up.

        :raises ApiError: 404 if there is no such node.
        :raises RuntimeError: if the cluster is not up.
        """
        self._do(lambda cluster: set_gpus(cluster.store, node, number))

    def set_storage_class(self, volume: str, storage_class: str) -> None:
        """
        Let a persistent volume have another storage class; an empty one is none.

        :raises ApiError: 404 if there is no such volume.
        :raises RuntimeError: if the cluster is not up.
        """
        self._do(lambda cluster: set_storage_class(cluster.store, volume, storage_class))

    @property
    def requests(self) -> list[KubernetesRequest]:
        """The requests so far, in the order of their arrival."""
        return self._record.requests

    def rotate_token(self) -> None:
        """Make the present token worthless; the cluster's kubeconfig has the new one from now on."""
        self._record.rotations += 1

    def rotate_certificate(self) -> None:
        """
        Let another authority vouch for the server, and end all connections; kubeconfigs name it from now on.

        All clusters of an emulator have the same server.
        """
        self._renew_certificates()

    def fail_next(self, status: int, times: int = 1, path_contains: str = "", *, method: str | None = None) -> None:
        """
        Answer the next requests with a status of failure; nothing of what they ask is done.

        :param path_contains: only requests whose path contains this.
        :param method: only requests of this method; None for all.
        :raises ValueError: naming what is wrong.
        """
        self._record.plan(Failure(status=status, times=times, path_contains=path_contains, method=method))

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
