"""
What a task of :class:`~airflow_provider_together.operators.deletion.DeleteGPUClusterOperator` does while it runs.

The operator's other half: DAG files import the operator, and only a task that runs imports this, with the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.wording import did_you_mean
from airflow_provider_together.exceptions import MalformedAnswerError, NotFoundError, SpecError, TogetherError
from airflow_provider_together.lifecycle.delete import prove_gone, request_deletion
from airflow_provider_together.lifecycle.looking import find_by_name, find_of_owner
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.owner import Record
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of
from airflow_provider_together.operators.base import ADOPTED_KEY, RESERVATION_KEY
from airflow_provider_together.operators.deletion import DEFAULT_POLL_INTERVAL, DEFAULT_TIMEOUT
from airflow_provider_together.runtime.compat.storage import state_store
from airflow_provider_together.runtime.deferral import Outcome, defer, look_of
from airflow_provider_together.runtime.memory import owner_of
from airflow_provider_together.runtime.parameters import default_deferrable, identifier, read_or, seconds_of, truth_of
from airflow_provider_together.runtime.registry import recorded_owner, registry
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.operators.deletion import DeleteGPUClusterOperator

#: Key in the task's storage: the id or the name that was seen.
_SEEN = "together_deletion"
#: XCom key of the ids of the volumes that go with the cluster.
_VOLUMES_KEY = "volume_ids"


@dataclass(frozen=True)
class _Settings:
    """
    What a deletion goes by: the parameters as they were rendered, and the default for each that cannot be read.

    :param problems: what is wrong with the parameters.
    """

    deferrable: bool
    poll_interval: float
    timeout: float
    delete_volumes: bool
    delete_adopted: bool
    delete_reserved: bool
    problems: Sequence[str]

    def tell(self) -> None:
        """
        Fail because of wrong parameters, once nothing is left to delete.

        :raises SpecError: if there are any.
        """
        if self.problems:
            raise SpecError([*self.problems, "the cluster is deleted all the same, and nothing else is"])


class DeletionTask:
    """
    One part of a task's life in a worker: from ``execute`` to its end or the deferral, or from that to the end.

    :param operator: its parameters may be spoilt.
    :param context: of the task that runs.
    """

    def __init__(self, operator: DeleteGPUClusterOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._hook = operator.hook
        self._log = operator.log
        self._settings = self._read_settings()

    def delete(self) -> None:
        """Delete what the parameters name, and wait for the proof, unless the triggerer does."""
        targets = self._targets()
        failures: list[TogetherError] = []
        for target in targets:
            self._operator.publish(self._context, target)
            is_last = target is targets[-1]
            try:
                self._delete(target, may_defer=is_last and not failures and self._settings.deferrable)
            except TogetherError as error:  # the others cost money as well
                failures.append(error)
        if failures:
            raise failures[0]
        self._settings.tell()

    def complete(self, event: Any) -> None:
        """Go on after the triggerer has waited."""
        outcome = look_of(event)
        ti = self._context["ti"]
        name, volume_ids = (
            ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
            for key in ("cluster_name", _VOLUMES_KEY)
        )
        self._conclude(outcome, cluster_name=name or "", volume_ids=volume_ids or [])
        self._settings.tell()

    def _read_settings(self) -> _Settings:
        operator = self._operator
        try:
            operator.check_rendered_parameters()
        except SpecError as error:
            self._log.error("%s. The deletion is requested all the same.", error)
            problems = error.problems
        else:
            problems = []
        return _Settings(
            deferrable=read_or(default_deferrable, operator.deferrable, default=True),
            poll_interval=read_or(seconds_of, "poll_interval", operator.poll_interval, default=DEFAULT_POLL_INTERVAL),
            timeout=read_or(seconds_of, "timeout", operator.timeout, default=DEFAULT_TIMEOUT.total_seconds()),
            delete_volumes=read_or(truth_of, "delete_volumes", operator.delete_volumes, default=False),
            delete_adopted=read_or(truth_of, "delete_adopted", operator.delete_adopted, default=False),
            delete_reserved=read_or(truth_of, "delete_reserved", operator.delete_reserved, default=False),
            problems=problems,
        )

    def _targets(self) -> list[Cluster]:
        owners: list[tuple[Owner, Record]] = []
        if self._operator.cluster_id is not None:
            clusters = [self._known(identifier("cluster_id", self._operator.cluster_id))]
        elif self._operator.create_task_id is not None:
            owners = self._owners(identifier("create_task_id", self._operator.create_task_id))
            clusters = self._made_by(owners)
        else:
            clusters = self._named(identifier("cluster_name", self._operator.cluster_name))
        clusters = self._without_reservations(clusters, owners)
        if self._settings.delete_adopted:
            return clusters
        adopted = self._adopted_in_this_run()
        for cluster in clusters:
            if cluster.cluster_id in adopted:
                self._log.info(
                    "Cluster %s is left alive: it was adopted, not made, by this DAG run. To delete it all the same, "
                    "give delete_adopted=True.",
                    cluster.cluster_id,
                )
        return [cluster for cluster in clusters if cluster.cluster_id not in adopted]

    def _without_reservations(self, clusters: list[Cluster], owners: list[tuple[Owner, Record]]) -> list[Cluster]:
        """
        Leave out what is paid for, unless the user has asked for its deletion in so many words.

        :param owners: whose clusters these are, where ``create_task_id`` says it; else each name leads to its owner.
        """
        if self._settings.delete_reserved or not (self._operator.is_teardown or owners):
            return clusters
        published = self._of_creates(RESERVATION_KEY)
        told = {value.pop("cluster_id"): Reservation(**value) for value in map(dict, published)}
        others = []
        for cluster in clusters:
            name = ClusterName.parse(cluster.cluster_name)
            entry = registry().entry_for(name) if not owners and name is not None else None
            records = (
                record for owner, record in owners if record.proves(cluster) or (name is not None and name.is_of(owner))
            )
            record = next(records, entry and entry.record)
            known = told.get(cluster.cluster_id) or (record.reservation if record else None)
            paid = reservation_of(cluster, known)
            if paid is None or not paid.is_paid(self._hook.client.now()):
                others.append(cluster)
                continue
            self._log.warning(
                "LEFT ALIVE: cluster %s %r is %s. Deleting it early is not refunded; to have it deleted all the same, "
                "give delete_reserved=True.",
                cluster.cluster_id,
                cluster.cluster_name,
                paid,
            )
        return others

    def _known(self, cluster_id: str) -> Cluster:
        """Return what Together tells of the cluster; nothing but its id where it tells nothing."""
        client, store = self._hook.client, state_store(self._context)
        try:
            cluster = client.send(client.dialect.get_cluster(cluster_id), sleep=self._operator.sleep)
        except NotFoundError:
            if store.get(_SEEN) != cluster_id:
                self._require_that_it_existed(cluster_id)
            return Cluster(cluster_id=cluster_id)
        except TogetherError as error:
            if self._settings.delete_volumes:
                raise  # its volumes could not be found any more once it is gone
            self._log.warning("%s Deleting cluster %s without knowing its name.", error, cluster_id)
            return Cluster(cluster_id=cluster_id)
        store.set(_SEEN, cluster_id)
        return cluster

    def _require_that_it_existed(self, cluster_id: str) -> None:
        """
        Refuse an id that Together does not know, unless something says that it was the id of a cluster.

        A wrong id would look like a cluster that is gone, while the real one goes on costing money.
        """
        made = _values(self._context["ti"].xcom_pull(task_ids=self._creates(), key="cluster_id"))
        if cluster_id in made:
            return
        named = self._operator.running.run_flow(find_by_name(self._hook.client.dialect, cluster_id))
        if named:
            ids = ", ".join(cluster.cluster_id for cluster in named)
            fault = f"cluster_id={cluster_id!r} is the name of cluster {ids}: give cluster_name={cluster_id!r}"
            raise SpecError([fault])
        # What another task of this run has returned was not written by hand.
        if self._operator.takes_id_of_a_task:
            return
        fault = (
            f"cluster_id={cluster_id!r} is unknown to Together, and no task of this run has made such a cluster: "
            f"check the id, and whether connection {self._operator.together_conn_id!r} is that of the cluster's project"
        )
        raise SpecError([fault])

    def _named(self, cluster_name: str) -> list[Cluster]:
        """Return the clusters of the name; remember that it was seen, so that a retry may find nothing."""
        found = self._operator.running.run_flow(find_by_name(self._hook.client.dialect, cluster_name))
        is_made_by_us = ClusterName.parse(cluster_name) is not None
        store = state_store(self._context)
        if not found:
            if is_made_by_us or store.get(_SEEN) == cluster_name:
                self._log.info("No cluster named %r is there any more.", cluster_name)
                return []
            raise SpecError([f"cluster_name={cluster_name!r} is unknown: no cluster of that name exists"])
        if len(found) > 1 and not is_made_by_us:
            ids = ", ".join(cluster.cluster_id for cluster in found)
            raise SpecError([f"cluster_name={cluster_name!r} is ambiguous: give one of the cluster_ids {ids}"])
        store.set(_SEEN, cluster_name)
        return found

    def _made_by(self, owners: list[tuple[Owner, Record]]) -> list[Cluster]:
        """Return what the instances of a task have made."""
        settings, found = self._hook.settings, []
        for owner, record in owners:
            flow = find_of_owner(self._hook.client.dialect, owner, record, visibility=settings.visibility)
            found += self._operator.running.run_flow(flow)
        if not found:
            self._log.info("Task %r has no cluster in this run.", self._operator.create_task_id)
        return found

    def _owners(self, task_id: str) -> list[tuple[Owner, Record]]:
        """
        Return the instances of the task that makes clusters whose clusters are to be deleted, and their records.

        That is the one of this map index if both are mapped, else all of them.

        :raises SpecError: if the DAG has no such task, or one that makes no clusters.
        """
        known = self._creates()
        if task_id not in known:
            fault = f"create_task_id={task_id!r} is not a task of this DAG that makes clusters"
            ids = ", ".join(map(repr, known)) or "those, of which it has none"
            raise SpecError([f"{fault}{did_you_mean(task_id, known)}: give one of {ids}"])
        own, ti = replace(owner_of(self._context), task_id=task_id), self._context["ti"]
        create = self._context["dag"].get_task(task_id)
        if not create.is_mapped and create.get_closest_mapped_task_group() is None:
            indexes: Iterable[int] = [-1]
        elif own.map_index >= 0:
            indexes = [own.map_index]
        else:
            count = ti.get_ti_count(dag_id=own.dag_id, task_ids=[task_id], run_ids=[own.run_id])
            indexes = range(count)
        return [recorded_owner(replace(own, map_index=index), self._hook.settings) for index in indexes]

    def _adopted_in_this_run(self) -> list[str]:
        return self._of_creates(ADOPTED_KEY)

    def _of_creates(self, key: str) -> list[Any]:
        """Return what all creates of this run have published under a key."""
        creates = self._creates()
        return list(filter(None, self._context["ti"].xcom_pull(task_ids=creates, key=key))) if creates else []

    def _creates(self) -> list[str]:
        """Return the ids of the tasks of this DAG that make clusters."""
        return [
            task.task_id
            for task in self._context["dag"].tasks
            if getattr(getattr(task, "operator_class", type(task)), "makes_clusters", False)
        ]

    def _delete(self, cluster: Cluster, *, may_defer: bool) -> None:
        dialect, now = self._hook.client.dialect, self._hook.client.now()
        timeout, poll_interval = self._settings.timeout, self._settings.poll_interval
        attached = [volume.volume_id for volume in cluster.volumes if volume.volume_id]
        volume_ids = attached if self._settings.delete_volumes else []
        if attached and any("delete_volumes" in problem for problem in self._settings.problems):
            self._log.error("Volumes %s of cluster %s are left, and billed.", ", ".join(attached), cluster.cluster_id)
        self._context["ti"].xcom_push(key=_VOLUMES_KEY, value=volume_ids)
        wait = GoneWait(cluster.cluster_id, started=now, deadline=now + timeout, poll_interval=poll_interval)
        look = self._operator.running.run_flow(request_deletion(dialect, wait))
        if look is None and may_defer and wait.is_accepted:
            defer(self._operator, wait, self._operator.together_conn_id)
        if look is None:
            look = self._operator.running.run_flow(prove_gone(dialect, wait))
        outcome = Outcome(cluster.cluster_id, look.verdict, look.word, look.error)
        self._conclude(outcome, cluster_name=cluster.cluster_name, volume_ids=volume_ids)

    def _conclude(self, outcome: Outcome, *, cluster_name: str, volume_ids: Sequence[str]) -> None:
        """Delete the volumes that go with a cluster that is gone, and forget whose it was."""
        if outcome.verdict is not Verdict.GONE:
            raise outcome.failure(fate="It is still there, and billed until it is gone.")
        self._log.info("Cluster %s is gone: neither Get nor List shows it.", outcome.cluster_id)
        for volume_id in volume_ids:
            try:
                self._operator.running.send_while_busy(
                    self._hook.client.dialect.delete_shared_volume(volume_id),
                    timeout=self._settings.timeout,
                    poll_interval=self._settings.poll_interval,
                    billed=f"Shared volume {volume_id} is still billed; cluster {outcome.cluster_id} is gone.",
                )
            except NotFoundError:
                continue
            self._log.info("Shared volume %s, which was attached to it, is deleted with its data.", volume_id)
        if hidden := self._operator.running.forget_owner(cluster_name):
            message = (
                f"Cluster {outcome.cluster_id} is gone, but Together's list has an entry named {hidden[0]!r} without "
                "an id, which may be another cluster of the same task. A retry looks for it."
            )
            raise MalformedAnswerError(message)


def _values(pulled: Any) -> list[Any]:
    """Return the values of an XCom of several tasks, some of which may be mapped."""
    if isinstance(pulled, str) or not isinstance(pulled, Iterable):
        return [pulled]
    return [value for item in pulled for value in _values(item)]
