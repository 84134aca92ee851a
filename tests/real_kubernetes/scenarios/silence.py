"""What is asked of a pod that nothing runs."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import PODS, container, pod, scenario


@scenario
def a_pod_that_does_not_run_has_no_log(ask: Ask) -> None:
    name, two = ask.name("silent"), ask.name("two")
    ask.quietly("POST", PODS, pod(name))
    ask.quietly("POST", PODS, pod(two, containers=[container(), {**container(), "name": "other"}]))
    ask("GET", f"{PODS}/missing/log")
    ask("GET", f"{PODS}/{name}/log", container="base")
    ask("GET", f"{PODS}/{name}/log", container="missing")
    ask("GET", f"{PODS}/{name}/log", container="base", tailLines="some")
    ask("GET", f"{PODS}/{two}/log")
    ask("GET", f"{PODS}/{name}/exec", command="true")
    ask("GET", f"{PODS}/missing/exec", command="true")
    ask.quietly("DELETE", f"{PODS}/{name}")
    ask.quietly("DELETE", f"{PODS}/{two}")
