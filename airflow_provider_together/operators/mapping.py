"""
Checking the literal parameters of mapped operators when the DAG is parsed.

Airflow makes a mapped operator only when the task runs, so its ``__init__`` checks nothing at parse time.
This stands between ``partial()`` and ``expand()`` and looks at what passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_together.parameters import literals

if TYPE_CHECKING:
    from airflow_provider_together.api.specs import Spec


class CheckedPartial:
    """
    What ``partial()`` of Airflow returns, with its literal values checked.

    :param partial: the partial operator.
    :param spec_class: the spec whose fields are parameters of the operator.
    :param kwargs: what ``partial()`` was given.
    :raises SpecError: naming the field, its value and what is allowed.
    """

    def __init__(self, partial: Any, spec_class: type[Spec], kwargs: Mapping[str, Any]) -> None:
        self._partial = partial
        self._spec_class = spec_class
        spec_class.check(literals(kwargs, spec_class))

    def expand(self, **mapped: Any) -> Any:
        """Map the operator over lists, after checking each literal in them."""
        for name, values in mapped.items():
            if isinstance(values, (list, tuple)):
                self._check_each([{name: value} for value in values])
        return self._partial.expand(**mapped)

    def expand_kwargs(self, kwargs: Any, **options: Any) -> Any:
        """Map the operator over dictionaries, after checking each literal in them."""
        if isinstance(kwargs, (list, tuple)):
            self._check_each([item for item in kwargs if isinstance(item, Mapping)])
        return self._partial.expand_kwargs(kwargs, **options)

    def __repr__(self) -> str:
        return repr(self._partial)

    def _check_each(self, rows: list[Mapping[str, Any]]) -> None:
        for row in rows:
            self._spec_class.check(literals(row, self._spec_class))
