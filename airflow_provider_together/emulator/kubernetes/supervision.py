"""
Which processes are ours, how they are ended, and the process that ends them when the emulator cannot.

Every process of a container carries a mark in its environment, which its children inherit, whatever session or
group they move to. Only what carries the mark is ever signalled. This file also runs as a program of its own,
beside the emulator, and outlives a SIGKILL of it; so it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

#: The variable that carries the mark: ``EMULATOR/CLUSTER/POD/CONTAINER``.
MARK_VARIABLE = "TOGETHER_EMULATOR_POD"
#: Seconds between two looks at whether the emulator lives, where its end cannot be read from the pipe.
_LOOK_SECONDS = 0.5
_END_SECONDS = 10.0
#: A process is between its birth and its program, where its mark cannot be read, for less than this.
_BIRTH_SECONDS = 0.1


def marked_processes(mark: str) -> list[int]:
    """
    Return the ids of the living processes that carry a mark.

    :param mark: the mark, or its first parts: ``EMULATOR/CLUSTER`` finds all processes of a cluster.
    """
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and _has_mark(entry, mark)]  # noqa: PTH208 - names


def kill_marked(mark: str) -> int:
    """Send SIGKILL to all that carry a mark, once, and return how many there were."""
    return sum(_kill_if_marked(process_id, mark) for process_id in marked_processes(mark))


def kill_all_marked(mark: str) -> None:
    """Kill all that carry a mark, also what they start meanwhile, and return when none is left."""
    deadline = time.monotonic() + _END_SECONDS
    while kill_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.005)


def _has_mark(process_id: int | str, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{process_id}/environ").read_bytes()
    except OSError:
        # It has ended, or is somebody else's.
        return False
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    return any(entry == wanted or entry.startswith(wanted + b"/") for entry in environment.split(b"\0"))


def _kill_if_marked(process_id: int, mark: str) -> bool:
    try:
        # While the descriptor is held the number can be given to no other process.
        handle = os.pidfd_open(process_id)
    except OSError:
        return False
    try:
        if not _has_mark(process_id, mark):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


class Supervisor:
    """
    The process that ends what an emulator has started, once the emulator is gone.

    :param mark: the emulator's own mark.
    :param folder: the emulator's folder, which is removed.
    """

    def __init__(self, mark: str, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, mark, str(folder), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def close(self) -> None:
        """Let it do its work now, and return when that is done."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(2 * _END_SECONDS)


def supervise(mark: str, folder: str, emulator: int) -> None:
    """Wait until the emulator is gone; then kill what carries its mark, and remove its folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # They are meant for the emulator.
        signal.signal(number, signal.SIG_IGN)
    # A process that the emulator forked may hold the other end of the pipe, so that its end alone tells nothing.
    while not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0] and os.getppid() == emulator:
        pass
    kill_all_marked(mark)
    time.sleep(_BIRTH_SECONDS)
    kill_all_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    supervise(sys.argv[1], sys.argv[2], int(sys.argv[3]))
