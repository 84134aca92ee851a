"""
What the parameters of operators, sensors and triggers are, and whether a value is one of that kind.

A class says in a table, :attr:`CheckedParameters.parameter_kinds`, what each of its parameters is: an id, a duration,
a flag, a field of a spec. One mechanism reads all the tables: literal values when the DAG is parsed, every value once
the task runs and its templates are rendered. A template may render any value as text, so each reader takes the text
as well. It knows no operator.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow_provider_together.api.missing import MISSING, is_missing
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.runtime.compat.versions import conf

if TYPE_CHECKING:
    from airflow_provider_together.api.specs import Spec

T = TypeVar("T")

#: The longest duration in seconds: ten years of 365 days. What is above is a slip, and ends in no date soon after.
LONGEST_SECONDS = 3650 * 86400.0
#: Of anything that is a price or a time in epoch seconds; beyond it a float is no date any more.
_LARGEST_AMOUNT = 10**11


@dataclass(frozen=True, slots=True)
class Kind:
    """
    What a parameter is.

    :param read: takes the parameter's name and a value that is not missing, and raises SpecError if it is wrong.
    :param is_optional: whether None says that the parameter is not given.
    """

    read: Callable[[str, Any], Any]
    is_optional: bool = False


class CheckedParameters:
    """
    A class that says what its parameters are, and checks them.

    It has to call :meth:`check_parameters` at the end of ``__init__`` and :meth:`check_rendered_parameters` before it
    does anything when it runs.
    """

    #: What each parameter of the class' own ``__init__`` is; those of its bases stand in their tables.
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {}

    #: The values as they were written, before their templates were rendered.
    _as_written: Mapping[str, Any] = {}
    _is_rendered = False

    @classmethod
    def all_parameter_kinds(cls) -> dict[str, Kind]:
        """Return the tables of the class and of its bases as one."""
        kinds: dict[str, Kind] = {}
        for base in reversed(cls.__mro__):
            kinds.update(vars(base).get("parameter_kinds", {}))
        return kinds

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:  # noqa: ARG003 - for subclasses
        """
        Return a sentence for each rule between parameters that is broken.

        :param given: all parameters that are not None: those that :func:`is_literal` tells of are right each by itself.
        """
        return []

    def check_parameters(self) -> None:
        """
        Check the parameters that are known: when the DAG is parsed the literal ones, and when the task runs all.

        :raises SpecError: naming each field that is wrong, its value and what is allowed.
        """
        kinds = self.all_parameter_kinds()
        values = {name: getattr(self, name) for name in kinds}
        if self._is_rendered:
            problems = _problems_of_rendered(kinds, values, self._as_written)
        else:
            self._as_written = values
            problems = problems_of_literals(kinds, values)
        problems = problems or self.conflicts({name: value for name, value in values.items() if value is not None})
        if problems:
            raise SpecError(problems)

    def check_final_parameters(self) -> None:
        """
        Check the parameters of what has no templates, such as a trigger.

        :raises SpecError: see :meth:`check_parameters`.
        """
        kinds = self.all_parameter_kinds()
        check_values(kinds, {name: getattr(self, name) for name in kinds})

    def check_rendered_parameters(self) -> None:
        """
        Check all parameters of a task that runs; text without a template is what it was before rendering.

        :raises SpecError: see :meth:`check_parameters`.
        """
        self._is_rendered = True
        for name, written in self._as_written.items():
            rendered = getattr(self, name)
            if (text := _with_literal_text(written, rendered)) is not rendered:
                setattr(self, name, text)
        self.check_parameters()


def check_values(kinds: Mapping[str, Kind], values: Mapping[str, Any]) -> None:
    """
    Check values that are final, such as those of a trigger.

    :raises SpecError: naming each field that is wrong, its value and what is allowed.
    """
    problems = [
        problem
        for name, value in values.items()
        if not (value is None and kinds[name].is_optional)
        for problem in _problems(kinds[name], name, value)
    ]
    if problems:
        raise SpecError(problems)


def check_literals(kinds: Mapping[str, Kind], values: Mapping[str, Any]) -> None:
    """
    Check values that are known before the DAG runs.

    :raises SpecError: naming each field that is wrong, its value and what is allowed.
    """
    if problems := problems_of_literals(kinds, values):
        raise SpecError(problems)


def problems_of_literals(kinds: Mapping[str, Kind], values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value that is known before the DAG runs, and is wrong."""
    return [
        problem
        for name, value in values.items()
        if name in kinds and is_literal(value) and not (value is None and kinds[name].is_optional)
        for problem in _problems(kinds[name], name, value)
    ]


