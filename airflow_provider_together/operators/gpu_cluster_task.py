"""
What a task that makes a cluster does while it runs; DAG files import :mod:`.gpu_cluster` alone.

It puts the owner, its memory and the engine's flow together, and gives the cluster back when the wait for it fails.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.exceptions import NotFoundError, TogetherError
from airflow_provider_together.lifecycle.create import create_or_adopt
from airflow_provider_together.lifecycle.owner import Creation, Identity
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of
from airflow_provider_together.operators.base import ADOPTED_KEY, RESERVATION_KEY
from airflow_provider_together.operators.surroundings import check_surroundings
from airflow_provider_together.runtime.compat.task_state import goes_on_without
from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowRuntimeError
from airflow_provider_together.runtime.deferral import Outcome, look_of
from airflow_provider_together.runtime.memory import OwnerMemory, forget_cluster
from airflow_provider_together.runtime.parameters import read_or, seconds_of, truth_of
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator


class CreateTask:
    """
    What :class:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator` needs for a cluster.

    :param operator: with its parameters rendered.
    :param context: of the task that runs.
    """

    def __init__(self, operator: CreateGPUClusterOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._ti: Any = context["ti"]
        self._log = operator.log
        #: The cluster that a kill has to delete.
        self._own: Cluster | None = None
        #: The reservation that the cluster is, if it is one.
        self._paid: Reservation | None = None

    @property
    def what(self) -> str:
        """The cluster, by its id."""
        return f"cluster {self._own_xcom('cluster_id')}"

    @property
    def owns(self) -> bool:
        """Whether there is a cluster that a kill has to delete."""
        return self._own is not None

    def start(self) -> str:
        """Make or adopt the cluster; wait for it if asked to. Return its id."""
        operator = self._operator
        check_surroundings(operator, self._ti)
        creation = self._create()
        cluster_id = creation.cluster.cluster_id
        if not truth_of("wait_for_completion", operator.wait_for_completion):
            return cluster_id
        gives_back = self._deletes_on_failure and creation.is_ours
        self._ti.xcom_push(key="delete_on_failure", value=gives_back)
        operator.raise_if_killed()
        if operator.is_deferrable:
            may_go = self._left_alive() is None
            operator.defer_until_ready(cluster_id, delete_on_kill=gives_back and may_go, paid=self._paid)
        look = operator.wait_here(cluster_id, paid=self._paid)
        return self._conclude(Outcome(cluster_id, look.verdict, look.word, look.error), gives_back=gives_back)

    def conclude(self, event: Any) -> str:
        """Go on after the triggerer has waited."""
        return self._conclude(look_of(event), gives_back=bool(self._own_xcom("delete_on_failure")))

    def release_known(self) -> str:
        """Delete the cluster that an earlier part of the task has made; return a sentence on the outcome."""
        cluster_id = self._own_xcom("cluster_id")
        return self._clean_up(cluster_id) if cluster_id and self._own_xcom("delete_on_failure") else ""

    def release_killed(self, *, is_urgent: bool) -> None:  # noqa: ARG002 - one request, of two seconds at the most
        """Delete the cluster of a try that was killed, once, unless the task goes on without that try."""
        cluster, self._own = self._own, None
        if cluster is None or not self._deletes_on_failure:
            return
        try:
            if left_alive := self._left_alive():
                self._log.warning("Cluster %s: %s", cluster.cluster_id, left_alive)
                return
            if goes_on_without(self._ti):
                self._log.info("Cluster %s is left alive: another try of this task works with it.", cluster.cluster_id)
                return
            self._operator.running.delete_now(cluster.cluster_id)
        except NotFoundError:
            self._log.info("Cluster %s is not there any more.", cluster.cluster_id)
        except (TogetherError, AirflowRuntimeError) as error:
            # Raised from a signal handler it would strike the task at any line.
            self._log.error("%s Cluster %s is still billed.", error, cluster.cluster_id)

    @property
    def _deletes_on_failure(self) -> bool:
        return truth_of("delete_on_failure", self._operator.delete_on_failure)

    @property
    def _deletes_reserved(self) -> bool:
        return truth_of("delete_reserved", self._operator.delete_reserved)

    def _create(self) -> Creation:
        operator, client, settings = self._operator, self._operator.hook.client, self._operator.hook.settings
        memory = OwnerMemory.of(
            self._context,
            settings,
            keep_on_failure=not self._deletes_on_failure,
            delete_reserved=self._deletes_reserved,
            now=client.now,
        )
        wanted = Reservation.asked_for(operator.parameters(), now=client.now())
        flow = create_or_adopt(
            client.dialect,
            self._spec(memory, wanted),
            Identity(
                None if operator.cluster_name else memory.owner,
                is_retry=self._ti.try_number > 1,
                reservation=wanted,
                deletes_reserved=self._deletes_reserved,
            ),
            _PublishingMemory(memory, self, wanted),
            if_exists=operator.if_exists or ("fail" if operator.cluster_name else "adopt"),
            visibility=settings.visibility,
            heal=memory.owner.deployment if truth_of("sweep_expired", operator.sweep_expired) else None,
        )
        creation = operator.running.run_flow(flow)
        if not creation.is_ours:
            self._ti.xcom_push(key=ADOPTED_KEY, value=creation.cluster.cluster_id)
            operator.publish(self._context, creation.cluster)
            self._paid = reservation_of(creation.cluster, wanted)
        if self._paid is not None:
            self._log.info("Cluster %s is %s.", creation.cluster.cluster_id, self._paid)
        operator.raise_if_killed()
        return creation

    def _spec(self, memory: OwnerMemory, wanted: Reservation | None) -> ClusterSpec:
        operator, values = self._operator, self._operator.parameters()
        if operator.cluster_name is None:
            values["cluster_name"] = memory.new_name(lifetime=operator.lifetime(wanted))
        return ClusterSpec.parse(values)

    def own(self, cluster: Cluster, paid: Reservation | None) -> None:
        """Take a cluster for the one that a kill has to delete, unless it is a reservation."""
        self._paid, self._own = paid, cluster  # in this order: a timeout strikes between any two lines

    def publish(self, cluster: Cluster, paid: Reservation | None) -> None:
        """
        Publish the cluster that this task has made or found to be its own.

        :param paid: the reservation that it is, by what is on record.
        """
        self._paid = paid
        self._operator.publish(self._context, cluster)
        if paid is not None:
            self._ti.xcom_push(key=RESERVATION_KEY, value={"cluster_id": cluster.cluster_id, **asdict(paid)})

    def _left_alive(self) -> str | None:
        """Return a sentence on why no clean-up deletes the cluster, if it is a reservation."""
        paid = self._paid
        if paid is None or not paid.is_paid(self._operator.hook.client.now()) or self._deletes_reserved:
            return None
        return (
            f"It is left alive: it is {paid}, and deleting it early is not refunded. A retry of this task adopts it. "
            "To have it deleted all the same, give delete_reserved=True."
        )

    def _recall_reservation(self) -> None:
        """Recall what an earlier part of the task, in another process, has published of the reservation."""
        if self._paid is None and (published := self._own_xcom(RESERVATION_KEY)):
            told = {name: published[name] for name in ("billing_type", "starts", "ends")}
            self._paid = Reservation(**told)

    def _conclude(self, outcome: Outcome, *, gives_back: bool) -> str:
        if outcome.verdict is Verdict.READY:
            return outcome.cluster_id
        self._recall_reservation()
        fate = self._left_alive() or "It is left alive, and is billed until it is deleted."
        if gives_back:
            fate = self._clean_up(outcome.cluster_id)
        error = outcome.failure(fate=fate)
        if outcome.verdict is Verdict.REFUSED:
            raise error
        # A retry makes a new cluster, so it may help even where this cluster is lost.
        raise AirflowException(str(error)) from None

    def _clean_up(self, cluster_id: str) -> str:
        self._recall_reservation()
        if left_alive := self._left_alive():
            return left_alive
        if goes_on_without(self._ti):
            return "It is left alive: another try of this task works with it."
        poll_interval = read_or(seconds_of, "poll_interval", self._operator.poll_interval, default=math.inf)
        name = self._own_xcom("cluster_name") or ""
        fate = self._operator.running.clean_up(cluster_id, cluster_name=name, poll_interval=poll_interval)
        forget_cluster(self._context)
        return fate

    def _own_xcom(self, key: str) -> Any:
        return self._ti.xcom_pull(task_ids=self._ti.task_id, key=key, map_indexes=self._ti.map_index)


class _PublishingMemory:
    """
    The memory of the owner, which tells the task of a cluster before it is recorded, and publishes it after that.

    In that order: what a signal strikes between the two is deleted by the task, which knows it already.
    """

    def __init__(self, memory: OwnerMemory, task: CreateTask, wanted: Reservation | None) -> None:
        self._memory = memory
        self._task = task
        self._wanted = wanted
        self.recall = memory.recall
        self.begin = memory.begin
        self.withdraw = memory.withdraw

    def keep(self, cluster: Cluster) -> None:
        self._task.own(cluster, reservation_of(cluster, self._wanted))
        self._memory.keep(cluster)
        self._task.publish(cluster, self._memory.recall().reservation)
