"""What a connection that does not exist says: how to make it, in one sentence."""

from __future__ import annotations

import os
import shlex

from airflow_provider_together.exceptions import ConfigurationError

_VARIABLE_PREFIX = "AIRFLOW_CONN_"


def missing_connection(
    conn_id: str, *, conn_type: str, holds: str, options: str, instead: str = ""
) -> ConfigurationError:
    """
    Return the error for a connection that does not exist.

    :param conn_id: as the task asked for it.
    :param conn_type: the type that it has to have.
    :param holds: what has to be in it, in words.
    :param options: the same as options of Airflow's command.
    :param instead: what else may be done, in words.
    """
    ways = [
        "in Airflow's UI under Admin, Connections",
        f"with `airflow connections add {shlex.quote(conn_id)} --conn-type {conn_type} {options}`",
    ]
    variable = f"{_VARIABLE_PREFIX}{conn_id.upper()}"
    if os.environ.get(variable, "").strip():
        return ConfigurationError(
            f"connection {conn_id!r} cannot be read from the environment variable {variable}, which is set: give a "
            f'URI, or JSON with double quotes, such as {{"conn_type": "{conn_type}"}}'
        )
    if variable.isidentifier() and variable.isascii():  # else no shell exports it
        ways.append(f"in the environment variable {variable}")
    return ConfigurationError(
        f"connection {conn_id!r} does not exist: make it, of type {conn_type!r} and with {holds}, "
        f"{', '.join(ways[:-1])} or {ways[-1]}{f'; or {instead}' if instead else ''}"
    )
