"""Kinds beside pods and Jobs."""

from __future__ import annotations

import base64

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import CORE, HERE, IDENTITY, NAMES, PODS, pod, scenario, status_of


@scenario
def services(ask: Ask) -> None:
    path = f"{HERE}/services"
    name = ask.name("headless")
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": "x"}}
    look_at = [*IDENTITY, "spec.clusterIP", "spec.publishNotReadyAddresses", "spec.selector", "spec.type"]
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    ask("POST", path, manifest, look_at=[*look_at, "spec.sessionAffinity"])
    ask("POST", path, manifest)
    ask("GET", f"{path}/{name}", look_at=look_at)
    ask("POST", path, {**manifest, "metadata": {"name": ask.name("portless")}, "spec": {"selector": {"a": "b"}}})
    ask("POST", path, {**manifest, "metadata": {"name": "1-begins-with-a-digit"}})
    ask("POST", path, {**manifest, "metadata": {"name": "x" * 64}})
    # What comes back was a Status, and is the Service in later versions.
    ask.note("deleted", ask.quietly("DELETE", f"{path}/{name}").status)
    ask("GET", f"{path}/{name}")


@scenario
def secrets(ask: Ask) -> None:
    path = f"{HERE}/secrets"
    name = ask.name("secret")
    encoded = base64.b64encode(b"quiet").decode()
    manifest = {"metadata": {"name": name}, "stringData": {"plain": "quiet"}, "data": {"other": encoded}}
    ask("POST", path, manifest, look_at=["data", "stringData", "type"])
    ask("GET", f"{path}/{name}", look_at=["data", "stringData", "type"])
    ask("POST", path, {"metadata": {"name": ask.name("broken")}, "data": {"x": "not base64!"}})
    ask("POST", path, {"metadata": {"name": ask.name("key")}, "stringData": {"not a key": "x"}})
    ask("DELETE", f"{path}/{name}")


@scenario
def config_maps(ask: Ask) -> None:
    path = f"{HERE}/configmaps"
    name = ask.name("map")
    ask("POST", path, {"metadata": {"name": name}, "data": {"a": "1", "b": "2"}}, look_at=["data"])
    ask.patch(f"{path}/{name}", {"data": {"a": None, "c": "3"}}, look_at=["data"])
    ask("POST", path, {"metadata": {"name": ask.name("number")}, "data": {"a": 1}})
    ask("DELETE", f"{path}/{name}")


@scenario
def a_claim_of_a_volume_that_is_not_there_waits(ask: Ask) -> None:
    path = f"{HERE}/persistentvolumeclaims"
    name = ask.name("claim")
    spec = {
        "accessModes": ["ReadWriteMany"],
        "volumeName": "missing",
        "storageClassName": "shared-wekafs",
        "resources": {"requests": {"storage": "1Ti"}},
    }
    manifest = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    look_at = ["spec.volumeName", "spec.storageClassName", "spec.accessModes", "spec.volumeMode", "status.phase"]
    ask("POST", path, manifest, look_at=[*IDENTITY, *look_at, "spec.resources"])
    ask("POST", path, manifest)
    ask.patch(f"{path}/{name}", {"spec": {"volumeName": "other"}})
    ask("POST", path, {**manifest, "metadata": {"name": ask.name("modeless")}, "spec": {**spec, "accessModes": []}})
    ask("POST", path, {**manifest, "metadata": {"name": ask.name("sizeless")}, "spec": {**spec, "resources": {}}})
    ask("DELETE", f"{path}/{name}")
    ask.eventually("gone", status_of(ask, f"{path}/{name}"), 404)


@scenario
def events(ask: Ask) -> None:
    path = f"{HERE}/events"
    about = ask.name("about")
    for number, kind in ((1, "Normal"), (2, "Warning")):
        involved = {"kind": "Pod", "name": about, "namespace": "default", "uid": "0"}
        manifest = {"metadata": {"name": ask.name(f"event-{number}")}, "involvedObject": involved, "type": kind}
        ask("POST", path, {**manifest, "reason": f"R{number}", "message": "m"}, look_at=["reason", "type", "message"])
    paths = ["items[].reason"]
    ask("GET", path, fieldSelector=f"involvedObject.name={about}", look_at=paths)
    ask("GET", path, fieldSelector=f"involvedObject.name={about},type=Warning", look_at=paths)
    ask("GET", path, fieldSelector=f"involvedObject.name={about},reason=R1", look_at=paths)
    ask("GET", path, fieldSelector="involvedObject.colour=green")
    selector = f"involvedObject.name={about}"
    since = {"resourceVersion": "0"}
    ask.note("watched", sorted(ask.watch(path, fieldSelector=selector, timeoutSeconds=1, **since)))


@scenario
def namespaces(ask: Ask) -> None:
    name = ask.name("space")
    ask("POST", f"{CORE}/namespaces", {"metadata": {"name": name}}, look_at=["metadata.name", "status.phase"])
    ask("POST", f"{CORE}/namespaces", {"metadata": {"name": name}})
    pods = f"{CORE}/namespaces/{name}/pods"
    ask("POST", pods, pod("inside"), look_at=["metadata.namespace"])
    ask("GET", PODS, fieldSelector="metadata.name=inside", look_at=["items"])
    ask("GET", f"{CORE}/pods", fieldSelector=f"metadata.namespace={name}", look_at=NAMES)
    ask("DELETE", f"{CORE}/namespaces/{name}", look_at=["status.phase"])
    ask.eventually("gone", status_of(ask, f"{CORE}/namespaces/{name}"), 404)
    ask("GET", f"{pods}/inside")
