"""Answers as models: lenient about everything but the id, and silent about secrets."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_together.api.models import Cluster, Node, Region, SharedVolume, decode_kubeconfig
from airflow_provider_together.api.phase import Phase
from tests.support.engine import CANARY_KUBECONFIG, cluster_with

ENCODED_KUBECONFIG = base64.b64encode(CANARY_KUBECONFIG.encode()).decode()


def test_a_cluster_needs_nothing_but_an_id() -> None:
    cluster = Cluster(cluster_id="c-1")
    assert (cluster.phase, cluster.num_gpus, cluster.created_at, cluster.volumes) == (Phase.PENDING, None, None, [])
    assert cluster.kubeconfig() is None


@pytest.mark.parametrize("cluster_id", ["", 5, None, ["c-1"]])
def test_an_answer_without_an_id_is_no_cluster(cluster_id: Any) -> None:
    with pytest.raises(ValidationError):
        Cluster.model_validate({"cluster_id": cluster_id})


def test_a_volume_needs_an_id() -> None:
    with pytest.raises(ValidationError):
        SharedVolume.model_validate({"volume_name": "data"})


def test_the_raw_word_stays_beside_the_phase() -> None:
    cluster = cluster_with(status="OnDemandComputePaused")
    assert (cluster.status, cluster.phase) == ("OnDemandComputePaused", Phase.PAUSED)


@pytest.mark.parametrize("field", ["status", "region", "gpu_type", "billing_type"])
def test_a_word_that_is_shown_forges_no_line(field: str) -> None:
    assert getattr(cluster_with(**{field: "Ready\n\x1b[2J"}), field) == "Ready\ufffd\ufffd[2J"


def test_a_word_of_a_transition_forges_no_line_and_means_what_it_did() -> None:
    cluster = cluster_with(status="Waiting", phase_transitions=[{"phase": "CLUSTER_PHASE_FAILED\n"}])
    assert (cluster.phase, cluster.failure) == (Phase.FAILED, "CLUSTER_PHASE_FAILED\ufffd")


def test_a_name_is_kept_as_it_is_since_clusters_are_told_apart_by_it() -> None:
    assert cluster_with(cluster_name="a\nb").cluster_name == "a\nb"


def test_the_failed_transition_is_the_reason_of_a_failure() -> None:
    transitions = [{"phase": "CLUSTER_PHASE_QUEUED"}, {"phase": "CLUSTER_PHASE_NCCL_TESTS_FAILED"}]
    cluster = cluster_with(status="RunningAcceptanceTests", phase_transitions=transitions)
    assert (cluster.phase, cluster.failure) == (Phase.FAILED, "CLUSTER_PHASE_NCCL_TESTS_FAILED")


def test_unknown_fields_are_kept() -> None:
    assert cluster_with(tomorrow={"a": 1}).model_extra == {"tomorrow": {"a": 1}}


@pytest.mark.parametrize("field", ["phase", "kubeconfig", "failure", "gpus_present"])
def test_a_field_named_like_something_of_ours_does_not_replace_it(field: str) -> None:
    cluster = cluster_with(**{field: "hostile"})
    assert getattr(cluster, field) != "hostile"


@pytest.mark.parametrize(
    ("given", "read"),
    [(8, 8), (8.9, 8), ("8", 8), ("eight", None), (True, None), (None, None), ([], None), (float("inf"), None)],
)
def test_a_count_that_cannot_be_read_is_unknown(given: Any, read: int | None) -> None:
    assert Cluster.model_validate({"cluster_id": "c-1", "num_gpus": given}).num_gpus == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2026-01-31T15:30:00Z", datetime(2026, 1, 31, 15, 30, tzinfo=UTC)),
        ("2026-01-31T16:30:00+01:00", datetime(2026, 1, 31, 15, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("2026-01-31T15:30:00", None),
        ("yesterday", None),
        ("", None),
        (1769873400, None),
    ],
)
def test_a_time_is_read_only_if_it_names_one_moment(given: Any, read: datetime | None) -> None:
    assert cluster_with(created_at=given).created_at == read


def test_numbers_and_nulls_where_texts_belong_are_read() -> None:
    cluster = Cluster.model_validate({"cluster_id": "c-1", "region": 5, "gpu_type": None})
    assert (cluster.region, cluster.gpu_type) == ("5", "")


def test_entries_that_are_no_objects_are_left_out_of_lists() -> None:
    cluster = cluster_with(volumes=[1, None, {"volume_id": "v-1"}], gpu_worker_nodes="none")
    assert [volume.volume_id for volume in cluster.volumes] == ["v-1"]
    assert cluster.gpu_worker_nodes == []


@pytest.mark.parametrize("types", [None, "H100_SXM", {"H100_SXM": 1}])
def test_words_that_are_no_list_are_none(types: Any) -> None:
    assert Region.model_validate({"name": "r", "gpu_types": types}).gpu_types == []


@pytest.mark.parametrize(("given", "read"), [(64, 64.0), (63.5, 63.5), ("much", None), (None, None)])
def test_memory_that_is_no_number_is_unknown(given: Any, read: float | None) -> None:
    assert Node.model_validate({"memory_gib": given}).memory_gib == read


def test_a_node_is_made_of_an_object_or_of_a_node() -> None:
    node = Node(node_id="n-1")
    assert Node.model_validate(node) == node
    with pytest.raises(ValidationError):
        Node.model_validate("n-1")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"node_id": "i", "node_name": "n", "host_name": "h"}, "n"),
        ({"node_id": "i", "host_name": "h"}, "h"),
        ({"node_id": "i"}, "i"),
        ({}, ""),
    ],
)
def test_a_node_has_the_best_name_that_the_dialect_gives(fields: dict[str, str], name: str) -> None:
    assert Node.model_validate(fields).name == name


@pytest.mark.parametrize(
    ("workers", "present"), [([], 16), ([{"num_gpus": 8}], 8), ([{"num_gpus": 8}] * 3, 24), ([{"node_id": "n"}], 16)]
)
def test_the_gpus_that_are_there_are_those_of_the_workers(workers: list[dict[str, Any]], present: int) -> None:
    assert cluster_with(num_gpus=16, gpu_worker_nodes=workers).gpus_present() == present


@pytest.mark.parametrize(
    "raw", [CANARY_KUBECONFIG, ENCODED_KUBECONFIG, f"\n{ENCODED_KUBECONFIG[:40]}\n{ENCODED_KUBECONFIG[40:]}\n"]
)
def test_a_kubeconfig_is_read_from_yaml_and_from_base64(raw: str) -> None:
    assert cluster_with(kube_config=raw).kubeconfig() == CANARY_KUBECONFIG


@pytest.mark.parametrize("raw", ["not base64!", base64.b64encode(b"\xff\xfe").decode(), "abc"])
def test_a_kubeconfig_of_an_unknown_encoding_is_left_as_it_is(raw: str) -> None:
    assert decode_kubeconfig(raw) == raw


@pytest.mark.parametrize("raw", [None, "", "  \n"])
def test_a_cluster_that_is_not_ready_has_no_kubeconfig(raw: str | None) -> None:
    assert cluster_with(kube_config=raw).kubeconfig() is None


@pytest.mark.parametrize("raw", [CANARY_KUBECONFIG, ENCODED_KUBECONFIG])
def test_a_kubeconfig_shows_up_nowhere(raw: str) -> None:
    cluster = cluster_with(kube_config=raw)
    shown = [
        repr(cluster),
        str(cluster),
        f"{[cluster]}",
        json.dumps(cluster.model_dump(mode="json")),
        str(vars(cluster)),
    ]
    assert not [text for text in shown if "canary" in text or ENCODED_KUBECONFIG in text]


def test_a_cluster_says_in_a_log_what_a_person_needs() -> None:
    assert str(cluster_with(cluster_name="train")) == "Cluster('c-1', name='train', status='Ready')"
