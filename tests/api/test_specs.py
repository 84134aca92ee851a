"""What a user asks for: a mistake is a sentence that names the field, before anything costs money."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api import specs
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec, SharedVolumeUpdate, Spec
from airflow_provider_together.exceptions import SpecError
from tests.support.engine import FIXED, SPEC_FIELDS, json_values, spec_with

KINDS: list[type[Spec]] = [ClusterSpec, ClusterUpdate, SharedVolumeSpec, SharedVolumeUpdate]
ALL_FIELDS = sorted({name for kind in KINDS for name in kind.model_fields})


def problems_of(kind: type[Spec], **fields: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        kind.parse(fields)
    return caught.value.problems


def test_a_spec_keeps_what_was_given() -> None:
    assert spec_with().given() == SPEC_FIELDS


def test_fields_that_are_none_are_not_given() -> None:
    assert spec_with(volume_id=None, add_ons=None).given() == SPEC_FIELDS


def test_numbers_from_templates_are_read() -> None:
    assert spec_with(num_gpus="16", duration_days="2").num_gpus == 16


@pytest.mark.parametrize("name", ["region", "gpu_type", "num_gpus", "cluster_name", "billing_type"])
def test_a_missing_field_is_named(name: str) -> None:
    assert problems_of(ClusterSpec, **{**SPEC_FIELDS, name: None}) == [f"{name} is missing"]


def test_all_wrong_fields_are_named_at_once() -> None:
    problems = problems_of(ClusterSpec, **{**SPEC_FIELDS, "num_gpus": 5, "gpu_type": "A100", "colour": "red"})
    assert [problem.split("=")[0].split()[0] for problem in problems] == ["gpu_type", "num_gpus", "colour"]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("num_gpus", 0, "greater than 0"),
        ("num_gpus", -8, "greater than 0"),
        ("num_gpus", 12, "multiple of 8"),
        ("num_gpus", "many", "integer"),
        ("num_gpus", True, "not a flag"),
        ("num_gpus", 2**31, "less than or equal to 2147483647"),
        ("num_preemptible_gpus", 2**31, "less than or equal to 2147483647"),
        ("slurm_shm_size_gib", 2**31, "less than or equal to 2147483647"),
        ("duration_days", 0, "greater than or equal to 1"),
        ("duration_days", 10**9, "less than or equal to 3650"),
        ("duration_days", "None", "rendered to nothing"),
        ("reservation_start_time", 1, "not a number"),
        ("gpu_type", "A100", "H100_SXM"),
        ("gpu_type", "UNKNOWN_GPU", "H100_SXM"),
        ("billing_type", "FREE", "ON_DEMAND"),
        ("billing_type", "UNSPECIFIED", "ON_DEMAND"),
        ("cluster_type", "NOMAD", "SLURM"),
        ("cluster_name", " ", "there is no value in it"),
        ("cluster_name", "None", "rendered to nothing"),
        ("volume_id", " none", "rendered to nothing"),
        ("cluster_name", "a\nb", "control characters"),
        ("cluster_name", "a\x00", "control characters"),
        ("driver_version", "12.8", "CUDA_12_8_570"),
        ("driver_version", "CUDA_12_8_570\n", "CUDA_12_8_570"),
        ("driver_version", "CUDA_12_\N{ARABIC-INDIC DIGIT EIGHT}_570", "CUDA_12_8_570"),
        ("region", "", "there is no value in it"),
        ("num_preemptible_gpus", 4, "multiple of 8"),
        ("reservation_start_time", "2026-01-01T00:00:00", "timezone"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    (problem,) = problems_of(ClusterSpec, **{**SPEC_FIELDS, field: value})
    assert problem.startswith(f"{field}={value!r} is wrong: ")
    assert allowed in problem


def test_a_wrong_value_that_is_no_scalar_is_told_by_its_type() -> None:
    assert problems_of(SharedVolumeUpdate, size_tib=[1])[0].startswith("size_tib=list is wrong: ")


def test_a_field_of_an_inline_volume_is_named_with_its_place() -> None:
    problems = problems_of(ClusterSpec, **SPEC_FIELDS, shared_volume={"volume_name": "data", "size": 1})
    assert problems == ["shared_volume.size_tib is missing", "shared_volume.size is not a field that Together knows"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, object()])
def test_what_cannot_be_sent_as_json_is_refused_by_name(value: Any) -> None:
    (problem,) = problems_of(ClusterSpec, **SPEC_FIELDS, cluster_config={"key": {"deep": [value]}})
    assert problem == "cluster_config=dict is wrong: must be made of JSON values only"
    (problem,) = problems_of(ClusterUpdate, add_ons=[{"key": 1}, {"key": value}])
    assert problem == "add_ons.1=dict is wrong: must be made of JSON values only"


def test_a_name_of_the_users_own_may_be_anything_else() -> None:
    assert spec_with(cluster_name="Ünïcode & spaces, 200 letters " + "x" * 170).cluster_name.startswith("Ün")


def test_a_new_volume_and_an_old_one_exclude_each_other() -> None:
    volume = {"volume_name": "data", "size_tib": 1}
    (problem,) = problems_of(ClusterSpec, **SPEC_FIELDS, shared_volume=volume, volume_id="v-1")
    assert problem.startswith("shared_volume and volume_id exclude each other")


def test_a_driver_is_given_in_one_of_two_ways() -> None:
    assert problems_of(ClusterSpec, **{**SPEC_FIELDS, "driver_version": None})[0].startswith(
        "driver_version is missing"
    )
    assert spec_with(driver_version=None, nvidia_version_id="nv-1").nvidia_version_id == "nv-1"


def test_scheduled_capacity_needs_its_times() -> None:
    problems = problems_of(ClusterSpec, **{**SPEC_FIELDS, "billing_type": "SCHEDULED_CAPACITY"})
    assert [problem.split()[0] for problem in problems] == ["reservation_start_time", "reservation_end_time"]


@pytest.mark.parametrize("end", ["2026-01-01T00:00:00Z", "2025-12-31T23:00:00+01:00"])
def test_a_reservation_ends_after_it_begins(end: str) -> None:
    times = {"reservation_start_time": "2026-01-01T00:00:00Z", "reservation_end_time": end}
    (problem,) = problems_of(ClusterSpec, **{**SPEC_FIELDS, **times})
    assert problem.startswith("reservation_end_time=")


def test_a_reservation_with_its_times_is_accepted_and_written_with_its_time_zone() -> None:
    times = {"reservation_start_time": "2026-01-01T00:00:00Z", "reservation_end_time": "2026-01-02T00:00:00Z"}
    given_ = spec_with(billing_type="SCHEDULED_CAPACITY", **times).given()
    assert {name: given_[name] for name in times} == times


def test_a_check_before_rendering_leaves_missing_fields_alone() -> None:
    ClusterSpec.check({"num_gpus": 8})
    ClusterSpec.check({})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"num_gpus": 9}, "num_gpus"),
        ({"shared_volume": {"volume_name": "data"}}, "shared_volume.size_tib"),
        ({"shared_volume": {"volume_name": "d", "size_tib": 1}, "volume_id": "v"}, "shared_volume and volume_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_check_before_rendering_finds_what_is_wrong_already(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=rf"^{field}"):
        ClusterSpec.check(fields)


def test_no_enum_offers_an_unknown_or_unspecified_word() -> None:
    words = [word for kind in (specs.GPUType, specs.BillingType, specs.ClusterType) for word in typing.get_args(kind)]
    assert words
    assert not [word for word in words if "UNKNOWN" in word or "UNSPECIFIED" in word]


def test_a_spec_error_is_a_value_error_too() -> None:
    assert isinstance(SpecError(["x"]), ValueError)


@FIXED
@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(ALL_FIELDS) | st.text(max_size=5), json_values(), max_size=6),
    st.booleans(),
)
def test_any_json_is_a_spec_that_can_be_sent_or_an_error_that_names_a_field(
    kind: type[Spec], fields: dict[str, Any], on_top_of_good_ones: bool
) -> None:
    values = {**SPEC_FIELDS, **fields} if on_top_of_good_ones and kind is ClusterSpec else fields
    try:
        body = kind.parse(values).given()
    except SpecError as error:
        problems = error.problems
    else:
        assert json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        return
    assert problems
    assert all(problem.startswith((*values, *ALL_FIELDS)) for problem in problems)
