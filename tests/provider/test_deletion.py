"""What a delete makes of refusals, of ids that mean nothing, and of settings that a template has spoilt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, XComArg, task, task_group

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.operators.gpu_cluster import (
    CreateGPUClusterOperator,
    DeleteGPUClusterOperator,
    UpdateGPUClusterOperator,
)
from tests.provider.test_hook import SPEC
from tests.provider.test_other_operators import run_task
from tests.provider.test_task_group_wiring import CLUSTER
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_api]

BUSY = "the cluster is being resized, try again later"


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    emulator.advance(3600)
    return cluster.cluster_id


def refuse(emulator: Emulator, route: str, status: int, times: int | None) -> None:
    emulator.inject(Fault(route=route, status=status, body={"error": {"message": BUSY, "type": "busy"}}, times=times))


def delete(**parameters: Any) -> Run:
    return run_task(DeleteGPUClusterOperator, **{"poll_interval": 0.05, **parameters})


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.both_apis
def test_it_is_no_success_while_the_same_task_may_have_another_cluster_that_has_no_id(
    emulator: Emulator, deferrable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run_task(CreateGPUClusterOperator, **CLUSTER)
    name = ClusterName.parse(made.value("task", "cluster_name"))
    assert name is not None
    hidden = str(replace(name, end_of_life=datetime(2030, 1, 1, tzinfo=UTC)))
    emulator.inject(Fault(route="list_clusters", status=200, body={"clusters": [{"cluster_name": hidden}]}, times=None))
    run = delete(cluster_id=made.value("task"), deferrable=deferrable)
    assert (run.state, emulator.alive()) == ("failed", [])
    assert f"an entry named {hidden!r} without an id" in capsys.readouterr().out


@pytest.mark.parametrize("status", [400, 409, 423])
@pytest.mark.parametrize("deferrable", [False, True])
def test_one_that_is_busy_is_asked_again_until_it_goes(
    cluster_id: str, emulator: Emulator, status: int, deferrable: bool
) -> None:
    refuse(emulator, "delete_cluster", status, times=8)
    assert delete(cluster_id=cluster_id, poll_interval=0.01, deferrable=deferrable).state == "success"
    assert emulator.alive() == []


def test_one_that_stays_busy_fails_with_its_words_and_each_retry_asks_again(
    cluster_id: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(emulator, "delete_cluster", 409, times=None)
    run = delete(cluster_id=cluster_id, timeout=0.3, retries=1, retry_delay=timedelta(0))
    assert run.state == "failed"
    told = capsys.readouterr().out
    assert f"The time for cluster {cluster_id} is over" in told
    assert "It is still there, and billed until it is gone. delete GPU cluster" in told
    assert f"answered 409: {BUSY}" in told
    assert "2 of 2" in told or "try_number=2" in told or told.count("The time for cluster") >= 2


@pytest.mark.both_apis
def test_a_resize_of_one_that_is_busy_is_waited_out(cluster_id: str, emulator: Emulator) -> None:
    refuse(emulator, "update_cluster", 409, times=1)
    run = run_task(UpdateGPUClusterOperator, cluster_id=cluster_id, num_gpus=16, timeout=60)
    assert run.state == "success"
    assert [cluster.num_gpus for cluster in emulator.alive()] == [16]


def test_a_resize_that_stays_refused_fails_with_the_words(
    cluster_id: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(emulator, "update_cluster", 400, times=None)
    run = run_task(UpdateGPUClusterOperator, cluster_id=cluster_id, num_gpus=16, timeout=0.3)
    assert run.state == "failed"
    assert f"Cluster {cluster_id} is billed as it was. update GPU cluster" in capsys.readouterr().out


@pytest.mark.both_apis
def test_an_id_that_nobody_knows_is_no_success(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    del emulator
    assert delete(cluster_id="c-misspelt", retries=2).state == "failed"
    assert "cluster_id='c-misspelt' is unknown to Together" in capsys.readouterr().out


def test_the_name_of_a_live_cluster_is_no_id(
    cluster_id: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert delete(cluster_id="training").state == "failed"
    assert len(emulator.alive()) == 1
    told = capsys.readouterr().out
    assert f"'training' is the name of cluster {cluster_id}: give cluster_name='training'" in told


def test_the_name_of_a_live_cluster_is_no_id_either_if_another_task_has_given_it(emulator: Emulator) -> None:
    with DAG("name_as_id", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        name: Any = XComArg(create, key="cluster_name")
        DeleteGPUClusterOperator(task_id="delete", cluster_id=name, poll_interval=0.05)
    assert run_dag(dag).states["delete"] == "failed"
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize("word", [None, "", "creat"])
def test_what_renders_to_nothing_deletes_nothing_and_is_no_success(emulator: Emulator, word: str | None) -> None:
    TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    with DAG("nothing", schedule=None, params={"id": word}) as dag:
        template = "{{ ti.xcom_pull('creat') }}" if word == "creat" else "{{ params.id }}"
        DeleteGPUClusterOperator(task_id="delete", cluster_id=template, poll_interval=0.05)
    assert run_dag(dag).state == "failed"
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize("is_templated", [False, True])
def test_one_of_this_run_that_is_gone_already_is_a_success(emulator: Emulator, is_templated: bool) -> None:
    @task
    def delete_by_hand(cluster_id: str) -> None:
        TogetherHook().delete_gpu_cluster(cluster_id)
        emulator.advance(3600)

    with DAG("gone_already", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        cluster_id = "{{ ti.xcom_pull('create') }}" if is_templated else create.output
        gone = delete_by_hand(create.output)  # type: ignore[arg-type]
        gone >> DeleteGPUClusterOperator(task_id="delete", cluster_id=cluster_id, poll_interval=0.05)
    assert run_dag(dag).state == "success"


def test_one_that_another_task_has_made_in_its_own_way_and_is_gone_is_a_success(emulator: Emulator) -> None:
    @task
    def make() -> str:
        cluster_id = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC)).cluster_id
        TogetherHook().delete_gpu_cluster(cluster_id)
        emulator.advance(3600)
        return cluster_id

    with DAG("own_way", schedule=None) as dag:
        DeleteGPUClusterOperator(task_id="delete", cluster_id=make(), poll_interval=0.05)
    assert run_dag(dag).state == "success"


SPOILT = {
    "poll_interval": "10s",
    "timeout": "None",
    "deferrable": "perhaps",
    "delete_volumes": "",
    "delete_adopted": "None",
}


@pytest.mark.parametrize(("name", "value"), SPOILT.items())
def test_a_setting_that_is_spoilt_keeps_no_cluster_alive_and_is_told(
    cluster_id: str, emulator: Emulator, name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with DAG("spoilt", schedule=None, params={"value": value}) as dag:
        settings: dict[str, Any] = {"poll_interval": 0.05, name: "{{ params.value }}"}
        DeleteGPUClusterOperator(task_id="delete", cluster_id=cluster_id, retries=2, **settings)
    run = run_dag(dag)
    assert run.state == "failed"
    assert emulator.alive() == []
    told = capsys.readouterr().out
    assert f"{name}=" in told
    assert "the cluster is deleted all the same, and nothing else is" in told


@pytest.mark.both_apis
def test_volumes_that_nobody_can_tell_the_fate_of_stay_and_are_named(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = {"volume_name": "data", "size_tib": 1, "region": "us-central-8"}
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "shared_volume": volume}))
    emulator.advance(3600)
    with DAG("volumes", schedule=None, params={"value": None}) as dag:
        DeleteGPUClusterOperator(
            task_id="delete", cluster_id=cluster.cluster_id, poll_interval=0.05, delete_volumes="{{ params.value }}"
        )
    assert run_dag(dag).state == "failed"
    (left,) = TogetherHook().list_shared_volumes()
    assert f"Volumes {left.volume_id} of cluster {cluster.cluster_id} are left, and billed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("creat", "(did you mean 'create'?): give one of 'create'"),
        ("work", "is not a task of this DAG that makes clusters: give one of 'create'"),
    ],
)
def test_a_task_that_makes_no_clusters_is_named_and_the_run_fails(
    emulator: Emulator, given: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with DAG("misnamed", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        work = EmptyOperator(task_id="work")
        create >> work >> DeleteGPUClusterOperator(task_id="delete", create_task_id=given, poll_interval=0.05)
    assert run_dag(dag).states["delete"] == "failed"
    told = capsys.readouterr().out
    assert f"create_task_id={given!r} is not a task of this DAG that makes clusters" in told
    assert hint in told
    assert len(emulator.alive()) == 1


def test_all_clusters_of_a_mapped_create_are_deleted(emulator: Emulator) -> None:
    request = {name: value for name, value in CLUSTER.items() if name != "num_gpus"}
    with DAG("mapped_create", schedule=None) as dag:
        create = CreateGPUClusterOperator.partial(task_id="create", **request).expand(num_gpus=[8, 16])
        create >> DeleteGPUClusterOperator(task_id="delete", create_task_id="create", poll_interval=0.05)
    assert run_dag(dag).state == "success"
    assert (len(emulator.clusters()), emulator.alive()) == (2, [])


def test_a_mapped_group_deletes_what_its_own_index_has_made(emulator: Emulator) -> None:
    @task_group
    def trial(size: int) -> None:
        request = {**CLUSTER, "num_gpus": size}
        create = CreateGPUClusterOperator(task_id="create", **request)
        delete = DeleteGPUClusterOperator(task_id="delete", create_task_id="trial.create", poll_interval=0.05)
        create >> delete

    with DAG("mapped_trials", schedule=None) as dag:
        trial.expand(size=[8, 16])
    assert run_dag(dag).state == "success"
    assert (len(emulator.clusters()), emulator.alive()) == (2, [])
    assert sum(request.route == "delete_cluster" for request in emulator.requests) == 2


def test_a_deletion_for_each_of_several_items_finds_the_one_create(emulator: Emulator) -> None:
    with DAG("mapped_delete", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        delete = DeleteGPUClusterOperator.partial(task_id="delete", create_task_id="create").expand(
            poll_interval=[0.05]
        )
        create >> delete
    assert run_dag(dag).state == "success"
    assert emulator.alive() == []
