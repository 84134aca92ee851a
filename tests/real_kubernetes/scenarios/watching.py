"""What a watch tells."""

from __future__ import annotations

import itertools

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import MERGE, PODS, pod, scenario


@scenario
def a_watch_tells_what_has_changed_since_a_list(ask: Ask) -> None:
    group, name = ask.name("watched"), ask.name("watched-pod")
    since = ask.quietly("GET", PODS, labelSelector=f"group={group}")["metadata.resourceVersion"]
    ask.quietly("POST", PODS, pod(name, labels={"group": group}))
    ask.quietly("PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"a": "1"}}}, content_type=MERGE)
    ask.quietly("DELETE", f"{PODS}/{name}", gracePeriodSeconds=0)
    events = list(ask.watch(PODS, labelSelector=f"group={group}", resourceVersion=since, timeoutSeconds=1))
    # A scheduler may say in between that the pod fits nowhere.
    ask.note("events", [event for event, _ in itertools.groupby(events)])


@scenario
def a_watch_tells_first_what_is_there(ask: Ask) -> None:
    group, name = ask.name("there"), ask.name("there-pod")
    ask.quietly("POST", PODS, pod(name, labels={"group": group}))
    for version in ("", "0"):
        events = list(ask.watch(PODS, labelSelector=f"group={group}", timeoutSeconds=1, resourceVersion=version))
        ask.note("first event", events[:1])
    ask.quietly("DELETE", f"{PODS}/{name}")


@scenario
def what_a_selector_does_not_select_any_more_is_deleted_for_a_watch(ask: Ask) -> None:
    group, name = ask.name("leaving"), ask.name("leaving-pod")
    since = ask.quietly("GET", PODS, labelSelector=f"group={group}")["metadata.resourceVersion"]
    ask.quietly("POST", PODS, pod(name, labels={"group": group}))
    ask.quietly("PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"group": "other"}}}, content_type=MERGE)
    events = list(ask.watch(PODS, labelSelector=f"group={group}", resourceVersion=since, timeoutSeconds=1))
    ask.note("first and last", [events[0], events[-1]])
    ask.quietly("DELETE", f"{PODS}/{name}")
