"""
What may happen next in a history, each as a value that hypothesis can draw, shrink and show.

A move that makes no sense at the moment does nothing, so that any list of moves is a history. No rules in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeAlias

from hypothesis import strategies as st

from airflow_provider_together.emulator.faults import Fault
from tests.histories.scene import DEPLOYMENTS, TAKEN_NAME, Scene, owners, strange_names

#: Longest that a list lags, in seconds: within what the flows are told (their visibility time).
LONGEST_LAG = 55.0


class Move(Protocol):
    """Something that happens."""

    def apply(self, scene: Scene) -> None:
        """Let it happen."""


Histories: TypeAlias = st.SearchStrategy[list[Move]]


@dataclass(frozen=True)
class Try:
    """
    Airflow starts a try of a task, although so many but one earlier ones still run: by default a zombie, another
    zombie, and the retry.
    """

    task: int
    most_at_once: int = 3

    def apply(self, scene: Scene) -> None:
        task = scene.tasks[self.task]
        if not task.is_over and sum(not process.is_over for process in task.tries) < self.most_at_once:
            scene.start_create(task)


@dataclass(frozen=True)
class Step:
    """A process goes on by some steps."""

    process: int
    steps: int = 1

    def apply(self, scene: Scene) -> None:
        for _ in range(self.steps):
            if running := scene.running():
                running[self.process % len(running)].advance()


@dataclass(frozen=True)
class Finish:
    """A process goes on to its end."""

    process: int

    def apply(self, scene: Scene) -> None:
        if running := scene.running():
            running[self.process % len(running)].finish()


@dataclass(frozen=True)
class Kill:
    """A process dies where it is; an answer that it waits for is lost."""

    process: int

    def apply(self, scene: Scene) -> None:
        if running := scene.running():
            running[self.process % len(running)].kill()


@dataclass(frozen=True)
class Pass:
    """Time passes, in seconds."""

    seconds: float

    def apply(self, scene: Scene) -> None:
        scene.cloud.wait_until(scene.cloud.now() + self.seconds)


@dataclass(frozen=True)
class Trouble:
    """Something goes wrong at Together or on the way."""

    fault: Fault

    def apply(self, scene: Scene) -> None:
        scene.troubles.add(self.fault.kind)
        scene.cloud.simulation.inject(self.fault)

    def __repr__(self) -> str:
        return f"Trouble({self.fault.kind} {self.fault.status or ''} {self.fault.route} {self.fault.seconds or ''})"


@dataclass(frozen=True)
class Late:
    """The next POST reaches Together some seconds after its sender has given up."""

    seconds: float

    def apply(self, scene: Scene) -> None:
        scene.troubles.add("late")
        scene.cloud.late_posts.append(self.seconds)


@dataclass(frozen=True)
class Fail:
    """A cluster's acceptance tests fail."""

    cluster: int

    def apply(self, scene: Scene) -> None:
        if usable := scene.cloud.usable():
            scene.troubles.add("failure")
            scene.cloud.simulation.fail(usable[self.cluster % len(usable)].cluster_id)


@dataclass(frozen=True)
class Stranger:
    """Somebody makes a cluster by hand."""

    name: int

    def apply(self, scene: Scene) -> None:
        name = strange_names()[self.name]
        scene.strangers.append(scene.cloud.make_by_hand(name, maker="stranger"))


@dataclass(frozen=True)
class End:
    """The DAG run of a task ends, whatever still runs, and its teardown deletes the cluster on record."""

    task: int

    def apply(self, scene: Scene) -> None:
        task = scene.tasks[self.task]
        task.is_over = True
        recorded = task.recorded_id()
        if recorded is not None:
            scene.start_delete(task, recorded)


@dataclass(frozen=True)
class Sweep:
    """The sweep of an Airflow begins."""

    deployment: str

    def apply(self, scene: Scene) -> None:
        scene.start_sweep(self.deployment)


@dataclass(frozen=True)
class Clear:
    """A task is cleared: it will run again, and its record stays."""

    task: int

    def apply(self, scene: Scene) -> None:
        task = scene.tasks[self.task]
        task.is_over, task.cleared_tries = False, len(task.tries)


def waits() -> st.SearchStrategy[Move]:
    """Return times that matter: within a list's lag, beyond it, beyond a short life."""
    return st.builds(Pass, st.sampled_from([1.0, 20.0, LONGEST_LAG, 700.0, 1500.0]))


def weighted(choices: Sequence[tuple[int, st.SearchStrategy[Move]]]) -> st.SearchStrategy[Move]:
    """Return one of the moves, each as often as its weight says."""
    return st.sampled_from([choice for weight, choice in choices for _ in range(weight)]).flatmap(lambda each: each)


