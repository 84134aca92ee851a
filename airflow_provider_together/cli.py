"""
The command ``together-airflow``.

Each command imports what it needs when it runs, so that the emulator starts without Airflow and a
look at the clusters without the emulator.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import json
import locale
import math
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import ConfigurationError, TogetherError
from airflow_provider_together.lifecycle.name import deployment_id

if TYPE_CHECKING:
    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.hooks.together import TogetherHook

DEFAULT_CONNECTION = "together_default"


#: Exit statuses as a shell shows them for a program that a signal ends: SIGPIPE, SIGINT.
_PIPE_CLOSED, _INTERRUPTED = 141, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param arguments: without the program's name; None takes the process's own.
    :returns: exit status: 0 done, 1 failed, 2 refused before anything was done, 130 interrupted, 141 if the
        reader of the output has closed it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name beyond the terminal's alphabet is no reason to fail
    try:
        status = _main(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough; the interpreter must not write again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        print("together-airflow: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return status


def _main(raw: list[str]) -> int:
    if raw[:1] == ["emulate"]:
        from airflow_provider_together.emulator.__main__ import main as emulate  # noqa: PLC0415

        return emulate(raw[1:])
    parsed = _parser().parse_args(raw)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        return command(parsed)
    except TogetherError as error:
        print(f"together-airflow: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="together-airflow", description="GPU clusters of Together AI in Airflow.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run a whole job on a throw-away Airflow, against the emulator")
    demo.add_argument("--live", action="store_true", help="rent real GPUs, after asking you; this costs money")
    demo.add_argument("--api", choices=("tcloud", "compute"), default="tcloud", help="which API to emulate")
    demo.add_argument("--speed", type=float, default=None, help="simulated seconds per second of the emulator")
    demo.add_argument("--price", type=_price, default=None, help="price per GPU and hour, to be shown in the table")
    demo.add_argument("--dag", type=Path, default=None, help="another DAG file to run")
    demo.add_argument("--keep", action="store_true", help="keep the throw-away Airflow's folder with its logs")
    demo.set_defaults(command=_demo)

    commands.add_parser("emulate", help="serve the emulator of Together's API; see `emulate --help`")

    clusters = commands.add_parser("clusters", help="look at clusters, or delete one")
    actions = clusters.add_subparsers(required=True, metavar="ACTION")
    listing = _cluster_action(actions, "list", "list all clusters that the API key may see", _list)
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    show = _cluster_action(actions, "show", "show one cluster as JSON, without its kubeconfig", _show)
    show.add_argument("cluster_id")
    delete = _cluster_action(actions, "delete", "delete one cluster and wait until it is gone", _delete)
    delete.add_argument("cluster_id")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.add_argument("--timeout", type=float, default=1800.0, help="seconds to wait (default: 1800)")
    delete.add_argument("--poll-interval", type=float, default=5.0, help="seconds between two looks (default: 5)")

    sweep = _cluster_action(commands, "sweep", "name forgotten clusters of this Airflow, or delete them", _sweep)
    sweep.add_argument("--delete", action="store_true", help="delete them; otherwise nothing is changed")
    sweep.add_argument(
        "--lifetime-only",
        action="store_true",
        help="go by the end of life in the names alone, without this Airflow's database; needs a deployment",
    )
    sweep.add_argument(
        "--delete-reserved", action="store_true", help="reservations as well, before their paid time ends"
    )
    sweep.add_argument("--deployment", help="deployment in the names (default: this Airflow's)")
    sweep.add_argument("--price", type=_price, help="price per GPU and hour, to say what is saved")
    sweep.add_argument("--timeout", type=float, default=1800.0, help="seconds to wait for the end (default: 1800)")
    sweep.add_argument("--poll-interval", type=float, default=5.0, help="seconds between two looks (default: 5)")
    return parser


def _price(text: str) -> float:
    price = float(text)
    if not 0 <= price < math.inf:
        message = f"{text!r} is wrong: give an amount of money, 0 or above"
        raise argparse.ArgumentTypeError(message)
    return price


def _cluster_action(actions: Any, name: str, text: str, command: Callable[[argparse.Namespace], int]) -> Any:
    action = actions.add_parser(name, help=text)
    action.add_argument("--conn-id", default=DEFAULT_CONNECTION, help=f"connection (default: {DEFAULT_CONNECTION})")
    action.set_defaults(command=command)
    return action


def _demo(parsed: argparse.Namespace) -> int:
    from airflow_provider_together.demo import run_demo  # noqa: PLC0415

    options = {} if parsed.speed is None else {"speed": parsed.speed}
    return run_demo(
        live=parsed.live,
        api=parsed.api,
        price_per_gpu_hour=parsed.price,
        dag_file=parsed.dag,
        keep=parsed.keep,
        **options,
    )


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
    from airflow_provider_together.lifecycle.delete import delete_and_prove  # noqa: PLC0415
    from airflow_provider_together.lifecycle.reservation import reservation_of  # noqa: PLC0415
    from airflow_provider_together.waiting.gone import GoneWait  # noqa: PLC0415
    from airflow_provider_together.waiting.verdict import Verdict  # noqa: PLC0415

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
    from airflow_provider_together.lifecycle.orphans import Fate  # noqa: PLC0415

    hook = _hook(parsed.conn_id)
    with contextlib.redirect_stdout(sys.stderr):
        from airflow_provider_together.runtime.compat import has_database  # noqa: PLC0415
        from airflow_provider_together.runtime.registry import registry  # noqa: PLC0415
        from airflow_provider_together.runtime.sweeping import report, sweep_clusters  # noqa: PLC0415

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


def _check_alphabet() -> None:
    """
    Refuse an alphabet in which Airflow cannot read its own files.

    :raises ConfigurationError: if it is ASCII, which Python takes for a locale only where PYTHONUTF8=0 makes it.
    """
    if codecs.lookup(locale.getpreferredencoding(do_setlocale=False)).name == "ascii":
        message = "Airflow cannot read its own files in ASCII: leave out PYTHONUTF8=0, or set LC_ALL=C.UTF-8"
        raise ConfigurationError(message)


def _hook(conn_id: str) -> TogetherHook:
    _check_alphabet()
    # As Airflow's own `connections` command does: without it the metadata database is not asked for connections.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # What Airflow logs belongs to stderr: the output of a command may be read by a program.
    with contextlib.redirect_stdout(sys.stderr):
        from airflow_provider_together.hooks.together import TogetherHook  # noqa: PLC0415

        hook = TogetherHook(conn_id)
        _ = hook.settings
    return hook
