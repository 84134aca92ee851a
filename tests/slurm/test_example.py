"""The example DAG: a cluster of the emulator's, and a real Slurm in place of the cluster's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_together.emulator import Emulator
from tests.conftest import SPEED
from tests.slurm.site import Site
from tests.support.dag_runs import dag_bag, run_dag

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("database")]

EXAMPLE = Path(__file__).parents[2] / "dags_examples/train_on_slurm.py"


@pytest.fixture(params=["tcloud", "compute"])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Together by each of its APIs, behind the default connection."""
    with Emulator(speed=SPEED) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection(api=request.param))
        yield emulator


@pytest.fixture
def example() -> DAG:
    bag = dag_bag(EXAMPLE)
    assert bag.import_errors == {}
    dag: DAG
    (dag,) = bag.dags.values()
    for one in dag.tasks:
        if "poll_interval" in vars(one):
            setattr(one, "poll_interval", 0.1)  # noqa: B010 - the example looks at the pace of a real cloud
        one.retry_delay = timedelta(0)
    return dag


def test_the_example_trains_with_one_process_per_gpu_and_leaves_no_cluster(
    site: Site, together: Emulator, example: DAG
) -> None:
    run = run_dag(example)
    assert run.state == "success"
    assert run.value("h100.train") == {"ranks": 16}
    assert site.jobs()[-1].state == "COMPLETED"
    assert len(together.clusters()) == 1
    assert together.alive() == []


def test_a_failed_training_fails_the_run_and_leaves_no_cluster(
    site: Site, together: Emulator, example: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example.get_task("h100.train"), "script", "exit 1")
    assert run_dag(example).state == "failed"
    assert site.jobs()[-1].state == "FAILED"
    assert len(together.clusters()) == 1
    assert together.alive() == []
