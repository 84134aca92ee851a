"""The API itself: what is created, found, changed, watched, deleted and refused, as Kubernetes does it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.emulator.kubernetes.lab import FOREVER, PATIENCE, Lab, container, job, pod

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
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    (one,) = made["spec"]["containers"]
    assert (one["terminationMessagePath"], one["imagePullPolicy"]) == ("/dev/termination-log", "IfNotPresent")
    assert one["resources"]["requests"] == {"nvidia.com/gpu": "99"}
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


def test_a_namespace_takes_its_contents_with_it(lab: Lab) -> None:
    lab.rest.post("/api/v1/namespaces", json={"metadata": {"name": "other"}})
    lab.rest.post("/api/v1/namespaces/other/pods", json=pod("runs", FOREVER))
    lab.wait(lab.handle.processes)
    kept = {"metadata": {"name": "kept", "finalizers": ["x/y"]}}
    lab.rest.post("/api/v1/namespaces/other/configmaps", json=kept)
    assert lab.rest.delete("/api/v1/namespaces/other").json()["status"]["phase"] == "Terminating"
    assert refusal(lab.rest.post("/api/v1/namespaces/other/configmaps", json=config_map("b"))) == (403, "Forbidden")
    patch(lab, "merge-patch", {"metadata": {"finalizers": []}}, "/api/v1/namespaces/other/configmaps/kept")
    lab.wait(lambda: lab.rest.get("/api/v1/namespaces/other").status_code == 404)
    assert lab.handle.objects("pods") == []
    assert lab.handle.processes() == []


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("", ["a", "b", "c"]),
        ("app=x", ["a"]),
        ("app==x", ["a"]),
        ("app!=x", ["b", "c"]),
        ("app in (x, y)", ["a", "b"]),
        ("app notin (x,y)", ["c"]),
        ("app", ["a", "b"]),
        ("!app", ["c"]),
        ("app in (x,y),app!=x", ["b"]),
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
    "query", ["labelSelector=a b", "fieldSelector=spec.image=x", "fieldSelector=x", "watch=perhaps"]
)
def test_a_selector_that_means_nothing_is_refused(lab: Lab, query: str) -> None:
    assert refusal(lab.rest.get(f"{CORE}/pods?{query}"))[0] == 400


# --- change ---


def patch(lab: Lab, form: str, body: Any, path: str = f"{CORE}/pods/a") -> httpx.Response:
    return lab.rest.patch(path, content=json.dumps(body), headers={"content-type": f"application/{form}+json"})


def test_a_merge_patch_replaces_lists_and_removes_what_is_null(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a", old="1", same="2"))
    metadata = {"labels": {"old": None, "new": "3"}, "finalizers": ["x/y"]}
    answer = patch(lab, "merge-patch", {"metadata": metadata}).json()
    assert answer["metadata"]["labels"] == {"same": "2", "new": "3"}
    assert answer["metadata"]["finalizers"] == ["x/y"]


def test_a_strategic_merge_patch_merges_lists_by_their_key(lab: Lab) -> None:
    manifest = idle("a")
    manifest["spec"]["containers"] = [container("true", name="x"), container("true", name="y")]
    lab.rest.post(f"{CORE}/pods", json=manifest | {"spec": {**manifest["spec"], "nodeSelector": {"no": "where"}}})
    body = {"spec": {"containers": [{"name": "y", "image": "train:2"}]}}
    answer = patch(lab, "strategic-merge-patch", body).json()
    assert [(one["name"], one["image"]) for one in answer["spec"]["containers"]] == [("x", "train:1"), ("y", "train:2")]


def test_a_json_patch_goes_step_by_step_or_not_at_all(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a", old="1"))
    steps = [
        {"op": "test", "path": "/metadata/labels/old", "value": "1"},
        {"op": "move", "from": "/metadata/labels/old", "path": "/metadata/labels/x~1y"},
        {"op": "add", "path": "/metadata/labels/z", "value": "2"},
    ]
    assert patch(lab, "json-patch", steps).json()["metadata"]["labels"] == {"x/y": "1", "z": "2"}
    wrong = [{"op": "remove", "path": "/metadata/labels/z"}, {"op": "test", "path": "/kind", "value": "Node"}]
    assert refusal(patch(lab, "json-patch", wrong)) == (422, "Invalid")
    assert "z" in lab.rest.get(f"{CORE}/pods/a").json()["metadata"]["labels"]


def test_an_apply_makes_what_is_not_there_and_changes_what_is(lab: Lab) -> None:
    path, headers = f"{CORE}/configmaps/a", {"content-type": "application/apply-patch+yaml"}
    for value, code in (("1", 201), ("2", 200)):
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", **config_map("a", k=value)})
        answer = lab.rest.patch(f"{path}?fieldManager=kubectl", content=body, headers=headers)
        assert (answer.status_code, answer.json()["data"]) == (code, {"k": value})


def test_another_form_of_patch_is_refused(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    assert refusal(patch(lab, "x-patch", {})) == (415, "UnsupportedMediaType")


def test_the_status_is_changed_only_through_its_own_path_and_nothing_else_is(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    body = {"metadata": {"labels": {"x": "y"}}, "status": {"message": "hello"}}
    assert "message" not in patch(lab, "merge-patch", body).json()["status"]
    body["metadata"] = {"labels": {"x": "z"}}
    answer = patch(lab, "merge-patch", body, f"{CORE}/pods/a/status").json()
    assert (answer["status"]["message"], answer["metadata"]["labels"]) == ("hello", {"x": "y"})


def test_a_change_of_what_has_changed_meanwhile_is_a_conflict(lab: Lab) -> None:
    made = lab.rest.post(f"{CORE}/configmaps", json=config_map("a", k="1")).json()
    path = f"{CORE}/configmaps/a"
    assert lab.rest.put(path, json={**made, "data": {"k": "2"}}).status_code == 200
    assert refusal(lab.rest.put(path, json={**made, "data": {"k": "3"}})) == (409, "Conflict")
    assert lab.rest.get(path).json()["data"] == {"k": "2"}


def test_a_change_that_changes_nothing_leaves_the_version(lab: Lab) -> None:
    made = lab.rest.post(f"{CORE}/configmaps", json=config_map("a", k="1")).json()
    again = lab.rest.put(f"{CORE}/configmaps/a", json=made).json()
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_what_may_not_change_does_not(lab: Lab) -> None:
    lab.rest.post(f"{CORE}/pods", json=idle("a"))
    code, reason = refusal(patch(lab, "merge-patch", {"spec": {"restartPolicy": "Always"}}))
    assert (code, reason) == (422, "Invalid")
    lab.rest.post(JOBS, json=job("j", FOREVER))
    answer = patch(lab, "merge-patch", {"spec": {"completions": 3}}, f"{JOBS}/j")
    assert refusal(answer) == (422, "Invalid")
    assert answer.json()["details"]["causes"][0]["field"] == "spec.completions"
    assert patch(lab, "merge-patch", {"spec": {"parallelism": 2}}, f"{JOBS}/j").status_code == 200
    uid = lab.rest.get(f"{JOBS}/j").json()["metadata"]["uid"]
    assert patch(lab, "merge-patch", {"metadata": {"uid": "x"}}, f"{JOBS}/j").json()["metadata"]["uid"] == uid


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    assert lab.rest.post(f"{CORE}/configmaps?dryRun=All", json=config_map("a")).status_code == 201
    assert lab.rest.get(f"{CORE}/configmaps/a").status_code == 404
    make(lab, "b")
    lab.rest.delete(f"{CORE}/configmaps/b?dryRun=All")
    assert lab.rest.get(f"{CORE}/configmaps/b").status_code == 200


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


def test_a_finalizer_keeps_an_object_until_it_is_taken_away(lab: Lab) -> None:
    body = {"metadata": {"name": "a", "finalizers": ["x/y"]}}
    lab.rest.post(f"{CORE}/configmaps", json=body)
    assert lab.rest.delete(f"{CORE}/configmaps/a").json()["metadata"]["deletionTimestamp"]
    assert lab.rest.get(f"{CORE}/configmaps/a").status_code == 200
    patch(lab, "merge-patch", {"metadata": {"finalizers": None}}, f"{CORE}/configmaps/a")
    assert lab.rest.get(f"{CORE}/configmaps/a").status_code == 404


def test_all_that_are_selected_are_deleted_together(lab: Lab) -> None:
    make(lab, "a", "b", app="x")
    make(lab, "c")
    assert names(lab.rest.delete(f"{CORE}/configmaps?labelSelector=app=x")) == ["a", "b"]
    assert names(lab.rest.get(f"{CORE}/configmaps")) == ["c"]


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


def test_a_watch_ends_when_its_time_is_over(lab: Lab) -> None:
    version = lab.rest.get(f"{CORE}/configmaps").json()["metadata"]["resourceVersion"]
    query = {"watch": "True", "timeoutSeconds": 1, "allowWatchBookmarks": "true", "resourceVersion": version}
    answer = lab.rest.get(f"{CORE}/pods", params=query)
    (bookmark,) = (json.loads(line) for line in answer.text.splitlines())
    assert bookmark["type"] == "BOOKMARK"


# --- refusals ---


def test_a_taken_name_is_refused(lab: Lab) -> None:
    make(lab, "a")
    answer = lab.rest.post(f"{CORE}/configmaps", json=config_map("a"))
    assert refusal(answer) == (409, "AlreadyExists")
    assert answer.json()["message"] == 'configmaps "a" already exists'
    lab.rest.post(JOBS, json=job("j", "true"))
    assert lab.rest.post(JOBS, json=job("j", "true")).json()["message"] == 'jobs.batch "j" already exists'


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"{CORE}/pods/none", 404),
        ("GET", f"{CORE}/nothings", 404),
        ("GET", "/apis/apps/v1/deployments", 404),
        ("GET", "/apis/batch/v1/pods", 404),
        ("GET", "/nonsense", 404),
        ("POST", "/api/v1/namespaces/none/configmaps", 404),
        ("PATCH", f"{CORE}/pods/none", 404),
        ("PUT", f"{CORE}/pods", 405),
        ("POST", f"{CORE}/pods/none", 405),
        ("POST", "/api/v1/pods", 405),
        ("DELETE", f"{CORE}/pods/none/status", 405),
        ("GET", f"{CORE}/pods/none/nonsense", 404),
        ("GET", f"{CORE}/configmaps/none/status", 404),
        ("POST", f"{CORE}/pods/none/log", 404),
    ],
)
def test_what_is_not_there_or_not_allowed_is_refused(lab: Lab, method: str, path: str, code: int) -> None:
    headers = {"content-type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
    content = json.dumps({"metadata": {"name": "none"}}) if method != "GET" else None
    assert refusal(lab.rest.request(method, path, headers=headers, content=content))[0] == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a"}}', 400),
        ('{"metadata": {"name": "a", "namespace": "other"}}', 400),
        ('{"metadata": {}}', 422),
        ('{"metadata": {"name": "Under_Score"}}', 422),
        ('{"metadata": {"name": "a", "labels": {"k": "no good"}}}', 422),
    ],
)
def test_an_object_that_cannot_be_read_is_refused(lab: Lab, content: str, code: int) -> None:
    answer = lab.rest.post(f"{CORE}/configmaps", content=content, headers={"content-type": "application/json"})
    assert refusal(answer)[0] == code


def test_protobuf_is_not_spoken(lab: Lab) -> None:
    headers = {"content-type": "application/vnd.kubernetes.protobuf"}
    assert refusal(lab.rest.post(JOBS, content=b"k8s\0", headers=headers)) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "a", "command": ["true"]}]}, "spec.containers[0].image"),
        ({"containers": [container("true", name="A")]}, "spec.containers[0].name"),
        ({"containers": [container("true"), container("true")]}, "spec.containers[1].name"),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
        ({"hostname": "A.b"}, "spec.hostname"),
        ({"volumes": [{"name": "v"}, {"name": "v"}]}, "spec.volumes[1].name"),
        (
            {"containers": [container("true", volumeMounts=[{"name": "v", "mountPath": "/v"}])]},
            "spec.containers[0].volumeMounts[0].name",
        ),
        ({"containers": [container("true", env=[{"name": "1 x"}])]}, "spec.containers[0].env[0].name"),
        (
            {"containers": [container("true", resources={"limits": {"cpu": "many"}})]},
            # A request that is not given is that of the limit, wrong as it is.
            "spec.containers[0].resources.limits[cpu] spec.containers[0].resources.requests[cpu]",
        ),
        (
            {"containers": [container("true", resources={"requests": {"nvidia.com/gpu": 1}})]},
            "spec.containers[0].resources.limits",
        ),
        (
            {"containers": [container("true", resources={"requests": {"cpu": 2}, "limits": {"cpu": 1}})]},
            "spec.containers[0].resources.requests",
        ),
    ],
)
def test_a_pod_that_breaks_a_rule_is_refused_with_the_field(lab: Lab, change: dict[str, Any], field: str) -> None:
    manifest = pod("wrong", "true")
    manifest["spec"] |= change
    answer = lab.rest.post(f"{CORE}/pods", json=manifest)
    assert refusal(answer) == (422, "Invalid")
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == field.split()
    assert lab.handle.pods() == []


@pytest.mark.parametrize(
    ("change", "template", "field"),
    [
        ({}, {"restartPolicy": "Always"}, "spec.template.spec.restartPolicy"),
        ({"completionMode": "Indexed", "parallelism": 2}, {}, "spec.completions"),
        ({"completionMode": "Other"}, {}, "spec.completionMode"),
        ({"parallelism": -1}, {}, "spec.parallelism"),
        ({"backoffLimitPerIndex": 1}, {}, "spec.backoffLimitPerIndex"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_with_the_field(
    lab: Lab, change: dict[str, Any], template: dict[str, Any], field: str
) -> None:
    answer = lab.rest.post(JOBS, json=job("wrong", "true", template=template, **change))
    assert refusal(answer) == (422, "Invalid")
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == [field]


def test_an_index_must_make_a_name_that_a_host_can_have(lab: Lab) -> None:
    name = "x" * 62
    manifest = job(name, "true", completionMode="Indexed", completions=2, parallelism=2)
    assert lab.rest.post(JOBS, json=manifest).json()["details"]["causes"][0]["field"] == "metadata.name"
