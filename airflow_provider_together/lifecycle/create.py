"""
Make a cluster, or take the one that is there: the whole way from the request to a cluster that is on record.

Which cluster is the one of an owner is decided in ``adoption.py``; here it is what is asked for, and when.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from airflow_provider_together.api.call import Flow, Note, Save
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.api.wording import counted, duration
from airflow_provider_together.exceptions import (
    ClusterFailedError,
    NameTakenError,
    OutcomeUnknownError,
    SpecMismatchError,
    TogetherError,
    TransientError,
)
from airflow_provider_together.lifecycle.adoption import ROUNDS, Adoption
from airflow_provider_together.lifecycle.looking import described, is_alive, look_longer
from airflow_provider_together.lifecycle.owner import Creation, Identity, Memory
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect
    from airflow_provider_together.api.specs import ClusterSpec


IfExists = Literal["adopt", "fail"]


def create_or_adopt(  # noqa: PLR0913 - each decides something of its own
    dialect: Dialect,
    spec: ClusterSpec,
    identity: Identity,
    memory: Memory,
    *,
    if_exists: IfExists,
    visibility: float = DEFAULT_VISIBILITY,
    heal: str | None = None,
) -> Flow[Creation]:
    """
    Make a cluster, unless there is one already that this create is about; of several of this owner keep one.

    It looks before it asks, looks again when the answer to its one POST is lost, and looks after it for what
    another try of the same owner may have made at the same time.

    :param identity: how that cluster would be recognised.
    :param memory: where it is recorded; all tries of this owner share it.
    :param if_exists: ``adopt`` takes a live one, ``fail`` refuses one that this owner did not make.
    :param visibility: seconds that a new cluster may take to show in the list.
    :param heal: deployment whose clusters are deleted where their end of life has passed; None for none.
    :raises NameTakenError: if somebody else's live cluster has the name and ``if_exists`` is ``fail``.
    :raises SpecMismatchError: if the live one is not what the spec describes.
    :raises ClusterFailedError: if this owner's reservation has failed: another one is not bought unasked.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    dialect.create_cluster(spec)  # checks the spec against the dialect before anything is sent
    adoption = Adoption(dialect, spec.cluster_name, identity, memory, visibility)
    for _ in range(ROUNDS):
        creation = yield from _create_or_adopt(adoption, spec, if_exists, heal)
        if creation is not None:
            return creation
        yield Note("Another try of this task has given that cluster back meanwhile; starting over.")
    message = f"the tries of this task give back each other's clusters named {spec.cluster_name!r}; none is kept"
    raise TransientError(message)


def _create_or_adopt(
    adoption: Adoption, spec: ClusterSpec, if_exists: IfExists, heal: str | None
) -> Flow[Creation | None]:
    """Return None if what was found or made was given back by another try meanwhile."""
    dialect, identity, memory = adoption.dialect, adoption.identity, adoption.memory
    found = yield from adoption.find(heal=heal)
    record = yield from adoption.recall()
    if found is None and record.has_open_request:
        yield Note(f"An earlier try may have asked for it. Looking for it for {duration(adoption.visibility)}.")
        found = yield from look_longer(adoption.find, adoption.visibility)
        record = yield from adoption.recall()
    if found is None:
        found = yield from adoption.recorded(record)
    if found is not None and not found.phase.is_alive:
        raise ClusterFailedError(_lost(found, reservation_of(found, record.reservation or identity.reservation)))
    if found is not None:
        creation = _adopted(found, spec, is_ours=identity.owns(found, record), if_exists=if_exists)
        message = f"Adopting {described(found)}: it exists already."
        if not creation.is_ours:
            yield Note(f"{message} It is not ours, so it stays alive.")
            return creation
        yield from adoption.keep(message, found)
        return creation if (yield from is_alive(dialect, found)) else None
    request = dialect.create_cluster(spec)
    if request.note:
        yield Note(request.note)
    intent = partial(memory.begin, spec.cluster_name, identity.reservation)
    yield from Save(intent, f"Asking for {_wanted(spec)}.")
    try:
        made = yield from request
    except OutcomeUnknownError as error:
        made = yield from adoption.look_for_effect(error)
    except TogetherError:
        yield from Save(memory.withdraw, f"Cluster {spec.cluster_name!r} was not made.")
        raise
    kept = yield from adoption.claim(made, past_id=record.cluster_id)
    return None if kept is None else Creation(kept, is_ours=True)


def _adopted(cluster: Cluster, spec: ClusterSpec, *, is_ours: bool, if_exists: IfExists) -> Creation:
    if not is_ours and if_exists == "fail":
        message = (
            f"{described(cluster)} lives already, and nothing says that this task made it: choose another "
            "cluster_name, delete it, or use it with if_exists='adopt' (it is then left alive by every clean-up)"
        )
        raise NameTakenError(message)
    differences = _differences(cluster, spec)
    if differences:
        message = (
            f"{described(cluster)} lives already, but differs from what is asked for: {', '.join(differences)}. "
            "Delete it, or ask for what it is."
        )
        raise SpecMismatchError(message)
    return Creation(cluster, is_ours=is_ours)


def _differences(cluster: Cluster, spec: ClusterSpec) -> list[str]:
    """Compare what answers tell; what they leave out is no difference."""
    names = ("region", "gpu_type", "num_gpus", "cluster_type", "driver_version")
    pairs = [(name, getattr(cluster, name), getattr(spec, name)) for name in names]
    return [f"{name} is {has!r}, not {wants!r}" for name, has, wants in pairs if has and wants and has != wants]


def _lost(cluster: Cluster, paid: Reservation | None) -> str:
    return (
        f"{described(cluster)} of this task has failed, and is paid for ({paid}): no other one is bought instead, and "
        "deleting it early is not refunded. Ask Together to repair it, and clear this task; or give "
        "delete_reserved=True, so that it is deleted and another one is bought."
    )


def _wanted(spec: ClusterSpec) -> str:
    days = f" for {counted(spec.duration_days, 'day')}" if spec.duration_days is not None else ""
    return (
        f"cluster {spec.cluster_name!r}: {spec.num_gpus} x {spec.gpu_type} in {spec.region}, {spec.billing_type}{days}"
    )
