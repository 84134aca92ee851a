"""
Binding pods to nodes by what they request and what is left, with Kubernetes' words for what fits nowhere.

The decision is pure (:func:`choose_node`); :func:`schedule` applies it. It imports the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from airflow_provider_together.emulator.kubernetes.claims import unbound_reason
from airflow_provider_together.emulator.kubernetes.events import NORMAL, WARNING, Recorder
from airflow_provider_together.emulator.kubernetes.nodes import GPU
from airflow_provider_together.emulator.kubernetes.objects import (
    Object,
    condition,
    find,
    is_finished,
    is_terminating,
    meta,
    quantity,
    set_condition,
)
from airflow_provider_together.emulator.kubernetes.selectors import matches
from airflow_provider_together.emulator.kubernetes.store import Store

_COMPONENT = "default-scheduler"
_BLOCKING = ("NoSchedule", "NoExecute")


class UnschedulableError(Exception):
    """A pod fits on no node; the text is Kubernetes'."""


def schedule(store: Store) -> None:
    """Bind every waiting pod that fits somewhere, the oldest first."""
    for pod in store.all("pods"):
        if find(pod, "spec.nodeName") or is_finished(pod) or is_terminating(pod):
            continue
        nodes = store.all("nodes")
        try:
            _check_claims(store, pod, len(nodes))
            name = choose_node(pod, nodes, _residents(store))
        except UnschedulableError as error:
            _leave_pending(store, pod, str(error))
        else:
            _bind(store, pod, name)


def _check_claims(store: Store, pod: Object, nodes: int) -> None:
    problem = unbound_reason(store, pod)
    if problem:
        message = f"0/{nodes} nodes are available: {problem}."
        raise UnschedulableError(message)


def choose_node(pod: Object, nodes: Iterable[Object], residents: dict[str, list[Object]]) -> str:
    """
    Return the name of the node for a pod: of those that fit, the one with the most GPUs left.

    :param residents: node name to the pods on it that have not ended.
    :raises UnschedulableError: if none fits.
    """
    wanted, problems = requested(pod), Counter[str]()
    fitting: list[tuple[Decimal, int, int, str]] = []
    count = 0
    for node in nodes:
        count += 1
        name = meta(node)["name"]
        left = _left(node, residents.get(name, []))
        reasons = _refusals(pod, node, wanted, left)
        problems.update(reasons)
        if not reasons:
            fitting.append((-left[GPU], len(residents.get(name, [])), count, name))
    if fitting:
        return min(fitting)[-1]
    if not count:
        message = "no nodes available to schedule pods"
        raise UnschedulableError(message)
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in problems.items()))
    message = f"0/{count} nodes are available: {listed}."
    raise UnschedulableError(message)


def requested(pod: Object) -> dict[str, Decimal]:
    """Return what a pod needs of its node: all containers together, or the largest init container if that is more."""
    total: dict[str, Decimal] = {"pods": Decimal(1)}
    for container in pod["spec"]["containers"]:
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in pod["spec"].get("initContainers") or ():
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _requests(container: Object) -> dict[str, Decimal]:
    requests = find(container, "resources.requests") or {}
    return {name: quantity(value) for name, value in requests.items()}


def _left(node: Object, residents: list[Object]) -> dict[str, Decimal]:
    allocatable = find(node, "status.allocatable") or {}
    left = {GPU: Decimal(0), **{name: quantity(value) for name, value in allocatable.items()}}
    for pod in residents:
        for name, amount in requested(pod).items():
            left[name] = left.get(name, Decimal(0)) - amount
    return left


def _refusals(pod: Object, node: Object, wanted: dict[str, Decimal], left: dict[str, Decimal]) -> list[str]:
    """Return why a node does not take a pod."""
    if find(node, "spec.unschedulable"):
        return ["node(s) were unschedulable"]
    for taint in find(node, "spec.taints") or ():
        if taint["effect"] in _BLOCKING and not any(
            _tolerates(one, taint) for one in pod["spec"].get("tolerations") or ()
        ):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    if not _is_selected(pod, meta(node).get("labels") or {}):
        return ["node(s) didn't match Pod's node affinity/selector"]
    short = [name for name, amount in wanted.items() if amount > left.get(name, Decimal(0))]
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in short]


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def _is_selected(pod: Object, labels: dict[str, str]) -> bool:
    if not matches(labels, pod["spec"].get("nodeSelector") or {}):
        return False
    required = find(pod, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    return not required or any(
        all(_meets(labels, rule) for rule in term.get("matchExpressions") or ()) for term in required
    )


def _meets(labels: dict[str, str], rule: Object) -> bool:
    value, values = labels.get(rule["key"]), rule.get("values") or ()
    if rule["operator"] in ("In", "NotIn"):
        return bool((value in values) == (rule["operator"] == "In"))
    return bool((value is not None) == (rule["operator"] == "Exists"))


def _residents(store: Store) -> dict[str, list[Object]]:
    residents: dict[str, list[Object]] = {}
    for pod in store.all("pods"):
        name = find(pod, "spec.nodeName")
        if name and not is_finished(pod):
            residents.setdefault(name, []).append(pod)
    return residents


def _bind(store: Store, pod: Object, node: str) -> None:
    def bind(new: Object) -> None:
        new["spec"]["nodeName"] = node
        set_condition(new["status"], "PodScheduled", "True")

    bound = store.update("pods", meta(pod)["namespace"], meta(pod)["name"], bind)
    message = f"Successfully assigned {meta(pod)['namespace']}/{meta(pod)['name']} to {node}"
    Recorder(store, _COMPONENT).record(bound, NORMAL, "Scheduled", message)


def _leave_pending(store: Store, pod: Object, message: str) -> None:
    known = condition(pod, "PodScheduled")
    if known is not None and known.get("message") == message:
        return

    def note(new: Object) -> None:
        set_condition(new["status"], "PodScheduled", "False", reason="Unschedulable", message=message)

    store.update("pods", meta(pod)["namespace"], meta(pod)["name"], note)
    Recorder(store, _COMPONENT).record(pod, WARNING, "FailedScheduling", message)
