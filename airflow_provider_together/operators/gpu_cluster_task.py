"""
What a task that makes a cluster does while it runs; a DAG's parse imports :mod:`.gpu_cluster` alone.

It puts the owner, its memory and the engine's flow together. What the operator must know of its cluster, it is told
before anything else can fail.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.lifecycle.create import create_or_adopt
from airflow_provider_together.lifecycle.owner import Creation, Identity
from airflow_provider_together.lifecycle.reservation import Reservation
from airflow_provider_together.operators.surroundings import check_surroundings
from airflow_provider_together.runtime.memory import OwnerMemory, forget_cluster
from airflow_provider_together.runtime.parameters import truth_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator

__all__ = ["check_surroundings", "create", "forget_cluster"]


def create(operator: CreateGPUClusterOperator, context: Context, wanted: Reservation | None) -> Creation:
    """
    Make or adopt the cluster of a running task.

    :param wanted: the reservation that is asked for, if it is one.
    """
    settings, client = operator.hook.settings, operator.hook.client
    deletes_reserved = truth_of("delete_reserved", operator.delete_reserved)
    memory = OwnerMemory.of(
        context,
        settings,
        keep_on_failure=not truth_of("delete_on_failure", operator.delete_on_failure),
        delete_reserved=deletes_reserved,
        now=client.now,
    )
    flow = create_or_adopt(
        client.dialect,
        _spec(operator, memory, operator.lifetime(wanted)),
        Identity(
            None if operator.cluster_name else memory.owner,
            is_retry=context["ti"].try_number > 1,
            reservation=wanted,
            deletes_reserved=deletes_reserved,
        ),
        _PublishingMemory(memory, operator, context),
        if_exists=operator.if_exists or ("fail" if operator.cluster_name else "adopt"),
        visibility=settings.visibility,
        heal=memory.owner.deployment if truth_of("sweep_expired", operator.sweep_expired) else None,
    )
    return operator.running.run_flow(flow)


def _spec(operator: CreateGPUClusterOperator, memory: OwnerMemory, lifetime: timedelta | None) -> ClusterSpec:
    values = operator.parameters()
    if operator.cluster_name is None:
        values["cluster_name"] = memory.new_name(lifetime=lifetime)
    return ClusterSpec.parse(values)


class _PublishingMemory:
    """
    The memory of the owner, which tells the operator of a cluster before it is recorded, and publishes it after that.

    In that order: what a signal strikes between the two is deleted by the operator, which knows it already.
    """

    def __init__(self, memory: OwnerMemory, operator: CreateGPUClusterOperator, context: Context) -> None:
        self._memory = memory
        self._operator = operator
        self._context = context
        self.recall = memory.recall
        self.begin = memory.begin
        self.withdraw = memory.withdraw

    def keep(self, cluster: Cluster) -> None:
        self._operator.own(cluster)
        self._memory.keep(cluster)
        self._operator.publish_own(self._context, cluster, self._memory.recall().reservation)
