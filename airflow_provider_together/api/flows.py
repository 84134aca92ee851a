"""
Operations of several requests, each written once as a generator, for both drivers.

A flow decides what to ask next; it sends nothing, sleeps never and reads no clock: it yields a
:class:`~airflow_provider_together.api.call.Call`, a :class:`~airflow_provider_together.api.call.Pause` or a
:class:`~airflow_provider_together.api.call.Note`, and its driver does the rest. A test can drive one by hand.
"""

from __future__ import annotations

from collections.abc import Callable
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
from airflow_provider_together.api.phase import phase_of
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
#: Seconds between learning of two clusters of one owner and choosing, so that all its tries have recorded theirs.
_SETTLING = 2.0
#: How often a create starts over when other tries give back what it has found.
_ROUNDS = 5
#: How often a cluster that was asked to go may be seen living on until it is asked again.
_UNHEARD = 3


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
    dialect.create_cluster(spec)  # checks the spec against the dialect before anything is sent
    for _ in range(_ROUNDS):
        creation = yield from _create_or_adopt(dialect, spec, identity, if_exists, visibility, heal)
        if creation is not None:
            return creation
        yield Note("Another try of this task has given that cluster back meanwhile; starting over.")
    message = f"the tries of this task give back each other's clusters named {spec.cluster_name!r}; none is kept"
    raise TransientError(message)


def _create_or_adopt(  # noqa: PLR0913, PLR0917 - the same
    dialect: Dialect, spec: ClusterSpec, identity: Identity, if_exists: IfExists, visibility: float, heal: str | None
) -> Flow[Creation | None]:
    """Return None if what was found or made was given back by another try meanwhile."""
    name = spec.cluster_name
    found = yield from _find_cluster(dialect, name, identity, heal=heal)
    record = yield from Recall()
    if found is None and record.has_open_request:
        yield Note(f"An earlier try may have asked for it. Looking for it for {duration(visibility)}.")
        found = yield from _look_longer(lambda: _find_cluster(dialect, name, identity), visibility)
        record = yield from Recall()
    if found is None:
        found = yield from _recorded_cluster(dialect, record, visibility)
    if found is not None:
        creation = _adopted(found, spec, is_ours=identity.owns(found, record), if_exists=if_exists)
        message = f"Adopting {_described(found)}: it exists already."
        if not creation.is_ours:
            yield Note(f"{message} It is not ours, so it stays alive.")
            return creation
        yield Created(message, found)
        return creation if (yield from _is_alive(dialect, found)) else None
    yield Intent(f"Asking for {_wanted(spec)}.", name)
    try:
        made = yield from dialect.create_cluster(spec)
    except OutcomeUnknownError as error:
        made = yield from _look_for_effect(dialect, name, identity, error, visibility)
    except TogetherError:
        yield Withdrawn(f"Cluster {name!r} was not made.")
        raise
    kept = yield from _claim(dialect, made, identity, visibility, past_id=record.cluster_id)
    return None if kept is None else Creation(kept, is_ours=True)


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
    """
    Wait until neither Get nor List shows a cluster that was asked to go.

    It is asked again if it goes on living: a 404 to the request may have been a stray one.
    """
    lives_on = 0
    while True:
        look = yield from _poll_once(dialect, wait)
        lives_on = lives_on + 1 if look.word and phase_of(look.word).has_to_be_deleted else 0
        if lives_on == _UNHEARD:
            lives_on = 0
            yield from _ask_again(dialect, wait)
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


def _ask_again(dialect: Dialect, wait: GoneWait) -> Flow[None]:
    try:
        yield from dialect.delete_cluster(wait.cluster_id).once()
    except TogetherError as error:
        yield Note(str(error))
    else:
        wait.accept()


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


def _find_cluster(dialect: Dialect, name: str, identity: Identity, *, heal: str | None = None) -> Flow[Cluster | None]:
    """Look for the live cluster that a create is about; give back what of ours has ended, failed or is one too many."""
    clusters = yield from dialect.list_clusters()
    # What is on record is read after the list, which may show what another try has made and recorded since.
    record, now = (yield from Recall()), (yield from Pause(0))
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
    if len(usable) > 1 and identity.owner is not None:
        return (yield from _choose(dialect, name, identity))
    return min(usable, key=lambda cluster: _rank(cluster, record), default=None)


