"""
The small model that the examples train: wear of a tool from hours and load, by data-parallel gradient descent.

Stands in for your training code. Each node computes the gradient of its shard of the data; the average
moves the weights, as an all-reduce would.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

Row = tuple[float, float, float]
Weights = tuple[float, float, float]

DATA = Path(__file__).resolve().with_name("wear.csv")


def read_rows(path: Path = DATA) -> list[Row]:
    """Return hours, load and wear of each observation."""
    with path.open(newline="") as file:
        return [(float(row["hours"]), float(row["load"]), float(row["wear"])) for row in csv.DictReader(file)]


def loss(weights: Weights, rows: Sequence[Row]) -> float:
    """Return the mean squared error."""
    return sum(_error(weights, row) ** 2 for row in rows) / len(rows)


def fit(rows: Sequence[Row], *, nodes: int, epochs: int = 400, learning_rate: float = 0.2) -> Weights:
    """Fit bias and slopes, with the rows dealt out to that many nodes."""
    shards = [rows[rank::nodes] for rank in range(nodes)]
    weights: Weights = (0.0, 0.0, 0.0)
    for _ in range(epochs):
        gradients = [_gradient(weights, shard) for shard in shards]
        bias, hours, load = (sum(parts) / nodes for parts in zip(*gradients, strict=True))
        weights = (
            weights[0] - learning_rate * bias,
            weights[1] - learning_rate * hours,
            weights[2] - learning_rate * load,
        )
    return weights


def _error(weights: Weights, row: Row) -> float:
    return weights[0] + weights[1] * row[0] + weights[2] * row[1] - row[2]


def _gradient(weights: Weights, rows: Sequence[Row]) -> Weights:
    errors = [_error(weights, row) for row in rows]
    bias = 2 * sum(errors) / len(rows)
    hours, load = (
        2 * sum(error * row[column] for error, row in zip(errors, rows, strict=True)) / len(rows) for column in (0, 1)
    )
    return bias, hours, load
