"""
Hand a training's result to Airflow before the training itself is forgotten.

Airflow stores a return value, and may refuse it, only after ``execute``. By then the job that has left it is removed or
marked as collected, and a retry would train again. So what Airflow would refuse is found out here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowRuntimeError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def store_return_value(operator: BaseOperator, ti: Any, value: Any, *, job: str, remedy: str) -> None:
    """
    Store what ``execute`` will return, while the job that has left it can still be found by a retry.

    :param value: a result; None for nothing.
    :param job: how messages name the job.
    :param remedy: what messages advise to those who cannot make Airflow accept the value.
    :raises AirflowException: if Airflow refuses the value, with the cause and what to do.
    """
    refusal = _refusal(operator, ti, value)
    if not refusal and operator.do_xcom_push and value is not None:
        try:
            ti.xcom_push(key="return_value", value=value)
        except (AirflowRuntimeError, AttributeError, TypeError, ValueError) as error:  # as its serializers raise them
            refusal = str(error)
    if refusal:
        message = (
            f"{job} has succeeded, but Airflow refuses its result: {refusal}. The job is kept, so a retry does not "
            f"train again; {remedy}."
        )
        raise AirflowException(message)


def _refusal(operator: BaseOperator, ti: Any, value: Any) -> str:
    """Return why Airflow refuses a return value after ``execute``, as its task runner does; empty if it does not."""
    if not operator.do_xcom_push:
        return ""
    if operator.multiple_outputs and value is not None and not isinstance(value, Mapping):
        return f"multiple_outputs=True needs a JSON object, not {type(value).__name__}"
    is_mapped = getattr(ti, "map_index", -1) >= 0
    has_mapped_dependants = next(iter(operator.iter_mapped_dependants()), None) is not None
    if has_mapped_dependants and not is_mapped and not isinstance(value, (list, dict)):
        return f"a task is expanded over it, which needs a JSON list or object, not {type(value).__name__}"
    return ""
