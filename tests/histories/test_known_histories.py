"""Histories that once went wrong, in their shortest form, each with a sentence on what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from airflow_provider_together.emulator.faults import Fault
from tests.histories.moves import (
    LONGEST_LAG,
    Clear,
    End,
    Fail,
    Finish,
    Kill,
    Late,
    Move,
    Pass,
    Step,
    Stranger,
    Sweep,
    Trouble,
    Try,
)
from tests.histories.rules import check_always, check_none_left, check_one_post, check_race, come_to_rest
from tests.histories.scene import DOUBLE, FIRST, MEMORIES, NAMED, NEIGHBOUR, TAKEN_NAME, MemoryKind, Scene
from tests.histories.telling import tell
from tests.support.engine import BOTH

#: The list is late, as late as it may be; it shows nothing at all.
LAG = Trouble(Fault(route="list_clusters", kind="lag_list", times=None, seconds=LONGEST_LAG))
HIDING = Trouble(Fault(route="list_clusters", kind="hide_cluster", times=None))
#: Steps after which a try has sent its POST and has not heard of it.
UNTIL_POSTED = 6


def race_of(task: int) -> Callable[[Scene], None]:
    """Return the check of a race between the tries of a task."""
    return lambda scene: check_race(scene, scene.tasks[task])


@dataclass(frozen=True)
class Known:
    """
    A history to remember.

    :param about: what went wrong.
    """

    about: str
    moves: tuple[Move, ...]
    ends_with: Callable[[Scene], None] = come_to_rest
    lag: float = 0.0


KNOWN = [
    Known(
        "a POST whose sender was killed before it heard of it is found by the retry, however late the list is",
        (LAG, Try(FIRST), Step(0, UNTIL_POSTED), Kill(0), Try(FIRST), Finish(0)),
        check_one_post,
    ),
    Known(
        "a POST that arrives after its sender has given up waiting for the answer is adopted, not repeated",
        (Late(50.0), Try(FIRST), Finish(0)),
        race_of(FIRST),
    ),
    Known(
        "one request that makes two clusters leaves one of them",
        (Trouble(Fault(route="create_cluster", kind="duplicate")), Try(FIRST), Finish(0)),
        race_of(FIRST),
    ),
    Known(
        "a list that misses the recorded cluster does not lead to a second one",
        (
            Try(FIRST),
            Finish(0),
            HIDING,
            Try(FIRST),
            Finish(0),
        ),
    ),
    Known(
        "a task that is cleared after its teardown gets a new cluster",
        (Try(FIRST), Finish(0), End(FIRST), Finish(0), Clear(FIRST), Try(FIRST), Finish(0)),
        race_of(FIRST),
    ),
    Known(
        "a cluster that its task's teardown has deleted is not claimed from a stranger of the same name",
        (Try(NAMED), Finish(0), End(NAMED), Finish(0), Stranger(TAKEN_NAME), Clear(NAMED), Try(NAMED), Finish(0)),
    ),
    Known(
        "a create in the same Airflow removes what is past its end of life, though its run goes on",
        (Try(NEIGHBOUR), Finish(0), Pass(1500.0), Try(FIRST), Finish(0)),
    ),
    Known(
        "a zombie that asks after its retry has come out does not take the retry's cluster away",
        (Try(FIRST), Step(0, 2), Try(FIRST), Finish(1)),
        race_of(FIRST),
    ),
    Known(
        "of three tries that ask at once, none deletes the cluster for which another one gives up its own",
        (Try(FIRST), Try(FIRST), Try(FIRST), Step(2, 2), Step(0, 2), Step(2, 5)),
        race_of(FIRST),
    ),
    Known(
        "an open request of a zombie is no better proof than the id on record",
        (Try(FIRST), Try(FIRST), Step(0, 4), Pass(1.0), Try(FIRST), Finish(2), Step(0, 2), Finish(1)),
        race_of(FIRST),
    ),
    Known(
        "what another try has given back meanwhile is not adopted from a list that was read before",
        (Try(FIRST), Try(FIRST), Step(1, 1), Step(0, 2), Try(FIRST), Step(1, 2), Step(2, 1), Step(1, 3), Step(2, 1)),
        race_of(FIRST),
    ),
    Known(
        "a deletion that was answered with one stray 404 is asked for again",
        (Try(FIRST), Finish(0), Trouble(Fault(route="delete_cluster", status=404)), End(FIRST), Finish(0)),
        check_none_left,
    ),
    Known(
        "a user's own cluster on record goes before a stranger's older one of the same name",
        (
            Trouble(Fault(route="list_clusters", kind="lag_list", seconds=LONGEST_LAG)),
            Stranger(TAKEN_NAME),
            Pass(1.0),
            Try(NAMED),
            Finish(0),
            Pass(70.0),
            Try(NAMED),
            Finish(0),
        ),
        race_of(NAMED),
    ),
    Known(
        "what is on record in the end is the cluster that was kept",
        (Try(FIRST), Try(FIRST), Step(1, 10)),
        race_of(FIRST),
        lag=10.0,
    ),
    Known(
        "a retry is not told that its own task's cluster is a stranger's",
        (Try(NAMED), Try(NAMED), Step(1, 1)),
        race_of(NAMED),
    ),
    Known(
        "two tries that ask for a user's own name at once end with one cluster",
        (Try(NAMED), Step(0, 2), Try(NAMED), Step(1, 7)),
        race_of(NAMED),
    ),
    Known(
        "a POST that is answered with 500 after it was carried out is not repeated",
        (Trouble(Fault(route="create_cluster", status=500, after_effect=True)), Try(FIRST), Finish(0)),
        race_of(FIRST),
    ),
    Known(
        "what a lost answer told of is looked for until the list shows it, and adopted",
        (Trouble(Fault(route="create_cluster", kind="lose_answer")), Try(FIRST), Finish(0)),
        race_of(FIRST),
        lag=LONGEST_LAG,
    ),
    Known(
        "a try that was killed before it asked does not make the next one forget what is on record",
        (HIDING, Try(FIRST), Try(FIRST), Step(1, 4), Finish(0), Step(0, 1), Kill(0), Try(FIRST), Finish(0)),
        check_one_post,
    ),
    Known(
        "one of a user's own name that has failed is given back though the list does not show it yet",
        (LAG, Try(NAMED), Finish(0), Fail(0), Try(NAMED), Finish(0)),
    ),
    Known(
        "one that has failed is replaced and given back",
        (Try(FIRST), Finish(0), Fail(0), Try(FIRST), Finish(0)),
        race_of(FIRST),
    ),
    Known(
        "one that is being deleted is not adopted",
        (Try(FIRST), Finish(0), End(FIRST), Step(0, 2), Clear(FIRST), Try(FIRST), Finish(1)),
        race_of(FIRST),
    ),
    Known(
        "the same task of another Airflow in the same project has a cluster of its own",
        (Try(DOUBLE), Finish(0), Try(FIRST), Finish(0), Sweep("staging"), Sweep("prod")),
    ),
    Known(
        "names that are nearly the user's are no names of his",
        (Stranger(2), Stranger(3), Try(NAMED), Finish(0)),
    ),
    Known(
        "the sweep of one Airflow leaves another's clusters alive, though their ends of life have passed",
        (Try(DOUBLE), Finish(0), Try(NEIGHBOUR), Finish(0), Pass(90_000.0), Sweep("prod"), Finish(0)),
        check_always,
    ),
    Known(
        "a sweep between two tries of a task spares what the task works with",
        (Try(FIRST), Step(0, UNTIL_POSTED), Kill(0), Try(FIRST), Finish(0), Sweep("prod"), Finish(0)),
        race_of(FIRST),
    ),
]


def _cases() -> Iterator[object]:
    for known in KNOWN:
        for dialect in BOTH:
            for memory in MEMORIES:
                yield pytest.param(known, dialect, memory, id=f"{known.about}-{dialect}-{memory}")


@pytest.mark.parametrize(("known", "dialect", "memory"), _cases())
def test_a_known_history_goes_well(known: Known, dialect: str, memory: MemoryKind) -> None:
    tell(known.moves, dialect, memory, ends_with=known.ends_with, lag=known.lag)
