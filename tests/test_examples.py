"""Every example DAG runs through ``dag.test()`` and leaves no cluster behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_together.emulator import Emulator, Fault
from tests.conftest import SPEED
from tests.provider.test_create_operator import run_create
from tests.support.dag_runs import Run, dag_bag, run_dag

pytestmark = pytest.mark.one_api

EXAMPLES = Path(__file__).parents[1] / "dags_examples"
#: What DAGs use, and is none.
HELPERS = {"data_parallel", "linear_model"}
DAG_FILES = sorted(path for path in EXAMPLES.glob("*.py") if path.stem not in HELPERS)
SWEEP = EXAMPLES / "sweep_forgotten_clusters.py"
#: On the cluster's Kubernetes: what they run is a process of this machine.
ON_KUBERNETES = [
    EXAMPLES / f"{name}.py"
    for name in ("resume_from_checkpoint", "train_mapped", "train_on_gpu_cluster", "train_single_node")
]
#: On Slurm, which has tests of its own; here it goes as far as the cluster.
ON_SLURM = EXAMPLES / "train_on_slurm.py"
TRAININGS = [path for path in DAG_FILES if path not in {SWEEP, ON_SLURM, *ON_KUBERNETES}]


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
@pytest.mark.both_apis
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


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator with the Kubernetes of its clusters, behind the default connection."""
    with Emulator(speed=SPEED, kubernetes=True) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection(api="compute"))
        yield running


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", ON_KUBERNETES, ids=lambda path: path.stem)
def test_the_example_trains_on_the_nodes_and_leaves_no_cluster(
    path: Path, kubernetes: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_dag(load(path, monkeypatch))
    assert run.state == "success"
    result = run.value("best" if path.stem == "train_mapped" else "h100.train")
    assert {
        "resume_from_checkpoint": lambda: result["first_epoch"] == 101 and result["loss"] < 1e-6,
        "train_mapped": lambda: result == 0.2,
        "train_on_gpu_cluster": lambda: result["nodes"] == 2 and result["loss"] < 1e-6,
        "train_single_node": lambda: result["weight"] == pytest.approx(3),
    }[path.stem]()
    assert len(kubernetes.clusters()) == (3 if path.stem == "train_mapped" else 1)
    assert kubernetes.alive() == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", ON_KUBERNETES, ids=lambda path: path.stem)
def test_a_training_that_crashes_on_the_nodes_fails_the_run_and_leaves_no_cluster(
    path: Path, kubernetes: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = load(path, monkeypatch)
    train: Any = next(one for one in dag.tasks if one.task_id.endswith("h100.train"))
    monkeypatch.setattr(train, "retries", 0)
    monkeypatch.setattr(train, "cmds" if hasattr(train, "cmds") else "command", ["python", "-c", "raise SystemExit(3)"])
    run = run_dag(dag)
    assert {state for name, state in run.states.items() if name.startswith(train.task_id)} == {"failed"}
    assert run.state == "failed"
    assert kubernetes.alive() == []


@pytest.mark.usefixtures("database")
@pytest.mark.both_apis
def test_the_example_for_slurm_gets_its_cluster_by_both_apis(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], api: str
) -> None:
    dag = load(ON_SLURM, monkeypatch)
    train: Any = dag.get_task("h100.train")
    monkeypatch.setattr(train, "execute", lambda context: {"ranks": len(context)})  # in place of a batch job
    run = run_dag(dag)
    assert run.state == "success"
    assert len(emulator.clusters()) == 1
    assert emulator.alive() == []
    assert ("asking for 64 GiB of shared memory" in "".join(capfd.readouterr())) == (api == "compute")


@pytest.mark.usefixtures("database")
def test_a_checkpoint_of_one_cluster_is_read_in_the_next(kubernetes: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_with(**changes: Any) -> Run:
        dag = load(EXAMPLES / "resume_from_checkpoint.py", monkeypatch)
        train: Any = dag.get_task("h100.train")
        monkeypatch.setattr(train, "retries", 0)
        monkeypatch.setattr(train, "env_vars", {"CHECKPOINT": "/mnt/shared/checkpoint.json", **changes})
        return run_dag(dag)

    assert train_with(TAKEN_AWAY_AT="120").state == "failed"
    assert train_with().value("h100.train")["first_epoch"] == 101
    assert len(kubernetes.clusters()) == 2
    assert len(kubernetes.volumes()) == 1


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


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
