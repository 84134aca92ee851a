"""
Operations of several requests, each written once as a generator, for both drivers.

A flow decides what to ask next; it sends nothing, sleeps never and reads no clock: it yields a
:class:`~airflow_provider_together.api.call.Call`, a :class:`~airflow_provider_together.api.call.Pause` or a
:class:`~airflow_provider_together.api.call.Note`, and its driver does the rest. A test can drive one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.api.models import Cluster, SharedVolume
from airflow_provider_together.api.naming import ClusterName, Owner
from airflow_provider_together.api.polling import GoneWait, Look, ReadyWait, Verdict, duration
from airflow_provider_together.exceptions import (
    NameTakenError,
    NotFoundError,
    OutcomeUnknownError,
    SpecMismatchError,
    TogetherError,
    TransientError,
)

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect
    from airflow_provider_together.api.specs import ClusterSpec, SharedVolumeSpec

T = TypeVar("T")

IfExists = Literal["adopt", "fail"]

#: How long a new cluster may take to show in the list, in seconds. Together promises nothing; after a create
#: whose answer was lost this is how long its effect is looked for.
VISIBILITY_SECONDS = 60.0
_FIRST_LOOK = 1.0
_LONGEST_LOOK = 15.0


@dataclass(frozen=True, slots=True)
class Intent(Note):
    """A cluster of this name is about to be asked for."""

    cluster_name: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn(Note):
    """The cluster of the last intent was refused: it was not made."""


@dataclass(frozen=True, slots=True)
class Created(Note):
    """This cluster exists now, and is ours."""

    cluster: Cluster | None = None


@dataclass(frozen=True, slots=True)
class Creation:
    """
    How a create ended.

    :param cluster: the cluster.
    :param is_ours: whether this owner made it; False for somebody else's that the user said to adopt.
    """

    cluster: Cluster
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """
    How a cluster is recognised as the one that a create is about.

    :param owner: for a name that we made: the task instance in it. None for a name of the user's own.
    :param recorded_id: id that this owner noted after an earlier create.
    :param recorded_name: name that this owner noted before an earlier create.
    """

    owner: Owner | None = None
    recorded_id: str | None = None
    recorded_name: str | None = None

    @property
    def has_open_request(self) -> bool:
        """Whether an earlier try asked for a cluster and never learned what came of it."""
        return bool(self.recorded_name) and not self.recorded_id

    def matches(self, cluster: Cluster, spec: ClusterSpec) -> bool:
        """Whether the cluster has the name that is looked for."""
        if self.owner is None:
            return cluster.cluster_name == spec.cluster_name
        name = ClusterName.parse(cluster.cluster_name)
        return name is not None and name.is_of(self.owner)

    def is_made_by_owner(self, cluster: Cluster) -> bool:
        """Whether there is proof that this owner made the cluster."""
        if self.owner is not None or cluster.cluster_id == self.recorded_id:
            return True
        return self.recorded_name is not None and cluster.cluster_name == self.recorded_name


def create_or_adopt(dialect: Dialect, spec: ClusterSpec, identity: Identity, *, if_exists: IfExists) -> Flow[Creation]:
    """
    Make a cluster, unless there is one already that this create is about.

    It looks before it asks, and looks again when the answer to its one POST is lost.

    :param identity: how that cluster would be recognised.
    :param if_exists: ``adopt`` takes a live one, ``fail`` refuses one that this owner did not make.
    :raises NameTakenError: if somebody else's live cluster has the name and ``if_exists`` is ``fail``.
    :raises SpecMismatchError: if the live one is not what the spec describes.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    create = dialect.create_cluster(spec)  # checks the spec against the dialect before anything is sent
    found = yield from _find_cluster(dialect, spec, identity)
    if found is None and identity.has_open_request:
        yield Note(f"An earlier try may have asked for it. Looking for it for {duration(VISIBILITY_SECONDS)}.")
        found = yield from _look_longer(lambda: _find_cluster(dialect, spec, identity))
    if found is not None:
        creation = _adopted(found, spec, identity, if_exists=if_exists)
        message = f"Adopting {_described(found)}: it exists already."
        yield (Created(message, found) if creation.is_ours else Note(f"{message} It is not ours, so it stays alive."))
        return creation
    yield Intent(f"Asking for {_wanted(spec)}.", spec.cluster_name)
    try:
        cluster = yield from create
    except OutcomeUnknownError as error:
        cluster = yield from _look_for_effect(dialect, spec, identity, error)
    except TogetherError:
        yield Withdrawn(f"Cluster {spec.cluster_name!r} was not made.")
        raise
    yield Created(f"Created {_described(cluster)}.", cluster)
    return Creation(cluster, is_ours=True)


def wait_until_ready(dialect: Dialect, wait: ReadyWait) -> Flow[Look]:
    """Look at a cluster until there is a verdict; the pace and the verdict are the wait's."""
    return (yield from _poll(dialect, wait))


