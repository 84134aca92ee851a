"""
Operators that make and change GPU clusters; the one that deletes them stands in ``deletion.py``.

They put an engine's flow and Airflow's life of a task together, and decide nothing about requests. All
parameters may be templates; what is given literally is checked when the DAG is parsed, the rest when it
is rendered, always before a request is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, Spec
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.lifecycle import reservation
from airflow_provider_together.operators.deletion import DeleteGPUClusterOperator
from airflow_provider_together.operators.owned_resource import OwnedResourceOperator
from airflow_provider_together.operators.waiting import ReadyWaitingOperator
from airflow_provider_together.runtime.deferral import Outcome, look_of
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    fields_of,
    is_literal,
    one_of,
    optional,
    seconds_of,
    truth_of,
)
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.lifecycle.create import IfExists
    from airflow_provider_together.lifecycle.reservation import Reservation
    from airflow_provider_together.operators.gpu_cluster_task import CreateTask

#: With one of these a cluster's end of life is not counted from now.
_WITHOUT_END = ("cluster_name", "reservation_start_time")

__all__ = ["CreateGPUClusterOperator", "DeleteGPUClusterOperator", "UpdateGPUClusterOperator"]


class CreateGPUClusterOperator(ReadyWaitingOperator, OwnedResourceOperator):
    """
    Make a GPU cluster, or adopt the one that an earlier try of this task has made.

    The id is the return value. Under keys of their own ``cluster_id``, ``cluster_name``, ``region`` and
    ``console_url`` are pushed as soon as the cluster exists, before any waiting.

    :param region: region name, such as ``us-central-8``.
    :param gpu_type: ``H100_SXM``, ``H200_SXM``, ``RTX_6000_PCI``; *compute* has more.
    :param num_gpus: a positive multiple of 8.
    :param cluster_name: a name of your own, used as it is. Without one a name is made that is the same for all
        tries of this task and says whose the cluster is and when its life ends.
    :param duration_days: days to keep it; *tcloud* wants it for every billing type.
    :param max_lifetime: seconds (or a timedelta) after which nobody needs it any more; by default
        ``duration_days``. The end is carried in the name that is made, and from then on every create of this
        Airflow, and the sweep, deletes it. A reservation lives to the end of its paid time. Not with a
        ``cluster_name`` of your own, which cannot carry it.
    :param driver_version: such as ``CUDA_12_8_570``.
    :param billing_type: ``ON_DEMAND`` or ``RESERVED``; *compute* also has ``SCHEDULED_CAPACITY``.
    :param cluster_type: ``KUBERNETES`` (Together's default) or ``SLURM``, for which *compute* gets a
        ``slurm_shm_size_gib`` of 64 if none is given.
    :param shared_volume: a volume to be made with it: ``{"volume_name", "size_tib"}``.
    :param volume_id: an existing volume to attach.
    :param together_conn_id: connection of type ``together``.
    :param if_exists: what to do about a live cluster of that name: ``adopt`` it or ``fail``. By default
        a cluster of this task's own is adopted, and for a ``cluster_name`` of yours the task fails,
        since it may be somebody's.
    :param delete_on_failure: whether the cluster is deleted when waiting for it fails or the task is
        killed. A cluster that was adopted from somebody else is left alive, and so is a reservation.
    :param delete_reserved: whether ``delete_on_failure``, a kill or the replacement of a failed cluster may delete a
        ``RESERVED`` or ``SCHEDULED_CAPACITY`` cluster before its paid time is over. Together does not refund that, so
        by default it is left alive, and a retry adopts it.
    :param sweep_expired: whether to delete, from the list that is read anyway, clusters of this Airflow whose end
        of life has passed.
    :param wait_for_completion: whether to wait until it is READY.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait at the most; for capacity that starts later, from its start on.
    :param on_degraded: ``wait``, ``ready`` or ``fail`` while some nodes are unhealthy.
    :param on_paused: ``wait``, ``ready`` or ``fail`` while Together has paused it, mostly for lack of credits.

    The other parameters exist in the *compute* dialect only; see
    :class:`~airflow_provider_together.api.specs.ClusterSpec`.
    """

    template_fields: Sequence[str] = (
        *ReadyWaitingOperator.template_fields,
        *ClusterSpec.model_fields,
        "max_lifetime",
        "if_exists",
        "delete_on_failure",
        "delete_reserved",
        "sweep_expired",
        "wait_for_completion",
    )
    spec_class: ClassVar[type[Spec] | None] = ClusterSpec
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        **fields_of(ClusterSpec),
        "cluster_name": optional(fields_of(ClusterSpec)["cluster_name"]),
        "max_lifetime": optional(DURATION),
        "if_exists": optional(one_of("adopt", "fail")),
        "delete_on_failure": FLAG,
        "delete_reserved": FLAG,
        "sweep_expired": FLAG,
        "wait_for_completion": FLAG,
    }
    makes_clusters = True

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
        max_lifetime: float | timedelta | str | None = None,
        if_exists: IfExists | None = None,
        delete_on_failure: bool | str = True,
        delete_reserved: bool | str = False,
        sweep_expired: bool | str = True,
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
        self.max_lifetime = max_lifetime
        self.if_exists = if_exists
        self.delete_on_failure = delete_on_failure
        self.delete_reserved = delete_reserved
        self.sweep_expired = sweep_expired
        self.wait_for_completion = wait_for_completion
        self.check_parameters()

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        problems = ClusterSpec.conflicts(given)
        if "max_lifetime" in given and "cluster_name" in given:
            problems.append(
                f"max_lifetime={given['max_lifetime']!r} cannot be kept with cluster_name={given['cluster_name']!r}: "
                "only a name that is made carries an end of life; leave one of them out"
            )
        return problems + _lifetime_conflicts(given) + _paid_time_conflicts(given)

    def begin(self, context: Context) -> CreateTask:
        """See :meth:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator.begin`."""
        from airflow_provider_together.operators.gpu_cluster_task import CreateTask  # noqa: PLC0415 - for a task only

        return CreateTask(self, context)

    def lifetime(self, wanted: Reservation | None) -> timedelta | None:
        """Return how long the cluster lives at the most, as the name that is made says; None without an end."""
        if self.cluster_name is not None:
            return None
        ClusterSpec.check(self.parameters())  # first: a wrong duration must be told as such, not as a wrong name
        if wanted is not None and wanted.ends is not None:
            paid_for = wanted.ends - self.hook.client.now()
            if self.max_lifetime is None:
                return timedelta(seconds=paid_for)
            lifetime = seconds_of("max_lifetime", self.max_lifetime)
            if not truth_of("delete_reserved", self.delete_reserved):
                if problems := _early_end(vars(self), lifetime, paid_for):
                    raise SpecError(problems)
                return timedelta(seconds=paid_for)
        if self.max_lifetime is not None:
            return timedelta(seconds=seconds_of("max_lifetime", self.max_lifetime))
        if self.duration_days is not None:
            return timedelta(days=int(self.duration_days))
        self.log.warning(
            "This cluster has no end of life: neither max_lifetime nor duration_days is given. "
            "If it is forgotten, it is billed until the sweep sees that its DAG run is over."
        )
        return None


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
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        **fields_of(ClusterUpdate),
        "wait_for_completion": FLAG,
    }

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

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        if given.keys().isdisjoint(ClusterUpdate.model_fields):
            return ["nothing to change: give num_gpus or another field of the cluster"]
        return []

    def execute(self, context: Context) -> str:
        """Change the cluster; wait for it if asked to."""
        with task_failures():
            self.check_rendered_parameters()
            change = ClusterUpdate.parse(self.parameters())
            self.publish_link(context, self.cluster_id)
            cluster = self.running.send_while_busy(
                self.hook.client.dialect.update_cluster(self.cluster_id, change),
                timeout=seconds_of("timeout", self.timeout),
                billed=f"Cluster {self.cluster_id} is billed as it was.",
            )
            self.log.info("Changing cluster %s: %s; it is %s.", self.cluster_id, change.given(), cluster.status)
            if not truth_of("wait_for_completion", self.wait_for_completion):
                return self.cluster_id
            paid = reservation.reservation_of(cluster)
            if self.is_deferrable:
                self.defer_until_ready(self.cluster_id, num_gpus=change.num_gpus, paid=paid)
            look = self.wait_here(self.cluster_id, num_gpus=change.num_gpus, paid=paid)
            return _ready_or_raise(Outcome(self.cluster_id, look.verdict, look.word, look.error))

    def execute_complete(self, context: Context, event: Any = None) -> str:  # noqa: ARG002 - Airflow's signature
        """Go on after the triggerer has waited."""
        with task_failures():
            return _ready_or_raise(look_of(event, cluster_id=self.cluster_id))


def _lifetime_conflicts(given: Mapping[str, Any]) -> list[str]:
    """Return a sentence if a cluster would end while it is waited for, or be kept for longer than it is rented."""
    known = {name: value for name, value in given.items() if is_literal(value)}
    seconds: dict[str, float] = {}
    if "max_lifetime" in known:
        seconds["max_lifetime"] = seconds_of("max_lifetime", known["max_lifetime"])
    if "duration_days" in known:
        seconds["duration_days"] = 86400 * float(known["duration_days"])
    problems = []
    rented = seconds.get("duration_days", float("inf"))
    if known.get("billing_type") == "ON_DEMAND" and seconds.get("max_lifetime", 0.0) > rented:
        fault = f"max_lifetime={known['max_lifetime']!r} is longer than duration_days={known['duration_days']!r}"
        problems.append(f"{fault}, for which the cluster is rented: give a shorter max_lifetime or more duration_days")
    end = "max_lifetime" if "max_lifetime" in given else "duration_days"
    # A name of the user's own carries no end, and a cluster that is scheduled is waited for from its start.
    waits = given.keys().isdisjoint(_WITHOUT_END) and known.get("wait_for_completion", False)
    timeout = known.get("timeout") if truth_of("wait_for_completion", waits) else None
    if timeout is not None and seconds.get(end, float("inf")) < seconds_of("timeout", timeout):
        fault = f"{end}={known[end]!r} is shorter than timeout={timeout!r}: the cluster would be deleted"
        remedy = f"give a longer {end} or a shorter timeout"
        problems.append(f"{fault} as expired while this task still waits until it is READY; {remedy}")
    return problems


def _paid_time_conflicts(given: Mapping[str, Any]) -> list[str]:
    """
    Return a sentence if a cluster would end within the time that it is paid for as a reservation.

    A reservation that only has an end is left for the task, which knows when it begins.
    """
    known = {name: value for name, value in given.items() if is_literal(value)}
    is_kept = "delete_reserved" not in given or not truth_of("delete_reserved", known.get("delete_reserved", True))
    if "max_lifetime" not in known or not is_kept:
        return []
    paid = reservation.Reservation.asked_for(known, now=0.0)
    if paid is None or paid.ends is None or (paid.starts is None and "reservation_end_time" in given):
        return []
    return _early_end(known, seconds_of("max_lifetime", known["max_lifetime"]), paid.ends - (paid.starts or 0.0))


def _early_end(known: Mapping[str, Any], lifetime: float, paid_for: float) -> list[str]:
    if lifetime >= paid_for:
        return []
    fault = f"max_lifetime={known['max_lifetime']!r} ends before the time that this {known['billing_type']} cluster"
    remedy = "leave it out, or give delete_reserved=True"
    return [f"{fault} is paid for ({paid_for / 3600:.1f} hours), and deleting it early is not refunded: {remedy}"]


def _ready_or_raise(outcome: Outcome) -> str:
    if outcome.verdict is Verdict.READY:
        return outcome.cluster_id
    raise outcome.failure()
