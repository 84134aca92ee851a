"""The life of a cluster in simulated time, as both dialects tell it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
import yaml

from airflow_provider_together.emulator import Emulator
from tests.contract.schema import DialectName
from tests.emulator.conftest import Connect, Start
from tests.emulator.wire import Wire

TCLOUD_WORDS = ["PENDING", "QUEUED", "WAITING_CONTROL_PLANE", "WAITING_DATA_PLANE", "READY"]
COMPUTE_WORDS = [
    "WaitingForControlPlaneNodes",
    "WaitingForSubnet",
    "WaitingForDataPlaneNodes",
    "InstallingDrivers",
    "Ready",
]
READY = {"tcloud": "READY", "compute": "Ready"}
DELETING = {"tcloud": "DELETING", "compute": "Deleting"}


def words_until_ready(wire: Wire, emulator: Emulator, cluster_id: str) -> list[str]:
    """Return the status words that a client sees that looks every five seconds, each once."""
    words = [wire.status(cluster_id)]
    for _ in range(200):
        if words[-1] == READY[wire.dialect]:
            break
        emulator.advance(5)
        word = wire.status(cluster_id)
        if word != words[-1]:
            words.append(word)
    return words


def to_epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def to_text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def test_a_cluster_goes_through_its_phases_to_ready(wire: Wire, emulator: Emulator) -> None:
    words = words_until_ready(wire, emulator, wire.create())
    assert words == {"tcloud": TCLOUD_WORDS, "compute": COMPUTE_WORDS}[wire.dialect]


def test_the_older_api_speaks_the_current_words_if_told_to(start: Start, connect: Connect) -> None:
    emulator = start(tcloud_status_words="current")
    wire = connect(emulator, "tcloud")
    cluster_id = wire.create()
    assert wire.status(cluster_id) == "WaitingForControlPlaneNodes"
    emulator.advance(3600)
    assert wire.status(cluster_id) == "Ready"


def test_a_cluster_is_ready_after_about_ten_minutes(wire: Wire, emulator: Emulator) -> None:
    wire.create()
    emulator.advance(3600)
    (cluster,) = emulator.alive()
    assert cluster.ready_at is not None
    assert cluster.ready_at - cluster.created_at == pytest.approx(600, abs=60)


def test_the_time_until_ready_can_be_set(start: Start, connect: Connect) -> None:
    emulator = start(ready_after=30)
    wire = connect(emulator, "compute")
    cluster_id = wire.create(acceptance_tests_params={"enabled": True})
    emulator.advance(29)
    assert wire.status(cluster_id) != "Ready"
    emulator.advance(2)
    assert wire.status(cluster_id) == "Ready"


def test_everything_can_take_no_time_at_all(start: Start, connect: Connect, dialect: DialectName) -> None:
    wire = connect(start(ready_after=0, delete_takes=0, resize_takes=0, volume_takes=0), dialect)
    cluster_id = wire.create(volume_id=wire.create_volume())
    assert wire.status(cluster_id) == READY[dialect]
    wire.resize(cluster_id, 24)
    assert len(wire.get(cluster_id)["gpu_worker_nodes"]) == 3
    wire.delete(cluster_id)
    assert wire.get_response(cluster_id).status_code == 404


def test_acceptance_tests_are_run_if_asked_for(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create(acceptance_tests_params={"enabled": True})
    assert "RunningAcceptanceTests" in words_until_ready(compute, emulator, cluster_id)


def test_a_volume_is_waited_for(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create(volume_id=compute.create_volume())
    assert "WaitingForSharedVolume" in words_until_ready(compute, emulator, cluster_id)


def test_time_passes_by_itself_at_the_given_speed(start: Start, connect: Connect) -> None:
    emulator = start(speed=1_000_000)
    wire = connect(emulator, "tcloud")
    cluster_id = wire.create()
    while wire.status(cluster_id) != "READY":
        pass
    assert emulator.alive()[0].status == "READY"


def test_transitions_tell_the_past_and_nothing_of_the_future(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create()
    emulator.advance(100)
    told = compute.get(cluster_id)["phase_transitions"]
    assert [step["phase"] for step in told] == [
        "CLUSTER_PHASE_QUEUED",
        "CLUSTER_PHASE_SCHEDULED",
        "CLUSTER_PHASE_WAITING_FOR_CONTROL_PLANE_NODES",
    ]
    assert all(to_epoch(step["transition_time"]) <= emulator.now() for step in told)


def test_nodes_come_in_while_the_data_plane_is_waited_for(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(num_gpus=32)
    counts = set()
    for _ in range(80):
        counts.add(len(wire.get(cluster_id)["gpu_worker_nodes"]))
        emulator.advance(10)
    assert counts == {0, 1, 2, 3, 4}
    nodes = wire.get(cluster_id)["gpu_worker_nodes"]
    assert [(node["num_gpus"], node["status"]) for node in nodes] == [(8, "RUNNING")] * 4
    assert len(wire.get(cluster_id)["control_plane_nodes"]) == 1


def test_the_kubeconfig_is_empty_until_ready(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    emulator.advance(300)
    assert wire.get(cluster_id)["kube_config"] == ""


def test_the_kubeconfig_of_a_ready_cluster_is_base64_of_yaml(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    emulator.advance(3600)
    config = yaml.safe_load(base64.b64decode(wire.get(cluster_id)["kube_config"], validate=True))
    assert config["kind"] == "Config"
    assert config["contexts"][0]["name"] == config["current-context"] == cluster_id
    assert config["clusters"][0]["cluster"]["server"].endswith(".emulator.invalid:6443")


def test_the_older_api_gives_the_kubeconfig_as_yaml_if_told_to(start: Start, connect: Connect) -> None:
    emulator = start(tcloud_kube_config="yaml", kube_config="apiVersion: v1\n")
    wire = connect(emulator, "tcloud")
    cluster_id = wire.create()
    emulator.advance(3600)
    assert wire.get(cluster_id)["kube_config"] == "apiVersion: v1\n"


@pytest.mark.parametrize("num_gpus", [8, 40])
def test_a_resize_goes_through_the_data_plane_back_to_ready(wire: Wire, emulator: Emulator, num_gpus: int) -> None:
    cluster_id = wire.create(num_gpus=16)
    emulator.advance(3600)
    assert wire.resize(cluster_id, num_gpus).status_code == 200
    assert (
        wire.status(cluster_id) == {"tcloud": "WAITING_DATA_PLANE", "compute": "WaitingForDataPlaneNodes"}[wire.dialect]
    )
    assert wire.get(cluster_id)["num_gpus"] == num_gpus
    assert len(wire.get(cluster_id)["gpu_worker_nodes"]) == 2 or num_gpus > 16
    emulator.advance(3600)
    assert wire.status(cluster_id) == READY[wire.dialect]
    assert len(wire.get(cluster_id)["gpu_worker_nodes"]) == num_gpus // 8


def test_a_resize_before_ready_makes_the_cluster_ready_with_the_new_number(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(num_gpus=16)
    emulator.advance(30)
    wire.resize(cluster_id, 24)
    emulator.advance(3600)
    assert wire.status(cluster_id) == READY[wire.dialect]
    assert len(wire.get(cluster_id)["gpu_worker_nodes"]) == 3


def test_a_resize_to_the_same_number_changes_nothing(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(num_gpus=16)
    emulator.advance(3600)
    wire.resize(cluster_id, 16)
    assert wire.status(cluster_id) == READY[wire.dialect]


def test_nodes_that_were_given_up_are_told_as_deleted(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create(num_gpus=16)
    emulator.advance(3600)
    compute.resize(cluster_id, 8)
    emulator.advance(3600)
    (node,) = compute.get(cluster_id)["deleted_gpu_worker_nodes"]
    assert node["marked_for_deletion"]
    assert to_epoch(node["deleted_at"]) < emulator.now()


def test_a_deleted_cluster_is_deleting_for_a_while(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    emulator.advance(3600)
    assert wire.delete(cluster_id).json() == {"cluster_id": cluster_id}
    emulator.advance(59)
    assert wire.status(cluster_id) == DELETING[wire.dialect]
    assert wire.listed() == [cluster_id]
    assert len(emulator.alive()) == 1


def test_a_deleted_cluster_answers_404_in_the_end_and_is_not_listed(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    wire.delete(cluster_id)
    emulator.advance(61)
    assert wire.get_response(cluster_id).status_code == 404
    assert wire.delete(cluster_id).status_code == 404
    assert wire.listed() == []
    assert emulator.alive() == []


def test_deleting_twice_is_fine_and_takes_no_longer(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    wire.delete(cluster_id)
    emulator.advance(40)
    assert wire.delete(cluster_id).status_code == 200
    emulator.advance(30)
    assert wire.get_response(cluster_id).status_code == 404


def test_a_cluster_that_is_being_deleted_cannot_be_resized(wire: Wire) -> None:
    cluster_id = wire.create()
    wire.delete(cluster_id)
    assert wire.resize(cluster_id, 16).status_code == 409


def test_an_on_demand_cluster_outlives_its_duration(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(duration_days=1)
    emulator.advance(30 * 86400)
    assert wire.status(cluster_id) == READY[wire.dialect]


def test_a_reserved_cluster_ends_by_itself(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(duration_days=2, billing_type="RESERVED")
    emulator.advance(2 * 86400 - 1)
    assert wire.status(cluster_id) == READY[wire.dialect]
    emulator.advance(2)
    assert wire.status(cluster_id) == DELETING[wire.dialect]
    emulator.advance(60)
    assert wire.get_response(cluster_id).status_code == 404
    assert emulator.ledger().gpu_hours == pytest.approx(2 * 24 * 8, rel=0.01)


def test_a_reservation_can_be_extended(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create(duration_days=1, billing_type="RESERVED")
    end = to_text(emulator.now() + 3 * 86400)
    compute.http.put(f"/v1/compute/clusters/{cluster_id}", json={"reservation_end_time": end}).raise_for_status()
    emulator.advance(2 * 86400)
    assert compute.status(cluster_id) == "Ready"
    emulator.advance(86400 + 100)
    assert compute.get_response(cluster_id).status_code == 404


def test_scheduled_capacity_waits_for_its_start_and_ends_at_its_end(compute: Wire, emulator: Emulator) -> None:
    start, end = emulator.now() + 7200, emulator.now() + 14400
    cluster_id = compute.create(
        billing_type="SCHEDULED_CAPACITY",
        duration_days=None,
        reservation_start_time=to_text(start),
        reservation_end_time=to_text(end),
    )
    emulator.advance(7000)
    assert compute.get(cluster_id)["phase_transitions"][-1]["phase"] == "CLUSTER_PHASE_SCHEDULED"
    assert emulator.ledger().gpu_hours == 0
    emulator.advance(1000)
    assert compute.status(cluster_id) == "Ready"
    emulator.advance(7200)
    assert compute.get_response(cluster_id).status_code == 404
    assert emulator.ledger().gpu_hours == pytest.approx(8 * 2, rel=0.02)


def test_two_clusters_may_have_one_name(wire: Wire) -> None:
    assert wire.create(cluster_name="same") != wire.create(cluster_name="same")
    assert len(wire.listed()) == 2


def test_both_dialects_tell_of_the_same_clusters(tcloud: Wire, compute: Wire, emulator: Emulator) -> None:
    old, new = tcloud.create(cluster_name="old"), compute.create(cluster_name="new")
    emulator.advance(3600)
    assert tcloud.listed() == compute.listed() == [old, new]
    assert compute.get(old)["cuda_version"] == "12.8"
    assert tcloud.get(new)["driver_version"] == "CUDA_12_8_570"
    assert (tcloud.status(new), compute.status(old)) == ("READY", "Ready")
    tcloud.delete(new)
    assert compute.status(new) == "Deleting"


def test_the_older_api_says_unknown_to_what_it_has_no_word_for(tcloud: Wire, compute: Wire) -> None:
    cluster_id = compute.create(gpu_type="B200_SXM", cuda_version="13.0", nvidia_driver_version="580")
    told = tcloud.get(cluster_id)
    assert (told["gpu_type"], told["driver_version"]) == ("UNKNOWN_GPU_TYPE", "UNKNOWN_DRIVER")


def test_a_failed_cluster_says_so_in_each_dialect(tcloud: Wire, compute: Wire, emulator: Emulator) -> None:
    cluster_id = tcloud.create()
    emulator.advance(200)
    emulator.fail(cluster_id)
    emulator.advance(3600)
    assert tcloud.status(cluster_id) == "FAILED"
    assert compute.status(cluster_id) == "RunningAcceptanceTests"
    assert compute.get(cluster_id)["phase_transitions"][-1]["phase"] == "CLUSTER_PHASE_ACCEPTANCE_TESTS_FAILED"
    assert emulator.alive()[0].status == "FAILED"


def test_the_ledger_counts_what_a_resize_adds(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create(num_gpus=8)
    emulator.advance(3600)
    wire.resize(cluster_id, 16)
    emulator.advance(3600)
    wire.delete(cluster_id)
    emulator.advance(3600)
    assert emulator.ledger().gpu_hours == pytest.approx(8 + 16 + 16 / 60)
    emulator.advance(3600)
    assert emulator.ledger().gpu_hours == pytest.approx(8 + 16 + 16 / 60)


def test_the_extras_of_the_current_api_are_given_back(compute: Wire) -> None:
    add_ons = [{"add_on_type": "dashboard", "name": "board", "config": {"dashboard": {"enabled": True}}}]
    config = {"load_balancer": "NGINX", "observability": {"enabled": True}}
    cluster_id = compute.create(add_ons=add_ons, cluster_config=config, project_id="proj-1", auto_scale=True)
    told = compute.get(cluster_id)
    assert told["cluster_config"] == config
    assert told["add_ons"] == [{**add_ons[0], "state": {}}]
    assert told["project_id"] == "proj-1"
    change = {"add_ons": [{"name": "board", "config": {"dashboard": {"enabled": False}}}]}
    compute.http.put(f"/v1/compute/clusters/{cluster_id}", json=change).raise_for_status()
    assert compute.get(cluster_id)["add_ons"][0]["config"] == {"dashboard": {"enabled": False}}


def test_a_list_can_be_limited_to_a_project(compute: Wire) -> None:
    mine = compute.create(project_id="proj-1")
    compute.create()
    assert compute.listed(projectId="proj-1") == [mine]


def test_preemptible_gpus_come_and_go_beside_the_others(compute: Wire, emulator: Emulator) -> None:
    cluster_id = compute.create(num_preemptible_gpus=16, project_id="proj-1")
    assert compute.get(cluster_id)["allocated_preemptible_gpus"] == 0
    emulator.advance(3600)
    told = compute.get(cluster_id)
    assert (told["num_gpus"], told["allocated_preemptible_gpus"], len(told["gpu_worker_nodes"])) == (8, 16, 3)
    compute.http.put(f"/v1/compute/clusters/{cluster_id}", json={"num_preemptible_gpus": 0}).raise_for_status()
    emulator.advance(3600)
    assert len(compute.get(cluster_id)["gpu_worker_nodes"]) == 1
