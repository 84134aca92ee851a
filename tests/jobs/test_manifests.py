"""The objects are what Kubernetes takes, and say all that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_together.jobs.kubernetes.manifests import (
    ASKED_ANNOTATION,
    JOB_LABEL,
    OWNER_LABEL,
    SPEC_ANNOTATION,
    claim_manifest,
    job_manifest,
    merged,
    service_manifest,
    with_gpus,
)
from airflow_provider_together.jobs.kubernetes.spec import JobSpec

SPEC = JobSpec(name="train", owner="abc", image="train:1", num_nodes=2, gpus_per_node=8)


def pod_of(spec: JobSpec) -> Any:
    return job_manifest(spec, asked_at=1.0)["spec"]["template"]["spec"]


def container_of(spec: JobSpec) -> Any:
    (container,) = pod_of(spec)["containers"]
    return container


def environment_of(spec: JobSpec) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container_of(spec)["env"]}


def test_one_pod_runs_for_each_rank_and_none_is_tried_twice() -> None:
    body = job_manifest(SPEC, asked_at=1.0)["spec"]
    assert (body["completionMode"], body["completions"], body["parallelism"]) == ("Indexed", 2, 2)
    assert body["backoffLimit"] == 0
    assert body["template"]["spec"]["restartPolicy"] == "Never"


def test_it_begins_suspended_so_that_its_service_is_there_before_its_pods() -> None:
    assert job_manifest(SPEC, asked_at=1.0)["spec"]["suspend"] is True


def test_job_and_pods_say_whose_they_are() -> None:
    manifest = job_manifest(replace(SPEC, labels={"team": "a"}, annotations={"note": "b"}), asked_at=1.5)
    template = manifest["spec"]["template"]["metadata"]
    assert manifest["metadata"]["labels"].items() >= {OWNER_LABEL: "abc", "team": "a"}.items()
    assert template["labels"].items() >= {OWNER_LABEL: "abc", JOB_LABEL: "train", "team": "a"}.items()
    assert manifest["metadata"]["annotations"].items() >= {"note": "b", ASKED_ANNOTATION: "1.500"}.items()
    assert template["annotations"] == {"note": "b"}


def test_a_label_of_the_users_does_not_hide_whose_it_is() -> None:
    labels = {OWNER_LABEL: "somebody", JOB_LABEL: "another"}
    template = job_manifest(replace(SPEC, labels=labels), asked_at=1.0)["spec"]["template"]["metadata"]
    assert (template["labels"][OWNER_LABEL], template["labels"][JOB_LABEL]) == ("abc", "train")


def test_the_description_of_a_job_is_told_by_what_it_is_not_by_when_it_was_asked_for() -> None:
    def digest(spec: JobSpec, asked_at: float) -> str:
        return str(job_manifest(spec, asked_at=asked_at)["metadata"]["annotations"][SPEC_ANNOTATION])

    assert digest(SPEC, 1.0) == digest(SPEC, 2.0)
    assert digest(SPEC, 1.0) != digest(replace(SPEC, image="train:2"), 1.0)


def test_the_ranks_find_each_other_by_the_names_that_pytorch_reads() -> None:
    environment = environment_of(replace(SPEC, master_port=1234))
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    for prefix in ("", "PET_"):
        assert environment[f"{prefix}MASTER_ADDR"] == "train-0.train"
        assert environment[f"{prefix}MASTER_PORT"] == "1234"
        assert environment[f"{prefix}NNODES"] == "2"
        assert environment[f"{prefix}NODE_RANK"] == index
        assert environment[f"{prefix}NPROC_PER_NODE"] == "8"
    assert environment["TOGETHER_RESULT_PATH"] == container_of(SPEC)["terminationMessagePath"]
    assert "WORLD_SIZE" not in environment
    assert pod_of(SPEC)["subdomain"] == "train"


def test_without_gpus_a_node_runs_one_process() -> None:
    spec = replace(SPEC, gpus_per_node=0)
    assert environment_of(spec)["NPROC_PER_NODE"] == "1"
    assert "resources" not in container_of(spec)


def test_the_users_environment_goes_before_ours() -> None:
    environment = environment_of(replace(SPEC, env_vars={"NPROC_PER_NODE": "4", "MODE": "fast"}))
    assert (environment["NPROC_PER_NODE"], environment["MODE"]) == ("4", "fast")


def test_gpus_stand_beside_other_resources() -> None:
    resources = {"limits": {"memory": "1Ti"}, "requests": {"cpu": "32"}}
    assert container_of(replace(SPEC, resources=resources))["resources"] == {
        "limits": {"memory": "1Ti", "nvidia.com/gpu": "8"},
        "requests": {"cpu": "32"},
    }


def test_gpus_that_are_named_already_stay() -> None:
    assert with_gpus({"nvidia.com/gpu": "2"}, 8) == {"nvidia.com/gpu": "2"}
    assert with_gpus(None, 0) == {}


@pytest.mark.parametrize(
    ("fills_node", "num_nodes", "spreads"), [(True, 2, False), (False, 2, True), (False, 1, False)]
)
def test_no_two_ranks_come_to_one_node(fills_node: bool, num_nodes: int, spreads: bool) -> None:
    pod = pod_of(replace(SPEC, fills_node=fills_node, num_nodes=num_nodes))
    assert ("affinity" in pod) is spreads
    if spreads:
        (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"] == {"matchLabels": {JOB_LABEL: "train"}}


def test_shared_volume_and_shared_memory_are_mounted() -> None:
    spec = replace(SPEC, claim="data", mount_path="/data", shm_size="64Gi")
    pod, container = pod_of(spec), container_of(spec)
    sources = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: sources[mount["name"]] for mount in container["volumeMounts"]}
    assert mounted["/data"]["persistentVolumeClaim"] == {"claimName": "data"}
    assert mounted["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}  # noqa: S108 - the pod's


def test_direct_network_access_may_lock_memory() -> None:
    container = container_of(replace(SPEC, rdma_resource="rdma/hca"))
    assert container["resources"]["limits"]["rdma/hca"] == "1"
    assert container["securityContext"] == {"capabilities": {"add": ["IPC_LOCK"]}}


def test_all_else_is_where_kubernetes_has_it() -> None:
    spec = replace(
        SPEC,
        command=["python"],
        arguments=["train.py"],
        image_pull_policy="Always",
        image_pull_secrets=["registry"],
        service_account_name="trainer",
        node_selector={"pool": "a"},
        tolerations=[{"operator": "Exists"}],
        namespace="team-a",
    )
    pod, container = pod_of(spec), container_of(spec)
    assert (container["command"], container["args"], container["imagePullPolicy"]) == (
        ["python"],
        ["train.py"],
        "Always",
    )
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["serviceAccountName"] == "trainer"
    assert pod["nodeSelector"] == {"pool": "a"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert job_manifest(spec, asked_at=1.0)["metadata"]["namespace"] == "team-a"


def test_kubernetes_ends_a_job_that_nobody_watches_some_time_after_its_deadline() -> None:
    assert job_manifest(replace(SPEC, timeout=600.0), asked_at=1.0)["spec"]["activeDeadlineSeconds"] > 600
    assert "activeDeadlineSeconds" not in job_manifest(SPEC, asked_at=1.0)["spec"]


def test_a_template_is_merged_as_a_patch() -> None:
    template = {
        "hostNetwork": True,
        "restartPolicy": None,
        "containers": [{"name": "train", "env": [{"name": "A", "value": "b"}]}, {"name": "sidecar", "image": "x"}],
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {"runAsUser": 1},
    }
    pod = pod_of(replace(SPEC, pod_template=template, tolerations=[{"key": "a"}]))
    train, sidecar = pod["containers"]
    assert pod["hostNetwork"] is True
    assert "restartPolicy" not in pod
    assert train["image"] == "train:1"
    assert {"name": "A", "value": "b"} in train["env"]
    assert any(item["name"] == "MASTER_ADDR" for item in train["env"])
    assert sidecar == {"name": "sidecar", "image": "x"}
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_merging_changes_neither_side() -> None:
    base, template = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, template) == {"a": {"b": 1, "c": 2}}
    assert (base, template) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_the_service_goes_with_its_job_and_knows_pods_that_are_not_ready() -> None:
    job = {"metadata": {"name": "train", "namespace": "team-a", "uid": "u1"}}
    service = service_manifest(job)
    (owner,) = service["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["blockOwnerDeletion"]) == ("Job", "train", "u1", True)
    assert service["metadata"]["namespace"] == "team-a"
    assert service["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {JOB_LABEL: "train"},
    }


def test_the_claim_is_bound_to_the_volume_of_its_name() -> None:
    claim = claim_manifest("data", namespace="default", size="2Ti", storage_class="fast")
    assert claim["metadata"]["name"] == claim["spec"]["volumeName"] == "data"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "2Ti"}}
