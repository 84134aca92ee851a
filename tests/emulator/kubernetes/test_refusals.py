"""What the emulator's Kubernetes does not have is refused by its name, and never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.kubernetes.lab import Lab, container, job, pod
from tests.emulator.kubernetes.test_api import CORE, JOBS, config_map, idle, make, patch, refusal

LACKS = "the emulator's Kubernetes does not have this"
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"a": "b"}]}}}
ZONE = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"}
APART = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ZONE]}}
MOUNTS = [{"name": "none", "mountPath": "/v"}]
ROOT, WORK = [{"name": "work", "mountPath": "/"}], [{"name": "work", "emptyDir": {}}]
LIMIT = {"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
ADDRESS = {"valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"affinity": AFFINITY}, "spec.affinity.nodeAffinity"),
        ({"affinity": APART}, "spec.affinity.podAntiAffinity"),
        ({"restartPolicy": "OnFailure"}, "spec.restartPolicy"),
        ({"restartPolicy": None}, "spec.restartPolicy"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.volumes[0].hostPath.path"),
        ({"hostname": "h"}, "spec.hostname"),
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "a", "image": "b"}]}, "no image is pulled: give the command"),
        ({"containers": [container("true", livenessProbe={"periodSeconds": 1})]}, "livenessProbe.periodSeconds"),
        ({"containers": [container("true", workingDir="/a")]}, "spec.containers[0].workingDir"),
        ({"containers": [container("true", volumeMounts=MOUNTS)]}, "spec.containers[0].volumeMounts: Not found"),
        ({"containers": [container("true", volumeMounts=ROOT)], "volumes": WORK}, "a mountPath other than the root"),
        ({"containers": [container("true", env=[{"name": "A", **LIMIT}])]}, "valueFrom.resourceFieldRef"),
        ({"containers": [container("true", env=[{"name": "A", **ADDRESS}])]}, "status.hostIP"),
        ({"initContainers": [container("true", restartPolicy="Always")]}, "spec.initContainers[0].restartPolicy"),
    ],
)
def test_a_pod_is_refused_by_the_field_that_is_not_there(lab: Lab, change: dict[str, Any], field: str) -> None:
    manifest = pod("other", "true")
    manifest["spec"] |= change
    answer = lab.rest.post(f"{CORE}/pods", json=manifest)
    assert refusal(answer) == (422, "Invalid")
    assert field in answer.json()["message"]
    assert lab.handle.pods() == []


def test_what_says_nothing_or_makes_no_difference_is_taken(lab: Lab) -> None:
    idle_fields = {"hostNetwork": True, "tolerations": [{"operator": "Exists"}], "imagePullSecrets": [{"name": "s"}]}
    empty = {"affinity": {}, "hostPID": False, "nodeName": None, "hostname": "", "readinessGates": []}
    assert lab.run(pod("plain", "true", **idle_fields, **empty)).status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"completionMode": "NonIndexed"}, "spec.completionMode"),
        ({"parallelism": 2}, "spec.completionMode"),
        ({"backoffLimit": 1}, "spec.backoffLimit"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex"),
        ({"ttlSecondsAfterFinished": 60}, "spec.ttlSecondsAfterFinished"),
        ({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}, "spec.podFailurePolicy.rules[0].action"),
        ({"template": {"containers": []}}, "spec.template.spec.containers"),
    ],
)
def test_a_job_is_refused_by_the_field_that_is_not_there(lab: Lab, change: dict[str, Any], field: str) -> None:
    answer = lab.rest.post(JOBS, json=job("other", "true", **change))
    assert refusal(answer) == (422, "Invalid")
    assert field in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("services", {"spec": {"clusterIP": "10.0.0.1"}}, "spec.clusterIP"),
        ("secrets", {"data": {"key": "no base64!"}}, "key: illegal base64 data"),
        ("configmaps", {"immutable": True}, "immutable"),
        ("configmaps", {"metadata": {"finalizers": ["x/y"]}}, "metadata.finalizers[0]"),
        ("configmaps", {"metadata": {"name": "Under_Score"}}, "metadata.name"),
        ("persistentvolumeclaims", {"spec": {"accessModes": ["ReadWriteMany"]}}, "spec.volumeName"),
    ],
)
def test_other_objects_are_refused_by_the_field(lab: Lab, path: str, body: dict[str, Any], field: str) -> None:
    whole = {**body, "metadata": {"name": "a", **body.get("metadata", {})}}
    answer = lab.rest.post(f"{CORE}/{path}", json=whole)
    assert refusal(answer) == (422, "Invalid")
    assert field in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/apis/apps/v1/namespaces/default/deployments"),
        ("GET", "/apis/batch/v1/namespaces/default/pods"),
        ("GET", "/api/v1/namespaces/default/pods/a/status"),
        ("GET", "/nonsense"),
        ("POST", "/api/v1/nodes"),
        ("POST", f"{CORE}/pods/a"),
        ("PUT", f"{CORE}/configmaps/a"),
        ("DELETE", f"{CORE}/configmaps"),
        ("DELETE", "/api/v1/namespaces/default"),
        ("POST", f"{CORE}/configmaps?dryRun=All"),
    ],
)
def test_a_request_that_is_not_there_is_refused(lab: Lab, method: str, path: str) -> None:
    make(lab, "a")
    answer = lab.rest.request(method, path, json={"metadata": {"name": "a"}} if method != "GET" else None)
    assert refusal(answer) == (501, "NotImplemented")
    assert LACKS in answer.json()["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a"}}', 400),
        ('{"metadata": {"name": "a", "namespace": "other"}}', 400),
        ('{"metadata": {}}', 422),
    ],
)
def test_an_object_that_cannot_be_read_is_refused(lab: Lab, content: str, code: int) -> None:
    assert refusal(lab.rest.post(f"{CORE}/configmaps", content=content))[0] == code


def test_nothing_is_made_in_a_namespace_that_is_not_there(lab: Lab) -> None:
    answer = lab.rest.post("/api/v1/namespaces/none/configmaps", json=config_map("a"))
    assert refusal(answer) == (404, "NotFound")


def test_a_change_of_what_is_not_changed_here_is_refused(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    changes: list[dict[str, Any]] = [{"spec": {"priority": 1}}, {"metadata": {"uid": "x"}}, {"status": {"phase": "F"}}]
    for change in changes:
        assert refusal(patch(lab, "merge-patch", change)) == (422, "Invalid")
    lab.run_job(job("j", "true"))
    for spec in ({"completions": 3}, {"suspend": True}):
        assert refusal(patch(lab, "merge-patch", {"spec": spec}, f"{JOBS}/j")) == (422, "Invalid")


def test_of_a_strategic_merge_patch_only_what_is_a_merge_patch_is_taken(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    answer = patch(lab, "strategic-merge-patch", {"metadata": {"labels": {"x": "y"}}})
    assert answer.json()["metadata"]["labels"] == {"x": "y"}
    for change in ({"metadata": {"labels": {"$patch": "replace"}}}, {"metadata": {"ownerReferences": [{"uid": "u"}]}}):
        assert refusal(patch(lab, "strategic-merge-patch", change)) == (415, "UnsupportedMediaType")


def test_a_jobs_deletion_says_what_becomes_of_its_pods(lab: Lab) -> None:
    lab.rest.post(JOBS, json=job("j", "true", suspend=True))
    for query in ("", "?propagationPolicy=Orphan"):
        assert refusal(lab.rest.delete(f"{JOBS}/j{query}")) == (422, "Invalid")
    assert len(lab.handle.jobs()) == 1
