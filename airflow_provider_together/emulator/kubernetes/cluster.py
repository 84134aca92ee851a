"""
One Kubernetes cluster: its store and the controllers that work on it, on one event loop.

Every controller looks at everything and does what is missing, so that nothing depends on the order of events.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from airflow_provider_together.emulator.kubernetes import claims, deletion, namespaces, nodes, scheduler
from airflow_provider_together.emulator.kubernetes.folders import SharedFolders
from airflow_provider_together.emulator.kubernetes.host_names import Addresses
from airflow_provider_together.emulator.kubernetes.inventory import Inventory
from airflow_provider_together.emulator.kubernetes.jobs import JobController
from airflow_provider_together.emulator.kubernetes.kubelet import Kubelets
from airflow_provider_together.emulator.kubernetes.objects import Object
from airflow_provider_together.emulator.kubernetes.store import Store
from airflow_provider_together.emulator.kubernetes.supervision import kill_all_marked

_LOG = logging.getLogger(__name__)

#: Seconds between two looks when nothing changes.
_LOOK_SECONDS = 1.0
_SHORTEST_SECONDS = 0.01


class KubernetesCluster:
    """
    A cluster that is up, until it is closed.

    :param inventory: what it consists of now.
    :param folder: for its pods.
    :param mark: tells its processes from all others.
    """

    def __init__(
        self, inventory: Inventory, *, folder: Path, mark: str, shared: SharedFolders, addresses: Addresses
    ) -> None:
        self.store = Store()
        self.kubelets = Kubelets(self.store, folder=folder, mark=mark, shared=shared, addresses=addresses)
        self._mark = mark
        self.is_up = True
        self._folder = folder
        self._jobs = JobController(self.store)
        self._inventory: Inventory | None = None
        namespaces.make_first(self.store)
        self.match(inventory)
        self._work = asyncio.get_running_loop().create_task(self._run())

    def match(self, inventory: Inventory) -> None:
        """Follow the emulated cloud: nodes and volumes come and go."""
        if inventory != self._inventory:
            self._inventory = inventory
            nodes.match_nodes(self.store, inventory)
            claims.match_volumes(self.store, inventory)

    async def close(self) -> None:
        """Kill everything and remove the folders; the cluster answers no more."""
        self.is_up = False
        self._work.cancel()
        await asyncio.wait([self._work])
        await self.kubelets.close()
        kill_all_marked(self._mark)
        self.store.notice.give()
        shutil.rmtree(self._folder, ignore_errors=True)

    def evict(self, pod: Object) -> None:
        """Let the kubelet evict a pod for want of memory."""
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0Mi. "
        self.kubelets.fail(pod, "Evicted", message, disruption="TerminationByKubelet")

    def lose_node(self, name: str) -> None:
        """Let a node fall silent, and its pods with it; there is none of the five minutes that Kubernetes waits."""
        nodes.lose(self.store, name)
        self.kubelets.lose(name)

    async def _run(self) -> None:
        while True:
            version = self.store.version
            try:
                wake = self._step()
            except Exception:  # noqa: BLE001 - it is told, and one mistake must not freeze the cluster
                _LOG.exception("A controller of the emulated Kubernetes cluster failed; it looks again soon")
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            if self.store.version != version:
                # Once more, until nothing is left to do; others have their turn between.
                await asyncio.sleep(0)
                continue
            seconds = _LOOK_SECONDS if wake is None else min(max(wake, _SHORTEST_SECONDS), _LOOK_SECONDS)
            await self.store.notice.wait(seconds)

    def _step(self) -> float | None:
        namespaces.step(self.store)
        claims.bind_claims(self.store)
        wake = self._jobs.step()
        scheduler.schedule(self.store)
        self._delete_pods_without_node()
        self.kubelets.step()
        deletion.collect_garbage(self.store)
        return wake

    def _delete_pods_without_node(self) -> None:
        """Let pods fail whose node is no more, as the collector of pods does."""
        for pod in self.store.all("pods"):
            name = pod["spec"].get("nodeName")
            if name and self.store.find("nodes", "", name) is None:
                self.kubelets.fail(pod, "", "PodGC: node no longer exists", disruption="DeletionByPodGC")
                deletion.delete(self.store, "pods", pod, grace=0)