def _recorded_cluster(dialect: Dialect, record: Record, visibility: float) -> Flow[Cluster | None]:
    """
    Ask for the recorded cluster by its id, since a list may miss one that lives.

    One that was recorded just now is asked for until it may be expected to be visible. One that has failed is given
    back.
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
            continue
        if cluster.phase.is_alive:
            return cluster
        if cluster.phase.has_to_be_deleted:
            yield from _give_back(dialect, cluster, why="it has failed, and is replaced")
        return None


def _claim(
    dialect: Dialect, made: Cluster, identity: Identity, visibility: float, *, past_id: str | None
) -> Flow[Cluster | None]:
    """
    Have the cluster that was just made recorded as the owner's, unless another try was faster.

    An earlier try that was cut off from Airflow may ask at the same time. Each recalls and looks after it has asked,
    so that at least the slower one learns of both clusters; and all go by what is on record in the end.

    :param past_id: cluster that was on record before, and is known not to live.
    :returns: the cluster that is kept; None if another try has given it back meanwhile.
    """
    rival = yield from _rival(dialect, made, past_id)
    if rival is not None:
        return (yield from _give_way(dialect, made, rival))
    yield Created(f"Created {_described(made)}.", made)
    if identity.owner is None:
        # Another cluster of the user's own name may be anybody's: only the record tells of another try.
        yield from Pause(_SETTLING)
        rival = yield from _rival(dialect, made, past_id)
        return made if rival is None else (yield from _give_way(dialect, made, rival))
    for pause in _looks(visibility) if identity.is_retry else [0.0]:
        yield from Pause(pause)
        try:
            clusters = yield from dialect.list_clusters().once()
        except TogetherError as error:
            yield Note(f"{error} Whether this task has a second cluster is left to later looks.")
            continue
        alive = [c for c in clusters if c.phase.is_alive and identity.matches(c, made.cluster_name)]
        if any(c.cluster_id != made.cluster_id for c in alive):
            return (yield from _choose(dialect, made.cluster_name, identity, made))
    return made


def _rival(dialect: Dialect, made: Cluster, past_id: str | None) -> Flow[Cluster | None]:
    """Return the live cluster that another try has on record instead of this one."""
    record = yield from Recall()
    if record.cluster_id in {made.cluster_id, past_id}:
        return None
    return (yield from _recorded_cluster(dialect, record, 0))


def _give_way(dialect: Dialect, made: Cluster, rival: Cluster) -> Flow[Cluster | None]:
    yield Created(f"Another try of this task has made {_described(rival)}.", rival)
    if not (yield from _is_alive(dialect, rival)):
        return None
    yield from _give_back(dialect, made, why="one is enough")
    return rival


def _choose(dialect: Dialect, name: str, identity: Identity, made: Cluster | None = None) -> Flow[Cluster | None]:
    """
    Choose between clusters of tries that ran at the same time, as each of them would choose, and give back the rest.

    The one on record is kept, else the oldest; ties are broken by id. Nothing is given back for a cluster that was
    not seen alive just before.

    :param made: the cluster of this try, which a list may not show yet.
    """
    for _ in range(_ROUNDS):
        yield from Pause(_SETTLING)  # for the others to have recorded theirs
        clusters = yield from dialect.list_clusters()
        record = yield from Recall()
        alive = {c.cluster_id: c for c in clusters if c.phase.is_alive and identity.matches(c, name)}
        if made is not None and made.cluster_id not in alive and (yield from _is_alive(dialect, made)):
            alive[made.cluster_id] = made
        if not alive:
            return None
        kept, *surplus = sorted(alive.values(), key=lambda cluster: _rank(cluster, record))
        if not (yield from _is_alive(dialect, kept)):
            continue
        if record.cluster_id != kept.cluster_id:
            yield Created(f"Of several clusters of this task {_described(kept)} is kept.", kept)
        for cluster in surplus:
            yield from _give_back(dialect, cluster, why=f"its task has cluster {kept.cluster_id} already")
        return kept
    return None


def _is_alive(dialect: Dialect, cluster: Cluster) -> Flow[bool]:
    """Whether a cluster that was seen still lives; in doubt it does."""
    try:
        now = yield from dialect.get_cluster(cluster.cluster_id).once()
    except NotFoundError:
        return False
    except TogetherError:
        return True
    return now.phase.is_alive


def _rank(cluster: Cluster, record: Record) -> tuple[bool, float, str, str]:
    """Order the clusters of one owner: the one that counts comes first."""
    return (cluster.cluster_id != record.cluster_id, _created(cluster), cluster.cluster_name, cluster.cluster_id)


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
        found = yield from _look_longer(lambda: _find_cluster(dialect, name, identity), visibility)
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
