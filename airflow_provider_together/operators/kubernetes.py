"""
Operators that train on a GPU cluster's Kubernetes.

:class:`GPUClusterJobOperator` does it on many nodes, :class:`GPUClusterPodOperator` in one pod. The latter is
Airflow's own pod operator in all but the way to the cluster, and importing that costs a DAG more than all else of this
package. So it stands in a module of its own, which is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.jobs.kubernetes import spec as job_spec
from airflow_provider_together.operators.owned_resource import OwnedResourceOperator
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    check_extra,
    optional,
)

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.operators.kubernetes_job_task import JobTask
    from airflow_provider_together.operators.kubernetes_pod import GPUClusterPodOperator

__all__ = ["GPUClusterJobOperator", "GPUClusterPodOperator"]

#: What a field of a job's spec is, which checks it.
_FIELD = Kind(lambda name, value: job_spec.check({name: value}))


def __getattr__(name: str) -> Any:
    if name == "GPUClusterPodOperator":
        _check_extra(name)
        from airflow_provider_together.operators import kubernetes_pod  # noqa: PLC0415 - see above

        return kubernetes_pod.GPUClusterPodOperator
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _check_extra(operator: str) -> None:
    check_extra("kubernetes", package="kubernetes_asyncio", needed_by=operator)


class GPUClusterJobOperator(OwnedResourceOperator):
    """
    Train on the nodes of a GPU cluster, one rank on each, and return what rank 0 has left as the result.

    It starts as a whole or not at all, and ends with the first rank that fails. The ranks find each other by
    ``MASTER_ADDR``, ``MASTER_PORT``, ``NNODES``, ``NODE_RANK`` and ``NPROC_PER_NODE``, which ``torchrun`` needs no
    option for. What rank 0 writes to the file that ``TOGETHER_RESULT_PATH`` names, at most 4096 bytes, is the return
    value: as JSON if it is, else as text. A retry adopts the job of a try that was lost with its worker.

    :param cluster_id: id of the GPU cluster.
    :param image: container image.
    :param command: what the container runs; by default what the image says.
    :param arguments: arguments of the command.
    :param env_vars: environment of the container. They can be read in Airflow's UI: values from Kubernetes' Secrets
        belong in ``pod_template``.
    :param num_nodes: number of ranks; by default one on each GPU worker of the cluster.
    :param gpus_per_node: GPUs of each rank; by default all of a node, 0 for none. If too few nodes have as many, that
        is told before the job is made.
    :param namespace: namespace of Kubernetes; it has to exist.
    :param job_name: name of the job; by default one is made that is the same for all tries of this task.
    :param shared_volume: name of a shared volume that is attached to the cluster.
    :param shared_volume_mount_path: where it is mounted.
    :param labels: labels of job and pods.
    :param annotations: annotations of job and pods.
    :param image_pull_policy: ``Always``, ``IfNotPresent`` or ``Never``.
    :param image_pull_secrets: names of Secrets to pull the image with.
    :param service_account_name: service account of the pods.
    :param node_selector: labels that a node must have.
    :param tolerations: taints of nodes to tolerate, as Kubernetes has them.
    :param container_resources: ``limits`` and ``requests`` of CPU and memory, as Kubernetes has them.
    :param shm_size: size of ``/dev/shm``, through which processes of a rank share tensors; None for the runtime's own.
    :param rdma_resource: extended resource through which ranks reach the network directly, such as
        ``rdma/rdma_shared_device_a``.
    :param master_port: port of rank 0 at which the ranks meet.
    :param pod_template: merged into the pod's spec as a patch of Kubernetes: what there is no parameter for.
    :param start_timeout: seconds (or a timedelta) until which all ranks must run, else the job is removed.
    :param timeout: seconds (or a timedelta) that all may take; None for any time. The task's ``execution_timeout`` ends
        the job as well, deferred or not.
    :param poll_interval: seconds between two looks.
    :param get_logs: whether the log of rank 0 is written to the task's, and the end of the others' if the job fails.
    :param delete_on_finish: whether a job that has ended is removed. One that still holds GPUs always is.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    """

    template_fields: Sequence[str] = (
        *OwnedResourceOperator.template_fields,
        "cluster_id",
        "image",
        "command",
        "arguments",
        "env_vars",
        "num_nodes",
        "gpus_per_node",
        "namespace",
        "job_name",
        "shared_volume",
        "shared_volume_mount_path",
        "labels",
        "annotations",
        "image_pull_policy",
        "image_pull_secrets",
        "service_account_name",
        "node_selector",
        "tolerations",
        "container_resources",
        "shm_size",
        "rdma_resource",
        "master_port",
        "pod_template",
        "start_timeout",
        "timeout",
        "poll_interval",
        "get_logs",
        "delete_on_finish",
        "deferrable",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "env_vars": "json",
        "pod_template": "json",
        "container_resources": "json",
    }
    adds_costs = False
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "image": IDENTIFIER,
        "command": optional(_FIELD),
        "arguments": optional(_FIELD),
        "env_vars": optional(_FIELD),
        "num_nodes": optional(_FIELD),
        "gpus_per_node": optional(_FIELD),
        "namespace": _FIELD,
        "job_name": optional(_FIELD),
        "shared_volume": optional(IDENTIFIER),
        "shared_volume_mount_path": _FIELD,
        "labels": optional(_FIELD),
        "annotations": optional(_FIELD),
        "image_pull_policy": optional(_FIELD),
        "image_pull_secrets": optional(_FIELD),
        "service_account_name": optional(IDENTIFIER),
        "node_selector": optional(_FIELD),
        "tolerations": optional(_FIELD),
        "container_resources": optional(_FIELD),
        "shm_size": optional(_FIELD),
        "rdma_resource": optional(_FIELD),
        "master_port": _FIELD,
        "pod_template": optional(_FIELD),
        "start_timeout": DURATION,
        "timeout": optional(DURATION),
        "poll_interval": DURATION,
        "get_logs": FLAG,
        "delete_on_finish": FLAG,
        "deferrable": optional(FLAG),
    }

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        return job_spec.faults_of_environment(given.get("env_vars"))

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg,
        image: str,
        command: Sequence[str] | None = None,
        arguments: Sequence[str] | None = None,
        env_vars: Mapping[str, str] | None = None,
        num_nodes: int | str | None = None,
        gpus_per_node: int | str | None = None,
        namespace: str = "default",
        job_name: str | None = None,
        shared_volume: str | None = None,
        shared_volume_mount_path: str = "/mnt/shared",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        image_pull_policy: str | None = None,
        image_pull_secrets: Sequence[str] | None = None,
        service_account_name: str | None = None,
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] | None = None,
        container_resources: Mapping[str, Mapping[str, Any]] | None = None,
        shm_size: str | None = "64Gi",
        rdma_resource: str | None = None,
        master_port: int | str = 29500,
        pod_template: Mapping[str, Any] | None = None,
        start_timeout: float | timedelta | str = 600.0,
        timeout: float | timedelta | str | None = None,
        poll_interval: float | str = 5.0,
        get_logs: bool | str = True,
        delete_on_finish: bool | str = True,
        deferrable: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_extra(type(self).__name__)
        super().__init__(**kwargs)
        self.cluster_id = cast("str", cluster_id)
        self.image = image
        self.command = command
        self.arguments = arguments
        self.env_vars = env_vars
        self.num_nodes = num_nodes
        self.gpus_per_node = gpus_per_node
        self.namespace = namespace
        self.job_name = job_name
        self.shared_volume = shared_volume
        self.shared_volume_mount_path = shared_volume_mount_path
        self.labels = labels
        self.annotations = annotations
        self.image_pull_policy = image_pull_policy
        self.image_pull_secrets = image_pull_secrets
        self.service_account_name = service_account_name
        self.node_selector = node_selector
        self.tolerations = tolerations
        self.container_resources = container_resources
        self.shm_size = shm_size
        self.rdma_resource = rdma_resource
        self.master_port = master_port
        self.pod_template = pod_template
        self.start_timeout = start_timeout
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.get_logs = get_logs
        self.delete_on_finish = delete_on_finish
        self.deferrable = deferrable
        self.check_parameters()

    def begin(self, context: Context) -> JobTask:
        """See :meth:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator.begin`."""
        from airflow_provider_together.operators.kubernetes_job_task import JobTask  # noqa: PLC0415 - for a task only

        return JobTask(self, context)
