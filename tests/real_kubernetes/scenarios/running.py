"""
What is asked of a pod that runs.

The real server's container is run by the kubelet of these tests (``kubelet/``), the emulator's by its own.
"""

from __future__ import annotations

from typing import Any

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import HERE, PODS, pod, scenario, status_of


def _run(ask: Ask, name: str, script: str, phase: str, **more: Any) -> str:
    """Run a script in a pod until the pod has a phase, and return the pod's path."""
    container = {"name": "base", "image": "train:1", "command": ["sh", "-c", script], **more}
    ask.quietly("POST", PODS, pod(name, containers=[container], restartPolicy="Never", terminationGracePeriodSeconds=1))
    path = f"{PODS}/{name}"
    ask.eventually("phase", lambda: ask.quietly("GET", path)["status.phase"], phase)
    return path


@scenario
def logs_are_read_in_parts(ask: Ask) -> None:
    path = _run(ask, ask.name("talking"), "echo one; echo two >&2; echo three", "Succeeded")
    ways: list[dict[str, Any]] = [
        {},
        {"container": "base"},
        {"follow": "True"},
        {"tailLines": "1"},
        {"tailLines": "0"},
        {"limitBytes": "5"},
        {"sinceSeconds": "3600"},
        {"sinceTime": "2020-01-01T00:00:00Z"},
        {"pretty": "True", "previous": "False"},
    ]
    for parameters in ways:
        answer = ask("GET", f"{path}/log", **parameters)
        ask.note("log", answer.body)
    stamped = ask.quietly("GET", f"{path}/log", timestamps="True").body
    forms = [[len(line.split(" ")), line[10], line.split(" ")[0][-1]] for line in stamped.splitlines()]
    ask.note("forms of the times", forms)
    ask("GET", f"{path}/log", sinceTime="yesterday")
    ask.quietly("DELETE", path, gracePeriodSeconds=0)


@scenario
def a_pod_that_fails_says_how(ask: Ask) -> None:
    script = "echo the loss is not a number > /dev/termination-log; exit 3"
    path = _run(ask, ask.name("failing"), script, "Failed")
    state = "status.containerStatuses[].state.terminated"
    paths = [f"{state}.{key}" for key in ("exitCode", "reason", "message")]
    ask("GET", path, look_at=[*paths, "status.containerStatuses[].restartCount", "status.containerStatuses[].name"])
    ask.quietly("DELETE", path, gracePeriodSeconds=0)


@scenario
def commands_are_executed_in_a_pod(ask: Ask) -> None:
    path = _run(ask, ask.name("working"), "sleep 60", "Running", env=[{"name": "COLOUR", "value": "red"}])
    streams: dict[str, Any] = {"stdin": "False", "stdout": "True", "stderr": "True", "tty": "False"}
    ask.execute(f"{path}/exec", "sh", "-c", "echo $COLOUR; echo odd >&2", container="base", **streams)
    ask.execute(f"{path}/exec", "sh", "-c", "exit 3", container="base", **streams)
    ask.execute(f"{path}/exec", "true", **streams)
    ask.execute(f"{path}/exec", "true", container="missing", **streams)
    ask.execute(f"{PODS}/missing/exec", "true", container="base", **streams)
    ask("GET", f"{path}/exec", command="true", container="base", **streams)
    ask.quietly("DELETE", path, gracePeriodSeconds=0)


@scenario
def a_running_pod_is_given_time_to_end(ask: Ask) -> None:
    # Who ignores the signal is killed after the time of grace.
    path = _run(ask, ask.name("stubborn"), "trap '' TERM; echo up; while true; do sleep 0.1; done", "Running")
    ask.eventually("log", lambda: ask.quietly("GET", f"{path}/log").body, "up\n")
    ask("DELETE", path, look_at=["metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "status.phase"])
    ask("GET", path, look_at=["metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "status.phase"])
    ask.eventually("gone", status_of(ask, path), 404)


@scenario
def a_pod_reads_what_is_stored(ask: Ask) -> None:
    secret, settings = ask.name("quiet"), ask.name("settings")
    ask.quietly("POST", f"{HERE}/secrets", {"metadata": {"name": secret}, "stringData": {"key": "hush"}})
    ask.quietly("POST", f"{HERE}/configmaps", {"metadata": {"name": settings}, "data": {"rate": "0.1"}})
    env = [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "key"}}},
        {"name": "RATE", "valueFrom": {"configMapKeyRef": {"name": settings, "key": "rate"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "ALL", "value": "$(KEY) $(RATE) $(SPACE) $(NOTHING)"},
    ]
    path = _run(ask, ask.name("reading"), 'echo "$ALL"', "Succeeded", env=env)
    ask.note("log", ask.quietly("GET", f"{path}/log").body)
    for one in (path, f"{HERE}/secrets/{secret}", f"{HERE}/configmaps/{settings}"):
        ask.quietly("DELETE", one)