def starting_with(first: st.SearchStrategy[Move], others: st.SearchStrategy[Move], *, longest: int) -> Histories:
    """Return lists of moves of any length up to the longest."""
    rest = st.integers(0, longest - 1).flatmap(lambda length: st.lists(others, min_size=length, max_size=length))
    return st.builds(lambda one, more: [one, *more], first, rest)


def races(task: int) -> Histories:
    """Return histories of tries of one task that run at the same time, and may be killed; nothing else goes wrong."""
    processes = st.integers(0, 2)
    move = weighted(
        [
            (10, st.builds(Step, processes, st.integers(1, 3))),
            (3, st.just(Try(task))),
            (1, st.builds(Finish, processes)),
            (1, st.builds(Kill, processes)),
            (1, st.builds(Pass, st.sampled_from([1.0, 20.0, 70.0]))),
        ]
    )
    return starting_with(st.just(Try(task)), move, longest=30)


def peaceful() -> Histories:
    """Return histories in which each task is tried once, and nothing goes wrong."""
    tries = st.builds(lambda order: [Try(task) for task in order], st.permutations(range(len(owners()))))
    processes = st.integers(0, 3)
    move = weighted(
        [(6, st.builds(Step, processes, st.integers(1, 3))), (2, strangers(with_taken_name=True)), (1, waits())]
    )
    return st.builds(_shuffled_in, tries, st.lists(move, max_size=20), st.randoms(use_true_random=False))


def _shuffled_in(tries: list[Move], others: list[Move], random: Random) -> list[Move]:
    moves = [*tries, *others]
    random.shuffle(moves)
    return moves


def strangers(*, with_taken_name: bool) -> st.SearchStrategy[Move]:
    """
    Return what strangers do.

    :param with_taken_name: whether they may take the very name that a user has chosen. Where lists lag and answers are
        lost, too, nothing in the world tells their cluster from the user's.
    """
    numbers = range(len(strange_names()))
    return st.sampled_from([Stranger(number) for number in numbers if with_taken_name or number != TAKEN_NAME])


#: Lists that do not say what there is: status, body and headers.
_SAYS_NOTHING: Sequence[tuple[int, Any, Mapping[str, str]]] = (
    (200, {"message": "warming up"}, {}),
    (200, {"clusters": [], "next_page_token": "2"}, {}),
    (200, {"clusters": []}, {"link": '<https://together.invalid/2>; rel="next"'}),
    (206, {"clusters": []}, {}),
    (202, {"clusters": []}, {}),
)


def _faults() -> st.SearchStrategy[Fault]:
    outcomes = [
        Fault(route=route, kind=kind)
        for route in ("create_cluster", "list_clusters", "get_cluster", "delete_cluster")
        for kind in ("drop", "lose_answer", "reset", "malformed")
    ]
    statuses = [
        Fault(route=route, status=status, after_effect=after)
        for route in ("create_cluster", "list_clusters", "get_cluster", "delete_cluster")
        for status, after in ((503, False), (500, True), (429, False), (401, False))
    ]
    lags = [
        Fault(route="list_clusters", kind="lag_list", times=times, seconds=s)
        for times in (1, 4, None)
        for s in (10.0, LONGEST_LAG)
    ]
    says_nothing = [
        Fault(route="list_clusters", status=status, body=body, headers=headers, times=times)
        for status, body, headers in _SAYS_NOTHING
        for times in (1, 3)
    ]
    others = [
        Fault(route="create_cluster", kind="duplicate"),
        Fault(route="create_cluster", kind="out_of_stock"),
        Fault(route="create_cluster", kind="failed_life", seconds=30.0),
        Fault(route="list_clusters", kind="hide_cluster"),
    ]
    kinds = (outcomes, statuses, lags, says_nothing, others)
    return st.one_of(*(st.sampled_from(faults) for faults in kinds))


def histories(*, longest: int = 40) -> Histories:
    """Return histories in which anything may happen."""
    tasks = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3])
    tries = tasks.map(Try)
    processes = st.integers(0, 3)
    move = weighted(
        [
            (10, st.builds(Step, processes, st.integers(1, 4))),
            (4, tries),
            (2, st.builds(Kill, processes)),
            (2, st.builds(Finish, processes)),
            (3, st.builds(Trouble, _faults())),
            (1, st.builds(Late, st.sampled_from([1.0, 20.0, 50.0]))),
            (1, waits()),
            (1, st.builds(Fail, processes)),
            (1, strangers(with_taken_name=False)),
            (1, st.builds(End, tasks)),
            (1, st.builds(Clear, tasks)),
            (1, st.builds(Sweep, st.sampled_from(DEPLOYMENTS))),
        ]
    )
    return starting_with(tries, move, longest=longest)
