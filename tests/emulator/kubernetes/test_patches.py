"""The forms of a patch, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.emulator.kubernetes.patches import JSON, MERGE, STRATEGIC, apply_patch
from airflow_provider_together.emulator.kubernetes.refusal import ApiError


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    ],
)
def test_a_merge_patch(old: Any, patch: Any, new: Any) -> None:
    assert apply_patch(MERGE, old, patch) == new


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ({"finalizers": ["x"]}, {"finalizers": ["y", "x"]}, {"finalizers": ["x", "y"]}),
        ({"finalizers": ["x", "y"]}, {"$deleteFromPrimitiveList/finalizers": ["x"]}, {"finalizers": ["y"]}),
        ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}], "$setElementOrder/env": []},
            {"env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]},
        ),
        ({"env": [{"name": "A"}]}, {"env": [{"$patch": "replace"}, {"name": "B"}]}, {"env": [{"name": "B"}]}),
        (
            {"ports": [{"port": 1, "name": "a"}]},
            {"ports": [{"port": 1, "name": "b"}]},
            {"ports": [{"port": 1, "name": "b"}]},
        ),
        ({"a": 1, "b": 2}, {"a": None, "c": {"d": 1}}, {"b": 2, "c": {"d": 1}}),
    ],
)
def test_a_strategic_merge_patch(old: Any, patch: Any, new: Any) -> None:
    assert apply_patch(STRATEGIC, old, patch) == new


@pytest.mark.parametrize(
    ("steps", "new"),
    [
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3]}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2]}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ([{"op": "replace", "path": "/a/1", "value": 9}], {"a": [1, 9]}),
        ([{"op": "copy", "from": "/a/0", "path": "/b~0"}], {"a": [1, 2], "b~": 1}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
    ],
)
def test_a_json_patch(steps: Any, new: Any) -> None:
    assert apply_patch(JSON, {"a": [1, 2]}, steps) == new


@pytest.mark.parametrize(
    ("form", "patch", "code"),
    [
        (JSON, {}, 400),
        (JSON, [{"op": "remove", "path": "/none"}], 422),
        (JSON, [{"op": "replace", "path": "/none", "value": 1}], 422),
        (JSON, [{"op": "add", "path": "/a/9", "value": 1}, {"op": "jump", "path": "/a"}], 422),
        (MERGE, [], 400),
        (STRATEGIC, "a", 400),
        ("application/json", {}, 415),
    ],
)
def test_a_patch_that_cannot_be_applied(form: str, patch: Any, code: int) -> None:
    old = {"a": [1, 2]}
    with pytest.raises(ApiError) as raised:
        apply_patch(form, old, patch)
    assert raised.value.code == code
    assert old == {"a": [1, 2]}
