"""
Operations of several requests, each written once as a generator, for both drivers.

A flow decides what to ask next; it sends nothing, sleeps never and reads no clock: it yields a
:class:`~airflow_provider_together.api.call.Call`, a :class:`~airflow_provider_together.api.call.Pause` or a
:class:`~airflow_provider_together.api.call.Note`, and its driver does the rest. A test can drive one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.api.identity import (
    Created,
    Creation,
    Identity,
    Intent,
    Recall,
    Record,
    Withdrawn,
)
from airflow_provider_together.api.models import Cluster, SharedVolume
from airflow_provider_together.api.naming import ClusterName
from airflow_provider_together.api.polling import GoneWait, Look, ReadyWait, Verdict, duration
from airflow_provider_together.exceptions import (
    NameTakenError,
    NotFoundError,
    OutcomeUnknownError,
    SpecMismatchError,
    TogetherError,
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
#: Seconds between seeing two clusters of one owner and choosing, so that all its tries have recorded theirs.
_SETTLING = 5.0


def create_or_adopt(  # noqa: PLR0913 - each decides something of its own
    dialect: Dialect,
    spec: ClusterSpec,
    identity: Identity,
    *,
    if_exists: IfExists,
    visibility: float = VISIBILITY_SECONDS,
    heal: str | None = None,
) -> Flow[Creation]:
    """
    Make a cluster, unless there is one already that this create is about; of several of this owner keep one.

    It looks before it asks, looks again when the answer to its one POST is lost, and looks after it for what
    another try of the same owner may have made at the same time.

    :param identity: how that cluster would be recognised.
    :param if_exists: ``adopt`` takes a live one, ``fail`` refuses one that this owner did not make.
    :param visibility: seconds that a new cluster may take to show in the list.
    :param heal: deployment whose clusters are deleted where their end of life has passed; None for none.
    :raises NameTakenError: if somebody else's live cluster has the name and ``if_exists`` is ``fail``.
    :raises SpecMismatchError: if the live one is not what the spec describes.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    create = dialect.create_cluster(spec)  # checks the spec against the dialect before anything is sent
    name = spec.cluster_name
    record = yield from Recall()
    found = yield from _find_cluster(dialect, name, identity, record, heal=heal)
    if found is None and record.has_open_request:
        yield Note(f"An earlier try may have asked for it. Looking for it for {duration(visibility)}.")
        found = yield from _look_longer(lambda: _find_cluster(dialect, name, identity, record), visibility)
    if found is None:
        record = yield from Recall()  # by now a try beside this one may have made it
        found = yield from _recorded_cluster(dialect, record, visibility)
    if found is not None:
        creation = _adopted(found, spec, is_ours=identity.owns(found, record), if_exists=if_exists)
        message = f"Adopting {_described(found)}: it exists already."
        yield (Created(message, found) if creation.is_ours else Note(f"{message} It is not ours, so it stays alive."))
        return creation
    yield Intent(f"Asking for {_wanted(spec)}.", name)
    try:
        cluster = yield from create
    except OutcomeUnknownError as error:
        cluster = yield from _look_for_effect(dialect, name, identity, error, visibility)
    except TogetherError:
        yield Withdrawn(f"Cluster {name!r} was not made.")
        raise
    kept = yield from _claim(dialect, cluster, identity, visibility, past_id=record.cluster_id)
    return Creation(kept, is_ours=True)


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
        found = yield from _look_longer(lambda: _find_volume(dialect, spec.volume_name), VISIBILITY_SECONDS)
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


def _find_cluster(
    dialect: Dialect, name: str, identity: Identity, record: Record, *, heal: str | None = None
) -> Flow[Cluster | None]:
    """Look for the live cluster that a create is about; give back what of ours has ended, failed or is one too many."""
    clusters = yield from dialect.list_clusters()
    now = yield from Pause(0)
    usable = []
    for cluster in clusters:
        parsed = ClusterName.parse(cluster.cluster_name)
        is_match = identity.matches(cluster, name)
        is_ours = is_match and identity.owns(cluster, record)
        is_healed = parsed is not None and parsed.deployment == heal
        if not cluster.phase.has_to_be_deleted:
            continue
        if (is_ours or is_healed) and parsed is not None and parsed.is_over(now):
            yield from _give_back(dialect, cluster, why="its end of life has passed")
        elif is_ours and not cluster.phase.is_alive:
            yield from _give_back(dialect, cluster, why="it has failed, and is replaced")
        elif is_match and cluster.phase.is_alive:
            usable.append(cluster)
    return (yield from _keep_one(dialect, usable, identity, record))


def _recorded_cluster(dialect: Dialect, record: Record, visibility: float) -> Flow[Cluster | None]:
    """
    Ask for the recorded cluster by its id, since a list may miss one that lives.

    One that was recorded just now is asked for until it may be expected to be visible.
    """
    if record.cluster_id is None:
        return None
    get = dialect.get_cluster(record.cluster_id)
    while True:
        try:
            cluster = yield from get
        except NotFoundError:
            now = yield from Pause(0)
            age = now - record.noted_at
            if not 0 <= age < visibility:
                return None
            yield from Pause(min(_LONGEST_LOOK, visibility - age))
        else:
            return cluster if cluster.phase.is_alive else None


