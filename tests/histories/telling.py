"""
How a history is told: moves are applied one by one, and what must always hold is checked after each.

Separate from the rules, which are about the world, since this is about tests: how many histories, and what a failure
shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from hypothesis import Phase, settings

from airflow_provider_together.emulator.faults import Fault
from tests.histories.moves import Move
from tests.histories.rules import check_always
from tests.histories.scene import MemoryKind, Scene
from tests.support.engine import FIXED

#: Set it to run so many histories of each kind, other ones each time.
_COUNT = os.environ.get("HISTORIES")
#: What a run that is the same each time does not do, since it may take minutes: shorten a history that has failed.
_QUICK = (Phase.explicit, Phase.generate)


def many(count: int) -> settings:
    """Return the settings of a test that is to see so many histories."""
    if _COUNT is None:
        return settings(FIXED, max_examples=count, phases=_QUICK, report_multiple_bugs=False)
    return settings(FIXED, max_examples=int(_COUNT), derandomize=False, report_multiple_bugs=False)


def tell(
    moves: Sequence[Move],
    dialect: str,
    memory: MemoryKind,
    *,
    ends_with: Callable[[Scene], None],
    lag: float = 0.0,
) -> None:
    """
    Let a history happen, and check it.

    :param ends_with: checks what must hold in the end.
    :param lag: by how many seconds the list is late all the time.
    """
    scene = Scene(dialect, memory)
    if lag:
        scene.cloud.simulation.inject(Fault(route="list_clusters", kind="lag_list", times=None, seconds=lag))
    try:
        for move in moves:
            move.apply(scene)
            check_always(scene)
        ends_with(scene)
    except AssertionError as error:
        error.add_note(f"The history, in {dialect} with {memory}, lag {lag:g} s: {moves}\n{scene.processes}")
        raise
