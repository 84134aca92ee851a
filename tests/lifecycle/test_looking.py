"""Finding all that an owner has made, driven by hand: by its name, by its record, and after a lost answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.api.models import Listing
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.exceptions import MalformedAnswerError, ServerError
from airflow_provider_together.lifecycle.looking import find_by_name, find_of_owner
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.owner import Record
from tests.support.driving import Script
from tests.support.engine import BOTH, cluster_with, dialect_named

OWNER = Owner("airflow", "train", "run", "create")
OURS = str(ClusterName.of(OWNER, now=datetime(2026, 1, 31, tzinfo=UTC)))
NEXT = str(ClusterName.of(Owner("airflow", "train", "run", "create", 1), now=datetime(2026, 1, 31, tzinfo=UTC)))
THEIRS = str(ClusterName.of(Owner("other", "train", "run", "create"), now=datetime(2026, 1, 31, tzinfo=UTC)))


@pytest.fixture(params=BOTH)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return dialect_named(request.param)


def found(dialect: Dialect, *answers: Any, record: Record | None = None) -> tuple[Script, list[str]]:
    script = Script(answers)
    clusters = script.drive(find_of_owner(dialect, OWNER, record or Record()))
    return script, [cluster.cluster_id for cluster in clusters]


def test_all_of_the_owners_names_are_found_and_nobody_elses(dialect: Dialect) -> None:
    names = {"a": OURS, "b": NEXT, "c": THEIRS, "d": "training", "e": OURS}
    listed = [cluster_with(key, cluster_name=name) for key, name in names.items()]
    assert found(dialect, listed)[1] == ["a", "e"]


def test_the_recorded_cluster_is_found_though_the_list_does_not_show_it(dialect: Dialect) -> None:
    script, ids = found(dialect, [], record=Record(OURS, "c-1", 1.0))
    assert ids == ["c-1"]
    assert script.pauses == []


def test_the_recorded_cluster_of_the_users_own_name_is_found_once(dialect: Dialect) -> None:
    listed = [cluster_with("c-1", cluster_name="training"), cluster_with("c-2", cluster_name="training")]
    assert found(dialect, listed, record=Record("training", "c-1", 1.0))[1] == ["c-1"]


def test_the_effect_of_a_request_whose_answer_was_lost_is_looked_for(dialect: Dialect) -> None:
    late = [cluster_with("c-1", cluster_name=OURS)]
    script, ids = found(
        dialect, [], [], ServerError("503.", status=503), late, record=Record(OURS, has_open_request=True)
    )
    assert ids == ["c-1"]
    assert 0 < sum(script.pauses) < DEFAULT_VISIBILITY


def test_an_effect_that_does_not_show_is_looked_for_no_longer_than_a_list_lags(dialect: Dialect) -> None:
    script, ids = found(dialect, [], record=Record(OURS, has_open_request=True))
    assert ids == []
    assert sum(script.pauses) == DEFAULT_VISIBILITY


def test_an_owner_that_has_asked_for_nothing_is_not_waited_for(dialect: Dialect) -> None:
    script, ids = found(dialect, [])
    assert ids == []
    assert script.requests == ["GET"]


def unreadable(*names: str, readable: Sequence[Any] = ()) -> Listing[Any]:
    return Listing(readable, unreadable=names)


@pytest.mark.parametrize("record", [Record(), Record(OURS, "c-0", 1.0)])
def test_an_entry_of_the_owners_name_without_an_id_leaves_open_what_there_is(dialect: Dialect, record: Record) -> None:
    with pytest.raises(MalformedAnswerError, match="has no id"):
        found(dialect, unreadable(OURS), record=record)


def test_entries_of_others_without_an_id_concern_nobody_else(dialect: Dialect) -> None:
    others = unreadable(NEXT, THEIRS, "training", "")
    assert found(dialect, others, record=Record(OURS, "c-1", 1.0))[1] == ["c-1"]


def test_one_without_a_name_may_be_what_was_asked_for_and_never_told(dialect: Dialect) -> None:
    asked = Record(OURS, has_open_request=True)
    with pytest.raises(MalformedAnswerError):
        found(dialect, *[unreadable("")] * 20, record=asked)


def test_what_can_be_read_is_found_all_the_same(dialect: Dialect) -> None:
    listed = unreadable(OURS, readable=[cluster_with("c-1", cluster_name=OURS)])
    assert found(dialect, listed)[1] == ["c-1"]


def test_a_name_of_the_users_own_is_looked_for_as_carefully(dialect: Dialect) -> None:
    assert Script([unreadable("other", "")]).drive(find_by_name(dialect, "training")) == []
    with pytest.raises(MalformedAnswerError):
        Script([unreadable("training")]).drive(find_by_name(dialect, "training"))


def test_all_clusters_of_exactly_one_name_are_found(dialect: Dialect) -> None:
    listed = [cluster_with("a", cluster_name="x"), cluster_with("b", cluster_name="x ", status="FAILED")]
    listed.append(cluster_with("c", cluster_name="x", status="Deleting"))
    assert [c.cluster_id for c in Script([listed]).drive(find_by_name(dialect, "x"))] == ["a", "c"]
