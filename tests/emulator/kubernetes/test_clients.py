"""Clients that others wrote, beside the synchronous one that all tests use: the asynchronous one, and kubectl."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_asyncio.client
import kubernetes_asyncio.config
import kubernetes_asyncio.watch
import pytest
import yaml

from tests.emulator.kubernetes.lab import FOREVER, PATIENCE, Lab, indexed, pod


def test_the_asynchronous_client_creates_watches_reads_and_deletes(lab: Lab) -> None:
    async def talk() -> tuple[list[str], str]:
        configuration: Any = kubernetes_asyncio.client.Configuration()
        await kubernetes_asyncio.config.load_kube_config_from_dict(lab.kubeconfig, client_configuration=configuration)
        async with kubernetes_asyncio.client.ApiClient(configuration) as client:
            core: Any = kubernetes_asyncio.client.CoreV1Api(client)
            # From this version on nothing is missed.
            version = (await core.list_namespaced_pod("default")).metadata.resource_version
            made = await core.create_namespaced_pod("default", pod("async", "sleep 0.1; echo hello"))
            phases: list[str] = []
            field = f"metadata.name={made.metadata.name}"
            async with kubernetes_asyncio.watch.Watch() as watch:
                options = {"field_selector": field, "resource_version": version, "timeout_seconds": int(PATIENCE)}
                events = watch.stream(core.list_namespaced_pod, "default", **options)
                async for event in events:
                    if event["object"].status.phase not in phases:
                        phases.append(event["object"].status.phase)
                    if phases[-1] == "Succeeded":
                        break
            log = await core.read_namespaced_pod_log(made.metadata.name, "default")
            await core.delete_namespaced_pod(made.metadata.name, "default")
            return phases, str(log)

    phases, log = asyncio.run(talk())
    assert phases == ["Pending", "Running", "Succeeded"]
    assert log == "hello\n"
    assert lab.handle.pods() == []


class Kubectl:
    """The kubectl of this machine on a cluster."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._config = folder / "kubeconfig.yaml"
        self._config.write_text(yaml.safe_dump(lab.kubeconfig))
        self._cache = folder / "cache"

    def __call__(self, *words: str, send: str | None = None, status: int = 0) -> str:
        program = shutil.which("kubectl")
        assert program is not None
        command = [program, f"--kubeconfig={self._config}", f"--cache-dir={self._cache}", *words]
        done = subprocess.run(command, input=send, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout


@pytest.fixture
def kubectl(lab: Lab, tmp_path: Path) -> Kubectl:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: apt-get install kubernetes-client")
    return Kubectl(lab, tmp_path)


def test_kubectl_applies_waits_shows_and_deletes(lab: Lab, kubectl: Kubectl) -> None:
    manifest = json.dumps(indexed("ranks", 2, "echo rank $JOB_COMPLETION_INDEX"))
    assert kubectl("apply", "-f", "-", send=manifest) == "job.batch/ranks created\n"
    assert kubectl("apply", "-f", "-", send=manifest) == "job.batch/ranks unchanged\n"
    assert kubectl("apply", "--server-side", "-f", "-", send=manifest) == "job.batch/ranks serverside-applied\n"
    kubectl("wait", "--for=condition=Complete", "job/ranks", f"--timeout={PATIENCE:g}s")
    # In any order: kubectl keeps the requests for them in a map.
    assert sorted(kubectl("logs", "-l", "job-name=ranks", "--prefix=false").splitlines()) == ["rank 0", "rank 1"]
    assert [line.split()[:3] for line in kubectl("get", "jobs").splitlines()[1:]] == [["ranks", "Complete", "2/2"]]
    assert "Completed" in kubectl("get", "pods")
    assert "Job completed" in kubectl("describe", "job", "ranks")
    assert len(kubectl("get", "nodes", "-o", "name").splitlines()) == 2
    kubectl("delete", "job", "ranks")
    assert lab.handle.jobs() == []


def test_kubectl_sees_columns_that_say_something(kubectl: Kubectl, lab: Lab) -> None:
    lab.create_pod(pod("runs", FOREVER))
    lab.wait(lab.handle.processes)
    head, row = kubectl("get", "pods").splitlines()
    assert head.split() == ["NAME", "READY", "STATUS", "RESTARTS", "NODE", "AGE"]
    assert row.split()[1:4] == ["1/1", "Running", "0"]
    for kind in ("nodes", "events", "namespaces", "services", "pv", "pvc", "secrets"):
        kubectl("get", kind)
