"""
From an Airflow connection to :class:`~airflow_provider_together.api.settings.Settings`.

Pure: it reads a connection's fields and the environment, and does no I/O. The form, a URI and JSON give the
same fields in slightly different types, so everything is read leniently and judged strictly. Errors name the
field, its value and what is allowed; the API key is never shown.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_together.api.dialects import dialect_class, dialect_for_host
from airflow_provider_together.api.naming import deployment_id
from airflow_provider_together.api.settings import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    DEFAULT_VISIBILITY,
    Settings,
    normal_base_url,
)
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.connection_form import CONNECTION_TYPE, FIELDS

log = logging.getLogger(__name__)

API_KEY_VARIABLE = "TOGETHER_API_KEY"
_DEFAULT_API = "tcloud"
_MOST_RETRIES = 20
_LONGEST_TIMEOUT = 600.0
_LONGEST_VISIBILITY = 3600.0


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read; any of them may be None, empty or absent."""

    conn_id: str
    conn_type: str | None
    host: str | None
    schema: str | None
    port: int | None
    password: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extra, decoded."""
        ...


def settings_from_connection(connection: ConnectionFields) -> Settings:
    """
    Read a connection.

    :raises ConfigurationError: naming the field that is wrong, its value and what is allowed.
    """
    label = f"connection {connection.conn_id!r}"
    try:
        return _settings(connection, label)
    except ConfigurationError as error:
        message = f"{label}: {error}"
        raise ConfigurationError(message) from None


def settings_from_environment() -> Settings | None:
    """Return settings for Together's own host with the key of TOGETHER_API_KEY, or None without one."""
    api_key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not api_key:
        return None
    label = f"environment variable {API_KEY_VARIABLE}"
    return Settings(base_url=dialect_class(_DEFAULT_API).default_url, api_key=api_key, label=label)


def _settings(connection: ConnectionFields, label: str) -> Settings:
    if connection.conn_type != CONNECTION_TYPE:
        message = f"conn_type={connection.conn_type!r} is wrong: it must be {CONNECTION_TYPE!r}"
        raise ConfigurationError(message)
    extra = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
    if unknown := sorted(set(extra) - set(FIELDS)):
        log.warning("%s: ignoring unknown extra fields: %s. Known ones: %s.", label, unknown, ", ".join(FIELDS))
    host, api = _host_with_scheme(connection), _text(extra, "api")
    name = api or dialect_for_host(host.removeprefix("https://").rstrip("/")) or _DEFAULT_API
    verify, deployment = _text(extra, "verify"), _text(extra, "deployment")
    return Settings(
        base_url=normal_base_url(host, port=connection.port or None, default=dialect_class(name).default_url),
        api_key=_api_key(connection),
        dialect=name,
        label=label,
        project_id=_text(extra, "project_id"),
        timeout=_number(extra, "timeout", default=DEFAULT_TIMEOUT, least=0.1, most=_LONGEST_TIMEOUT),
        retries=_whole(extra, "retries", default=DEFAULT_RETRIES, most=_MOST_RETRIES),
        verify=verify,
        deployment=deployment and deployment_id(deployment),
        visibility=_number(extra, "visibility", default=DEFAULT_VISIBILITY, least=0.1, most=_LONGEST_VISIBILITY),
    )


def _host_with_scheme(connection: ConnectionFields) -> str:
    """Return the host; a URI connection can give its scheme only in the ``schema`` field."""
    host = (connection.host or "").strip()
    scheme = (connection.schema or "").strip()
    return f"{scheme}://{host}" if host and "://" not in host and scheme in {"http", "https"} else host


def _api_key(connection: ConnectionFields) -> str:
    api_key = (connection.password or "").strip() or os.environ.get(API_KEY_VARIABLE, "").strip()
    if not api_key:
        message = (
            f"password is empty: put the Together API key there, or into the environment variable {API_KEY_VARIABLE}"
        )
        raise ConfigurationError(message)
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        message = "password is wrong: an API key has no blanks, line breaks or letters beyond ASCII"
        raise ConfigurationError(message)
    return api_key


def _text(extra: Mapping[str, Any], name: str) -> str:
    value = extra.get(name, "")
    if not isinstance(value, str):
        message = f"{name}={value!r} in the extra is wrong: it must be a text"
        raise ConfigurationError(message)
    return value.strip()


def _number(extra: Mapping[str, Any], name: str, *, default: float, least: float, most: float) -> float:
    value = extra.get(name, default)
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        message = f"{name}={value!r} in the extra is wrong: it must be a number from {least:g} to {most:g}"
        raise ConfigurationError(message)
    return number


def _whole(extra: Mapping[str, Any], name: str, *, default: int, most: int) -> int:
    number = _number(extra, name, default=default, least=0, most=most)
    if number != int(number):
        message = f"{name}={extra[name]!r} in the extra is wrong: it must be a whole number"
        raise ConfigurationError(message)
    return int(number)
