"""What a create looks at in its run before it makes a cluster: who would use it, and who would delete it."""

from __future__ import annotations

import pytest
from airflow import __version__
from airflow.sdk import DAG, task, task_group

from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from tests.provider.test_task_group_wiring import CLUSTER, block, evaluate, train
from tests.truth.live_run import LiveRun

pytestmark = [
    pytest.mark.usefixtures("database"),
    pytest.mark.skipif(__version__ < "3.3", reason="plays runs on with the scheduling of the version we develop on"),
]


@pytest.fixture
def api() -> str:
    """The dialect of the connection: all the same here."""
    return "compute"


def block_dag(dag_id: str) -> DAG:
    with DAG(dag_id, schedule=None) as dag:
        with block() as cluster:
            train(cluster.cluster_id)
        cluster >> evaluate()
    return dag


def out_of_stock_once(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=1))


def test_a_create_whose_delete_has_ended_makes_no_cluster_and_says_what_to_clear(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """As "clear failed tasks only" does it after a failed create, whose delete has succeeded."""
    out_of_stock_once(emulator)
    run = LiveRun(block_dag("ended")).play().clear_run(only_failed=True).play()
    assert run.states["h100.create"] == "failed"
    assert emulator.clusters() == []
    assert "Clear h100.delete together with h100.create" in capsys.readouterr().out


def test_a_create_that_nothing_needs_any_more_is_skipped(emulator: Emulator) -> None:
    run = LiveRun(block_dag("needless")).play().clear("h100.create").play()
    assert (run.states["h100.create"], run.state) == ("skipped", "success")
    assert len(emulator.clusters()) == 1


def test_a_create_that_is_cleared_with_a_task_that_needs_it_makes_a_cluster(emulator: Emulator) -> None:
    run = LiveRun(block_dag("needed")).play().clear("h100.train").play()
    assert (run.states["h100.create"], run.state) == ("success", "success")
    assert len(emulator.clusters()) == 2
    assert emulator.alive() == []


def test_in_a_mapped_group_each_index_is_looked_at_by_itself(emulator: Emulator) -> None:
    @task_group
    def trial(rate: float) -> None:
        del rate
        with block() as cluster:
            train(cluster.cluster_id)

    with DAG("indexes", schedule=None) as dag:
        trial.expand(rate=[1, 2])
    run = LiveRun(dag).play().clear(("trial.h100.train", 1)).play()
    assert [run.states[f"trial.h100.create[{index}]"] for index in (0, 1)] == ["skipped", "success"]
    assert len(emulator.clusters()) == 3
    assert emulator.alive() == []


def test_a_delete_that_takes_the_id_gets_one(emulator: Emulator) -> None:
    with DAG("by_hand", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=0.05)
        create >> evaluate() >> delete.as_teardown(setups=create, on_failure_fail_dagrun=True)
    run = LiveRun(dag).play().clear("create").play()
    assert run.state == "success"
    assert len(emulator.clusters()) == 2
    assert emulator.alive() == []


def test_a_create_without_a_delete_is_not_judged(emulator: Emulator) -> None:
    @task
    def use(cluster_id: str) -> str:
        return cluster_id

    with DAG("alone", schedule=None) as dag:
        use(CreateGPUClusterOperator(task_id="create", **CLUSTER).output)  # type: ignore[arg-type]
    run = LiveRun(dag).play().clear("create").play()
    assert run.state == "success"
    assert len(emulator.clusters()) == 1  # which lives on, and was adopted


def test_a_create_that_is_expanded_by_itself_is_not_judged(emulator: Emulator) -> None:
    with DAG("expanded", schedule=None) as dag:
        options = {name: value for name, value in CLUSTER.items() if name != "num_gpus"}
        create = CreateGPUClusterOperator.partial(task_id="create", **options).expand(num_gpus=[8, 16])
        delete = DeleteGPUClusterOperator.partial(task_id="delete", poll_interval=0.05).expand(cluster_id=create.output)
        create >> evaluate() >> delete.as_teardown(setups=create, on_failure_fail_dagrun=True)
    run = LiveRun(dag).play().clear("create").play()
    assert run.state == "success"
    assert len(emulator.clusters()) == 4
    assert emulator.alive() == []