def _problems_of_rendered(
    kinds: Mapping[str, Kind], values: Mapping[str, Any], as_written: Mapping[str, Any]
) -> list[str]:
    problems = []
    for name, value in values.items():
        written = as_written.get(name)
        if value is None and kinds[name].is_optional and written is None:
            continue  # not given, in contrast to a template that rendered to nothing
        hint = (
            "; render_template_as_native_obj=True of the DAG has made that of the text: leave it out for this DAG"
            if value is not None and _was_text(written, value)
            else ""
        )
        problems += [f"{problem}{hint}" for problem in _problems(kinds[name], name, value)]
    return problems


def _problems(kind: Kind, name: str, value: Any) -> list[str]:
    if is_missing(value):
        return [_wrong(name, value, MISSING)]
    try:
        kind.read(name, value)
    except SpecError as error:
        return error.problems
    return []


def _wrong(name: str, value: Any, reason: str) -> str:
    return f"{name}={value!r} is wrong: {reason}"


def is_literal(value: Any) -> bool:
    """Whether a value is what it will be when the task runs: no template and no output of another task is in it."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(is_literal(item) for item in value)
    # Airflow resolves what can tell its references, such as the output of a task, and calls what can be called.
    return not hasattr(value, "iter_references") and not callable(value)


def _with_literal_text(written: Any, rendered: Any) -> Any:
    """
    Return what was rendered, but text without a template as it was written.

    With ``render_template_as_native_obj`` Airflow reads such text as Python: ``'{"lr": 0.1}'`` becomes a dictionary,
    and ``'1e-4'`` becomes 0.0001. Text that somebody else has replaced by now stays replaced.
    """
    if isinstance(written, str):
        is_changed = written != rendered and is_literal(written) and _read_as_python(written) == rendered
        return written if is_changed else rendered
    if isinstance(written, Mapping) and isinstance(rendered, dict) and written.keys() == rendered.keys():
        texts = {key: _with_literal_text(item, rendered[key]) for key, item in written.items()}
        return texts if any(texts[key] is not item for key, item in rendered.items()) else rendered
    if isinstance(written, (list, tuple)) and isinstance(rendered, (list, tuple)) and len(written) == len(rendered):
        items = [_with_literal_text(one, other) for one, other in zip(written, rendered, strict=True)]
        return items if any(one is not other for one, other in zip(items, rendered, strict=True)) else rendered
    return rendered


def _read_as_python(text: str) -> Any:
    try:
        return ast.literal_eval(ast.parse(text, mode="eval"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _was_text(written: Any, rendered: Any) -> bool:
    """Whether text has become something else."""
    if isinstance(written, str):
        return not isinstance(rendered, str)
    if isinstance(written, Mapping) and isinstance(rendered, Mapping):
        return any(_was_text(item, rendered.get(key, "")) for key, item in written.items())
    if isinstance(written, (list, tuple)) and isinstance(rendered, (list, tuple)):
        return any(_was_text(one, other) for one, other in zip(written, rendered, strict=False))
    return False


def identifier(name: str, value: Any) -> str:
    """
    Return the text of an id or a name, without blanks around it.

    :param name: the parameter, for the message.
    :param value: the value as it was rendered.
    :raises SpecError: if it is None, blank, the word ``None`` in any case, or not a text.
    """
    if is_missing(value):
        raise SpecError([_wrong(name, value, MISSING)])
    if not isinstance(value, str):
        raise SpecError([_wrong(name, value, f"give text, not {type(value).__name__}")])
    return value.strip()


def default_deferrable(deferrable: bool | str | None) -> bool:
    """Return the operator's setting, or the one of ``[operators] default_deferrable``."""
    if deferrable is None:
        return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
    return truth_of("deferrable", deferrable)


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """
    Return a word that is one of those allowed.

    :raises SpecError: if it is another one.
    """
    if not any(value is word or (isinstance(value, str) and value == word) for word in allowed):
        words = ", ".join(repr(word) for word in allowed if word is not None)
        raise SpecError([_wrong(name, value, f"use one of {words}")])
    return value


