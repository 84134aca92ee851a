"""Who may ask, and what there is."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import CORE, HERE, JOBS, PODS, job, pod, scenario


@scenario
def the_version_is_told(ask: Ask) -> None:
    answer = ask.quietly("GET", "/version")
    ask.note("keys", [key for key in ("major", "minor", "gitVersion", "platform") if answer[key]])


@scenario
def health_is_told(ask: Ask) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        ask("GET", path)


@scenario
def discovery_names_the_resources(ask: Ask) -> None:
    ask("GET", "/api", look_at=["versions"])
    core = ask("GET", "/api/v1", look_at=["groupVersion"])
    for name in ("pods", "services", "events", "secrets", "configmaps", "nodes", "namespaces"):
        ask.note(name, [(one["kind"], one["namespaced"]) for one in core["resources"] if one["name"] == name])
    for name in ("pods/log", "pods/exec", "pods/status", "persistentvolumes", "persistentvolumeclaims"):
        ask.note(name, [(one["kind"], one["namespaced"]) for one in core["resources"] if one["name"] == name])
    groups = ask("GET", "/apis")
    ask.note("batch", [one["preferredVersion"]["version"] for one in groups["groups"] if one["name"] == "batch"])
    ask("GET", "/apis/batch", look_at=["name", "preferredVersion"])
    batch = ask("GET", "/apis/batch/v1", look_at=["groupVersion"])
    for name in ("jobs", "jobs/status"):
        ask.note(name, [(one["kind"], one["namespaced"]) for one in batch["resources"] if one["name"] == name])


@scenario
def a_wrong_token_is_refused(ask: Ask) -> None:
    ask("GET", PODS, headers={"Authorization": "Bearer wrong"})
    ask("POST", PODS, pod("refused"), headers={"Authorization": "Bearer wrong"})
    ask("GET", "/version", headers={"Authorization": "Bearer wrong"})


@scenario
def what_is_nowhere_is_not_found(ask: Ask) -> None:
    ask("GET", f"{HERE}/nothings")
    ask("GET", f"{HERE}/nothings/one")
    ask.note("unknown group", ask.quietly("GET", "/apis/nothing.example/v1/things").status)
    ask("GET", f"{PODS}/missing")
    ask("DELETE", f"{PODS}/missing")
    ask("GET", f"{JOBS}/missing")
    ask("GET", f"{HERE}/services/missing")
    ask("GET", f"{HERE}/secrets/missing")
    ask("GET", f"{HERE}/persistentvolumeclaims/missing")
    ask("GET", f"{CORE}/persistentvolumes/missing")
    ask("GET", f"{CORE}/nodes/missing")
    ask("GET", f"{CORE}/namespaces/missing")
    ask("GET", f"{CORE}/namespaces/missing/pods", look_at=["items"])
    ask("POST", f"{CORE}/namespaces/missing/pods", pod("anywhere"))
    ask("POST", "/apis/batch/v1/namespaces/missing/jobs", job("anywhere"))


@scenario
def a_method_that_a_path_does_not_have_is_refused(ask: Ask) -> None:
    ask("POST", f"{PODS}/one", pod("one"))
    ask("PUT", PODS, pod("one"))
    ask.patch(PODS, {})
