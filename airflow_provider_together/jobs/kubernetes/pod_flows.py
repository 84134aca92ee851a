"""What is done with pods that stand alone, request by request: those that earlier tries have left are removed."""

from __future__ import annotations

from airflow_provider_together.api.call import Flow, Note, Pause
from airflow_provider_together.exceptions import NotFoundError, TogetherError, WaitTimeoutError
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.diagnosis import Object
from airflow_provider_together.jobs.kubernetes.spec import count_of

#: Label of Airflow's own pod operator: the try that a pod is of.
TRY_LABEL = "try_number"
#: Seconds that pods get to go, and seconds between two looks at them.
_REMOVAL_SECONDS, _LOOK_INTERVAL = 180.0, 1.0
_ENDED = frozenset({"Succeeded", "Failed"})


def remove_earlier_pods(namespace: str, *, owner: str, try_number: int, grace: int | None = None) -> Flow[None]:
    """
    Delete the pods that earlier tries of a task have left, and wait until they are gone.

    One that has ended holds nothing, and stays for whoever wants to read it; one of a later try is left alone.

    :param owner: digest of the task instance.
    :param try_number: the try that removes them.
    :param grace: seconds that they get to end; None for what they ask for themselves.
    :raises WaitTimeoutError: if it takes too long.
    """
    now = yield from Pause(0)
    deadline = now + _REMOVAL_SECONDS
    while now < deadline:
        pods = yield from kubernetes_api.list_pods_of_owner(namespace, owner)
        left = [pod for pod in pods if _is_left(pod, try_number)]
        if not left:
            return
        for pod in left:
            yield from _request_deletion(namespace, pod, grace)
        now = yield from Pause(_LOOK_INTERVAL)
    names = ", ".join(pod["metadata"]["name"] for pod in left)
    seconds = f"{_REMOVAL_SECONDS:g} s"
    message = f"Pods of an earlier try, whose deletion was requested, are still there after {seconds}: {names}"
    raise WaitTimeoutError(message)


def _is_left(pod: Object, try_number: int) -> bool:
    has_ended = (pod.get("status") or {}).get("phase") in _ENDED
    of_try = count_of((pod["metadata"].get("labels") or {}).get(TRY_LABEL, 0)) or 0
    return not has_ended and of_try <= try_number


def _request_deletion(namespace: str, pod: Object, grace: int | None) -> Flow[None]:
    metadata = pod["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    yield from Note(f"Pod {metadata['name']}, which an earlier try has left, is deleted.")
    try:
        yield from kubernetes_api.delete_pod(namespace, metadata["name"], uid=metadata["uid"], grace=grace)
    except TogetherError as error:
        # It goes already, is another one, or somebody changes it just now: the next look tells.
        if not isinstance(error, NotFoundError) and not kubernetes_api.is_conflict(error):
            raise
