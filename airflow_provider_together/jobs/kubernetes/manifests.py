"""
The objects that are sent to Kubernetes, as JSON.

A job is three: an Indexed Job that begins suspended, a headless Service by which its ranks find each other and that
Kubernetes deletes with the Job, and, where a shared volume is mounted, a claim to it that outlives them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_together.jobs.kubernetes.diagnosis import Object
from airflow_provider_together.jobs.kubernetes.spec import GPU, JobSpec

#: The container of each rank.
CONTAINER = "train"
#: Where rank 0 writes what becomes the task's return value.
RESULT_PATH = "/dev/termination-log"
#: Kubernetes' own limit of what can be written there, in bytes.
LONGEST_RESULT = 4096

#: Labels of ours. By the first one a job finds its pods, by the second one tries of a task find their job.
JOB_LABEL = "airflow-provider-together/job"
OWNER_LABEL = "airflow-provider-together/owner"
#: Annotations of a Job: what it was made from, when it was asked for in epoch seconds, and whether a task has had
#: its outcome.
SPEC_ANNOTATION = "airflow-provider-together/spec"
ASKED_ANNOTATION = "airflow-provider-together/asked-at"
TAKEN_ANNOTATION = "airflow-provider-together/outcome-taken"

#: Seconds that Kubernetes lets a job live longer than the task does, which has more to tell when it ends it.
_DEADLINE_MARGIN = 120
_INDEX_FIELD = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_SHARED_VOLUME, _SHARED_MEMORY = "together-shared", "together-shm"
#: By which field the items of a list are told apart when a template is merged into it; other lists are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
}


def claim_manifest(volume_name: str, *, namespace: str, size: str, storage_class: str) -> dict[str, Any]:
    """
    Return the claim to a shared volume, of the volume's name.

    :param size: the volume's size, as a quantity of Kubernetes.
    :param storage_class: the volume's, since Kubernetes binds equal ones only; empty for none, which has to be said:
        a claim that leaves it out gets the cluster's default.
    """
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": volume_name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": storage_class,
            "volumeName": volume_name,
            "resources": {"requests": {"storage": size}},
        },
    }


def service_manifest(job: Object) -> dict[str, Any]:
    """Return the Service through which the ranks of a job that exists find each other, before they are ready."""
    name, metadata = job["metadata"]["name"], job["metadata"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name,
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {JOB_LABEL: name},
            "ownerReferences": [owner],
        },
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {JOB_LABEL: name}},
    }


def job_manifest(spec: JobSpec, *, asked_at: float) -> dict[str, Any]:
    """
    Return the Job, suspended: it runs once all that it needs is there.

    :param asked_at: epoch seconds.
    """
    marks = {OWNER_LABEL: spec.owner, "app.kubernetes.io/managed-by": "airflow-provider-together"}
    pod = merged(_pod_spec(spec), spec.pod_template)
    body = {
        "suspend": True,
        "completionMode": "Indexed",
        "completions": spec.num_nodes,
        "parallelism": spec.num_nodes,
        "backoffLimit": 0,
        "template": {
            "metadata": {
                "labels": {**spec.labels, **marks, JOB_LABEL: spec.name},
                "annotations": dict(spec.annotations),
            },
            "spec": pod,
        },
    }
    if spec.timeout is not None:
        body["activeDeadlineSeconds"] = int(spec.timeout) + _DEADLINE_MARGIN
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {**spec.labels, **marks},
            "annotations": {
                **spec.annotations,
                SPEC_ANNOTATION: digest_of(body),
                ASKED_ANNOTATION: f"{asked_at:.3f}",
            },
        },
        "spec": body,
    }


def digest_of(body: Mapping[str, Any]) -> str:
    """Return what tells one job's description from another's."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def merged(base: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with another one merged into it, as Kubernetes merges a patch; what is None is removed."""
    result = dict(base)
    for key, value in template.items():
        known = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(known, Mapping):
            result[key] = merged(known, value)
        elif key in _MERGE_KEYS and isinstance(known, list):
            result[key] = _merged_lists(known, value, _MERGE_KEYS[key])
        else:
            result[key] = value
    return result


