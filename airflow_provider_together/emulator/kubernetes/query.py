"""
Reading the parameters of a request: its query, and the options that a request to delete has in its body.

Pure functions; it imports the refusals and the words of deletion. Sources: ``ListOptions``, ``PodLogOptions`` and
``DeleteOptions`` in https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_together.emulator.kubernetes.container_log import LogRequest
from airflow_provider_together.emulator.kubernetes.deletion import BACKGROUND, FOREGROUND, ORPHAN
from airflow_provider_together.emulator.kubernetes.objects import Object, read_time
from airflow_provider_together.emulator.kubernetes.refusal import ApiError, invalid, invalid_options


def flag(query: Mapping[str, str], name: str) -> bool:
    """
    Return a parameter that is true or false, by default false. Python's clients write ``True`` and ``False``.

    :raises ApiError: 400 for another word.
    """
    word = query.get(name, "").lower()
    if word in ("", "1", "true", "0", "false"):
        return word in ("1", "true")
    message = f'strconv.ParseBool: parsing "{query[name]}": invalid syntax ({name})'
    raise ApiError(400, message)


def number(query: Mapping[str, str], name: str) -> int | None:
    """
    Return a parameter that is a whole number; None if it is not given.

    :raises ApiError: 400 for anything else.
    """
    word = query.get(name, "")
    if not word:
        return None
    try:
        return int(word)
    except ValueError:
        message = f'strconv.ParseInt: parsing "{word}": invalid syntax ({name})'
        raise ApiError(400, message) from None


def is_dry(query: Mapping[str, str], options: Any) -> bool:
    """
    Tell whether a request is only a trial.

    :param options: the body of a request to delete, which may say so as well.
    :raises ApiError: 422 for another word than ``All``.
    """
    words = [query["dryRun"]] if query.get("dryRun") else []
    if isinstance(options, dict) and isinstance(options.get("dryRun"), list):
        words += options["dryRun"]
    wrong = [word for word in words if word != "All"]
    if wrong:
        cause = ("dryRun", f'Unsupported value: "{wrong[0]}": supported values: "All"')
        raise invalid_options("Options", cause)  # noqa: EM101 - no text
    return bool(words)


def deletion_options(body: Object, query: Mapping[str, str]) -> tuple[str, int | None, Object]:
    """
    Return propagation, grace period in seconds, and preconditions of a request to delete.

    :param body: its ``DeleteOptions``, which the query goes before.

    :raises ApiError: 400 for what cannot be read, 422 for an unknown propagation.
    """
    propagation = query.get("propagationPolicy") or body.get("propagationPolicy") or ""
    if propagation not in ("", FOREGROUND, BACKGROUND, ORPHAN):
        words = 'supported values: "Background", "Foreground", "Orphan", "nil"'
        cause = ("propagationPolicy", f'Unsupported value: "{propagation}": {words}')
        raise invalid_options("DeleteOptions", cause)  # noqa: EM101 - no text
    seconds = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
    try:
        grace = None if seconds is None else int(seconds)
    except (TypeError, ValueError):
        message = f"gracePeriodSeconds: {seconds!r} is no number"
        raise ApiError(400, message) from None
    return propagation, grace, body.get("preconditions") or {}


def check_version_match(query: Mapping[str, str]) -> None:
    """
    Refuse a rule about a version without a version.

    :raises ApiError: 422.
    """
    if query.get("resourceVersionMatch") and not query.get("resourceVersion"):
        text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid_options("ListOptions", ("resourceVersionMatch", text))  # noqa: EM101 - no text


def log_request(query: Mapping[str, str], *, now: float, pod: str) -> LogRequest:
    """
    Return the part of a log that a request wants.

    :param now: epoch seconds.
    :param pod: the pod's name.
    :raises ApiError: 400 for a parameter that cannot be read, 422 for one that is out of bounds.
    """
    since, since_seconds = query.get("sinceTime"), number(query, "sinceSeconds")
    causes = []
    if since and since_seconds is not None:
        causes.append(("[]", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"))
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = number(query, name)
        if value is not None and value < least:
            causes.append((name, f"Invalid value: {value}: must be greater than {'or equal to ' * (not least)}0"))
    if causes:
        raise invalid("PodLogOptions", pod, causes)  # noqa: EM101 - no text
    try:
        moment = read_time(since) if since else None
    except ValueError:
        message = f"sinceTime: {since!r} is no time"
        raise ApiError(400, message) from None
    if since_seconds is not None:
        moment = now - since_seconds
    return LogRequest(
        follow=flag(query, "follow"),
        timestamps=flag(query, "timestamps"),
        since=moment,
        tail_lines=number(query, "tailLines"),
        limit_bytes=number(query, "limitBytes"),
    )
