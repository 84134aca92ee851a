"""The block: what it wires when the DAG is parsed."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, task

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup
from tests.provider.test_hook import SPEC

CLUSTER: dict[str, Any] = {name: value for name, value in SPEC.items() if name != "cluster_name"}


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
        ("h100.begin", "h100.outcome"),
        ("h100.create", "h100.delete"),
        ("h100.create", "h100.outcome"),
        ("h100.create", "h100.train"),
        ("h100.train", "h100.evaluate"),
        ("h100.train", "h100.outcome"),
        ("h100.evaluate", "h100.delete"),
        ("h100.evaluate", "h100.done"),
        ("h100.evaluate", "h100.outcome"),
    }


def test_each_setup_of_the_block_has_its_teardowns() -> None:
    """One without would count for everything that ever follows it."""
    with DAG("wired", schedule=None) as dag, block() as cluster:
        train(cluster.cluster_id)
    setups = {one.task_id for one in dag.tasks if one.is_setup}
    teardowns = {one.task_id for one in dag.tasks if one.is_teardown}
    assert setups == {"h100.begin", "h100.create"}
    assert teardowns == {"h100.delete", "h100.outcome"}
    assert {(setup, teardown) for setup in setups for teardown in teardowns} <= edges(dag)


def test_no_task_around_the_block_drags_its_cluster_along_when_it_is_cleared() -> None:
    with DAG("wired", schedule=None) as dag:
        with block() as cluster:
            train(cluster.cluster_id)
        cluster >> evaluate()
    for task_id in ("evaluate", "h100.done"):
        assert set(dag.partial_subset([task_id], include_upstream=False).task_dict) == {task_id}


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
        ("outer.inner.delete", "outer.outcome"),
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


def test_the_cluster_is_not_lent_to_what_its_delete_does_not_wait_for() -> None:
    with DAG("wired", schedule=None):
        with block() as cluster:
            evaluate()
        with pytest.raises(RuntimeError, match="'h100' is there inside of its block"):
            _ = cluster.cluster_id


def test_a_block_that_does_not_wait_is_refused() -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match="wait_for_completion=False is wrong"):
        block(wait_for_completion=False)


def test_airflows_own_parameters_reach_the_group() -> None:
    with DAG("wired", schedule=None) as dag, block(tooltip="eight GPUs", default_args={"retries": 3}):
        pass
    assert dag.task_group.get_child_by_label("h100").tooltip == "eight GPUs"  # type: ignore[attr-defined]
    assert {one.retries for one in dag.tasks} == {3}


TEAM = {"together_conn_id": "team_a", "deferrable": False, "poll_interval": 30, "timeout": 600, "pool": "gpus"}


def of_team(dag: DAG) -> dict[str, dict[str, Any]]:
    """What the tasks have of it; a sensor calls its interval otherwise."""
    seen = {}
    for one in dag.tasks:
        values = {name: getattr(one, name, None) for name in TEAM}
        values["poll_interval"] = values["poll_interval"] or getattr(one, "poke_interval", None)
        seen[one.task_id] = values
    return seen


@pytest.mark.parametrize("place", ["the DAG", "a group around it", "the block"])
@pytest.mark.parametrize("adopted", [{}, {"cluster": "c-1"}])
def test_what_is_not_given_comes_from_default_args(place: str, adopted: dict[str, str]) -> None:
    def args(here: str) -> dict[str, Any]:
        return {"default_args": TEAM} if place == here else {}

    options: dict[str, Any] = adopted or CLUSTER
    with (
        DAG("wired", schedule=None, **args("the DAG")) as dag,
        TaskGroup("around", **args("a group around it")),
        GPUClusterTaskGroup("h100", **options, **args("the block")),
    ):
        evaluate()
    ours = {"around.h100.create", "around.h100.delete"} if not adopted else {"around.h100.wait_until_ready"}
    assert {name: values for name, values in of_team(dag).items() if name in ours} == dict.fromkeys(ours, TEAM)
    assert {one.pool for one in dag.tasks} == {"gpus"}


def test_what_is_given_comes_before_default_args() -> None:
    given: dict[str, Any] = {"together_conn_id": "team_b", "deferrable": True, "poll_interval": 5, "timeout": 60}
    with DAG("wired", schedule=None, default_args=TEAM) as dag, GPUClusterTaskGroup("h100", **CLUSTER, **given):
        pass
    seen = of_team(dag)
    assert seen["h100.create"] == {**TEAM, **given}
    assert seen["h100.delete"] == {**TEAM, **given, "timeout": 600}  # how long READY is waited for is no matter of it


def test_the_cluster_itself_may_stand_in_default_args() -> None:
    with DAG("wired", schedule=None, default_args=CLUSTER) as dag, GPUClusterTaskGroup("h100"):
        pass
    create = dag.get_task("h100.create")
    assert {name: getattr(create, name) for name in CLUSTER} == CLUSTER


def test_without_a_word_of_the_user_the_block_waits_deferred_and_its_delete_has_retries() -> None:
    with DAG("wired", schedule=None) as dag, block():
        pass
    delete = dag.get_task("h100.delete")
    assert (dag.get_task("h100.create").deferrable, delete.deferrable, delete.retries) == (True, True, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", ["all_done", "none_failed", "one_success"])
def test_any_trigger_rule_may_stand_inside(rule: str) -> None:
    with DAG("wired", schedule=None) as dag, block() as cluster:
        first = train.override(task_id="first", trigger_rule=rule)(cluster.cluster_id)
        first >> evaluate.override(trigger_rule=rule)()
        train.override(task_id="other")(cluster.cluster_id)
    dag.validate()  # type: ignore[no-untyped-call]
    assert ("h100.create", "h100.first") not in edges(dag)
    assert {("h100.create", "h100.ready"), ("h100.ready", "h100.first"), ("h100.create", "h100.other")} <= edges(dag)


def test_a_rule_in_default_args_is_not_that_of_a_setup() -> None:
    with DAG("wired", schedule=None, default_args={"trigger_rule": "all_done"}) as dag, block():
        evaluate()
    dag.validate()  # type: ignore[no-untyped-call]
    assert dag.get_task("h100.begin").trigger_rule == "all_done"
    assert dag.get_task("h100.create").trigger_rule == "all_success"


def test_a_rule_of_the_block_says_when_it_begins() -> None:
    with DAG("wired", schedule=None) as dag, block(trigger_rule="none_failed"):
        evaluate()
    dag.validate()  # type: ignore[no-untyped-call]
    assert dag.get_task("h100.begin").trigger_rule == "none_failed"


def test_what_waits_for_its_past_inside_waits_before_a_cluster_is_made() -> None:
    with DAG("wired", schedule=None, default_args={"depends_on_past": True}) as dag, block():
        evaluate()
    begin = dag.get_task("h100.begin")
    assert (begin.depends_on_past, begin.wait_for_downstream) == (True, True)
    ours = {name: dag.get_task(f"h100.{name}").depends_on_past for name in ("delete", "outcome", "done")}
    assert ours == dict.fromkeys(ours, False)


def test_a_wrong_parameter_is_told_when_the_dag_is_parsed() -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match="num_gpus=12 is wrong"), block(num_gpus=12):
        pass


@pytest.mark.parametrize("cluster", [None, "", "  "])
def test_an_empty_id_of_a_cluster_makes_no_cluster(cluster: Any) -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match=r"cluster=.* is no id"):
        GPUClusterTaskGroup("h100", cluster=cluster)


def test_an_existing_cluster_cannot_be_described_anew() -> None:
    with DAG("wired", schedule=None), pytest.raises(SpecError, match="so that num_gpus, region cannot be chosen"):
        GPUClusterTaskGroup("h100", cluster="c-1", num_gpus=8, region="us-central-8")


@pytest.mark.parametrize("name", ["delete_reserved", "delete_volumes"])
def test_what_is_left_alive_in_the_end_has_no_say_in_what_is_deleted(name: str) -> None:
    options: dict[str, Any] = {name: True}
    with DAG("wired", schedule=None), pytest.raises(SpecError, match=f"so that {name} cannot be chosen"):
        GPUClusterTaskGroup("h100", cluster="c-1", **options)
