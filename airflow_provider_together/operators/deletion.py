"""
The operator that deletes GPU clusters and proves that they are gone.

Kept apart from those that make them, since it must work without anything that they have left behind: it needs
an id or a name, and no XCom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.exceptions import MalformedAnswerError, NotFoundError, SpecError, TogetherError
from airflow_provider_together.operators.base import ADOPTED_KEY, RESERVATION_KEY, TogetherOperator
from airflow_provider_together.runtime.compat import state_store
from airflow_provider_together.runtime.deferral import Outcome, defer, look_of
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    default_deferrable,
    identifier,
    optional,
    read_or,
    seconds_of,
    truth_of,
)
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.lifecycle.name import Owner
    from airflow_provider_together.lifecycle.owner import Record

#: Key in the task's storage: the id or the name that was seen.
_SEEN = "together_deletion"
_POLL_INTERVAL = 10.0
_TIMEOUT = timedelta(minutes=30)
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


def _values(pulled: Any) -> list[Any]:
    """Return the values of an XCom of several tasks, some of which may be mapped."""
    if isinstance(pulled, str) or not isinstance(pulled, Iterable):
        return [pulled]
    return [value for item in pulled for value in _values(item)]


class DeleteGPUClusterOperator(TogetherOperator):
    """
    Delete a GPU cluster and wait until neither Get nor List shows it any more.

    Deleting one that is gone already is a success. A ``cluster_name`` of your own that does not exist
    is an error, since it may be misspelt while the real one goes on costing money.

    :param cluster_id: id of the cluster.
    :param cluster_name: instead of it, its name, for where no id is known.
    :param create_task_id: instead of both, the id of the task of this DAG that makes clusters. What it has made in
        this run is deleted, also if it has failed and returned no id; nothing is a success. Where both are mapped,
        that is what its instance of this map index has made, else what all of them have.
    :param delete_adopted: whether to delete also a cluster of somebody else's that a create of this DAG run has
        adopted with ``if_exists="adopt"``; otherwise that one is left alive.
    :param delete_reserved: whether a teardown, or ``create_task_id``, deletes also a ``RESERVED`` or
        ``SCHEDULED_CAPACITY`` cluster whose paid time is not over, which is not refunded; otherwise that one is left
        alive. A task of its own that names the cluster by id or name deletes it.
    :param delete_volumes: whether to delete the volumes that are attached to it, too, with all data on them.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) that it may take.
    """

    adds_costs = False
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": optional(IDENTIFIER),
        "cluster_name": optional(IDENTIFIER),
        "create_task_id": optional(IDENTIFIER),
        "delete_adopted": FLAG,
        "delete_reserved": FLAG,
        "delete_volumes": FLAG,
        "deferrable": optional(FLAG),
        "poll_interval": DURATION,
        "timeout": DURATION,
    }
    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "cluster_name",
        "create_task_id",
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
        create_task_id: str | None = None,
        delete_adopted: bool | str = False,
        delete_reserved: bool | str = False,
        delete_volumes: bool | str = False,
        deferrable: bool | str | None = None,
        poll_interval: float | str = _POLL_INTERVAL,
        timeout: float | timedelta | str = _TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cast("str | None", cluster_id)
        self.cluster_name = cluster_name
        self.create_task_id = create_task_id
        self.delete_adopted = delete_adopted
        self.delete_reserved = delete_reserved
        self.delete_volumes = delete_volumes
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.check_parameters()

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        targets = [name for name in ("cluster_id", "cluster_name", "create_task_id") if name in given]
        if not targets:
            return ["cluster_id, cluster_name and create_task_id are all missing: give one of them"]
        return [] if len(targets) == 1 else [f"{' and '.join(targets)} exclude each other: give one of them"]

    def execute(self, context: Context) -> None:
        """
        Delete, and wait for the proof.

        A setting that a template has rendered to nonsense keeps no cluster alive: the default takes its place, and the
        task fails once the cluster is gone.
        """
        with task_failures():
            settings = self._settings()
            targets = self._targets(context, settings)
            failures: list[TogetherError] = []
            for target in targets:
                self.publish(context, target)
                is_last = target is targets[-1]
                try:
                    self._delete(context, target, settings, may_defer=is_last and not failures and settings.deferrable)
                except TogetherError as error:  # the others cost money as well
                    failures.append(error)
            if failures:
                raise failures[0]
            settings.tell()

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Go on after the triggerer has waited."""
        with task_failures():
            settings = self._settings()
            outcome = look_of(event)
            ti = context["ti"]
            name, volume_ids = (
                ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
                for key in ("cluster_name", _VOLUMES_KEY)
            )
            self._conclude(outcome, settings, cluster_name=name or "", volume_ids=volume_ids or [])
            settings.tell()

    def _settings(self) -> _Settings:
        try:
            self.check_rendered_parameters()
        except SpecError as error:
            self.log.error("%s. The deletion is requested all the same.", error)  # noqa: TRY400 - a user's mistake
            problems = error.problems
        else:
            problems = []
        return _Settings(
            deferrable=read_or(default_deferrable, self.deferrable, default=True),
            poll_interval=read_or(seconds_of, "poll_interval", self.poll_interval, default=_POLL_INTERVAL),
            timeout=read_or(seconds_of, "timeout", self.timeout, default=_TIMEOUT.total_seconds()),
            delete_volumes=read_or(truth_of, "delete_volumes", self.delete_volumes, default=False),
            delete_adopted=read_or(truth_of, "delete_adopted", self.delete_adopted, default=False),
            delete_reserved=read_or(truth_of, "delete_reserved", self.delete_reserved, default=False),
            problems=problems,
        )

    def _targets(self, context: Context, settings: _Settings) -> list[Cluster]:
        owners: list[tuple[Owner, Record]] = []
        if self.cluster_id is not None:
            clusters = [self._known(context, identifier("cluster_id", self.cluster_id), settings)]
        elif self.create_task_id is not None:
            owners = self._owners(context, identifier("create_task_id", self.create_task_id))
            clusters = self._made_by(owners)
        else:
            clusters = self._named(context, identifier("cluster_name", self.cluster_name))
        clusters = self._without_reservations(context, clusters, owners, settings)
        if settings.delete_adopted:
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

    def _without_reservations(
        self, context: Context, clusters: list[Cluster], owners: list[tuple[Owner, Record]], settings: _Settings
    ) -> list[Cluster]:
        """
        Leave out what is paid for, unless the user has asked for its deletion in so many words.

        :param owners: whose clusters these are, where ``create_task_id`` says it; else each name leads to its owner.
        """
        from airflow_provider_together.lifecycle.name import ClusterName  # noqa: PLC0415 - for a task only
        from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.registry import registry  # noqa: PLC0415 - for a task only

        if settings.delete_reserved or not (self.is_teardown or owners):
            return clusters
        published = self._of_creates(context, RESERVATION_KEY)
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

    def _known(self, context: Context, cluster_id: str, settings: _Settings) -> Cluster:
        """Return what Together tells of the cluster; nothing but its id where it tells nothing."""
        from airflow_provider_together.api.models import Cluster  # noqa: PLC0415 - for a task only

        client, store = self.hook.client, state_store(context)
        try:
            cluster = client.send(client.dialect.get_cluster(cluster_id), sleep=self.sleep)
        except NotFoundError:
            if store.get(_SEEN) != cluster_id:
                self._require_that_it_existed(context, cluster_id)
            return Cluster(cluster_id=cluster_id)
        except TogetherError as error:
            if settings.delete_volumes:
                raise  # its volumes could not be found any more once it is gone
            self.log.warning("%s Deleting cluster %s without knowing its name.", error, cluster_id)
            return Cluster(cluster_id=cluster_id)
        store.set(_SEEN, cluster_id)
        return cluster

    def _require_that_it_existed(self, context: Context, cluster_id: str) -> None:
        """
        Refuse an id that Together does not know, unless something says that it was the id of a cluster.

        A wrong id would look like a cluster that is gone, while the real one goes on costing money.
        """
        from airflow_provider_together.lifecycle.looking import find_by_name  # noqa: PLC0415 - for a task only

        made = _values(context["ti"].xcom_pull(task_ids=self._creates(context), key="cluster_id"))
        if cluster_id in made:
            return
        named = self.run_flow(find_by_name(self.hook.client.dialect, cluster_id))
        if named:
            ids = ", ".join(cluster.cluster_id for cluster in named)
            fault = f"cluster_id={cluster_id!r} is the name of cluster {ids}: give cluster_name={cluster_id!r}"
            raise SpecError([fault])
        # What another task of this run has returned was not written by hand.
        if hasattr(self._as_written.get("cluster_id"), "iter_references"):
            return
        fault = (
            f"cluster_id={cluster_id!r} is unknown to Together, and no task of this run has made such a cluster: "
            f"check the id, and whether connection {self.together_conn_id!r} is that of the cluster's project"
        )
        raise SpecError([fault])

    def _named(self, context: Context, cluster_name: str) -> list[Cluster]:
        """Return the clusters of the name; remember that it was seen, so that a retry may find nothing."""
        from airflow_provider_together.lifecycle.looking import find_by_name  # noqa: PLC0415 - for a task only
        from airflow_provider_together.lifecycle.name import ClusterName  # noqa: PLC0415 - for a task only

        found = self.run_flow(find_by_name(self.hook.client.dialect, cluster_name))
        is_made_by_us = ClusterName.parse(cluster_name) is not None
        store = state_store(context)
        if not found:
            if is_made_by_us or store.get(_SEEN) == cluster_name:
                self.log.info("No cluster named %r is there any more.", cluster_name)
                return []
            raise SpecError([f"cluster_name={cluster_name!r} is unknown: no cluster of that name exists"])
        if len(found) > 1 and not is_made_by_us:
            ids = ", ".join(cluster.cluster_id for cluster in found)
            raise SpecError([f"cluster_name={cluster_name!r} is ambiguous: give one of the cluster_ids {ids}"])
        store.set(_SEEN, cluster_name)
        return found

    def _made_by(self, owners: list[tuple[Owner, Record]]) -> list[Cluster]:
        """Return what the instances of a task have made."""
        from airflow_provider_together.lifecycle.looking import find_of_owner  # noqa: PLC0415 - for a task only

        settings, found = self.hook.settings, []
        for owner, record in owners:
            flow = find_of_owner(self.hook.client.dialect, owner, record, visibility=settings.visibility)
            found += self.run_flow(flow)
        if not found:
            self.log.info("Task %r has no cluster in this run.", self.create_task_id)
        return found

    def _owners(self, context: Context, task_id: str) -> list[tuple[Owner, Record]]:
        """
        Return the instances of the task that makes clusters whose clusters are to be deleted, and their records.

        That is the one of this map index if both are mapped, else all of them.

        :raises SpecError: if the DAG has no such task, or one that makes no clusters.
        """
        from airflow_provider_together.api.wording import did_you_mean  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.memory import owner_of  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.registry import recorded_owner  # noqa: PLC0415 - for a task only

        known = self._creates(context)
        if task_id not in known:
            fault = f"create_task_id={task_id!r} is not a task of this DAG that makes clusters"
            ids = ", ".join(map(repr, known)) or "those, of which it has none"
            raise SpecError([f"{fault}{did_you_mean(task_id, known)}: give one of {ids}"])
        own, ti = replace(owner_of(context), task_id=task_id), context["ti"]
        create = context["dag"].get_task(task_id)
        if not create.is_mapped and create.get_closest_mapped_task_group() is None:
            indexes: Iterable[int] = [-1]
        elif own.map_index >= 0:
            indexes = [own.map_index]
        else:
            count = ti.get_ti_count(dag_id=own.dag_id, task_ids=[task_id], run_ids=[own.run_id])
            indexes = range(count)
        return [recorded_owner(replace(own, map_index=index), self.hook.settings) for index in indexes]

    def _adopted_in_this_run(self, context: Context) -> list[str]:
        return self._of_creates(context, ADOPTED_KEY)

    def _of_creates(self, context: Context, key: str) -> list[Any]:
        """Return what all creates of this run have published under a key."""
        creates = self._creates(context)
        return list(filter(None, context["ti"].xcom_pull(task_ids=creates, key=key))) if creates else []

    def _creates(self, context: Context) -> list[str]:
        """Return the ids of the tasks of this DAG that make clusters."""
        return [
            task.task_id
            for task in context["dag"].tasks
            if getattr(getattr(task, "operator_class", type(task)), "makes_clusters", False)
        ]

    def _delete(self, context: Context, cluster: Cluster, settings: _Settings, *, may_defer: bool) -> None:
        from airflow_provider_together.lifecycle.delete import prove_gone, request_deletion  # noqa: PLC0415 - for a task only
        from airflow_provider_together.waiting.gone import GoneWait  # noqa: PLC0415 - for a task only

        dialect, now = self.hook.client.dialect, self.hook.client.now()
        timeout, poll_interval = settings.timeout, settings.poll_interval
        attached = [volume.volume_id for volume in cluster.volumes if volume.volume_id]
        volume_ids = attached if settings.delete_volumes else []
        if attached and any("delete_volumes" in problem for problem in settings.problems):
            self.log.error("Volumes %s of cluster %s are left, and billed.", ", ".join(attached), cluster.cluster_id)
        context["ti"].xcom_push(key=_VOLUMES_KEY, value=volume_ids)
        wait = GoneWait(cluster.cluster_id, started=now, deadline=now + timeout, poll_interval=poll_interval)
        look = self.run_flow(request_deletion(dialect, wait))
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
            look = self.run_flow(prove_gone(dialect, wait))
        outcome = Outcome(cluster.cluster_id, look.verdict, look.word, look.error)
        self._conclude(outcome, settings, cluster_name=cluster.cluster_name, volume_ids=volume_ids)

    def _conclude(self, outcome: Outcome, settings: _Settings, *, cluster_name: str, volume_ids: Sequence[str]) -> None:
        """Delete the volumes that go with a cluster that is gone, and forget whose it was."""
        if outcome.verdict is not Verdict.GONE:
            raise outcome.failure(fate="It is still there, and billed until it is gone.")
        self.log.info("Cluster %s is gone: neither Get nor List shows it.", outcome.cluster_id)
        for volume_id in volume_ids:
            try:
                self.send_while_busy(
                    self.hook.client.dialect.delete_shared_volume(volume_id),
                    timeout=settings.timeout,
                    poll_interval=settings.poll_interval,
                    billed=f"Shared volume {volume_id} is still billed; cluster {outcome.cluster_id} is gone.",
                )
            except NotFoundError:
                continue
            self.log.info("Shared volume %s, which was attached to it, is deleted with its data.", volume_id)
        if hidden := self.forget_owner(cluster_name):
            message = (
                f"Cluster {outcome.cluster_id} is gone, but Together's list has an entry named {hidden[0]!r} without "
                "an id, which may be another cluster of the same task. A retry looks for it."
            )
            raise MalformedAnswerError(message)
