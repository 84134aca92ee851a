"""
What is done with a job, request by request: it is started, watched, asked for its logs and removed.

Each is a generator of calls and pauses as the engine's flows are, so that the worker and the triggerer drive the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.api.wording import as_sentence, counted
from airflow_provider_together.exceptions import (
    NameTakenError,
    NotFoundError,
    PermanentError,
    SpecError,
    TogetherError,
    TransientError,
    WaitTimeoutError,
)
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.diagnosis import Diagnosis, Object, set_apart
from airflow_provider_together.jobs.kubernetes.log import LogCursor
from airflow_provider_together.jobs.kubernetes.manifests import (
    ASKED_ANNOTATION,
    CONTAINER,
    LONGEST_RESULT,
    OWNER_LABEL,
    SPEC_ANNOTATION,
    TAKEN_ANNOTATION,
    claim_manifest,
    job_manifest,
    service_manifest,
)
from airflow_provider_together.jobs.kubernetes.nodes import check_nodes, gpus_of_pod, read_nodes
from airflow_provider_together.jobs.kubernetes.spec import JobSpec
from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, Rank, RankPhase, Terms, look_at

#: How often what another process makes or deletes at the same time is met before the flow gives up.
_ATTEMPTS = 30
#: Seconds between two looks at what is being deleted.
_LOOK_INTERVAL = 1.0
#: Seconds that a job's deletion may take: its pods get their time to end first.
REMOVAL_SECONDS = 180.0
#: Seconds for which Kubernetes may refuse a look before the wait ends: a kubeconfig may be renewed meanwhile.
REFUSAL_SECONDS = 300.0
#: Of the looks that fail in a row, every so many ask Together whether the GPU cluster is still there.
_ASK_EVERY = 10
#: Together is obeyed up to this, in seconds, when it asks to come back later.
_LONGEST_RETRY_AFTER = 120.0
#: Lines of a failed rank's log that an error repeats.
TAIL_LINES = 20
#: Pieces in which the rest of rank 0's log is read when the job is over.
_LAST_PIECES = 64
#: Ranks, other than the first, of whose logs the end is read when the job has failed.
_LOGS_SAVED = 32


@dataclass(frozen=True, slots=True)
class LogLines(Note):
    """
    New lines of a rank's log.

    :param rank: number of the rank.
    """

    message: str = ""
    rank: int = 0
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """
    A job that runs, or that has run.

    :param is_adopted: whether an earlier try has made it.
    """

    name: str
    namespace: str
    uid: str
    asked_at: float
    is_adopted: bool = False


def ensure_claim(volume_name: str, *, namespace: str, size_tib: int | None) -> Flow[None]:
    """
    Make the claim to a shared volume, of its size and its class, if there is none yet.

    :param size_tib: its size as Together tells it; the PersistentVolume's own goes before it.
    :raises SpecError: if the cluster has no such volume.
    """
    try:
        volume = yield from kubernetes_api.get_volume(volume_name)
    except NotFoundError:
        fault = (
            f"shared_volume={volume_name!r} is wrong: the cluster has no PersistentVolume of that name; attach the "
            "volume to the cluster when you create it"
        )
        raise SpecError([fault]) from None
    offer = volume.get("spec") or {}
    size = (offer.get("capacity") or {}).get("storage") or f"{size_tib or 1}Ti"
    storage_class = offer.get("storageClassName") or ""
    manifest = claim_manifest(volume_name, namespace=namespace, size=size, storage_class=storage_class)
    try:
        yield from kubernetes_api.create_claim(manifest)
    except TogetherError as error:
        if not kubernetes_api.is_conflict(error):
            raise


def start_job(spec: JobSpec) -> Flow[Started]:
    """
    Start a job, or adopt the one that an earlier try of this task has begun.

    :raises NameTakenError: if somebody else's job has the name.
    :raises SpecError: if the nodes have fewer GPUs than it asks for.
    """
    for _ in range(_ATTEMPTS):
        try:
            job = yield from kubernetes_api.get_job(spec.namespace, spec.name)
        except NotFoundError:
            now = yield from Pause(0)
            manifest = job_manifest(spec, asked_at=now)
            yield from _check_nodes(spec, manifest["spec"]["template"]["spec"])
            try:
                job = yield from kubernetes_api.create_job(manifest)
            except TogetherError as error:
                if kubernetes_api.is_conflict(error):
                    continue  # another try was faster, or the answer to our own first request was lost
                raise
            ranks, gpus = counted(spec.num_nodes, "rank"), counted(spec.gpus_per_node, "GPU")
            yield from Note(f"Job {spec.name} is made: {ranks} of {gpus}.")
            return (yield from _run(job, is_adopted=False))
        if (reason := (yield from _obstacle(spec, job))) is None:
            return (yield from _run(job, is_adopted=True))
        yield from Note(f"Job {spec.name} {reason}; it is removed and made again.")
        yield from remove_job(spec.namespace, spec.name, uid=job["metadata"]["uid"])
    message = f"Job {spec.name!r} comes and goes: somebody else makes and deletes it at the same time"
    raise WaitTimeoutError(message)


def _check_nodes(spec: JobSpec, pod: Object) -> Flow[None]:
    """Refuse a job whose pods would wait for ever, as far as the nodes may be read."""
    gpus = gpus_of_pod(pod)
    if not gpus:
        return
    try:
        nodes = yield from kubernetes_api.list_nodes()
    except TogetherError as error:  # a kubeconfig may have few rights
        yield from Note(f"{as_sentence(error)} Whether the nodes have {gpus} GPUs is not checked.")
        return
    selector = pod.get("nodeSelector") or {}
    if sentence := check_nodes(spec, read_nodes(nodes, selector=selector), gpus=gpus):
        yield from Note(sentence)


def _obstacle(spec: JobSpec, job: Object) -> Flow[str | None]:
    """Return why a job that is there cannot be adopted; None if it can."""
    metadata = job["metadata"]
    if (metadata.get("labels") or {}).get(OWNER_LABEL) != spec.owner:
        message = f"Job {spec.name!r} exists in namespace {spec.namespace!r} and is not this task's: use another name"
        raise NameTakenError(message)
    marks = metadata.get("annotations") or {}
    if metadata.get("deletionTimestamp"):
        return "of an earlier try is being deleted"
    if TAKEN_ANNOTATION in marks:
        return "of an earlier try is over, and its outcome known"
    pods = yield from kubernetes_api.list_pods(spec.namespace, spec.name)
    now = yield from Pause(0)
    state = look_at(job, pods, now=now, terms=Terms(float("inf")))
    if state.verdict in {JobVerdict.FAILED, JobVerdict.TIMED_OUT}:
        if state.culprit is not None and (words := (yield from last_words_of(spec.namespace, state.culprit))):
            yield from Note(words)  # its log goes with it
        return f"of an earlier try has failed ({state.culprit or state.reason})"
    yield from Note(f"Job {spec.name} of an earlier try is adopted. {state.sentence()}.")
    if marks.get(SPEC_ANNOTATION) != job_manifest(spec, asked_at=now)["metadata"]["annotations"][SPEC_ANNOTATION]:
        yield from Note(
            f"Job {spec.name} was made from other parameters than this try has. It goes on as it is; to have it made "
            "again, delete it or mark the task as failed before you clear it."
        )
    return None


def _run(job: Object, *, is_adopted: bool) -> Flow[Started]:
    """Let a job run, once its Service is there."""
    metadata = job["metadata"]
    name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
    asked_at = _number((metadata.get("annotations") or {}).get(ASKED_ANNOTATION))
    if (job.get("spec") or {}).get("suspend"):
        yield from _ensure_service(job)
        # The time to start begins now: the try that made it may have been lost long ago.
        asked_at = yield from Pause(0)
        begin = {"metadata": {"annotations": {ASKED_ANNOTATION: f"{asked_at:.3f}"}}, "spec": {"suspend": False}}
        yield from kubernetes_api.change_job(namespace, name, begin)
    if asked_at is None:
        asked_at = yield from Pause(0)
    return Started(name, namespace, uid, asked_at, is_adopted)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _ensure_service(job: Object) -> Flow[None]:
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    manifest = service_manifest(job)
    for _ in range(_ATTEMPTS):
        try:
            yield from kubernetes_api.create_service(manifest)
        except TogetherError as error:
            if not kubernetes_api.is_conflict(error):
                raise
        else:
            return
        try:
            service = yield from kubernetes_api.get_service(namespace, name)
        except NotFoundError:
            continue
        owners = [owner.get("uid") for owner in service["metadata"].get("ownerReferences") or ()]
        if job["metadata"]["uid"] in owners:
            return
        if not owners:
            message = f"Service {name!r} exists in namespace {namespace!r} and is no job's: use another job_name"
            raise NameTakenError(message)
        yield from Pause(_LOOK_INTERVAL)  # that of an earlier job, which Kubernetes is about to delete
        try:
            yield from kubernetes_api.delete_service(namespace, name)
        except NotFoundError:
            continue
    message = f"Service {name!r} of an earlier job does not go"
    raise WaitTimeoutError(message)


def remove_job(namespace: str, name: str, *, uid: str | None = None) -> Flow[None]:
    """
    Delete a job and wait until it is gone, with its pods and its Service. One that is gone already is a success.

    :param uid: remove this very one only.
    :raises WaitTimeoutError: if it takes too long.
    """
    now = yield from Pause(0)
    deadline, is_asked = now + REMOVAL_SECONDS, False
    while now < deadline:
        try:
            is_asked = is_asked or (yield from _request_deletion(namespace, name, uid))
            job = yield from kubernetes_api.get_job(namespace, name)
        except NotFoundError:
            return
        if uid is not None and job["metadata"].get("uid") != uid:
            return  # another one has its name
        now = yield from Pause(_LOOK_INTERVAL)
    message = f"The deletion of job {name!r} was requested, but it is still there after {REMOVAL_SECONDS:g} s"
    raise WaitTimeoutError(message)


def _request_deletion(namespace: str, name: str, uid: str | None) -> Flow[bool]:
    """Ask for the deletion of a job; False in a conflict: it is another job, or somebody changes it just now."""
    try:
        yield from kubernetes_api.delete_job(namespace, name, uid=uid)
    except TogetherError as error:
        if not kubernetes_api.is_conflict(error):
            raise
        return False
    return True


def mark_taken(namespace: str, name: str) -> Flow[None]:
    """Note at a job that stays that a task has had its outcome, so that no later try takes it for its own."""
    try:
        yield from kubernetes_api.change_job(namespace, name, {"metadata": {"annotations": {TAKEN_ANNOTATION: "true"}}})
    except NotFoundError:
        return


@dataclass(slots=True)
class JobWatch:
    """
    Waiting for a job.

    :param poll_interval: seconds between two looks.
    :param reads_log: whether each look reads on in the log of rank 0.
    :param saves_logs: whether the end of the other ranks' logs is read when the job has failed.
    """

    namespace: str
    name: str
    terms: Terms
    poll_interval: float = 5.0
    reads_log: bool = False
    saves_logs: bool = False
    cursor: LogCursor = field(default_factory=LogCursor)
    has_started: bool = False
    failures: int = 0
    refused_since: float | None = None
    told: str = ""


def watch_job(watch: JobWatch) -> Flow[JobState]:
    """
    Look at a job until it is over or its time is.

    Faults of Kubernetes do not end it: the job runs on, and costs what it costs. Where it does not answer Together is
    asked now and then whether the GPU cluster is still there.
    """
    while True:
        try:
            state = yield from look(watch)
        except (TransientError, PermanentError) as error:
            state, delay = yield from _after_failure(watch, error)
        else:
            watch.failures, watch.refused_since = 0, None
            watch.has_started = state.has_started
            delay = watch.poll_interval
            yield from _tell(watch, state)
            if watch.reads_log:
                yield from _read_on(watch, state)
            if watch.saves_logs and state.verdict in {JobVerdict.FAILED, JobVerdict.TIMED_OUT}:
                yield from _save_logs(watch, state)
        if state.is_over:
            return state
        yield from Pause(delay)


def look(watch: JobWatch, *, persists: bool = False) -> Flow[JobState]:
    """
    Look once; where something is wrong, with the events that may say why.

    :param persists: whether a request that fails is sent again; who looks again anyway sends each once.
    """
    namespace, name = watch.namespace, watch.name
    get, list_pods = kubernetes_api.get_job(namespace, name), kubernetes_api.list_pods(namespace, name)
    try:
        job: Object | None = yield from get if persists else get.once()
    except NotFoundError:
        job = None
    pods = yield from list_pods if persists else list_pods.once()
    now = yield from Pause(0)
    state = look_at(job, pods, now=now, terms=watch.terms, has_started=watch.has_started)
    if state.verdict in {JobVerdict.FAILED, JobVerdict.NOT_STARTED}:
        try:
            events = yield from kubernetes_api.list_pod_events(namespace).once()
        except TogetherError:
            return state
        state = look_at(job, pods, events, now=now, terms=watch.terms, has_started=watch.has_started)
    return state


def _after_failure(watch: JobWatch, error: TogetherError) -> Flow[tuple[JobState, float]]:
    now = yield from Pause(0)
    watch.failures += 1
    if isinstance(error, TransientError):
        watch.refused_since = None
    elif watch.refused_since is None:
        watch.refused_since = now
    yield from Note(f"{as_sentence(error)} Job {watch.name} is looked at again.")
    reason = ""
    verdict = JobVerdict.GO_ON
    if watch.failures % _ASK_EVERY == 1:
        reason = yield from ClusterQuestion()
    if reason:
        verdict = JobVerdict.CLUSTER_GONE
    elif watch.terms.end_by is not None and now >= watch.terms.end_by:
        verdict, reason = JobVerdict.TIMED_OUT, str(error)
    elif watch.refused_since is not None and now >= watch.refused_since + REFUSAL_SECONDS:
        verdict, reason = JobVerdict.REFUSED, str(error)
    asked = getattr(error, "retry_after", None) or 0.0
    delay = max(watch.poll_interval, min(asked, _LONGEST_RETRY_AFTER))
    return JobState(verdict, reason=reason, has_started=watch.has_started), delay


def _tell(watch: JobWatch, state: JobState) -> Flow[None]:
    """Say what the ranks do when that has changed."""
    if state.ranks and (sentence := state.sentence()) != watch.told:
        watch.told = sentence
        yield from Note(f"Job {watch.name}: {sentence}.")


def _read_on(watch: JobWatch, state: JobState) -> Flow[None]:
    """Read what rank 0 has written since the last look; what cannot be read now is read at the next."""
    if not state.ranks or not state.ranks[0].has_begun:
        return
    cursor = watch.cursor
    for _ in range(_LAST_PIECES if state.is_over else 1):
        call = kubernetes_api.read_log(watch.namespace, state.ranks[0].pod, since=cursor.since, limit=cursor.limit)
        limit = cursor.limit
        try:
            content = yield from call.once()
        except TogetherError:
            return
        if lines := cursor.take_piece(content):
            yield from LogLines(rank=0, lines=lines)
        if len(content) < limit:
            return


def _save_logs(watch: JobWatch, state: JobState) -> Flow[None]:
    """Read how the other ranks' logs end, before Kubernetes removes the pods of a job that has failed."""
    others = [rank for rank in state.ranks if rank.number > 0 and rank.has_begun]
    for rank in sorted(others, key=lambda rank: rank.phase is RankPhase.FAILED)[:_LOGS_SAVED]:
        lines = yield from read_tail(watch.namespace, rank.pod)
        if lines:
            yield from LogLines(rank=rank.number, lines=lines)


