"""One emulated Kubernetes cluster under test, seen through the official Python client and plain HTTP."""

from __future__ import annotations

import base64
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx
import kubernetes.client  # type: ignore[import-untyped,unused-ignore]
import kubernetes.config  # type: ignore[import-untyped,unused-ignore]
import pytest
import yaml
from kubernetes.stream import stream  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_together.emulator import Emulator

#: Seconds that a test waits for something that has to come, also on a machine that has much else to do; who waits goes
#: on as soon as it has come.
PATIENCE = 120.0
#: Scripts of containers: one that runs until it is ended, and one that runs until a file of this name is there.
FOREVER = "sleep 3600"
UNTIL_TOLD = "while [ ! -e told ]; do sleep 0.02; done"
ENDED = ("Succeeded", "Failed")
CLUSTER = {
    "cluster_name": "lab",
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 16,
    "cuda_version": "12.8",
    "nvidia_driver_version": "570",
    "billing_type": "ON_DEMAND",
}


class Lab:
    """
    A cluster of an emulator.

    :param emulator: with its Kubernetes side, and clusters that are READY at once.
    :param options: of the request that creates it.
    """

    def __init__(self, emulator: Emulator, **options: Any) -> None:
        self.emulator = emulator
        self.http = connect(emulator)
        answer = self.http.post("/v1/compute/clusters", json={**CLUSTER, **options})
        answer.raise_for_status()
        self.cluster_id = str(answer.json()["cluster_id"])
        self._path = f"/v1/compute/clusters/{self.cluster_id}"
        self.handle = emulator.kubernetes(self.cluster_id)
        self._sessions: list[Any] = []
        self.connect()

    def connect(self) -> None:
        """Connect with the kubeconfig that the cluster has now."""
        self.kubeconfig: dict[str, Any] = yaml.safe_load(self.kubeconfig_text())
        cluster, user = self.kubeconfig["clusters"][0]["cluster"], self.kubeconfig["users"][0]["user"]
        self.server, self.token = cluster["server"], user["token"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        # As Python 3.13 does it by default.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        headers = {"Authorization": f"Bearer {self.token}"}
        self.rest = httpx.Client(
            base_url=self.server, headers=headers, verify=context, trust_env=False, timeout=PATIENCE
        )
        client = self._client = kubernetes.config.new_client_from_config_dict(self.kubeconfig)
        self.core: Any = kubernetes.client.CoreV1Api(client)
        self.batch: Any = kubernetes.client.BatchV1Api(client)

    def kubeconfig_text(self) -> str:
        answer = self.http.get(self._path).json()
        return base64.b64decode(answer["kube_config"]).decode()

    def delete_cluster(self) -> None:
        self.http.delete(self._path).raise_for_status()

    def close(self) -> None:
        """Give the cluster back, if its emulator is there, and close all connections."""
        with contextlib.suppress(httpx.TransportError):
            self.http.delete(self._path)
        for session in self._sessions:
            # Its own close() leaves open what the server has closed.
            session.sock.shutdown()
        self.rest.close()
        self.http.close()
        self._client.rest_client.pool_manager.clear()

    # --- pods ---

    def create_pod(self, manifest: dict[str, Any]) -> Any:
        return self.core.create_namespaced_pod("default", manifest)

    def pod(self, name: str) -> Any:
        return self.core.read_namespaced_pod(name, "default")

    def start(self, manifest: dict[str, Any], *, says: str = "") -> str:
        """Create a pod, wait until it runs and has written what it is to say first, and return its name."""
        name = str(self.create_pod(manifest).metadata.name)
        self.wait(lambda: self.pod(name).status.phase == "Running")
        self.wait(lambda: self.log(name).startswith(says))
        return name

    def tell(self, name: str) -> None:
        """Tell a pod to end that runs :data:`UNTIL_TOLD`."""
        assert self.run_exec(name, "touch", "told").returncode == 0

    def open_exec(self, name: str, *command: str, stdin: bool = False) -> Any:
        """Open a command in a pod as KubernetesPodOperator does, and return its streams."""
        streams = {"stdin": stdin, "stdout": True, "stderr": True, "tty": False}
        call = self.core.connect_get_namespaced_pod_exec
        session = stream(call, name, "default", command=list(command), _preload_content=False, **streams)
        self._sessions.append(session)
        return session

    def run_exec(self, name: str, *command: str) -> Any:
        """Run a command in a pod to its end, and return its streams."""
        session = self.open_exec(name, *command)
        session.run_forever(timeout=PATIENCE)
        return session

    def run(self, manifest: dict[str, Any]) -> Any:
        """Create a pod and wait until it has ended."""
        name = self.create_pod(manifest).metadata.name
        self.wait(lambda: self.pod(name).status.phase in ENDED)
        return self.pod(name)

    def wait_until_running(self, name: str) -> Any:
        self.wait(lambda: self.pod(name).status.phase == "Running")
        return self.pod(name)

    def log(self, name: str, **options: Any) -> str:
        """Return a log as it was sent: the client makes a Python literal of the text by itself."""
        answer = self.rest.get(f"/api/v1/namespaces/default/pods/{name}/log", params=options)
        answer.raise_for_status()
        return answer.text

    def output(self, *command: str, **spec: Any) -> str:
        """Run a command in a pod to its end and return what it has written."""
        return self.log(self.run(pod("output", *command, **spec)).metadata.name)

    # --- all else ---

    def create_job(self, manifest: dict[str, Any]) -> Any:
        return self.batch.create_namespaced_job("default", manifest)

    def job(self, name: str) -> Any:
        return self.batch.read_namespaced_job(name, "default")

    def run_job(self, manifest: dict[str, Any]) -> Any:
        """Create a Job and wait until it is complete or has failed."""
        name = self.create_job(manifest).metadata.name
        self.wait(lambda: job_state(self.job(name)) in ("Complete", "Failed"))
        return self.job(name)

    def wait_for_job(self, name: str, state: str) -> None:
        self.wait(lambda: job_state(self.job(name)) == state)

    def wait_for_ready(self, job: str, number: int = 1) -> None:
        """Wait until so many pods of a Job are ready."""
        self.wait(lambda: self.job(job).status.ready == number)

    def events(self, name: str) -> list[tuple[str, str]]:
        """Return reason and message of the events about an object."""
        found = self.core.list_namespaced_event("default", field_selector=f"involvedObject.name={name}").items
        return [(event.reason, event.message) for event in found]

    def wait(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pods = [(pod.name, pod.phase, pod.reason) for pod in self.handle.pods()]
                pytest.fail(f"It has not come within {PATIENCE:g} seconds; pods: {pods}")
            time.sleep(0.01)


def connect(emulator: Emulator) -> httpx.Client:
    """Return a client of the emulated cloud."""
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    # There is no TLS, so that the certificates of the world's authorities need not be loaded.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(base_url=emulator.url, headers=headers, verify=nobody, trust_env=False, timeout=PATIENCE)


def container(*command: str, name: str = "base", **more: Any) -> dict[str, Any]:
    """Return a container; one word is a script for sh."""
    words = ["sh", "-c", *command] if len(command) == 1 else list(command)
    return {"name": name, "image": "train:1", "command": words, **more}


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    """Return a pod with one container, or with those that are given."""
    spec = {"restartPolicy": "Never", "containers": [container(*command)], "terminationGracePeriodSeconds": 60, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": f"{name}-"}, "spec": spec}


def gpu_limit(number: int) -> dict[str, Any]:
    return {"limits": {"nvidia.com/gpu": str(number)}}


def job(name: str, *command: str, template: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a Job of one rank; ``template`` is merged into the spec of its pods."""
    ranks = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 0}
    pod_spec = {"restartPolicy": "Never", "containers": [container(*command)], "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {**ranks, "template": {"spec": {**pod_spec, **(template or {})}}, **spec},
    }


def indexed(name: str, number: int, *command: str, **more: Any) -> dict[str, Any]:
    return job(name, *command, completions=number, parallelism=number, **more)


def job_state(found: Any) -> str:
    conditions = found.status.conditions or ()
    return next((one.type for one in conditions if one.status == "True" and one.type in ("Complete", "Failed")), "")


def ended(found: Any, container_name: str = "base") -> Any:
    """Return how a container of a pod ended."""
    statuses = [*(found.status.init_container_statuses or ()), *found.status.container_statuses]
    return next(status for status in statuses if status.name == container_name).state.terminated


def waiting(found: Any) -> tuple[str, str]:
    """Return reason and message of what the first container of a pod waits for, empty if it does not."""
    statuses = found.status.container_statuses
    state = statuses[0].state.waiting if statuses else None
    return ("", "") if state is None else (state.reason, state.message or "")
