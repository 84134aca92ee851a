"""The API itself: what is created, found, changed, watched, deleted and refused, as Kubernetes does it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.emulator.kubernetes.lab import PATIENCE, Lab, container, job, pod

CORE = "/api/v1/namespaces/default"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
#: A pod that stays Pending, so that nothing but requests changes it.
IDLE = {"containers": [container("true", resources={"limits": {"nvidia.com/gpu": "99"}})]}


def idle(name: str, **labels: str) -> dict[str, Any]:
    manifest = pod(name, **IDLE)
    manifest["metadata"] = {"name": name, "labels": labels}
    return manifest


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def make(lab: Lab, *names: str, **labels: str) -> None:
    for name in names:
        answer = lab.rest.post(f"{CORE}/configmaps", json={"metadata": {"name": name, "labels": labels}})
        assert answer.status_code == 201, answer.text


def names(answer: httpx.Response) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json()["items"]]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    status = answer.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status_code)
    return answer.status_code, str(status["reason"])


# --- create and read ---


def test_what_is_created_has_an_identity_and_defaults(lab: Lab) -> None:
    made = lab.rest.post(f"{CORE}/pods", json=idle("a")).json()
    assert (made["kind"], made["apiVersion"], made["metadata"]["namespace"]) == ("Pod", "v1", "default")
    assert made["metadata"]["uid"]
    assert made["metadata"]["resourceVersion"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["status"] == {"phase": "Pending"}
    (one,) = made["spec"]["containers"]
    assert one["terminationMessagePath"] == "/dev/termination-log"
    assert lab.rest.get(f"{CORE}/pods/a").json()["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_name_is_made_up_if_wanted(lab: Lab) -> None:
    made = lab.rest.post(f"{CORE}/configmaps", json={"metadata": {"generateName": "a-"}}).json()
    assert made["metadata"]["name"].startswith("a-")
    assert len(made["metadata"]["name"]) == 7


def test_secrets_are_encoded(lab: Lab) -> None:
    body = {"metadata": {"name": "s"}, "stringData": {"key": "value"}}
    made = lab.rest.post(f"{CORE}/secrets", json=body).json()
    assert (made["data"], made["type"]) == ({"key": "dmFsdWU="}, "Opaque")
    assert "stringData" not in made


def test_objects_are_found_in_their_namespace_and_in_all(lab: Lab) -> None:
    lab.rest.post("/api/v1/namespaces", json={"metadata": {"name": "other"}})
    make(lab, "a")
    lab.rest.post("/api/v1/namespaces/other/configmaps", json=config_map("b"))
    assert names(lab.rest.get(f"{CORE}/configmaps")) == ["a"]
    everywhere = lab.rest.get("/api/v1/configmaps")
    assert names(everywhere) == ["a", "b"]
    assert everywhere.json()["kind"] == "ConfigMapList"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("", ["a", "b", "c"]),
        ("app=x", ["a"]),
        ("app==x", ["a"]),
        ("app!=x", ["b", "c"]),
        ("app", ["a", "b"]),
        ("!app", ["c"]),
        ("kubernetes_pod_operator=True,already_checked!=True,!airflow-worker", []),
    ],
)
def test_label_selectors(lab: Lab, labels: str, found: list[str]) -> None:
    make(lab, "a", app="x")
    make(lab, "b", app="y")
    make(lab, "c")
    assert names(lab.rest.get(f"{CORE}/configmaps", params={"labelSelector": labels})) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("metadata.name=a", ["a"]),
        ("metadata.name!=a", ["b"]),
        ("status.phase=Pending", ["a", "b"]),
        ("status.phase=Running,metadata.name=a", []),
        ("spec.nodeName=", ["a", "b"]),
    ],
)
def test_field_selectors(lab: Lab, fields: str, found: list[str]) -> None:
    for name in ("a", "b"):
        lab.rest.post(f"{CORE}/pods", json=idle(name))
    assert names(lab.rest.get(f"{CORE}/pods", params={"fieldSelector": fields})) == found


@pytest.mark.parametrize(
    "query", ["labelSelector=a b", "labelSelector=a in (b)", "fieldSelector=spec.image=x", "fieldSelector=x"]
)
def test_a_selector_that_means_nothing_is_refused(lab: Lab, query: str) -> None:
    assert refusal(lab.rest.get(f"{CORE}/pods?{query}"))[0] == 400


# --- change ---


def patch(lab: Lab, form: str, body: Any, path: str = f"{CORE}/pods/a") -> httpx.Response:
    return lab.rest.patch(path, content=json.dumps(body), headers={"content-type": f"application/{form}+json"})


def test_a_merge_patch_changes_what_it_names_and_removes_what_is_null(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a", old="1", same="2"))
    answer = patch(lab, "merge-patch", {"metadata": {"labels": {"old": None, "new": "3"}}}).json()
    assert answer["metadata"]["labels"] == {"same": "2", "new": "3"}


def test_another_form_of_patch_is_refused(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    assert refusal(patch(lab, "x-patch", {})) == (415, "UnsupportedMediaType")


# --- delete ---


def test_what_is_deleted_is_gone_and_a_second_time_not_found(lab: Lab) -> None:
    make(lab, "a")
    answer = lab.rest.delete(f"{CORE}/configmaps/a").json()
    assert (answer["kind"], answer["status"], answer["details"]["name"]) == ("Status", "Success", "a")
    assert refusal(lab.rest.delete(f"{CORE}/configmaps/a")) == (404, "NotFound")


def test_a_pod_has_its_grace_period(lab: Lab) -> None:
    script = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    name = lab.start(pod("grace", script), says="up")
    with lab.rest.stream("GET", f"{CORE}/pods/{name}/log?follow=true") as answer:
        deleted = lab.rest.delete(f"{CORE}/pods/{name}").json()
        assert (deleted["kind"], deleted["metadata"]["deletionGracePeriodSeconds"]) == ("Pod", 60)
        assert list(answer.iter_lines()) == ["up", "saved"]
    lab.wait(lambda: not lab.handle.pods())


def test_a_pod_that_does_not_want_to_end_is_killed_in_the_end(lab: Lab) -> None:
    name = lab.start(pod("stays", "trap '' TERM; echo up; while :; do sleep 0.05; done"), says="up")
    lab.rest.delete(f"{CORE}/pods/{name}?gracePeriodSeconds=300")
    assert lab.pod(name).metadata.deletion_timestamp is not None
    # A second request can only shorten it.
    lab.rest.delete(f"{CORE}/pods/{name}?gracePeriodSeconds=600")
    assert lab.pod(name).metadata.deletion_grace_period_seconds == 300
    lab.rest.request("DELETE", f"{CORE}/pods/{name}", json={"gracePeriodSeconds": 1})
    lab.wait(lambda: not lab.handle.pods() and not lab.handle.processes())


def test_preconditions_protect_another_object_of_the_same_name(lab: Lab) -> None:
    make(lab, "a")
    body = {"preconditions": {"uid": "another"}}
    assert refusal(lab.rest.request("DELETE", f"{CORE}/configmaps/a", json=body)) == (409, "Conflict")


def test_what_an_object_owns_goes_with_it(lab: Lab) -> None:
    owner = lab.rest.post(f"{CORE}/configmaps", json=config_map("owner")).json()
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    lab.rest.post(
        f"{CORE}/services",
        json={"metadata": {"name": "s", "ownerReferences": [reference]}, "spec": {"clusterIP": "None"}},
    )
    lab.rest.delete(f"{CORE}/configmaps/owner")
    lab.wait(lambda: lab.rest.get(f"{CORE}/services/s").status_code == 404)


# --- watch ---


def watched(lab: Lab, path: str, *, until: int, **query: Any) -> list[tuple[str, str]]:
    """Return the first so many events of a watch: word and name."""
    found = []
    with lab.rest.stream("GET", path, params={"watch": "true", "timeoutSeconds": int(PATIENCE), **query}) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            found.append((event["type"], event["object"]["metadata"]["name"]))
            if len(found) == until:
                break
    return found


def test_a_watch_without_a_version_begins_with_what_there_is(lab: Lab) -> None:
    make(lab, "a", "b", app="x")
    assert watched(lab, f"{CORE}/configmaps", until=2, labelSelector="app=x") == [("ADDED", "a"), ("ADDED", "b")]


def test_a_watch_from_a_version_misses_nothing_and_repeats_nothing(lab: Lab) -> None:
    make(lab, "a", app="x")
    version = lab.rest.get(f"{CORE}/configmaps").json()["metadata"]["resourceVersion"]
    make(lab, "b", app="x")
    make(lab, "unseen")
    patch(lab, "merge-patch", {"data": {"k": "v"}}, f"{CORE}/configmaps/b")
    # What is no longer selected is gone for those who watch, and comes back as new.
    patch(lab, "merge-patch", {"metadata": {"labels": {"app": "y"}}}, f"{CORE}/configmaps/a")
    patch(lab, "merge-patch", {"metadata": {"labels": {"app": "x"}}}, f"{CORE}/configmaps/a")
    lab.rest.delete(f"{CORE}/configmaps/b")
    assert watched(lab, f"{CORE}/configmaps", until=5, labelSelector="app=x", resourceVersion=version) == [
        ("ADDED", "b"),
        ("MODIFIED", "b"),
        ("DELETED", "a"),
        ("ADDED", "a"),
        ("DELETED", "b"),
    ]


# --- refusals ---


def test_a_taken_name_is_refused(lab: Lab) -> None:
    make(lab, "a")
    answer = lab.rest.post(f"{CORE}/configmaps", json=config_map("a"))
    assert refusal(answer) == (409, "AlreadyExists")
    assert answer.json()["message"] == 'configmaps "a" already exists'
    lab.rest.post(JOBS, json=job("j", "true"))
    assert lab.rest.post(JOBS, json=job("j", "true")).json()["message"] == 'jobs.batch "j" already exists'
