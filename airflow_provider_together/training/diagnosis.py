"""
Why a pod does not run, or has failed, in words that stay the same whatever Kubernetes calls it.

The kubelet, the scheduler and the controllers each tell it at a place of their own: the container's state, the pod's
status, its conditions, its events. Here they are read in the order of how much they explain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: An answer of Kubernetes, as JSON has it.
Object = Mapping[str, Any]

#: Longest piece of Kubernetes' own words that a diagnosis repeats, in characters.
_LONGEST_DETAIL = 600


class Word(StrEnum):
    """What is wrong with a pod."""

    IMAGE_PULL = "image_pull"
    CONTAINER_CONFIG = "container_config"
    UNSCHEDULABLE = "unschedulable"
    OUT_OF_MEMORY = "out_of_memory"
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    DEADLINE = "deadline"
    NON_ZERO_EXIT = "non_zero_exit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    What is wrong with a pod.

    :param word: the stable word.
    :param detail: Kubernetes' own words.
    :param exit_code: of the container that failed, if one has.
    """

    word: Word
    detail: str = ""
    exit_code: int | None = None

    def __str__(self) -> str:
        exit_code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.word.value}{exit_code}{detail}"


_WAITING = {
    "ErrImagePull": Word.IMAGE_PULL,
    "ImagePullBackOff": Word.IMAGE_PULL,
    "InvalidImageName": Word.IMAGE_PULL,
    "ErrImageNeverPull": Word.IMAGE_PULL,
    "ImageInspectError": Word.IMAGE_PULL,
    "RegistryUnavailable": Word.IMAGE_PULL,
    "CreateContainerConfigError": Word.CONTAINER_CONFIG,
    "CreateContainerError": Word.CONTAINER_CONFIG,
    "RunContainerError": Word.CONTAINER_CONFIG,
}
#: Reasons of a pod's end, as the kubelet and the controllers give them in ``status.reason``.
_ENDED = {
    "Evicted": Word.EVICTED,
    "Preempting": Word.EVICTED,
    "NodeLost": Word.NODE_LOST,
    "NodeShutdown": Word.NODE_LOST,
    "Terminated": Word.NODE_LOST,
    "DeadlineExceeded": Word.DEADLINE,
    "OutOfmemory": Word.UNSCHEDULABLE,
    "OutOfcpu": Word.UNSCHEDULABLE,
    "UnexpectedAdmissionError": Word.UNSCHEDULABLE,
}
#: Reasons of the condition ``DisruptionTarget``, by which Kubernetes tells why it took a pod away.
_DISRUPTED = {
    "EvictionByEvictionAPI": Word.EVICTED,
    "PreemptionByScheduler": Word.EVICTED,
    "TerminationByKubelet": Word.EVICTED,
    "DeletionByTaintManager": Word.NODE_LOST,
    "DeletionByPodGC": Word.NODE_LOST,
}
#: Warnings that say why a container does not begin, which its own state does not.
_START_WARNINGS = {
    "FailedMount": Word.CONTAINER_CONFIG,
    "FailedAttachVolume": Word.CONTAINER_CONFIG,
    "FailedCreatePodSandBox": Word.CONTAINER_CONFIG,
    "FailedScheduling": Word.UNSCHEDULABLE,
    "Evicted": Word.EVICTED,
    "NodeNotReady": Word.NODE_LOST,
    "TaintManagerEviction": Word.NODE_LOST,
}
#: What waiting mends none of, however long.
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_OOM_KILLED = "OOMKilled"


def diagnose(pod: Object, events: Iterable[Object] = ()) -> Diagnosis | None:
    """
    Return what is wrong with a pod; None where nothing is.

    :param events: those that are about it; others are not read.
    """
    status = pod.get("status") or {}
    return (
        _disruption(status)
        or _end(status)
        or _waiting(status)
        or _not_scheduled(status)
        or _warning(pod, events)
        or _unexplained(status)
    )


def is_hopeless(pod: Object) -> bool:
    """Whether a pod waits for what will never be."""
    return any(waiting.get("reason") in _HOPELESS for waiting in _states(pod.get("status") or {}, "waiting"))


def disruption_of(pod: Object) -> Diagnosis | None:
    """Return why Kubernetes took a pod away; None if it did not."""
    return _disruption(pod.get("status") or {})


def _disruption(status: Object) -> Diagnosis | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = condition.get("reason", "")
            word = _DISRUPTED.get(reason, Word.EVICTED)
            return Diagnosis(word, _detail(reason, condition.get("message")))
    return None


def _end(status: Object) -> Diagnosis | None:
    if reason := status.get("reason"):
        word = _ENDED.get(reason)
        if word is not None:
            return Diagnosis(word, _detail(reason, status.get("message")))
    ended = [state for state in _states(status, "terminated") if state.get("exitCode")]
    for state in sorted(ended, key=lambda state: state.get("reason") != _OOM_KILLED):
        word = Word.OUT_OF_MEMORY if state.get("reason") == _OOM_KILLED else Word.NON_ZERO_EXIT
        return Diagnosis(word, _detail("", state.get("message")), state["exitCode"])
    return None


def _waiting(status: Object) -> Diagnosis | None:
    for state in _states(status, "waiting"):
        reason = state.get("reason", "")
        if reason in _WAITING:
            return Diagnosis(_WAITING[reason], _detail(reason, state.get("message")))
    return None


def _not_scheduled(status: Object) -> Diagnosis | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Diagnosis(Word.UNSCHEDULABLE, _detail(condition.get("reason", ""), condition.get("message")))
    return None


def _warning(pod: Object, events: Iterable[Object]) -> Diagnosis | None:
    """Return what the last warning says, of a pod none of whose containers has begun or all of which have gone."""
    status, name = pod.get("status") or {}, (pod.get("metadata") or {}).get("name")
    if status.get("phase") == "Succeeded" or any(True for _ in _states(status, "running")):
        return None
    found = None
    for event in events:
        reason = event.get("reason", "")
        if (event.get("involvedObject") or {}).get("name") == name and reason in _START_WARNINGS:
            found = Diagnosis(_START_WARNINGS[reason], _detail(reason, event.get("message")))
    return found


def _unexplained(status: Object) -> Diagnosis | None:
    if status.get("phase") != "Failed":
        return None
    return Diagnosis(Word.UNKNOWN, _detail(status.get("reason", ""), status.get("message")))


def _states(status: Object, kind: str) -> Iterator[Object]:
    """Yield the states of one kind of all containers: those that begin first come first."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            if (state := (container.get("state") or {}).get(kind)) is not None:
                yield state


def _detail(reason: str, message: str | None) -> str:
    said = " ".join((message or "").split())
    if len(said) > _LONGEST_DETAIL:
        said = f"…{said[-_LONGEST_DETAIL:]}"
    return ": ".join(part for part in (reason, said) if part)
