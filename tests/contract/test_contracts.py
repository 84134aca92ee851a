"""The contracts are sound, and the tools over them notice what they are there to notice."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from openapi_spec_validator import validate

from tests.contract.example import UNKNOWN_FIELD, UNKNOWN_WORD, Richness, Writer, build_request
from tests.contract.schema import Contract, ContractViolation, DialectName, Operation
from tests.contract.server import ContractServer

DIALECTS: tuple[DialectName, ...] = get_args(DialectName)
NOUNS = {"cluster": "clusters", "volume": "volumes"}
DEEDS = {f"{verb}_{noun}" for verb in ("create", "get", "update", "delete") for noun in NOUNS} | {
    "list_clusters",
    "list_volumes",
    "list_regions",
}
OPERATIONS = [
    pytest.param(Contract.load(dialect), operation, id=f"{dialect}-{operation.name}")
    for dialect in DIALECTS
    for operation in Contract.load(dialect).operations
]
CREATE_PATHS = {"tcloud": "/api/v1/gpu_cluster", "compute": "/v1/compute/clusters"}
WITH_BODY = [each for each in OPERATIONS if each.values[1].body is not None]  # type: ignore[union-attr]
WITH_REQUIRED = [
    each
    for each in WITH_BODY
    if each.values[0].resolve(each.values[1].body).get("required")  # type: ignore[union-attr]
]

TCLOUD_WISH: dict[str, Any] = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "cluster_name": "nightly",
    "duration_days": 1,
    "driver_version": "CUDA_12_8_570",
    "billing_type": "ON_DEMAND",
}
COMPUTE_WISH: dict[str, Any] = {
    "region": "us-central-8",
    "gpu_type": "B200_SXM",
    "num_gpus": 16,
    "cluster_name": "nightly",
    "billing_type": "SCHEDULED_CAPACITY",
    "reservation_start_time": "2030-01-01T00:00:00Z",
    "reservation_end_time": "2030-01-02T00:00:00.5+01:00",
    "cuda_version": "12.8",
    "nvidia_driver_version": "570",
}


def send(dialect: DialectName, method: str, path: str, **request: Any) -> Operation:
    headers = {"Authorization": "Bearer some-key", **request.pop("headers", {})}
    message = httpx.Request(method, f"http://127.0.0.1:1{path}", headers=headers, **request)
    return Contract.load(dialect).check_request(message)


def create(dialect: DialectName, wish: dict[str, Any]) -> Operation:
    return send(dialect, "POST", CREATE_PATHS[dialect], json=wish)


def without(wish: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in wish.items() if name not in names}


def answer(dialect: DialectName, method: str, path: str, status: int, body: object) -> None:
    request = httpx.Request(method, f"http://127.0.0.1:1{path}")
    Contract.load(dialect).check_response(request, httpx.Response(status, json=body))


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects_in(item)


def with_body(request: httpx.Request, body: object) -> httpx.Request:
    return httpx.Request(request.method, request.url, headers={"Authorization": "Bearer k"}, json=body)


# --- the files ---


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_contract_is_valid_openapi(dialect: DialectName) -> None:
    validate(dict(Contract.load(dialect).document))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_contract_has_every_deed_once(dialect: DialectName) -> None:
    names = [operation.name for operation in Contract.load(dialect).operations]

    assert len(names) == len(set(names))
    assert set(names) == DEEDS


@pytest.mark.parametrize(("contract", "operation"), OPERATIONS)
def test_an_operation_promises_a_success_and_a_shape_of_failure(contract: Contract, operation: Operation) -> None:
    assert set(operation.answers) == {"200", "default"}, contract.dialect


@pytest.mark.parametrize(("contract", "operation"), WITH_BODY)
def test_no_request_can_ask_for_a_zero_word(contract: Contract, operation: Operation) -> None:
    assert operation.body is not None
    for richness in ("minimal", "full"):
        body = json.dumps(Writer(contract=contract, richness=richness).write(operation.body))
        assert "UNKNOWN" not in body
        assert "UNSPECIFIED" not in body


# --- requests that fit ---


@pytest.mark.parametrize("richness", ["minimal", "full"])
@pytest.mark.parametrize(("contract", "operation"), OPERATIONS)
def test_every_operation_is_reached_by_its_own_request(
    contract: Contract, operation: Operation, richness: Richness
) -> None:
    assert contract.check_request(build_request(contract, operation, richness=richness)) is operation


def test_a_wish_written_by_hand_fits_tcloud() -> None:
    assert create("tcloud", TCLOUD_WISH).name == "create_cluster"


def test_a_wish_written_by_hand_fits_compute() -> None:
    assert create("compute", COMPUTE_WISH).name == "create_cluster"


def test_compute_takes_the_catalogue_id_in_place_of_the_versions() -> None:
    wish = without(COMPUTE_WISH, "cuda_version", "nvidia_driver_version")

    assert create("compute", {**wish, "nvidia_version_id": "some-id"}).name == "create_cluster"


def test_an_encoded_slash_stays_inside_the_id() -> None:
    operation = send("compute", "GET", "/v1/compute/clusters/a%2Fb")

    assert operation.name == "get_cluster"
    assert operation.match("/v1/compute/clusters/a%2Fb") == {"cluster_id": "a/b"}


def test_the_list_of_volumes_is_not_taken_for_a_cluster() -> None:
    assert send("compute", "GET", "/v1/compute/clusters/storage/volumes?projectId=p").name == "list_volumes"


# --- requests that do not ---


@pytest.mark.parametrize(("contract", "operation"), WITH_BODY)
def test_an_unknown_field_is_noticed_at_every_depth(contract: Contract, operation: Operation) -> None:
    request = build_request(contract, operation, richness="full")
    body = json.loads(request.content)
    for index in range(len(list(objects_in(body)))):
        wrong = copy.deepcopy(body)
        list(objects_in(wrong))[index][UNKNOWN_FIELD] = 1
        with pytest.raises(ContractViolation, match=UNKNOWN_FIELD):
            contract.check_request(with_body(request, wrong))


@pytest.mark.parametrize(("contract", "operation"), WITH_REQUIRED)
def test_a_missing_required_field_is_noticed(contract: Contract, operation: Operation) -> None:
    request = build_request(contract, operation, richness="minimal")
    body = json.loads(request.content)
    for name in body:
        with pytest.raises(ContractViolation, match=f"'{name}' is a required property"):
            contract.check_request(with_body(request, without(body, name)))


@pytest.mark.parametrize(("contract", "operation"), WITH_BODY)
def test_a_wrong_type_is_noticed_in_every_field(contract: Contract, operation: Operation) -> None:
    request = build_request(contract, operation, richness="full")
    body = json.loads(request.content)
    for name in body:
        with pytest.raises(ContractViolation, match=rf"\$\.{name}: None is not of type"):
            contract.check_request(with_body(request, {**body, name: None}))


@pytest.mark.parametrize("name", ["gpu_type", "driver_version", "billing_type", "cluster_type"])
@pytest.mark.parametrize("word", ["UNKNOWN_TYPE", "UNKNOWN_GPU_TYPE", "UNKNOWN_DRIVER", "UNSPECIFIED", "h100_sxm", ""])
def test_a_word_outside_the_enum_is_noticed(name: str, word: str) -> None:
    with pytest.raises(ContractViolation, match=rf"\$\.{name}: '{word}' is not one of"):
        create("tcloud", {**TCLOUD_WISH, name: word})


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_gpus", 12), ("num_gpus", True), ("num_gpus", 8.5), ("num_gpus", 2**31), ("duration_days", -1)],
)
def test_a_number_out_of_its_range_is_noticed(name: str, value: float) -> None:
    with pytest.raises(ContractViolation, match=rf"\$\.{name}: "):
        create("tcloud", {**TCLOUD_WISH, name: value})


@pytest.mark.parametrize("moment", ["2030-01-01", "2030-01-01T00:00:00", "2030-02-30T00:00:00Z", "1893456000"])
def test_a_time_without_offset_or_calendar_is_noticed(moment: str) -> None:
    with pytest.raises(ContractViolation, match=r"\$\.reservation_end_time: .*date-time"):
        create("compute", {**COMPUTE_WISH, "reservation_end_time": moment})


def test_half_of_the_pair_of_versions_is_noticed() -> None:
    with pytest.raises(ContractViolation, match=r"'nvidia_version_id' is a req.*'nvidia_driver_version' is a req"):
        create("compute", without(COMPUTE_WISH, "nvidia_driver_version"))


@pytest.mark.parametrize(
    ("dialect", "method", "path", "why"),
    [
        ("tcloud", "GET", "/v1/compute/clusters", "no such path"),
        ("tcloud", "GET", "/api/v1/gpu_cluster/", "no such path"),
        ("tcloud", "GET", "/api/v1/gpu_cluster/a/b", "no such path"),
        ("tcloud", "GET", "/api/v1/gpu_cluster", "it takes POST, PUT"),
        ("compute", "POST", "/v1/compute/clusters/", "no such path"),
        ("compute", "PATCH", "/v1/compute/clusters/c", "it takes GET, PUT, DELETE"),
        ("compute", "GET", "/v1/compute/regions?projectId=p", "unknown parameter 'projectId'"),
        ("compute", "GET", "/v1/compute/clusters?project_id=p", "unknown parameter 'project_id'"),
        ("compute", "GET", "/v1/compute/clusters?projectId=p&projectId=q", "is given 2 times"),
    ],
)
def test_a_wrong_path_method_or_query_is_noticed(dialect: DialectName, method: str, path: str, why: str) -> None:
    with pytest.raises(ContractViolation) as violation:
        send(dialect, method, path)

    assert str(violation.value).startswith(f"{dialect}: {method} {path.partition('?')[0]}")
    assert why in str(violation.value)


@pytest.mark.parametrize(
    ("request_parts", "why"),
    [
        ({}, "header Content-Type: '' is not"),
        ({"data": TCLOUD_WISH}, "header Content-Type: 'application/x-www-form-urlencoded' is not"),
        ({"content": "{", "headers": {"Content-Type": "application/json"}}, "is not JSON"),
        ({"content": "NaN", "headers": {"Content-Type": "application/json"}}, "is not JSON: NaN"),
        ({"json": []}, r"\$: \[\] is not of type 'object'"),
    ],
)
def test_a_body_that_is_no_json_object_is_noticed(request_parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ContractViolation, match=f"request body.*{why}"):
        send("tcloud", "POST", "/api/v1/gpu_cluster", **request_parts)


def test_a_body_where_none_belongs_is_noticed() -> None:
    with pytest.raises(ContractViolation, match="request body: this operation takes none"):
        send("tcloud", "DELETE", "/api/v1/gpu_cluster/c", json={})


@pytest.mark.parametrize("value", ["", "Bearer ", "Basic c2VjcmV0", "secret"])
def test_a_request_without_a_bearer_key_is_noticed_and_the_key_not_told(value: str) -> None:
    with pytest.raises(ContractViolation, match="header Authorization") as violation:
        send("tcloud", "GET", "/api/v1/regions", headers={"Authorization": value})

    assert "secret" not in str(violation.value)


# --- answers ---


@pytest.mark.parametrize("richness", ["minimal", "full"])
@pytest.mark.parametrize(("contract", "operation"), OPERATIONS)
def test_the_servers_answer_fits_the_contract(contract: Contract, operation: Operation, richness: Richness) -> None:
    request = build_request(contract, operation, richness="full")

    with httpx.Client(transport=ContractServer(contract, richness=richness).transport()) as client:
        contract.check_response(request, client.send(request))


@pytest.mark.parametrize(("contract", "operation"), OPERATIONS)
def test_the_server_answers_an_async_client_alike(contract: Contract, operation: Operation) -> None:
    server = ContractServer(contract, richness="full")
    request = build_request(contract, operation, richness="full")

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=server.transport()) as client:
            return await client.send(request)

    assert asyncio.run(ask()).content == server(request).content


@pytest.mark.parametrize(("contract", "operation"), OPERATIONS)
def test_a_hostile_answer_is_wrong_in_its_words_alone(contract: Contract, operation: Operation) -> None:
    request = build_request(contract, operation, richness="full")
    response = ContractServer(contract, richness="hostile")(request)

    assert UNKNOWN_FIELD in response.json()
    try:
        contract.check_response(request, response)
    except ContractViolation as violation:
        reasons = str(violation).partition(": $")[2].split("; $")
        assert all(f"'{UNKNOWN_WORD}' is not one of" in reason for reason in reasons)
    else:
        assert UNKNOWN_WORD not in response.text


def test_the_server_refuses_a_wrong_request_loudly() -> None:
    server = ContractServer(Contract.load("tcloud"))

    with (
        httpx.Client(transport=server.transport(), headers={"Authorization": "Bearer some-key"}) as client,
        pytest.raises(ContractViolation, match="'region' is a required property"),
    ):
        client.post("http://127.0.0.1/api/v1/gpu_cluster", json={})


def test_the_server_remembers_what_it_was_asked() -> None:
    server = ContractServer(Contract.load("tcloud"))
    request = build_request(server.contract, server.contract.operations[0], richness="minimal")

    server(request)

    assert server.requests == [request]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "m", "type": "t", "param": None, "code": None}},
        {"error": {"message": "m", "type": "t"}},
        {"code": 5, "message": "m", "details": [{"detail": "d"}]},
    ],
)
def test_both_shapes_of_a_failure_fit(dialect: DialectName, body: object) -> None:
    answer(dialect, "GET", Contract.load(dialect).operations[0].path, 404, body)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("body", [{}, {"error": {}}, {"error": "text"}, {"code": "5", "message": "m"}, [], "text"])
def test_any_other_shape_of_a_failure_is_noticed(dialect: DialectName, body: object) -> None:
    with pytest.raises(ContractViolation, match=r"answer 404: .*no alternative fits"):
        answer(dialect, "GET", Contract.load(dialect).operations[0].path, 404, body)


def test_a_success_with_a_status_that_nobody_promised_is_noticed() -> None:
    with pytest.raises(ContractViolation, match="answer 201"):
        answer("compute", "DELETE", "/v1/compute/clusters/c", 201, {"cluster_id": "c"})


def test_a_missing_field_of_an_answer_is_noticed_where_one_is_promised() -> None:
    answer("tcloud", "DELETE", "/api/v1/gpu_cluster/c", 200, {})

    with pytest.raises(ContractViolation, match="'cluster_id' is a required property"):
        answer("compute", "DELETE", "/v1/compute/clusters/c", 200, {})
