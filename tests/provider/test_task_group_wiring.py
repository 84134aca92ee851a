"""The block: what it wires when the DAG is parsed."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup
from tests.provider.test_hook import SPEC

CLUSTER = {name: value for name, value in SPEC.items() if name != "cluster_name"}


def block(group_id: str = "h100", **options: Any) -> GPUClusterTaskGroup:
    return GPUClusterTaskGroup(group_id, poll_interval=0.05, **{**CLUSTER, **options})


@task
def train(cluster_id: str) -> str:
    return TogetherHook().get_gpu_cluster(cluster_id).status


@task
def evaluate() -> str:
    return "evaluated"


def edges(dag: DAG) -> set[tuple[str, str]]:
    return {(one.task_id, other) for one in dag.tasks for other in one.downstream_task_ids}


def test_what_is_inside_stands_between_create_and_delete() -> None:
    with DAG("wired", schedule=None) as dag, block() as cluster:
        train(cluster.cluster_id) >> evaluate()
    assert edges(dag) == {
        ("h100.begin", "h100.create"),
        ("h100.begin", "h100.delete"),
        ("h100.create", "h100.train"),
        ("h100.train", "h100.evaluate"),
        ("h100.evaluate", "h100.delete"),
        ("h100.evaluate", "h100.done"),
    }


def test_a_task_that_takes_no_cluster_waits_for_it_all_the_same() -> None:
    with DAG("wired", schedule=None) as dag, block():
        evaluate()
    assert ("h100.create", "h100.evaluate") in edges(dag)


def test_what_comes_before_and_after_the_block_does_not_reach_into_it() -> None:
    with DAG("wired", schedule=None) as dag:
        before = evaluate.override(task_id="before")()
        with block() as cluster:
            train(cluster.cluster_id)
        before >> cluster >> evaluate.override(task_id="after")()
    outer = {edge for edge in edges(dag) if "before" in edge or "after" in edge}
    assert outer == {("before", "h100.begin"), ("h100.done", "after")}


def test_an_empty_block_is_wired_too() -> None:
    with DAG("wired", schedule=None) as dag, block():
        pass
    assert {("h100.create", "h100.delete"), ("h100.create", "h100.done")} <= edges(dag)


def test_a_block_inside_a_block_ends_before_it_and_its_leak_is_not_hidden() -> None:
    with DAG("wired", schedule=None) as dag, block("outer"), block("inner") as cluster:
        train(cluster.cluster_id)
    assert {
        ("outer.create", "outer.inner.begin"),
        ("outer.inner.delete", "outer.delete"),
        ("outer.inner.delete", "outer.done"),
        ("outer.inner.done", "outer.done"),
    } <= edges(dag)


def test_nothing_is_wired_after_an_error_inside() -> None:
    def fill() -> None:
        with block():
            message = "a mistake in the DAG file"
            raise ValueError(message)

    with DAG("wired", schedule=None) as dag:
        with pytest.raises(ValueError, match="a mistake in the DAG file"):
            fill()
        evaluate()
    assert "evaluate" in dag.task_ids


def test_the_cluster_is_unknown_outside_of_the_block() -> None:
    with DAG("wired", schedule=None), pytest.raises(RuntimeError, match="'h100' is there inside of its block"):
        _ = block().cluster_id


def test_airflows_own_parameters_reach_the_group() -> None:
    with DAG("wired", schedule=None) as dag, block(tooltip="eight GPUs", default_args={"retries": 3}):
        pass
    assert dag.task_group.get_child_by_label("h100").tooltip == "eight GPUs"  # type: ignore[attr-defined]
    assert {one.retries for one in dag.tasks} == {3}


def test_a_wrong_parameter_is_told_when_the_dag_is_parsed() -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match="num_gpus=12 is wrong"), block(num_gpus=12):
        pass


def test_an_existing_cluster_cannot_be_described_anew() -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match="so that num_gpus, region cannot be chosen"):
        GPUClusterTaskGroup("h100", cluster="c-1", num_gpus=8, region="us-central-8")
