"""
kube-apiserver and kube-controller-manager, built once from Debian's source package, and Debian's etcd.

Separate from running them, because it takes minutes, and what comes of it is kept. No ready-made server is to be
had from Debian or from a package index, and this one is the newest whose sources Debian ships whole. It imports
nothing of the package.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real_kubernetes.debian import Archive, PackageError, run

_CODENAME = "bookworm"
#: Part of the folder's name: to be counted up when what is built here changes.
_RECIPE = 1
_SCRATCH = "build-"
_SCRATCH_GIGABYTES = 4
_STEP_SECONDS = 2400.0

_GO = "usr/lib/go-1.19"
_ETCD = "usr/bin/etcd"
_PACKAGES = ("golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev", "etcd-server")
_PROGRAMS = ("kube-apiserver", "kube-controller-manager")
_KUBERNETES = "k8s.io/kubernetes"
#: The first is shown by ``--version``, the second by the API.
_VERSION_PACKAGES = (
    f"{_KUBERNETES}/vendor/k8s.io/component-base/version",
    f"{_KUBERNETES}/vendor/k8s.io/client-go/pkg/version",
)

#: Folders that speak of the generator's mark without wanting the generator.
_NOT_GENERATED = re.compile(r"code-generator|sample-.*|gengo|kube-openapi|klog")
_OPENAPI_MARK = b"+k8s:openapi-gen="


@dataclass(frozen=True)
class Binaries:
    """Where the programs are."""

    folder: Path

    @property
    def apiserver(self) -> Path:
        return self.folder / "kube-apiserver"

    @property
    def controller_manager(self) -> Path:
        return self.folder / "kube-controller-manager"

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"


def cache_folder() -> Path:
    """Return the folder in which what has been built is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "airflow-provider-together" / "real-kubernetes"


def provide_binaries(tell: Callable[[str], None]) -> Binaries:
    """
    Return the programs, which are built first where they are missing.

    :param tell: gets a line for each step that takes long.
    :raises PackageError: if they cannot be built here.
    """
    cache = cache_folder()
    target = cache / f"{_CODENAME}-{platform.machine()}-{_RECIPE}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not target.exists():
            tell(f"Building a Kubernetes API server into {target}: this takes minutes, once")
            for left in cache.glob(f"{_SCRATCH}*"):
                # Of a build that was killed.
                shutil.rmtree(left)
            started = time.monotonic()
            _build(cache, target, tell)
            tell(f"  built in {time.monotonic() - started:.0f} seconds")
    tell(f"kube-apiserver, kube-controller-manager and etcd are in {target}")
    return Binaries(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let only one of those who may build at the same time go on."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(cache: Path, target: Path, tell: Callable[[str], None]) -> None:
    free = shutil.disk_usage(cache).free // 2**30
    if free < _SCRATCH_GIGABYTES:
        message = f"The build wants {_SCRATCH_GIGABYTES} GB in {cache} for a while, where {free} GB are free"
        raise PackageError(message)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=cache, ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        tell("  fetching packages from this machine's Debian archive")
        archive = Archive(scratch / "apt", codename=_CODENAME)
        archive.unpack(_PACKAGES, scratch / "root")
        tarball = archive.fetch_source("kubernetes")
        tree = scratch / "gopath/src" / _KUBERNETES
        tree.mkdir(parents=True)
        run(["tar", "--extract", "--strip-components=1", "-C", str(tree), "-f", str(tarball)], seconds=_STEP_SECONDS)
        _replace_reflect2(tree, scratch / "root")
        tell("  compiling")
        programs = _compile(scratch, tree, version=_version(tarball))
        shutil.copy(scratch / "root" / _ETCD, programs)
        # Renamed last, so that what is there is whole.
        programs.rename(target)


def _version(tarball: Path) -> str:
    """Return Kubernetes' own version: Debian has gone back from 1.20.5 and writes so."""
    found = re.search(r"_(?:.*really)?(\d+\.\d+\.\d+)\.orig", tarball.name)
    if found is None:
        message = f"{tarball.name} does not tell a version of Kubernetes"
        raise PackageError(message)
    return found[1]


def _replace_reflect2(tree: Path, root: Path) -> None:
    """Put Debian's reflect2 1.0.2 in: 1.0.1 walks maps by a function of Go's that Go 1.18 has changed, and crashes."""
    vendored = tree / "vendor/github.com/modern-go/reflect2"
    packaged = root / "usr/share/gocode/src/github.com/modern-go/reflect2"
    for old in [*vendored.glob("*.go"), *vendored.glob("*.s")]:
        old.unlink()
    for new in [*packaged.glob("*.go"), *packaged.glob("*.s")]:
        if not new.name.endswith("_test.go"):
            shutil.copy(new, vendored)


def _compile(scratch: Path, tree: Path, *, version: str) -> Path:
    """Return the folder with the two programs."""
    go, out = scratch / "root" / _GO, scratch / "out"
    out.mkdir()
    environment = {
        "PATH": f"{go / 'bin'}:{os.environ['PATH']}",
        "HOME": str(scratch),
        "GOROOT": str(go),
        "GOPATH": str(scratch / "gopath"),
        "GOCACHE": str(scratch / "gocache"),
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }

    def build(*arguments: str) -> None:
        # Whatever else this machine does comes first.
        command = ["nice", "-n", "19", "go", "build", *arguments]
        run(command, cwd=tree, environment=environment, seconds=_STEP_SECONDS)

    generator = scratch / "openapi-gen"
    build("-o", str(generator), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen")
    _generate_openapi(generator, scratch, tree, environment)
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X {package}.{name}={value}" for package in _VERSION_PACKAGES for name, value in values.items())
    build("-ldflags", f"-s -w {flags}", "-o", f"{out}/", *(f"{_KUBERNETES}/cmd/{name}" for name in _PROGRAMS))
    return out


def _generate_openapi(generator: Path, scratch: Path, tree: Path, environment: dict[str, str]) -> None:
    """Write the one package that upstream's sources leave to their makefile."""
    package = f"{_KUBERNETES}/pkg/generated/openapi"
    directories = ",".join(f"{_KUBERNETES}/{path}" for path in _marked_directories(tree))
    options = {
        "--input-dirs": directories,
        "--output-package": package,
        "--output-base": scratch / "gopath/src",
        "--output-file-base": "zz_generated.openapi",
        "--go-header-file": "hack/boilerplate/boilerplate.generatego.txt",
        "--report-filename": scratch / "violations",
    }
    command = ["nice", "-n", "19", str(generator), *(f"{name}={value}" for name, value in options.items())]
    run(command, cwd=tree, environment=environment, seconds=_STEP_SECONDS)


def _marked_directories(tree: Path) -> list[str]:
    """Return the folders whose types go into the OpenAPI description; vendored ones are links, which are followed."""
    vendored = [path for path in (tree / "vendor/k8s.io").iterdir() if not _NOT_GENERATED.fullmatch(path.name)]
    return sorted(
        str(Path(folder).relative_to(tree))
        for start in [tree / "pkg", *vendored]
        for folder, _, names in os.walk(start, followlinks=True)
        if any(name.endswith(".go") and _OPENAPI_MARK in Path(folder, name).read_bytes() for name in names)
    )
