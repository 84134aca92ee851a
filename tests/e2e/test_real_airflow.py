"""The canonical job on a real scheduler, triggerer and api-server, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.demo.airflow_api import Run
from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.links.gpu_cluster import CONSOLE_URL
from tests.e2e.conftest import CANARY_KEY, CANARY_TOKEN

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


@pytest.fixture(scope="module")
def finished_run(stack: AirflowStack, cloud: Emulator) -> Run:
    """A run of the canonical DAG, whose create was seen deferred."""
    del cloud
    stack.dags.link(EXAMPLES / "train_on_gpu_cluster.py")
    run = stack.start_run("train_on_gpu_cluster")
    stack.wait_for_task(run, "h100.create", "deferred")
    assert stack.wait_for_run(run) == "success"
    return run


def test_every_task_of_the_canonical_dag_succeeds(stack: AirflowStack, finished_run: Run) -> None:
    states = {instance.name: instance.state for instance in stack.api.task_instances(finished_run)}
    names = ["h100.begin", "h100.create", "h100.train", "h100.done", "h100.delete", "h100.outcome", "report"]
    assert states == dict.fromkeys(names, "success")


def test_no_cluster_is_left(finished_run: Run, cloud: Emulator) -> None:
    del finished_run
    assert len(cloud.clusters()) == 1
    assert cloud.alive() == []


def test_the_training_ran_on_the_nodes_and_learned(stack: AirflowStack, finished_run: Run) -> None:
    result = stack.api.xcom(finished_run, "h100.train")
    if isinstance(result, str):
        result = json.loads(result)
    assert result["nodes"] == 2
    assert result["loss"] < 1e-6


def test_the_button_in_the_ui_leads_to_the_console(stack: AirflowStack, finished_run: Run) -> None:
    path = f"/dags/{finished_run.dag_id}/dagRuns/{finished_run.run_id}/taskInstances"
    cluster_id = stack.api.xcom(finished_run, "h100.create", key="cluster_id")
    for task_id in ("h100.create", "h100.delete"):
        links = stack.api.get(f"{path}/{task_id}/links")["extra_links"]
        assert links["Together console"] == f"{CONSOLE_URL}#{cluster_id}"


def test_the_wait_is_told_by_changes_not_by_looks(stack: AirflowStack, finished_run: Run) -> None:
    lines = stack.api.log(finished_run, "h100.create", try_number=1)
    changes = [line for line in lines if line.startswith("Cluster ") and " is " in line]
    assert len(changes) == len(set(changes))
    assert any(" is READY " in line for line in changes)
    assert [line for line in lines if "HTTP Request" in line] == []


def test_a_failing_training_gives_the_cluster_back_and_fails_the_run(stack: AirflowStack, cloud: Emulator) -> None:
    text = (EXAMPLES / "train_on_gpu_cluster.py").read_text()
    text = text.replace("TRAINING]", "\"raise SystemExit('the training crashed')\"]")
    stack.dags.write("failing.py", text.replace("train_on_gpu_cluster", "failing_training"))
    run = stack.start_run("failing_training")
    assert stack.wait_for_run(run) == "failed"
    assert stack.api.task_instance(run, "h100.delete").state == "success"
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


@contextmanager
def never_ready(cloud: Emulator) -> Iterator[None]:
    """Keep clusters from becoming READY, so that a slow machine does not miss the wait."""
    cloud.inject(Fault(route="get_cluster", kind="status_word", word="PENDING", times=None))
    try:
        yield
    finally:
        cloud.clear_faults()


WAITING_SENSORS = """
from airflow.sdk import dag
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor

@dag(schedule=None)
def waiting_sensors():
    waiting = ClusterReadySensor.partial(task_id="ready", deferrable=True, poke_interval=1)
    waiting.expand(cluster_id=CLUSTER_IDS)

