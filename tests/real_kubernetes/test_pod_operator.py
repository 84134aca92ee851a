"""What a pod operator does, on a real API server: Airflow's own as control, and ours."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes.client import models as k8s  # type: ignore[import-untyped]

from airflow_provider_together.demo.process import LoggedProcess, stop_all
from tests.real_kubernetes.looking import PATIENCE_SECONDS, all_pods, running_pods, uids, wait_until
from tests.real_kubernetes.tasks import Kind, make_dag
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.real_kubernetes, pytest.mark.usefixtures("cluster_id", "clean_namespace")]

TOO_MANY = k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": "16"})
OURS: Kind = "GPUClusterPodOperator"


def run(kind: Kind, script: str, **arguments: Any) -> Run:
    return run_dag(make_dag(kind, script, **arguments))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pod_that_succeeds(kind: Kind, *, deferrable: bool, capfd: pytest.CaptureFixture[str]) -> None:
    run_of_it = run(kind, "echo the loss is $((6 * 7)); sleep 1", deferrable=deferrable)
    assert run_of_it.state == "success"
    assert "the loss is 42" in "".join(capfd.readouterr())


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pod_that_fails(kind: Kind, *, deferrable: bool, capfd: pytest.CaptureFixture[str]) -> None:
    run_of_it = run(kind, "echo about to break; sleep 1; exit 3", deferrable=deferrable)
    assert run_of_it.state == "failed"
    assert "about to break" in "".join(capfd.readouterr())


@pytest.mark.parametrize("deferrable", [False, True])
def test_what_a_pod_has_written_is_its_return_value(kind: Kind, *, deferrable: bool) -> None:
    script = """echo '{"loss": 0.5}' > /airflow/xcom/return.json; sleep 1"""
    run_of_it = run(kind, script, do_xcom_push=True, deferrable=deferrable)
    assert run_of_it.value("train") == {"loss": 0.5}


def test_on_kill_deletes_the_pod(kind: Kind, kubernetes: httpx.Client) -> None:
    def kill() -> None:
        wait_until(lambda: bool(running_pods(kubernetes)))
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=kill)
    killer.start()
    run_of_it = run(kind, "sleep 120")
    killer.join()
    assert run_of_it.state == "failed"


def test_a_try_after_a_killed_worker_finds_the_pod(kind: Kind, kubernetes: httpx.Client, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    seen: set[str] = set()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(worker(kind, f"until [ -e {stop} ]; do sleep 0.1; done", tmp_path))
        wait_until(lambda: bool(running_pods(kubernetes)) or first.exit_status is not None)
        assert len(running_pods(kubernetes)) == 1, first.tail()
        seen |= uids(kubernetes)
        first.send(signal.SIGKILL, to_session=True)
        second = stack.enter_context(worker(kind, "echo this is another pod", tmp_path))
        wait_until(lambda: "Found matching pod" in second.output() or second.exit_status is not None)
        seen |= uids(kubernetes)
        stop.touch()
        second.wait(PATIENCE_SECONDS)
    assert second.exit_status == 0, second.tail()
    assert len(seen) == 1


@contextlib.contextmanager
def worker(kind: Kind, script: str, folder: Path) -> Iterator[LoggedProcess]:
    """Run a task of always the same run in a process of its own."""
    command = [sys.executable, "-m", "tests.real_kubernetes.worker", kind, script]
    root = Path(__file__).parents[2]
    process = LoggedProcess(command, environment=os.environ, folder=root, log_file=folder / "worker.log")
    try:
        yield process
    finally:
        stop_all([process], grace=1.0)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_token_that_is_exchanged_meanwhile_is_fetched_again(
    *,
    deferrable: bool,
    kubernetes: httpx.Client,
    exchange_token: Callable[[], None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stop = tmp_path / "stop"

    def exchange() -> None:
        try:
            wait_until(lambda: bool(running_pods(kubernetes)))
            exchange_token()
        finally:
            stop.touch()

    other = threading.Thread(target=exchange)
    other.start()
    run_of_it = run(OURS, f"until [ -e {stop} ]; do sleep 0.1; done; echo the end", deferrable=deferrable)
    other.join()
    assert run_of_it.state == "success"
    assert "the end" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("non_zero_exit, exit code 3", {}),
        ("image_pull", {"image": "registry.invalid/train:1", "startup_timeout_seconds": 5}),
        (
            "unschedulable",
            {"container_resources": TOO_MANY, "schedule_timeout_seconds": 5, "startup_timeout_seconds": 5},
        ),
    ],
)
def test_a_failure_is_explained(word: str, arguments: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(OURS, "exit 3", **arguments).state == "failed"
    assert word in "".join(capfd.readouterr())


def test_gpus_are_asked_for_as_the_cluster_has_them(kubernetes: httpx.Client, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    limits: list[Any] = []

    def look() -> None:
        try:
            wait_until(lambda: bool(running_pods(kubernetes)))
            limits.extend(pod["spec"]["containers"][0]["resources"].get("limits") for pod in all_pods(kubernetes))
        finally:
            stop.touch()

    other = threading.Thread(target=look)
    other.start()
    assert run(OURS, f"until [ -e {stop} ]; do sleep 0.1; done").state == "success"
    other.join()
    assert limits == [{"nvidia.com/gpu": "8"}]
