"""
Renting real GPUs: which connection, what it will ask for, and whether a person has agreed.

Everything here comes before anything is started. Airflow is imported only to read the connection as a task
would.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.demo.consent import is_confirmed, summary
from airflow_provider_together.demo.plan import read_plan


class RefusedError(Exception):
    """A person has not agreed. Nothing was started, nothing is spent."""


def agreed_settings(
    dag_file: Path,
    conn_id: str,
    *,
    say: Callable[[str], None],
    ask: Callable[[str], str] | None,
    price_per_gpu_hour: float | None,
) -> Settings:
    """
    Tell a person what a DAG will rent, and return the connection for it once they have agreed.

    :param ask: None asks the terminal.
    :returns: settings with a deployment of their own, by which the clusters of this run are known.
    :raises RefusedError: if they have not.
    :raises PlanError: if it cannot be told in advance.
    :raises ConfigurationError: if the connection is wrong or missing.
    """
    wishes = read_plan(dag_file)
    settings = replace(_connection(conn_id), deployment=f"demo{secrets.token_hex(4)}")
    for line in summary(wishes, host=settings.base_url, price_per_gpu_hour=price_per_gpu_hour):
        say(line)
    if not is_confirmed(wishes, ask=ask or _ask_terminal):
        message = "Not confirmed: nothing was started, nothing is spent."
        raise RefusedError(message)
    return settings


def connection_json(settings: Settings) -> str:
    """Return the connection for the throw-away Airflow, which sees no other of the user's."""
    extra = {
        "api": settings.dialect,
        "project_id": settings.project_id,
        "timeout": settings.timeout,
        "retries": settings.retries,
        "verify": settings.verify,
        "deployment": settings.deployment,
        "visibility": settings.visibility,
    }
    fields = {"conn_type": "together", "host": settings.base_url, "password": settings.api_key, "extra": extra}
    return json.dumps(fields)


def _connection(conn_id: str) -> Settings:
    if "AIRFLOW_HOME" not in os.environ and not Path("~/airflow").expanduser().exists():
        # Else the mere import of Airflow would leave a folder in the home of somebody who has none.
        home = os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="together-live-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from airflow_provider_together.hooks.together import TogetherHook  # noqa: PLC0415 - imports Airflow

    return TogetherHook(conn_id).settings


def _ask_terminal(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise EOFError
    return input(prompt)