def seconds_of(name: str, value: Any) -> float:
    """
    Return a duration in seconds: a timedelta, a number, or a number that a template has rendered.

    :raises SpecError: if it is none, not above 0, or longer than ten years.
    """
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= LONGEST_SECONDS:
        reason = "give a timedelta or a number of seconds above 0, and of ten years at the most"
        raise SpecError([_wrong(name, value, reason)])
    return float(seconds)


def read_or(read: Callable[..., T], *arguments: Any, default: T) -> T:
    """Return what a reader of parameters reads, or a default where it is wrong: no clean-up dies of a parameter."""
    try:
        return read(*arguments)
    except SpecError:
        return default


def truth_of(name: str, value: Any) -> bool:
    """
    Return a flag: a bool, or the word that a template has rendered.

    :raises SpecError: if it is neither true nor false.
    """
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "false": False, "0": False}
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise SpecError([_wrong(name, value, "give True or False")]) from None


def whole_number(name: str, value: Any, *, lowest: int, highest: int) -> int:
    """
    Return a whole number, or one that a template has rendered.

    :raises SpecError: if it is none, or beyond its bounds.
    """
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else lowest - 1
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise SpecError([_wrong(name, value, f"give a whole number from {lowest} to {highest}")])
    return number


def amount(name: str, value: Any) -> float:
    """
    Return a number of 0 or above, or one that a template has rendered.

    :raises SpecError: if it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number <= _LARGEST_AMOUNT:
        raise SpecError([_wrong(name, value, f"give a number from 0 to {_LARGEST_AMOUNT}")])
    return number


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """
    Return a dictionary.

    :raises SpecError: if it is none.
    """
    if not isinstance(value, Mapping):
        raise SpecError([_wrong(name, value, "give a dictionary")])
    return value


#: An id, a name or other text that is not blank.
IDENTIFIER = Kind(identifier)
#: A :class:`datetime.timedelta` or a number of seconds.
DURATION = Kind(seconds_of)
#: True or false.
FLAG = Kind(truth_of)
#: A number of 0 or above.
AMOUNT = Kind(amount)
#: A dictionary.
MAPPING = Kind(mapping)


def optional(kind: Kind) -> Kind:
    """Return a kind of which None says that it is not given."""
    return replace(kind, is_optional=True)


def one_of(*words: str) -> Kind:
    """Return the kind of a word that is one of these."""
    return Kind(lambda name, value: choice(name, value, words))


def number_between(lowest: int, highest: int) -> Kind:
    """Return the kind of a whole number."""
    return Kind(lambda name, value: whole_number(name, value, lowest=lowest, highest=highest))


def fields_of(spec_class: type[Spec], *, required: Collection[str] | None = None) -> dict[str, Kind]:
    """
    Return the kinds of parameters that are the fields of a spec, which checks each of them.

    :param required: the fields that have to be given, where these are not those that the spec demands.
    """
    return {
        name: Kind(
            lambda field, value: spec_class.check({field: value}),
            is_optional=not field.is_required() if required is None else name not in required,
        )
        for name, field in spec_class.model_fields.items()
    }


def check_extra(extra: str, *, package: str, needed_by: str) -> None:
    """
    Check that an extra of this package is installed, when the DAG is parsed: before a cluster is made to train on.

    :param package: what the extra brings, by the name it is imported by; it is looked for, and not imported.
    :param needed_by: the class that cannot do without.
    :raises ImportError: if it is not, with what to install.
    """
    if importlib.util.find_spec(package) is None:
        message = f"{needed_by} needs the package {package}: pip install 'airflow-provider-together[{extra}]'"
        raise ImportError(message, name=package)
