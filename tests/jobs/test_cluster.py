"""A cluster that cannot be trained on is refused before anything is sent to it, and says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.exceptions import ClusterGoneError, ConfigurationError, SpecError
from airflow_provider_together.jobs.cluster import (
    ClusterQuestion,
    check_alike,
    check_cluster,
    check_share,
    gpus_of_node,
    num_workers,
    size_of_volume,
)

VOLUME = {"volume_id": "v", "volume_name": "data", "size_tib": 2}


def cluster(**changes: Any) -> Cluster:
    known = {"cluster_id": "c", "status": "READY", "kube_config": "kind: Config", "cluster_type": "KUBERNETES"}
    return Cluster.model_validate({**known, **changes})


def test_a_ready_cluster_is_good() -> None:
    check_cluster(cluster())
    check_cluster(cluster(volumes=[VOLUME]), shared_volume="data")


def test_where_no_volume_is_told_kubernetes_is_asked() -> None:
    check_cluster(cluster(), shared_volume="data")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"cluster_type": "SLURM"}, SpecError, "cluster_id='c' is wrong: it is a SLURM cluster"),
        (
            {"kube_config": "", "status": "PROVISIONING"},
            ConfigurationError,
            "status PROVISIONING.*wait until it is READY",
        ),
        ({"kube_config": "", "status": ""}, ConfigurationError, "status unknown"),
        ({"status": "DELETING"}, ClusterGoneError, "it is DELETING"),
        ({"volumes": [VOLUME]}, SpecError, "shared_volume='logs' is wrong: attached to the cluster are 'data'"),
    ],
)
def test_others_are_refused(changes: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        check_cluster(cluster(**changes), shared_volume="logs")


def test_nodes_and_their_gpus_are_counted() -> None:
    nodes = [{"node_id": "a", "num_gpus": 8}, {"node_id": "b", "num_gpus": 4}]
    assert (num_workers(cluster(gpu_worker_nodes=nodes)), gpus_of_node(cluster(gpu_worker_nodes=nodes))) == (2, 8)
    assert (num_workers(cluster(num_gpus=32)), gpus_of_node(cluster(num_gpus=32))) == (4, 8)
    assert (num_workers(cluster()), gpus_of_node(cluster())) == (1, 8)


def test_nodes_that_differ_are_named() -> None:
    nodes = [{"node_name": "a", "num_gpus": 8}, {"host_name": "b", "num_gpus": 7}, {"node_id": "c", "num_gpus": None}]
    with pytest.raises(SpecError, match="b has 7, the others have 8: give gpus_per_node=7 to train on all of them"):
        check_alike(cluster(gpu_worker_nodes=nodes))


@pytest.mark.parametrize("counts", [[], [8], [8, 8], [None, 8], [0, 8]])
def test_nodes_that_are_alike_are_fine(counts: list[int | None]) -> None:
    check_alike(cluster(gpu_worker_nodes=[{"node_name": "a", "num_gpus": count} for count in counts]))


def test_the_size_of_a_volume_is_found_by_its_name() -> None:
    assert size_of_volume(cluster(volumes=[VOLUME]), "data") == 2
    assert size_of_volume(cluster(volumes=[VOLUME]), "logs") is None


def test_more_than_there_is_is_refused() -> None:
    assert check_share("num_nodes", 2, 2, "GPU worker") == 2
    with pytest.raises(SpecError, match="num_nodes=3 is too many: the cluster has 2 GPU workers"):
        check_share("num_nodes", 3, 2, "GPU worker")
    with pytest.raises(SpecError, match=r"num_gpus=2 is too many: the cluster has 1 GPU on a node$"):
        check_share("num_gpus", 2, 1, "GPU", " on a node")


def test_whether_the_cluster_is_gone_is_for_the_driver_to_answer() -> None:
    with pytest.raises(TypeError, match="the driver answers"):
        ClusterQuestion().answer()