def last_words(namespace: str, pod: str, diagnosis: Diagnosis | None, *, whose: str) -> Flow[str]:
    """
    Return how the log of the container that failed ends, below a header; empty where nothing is known of it.

    :param whose: what the pod is, for the header.
    """
    container = CONTAINER if diagnosis is None else diagnosis.container or CONTAINER
    tail: Sequence[str] = yield from read_tail(namespace, pod, container=container)
    remembered = () if diagnosis is None else diagnosis.printed  # what Kubernetes keeps of a log that is gone
    owner = f"{diagnosis.where} of {whose}" if diagnosis is not None and diagnosis.container else whose
    return set_apart(f"The log of {owner} ends with:", tail or remembered)


def last_words_of(namespace: str, rank: Rank) -> Flow[str]:
    """Return the same for a rank."""
    return last_words(namespace, rank.pod, rank.diagnosis, whose=f"rank {rank.number}")


def read_tail(namespace: str, pod: str, *, container: str = CONTAINER, lines: int = TAIL_LINES) -> Flow[list[str]]:
    """Return the last lines of a container's log; none where they cannot be read any more."""
    if not pod:
        return []
    try:
        content = yield from kubernetes_api.read_log(namespace, pod, container=container, tail=lines).once()
    except TogetherError:
        return []
    return LogCursor().take_piece(content)


def is_cut(state: JobState) -> bool:
    """Whether the result may have been longer than Kubernetes lets it be."""
    return len(state.result.encode()) >= LONGEST_RESULT


def failure_sentence(name: str, state: JobState) -> str:
    """Say how a job has ended that did not end well, and why."""
    reason = f" ({state.reason})" if state.reason else ""
    ranks = "; ".join(str(rank) for rank in state.missing) if state.missing else ""
    sentences = {
        JobVerdict.FAILED: f"Job {name} has failed: {state.culprit or state.reason or 'Kubernetes does not say why'}",
        JobVerdict.NOT_STARTED: f"Job {name} has not started as a whole{reason}: {ranks}",
        JobVerdict.TIMED_OUT: f"The time for job {name} is over{reason} (deadline)",
        JobVerdict.GONE: f"Job {name} is gone: somebody has deleted it",
        JobVerdict.CLUSTER_GONE: f"Job {name} is lost with its GPU cluster, which is {state.reason}",
        JobVerdict.REFUSED: f"Kubernetes keeps refusing to tell of job {name}{reason}",
    }
    return f"{sentences[state.verdict]}."
