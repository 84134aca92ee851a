"""What is true of both dialects, checked over every operation that they have."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_together.api.answer import read_answer
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.dialects import DIALECTS, Dialect, dialect_class, dialect_for_host
from airflow_provider_together.api.known_dialects import DEFAULT_DIALECT, DIALECT_NAMES
from airflow_provider_together.api.models import Answer, Sight
from airflow_provider_together.api.specs import ClusterUpdate
from airflow_provider_together.exceptions import (
    ConfigurationError,
    MalformedAnswerError,
    OutcomeUnknownError,
    SpecError,
)
from tests.support.engine import BOTH, FIXED, all_calls, answer_with, dialect_named, json_values, settings_with

OPERATIONS = sorted(all_calls(dialect_named("tcloud")))
#: Fields of answers, so that hostile values meet the readers and not only "unknown fields".
FIELDS = [
    "cluster_id", "clusters", "regions", "volumes", "volume_id", "status", "num_gpus", "created_at", "kube_config",
    "phase_transitions", "gpu_worker_nodes", "memory_gib", "phase", "driver_versions", "cuda_version", "id", "name",
    "nvidia_driver_version", "supported_instance_types", "success", "networks", "size_tib",
]  # fmt: skip


def methods_of(kind: type[Any]) -> list[str]:
    return sorted(name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_"))


def test_both_dialects_have_each_operation_and_each_is_tested() -> None:
    assert methods_of(Dialect) == OPERATIONS
    assert {name: methods_of(kind) for name, kind in DIALECTS.items()} == dict.fromkeys(DIALECTS, OPERATIONS)


def test_the_names_that_are_known_without_an_import_are_those_of_the_dialects() -> None:
    assert tuple(DIALECTS) == DIALECT_NAMES
    assert DEFAULT_DIALECT in DIALECTS


@pytest.mark.parametrize("name", BOTH)
def test_both_dialects_take_the_same_parameters(name: str) -> None:
    for operation in OPERATIONS:
        expected = inspect.signature(getattr(Dialect, operation)).parameters
        assert list(inspect.signature(getattr(DIALECTS[name], operation)).parameters) == list(expected)


def test_only_what_makes_something_may_not_be_repeated(dialect: Dialect) -> None:
    unrepeatable = {name for name, call in all_calls(dialect).items() if not call.is_repeatable}
    assert unrepeatable == {"create_cluster", "create_shared_volume"}
    assert {call.method for call in all_calls(dialect).values() if not call.is_repeatable} == {"POST"}


@pytest.mark.parametrize("operation", ["get_cluster", "delete_cluster", "get_shared_volume", "delete_shared_volume"])
@pytest.mark.parametrize(("given_id", "segment"), [("a/b?c#d", "a%2Fb%3Fc%23d"), ("ä b", "%C3%A4%20b")])
def test_an_id_cannot_leave_its_place_in_the_path(
    dialect: Dialect, operation: str, given_id: str, segment: str
) -> None:
    assert getattr(dialect, operation)(given_id).path.endswith(f"/{segment}")


@pytest.mark.parametrize("bad_id", ["", " ", ".."])
def test_a_blank_id_is_refused_by_every_operation_that_takes_one(dialect: Dialect, bad_id: str) -> None:
    for make in (
        lambda: dialect.get_cluster(bad_id),
        lambda: dialect.delete_cluster(bad_id),
        lambda: dialect.update_cluster(bad_id, ClusterUpdate.parse({"num_gpus": 8})),
        lambda: dialect.get_shared_volume(bad_id),
        lambda: dialect.delete_shared_volume(bad_id),
        lambda: dialect.update_shared_volume(bad_id, size_tib=1),
    ):
        with pytest.raises(SpecError, match="_id="):
            make()


def test_every_call_says_what_it_is_about(dialect: Dialect) -> None:
    for call in all_calls(dialect).values():
        assert call.what.split()[0] in {"create", "get", "list", "update", "delete"}
        assert call.path.startswith(("/api/v1/", "/v1/compute/"))


def test_every_body_is_json(dialect: Dialect) -> None:
    for call in all_calls(dialect).values():
        assert json.loads(json.dumps(call.body)) == call.body


def test_a_dialect_is_found_by_its_name() -> None:
    assert [dialect_class(name).name for name in BOTH] == BOTH
    with pytest.raises(ConfigurationError, match="api='soap' is wrong: use one of tcloud, compute"):
        dialect_class("soap")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("manager.cloud.together.ai", "tcloud"),
        ("api.together.ai", "compute"),
        ("api.together.xyz", "compute"),
        ("together.invalid", None),
        ("", None),
    ],
)
def test_the_hosts_of_together_settle_the_dialect(host: str, name: str | None) -> None:
    assert dialect_for_host(host) == name


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(FIXED, max_examples=50)
@given(
    body=json_values()
    | st.dictionaries(
        st.sampled_from(FIELDS),
        json_values() | st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values(), max_size=4), max_size=2),
        max_size=5,
    )
)
@example(body={"clusters": [{"cluster_id": "c", "num_gpus": 10**400, "phase_transitions": [{"phase": {}}]}]})
@example(body={"cluster_id": "c", "gpu_worker_nodes": [{"memory_gib": 10**400}]})
@example(body={"cluster_id": "c", "region": "\ud800", "model_fields": 1, "__class__": 2, "phase": 3})
def test_any_json_is_a_result_or_one_of_our_errors(name: str, operation: str, body: Any) -> None:
    call: Call[Any] = all_calls(dialect_named(name))[operation]
    try:
        result = read_answer(call, answer_with(200, body), settings_with())
    except (MalformedAnswerError, OutcomeUnknownError) as error:
        kind = type(error)
    else:
        results = result if isinstance(result, list) else [result]
        assert all(one is None or isinstance(one, (bool, Answer, Sight)) for one in results)
        assert all(isinstance(str(one), str) for one in results)
        return
    assert kind is (MalformedAnswerError if call.is_repeatable else OutcomeUnknownError)


SAYS_NOTHING: list[Any] = [
    None,
    [],
    {"message": "warming up"},
    {"object": "list", "total": 3},
    {"clusters": {}},
    {"clusters": None, "total": 2},
    {"items": []},
    {"error": None},
    {"clusters": [], "next_page_token": "p2"},
    {"clusters": [], "nextPageToken": "p2"},
    {"clusters": [], "has_more": True},
    {"clusters": [], "next": "https://x/y?page=2"},
    {"clusters": [], "meta": {"pagination": {"next_cursor": "p2"}}},
]


@pytest.mark.parametrize("body", SAYS_NOTHING)
def test_a_list_that_says_nothing_is_no_empty_list(dialect: Dialect, body: Any) -> None:
    for call in (dialect.list_clusters(), dialect.list_sights()):
        with pytest.raises(MalformedAnswerError):
            call.read(call.decode(json.dumps(body).encode()))


SAYS_THERE_IS_NOTHING: list[Any] = [
    {},
    {"clusters": None},
    {"clusters": []},
    {"clusters": None, "next_page_token": "", "has_more": False},
    {"nextPageToken": "", "pagination": {}},
    {"clusters": [], "meta": {"pagination": {"next_cursor": None}}, "object": "list"},
]


@pytest.mark.parametrize("body", SAYS_THERE_IS_NOTHING)
def test_a_list_without_entries_is_empty(dialect: Dialect, body: Any) -> None:
    for call in (dialect.list_clusters(), dialect.list_sights()):
        assert call.read(call.decode(json.dumps(body).encode())) == []


def test_the_other_lists_are_read_as_carefully(dialect: Dialect) -> None:
    for call in (dialect.list_shared_volumes(), dialect.list_regions()):
        assert call.read({}) == []
        with pytest.raises(MalformedAnswerError):
            call.read({"message": "warming up"})


UNREADABLE: list[Any] = [{"cluster_name": "train", "status": "READY"}, {"cluster_id": 5, "cluster_name": "train"}]


@pytest.mark.parametrize("entry", UNREADABLE)
def test_an_entry_without_an_id_is_told_by_its_name_and_leaves_the_others(dialect: Dialect, entry: Any) -> None:
    clusters = dialect.list_clusters().read({"clusters": [{"cluster_id": "c-1"}, entry]})
    assert [cluster.cluster_id for cluster in clusters] == ["c-1"]
    assert clusters.unreadable == ("train",)


@pytest.mark.parametrize("entry", [None, 5, [], {}, {"status": "READY"}, {"cluster_name": None}, {"cluster_name": 3}])
def test_an_entry_without_an_id_and_a_name_has_none(dialect: Dialect, entry: Any) -> None:
    clusters = dialect.list_clusters().read({"clusters": [entry]})
    assert (clusters, clusters.unreadable) == ([], ("",))
