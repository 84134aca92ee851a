"""Who may ask, and what there is."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import CORE, HERE, JOBS, PODS, pod, scenario


@scenario
def the_version_is_told(ask: Ask) -> None:
    answer = ask.quietly("GET", "/version")
    ask.note("keys", [key for key in ("major", "minor", "gitVersion", "platform") if answer[key]])


@scenario
def a_wrong_token_is_refused(ask: Ask) -> None:
    ask("GET", PODS, headers={"Authorization": "Bearer wrong"})
    ask("POST", PODS, pod("refused"), headers={"Authorization": "Bearer wrong"})
    ask("GET", "/version", headers={"Authorization": "Bearer wrong"})


@scenario
def what_is_nowhere_is_not_found(ask: Ask) -> None:
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
