"""Shared volumes, and GPUs that run out."""

from __future__ import annotations

import pytest

from airflow_provider_together.emulator import Emulator
from tests.contract.schema import DialectName
from tests.emulator.conftest import Connect, Start
from tests.emulator.wire import Wire, error_of


def test_a_volume_is_made_grown_and_deleted(wire: Wire, emulator: Emulator) -> None:
    volume_id = wire.create_volume(size_tib=2)
    emulator.advance(3600)
    assert wire.grow_volume(volume_id, 5).json()["size_tib"] == 5
    assert wire.get_volume(volume_id).json()["size_tib"] == 5
    assert wire.listed_volumes() == [volume_id]
    assert wire.delete_volume(volume_id).json() == {"success": True}
    assert wire.get_volume(volume_id).status_code == 404
    assert wire.delete_volume(volume_id).status_code == 404
    assert wire.listed_volumes() == []


def test_a_volume_cannot_shrink(wire: Wire) -> None:
    response = wire.grow_volume(wire.create_volume(size_tib=2), 1)
    assert (response.status_code, error_of(response)["param"]) == (400, "size_tib")


def test_a_volume_is_provisioned_available_and_bound(compute: Wire, emulator: Emulator) -> None:
    volume_id = compute.create_volume()
    words = [compute.get_volume(volume_id).json()["status"]]
    emulator.advance(61)
    words.append(compute.get_volume(volume_id).json()["status"])
    compute.create(volume_id=volume_id)
    words.append(compute.get_volume(volume_id).json()["status"])
    assert words == ["provisioning", "available", "bound"]


def test_an_attached_volume_cannot_be_deleted_before_its_cluster_is_gone(wire: Wire, emulator: Emulator) -> None:
    volume_id = wire.create_volume()
    cluster_id = wire.create(volume_id=volume_id)
    assert wire.delete_volume(volume_id).status_code == 409
    wire.delete(cluster_id)
    assert wire.delete_volume(volume_id).status_code == 409
    emulator.advance(61)
    assert wire.delete_volume(volume_id).status_code == 200


def test_a_cluster_shows_its_volume(wire: Wire) -> None:
    volume_id = wire.create_volume(volume_name="data", size_tib=3)
    (volume,) = wire.get(wire.create(volume_id=volume_id))["volumes"]
    assert (volume["volume_id"], volume["volume_name"], volume["size_tib"]) == (volume_id, "data", 3)


def test_an_inline_volume_is_made_and_attached_and_survives_the_cluster(wire: Wire, emulator: Emulator) -> None:
    inline = {"volume_name": "inline", "size_tib": 1, "region": "us-central-8"}
    cluster_id = wire.create(shared_volume=inline)
    (volume,) = wire.get(cluster_id)["volumes"]
    wire.delete(cluster_id)
    emulator.advance(61)
    assert wire.listed_volumes() == [volume["volume_id"]]


def test_an_inline_volume_that_is_not_independent_goes_with_the_cluster(compute: Wire, emulator: Emulator) -> None:
    inline = {"volume_name": "v", "size_tib": 1, "region": "us-central-8", "is_lifecycle_independent": False}
    cluster_id = compute.create(shared_volume=inline)
    compute.delete(cluster_id)
    assert len(compute.listed_volumes()) == 1
    emulator.advance(61)
    assert compute.listed_volumes() == []
    assert [volume.alive for volume in emulator.volumes()] == [False]


def test_a_volume_can_be_attached_again_once_its_cluster_is_gone(wire: Wire, emulator: Emulator) -> None:
    volume_id = wire.create_volume()
    first = wire.create(volume_id=volume_id)
    response = wire.post_cluster(volume_id=volume_id)
    assert (response.status_code, error_of(response)["param"]) == (400, "volume_id")
    wire.delete(first)
    emulator.advance(61)
    second = wire.create(volume_id=volume_id)
    assert emulator.volumes()[0].cluster_id == second


def test_a_volume_of_another_region_cannot_be_attached(wire: Wire) -> None:
    response = wire.post_cluster(volume_id=wire.create_volume(region="us-central-4"))
    assert (response.status_code, error_of(response)["param"]) == (400, "volume_id")


@pytest.mark.parametrize("field", ["volume_name", "size_tib", "region"])
def test_a_volume_needs_a_name_a_size_and_a_region(wire: Wire, field: str) -> None:
    body = {"volume_name": "d", "size_tib": 1, "region": "us-central-8"}
    del body[field]
    response = wire.http.post(wire.paths["volume"], json=body)
    assert (response.status_code, error_of(response)["param"]) == (400, field)


def test_a_volume_can_be_placed_near_a_cluster_that_there_is(compute: Wire) -> None:
    compute.create_volume(instance_cluster_id=compute.create())
    response = compute.post_volume(instance_cluster_id="nothing")
    assert (response.status_code, error_of(response)["param"]) == (400, "instance_cluster_id")


def test_volumes_can_be_listed_by_project(compute: Wire) -> None:
    mine = compute.create_volume(project_id="proj-1")
    compute.create_volume()
    assert compute.listed_volumes(projectId="proj-1") == [mine]


def test_gpus_run_out(start: Start, connect: Connect, dialect: DialectName) -> None:
    wire = connect(start(capacity={"us-central-8:H100_SXM": 24}), dialect)
    wire.create(num_gpus=16)
    response = wire.post_cluster(num_gpus=16)
    assert response.status_code == 409
    assert "Out of stock" in error_of(response)["message"]
    wire.create(num_gpus=8)
    wire.create(num_gpus=64, gpu_type="H200_SXM")
    wire.create(num_gpus=64, region="us-central-4")


def test_gpus_come_back_when_a_cluster_is_gone(start: Start, connect: Connect, dialect: DialectName) -> None:
    emulator = start(capacity={"us-central-8:H100_SXM": 8})
    wire = connect(emulator, dialect)
    wire.delete(wire.create())
    assert wire.post_cluster().status_code == 409
    emulator.advance(61)
    assert wire.post_cluster().status_code == 200


def test_a_resize_needs_stock_too_and_gives_it_back(start: Start, connect: Connect, dialect: DialectName) -> None:
    emulator = start(capacity={"us-central-8:H100_SXM": 24})
    wire = connect(emulator, dialect)
    cluster_id = wire.create(num_gpus=16)
    emulator.advance(3600)
    assert wire.resize(cluster_id, 32).status_code == 409
    assert wire.get(cluster_id)["num_gpus"] == 16
    assert wire.resize(cluster_id, 8).status_code == 200
    assert wire.post_cluster(num_gpus=16).status_code == 409
    emulator.advance(3600)
    assert wire.post_cluster(num_gpus=16).status_code == 200


def test_a_refused_create_leaves_no_volume_behind(start: Start, connect: Connect, dialect: DialectName) -> None:
    wire = connect(start(capacity={"us-central-8:H100_SXM": 0}), dialect)
    inline = {"volume_name": "inline", "size_tib": 1, "region": "us-central-8"}
    assert wire.post_cluster(shared_volume=inline).status_code == 409
    assert wire.listed_volumes() == []
