"""
The command ``together-airflow``.

Each command imports what it needs when it runs, so that the emulator starts without Airflow and a
look at the clusters without the emulator.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import locale
import math
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from airflow_provider_together.exceptions import ConfigurationError, TogetherError

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
    listing = _cluster_action(actions, "list", "list all clusters that the API key may see")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    show = _cluster_action(actions, "show", "show one cluster as JSON, without its kubeconfig")
    show.add_argument("cluster_id")
    delete = _cluster_action(actions, "delete", "delete one cluster and wait until it is gone")
    delete.add_argument("cluster_id")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.add_argument("--timeout", type=float, default=1800.0, help="seconds to wait (default: 1800)")
    delete.add_argument("--poll-interval", type=float, default=5.0, help="seconds between two looks (default: 5)")

    sweep = _cluster_action(commands, "sweep", "name forgotten clusters of this Airflow, or delete them")
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


def _cluster_action(actions: Any, name: str, text: str) -> Any:
    action = actions.add_parser(name, help=text)
    action.add_argument("--conn-id", default=DEFAULT_CONNECTION, help=f"connection (default: {DEFAULT_CONNECTION})")
    action.set_defaults(command=_ask_airflow, action=name)
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


def _ask_airflow(parsed: argparse.Namespace) -> int:
    """Run a command that needs a connection of Airflow."""
    _check_alphabet()
    # As Airflow's own `connections` command does: without it the metadata database is not asked for connections.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # What Airflow logs belongs to stderr: the output of a command may be read by a program.
    with contextlib.redirect_stdout(sys.stderr):
        from airflow_provider_together.cli_clusters import COMMANDS  # noqa: PLC0415 - brings Airflow

    return COMMANDS[parsed.action](parsed)


def _check_alphabet() -> None:
    """
    Refuse an alphabet in which Airflow cannot read its own files.

    :raises ConfigurationError: if it is ASCII, which Python takes for a locale only where PYTHONUTF8=0 makes it.
    """
    if codecs.lookup(locale.getpreferredencoding(do_setlocale=False)).name == "ascii":
        message = "Airflow cannot read its own files in ASCII: leave out PYTHONUTF8=0, or set LC_ALL=C.UTF-8"
        raise ConfigurationError(message)
