"""What may be created, and what becomes of it."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import IDENTITY, PODS, container, pod, scenario, status_of


@scenario
def a_pod_is_created_once(ask: Ask) -> None:
    name = ask.name("once")
    ask("POST", PODS, pod(name, labels={"a": "b"}), look_at=[*IDENTITY, "metadata.labels", "status.phase"])
    ask("POST", PODS, pod(name))
    ask("GET", f"{PODS}/{name}", look_at=[*IDENTITY, "metadata.creationTimestamp", "metadata.labels"])
    ask("DELETE", f"{PODS}/{name}", look_at=["metadata.name"])
    ask.eventually("gone", status_of(ask, f"{PODS}/{name}"), 404)


@scenario
def a_pod_gets_its_defaults(ask: Ask) -> None:
    name = ask.name("defaults")
    containers = [
        container(),
        {"name": "latest", "image": "train", "command": ["true"]},
        {"name": "tagged", "image": "registry.example:5000/train:latest", "command": ["true"]},
    ]
    paths = [f"spec.{key}" for key in ("restartPolicy", "dnsPolicy", "terminationGracePeriodSeconds", "schedulerName")]
    paths += [
        f"spec.containers[].{key}"
        for key in ("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy", "resources")
    ]
    paths += ["spec.enableServiceLinks", "spec.securityContext", "status.phase", "status.qosClass", "status.podIP"]
    ask("POST", PODS, pod(name, containers=containers), look_at=paths)
    ask.quietly("DELETE", f"{PODS}/{name}")


@scenario
def names_are_generated(ask: Ask) -> None:
    manifest = pod("")
    manifest["metadata"] = {"generateName": ask.name("generated") + "-"}
    answer = ask("POST", PODS, manifest, look_at=["metadata.generateName"])
    name = str(answer["metadata.name"])
    ask.note("five characters", len(name) - len(ask.name("generated-")))
    ask.quietly("DELETE", f"{PODS}/{name}")


@scenario
def a_field_that_nobody_knows_is_no_error(ask: Ask) -> None:
    name = ask.name("unknown")
    ask("POST", PODS, pod(name, colour="green"))
    ask.quietly("DELETE", f"{PODS}/{name}")


@scenario
def an_invalid_pod_is_refused(ask: Ask) -> None:
    nameless = pod("")
    nameless["metadata"] = {}
    ask("POST", PODS, b"{")
    ask("POST", PODS, nameless)
    ask("POST", PODS, {**pod("kind"), "kind": "Service"})
    ask("POST", PODS, {**pod("version"), "apiVersion": "batch/v1"})
    ask("POST", PODS, pod("Upper_Case"))
    ask("POST", PODS, pod("x" * 254))
    ask("POST", PODS, pod("label", labels={"a": "not a label"}))
    ask("POST", PODS, pod("empty", containers=[]))
    ask("POST", PODS, pod("policy", restartPolicy="Sometimes"))
    ask("POST", PODS, pod("twice", containers=[container(), container()]))
    ask("POST", PODS, pod("image", containers=[{"name": "base"}]))
    ask("POST", PODS, pod("mount", containers=[container(volumeMounts=[{"name": "no", "mountPath": "/no"}])]))
    ask("POST", PODS, pod("environment", containers=[container(env=[{"name": "", "value": "x"}])]))
    ask("POST", PODS, pod("type", containers="none"))
    ask("POST", PODS, pod("volume", volumes=[{"name": "Not_A_Name", "emptyDir": {}}]))
    ask("POST", PODS, pod("gpus", containers=[container(resources={"requests": {"nvidia.com/gpu": "1"}})]))
    half = {"limits": {"nvidia.com/gpu": "0.5"}}
    ask("POST", PODS, pod("half", containers=[container(resources=half)]))
    more = {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}
    ask("POST", PODS, pod("more", containers=[container(resources=more)]))
    elsewhere = pod("elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    ask("POST", PODS, elsewhere)


@scenario
def a_dry_run_keeps_nothing(ask: Ask) -> None:
    name = ask.name("dry")
    ask("POST", PODS, pod(name), look_at=["metadata.name", "spec.restartPolicy"], dryRun="All")
    ask("GET", f"{PODS}/{name}")
    ask("POST", PODS, pod("Upper_Case"), dryRun="All")
    ask("POST", PODS, pod(name), dryRun="Some")
