"""Changing and deleting clusters, and shared volumes, in DAGs on real Airflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import DeleteGPUClusterOperator, UpdateGPUClusterOperator
from airflow_provider_together.operators.shared_volume import (
    CreateSharedVolumeOperator,
    DeleteSharedVolumeOperator,
    UpdateSharedVolumeOperator,
)
from tests.provider.test_hook import SPEC
from tests.support.dag_runs import Run, run_dag

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    emulator.advance(3600)
    return cluster.cluster_id


def run_task(operator_class: type[BaseOperator], **parameters: Any) -> Run:
    with DAG("one_task", schedule=None) as dag:
        operator_class(task_id="task", **parameters)
    return run_dag(dag)


@pytest.mark.parametrize("deferrable", [False, True])
class TestDelete:
    def test_it_ends_when_the_cluster_is_gone(self, cluster_id: str, emulator: Emulator, deferrable: bool) -> None:
        run = run_task(DeleteGPUClusterOperator, cluster_id=cluster_id, poll_interval=0.05, deferrable=deferrable)
        assert run.state == "success"
        assert emulator.alive() == []
        assert TogetherHook().list_gpu_clusters() == []

    def test_a_cluster_is_found_by_its_name(self, cluster_id: str, emulator: Emulator, deferrable: bool) -> None:
        del cluster_id
        run = run_task(DeleteGPUClusterOperator, cluster_name="training", poll_interval=0.05, deferrable=deferrable)
        assert run.state == "success"
        assert emulator.alive() == []

    def test_it_goes_on_while_the_list_still_shows_the_cluster(
        self, cluster_id: str, emulator: Emulator, deferrable: bool
    ) -> None:
        emulator.inject(Fault(route="list_clusters", kind="lag_list", seconds=20 * 60, times=None))
        run = run_task(DeleteGPUClusterOperator, cluster_id=cluster_id, poll_interval=0.05, deferrable=deferrable)
        assert run.state == "success"
        emulator.clear_faults()
        assert TogetherHook().list_gpu_clusters() == []

    def test_it_fails_when_its_time_is_over(self, cluster_id: str, emulator: Emulator, deferrable: bool) -> None:
        emulator.inject(Fault(route="get_cluster", kind="status_word", word="DELETING", times=None))
        run = run_task(
            DeleteGPUClusterOperator, cluster_id=cluster_id, poll_interval=0.05, timeout=0.3, deferrable=deferrable
        )
        assert run.state == "failed"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("delete_volumes", [False, True])
def test_attached_volumes_go_with_the_cluster_only_if_the_user_says_so(
    emulator: Emulator, delete_volumes: bool, deferrable: bool
) -> None:
    volume = {"volume_name": "data", "size_tib": 1}
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "shared_volume": volume}))
    emulator.advance(3600)
    run = run_task(
        DeleteGPUClusterOperator,
        cluster_id=cluster.cluster_id,
        delete_volumes=delete_volumes,
        poll_interval=0.05,
        deferrable=deferrable,
    )
    assert run.state == "success"
    assert len(TogetherHook().list_shared_volumes()) == (0 if delete_volumes else 1)


def test_a_delete_works_while_together_cannot_tell_what_it_deletes(cluster_id: str, emulator: Emulator) -> None:
    emulator.inject(Fault(route="get_cluster", status=500, times=8))
    run = run_task(DeleteGPUClusterOperator, cluster_id=cluster_id, poll_interval=0.05)
    assert run.state == "success"
    assert emulator.alive() == []


def test_a_delete_is_repeated_until_it_gets_through(cluster_id: str, emulator: Emulator) -> None:
    emulator.inject(Fault(route="delete_cluster", status=403, times=2))
    run = run_task(DeleteGPUClusterOperator, cluster_id=cluster_id, poll_interval=0.05)
    assert run.state == "success"
    assert emulator.alive() == []


def test_a_name_that_nobody_has_is_a_loud_error(emulator: Emulator) -> None:
    del emulator
    assert run_task(DeleteGPUClusterOperator, cluster_name="trainnig", retries=3).state == "failed"


def test_a_name_of_two_clusters_is_an_error_and_deletes_neither(cluster_id: str, emulator: Emulator) -> None:
    del cluster_id
    TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    assert run_task(DeleteGPUClusterOperator, cluster_name="training").state == "failed"
    assert len(emulator.alive()) == 2


def test_a_name_of_our_own_making_that_is_gone_is_a_success(emulator: Emulator) -> None:
    del emulator
    name = "af-airflow-dag-task-abcdefghijkl-open"
    assert run_task(DeleteGPUClusterOperator, cluster_name=name).state == "success"


def test_nothing_to_delete_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match="cluster_id, cluster_name and create_task_id are all missing"):
        DeleteGPUClusterOperator(task_id="delete")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cluster_is_resized_and_waited_for(cluster_id: str, emulator: Emulator, deferrable: bool) -> None:
    run = run_task(
        UpdateGPUClusterOperator,
        cluster_id=cluster_id,
        num_gpus=24,
        wait_for_completion=True,
        poll_interval=0.05,
        deferrable=deferrable,
    )
    assert run.state == "success"
    assert run.value("task") == cluster_id
    assert [cluster.num_gpus for cluster in emulator.alive()] == [24]
    assert TogetherHook().get_gpu_cluster(cluster_id).gpus_present() == 24


def test_a_wrong_size_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match="num_gpus=20"):
        UpdateGPUClusterOperator(task_id="resize", cluster_id="c", num_gpus=20)


def test_a_volume_is_made_once_and_used_again(emulator: Emulator) -> None:
    del emulator
    first = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=2, region="us-central-8")
    second = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    assert first.value("task") == second.value("task")
    assert len(TogetherHook().list_shared_volumes()) == 1


def test_an_existing_volume_is_an_error_where_the_user_says_so(emulator: Emulator) -> None:
    del emulator
    run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    run = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8", if_exists="fail")
    assert run.state == "failed"


def test_a_volume_that_is_too_small_is_an_error(emulator: Emulator) -> None:
    del emulator
    run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    run = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=4, region="us-central-8")
    assert run.state == "failed"


def test_a_volume_whose_answer_was_lost_is_found(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_volume", kind="lose_answer", times=1))
    run = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    assert run.state == "success"
    assert len(TogetherHook().list_shared_volumes()) == 1


def test_a_volume_is_grown_and_deleted(emulator: Emulator) -> None:
    del emulator
    made = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    volume_id = made.value("task")
    assert run_task(UpdateSharedVolumeOperator, volume_id=volume_id, size_tib=3).state == "success"
    assert TogetherHook().get_shared_volume(volume_id).size_tib == 3
    assert run_task(DeleteSharedVolumeOperator, volume_id=volume_id).state == "success"
    assert TogetherHook().list_shared_volumes() == []


def test_deleting_a_volume_that_is_gone_succeeds(emulator: Emulator) -> None:
    del emulator
    assert run_task(DeleteSharedVolumeOperator, volume_id="vol-gone").state == "success"


def test_an_attached_volume_is_not_deleted(emulator: Emulator) -> None:
    made = run_task(CreateSharedVolumeOperator, volume_name="data", size_tib=1, region="us-central-8")
    TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "volume_id": made.value("task")}))
    emulator.advance(3600)
    run = run_task(
        DeleteSharedVolumeOperator, volume_id=made.value("task"), timeout=1.5, retries=1, retry_delay=timedelta(0)
    )
    assert run.state == "failed"
    assert len(TogetherHook().list_shared_volumes()) == 1
    asked = [record for record in emulator.requests if record.route == "delete_volume"]
    assert len(asked) >= 4  # a refusal is no reason to give up before the time is over, in each try
