"""
Every parameter of every public class, with what it can never be: refused when the DAG is parsed, by its name.

The classes are found, not listed, and so are their parameters: what is new and not declared fails here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.triggers.base import BaseTrigger
from kubernetes.client import models as k8s  # type: ignore[import-untyped]

import airflow_provider_together
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.operators import kubernetes
from airflow_provider_together.operators.gpu_cluster import (
    CreateGPUClusterOperator,
    DeleteGPUClusterOperator,
    UpdateGPUClusterOperator,
)
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.operators.shared_volume import (
    CreateSharedVolumeOperator,
    DeleteSharedVolumeOperator,
    UpdateSharedVolumeOperator,
)
from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator
from airflow_provider_together.operators.sweep import SweepGPUClustersOperator
from airflow_provider_together.runtime.parameters import CheckedParameters, identifier
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor
from airflow_provider_together.triggers.gpu_cluster import GPUClusterTrigger
from tests.provider.test_create_operator import REQUEST
from tests.support.dag_runs import run_dag

#: What is right for each class, with no more than it needs.
GOOD: dict[str, dict[str, Any]] = {
    "ClusterReadySensor": {"cluster_id": "c"},
    "CreateGPUClusterOperator": REQUEST,
    "CreateSharedVolumeOperator": {"volume_name": "data", "size_tib": 1, "region": "us-central-8"},
    "DeleteGPUClusterOperator": {"cluster_id": "c"},
    "DeleteSharedVolumeOperator": {"volume_id": "v"},
    "GPUClusterJobOperator": {"cluster_id": "c", "image": "i"},
    "GPUClusterPodOperator": {"cluster_id": "c", "image": "i"},
    "GPUClusterSlurmOperator": {"cluster_id": "c", "login": "me", "script": "true"},
    "SweepGPUClustersOperator": {},
    "UpdateGPUClusterOperator": {"cluster_id": "c", "num_gpus": 8},
    "UpdateSharedVolumeOperator": {"volume_id": "v", "size_tib": 2},
    "GPUClusterTrigger": {"cluster_id": "c"},
    "GPUClusterJobTrigger": {"cluster_id": "c", "namespace": "n", "job_name": "j", "job_uid": "u", "start_by": 1.0},
    "GPUClusterPodTrigger": {
        "cluster_id": "c",
        "pod_name": "p",
        "pod_namespace": "n",
        "trigger_start_time": datetime(2026, 1, 1, tzinfo=UTC),
        "base_container_name": "base",
    },
    "GPUClusterSlurmTrigger": {
        "cluster_id": "c",
        "address": {},
        "digest": "d",
        "attempt": 1,
        "job_id": "7",
        "poll_interval": 1.0,
        "end_time": 1.0,
    },
}
#: Right for a parameter only if that is given, too, or instead.
INSTEAD: dict[str, dict[str, Any]] = {
    "cluster_name": {"cluster_id": None},
    "create_task_id": {"cluster_id": None},
    "script_file": {"script": None},
}

NOTHING = ("", "  \n", "None", " none ")
#: Never right, whatever the parameter is.
NEVER = (*NOTHING, object(), b"text", -1, -0.5, float("nan"), float("inf"), 2**64, [object()], {"x": object()})
#: What is right for some all the same, by the parameter.
ALLOWED: dict[str, tuple[Any, ...]] = {"pod_template": ({"x"},), "address": ({"x"},)}


def public_classes() -> Iterator[type[CheckedParameters]]:
    for folder in ("operators", "sensors", "triggers"):
        package = importlib.import_module(f"{airflow_provider_together.__name__}.{folder}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                is_ours = isinstance(value, type) and value.__module__ == found.name
                if is_ours and name.endswith(("Operator", "Sensor", "Trigger")) and name not in BASES:
                    yield value


BASES = {"CheckedOperator", "OwnedResourceOperator", "ReadyWaitingOperator", "TogetherOperator"}
CLASSES = sorted(public_classes(), key=lambda one: one.__name__)


def own_parameters(of: type) -> set[str]:
    """Return the parameters of ``__init__``, those of our bases included, and not Airflow's."""
    return {
        name
        for base in of.__mro__
        if base.__module__.startswith(airflow_provider_together.__name__) and "__init__" in vars(base)
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


PARAMETERS = [(one, name) for one in CLASSES for name in sorted(one.all_parameter_kinds())]
OF_OPERATORS = [(one, name) for one, name in PARAMETERS if not issubclass(one, BaseTrigger)]
named = pytest.mark.parametrize(("of", "name"), PARAMETERS)
named_of_operators = pytest.mark.parametrize(("of", "name"), OF_OPERATORS)


def arguments(of: type, **changes: Any) -> dict[str, Any]:
    instead = next((INSTEAD[name] for name in changes if name in INSTEAD), {})
    needed = {} if issubclass(of, BaseTrigger) else {"task_id": "task"}
    given = {**needed, **GOOD[of.__name__], **{k: v for k, v in instead.items() if k in GOOD[of.__name__]}, **changes}
    return {name: value for name, value in given.items() if value is not None or name in changes}


def problems_of(make: Callable[[Any], object], value: Any) -> list[str]:
    try:
        make(value)
    except SpecError as error:
        return error.problems
    return []


def accepted(make: Callable[[Any], object], name: str, values: tuple[Any, ...]) -> list[Any]:
    """Return those values that are not refused with a sentence that begins with the parameter's name."""
    beginnings = tuple(f"{name}{end}" for end in "=:. ")
    return [
        value for value in values if not any(problem.startswith(beginnings) for problem in problems_of(make, value))
    ]


def is_allowed(name: str, value: Any) -> bool:
    return any(isinstance(value, dict) and set(value) == one for one in ALLOWED.get(name, ()))


def test_there_are_public_classes_and_each_has_what_is_right_above() -> None:
    assert {one.__name__ for one in CLASSES} == set(GOOD)


@pytest.mark.parametrize("of", CLASSES)
def test_every_parameter_is_declared(of: type[CheckedParameters]) -> None:
    assert own_parameters(of) - set(of.all_parameter_kinds()) == set()


@pytest.mark.parametrize("of", CLASSES)
def test_what_is_right_is_accepted(of: Any) -> None:
    assert of(**arguments(of)) is not None


@named
def test_what_it_can_never_be_is_refused_when_the_dag_is_parsed(of: Any, name: str) -> None:
    wrong = accepted(lambda value: of(**arguments(of, **{name: value})), name, NEVER)
    assert [value for value in wrong if not is_allowed(name, value)] == []


@named
def test_none_is_refused_where_a_value_is_needed(of: Any, name: str) -> None:
    is_optional = of.all_parameter_kinds()[name].is_optional
    if is_optional:
        return
    assert accepted(lambda value: of(**arguments(of, **{name: value})), name, (None,)) == []


@named_of_operators
def test_what_it_can_never_be_is_refused_in_a_mapped_operator_too(of: Any, name: str) -> None:
    def partial(value: Any) -> object:
        with DAG("mapped", schedule=None):
            return of.partial(**arguments(of, **{name: value}))

    def expand(value: Any) -> object:
        with DAG("mapped", schedule=None):
            left_out = {name, *INSTEAD.get(name, {})}
            given = {key: item for key, item in arguments(of).items() if key not in left_out}
            return of.partial(**given).expand(**{name: [value]})

    for make in (partial, expand):
        assert [value for value in accepted(make, name, NEVER) if not is_allowed(name, value)] == []


@named_of_operators
def test_a_template_that_renders_to_nothing_is_refused_before_anything_is_done(of: Any, name: str) -> None:
    if name not in of.template_fields:
        return

    def render(value: Any) -> None:
        operator = of(**arguments(of, **{name: "{{ params.x }}"}))
        setattr(operator, name, value)
        operator.check_rendered_parameters()

    assert accepted(render, name, (None, *NOTHING)) == []


def test_a_parameter_that_was_not_given_is_none_at_run_time_too() -> None:
    operator = CreateGPUClusterOperator(task_id="create", **REQUEST)
    operator.check_rendered_parameters()
    assert operator.volume_id is None


def test_the_output_of_another_task_is_judged_when_the_task_runs() -> None:
    with DAG("xcom", schedule=None):
        made: Any = CreateGPUClusterOperator(task_id="create", **REQUEST)
        DeleteGPUClusterOperator(task_id="delete", cluster_id=made.output)
        ClusterReadySensor(task_id="ready", cluster_id=made.output)


@pytest.mark.parametrize("one", ["c", "{{ params.id }}", pytest.param(None, id="output of a task")])
def test_two_ways_to_say_what_is_deleted_exclude_each_other(one: str | None) -> None:
    with DAG("two_ways", schedule=None):
        made: Any = CreateGPUClusterOperator(task_id="create", **REQUEST)
        with pytest.raises(SpecError, match="cluster_id and cluster_name exclude each other"):
            DeleteGPUClusterOperator(task_id="delete", cluster_id=one or made.output, cluster_name="n")
        with pytest.raises(SpecError, match="cluster_id and create_task_id exclude each other"):
            DeleteGPUClusterOperator.partial(task_id="mapped", create_task_id="create").expand(cluster_id=["c"])


def test_what_is_to_be_deleted_may_not_be_left_out() -> None:
    with DAG("nothing", schedule=None):
        with pytest.raises(SpecError, match="all missing"):
            DeleteGPUClusterOperator(task_id="delete")
        with pytest.raises(SpecError, match="all missing"):
            DeleteGPUClusterOperator.partial(task_id="mapped").expand(poll_interval=[1, 2])


def test_a_change_of_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="nothing to change"):
        UpdateGPUClusterOperator(task_id="update", cluster_id="c", wait_for_completion=True)


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"max_lifetime": timedelta(days=2)}, "max_lifetime=.* is longer than duration_days=1"),
        ({"max_lifetime": timedelta(days=11 * 365), "duration_days": None}, "max_lifetime=.* ten years"),
        ({"max_lifetime": 1800, "wait_for_completion": True}, "max_lifetime=1800 is shorter than timeout="),
        ({"max_lifetime": 1800, "wait_for_completion": "true", "timeout": "3600"}, "is shorter than timeout='3600'"),
        ({"wait_for_completion": True, "timeout": timedelta(days=2)}, "duration_days=1 is shorter than timeout="),
        ({"duration_days": 10**9}, "duration_days=1000000000"),
        ({"num_gpus": 8_000_000_000}, "num_gpus=8000000000"),
        ({"shared_volume": {"volume_name": "None", "size_tib": 1}}, "shared_volume.volume_name='None'"),
    ],
)
def test_a_life_that_cannot_be_is_refused(parameters: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        CreateGPUClusterOperator(task_id="create", **{**REQUEST, **parameters})


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_lifetime": timedelta(days=1)},
        {"max_lifetime": 1800},
        {"max_lifetime": 1800, "wait_for_completion": True, "timeout": 1800},
        {"max_lifetime": timedelta(days=2), "duration_days": "{{ params.days }}"},
        {"max_lifetime": timedelta(days=2), "duration_days": 1, "billing_type": "RESERVED"},
        {"max_lifetime": "{{ params.seconds }}", "wait_for_completion": True},
        {"max_lifetime": "{{ params.seconds }}", "wait_for_completion": True, "timeout": timedelta(days=2)},
        {"cluster_name": "mine", "wait_for_completion": True, "timeout": timedelta(days=2)},
        {"wait_for_completion": True, "timeout": timedelta(days=1)},
    ],
)
def test_a_life_that_can_be_is_accepted(parameters: dict[str, Any]) -> None:
    CreateGPUClusterOperator(task_id="create", **{**REQUEST, **parameters})


