"""
What is asked for when a job is started, and what is wrong with it.

Every parameter is checked by itself, so that an operator can check the literal ones when the DAG is parsed and all of
them when they are rendered. A template may render any value as text, so that numbers are taken as text, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_together.api.missing import is_missing
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.jobs.kubernetes.name import LONGEST_JOB_NAME, is_job_name
from airflow_provider_together.jobs.kubernetes.pod_template import faults_of, is_objects

_LARGEST_PORT = 65535
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_WORDS = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_NAME = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_WORDS}", re.ASCII)
_LABEL_VALUE = re.compile(rf"({_WORDS})?", re.ASCII)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*", re.ASCII)
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?", re.ASCII)
_RESOURCE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)

#: The resource that NVIDIA's device plugin offers on each node.
GPU = "nvidia.com/gpu"
#: What each rank gets in its environment, and nobody else may set.
RANK_VARIABLES = frozenset(
    {f"{prefix}{name}" for prefix in ("", "PET_") for name in ("MASTER_ADDR", "MASTER_PORT", "NNODES", "NODE_RANK")}
    | {"NPROC_PER_NODE", "PET_NPROC_PER_NODE", "TOGETHER_RESULT_PATH"}
)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """
    A training job, as it was asked for.

    :param name: name of the Job and of its Service.
    :param owner: digest of the task instance that it is for.
    :param num_nodes: ranks, one pod and one node for each.
    :param gpus_per_node: GPUs of each rank; 0 for none.
    :param num_workers: nodes with GPUs that the cluster has, as Together tells it; 0 where it does not.
    :param fills_node: whether no two ranks fit on one node anyway.
    :param claim: name of the PersistentVolumeClaim of the shared volume.
    :param timeout: seconds that all may take; None for any time.
    """

    name: str
    owner: str
    image: str
    num_nodes: int
    gpus_per_node: int
    namespace: str = "default"
    num_workers: int = 0
    fills_node: bool = True
    command: Sequence[str] = ()
    arguments: Sequence[str] = ()
    env_vars: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    image_pull_policy: str | None = None
    image_pull_secrets: Sequence[str] = ()
    service_account_name: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shm_size: str | None = None
    rdma_resource: str | None = None
    master_port: int = 29500
    claim: str | None = None
    mount_path: str = "/mnt/shared"
    timeout: float | None = None
    pod_template: Mapping[str, Any] = field(default_factory=dict)


def check(values: Mapping[str, Any]) -> None:
    """
    Check parameters, each by itself; those that are None or unknown here are not looked at.

    :raises SpecError: naming each that is wrong, its value and what is allowed.
    """
    problems = [
        f"{name}={_shown(name, value)} is wrong: {_CHECKS[name][1]}"
        for name, value in values.items()
        if value is not None and name in _CHECKS and not _CHECKS[name][0](value)
    ]
    if values.get("pod_template") is not None:
        problems += faults_of(values["pod_template"])
    if problems:
        raise SpecError(problems)


def faults_of_environment(env_vars: Any) -> list[str]:
    """Return what is wrong with the names in the environment of a rank."""
    taken = sorted(RANK_VARIABLES & set(env_vars)) if isinstance(env_vars, Mapping) else []
    return [
        f"env_vars: {name!r} is wrong: it is set for each rank, by which the ranks find each other" for name in taken
    ]


def _shown(name: str, value: Any) -> str:
    """Return a value for a message; of an environment, which may hold secrets, only names and types."""
    if name != "env_vars":
        return repr(value)
    items = value.items() if isinstance(value, Mapping) else ()
    return f"{type(value).__name__}({', '.join(f'{key!r}: {type(item).__name__}' for key, item in items)})"


def count_of(value: Any) -> int | None:
    """Return a whole number that may be text, 0 or above; None if it is none."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value).strip(), re.ASCII):
        return None
    return int(value)


