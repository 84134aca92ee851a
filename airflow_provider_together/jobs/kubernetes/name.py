"""
The name of a job on Kubernetes: the same for all tries of a task instance, so that a try finds what another has begun.

The pods of a job are called ``NAME-RANK-xxxxx`` and know each other as ``NAME-RANK.NAME``, so that the name has to
leave room for a rank within the 63 characters of a DNS label, and to begin with a letter, since a Service has it too.
"""

from __future__ import annotations

import re

from airflow_provider_together.lifecycle.name import DIGEST_LENGTH, Owner, hashed

#: Leaves room for ``-RANK-xxxxx`` in the names of the pods.
LONGEST_JOB_NAME = 52


def owner_digest(owner: Owner) -> str:
    """
    Return what stands for a task instance in names and labels.

    The deployment is part of it: two Airflows may run the same DAG on one cluster at the same time.
    """
    return hashed(f"{len(owner.deployment)}:{owner.deployment}{owner.digest}")


def job_name(owner: Owner) -> str:
    """Name the job of a task instance: task, for people, and the digest."""
    task = re.sub(r"[^a-z0-9]+", "-", owner.task_id.lower()).strip("-")
    index = f"-{owner.map_index}" if owner.map_index >= 0 else ""
    room = LONGEST_JOB_NAME - len("af-") - len(index) - 1 - DIGEST_LENGTH
    words = f"{task[:room].strip('-')}{index}".strip("-")
    return "-".join(part for part in ("af", words, owner_digest(owner)) if part)


def is_job_name(text: str) -> bool:
    """Whether a job, and the Service beside it, may have this name."""
    is_label = re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", text, re.ASCII) is not None
    return is_label and len(text) <= LONGEST_JOB_NAME
