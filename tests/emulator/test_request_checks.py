"""What is refused, and that the refusal names what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_together.emulator import Emulator
from tests.contract.schema import DialectName
from tests.emulator.conftest import Connect, Start
from tests.emulator.wire import Wire, error_of

REQUIRED = {
    "tcloud": [
        "region",
        "gpu_type",
        "num_gpus",
        "cluster_name",
        "duration_days",
        "driver_version",
        "billing_type",
    ],
    "compute": ["region", "gpu_type", "num_gpus", "cluster_name", "billing_type"],
}
PAST, FUTURE, LATER = "2001-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "2101-01-01T00:00:00Z"


def assert_refused(wire: Wire, field: str, **changes: Any) -> None:
    response = wire.post_cluster(**changes)
    assert response.status_code == 400
    assert error_of(response)["param"] == field
    assert field in error_of(response)["message"]
    assert wire.listed() == []


@pytest.mark.parametrize(
    ("dialect", "field"), [(dialect, field) for dialect, fields in REQUIRED.items() for field in fields]
)
def test_a_missing_field_is_named(wire: Wire, field: str) -> None:
    assert_refused(wire, field, **{field: None})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_gpus", 12),
        ("num_gpus", 0),
        ("num_gpus", -8),
        ("num_gpus", "8"),
        ("num_gpus", True),
        ("num_gpus", 8.5),
        ("num_gpus", 2**40),
        ("cluster_name", ""),
        ("cluster_name", 7),
        ("cluster_name", "\ud800"),
        ("duration_days", 0),
        ("duration_days", True),
        ("gpu_type", "UNKNOWN_GPU_TYPE"),
        ("gpu_type", "H100"),
        ("gpu_type", ["H100_SXM"]),
        ("billing_type", "UNSPECIFIED"),
        ("cluster_type", "UNKNOWN_TYPE"),
        ("region", "atlantis-1"),
        ("volume_id", "vol-of-nobody"),
        ("colour", "red"),
    ],
)
def test_a_wrong_value_is_named(wire: Wire, field: str, value: Any) -> None:
    body = wire.request_body(**{field: value})
    # With escapes, since a lone surrogate has no UTF-8.
    response = wire.http.post(wire.paths["cluster"], content=json.dumps(body))
    assert response.status_code == 400
    assert error_of(response)["param"] == field
    assert field in error_of(response)["message"]
    assert wire.listed() == []


@pytest.mark.parametrize("driver", ["CUDA_12_5_555", "CUDA_12_6_560", "CUDA_12_6_565", "CUDA_12_8_570"])
def test_the_older_api_gives_the_driver_that_was_asked_for(tcloud: Wire, compute: Wire, driver: str) -> None:
    cluster_id = tcloud.create(driver_version=driver)
    told = compute.get(cluster_id)
    assert tcloud.get(cluster_id)["driver_version"] == driver
    assert driver == f"CUDA_{told['cuda_version'].replace('.', '_')}_{told['nvidia_driver_version']}"


@pytest.mark.parametrize("driver", ["UNKNOWN_DRIVER", "CUDA_13_0_580", "12.8"])
def test_the_older_api_refuses_drivers_that_it_has_no_word_for(tcloud: Wire, driver: str) -> None:
    assert_refused(tcloud, "driver_version", driver_version=driver)


def test_the_older_api_refuses_fields_of_the_current_one(tcloud: Wire) -> None:
    assert_refused(tcloud, "auto_scale", auto_scale=True)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("nvidia_driver_version", {"cuda_version": "12.5", "nvidia_driver_version": "570"}),
        ("nvidia_version_id", {"nvidia_version_id": "nothing"}),
        ("nvidia_version_id", {"cuda_version": None}),
        ("nvidia_version_id", {"nvidia_driver_version": None}),
        ("duration_days", {"billing_type": "RESERVED", "duration_days": None}),
        ("reservation_start_time", {"billing_type": "SCHEDULED_CAPACITY", "reservation_end_time": FUTURE}),
        ("reservation_end_time", {"billing_type": "SCHEDULED_CAPACITY", "reservation_start_time": FUTURE}),
        (
            "reservation_end_time",
            {
                "billing_type": "SCHEDULED_CAPACITY",
                "reservation_start_time": LATER,
                "reservation_end_time": FUTURE,
            },
        ),
        ("reservation_end_time", {"billing_type": "RESERVED", "reservation_end_time": PAST}),
        ("reservation_end_time", {"billing_type": "RESERVED", "reservation_end_time": "tomorrow"}),
        ("slurm_shm_size_gib", {"cluster_type": "SLURM"}),
        ("num_capacity_pool_gpus", {"num_capacity_pool_gpus": 16}),
        ("auto_scale_max_gpus", {"num_gpus": 16, "auto_scale_max_gpus": 8}),
        ("project_id", {"num_preemptible_gpus": 8}),
        ("cluster_config.load_balancer", {"cluster_config": {}}),
        ("cluster_config.ingress.colour", {"cluster_config": {"load_balancer": "NONE", "ingress": {"colour": 1}}}),
        ("add_ons[0].name", {"add_ons": [{"add_on_type": "dashboard"}]}),
        ("oidc_config.issuer_url", {"oidc_config": {"client_id": "c"}}),
        ("shared_volume.size_tib", {"shared_volume": {"region": "us-central-8", "volume_name": "d", "size_tib": 0}}),
        ("shared_volume.region", {"shared_volume": {"region": "us-central-4", "volume_name": "d", "size_tib": 1}}),
    ],
)
def test_the_current_api_names_what_does_not_fit_together(compute: Wire, field: str, changes: dict[str, Any]) -> None:
    assert_refused(compute, field, **changes)


def test_the_software_can_be_named_by_its_id(compute: Wire) -> None:
    regions = compute.http.get(compute.paths["regions"]).json()["regions"]
    offer = regions[0]["driver_versions"][-1]
    cluster_id = compute.create(
        region=regions[0]["name"],
        nvidia_version_id=offer["id"],
        cuda_version=None,
        nvidia_driver_version=None,
    )
    assert compute.get(cluster_id)["cuda_version"] == offer["cuda_version"]


def test_a_new_volume_and_an_existing_one_exclude_each_other(wire: Wire) -> None:
    volume = {"volume_name": "d", "size_tib": 1, "region": "us-central-8"}
    response = wire.post_cluster(shared_volume=volume, volume_id=wire.create_volume())
    assert response.status_code == 400
    assert "shared_volume and volume_id" in error_of(response)["message"]


def test_whole_numbers_may_be_written_with_a_point(wire: Wire) -> None:
    assert wire.get(wire.create(num_gpus=16.0))["num_gpus"] == 16


@pytest.mark.parametrize("num_gpus", [0, 12, "16", None])
def test_a_wrong_resize_is_refused(wire: Wire, num_gpus: Any) -> None:
    cluster_id = wire.create()
    response = wire.resize(cluster_id, num_gpus)
    assert (response.status_code, error_of(response)["param"]) == (400, "num_gpus")


def test_the_older_api_wants_to_know_which_cluster_is_to_change(tcloud: Wire) -> None:
    response = tcloud.http.put(tcloud.paths["cluster"], json={"num_gpus": 16})
    assert (response.status_code, error_of(response)["param"]) == (400, "cluster_id")


def test_an_on_demand_cluster_has_no_reservation_to_extend(compute: Wire) -> None:
    path = f"{compute.paths['cluster']}/{compute.create()}"
    response = compute.http.put(path, json={"reservation_end_time": FUTURE})
    assert (response.status_code, error_of(response)["param"]) == (400, "reservation_end_time")


def test_a_reservation_cannot_end_in_the_past(compute: Wire) -> None:
    path = f"{compute.paths['cluster']}/{compute.create(billing_type='RESERVED')}"
    response = compute.http.put(path, json={"reservation_end_time": PAST})
    assert (response.status_code, error_of(response)["param"]) == (400, "reservation_end_time")


@pytest.mark.parametrize(
    "moment", ["2100-02-30T00:00:00Z", "1969-01-01T00:00:00Z", "2100-01-01", "2100-01-01T00:00:00"]
)
def test_a_moment_that_is_none_is_refused(compute: Wire, moment: str) -> None:
    assert_refused(compute, "reservation_end_time", billing_type="RESERVED", reservation_end_time=moment)


def test_an_unknown_query_parameter_is_refused(wire: Wire) -> None:
    wire.is_checked = False
    response = wire.http.get(wire.paths["clusters"], params={"colour": "red"})
    assert (response.status_code, error_of(response)["param"]) == (400, "colour")


def test_only_add_ons_that_there_are_can_be_changed(compute: Wire) -> None:
    path = f"{compute.paths['cluster']}/{compute.create()}"
    response = compute.http.put(path, json={"add_ons": [{"name": "nothing"}]})
    assert (response.status_code, error_of(response)["param"]) == (400, "add_ons[0].name")


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"num_gpus": NaN}', "[" * 200_000, b"\xff", "9" * 5000])
def test_a_body_that_is_no_json_object_is_refused(wire: Wire, body: str | bytes) -> None:
    assert wire.http.post(wire.paths["cluster"], content=body).status_code == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_cluster_answers_404(wire: Wire, method: str) -> None:
    if (wire.dialect, method) == ("tcloud", "PUT"):
        response = wire.resize("nothing", 8)
    else:
        content = b"{}" if method == "PUT" else None
        response = wire.http.request(method, f"{wire.paths['cluster']}/nothing", content=content)
    assert response.status_code == 404
    assert "nothing" in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/", "/api/v1/gpu_clusters/", "/v1/clusters", "/api/v1/gpu_cluster/a/b"])
def test_an_unknown_path_answers_404(tcloud: Wire, path: str) -> None:
    tcloud.is_checked = False
    assert tcloud.http.get(path).status_code == 404


def test_a_wrong_method_answers_405_and_tells_the_right_ones(tcloud: Wire) -> None:
    tcloud.is_checked = False
    response = tcloud.http.patch("/api/v1/gpu_cluster")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, PUT"


def test_every_answer_has_a_request_id_of_its_own(wire: Wire) -> None:
    responses = [wire.post_cluster(), wire.get_response("nothing"), wire.post_cluster(num_gpus=1)]
    assert len({response.headers["x-request-id"] for response in responses}) == 3


def test_errors_can_have_the_rpc_form(start: Start, connect: Connect, dialect: DialectName) -> None:
    wire = connect(start(error_format="rpc"), dialect)
    assert wire.get_response("nothing").json() == {
        "code": 5,
        "message": "cluster_id='nothing': no such GPU cluster",
        "details": [],
    }


@pytest.mark.parametrize("authorization", [None, "", "emulator-key", "Bearer", "Bearer wrong", "Basic emulator-key"])
def test_a_missing_or_wrong_key_answers_401(wire: Wire, authorization: str | None) -> None:
    wire.http.headers.pop("Authorization")
    headers = {} if authorization is None else {"Authorization": authorization}
    response = wire.http.get(wire.paths["clusters"], headers=headers)
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"


def test_a_key_that_may_only_read_cannot_change_anything(start: Start, connect: Connect, dialect: DialectName) -> None:
    emulator = start(viewer_key="viewer")
    admin, viewer = connect(emulator, dialect), connect(emulator, dialect, key="viewer")
    cluster_id, volume_id = admin.create(), admin.create_volume()
    refused = [
        viewer.post_cluster(),
        viewer.resize(cluster_id, 16),
        viewer.delete(cluster_id),
        viewer.post_volume(),
        viewer.grow_volume(volume_id, 3),
        viewer.delete_volume(volume_id),
    ]
    assert [response.status_code for response in refused] == [403] * 6
    assert viewer.listed() == [cluster_id]
    assert viewer.get_volume(volume_id).status_code == 200


def test_both_dialects_name_their_regions_and_drivers(tcloud: Wire, compute: Wire) -> None:
    old = tcloud.http.get(tcloud.paths["regions"]).json()["regions"]
    new = compute.http.get(compute.paths["regions"]).json()["regions"]
    assert [region["name"] for region in old] == [region["name"] for region in new] == ["us-central-8", "us-central-4"]
    assert "CUDA_12_8_570" in old[0]["driver_versions"]
    assert "H100_SXM" in new[0]["supported_instance_types"]


def test_a_refused_request_is_recorded_without_its_secrets(wire: Wire, emulator: Emulator) -> None:
    wire.is_checked = False
    wire.http.get(
        wire.paths["clusters"], params={"projectId": "p", "api_key": "canary"}, headers={"Authorization": "x"}
    )
    (record,) = emulator.requests
    assert (record.status, record.dialect, record.route) == (401, wire.dialect, "list_clusters")
    assert record.query == "projectId=p&api_key=***"
    assert "canary" not in repr(emulator.requests)
