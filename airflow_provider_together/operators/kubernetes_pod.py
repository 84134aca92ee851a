"""
Airflow's own pod operator, on a GPU cluster that is named by its id.

All that it can do stays; what is changed is the way to the cluster, what it asks the cluster for, and what it says
when a pod fails. Kept apart, since importing the parent costs a DAG more than all else of this package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import BaseOperatorLink
from kubernetes.client import models as k8s  # type: ignore[import-untyped]

from airflow_provider_together.api.specs import GPUS_PER_NODE
from airflow_provider_together.exceptions import SpecError, TogetherError
from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.cluster import (
    check_cluster,
    check_share,
    gpus_of_node,
    size_of_volume,
)
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.diagnosis import diagnose, set_apart
from airflow_provider_together.jobs.kubernetes.flows import ensure_claim, last_words
from airflow_provider_together.jobs.kubernetes.manifests import OWNER_LABEL, shared_mount, shared_volume, with_gpus
from airflow_provider_together.jobs.kubernetes.name import owner_digest
from airflow_provider_together.jobs.kubernetes.pod_flows import remove_earlier_pods
from airflow_provider_together.jobs.kubernetes.spec import GPU, check, count_of, texts_of, words_of
from airflow_provider_together.links.gpu_cluster import GPUClusterLink, console_url
from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowSkipException
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver
from airflow_provider_together.runtime.mapping import CheckedOperator
from airflow_provider_together.runtime.memory import deployed_owner_of
from airflow_provider_together.runtime.parameters import FLAG, IDENTIFIER, Kind, check_literals, optional
from airflow_provider_together.triggers.kubernetes import GPUClusterPodTrigger, keeps_pod

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_together.api.call import Note
    from airflow_provider_together.api.models import Cluster

#: Parameters of the parent that lead to a cluster by a connection or a file.
_WAYS_TO_A_CLUSTER = ("kubernetes_conn_id", "config_file", "in_cluster")
_OWN_FIELDS = ("cluster_id", "num_gpus", "shared_volume", "shared_volume_mount_path")
#: What a field of a job's spec is, which checks it.
_FIELD = Kind(lambda name, value: check({name: value}))


def _check_environment(name: str, value: Any) -> None:
    """Check a mapping, or the objects of Kubernetes that the parent takes as well."""
    if not isinstance(value, (list, tuple)):
        check({name: value})
    elif wrong := [one for one in value if not isinstance(getattr(one, "value", 0), (str, type(None)))]:
        names = ", ".join(repr(getattr(one, "name", type(one).__name__)) for one in wrong)  # a value may be a secret
        raise SpecError([f"{name}: {names} is wrong: give a mapping of texts, or V1EnvVar with a text for value"])


class GPUClusterPodOperator(CheckedOperator, KubernetesPodOperator):
    """
    Run a container on a GPU cluster, as Airflow's ``KubernetesPodOperator`` runs one elsewhere.

    It takes all of that operator's parameters but those that lead to a cluster: the kubeconfig is fetched through the
    Together connection when it is needed, by the worker and by the triggerer, and is kept nowhere. The exception of a
    pod that fails says why in a stable word, such as ``out_of_memory`` or ``image_pull``, and does not repeat the
    pod's spec, whose environment may hold secrets. With ``reattach_on_restart=False`` a try removes the pods that
    earlier ones have left running before it makes its own, unless ``on_kill_action`` keeps them.

    :param cluster_id: id of the GPU cluster.
    :param together_conn_id: connection of type ``together``.
    :param num_gpus: GPUs of the container; by default all of a node, 0 for none.
    :param shared_volume: name of a shared volume that is attached to the cluster.
    :param shared_volume_mount_path: where it is mounted.
    :param log_pod_spec_on_failure: whether a failure repeats the pod's spec after all.
    """

    template_fields: Sequence[str] = (
        *(name for name in KubernetesPodOperator.template_fields if name not in _WAYS_TO_A_CLUSTER),
        "together_conn_id",
        *_OWN_FIELDS,
    )
    operator_extra_links: Collection[BaseOperatorLink] = (GPUClusterLink(),)
    ui_color = "#e8f0fe"
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "together_conn_id": IDENTIFIER,
        "num_gpus": optional(_FIELD),
        "shared_volume": optional(IDENTIFIER),
        "shared_volume_mount_path": _FIELD,
        "log_pod_spec_on_failure": FLAG,
        # Of the parent's those that Kubernetes would refuse only when the cluster is rented.
        "namespace": optional(_FIELD),
        "image": optional(IDENTIFIER),
        "cmds": optional(_FIELD),
        "arguments": optional(_FIELD),
        "env_vars": optional(Kind(_check_environment)),
        "labels": optional(_FIELD),
        "annotations": optional(_FIELD),
        "node_selector": optional(_FIELD),
    }

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg,
        together_conn_id: str = DEFAULT_CONNECTION,
        num_gpus: int | str | None = None,
        shared_volume: str | None = None,
        shared_volume_mount_path: str = "/mnt/shared",
        log_pod_spec_on_failure: bool = False,
        **kwargs: Any,
    ) -> None:
        check_literals(self.all_parameter_kinds(), kwargs)  # before the parent takes what is empty for not given
        given = [name for name in _WAYS_TO_A_CLUSTER if kwargs.pop(name, None) is not None]
        environment = kwargs.get("env_vars")
        super().__init__(
            kubernetes_conn_id=None,
            config_file=None,
            in_cluster=False,
            log_pod_spec_on_failure=log_pod_spec_on_failure,
            **kwargs,
        )
        if isinstance(environment, Mapping):
            self.env_vars = dict(
                environment
            )  # as newer parents leave it: older ones make objects of it, numbers and all
        if given:
            raise SpecError([f"{name} is wrong here: cluster_id leads to the cluster; leave it out" for name in given])
        self.cluster_id = cast("str", cluster_id)
        self.together_conn_id = together_conn_id
        self.num_gpus = num_gpus
        self.shared_volume = shared_volume
        self.shared_volume_mount_path = shared_volume_mount_path
        self._cluster: Cluster | None = None
        self.check_parameters()

    def check_rendered_parameters(self) -> None:
        """Check all parameters, and make texts of numbers and flags where Kubernetes takes nothing but text."""
        if isinstance(self._as_written.get("env_vars"), Mapping) and isinstance(self.env_vars, list):
            self.env_vars = {one.name: one.value for one in self.env_vars}  # which the parent has made objects of
        super().check_rendered_parameters()
        self.cmds, self.arguments = words_of(self.cmds), words_of(self.arguments)
        for name in ("labels", "annotations", "node_selector"):
            setattr(self, name, texts_of(getattr(self, name)))
        if isinstance(self.env_vars, Mapping):
            self.env_vars = texts_of(self.env_vars)

    @cached_property
    def hook(self) -> GPUClusterKubernetesHook:
        """The way to the cluster; the parent makes it again where the cluster does not accept it."""
        return GPUClusterKubernetesHook(self.cluster_id, self.together_conn_id, cluster_context=self.cluster_context)

    def execute(self, context: Context) -> Any:
        """Run the pod."""
        with task_failures():
            self.check_rendered_parameters()
            self._cluster = cluster = TogetherHook(self.together_conn_id).get_gpu_cluster(self.cluster_id)
            check_cluster(cluster, shared_volume=self.shared_volume)
            self._gpus()
            context["ti"].xcom_push(key=GPUClusterLink().xcom_key, value=console_url(self.cluster_id))
            return super().execute(context)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer has waited."""
        with task_failures():
            return super().trigger_reentry(context, event)

    def convert_config_file_to_dict(self) -> None:
        """Read no kubeconfig from a file: the trigger fetches its own."""
        self._config_dict = None

    def defer(self, *, trigger: BaseTrigger, **options: Any) -> NoReturn:
        """Wait in the triggerer, in a trigger of ours in place of the parent's."""
        ours = GPUClusterPodTrigger.taking_over(
            trigger, cluster_id=self.cluster_id, together_conn_id=self.together_conn_id
        )
        super().defer(trigger=ours, **options)

    def build_pod_request_obj(self, context: Context | None = None, **options: Any) -> k8s.V1Pod:
        """Return the pod, with GPUs and the shared volume."""
        pod = super().build_pod_request_obj(context, **options)
        container = next(one for one in pod.spec.containers if one.name == self.base_container_name)
        container.resources = _with_gpus(container.resources, self._gpus())
        if self.shared_volume is not None:
            pod.spec.volumes = [*(pod.spec.volumes or []), shared_volume(self.shared_volume)]
            container.volume_mounts = [
                *(container.volume_mounts or []),
                shared_mount(self.shared_volume_mount_path),
            ]
        return pod

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Make the claim to the shared volume, and the pod; or find the pod that an earlier try has made."""
        if self.shared_volume is not None:
            size = None if self._cluster is None else size_of_volume(self._cluster, self.shared_volume)
            claim = ensure_claim(self.shared_volume, namespace=pod_request_obj.metadata.namespace, size_tib=size)
            KubernetesDriver(self.hook).run(claim, note=self._take_note)
        if not self.reattach_on_restart:
            self._remove_earlier_pods(pod_request_obj.metadata, context)
        return super().get_or_create_pod(pod_request_obj, context)

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod, *args: Any, **options: Any) -> None:
        """Delete the pod; if it has failed, say why."""
        diagnosis = "" if getattr(self, "_killed", False) or not remote_pod else self._diagnosis_of(remote_pod)
        try:
            super().cleanup(pod, remote_pod, *args, **options)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if not diagnosis:
                raise
            message = f"{error}\nDiagnosis: {diagnosis}"
            raise AirflowException(message) from None

    def _remove_earlier_pods(self, metadata: k8s.V1ObjectMeta, context: Context) -> None:
        """Remove what earlier tries have left: one that was cleared while it was deferred ends without its pod."""
        owner = owner_digest(deployed_owner_of(context, self.hook.together.settings))
        metadata.labels[OWNER_LABEL] = owner  # by which a later try finds the pod that is made now
        if keeps_pod(self):
            return
        removal = remove_earlier_pods(
            metadata.namespace,
            owner=owner,
            try_number=context["ti"].try_number,
            grace=self.termination_grace_period,
        )
        KubernetesDriver(self.hook).run(removal, note=self._take_note)

    def _take_note(self, note: Note) -> None:
        self.log.info("%s", note.message)

    def _gpus(self) -> int:
        present = GPUS_PER_NODE if self._cluster is None else gpus_of_node(self._cluster)
        wanted = None if self.num_gpus is None else count_of(self.num_gpus)
        return check_share("num_gpus", present if wanted is None else wanted, present, "GPU", " on a node")

    def _diagnosis_of(self, remote_pod: k8s.V1Pod) -> str:
        """Return what is wrong with a pod that has not succeeded, as long as it is there; else an empty text."""
        if _has_succeeded(remote_pod, self.base_container_name):
            return ""
        name, namespace = remote_pod.metadata.name, remote_pod.metadata.namespace
        driver = KubernetesDriver(self.hook)
        try:
            seen = driver.send(kubernetes_api.get_pod(namespace, name).once())
            events = driver.send(kubernetes_api.list_pod_events(namespace, name).once())
        except TogetherError as error:
            self.log.info("Why pod %s has failed cannot be told: %s", name, error)
            return ""
        diagnosis = diagnose(seen, events, main=self.base_container_name)
        if diagnosis is None:
            return ""
        words = ""
        if diagnosis.container and diagnosis.exit_code is not None:  # the parent shows the log of the main one
            words = driver.run(last_words(namespace, name, diagnosis, whose=f"pod {name}"), note=self._take_note)
        words = words or set_apart("The container printed last:", diagnosis.printed)
        return "\n".join(part for part in (str(diagnosis), words) if part)


def _with_gpus(resources: Any, num_gpus: int) -> k8s.V1ResourceRequirements:
    """Return the resources of a container with GPUs among its limits, unless it names GPUs itself."""
    known = resources if isinstance(resources, dict) else resources.to_dict() if resources is not None else {}
    limits, requests = known.get("limits"), known.get("requests")
    if num_gpus and GPU not in (requests or {}):
        limits = with_gpus(limits, num_gpus)
    return k8s.V1ResourceRequirements(limits=limits or None, requests=requests, claims=known.get("claims"))


def _has_succeeded(pod: k8s.V1Pod, container: str) -> bool:
    """Whether a container has ended well: beside it the sidecar that hands over the XCom may still run."""
    if pod.status is None or pod.status.phase == "Succeeded":
        return pod.status is not None
    ended = [one.state.terminated for one in pod.status.container_statuses or () if one.name == container and one.state]
    return any(state is not None and state.exit_code == 0 for state in ended)
