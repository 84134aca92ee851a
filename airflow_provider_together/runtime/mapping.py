"""
Checking the literal parameters of mapped operators when the DAG is parsed.

Airflow makes a mapped operator only when the task runs, so its ``__init__`` checks nothing at parse time.
This stands between ``partial()`` and ``expand()`` and looks at what passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.runtime.parameters import CheckedParameters, check_literals

#: What stands for a value that is known when the task runs.
_LATER = "{{ mapped }}"


class CheckedOperator(CheckedParameters):
    """Base of operators and sensors that check their parameters, mapped or not; it comes before Airflow's own base."""

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the operator; what is given literally is checked at once, as for an unmapped one."""
        return CheckedPartial(super().partial(**kwargs), cls, kwargs)  # type: ignore[misc]


class CheckedPartial:
    """
    What ``partial()`` of Airflow returns, with its literal values checked.

    :param partial: the partial operator.
    :param operator: the class that says what its parameters are.
    :param kwargs: what ``partial()`` was given.
    :raises SpecError: naming each field that is wrong, its value and what is allowed.
    """

    def __init__(self, partial: Any, operator: type[CheckedParameters], kwargs: Mapping[str, Any]) -> None:
        self._partial = partial
        self._operator = operator
        self._kinds = operator.all_parameter_kinds()
        self._kwargs = kwargs
        check_literals(self._kinds, kwargs)

    def expand(self, **mapped: Any) -> Any:
        """Map the operator over lists, after checking each literal in them."""
        rows: list[Mapping[str, Any]] = [
            {name: value} for name, values in mapped.items() if isinstance(values, (list, tuple)) for value in values
        ]
        self._check(rows or [{}], later=dict.fromkeys(mapped, _LATER))
        return self._partial.expand(**mapped)

    def expand_kwargs(self, kwargs: Any, **options: Any) -> Any:
        """Map the operator over dictionaries, after checking each literal in them."""
        if isinstance(kwargs, (list, tuple)):
            self._check([row for row in kwargs if isinstance(row, Mapping)], later={})
        return self._partial.expand_kwargs(kwargs, **options)

    def __repr__(self) -> str:
        return repr(self._partial)

    def _check(self, rows: Sequence[Mapping[str, Any]], *, later: Mapping[str, Any]) -> None:
        for row in rows:
            values = {**self._kwargs, **later, **row}
            given = {name: value for name, value in values.items() if value is not None and name in self._kinds}
            check_literals(self._kinds, row)
            if problems := self._operator.conflicts(given):
                raise SpecError(problems)