waiting_sensors()
"""


def test_all_who_wait_in_a_triggerer_are_served_by_one_list(stack: AirflowStack, cloud: Emulator) -> None:
    spec = ClusterSpec(
        region="us-central-8", gpu_type="H100_SXM", num_gpus=8, cluster_name="shared", billing_type="ON_DEMAND",
        duration_days=1, driver_version="CUDA_12_8_570",
    )  # fmt: skip
    with Client(Settings(base_url=cloud.url, api_key=CANARY_KEY)) as client:
        ids = [client.send(client.dialect.create_cluster(spec)).cluster_id for _ in range(6)]
    try:
        for cluster_id in ids:
            cloud.set_status(cluster_id, "PENDING")
        stack.dags.write("waiting_sensors.py", WAITING_SENSORS.replace("CLUSTER_IDS", repr(ids)))
        run = stack.start_run("waiting_sensors")
        stack.wait_for(
            lambda: [one.state for one in stack.api.task_instances(run)] == ["deferred"] * len(ids),
            what="all sensors are deferred",
            timeout=120,
        )
        seen = len(cloud.requests)
        stack.wait_for(
            lambda: sum(record.route == "list_clusters" for record in cloud.requests[seen:]) >= 5,
            what="rounds of the triggerer",
            timeout=60,
        )
        asked = [record.route for record in cloud.requests[seen:]]
        for cluster_id in ids:
            cloud.set_status(cluster_id, "READY")
        assert stack.wait_for_run(run) == "success"
    finally:
        cloud.reset()
    # Those whose triggers start last may still have a look of their own.
    assert asked.count("get_cluster") <= len(ids)
    assert asked[-3:] == ["list_clusters"] * 3
    for index, cluster_id in enumerate(ids):
        lines = stack.api.log(run, "ready", try_number=1, map_index=index)
        told = [line for line in lines if line.startswith("Cluster ") and " is " in line]
        assert told
        assert all(line.startswith(f"Cluster {cluster_id} ") for line in told)


def wait_for_look(stack: AirflowStack, cloud: Emulator, run: Run, *, state: str) -> None:
    """Wait until the task is in that state and its cluster is looked at: before that nobody hears of its end."""
    stack.wait_for_task(run, "create", state)
    cluster_id = stack.wait_for(
        lambda: stack.api.xcom(run, "create", key="cluster_id"), what="the cluster is known", timeout=60
    )
    seen = len(cloud.requests)
    stack.wait_for(
        lambda: any(r.method == "GET" and r.path.endswith(cluster_id) for r in cloud.requests[seen:]),
        what="a look at the cluster",
        timeout=60,
    )


def test_marking_a_deferred_create_as_failed_gives_the_cluster_back(stack: AirflowStack, cloud: Emulator) -> None:
    stack.dags.write("waiting_create.py", WAITING_CREATE)
    with never_ready(cloud):
        run = stack.start_run("waiting_create")
        wait_for_look(stack, cloud, run, state="deferred")
        stack.api.set_task_state(run, "create", "failed")
        stack.wait_for(lambda: not cloud.alive(), what="the cluster is given back", timeout=60)


def test_marking_a_create_that_waits_in_a_worker_as_failed_gives_the_cluster_back(
    stack: AirflowStack, cloud: Emulator
) -> None:
    text = WAITING_CREATE.replace("waiting_create", "busy_create").replace("deferrable=True", "deferrable=False")
    stack.dags.write("busy_create.py", text)
    with never_ready(cloud):
        run = stack.start_run("busy_create")
        wait_for_look(stack, cloud, run, state="running")
        stack.api.set_task_state(run, "create", "failed")
        stack.wait_for(lambda: not cloud.alive(), what="the cluster is given back", timeout=60)


def test_a_worker_that_is_killed_while_it_waits_leads_to_the_same_cluster(stack: AirflowStack, cloud: Emulator) -> None:
    text = WAITING_CREATE.replace("waiting_create", "killed_create").replace("deferrable=True", "deferrable=False")
    text = text.replace("poll_interval=1,", "poll_interval=1, retries=1, retry_delay=timedelta(seconds=1),")
    stack.dags.write("killed_create.py", "from datetime import timedelta\n" + text)
    made = len(cloud.clusters())
    with never_ready(cloud):
        run = stack.start_run("killed_create")
        wait_for_look(stack, cloud, run, state="running")
        stack.kill_task(run, "create")
    assert stack.wait_for_run(run) == "success"
    assert stack.api.task_instance(run, "create").try_number == 2
    assert len(cloud.clusters()) == made + 1
    (cluster,) = cloud.alive()
    assert stack.api.xcom(run, "create") == cluster.cluster_id
    cloud.reset()


def test_a_cluster_survives_the_restart_of_the_triggerer(stack: AirflowStack, cloud: Emulator) -> None:
    stack.dags.write("waiting_create.py", WAITING_CREATE)
    with never_ready(cloud):
        run = stack.start_run("waiting_create")
        wait_for_look(stack, cloud, run, state="deferred")
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
