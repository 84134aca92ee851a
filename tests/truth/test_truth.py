"""A green run is true: no cluster is left, none is made in vain, and it is green only if the training has succeeded."""

from __future__ import annotations

import re

import pytest
from airflow import __version__

from airflow_provider_together.emulator import Emulator
from tests.conftest import SPEED
from tests.truth import clearing, shapes
from tests.truth.page import Table, is_on_the_page, sentences
from tests.truth.row import ANY, Row
from tests.truth.stage import Stage

pytestmark = [
    pytest.mark.truth,
    pytest.mark.usefixtures("database"),
    pytest.mark.skipif(__version__ < "3.3", reason="what Airflow clears is judged on the version that we develop on"),
]

ROWS = [*clearing.rows(), *shapes.rows()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_nothing_is_left_nothing_is_made_in_vain_and_green_means_trained(
    row: Row, table: Table, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with Emulator(speed=SPEED) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection(visibility=1))
        run = row.play(Stage(re.sub(r"\W+", "_", row.key), emulator))
        made, alive = len(emulator.clusters()), len(emulator.alive())
    story = f"{run.states} {run.order}"
    assert alive == 0, story
    assert made == row.made, story
    assert row.run in {run.state, ANY}, story
    line = table.add(row.sentence, made=made, alive=alive, run="as marked" if row.run == ANY else run.state)
    assert is_on_the_page(line) or request.config.getoption("--write-truth", default=False), line


def test_the_page_has_these_rows_and_no_others(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--write-truth", default=False):
        assert sentences() == [row.sentence for row in ROWS]
