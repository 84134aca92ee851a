"""The objects that our operators send are what a real API server takes them for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_together.jobs.kubernetes.manifests import claim_manifest, job_manifest, service_manifest
from airflow_provider_together.jobs.kubernetes.name import LONGEST_JOB_NAME
from airflow_provider_together.jobs.kubernetes.spec import JobSpec
from tests.real_kubernetes.looking import wait_until
from tests.real_kubernetes.volume import STORAGE_CLASS, shared_volume

pytestmark = [pytest.mark.real_kubernetes, pytest.mark.usefixtures("clean_namespace")]

JOBS = "/apis/batch/v1/namespaces/default/jobs"
SERVICES = "/api/v1/namespaces/default/services"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"

#: What 1.20 does not know yet, and drops: a Job that begins suspended, and Indexed Jobs.
_LATER = {"spec.suspend", "spec.completionMode"}

PLAIN = JobSpec(name="train", owner="abc", image="train:1", num_nodes=2, gpus_per_node=8, command=["true"])
FULL = JobSpec(
    name="t" * LONGEST_JOB_NAME,
    owner="abc",
    image="registry.example/team/train@sha256:" + "0" * 64,
    num_nodes=16,
    gpus_per_node=4,
    fills_node=False,
    command=["torchrun", "train.py"],
    arguments=["--learning-rate", "0.1"],
    env_vars={"NCCL_DEBUG": "INFO", "EMPTY": ""},
    labels={"team": "vision"},
    annotations={"example.org/note": "anything: at all"},
    image_pull_policy="Always",
    image_pull_secrets=["registry"],
    service_account_name="trainer",
    node_selector={"zone": "a"},
    tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    resources={"limits": {"cpu": "32", "memory": "256Gi"}, "requests": {"cpu": "8", "memory": "64Gi"}},
    shm_size="64Gi",
    rdma_resource="rdma/rdma_shared_device_a",
    claim="datasets",
    mount_path="/mnt/data",
    timeout=3600,
    pod_template={"priorityClassName": None, "containers": [{"name": "log", "image": "log:1"}], "hostIPC": True},
)
WITHOUT_GPUS = JobSpec(name="cpu", owner="abc", image="train:1", num_nodes=1, gpus_per_node=0)
SPECS = {"plain": PLAIN, "full": FULL, "without GPUs": WITHOUT_GPUS}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_every_field_of_a_job_is_known_and_valid(spec: JobSpec, kubernetes: httpx.Client) -> None:
    sent = job_manifest(spec, asked_at=1.5)
    answer = kubernetes.post(JOBS, json=sent, params={"dryRun": "All"})
    assert answer.status_code == 201, answer.text
    assert set(lost(sent, answer.json())) == _LATER


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_every_field_of_its_service_is_known_and_valid(spec: JobSpec, kubernetes: httpx.Client) -> None:
    job = kubernetes.post(JOBS, json=job_manifest(spec, asked_at=1.5), params={"dryRun": "All"}).json()
    sent = service_manifest(job)
    answer = kubernetes.post(SERVICES, json=sent, params={"dryRun": "All"})
    assert answer.status_code == 201, answer.text
    assert list(lost(sent, answer.json())) == []


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_the_service_and_the_pods_go_with_their_job(policy: str, kubernetes: httpx.Client) -> None:
    job = kubernetes.post(JOBS, json=job_manifest(PLAIN, asked_at=1.5)).raise_for_status().json()
    kubernetes.post(SERVICES, json=service_manifest(job)).raise_for_status()
    kubernetes.delete(f"{JOBS}/train", params={"propagationPolicy": policy}).raise_for_status()
    wait_until(lambda: kubernetes.get(f"{SERVICES}/train").status_code == 404)
    wait_until(lambda: kubernetes.get(f"{JOBS}/train").status_code == 404)


def test_a_claim_gets_the_volume_of_its_name(kubernetes: httpx.Client, tmp_path: Path) -> None:
    with shared_volume(kubernetes, "datasets", tmp_path):
        sent = claim_manifest("datasets", namespace="default", size="1Ti", storage_class=STORAGE_CLASS)
        made = kubernetes.post(CLAIMS, json=sent)
        assert made.status_code == 201, made.text
        assert list(lost(sent, made.json())) == []
        wait_until(lambda: kubernetes.get(f"{CLAIMS}/datasets").json()["status"]["phase"] == "Bound")


def lost(sent: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what was sent and is not, or is not the same, in the answer."""
    if isinstance(sent, Mapping) and isinstance(kept, Mapping):
        for key, value in sent.items():
            yield from lost(value, kept.get(key), f"{path}.{key}".strip("."))
    elif isinstance(sent, Sequence) and not isinstance(sent, str) and isinstance(kept, Sequence):
        assert len(sent) == len(kept), path
        for number, (one, other) in enumerate(zip(sent, kept, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif sent != kept and (sent or kept):
        yield path
