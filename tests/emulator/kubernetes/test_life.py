"""When a cluster's Kubernetes API is there, and that nothing of it outlives the cluster or the emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, marked_processes
from tests.emulator.kubernetes.conftest import INSTANT
from tests.emulator.kubernetes.lab import PATIENCE, Lab, pod

#: A child in a session of its own, where a signal to the group does not reach it.
FAMILY = "setsid sleep 60 & sleep 60 & sleep 60"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def own() -> Iterator[Emulator]:
    """An emulator for one test alone, which may stop it."""
    with Emulator(kubernetes=True, **INSTANT) as emulator:
        yield emulator


def start_family(lab: Lab) -> list[int]:
    name = lab.create_pod(pod("family", FAMILY)).metadata.name
    lab.wait_until_running(name)
    lab.wait(lambda: len(lab.handle.processes()) >= 4)
    return lab.handle.processes()


def home_of(process_id: int) -> Path:
    variables = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
    return Path(next(one for one in variables if one.startswith(b"HOME="))[len("HOME=") :].decode())


def test_a_cluster_that_is_not_ready_does_not_answer_yet() -> None:
    with Emulator(kubernetes=True, **{**INSTANT, "ready_after": 100}) as emulator:
        wire = httpx.Client(base_url=emulator.url, headers={"Authorization": "Bearer emulator-key"}, trust_env=False)
        software = {"cuda_version": "12.8", "nvidia_driver_version": "570", "billing_type": "ON_DEMAND"}
        body = {"region": "us-central-8", "gpu_type": "H100_SXM", "num_gpus": 8, "cluster_name": "c", **software}
        cluster_id = wire.post("/v1/compute/clusters", json=body).json()["cluster_id"]
        handle = emulator.kubernetes(cluster_id)
        assert (handle.pods(), handle.jobs(), handle.processes()) == ([], [], [])
        with pytest.raises(RuntimeError, match="its Kubernetes API is not up"):
            handle.lose_node("x")
        emulator.advance(101)
        assert len(handle.objects("nodes")) == 1
        wire.close()


def test_a_deleted_cluster_answers_no_more_and_its_processes_are_dead(own: Emulator) -> None:
    lab = Lab(own)
    other = Lab(own)
    kept = start_family(other)
    home = home_of(start_family(lab)[0])
    lab.delete_cluster()
    eventually(lambda: lab.rest.get("/version").status_code == 503)
    assert lab.handle.processes() == []
    eventually(lambda: not home.exists())
    assert other.handle.processes() == kept
    assert lab.handle.pods() == []
    assert lab.handle.requests[-1].status == 503
    lab.close()
    other.close()


def test_what_follows_a_log_ends_with_the_cluster(own: Emulator) -> None:
    lab = Lab(own)
    name = lab.create_pod(pod("follow", "echo begin; sleep 60")).metadata.name
    lab.wait_until_running(name)
    with lab.rest.stream("GET", f"/api/v1/namespaces/default/pods/{name}/log?follow=true") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "begin"
        lab.delete_cluster()
        assert list(lines) == []
    lab.close()


def test_a_reset_ends_everything(own: Emulator) -> None:
    lab = Lab(own)
    start_family(lab)
    own.reset()
    assert lab.handle.processes() == []
    lab.close()


def test_a_stopped_emulator_leaves_nothing_behind(own: Emulator) -> None:
    lab = Lab(own)
    home = home_of(start_family(lab)[0])
    own.stop()
    assert lab.handle.processes() == []
    assert not home.parents[3].exists()
    assert lab.handle.pods() == []
    assert lab.handle.requests
    lab.close()


def test_the_kubernetes_side_has_to_be_asked_for(own: Emulator) -> None:
    lab = Lab(own)
    with Emulator(**INSTANT) as emulator, pytest.raises(RuntimeError, match="start it with kubernetes=True"):
        emulator.kubernetes(lab.cluster_id)
    lab.close()


def test_two_kubeconfigs_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="kube_config"):
        Emulator(kubernetes=True, kube_config="apiVersion: v1")


SERVE = """
import sys, time
from airflow_provider_together.emulator import Emulator
from tests.emulator.kubernetes.conftest import INSTANT
from tests.emulator.kubernetes.lab import Lab
from tests.emulator.kubernetes.test_life import home_of, start_family

with Emulator(kubernetes=True, **INSTANT) as emulator:
    started = start_family(Lab(emulator))
    variables = open(f"/proc/{started[0]}/environ").read().split(chr(0))
    mark = next(one for one in variables if one.startswith("TOGETHER_EMULATOR_POD=")).partition("=")[2]
    print(mark.split("/")[0], home_of(started[0]), flush=True)
    if sys.argv[1] == "stay":
        time.sleep(60)
    if sys.argv[1] == "fork":
        # A process that holds all that the emulator has open, and lives on.
        import os
        if os.fork() == 0:
            os.close(1)
            time.sleep(20)
            os._exit(0)
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("leave", None),
        ("stay", signal.SIGKILL),
        ("stay", signal.SIGINT),
        ("stay", signal.SIGTERM),
        ("fork", signal.SIGKILL),
    ],
)
def test_no_process_outlives_the_emulators_own(way: str, number: int | None) -> None:
    command = [sys.executable, "-c", SERVE, way]
    environment = {name: value for name, value in os.environ.items() if name != MARK_VARIABLE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        mark, home = process.stdout.readline().split()
        if number is not None:
            assert len(marked_processes(mark)) >= 4
            process.send_signal(number)
        process.wait(PATIENCE)
    eventually(lambda: marked_processes(mark) == [])
    eventually(lambda: not Path(home).parents[3].exists())


def test_the_command_line_has_it_too() -> None:
    command = [sys.executable, "-m", "airflow_provider_together.emulator", "--kubernetes", "--speed", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        headers = {"Authorization": "Bearer emulator-key"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
            software = {"driver_version": "CUDA_12_8_570", "billing_type": "ON_DEMAND", "duration_days": 1}
            body = {"region": "us-central-8", "gpu_type": "H100_SXM", "num_gpus": 8, "cluster_name": "c", **software}
            path = f"/api/v1/gpu_cluster/{http.post('/api/v1/gpu_cluster', json=body).json()['cluster_id']}"
            eventually(lambda: bool(http.get(path).json()["kube_config"]))
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_only_what_carries_the_mark_is_found() -> None:
    for value, is_found in (("here/a", True), ("here", True), ("heretic", False), ("there/here", False)):
        with subprocess.Popen(["/bin/sleep", "60"], env={MARK_VARIABLE: value}) as process:
            try:
                eventually(partial(_has_begun, process.pid))
                assert (process.pid in marked_processes("here")) == is_found
            finally:
                process.kill()


def _has_begun(process_id: int) -> bool:
    return MARK_VARIABLE.encode() in Path(f"/proc/{process_id}/environ").read_bytes()


def test_clusters_may_come_and_go_while_others_are_asked(own: Emulator) -> None:
    labs = [Lab(own) for _ in range(6)]
    stays = labs.pop()
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(stays.rest.get, "/version") for _ in range(50)]
        deletions = [pool.submit(lab.delete_cluster) for lab in labs]
        assert {answer.result().status_code for answer in answers} == {200}
        assert [deletion.result() for deletion in deletions] == [None] * 5
    assert [lab.rest.get("/version").status_code for lab in labs] == [503] * 5
    assert stays.run(pod("goes-on", "true")).status.phase == "Succeeded"
    for lab in (*labs, stays):
        lab.close()
