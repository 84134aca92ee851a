"""How objects are changed."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import PODS, pod, scenario


@scenario
def patches_of_each_kind(ask: Ask) -> None:
    name = ask.name("patched")
    path = f"{PODS}/{name}"
    ask.quietly("POST", PODS, pod(name, labels={"a": "1", "b": "2"}))
    look_at = ["metadata.labels", "spec.containers[].image"]
    ask.patch(path, {"metadata": {"labels": {"a": None, "c": "3"}}}, look_at=look_at)
    ask.patch(path, {"metadata": {"labels": {"already_checked": "True"}}}, "strategic-merge-patch", look_at=look_at)
    image = {"spec": {"containers": [{"name": "base", "image": "train:2"}]}}
    ask.patch(path, image, "strategic-merge-patch", look_at=look_at)
    ask.patch(path, [{"op": "add", "path": "/metadata/labels/d", "value": "4"}], "json-patch", look_at=look_at)
    ask.patch(path, [{"op": "test", "path": "/metadata/labels/d", "value": "5"}], "json-patch")
    ask.patch(path, [{"op": "remove", "path": "/metadata/labels/z"}], "json-patch")
    ask.patch(path, {"metadata": {"labels": {"a": "not a label"}}})
    ask.patch(path, {"spec": {"restartPolicy": "Never"}})
    ask.patch(path, {"spec": {"containers": [{"name": "base", "command": ["false"]}]}}, "strategic-merge-patch")
    ask.patch(path, {"metadata": {"name": "other"}})
    ask.patch(path, {"metadata": {"labels": {"a": "1"}}}, "no-such-patch")
    ask.patch(f"{PODS}/missing", {"metadata": {"labels": {"a": "1"}}})
    ask.quietly("DELETE", path)


@scenario
def what_somebody_else_has_changed_is_not_replaced(ask: Ask) -> None:
    name = ask.name("replaced")
    path = f"{PODS}/{name}"
    first = ask.quietly("POST", PODS, pod(name)).body
    ask.patch(path, {"metadata": {"labels": {"a": "1"}}}, look_at=["metadata.labels"])
    ask("PUT", path, first)
    ask.patch(path, {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"], "labels": {"a": "2"}}})
    current = ask.quietly("GET", path).body
    current["metadata"]["labels"] = {"a": "3"}
    ask("PUT", path, current, look_at=["metadata.labels"])
    ask("PUT", f"{PODS}/{name}x", current)
    ask.quietly("DELETE", path)


@scenario
def the_status_is_a_resource_of_its_own(ask: Ask) -> None:
    name = ask.name("status")
    path = f"{PODS}/{name}"
    ask.quietly("POST", PODS, pod(name))
    look_at = ["status.message", "metadata.labels"]
    ask.patch(path, {"status": {"message": "by the pod"}}, look_at=look_at)
    ask.patch(f"{path}/status", {"status": {"message": "by the status"}}, look_at=["status.message"])
    ask("GET", f"{path}/status", look_at=["metadata.name", "status.message"])
    ask.quietly("DELETE", path)
