"""A job's name is the same for all tries of a task instance, and good for Kubernetes whatever the task is called."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.jobs.kubernetes.name import LONGEST_JOB_NAME, is_job_name, job_name, owner_digest
from airflow_provider_together.lifecycle.name import Owner

OWNER = Owner("prod", "dag", "run", "train")


def test_it_tells_the_task_and_ends_with_the_owner() -> None:
    assert job_name(OWNER) == f"af-train-{owner_digest(OWNER)}"


def test_a_mapped_task_has_its_index_in_it() -> None:
    assert job_name(replace(OWNER, map_index=7)).startswith("af-train-7-")


@pytest.mark.parametrize("field", ["deployment", "dag_id", "run_id", "task_id", "map_index"])
def test_who_differs_in_anything_has_another(field: str) -> None:
    changes: dict[str, Any] = {field: 1 if field == "map_index" else "x"}
    other = replace(OWNER, **changes)
    assert owner_digest(other) != owner_digest(OWNER)


def test_two_owners_whose_parts_join_to_the_same_text_differ() -> None:
    assert owner_digest(Owner("a", "b", "c", "d")) != owner_digest(Owner("ab", "", "c", "d"))


@given(st.text(min_size=1, max_size=250), st.integers(-1, 99999))
def test_every_task_has_a_name_that_kubernetes_takes_for_job_service_and_pod(task_id: str, map_index: int) -> None:
    name = job_name(Owner("prod", "dag", "run", task_id, map_index))
    assert is_job_name(name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", f"{name}-9999-abcde")


@pytest.mark.parametrize(
    ("name", "is_good"),
    [
        ("train", True),
        ("t", True),
        ("a" * LONGEST_JOB_NAME, True),
        ("a" * (LONGEST_JOB_NAME + 1), False),
        ("1train", False),
        ("train-", False),
        ("Train", False),
        ("tr.ain", False),
        ("", False),
        ("train\n", False),
    ],
)
def test_a_name_of_the_users_own_is_checked(name: str, is_good: bool) -> None:
    assert is_job_name(name) is is_good
