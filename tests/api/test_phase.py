"""What status words of both dialects mean. The words are Together's, written out here a second time."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api import phase
from airflow_provider_together.api.phase import Phase, failure_word, phase_of
from tests.support.engine import FIXED

OLDER_WORDS = {
    "UNKNOWN_STATUS": Phase.PENDING,
    "PENDING": Phase.PENDING,
    "QUEUED": Phase.PENDING,
    "WAITING_CONTROL_PLANE": Phase.PENDING,
    "WAITING_DATA_PLANE": Phase.PENDING,
    "READY": Phase.READY,
    "FAILED": Phase.FAILED,
}
CURRENT_WORDS = {
    "Scheduled": Phase.PENDING,
    "WaitingForControlPlaneNodes": Phase.PENDING,
    "WaitingForDataPlaneNodes": Phase.PENDING,
    "WaitingForSubnet": Phase.PENDING,
    "WaitingForSharedVolume": Phase.PENDING,
    "InstallingDrivers": Phase.PENDING,
    "RunningAcceptanceTests": Phase.PENDING,
    "Paused": Phase.PAUSED,
    "OnDemandComputePaused": Phase.PAUSED,
    "Ready": Phase.READY,
    "Degraded": Phase.DEGRADED,
    "Deleting": Phase.DELETING,
}
TRANSITION_WORDS = {
    "CLUSTER_PHASE_QUEUED": Phase.PENDING,
    "CLUSTER_PHASE_SCHEDULED": Phase.PENDING,
    "CLUSTER_PHASE_WAITING_FOR_CONTROL_PLANE_NODES": Phase.PENDING,
    "CLUSTER_PHASE_WAITING_FOR_DATA_PLANE_NODES": Phase.PENDING,
    "CLUSTER_PHASE_WAITING_FOR_SUBNET": Phase.PENDING,
    "CLUSTER_PHASE_WAITING_FOR_SHARED_VOLUME": Phase.PENDING,
    "CLUSTER_PHASE_WAITING_FOR_AUTO_SCALER": Phase.PENDING,
    "CLUSTER_PHASE_INSTALLING_DRIVERS": Phase.PENDING,
    "CLUSTER_PHASE_RUNNING_ACCEPTANCE_TESTS": Phase.PENDING,
    "CLUSTER_PHASE_ACCEPTANCE_TESTS_FAILED": Phase.FAILED,
    "CLUSTER_PHASE_RUNNING_NCCL_TESTS": Phase.PENDING,
    "CLUSTER_PHASE_NCCL_TESTS_FAILED": Phase.FAILED,
    "CLUSTER_PHASE_READY": Phase.READY,
    "CLUSTER_PHASE_PAUSED": Phase.PAUSED,
    "CLUSTER_PHASE_ON_DEMAND_COMPUTE_PAUSED": Phase.PAUSED,
    "CLUSTER_PHASE_DEGRADED": Phase.DEGRADED,
    "CLUSTER_PHASE_DELETING": Phase.DELETING,
}
ALL_WORDS = OLDER_WORDS | CURRENT_WORDS | TRANSITION_WORDS | {"Deleted": Phase.GONE}


@pytest.fixture(autouse=True)
def _nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "_reported", set())


@pytest.mark.parametrize(("word", "expected"), ALL_WORDS.items())
def test_each_documented_word_has_its_phase(word: str, expected: Phase, caplog: pytest.LogCaptureFixture) -> None:
    assert phase_of(word) is expected
    assert not caplog.records


@pytest.mark.parametrize("word", ["", "UNKNOWN_STATUS", "DEFROSTING", "…"])
def test_no_word_and_an_unknown_word_are_pending(word: str) -> None:
    assert phase_of(word) is Phase.PENDING


def test_an_unknown_word_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        phase_of("DEFROSTING")
    assert [(record.levelno, "'DEFROSTING'" in record.message) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


def test_a_server_that_invents_words_for_ever_fills_neither_the_log_nor_the_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(1000):
        phase_of(f"WORD_{number}")
    assert len(caplog.records) == 100


@pytest.mark.parametrize("failed", ["CLUSTER_PHASE_ACCEPTANCE_TESTS_FAILED", "CLUSTER_PHASE_NCCL_TESTS_FAILED"])
def test_a_waiting_cluster_whose_tests_failed_last_is_failed(failed: str) -> None:
    transitions = ["CLUSTER_PHASE_QUEUED", failed]
    assert phase_of("RunningAcceptanceTests", transitions) is Phase.FAILED
    assert failure_word("RunningAcceptanceTests", transitions) == failed


def test_tests_that_failed_and_were_run_again_are_no_failure() -> None:
    transitions = ["CLUSTER_PHASE_ACCEPTANCE_TESTS_FAILED", "CLUSTER_PHASE_RUNNING_ACCEPTANCE_TESTS"]
    assert phase_of("RunningAcceptanceTests", transitions) is Phase.PENDING
    assert failure_word("RunningAcceptanceTests", transitions) == "RunningAcceptanceTests"


@pytest.mark.parametrize("status", ["Ready", "Degraded", "Paused", "Deleting"])
def test_a_status_that_says_something_outweighs_the_transitions(status: str) -> None:
    assert phase_of(status, ["CLUSTER_PHASE_NCCL_TESTS_FAILED"]) is phase_of(status)


def test_the_failure_word_is_the_status_if_there_are_no_transitions() -> None:
    assert failure_word("FAILED") == "FAILED"


def test_only_clusters_that_may_be_used_are_alive() -> None:
    assert {p for p in Phase if p.is_alive} == {Phase.PENDING, Phase.READY, Phase.DEGRADED, Phase.PAUSED}


@FIXED
@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_words_have_a_phase(status: str, transitions: list[str]) -> None:
    assert phase_of(status, transitions) in Phase
    assert isinstance(failure_word(status, transitions), str)
