"""A real scheduler, triggerer and worker, whose tasks train on a real Slurm: what is killed on the way, and by whom."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_together.demo.airflow_api import Run
from airflow_provider_together.demo.airflow_stack import TRIGGERER, AirflowStack
from airflow_provider_together.emulator import Emulator
from tests.slurm.site import PASSPHRASE, Job, Site
from tests.slurm.site import until as until_within

pytestmark = pytest.mark.slurm

TRAINING = """
from datetime import timedelta

from airflow.sdk import DAG
from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator

with DAG("DAG_ID", schedule=None):
    GPUClusterSlurmOperator(
        task_id="train",
        cluster_id="c-1",
        ssh_conn_id="slurm_login",
        script="echo begun; sleep SECONDS; echo '[3]' >$TOGETHER_RESULT_PATH",
        poll_interval=1,
        deferrable=DEFERRABLE,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
"""


def until(is_so: Callable[[], bool]) -> None:
    """Wait as long as a busy machine needs: a triggerer's first question to Airflow alone takes seconds."""
    until_within(is_so, seconds=120)


@pytest.fixture(scope="module")
def stack(running_site: Site) -> Iterator[AirflowStack]:
    with Emulator() as emulator:
        connections = {
            "AIRFLOW_CONN_TOGETHER_DEFAULT": emulator.connection(),
            "AIRFLOW_CONN_SLURM_LOGIN": json.dumps(running_site.connection()),
        }
        with AirflowStack(environment=connections) as running:
            yield running


@pytest.fixture
def jobs(running_site: Site) -> Iterator[Site]:
    yield running_site
    running_site.cancel_all()


def start(stack: AirflowStack, dag_id: str, *, seconds: int, deferrable: bool) -> Run:
    text = TRAINING.replace("DAG_ID", dag_id).replace("SECONDS", str(seconds)).replace("DEFERRABLE", str(deferrable))
    stack.dags.write(f"{dag_id}.py", text)
    return stack.start_run(dag_id)


def jobs_of(site: Site, dag_id: str) -> list[Job]:
    return [job for job in site.jobs() if job.name.startswith(f"{dag_id}.train.")]


def states_of(site: Site, dag_id: str) -> list[str]:
    return [job.state for job in jobs_of(site, dag_id)]


def await_running(stack: AirflowStack, site: Site, run: Run, *, state: str) -> None:
    stack.wait_for_task(run, "train", state)
    until(lambda: states_of(site, run.dag_id) == ["RUNNING"])
    if state == "deferred":
        # A task that is ended before the triggerer has begun to wait is a trigger that nobody ever calls.
        until(lambda: "is RUNNING" in "\n".join(stack.api.log(run, "train", try_number=1)))


def test_a_deferred_training_shows_its_output_and_its_result(stack: AirflowStack, jobs: Site) -> None:
    run = start(stack, "deferred_training", seconds=3, deferrable=True)
    stack.wait_for_task(run, "train", "deferred")
    assert stack.wait_for_run(run) == "success"
    assert stack.api.xcom(run, "train") in ([3], "[3]")
    assert "begun" in stack.api.log(run, "train", try_number=1)
    assert states_of(jobs, run.dag_id) == ["COMPLETED"]


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in the worker"])
def test_marking_a_training_as_failed_cancels_its_job(stack: AirflowStack, jobs: Site, deferrable: bool) -> None:
    run = start(stack, f"marked_{deferrable}", seconds=90, deferrable=deferrable)
    await_running(stack, jobs, run, state="deferred" if deferrable else "running")
    stack.api.set_task_state(run, "train", "failed")
    until(lambda: states_of(jobs, run.dag_id) == ["CANCELLED"])


def test_clearing_a_deferred_training_goes_on_with_its_job(stack: AirflowStack, jobs: Site) -> None:
    run = start(stack, "cleared", seconds=15, deferrable=True)
    await_running(stack, jobs, run, state="deferred")
    stack.api.clear(run, ["train"])
    assert stack.wait_for_run(run) == "success"
    assert stack.api.task_instance(run, "train").try_number == 2
    assert states_of(jobs, run.dag_id) == ["COMPLETED"]


def test_clearing_a_finished_training_runs_it_again(stack: AirflowStack, jobs: Site) -> None:
    run = start(stack, "again", seconds=1, deferrable=False)
    assert stack.wait_for_run(run) == "success"
    stack.api.clear(run, ["train"])
    assert stack.wait_for_run(run) == "success"
    assert states_of(jobs, run.dag_id) == ["COMPLETED", "COMPLETED"]


def test_a_worker_that_is_killed_between_sbatch_and_saving_leaves_one_job(stack: AirflowStack, jobs: Site) -> None:
    with jobs.hindered("sbatch", '/usr/bin/sbatch "$@"; touch ~/submitted; sleep 20'):
        run = start(stack, "killed_worker", seconds=5, deferrable=False)
        until((jobs.home / "submitted").exists)
        stack.kill_task(run, "train")
    assert stack.wait_for_run(run) == "success"
    assert stack.api.task_instance(run, "train").try_number == 2
    assert states_of(jobs, run.dag_id) == ["COMPLETED"]


def test_a_job_survives_the_death_of_the_triggerer(stack: AirflowStack, jobs: Site) -> None:
    run = start(stack, "killed_triggerer", seconds=15, deferrable=True)
    await_running(stack, jobs, run, state="deferred")
    stack.kill(TRIGGERER)
    stack.restart(TRIGGERER)
    assert stack.wait_for_run(run) == "success"
    assert states_of(jobs, run.dag_id) == ["COMPLETED"]


def test_no_secret_rests_in_the_database_or_in_any_log(stack: AirflowStack, running_site: Site) -> None:
    """After the others, to look at what they have left."""
    secrets = [PASSPHRASE, max(running_site.private_key.splitlines(), key=len)]
    with sqlite3.connect(stack.home / "airflow.db") as database:
        dump = "\n".join(database.iterdump())
    assert "killed_triggerer" in dump
    texts = {"the database": dump}
    texts |= {str(path): path.read_text(errors="replace") for path in stack.home.rglob("*.log") if path.is_file()}
    assert len(texts) > 1
    assert [name for name, text in texts.items() if any(secret in text for secret in secrets)] == []
