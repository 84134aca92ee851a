"""Deleting a cluster, driven by hand: the request, the proof and the ends."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.call import Call, Step
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.api.models import Listing
from airflow_provider_together.exceptions import (
    NotFoundError,
    PermissionDeniedError,
    RequestRefusedError,
    ServerError,
    SpecError,
    TogetherError,
)
from airflow_provider_together.lifecycle.delete import delete_and_prove, prove_gone
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.driving import Script
from tests.support.engine import cluster_with

NOT_FOUND = NotFoundError("no such cluster.", status=404)
BUSY = ServerError("503.", status=503)


def gone_wait(**changes: Any) -> GoneWait:
    return GoneWait("c-1", **{"started": 1000.0, "deadline": 4600.0, "poll_interval": 15.0, **changes})


class ByPath(Script):
    """A script whose answers depend on what is asked, not on how often."""

    def __init__(self, dialect: Dialect, *, get: Any, listed: Any) -> None:
        super().__init__([])
        self._list_path, self._get, self._listed = dialect.list_clusters().path, get, listed

    def _answer(self, step: Step, left: list[Any]) -> Any:
        if isinstance(step, Call):
            return self._listed if step.path == self._list_path else self._get
        return super()._answer(step, left)


def test_a_delete_is_over_when_neither_get_nor_list_shows_the_cluster(dialect: Dialect) -> None:
    script = Script([None, cluster_with(status="Deleting"), NOT_FOUND, NOT_FOUND, NOT_FOUND, [cluster_with("c-2")]])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests == ["DELETE", "GET", "GET", "GET", "GET", "GET"]
    assert [step.path for step in script.steps if isinstance(step, Call)][-1] == dialect.list_clusters().path


def test_a_list_that_lags_is_waited_for(dialect: Dialect) -> None:
    listed = [cluster_with("c-1", status="Deleting")]
    script = Script([NOT_FOUND, listed, NOT_FOUND, BUSY, NOT_FOUND, []])
    wait = gone_wait()
    wait.accept()
    assert script.drive(prove_gone(dialect, wait)).verdict is Verdict.GONE
    assert len(script.requests) == 6


def test_a_list_that_lags_for_ever_proves_nothing(dialect: Dialect) -> None:
    script = ByPath(dialect, get=NOT_FOUND, listed=[cluster_with("c-1")])
    assert script.drive(prove_gone(dialect, gone_wait())).verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize("failing", [BUSY, NOT_FOUND, PermissionDeniedError("no", status=403)])
def test_a_list_that_cannot_be_had_proves_nothing(dialect: Dialect, failing: TogetherError) -> None:
    look = ByPath(dialect, get=NOT_FOUND, listed=failing).drive(prove_gone(dialect, gone_wait()))
    assert look.verdict in {Verdict.TIMED_OUT, Verdict.REFUSED}


def test_a_cluster_that_is_gone_already_is_proved_gone_all_the_same(dialect: Dialect) -> None:
    script = Script([*[NOT_FOUND] * 6, []])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests == ["DELETE", *["GET"] * 6]


def test_after_an_accepted_delete_the_first_404_and_a_list_without_it_are_the_proof(dialect: Dialect) -> None:
    script = Script([None, NOT_FOUND, []])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests == ["DELETE", "GET", "GET"]


@pytest.mark.parametrize(("again", "absences"), [(None, 1), (BUSY, 5)])
def test_a_cluster_that_lives_on_after_a_stray_404_is_asked_to_go_again(
    dialect: Dialect, again: Any, absences: int
) -> None:
    live = cluster_with(status="Ready")
    answers = [NOT_FOUND, live, live, live, again, cluster_with(status="Deleting"), *[NOT_FOUND] * absences, []]
    script = Script(answers)
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests[:5] == ["DELETE", "GET", "GET", "GET", "DELETE"]


def test_a_deletion_that_is_refused_when_asked_again_is_told_with_the_words(dialect: Dialect) -> None:
    live = cluster_with(status="Ready")
    refused = RequestRefusedError("is being resized", status=409)
    script = Script([NOT_FOUND, live, *[live, live, refused] * 50])
    look = script.drive(delete_and_prove(dialect, gone_wait(deadline=1200.0)))
    assert (look.verdict, look.error) == (Verdict.TIMED_OUT, "is being resized")
    assert script.requests[:7] == ["DELETE", "GET", "GET", "GET", "DELETE", "GET", "GET"]


def test_a_delete_is_asked_for_until_it_is_accepted(dialect: Dialect) -> None:
    script = Script([BUSY, BUSY, None, NOT_FOUND, []])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests[:4] == ["DELETE", "DELETE", "DELETE", "GET"]
    assert len([note for note in script.notes if "503" in note.message]) == 1


def test_a_delete_that_never_gets_through_ends_at_the_deadline(dialect: Dialect) -> None:
    script = Script([BUSY])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.TIMED_OUT
    assert set(script.requests) == {"DELETE"}


def test_a_delete_that_is_refused_for_long_is_refused(dialect: Dialect) -> None:
    script = Script([PermissionDeniedError("no admin", status=403)])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.REFUSED
    assert script.notes[-1].message == "no admin"


def test_a_delete_of_a_blank_id_is_an_error_at_once(dialect: Dialect) -> None:
    with pytest.raises(SpecError):
        Script([BUSY]).drive(delete_and_prove(dialect, GoneWait(" ", started=0.0, deadline=9.0, poll_interval=1.0)))


def test_an_entry_of_its_name_without_an_id_is_no_proof_that_a_cluster_is_gone(dialect: Dialect) -> None:
    wait = gone_wait(deadline=1100.0)
    wait.on_cluster(cluster_with(cluster_name="train", status="Deleting"), now=1000.0)
    wait.accept()
    script = ByPath(dialect, get=NOT_FOUND, listed=Listing(unreadable=["train"]))
    assert script.drive(prove_gone(dialect, wait)).verdict is Verdict.TIMED_OUT
    script = ByPath(dialect, get=NOT_FOUND, listed=Listing(unreadable=["other", ""]))
    assert script.drive(prove_gone(dialect, gone_wait())).verdict is Verdict.GONE
