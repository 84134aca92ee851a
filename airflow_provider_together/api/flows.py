"""
Operations of several requests, each written once as a generator, for both drivers.

A flow decides what to ask next; it sends nothing, sleeps never and reads no clock: it yields a
:class:`~airflow_provider_together.api.call.Call`, a :class:`~airflow_provider_together.api.call.Pause` or a
:class:`~airflow_provider_together.api.call.Note`, and its driver does the rest. A test can drive one by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_together.api.adoption import (
    ROUNDS,
    claim,
    described,
    find_cluster,
    is_alive,
    look_for_effect,
    look_longer,
    recorded_cluster,
    require_readable,
)
from airflow_provider_together.api.call import Call, Flow, Note, Pause
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
from airflow_provider_together.api.naming import ClusterName, Owner
from airflow_provider_together.api.polling import GoneWait, Look, ReadyWait, back_off, duration
from airflow_provider_together.api.reservation import Reservation, reservation_of
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.api.verdict import Verdict
from airflow_provider_together.api.wording import counted
from airflow_provider_together.exceptions import (
    ClusterFailedError,
    NameTakenError,
    NotFoundError,
    OutcomeUnknownError,
    OutOfStockError,
    SpecMismatchError,
    TogetherError,
    TransientError,
    WaitTimeoutError,
    is_refusal,
)

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect
    from airflow_provider_together.api.specs import ClusterSpec, SharedVolumeSpec

T = TypeVar("T")

IfExists = Literal["adopt", "fail"]

#: How long a new cluster may take to show in the list, in seconds. Together promises nothing; after a create
#: whose answer was lost this is how long its effect is looked for.
VISIBILITY_SECONDS = DEFAULT_VISIBILITY


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
    :raises ClusterFailedError: if this owner's reservation has failed: another one is not bought unasked.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    dialect.create_cluster(spec)  # checks the spec against the dialect before anything is sent
    for _ in range(ROUNDS):
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
    found = yield from find_cluster(dialect, name, identity, heal=heal)
    record = yield from Recall()
    if found is None and record.has_open_request:
        yield Note(f"An earlier try may have asked for it. Looking for it for {duration(visibility)}.")
        found = yield from look_longer(lambda: find_cluster(dialect, name, identity), visibility)
        record = yield from Recall()
    if found is None:
        found = yield from recorded_cluster(dialect, record, identity, visibility)
    if found is not None and not found.phase.is_alive:
        raise ClusterFailedError(_lost(found, reservation_of(found, record.reservation or identity.reservation)))
    if found is not None:
        creation = _adopted(found, spec, is_ours=identity.owns(found, record), if_exists=if_exists)
        message = f"Adopting {described(found)}: it exists already."
        if not creation.is_ours:
            yield Note(f"{message} It is not ours, so it stays alive.")
            return creation
        yield Created(message, found)
        return creation if (yield from is_alive(dialect, found)) else None
    request = dialect.create_cluster(spec)
    if request.note:
        yield Note(request.note)
    yield Intent(f"Asking for {_wanted(spec)}.", name, identity.reservation)
    try:
        made = yield from request
    except OutcomeUnknownError as error:
        made = yield from look_for_effect(dialect, name, identity, error, visibility)
    except TogetherError:
        yield Withdrawn(f"Cluster {name!r} was not made.")
        raise
    kept = yield from claim(dialect, made, identity, visibility, past_id=record.cluster_id)
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
    while True:
        look = yield from request_deletion_once(dialect, wait)
        if look is None or look.is_over:
            return look
        yield from Pause(look.delay)


def request_deletion_once(dialect: Dialect, wait: GoneWait) -> Flow[Look | None]:
    """
    Ask once for the deletion of a cluster.

    :returns: None if Together accepts it, or knows no such cluster; else what to do next.
    """
    delete = dialect.delete_cluster(wait.cluster_id).once()
    try:
        yield from delete
    except NotFoundError:
        yield Note(f"Together knows no cluster {wait.cluster_id}; making sure.")
        return None
    except TogetherError as error:
        look = wait.on_error(error, now=(yield from Pause(0)))
        if look.news:
            yield Note(look.news)
        return look
    wait.accept()
    yield Note(f"Deletion of cluster {wait.cluster_id} was requested; waiting until it is gone.")
    return None


def prove_gone(dialect: Dialect, wait: GoneWait) -> Flow[Look]:
    """
    Wait until neither Get nor List shows a cluster whose deletion was requested.

    It is asked again if it goes on living: a 404 to the request may have been a stray one.
    """
    while True:
        look = yield from _poll_once(dialect, wait)
        if look.is_unheard:
            yield from ask_again(dialect, wait)
        if look.verdict is Verdict.GONE:
            try:
                clusters = yield from dialect.list_clusters().once()
            except NotFoundError:  # no list at all, which proves nothing
                look = wait.on_listed(now=(yield from Pause(0)))
            except TogetherError as error:
                look = wait.on_error(error, now=(yield from Pause(0)))
            else:
                is_hidden = bool(wait.cluster_name) and wait.cluster_name in clusters.unreadable
                if not is_hidden and all(cluster.cluster_id != wait.cluster_id for cluster in clusters):
                    return look
                look = wait.on_listed(now=(yield from Pause(0)))
        if look.is_over:
            return look
        yield from Pause(look.delay)


def ask_again(dialect: Dialect, wait: GoneWait) -> Flow[None]:
    """Repeat the request to delete a cluster that lives on as if it had not been heard."""
    try:
        yield from dialect.delete_cluster(wait.cluster_id).once()
    except TogetherError as error:
        wait.refuse(error)
        yield Note(str(error))
    else:
        wait.accept()


def send_while_busy(call: Call[T], *, timeout: float, poll_interval: float, billed: str) -> Flow[T]:
    """
    Send a request that may safely be repeated until it is carried out: a cluster or a volume may be in transition.

    :param timeout: seconds after which the last refusal counts.
    :param poll_interval: seconds between two requests.
    :param billed: a sentence that says what is billed as long as it is not carried out.
    :raises WaitTimeoutError: with Together's words, if it was not carried out in time.
    :raises TogetherError: at once, if waiting cannot help.
    """
    end = (yield from Pause(0)) + timeout
    told, failures = "", 0
    while True:
        try:
            return (yield from call.once())
        except (NotFoundError, OutOfStockError):
            raise
        except TogetherError as error:
            if is_refusal(error) or isinstance(error, OutcomeUnknownError):
                raise
            failures += 1
            left = end - (yield from Pause(0))
            if left <= 0:
                message = f"The time for a request is over: {call.what}. {billed} {error}"
                raise WaitTimeoutError(message) from error
            if str(error) != told:
                told = str(error)
                yield Note(f"{error} Trying again for {duration(left)} at the most.")
            yield from Pause(min(left, back_off(error, failures=failures, poll_interval=poll_interval)))


def find_by_name(dialect: Dialect, cluster_name: str) -> Flow[list[Cluster]]:
    """Return all clusters of exactly this name, whatever their state."""
    clusters = yield from dialect.list_clusters()
    require_readable(clusters, lambda other: other == cluster_name)
    return [cluster for cluster in clusters if cluster.cluster_name == cluster_name]


def find_of_owner(
    dialect: Dialect, owner: Owner, record: Record, *, visibility: float = VISIBILITY_SECONDS
) -> Flow[list[Cluster]]:
    """
    Return all clusters that an owner has made, whatever their state.

    The recorded one is among them even if the list does not show it. If the owner never learned what came of its
    request, its effect is looked for.

    :param visibility: seconds that a new cluster may take to show in the list.
    """

    def find() -> Flow[list[Cluster] | None]:
        clusters = yield from dialect.list_clusters()
        found = [c for c in clusters if _is_of(c.cluster_name, owner) or record.proves(c)]
        if not found:
            require_readable(clusters, lambda other: _is_of(other, owner) if other else record.has_open_request)
        return found or None

    made = yield from find()
    if made is None and record.has_open_request:
        yield Note(f"A cluster may have been asked for. Looking for it for {duration(visibility)}.")
        made = yield from look_longer(find, visibility)
    made = made or []
    if record.cluster_id and all(cluster.cluster_id != record.cluster_id for cluster in made):
        made.append(Cluster(cluster_id=record.cluster_id, cluster_name=record.cluster_name or ""))
    return made


def _is_of(cluster_name: str, owner: Owner) -> bool:
    name = ClusterName.parse(cluster_name)
    return name is not None and name.is_of(owner)


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
        found = yield from look_longer(lambda: _find_volume(dialect, spec.volume_name), VISIBILITY_SECONDS)
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


def _find_volume(dialect: Dialect, volume_name: str) -> Flow[SharedVolume | None]:
    volumes = yield from dialect.list_shared_volumes()
    require_readable(volumes, lambda other: other == volume_name)
    found = [volume for volume in volumes if volume.volume_name == volume_name]
    if len(found) > 1:
        ids = ", ".join(volume.volume_id for volume in found)
        message = f"there are {len(found)} shared volumes named {volume_name!r} ({ids}): attach one by its volume_id"
        raise NameTakenError(message)
    return found[0] if found else None


def _wanted(spec: ClusterSpec) -> str:
    days = f" for {counted(spec.duration_days, 'day')}" if spec.duration_days is not None else ""
    return (
        f"cluster {spec.cluster_name!r}: {spec.num_gpus} x {spec.gpu_type} in {spec.region}, {spec.billing_type}{days}"
    )
