"""How objects are found."""

from __future__ import annotations

from typing import Any

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import CORE, JOBS, NAMES, PODS, pod, scenario


@scenario
def labels_select(ask: Ask) -> None:
    group = ask.name("group")
    for letter, colour in (("a", "red"), ("b", "blue"), ("c", "")):
        labels = {"group": group, **({"colour": colour} if colour else {}), letter: "x"}
        ask.quietly("POST", PODS, pod(ask.name(letter), labels=labels))
    for selector in (
        "colour=red",
        "colour==red",
        "colour!=red",
        "colour in (red, blue)",
        "colour notin (red)",
        "colour",
        "!colour",
        "a=x,colour=red,already_checked!=True,!airflow-worker",
        "colour=green",
    ):
        ask("GET", PODS, look_at=NAMES, labelSelector=f"group={group},{selector}")
    ask("GET", f"{CORE}/pods", look_at=NAMES, labelSelector=f"group={group}")
    ask("GET", PODS, labelSelector="colour=(")
    ask("GET", PODS, labelSelector="colour in red")
    ask("DELETE", PODS, labelSelector=f"group={group}", look_at=NAMES)
    ask.eventually("left", lambda: ask.quietly("GET", PODS, labelSelector=f"group={group}")["items"], [])


@scenario
def fields_select(ask: Ask) -> None:
    names = [ask.name("field-a"), ask.name("field-b")]
    group = ask.name("fields")
    for name in names:
        ask.quietly("POST", PODS, pod(name, labels={"group": group}))
    for selector in (
        f"metadata.name={names[0]}",
        f"metadata.name!={names[0]}",
        "status.phase=Pending",
        "status.phase!=Pending",
        "status.phase=Running,metadata.namespace=default",
        "spec.restartPolicy=Always",
    ):
        ask("GET", PODS, look_at=NAMES, fieldSelector=selector, labelSelector=f"group={group}")
    ask("GET", PODS, fieldSelector="spec.hostname=x")
    ask("GET", PODS, fieldSelector="nonsense")
    for name in names:
        ask.quietly("DELETE", f"{PODS}/{name}")


@scenario
def a_list_has_the_form_of_a_list(ask: Ask) -> None:
    group = ask.name("list")
    ask.quietly("POST", PODS, pod(ask.name("listed"), labels={"group": group}))
    paths = ["metadata.resourceVersion", "items[].kind", "items[].apiVersion", "items[].metadata.name"]
    answer = ask("GET", PODS, look_at=paths, labelSelector=f"group={group}")
    older: dict[str, Any] = {
        "resourceVersion": answer["metadata.resourceVersion"],
        "resourceVersionMatch": "NotOlderThan",
    }
    ask("GET", PODS, look_at=paths, labelSelector=f"group={group}", **older)
    ask.transcript[-1]["asked"] = "not older than the first"
    ask("GET", PODS, look_at=paths, labelSelector=f"group={group}", resourceVersion="0", pretty="True")
    ask("GET", PODS, labelSelector=f"group={group}", resourceVersionMatch="NotOlderThan")
    ask("GET", JOBS, labelSelector=f"group={group}", look_at=["items"])
    ask("GET", f"{CORE}/nodes")
    ask("GET", f"{CORE}/namespaces", fieldSelector="metadata.name=default", look_at=[*NAMES, "items[].status.phase"])
    ask.quietly("DELETE", f"{PODS}/{ask.name('listed')}")


@scenario
def a_long_list_may_come_in_pieces(ask: Ask) -> None:
    group = ask.name("pieces")
    for number in range(3):
        ask.quietly("POST", PODS, pod(ask.name(f"piece-{number}"), labels={"group": group}))
    names: list[str] = []
    more: dict[str, Any] = {"limit": "2"}
    # A server need not care for the limit.
    while more:
        answer = ask.quietly("GET", PODS, labelSelector=f"group={group}", **more)
        names += [one["metadata"]["name"] for one in answer["items"]]
        more = {"limit": "2", "continue": answer["metadata.continue"]} if answer["metadata.continue"] else {}
    ask.note("names", names)
    ask.quietly("DELETE", PODS, labelSelector=f"group={group}")
