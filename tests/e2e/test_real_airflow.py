"""The canonical job on a real scheduler, triggerer and api-server, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from airflow_provider_together.demo.airflow_api import Run
from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.links.gpu_cluster import CONSOLE_URL
from tests.e2e.conftest import CANARY_KEY, CANARY_TOKEN

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


@pytest.fixture(scope="module")
def finished_run(stack: AirflowStack, cloud: Emulator) -> Run:
    """A run of the canonical DAG, whose sensor was seen deferred."""
    del cloud
    stack.dags.link(EXAMPLES / "train_on_gpu_cluster.py")
    run = stack.start_run("train_on_gpu_cluster")
    stack.wait_for_task(run, "wait_until_ready", "deferred")
    assert stack.wait_for_run(run) == "success"
    return run


def test_every_task_of_the_canonical_dag_succeeds(stack: AirflowStack, finished_run: Run) -> None:
    states = {instance.name: instance.state for instance in stack.api.task_instances(finished_run)}
    assert states == dict.fromkeys(["create", "wait_until_ready", "train", "report", "delete"], "success")


def test_no_cluster_is_left(finished_run: Run, cloud: Emulator) -> None:
    del finished_run
    assert len(cloud.clusters()) == 1
    assert cloud.alive() == []


def test_the_training_ran_on_the_nodes_and_learned(stack: AirflowStack, finished_run: Run) -> None:
    result = stack.api.xcom(finished_run, "train")
    if isinstance(result, str):
        result = json.loads(result)
    assert result["gpus"] == 16
    assert len(result["nodes"]) == 2
    assert result["loss_after"] < result["loss_before"] / 100


def test_the_button_in_the_ui_leads_to_the_console(stack: AirflowStack, finished_run: Run) -> None:
    path = f"/dags/{finished_run.dag_id}/dagRuns/{finished_run.run_id}/taskInstances"
    cluster_id = stack.api.xcom(finished_run, "create", key="cluster_id")
    for task_id in ("create", "wait_until_ready", "delete"):
        links = stack.api.get(f"{path}/{task_id}/links")["extra_links"]
        assert links["Together console"] == f"{CONSOLE_URL}#{cluster_id}"


def test_the_wait_is_told_by_changes_not_by_looks(stack: AirflowStack, finished_run: Run) -> None:
    lines = stack.api.log(finished_run, "wait_until_ready", try_number=1)
    changes = [line for line in lines if line.startswith("Cluster ") and " is " in line]
    assert len(changes) == len(set(changes))
    assert any(" is READY " in line for line in changes)
    assert [line for line in lines if "HTTP Request" in line] == []


def test_a_failing_training_gives_the_cluster_back_and_fails_the_run(stack: AirflowStack, cloud: Emulator) -> None:
    text = (EXAMPLES / "train_on_gpu_cluster.py").read_text()
    text = text.replace("rows = read_rows()", 'raise RuntimeError("the training crashed")')
    stack.dags.write("failing.py", text.replace("train_on_gpu_cluster", "failing_training"))
    run = stack.start_run("failing_training")
    assert stack.wait_for_run(run) == "failed"
    assert stack.api.task_instance(run, "delete").state == "success"
    assert cloud.alive() == []


WAITING_CREATE = """
from airflow.sdk import dag
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator

@dag(schedule=None)
def waiting_create():
    CreateGPUClusterOperator(
        task_id="create", region="us-central-8", gpu_type="H100_SXM", num_gpus=8, duration_days=1,
        driver_version="CUDA_12_8_570", billing_type="ON_DEMAND", together_conn_id="together_compute",
        wait_for_completion=True, deferrable=True, poll_interval=1,
    )

waiting_create()
"""


def wait_for_trigger(stack: AirflowStack, cloud: Emulator, run: Run) -> None:
    """Wait until the triggerer looks at the cluster: before that nobody hears of the end of a deferred task."""
    seen = len(cloud.requests)
    stack.wait_for_task(run, "create", "deferred")
    stack.wait_for(
        lambda: any(request.route == "get_cluster" for request in cloud.requests[seen:]),
        what="the triggerer looks at the cluster",
        timeout=60,
    )


def test_marking_a_deferred_create_as_failed_gives_the_cluster_back(stack: AirflowStack, cloud: Emulator) -> None:
    stack.dags.write("waiting_create.py", WAITING_CREATE)
    run = stack.start_run("waiting_create")
    wait_for_trigger(stack, cloud, run)
    stack.api.set_task_state(run, "create", "failed")
    stack.wait_for(lambda: not cloud.alive(), what="the cluster is given back", timeout=60)


def test_a_cluster_survives_the_restart_of_the_triggerer(stack: AirflowStack, cloud: Emulator) -> None:
    stack.dags.write("waiting_create.py", WAITING_CREATE)
    run = stack.start_run("waiting_create")
    wait_for_trigger(stack, cloud, run)
    stack.kill("triggerer")
    stack.restart("triggerer")
    assert stack.wait_for_run(run) == "success"
    (cluster,) = cloud.alive()
    assert stack.api.xcom(run, "create") == cluster.cluster_id
    cloud.reset()


def test_no_secret_rests_in_the_database_or_in_any_log(stack: AirflowStack, finished_run: Run) -> None:
    """After the others, to look at what they have left."""
    del finished_run
    canaries = [CANARY_KEY.encode(), CANARY_TOKEN.encode()]
    with sqlite3.connect(stack.home / "airflow.db") as database:
        dump = "\n".join(database.iterdump()).encode()
    assert b"train_on_gpu_cluster" in dump
    found = ["the database" for canary in canaries if canary in dump]
    logs = [path for path in stack.home.rglob("*.log") if path.is_file()]
    assert logs
    for path in logs:
        lines = path.read_bytes().splitlines()
        found += [f"{path}: {line!r}" for line in lines if any(canary in line for canary in canaries)]
    assert found == []


LOGGING = """
import logging

from airflow.sdk import dag, task
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator

@task
def show(cluster_id):
    hook = TogetherHook()
    log = logging.getLogger("training")
    log.info("%s", hook.get_kubeconfig(cluster_id))
    log.info("%s %s %s", hook.get_conn(), hook.settings, hook.get_gpu_cluster(cluster_id))
    log.info("the key is %s", hook.settings.api_key)

@dag(schedule=None)
def logging_everything():
    create = CreateGPUClusterOperator(
        task_id="create", region="us-central-8", gpu_type="H100_SXM", num_gpus=8, duration_days=1,
        driver_version="CUDA_12_8_570", billing_type="ON_DEMAND", wait_for_completion=True, poll_interval=1,
    )
    delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=1)
    show(create.output) >> delete.as_teardown(setups=create)

logging_everything()
"""


def test_a_task_that_logs_everything_logs_no_secret(stack: AirflowStack) -> None:
    """After the scan: LocalExecutor repeats the lines of tasks, unmasked, in the output of the scheduler."""
    stack.dags.write("logging_everything.py", LOGGING)
    run = stack.start_run("logging_everything")
    assert stack.wait_for_run(run) == "success"
    lines = "\n".join(stack.api.log(run, "show", try_number=1))
    assert "the key is ***" in lines
    assert CANARY_TOKEN not in lines
    assert CANARY_KEY not in lines