def look_once(dialect: Dialect, wait: ReadyWait) -> Flow[Look]:
    """
    Look at a cluster for somebody who comes again by himself.

    Only an absence is settled at once, which takes up to
    :data:`~airflow_provider_together.api.polling.ABSENCE_SECONDS`: a caller that is a new process each time could
    not tell how long it has lasted.
    """
    look = yield from _poll_once(dialect, wait)
    while wait.is_absence_open and not look.is_over:
        yield from Pause(look.delay)
        look = yield from _poll_once(dialect, wait)
    return look


def delete_and_prove(dialect: Dialect, wait: GoneWait) -> Flow[Look]:
    """
    Delete a cluster and wait until neither Get nor List shows it.

    :returns: GONE, TIMED_OUT or REFUSED.
    """
    look = yield from request_deletion(dialect, wait)
    return look if look is not None else (yield from prove_gone(dialect, wait))


def request_deletion(dialect: Dialect, wait: GoneWait) -> Flow[Look | None]:
    """
    Ask for the deletion of a cluster until Together accepts it, or knows no such cluster.

    Refusals and faults are met with patience until the wait's deadline, since the cluster costs money as long as
    it lives.

    :returns: None, or TIMED_OUT or REFUSED if it did not get through.
    """
    delete = dialect.delete_cluster(wait.cluster_id).once()
    while True:
        try:
            yield from delete
        except NotFoundError:
            yield Note(f"Together knows no cluster {wait.cluster_id}; making sure.")
            return None
        except TogetherError as error:
            look = wait.on_error(error, now=(yield from Pause(0)))
        else:
            wait.accept()
            yield Note(f"Cluster {wait.cluster_id} was asked to go; waiting until it is gone.")
            return None
        if look.news:
            yield Note(look.news)
        if look.is_over:
            return look
        yield from Pause(look.delay)


def prove_gone(dialect: Dialect, wait: GoneWait) -> Flow[Look]:
    """Wait until neither Get nor List shows a cluster that was asked to go."""
    while True:
        look = yield from _poll_once(dialect, wait)
        if look.verdict is Verdict.GONE:
            try:
                clusters = yield from dialect.list_clusters().once()
            except NotFoundError:  # no list at all, which proves nothing
                look = wait.on_listed(now=(yield from Pause(0)))
            except TogetherError as error:
                look = wait.on_error(error, now=(yield from Pause(0)))
            else:
                if all(cluster.cluster_id != wait.cluster_id for cluster in clusters):
                    return look
                look = wait.on_listed(now=(yield from Pause(0)))
        if look.is_over:
            return look
        yield from Pause(look.delay)


def find_by_name(dialect: Dialect, cluster_name: str) -> Flow[list[Cluster]]:
    """Return all clusters of exactly this name, whatever their state."""
    clusters = yield from dialect.list_clusters()
    return [cluster for cluster in clusters if cluster.cluster_name == cluster_name]


