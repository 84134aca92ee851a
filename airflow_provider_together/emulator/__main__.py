"""
The command ``python -m airflow_provider_together.emulator``: serve until told to stop.

It only turns words of a command line into options. The key can also be given by the environment variable
``TOGETHER_EMULATOR_API_KEY``, since a command line can be read by every user of a machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_together.emulator.catalog import DEFAULT_REGIONS
from airflow_provider_together.emulator.options import DEFAULT_API_KEY, Options
from airflow_provider_together.emulator.server import Emulator

_KEY_VARIABLE = "TOGETHER_EMULATOR_API_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Serve an emulator until SIGTERM or SIGINT.

    :param arguments: without the program's name; None takes the process's own.
    :returns: exit status: 0 stopped by a signal, 2 a wrong option or an address that is not available.
    """
    parser = _parser()
    parsed = vars(parser.parse_args(arguments))
    try:
        emulator = Emulator(**_settings(parsed)).start()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        _announce(emulator)
        stopped.wait()
    finally:
        emulator.stop()
    return 0


def _announce(emulator: Emulator) -> None:
    is_known = emulator.api_key == DEFAULT_API_KEY
    lines = [
        f"Emulator of Together's GPU-cluster API on {emulator.url}",
        f"API key: {DEFAULT_API_KEY if is_known else '(the one that you gave)'}",
        f"Simulated time: {emulator.options.speed:g} times as fast",
        f"Clusters alive: {emulator.url}/_emulator/clusters?alive=true",
    ]
    if is_known:
        lines.append(f"export AIRFLOW_CONN_TOGETHER_DEFAULT='{emulator.connection()}'")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _settings(parsed: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in parsed.items() if value is not None}
    settings["capacity"] = dict(_capacity(word) for word in settings.get("capacity", ()))
    config_file = settings.pop("kube_config", None)
    if config_file is not None:
        settings["kube_config"] = config_file.read_text(encoding="utf-8")
    settings.setdefault("api_key", os.environ.get(_KEY_VARIABLE) or DEFAULT_API_KEY)
    return settings


def _capacity(word: str) -> tuple[str, int]:
    place, _, gpus = word.partition("=")
    if not gpus.isascii() or not gpus.isdecimal():
        message = f"--capacity {word!r} is wrong: write REGION:GPU_TYPE=GPUS, such as us-central-8:H100_SXM=16"
        raise ValueError(message)
    return place, int(gpus)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_together.emulator",
        description="Emulate Together's GPU-cluster API, both dialects on one port.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add("--port", type=int, default=0, help="TCP port (default: a free one)")
    add(
        "--allow-remote",
        action="store_true",
        help="let --host be an address that other machines reach; /_emulator/ needs no key",
    )
    add("--api-key", help=f"the key that may do everything (default: ${_KEY_VARIABLE} or {DEFAULT_API_KEY})")
    add("--viewer-key", help="a second key, that may only read")
    add("--speed", type=float, help=f"simulated seconds per second (default: {Options.speed:g}); 0 stands still")
    add("--epoch", type=float, help="where simulated time starts, in epoch seconds (default: now)")
    add("--ready-after", type=float, help="simulated seconds from creation to READY (default: about 600)")
    add("--resize-takes", type=float, help="simulated seconds of a resize (default: 300)")
    add("--delete-takes", type=float, help=f"simulated seconds of a deletion (default: {Options.delete_takes:g})")
    add("--volume-takes", type=float, help=f"simulated seconds to make a volume (default: {Options.volume_takes:g})")
    known = " ".join(DEFAULT_REGIONS)
    add("--region", action="append", dest="regions", help=f"a region; may be repeated (default: {known})")
    add("--capacity", action="append", metavar="REGION:GPU_TYPE=GPUS", help="limit a stock; may be repeated")
    add("--seed", type=int, help="make all ids the same in every run")
    add("--tcloud-status-words", choices=("contract", "current"), help="READY or Ready in the older API's answers")
    add("--tcloud-kube-config", choices=("base64", "yaml"), help="encoding of a kubeconfig in the older API")
    add("--error-format", choices=("openai", "rpc"), help="shape of error bodies")
    add("--kube-config", type=Path, metavar="FILE", help="the kubeconfig that every cluster has")
    add(
        "--kubernetes",
        action="store_true",
        help="give clusters a Kubernetes API that runs the commands of containers as processes on this machine",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
