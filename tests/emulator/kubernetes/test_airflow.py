"""Airflow's own KubernetesPodOperator on the emulator, in this process and deferred."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulator.kubernetes.lab import PATIENCE, Lab
from tests.support.dag_runs import Run, run_dag

pytestmark = pytest.mark.usefixtures("database")

RESULT = """echo working; mkdir -p /airflow/xcom; echo '{"loss": 0.5}' > /airflow/xcom/return.json"""


@pytest.fixture
def config_file(lab: Lab, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(lab.kubeconfig))
    return str(path)


def run_pod(config_file: str, script: str, **options: Any) -> Run:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.sdk import DAG

    with DAG("pod_on_the_emulator", schedule=None) as dag:
        KubernetesPodOperator(
            task_id="train",
            name="train",
            namespace="default",
            cmds=["sh", "-c"],
            arguments=[script],
            config_file=config_file,
            termination_grace_period=0,
            startup_check_interval_seconds=1,
            **{"image": "train:1", **options},
        )
    return run_dag(dag)


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect in the end what a test leaves behind, before that looks like a mistake of somebody else."""
    yield
    gc.collect()


# websocket-client, by which Airflow reads the result, leaves the socket of a stream open that the server has closed.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pod_that_succeeds_gives_its_result(lab: Lab, config_file: str, *, deferrable: bool) -> None:
    run = run_pod(config_file, RESULT, do_xcom_push=True, deferrable=deferrable)
    assert (run.state, run.value("train")) == ("success", {"loss": 0.5})
    assert lab.handle.pods() == []
    lab.wait(lambda: lab.handle.processes() == [])


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pod_that_fails_fails_its_task(lab: Lab, config_file: str, *, deferrable: bool) -> None:
    run = run_pod(config_file, "echo no; exit 3", deferrable=deferrable, on_finish_action="keep_pod")
    assert run.state == "failed"
    (left,) = lab.handle.pods()
    assert (left.phase, left.labels["already_checked"]) == ("Failed", "True")


def test_the_log_is_followed_once_to_its_end(lab: Lab, config_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    run_pod(config_file, "echo one; sleep 0.3; echo two", get_logs=True)
    logs = [request for request in lab.handle.requests if request.path.endswith("/log")]
    assert [request.query for request in logs] == ["container=base&follow=True&timestamps=True"]
    written = "".join(capfd.readouterr())
    assert written.count("one") >= 1
    assert "interrupted" not in written


def test_an_image_that_cannot_be_pulled_fails_the_task(lab: Lab, config_file: str) -> None:
    run = run_pod(config_file, "true", image="registry.invalid/train:1", startup_timeout_seconds=int(PATIENCE))
    assert run.state == "failed"
    assert lab.handle.pods() == []
    assert not [request for request in lab.handle.requests if request.path.endswith("/log")]
