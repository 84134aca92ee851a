"""Airflow's pod operator on a GPU cluster: all that it does elsewhere, and what is our own."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk import DAG

from airflow_provider_together.demo.process import LoggedProcess, stop_all
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.operators.kubernetes import GPUClusterPodOperator
from airflow_provider_together.triggers.kubernetes import GPUClusterPodTrigger
from tests.provider.kubernetes.support import (
    ENDLESS,
    VOLUME,
    Killed,
    TaskDeferred,
    meanwhile,
    python,
    run_task,
    wait_until,
)
from tests.support.dag_runs import Run, run_dag

pytestmark = pytest.mark.usefixtures("database")

RESULT = "import os\nos.makedirs('/airflow/xcom', exist_ok=True)\nopen('/airflow/xcom/return.json', 'w').write('{}')"
SHORT: dict[str, Any] = {
    "image": "any",
    "poll_interval": 0.2,
    "startup_check_interval_seconds": 1,
    "base_container_status_polling_interval": 0.2,
    "termination_grace_period": 1,
}


def run_pod(cluster_id: str, code: str, **parameters: Any) -> Run:
    return run_task(GPUClusterPodOperator, **{**SHORT, "cluster_id": cluster_id, "cmds": python(code), **parameters})


def pod_of(cluster_id: str, kubernetes: KubernetesHandle, **parameters: Any) -> Any:
    """Return the pod that a task has made."""
    assert run_pod(cluster_id, "print(1)", on_finish_action="keep_pod", **parameters).state == "success"
    (pod,) = kubernetes.pods()
    return pod.manifest


def limits_of(pod: Any) -> Any:
    return pod["spec"]["containers"][0]["resources"].get("limits")


@pytest.mark.parametrize("deferrable", [False, True])
class TestEnd:
    def test_it_runs_and_returns_what_it_leaves(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        code = f"print('hello from the pod')\n{RESULT.replace('{}', json.dumps({'loss': 0.5}))}"
        run = run_pod(cluster_id, code, do_xcom_push=True, deferrable=deferrable)
        assert run.value("train") == {"loss": 0.5}
        assert "hello from the pod" in output()
        assert cluster_id in run.value("train", "console_url")
        assert kubernetes.pods() == []

    @pytest.mark.parametrize(
        ("code", "word", "parameters"),
        [
            ("raise SystemExit(3)", "non_zero_exit, exit code 3", {}),
            ("", "image_pull: ", {"image": "registry.invalid/train:1", "startup_timeout_seconds": 3}),
            (ENDLESS, "out_of_memory", {}),
        ],
    )
    def test_a_failure_says_why_and_does_not_repeat_the_spec(
        self,
        cluster_id: str,
        kubernetes: KubernetesHandle,
        deferrable: bool,
        code: str,
        word: str,
        parameters: dict[str, Any],
        output: Callable[[], str],
    ) -> None:
        def runs() -> bool:
            return word == "out_of_memory" and [pod.phase for pod in kubernetes.pods()] == ["Running"]

        with meanwhile(runs, lambda: kubernetes.run_out_of_memory(kubernetes.pods()[0].name)):
            parameters = {"env_vars": {"WORD": "of-the-environment"}, **parameters}
            run = run_pod(cluster_id, code, deferrable=deferrable, **parameters)
        text = output()
        assert run.state == "failed"
        assert f"Diagnosis: {word}" in text
        assert "remote_pod:" not in text
        assert "of-the-environment" not in text

    def test_an_exit_code_that_skips_still_skips(self, cluster_id: str, deferrable: bool) -> None:
        run = run_pod(cluster_id, "raise SystemExit(99)", skip_on_exit_code=99, deferrable=deferrable)
        assert run.states == {"train": "skipped"}

    def test_a_token_that_is_exchanged_meanwhile_is_fetched_again(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        def is_watched() -> bool:
            looks = sum(request.method == "GET" and "/pods/" in request.path for request in kubernetes.requests)
            return looks > 1 and bool(kubernetes.processes())

        with meanwhile(is_watched, kubernetes.rotate_token):
            run = run_pod(cluster_id, "import time\ntime.sleep(4)", deferrable=deferrable)
        assert run.state == "success"
        assert any(request.status == 401 for request in kubernetes.requests)

    def test_a_certificate_that_is_exchanged_meanwhile_is_waited_through(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        def is_watched() -> bool:
            looks = sum(request.method == "GET" and "/pods/" in request.path for request in kubernetes.requests)
            return looks > 1 and bool(kubernetes.processes())

        with meanwhile(is_watched, kubernetes.rotate_certificate):
            run = run_pod(cluster_id, "import time\ntime.sleep(4)", deferrable=deferrable)
        assert run.state == "success"

    def test_the_shared_volume_is_mounted_by_its_name(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        run = run_pod(cluster_id, "open('/mnt/shared/a', 'w')", shared_volume=VOLUME, deferrable=deferrable)
        assert run.state == "success"
        (claim,) = kubernetes.objects("persistentvolumeclaims")
        assert (claim["metadata"]["name"], claim["spec"]["volumeName"]) == (VOLUME, VOLUME)
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        again = run_pod(cluster_id, "open('/mnt/shared/a')", shared_volume=VOLUME, deferrable=deferrable)
        assert again.state == "success"


class TestGPUs:
    def test_by_default_it_gets_all_of_a_node(self, cluster_id: str, kubernetes: KubernetesHandle) -> None:
        assert limits_of(pod_of(cluster_id, kubernetes)) == {"nvidia.com/gpu": "8"}

    def test_a_number_is_taken_beside_other_resources(self, cluster_id: str, kubernetes: KubernetesHandle) -> None:
        resources = {"limits": {"memory": "1Gi"}}
        pod = pod_of(cluster_id, kubernetes, num_gpus="{{ 1 + 1 }}", container_resources=resources)
        assert limits_of(pod) == {"nvidia.com/gpu": "2", "memory": "1Gi"}

    def test_none_may_be_wanted(self, cluster_id: str, kubernetes: KubernetesHandle) -> None:
        assert not limits_of(pod_of(cluster_id, kubernetes, num_gpus=0))

    def test_those_that_the_resources_name_stay(self, cluster_id: str, kubernetes: KubernetesHandle) -> None:
        pod = pod_of(cluster_id, kubernetes, container_resources={"limits": {"nvidia.com/gpu": "3"}})
        assert limits_of(pod) == {"nvidia.com/gpu": "3"}


class TestRefusal:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"num_gpus": 9}, "num_gpus=9 is too many: the cluster has 8 GPUs on a node"),
            ({"num_gpus": "{{ 'all' }}"}, "num_gpus='all' is wrong: give a whole number"),
            ({"shared_volume": "logs"}, "shared_volume='logs' is wrong: attached to the cluster are 'data'"),
        ],
    )
    def test_what_is_wrong_is_told_before_anything_is_sent(
        self,
        cluster_id: str,
        kubernetes: KubernetesHandle,
        parameters: dict[str, Any],
        message: str,
        output: Callable[[], str],
    ) -> None:
        assert run_pod(cluster_id, "", **parameters, retries=3).state == "failed"
        assert message in output()
        assert kubernetes.requests == []

    def test_a_slurm_cluster_takes_no_pods(self, make_cluster: Callable[..., str], output: Callable[[], str]) -> None:
        assert run_pod(make_cluster(cluster_type="SLURM"), "").state == "failed"
        assert "it is a SLURM cluster" in output()

    @pytest.mark.parametrize(
        "parameters", [{"kubernetes_conn_id": "k"}, {"config_file": "/a"}, {"in_cluster": True}, {"num_gpus": -1}]
    )
    def test_a_wrong_literal_is_told_when_the_dag_is_parsed(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(SpecError, match=next(iter(parameters))):
            GPUClusterPodOperator(task_id="train", cluster_id="c", **parameters)

    def test_defaults_of_the_dag_for_other_pods_do_not_lead_elsewhere(self) -> None:
        defaults = {"kubernetes_conn_id": "other", "config_file": "/other", "in_cluster": True}
        with DAG("defaults", schedule=None, default_args=defaults):
            operator = GPUClusterPodOperator(task_id="train", cluster_id="c")
        assert (operator.kubernetes_conn_id, operator.config_file, operator.in_cluster) == (None, None, False)


def test_all_templates_of_the_parent_stay_but_those_that_lead_to_a_cluster() -> None:
    own = {"cluster_id", "together_conn_id", "num_gpus", "shared_volume", "shared_volume_mount_path"}
    lost = {"kubernetes_conn_id", "config_file"}
    assert set(GPUClusterPodOperator.template_fields) == set(KubernetesPodOperator.template_fields) - lost | own


def test_a_kubeconfig_of_the_machine_is_not_read(
    cluster_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("clusters: []")
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert run_pod(cluster_id, "print(1)", deferrable=True).state == "success"


def test_it_defers_to_a_trigger_of_its_own() -> None:
    theirs = KubernetesPodTrigger(
        pod_name="p",
        pod_namespace="default",
        trigger_start_time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        base_container_name="base",
        config_dict={"users": "secret"},
    )
    operator = GPUClusterPodOperator(task_id="train", cluster_id="c", together_conn_id="gpus")
    with pytest.raises(TaskDeferred) as deferred:
        operator.defer(trigger=theirs, method_name="trigger_reentry")
    trigger = deferred.value.trigger
    assert isinstance(trigger, GPUClusterPodTrigger)
    assert (trigger.cluster_id, trigger.together_conn_id, trigger.config_dict) == ("c", "gpus", None)


def test_a_kill_deletes_the_pod(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    def is_followed() -> bool:
        return any(request.path.endswith("/log") for request in kubernetes.requests)

    inner = GPUClusterPodOperator(task_id="inner", cluster_id=cluster_id, cmds=python(ENDLESS), **SHORT)
    with DAG("killed", schedule=None) as dag:
        Killed(task_id="train", inner=inner, when=is_followed)
    assert run_dag(dag).state == "failed"
    wait_until(lambda: kubernetes.pods() == [] and kubernetes.processes() == [])


def test_a_try_after_a_killed_worker_finds_the_pod(
    cluster_id: str, kubernetes: KubernetesHandle, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    code = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
    parameters = json.dumps({**SHORT, "cluster_id": cluster_id, "cmds": python(code)})
    command = [sys.executable, "-m", "tests.provider.kubernetes.worker", "GPUClusterPodOperator", parameters]
    root = Path(__file__).parents[3]
    processes = [LoggedProcess(command, environment=os.environ, folder=root, log_file=tmp_path / "first.log")]
    try:
        wait_until(lambda: kubernetes.processes() or processes[0].exit_status is not None)
        processes[0].send(signal.SIGKILL, to_session=True)
        second = LoggedProcess(command, environment=os.environ, folder=root, log_file=tmp_path / "second.log")
        processes.append(second)
        wait_until(lambda: "Found matching pod" in second.output() or second.exit_status is not None)
        go_on.touch()
        second.wait(60.0)
        assert second.exit_status == 0, second.tail()
    finally:
        stop_all(processes, grace=1.0)
    assert sum(request.method == "POST" and request.path.endswith("/pods") for request in kubernetes.requests) == 1


def test_a_dry_run_asks_nobody(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    GPUClusterPodOperator(task_id="train", cluster_id="c", image="any").dry_run()
    assert "nvidia.com/gpu: '8'" in capsys.readouterr().out
    assert emulator.requests == []


def test_numbers_and_flags_are_texts_to_kubernetes(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    pod = pod_of(
        cluster_id,
        kubernetes,
        arguments=["--epochs", 3],
        env_vars={"STEPS": 1, "RATE": 0.5, "DEBUG": True},
        labels={"team": 7, "nightly": True},
    )
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["--epochs", "3"]
    assert {one["name"]: one["value"] for one in container["env"]}.items() >= {
        ("STEPS", "1"),
        ("RATE", "0.5"),
        ("DEBUG", "true"),
    }
    assert pod["metadata"]["labels"].items() >= {("team", "7"), ("nightly", "true")}


def test_a_command_that_is_no_list_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match=r"cmds='train.sh' is wrong: give a list of words"):
        GPUClusterPodOperator(task_id="train", cluster_id="c", image="i", cmds="train.sh")