def _merged_lists(base: Sequence[Any], template: Sequence[Any], key: str) -> list[Any]:
    items = {item[key]: item for item in base}
    for item in template:
        items[item[key]] = merged(items.get(item[key], {}), item)
    return list(items.values())


def with_gpus(amounts: Mapping[str, Any] | None, num_gpus: int) -> dict[str, Any]:
    """Return limits of a container with GPUs among them; what names GPUs already stays."""
    return {GPU: str(num_gpus), **(amounts or {})} if num_gpus else dict(amounts or {})


def shared_volume(claim: str) -> dict[str, Any]:
    """Return the volume of a pod that a claim leads to."""
    return {"name": _SHARED_VOLUME, "persistentVolumeClaim": {"claimName": claim}}


def shared_mount(path: str) -> dict[str, Any]:
    """Return the mount of that volume."""
    return {"name": _SHARED_VOLUME, "mountPath": path}


def _pod_spec(spec: JobSpec) -> dict[str, Any]:
    volumes, mounts = [], []
    if spec.claim is not None:
        volumes.append(shared_volume(spec.claim))
        mounts.append(shared_mount(spec.mount_path))
    if spec.shm_size:
        volumes.append({"name": _SHARED_MEMORY, "emptyDir": {"medium": "Memory", "sizeLimit": spec.shm_size}})
        mounts.append({"name": _SHARED_MEMORY, "mountPath": "/dev/shm"})  # noqa: S108 - the pod's own
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": spec.image,
        "command": list(spec.command),
        "args": list(spec.arguments),
        "env": _environment(spec),
        "resources": _resources(spec),
        "volumeMounts": mounts,
        "terminationMessagePath": RESULT_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "imagePullPolicy": spec.image_pull_policy,
    }
    if spec.rdma_resource:
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    pod = {
        "restartPolicy": "Never",
        "subdomain": spec.name,
        "containers": [_given(container)],
        "volumes": volumes,
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [dict(toleration) for toleration in spec.tolerations],
        "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
        "serviceAccountName": spec.service_account_name,
        "affinity": {} if spec.fills_node or spec.num_nodes == 1 else _one_per_node(spec.name),
    }
    return _given(pod)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _one_per_node(name: str) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {JOB_LABEL: name}}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _resources(spec: JobSpec) -> dict[str, Any]:
    limits = with_gpus(spec.resources.get("limits"), spec.gpus_per_node)
    if spec.rdma_resource:
        limits[spec.rdma_resource] = "1"
    return _given({"limits": limits, "requests": dict(spec.resources.get("requests") or {})})


def _environment(spec: JobSpec) -> list[dict[str, Any]]:
    """
    Return how a rank finds the others, under the names that PyTorch reads.

    ``torchrun`` takes each of its options from a variable ``PET_…``, so that it needs none of them in the command.
    There is no WORLD_SIZE, which some take for nodes and some for processes.
    """
    per_node = str(spec.gpus_per_node or 1)
    nodes, port, master = str(spec.num_nodes), str(spec.master_port), f"{spec.name}-0.{spec.name}"
    rank = {"valueFrom": {"fieldRef": {"fieldPath": _INDEX_FIELD}}}
    ours: dict[str, dict[str, Any]] = {
        "MASTER_ADDR": {"value": master},
        "MASTER_PORT": {"value": port},
        "NNODES": {"value": nodes},
        "NODE_RANK": rank,
        "NPROC_PER_NODE": {"value": per_node},
        "PET_MASTER_ADDR": {"value": master},
        "PET_MASTER_PORT": {"value": port},
        "PET_NNODES": {"value": nodes},
        "PET_NODE_RANK": rank,
        "PET_NPROC_PER_NODE": {"value": per_node},
        "TOGETHER_RESULT_PATH": {"value": RESULT_PATH},
    }
    given = {name: {"value": value} for name, value in spec.env_vars.items()}
    return [{"name": name, **value} for name, value in {**ours, **given}.items()]
