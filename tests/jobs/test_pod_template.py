"""A pod_template that Kubernetes would refuse, or would quietly leave out, is told before."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.jobs.kubernetes.pod_template import faults_of
from airflow_provider_together.jobs.kubernetes.spec import check

CONTAINER = {"name": "train", "env": [{"name": "TOKEN", "value": "canary"}]}


@pytest.mark.parametrize(
    "template",
    [
        {},
        {"hostNetwork": True},
        {"nodeSelector": {"pool": "gpu"}, "containers": [CONTAINER], "tolerations": ({"operator": "Exists"},)},
        {"restartPolicy": "Never"},
        {"restartPolicy": None, "volumes": None},
    ],
)
def test_what_goes_into_a_pods_spec_is_taken(template: dict[str, Any]) -> None:
    assert list(faults_of(template)) == []
    check({"pod_template": template})


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ({"spec": {"containers": [CONTAINER]}}, "'spec' is wrong: give what stands below 'spec' of a pod"),
        ({"metadata": {"labels": {}}}, "'metadata' is wrong: give what stands below 'spec' of a pod"),
        (
            {"nodeSelektor": {}},
            "'nodeSelektor' is wrong: it is not a field of a pod's spec (did you mean 'nodeSelector'?)",
        ),
        ({7: 7}, "7 is wrong: it is not a field of a pod's spec"),
        ({"containers": "x"}, "'containers' is wrong: give a list of mappings"),
        ({"tolerations": ["Exists"]}, "'tolerations' is wrong: give a list of mappings"),
        ({"restartPolicy": "Always"}, "'restartPolicy' is wrong: a rank that ends is not started again"),
        (["hostNetwork"], "pod_template=['hostNetwork'] is wrong: give a mapping that is merged into the pod's spec"),
    ],
)
def test_what_is_wrong_is_named_without_its_value(template: Any, fault: str) -> None:
    with pytest.raises(SpecError) as caught:
        check({"pod_template": template})
    (problem,) = caught.value.problems
    assert fault in problem
    assert "canary" not in problem
