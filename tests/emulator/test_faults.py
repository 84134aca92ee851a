"""What a client meets when something goes wrong on purpose."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from airflow_provider_together.emulator import Emulator, Fault
from tests.contract.schema import DialectName
from tests.emulator.conftest import Connect, Start
from tests.emulator.wire import Wire, error_of


def test_a_status_is_answered_and_nothing_is_done(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", status=503, headers={"Retry-After": "7"}))
    response = wire.post_cluster()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
    assert error_of(response)["type"] == "server_error"
    assert emulator.clusters() == []


def test_a_status_can_be_answered_although_all_is_done(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", status=502, after_effect=True))
    assert wire.post_cluster().status_code == 502
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize(("body", "sent"), [("<html>", "<html>"), ({"a": 1}, '{"a": 1}')])
def test_the_body_of_a_status_can_be_given(wire: Wire, emulator: Emulator, body: Any, sent: str) -> None:
    wire.is_checked = False
    emulator.inject(Fault(status=500, body=body))
    assert wire.get_response("any").text == sent


def test_a_fault_is_met_as_often_as_it_says(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="list_clusters", status=500, times=2))
    statuses = [wire.http.get(wire.paths["clusters"]).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]


def test_faults_of_one_route_are_met_one_after_another(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(*(Fault(route="list_clusters", status=status) for status in (500, 429, 404)))
    statuses = [wire.http.get(wire.paths["clusters"]).status_code for _ in range(4)]
    assert statuses == [500, 429, 404, 200]


def test_a_fault_for_ever_lasts_until_it_is_cleared(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(status=500, times=None))
    assert {wire.http.get(wire.paths["clusters"]).status_code for _ in range(5)} == {500}
    emulator.clear_faults()
    assert wire.listed() == []


def test_a_fault_can_be_over_after_a_time(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(status=503, times=None, lasts=1800))
    emulator.advance(1799)
    assert wire.http.get(wire.paths["clusters"]).status_code == 503
    emulator.advance(1)
    assert wire.http.get(wire.paths["clusters"]).status_code == 200


def test_a_fault_can_be_for_one_dialect_only(tcloud: Wire, compute: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(status=500, dialect="compute", times=None))
    assert tcloud.listed() == []
    assert compute.http.get(compute.paths["clusters"]).status_code == 500


def test_a_fault_of_another_route_is_not_met(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="delete_cluster", status=500))
    assert wire.post_cluster().status_code == 200
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize(("kind", "clusters"), [("drop", 0), ("lose_answer", 1)])
def test_a_connection_is_closed_without_an_answer(wire: Wire, emulator: Emulator, kind: str, clusters: int) -> None:
    emulator.inject(Fault(route="create_cluster", kind=kind))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        wire.post_cluster()
    assert len(emulator.alive()) == clusters
    assert emulator.requests[-1].status is None
    assert wire.post_cluster().status_code == 200


def test_a_connection_is_reset_in_the_middle_of_the_body(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="reset"))
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        wire.post_cluster()
    assert len(emulator.alive()) == 1
    assert wire.post_cluster().status_code == 200


def test_a_malformed_body_is_no_json_though_all_is_done(wire: Wire, emulator: Emulator) -> None:
    wire.is_checked = False
    emulator.inject(Fault(route="create_cluster", kind="malformed"))
    response = wire.post_cluster()
    assert response.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        response.json()
    assert len(emulator.alive()) == 1


def test_a_key_is_revoked_and_restored(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(kind="revoked_key", times=None, lasts=60))
    assert wire.post_cluster().status_code == 401
    emulator.advance(60)
    assert wire.post_cluster().status_code == 200
    assert len(emulator.alive()) == 1


def await_effect(emulator: Emulator) -> None:
    """Wait for the one cluster: a client that gives up early may do so before a busy machine has read its request."""
    deadline = time.monotonic() + 20
    while not emulator.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(emulator.alive()) == 1


def test_a_slow_answer_runs_into_the_timeout_of_the_client(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="latency", seconds=30, after_effect=True))
    with pytest.raises(httpx.ReadTimeout):
        wire.http.post(wire.paths["cluster"], json=wire.request_body(), timeout=0.2)
    await_effect(emulator)  # long before the answer


def test_latency_goes_together_with_another_fault(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(kind="latency", seconds=0.01), Fault(status=503))
    response = wire.post_cluster()
    assert response.status_code == 503
    assert response.elapsed.total_seconds() >= 0.01


def test_a_slow_request_holds_up_no_other(start: Start, connect: Connect, dialect: DialectName) -> None:
    emulator = start()
    wire = connect(emulator, dialect)
    emulator.inject(Fault(route="create_cluster", kind="latency", seconds=60))
    with pytest.raises(httpx.ReadTimeout):
        wire.http.post(wire.paths["cluster"], json=wire.request_body(), timeout=0.2)
    assert wire.listed() == []
    emulator.stop()
    assert emulator.clusters() == []


def test_a_late_effect_comes_after_the_client_has_given_up(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="latency", seconds=2))
    with pytest.raises(httpx.ReadTimeout):
        wire.http.post(wire.paths["cluster"], json=wire.request_body(), timeout=0.1)
    await_effect(emulator)
    assert len(wire.listed()) == 1


@pytest.mark.parametrize("word", ["Polishing", "PENDING", "Degraded"])
def test_any_status_word_can_be_shown(wire: Wire, emulator: Emulator, word: str) -> None:
    wire.is_checked = False
    cluster_id, other = wire.create(), wire.create()
    emulator.advance(3600)
    emulator.inject(Fault(route="get_cluster", kind="status_word", word=word, cluster_id=cluster_id, times=None))
    assert wire.status(cluster_id) == word
    assert wire.status(other) != word
    emulator.inject(Fault(route="list_clusters", kind="status_word", word=word))
    clusters = wire.http.get(wire.paths["clusters"]).json()["clusters"]
    assert {cluster["status"] for cluster in clusters} == {word}


def test_a_word_can_be_shown_for_a_cluster_that_is_gone(wire: Wire, emulator: Emulator) -> None:
    wire.is_checked = False
    cluster_id = wire.create()
    wire.delete(cluster_id)
    emulator.advance(3600)
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="DELETING"))
    assert wire.status(cluster_id) == "DELETING"
    assert wire.get_response(cluster_id).status_code == 404


def test_a_list_shows_a_new_cluster_too_late(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="list_clusters", kind="lag_list", seconds=30, times=None))
    cluster_id = wire.create()
    assert wire.listed() == []
    assert wire.get(cluster_id)["cluster_id"] == cluster_id
    emulator.advance(30)
    assert wire.listed() == [cluster_id]


def test_a_list_still_shows_a_cluster_that_is_gone(wire: Wire, emulator: Emulator) -> None:
    cluster_id = wire.create()
    wire.delete(cluster_id)
    emulator.inject(Fault(route="list_clusters", kind="lag_list", seconds=30, times=None))
    emulator.advance(60)
    assert wire.get_response(cluster_id).status_code == 404
    assert wire.listed() == [cluster_id]
    emulator.advance(30)
    assert wire.listed() == []


def test_a_lag_can_be_given_in_real_seconds(start: Start, connect: Connect, dialect: DialectName) -> None:
    emulator = start(speed=1000)
    wire = connect(emulator, dialect)
    emulator.inject(Fault(route="list_clusters", kind="lag_list", real_seconds=600, times=None))
    wire.create()
    emulator.advance(500_000)
    assert wire.listed() == []
    emulator.advance(100_000)
    assert len(wire.listed()) == 1


def test_a_list_of_volumes_lags_as_well(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="list_volumes", kind="lag_list", seconds=30, times=None))
    volume_id = wire.create_volume()
    assert wire.listed_volumes() == []
    emulator.advance(30)
    assert wire.listed_volumes() == [volume_id]


def test_a_list_misses_a_cluster(wire: Wire, emulator: Emulator) -> None:
    hidden, shown = wire.create(), wire.create()
    emulator.inject(Fault(route="list_clusters", kind="hide_cluster", cluster_id=hidden))
    assert wire.listed() == [shown]
    assert wire.listed() == [hidden, shown]


def test_one_create_makes_two_clusters(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="duplicate"))
    cluster_id = wire.create(cluster_name="twin")
    assert [cluster.cluster_name for cluster in emulator.alive()] == ["twin", "twin"]
    assert emulator.alive()[0].cluster_id == cluster_id


def test_gpus_run_out_by_a_fault(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="out_of_stock"))
    assert wire.post_cluster().status_code == 409
    cluster_id = wire.create()
    emulator.inject(Fault(route="update_cluster", kind="out_of_stock"))
    assert wire.resize(cluster_id, 16).status_code == 409
    assert wire.get(cluster_id)["num_gpus"] == 8


def test_a_refused_create_uses_up_no_fault_of_its_effect(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="duplicate"))
    wire.post_cluster(num_gpus=1)
    wire.create()
    assert len(emulator.alive()) == 2


def test_the_next_cluster_fails_in_its_time(tcloud: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="failed_life", seconds=100))
    failing, other = tcloud.create(), tcloud.create()
    emulator.advance(99)
    assert tcloud.status(failing) == "WAITING_CONTROL_PLANE"
    emulator.advance(3600)
    assert (tcloud.status(failing), tcloud.status(other)) == ("FAILED", "READY")


def test_a_failed_cluster_lives_and_bills_until_it_is_deleted(wire: Wire, emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="failed_life"))
    cluster_id = wire.create()
    emulator.advance(3600)
    assert emulator.ledger().gpu_hours == pytest.approx(8)
    wire.delete(cluster_id)
    emulator.advance(61)
    assert emulator.alive() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "fire"}, "kind='fire' is wrong: use one of"),
        ({}, "kind='' is wrong"),
        ({"status": 99}, "status=99 is wrong"),
        ({"status": 500, "route": "make_coffee"}, "route='make_coffee'"),
        ({"status": 500, "dialect": "german"}, "dialect='german'"),
        ({"status": 500, "times": 0}, "times=0"),
        ({"kind": "latency"}, "kind='latency' needs them"),
        ({"kind": "latency", "seconds": -1}, "seconds=-1"),
        ({"kind": "status_word"}, "word=None"),
        ({"status": 500, "headers": {"Retry-After": 1}}, "headers="),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("'", ".")):
        Fault(**wrong)