def _claim(
    dialect: Dialect, made: Cluster, identity: Identity, visibility: float, *, past_id: str | None
) -> Flow[Cluster]:
    """
    Have the cluster that was just made recorded as the owner's, unless another try was faster.

    An earlier try that was cut off from Airflow may ask at the same time. Both look after they have asked, so that
    at least the later one sees both clusters, and both go by the same order.

    :param past_id: cluster that was on record before, and is known not to live.
    """
    record, rival = (yield from Recall()), None
    if record.cluster_id not in {made.cluster_id, past_id}:
        rival = yield from _recorded_cluster(dialect, record, 0)
    if rival is not None:
        yield Created(f"Another try of this task has made {_described(rival)}.", rival)
        yield from _give_back(dialect, made, why="one is enough")
        return rival
    yield Created(f"Created {_described(made)}.", made)
    if identity.owner is None:
        return made  # another cluster of the user's own name may be anybody's
    for pause in _looks(visibility) if identity.is_retry else [0.0]:
        yield from Pause(pause)
        try:
            clusters = yield from dialect.list_clusters().once()
        except TogetherError as error:
            yield Note(f"{error} Whether this task has a second cluster is left to later looks.")
            continue
        alive = [c for c in clusters if c.phase.is_alive and identity.matches(c, made.cluster_name)]
        if rivals := [c for c in alive if c.cluster_id != made.cluster_id]:
            return (yield from _settle(dialect, made, rivals, identity))
    return made


def _settle(dialect: Dialect, made: Cluster, rivals: list[Cluster], identity: Identity) -> Flow[Cluster]:
    """Choose between clusters of tries that ran at the same time, as each of them would choose."""
    yield from Pause(_SETTLING)  # for the others to have recorded theirs
    record = yield from Recall()
    try:
        mine = yield from dialect.get_cluster(made.cluster_id).once()
    except NotFoundError:
        candidates = rivals  # another try has chosen already
    except TogetherError:
        candidates = [made, *rivals]
    else:
        candidates = [mine, *rivals] if mine.phase.is_alive else rivals
    kept = yield from _keep_one(dialect, candidates, identity, record)
    if kept is None or kept.cluster_id == made.cluster_id:
        return made
    yield Created(f"Another try of this task has made {_described(kept)}.", kept)
    return kept


def _keep_one(
    dialect: Dialect, clusters: Sequence[Cluster], identity: Identity, record: Record
) -> Flow[Cluster | None]:
    """
    Return the cluster that counts, and give back the others of this owner.

    The oldest counts. Where Together tells no time of creation it is the recorded one; ties are broken by id.
    """
    ordered = sorted(clusters, key=lambda c: (_created(c), not record.proves(c), c.cluster_name, c.cluster_id))
    if identity.owner is not None:
        for surplus in ordered[1:]:
            yield from _give_back(dialect, surplus, why=f"its task has cluster {ordered[0].cluster_id} already")
    return ordered[0] if ordered else None


def _created(cluster: Cluster) -> float:
    return cluster.created_at.timestamp() if cluster.created_at is not None else float("inf")


def _give_back(dialect: Dialect, cluster: Cluster, *, why: str) -> Flow[None]:
    """Ask for the deletion of a cluster that is ours and one too many; a failure is told and left to the sweep."""
    yield Note(f"Deleting {_described(cluster)}: {why}.")
    try:
        yield from dialect.delete_cluster(cluster.cluster_id).once()
    except NotFoundError:
        return
    except TogetherError as error:
        yield Note(f"{error} Cluster {cluster.cluster_id} is still billed; the next create or sweep tries again.")


def _adopted(cluster: Cluster, spec: ClusterSpec, *, is_ours: bool, if_exists: IfExists) -> Creation:
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
    dialect: Dialect, name: str, identity: Identity, error: OutcomeUnknownError, visibility: float
) -> Flow[Cluster]:
    """Look for the cluster of a POST whose answer was lost, for as long as a list may lag."""
    yield Note(f"{error} Looking for it for {duration(visibility)}.")
    try:
        # What was asked for just now is ours, if it is there.
        record = Record(name, has_open_request=True)
        found = yield from _look_longer(lambda: _find_cluster(dialect, name, identity, record), visibility)
    except TogetherError as failed:
        # Ending with that would look like an error after which asking again is safe.
        message = f"{error} Looking for its effect failed: {failed} A retry of the task looks before it asks again."
        raise OutcomeUnknownError(message) from failed
    if found is not None:
        return found
    message = (
        f"{error} No cluster named {name!r} has shown up within {duration(visibility)}; "
        "a retry of the task looks again before it asks again."
    )
    raise OutcomeUnknownError(message) from error


def _look_longer(look: Callable[[], Flow[T | None]], seconds: float) -> Flow[T | None]:
    """
    Look again and again for something that was asked for, for as long as a list may lag.

    :raises TogetherError: if the last look failed: then nobody knows.
    """
    failure: TogetherError | None = None
    for pause in _looks(seconds):
        yield from Pause(pause)
        try:
            found = yield from look()
        except TogetherError as error:
            failure = error
            yield Note(f"{error} Looking again.")
            continue
        failure = None
        if found is not None:
            return found
    if failure is not None:
        raise failure
    return None


def _looks(seconds: float) -> list[float]:
    """Return the pauses between looks, in seconds, that add up to the given time."""
    pauses: list[float] = []
    pause = _FIRST_LOOK
    while sum(pauses) < seconds:
        pauses.append(min(pause, _LONGEST_LOOK, seconds - sum(pauses)))
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
