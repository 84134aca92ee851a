"""The older API on the wire. Paths and bodies are written out as its reference shows them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.dialects import TCloud
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.specs import ClusterUpdate, SharedVolumeSpec
from airflow_provider_together.exceptions import MalformedAnswerError, SpecError
from tests.support.engine import SPEC_FIELDS, VOLUME_SPEC, all_calls, spec_with

DIALECT = TCloud(project_id="ignored")


def test_each_operation_has_its_method_path_and_body() -> None:
    assert {name: (call.method, call.path, call.body) for name, call in all_calls(DIALECT).items()} == {
        "create_cluster": ("POST", "/api/v1/gpu_cluster", SPEC_FIELDS),
        "get_cluster": ("GET", "/api/v1/gpu_cluster/c-1", None),
        "list_clusters": ("GET", "/api/v1/gpu_clusters", None),
        "list_sights": ("GET", "/api/v1/gpu_clusters", None),
        "update_cluster": ("PUT", "/api/v1/gpu_cluster", {"cluster_id": "c-1", "num_gpus": 16}),
        "delete_cluster": ("DELETE", "/api/v1/gpu_cluster/c-1", None),
        "list_regions": ("GET", "/api/v1/regions", None),
        "create_shared_volume": (
            "POST",
            "/api/v1/shared_volume",
            {"volume_name": "data", "size_tib": 2, "region": "us-central-8"},
        ),
        "get_shared_volume": ("GET", "/api/v1/shared_volume/v-1", None),
        "list_shared_volumes": ("GET", "/api/v1/shared_volumes", None),
        "update_shared_volume": ("PUT", "/api/v1/shared_volume", {"volume_id": "v-1", "size_tib": 4}),
        "delete_shared_volume": ("DELETE", "/api/v1/shared_volume/v-1", None),
    }


def test_the_key_alone_chooses_the_project() -> None:
    assert not [call for call in all_calls(DIALECT).values() if call.params]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"slurm_image": "x"}, "slurm_image"),
        ({"project_id": "p"}, "project_id"),
        ({"auto_scale": False}, "auto_scale"),
        ({"nvidia_version_id": "n"}, "nvidia_version_id"),
        ({"gpu_type": "B200_SXM"}, "gpu_type='B200_SXM'"),
        ({"driver_version": "CUDA_13_0_580"}, "driver_version='CUDA_13_0_580'"),
        ({"duration_days": None}, "duration_days"),
        ({"shared_volume": {"volume_name": "d", "size_tib": 1, "project_id": "p"}}, "project_id"),
        (
            {
                "billing_type": "SCHEDULED_CAPACITY",
                "reservation_start_time": "2026-01-01T00:00:00Z",
                "reservation_end_time": "2026-01-02T00:00:00Z",
            },
            "reservation_start_time",
        ),
    ],
)
def test_what_only_the_current_api_has_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=rf"^{field} .*tcloud API"):
        DIALECT.create_cluster(spec_with(**fields))


def test_an_update_of_a_field_that_this_api_lacks_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^num_reserved_gpus does not exist"):
        DIALECT.update_cluster("c-1", ClusterUpdate.parse({"num_reserved_gpus": 8}))


def test_a_volume_needs_a_region_and_an_inline_one_takes_the_clusters() -> None:
    volume = {"volume_name": "data", "size_tib": 1}
    body = DIALECT.create_cluster(spec_with(shared_volume=volume)).body
    assert body is not None
    assert body["shared_volume"] == {**volume, "region": "us-central-8"}
    with pytest.raises(SpecError, match=r"^region is missing"):
        DIALECT.create_shared_volume(SharedVolumeSpec.parse(volume))


def test_the_answer_to_a_create_is_completed_by_what_was_asked_for() -> None:
    cluster = DIALECT.create_cluster(spec_with()).read({"cluster_id": "c-9", "status": "QUEUED", "region": None})
    assert (cluster.cluster_id, cluster.phase, cluster.region) == ("c-9", Phase.PENDING, "us-central-8")
    assert (cluster.cluster_name, cluster.num_gpus, cluster.billing_type) == ("train", 8, "ON_DEMAND")


def test_what_the_answer_says_outweighs_what_was_asked_for() -> None:
    assert DIALECT.create_cluster(spec_with()).read({"cluster_id": "c-9", "num_gpus": 16}).num_gpus == 16


def test_a_create_without_an_id_in_its_answer_is_no_cluster() -> None:
    with pytest.raises(MalformedAnswerError, match="cluster_id"):
        DIALECT.create_cluster(spec_with()).read({"status": "QUEUED"})


def test_an_id_that_we_know_may_be_left_out_of_an_answer() -> None:
    assert DIALECT.get_cluster("c-1").read({}).cluster_id == "c-1"
    change = ClusterUpdate.parse({"num_gpus": 16})
    assert DIALECT.update_cluster("c-1", change).read({"status": "READY"}).cluster_id == "c-1"
    assert DIALECT.get_shared_volume("v-1").read({}).volume_id == "v-1"
    assert DIALECT.update_shared_volume("v-1", size_tib=4).read({}).volume_id == "v-1"


def test_a_volume_is_completed_by_what_was_asked_for() -> None:
    volume = DIALECT.create_shared_volume(VOLUME_SPEC).read({"volume_id": "v-9"})
    assert (volume.volume_id, volume.volume_name, volume.size_tib) == ("v-9", "data", 2)


def test_a_delete_has_no_result() -> None:
    assert DIALECT.delete_cluster("c-1").read({"cluster_id": "c-1"}) is None


def test_regions_tell_their_drivers_as_words() -> None:
    body = {"regions": [{"id": "us-1", "driver_versions": ["CUDA_12_8_570", 5]}, {"name": "us-2"}]}
    first, second = DIALECT.list_regions().read(body)
    assert (first.name, [version.driver_version for version in first.driver_versions]) == ("us-1", ["CUDA_12_8_570"])
    assert (second.name, second.driver_versions, second.gpu_types) == ("us-2", [], [])