@pytest.mark.parametrize("value", [None, *NOTHING, 7])
def test_what_is_no_identifier_is_refused(value: Any) -> None:
    with pytest.raises(SpecError, match="cluster_id="):
        identifier("cluster_id", value)


def test_an_identifier_has_no_blanks_around_it() -> None:
    assert identifier("cluster_id", " c-1\n") == "c-1"


MISSING_XCOM = "{{ ti.xcom_pull('misspelt') }}"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("is_native", [False, True])
@pytest.mark.parametrize(
    ("of", "name"),
    [
        (ClusterReadySensor, "cluster_id"),
        (CreateGPUClusterOperator, "cluster_name"),
        (CreateGPUClusterOperator, "volume_id"),
        (CreateGPUClusterOperator, "duration_days"),
        (CreateSharedVolumeOperator, "volume_name"),
        (DeleteSharedVolumeOperator, "volume_id"),
        (GPUClusterJobOperator, "cluster_id"),
        (GPUClusterJobOperator, "image"),
        (GPUClusterSlurmOperator, "cluster_id"),
        (SweepGPUClustersOperator, "together_conn_id"),
        (UpdateGPUClusterOperator, "cluster_id"),
        (UpdateSharedVolumeOperator, "volume_id"),
    ],
)
@pytest.mark.parametrize("api", ["compute"])
def test_a_misspelt_task_fails_before_a_request_is_sent(
    emulator: Emulator, of: Any, name: str, is_native: bool
) -> None:
    with DAG("misspelt", schedule=None, render_template_as_native_obj=is_native) as dag:
        of(**arguments(of, **{name: MISSING_XCOM}))
    assert run_dag(dag).state == "failed"
    assert emulator.requests == []


