"""The rows in which something is cleared after a run has ended: every task, alone or with what follows, and runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from airflow_provider_together.emulator import Fault
from tests.truth.live_run import LiveRun
from tests.truth.row import Row
from tests.truth.stage import AROUND, FAILS, OK, SHAPES, Shape, Stage


def rows() -> Iterator[Row]:
    """Return all of them."""
    for shape in SHAPES:
        tasks = (*AROUND, *shape.wrapping, *shape.inside())
        for cleared, with_downstream in product(tasks, (False, True)):
            yield _after_success(shape, cleared, OK, with_downstream=with_downstream)
            if _trains_again(shape, cleared, with_downstream=with_downstream):
                yield _after_success(shape, cleared, FAILS, with_downstream=with_downstream)
        for again in (OK, FAILS):
            yield _after_failed_training(shape, again)
            yield _after_failed_training_whole(shape, again)
        yield _failed_only_after_failed_training(shape)
        yield _failed_only_after_failed_create(shape)
        yield _whole_after_failed_create(shape)
        yield _upstream(shape)


def _trains_again(shape: Shape, cleared: str, *, with_downstream: bool) -> bool:
    """Whether Airflow's users expect the training to run again."""
    train = f"{shape.prefix}train"
    if not with_downstream:
        return cleared == train
    behind = {f"{shape.prefix}measure", *AROUND[1:], "h100.done", "h100.delete", "delete", "h100.outcome", "outcome"}
    return cleared not in behind


def _needs_cluster(shape: Shape, cleared: str, *, with_downstream: bool) -> bool:
    """Whether a task that needs the cluster runs again."""
    if _trains_again(shape, cleared, with_downstream=with_downstream):
        return True
    # By hand the delete takes the id that create returns, so that there has to be one.
    return cleared in {*shape.inside(), "create"}


def _after_success(shape: Shape, cleared: str, again: str, *, with_downstream: bool) -> Row:
    trains = _trains_again(shape, cleared, with_downstream=with_downstream)
    finds_no_cluster = cleared == "ready" and not with_downstream
    what = f"`{cleared}` and what follows are cleared" if with_downstream else f"`{cleared}` alone is cleared"
    end = f", and the training {again}" if trains else ""

    def play(stage: Stage) -> LiveRun:
        stage.ends = [OK, again]
        run = LiveRun(shape.build(stage)).play()
        return run.clear(cleared, include_downstream=with_downstream).play()

    return Row(
        key=f"{shape.name} {cleared} {with_downstream} {again}",
        sentence=f"{shape.name}, after a success {what}{end}",
        play=play,
        made=2 if _needs_cluster(shape, cleared, with_downstream=with_downstream) else 1,
        run="failed" if (trains and again == FAILS) or finds_no_cluster else "success",
    )


def _after_failed_training(shape: Shape, again: str) -> Row:
    def play(stage: Stage) -> LiveRun:
        stage.ends = [FAILS, again]
        run = LiveRun(shape.build(stage)).play()
        return run.clear(f"{shape.prefix}train", include_downstream=True).play()

    return Row(
        key=f"{shape.name} failed then {again}",
        sentence=f"{shape.name}, the training fails; it is cleared with what follows, and {again}",
        play=play,
        made=2,
        run="success" if again == OK else "failed",
    )


def _after_failed_training_whole(shape: Shape, again: str) -> Row:
    def play(stage: Stage) -> LiveRun:
        stage.ends = [FAILS, again]
        return LiveRun(shape.build(stage)).play().clear_run().play()

    return Row(
        key=f"{shape.name} failed whole {again}",
        sentence=f"{shape.name}, the training fails; the whole run is cleared, and it {again}",
        play=play,
        made=2,
        run="success" if again == OK else "failed",
    )


def _failed_only_after_failed_training(shape: Shape) -> Row:
    def play(stage: Stage) -> LiveRun:
        stage.ends = [FAILS, OK]
        return LiveRun(shape.build(stage)).play().clear_run(only_failed=True).play()

    return Row(
        key=f"{shape.name} failed only",
        sentence=f"{shape.name}, the training fails; failed tasks only are cleared: Airflow makes no cluster for them",
        play=play,
        made=1,
        run="failed",
    )


def _failed_only_after_failed_create(shape: Shape) -> Row:
    """The delete of a block has succeeded, so that Airflow does not clear it; by hand it has not run."""
    is_block = shape.prefix != ""

    def play(stage: Stage) -> LiveRun:
        stage.emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=1))
        run = LiveRun(shape.build(stage)).play().clear_run(only_failed=True).play()
        assert run.states[f"{shape.prefix}delete"] == "success"
        return run

    end = "refuses, since nothing would delete its cluster" if is_block else "makes one, which goes as well"
    return Row(
        key=f"{shape.name} create failed only",
        sentence=f"{shape.name}, create fails without a cluster; failed tasks only are cleared: create {end}",
        play=play,
        made=0 if is_block else 1,
        run="failed" if is_block else "success",
    )


def _whole_after_failed_create(shape: Shape) -> Row:
    def play(stage: Stage) -> LiveRun:
        stage.emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=1))
        return LiveRun(shape.build(stage)).play().clear_run().play()

    return Row(
        key=f"{shape.name} create failed whole",
        sentence=f"{shape.name}, create fails without a cluster; the whole run is cleared",
        play=play,
    )


def _upstream(shape: Shape) -> Row:
    def play(stage: Stage) -> LiveRun:
        run = LiveRun(shape.build(stage)).play()
        return run.clear("later", include_upstream=True).play()

    return Row(
        key=f"{shape.name} upstream",
        sentence=f"{shape.name}, after a success `later` and all before it are cleared",
        play=play,
        made=2,
    )
