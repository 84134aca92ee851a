"""
What operators and sensors have in common about their parameters: literal or templated, and of which kind.

A template may render any value as text, so each reader takes the text as well. It knows no operator.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_together.compat import conf
from airflow_provider_together.exceptions import SpecError

if TYPE_CHECKING:
    from airflow_provider_together.api.specs import Spec


def literals(values: Mapping[str, Any], spec_class: type[Spec]) -> dict[str, Any]:
    """Return those values of a spec's fields that are known before the DAG runs."""
    return {name: values[name] for name in spec_class.model_fields if name in values and is_literal(values[name])}


def is_literal(value: Any) -> bool:
    """Whether a value is what it will be when the task runs: no template, no XCom of another task."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(is_literal(item) for item in value)
    return isinstance(value, (int, float, date))


def is_nothing(value: Any) -> bool:
    """Whether a value says nothing: None, blank text, or the word ``None``, which Jinja writes for what is missing."""
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", "none"})


def identifier(name: str, value: Any) -> str:
    """
    Return the text of an id or a name, without blanks around it.

    :param name: the parameter, for the message.
    :param value: the value as it was rendered.
    :raises SpecError: if it is None, blank, the word ``None`` in any case, or not a text.
    """
    if is_nothing(value):
        fault = (
            f"{name}={value!r} is wrong: it has no value. If it is a template or the output of another task, that "
            "rendered to nothing: check the task id, key or param that it names"
        )
        raise SpecError([fault])
    if not isinstance(value, str):
        raise SpecError([f"{name}={value!r} is wrong: give text, not {type(value).__name__}"])
    return value.strip()


def default_deferrable(deferrable: bool | str | None) -> bool:
    """Return the operator's setting, or the one of ``[operators] default_deferrable``."""
    if deferrable is None:
        return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
    return truth_of("deferrable", deferrable)


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """
    Return a word that is one of those allowed, or not rendered yet.

    :raises SpecError: if it is another one.
    """
    if value not in allowed and (value is None or is_literal(value)):
        words = ", ".join(repr(word) for word in allowed if word is not None)
        raise SpecError([f"{name}={value!r} is wrong: use one of {words}"])
    return value


def seconds_of(name: str, value: Any) -> float:
    """
    Return a duration in seconds: a timedelta, a number, or a number that a template has rendered.

    :raises SpecError: if it is none, or not above 0.
    """
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds < float("inf"):
        raise SpecError([f"{name}={value!r} is wrong: give a timedelta or a number of seconds above 0"])
    return float(seconds)


def check_literals(values: Mapping[str, Any], *, durations: Iterable[str] = (), flags: Iterable[str] = ()) -> None:
    """
    Check those durations and flags that are known before the DAG runs; None is always allowed.

    :param values: the parameters by their names.
    :raises SpecError: if one is wrong.
    """
    for names, read in ((durations, seconds_of), (flags, truth_of)):
        for name in names:
            value = values[name]
            if isinstance(value, timedelta) or is_literal(value):
                read(name, value)


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
        raise SpecError([f"{name}={value!r} is wrong: give True or False"]) from None


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
