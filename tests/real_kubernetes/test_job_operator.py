"""
What of the job operator a real API server of 1.20 can show.

It knows no Indexed Jobs and no suspended ones: the pods of a job have no rank, so that a job has one node here and no
result. What is real are the Job controller, the end of a job, and the deletion of what belongs to it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from airflow.sdk import DAG

from tests.real_kubernetes.looking import PODS, all_pods, running_pods, wait_until
from tests.real_kubernetes.tasks import CLUSTER_VARIABLE
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.real_kubernetes, pytest.mark.usefixtures("cluster_id", "nothing_is_left")]

JOBS = "/apis/batch/v1/namespaces/default/jobs"
SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
def nothing_is_left(clean_namespace: None, kubernetes: httpx.Client) -> Iterator[None]:
    """See that neither Jobs nor Services nor pods are left."""
    assert clean_namespace is None
    before = items(kubernetes, SERVICES)
    yield
    wait_until(lambda: all_pods(kubernetes) == [])
    assert items(kubernetes, JOBS) == []
    assert items(kubernetes, SERVICES) == before


def items(kubernetes: httpx.Client, path: str) -> list[str]:
    return [one["metadata"]["name"] for one in kubernetes.get(path).raise_for_status().json()["items"]]


def train(script: str, **arguments: Any) -> Run:
    from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator

    with DAG("real_kubernetes_jobs", schedule=None) as dag:
        GPUClusterJobOperator(
            task_id="train",
            cluster_id=os.environ[CLUSTER_VARIABLE],
            image="train:1",
            command=["sh", "-c", script],
            num_nodes=1,
            poll_interval=0.2,
            **arguments,
        )
    return run_dag(dag)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_succeeds(*, deferrable: bool) -> None:
    assert train("sleep 1", deferrable=deferrable).state == "success"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_fails(*, deferrable: bool, capfd: pytest.CaptureFixture[str]) -> None:
    assert train("sleep 1; exit 3", deferrable=deferrable).state == "failed"
    # In the Job controller's own words.
    assert "has failed: BackoffLimitExceeded: Job has reached the specified backoff limit" in told(capfd)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_does_not_fit(
    *, deferrable: bool, kubernetes: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    with occupied_nodes(kubernetes):
        assert train("true", deferrable=deferrable, start_timeout=3).state == "failed"
    assert "has not started as a whole" in told(capfd)


def test_a_job_that_takes_too_long(capfd: pytest.CaptureFixture[str]) -> None:
    assert train("sleep 600", timeout=4).state == "failed"
    assert "It was removed" in told(capfd)


def test_on_kill_removes_the_job(kubernetes: httpx.Client) -> None:
    def kill() -> None:
        wait_until(lambda: bool(running_pods(kubernetes)))
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=kill)
    killer.start()
    run = train("sleep 600")
    killer.join()
    assert run.state == "failed"


def told(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what has been written so far."""
    return "".join(capfd.readouterr())


@contextmanager
def occupied_nodes(kubernetes: httpx.Client) -> Iterator[None]:
    """Let somebody else have all GPUs of all nodes."""
    names = [f"other-{number}" for number in range(2)]
    for name in names:
        container = {"name": "base", "image": "train:1", "command": ["sleep", "600"]}
        spec = {"containers": [{**container, "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubernetes.post(PODS, json=manifest).raise_for_status()
    try:
        wait_until(lambda: running_pods(kubernetes) == names)
        yield
    finally:
        for name in names:
            kubernetes.delete(f"{PODS}/{name}", params={"gracePeriodSeconds": 0}).raise_for_status()
