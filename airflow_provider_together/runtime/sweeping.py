"""
The sweep with Airflow asked, and its report, for the operator and for the shell.

What is forgotten is decided in :mod:`airflow_provider_together.lifecycle.orphans`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Note
from airflow_provider_together.api.client import Sleep
from airflow_provider_together.api.wording import counted, printable
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.orphans import Fate, Finding, Standing, Unreadable, sweep
from airflow_provider_together.runtime.registry import Registry, known_deployment, standing_of

if TYPE_CHECKING:
    from airflow_provider_together.hooks.together import TogetherHook


def sweep_clusters(  # noqa: PLR0913 - each is a setting of its own
    hook: TogetherHook,
    entries: Registry | None,
    *,
    deployment: str | None = None,
    delete: bool,
    delete_reserved: bool = False,
    timeout: float,
    poll_interval: float,
    say: Callable[[str], None],
    sleep: Sleep = time.sleep,
) -> list[Finding]:
    """
    Find forgotten clusters and delete them.

    :param entries: the registry of this Airflow; None to go by the end of life alone, without asking Airflow.
    :param deployment: id of the Airflow to sweep for; by default this one's.
    :param delete: whether to delete what is found.
    :param delete_reserved: whether reservations go as well before their paid time is over.
    :param timeout: seconds until all that was deleted must be gone.
    :param poll_interval: seconds between two looks.
    :param say: gets what happens, sentence by sentence.
    :param sleep: waits that many seconds.
    """
    unreadable: list[str] = []

    def ask(name: ClusterName) -> Standing | None:
        entry = None if entries is None else entries.entry_for(name)
        return None if entry is None else standing_of(entry)

    def take(note: Note) -> None:
        if isinstance(note, Unreadable):
            unreadable.append(note.name)
        say(note.message)

    if deployment is None and entries is not None:
        deployment = known_deployment(hook.settings)
    flow = sweep(
        hook.client.dialect,
        ask,
        deployment=deployment,
        delete=delete,
        timeout=timeout,
        poll_interval=poll_interval,
        delete_reserved=delete_reserved,
    )
    findings = hook.client.run(flow, note=take, sleep=sleep)
    if entries is not None:
        _forget(entries, findings, unreadable)
    return findings


def report(findings: Sequence[Finding], *, now: float, price: float | None = None) -> list[str]:
    """
    Say what was done, why, and what it saves.

    :param now: epoch seconds.
    :param price: of one GPU for an hour, if known.
    """
    lines = [
        f"{finding.fate}: {printable(finding.cluster.cluster_name) or 'without a name'} ({finding.cluster.cluster_id}, "
        f"{finding.cluster.status or 'status unknown'}, {counted(finding.num_gpus, 'GPU')}): {finding.why}"
        for finding in findings
    ]
    counts = ", ".join(f"{sum(f.fate is fate for f in findings)} {fate}" for fate in Fate)
    return [*lines, f"{counted(len(findings), 'cluster')}: {counts}.", *_saved(findings, now, price)]


def _saved(findings: Sequence[Finding], now: float, price: float | None) -> list[str]:
    gone = [finding for finding in findings if finding.fate in {Fate.DELETED, Fate.FORGOTTEN}]
    if not gone:
        return []
    gpus = sum(finding.num_gpus for finding in gone)
    left = sum(
        finding.num_gpus * max(0.0, finding.name.end_of_life.timestamp() - now) / 3600
        for finding in gone
        if finding.name is not None and finding.name.end_of_life is not None
    )
    cost, cost_left = ("", "") if price is None else (f" ({price * gpus:,.2f} an hour)", f" ({price * left:,.2f})")
    verb = "is" if all(finding.fate is Fate.DELETED for finding in gone) else "would be"
    rest = f", {left:,.1f} GPU-hours{cost_left} of it before their ends of life" if left else ""
    return [f"What {verb} saved: {counted(gpus, 'GPU-hour')} an hour{cost}{rest}."]


def _forget(entries: Registry, findings: Sequence[Finding], unreadable: Sequence[str]) -> None:
    """
    Remove the entries of owners none of whose clusters is left.

    :param unreadable: names of what the sweep could not judge; one without a name may be anybody's.
    """
    left = [finding.cluster.cluster_name for finding in findings if finding.fate is not Fate.DELETED]
    left += unreadable
    if "" in unreadable:
        return
    gone = [finding.name for finding in findings if finding.fate is Fate.DELETED and finding.name is not None]
    for name in gone:
        if not any(name.has_owner_of(other) for other in left):
            entries.forget(name)
