"""What may be created, and what becomes of it."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import IDENTITY, PODS, pod, scenario, status_of


@scenario
def a_pod_is_created_once(ask: Ask) -> None:
    name = ask.name("once")
    ask("POST", PODS, pod(name, labels={"a": "b"}), look_at=[*IDENTITY, "metadata.labels", "status.phase"])
    ask("POST", PODS, pod(name))
    ask("GET", f"{PODS}/{name}", look_at=[*IDENTITY, "metadata.creationTimestamp", "metadata.labels"])
    ask("DELETE", f"{PODS}/{name}", look_at=["metadata.name"])
    ask.eventually("gone", status_of(ask, f"{PODS}/{name}"), 404)


@scenario
def names_are_generated(ask: Ask) -> None:
    manifest = pod("")
    manifest["metadata"] = {"generateName": ask.name("generated") + "-"}
    answer = ask("POST", PODS, manifest, look_at=["metadata.generateName"])
    name = str(answer["metadata.name"])
    ask.note("five characters", len(name) - len(ask.name("generated-")))
    ask.quietly("DELETE", f"{PODS}/{name}")