def ensure_shared_volume(dialect: Dialect, spec: SharedVolumeSpec, *, if_exists: IfExists) -> Flow[SharedVolume]:
    """
    Make a shared volume, unless there is one of that name already.

    :param if_exists: ``adopt`` takes it if it is large enough, ``fail`` refuses.
    :raises NameTakenError: if there is one and ``if_exists`` is ``fail``, or if there are several.
    :raises SpecMismatchError: if it is smaller than the spec asks for.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    create = dialect.create_shared_volume(spec)
    found = yield from _find_volume(dialect, spec.volume_name)
    if found is not None:
        if if_exists == "fail":
            message = (
                f"shared volume {spec.volume_name!r} exists already ({found.volume_id}): "
                "choose another name, or use it with if_exists='adopt'"
            )
            raise NameTakenError(message)
        if found.size_tib is not None and found.size_tib < spec.size_tib:
            message = (
                f"shared volume {spec.volume_name!r} ({found.volume_id}) has {found.size_tib} TiB, "
                f"not {spec.size_tib}: grow it with UpdateSharedVolumeOperator"
            )
            raise SpecMismatchError(message)
        yield Note(f"Using shared volume {spec.volume_name!r} ({found.volume_id}): it exists already.")
        return found
    try:
        return (yield from create)
    except OutcomeUnknownError:
        found = yield from _look_longer(lambda: _find_volume(dialect, spec.volume_name))
        if found is None:
            raise
        return found


def _poll(dialect: Dialect, wait: ReadyWait | GoneWait) -> Flow[Look]:
    while True:
        look = yield from _poll_once(dialect, wait)
        if look.is_over:
            return look
        yield from Pause(look.delay)


def _poll_once(dialect: Dialect, wait: ReadyWait | GoneWait) -> Flow[Look]:
    get = dialect.get_cluster(wait.cluster_id).once()
    try:
        cluster = yield from get
    except TogetherError as error:
        look = wait.on_error(error, now=(yield from Pause(0)))
    else:
        look = wait.on_cluster(cluster, now=(yield from Pause(0)))
    if look.news:
        yield Note(look.news)
    return look


def _oldest(identity: Identity, spec: ClusterSpec, clusters: Sequence[Cluster]) -> Cluster | None:
    """Return the live cluster that the create is about; of several the oldest, ties broken by id."""
    matching = [c for c in clusters if c.phase.is_alive and identity.matches(c, spec)]
    return min(matching, key=lambda c: (c.cluster_id != identity.recorded_id, _age_key(c)), default=None)


def _age_key(cluster: Cluster) -> tuple[float, str, str]:
    # The older API tells no creation time; the end of life in the name grows with it.
    created = cluster.created_at.timestamp() if cluster.created_at is not None else float("inf")
    return (created, cluster.cluster_name, cluster.cluster_id)


def _adopted(cluster: Cluster, spec: ClusterSpec, identity: Identity, *, if_exists: IfExists) -> Creation:
    is_ours = identity.is_made_by_owner(cluster)
    if not is_ours and if_exists == "fail":
        message = (
            f"{_described(cluster)} lives already, and nothing says that this task made it: choose another "
            "cluster_name, delete it, or use it with if_exists='adopt' (it is then left alive by every clean-up)"
        )
        raise NameTakenError(message)
    differences = _differences(cluster, spec)
    if differences:
        message = (
            f"{_described(cluster)} lives already, but differs from what is asked for: {', '.join(differences)}. "
            "Delete it, or ask for what it is."
        )
        raise SpecMismatchError(message)
    return Creation(cluster, is_ours=is_ours)


def _differences(cluster: Cluster, spec: ClusterSpec) -> list[str]:
    """Compare what answers tell; what they leave out is no difference."""
    names = ("region", "gpu_type", "num_gpus", "cluster_type", "driver_version")
    pairs = [(name, getattr(cluster, name), getattr(spec, name)) for name in names]
    return [f"{name} is {has!r}, not {wants!r}" for name, has, wants in pairs if has and wants and has != wants]


def _look_for_effect(
    dialect: Dialect, spec: ClusterSpec, identity: Identity, error: OutcomeUnknownError
) -> Flow[Cluster]:
    """Look for the cluster of a POST whose answer was lost, for as long as a list may lag."""
    yield Note(f"{error} Looking for it for {duration(VISIBILITY_SECONDS)}.")
    found = yield from _look_longer(lambda: _find_cluster(dialect, spec, identity))
    if found is not None:
        return found
    message = (
        f"{error} No cluster named {spec.cluster_name!r} has shown up within {duration(VISIBILITY_SECONDS)}; "
        "a retry of the task looks again before it asks again."
    )
    raise OutcomeUnknownError(message) from error


def _find_cluster(dialect: Dialect, spec: ClusterSpec, identity: Identity) -> Flow[Cluster | None]:
    return _oldest(identity, spec, (yield from dialect.list_clusters()))


def _look_longer(look: Callable[[], Flow[T | None]]) -> Flow[T | None]:
    """Look again and again for something that was asked for, for as long as a list may lag."""
    for seconds in _looks():
        yield from Pause(seconds)
        try:
            found = yield from look()
        except TransientError as failed:
            # Ending here would look like an error after which asking again is safe.
            yield Note(f"{failed} Looking again.")
            continue
        if found is not None:
            return found
    return None


def _looks() -> list[float]:
    """Return the pauses between looks, in seconds, that add up to the visibility time."""
    pauses: list[float] = []
    pause = _FIRST_LOOK
    while sum(pauses) < VISIBILITY_SECONDS:
        pauses.append(min(pause, _LONGEST_LOOK, VISIBILITY_SECONDS - sum(pauses)))
        pause *= 2
    return pauses


def _find_volume(dialect: Dialect, volume_name: str) -> Flow[SharedVolume | None]:
    volumes = yield from dialect.list_shared_volumes()
    found = [volume for volume in volumes if volume.volume_name == volume_name]
    if len(found) > 1:
        ids = ", ".join(volume.volume_id for volume in found)
        message = f"there are {len(found)} shared volumes named {volume_name!r} ({ids}): attach one by its volume_id"
        raise NameTakenError(message)
    return found[0] if found else None


def _described(cluster: Cluster) -> str:
    return f"cluster {cluster.cluster_name!r} ({cluster.cluster_id}, {cluster.status or 'status unknown'})"


def _wanted(spec: ClusterSpec) -> str:
    days = f" for {spec.duration_days} days" if spec.duration_days is not None else ""
    return (
        f"cluster {spec.cluster_name!r}: {spec.num_gpus} x {spec.gpu_type} in {spec.region}, {spec.billing_type}{days}"
    )
