"""Waiting for READY in a DAG, in every mode of a sensor, on real Airflow."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator
from airflow_provider_together.runtime.compat.versions import TRIGGERS_HAVE_ON_KILL
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor
from tests.provider.test_create_operator import REQUEST
from tests.provider.test_hook import SPEC
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_api]

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


@pytest.fixture(params=list(MODES))
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "reschedule" and not TRIGGERS_HAVE_ON_KILL:
        pytest.skip("dag.test() of Airflow 3.1 reschedules a task only once: it takes the first date for a text")
    return MODES[request.param]


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    del emulator
    return TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC)).cluster_id


def run_sensor(cluster_id: str, **parameters: Any) -> Run:
    with DAG("wait", schedule=None) as dag:
        ClusterReadySensor(**{"task_id": "ready", "cluster_id": cluster_id, "poke_interval": 0.05, **parameters})
    return run_dag(dag)


@pytest.mark.both_apis
def test_it_succeeds_once_the_cluster_is_ready(cluster_id: str, mode: dict[str, Any]) -> None:
    run = run_sensor(cluster_id, **mode)
    assert run.state == "success"
    assert run.value("ready") == cluster_id
    assert cluster_id in run.value("ready", "console_url")


def test_it_takes_the_output_of_the_create(emulator: Emulator, mode: dict[str, Any]) -> None:
    with DAG("create_and_wait", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **REQUEST)
        ClusterReadySensor(task_id="ready", cluster_id=create.output, poke_interval=0.05, **mode)
    run = run_dag(dag)
    assert run.state == "success"
    assert [cluster.cluster_id for cluster in emulator.alive()] == [run.value("ready")]


def test_a_cluster_that_is_ready_already_never_defers(cluster_id: str, emulator: Emulator) -> None:
    emulator.advance(3600)
    before = len(emulator.requests)
    run_sensor(cluster_id, deferrable=True)
    assert len(emulator.requests) - before == 1


def test_a_failed_cluster_ends_the_wait_at_once_without_a_retry(
    cluster_id: str, emulator: Emulator, mode: dict[str, Any]
) -> None:
    emulator.fail(cluster_id)
    run = run_sensor(cluster_id, **mode, retries=5)
    assert run.state == "failed"


@pytest.mark.both_apis
def test_a_cluster_that_is_being_deleted_ends_the_wait_at_once(
    cluster_id: str, emulator: Emulator, mode: dict[str, Any]
) -> None:
    emulator.set_status(cluster_id, "DELETING")
    assert run_sensor(cluster_id, **mode, retries=5).state == "failed"


def test_a_cluster_that_is_gone_ends_the_wait(cluster_id: str, emulator: Emulator, mode: dict[str, Any]) -> None:
    TogetherHook().delete_gpu_cluster(cluster_id)
    emulator.advance(3600)
    assert run_sensor(cluster_id, **mode, retries=5).state == "failed"


def test_the_timeout_fails_the_task(cluster_id: str, emulator: Emulator, mode: dict[str, Any]) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="PENDING", times=None))
    assert run_sensor(cluster_id, **mode, timeout=0.3).state == "failed"


def test_soft_fail_skips_the_task_instead(cluster_id: str, emulator: Emulator, mode: dict[str, Any]) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="PENDING", times=None))
    run = run_sensor(cluster_id, **mode, timeout=0.3, soft_fail=True)
    assert run.states == {"ready": "skipped"}


def test_soft_fail_skips_for_a_failed_cluster_as_well(
    cluster_id: str, emulator: Emulator, mode: dict[str, Any]
) -> None:
    emulator.fail(cluster_id)
    assert run_sensor(cluster_id, **mode, soft_fail=True).states == {"ready": "skipped"}


@pytest.mark.parametrize(("reaction", "state"), [("ready", "success"), ("fail", "failed")])
@pytest.mark.parametrize(("word", "parameter"), [("Degraded", "on_degraded"), ("Paused", "on_paused")])
@pytest.mark.both_apis
def test_degraded_and_paused_are_settled_by_a_parameter(
    cluster_id: str, emulator: Emulator, word: str, parameter: str, reaction: str, state: str
) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word=word, times=None))
    assert run_sensor(cluster_id, **{parameter: reaction}).state == state


def test_a_degraded_cluster_is_waited_for_by_default(cluster_id: str, emulator: Emulator) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="Degraded", times=3))
    assert run_sensor(cluster_id).state == "success"


def test_an_unknown_status_word_is_waited_for(cluster_id: str, emulator: Emulator, mode: dict[str, Any]) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="Polishing", times=2))
    assert run_sensor(cluster_id, **mode).state == "success"


def test_faults_of_the_server_do_not_end_the_wait(cluster_id: str, emulator: Emulator, mode: dict[str, Any]) -> None:
    for fault in (
        Fault(route="get_cluster", status=503, times=2),
        Fault(route="get_cluster", kind="malformed", times=1),
        Fault(route="get_cluster", status=404, times=1),
        Fault(route="get_cluster", status=401, times=1),
    ):
        emulator.inject(fault)
    assert run_sensor(cluster_id, **mode).state == "success"


@pytest.mark.both_apis
def test_each_change_of_status_is_logged_once(
    cluster_id: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run_sensor(cluster_id, mode="poke")
    lines = [
        line for line in (caplog.text + capfd.readouterr().out).splitlines() if f"Cluster {cluster_id} is " in line
    ]
    words = [line.split(" is ")[1].split()[0].strip(";") for line in lines]
    assert words[-1].upper() == "READY"
    assert len(words) == len(set(words))


def test_it_follows_airflows_default_deferrable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ClusterReadySensor(task_id="ready", cluster_id="c").deferrable
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert ClusterReadySensor(task_id="ready", cluster_id="c").deferrable


def test_a_wrong_reaction_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match="on_degraded='hope'"):
        ClusterReadySensor(task_id="ready", cluster_id="c", on_degraded="hope")  # type: ignore[arg-type]
