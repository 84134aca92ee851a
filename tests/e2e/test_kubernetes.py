"""Trainings on a cluster's Kubernetes under a real scheduler and triggerer, whose processes are really killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.demo.airflow_api import Run
from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from tests.e2e.conftest import CANARY_KEY

pytestmark = pytest.mark.e2e

#: A job and a pod that say that they have begun, go on until a test lets them, and leave a result.
DAG = """
import json
from datetime import timedelta

import airflow.providers.cncf.kubernetes.operators.pod
from airflow.sdk import dag
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator, GPUClusterPodOperator

SCRIPT = "echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo '[\\"trained\\"]' > "

@dag("{dag_id}", schedule=None)
def training():
    settings = dict(
        task_id="train", cluster_id="{cluster_id}", together_conn_id="together_compute", image="python:3.12-slim",
        deferrable={deferrable}, retries={retries}, retry_delay=timedelta(seconds=1),
    )
    if "{kind}" == "job":
        GPUClusterJobOperator(command=["sh", "-c", SCRIPT + "$TOGETHER_RESULT_PATH"], poll_interval=0.5, **settings)
    else:
        GPUClusterPodOperator(
            cmds=["sh", "-c", SCRIPT + "/airflow/xcom/return.json"], do_xcom_push=True, poll_interval=0.5,
            reattach_on_restart={reattaches}, **settings
        )

training()
"""

#: A job that goes on for ever, on a cluster of its own.
BLOCK = """
from airflow.sdk import dag
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

@dag("{dag_id}", schedule=None)
def training():
    with GPUClusterTaskGroup(
        "block", region="us-central-8", gpu_type="H100_SXM", num_gpus=16, duration_days=1,
        driver_version="CUDA_12_8_570", billing_type="ON_DEMAND", poll_interval=0.5,
    ) as cluster:
        GPUClusterJobOperator(
            task_id="train", cluster_id=cluster.cluster_id, image="python:3.12-slim", command=["sleep", "600"],
            poll_interval=0.5, deferrable=False,
        )

