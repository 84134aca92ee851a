"""
What the failure of a pod means for its Job: the limits, and the rules of ``podFailurePolicy``. Pure functions.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta

FAIL_JOB, IGNORE, COUNT = "FailJob", "Ignore", "Count"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule makes of a failed pod."""

    action: str = COUNT
    message: str = ""


def judge(job: Object, pod: Object) -> Verdict:
    """Return what the first rule that fits says about a failed pod; without one it counts."""
    for place, rule in enumerate(find(job, "spec.podFailurePolicy.rules") or ()):
        cause = _cause(rule, pod)
        if cause:
            name = f"{meta(pod)['namespace']}/{meta(pod)['name']}"
            message = f"{cause.format(pod=name)} matching {rule['action']} rule at index {place}"
            return Verdict(action=rule["action"], message=message)
    return Verdict()


def _cause(rule: Object, pod: Object) -> str:
    if rule.get("onExitCodes"):
        return _exit_cause(rule["onExitCodes"], pod)
    for pattern in rule.get("onPodConditions") or ():
        for condition in find(pod, "status.conditions") or ():
            wanted = (pattern["type"], pattern.get("status", "True"))
            if (condition["type"], condition["status"]) == wanted:
                return f"Pod {{pod}} has condition {pattern['type']}"
    return ""


def _exit_cause(wanted: Object, pod: Object) -> str:
    statuses: Iterable[Object] = find(pod, "status.containerStatuses") or ()
    for status in statuses:
        code = find(status, "state.terminated.exitCode")
        if not code or wanted.get("containerName") not in (None, "", status["name"]):
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return f"Container {status['name']} for pod {{pod}} failed with exit code {code}"
    return ""
