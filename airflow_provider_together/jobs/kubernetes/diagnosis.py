"""
Why a pod does not run, or has failed, in words that stay the same whatever Kubernetes calls it.

The kubelet, the scheduler and the controllers each tell it at a place of their own: the container's state, the pod's
status, its conditions, its events. Here they are read in the order of how much they explain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_provider_together.api.wording import printable

#: An answer of Kubernetes, as JSON has it.
Object = Mapping[str, Any]

#: Longest piece of Kubernetes' own words, and of a container's, that a diagnosis repeats, in characters.
_LONGEST_DETAIL = 600
#: What sets colours on a terminal.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


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
    :param container: that it is about, where that is not the main one.
    :param is_init: whether that is an init container.
    :param printed: what the container left as its last words, line by line.
    """

    word: Word
    detail: str = ""
    exit_code: int | None = None
    container: str = ""
    is_init: bool = False
    printed: Sequence[str] = ()

    def __str__(self) -> str:
        exit_code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        container = f" of {self.where}" if self.container else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.word.value}{exit_code}{container}{detail}"

    @property
    def where(self) -> str:
        """How messages name the container, where it is not the main one."""
        return f"{'init container' if self.is_init else 'container'} {self.container!r}" if self.container else ""


def set_apart(header: str, lines: Iterable[str]) -> str:
    """
    Return what a container printed below a header, each line with a mark; empty if it printed nothing.

    Of a line that was written over, such as a progress bar, the last state is shown; no line has colours.
    """
    shown = [f"  | {_plain(line.rstrip().rpartition(chr(13))[2])}" for line in lines]
    return "\n".join([header, *shown]) if shown else ""


def _plain(line: str) -> str:
    return printable(_COLOURS.sub("", line).expandtabs())


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
#: Reasons of a container's end whose message is the container's own; those of others are Kubernetes' words.
_OWN_ENDS = frozenset({"", "Error", "Completed", _OOM_KILLED})


def diagnose(pod: Object, events: Iterable[Object] = (), *, main: str) -> Diagnosis | None:
    """
    Return what is wrong with a pod; None where nothing is.

    :param events: those that are about it; others are not read.
    :param main: name of the container that the pod is for. Others are named.
    """
    status = pod.get("status") or {}
    return (
        _disruption(status)
        or _end(pod, main)
        or _waiting(pod, main)
        or _not_scheduled(status)
        or _warning(pod, events)
        or _unexplained(status)
    )


def is_hopeless(pod: Object) -> bool:
    """Whether a pod waits for what will never be."""
    return any(one.state.get("reason") in _HOPELESS for one in _states(pod, "waiting"))


def disruption_of(pod: Object) -> Diagnosis | None:
    """Return why Kubernetes took a pod away; None if it did not."""
    return _disruption(pod.get("status") or {})


def _disruption(status: Object) -> Diagnosis | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = condition.get("reason", "")
            word = _DISRUPTED.get(reason, Word.EVICTED)
            return Diagnosis(word, words_of(reason, condition.get("message")))
    return None


def _end(pod: Object, main: str) -> Diagnosis | None:
    status = pod.get("status") or {}
    if reason := status.get("reason"):
        word = _ENDED.get(reason)
        if word is not None:
            return Diagnosis(word, words_of(reason, status.get("message")))
    # A sidecar is stopped after the others, or started again: how it ends is nobody's failure.
    ended = [one for one in _states(pod, "terminated") if one.state.get("exitCode") and not one.is_sidecar]
    # One that ran out of memory explains the others; one that comes before the main one explains why that never ran.
    ended.sort(key=lambda one: (one.state.get("reason") != _OOM_KILLED, not one.is_init, one.name != main))
    for one in ended:
        reason, message = one.state.get("reason") or "", one.state.get("message") or ""
        word = Word.OUT_OF_MEMORY if reason == _OOM_KILLED else Word.NON_ZERO_EXIT
        is_own = reason in _OWN_ENDS
        diagnosis = one.diagnosis(word, "" if is_own else words_of(reason, message), main)
        return replace(
            diagnosis, exit_code=one.state["exitCode"], printed=tuple(_last_words(message)) if is_own else ()
        )
    return None


def _waiting(pod: Object, main: str) -> Diagnosis | None:
    for one in _states(pod, "waiting"):
        reason = one.state.get("reason", "")
        if reason in _WAITING:
            return one.diagnosis(_WAITING[reason], words_of(reason, one.state.get("message")), main)
    return None


def _not_scheduled(status: Object) -> Diagnosis | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Diagnosis(Word.UNSCHEDULABLE, words_of(condition.get("reason", ""), condition.get("message")))
    return None


def _warning(pod: Object, events: Iterable[Object]) -> Diagnosis | None:
    """Return what the last warning says, of a pod none of whose containers has begun or all of which have gone."""
    status, name = pod.get("status") or {}, (pod.get("metadata") or {}).get("name")
    if status.get("phase") == "Succeeded" or any(True for _ in _states(pod, "running")):
        return None
    found = None
    for event in events:
        reason = event.get("reason", "")
        if (event.get("involvedObject") or {}).get("name") == name and reason in _START_WARNINGS:
            found = Diagnosis(_START_WARNINGS[reason], words_of(reason, event.get("message")))
    return found


def _unexplained(status: Object) -> Diagnosis | None:
    if status.get("phase") != "Failed":
        return None
    return Diagnosis(Word.UNKNOWN, words_of(status.get("reason", ""), status.get("message")))


@dataclass(frozen=True, slots=True)
class _ContainerState:
    """
    The state of one container.

    :param is_sidecar: whether it begins with the init containers, and runs beside the others.
    """

    name: str
    state: Object
    is_init: bool
    is_sidecar: bool

    def diagnosis(self, word: Word, detail: str, main: str) -> Diagnosis:
        """Return what is wrong with it, with its name if it is not the main one."""
        is_init = self.is_init and not self.is_sidecar
        return Diagnosis(word, detail, container="" if self.name == main else self.name, is_init=is_init)


def _states(pod: Object, kind: str) -> Iterator[_ContainerState]:
    """Yield the states of one kind of all containers: those that begin first come first."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            if (state := (container.get("state") or {}).get(kind)) is not None:
                name, is_init = container["name"], field == "initContainerStatuses"
                yield _ContainerState(name, state, is_init, is_init and name in sidecars)


def _last_words(message: str) -> list[str]:
    """Return the end of what a container left as its termination message, line by line."""
    cut = message[-_LONGEST_DETAIL:]
    lines = cut.splitlines()
    if len(message) > len(cut):
        lines[0] = f"…{lines[0]}"
    return [line for line in lines if line.strip()]


def words_of(reason: str | None, message: str | None) -> str:
    """Return Kubernetes' own words of something in one line, which forges no other."""
    said = " ".join((message or "").split())
    if len(said) > _LONGEST_DETAIL:
        said = f"…{said[-_LONGEST_DETAIL:]}"
    return printable(": ".join(part for part in (reason, said) if part))
