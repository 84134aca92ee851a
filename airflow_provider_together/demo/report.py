"""
The end of the demo: the closing table, and what was missing for a success.

Pure functions of what was seen. The table is for people; the exit status follows from `shortcomings` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_together.api.wording import counted
from airflow_provider_together.demo.view import ClusterRow, Progress, Snapshot

_GAP = "  "


def closing_table(
    snapshot: Snapshot, *, results: Mapping[str, Any], price_per_gpu_hour: float | None, is_simulated: bool
) -> list[str]:
    """
    Return the lines that sum a run up.

    :param results: what the steps have returned, by name; shown as far as they are mappings.
    :param price_per_gpu_hour: None to say nothing about money.
    :param is_simulated: whether the GPU-hours are of the emulator's clock.
    """
    rows = [("step", "state", "tries", "duration")]
    for task in snapshot.steps():
        seconds = task.seconds(snapshot.now)
        rows.append((task.name, task.state, str(task.try_number), "-" if seconds is None else f"{seconds:.1f} s"))
    lines = [*_aligned(rows), ""]
    facts = [
        ("cluster", f"{row.status.lower()}: {row.cluster_id}  {row.label}  {row.cluster_name}")
        for row in snapshot.clusters
    ]
    lines += _aligned([*facts, *_costs(snapshot, price_per_gpu_hour, is_simulated=is_simulated)])
    for name, result in results.items():
        if isinstance(result, Mapping):
            lines += ["", f"{name} returned", *_aligned([(f"  {key}", _shown(value)) for key, value in result.items()])]
    return lines


def left_line(clusters: Sequence[ClusterRow]) -> str:
    """Return how many clusters are alive, and which."""
    alive = [row for row in clusters if row.is_alive]
    names = ", ".join(f"{row.cluster_id} ({row.status})" for row in alive)
    return f"{counted(len(alive), 'cluster')} left{': ' if alive else ''}{names}"


def shortcomings(snapshot: Snapshot, progress: Progress, *, must_defer: str | None) -> list[str]:
    """
    Return a sentence for everything that is missing for a success; none if nothing is.

    :param must_defer: the task that has to be seen waiting in the triggerer; None if none has to.
    """
    missing = []
    if snapshot.run_state != "success":
        missing.append(f"The run is {snapshot.run_state}.")
    missing += [f"Task {task.name} is {task.state}." for task in snapshot.tasks if task.state != "success"]
    if must_defer is not None and "deferred" not in progress.states.get(must_defer, []):
        missing.append(f"Task {must_defer} was never seen deferred: nothing waited in the triggerer.")
    if not progress.saw_word("READY"):
        missing.append("No cluster was ever seen READY.")
    missing += [f"Cluster {row.cluster_id} is alive ({row.status})." for row in snapshot.clusters if row.is_alive]
    return missing


def _costs(snapshot: Snapshot, price: float | None, *, is_simulated: bool) -> list[tuple[str, str]]:
    gpu_hours = sum(row.gpu_hours for row in snapshot.clusters)
    costs = [("GPU-hours", f"{gpu_hours:.2f}{' (of simulated time)' if is_simulated else ' (estimated)'}")]
    if price is not None:
        costs.append(("price", f"{gpu_hours * price:.2f} at {price:.2f} per GPU-hour"))
    return costs


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(_shown(part) for part in value)
    return json.dumps(value)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
