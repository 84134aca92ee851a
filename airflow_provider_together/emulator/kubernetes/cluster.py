"""
One Kubernetes cluster: its store and the controllers that work on it, on one event loop.

Every controller looks at everything and does what is missing, so that nothing depends on the order of events. What a
test lets go wrong is set here, and not brought about.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from airflow_provider_together.emulator.kubernetes.inventory import Inventory
from airflow_provider_together.emulator.kubernetes.jobs import JobController
from airflow_provider_together.emulator.kubernetes.nodes import lose_node, match_nodes, schedule
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.pods import Kubelets
from airflow_provider_together.emulator.kubernetes.store import Store
from airflow_provider_together.emulator.kubernetes.supervision import kill_all_marked
from airflow_provider_together.emulator.kubernetes.volumes import bind_claims, match_volumes

_LOG = logging.getLogger(__name__)

#: Seconds between two looks when nothing changes: deadlines are met with this delay.
_LOOK_SECONDS = 0.5


class KubernetesCluster:
    """
    A cluster that is up, until it is closed.

    :param inventory: what it consists of now.
    :param folder: for its pods.
    :param mark: tells its processes from all others.
    :param shared: the folder of all shared volumes.
    """

    def __init__(self, inventory: Inventory, *, folder: Path, mark: str, shared: Path) -> None:
        self.store = Store()
        self.kubelets = Kubelets(self.store, folder=folder, mark=mark, shared=shared)
        self.is_up = True
        #: Why no pod gets a node; empty if they do.
        self.scheduling_obstacle = ""
        self._mark = mark
        self._folder = folder
        self._jobs = JobController(self.store)
        self._inventory: Inventory | None = None
        self.store.create("namespaces", {"metadata": {"name": "default"}, "status": {"phase": "Active"}})
        self.match(inventory)
        self._work = asyncio.get_running_loop().create_task(self._run())

    def match(self, inventory: Inventory) -> None:
        """Follow the emulated cloud: nodes and volumes come and go."""
        if inventory != self._inventory:
            self._inventory = inventory
            match_nodes(self.store, inventory)
            match_volumes(self.store, inventory)

    async def close(self) -> None:
        """Kill everything and remove the folders; the cluster answers no more."""
        self.is_up = False
        self._work.cancel()
        await asyncio.wait([self._work])
        await self.kubelets.close()
        kill_all_marked(self._mark)
        self.store.notice.give()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what goes wrong on purpose ---

    def evict(self, pod: Object) -> None:
        """Let the kubelet evict a pod for want of memory on its node."""
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0Mi. "
        self._fail(pod, "Evicted", message, disruption="TerminationByKubelet")

    def run_out_of_memory(self, pod: Object, container: str) -> None:
        """
        Let a container be killed for having used more memory than its limit.

        :param container: its name; empty for the first one.
        """
        run = self.kubelets.run_of(pod)
        process = run and run.processes.get(container or pod["spec"]["containers"][0]["name"])
        if process:
            process.kill(is_out_of_memory=True)

    def lose_node(self, node: Object) -> None:
        """Let a node fall silent, and its pods with it; there is none of the five minutes that Kubernetes waits."""
        lose_node(self.store, node)
        name = meta(node)["name"]
        for pod in self.store.all("pods"):
            if find(pod, "spec.nodeName") == name:
                message = f"Node {name} which was running pod {meta(pod)['name']} is unresponsive"
                self._fail(pod, "NodeLost", message, disruption="DeletionByTaintManager")

    def _fail(self, pod: Object, reason: str, message: str, *, disruption: str) -> None:
        run = self.kubelets.run_of(pod)
        if run is not None:
            run.fail(reason, message, disruption=disruption)

    # --- its controllers ---

    async def _run(self) -> None:
        while True:
            version = self.store.version
            try:
                self._step()
            except Exception:  # noqa: BLE001 - it is logged, and one mistake must not freeze the cluster
                _LOG.exception("A controller of the emulated Kubernetes cluster failed; it looks again soon")
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            if self.store.version == version:
                await self.store.notice.wait(_LOOK_SECONDS)
            else:
                # Once more, until nothing is left to do; others have their turn between.
                await asyncio.sleep(0)

    def _step(self) -> None:
        bind_claims(self.store)
        self._jobs.step()
        schedule(self.store, obstacle=self.scheduling_obstacle)
        self._take_pods_of_removed_nodes()
        self.kubelets.step()
        self.store.collect_garbage()

    def _take_pods_of_removed_nodes(self) -> None:
        nodes = {meta(node)["name"] for node in self.store.all("nodes")}
        for pod in self.store.all("pods"):
            if find(pod, "spec.nodeName") and pod["spec"]["nodeName"] not in nodes:
                self._fail(pod, "", "PodGC: node no longer exists", disruption="DeletionByPodGC")
                self.store.delete("pods", pod, grace=0)
