"""
The operator that deletes GPU clusters and proves that they are gone.

Kept apart from those that make them, since it must work without anything that they have left behind: it needs
an id or a name, and no XCom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_together.api.verdict import Verdict
from airflow_provider_together.compat import state_store
from airflow_provider_together.exceptions import NotFoundError, SpecError, TogetherError
from airflow_provider_together.hooks.deferral import defer, look_of
from airflow_provider_together.hooks.failures import task_failures
from airflow_provider_together.operators.base import ADOPTED_KEY, RESERVATION_KEY, TogetherOperator
from airflow_provider_together.parameters import default_deferrable, seconds_of, truth_of

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.api.models import Cluster

#: Key in the task's storage: the name that was seen.
_SEEN = "together_deletion"
#: XCom key of the ids of the volumes that go with the cluster.
_VOLUMES_KEY = "volume_ids"


class DeleteGPUClusterOperator(TogetherOperator):
    """
    Delete a GPU cluster and wait until neither Get nor List shows it any more.

    Deleting one that is gone already is a success. A ``cluster_name`` of your own that does not exist
    is an error, since it may be misspelt while the real one goes on costing money.

    :param cluster_id: id of the cluster; may be left out, or be empty, if there is a name.
    :param cluster_name: its name, for where no id is known.
    :param made_by: instead of both, the id of the task of this DAG that makes clusters. What it has made in this run,
        for this map index, is deleted, also if it has failed and told nobody an id; nothing is a success.
    :param delete_adopted: whether to delete also a cluster of somebody else's that a create of this DAG run has
        adopted with ``if_exists="adopt"``; otherwise that one is left alive.
    :param delete_reserved: whether a teardown, or ``made_by``, deletes also a ``RESERVED`` or ``SCHEDULED_CAPACITY``
        cluster whose paid time is not over, which is not refunded; otherwise that one is left alive. A task of its own
        that names the cluster by id or name deletes it.
    :param delete_volumes: whether to delete the volumes that are attached to it, too, with all data on them.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) that it may take.
    """

    adds_costs = False
    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "cluster_name",
        "made_by",
        "delete_adopted",
        "delete_reserved",
        "delete_volumes",
        "deferrable",
        "poll_interval",
        "timeout",
    )

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg | None = None,
        cluster_name: str | None = None,
        made_by: str | None = None,
        delete_adopted: bool | str = False,
        delete_reserved: bool | str = False,
        delete_volumes: bool | str = False,
        deferrable: bool | str | None = None,
        poll_interval: float | str = 10.0,
        timeout: float | timedelta | str = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if cluster_id is None and cluster_name is None and made_by is None:
            raise SpecError(["cluster_id, cluster_name and made_by are all missing: give one of them"])
        self.cluster_id = cast("str | None", cluster_id)
        self.cluster_name = cluster_name
        self.made_by = made_by
        self.delete_adopted = delete_adopted
        self.delete_reserved = delete_reserved
        self.delete_volumes = delete_volumes
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    def execute(self, context: Context) -> None:
        """Delete, and wait for the proof."""
        with task_failures():
            targets = self._targets(context)
            for target in targets:
                self.publish(context, target)
                is_last = target is targets[-1]
                self._delete(context, target, may_defer=is_last and default_deferrable(self.deferrable))

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Go on after the triggerer has waited."""
        with task_failures():
            cluster_id, verdict, word = look_of(event)
            ti = context["ti"]
            name, volume_ids = (
                ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
                for key in ("cluster_name", _VOLUMES_KEY)
            )
            self._conclude(cluster_id, verdict, word, cluster_name=name or "", volume_ids=volume_ids or [])

    def _targets(self, context: Context) -> list[Cluster]:
        if self.cluster_id:
            clusters = [self._known(self.cluster_id)]
        elif self.made_by:
            clusters = self._made_in_this_run(context, self.made_by)
        else:
            clusters = self._named(context)
        clusters = self._without_reservations(context, clusters)
        if truth_of("delete_adopted", self.delete_adopted):
            return clusters
        adopted = self._adopted_in_this_run(context)
        for cluster in clusters:
            if cluster.cluster_id in adopted:
                self.log.info(
                    "Cluster %s is left alive: it was adopted, not made, by this DAG run. To delete it all the same, "
                    "give delete_adopted=True.",
                    cluster.cluster_id,
                )
        return [cluster for cluster in clusters if cluster.cluster_id not in adopted]

    def _without_reservations(self, context: Context, clusters: list[Cluster]) -> list[Cluster]:
        """Leave out what is paid for, unless the user has asked for its deletion in so many words."""
        from airflow_provider_together.api import naming, reservation  # noqa: PLC0415 - for a task only
        from airflow_provider_together.hooks.registry import made_by, registry  # noqa: PLC0415 - for a task only
        from airflow_provider_together.operators.memory import owner_of  # noqa: PLC0415 - for a task only

        is_by_task = bool(self.made_by) and not self.cluster_id
        if truth_of("delete_reserved", self.delete_reserved) or not (self.is_teardown or is_by_task):
            return clusters
        published = self._of_creates(context, RESERVATION_KEY)
        told = {value.pop("cluster_id"): reservation.Reservation(**value) for value in map(dict, published)}
        record = None
        if is_by_task:
            _, record = made_by(replace(owner_of(context), task_id=self.made_by or ""), self.hook.settings)
        others = []
        for cluster in clusters:
            name = naming.ClusterName.parse(cluster.cluster_name)
            entry = registry().entry_for(name) if record is None and name is not None else None
            of_owner = record or (entry and entry.record)
            known = told.get(cluster.cluster_id) or (of_owner.reservation if of_owner else None)
            paid = reservation.reservation_of(cluster, known)
            if paid is None or not paid.is_paid(self.hook.client.now()):
                others.append(cluster)
                continue
            self.log.warning(
                "LEFT ALIVE: cluster %s %r is %s. Deleting it early is not refunded; to have it deleted all the same, "
                "give delete_reserved=True.",
                cluster.cluster_id,
                cluster.cluster_name,
                paid,
            )
        return others

    def _known(self, cluster_id: str) -> Cluster:
        """Return what Together tells of the cluster; nothing but its id where it tells nothing."""
        from airflow_provider_together.api.models import Cluster  # noqa: PLC0415 - for a task only

        client = self.hook.client
        try:
            return client.send(client.dialect.get_cluster(cluster_id), sleep=self.sleep)
        except NotFoundError:
            return Cluster(cluster_id=cluster_id)
        except TogetherError as error:
            if truth_of("delete_volumes", self.delete_volumes):
                raise  # its volumes could not be found any more once it is gone
            self.log.warning("%s Deleting cluster %s without knowing its name.", error, cluster_id)
            return Cluster(cluster_id=cluster_id)

    def _named(self, context: Context) -> list[Cluster]:
        """Return the clusters of the name; remember that it was seen, so that a retry may find nothing."""
        from airflow_provider_together.api import flows, naming  # noqa: PLC0415 - for a task only

        if not self.cluster_name:
            raise SpecError(["cluster_id is empty, and there is no cluster_name: nothing says what to delete"])
        found = self.run_flow(flows.find_by_name(self.hook.client.dialect, self.cluster_name))
        is_made_by_us = naming.ClusterName.parse(self.cluster_name) is not None
        store = state_store(context)
        if not found:
            if is_made_by_us or store.get(_SEEN) == self.cluster_name:
                self.log.info("No cluster named %r is there any more.", self.cluster_name)
                return []
            raise SpecError([f"cluster_name={self.cluster_name!r} is unknown: no cluster of that name exists"])
        if len(found) > 1 and not is_made_by_us:
            ids = ", ".join(cluster.cluster_id for cluster in found)
            raise SpecError([f"cluster_name={self.cluster_name!r} is ambiguous: give one of the cluster_ids {ids}"])
        store.set(_SEEN, self.cluster_name)
        return found

    def _made_in_this_run(self, context: Context, task_id: str) -> list[Cluster]:
        """Return what a task has made; its own record of that is read where all tasks may read it."""
        from airflow_provider_together.api import flows  # noqa: PLC0415 - for a task only
        from airflow_provider_together.hooks.registry import made_by  # noqa: PLC0415 - for a task only
        from airflow_provider_together.operators.memory import owner_of  # noqa: PLC0415 - for a task only

        settings = self.hook.settings
        owner, record = made_by(replace(owner_of(context), task_id=task_id), settings)
        flow = flows.find_of_owner(self.hook.client.dialect, owner, record, visibility=settings.visibility)
        found = self.run_flow(flow)
        if not found:
            self.log.info("No cluster that task %r has made in this run is there any more.", task_id)
        return found

    def _adopted_in_this_run(self, context: Context) -> list[str]:
        return self._of_creates(context, ADOPTED_KEY)

    def _of_creates(self, context: Context, key: str) -> list[Any]:
        """Return what all creates of this run have published under a key."""
        creates = [
            task.task_id
            for task in context["dag"].tasks
            if getattr(getattr(task, "operator_class", type(task)), "makes_clusters", False)
        ]
        return list(filter(None, context["ti"].xcom_pull(task_ids=creates, key=key))) if creates else []

    def _delete(self, context: Context, cluster: Cluster, *, may_defer: bool) -> None:
        from airflow_provider_together.api import flows, polling  # noqa: PLC0415 - for a task only

        dialect, now = self.hook.client.dialect, self.hook.client.now()
        timeout, poll_interval = seconds_of("timeout", self.timeout), seconds_of("poll_interval", self.poll_interval)
        volume_ids = (
            [volume.volume_id for volume in cluster.volumes if volume.volume_id]
            if truth_of("delete_volumes", self.delete_volumes)
            else []
        )
        context["ti"].xcom_push(key=_VOLUMES_KEY, value=volume_ids)
        wait = polling.GoneWait(cluster.cluster_id, started=now, deadline=now + timeout, poll_interval=poll_interval)
        look = self.run_flow(flows.request_deletion(dialect, wait))
        if look is None and may_defer and wait.is_accepted:
            defer(
                self,
                cluster.cluster_id,
                self.together_conn_id,
                poll_interval,
                started=now,
                timeout=timeout,
                wait_for="gone",
            )
        if look is None:
            look = self.run_flow(flows.prove_gone(dialect, wait))
        self._conclude(
            cluster.cluster_id, look.verdict, look.word, cluster_name=cluster.cluster_name, volume_ids=volume_ids
        )

    def _conclude(
        self, cluster_id: str, verdict: Verdict, word: str, *, cluster_name: str, volume_ids: Sequence[str]
    ) -> None:
        """Delete the volumes that go with a cluster that is gone, and forget whose it was."""
        from airflow_provider_together.api import polling  # noqa: PLC0415 - for a task only

        if verdict is not Verdict.GONE:
            fate = "It is still there, and billed until it is gone."
            raise polling.failure_of(cluster_id, verdict, word, fate=fate)
        self.log.info("Cluster %s is gone: neither Get nor List shows it.", cluster_id)
        client = self.hook.client
        for volume_id in volume_ids:
            try:
                client.send(client.dialect.delete_shared_volume(volume_id), sleep=self.sleep)
            except NotFoundError:
                continue
            self.log.info("Shared volume %s, which was attached to it, is deleted with its data.", volume_id)
        self.forget_owner(cluster_name)
