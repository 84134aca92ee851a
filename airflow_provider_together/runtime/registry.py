"""
What a deployment remembers of its clusters, in Airflow variables: its own id, and whose each cluster is.

A name tells that a cluster is of this deployment, but not of which run: the run's id does not fit into it. So
each create registers its owner under the hash in the name before it asks for the cluster, and whoever lists the
clusters later, in a task or from a shell, finds the run and asks Airflow whether it is over. Variables are the
one storage that tasks and shells share on every Airflow that we support. Nothing secret is in them.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.lifecycle.name import ClusterName, Owner, deployment_id, hashed
from airflow_provider_together.lifecycle.orphans import Standing
from airflow_provider_together.lifecycle.owner import Record
from airflow_provider_together.runtime.compat.storage import Variables, variables
from airflow_provider_together.runtime.compat.task_state import run_state

log = logging.getLogger(__name__)

#: The variable that holds the id of this deployment, made up at first use.
DEPLOYMENT_VARIABLE = "together_deployment"
#: Where neither a task nor a command of Airflow's runs there are no variables: a test that calls an operator.
NO_DEPLOYMENT = "none"
_ENTRY_PREFIX = "together_cluster_"
_ID_LENGTH = 8
_OVER = frozenset({"success", "failed"})
#: Airflow tells a variable that could not be read from one that does not exist by its log only, so that an id is
#: made up after a second look, this many seconds later.
_SECOND_LOOK = 1.0


def deployment_of(settings: Settings, *, anchor: str = "", sleep: Callable[[float], None] = time.sleep) -> str:
    """
    Return the id of this deployment: the connection's, else the one kept in this Airflow's variables.

    At first use it is made up. Should two tasks do that at the same time, both ids are in names for once; each
    task finds its own again, since its owner's entry holds the deployment that it used, and two tries of one task
    make up the same id, since both have the same anchor.

    :param anchor: a random id that this Airflow has given to what runs, the same for all tries of a task.
    :param sleep: waits that many seconds, at first use.
    :raises ConfigurationError: if the variable holds no id.
    """
    if settings.deployment:
        return settings.deployment
    store = variables()
    if store is None:
        return NO_DEPLOYMENT
    known = store.get(DEPLOYMENT_VARIABLE)
    if known is None:
        sleep(_SECOND_LOOK)
        known = store.get(DEPLOYMENT_VARIABLE)
    if known is None:
        store.set(DEPLOYMENT_VARIABLE, _made_up(anchor), description="Tells this Airflow's GPU clusters from others'.")
        known = store.get(DEPLOYMENT_VARIABLE) or _made_up(anchor)
        log.info("This Airflow is deployment %r in the names of its clusters from now on.", known)
    return _checked(known)


def known_deployment(settings: Settings) -> str | None:
    """
    Return the id of this deployment without making one up.

    :raises ConfigurationError: if the variable holds no id.
    """
    if settings.deployment:
        return settings.deployment
    store = variables()
    known = None if store is None else store.get(DEPLOYMENT_VARIABLE)
    return None if known is None else _checked(known)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    Whose a cluster is.

    :param deployment: id that this Airflow had when the cluster was asked for.
    :param keep_on_failure: whether the user wants the cluster to stay when its task or run fails.
    :param delete_reserved: whether the user said that a reservation may be deleted before its paid time is over.
    :param record: what the owner has recorded of its cluster.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    keep_on_failure: bool = False
    delete_reserved: bool = False
    record: Record = field(default_factory=Record)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """
        Read an entry that was stored as JSON.

        :raises TypeError: if it is none.
        """
        return cls(**{**value, "record": Record(**value.get("record", {}))})

    @classmethod
    def of(cls, owner: Owner, *, keep_on_failure: bool, delete_reserved: bool = False) -> Self:
        """Begin the entry of an owner."""
        return cls(
            owner.deployment,
            owner.dag_id,
            owner.run_id,
            owner.task_id,
            owner.map_index,
            keep_on_failure=keep_on_failure,
            delete_reserved=delete_reserved,
        )

    @property
    def owner(self) -> Owner:
        """The task instance."""
        return Owner(self.deployment, self.dag_id, self.run_id, self.task_id, self.map_index)


class Registry:
    """
    The entries of this deployment.

    :param store: Airflow's variables; None where there are none, and nothing is remembered.
    """

    def __init__(self, store: Variables | None) -> None:
        self._store = store

    def entry(self, digest: str) -> Entry | None:
        """Return the entry under the hash of an owner; None if there is none, or none that can be read."""
        text = None if self._store is None else self._store.get(_ENTRY_PREFIX + digest)
        if text is None:
            return None
        try:
            entry = Entry.read(json.loads(text))
        except (AttributeError, TypeError, ValueError):
            log.warning("The variable %s%s holds no entry of a cluster; ignoring it.", _ENTRY_PREFIX, digest)
            return None
        # An entry that somebody has edited must not lead to another owner's run.
        return entry if entry.owner.digest == digest else None

    def entry_for(self, name: ClusterName) -> Entry | None:
        """Return the entry of the owner in a name, if the name is of this Airflow."""
        entry = self.entry(name.owner_digest)
        return entry if entry is not None and entry.deployment == name.deployment else None

    def register(self, entry: Entry) -> None:
        """Store an entry."""
        if self._store is not None:
            self._store.set(
                _ENTRY_PREFIX + entry.owner.digest,
                json.dumps(asdict(entry)),
                description="Whose GPU cluster this is; the sweep of forgotten clusters reads it.",
            )

    def forget(self, name: ClusterName) -> None:
        """Remove the entry of the owner in a name of this Airflow, whose clusters are gone."""
        if self._store is not None and self.entry_for(name) is not None:
            self._store.delete(_ENTRY_PREFIX + name.owner_digest)


def recorded_owner(owner: Owner, settings: Settings) -> tuple[Owner, Record]:
    """
    Return a task instance with the deployment in the names of its clusters, and what it has recorded of them.

    :param owner: the task instance; its deployment does not matter.
    """
    entry = registry().entry(owner.digest)
    if entry is not None:
        return entry.owner, entry.record
    return replace(owner, deployment=known_deployment(settings) or NO_DEPLOYMENT), Record()


def standing_of(entry: Entry) -> Standing:
    """
    Ask Airflow whether the run for which a cluster was made is over.

    A finished run has finished all its tasks, whatever became of them; one that is not there any more was deleted.
    """
    standing = _standing_of(entry)
    return replace(standing, reservation=entry.record.reservation, deletes_reserved=entry.delete_reserved)


def _standing_of(entry: Entry) -> Standing:
    state = run_state(entry.dag_id, entry.run_id)
    run = f"run {entry.run_id!r} of DAG {entry.dag_id!r}"
    if state is None:
        return Standing(f"{run} does not exist any more", is_over=True)
    if state == "failed" and entry.keep_on_failure:
        return Standing(f"{run} has failed, and its task {entry.task_id!r} says delete_on_failure=False")
    if state in _OVER:
        return Standing(f"{run} is over ({state})", is_over=True)
    return Standing(f"{run} is {state}", recorded_id=entry.record.cluster_id)


def registry() -> Registry:
    """Return the registry of the Airflow that this process belongs to."""
    return Registry(variables())


def _made_up(anchor: str) -> str:
    return hashed(anchor or secrets.token_hex(), length=_ID_LENGTH)


def _checked(known: str) -> str:
    try:
        return deployment_id(known.strip())
    except ConfigurationError as error:
        message = f"Airflow variable {DEPLOYMENT_VARIABLE!r}: {error}, or delete the variable"
        raise ConfigurationError(message) from None
