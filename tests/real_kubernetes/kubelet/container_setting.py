"""
What a container is given to run in: its command, its environment, its folder, in words of this machine.

It makes folders, and starts nothing. It imports only small things.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real_kubernetes.kubelet.environment import LookUp, make_environment
from tests.real_kubernetes.kubelet.objects import Object, find, meta, quantity
from tests.real_kubernetes.kubelet.rewriting import Rewrite, expand, path_rewriter

DEFAULT_TERMINATION_PATH = "/dev/termination-log"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoCommandError(Exception):
    """A container relies on the command of its image."""


@dataclass(frozen=True, kw_only=True)
class PodPlace:
    """
    Where a pod lives on this machine.

    :param folder: its own folder.
    :param mark: its mark; that of a container is below it.
    :param volumes: name of a volume to its folder.
    :param resolve: replaces names of hosts by addresses.
    """

    folder: Path
    mark: str
    volumes: Mapping[str, Path]
    look_up: LookUp
    resolve: Rewrite


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    Everything that a container is started with.

    :param rewrite: makes text that the container is told mean the same outside.
    :param termination_file: where its termination message will be.
    :param memory_limit: in bytes; None is no limit.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path
    mark: str
    rewrite: Rewrite
    termination_file: Path
    memory_limit: int | None


def make_setting(container: Object, pod: Object, place: PodPlace) -> Setting:
    """
    Prepare what a container needs.

    :raises NoCommandError: if no command is given.
    :raises MissingSourceError: if a variable comes from what is not there.
    """
    if not container.get("command"):
        message = f"container {container['name']!r} has no command, and the emulator pulls no image: give its command"
        raise NoCommandError(message)
    name, home = container["name"], _make_folder(place.folder / "home")
    termination_file = _make_folder(place.folder / "termination") / name
    termination_file.write_bytes(b"")
    paths = _mounts(container, place.volumes)
    paths[container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH] = termination_file
    to_real_path = path_rewriter(paths)

    def rewrite(text: str) -> str:
        return place.resolve(to_real_path(text))

    base = {
        # So that "python" is the Python that the emulator runs on, with its packages.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", _PATH))),
        "HOME": str(home),
        "HOSTNAME": find(pod, "spec.hostname") or meta(pod)["name"],
    }
    environment = make_environment(container, pod, base=base, look_up=place.look_up, rewrite=rewrite)
    return Setting(
        command=rewrite_command([*container["command"], *(container.get("args") or ())], environment, rewrite),
        environment=environment,
        folder=_working_folder(container, place.folder, home, to_real_path),
        mark=f"{place.mark}/{name}",
        rewrite=rewrite,
        termination_file=termination_file,
        memory_limit=_memory_limit(container),
    )


def rewrite_command(command: Sequence[str], variables: Mapping[str, str], rewrite: Rewrite) -> list[str]:
    """Return a command with the variables in it replaced, and in words of this machine."""
    return [rewrite(expand(word, variables)) for word in command]


def _mounts(container: Object, volumes: Mapping[str, Path]) -> dict[str, Path]:
    paths = {}
    for mount in container.get("volumeMounts") or ():
        real = volumes[mount["name"]] / str(mount.get("subPath") or "").strip("/")
        if not real.exists():
            _make_folder(real)
        paths[mount["mountPath"]] = real
    return paths


def _working_folder(container: Object, pod_folder: Path, home: Path, to_real_path: Rewrite) -> Path:
    wanted = container.get("workingDir")
    if not wanted:
        return home
    real = to_real_path(wanted)
    # A folder that no volume holds would be in the image.
    return _make_folder(Path(real) if real != wanted else pod_folder / "root" / wanted.strip("/"))


def _memory_limit(container: Object) -> int | None:
    limit = find(container, "resources.limits.memory")
    return None if limit is None else int(quantity(limit))


def _make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
