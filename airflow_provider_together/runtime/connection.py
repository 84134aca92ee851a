"""
From an Airflow connection to :class:`~airflow_provider_together.api.settings.Settings`.

Pure: it reads a connection's fields and the environment, and does no I/O. The form, a URI and JSON give the
same fields in slightly different types, so everything is read leniently and judged strictly. Errors name the
field, its value and what is allowed; the API key is never shown.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_together.api.address import address_of, api_path_of
from airflow_provider_together.api.dialects import dialect_class
from airflow_provider_together.api.known_dialects import DEFAULT_DIALECT
from airflow_provider_together.api.settings import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    DEFAULT_VISIBILITY,
    UNVERIFIED,
    Settings,
    normal_api_key,
)
from airflow_provider_together.api.wording import did_you_mean
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.lifecycle.name import deployment_id
from airflow_provider_together.runtime.connection_form import CONNECTION_TYPE, FIELDS

log = logging.getLogger(__name__)

API_KEY_VARIABLE = "TOGETHER_API_KEY"
_KEY_IN_ENVIRONMENT = f"environment variable {API_KEY_VARIABLE}"
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
    login: str | None
    password: str | None
    extra: str | None

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
    """
    Return settings for Together's own host with the key of TOGETHER_API_KEY, or None without one.

    :raises ConfigurationError: if what is there cannot be a key.
    """
    api_key = _key_of_environment()
    if not api_key:
        return None
    return Settings(
        base_url=dialect_class(DEFAULT_DIALECT).default_url,
        api_key=api_key,
        label=_KEY_IN_ENVIRONMENT,
        key_place=f"the {_KEY_IN_ENVIRONMENT}",
    )


def _settings(connection: ConnectionFields, label: str) -> Settings:
    if connection.conn_type != CONNECTION_TYPE:
        message = f"conn_type={connection.conn_type!r} is wrong: it must be {CONNECTION_TYPE!r}"
        raise ConfigurationError(message)
    extra = _extra(connection)
    if ignored := _ignored(extra):
        log.warning("%s: %s", label, ignored)
    base_url, dialect = address_of(
        _host_with_scheme(connection), port=_port(connection), api=_text(extra, "api").lower()
    )
    api_key, key_place = _api_key(connection)
    deployment = _text(extra, "deployment")
    return Settings(
        base_url=base_url,
        api_key=api_key,
        dialect=dialect,
        label=label,
        project_id=_text(extra, "project_id"),
        timeout=_number(extra, "timeout", default=DEFAULT_TIMEOUT, least=0.1, most=_LONGEST_TIMEOUT),
        retries=_whole(extra, "retries", default=DEFAULT_RETRIES, most=_MOST_RETRIES),
        verify=_verify(extra),
        deployment=deployment and deployment_id(deployment),
        visibility=_number(extra, "visibility", default=DEFAULT_VISIBILITY, least=0.1, most=_LONGEST_VISIBILITY),
        key_place=key_place,
        ignored=ignored,
    )


def _extra(connection: ConnectionFields) -> dict[str, Any]:
    """Return the fields of the extra that have a value. Airflow itself takes an extra that is not JSON for empty."""
    try:
        is_object = isinstance(json.loads(connection.extra or "{}"), dict)
    except ValueError:
        is_object = False
    if not is_object:
        # Its text is not repeated: people put secrets there.
        message = 'extra is wrong: it must be a JSON object, such as {"api": "compute"}'
        raise ConfigurationError(message)
    return {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}


def _ignored(extra: Mapping[str, Any]) -> str:
    """Return a sentence about the fields that nobody knows, each with the known one that is probably meant."""
    unknown = [
        f"{name!r}{did_you_mean(name.lower().replace('-', '_'), FIELDS)}" for name in sorted(set(extra) - set(FIELDS))
    ]
    known = ", ".join(FIELDS)
    return f"ignoring unknown extra fields: {', '.join(unknown)}. Known ones: {known}." if unknown else ""


def _host_with_scheme(connection: ConnectionFields) -> str:
    """Return the host; a URI connection can give its scheme only in the ``schema`` field."""
    host = (connection.host or "").strip()
    scheme = (connection.schema or "").strip().lower().rstrip(":/")
    if scheme in {"", "http", "https"}:
        return f"{scheme}://{host}" if host and scheme and "://" not in host else host
    # In a URI the path is the schema: one of Together's own makes no difference there either.
    path, api = api_path_of(f"/{scheme}")
    if api and not path:
        return f"{host}/{scheme}" if host else host
    message = (
        f"schema={connection.schema!r} is wrong: it must be https, or http for this machine; "
        "a path belongs in the host field"
    )
    raise ConfigurationError(message)


def _port(connection: ConnectionFields) -> int | None:
    """Return the port; some secrets backends give it as a text."""
    if connection.port in (None, "", 0):
        return None
    try:
        return int(connection.port)
    except ValueError:
        message = f"port={connection.port!r} is wrong: it must be a number from 1 to 65535"
        raise ConfigurationError(message) from None


def _api_key(connection: ConnectionFields) -> tuple[str, str]:
    """Return the key and where it comes from."""
    if api_key := normal_api_key(connection.password or "", "password"):
        return api_key, "its password field"
    if api_key := _key_of_environment():
        return api_key, f"the {_KEY_IN_ENVIRONMENT}"
    hint = (
        "; the login field is not for it: in a URI the key stands behind a colon, together://:KEY@HOST"
        if connection.login
        else ""
    )
    message = (
        f"password is empty: put the Together API key there, or in the environment variable {API_KEY_VARIABLE}{hint}"
    )
    raise ConfigurationError(message)


def _key_of_environment() -> str:
    return normal_api_key(os.environ.get(API_KEY_VARIABLE, ""), _KEY_IN_ENVIRONMENT)


def _verify(extra: Mapping[str, Any]) -> str:
    """Return the path of the certificates to trust, if one is given; true means the system's."""
    value = extra.get("verify", "")
    if value is True or (isinstance(value, str) and value.strip().lower() in {"", "true", "yes", "on", "1"}):
        return ""
    if value is False or (isinstance(value, str) and value.strip().lower() in {"false", "no", "off", "0"}):
        return UNVERIFIED
    path = _text(extra, "verify")
    return path if path.startswith("~") else str(Path(path).absolute())


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
    except (TypeError, ValueError, OverflowError):  # no number; one beyond all floats
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
