"""
Packages of Debian's, unpacked into a folder of ours.

Separate, because it knows no Kubernetes. Nothing is installed: no root is needed, and no service starts. What to
trust, and where to fetch it, is read from the machine's own apt; only lists and downloads are kept in a folder of
ours, since a machine seldom asks for sources.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SOURCES = Path("/etc/apt")
#: Downloads may be slow; nothing here may wait for ever.
_APT_SECONDS = 1200.0


class PackageError(Exception):
    """This machine's apt does not give what is needed; the text says what to do about it."""


class Archive:
    """
    The Debian archive of this machine, binary and source packages.

    :param folder: for lists and downloads.
    :param codename: of the release whose packages are wanted.
    :raises PackageError: if this machine is another one, or apt fails.
    """

    def __init__(self, folder: Path, *, codename: str) -> None:
        self._folder = folder
        _check_release(codename)
        for name in ("lists/partial", "cache/archives/partial", "sources", "downloads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _write_sources(folder / "sources", codename)
        self._apt("update")

    def fetch_source(self, package: str) -> Path:
        """Return the original archive of a source package's upstream, without Debian's changes."""
        self._apt("source", "--download-only", package)
        return self._only(f"{package}_*.orig.tar.gz")

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        """Unpack binary packages below a folder, as if it were the root."""
        for package in packages:
            self._apt("download", package)
            run(["dpkg", "--extract", str(self._only(f"{package}_*.deb")), str(target)], seconds=_APT_SECONDS)

    def _apt(self, *arguments: str) -> None:
        folder = self._folder
        settings = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "sources",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        run(["apt-get", "-q", *options, *arguments], cwd=folder / "downloads", seconds=_APT_SECONDS)

    def _only(self, pattern: str) -> Path:
        found = list((self._folder / "downloads").glob(pattern))
        if len(found) != 1:
            message = f"apt-get brought {[path.name for path in found]} where one {pattern} is wanted"
            raise PackageError(message)
        return found[0]


def run(
    command: list[str], *, seconds: float, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """
    Run a command to its end, and return what it has printed.

    :raises PackageError: with the end of its output, if it fails or takes longer.
    """
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    except FileNotFoundError:
        message = f"{command[0]} is not installed"
        raise PackageError(message) from None
    except subprocess.TimeoutExpired:
        message = f"{' '.join(command)[:200]} runs on after {seconds:.0f} s"
        raise PackageError(message) from None
    if result.returncode != 0:
        message = f"{' '.join(command)[:200]} ended with status {result.returncode}:\n{result.stdout[-3000:]}"
        raise PackageError(message)
    return result.stdout


def _check_release(codename: str) -> None:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    found = release.get("VERSION_CODENAME")
    if release.get("ID") != "debian" or found != codename or shutil.which("apt-get") is None:
        name = release.get("PRETTY_NAME", platform.platform())
        message = f"The real API server is built from packages of Debian {codename}; this machine is {name}"
        raise PackageError(message)


def _write_sources(folder: Path, codename: str) -> None:
    """Copy the machine's entries for Debian itself, each of them with source packages."""
    suites = {codename, f"{codename}-updates", f"{codename}-security"}
    stanzas = [
        re.sub(r"(?m)^Types:.*$", "Types: deb deb-src", stanza)
        for path in sorted(_SOURCES.glob("sources.list.d/*.sources"))
        for stanza in re.split(r"\n\s*\n", path.read_text())
        if suites.issuperset(_field(stanza, "Suites")) and "main" in _field(stanza, "Components")
    ]
    lines = [
        line
        for path in [_SOURCES / "sources.list", *sorted(_SOURCES.glob("sources.list.d/*.list"))]
        if path.exists()
        for line in path.read_text().splitlines()
        if re.match(r"deb\s", line) and suites & set(line.split()) and "main" in line.split()
    ]
    if not stanzas and not lines:
        message = f"apt has no entry for Debian {codename} (main), neither in sources.list nor in sources.list.d"
        raise PackageError(message)
    (folder / "debian.sources").write_text("\n\n".join(stanzas))
    (folder / "debian.list").write_text("".join(f"{line}\n{re.sub('^deb', 'deb-src', line)}\n" for line in lines))


def _field(stanza: str, name: str) -> list[str]:
    found = re.search(rf"(?m)^{name}:(.*)$", stanza)
    return [] if found is None else found[1].split()