training()
"""


@dataclass(frozen=True)
class Training:
    """One run of that DAG, and the cluster that it trains on."""

    stack: AirflowStack
    run: Run
    kubernetes: KubernetesHandle
    go: Path
    kind: str
    made_before: int

    def wait_until_begun(self, *, state: str) -> None:
        """Wait until the training runs, and is looked at by whoever waits for it in that state of the task."""
        self.stack.wait_for_task(self.run, "train", state)
        running = {"job": 2, "pod": 1}[self.kind]
        self.stack.wait_for(
            lambda: [pod.phase for pod in self.kubernetes.pods()] == ["Running"] * running,
            what="all pods run",
            timeout=60,
        )
        # In the triggerer from now on; a worker has perhaps begun to read the log, and asks nothing more.
        requests = self.kubernetes.requests
        since = len(requests) if state == "deferred" else _posts(self.kubernetes, self.kind)[-1]
        self.stack.wait_for(
            lambda: any(
                one.method == "GET" and f"/{self.kind}s/" in one.path and one.status == HTTPStatus.OK
                for one in self.kubernetes.requests[since:]
            ),
            what="somebody looks at it",
            timeout=60,
        )

    @property
    def made(self) -> int:
        """How many jobs, or pods, were asked for."""
        return len(_posts(self.kubernetes, self.kind)) - self.made_before

    def finish(self) -> object:
        """Let the training end, and return its result."""
        self.go.touch()
        assert self.stack.wait_for_run(self.run) == "success"
        result = self.stack.api.xcom(self.run, "train")
        return json.loads(result) if isinstance(result, str) else result

    def wait_until_gone(self) -> None:
        self.stack.wait_for(
            lambda: not self.kubernetes.pods() and not self.kubernetes.jobs() and not self.kubernetes.processes(),
            what="nothing is left on the nodes",
            timeout=60,
        )


def _posts(kubernetes: KubernetesHandle, kind: str) -> list[int]:
    """Return where in the requests a job, or a pod, is asked for."""
    requests = enumerate(kubernetes.requests)
    return [index for index, one in requests if one.method == "POST" and one.path.endswith(f"/{kind}s")]


@pytest.fixture(scope="module")
def kubernetes(cloud: Emulator) -> Iterator[KubernetesHandle]:
    """The Kubernetes of a cluster of two nodes that is READY."""
    spec = ClusterSpec(
        region="us-central-8", gpu_type="H100_SXM", num_gpus=16, cluster_name="nodes", billing_type="ON_DEMAND",
        duration_days=1, driver_version="CUDA_12_8_570",
    )  # fmt: skip
    with Client(Settings(base_url=cloud.url, api_key=CANARY_KEY)) as client:
        cluster_id = client.send(client.dialect.create_cluster(spec)).cluster_id
        cloud.set_status(cluster_id, "READY")
        yield cloud.kubernetes(cluster_id)
        client.send(client.dialect.delete_cluster(cluster_id))
    cloud.reset()


def begin(
    stack: AirflowStack,
    kubernetes: KubernetesHandle,
    tmp_path: Path,
    *,
    kind: str,
    deferrable: bool,
    retries: int = 0,
    reattaches: bool = True,
) -> Training:
    dag_id = f"{tmp_path.name}_{kind}_{'deferred' if deferrable else 'busy'}"
    go = tmp_path / "go"
    text = DAG
    for name, value in {
        "go": go, "dag_id": dag_id, "cluster_id": kubernetes.cluster_id, "deferrable": deferrable, "retries": retries,
        "kind": kind, "reattaches": reattaches,
    }.items():  # fmt: skip
        text = text.replace(f"{{{name}}}", str(value))
    stack.dags.write(f"{dag_id}.py", text)
    made = len(_posts(kubernetes, kind))
    training = Training(stack, stack.start_run(dag_id), kubernetes, go, kind, made)
    training.wait_until_begun(state="deferred" if deferrable else "running")
    return training


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_a_deferred_training_outlives_the_triggerer(
    stack: AirflowStack, kubernetes: KubernetesHandle, tmp_path: Path, kind: str
) -> None:
    training = begin(stack, kubernetes, tmp_path, kind=kind, deferrable=True)
    stack.kill("triggerer")
    stack.restart("triggerer")
    assert training.finish() == ["trained"]
    assert training.made == 1
    assert any("begun" in line for line in stack.api.log(training.run, "train", try_number=1))
    training.wait_until_gone()


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_a_training_whose_worker_is_killed_is_gone_on_with_by_the_next_try(
    stack: AirflowStack, kubernetes: KubernetesHandle, tmp_path: Path, kind: str
) -> None:
    training = begin(stack, kubernetes, tmp_path, kind=kind, deferrable=False, retries=1)
    stack.kill_task(training.run, "train")
    assert training.finish() == ["trained"]
    assert stack.api.task_instance(training.run, "train").try_number == 2
    assert training.made == 1
    training.wait_until_gone()


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "busy"])
@pytest.mark.parametrize("kind", ["job", "pod"])
def test_a_training_that_is_marked_as_failed_leaves_the_nodes(
    stack: AirflowStack, kubernetes: KubernetesHandle, tmp_path: Path, kind: str, *, deferrable: bool
) -> None:
    training = begin(stack, kubernetes, tmp_path, kind=kind, deferrable=deferrable)
    stack.api.set_task_state(training.run, "train", "failed")
    training.wait_until_gone()
    assert training.made == 1


def test_a_pod_that_is_not_to_be_reattached_to_makes_room_when_its_deferred_task_is_cleared(
    stack: AirflowStack, kubernetes: KubernetesHandle, tmp_path: Path
) -> None:
    training = begin(stack, kubernetes, tmp_path, kind="pod", deferrable=True, reattaches=False)
    (first,) = kubernetes.pods()
    stack.api.clear(training.run, ["train"])
    stack.wait_for(lambda: training.made == 2, what="the next try makes its pod", timeout=60)
    assert first.name not in [pod.name for pod in kubernetes.pods()]
    training.wait_until_begun(state="deferred")
    assert training.finish() == ["trained"]
    training.wait_until_gone()


def test_a_job_whose_worker_is_killed_in_its_last_try_runs_on_and_is_gone_on_with_when_the_task_is_cleared(
    stack: AirflowStack, kubernetes: KubernetesHandle, tmp_path: Path
) -> None:
    training = begin(stack, kubernetes, tmp_path, kind="job", deferrable=False)
    stack.kill_task(training.run, "train")
    assert stack.wait_for_run(training.run) == "failed"
    assert [pod.phase for pod in kubernetes.pods()] == ["Running"] * 2
    stack.api.clear(training.run, ["train"])
    training.wait_until_begun(state="running")
    assert training.finish() == ["trained"]
    assert training.made == 1
    training.wait_until_gone()


def test_in_a_block_a_job_whose_worker_is_killed_in_its_last_try_goes_with_the_cluster(
    stack: AirflowStack, cloud: Emulator, tmp_path: Path
) -> None:
    dag_id = f"{tmp_path.name}_block"
    stack.dags.write(f"{dag_id}.py", BLOCK.replace("{dag_id}", dag_id))
    others = {cluster.cluster_id for cluster in cloud.alive()}
    run = stack.start_run(dag_id)
    stack.wait_for_task(run, "block.train", "running")
    (cluster_id,) = {cluster.cluster_id for cluster in cloud.alive()} - others
    kubernetes = cloud.kubernetes(cluster_id)
    stack.wait_for(lambda: len(kubernetes.processes()) >= 2, what="the ranks run", timeout=60)
    stack.kill_task(run, "block.train")
    assert stack.wait_for_run(run) == "failed"
    states = {task.task_id: task.state for task in stack.api.task_instances(run)}
    assert (states["block.train"], states["block.delete"]) == ("failed", "success")
    assert {cluster.cluster_id for cluster in cloud.alive()} == others
    assert (kubernetes.jobs(), kubernetes.pods(), kubernetes.processes()) == ([], [], [])
