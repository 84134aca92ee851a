"""
What stands between a person and a bill: the words that have to be typed before GPUs are rented.

It asks and compares, and sends nothing. Nothing else in the package spends money unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airflow_provider_together.api.wording import counted

_HOURS_PER_DAY = 24
_CAUTION = (
    "The DAG gives the cluster back as soon as its work is over, and this command deletes what is left when it",
    "ends. If both are killed, or lose the network, an ON_DEMAND cluster runs on, and is billed, until you delete it.",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    One cluster that a DAG will ask for.

    :param days: how long it may be kept; None if the DAG does not say.
    """

    task_id: str
    num_gpus: int
    gpu_type: str
    region: str
    billing_type: str
    days: int | None

    @property
    def hours(self) -> int | None:
        """The same in hours."""
        return None if self.days is None else self.days * _HOURS_PER_DAY


def words_to_type(wishes: Sequence[Wish]) -> str:
    """Return what a person has to type, letter by letter."""
    gpus = sum(wish.num_gpus for wish in wishes)
    hours = [wish.hours for wish in wishes if wish.hours is not None]
    end = f"for up to {counted(max(hours), 'hour')}" if len(hours) == len(wishes) else "without a time limit"
    return f"rent {counted(gpus, 'GPU')} {end}"


def summary(wishes: Sequence[Wish], *, host: str, price_per_gpu_hour: float | None) -> list[str]:
    """
    Return what will be asked for, and what that may cost.

    :param host: whom the request goes to.
    """
    lines = [f"This rents real GPUs from {host} and costs money:"]
    for wish in wishes:
        time = "without a duration" if wish.hours is None else f"for {counted(wish.hours, 'hour')}"
        lines.append(
            f"  task {wish.task_id}: {wish.num_gpus} x {wish.gpu_type} in {wish.region}, {wish.billing_type}, {time}"
        )
    if all(wish.hours is not None for wish in wishes):
        gpu_hours = sum(wish.num_gpus * (wish.hours or 0) for wish in wishes)
        money = "" if price_per_gpu_hour is None else f", {gpu_hours * price_per_gpu_hour:.2f} at your price"
        lines.append(f"  kept that long, it is {counted(gpu_hours, 'GPU-hour')}{money}")
    return [*lines, *_CAUTION]


def is_confirmed(wishes: Sequence[Wish], *, ask: Callable[[str], str]) -> bool:
    """
    Whether a person types exactly the words.

    :param ask: shows a prompt and returns the line that was typed; raises EOFError if there is none.
    """
    words = words_to_type(wishes)
    try:
        return ask(f"Type `{words}` to go on: ").strip() == words
    except EOFError:
        return False