def words_of(value: Sequence[Any] | str | None) -> list[str]:
    """Return a command: a list of words, or one word."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(word) for word in value]


def texts_of(value: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a mapping whose values are texts, as Kubernetes wants those of labels and of the environment."""
    return {key: _text(item) for key, item in (value or {}).items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_positive(value: Any) -> bool:
    return (count_of(value) or 0) > 0


def _is_port(value: Any) -> bool:
    return 0 < (count_of(value) or 0) <= _LARGEST_PORT


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not is_missing(value)


def _is_image(value: Any) -> bool:
    return _is_text(value) and not any(letter.isspace() for letter in value.strip())


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and ":" not in value and value.strip("/") != ""


def _is_quantity(value: Any) -> bool:
    return isinstance(value, str) and _QUANTITY.fullmatch(value) is not None


def _is_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, (str, int, float)) for word in value)


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_text(name) for name in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(item, (str, int, float)) for key, item in value.items()
    )


def _is_labels(value: Any) -> bool:
    return _is_texts(value) and all(
        _LABEL_NAME.fullmatch(name) and _LABEL_VALUE.fullmatch(item) for name, item in texts_of(value).items()
    )


def _is_environment(value: Any) -> bool:
    return _is_texts(value) and all(_ENVIRONMENT_NAME.fullmatch(name) for name in value)


def _is_resources(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) <= {"limits", "requests"}
        and all(isinstance(amounts, Mapping) and GPU not in amounts for amounts in value.values())
    )


def _is_resource_name(value: Any) -> bool:
    return isinstance(value, str) and value != GPU and _RESOURCE_NAME.fullmatch(value) is not None


_TEXTS = "give a mapping of texts"
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cluster_id": (_is_text, "give the id of a GPU cluster"),
    "image": (_is_image, "give a container image, such as 'ghcr.io/acme/train:1'"),
    "command": (_is_words, "give a list of words, such as ['torchrun', 'train.py']"),
    "cmds": (_is_words, "give a list of words, such as ['torchrun', 'train.py']"),
    "arguments": (_is_words, "give a list of words"),
    "env_vars": (_is_environment, "give a mapping of names and texts; values from Secrets belong in pod_template"),
    "num_nodes": (_is_positive, "give a whole number above 0, or None for all GPU workers of the cluster"),
    "gpus_per_node": (lambda value: count_of(value) is not None, "give a whole number, 0 for none, None for all"),
    "num_gpus": (
        lambda value: count_of(value) is not None,
        "give a whole number, 0 for none, or None for all GPUs of a node",
    ),
    "namespace": (_is_label, "give the name of a namespace"),
    "job_name": (
        lambda value: isinstance(value, str) and is_job_name(value),
        f"use at most {LONGEST_JOB_NAME} characters of a-z, 0-9 and '-', the first of them a letter",
    ),
    "shared_volume": (_is_text, "give the name of a shared volume that is attached to the cluster"),
    "shared_volume_mount_path": (_is_path, "give an absolute path, such as '/mnt/shared'"),
    "labels": (_is_labels, "give a mapping of Kubernetes' label names and values, such as {'team': 'vision'}"),
    "annotations": (_is_texts, _TEXTS),
    "image_pull_policy": (
        lambda value: isinstance(value, str) and value in {"Always", "IfNotPresent", "Never"},
        "use one of 'Always', 'IfNotPresent', 'Never'",
    ),
    "image_pull_secrets": (_is_names, "give a list of names of Secrets"),
    "service_account_name": (_is_text, "give the name of a service account"),
    "node_selector": (_is_labels, "give a mapping of Kubernetes' label names and values, such as {'pool': 'gpu'}"),
    "tolerations": (is_objects, "give a list of mappings, as Kubernetes has them"),
    "container_resources": (
        _is_resources,
        f"give 'limits' and 'requests', each a mapping; {GPU} is set by gpus_per_node",
    ),
    "shm_size": (_is_quantity, "give a quantity of Kubernetes, such as '64Gi', or None for the runtime's own"),
    "rdma_resource": (_is_resource_name, "give the name of an extended resource, such as 'rdma/rdma_shared_device_a'"),
    "master_port": (_is_port, f"give a port from 1 to {_LARGEST_PORT}"),
}
