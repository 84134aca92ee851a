"""
The phases of a cluster's life and how long they last: plans, made once, of what will happen when.

A plan is a list of transitions with their times, future ones included; what is true at a moment is read off
it. So nothing runs in the background. Spelling is the dialects' business. It imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a cluster is in its life. The values are plain words for people."""

    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    CONTROL_PLANE = "CONTROL_PLANE"
    SUBNET = "SUBNET"
    DATA_PLANE = "DATA_PLANE"
    SHARED_VOLUME = "SHARED_VOLUME"
    DRIVERS = "DRIVERS"
    ACCEPTANCE_TESTS = "ACCEPTANCE_TESTS"
    ACCEPTANCE_TESTS_FAILED = "ACCEPTANCE_TESTS_FAILED"
    NCCL_TESTS = "NCCL_TESTS"
    NCCL_TESTS_FAILED = "NCCL_TESTS_FAILED"
    READY = "READY"
    DEGRADED = "DEGRADED"
    PAUSED = "PAUSED"
    ON_DEMAND_COMPUTE_PAUSED = "ON_DEMAND_COMPUTE_PAUSED"
    DELETING = "DELETING"
    GONE = "GONE"


@dataclass(frozen=True)
class Transition:
    """A cluster enters a phase, at a time in simulated epoch seconds."""

    phase: Phase
    at: float


#: Seconds per phase. Together promises no times; its own example waits for half an hour at most. Ten minutes in all.
_CREATION = (
    (Phase.QUEUED, 20.0),
    (Phase.SCHEDULED, 20.0),
    (Phase.CONTROL_PLANE, 140.0),
    (Phase.SUBNET, 30.0),
    (Phase.DATA_PLANE, 240.0),
    (Phase.SHARED_VOLUME, 30.0),
    (Phase.DRIVERS, 150.0),
    (Phase.ACCEPTANCE_TESTS, 240.0),
    (Phase.NCCL_TESTS, 120.0),
)
_RESIZE = ((Phase.DATA_PLANE, 180.0), (Phase.DRIVERS, 120.0))
_TESTS = (Phase.ACCEPTANCE_TESTS, Phase.NCCL_TESTS)

#: The part of the creation after which a cluster that is to fail does so, if nothing else is said.
FAILS_AT_PART = 0.6


def plan_creation(
    created_at: float, *, starts_at: float, has_volume: bool, has_tests: bool, ready_after: float | None
) -> list[Transition]:
    """
    Plan a cluster from its creation to READY.

    :param created_at: simulated epoch seconds.
    :param starts_at: before this moment it stays scheduled.
    :param has_volume: a volume has to be waited for.
    :param has_tests: acceptance tests are asked for; by default they are not run.
    :param ready_after: simulated seconds from the start to READY, instead of the usual.
    """
    skipped = (() if has_volume else (Phase.SHARED_VOLUME,)) + (() if has_tests else _TESTS)
    stages = [stage for stage in _CREATION if stage[0] not in skipped]
    plan = _lay_out(created_at, stages, total=ready_after)
    delay = max(starts_at - created_at, 0.0)
    waiting = (Phase.QUEUED, Phase.SCHEDULED)
    return [step if step.phase in waiting else Transition(step.phase, step.at + delay) for step in plan]


def plan_resize(now: float, *, takes: float | None) -> list[Transition]:
    """Plan the way back to READY after a change of the number of GPUs, in simulated epoch seconds."""
    return _lay_out(now, _RESIZE, total=takes)


def plan_failure(created_at: float, plan: Sequence[Transition], *, after: float | None) -> list[Transition]:
    """
    Let a plan end in failed acceptance tests instead of READY.

    :param after: simulated seconds from the creation to the failure; None takes a part of the planned time.
    """
    ready_at = plan[-1].at
    fails_at = created_at + after if after is not None else created_at + FAILS_AT_PART * (ready_at - created_at)
    return [*before(plan, fails_at), Transition(Phase.ACCEPTANCE_TESTS_FAILED, fails_at)]


def before(plan: Iterable[Transition], moment: float) -> list[Transition]:
    """Return the transitions that have happened by a moment."""
    return [step for step in plan if step.at <= moment]


def first_time(plan: Iterable[Transition], phase: Phase) -> float | None:
    """Return when a phase is entered for the first time, in simulated epoch seconds."""
    return next((step.at for step in plan if step.phase is phase), None)


def _lay_out(start: float, stages: Sequence[tuple[Phase, float]], *, total: float | None) -> list[Transition]:
    """Put the stages one after another, and READY behind them."""
    usual = sum(seconds for _, seconds in stages)
    scale = 1.0 if total is None else total / usual
    plan, at = [], start
    for phase, seconds in stages:
        plan.append(Transition(phase, at))
        at += seconds * scale
    return [*plan, Transition(Phase.READY, at)]
