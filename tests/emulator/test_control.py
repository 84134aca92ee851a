"""Commanding an emulator and looking into it: by HTTP from another process, and from Python."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from airflow_provider_together.emulator import Emulator, Fault
from tests.emulator.wire import Wire


@pytest.fixture
def control(emulator: Emulator) -> Iterator[httpx.Client]:
    """Another process: it has no key."""
    with httpx.Client(base_url=f"{emulator.url}/_emulator", trust_env=False) as client:
        yield client


def test_it_is_healthy(control: httpx.Client, emulator: Emulator) -> None:
    assert control.get("/health").json() == {"status": "ok", "now": emulator.now(), "speed": 0, "clusters_alive": 0}


def test_clusters_are_told_with_all_that_their_owner_wants_to_know(
    control: httpx.Client, emulator: Emulator, wire: Wire
) -> None:
    cluster_id = wire.create(num_gpus=16)
    emulator.advance(3600)
    (cluster,) = control.get("/clusters").json()["clusters"]
    assert cluster == {
        "cluster_id": cluster_id,
        "cluster_name": "training",
        "status": "READY",
        "num_gpus": 16,
        "gpu_type": "H100_SXM",
        "region": "us-central-8",
        "billing_type": "ON_DEMAND",
        "created_at": pytest.approx(emulator.now() - 3600),
        "ready_at": pytest.approx(emulator.now() - 3000),
        "deleted_at": None,
        "gpu_hours": pytest.approx(16),
        "alive": True,
    }


def test_only_the_living_can_be_asked_for(control: httpx.Client, emulator: Emulator, wire: Wire) -> None:
    wire.delete(wire.create())
    emulator.advance(61)
    alive = wire.create()
    assert [c["cluster_id"] for c in control.get("/clusters?alive=true").json()["clusters"]] == [alive]
    gone, _ = control.get("/clusters").json()["clusters"]
    assert (gone["status"], gone["alive"], gone["deleted_at"]) == ("GONE", False, pytest.approx(emulator.now() - 1))


def test_the_ledger_adds_up(control: httpx.Client, emulator: Emulator, wire: Wire) -> None:
    wire.create(num_gpus=8)
    wire.create(num_gpus=16)
    emulator.advance(3600)
    ledger = control.get("/ledger").json()
    assert ledger["gpu_hours"] == pytest.approx(24)
    assert [cluster["gpu_hours"] for cluster in ledger["clusters"]] == [pytest.approx(8), pytest.approx(16)]


def test_volumes_are_told(control: httpx.Client, wire: Wire) -> None:
    volume_id = wire.create_volume()
    cluster_id = wire.create(volume_id=volume_id)
    (volume,) = control.get("/volumes").json()["volumes"]
    assert (volume["volume_id"], volume["cluster_id"], volume["alive"]) == (volume_id, cluster_id, True)


def test_requests_of_the_dialects_are_told_and_no_others(control: httpx.Client, wire: Wire) -> None:
    wire.post_cluster(num_gpus=1)
    control.get("/health")
    (record,) = control.get("/requests").json()["requests"]
    assert (record["method"], record["path"], record["status"]) == ("POST", wire.paths["cluster"], 400)
    assert (record["dialect"], record["route"]) == (wire.dialect, "create_cluster")


def test_faults_are_injected_told_and_cleared(control: httpx.Client, wire: Wire) -> None:
    answer = control.post("/faults", json={"route": "list_clusters", "status": 503, "times": 2}).json()
    assert [(fault["kind"], fault["left"]) for fault in answer["faults"]] == [("status", 2)]
    assert wire.http.get(wire.paths["clusters"]).status_code == 503
    assert control.get("/faults").json()["faults"][0]["left"] == 1
    assert control.delete("/faults").json() == {"faults": []}
    assert wire.listed() == []


def test_several_faults_are_injected_all_or_none(control: httpx.Client, emulator: Emulator) -> None:
    response = control.post("/faults", json=[{"status": 503}, {"kind": "fire"}])
    assert response.status_code == 400
    assert "kind='fire'" in response.json()["error"]
    assert control.get("/faults").json() == {"faults": []}
    control.post("/faults", json=[{"status": 503}, Fault(kind="drop").to_json()]).raise_for_status()
    assert len(control.get("/faults").json()["faults"]) == 2
    emulator.clear_faults()


@pytest.mark.parametrize("body", ["7", '{"status": 503, "colour": "red"}', '{"status": "503"}', '{"times": "many"}'])
def test_what_is_no_fault_is_refused(control: httpx.Client, body: str) -> None:
    response = control.post("/faults", content=body)
    assert response.status_code == 400
    assert "is wrong" in response.json()["error"]


def test_time_is_advanced(control: httpx.Client, emulator: Emulator) -> None:
    before = emulator.now()
    assert control.post("/advance", json={"seconds": 90.5}).json() == {"now": pytest.approx(before + 90.5)}


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"seconds": "1"}', '{"seconds": -1}', '{"seconds": true}', "{"])
def test_a_wrong_advance_is_refused(control: httpx.Client, emulator: Emulator, body: str) -> None:
    before = emulator.now()
    response = control.post("/advance", content=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert emulator.now() == before


@pytest.mark.parametrize(
    ("word", "tcloud_word", "compute_word"),
    [
        ("READY", "READY", "Ready"),
        ("Ready", "READY", "Ready"),
        ("PENDING", "PENDING", "WaitingForControlPlaneNodes"),
        ("WaitingForSharedVolume", "WAITING_DATA_PLANE", "WaitingForSharedVolume"),
        ("Degraded", "Degraded", "Degraded"),
        ("OnDemandComputePaused", "OnDemandComputePaused", "OnDemandComputePaused"),
        ("FAILED", "FAILED", "RunningAcceptanceTests"),
    ],
)
def test_a_status_is_set_and_stays(
    control: httpx.Client,
    emulator: Emulator,
    tcloud: Wire,
    compute: Wire,
    word: str,
    tcloud_word: str,
    compute_word: str,
) -> None:
    cluster_id = tcloud.create()
    control.post(f"/clusters/{cluster_id}/status", json={"status": word}).raise_for_status()
    for _ in range(2):
        assert (tcloud.status(cluster_id), compute.status(cluster_id)) == (tcloud_word, compute_word)
        emulator.advance(3600)


def test_a_cluster_that_is_set_ready_has_its_nodes_and_kubeconfig(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(num_gpus=16)
    emulator.set_status(cluster_id, "READY")
    cluster = wire.get(cluster_id)
    assert [node["status"] for node in cluster["gpu_worker_nodes"]] == ["RUNNING", "RUNNING"]
    assert cluster["kube_config"]


def test_a_cluster_that_is_set_deleting_goes(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    emulator.set_status(cluster_id, "DELETING")
    emulator.advance(61)
    assert wire.get_response(cluster_id).status_code == 404


def test_a_word_that_nobody_knows_is_shown_as_it_is_until_another_is_set(wire: Wire, emulator: Emulator) -> None:
    wire.is_checked = False
    cluster_id = wire.create()
    emulator.set_status(cluster_id, "Polishing")
    assert wire.status(cluster_id) == "Polishing"
    emulator.set_status(cluster_id, "READY")
    assert wire.status(cluster_id) in ("READY", "Ready")


def test_a_cluster_is_let_fail(control: httpx.Client, compute: Wire) -> None:
    cluster_id = compute.create()
    control.post(f"/clusters/{cluster_id}/fail", json={"nccl": True}).raise_for_status()
    assert compute.get(cluster_id)["phase_transitions"][-1]["phase"] == "CLUSTER_PHASE_NCCL_TESTS_FAILED"


def test_a_cluster_that_there_is_not_cannot_be_commanded(control: httpx.Client, wire: Wire) -> None:
    cluster_id = wire.create()
    response = control.post("/clusters/nothing/status", json={"status": "READY"})
    assert response.status_code == 404
    assert cluster_id in response.json()["error"]


def test_an_endpoint_that_there_is_not_answers_404(control: httpx.Client) -> None:
    assert control.get("/weather").status_code == 404


def test_a_reset_forgets_everything_but_the_time(control: httpx.Client, emulator: Emulator, wire: Wire) -> None:
    wire.create()
    wire.create_volume()
    emulator.inject(Fault(status=500, times=None))
    before = emulator.now()
    control.post("/reset").raise_for_status()
    assert (emulator.clusters(), emulator.volumes(), emulator.requests) == ([], [], [])
    assert emulator.now() == before
    assert wire.listed() == []


def test_the_connection_leads_here(emulator: Emulator) -> None:
    assert json.loads(emulator.connection(api="compute", visibility=5, retries=2)) == {
        "conn_type": "together",
        "host": emulator.url,
        "password": "emulator-key",
        "extra": {"api": "compute", "visibility": 5, "retries": 2},
    }


@pytest.mark.parametrize(("speed", "visibility"), [(0.0, 60.0), (1.0, 60.0), (60.0, 1.0), (1e6, 0.2)])
def test_a_client_looks_for_a_cluster_as_long_as_the_emulated_list_may_lag(speed: float, visibility: float) -> None:
    with Emulator(speed=speed) as emulator:
        assert json.loads(emulator.connection())["extra"]["visibility"] == visibility
