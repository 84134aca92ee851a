"""The current API on the wire, and the translation from the older one's words."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.dialects import Compute
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.specs import ClusterUpdate, SharedVolumeSpec
from airflow_provider_together.exceptions import MalformedAnswerError, SpecError
from tests.support.engine import SPEC_FIELDS, all_calls, spec_with

DIALECT = Compute()
CLUSTERS = "/v1/compute/clusters"
VOLUMES = "/v1/compute/clusters/storage/volumes"
BODY = {name: value for name, value in SPEC_FIELDS.items() if name != "driver_version"} | {
    "cuda_version": "12.8",
    "nvidia_driver_version": "570",
}


def body_with(dialect: Compute = DIALECT, **changes: Any) -> dict[str, Any]:
    body = dialect.create_cluster(spec_with(**changes)).body
    assert body is not None
    return dict(body)


def test_each_operation_has_its_method_path_and_body() -> None:
    assert {name: (call.method, call.path, call.body) for name, call in all_calls(DIALECT).items()} == {
        "create_cluster": ("POST", CLUSTERS, BODY),
        "get_cluster": ("GET", f"{CLUSTERS}/c-1", None),
        "list_clusters": ("GET", CLUSTERS, None),
        "list_sights": ("GET", CLUSTERS, None),
        "update_cluster": ("PUT", f"{CLUSTERS}/c-1", {"num_gpus": 16}),
        "delete_cluster": ("DELETE", f"{CLUSTERS}/c-1", None),
        "list_regions": ("GET", "/v1/compute/regions", None),
        "create_shared_volume": ("POST", VOLUMES, {"volume_name": "data", "size_tib": 2, "region": "us-central-8"}),
        "get_shared_volume": ("GET", f"{VOLUMES}/v-1", None),
        "list_shared_volumes": ("GET", VOLUMES, None),
        "update_shared_volume": ("PUT", VOLUMES, {"volume_id": "v-1", "size_tib": 4}),
        "delete_shared_volume": ("DELETE", f"{VOLUMES}/v-1", None),
    }


def test_a_project_filters_lists_and_owns_what_is_made() -> None:
    calls = all_calls(Compute(project_id="p-1"))
    assert {name for name, call in calls.items() if call.params} == {
        "list_clusters",
        "list_sights",
        "list_shared_volumes",
    }
    assert calls["list_clusters"].params == {"projectId": "p-1"}
    owned = {name for name, call in calls.items() if call.body and call.body.get("project_id") == "p-1"}
    assert owned == {"create_cluster", "create_shared_volume"}


def test_a_project_of_the_users_own_outweighs_the_connections() -> None:
    assert body_with(Compute(project_id="p-1"), project_id="p-2")["project_id"] == "p-2"


def test_a_catalogue_id_replaces_the_driver_version() -> None:
    body = body_with(driver_version=None, nvidia_version_id="nv-1")
    assert body["nvidia_version_id"] == "nv-1"
    assert not {"cuda_version", "nvidia_driver_version", "driver_version"} & set(body)


def test_an_inline_volume_takes_the_clusters_region_unless_it_has_its_own() -> None:
    volume = {"volume_name": "data", "size_tib": 1, "is_lifecycle_independent": True}
    assert body_with(shared_volume=volume)["shared_volume"] == {**volume, "region": "us-central-8"}
    assert body_with(shared_volume={**volume, "region": "eu-1"})["shared_volume"]["region"] == "eu-1"


def test_a_volume_needs_a_region() -> None:
    with pytest.raises(SpecError, match=r"^region is missing"):
        DIALECT.create_shared_volume(SharedVolumeSpec.parse({"volume_name": "data", "size_tib": 1}))


def test_a_reserved_cluster_needs_a_duration_or_an_end() -> None:
    with pytest.raises(SpecError, match=r"^duration_days is missing"):
        DIALECT.create_cluster(spec_with(billing_type="RESERVED", duration_days=None))
    ended = body_with(billing_type="RESERVED", duration_days=None, reservation_end_time="2030-01-01T00:00:00Z")
    assert ended["reservation_end_time"] == "2030-01-01T00:00:00Z"


def test_an_on_demand_cluster_needs_no_duration() -> None:
    assert "duration_days" not in body_with(duration_days=None)


def test_slurm_gets_shared_memory_where_nobody_says_how_much_and_a_note_says_so() -> None:
    call = DIALECT.create_cluster(spec_with(cluster_type="SLURM"))
    assert call.body is not None
    assert call.body["slurm_shm_size_gib"] == 64
    assert "slurm_shm_size_gib is not given" in call.note
    assert "asking for 64 GiB" in call.note


@pytest.mark.parametrize("given", [{"cluster_type": "SLURM", "slurm_shm_size_gib": 32}, {"cluster_type": "KUBERNETES"}])
def test_the_shared_memory_that_is_given_is_sent_as_it_is(given: dict[str, Any]) -> None:
    call = DIALECT.create_cluster(spec_with(**given))
    assert call.body is not None
    assert call.body.get("slurm_shm_size_gib") == given.get("slurm_shm_size_gib")
    assert call.note == ""


def test_fields_of_this_api_alone_are_sent_as_given() -> None:
    fields: dict[str, Any] = {
        "gpu_type": "GB200_SXM",
        "auto_scale": False,
        "num_preemptible_gpus": 0,
        "add_ons": [{"add_on_type": "dashboard", "name": "d", "config": {"dashboard": {"enabled": True}}}],
        "cluster_config": {"load_balancer": "NONE"},
    }
    body = body_with(**fields)
    assert {name: body[name] for name in fields} == fields


def test_an_update_sends_what_was_given_only() -> None:
    change = ClusterUpdate.parse({"num_reserved_gpus": 0, "reservation_end_time": "2030-01-01T00:00:00Z"})
    body = DIALECT.update_cluster("c-1", change).body
    assert body == {"num_reserved_gpus": 0, "reservation_end_time": "2030-01-01T00:00:00Z"}


def test_an_answer_tells_the_driver_in_the_operators_spelling() -> None:
    answer = {"cluster_id": "c-1", "status": "Ready", "cuda_version": "12.8", "nvidia_driver_version": "570"}
    cluster = DIALECT.get_cluster("c-1").read(answer)
    assert (cluster.driver_version, cluster.phase) == ("CUDA_12_8_570", Phase.READY)
    assert DIALECT.get_cluster("c-1").read({**answer, "cuda_version": None}).driver_version == ""


def test_an_answer_without_an_id_is_malformed() -> None:
    with pytest.raises(MalformedAnswerError, match="no Cluster: cluster_id missing or unreadable"):
        DIALECT.get_cluster("c-1").read({"status": "Ready"})


def test_a_delete_has_no_result() -> None:
    assert DIALECT.delete_cluster("c-1").read({}) is None


def test_regions_tell_types_and_drivers() -> None:
    driver = {"id": "nv-1", "os": "ubuntu", "cuda_version": "12.8", "nvidia_driver_version": "570"}
    body = {"regions": [{"name": "us-1", "supported_instance_types": ["H100_SXM"], "driver_versions": [driver, 5]}]}
    (region,) = DIALECT.list_regions().read(body)
    assert region.gpu_types == ["H100_SXM"]
    assert [(version.driver_version, version.id) for version in region.driver_versions] == [("CUDA_12_8_570", "nv-1")]


def test_a_region_may_tell_nothing() -> None:
    (region,) = DIALECT.list_regions().read({"regions": [{"name": "us-1", "driver_versions": "none"}]})
    assert (region.name, region.gpu_types, region.driver_versions) == ("us-1", [], [])
