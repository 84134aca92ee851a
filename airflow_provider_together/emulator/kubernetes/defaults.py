"""
The fields that an API server fills in when an object is made. Pure functions; it imports only small things.

Source: pkg/apis/core/v1/defaults.go and pkg/apis/batch/v1/defaults.go of Kubernetes.
"""

from __future__ import annotations

import base64
import uuid

from airflow_provider_together.emulator.kubernetes.container_setting import DEFAULT_TERMINATION_PATH
from airflow_provider_together.emulator.kubernetes.objects import Object, meta

#: Keeps a namespace until it is empty.
NAMESPACE_FINALIZER = "kubernetes"
_BACKOFF_LIMIT = 6


def fill_in(plural: str, thing: Object) -> None:
    """Fill in what an object of a kind does not say, in place."""
    filler = {
        "pods": _fill_pod,
        "jobs": _fill_job,
        "secrets": _fill_secret,
        "services": _fill_service,
        "persistentvolumeclaims": _fill_claim,
        "persistentvolumes": _fill_volume,
        "namespaces": _fill_namespace,
    }.get(plural)
    if filler is not None:
        filler(thing)


def fill_pod_spec(spec: Object) -> None:
    """Fill in a pod's spec, also that in a template."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            _fill_container(container)


def quality_of_service(spec: Object) -> str:
    """Return the class of a pod: how sure it can be of its resources."""
    wishes = [container.get("resources") or {} for container in spec["containers"]]
    amounts = [wish.get(group) or {} for wish in wishes for group in ("requests", "limits")]
    if not any(name in amount for amount in amounts for name in ("cpu", "memory")):
        return "BestEffort"
    is_guaranteed = all(
        (wish.get("limits") or {}).get(name) is not None
        and (wish.get("requests") or {}).get(name, wish["limits"][name]) == wish["limits"][name]
        for wish in wishes
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if is_guaranteed else "Burstable"


def _fill_container(container: Object) -> None:
    image = container.get("image") or ""
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    is_latest = "@" not in image and tag in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if is_latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", DEFAULT_TERMINATION_PATH)
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    # What is limited is requested, unless something else is said.
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")


def _fill_pod(pod: Object) -> None:
    spec = pod["spec"]
    fill_pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("enableServiceLinks", True)
    pod["status"] = {"phase": "Pending", "qosClass": quality_of_service(spec)}


def _fill_job(job: Object) -> None:
    spec = job["spec"]
    fill_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    # With a limit for each index there is none for all.
    spec.setdefault("backoffLimit", _BACKOFF_LIMIT if spec.get("backoffLimitPerIndex") is None else 2**31 - 1)
    uid = meta(job).setdefault("uid", str(uuid.uuid4()))
    labels = {
        "controller-uid": uid,
        "job-name": meta(job)["name"],
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": meta(job)["name"],
    }
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        template = spec["template"].setdefault("metadata", {})
        template["labels"] = {**(template.get("labels") or {}), **labels}
    # A Job shows the labels of its template when it has none itself.
    template_labels = (spec["template"].get("metadata") or {}).get("labels")
    if not meta(job).get("labels") and template_labels:
        meta(job)["labels"] = dict(template_labels)
    job["status"] = {}


def _fill_secret(secret: Object) -> None:
    secret.setdefault("type", "Opaque")
    text = secret.pop("stringData", None) or {}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
    if encoded or "data" in secret:
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _fill_service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        # An address that nothing listens on: names of hosts lead to pods, see host_names.py.
        spec.setdefault("clusterIP", "10.96.0.10")
        spec["clusterIPs"] = [spec["clusterIP"]]
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    service["status"] = {"loadBalancer": {}}


def _fill_claim(claim: Object) -> None:
    claim["spec"].setdefault("volumeMode", "Filesystem")
    claim["status"] = {"phase": "Pending"}


def _fill_volume(volume: Object) -> None:
    volume["spec"].setdefault("volumeMode", "Filesystem")
    volume["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    volume["status"] = {"phase": "Available"}


def _fill_namespace(namespace: Object) -> None:
    # A real server has this one in the spec only.
    meta(namespace)["finalizers"] = [*(meta(namespace).get("finalizers") or ()), NAMESPACE_FINALIZER]
    namespace.setdefault("spec", {})["finalizers"] = [NAMESPACE_FINALIZER]
    labels = meta(namespace).get("labels") or {}
    meta(namespace)["labels"] = {**labels, "kubernetes.io/metadata.name": meta(namespace)["name"]}
    namespace["status"] = {"phase": "Active"}
