"""What is wrong with a pod has the same word wherever Kubernetes tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_together.jobs.kubernetes.diagnosis import (
    Diagnosis,
    Object,
    Word,
    disruption_of,
    is_hopeless,
    set_apart,
)
from airflow_provider_together.jobs.kubernetes.diagnosis import diagnose as diagnose_pod
from tests.jobs.objects import condition, ended, event, pod, waiting


def diagnose(seen: Object, events: Iterable[Object] = ()) -> Diagnosis | None:
    return diagnose_pod(seen, events, main="train")


NAME = "train-0-abcde"
UNSCHEDULED = condition("PodScheduled", "Unschedulable", "0/2 nodes are available: 2 Insufficient gpu.", "False")
PENDING = pod(phase="Pending")

CASES: list[tuple[str, Any, list[Any], Word | None]] = [
    ("it runs", pod(), [], None),
    ("it waits for its image", pod(phase="Pending", state=waiting("ContainerCreating")), [], None),
    ("it has ended well", pod(phase="Succeeded", state=ended(0)), [], None),
    ("no such image", pod(phase="Pending", state=waiting("ErrImagePull")), [], Word.IMAGE_PULL),
    ("no such image, later", pod(phase="Pending", state=waiting("ImagePullBackOff")), [], Word.IMAGE_PULL),
    ("no image's name", pod(phase="Pending", state=waiting("InvalidImageName")), [], Word.IMAGE_PULL),
    ("a missing Secret", pod(phase="Pending", state=waiting("CreateContainerConfigError")), [], Word.CONTAINER_CONFIG),
    ("a missing program", pod(phase="Pending", state=waiting("CreateContainerError")), [], Word.CONTAINER_CONFIG),
    ("no room", pod(phase="Pending", conditions=[UNSCHEDULED]), [], Word.UNSCHEDULABLE),
    ("no room, by its event", PENDING, [event(NAME, "FailedScheduling")], Word.UNSCHEDULABLE),
    ("no volume, by its event", PENDING, [event(NAME, "FailedMount")], Word.CONTAINER_CONFIG),
    ("another pod's event", PENDING, [event("other", "FailedMount")], None),
    ("an event of no weight", PENDING, [event(NAME, "Pulled")], None),
    ("an old event of one that runs", pod(), [event(NAME, "FailedMount")], None),
    ("an old event of one that has ended", pod(phase="Succeeded"), [event(NAME, "FailedMount")], None),
    ("an exit code", pod(phase="Failed", state=ended(3)), [], Word.NON_ZERO_EXIT),
    ("memory", pod(phase="Failed", state=ended(137, reason="OOMKilled")), [], Word.OUT_OF_MEMORY),
    ("eviction", pod(phase="Failed", reason="Evicted", message="low on memory"), [], Word.EVICTED),
    ("a node that is shut down", pod(phase="Failed", reason="Terminated"), [], Word.NODE_LOST),
    ("a node that is lost", pod(phase="Failed", reason="NodeLost"), [], Word.NODE_LOST),
    ("the pod's own deadline", pod(phase="Failed", reason="DeadlineExceeded"), [], Word.DEADLINE),
    ("a node that had no room after all", pod(phase="Failed", reason="OutOfcpu"), [], Word.UNSCHEDULABLE),
    ("an eviction that was asked for", pod(conditions=[condition("DisruptionTarget", "EvictionByEvictionAPI")]), [],
     Word.EVICTED),
    ("a preemption", pod(conditions=[condition("DisruptionTarget", "PreemptionByScheduler")]), [], Word.EVICTED),
    ("a silent node", pod(conditions=[condition("DisruptionTarget", "DeletionByTaintManager")]), [], Word.NODE_LOST),
    ("a disruption of an unknown kind", pod(conditions=[condition("DisruptionTarget", "New")]), [], Word.EVICTED),
    ("a disruption that is over", pod(conditions=[condition("DisruptionTarget", "New", status="False")]), [], None),
    ("an end that nobody explains", pod(phase="Failed", reason="Strange", message="who knows"), [], Word.UNKNOWN),
    ("no status at all", {"metadata": {"name": NAME}}, [], None),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "events", "word"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_pod_has_its_word(seen: Any, events: list[Any], word: Word | None) -> None:
    diagnosis = diagnose(seen, events)
    assert (diagnosis and diagnosis.word) == word


def test_every_word_is_reached() -> None:
    assert {word for *_, word in CASES} == {*Word, None}


def test_the_container_that_ran_out_of_memory_goes_before_one_that_only_ended() -> None:
    statuses = [
        {"name": "sidecar", "state": ended(1)},
        {"name": "train", "state": ended(137, reason="OOMKilled", message="")},
    ]
    diagnosis = diagnose(pod(phase="Failed", containerStatuses=statuses))
    assert diagnosis == Diagnosis(Word.OUT_OF_MEMORY, "", 137)


def test_an_init_container_counts_as_well() -> None:
    seen = pod(phase="Pending", initContainerStatuses=[{"name": "init", "state": waiting("ErrImagePull", "no such")}])
    assert str(diagnose(seen)) == "image_pull of init container 'init': ErrImagePull: no such"


def test_a_failed_init_container_is_named() -> None:
    seen = pod(
        phase="Failed",
        state=waiting("PodInitializing"),
        initContainerStatuses=[{"name": "fetch", "state": ended(4, message="no data", reason="Error")}],
    )
    diagnosis = diagnose(seen)
    assert str(diagnosis) == "non_zero_exit, exit code 4 of init container 'fetch'"
    assert diagnosis is not None
    assert diagnosis.printed == ("no data",)


def test_the_end_of_a_sidecar_explains_nothing() -> None:
    seen = pod(phase="Failed", state=ended(3), initContainerStatuses=[{"name": "proxy", "state": ended(143)}])
    seen["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    assert str(diagnose(seen)) == "non_zero_exit, exit code 3"


def test_a_sidecar_that_cannot_begin_is_named() -> None:
    seen = pod(phase="Pending", initContainerStatuses=[{"name": "proxy", "state": waiting("ImagePullBackOff")}])
    seen["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    assert str(diagnose(seen)) == "image_pull of container 'proxy': ImagePullBackOff"


def test_of_two_that_failed_the_main_one_counts_and_another_one_alone_is_named() -> None:
    beside, own = {"name": "a-proxy", "state": ended(9)}, {"name": "train", "state": ended(3)}
    assert str(diagnose(pod(phase="Failed", containerStatuses=[beside, own]))) == "non_zero_exit, exit code 3"
    alone = pod(phase="Failed", containerStatuses=[beside])
    assert str(diagnose(alone)) == "non_zero_exit, exit code 9 of container 'a-proxy'"


def test_what_a_container_printed_stands_apart_line_by_line() -> None:
    text = set_apart("It ends with:", ["step 1", "1 %\r50 %\r", ""])
    assert text == "It ends with:\n  | step 1\n  | 50 %\n  | "
    assert set_apart("It ends with:", []) == ""


def test_what_a_container_printed_has_no_colours_and_forges_no_line() -> None:
    text = set_apart("It ends with:", ["\x1b[1;31mValueError\x1b[0m: bad", "\tx = 1", "\x1b[2J\u202eok"])
    assert text == "It ends with:\n  | ValueError: bad\n  |         x = 1\n  | \ufffd[2J\ufffdok"


def test_kubernetes_words_forge_no_line() -> None:
    seen = pod(phase="Failed", state=ended(128, reason="Start\x1bError", message="no\n\x1b[2Jall is well"))
    assert str(diagnose(seen)) == "non_zero_exit, exit code 128: Start\ufffdError: no \ufffd[2Jall is well"


def test_it_reads_word_exit_code_and_kubernetes_words() -> None:
    seen = pod(phase="Failed", state=ended(128, reason="StartError", message="no such\n program"))
    assert str(diagnose(seen)) == "non_zero_exit, exit code 128: StartError: no such program"


def test_what_the_container_left_is_kept_apart_from_kubernetes_words() -> None:
    diagnosis = diagnose(pod(phase="Failed", state=ended(1, message="Traceback:\n  ValueError: no data\n")))
    assert diagnosis is not None
    assert str(diagnosis) == "non_zero_exit, exit code 1"
    assert diagnosis.printed == ("Traceback:", "  ValueError: no data")


def test_of_a_long_message_the_end_is_kept() -> None:
    diagnosis = diagnose(pod(phase="Failed", state=ended(1, message="x" * 5000 + "\nthe reason")))
    assert diagnosis is not None
    first, last = diagnosis.printed
    assert (first[:2], last) == ("…x", "the reason")
    assert len(first) < 700


def test_of_kubernetes_own_long_words_the_end_is_kept() -> None:
    diagnosis = diagnose(pod(phase="Failed", state=ended(128, reason="StartError", message="x" * 5000 + " the reason")))
    assert diagnosis is not None
    assert diagnosis.detail.endswith("the reason")
    assert len(diagnosis.detail) < 700


@pytest.mark.parametrize(
    ("reason", "is_so"), [("InvalidImageName", True), ("ErrImageNeverPull", True), ("ImagePullBackOff", False)]
)
def test_some_waiting_is_hopeless(reason: str, is_so: bool) -> None:
    assert is_hopeless(pod(phase="Pending", state=waiting(reason))) is is_so


def test_who_was_not_taken_away_has_no_disruption() -> None:
    assert disruption_of(pod()) is None
    assert disruption_of({"metadata": {}}) is None
