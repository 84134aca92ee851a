"""A training's result is with Airflow, or refused with its cause, before the training itself is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator

from airflow_provider_together.runtime.return_value import store_return_value
from tests.support.dag_runs import Run, run_dag

pytestmark = pytest.mark.usefixtures("database")


class Training(BaseOperator):
    """Stores a result, and then loses the job that has left it."""

    def __init__(self, *, result: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.result = result

    def execute(self, context: Any) -> Any:
        store_return_value(self, context["ti"], self.result, job="Job j", remedy="delete it to have it made anew")
        print("the job is forgotten")  # noqa: T201 - as a log line
        return self.result


def train(result: Any, *, is_expanded_over: bool = False, **parameters: Any) -> Run:
    # Airflow 3.1 goes on with the first shape of a DAG that it has seen.
    with DAG(f"returning_{is_expanded_over}", schedule=None) as dag:
        training = Training(task_id="train", result=result, **parameters)
        if is_expanded_over:
            EmptyOperator.partial(task_id="next").expand(doc=training.output)
    return run_dag(dag)


@pytest.mark.parametrize(
    ("result", "options"),
    [
        ({"loss": 0.5}, {"multiple_outputs": True}),
        ("done", {}),
        (None, {"multiple_outputs": True}),
        (["a", "b"], {"is_expanded_over": True}),
        ([2**64 - 1, -(2**63)], {}),
    ],
)
def test_what_airflow_accepts_is_stored(result: Any, options: dict[str, Any]) -> None:
    run = train(result, **options)
    assert (run.state, run.value("train")) == ("success", result)


def test_a_result_that_nobody_wants_is_not_looked_at() -> None:
    run = train("done", multiple_outputs=True, do_xcom_push=False)
    assert (run.state, run.value("train")) == ("success", None)


@pytest.mark.parametrize(
    ("result", "options", "cause"),
    [
        ("done", {"multiple_outputs": True}, "multiple_outputs=True needs a JSON object, not str"),
        ("done", {"is_expanded_over": True}, "a task is expanded over it, which needs a JSON list or object, not str"),
        ({"__classname__": "a"}, {}, "reserved key"),
    ],
)
def test_what_airflow_refuses_is_refused_before_the_job_is_forgotten(
    result: Any, options: dict[str, Any], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(result, **options).states["train"] == "failed"
    told = capsys.readouterr().out
    assert "Job j has succeeded, but Airflow refuses its result: " in told
    assert cause in told
    assert "a retry does not train again; delete it to have it made anew." in told
    assert "the job is forgotten" not in told
