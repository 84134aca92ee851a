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
from airflow_provider_together.emulator.kubernetes import server
from airflow_provider_together.emulator.kubernetes.inventory import Inventory, take_inventory
from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, marked_processes
from airflow_provider_together.emulator.state import World
from tests.emulator.kubernetes.conftest import INSTANT, MakeLab
from tests.emulator.kubernetes.lab import CLUSTER, FOREVER, PATIENCE, Lab, connect, pod

#: A child in a session of its own, where a signal to the group does not reach it.
FAMILY = f"setsid {FOREVER} & {FOREVER} & {FOREVER}"


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
        with connect(emulator) as http:
            cluster_id = http.post("/v1/compute/clusters", json=CLUSTER).json()["cluster_id"]
        handle = emulator.kubernetes(cluster_id)
        assert (handle.pods(), handle.jobs(), handle.processes()) == ([], [], [])
        with pytest.raises(RuntimeError, match="its Kubernetes API is not up"):
            handle.lose_node("x")
        emulator.advance(101)
        assert len(handle.objects("nodes")) == 2


def test_a_deleted_cluster_answers_no_more_and_its_processes_are_dead(own: Emulator, make_lab: MakeLab) -> None:
    lab, other = make_lab(own), make_lab(own)
    kept = start_family(other)
    home = home_of(start_family(lab)[0])
    lab.delete_cluster()
    eventually(lambda: lab.rest.get("/version").status_code == 503)
    assert lab.handle.processes() == []
    eventually(lambda: not home.exists())
    assert other.handle.processes() == kept
    assert lab.handle.pods() == []
    assert lab.handle.requests[-1].status == 503


def test_what_follows_a_log_ends_with_the_cluster(own: Emulator, make_lab: MakeLab) -> None:
    lab = make_lab(own)
    name = lab.create_pod(pod("follow", f"echo begin; {FOREVER}")).metadata.name
    lab.wait_until_running(name)
    with lab.rest.stream("GET", f"/api/v1/namespaces/default/pods/{name}/log?follow=true") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "begin"
        lab.delete_cluster()
        assert list(lines) == []


def test_a_reset_ends_everything(own: Emulator, make_lab: MakeLab) -> None:
    lab = make_lab(own)
    start_family(lab)
    own.reset()
    assert lab.handle.processes() == []


def test_a_stopped_emulator_leaves_nothing_behind(own: Emulator, make_lab: MakeLab) -> None:
    lab = make_lab(own)
    home = home_of(start_family(lab)[0])
    own.stop()
    assert lab.handle.processes() == []
    assert not home.parents[3].exists()
    assert lab.handle.pods() == []
    assert lab.handle.requests


def test_the_kubernetes_side_has_to_be_asked_for(own: Emulator, make_lab: MakeLab) -> None:
    lab = make_lab(own)
    with Emulator(**INSTANT) as emulator, pytest.raises(RuntimeError, match="start it with kubernetes=True"):
        emulator.kubernetes(lab.cluster_id)


def test_two_kubeconfigs_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="kube_config"):
        Emulator(kubernetes=True, kube_config="apiVersion: v1")


SERVE = """
import os, signal, sys
from airflow_provider_together.emulator import Emulator
from tests.emulator.kubernetes.conftest import INSTANT
from tests.emulator.kubernetes.lab import Lab
from tests.emulator.kubernetes.test_life import home_of, start_family

# A process that is started in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Emulator(kubernetes=True, **INSTANT) as emulator:
    started = start_family(Lab(emulator))
    variables = open(f"/proc/{started[0]}/environ").read().split(chr(0))
    mark = next(one for one in variables if one.startswith("TOGETHER_EMULATOR_POD=")).partition("=")[2]
    child = os.fork() if sys.argv[1] == "fork" else None
    if child == 0:
        # It holds all that the emulator has open, except what the test reads, and lives on.
        os.close(1)
        signal.pause()
    print(mark.split("/")[0], home_of(started[0]), child, flush=True)
    if sys.argv[1] != "leave":
        signal.pause()
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
        mark, home, child = process.stdout.readline().split()
        if number is not None:
            assert len(marked_processes(mark)) >= 4
            process.send_signal(number)
        process.wait(PATIENCE)
    try:
        eventually(lambda: marked_processes(mark) == [])
        eventually(lambda: not Path(home).parents[3].exists())
    finally:
        if child != "None":
            # Fails if it has not outlived all that.
            os.kill(int(child), signal.SIGKILL)


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
        with subprocess.Popen(["/bin/sleep", "3600"], env={MARK_VARIABLE: value}) as process:
            try:
                eventually(partial(_has_begun, process.pid))
                assert (process.pid in marked_processes("here")) == is_found
            finally:
                process.kill()


def test_a_mistake_does_not_end_the_following_of_the_cloud(
    own: Emulator, make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(own)
    start_family(lab)
    failed: list[World] = []

    def fail_once(world: World) -> dict[str, Inventory]:
        if world in failed:
            return take_inventory(world)
        failed.append(world)
        message = "a mistake"
        raise RuntimeError(message)

    monkeypatch.setattr(server, "take_inventory", fail_once)
    # There is another emulator, that of all tests.
    eventually(lambda: len(failed) == 2)
    # From here on nobody asks, so that only the following can see it.
    lab.delete_cluster()
    eventually(lambda: lab.handle.processes() == [])


def _has_begun(process_id: int) -> bool:
    return MARK_VARIABLE.encode() in Path(f"/proc/{process_id}/environ").read_bytes()


def test_clusters_may_come_and_go_while_others_are_asked(own: Emulator, make_lab: MakeLab) -> None:
    labs = [make_lab(own) for _ in range(6)]
    stays = labs.pop()
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(stays.rest.get, "/version") for _ in range(50)]
        deletions = [pool.submit(lab.delete_cluster) for lab in labs]
        assert {answer.result().status_code for answer in answers} == {200}
        assert [deletion.result() for deletion in deletions] == [None] * 5
    assert [lab.rest.get("/version").status_code for lab in labs] == [503] * 5
    assert stays.run(pod("goes-on", "true")).status.phase == "Succeeded"
