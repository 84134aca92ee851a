"""Making a shared volume at most once, driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.api.models import Listing, SharedVolume
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.exceptions import (
    MalformedAnswerError,
    NameTakenError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ServerError,
    SpecMismatchError,
    TogetherError,
)
from airflow_provider_together.lifecycle.create import IfExists
from airflow_provider_together.lifecycle.volume import ensure_shared_volume
from tests.support.driving import Script
from tests.support.engine import VOLUME_SPEC

NOT_FOUND = NotFoundError("no such cluster.", status=404)
BUSY = ServerError("503.", status=503)
LOST = OutcomeUnknownError("The answer was lost.")


def volume_with(volume_id: str = "v-1", **fields: Any) -> SharedVolume:
    return SharedVolume.model_validate({"volume_id": volume_id, "volume_name": "data", "size_tib": 2, **fields})


def volumes(dialect: Dialect, answers: Sequence[Any], *, if_exists: IfExists = "adopt") -> tuple[Script, Any]:
    script = Script(answers)
    try:
        return script, script.drive(ensure_shared_volume(dialect, VOLUME_SPEC, if_exists=if_exists))
    except TogetherError as error:
        return script, error


def test_where_no_volume_is_one_is_made(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with(volume_name="other")], volume_with("v-9")])
    assert (script.requests, end.volume_id) == (["GET", "POST"], "v-9")


@pytest.mark.parametrize("size", [2, 5, None])
def test_a_volume_that_is_large_enough_is_used(dialect: Dialect, size: int | None) -> None:
    script, end = volumes(dialect, [[volume_with(size_tib=size)]])
    assert (script.shape, end.volume_id) == (["GET", "Note"], "v-1")


def test_a_volume_that_is_too_small_is_told_with_the_remedy(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with(size_tib=1)]])
    assert isinstance(end, SpecMismatchError)
    assert "has 1 TiB, not 2: grow it" in str(end)
    assert script.requests == ["GET"]


def test_a_volume_that_exists_is_refused_on_demand(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with()]], if_exists="fail")
    assert isinstance(end, NameTakenError)
    assert script.requests == ["GET"]


@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
def test_several_volumes_of_a_name_are_named_by_their_ids(dialect: Dialect, if_exists: IfExists) -> None:
    _, end = volumes(dialect, [[volume_with("v-1"), volume_with("v-2")]], if_exists=if_exists)
    assert isinstance(end, NameTakenError)
    assert "v-1, v-2" in str(end)


def test_after_a_lost_answer_the_volume_that_shows_up_is_used(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[], LOST, [], BUSY, [volume_with("v-9")]])
    assert (script.requests.count("POST"), end.volume_id) == (1, "v-9")
    assert script.pauses == [1, 2, 4]


def test_a_lost_volume_without_effect_is_an_unknown_outcome(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[], LOST, []])
    assert end is LOST
    assert (script.requests.count("POST"), sum(script.pauses)) == (1, DEFAULT_VISIBILITY)


def test_a_refused_volume_is_an_error(dialect: Dialect) -> None:
    refusal = PermissionDeniedError("no", status=403)
    assert volumes(dialect, [[], refusal])[1] is refusal


def test_while_an_entry_of_its_name_has_no_id_no_volume_is_made(dialect: Dialect) -> None:
    script, end = volumes(dialect, [Listing(unreadable=["data"])])
    assert isinstance(end, MalformedAnswerError)
    assert "POST" not in script.requests
    script, end = volumes(dialect, [Listing(unreadable=["other", ""]), volume_with("v-9")])
    assert end.volume_id == "v-9"
