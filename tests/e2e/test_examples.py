"""Every example DAG runs through ``dag.test()`` and leaves no cluster behind."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_together.emulator import Emulator, Fault
from tests.dag_runs import dag_bag, run_dag
from tests.provider.test_create_operator import run_create

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
DAG_FILES = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "linear_model")
SWEEP = EXAMPLES / "sweep_forgotten_clusters.py"
TRAININGS = [path for path in DAG_FILES if path != SWEEP]


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> DAG:
    """Parse a DAG file as the dag-processor does, with its folder on the path."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    bag = dag_bag(path)
    assert bag.import_errors == {}
    dag: DAG
    (dag,) = bag.dags.values()
    for one in dag.tasks:
        # The examples look at the pace of a real cloud.
        for name in {"poke_interval", "poll_interval"} & set(vars(one)):
            setattr(one, name, 0.05)
        one.retry_delay = timedelta(0)
    return dag


def fail(*_: object, **__: object) -> None:
    message = "the training crashed"
    raise RuntimeError(message)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_the_example_succeeds_and_leaves_no_cluster(
    path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_dag(load(path, monkeypatch))
    assert run.state == "success"
    assert len(emulator.clusters()) >= 1
    assert emulator.alive() == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_a_failed_training_fails_the_run_and_leaves_no_cluster(
    path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = load(path, monkeypatch)
    (train,) = [one for one in dag.tasks if one.task_id.endswith("train")]
    monkeypatch.setattr(train, "python_callable", fail)
    assert run_dag(dag).state == "failed"
    assert len(emulator.clusters()) >= 1
    assert emulator.alive() == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_a_cluster_that_cannot_be_given_back_fails_the_run(
    path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = load(path, monkeypatch)
    for one in dag.tasks:
        if one.task_id.endswith("delete"):
            monkeypatch.setattr(one, "timeout", 0.2)
            monkeypatch.setattr(one, "retries", 0)
    emulator.inject(Fault(route="delete_cluster", status=503, times=None))
    assert run_dag(dag).state == "failed"


@pytest.mark.usefixtures("database")
def test_the_volume_of_the_example_outlives_the_cluster(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_together.hooks.together import TogetherHook

    for _ in range(2):
        assert run_dag(load(EXAMPLES / "shared_volume.py", monkeypatch)).value("train") == ["checkpoints"]
    assert len(TogetherHook().list_shared_volumes()) == 1
    assert len(emulator.clusters()) == 2


@pytest.mark.usefixtures("database")
def test_the_sweep_deletes_what_a_run_has_left(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    run_create()
    run_create(cluster_name="named by the user")
    assert run_dag(load(SWEEP, monkeypatch)).state == "success"
    assert [cluster.cluster_name for cluster in emulator.alive()] == ["named by the user"]


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_the_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
