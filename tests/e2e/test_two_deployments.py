"""Two real Airflows in one Together project that run the same DAG under the same run id, with nothing configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from airflow_provider_together.demo.airflow_api import AirflowAPIError, Run
from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.lifecycle.name import ClusterName

pytestmark = pytest.mark.e2e

#: Of the one scheduled run.
RUN_ID = "scheduled__2026-11-01T00:00:00+00:00"

#: The first that runs anywhere: four tasks at the same time find no deployment id, and each is killed once.
KEEPING = """
import os, signal
from datetime import datetime
from airflow.sdk import dag
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator

class KilledOnce(CreateGPUClusterOperator):
    def execute(self, context):
        cluster_id = super().execute(context)
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return cluster_id

@dag(schedule="@once", start_date=datetime(2026, 11, 1))
def keeping():
    KilledOnce.partial(
        task_id="create", region="us-central-8", gpu_type="H100_SXM", duration_days=1,
        driver_version="CUDA_12_8_570", billing_type="ON_DEMAND", retries=1, retry_delay=0.1,
    ).expand(num_gpus=[8, 8, 8, 8])

keeping()
"""


@pytest.fixture(scope="module")
def shared_cloud() -> Iterator[Emulator]:
    """The Together project that both share."""
    with Emulator(speed=600.0) as running:
        yield running


@pytest.fixture(scope="module")
def both(shared_cloud: Emulator) -> Iterator[tuple[AirflowStack, AirflowStack]]:
    """Production, and its staging copy."""
    environment = {"AIRFLOW_CONN_TOGETHER_DEFAULT": shared_cloud.connection(api="tcloud")}
    with AirflowStack(environment=environment) as production, AirflowStack(environment=environment) as staging:
        yield production, staging


@pytest.fixture(scope="module")
def run(both: tuple[AirflowStack, AirflowStack]) -> Run:
    """The same run in both, over."""
    for stack in both:
        stack.dags.write("keeping.py", KEEPING)
    for stack in both:
        stack.wait_for_dag("keeping")
        stack.api.set_paused("keeping", is_paused=False)
    run = Run("keeping", RUN_ID)
    for stack in both:
        stack.wait_for(partial(_begun, stack, run), what="the scheduled run", timeout=60)
        assert stack.wait_for_run(run) == "success"
    return run


def _begun(stack: AirflowStack, run: Run) -> bool:
    try:
        return bool(stack.api.run_state(run))
    except AirflowAPIError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        return False


def clusters_of(stack: AirflowStack, run: Run) -> list[str]:
    return [str(stack.api.xcom(run, "create", map_index=index)) for index in range(4)]


def swept(stack: AirflowStack) -> str:
    command = [str(Path(sys.executable).with_name("together-airflow")), "sweep", "--delete", "--poll-interval", "0.2"]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_each_makes_its_own_clusters_and_no_retry_makes_a_second(
    both: tuple[AirflowStack, AirflowStack], run: Run, shared_cloud: Emulator
) -> None:
    """Also though the ids of both deployments were made up by several tasks at the same time."""
    ours, theirs = (set(clusters_of(stack, run)) for stack in both)
    assert len(ours) == len(theirs) == 4
    assert ours.isdisjoint(theirs)
    assert {cluster.cluster_id for cluster in shared_cloud.clusters()} == ours | theirs


def test_the_names_tell_the_deployments_apart_and_are_the_same_otherwise(
    both: tuple[AirflowStack, AirflowStack], run: Run, shared_cloud: Emulator
) -> None:
    names = {cluster.cluster_id: ClusterName.parse(cluster.cluster_name) for cluster in shared_cloud.clusters()}
    ours, theirs = ({names[cluster_id] for cluster_id in clusters_of(stack, run)} for stack in both)
    deployments = [{name.deployment for name in some if name} for some in (ours, theirs)]
    digests = [{name.owner_digest for name in some if name} for some in (ours, theirs)]
    assert deployments[0].isdisjoint(deployments[1])
    assert digests[0] == digests[1]


def test_a_sweep_of_one_leaves_the_other_ones_alive(
    both: tuple[AirflowStack, AirflowStack], run: Run, shared_cloud: Emulator
) -> None:
    """Both runs are over, so that each has four forgotten clusters."""
    theirs = set(clusters_of(both[1], run))
    assert "4 deleted" in swept(both[0])
    assert {cluster.cluster_id for cluster in shared_cloud.alive()} == theirs
    assert "4 deleted" in swept(both[1])
    assert shared_cloud.alive() == []
