"""Kinds beside pods and Jobs."""

from __future__ import annotations

import base64

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import HERE, IDENTITY, scenario, status_of


@scenario
def services(ask: Ask) -> None:
    path = f"{HERE}/services"
    name = ask.name("headless")
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": "x"}}
    look_at = [*IDENTITY, "spec.clusterIP", "spec.publishNotReadyAddresses", "spec.selector"]
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    ask("POST", path, manifest, look_at=look_at)
    ask("POST", path, manifest)
    ask("GET", f"{path}/{name}", look_at=look_at)
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
    ask("DELETE", f"{path}/{name}")


@scenario
def config_maps(ask: Ask) -> None:
    path = f"{HERE}/configmaps"
    name = ask.name("map")
    ask("POST", path, {"metadata": {"name": name}, "data": {"a": "1", "b": "2"}}, look_at=["data"])
    ask.patch(f"{path}/{name}", {"data": {"a": None, "c": "3"}}, look_at=["data"])
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
    look_at = ["spec.volumeName", "spec.storageClassName", "spec.accessModes", "status.phase"]
    ask("POST", path, manifest, look_at=[*IDENTITY, *look_at, "spec.resources"])
    ask("POST", path, manifest)
    ask("DELETE", f"{path}/{name}")
    ask.eventually("gone", status_of(ask, f"{path}/{name}"), 404)
