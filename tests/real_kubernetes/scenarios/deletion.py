"""How objects are deleted, and what goes with them."""

from __future__ import annotations

from typing import Any

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import HERE, PODS, pod, scenario, status_of


@scenario
def a_pod_is_deleted_at_once_when_no_node_has_it(ask: Ask) -> None:
    ways: list[dict[str, Any]] = [{}, {"gracePeriodSeconds": 0}, {"propagationPolicy": "Foreground"}]
    for number, options in enumerate(ways):
        name = ask.name(f"deleted-{number}")
        ask.quietly("POST", PODS, pod(name))
        ask("DELETE", f"{PODS}/{name}", look_at=["metadata.name"], **options)
        ask.eventually("gone", status_of(ask, f"{PODS}/{name}"), 404)


@scenario
def a_delete_may_name_its_object(ask: Ask) -> None:
    name = ask.name("precise")
    ask.quietly("POST", PODS, pod(name))
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    ask("DELETE", f"{PODS}/{name}", {**options, "preconditions": {"uid": "another"}})
    ask("GET", f"{PODS}/{name}", look_at=["metadata.name"])
    ask("DELETE", f"{PODS}/{name}", options, look_at=["metadata.name"])
    ask("GET", f"{PODS}/{name}")


@scenario
def what_an_owner_owns_goes_with_it(ask: Ask) -> None:
    owner, owned = ask.name("owner"), ask.name("owned")
    maps = f"{HERE}/configmaps"
    uid = ask.quietly("POST", maps, {"metadata": {"name": owner}})["metadata.uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}
    ask.quietly("POST", maps, {"metadata": {"name": owned, "ownerReferences": [reference]}})
    ask("DELETE", f"{maps}/{owner}", look_at=["metadata.name"])
    ask.eventually("owned", status_of(ask, f"{maps}/{owned}"), 404)
