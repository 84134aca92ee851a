"""The list as those who wait read it: faster than everybody else, and never differently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_together.api.answer import HTTPAnswer, read_answer
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.dialects import Dialect, wire
from airflow_provider_together.api.models import Sight
from airflow_provider_together.exceptions import MalformedAnswerError
from tests.support.engine import FIXED, dialect_named, json_values, settings_with

#: As Together answers, and everything else that may stand in those places.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "cluster_id": st.sampled_from(["c-1", "c-2", ""]),
    "cluster_name": st.just("train"),
    "status": st.sampled_from(["READY", "Ready", "QUEUED", "WaitingForSubnet"]),
    "num_gpus": st.integers(0, 64),
    "gpu_worker_nodes": st.lists(st.fixed_dictionaries({}, optional={"num_gpus": st.integers(0, 8) | json_values()})),
    "phase_transitions": st.lists(st.fixed_dictionaries({}, optional={"phase": st.just("FAILED") | json_values()})),
    "kube_config": st.just("apiVersion: v1"),
}
ENTRIES = st.fixed_dictionaries({}, optional={name: usual | json_values() for name, usual in FIELDS.items()})
BODIES = st.fixed_dictionaries({}, optional={"clusters": st.lists(ENTRIES | json_values(), max_size=4) | json_values()})


def outcome(call: Call[Any], content: bytes) -> Any:
    try:
        result = read_answer(call, HTTPAnswer(200, {}, content), settings_with())
    except MalformedAnswerError as error:
        return str(error)
    return [one if isinstance(one, Sight) else one.sight() for one in result]


@pytest.mark.parametrize("name", ["tcloud", "compute"])
@FIXED
@given(body=BODIES | json_values())
@example(body={})
@example(body={"clusters": None})
@example(body={"clusters": [{"cluster_id": "c", "num_gpus": True, "gpu_worker_nodes": [{"num_gpus": 8.0}]}]})
@example(body={"clusters": [{"cluster_id": "c", "num_gpus": "16", "status": 3, "cluster_name": None}]})
@example(body={"clusters": [{"cluster_id": 5}, {"status": "READY"}]})
@example(body={"clusters": [{"cluster_id": "c", "num_gpus": 10**400}]})
@example(body={"clusters": [{"cluster_id": "c", "status": "READY\n", "phase_transitions": [{"phase": "\x1bFAILED"}]}]})
@example(body={"clusters": [{"cluster_id": "c", "phase_transitions": [{"phase": "Ready"}, {"phase": None}]}]})
def test_it_says_the_same_as_the_full_list(name: str, body: Any) -> None:
    dialect, content = dialect_named(name), json.dumps(body).encode()
    assert outcome(dialect.list_sights(), content) == outcome(dialect.list_clusters(), content)


@pytest.mark.parametrize("content", [b"", b"  ", b"<html>", b'{"clusters": [', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_told_as_everywhere(dialect: Dialect, content: bytes) -> None:
    assert outcome(dialect.list_sights(), content) == outcome(dialect.list_clusters(), content)


def test_an_entry_that_surprises_does_not_slow_down_the_others(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(wire, "read_model", lambda *arguments, **known: read.append((arguments, known)))
    usual = [{"cluster_id": f"c-{number}", "status": "QUEUED", "kube_config": "x"} for number in range(100)]
    content = json.dumps({"clusters": [*usual, {"cluster_id": "odd", "status": 7}]}).encode()
    sights = outcome(dialect.list_sights(), content)
    assert (len(sights), sights[-1]) == (101, Sight("odd", "", "7"))
    assert read == []


def test_it_keeps_nothing_of_the_kubeconfigs(dialect: Dialect) -> None:
    content = json.dumps({"clusters": [{"cluster_id": "c-1", "kube_config": "secret"}]}).encode()
    call = dialect.list_sights()
    assert "secret" not in repr((call, call.decode(content), outcome(call, content)))