def test_a_trigger_refuses_the_word_none() -> None:
    with pytest.raises(SpecError, match="cluster_id='None'"):
        GPUClusterTrigger("None")


#: Text that Python reads as something else.
WORDS = ["--lr", "1e-4", "--config", '{"lr": 0.1}', "--gpus", "[0,1]", "--resume", "None", "--big", "1_000", '"a b"']


def rendered(of: Any, **parameters: Any) -> Any:
    """Return an operator as it is when its task runs, in a DAG that renders templates natively."""
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        operator = of(**arguments(of, **parameters))
    operator.render_template_fields({"params": {"lr": 0.5, "plan": '{"a": 1}', "day": "20261127"}})
    operator.check_rendered_parameters()
    return operator


def test_native_rendering_leaves_text_without_a_template_alone() -> None:
    environment = {"CONFIG": '{"lr": 0.1}', "RATE": "1.10"}
    job = rendered(GPUClusterJobOperator, arguments=[*WORDS, "{{ params.lr }}"], env_vars=environment)
    assert job.arguments == [*WORDS, 0.5]
    assert job.env_vars == environment


def test_native_rendering_of_a_pod_is_the_same() -> None:
    environment = {"CONFIG": '{"lr": 0.1}', "STEPS": 3, "DEBUG": True}
    pod = rendered(kubernetes.GPUClusterPodOperator, arguments=[*WORDS, 3, "{{ params.lr }}"], env_vars=environment)
    assert pod.arguments == [*WORDS, "3", "0.5"]
    assert pod.env_vars == {"CONFIG": '{"lr": 0.1}', "STEPS": "3", "DEBUG": "true"}


