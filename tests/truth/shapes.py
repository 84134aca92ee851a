"""The rows in which a DAG has a shape of its own: rules, branches, maps, nests, slots, runs that follow each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import DAG, TaskGroup, task, task_group

from airflow_provider_together.emulator import Fault
from tests.truth.live_run import LiveRun
from tests.truth.row import ANY, Row
from tests.truth.stage import FAILS, OK, SHAPES, SKIPS, SOON, Shape, Stage, block, empty

#: With these a task behind the training starts whether that has failed or not, or because it has.
_HIDING = ("all_done", "one_done", "one_failed", "all_failed", "always", "none_skipped", "all_done_min_one_success")
_PASSING = ("none_failed", "none_failed_min_one_success")


def rows() -> Iterator[Row]:
    """Return all of them."""
    yield from _ends()
    yield from _rules()
    yield from _skips()
    yield from _several()
    yield from _short_of_slots()
    yield from _following_each_other()
    yield from _marks()


def _row(sentence: str, build: Callable[[Stage], DAG], *, ends: tuple[str, ...] = (OK,), **expected: Any) -> Row:
    """Return a row that plays a DAG once."""

    def play(stage: Stage) -> LiveRun:
        stage.ends = list(ends)
        return LiveRun(build(stage)).play()

    return Row(key=sentence, sentence=sentence, play=play, **expected)


def _ends() -> Iterator[Row]:
    for shape in SHAPES:
        yield _row(f"{shape.name}, the training succeeds", shape.build)
        yield _row(f"{shape.name}, the training fails", shape.build, ends=(FAILS,), run="failed")
        yield _row(f"{shape.name}, the training skips itself", shape.build, ends=(SKIPS,))


def _rules() -> Iterator[Row]:
    """Return rows for each trigger rule that a task may have, inside, as the first one inside, and after the block."""
    for rule in (*_PASSING, *_HIDING):
        for end in (OK, FAILS):
            run = "success" if end == OK else "failed"
            yield _row(
                f'in a block, a task inside behind the training has `trigger_rule="{rule}"`; the training {end}',
                partial(_inside, rule=rule),
                ends=(end,),
                run=run,
            )
            yield _row(
                f'a task after the block has `trigger_rule="{rule}"`; the training {end}',
                partial(_after, rule=rule),
                ends=(end,),
                run=run,
            )
    for rule in ("all_done", "none_failed", "always", "one_success"):
        yield _row(
            f'in a block, the training itself has `trigger_rule="{rule}"`, and create fails',
            partial(_training_without_stock, rule=rule),
            made=0,
            run="failed",
        )
        yield _row(
            f'in a block, the training itself has `trigger_rule="{rule}"`',
            partial(_training_with, rule=rule),
        )
    for rule in ("all_done", "none_failed"):
        yield _row(
            f'`trigger_rule="{rule}"` stands in the DAG\'s `default_args`; the training fails',
            partial(_by_default, rule=rule),
            ends=(FAILS,),
            run="failed",
        )
    yield _row(
        "in a block, a notification inside takes the cluster's id and runs behind a failed training",
        _notified,
        ends=(FAILS,),
        run="failed",
    )


def _inside(stage: Stage, rule: str) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            stage.training()(cluster.cluster_id) >> empty("notify", trigger_rule=rule)
        cluster >> empty("report")
    return dag


def _after(stage: Stage, rule: str) -> DAG:
    with stage.dag() as dag:
        with TaskGroup("around"), block() as cluster:
            stage.training()(cluster.cluster_id)
        dag.task_group.get_child_by_label("around") >> empty("notify", trigger_rule=rule)
    return dag


def _training_with(stage: Stage, rule: str) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            stage.training(trigger_rule=rule)(cluster.cluster_id)
        cluster >> empty("report")
    return dag


def _training_without_stock(stage: Stage, rule: str) -> DAG:
    stage.emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=None))
    return _training_with(stage, rule)


def _by_default(stage: Stage, rule: str) -> DAG:
    with stage.dag(default_args={"trigger_rule": rule}) as dag:
        with block() as cluster:
            stage.training()(cluster.cluster_id) >> empty("measure")
        cluster >> empty("report")
    return dag


def _notified(stage: Stage) -> DAG:
    @task(trigger_rule="all_done")
    def notify(cluster_id: str) -> str:
        return cluster_id

    with stage.dag() as dag:
        with block() as cluster:
            stage.training()(cluster.cluster_id) >> notify(cluster.cluster_id)
        cluster >> empty("report")
    return dag


def _skips() -> Iterator[Row]:
    yield _row("a branch goes around the block, and its join runs", partial(_branch, taken="no_training"), made=0)
    yield _row("a branch goes into the block", partial(_branch, taken="h100.begin"))
    yield _row(
        "a branch goes into the block; the training fails", partial(_branch, taken="h100"), ends=(FAILS,), run="failed"
    )
    yield _row("a short circuit before the block stops the run", _short_circuit_before, made=0)
    yield _row("in a block, a short circuit inside stops the training", _short_circuit_inside)
    yield _row("in a block, a branch inside trains one way", _branch_inside)
    yield _row(
        "in a block, a branch inside trains one way, which fails",
        _branch_inside,
        ends=(FAILS,),
        run="failed",
    )
    yield _row("by hand, a short circuit before create stops the run", _short_circuit_by_hand, made=0)


def _branch(stage: Stage, taken: str) -> DAG:
    with stage.dag() as dag:
        choose = task.branch(task_id="choose")(lambda: taken)()
        with block() as cluster:
            stage.training()(cluster.cluster_id)
        end = empty("end", trigger_rule="none_failed_min_one_success")
        choose >> [cluster, empty("no_training")] >> end
    return dag


def _short_circuit_before(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            stage.training()(cluster.cluster_id)
        ShortCircuitOperator(task_id="wanted", python_callable=lambda: False) >> cluster >> empty("report")
    return dag


def _short_circuit_inside(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            ShortCircuitOperator(task_id="wanted", python_callable=lambda: False) >> stage.training()(
                cluster.cluster_id
            )
        cluster >> empty("report")
    return dag


def _branch_inside(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            choose = task.branch(task_id="choose")(lambda: "h100.train")()
            join = empty("join", trigger_rule="none_failed_min_one_success")
            choose >> [stage.training()(cluster.cluster_id), empty("other")] >> join
        cluster >> empty("report")
    return dag


def _short_circuit_by_hand(stage: Stage) -> DAG:
    dag = SHAPES[1].build(stage)
    with dag:
        ShortCircuitOperator(task_id="wanted", python_callable=lambda: False) >> dag.get_task("create")
    return dag


def _several() -> Iterator[Row]:
    yield _row("in a block, the training is mapped", _mapped_training)
    yield _row("in a block, one of two mapped trainings fails", _mapped_training, ends=(FAILS, OK), run="failed")
    yield _row("a block in a mapped group, two indexes", _mapped_group, made=2)
    yield _row(
        "a block in a mapped group, two indexes, one training fails",
        _mapped_group,
        ends=(FAILS, OK),
        made=2,
        run="failed",
    )
    yield Row(
        key="mapped index cleared",
        sentence="a block in a mapped group; the training of one index is cleared: the other index gets no cluster",
        play=_mapped_index_cleared,
        made=3,
    )
    yield _row("a block in a block", _nested, made=2)
    yield _row("a block in a block; the training fails", _nested, ends=(FAILS,), made=2, run="failed")
    yield _row("two blocks, one after the other", _two, made=2)
    yield _row("two blocks, one after the other; the first training fails", _two, ends=(FAILS,), made=1, run="failed")
    yield _row("in a block, the training fails and is retried on the same cluster", _retried, ends=(FAILS, OK))
    yield _row("in a block, the training fails in both its tries", _retried, ends=(FAILS,), run="failed")


def _mapped_training(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            task(task_id="train")(lambda cluster_id, rate: (stage.train(cluster_id), rate)).partial(
                cluster_id=cluster.cluster_id
            ).expand(rate=[1, 2])
        cluster >> empty("report")
    return dag


def _mapped_group(stage: Stage) -> DAG:
    @task_group
    def trial(rate: float) -> None:
        del rate
        with block() as cluster:
            stage.training()(cluster.cluster_id)

    with stage.dag() as dag:
        trial.expand(rate=[1, 2])
    return dag


def _mapped_index_cleared(stage: Stage) -> LiveRun:
    return LiveRun(_mapped_group(stage)).play().clear(("trial.h100.train", 1)).play()


def _nested(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block("outer") as outer, block("inner") as inner:
            stage.training()(inner.cluster_id)
        outer >> empty("report", trigger_rule="all_done")
    return dag


def _two(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block("first") as first:
            stage.training()(first.cluster_id)
        with block("second") as second:
            stage.training()(second.cluster_id)
        first >> second >> empty("report")
    return dag


def _retried(stage: Stage) -> DAG:
    with stage.dag() as dag:
        with block() as cluster:
            stage.training(retries=1, retry_delay=SOON)(cluster.cluster_id)
        cluster >> empty("report")
    return dag


def _short_of_slots() -> Iterator[Row]:
    yield _row("two blocks side by side in a DAG with `max_active_tasks=1`", _side_by_side, made=2)
    yield _row(
        "two blocks side by side in a DAG with `max_active_tasks=1`; one training fails",
        _side_by_side,
        ends=(FAILS, OK),
        made=2,
        run="failed",
    )


def _side_by_side(stage: Stage) -> DAG:
    with stage.dag(max_active_tasks=1) as dag:
        for name in ("first", "second"):
            with block(name) as cluster:
                stage.training()(cluster.cluster_id)
    return dag


def _following_each_other() -> Iterator[Row]:
    yield Row(
        key="depends on past",
        sentence="`depends_on_past`, and the training of the run before has failed: no cluster is made that would wait",
        play=_depends_on_past,
        made=1,
        run="running",
    )
    yield Row(
        key="depends on past, fine",
        sentence="`depends_on_past`, and the training of the run before has succeeded",
        play=lambda stage: _depends_on_past(stage, first=OK),
        made=2,
    )
    yield Row(
        key="backfill",
        sentence="a backfill runs a day again whose training has failed",
        play=_backfilled,
        made=2,
    )
    yield Row(
        key="version",
        sentence="the DAG changes while the cluster is there: another number of GPUs, and a task more inside",
        play=_changed,
    )


def _depends_on_past(stage: Stage, first: str = FAILS) -> LiveRun:
    stage.ends = [first, OK]
    with stage.dag(schedule="@daily", default_args={"depends_on_past": True}) as dag:
        with block() as cluster:
            empty("prepare") >> stage.training()(cluster.cluster_id)
        cluster >> empty("report")
    LiveRun(dag, logical_date="2026-01-01T00:00:00Z").play()
    return LiveRun(dag, logical_date="2026-01-02T00:00:00Z").play()


def _backfilled(stage: Stage) -> LiveRun:
    stage.ends = [FAILS, OK]
    with stage.dag(schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        with block() as cluster:
            empty("prepare") >> stage.training()(cluster.cluster_id)
        cluster >> empty("report")
    return LiveRun(dag, logical_date="2026-01-02T00:00:00Z").play().backfill().play()


def _changed(stage: Stage) -> LiveRun:
    def version(num_gpus: int, *, is_new: bool) -> DAG:
        with stage.dag() as dag:
            with block(num_gpus=num_gpus) as cluster:
                train = stage.training()(cluster.cluster_id)
                if is_new:
                    train >> empty("measure")
            cluster >> empty("report")
        return dag

    new = version(16, is_new=True)
    run = LiveRun(version(8, is_new=False))
    return run.play(change=lambda ended: new if ended == "h100.create" else None)


def _marks() -> Iterator[Row]:
    for shape in SHAPES:
        create, train = (f"{shape.prefix}{name}" for name in ("create", "train"))
        yield _marked(shape.name, shape.build, train, "success", before=create)
        yield _marked(shape.name, shape.build, train, "failed", before=create, run="failed")
        for state in ("failed", "success"):
            yield Row(
                key=f"{shape.name} run {state}",
                sentence=f"{shape.name}, the run is marked {state} when create has ended",
                play=partial(_run_marked, shape=shape, state=state),
                run=ANY,
            )
    yield Row(
        key="create marked",
        sentence="in a block, create is marked success before it runs: it makes nothing, and the training fails",
        play=lambda stage: (
            LiveRun(SHAPES[0].build(stage)).play(stop_after="h100.begin").mark("h100.create", "success").play()
        ),
        made=0,
        run="failed",
    )


def _run_marked(stage: Stage, shape: Shape, state: str) -> LiveRun:
    return LiveRun(shape.build(stage)).play(stop_after=f"{shape.prefix}create").mark_run(state).play()


def _marked(
    name: str, build: Callable[[Stage], DAG], task_id: str, state: str, *, before: str, run: str = "success"
) -> Row:
    return Row(
        key=f"{name} {task_id} {state}",
        sentence=f"{name}, the training is marked {state} before it runs",
        play=lambda stage: LiveRun(build(stage)).play(stop_after=before).mark(task_id, state).play(),
        run=run,
    )
