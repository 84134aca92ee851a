"""A row of the table as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.truth.live_run import LiveRun
from tests.truth.stage import Stage

#: Of a run that a user has marked: Airflow decides.
ANY = "any"


@dataclass(frozen=True)
class Row:
    """
    One row.

    :param key: also the id of its DAG.
    :param sentence: what happens.
    :param play: does it.
    :param made: clusters that the training needs.
    :param run: how the run ends: ``success`` only if the training has succeeded.
    """

    key: str
    sentence: str
    play: Callable[[Stage], LiveRun] = field(repr=False)
    made: int = 1
    run: str = "success"
