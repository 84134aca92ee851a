"""The block: what becomes of its cluster, in DAGs on real Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task, task_group

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup
from tests.provider.test_hook import SPEC
from tests.provider.test_task_group_wiring import block, evaluate, train
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_api]


@task
def fail(cluster_id: str) -> None:
    message = f"the training on {cluster_id} crashed"
    raise RuntimeError(message)


def run_block(fill: Callable[[GPUClusterTaskGroup], Any], **options: Any) -> Run:
    with DAG("block", schedule=None) as dag:
        with block(**options) as cluster:
            fill(cluster)
        cluster >> evaluate()
    return run_dag(dag)


@pytest.mark.parametrize("deferrable", [False, True])
class TestLife:
    @pytest.mark.both_apis
    def test_the_cluster_lives_as_long_as_the_work(self, emulator: Emulator, deferrable: bool) -> None:
        run = run_block(lambda cluster: train(cluster.cluster_id), deferrable=deferrable)
        assert run.state == "success"
        assert set(run.states.values()) == {"success"}
        assert run.value("h100.train") in {"READY", "Ready"}
        assert len(emulator.clusters()) == 1
        assert emulator.alive() == []

    def test_a_work_that_fails_gives_it_back_and_fails_the_run(self, emulator: Emulator, deferrable: bool) -> None:
        run = run_block(lambda cluster: fail(cluster.cluster_id), deferrable=deferrable)
        assert run.state == "failed"
        assert run.states["h100.delete"] == "success"
        assert run.states["evaluate"] == "upstream_failed"
        assert emulator.alive() == []

    def test_a_cluster_that_fails_is_given_back_and_the_run_fails(self, emulator: Emulator, deferrable: bool) -> None:
        emulator.inject(Fault(route="create_cluster", kind="failed_life", seconds=0.01, times=1))
        run = run_block(lambda cluster: train(cluster.cluster_id), deferrable=deferrable, timeout=30)
        assert run.state == "failed"
        assert run.states["h100.train"] == "upstream_failed"
        assert run.states["h100.delete"] == "success"
        assert emulator.alive() == []

    def test_a_create_that_keeps_its_failed_cluster_leaves_it_to_delete(
        self, emulator: Emulator, deferrable: bool
    ) -> None:
        emulator.inject(Fault(route="get_cluster", kind="status_word", word="PENDING", times=None))
        with (
            DAG("block", schedule=None) as dag,
            block(deferrable=deferrable, timeout=0.3, delete_on_failure=False) as cluster,
        ):
            train(cluster.cluster_id)
        dag.get_task("h100.create").on_failure_callback = [lambda _: emulator.clear_faults()]
        run = run_dag(dag)
        assert run.state == "failed"
        assert run.states["h100.create"] == "failed"
        assert run.states["h100.delete"] == "success"
        assert len(emulator.clusters()) == 1
        assert emulator.alive() == []


def test_a_create_that_was_refused_leaves_delete_nothing_to_do(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=None))
    run = run_block(lambda cluster: train(cluster.cluster_id))
    assert run.state == "failed"
    assert run.states["h100.delete"] == "success"
    assert emulator.clusters() == []


@pytest.mark.both_apis
def test_delete_finds_what_create_never_heard_of(emulator: Emulator) -> None:
    """The answer is lost and the list hides the cluster until create has given up."""
    emulator.inject(
        Fault(route="create_cluster", kind="lose_answer", times=1),
        Fault(route="list_clusters", kind="hide_cluster", times=None),
    )
    with DAG("block", schedule=None) as dag, block() as cluster:
        train(cluster.cluster_id)
    dag.get_task("h100.create").on_failure_callback = [lambda _: emulator.clear_faults()]
    run = run_dag(dag)
    assert run.states["h100.create"] == "failed"
    assert run.states["h100.delete"] == "success"
    assert len(emulator.clusters()) == 1
    assert emulator.alive() == []


def test_a_cluster_that_cannot_be_given_back_fails_the_run(emulator: Emulator) -> None:
    emulator.inject(Fault(route="delete_cluster", kind="status", status=403, times=None))
    with DAG("block", schedule=None) as dag, block() as cluster:
        train(cluster.cluster_id)
    delete: Any = dag.get_task("h100.delete")
    delete.timeout, delete.retries = 0.3, 0
    run = run_dag(dag)
    assert run.states["h100.done"] == "success"
    assert run.states["h100.delete"] == "failed"
    assert run.state == "failed"
    assert len(emulator.alive()) == 1


def test_a_notification_behind_a_failed_training_does_not_make_the_run_green(emulator: Emulator) -> None:
    with DAG("notifying", schedule=None) as dag:
        with block() as cluster:
            fail(cluster.cluster_id) >> evaluate.override(task_id="notify", trigger_rule="all_done")()
        cluster >> evaluate.override(task_id="report", trigger_rule="all_done")()
    run = run_dag(dag)
    assert run.states["h100.notify"] == "success"
    assert run.states["h100.done"] == "upstream_failed"
    assert run.states["report"] == "success"
    assert run.state == "failed"
    assert emulator.alive() == []


@pytest.mark.both_apis
def test_an_adopted_cluster_is_waited_for_and_left_alive(emulator: Emulator) -> None:
    theirs = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    with DAG("adopting", schedule=None) as dag:
        with GPUClusterTaskGroup("theirs", cluster=theirs.cluster_id, poll_interval=0.05) as cluster:
            train(cluster.cluster_id)
        cluster >> evaluate()
    run = run_dag(dag)
    assert run.state == "success"
    assert set(run.states) == {"theirs.wait_until_ready", "theirs.train", "evaluate"}
    assert run.value("theirs.train") in {"READY", "Ready"}
    assert [one.cluster_id for one in emulator.alive()] == [theirs.cluster_id]


def test_the_cluster_of_one_block_may_be_used_by_another(emulator: Emulator) -> None:
    with (
        DAG("lending", schedule=None) as dag,
        block("outer") as outer,
        GPUClusterTaskGroup("inner", cluster=outer.cluster_id, poll_interval=0.05) as inner,
    ):
        train(inner.cluster_id)
    run = run_dag(dag)
    assert run.state == "success"
    assert len(emulator.clusters()) == 1
    assert emulator.alive() == []


def test_two_blocks_have_a_cluster_each(emulator: Emulator) -> None:
    with DAG("two", schedule=None) as dag:
        with block("first") as first:
            train(first.cluster_id)
        with block("second") as second:
            train(second.cluster_id)
        first >> second
    run = run_dag(dag)
    assert run.state == "success"
    assert len({one.cluster_name for one in emulator.clusters()}) == 2
    assert emulator.alive() == []


def test_a_block_in_a_mapped_group_has_a_cluster_for_each_index(emulator: Emulator) -> None:
    @task
    def train_at(cluster_id: str, rate: float) -> float:
        if rate > 1:
            message = f"diverged on {cluster_id}"
            raise RuntimeError(message)
        return rate

    @task_group
    def trial(rate: float) -> Any:
        with block("h100") as cluster:
            return train_at(cluster.cluster_id, rate)

    with DAG("mapped", schedule=None) as dag:
        trial.expand(rate=[0.1, 2.0, 0.2])
    run = run_dag(dag)
    states = [run.states[f"trial.h100.train_at[{index}]"] for index in range(3)]
    assert states == ["success", "failed", "success"]
    assert [run.states[f"trial.h100.delete[{index}]"] for index in range(3)] == ["success"] * 3
    assert run.state == "failed"
    assert len(emulator.clusters()) == 3
    assert emulator.alive() == []
