"""
Whatever is interleaved, killed or lost: one cluster per owner at rest, none after the end, no stranger's touched.

The same histories in every run. More, other ones each time, and those that fail made as short as they can be:
``HISTORIES=20000 pytest tests/histories``. Each is printed as a list of moves, for ``test_known_histories.py`` to keep.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.histories.moves import LONGEST_LAG, Move, histories, peaceful, races
from tests.histories.rules import check_posts, check_race, come_to_rest
from tests.histories.scene import MEMORIES, MemoryKind
from tests.histories.telling import many, tell
from tests.support.engine import BOTH

pytestmark = pytest.mark.parametrize("dialect", BOTH)


@pytest.mark.parametrize("memory", MEMORIES)
@many(400)
@given(moves=histories())
def test_at_rest_each_owner_has_one_cluster_and_none_after_its_end(
    moves: list[Move], dialect: str, memory: MemoryKind
) -> None:
    tell(moves, dialect, memory, ends_with=come_to_rest)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("lag", [0.0, 10.0, LONGEST_LAG])
@many(150)
@given(moves=races(0))
def test_tries_that_run_at_once_end_with_one_cluster(
    moves: list[Move], lag: float, dialect: str, memory: MemoryKind
) -> None:
    tell(moves, dialect, memory, lag=lag, ends_with=lambda scene: check_race(scene, scene.tasks[0]))


@pytest.mark.parametrize("memory", MEMORIES)
@many(100)
@given(moves=peaceful())
def test_a_create_without_trouble_asks_exactly_once(moves: list[Move], dialect: str, memory: MemoryKind) -> None:
    tell(moves, dialect, memory, ends_with=check_posts)
