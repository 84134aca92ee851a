"""
What one task instance remembers of its cluster, from one try to the next and between tries that run at once.

Two places: the storage of the task itself (Airflow 3.3 and later), which survives retry, SIGKILL and clear and is
read by nobody else, and the deployment's registry, which leads from a cluster's name to its run and is all there is
before 3.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.owner import Record
from airflow_provider_together.runtime.compat.storage import has_state_store, state_store
from airflow_provider_together.runtime.registry import Entry, Registry, deployment_of, registry

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.api.settings import Settings
    from airflow_provider_together.lifecycle.reservation import Reservation
    from airflow_provider_together.runtime.compat.storage import StateStore

#: Keys in the task's storage: whose the clusters are, what was asked for, what came of it. They are kept apart, so
#: that a try which begins to ask cannot erase the cluster that another one records at the same time.
_OWNER, _REQUEST, _CLUSTER = "together_owner", "together_request", "together_cluster"


def owner_of(context: Context, *, deployment: str = "") -> Owner:
    """Return the running task instance as an owner."""
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return Owner(deployment, ti.dag_id, ti.run_id, ti.task_id, map_index)


def deployed_owner_of(context: Context, settings: Settings) -> Owner:
    """Return the running task instance as an owner in its deployment, which is made up if there is none yet."""
    return owner_of(context, deployment=deployment_for(context, settings))


def deployment_for(context: Context, settings: Settings) -> str:
    """Return the deployment of the running task; if there is none yet, one is made up and stored."""
    # The version of the DAG is a random id that this Airflow has given, the same for all tries of a task.
    return deployment_of(settings, anchor=str(getattr(context["ti"], "dag_version_id", None) or ""))


def forget_cluster(context: Context) -> None:
    """Remove the cluster from the task's storage once it was deleted, so that a retry does not look for it."""
    state_store(context).set(_CLUSTER, {})


class OwnerMemory:
    """
    The memory of one owner.

    :param entry: what is known so far.
    :param store: the task's own storage; None before Airflow 3.3.
    :param entries: the deployment's registry.
    :param now: tells the time, in epoch seconds.
    """

    def __init__(
        self, entry: Entry, *, store: StateStore | None, entries: Registry, now: Callable[[], float] = time.time
    ) -> None:
        self._entry = entry
        self._store = store
        self._registry = entries
        self._now = now

    @classmethod
    def of(
        cls,
        context: Context,
        settings: Settings,
        *,
        keep_on_failure: bool,
        delete_reserved: bool = False,
        now: Callable[[], float] = time.time,
    ) -> Self:
        """
        Remember what earlier tries have left.

        :param keep_on_failure: whether the user wants the cluster to stay when the task fails.
        :param delete_reserved: whether the user said that a reservation may be deleted early.
        :param now: tells the time, in epoch seconds.
        """
        entries, is_retry = registry(), context["ti"].try_number > 1
        store = state_store(context) if has_state_store(context) else None
        saved = None
        if store is None and is_retry:
            saved = entries.entry(owner_of(context).digest)
        known = store.get(_OWNER) if store is not None else saved and saved.deployment
        deployment = known or deployment_for(context, settings)
        if store is not None:
            store.set(_OWNER, deployment)
        owner = owner_of(context, deployment=deployment)
        entry = Entry.of(owner, keep_on_failure=keep_on_failure, delete_reserved=delete_reserved)
        if store is None and saved is None:
            # From now on there is an entry to recall: for one that is missing Airflow would log an error.
            entries.register(entry)
        return cls(
            entry if saved is None else replace(entry, record=saved.record), store=store, entries=entries, now=now
        )

    @property
    def owner(self) -> Owner:
        """The task instance, with the deployment under which it asked first."""
        return self._entry.owner

    def new_name(self, *, lifetime: timedelta | None) -> str:
        """Name a cluster whose life begins now."""
        return str(ClusterName.of(self._entry.owner, now=datetime.now(UTC), lifetime=lifetime))

    def recall(self) -> Record:
        """Return what any try of this owner has recorded by now."""
        if self._store is None:
            saved = self._registry.entry(self._entry.owner.digest)
            return Record() if saved is None else saved.record
        request: dict[str, Any] = self._store.get(_REQUEST) or {}
        cluster: dict[str, Any] = self._store.get(_CLUSTER) or {}
        return Record(**{**request, **cluster, "has_open_request": request.get("has_open_request", False)})

    def begin(self, cluster_name: str, reservation: Reservation | None) -> None:
        """See :meth:`~airflow_provider_together.lifecycle.owner.Memory.begin`."""
        self._store_request(self.recall().begun(cluster_name, reservation))

    def withdraw(self) -> None:
        """See :meth:`~airflow_provider_together.lifecycle.owner.Memory.withdraw`."""
        self._store_request(self.recall().withdrawn())

    def keep(self, cluster: Cluster) -> None:
        """See :meth:`~airflow_provider_together.lifecycle.owner.Memory.keep`."""
        record = self.recall().kept(cluster, now=self._now())
        if self._store is not None:
            self._store.set(_CLUSTER, {"cluster_id": record.cluster_id, "noted_at": record.noted_at})
        self._store_request(record)

    def _store_request(self, record: Record) -> None:
        if self._store is not None:
            names = ("cluster_name", "has_open_request", "billing_type", "starts", "ends")
            self._store.set(_REQUEST, {name: getattr(record, name) for name in names})
        self._entry = replace(self._entry, record=record)
        self._registry.register(self._entry)