@pytest.mark.parametrize(
    ("of", "parameters"),
    [
        (GPUClusterJobOperator, {"arguments": ["--config", "{{ params.plan }}"]}),
        (GPUClusterJobOperator, {"env_vars": {"CONFIG": "{{ params.plan }}"}}),
        (CreateGPUClusterOperator, {"cluster_name": "{{ params.day }}"}),
        (GPUClusterSlurmOperator, {"env": {"CONFIG": "{{ params.plan }}"}}),
    ],
)
def test_text_that_native_rendering_has_changed_is_told_as_such(of: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="render_template_as_native_obj"):
        rendered(of, **parameters)


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (GPUClusterJobOperator, "env_vars"),
        (kubernetes.GPUClusterPodOperator, "env_vars"),
        (GPUClusterSlurmOperator, "env"),
    ],
)
def test_a_secret_in_a_wrong_environment_is_not_told(of: Any, name: str) -> None:
    for value in ({"TOKEN": {"key": "canary"}}, [k8s.V1EnvVar(name="TOKEN", value={"key": "canary"})], ["canary"]):
        with pytest.raises(SpecError, match=name) as caught:
            of(**arguments(of, **{name: value}))
        assert "canary" not in str(caught.value)


def test_what_somebody_else_has_changed_stays_changed() -> None:
    job = GPUClusterJobOperator(task_id="train", cluster_id="c", image="i", arguments=["1e-4"])
    job.arguments = ["other"]
    job.check_rendered_parameters()
    assert job.arguments == ["other"]
