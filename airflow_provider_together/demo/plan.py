"""
What a DAG file will ask Together for, found out before anything is started.

A DAG file is a program, and reading it needs Airflow with a home of its own. So it is read in a process of its own,
by :mod:`airflow_provider_together.demo.plan_reader`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from airflow_provider_together.demo.consent import Wish
from airflow_provider_together.demo.environment import LOCAL_EXECUTOR, airflow_settings, clean_environment

_TIMEOUT = 120.0
#: The module that reads, and how the line begins in which it answers.
_READER = "airflow_provider_together.demo.plan_reader"
MARK = "together-plan "


class PlanError(Exception):
    """Nobody can tell in advance what the DAG will ask for."""


def read_plan(dag_file: Path) -> list[Wish]:
    """
    Return the clusters that a DAG file will ask for.

    :raises PlanError: if it cannot be read, or does not say how much.
    """
    with tempfile.TemporaryDirectory(prefix="together-plan-") as folder:
        home = Path(folder)
        settings = airflow_settings(
            home, port=0, sql_alchemy_conn=f"sqlite:///{home}/airflow.db", executor=LOCAL_EXECUTOR, parallelism=1
        )
        result = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", _READER, str(dag_file.resolve())],
            env={**clean_environment(os.environ), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    answers = [line.removeprefix(MARK) for line in result.stdout.splitlines() if line.startswith(MARK)]
    if result.returncode or len(answers) != 1:
        message = f"{dag_file} cannot be read:\n{result.stderr[-2000:]}"
        raise PlanError(message)
    answer = json.loads(answers[0])
    if "error" in answer:
        raise PlanError(answer["error"])
    return [Wish(**wish) for wish in answer["wishes"]]
