"""More that a real API server refuses, each of it verified on one: types, immutable fields, wrong options."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.kubernetes.lab import Lab, container, job, pod
from tests.emulator.kubernetes.test_api import CORE, JOBS, config_map, idle, make, patch, refusal

STORAGE = {"resources": {"requests": {"storage": "1Ti"}}, "accessModes": ["ReadWriteMany"]}


def fields(answer: Any) -> list[str]:
    return [cause["field"] for cause in answer.json()["details"]["causes"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("pods", {"spec": {"containers": "none"}}),
        ("pods", {"spec": {"containers": [{"name": "a", "image": "b", "command": "true"}]}}),
        ("pods", {"spec": {"containers": [], "activeDeadlineSeconds": True}}),
        ("pods", {"metadata": {"labels": {"a": 1}}}),
        ("configmaps", {"data": {"a": 1}}),
        ("secrets", {"data": {"a": "no base64!"}}),
        ("services", {"spec": "none"}),
    ],
)
def test_a_value_of_the_wrong_type_is_not_decoded(lab: Lab, path: str, body: dict[str, Any]) -> None:
    whole = {**body, "metadata": {"name": "a", **body.get("metadata", {})}}
    assert refusal(lab.rest.post(f"{CORE}/{path}", json=whole)) == (400, "BadRequest")


def test_a_job_of_the_wrong_type_is_not_decoded(lab: Lab) -> None:
    assert refusal(lab.rest.post(JOBS, json=job("a", "true", completions="two"))) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("services", {"spec": {}}, ["spec.ports"]),
        ("services", {"metadata": {"name": "1a"}, "spec": {"clusterIP": "None"}}, ["metadata.name"]),
        ("secrets", {"stringData": {"not a key": "x"}}, ["data[not a key]"]),
        ("persistentvolumeclaims", {"spec": {}}, ["spec.accessModes", "spec.resources[storage]"]),
    ],
)
def test_a_rule_that_is_broken_is_named(lab: Lab, path: str, body: dict[str, Any], wrong: list[str]) -> None:
    answer = lab.rest.post(f"{CORE}/{path}", json={"metadata": {"name": "a"}, **body})
    assert (refusal(answer), fields(answer)) == ((422, "Invalid"), wrong)


def test_a_job_without_a_template_or_with_a_selector_of_ones_own(lab: Lab) -> None:
    empty = lab.rest.post(JOBS, json={"metadata": {"name": "a"}, "spec": {}})
    assert fields(empty) == ["spec.template.spec.containers", "spec.template.spec.restartPolicy"]
    own = lab.rest.post(JOBS, json=job("a", "true", selector={"matchLabels": {"a": "b"}}))
    assert fields(own) == ["spec.selector", "spec.template.metadata.labels"]


def test_what_is_fixed_in_claims_and_immutable_maps_stays(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/persistentvolumeclaims", json={"metadata": {"name": "a"}, "spec": STORAGE})
    answer = patch(lab, "merge-patch", {"spec": {"volumeName": "b"}}, f"{CORE}/persistentvolumeclaims/a")
    assert (refusal(answer), fields(answer)) == ((422, "Invalid"), ["spec"])
    lab.rest.post(f"{CORE}/configmaps", json={**config_map("m", k="1"), "immutable": True})
    answer = patch(lab, "merge-patch", {"data": {"k": "2"}}, f"{CORE}/configmaps/m")
    assert (refusal(answer), fields(answer)) == ((422, "Invalid"), ["data"])


def test_names_in_path_and_body_have_to_agree(lab: Lab) -> None:
    make(lab, "a")
    assert refusal(lab.rest.put(f"{CORE}/configmaps/a", json=config_map("b")))[0] == 400
    assert refusal(patch(lab, "merge-patch", {"metadata": {"name": "b"}}, f"{CORE}/configmaps/a"))[0] == 400


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("?propagationPolicy=Sideways", {}, "propagationPolicy"),
        ("?dryRun=Some", {}, "dryRun"),
        ("", {"dryRun": ["Some"]}, "dryRun"),
    ],
)
def test_wrong_options_of_a_deletion_are_named(lab: Lab, query: str, body: dict[str, Any], field: str) -> None:
    make(lab, "a")
    answer = lab.rest.request("DELETE", f"{CORE}/configmaps/a{query}", json=body)
    assert (refusal(answer), fields(answer)) == ((422, "Invalid"), [field])


def test_a_trial_of_a_deletion_deletes_nothing(lab: Lab) -> None:
    make(lab, "a")
    lab.rest.request("DELETE", f"{CORE}/configmaps/a", json={"dryRun": ["All"]})
    assert lab.rest.get(f"{CORE}/configmaps/a").status_code == 200
    assert refusal(lab.rest.request("DELETE", f"{CORE}/configmaps/a", json={"gracePeriodSeconds": "x"}))[0] == 400
    assert refusal(lab.rest.request("DELETE", "/api/v1/configmaps"))[0] == 405


def test_a_job_that_is_deleted_without_a_word_about_its_pods_leaves_them(lab: Lab) -> None:
    lab.run_job(job("a", "true"))
    lab.rest.delete(f"{JOBS}/a")
    (left,) = lab.handle.pods()
    assert left.manifest["metadata"]["ownerReferences"] == []


def test_items_of_a_list_do_not_say_their_kind_again(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    (item,) = lab.rest.get(f"{CORE}/pods").json()["items"]
    assert not {"kind", "apiVersion"} & set(item)


def test_a_pod_that_no_node_has_has_an_empty_log(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    answer = lab.rest.get(f"{CORE}/pods/a/log")
    assert (answer.status_code, answer.text) == (204, "")


def test_a_rule_about_a_version_needs_a_version(lab: Lab) -> None:
    answer = lab.rest.get(f"{CORE}/pods?resourceVersionMatch=NotOlderThan")
    assert (refusal(answer), fields(answer)) == ((422, "Invalid"), ["resourceVersionMatch"])
    assert lab.rest.get(f"{CORE}/pods?resourceVersionMatch=NotOlderThan&resourceVersion=1").status_code == 200


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({"limits": {"nvidia.com/gpu": 8}}, "BestEffort"),
        ({"requests": {"cpu": 1}}, "Burstable"),
        ({"limits": {"cpu": 1, "memory": "1Gi"}}, "Guaranteed"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(lab: Lab, resources: dict[str, Any], quality: str) -> None:
    one = container("true", resources=resources)
    made = lab.rest.post(f"{CORE}/pods", json=pod("a", containers=[one])).json()
    assert made["status"]["qosClass"] == quality


def test_a_claim_that_names_no_volume_gets_one_that_fits(lab: Lab) -> None:
    spec: dict[str, Any] = {"capacity": {"storage": "2Ti"}, "accessModes": ["ReadWriteMany"], "storageClassName": "c"}
    lab.rest.post("/api/v1/persistentvolumes", json={"metadata": {"name": "v"}, "spec": spec})
    claim = {"metadata": {"name": "a"}, "spec": {**STORAGE, "storageClassName": "c"}}
    lab.rest.post(f"{CORE}/persistentvolumeclaims", json=claim)
    path = f"{CORE}/persistentvolumeclaims/a"
    lab.wait(lambda: lab.rest.get(path).json()["status"]["phase"] == "Bound")
    assert lab.rest.get(path).json()["spec"]["volumeName"] == "v"
    volumes, mounts = [{"name": "d", "persistentVolumeClaim": {"claimName": "a"}}], [{"name": "d", "mountPath": "/d"}]
    one = container("echo x > /d/f; cat /d/f", volumeMounts=mounts)
    assert lab.output(containers=[one], volumes=volumes) == "x\n"
