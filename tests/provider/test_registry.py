"""What a deployment remembers, in the variables of a real Airflow; and the sweep that goes by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.owner import Record
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.operators.sweep import SweepGPUClustersOperator
from airflow_provider_together.runtime.registry import (
    DEPLOYMENT_VARIABLE,
    NO_DEPLOYMENT,
    Entry,
    Registry,
    deployment_of,
    known_deployment,
    registry,
    standing_of,
)
from tests.provider.test_create_operator import REQUEST, run_create
from tests.support.dag_runs import Run, run_dag

pytestmark = pytest.mark.usefixtures("database")

SETTINGS = Settings(base_url="https://together.invalid", api_key="key")
ENTRY = Entry("abcd2345", "training", "run", "create", record=Record("af-name", "c-1", 1.0))


class Memory:
    """Variables of an Airflow that is not there."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def set(self, key: str, value: str, *, description: str) -> None:
        assert description
        self.values[key] = value

    def delete(self, key: str) -> None:
        del self.values[key]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Variables in place of Airflow's."""
    fresh = Memory()
    monkeypatch.setattr("airflow_provider_together.runtime.registry.variables", lambda: fresh)
    return fresh


def variable(key: str) -> str | None:
    from airflow.models.variable import Variable

    value: str | None = Variable.get(key, default_var=None)
    return value


@contextmanager
def as_a_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run as a command of Airflow's does, with the metadata database at hand."""
    with monkeypatch.context() as patch:
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        yield


class TestDeployment:
    def test_an_id_of_the_connection_goes_before_all(self, memory: Memory) -> None:
        memory.values[DEPLOYMENT_VARIABLE] = "kept"
        assert deployment_of(replace(SETTINGS, deployment="prod")) == "prod"
        assert known_deployment(replace(SETTINGS, deployment="prod")) == "prod"

    def test_it_is_made_up_once_and_kept(self, memory: Memory) -> None:
        first = deployment_of(SETTINGS, sleep=lambda _: None)
        assert deployment_of(SETTINGS) == first == memory.values[DEPLOYMENT_VARIABLE]
        assert len(first) == 8

    def test_two_deployments_make_up_two(self, memory: Memory) -> None:
        first = deployment_of(SETTINGS, anchor="0192-a", sleep=lambda _: None)
        memory.values.clear()
        assert deployment_of(SETTINGS, anchor="0192-b", sleep=lambda _: None) != first

    def test_two_tries_of_one_task_make_up_the_same(self, memory: Memory) -> None:
        first = deployment_of(SETTINGS, anchor="0192-a", sleep=lambda _: None)
        memory.values.clear()
        assert deployment_of(SETTINGS, anchor="0192-a", sleep=lambda _: None) == first

    def test_one_that_appears_while_it_is_looked_for_again_is_taken(self, memory: Memory) -> None:
        def another_task_is_faster(_: float) -> None:
            memory.values[DEPLOYMENT_VARIABLE] = "theirs"

        assert deployment_of(SETTINGS, sleep=another_task_is_faster) == "theirs"

    def test_looking_for_it_makes_none_up(self, memory: Memory) -> None:
        assert known_deployment(SETTINGS) is None
        assert memory.values == {}

    def test_a_wrong_one_is_told_with_the_variable(self, memory: Memory) -> None:
        memory.values[DEPLOYMENT_VARIABLE] = "Prod!"
        with pytest.raises(
            ConfigurationError, match=r"variable 'together_deployment'.*'Prod!'.*or delete the variable"
        ):
            deployment_of(SETTINGS)

    def test_where_no_airflow_runs_there_is_a_word_for_it(self) -> None:
        assert deployment_of(SETTINGS) == NO_DEPLOYMENT
        assert known_deployment(SETTINGS) is None


