"""
Operators that make, change and delete GPU clusters.

They put an engine's flow and Airflow's life of a task together, and decide nothing about requests. All
parameters may be templates; what is given literally is checked when the DAG is parsed, the rest when it
is rendered, always before a request is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.api.flows import (
    Created,
    Creation,
    Identity,
    IfExists,
    Intent,
    Withdrawn,
    create_or_adopt,
    find_by_name,
    prove_gone,
    request_deletion,
)
from airflow_provider_together.api.naming import ClusterName, Owner
from airflow_provider_together.api.polling import GoneWait, Verdict, failure_of
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, Spec
from airflow_provider_together.compat import (
    AirflowException,
    TaskDeferralError,
    TaskDeferralTimeout,
    state_store,
)
from airflow_provider_together.exceptions import SpecError, TogetherError
from airflow_provider_together.hooks.failures import task_failures
from airflow_provider_together.operators.base import TaskKilledError, TogetherOperator
from airflow_provider_together.operators.waiting import ReadyWaitingOperator
from airflow_provider_together.parameters import choice, default_deferrable, seconds_of, truth_of
from airflow_provider_together.triggers.gpu_cluster import DEFERRAL_MARGIN, GPUClusterTrigger, look_of

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.api.call import Note

#: Key under which a create remembers its cluster from one try to the next.
_RECORD = "together_cluster"


class CreateGPUClusterOperator(ReadyWaitingOperator):
    """
    Make a GPU cluster, or adopt the one that an earlier try of this task has made.

    The id is the return value. Under keys of their own ``cluster_id``, ``cluster_name``, ``region`` and
    ``console_url`` are pushed as soon as the cluster exists, before any waiting.

    :param region: region name, such as ``us-central-8``.
    :param gpu_type: ``H100_SXM``, ``H200_SXM``, ``RTX_6000_PCI``; *compute* has more.
    :param num_gpus: a positive multiple of 8.
    :param cluster_name: a name of your own, used as it is. Without one a name is made that is the same for all
        tries of this task and says whose the cluster is and when its life ends.
    :param duration_days: days to keep it; *tcloud* wants it for every billing type. A name that is made
        carries the end that follows from it.
    :param driver_version: such as ``CUDA_12_8_570``.
    :param billing_type: ``ON_DEMAND`` or ``RESERVED``; *compute* also has ``SCHEDULED_CAPACITY``.
    :param cluster_type: ``KUBERNETES`` (Together's default) or ``SLURM``.
    :param shared_volume: a volume to be made with it: ``{"volume_name", "size_tib"}``.
    :param volume_id: an existing volume to attach.
    :param together_conn_id: connection of type ``together``.
    :param if_exists: what to do about a live cluster of that name: ``adopt`` it or ``fail``. By default
        a cluster of this task's own is adopted, and for a ``cluster_name`` of yours the task fails,
        since it may be somebody's.
    :param delete_on_failure: whether the cluster is deleted when waiting for it fails or the task is
        killed. A cluster that was adopted from somebody else is left alive.
    :param wait_for_completion: whether to wait until it is READY.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait at the most.
    :param on_degraded: ``wait``, ``ready`` or ``fail`` while some nodes are unhealthy.
    :param on_paused: ``wait``, ``ready`` or ``fail`` while Together has paused it, mostly for lack of credits.

    The other parameters exist in the *compute* dialect only; see
    :class:`~airflow_provider_together.api.specs.ClusterSpec`.
    """

    template_fields: Sequence[str] = (
        *ReadyWaitingOperator.template_fields,
        *ClusterSpec.model_fields,
        "if_exists",
        "delete_on_failure",
        "wait_for_completion",
    )
    spec_class: ClassVar[type[Spec] | None] = ClusterSpec
    flags: ClassVar[Sequence[str]] = (*ReadyWaitingOperator.flags, "delete_on_failure")

    def __init__(  # noqa: PLR0913 - the request has that many fields
        self,
        *,
        region: str,
        gpu_type: str,
        num_gpus: int | str,
        cluster_name: str | None = None,
        duration_days: int | str | None = None,
        driver_version: str | None = None,
        billing_type: str,
        cluster_type: str | None = None,
        shared_volume: dict[str, Any] | None = None,
        volume_id: str | XComArg | None = None,
        nvidia_version_id: str | None = None,
        project_id: str | None = None,
        reservation_start_time: datetime | str | None = None,
        reservation_end_time: datetime | str | None = None,
        num_reserved_gpus: int | str | None = None,
        num_preemptible_gpus: int | str | None = None,
        num_capacity_pool_gpus: int | str | None = None,
        capacity_pool_id: str | None = None,
        auto_scale: bool | None = None,
        auto_scale_max_gpus: int | str | None = None,
        slurm_shm_size_gib: int | str | None = None,
        slurm_image: str | None = None,
        install_traefik: bool | None = None,
        add_ons: list[dict[str, Any]] | None = None,
        cluster_config: dict[str, Any] | None = None,
        acceptance_tests_params: dict[str, Any] | None = None,
        oidc_config: dict[str, Any] | None = None,
        if_exists: IfExists | None = None,
        delete_on_failure: bool | str = True,
        wait_for_completion: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.region = region
        self.gpu_type = gpu_type
        self.num_gpus = num_gpus
        self.cluster_name = cluster_name
        self.duration_days = duration_days
        self.driver_version = driver_version
        self.billing_type = billing_type
        self.cluster_type = cluster_type
        self.shared_volume = shared_volume
        self.volume_id = volume_id
        self.nvidia_version_id = nvidia_version_id
        self.project_id = project_id
        self.reservation_start_time = reservation_start_time
        self.reservation_end_time = reservation_end_time
        self.num_reserved_gpus = num_reserved_gpus
        self.num_preemptible_gpus = num_preemptible_gpus
        self.num_capacity_pool_gpus = num_capacity_pool_gpus
        self.capacity_pool_id = capacity_pool_id
        self.auto_scale = auto_scale
        self.auto_scale_max_gpus = auto_scale_max_gpus
        self.slurm_shm_size_gib = slurm_shm_size_gib
        self.slurm_image = slurm_image
        self.install_traefik = install_traefik
        self.add_ons = add_ons
        self.cluster_config = cluster_config
        self.acceptance_tests_params = acceptance_tests_params
        self.oidc_config = oidc_config
        self.if_exists = if_exists
        self.delete_on_failure = delete_on_failure
        self.wait_for_completion = wait_for_completion
        self._creation: Creation | None = None
        self.check_parameters()

    def check_parameters(self) -> None:
        """See :meth:`TogetherOperator.check_parameters`."""
        super().check_parameters()
        choice("if_exists", self.if_exists, (None, "adopt", "fail"))

    def execute(self, context: Context) -> str:
        """Make or adopt the cluster; wait for it if asked to."""
        with task_failures():
            self.check_parameters()  # all of them, before one that is read late finds a cluster already made
            creation = self._create(context)
            cluster_id = creation.cluster.cluster_id
            if not truth_of("wait_for_completion", self.wait_for_completion):
                return cluster_id
            gives_back = self._deletes_on_failure and creation.is_ours
            context["ti"].xcom_push(key="delete_on_failure", value=gives_back)
            if self.is_deferrable:
                self.defer_until_ready(cluster_id, delete_on_kill=gives_back)
            look = self.wait_here(cluster_id)
            return self._conclude(cluster_id, look.verdict, look.word, gives_back=gives_back)

    def execute_complete(self, context: Context, event: Any = None) -> str:
        """Go on after the triggerer has waited."""
        cluster_id, verdict, status = look_of(event)
        with task_failures():
            return self._conclude(cluster_id, verdict, status, gives_back=self._gives_back(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Give the cluster back also when Airflow ends the wait without an event: its timeout, a broken trigger."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            cluster_id = self._own_xcom(context, "cluster_id")
            if cluster_id and self._gives_back(context):
                message = f"{error} {self.clean_up(cluster_id)}"
                raise AirflowException(message) from error
            raise

    def on_kill(self) -> None:
        """Ask for the deletion of the cluster, within the few seconds that Airflow grants."""
        super().on_kill()
        creation = self._creation
        if creation is None or not creation.is_ours or not self._deletes_on_failure:
            return
        try:
            self.delete_now(creation.cluster.cluster_id)
        except TogetherError as error:
            # Raised from a signal handler it would strike the task at any line.
            self.log.error("%s Cluster %s is still billed.", error, creation.cluster.cluster_id)  # noqa: TRY400

    @property
    def _deletes_on_failure(self) -> bool:
        return truth_of("delete_on_failure", self.delete_on_failure)

    def _create(self, context: Context) -> Creation:
        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        owner = Owner(self.hook.settings.deployment, ti.dag_id, ti.run_id, ti.task_id, map_index)
        spec = self._spec(owner)
        record = state_store(context).get(_RECORD, {})
        identity = Identity(
            owner=None if self.cluster_name else owner,
            recorded_id=record.get("cluster_id"),
            recorded_name=record.get("cluster_name"),
        )
        if_exists = self.if_exists or ("fail" if self.cluster_name else "adopt")
        flow = create_or_adopt(self.hook.client.dialect, spec, identity, if_exists=if_exists)
        self._creation = self.run_flow(flow, note=lambda note: self._take_note(context, note))
        self.publish(context, self._creation.cluster)
        self._give_back_if_killed()
        return self._creation

    def _spec(self, owner: Owner) -> ClusterSpec:
        values = self.parameters()
        if self.cluster_name is None:
            # Checked without a name first: a wrong duration must be told as such, not as a wrong name.
            ClusterSpec.check(values)
            days = self.duration_days
            lifetime = None if days is None else timedelta(days=int(days))
            values["cluster_name"] = str(ClusterName.of(owner, now=datetime.now(UTC), lifetime=lifetime))
        return ClusterSpec.parse(values)

    def _take_note(self, context: Context, note: Note) -> None:
        """Store what a retry must know, before the flow goes on."""
        self.log.info("%s", note.message)
        store = state_store(context)
        if isinstance(note, Intent):
            store.set(_RECORD, {"cluster_name": note.cluster_name})
        elif isinstance(note, Withdrawn):
            store.set(_RECORD, {})
        elif isinstance(note, Created) and note.cluster is not None:
            store.set(_RECORD, {"cluster_name": note.cluster.cluster_name, "cluster_id": note.cluster.cluster_id})

    def _give_back_if_killed(self) -> None:
        """Catch up on ``on_kill``, which could not know the cluster while the request was under way."""
        try:
            self.raise_if_killed()
        except TaskKilledError:
            self.on_kill()
            raise

    def _conclude(self, cluster_id: str, verdict: Verdict, word: str, *, gives_back: bool) -> str:
        if verdict is Verdict.READY:
            return cluster_id
        fate = self.clean_up(cluster_id) if gives_back else "It is left alive, and is billed until it is deleted."
        error = failure_of(cluster_id, verdict, word, fate=fate)
        if verdict is Verdict.REFUSED:
            raise error
        # A retry makes a new cluster, so it may help even where this cluster is lost.
        raise AirflowException(str(error)) from error

    def _gives_back(self, context: Context) -> bool:
        return bool(self._own_xcom(context, "delete_on_failure"))

    def _own_xcom(self, context: Context, key: str) -> Any:
        ti = context["ti"]
        return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)


class UpdateGPUClusterOperator(ReadyWaitingOperator):
    """
    Change a GPU cluster, above all its number of GPUs. The id is the return value.

    :param cluster_id: id of the cluster.
    :param num_gpus: the new number of GPUs, a positive multiple of 8.
    :param cluster_type: ``KUBERNETES`` or ``SLURM``.
    :param wait_for_completion: whether to wait until it is READY with that number.

    The other parameters are those of :class:`~airflow_provider_together.api.specs.ClusterUpdate`, in the
    *compute* dialect only, and those of waiting, see :class:`CreateGPUClusterOperator`.
    """

    template_fields: Sequence[str] = (
        *ReadyWaitingOperator.template_fields,
        *ClusterUpdate.model_fields,
        "cluster_id",
        "wait_for_completion",
    )
    spec_class: ClassVar[type[Spec] | None] = ClusterUpdate

    def __init__(  # noqa: PLR0913 - the request has that many fields
        self,
        *,
        cluster_id: str | XComArg,
        num_gpus: int | str | None = None,
        cluster_type: str | None = None,
        num_reserved_gpus: int | str | None = None,
        num_preemptible_gpus: int | str | None = None,
        num_capacity_pool_gpus: int | str | None = None,
        reservation_end_time: datetime | str | None = None,
        add_ons: list[dict[str, Any]] | None = None,
        cluster_config: dict[str, Any] | None = None,
        wait_for_completion: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cast("str", cluster_id)
        self.num_gpus = num_gpus
        self.cluster_type = cluster_type
        self.num_reserved_gpus = num_reserved_gpus
        self.num_preemptible_gpus = num_preemptible_gpus
        self.num_capacity_pool_gpus = num_capacity_pool_gpus
        self.reservation_end_time = reservation_end_time
        self.add_ons = add_ons
        self.cluster_config = cluster_config
        self.wait_for_completion = wait_for_completion
        self.check_parameters()

    def execute(self, context: Context) -> str:
        """Change the cluster; wait for it if asked to."""
        with task_failures():
            self.check_parameters()
            change = ClusterUpdate.parse(self.parameters())
            if not change.given():
                raise SpecError(["nothing to change: give num_gpus or another field of the cluster"])
            self.publish_link(context, self.cluster_id)
            client = self.hook.client
            cluster = client.send(client.dialect.update_cluster(self.cluster_id, change), sleep=self.sleep)
            self.log.info("Changing cluster %s: %s; it is %s.", self.cluster_id, change.given(), cluster.status)
            if not truth_of("wait_for_completion", self.wait_for_completion):
                return self.cluster_id
            if self.is_deferrable:
                self.defer_until_ready(self.cluster_id, num_gpus=change.num_gpus)
            look = self.wait_here(self.cluster_id, num_gpus=change.num_gpus)
            return _ready_or_raise(self.cluster_id, look.verdict, look.word)

    def execute_complete(self, context: Context, event: Any = None) -> str:  # noqa: ARG002 - Airflow's signature
        """Go on after the triggerer has waited."""
        with task_failures():
            return _ready_or_raise(*look_of(event, cluster_id=self.cluster_id))


class DeleteGPUClusterOperator(TogetherOperator):
    """
    Delete a GPU cluster and wait until neither Get nor List shows it any more.

    Deleting one that is gone already is a success. A ``cluster_name`` of your own that does not exist
    is an error, since it may be misspelt while the real one goes on costing money.

    :param cluster_id: id of the cluster; may be left out, or be empty, if there is a name.
    :param cluster_name: its name, for where no id is known.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) that it may take.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "cluster_name",
        "deferrable",
        "poll_interval",
        "timeout",
    )

    def __init__(
        self,
        *,
        cluster_id: str | XComArg | None = None,
        cluster_name: str | None = None,
        deferrable: bool | str | None = None,
        poll_interval: float | str = 10.0,
        timeout: float | timedelta | str = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if cluster_id is None and cluster_name is None:
            raise SpecError(["cluster_id and cluster_name are both missing: give one of them"])
        self.cluster_id = cast("str | None", cluster_id)
        self.cluster_name = cluster_name
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    def execute(self, context: Context) -> None:
        """Delete, and wait for the proof."""
        with task_failures():
            cluster_ids = [self.cluster_id] if self.cluster_id else self._ids_of_name(context)
            for cluster_id in cluster_ids:
                self.publish_link(context, cluster_id)
                is_last = cluster_id == cluster_ids[-1]
                self._delete(cluster_id, may_defer=is_last and default_deferrable(self.deferrable))

    def execute_complete(self, context: Context, event: Any = None) -> None:  # noqa: ARG002 - Airflow's signature
        """Go on after the triggerer has waited."""
        with task_failures():
            cluster_id, verdict, word = look_of(event)
            self._gone_or_raise(cluster_id, verdict, word)

    def _delete(self, cluster_id: str, *, may_defer: bool) -> None:
        dialect, now = self.hook.client.dialect, self.hook.client.now()
        timeout, poll_interval = seconds_of("timeout", self.timeout), seconds_of("poll_interval", self.poll_interval)
        wait = GoneWait(cluster_id, started=now, deadline=now + timeout, poll_interval=poll_interval)
        look = self.run_flow(request_deletion(dialect, wait))
        if look is None and may_defer and wait.is_accepted:
            trigger = GPUClusterTrigger(
                cluster_id,
                self.together_conn_id,
                poll_interval,
                wait_for="gone",
                started=now,
                end_time=now + timeout,
            )
            self.defer(
                trigger=trigger,
                method_name="execute_complete",
                timeout=timedelta(seconds=timeout + DEFERRAL_MARGIN),
            )
        if look is None:
            look = self.run_flow(prove_gone(dialect, wait))
        self._gone_or_raise(cluster_id, look.verdict, look.word)

    def _gone_or_raise(self, cluster_id: str, verdict: Verdict, word: str) -> None:
        if verdict is not Verdict.GONE:
            raise failure_of(cluster_id, verdict, word, fate="It is still there, and billed until it is gone.")
        self.log.info("Cluster %s is gone: neither Get nor List shows it.", cluster_id)

    def _ids_of_name(self, context: Context) -> list[str]:
        """Return the ids behind the name; remember that it was seen, so that a retry may find nothing."""
        if not self.cluster_name:
            raise SpecError(["cluster_id is empty, and there is no cluster_name: nothing says what to delete"])
        found = self.run_flow(find_by_name(self.hook.client.dialect, self.cluster_name))
        is_made_by_us = ClusterName.parse(self.cluster_name) is not None
        store = state_store(context)
        if not found:
            if is_made_by_us or store.get(_RECORD, {}).get("cluster_name") == self.cluster_name:
                self.log.info("No cluster named %r is there any more.", self.cluster_name)
                return []
            raise SpecError([f"cluster_name={self.cluster_name!r} is unknown: no cluster of that name exists"])
        if len(found) > 1 and not is_made_by_us:
            ids = ", ".join(cluster.cluster_id for cluster in found)
            raise SpecError([f"cluster_name={self.cluster_name!r} is ambiguous: give one of the cluster_ids {ids}"])
        store.set(_RECORD, {"cluster_name": self.cluster_name})
        return [cluster.cluster_id for cluster in found]


def _ready_or_raise(cluster_id: str, verdict: Verdict, word: str) -> str:
    if verdict is Verdict.READY:
        return cluster_id
    raise failure_of(cluster_id, verdict, word)
