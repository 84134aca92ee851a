"""
Writing the log of a job's rank 0 as it comes, in a thread beside the one that waits for the job.

It only reads. Whatever goes wrong with it is told and tried again: a log is worth less than the run that writes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import urllib3.exceptions

from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.log import LineReader, LogCursor
from airflow_provider_together.jobs.kubernetes.state import RankPhase, Terms, look_at

if TYPE_CHECKING:
    from airflow_provider_together.jobs.kubernetes.state import Rank
    from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver

log = logging.getLogger(__name__)

#: Seconds between two looks whether rank 0 has begun, and two attempts to read its log.
_LOOK_INTERVAL = 1.0
_PIECE = 2**14


class LogFollower:
    """
    Follows the log of one job's rank 0.

    :param driver: what talks to the cluster.
    :param uid: the job's.
    :param write: gets each line.
    """

    def __init__(
        self, driver: KubernetesDriver, namespace: str, name: str, uid: str, *, write: Callable[[str], None]
    ) -> None:
        self._driver = driver
        self._namespace = namespace
        self._name = name
        self._uid = uid
        self._write = write
        self._cursor = LogCursor()
        self._is_finishing = threading.Event()
        self._is_stopped = threading.Event()

    def finish(self) -> None:
        """Come to an end once what is there has been read."""
        self._is_finishing.set()

    def stop(self) -> None:
        """Come to an end now."""
        self._is_stopped.set()
        self._is_finishing.set()

    def run(self) -> None:
        """Read until rank 0 has ended, or somebody says that it is enough."""
        while not self._is_stopped.is_set():
            is_last = self._is_finishing.is_set()
            try:
                if self._follow() or is_last:
                    return
            except (TogetherError, urllib3.exceptions.HTTPError, OSError) as error:
                if is_last:
                    return
                log.debug("The log of job %s is read again: %s", self._name, error)
            self._is_finishing.wait(_LOOK_INTERVAL)

    def _follow(self) -> bool:
        """Read as long as the answer goes on; return whether that was all."""
        rank = self._first()
        if rank is None or not rank.has_begun:
            return False
        call = kubernetes_api.read_log(self._namespace, rank.pod, since=self._cursor.since, follow=True)
        reader, rest = self._cursor.reader(), b""
        with self._driver.follow(call) as response:
            for piece in response.stream(_PIECE):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(reader, line)
                if self._is_stopped.is_set():
                    return True
        if rest:
            self._take(reader, rest)
        return rank.phase in {RankPhase.SUCCEEDED, RankPhase.FAILED}

    def _take(self, reader: LineReader, line: bytes) -> None:
        for text in reader.take(line.decode("utf-8", "replace")):
            self._write(text)

    def _first(self) -> Rank | None:
        pods = self._driver.send(kubernetes_api.list_pods(self._namespace, self._name).once())
        job = {"metadata": {"uid": self._uid}}
        ranks = look_at(job, pods, now=0.0, terms=Terms(float("inf"))).ranks
        return ranks[0] if ranks else None