class TestEntries:
    def test_an_entry_is_found_by_the_name_of_its_cluster(self) -> None:
        entries = Registry(Memory())
        entries.register(ENTRY)
        name = ClusterName(ENTRY.deployment, "words", ENTRY.owner.digest)
        assert entries.entry_for(name) == ENTRY

    def test_a_name_of_another_deployment_leads_nowhere(self) -> None:
        entries = Registry(Memory())
        entries.register(ENTRY)
        name = ClusterName("other", "words", ENTRY.owner.digest)
        assert entries.entry_for(name) is None
        entries.forget(name)
        assert entries.entry(ENTRY.owner.digest) == ENTRY

    def test_a_forgotten_entry_is_gone(self) -> None:
        memory = Memory()
        entries = Registry(memory)
        entries.register(ENTRY)
        entries.forget(ClusterName(ENTRY.deployment, "words", ENTRY.owner.digest))
        assert memory.values == {}

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"dag_id": 1}', '{"deployment": "x", "record": 3}'])
    def test_what_is_no_entry_is_ignored(self, text: str) -> None:
        memory = Memory()
        memory.values["together_cluster_abc"] = text
        assert Registry(memory).entry("abc") is None

    def test_an_entry_that_was_moved_to_another_owner_is_ignored(self) -> None:
        memory = Memory()
        Registry(memory).register(ENTRY)
        (text,) = memory.values.values()
        memory.values["together_cluster_other"] = text
        assert Registry(memory).entry("other") is None

    def test_without_an_airflow_nothing_is_remembered(self) -> None:
        entries = Registry(None)
        entries.register(ENTRY)
        entries.forget(ClusterName(ENTRY.deployment, "words", ENTRY.owner.digest))
        assert entries.entry(ENTRY.owner.digest) is None

    def test_nothing_secret_is_in_an_entry(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        run = run_create()
        with as_a_command(monkeypatch):
            digest = ClusterName.parse(run.value("create", "cluster_name")).owner_digest  # type: ignore[union-attr]
            text = variable(f"together_cluster_{digest}")
        assert text is not None
        assert json.loads(text)["record"]["cluster_id"] == run.value("create")
        assert emulator.api_key not in text


def test_a_run_that_does_not_exist_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with as_a_command(monkeypatch):
        standing = standing_of(ENTRY)
    assert standing.is_over
    assert standing.why == "run 'run' of DAG 'training' does not exist any more"


def test_a_cluster_that_shall_stay_on_failure_stays_when_its_run_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    for keep, state, is_over in ((True, "failed", False), (True, "success", True), (False, "failed", True)):
        monkeypatch.setattr("airflow_provider_together.runtime.registry.run_state", lambda *_, state=state: state)
        assert standing_of(replace(ENTRY, keep_on_failure=keep)).is_over is is_over


@pytest.mark.parametrize("state", ["queued", "running", "restarting"])
def test_a_run_that_is_not_over_says_what_it_works_with(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr("airflow_provider_together.runtime.registry.run_state", lambda *_: state)
    standing = standing_of(ENTRY)
    assert not standing.is_over
    assert standing.recorded_id == "c-1"


def run_sweep(**parameters: Any) -> Run:
    with DAG("sweeping", schedule=None) as dag:
        SweepGPUClustersOperator(task_id="sweep", **{"delete": True, "poll_interval": 0.05, **parameters})
    return run_dag(dag)


def fates(run: Run) -> dict[str, str]:
    return {found["cluster_id"]: found["fate"] for found in run.value("sweep")}


def test_a_sweep_deletes_the_cluster_of_a_run_that_is_over(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_create()
    run = run_sweep(price_per_gpu_hour=2.5)
    assert fates(run) == {made.value("create"): "deleted"}
    assert "is over (success)" in run.value("sweep")[0]["why"]
    assert emulator.alive() == []
    with as_a_command(monkeypatch):
        digest = ClusterName.parse(made.value("create", "cluster_name")).owner_digest  # type: ignore[union-attr]
        assert registry().entry(digest) is None


@pytest.mark.parametrize("hidden", ["another of the same task", "one without a name"])
def test_a_sweep_remembers_whose_a_cluster_may_be_that_has_no_id(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    made = run_create()
    cluster = {"cluster_id": made.value("create"), "cluster_name": made.value("create", "cluster_name")}
    entry = {"cluster_name": cluster["cluster_name"]} if hidden == "another of the same task" else {"status": "READY"}
    emulator.inject(Fault(route="list_clusters", status=200, body={"clusters": [cluster, entry]}))
    assert fates(run_sweep()) == {made.value("create"): "deleted"}
    with as_a_command(monkeypatch):
        name = ClusterName.parse(cluster["cluster_name"])
        assert name is not None
        assert registry().entry(name.owner_digest) is not None


def test_a_sweep_only_tells_unless_it_is_told_to_delete(emulator: Emulator) -> None:
    made = run_create()
    assert fates(run_sweep(delete=False)) == {made.value("create"): "forgotten"}
    assert len(emulator.alive()) == 1


def test_a_sweep_spares_names_of_the_users_own_and_other_deployments(emulator: Emulator, api: str) -> None:
    run_create(cluster_name="mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection(api=api, deployment="other"))
        with DAG("elsewhere", schedule=None) as dag:
            CreateGPUClusterOperator(task_id="create", **REQUEST)
        run_dag(dag)
        patch.setattr("airflow_provider_together.runtime.registry.Registry.entry_for", lambda *_: None)
        patch.delenv("AIRFLOW_CONN_TOGETHER_DEFAULT")
        patch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection(api=api))
        assert set(fates(run_sweep()).values()) == {"spared"}
    assert len(emulator.alive()) == 2


def test_a_sweep_inside_the_run_that_works_with_a_cluster_spares_it(emulator: Emulator) -> None:
    with DAG("working", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **REQUEST)
        create >> SweepGPUClustersOperator(task_id="sweep", delete=True)
    run = run_dag(dag)
    assert fates(run) == {run.value("create"): "spared"}
    assert "is running" in run.value("sweep")[0]["why"]
    assert len(emulator.alive()) == 1


def test_a_sweep_that_cannot_delete_fails_and_says_what_is_still_billed(emulator: Emulator) -> None:
    run_create()
    emulator.inject(Fault(route="delete_cluster", status=503, times=None))
    assert run_sweep(timeout=0.5).state == "failed"
    assert len(emulator.alive()) == 1


def test_a_teardown_forgets_the_owner_of_what_it_has_deleted(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DAG("torn_down", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **REQUEST)
        delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=0.05)
        create >> delete.as_teardown(setups=create)
    run = run_dag(dag)
    assert emulator.alive() == []
    with as_a_command(monkeypatch):
        digest = ClusterName.parse(run.value("create", "cluster_name")).owner_digest  # type: ignore[union-attr]
        assert registry().entry(digest) is None


def test_a_task_that_works_on_a_cluster_near_its_end_of_life_is_warned(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    del emulator

    @task
    def work(cluster_id: str) -> None:
        TogetherHook().get_gpu_cluster(cluster_id)

    with DAG("warned", schedule=None) as dag:
        work(CreateGPUClusterOperator(task_id="create", **REQUEST, max_lifetime=1200).output)  # type: ignore[arg-type]
    assert run_dag(dag).state == "success"
    assert re.search(r"The life of cluster \S+ ends in (19|20) min", capsys.readouterr().out)
