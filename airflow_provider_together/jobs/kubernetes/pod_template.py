"""
What is wrong with a ``pod_template`` before anything is sent to Kubernetes, which drops fields that it does not know.

The fields are those of PodSpec in Kubernetes' API reference, up to 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_together.api.wording import did_you_mean

_LISTS = frozenset(
    [
        "containers",
        "ephemeralContainers",
        "hostAliases",
        "imagePullSecrets",
        "initContainers",
        "readinessGates",
        "resourceClaims",
        "schedulingGates",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    ]
)
_FIELDS = _LISTS | frozenset(
    [
        "activeDeadlineSeconds",
        "affinity",
        "automountServiceAccountToken",
        "dnsConfig",
        "dnsPolicy",
        "enableServiceLinks",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostUsers",
        "hostname",
        "hostnameOverride",
        "nodeName",
        "nodeSelector",
        "os",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "resources",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "schedulingGroup",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "subdomain",
        "terminationGracePeriodSeconds",
    ]
)
#: Of a whole pod, in which the spec lies one level deeper.
_AROUND = frozenset({"apiVersion", "kind", "metadata", "spec", "template"})
_RESTART_POLICIES = (None, "Never")


def faults_of(template: Any) -> Iterator[str]:
    """Yield what is wrong, in the words of an error; values are left out, since they may be secrets."""
    if not isinstance(template, Mapping):
        yield f"pod_template={template!r} is wrong: give a mapping that is merged into the pod's spec"
        return
    for name, value in template.items():
        field = f"pod_template: {name!r}"
        if name in _AROUND:
            yield f"{field} is wrong: give what stands below 'spec' of a pod, such as 'nodeSelector'"
        elif name not in _FIELDS:
            yield f"{field} is wrong: it is not a field of a pod's spec{did_you_mean(str(name), _FIELDS)}"
        elif name in _LISTS and value is not None and not is_objects(value):
            yield f"{field} is wrong: give a list of mappings, as Kubernetes has them"
        elif name == "restartPolicy" and value not in _RESTART_POLICIES:
            yield f"{field} is wrong: a rank that ends is not started again: leave it out, or give 'Never'"


def is_objects(value: Any) -> bool:
    """Whether a value is a list of mappings, as Kubernetes has them."""
    return isinstance(value, (list, tuple)) and all(isinstance(item, Mapping) for item in value)
