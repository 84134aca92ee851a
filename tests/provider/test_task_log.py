"""What stands in a task's log when it fails: one exception without a chain, whose message says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.runtime.missing_connection import missing_connection
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor
from tests.provider.test_create_operator import REQUEST
from tests.support.dag_runs import run_dag
from tests.support.loopback import unused_port

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_api]

#: Where Airflow prints one exception, and how Python joins it with the one before.
TRACEBACK, CHAINS = "Traceback (most recent call last)", ("direct cause of", "During handling of")
MISSING = (
    "connection 'team_a' does not exist: make it, of type 'together' and with the API key as its password, in "
    "Airflow's UI under Admin, Connections, with `airflow connections add team_a --conn-type together --conn-password "
    "YOUR-KEY` or in the environment variable AIRFLOW_CONN_TEAM_A"
)


@task(task_id="task")  # as all others: Airflow 3.1 goes on with the first shape of a DAG that it has seen
def list_clusters(of: str) -> None:
    TogetherHook(of).list_gpu_clusters()


def create(**parameters: Any) -> None:
    CreateGPUClusterOperator(task_id="task", **{**REQUEST, "poll_interval": 0.05, **parameters})


def told_by(make: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    with DAG("mistaken", schedule=None) as dag:
        make()
    assert run_dag(dag).state == "failed"
    return "".join(capsys.readouterr())


def assert_one_exception(told: str, kind: str, message: str) -> None:
    """Assert what a failed task's log tells, in the words of the log: no second exception, and one line of message."""
    assert told.count(TRACEBACK) == 1
    assert [chain for chain in CHAINS if chain in told] == []
    assert [line for line in told.splitlines() if re.fullmatch(rf"[\w.]*\b{kind}: {message}", line)]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_missing_connection_says_how_to_make_it(
    emulator: Emulator, deferrable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    del emulator
    told = told_by(lambda: create(together_conn_id="team_a", deferrable=deferrable), capsys)
    assert_one_exception(told, "AirflowFailException", re.escape(MISSING))


def test_a_missing_connection_says_so_to_a_task_of_ones_own_as_well(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    del emulator
    assert_one_exception(told_by(lambda: list_clusters("team_a"), capsys), "ConfigurationError", re.escape(MISSING))


def test_a_host_where_nobody_is_says_so_to_a_task_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{unused_port()}"
    extra = {"retries": 0}
    connection = {"conn_type": "together", "host": nobody, "password": "a-key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", json.dumps(connection))
    message = rf"list GPU clusters \(GET {nobody}\S+\) failed: ConnectError: .*Connection refused"
    assert_one_exception(told_by(lambda: list_clusters("nobody"), capsys), "NotSentError", message)


@pytest.mark.parametrize(("conn_id", "variable"), [("team.a", ""), ("größe", ""), ("a b", ""), ("a", "AIRFLOW_CONN_A")])
def test_a_variable_is_named_only_if_a_shell_can_export_it(conn_id: str, variable: str) -> None:
    error = missing_connection(conn_id, conn_type="ssh", holds="login", options="--conn-login LOGIN")
    assert isinstance(error, ConfigurationError)
    assert ("AIRFLOW_CONN_" in str(error)) == bool(variable)
    assert variable in str(error)


def test_a_variable_that_cannot_be_read_is_told_from_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_A", "{'conn_type': 'together'}")
    error = missing_connection("a", conn_type="together", holds="the API key", options="")
    assert "cannot be read from the environment variable AIRFLOW_CONN_A, which is set: give a URI" in str(error)


def test_a_wrong_value_of_a_template_is_named(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    told = told_by(lambda: create(num_gpus="{{ 12 }}"), capsys)
    message = r"num_gpus='12' is wrong: input should be a multiple of 8"
    assert_one_exception(told, "AirflowFailException", message)
    assert emulator.alive() == []


def test_a_key_that_together_does_not_know_is_told_with_its_place(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.inject(Fault(kind="revoked_key", times=None))
    message = (
        r"list GPU clusters \(GET \S+\) answered 401: .*\. Together does not know the API key of connection "
        r"'together_default': check its password field\."
    )
    assert_one_exception(told_by(create, capsys), "AirflowFailException", message)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cluster_that_failed_is_told_with_its_fate(
    emulator: Emulator, deferrable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.inject(Fault(route="create_cluster", kind="failed_life", seconds=60))
    told = told_by(lambda: create(wait_for_completion=True, deferrable=deferrable), capsys)
    message = r"Cluster \S+ will not become READY \(.*\)\. It was deleted\."
    assert_one_exception(told, "AirflowException", message)
    assert emulator.alive() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClusterReadySensor(task_id="task", cluster_id="c-misspelt", poke_interval=0.05),
        lambda: DeleteGPUClusterOperator(task_id="task", cluster_id="c-misspelt", poll_interval=0.05),
    ],
    ids=["sensor", "delete"],
)
def test_an_id_that_nobody_knows_is_named(
    emulator: Emulator, make: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    del emulator
    assert_one_exception(told_by(make, capsys), "AirflowFailException", ".*c-misspelt.*")


class EndedByAirflow(CreateGPUClusterOperator):
    """Its wait in the triggerer is ended by Airflow, which dag.test() never does."""

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        del event
        return self.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


def test_a_wait_that_airflow_ends_is_told_with_the_fate_of_the_cluster(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = {"wait_for_completion": True, "deferrable": True, "poll_interval": 0.05}
    told = told_by(lambda: EndedByAirflow(task_id="task", **{**REQUEST, **wait}), capsys)
    message = r"Airflow has ended the wait for cluster \S+: Trigger timeout\. It was deleted\."
    assert_one_exception(told, "AirflowException", message)
    assert emulator.alive() == []
