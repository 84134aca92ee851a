"""
The commands of ``together-airflow`` that look at clusters or delete them, through a connection of Airflow.

Kept apart from the command line itself, which starts without Airflow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.wording import printable
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.delete import delete_and_prove
from airflow_provider_together.lifecycle.name import deployment_id
from airflow_provider_together.lifecycle.orphans import Fate
from airflow_provider_together.lifecycle.reservation import reservation_of
from airflow_provider_together.runtime.compat import has_database
from airflow_provider_together.runtime.registry import registry
from airflow_provider_together.runtime.sweeping import report, sweep_clusters
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.verdict import Verdict


def _list(parsed: argparse.Namespace) -> int:
    clusters = _hook(parsed.conn_id).list_gpu_clusters()
    if parsed.json:
        print(json.dumps([_shown(cluster) for cluster in clusters], indent=2))
        return 0
    rows = [("CLUSTER ID", "NAME", "STATUS", "GPUS", "TYPE", "REGION")]
    rows += [(c.cluster_id, c.cluster_name, c.status, str(c.num_gpus or ""), c.gpu_type, c.region) for c in clusters]
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _show(parsed: argparse.Namespace) -> int:
    print(json.dumps(_shown(_hook(parsed.conn_id).get_gpu_cluster(parsed.cluster_id)), indent=2))
    return 0


def _delete(parsed: argparse.Namespace) -> int:
    client = _hook(parsed.conn_id).client
    cluster = client.send(client.dialect.get_cluster(parsed.cluster_id))
    if paid := reservation_of(cluster):
        print(f"Cluster {cluster.cluster_id} is {paid}; deleting it early is not refunded.", file=sys.stderr)
    if not parsed.yes and not _is_confirmed(cluster):
        print("Nothing was deleted.", file=sys.stderr)
        return 2
    now = client.now()
    wait = GoneWait(cluster.cluster_id, started=now, deadline=now + parsed.timeout, poll_interval=parsed.poll_interval)
    look = client.run(delete_and_prove(client.dialect, wait), note=lambda note: _tell(note.message, sys.stdout))
    if look.verdict is not Verdict.GONE:
        why = f"{look.verdict.value}; {look.error}" if look.error else look.verdict.value
        print(f"Cluster {cluster.cluster_id} is not gone ({why}); it is still billed.", file=sys.stderr)
        return 1
    return 0


def _sweep(parsed: argparse.Namespace) -> int:
    hook = _hook(parsed.conn_id)
    with contextlib.redirect_stdout(sys.stderr):
        lifetime_only = parsed.lifetime_only or not has_database()
    deployment = parsed.deployment or hook.settings.deployment or None
    if lifetime_only:
        print("Going by the ends of life in the names alone, without Airflow.", file=sys.stderr)
    if lifetime_only and deployment is None:
        print("Without Airflow's database nobody knows this deployment: give --deployment.", file=sys.stderr)
        return 2
    findings = sweep_clusters(
        hook,
        None if lifetime_only else registry(),
        deployment=deployment and deployment_id(deployment),
        delete=parsed.delete,
        delete_reserved=parsed.delete_reserved,
        timeout=parsed.timeout,
        poll_interval=parsed.poll_interval,
        say=lambda sentence: _tell(sentence, sys.stderr),
    )
    print("\n".join(report(findings, now=hook.client.now(), price=parsed.price)))
    if any(finding.fate is Fate.FORGOTTEN for finding in findings) and not parsed.delete:
        print("Nothing was deleted: give --delete.")
    return 1 if any(finding.fate is Fate.STUCK for finding in findings) else 0


def _tell(sentence: str, stream: TextIO) -> None:
    """Print what happens meanwhile; who does not read it any more stops no deletion."""
    with contextlib.suppress(BrokenPipeError):
        print(sentence, file=stream, flush=True)


def _is_confirmed(cluster: Cluster) -> bool:
    print(f"About to delete {cluster!r}. Type its id to go on:", end=" ", flush=True)
    return sys.stdin.readline().strip() == cluster.cluster_id


def _shown(cluster: Cluster) -> dict[str, Any]:
    return cluster.model_dump(mode="json", exclude={"kube_config"})


def _hook(conn_id: str) -> TogetherHook:
    # What Airflow logs belongs to stderr: the output of a command may be read by a program.
    with contextlib.redirect_stdout(sys.stderr):
        hook = TogetherHook(conn_id)
        _ = hook.settings
    return hook


#: What runs each command; the words of the command line are checked.
COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "delete": _delete,
    "sweep": _sweep,
}
