"""
From our errors to Airflow's.

Hooks raise our own errors, whose type says whether a retry helps; tasks must say the same in Airflow's
words. Only operators and sensors use this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_together.compat import AirflowException, AirflowFailException
from airflow_provider_together.exceptions import PermanentError, TogetherError


@contextmanager
def task_failures() -> Iterator[None]:
    """
    Let a task fail in Airflow's words.

    :raises AirflowFailException: where a retry cannot help, so that Airflow does not try again.
    :raises AirflowException: where it can.
    """
    try:
        yield
    except PermanentError as error:
        raise AirflowFailException(str(error)) from None  # the sentence says it all: a reader needs no second traceback
    except TogetherError as error:
        raise AirflowException(str(error)) from None
