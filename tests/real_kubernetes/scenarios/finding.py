"""How objects are found."""

from __future__ import annotations

from tests.real_kubernetes.conformance import Ask
from tests.real_kubernetes.scenarios.table import CORE, NAMES, PODS, pod, scenario


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
        "colour",
        "!colour",
        "a=x,colour=red,already_checked!=True,!airflow-worker",
        "colour=green",
    ):
        ask("GET", PODS, look_at=NAMES, labelSelector=f"group={group},{selector}")
    ask("GET", f"{CORE}/pods", look_at=NAMES, labelSelector=f"group={group}")
    ask("GET", PODS, labelSelector="colour=(")
    for letter in "abc":
        ask.quietly("DELETE", f"{PODS}/{ask.name(letter)}")


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
    ):
        ask("GET", PODS, look_at=NAMES, fieldSelector=selector, labelSelector=f"group={group}")
    ask("GET", PODS, fieldSelector="spec.hostname=x")
    ask("GET", PODS, fieldSelector="nonsense")
    for name in names:
        ask.quietly("DELETE", f"{PODS}/{name}")
