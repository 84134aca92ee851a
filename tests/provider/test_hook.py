"""The hook turns a connection into a client, and its button says what to change."""

from __future__ import annotations

import inspect
import json
from types import FunctionType
from typing import Any

import pytest

from airflow_provider_together.api.specs import ClusterSpec, SharedVolumeSpec
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.exceptions import ConfigurationError, NotFoundError, SpecError
from airflow_provider_together.hooks.together import TogetherHook

SPEC = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "cluster_name": "training",
    "duration_days": 1,
    "driver_version": "CUDA_12_8_570",
    "billing_type": "ON_DEMAND",
}


@pytest.fixture
def hook(emulator: Emulator) -> TogetherHook:
    del emulator
    return TogetherHook()


def other_connection(emulator: Emulator, **changes: Any) -> str:
    return json.dumps({**json.loads(emulator.connection(api="tcloud")), **changes})


def test_a_cluster_is_made_read_listed_changed_and_deleted(hook: TogetherHook, emulator: Emulator) -> None:
    cluster = hook.create_gpu_cluster(ClusterSpec.parse(SPEC))
    assert hook.get_gpu_cluster(cluster.cluster_id).cluster_name == "training"
    assert [found.cluster_id for found in hook.list_gpu_clusters()] == [cluster.cluster_id]
    emulator.advance(3600)
    hook.update_gpu_cluster(cluster.cluster_id, num_gpus=16)
    assert hook.get_gpu_cluster(cluster.cluster_id).num_gpus == 16
    hook.delete_gpu_cluster(cluster.cluster_id)
    emulator.advance(3600)
    with pytest.raises(NotFoundError):
        hook.get_gpu_cluster(cluster.cluster_id)
    assert hook.list_gpu_clusters() == []


def test_a_shared_volume_is_made_read_listed_grown_and_deleted(hook: TogetherHook) -> None:
    volume = hook.create_shared_volume(SharedVolumeSpec(volume_name="data", size_tib=1, region="us-central-8"))
    assert hook.get_shared_volume(volume.volume_id).volume_name == "data"
    assert [found.volume_id for found in hook.list_shared_volumes()] == [volume.volume_id]
    assert hook.update_shared_volume(volume.volume_id, size_tib=2).size_tib == 2
    assert hook.delete_shared_volume(volume.volume_id)
    assert hook.list_shared_volumes() == []


def test_regions_tell_what_they_offer(hook: TogetherHook) -> None:
    regions = {region.name: region for region in hook.list_regions()}
    versions = [version.driver_version for version in regions["us-central-8"].driver_versions]
    assert "CUDA_12_8_570" in versions


def test_both_dialects_see_the_same_cluster(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for api in ("tcloud", "compute"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{api.upper()}", emulator.connection(api=api))
    made = TogetherHook("tcloud").create_gpu_cluster(ClusterSpec.parse(SPEC))
    seen = TogetherHook("compute").get_gpu_cluster(made.cluster_id)
    assert (seen.cluster_name, seen.driver_version) == ("training", "CUDA_12_8_570")


def test_a_wrong_change_is_named_before_a_request_is_sent(hook: TogetherHook, emulator: Emulator) -> None:
    with pytest.raises(SpecError, match="num_gpus=12"):
        hook.update_gpu_cluster("any", num_gpus=12)
    assert emulator.requests == []


def test_the_kubeconfig_comes_decoded_once_the_cluster_is_ready(hook: TogetherHook, emulator: Emulator) -> None:
    cluster = hook.create_gpu_cluster(ClusterSpec.parse(SPEC))
    with pytest.raises(ConfigurationError, match="wait until it is READY"):
        hook.get_kubeconfig(cluster.cluster_id)
    emulator.advance(3600)
    assert hook.get_kubeconfig(cluster.cluster_id).startswith("apiVersion: v1")


def test_hooks_of_one_connection_share_one_client(emulator: Emulator) -> None:
    del emulator
    first, second = TogetherHook(), TogetherHook()
    assert first.client is second.client


def test_the_button_says_what_it_reached(hook: TogetherHook, emulator: Emulator, api: str) -> None:
    is_good, message = hook.test_connection()
    assert is_good
    assert emulator.url in message
    assert repr(api) in message
    assert "us-central-8" in message


def test_the_button_works_under_the_random_id_that_airflow_gives_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TEMP_XYZ", emulator.connection(api=api))
    assert TogetherHook(together_conn_id="temp_xyz").test_connection()[0]


def test_a_wrong_key_is_told_by_the_button_and_never_shown(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", other_connection(emulator, password="sk-wrong-key"))
    is_good, message = TogetherHook("gpus").test_connection()
    assert not is_good
    assert "connection 'gpus'" in message
    assert "password" in message
    assert "sk-wrong-key" not in message


def test_a_wrong_host_is_told_by_the_button(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", other_connection(emulator, host="http://127.0.0.1:9"))
    is_good, message = TogetherHook("gpus").test_connection()
    assert not is_good
    assert "http://127.0.0.1:9" in message


def test_a_host_that_is_another_site_is_told_by_the_button(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", other_connection(emulator, host=f"{emulator.url}/elsewhere"))
    is_good, message = TogetherHook("gpus").test_connection()
    assert not is_good
    assert "check the connection's host" in message


#: What Airflow asks of a hook; the rest are operations of ours.
AIRFLOWS = {"get_conn", "get_ui_field_behaviour", "get_connection_form_widgets", "async_client", "asettings"}
OPERATIONS = sorted(
    name for name, value in vars(TogetherHook).items() if isinstance(value, FunctionType) and name[0] != "_"
)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in AIRFLOWS])
def test_an_operation_says_what_it_takes_returns_and_raises(name: str) -> None:
    operation = getattr(TogetherHook, name)
    text, signature = inspect.getdoc(operation) or "", inspect.signature(operation)
    wanted = [f":param {parameter}:" for parameter in signature.parameters if parameter != "self"]
    wanted += [":returns:"] if signature.return_annotation != "None" else []
    wanted += [":raises "] if name != "test_connection" else []
    assert [field for field in wanted if field not in text] == []
