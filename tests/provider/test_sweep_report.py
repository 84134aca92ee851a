"""What the sweep tells a person of what it found."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.lifecycle.orphans import Fate, Finding
from airflow_provider_together.runtime.sweeping import report


def found(**fields: Any) -> Finding:
    return Finding(Cluster.model_validate({"cluster_id": "c-1", **fields}), Fate.FORGOTTEN, "its end has passed")


@pytest.mark.parametrize(
    ("gpus", "line"),
    [
        (1, "forgotten: train (c-1, status unknown, 1 GPU): its end has passed"),
        (8, "forgotten: train (c-1, status unknown, 8 GPUs): its end has passed"),
    ],
)
def test_a_number_goes_with_its_noun(gpus: int, line: str) -> None:
    first, summary, saved = report([found(cluster_name="train", num_gpus=gpus)], now=0.0)
    assert first == line
    assert summary.startswith("1 cluster: 0 spared, 1 forgotten")
    assert saved == f"What would be saved: {gpus} GPU-hour{'' if gpus == 1 else 's'} an hour."


def test_a_name_and_a_status_of_others_forge_no_line() -> None:
    first, *_ = report([found(cluster_name="x\n0 clusters", status="\x1b[2JReady")], now=0.0)
    assert first.startswith("forgotten: x\ufffd0 clusters (c-1, \ufffd[2JReady, 0 GPUs)")
