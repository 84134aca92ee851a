"""
From our errors to Airflow's.

Hooks raise our own errors, whose type says whether a retry helps; tasks must say the same in Airflow's
words. Only operators and sensors use this.

Airflow logs every exception of a chain with all its frames, which buries the sentence that a reader needs. So the chain
ends here, and wherever else a mistake of the user's or an answer is told whose words the message repeats. A bug of the
package passes, and keeps its chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_together.exceptions import PermanentError, TogetherError
from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowFailException


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
        raise AirflowFailException(str(error)) from None
    except TogetherError as error:
        raise AirflowException(str(error)) from None
