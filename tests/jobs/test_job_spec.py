"""What is wrong with a parameter is told by its name, its value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.jobs.kubernetes.manifests import job_manifest
from airflow_provider_together.jobs.kubernetes.spec import (
    _CHECKS,
    RANK_VARIABLES,
    JobSpec,
    check,
    count_of,
    faults_of_environment,
    texts_of,
    words_of,
)

GOOD: list[tuple[str, Any]] = [
    ("cluster_id", "c-1"),
    ("image", "nvcr.io/nvidia/pytorch:25.01-py3"),
    ("command", ["torchrun", "train.py"]),
    ("cmds", ["torchrun", "train.py"]),
    ("arguments", ["--lr", 0.1, "--steps", 10]),
    ("env_vars", {"NCCL_DEBUG": "INFO", "STEPS": 10}),
    ("num_nodes", 2),
    ("num_nodes", "16"),
    ("gpus_per_node", 0),
    ("gpus_per_node", "8"),
    ("num_gpus", 0),
    ("namespace", "team-a"),
    ("job_name", "train"),
    ("shared_volume", "data"),
    ("shared_volume_mount_path", "/mnt/shared"),
    ("labels", {"team": "a"}),
    ("annotations", {"team": "a"}),
    ("image_pull_policy", "Always"),
    ("image_pull_secrets", ["registry"]),
    ("service_account_name", "trainer"),
    ("node_selector", {"pool": "gpu"}),
    ("tolerations", [{"operator": "Exists"}]),
    ("container_resources", {"limits": {"memory": "1Ti"}, "requests": {"cpu": 32}}),
    ("shm_size", "64Gi"),
    ("shm_size", "1.5Gi"),
    ("rdma_resource", "rdma/rdma_shared_device_a"),
    ("master_port", 29500),
    ("master_port", "1"),
    ("labels", {"team": "vision", "app.kubernetes.io/part-of": "a.b_c", "n": 1, "empty": "", "on": True}),
    ("image", "ghcr.io/acme/train:1"),
    ("image", None),
    ("unknown_to_this_module", object()),
]

WRONG: list[tuple[str, Any]] = [
    ("cluster_id", ""),
    ("cluster_id", 7),
    ("image", "  "),
    ("command", "torchrun train.py"),
    ("cmds", "torchrun train.py"),
    ("image", "None"),
    ("image_pull_secrets", ["None"]),
    ("command", [["torchrun"]]),
    ("arguments", {"lr": 1}),
    ("env_vars", ["A=B"]),
    ("env_vars", {"A B": "c"}),
    ("env_vars", {"A": ["b"]}),
    ("env_vars", {1: "b"}),
    ("num_nodes", 0),
    ("num_nodes", -1),
    ("num_nodes", True),
    ("num_nodes", "two"),
    ("num_nodes", 1.5),
    ("gpus_per_node", -1),
    ("gpus_per_node", "all"),
    ("num_gpus", "all"),
    ("namespace", "Team_A"),
    ("namespace", 1),
    ("job_name", "Train 1"),
    ("job_name", 1),
    ("shared_volume", ""),
    ("shared_volume_mount_path", "mnt/shared"),
    ("shared_volume_mount_path", "/"),
    ("shared_volume_mount_path", "/a:b"),
    ("labels", {"team": None}),
    ("image_pull_policy", "always"),
    ("image_pull_secrets", "registry"),
    ("image_pull_secrets", [""]),
    ("tolerations", ["Exists"]),
    ("container_resources", {"memory": "1Ti"}),
    ("container_resources", {"limits": "1Ti"}),
    ("container_resources", {"limits": {"nvidia.com/gpu": 8}}),
    ("container_resources", "8"),
    ("shm_size", "64 GB"),
    ("shm_size", 64),
    ("rdma_resource", "rdma"),
    ("rdma_resource", "nvidia.com/gpu"),
    ("rdma_resource", 1),
    ("master_port", 0),
    ("master_port", 65536),
    ("labels", {"a b": "c"}),
    ("labels", {"a": "b c"}),
    ("labels", {"/a": "b"}),
    ("labels", {"a": "b" * 64}),
    ("node_selector", {"pool": "GPU nodes"}),
    ("image", "my image"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_good_value_is_taken(name: str, value: Any) -> None:
    check({name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value in WRONG if name != "env_vars"])
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        check({name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}={value!r} is wrong: ")
    assert len(problem.partition("is wrong: ")[2]) > 10


@pytest.mark.parametrize("value", [value for name, value in WRONG if name == "env_vars"])
def test_of_a_wrong_environment_no_value_is_told(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^env_vars=(dict|list)\(.*\) is wrong: "):
        check({"env_vars": value})
    with pytest.raises(SpecError, match="'TOKEN': dict") as caught:
        check({"env_vars": {"TOKEN": {"key": "canary"}}})
    assert "canary" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        check({"num_nodes": 0, "image": "", "namespace": "default"})
    assert len(caught.value.problems) == 2


def test_every_parameter_has_a_good_and_a_wrong_value_above() -> None:
    checked = set(_CHECKS) - {"annotations", "service_account_name"}
    assert checked <= {name for name, _ in WRONG}
    assert checked <= {name for name, _ in GOOD}


@pytest.mark.parametrize(("value", "count"), [(0, 0), ("8", 8), (" 8 ", 8), (-1, None), (True, None), ("٨", None)])
def test_a_number_may_be_text(value: Any, count: int | None) -> None:
    assert count_of(value) == count


def test_a_command_becomes_words_and_a_mapping_texts() -> None:
    assert words_of(None) == []
    assert words_of("train") == ["train"]
    assert words_of(["--lr", 0.1]) == ["--lr", "0.1"]
    assert texts_of(None) == {}
    assert texts_of({"A": 1, "B": True, "C": "c"}) == {"A": "1", "B": "true", "C": "c"}


def test_what_the_ranks_find_each_other_by_is_not_to_be_set() -> None:
    assert (
        faults_of_environment({"LR": "0.1"}) == faults_of_environment(None) == faults_of_environment("{{ env }}") == []
    )
    (fault,) = faults_of_environment({"NODE_RANK": "7", "LR": "0.1"})
    assert fault.startswith("env_vars: 'NODE_RANK' is wrong: it is set for each rank")
    spec = JobSpec("train", "owner", "image", num_nodes=2, gpus_per_node=8)
    container = job_manifest(spec, asked_at=0.0)["spec"]["template"]["spec"]["containers"][0]
    assert {variable["name"] for variable in container["env"]} == RANK_VARIABLES
