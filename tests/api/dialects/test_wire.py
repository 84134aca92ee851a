"""Reading and writing that both dialects share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api.dialects import wire
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.specs import ClusterUpdate
from airflow_provider_together.exceptions import MalformedAnswerError, SpecError
from tests.support.engine import CANARY_KUBECONFIG, FIXED


@pytest.mark.parametrize("body", [None, [], "text", 5, True])
def test_an_answer_that_is_no_object_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedAnswerError, match=f"{type(body).__name__}, not an object"):
        wire.read_object(body)


def test_nulls_leave_room_for_what_is_known() -> None:
    cluster = wire.read_model(Cluster, {"cluster_id": None, "region": "r"}, cluster_id="c-1")
    assert (cluster.cluster_id, cluster.region) == ("c-1", "r")


def test_a_malformed_answer_is_told_by_its_fields_and_never_by_its_values() -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        wire.read_cluster({"cluster_id": {"kube_config": CANARY_KUBECONFIG}})
    assert "cluster_id" in str(caught.value)
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("body", "is_done"),
    [({"success": True}, True), ({"success": False}, False), ({}, True), ({"success": None}, True)],
)
def test_only_a_plain_no_is_no_success(body: dict[str, Any], is_done: bool) -> None:
    assert wire.read_success(body) is is_done


@FIXED
@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999))
def test_a_driver_version_survives_the_translation(major: int, minor: int, driver: int) -> None:
    word = f"CUDA_{major}_{minor}_{driver}"
    assert wire.split_driver_version(word) == (f"{major}.{minor}", str(driver))
    assert wire.join_driver_version(*wire.split_driver_version(word)) == word


@pytest.mark.parametrize("word", ["", "12.8", "CUDA_12_8", "CUDA_12_8_570_1", "cuda_12_8_570"])
def test_a_driver_version_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(SpecError, match=r"driver_version=.*CUDA_12_8_570"):
        wire.split_driver_version(word)


@pytest.mark.parametrize(("cuda", "driver"), [("12", "570"), (12.8, "570"), ("12.8", 570), (None, None), ("", "")])
def test_versions_of_another_form_are_not_translated(cuda: Any, driver: Any) -> None:
    assert wire.join_driver_version(cuda, driver) == ""


def test_each_field_that_a_dialect_lacks_is_named() -> None:
    change = ClusterUpdate.parse({"num_gpus": 8, "num_reserved_gpus": 8, "add_ons": []})
    with pytest.raises(SpecError) as caught:
        wire.refuse_unknown_fields(change, ["num_gpus"], dialect="tcloud", other="compute")
    assert [problem.split()[0] for problem in caught.value.problems] == ["num_reserved_gpus", "add_ons"]


def test_a_word_that_a_dialect_lacks_is_refused_with_those_it_has() -> None:
    wire.refuse_unknown_word("size", "L", ["M", "L"], dialect="tcloud")
    wire.refuse_unknown_word("size", None, ["M", "L"], dialect="tcloud")
    with pytest.raises(SpecError, match="size='S' does not exist in the tcloud API: use one of M, L"):
        wire.refuse_unknown_word("size", "S", ["M", "L"], dialect="tcloud")
