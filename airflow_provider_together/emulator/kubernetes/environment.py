"""
What a container is given to run with: its command, its variables, its mounts, in words of this machine.

Containers have no file systems and no network of their own here. So the paths of their mounts are replaced by real
folders, and the names of their fellows by addresses, in everything that they get: command, variables, commands
that are executed in them. A program that has a path compiled in escapes this.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.store import Store

Rewrite = Callable[[str], str]

_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingSourceError(Exception):
    """A variable or a file is to come from a Secret or a ConfigMap, or a key of it, that is not there."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    Everything that a container is started with.

    :param mark: tells its processes from all others.
    :param rewrite: turns text for the container into what means the same outside.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path
    mark: str
    rewrite: Rewrite
    termination_file: Path


@dataclass(frozen=True, kw_only=True)
class PodPlace:
    """
    Where a pod lives on this machine.

    :param folder: its own.
    :param mark: its mark; that of a container is below it.
    :param volumes: name of a volume to its folder.
    :param addresses: names of hosts to their addresses.
    """

    folder: Path
    mark: str
    volumes: Mapping[str, Path]
    addresses: Mapping[str, str]


def make_setting(store: Store, pod: Object, container: Object, place: PodPlace) -> Setting:
    """
    Prepare what a container needs.

    :raises MissingSourceError: if a variable comes from what is not there.
    """
    home, termination_file = place.folder / "home", place.folder / "termination" / container["name"]
    paths = {container["terminationMessagePath"]: termination_file}
    for mount in container.get("volumeMounts") or ():
        paths[mount["mountPath"]] = place.volumes[mount["name"]] / str(mount.get("subPath") or "").strip("/")
    for path in (home, termination_file.parent, *paths.values()):
        if path != termination_file:
            path.mkdir(parents=True, exist_ok=True)
    termination_file.write_bytes(b"")
    rewrite = rewriter({path.rstrip("/"): str(real) for path, real in paths.items()} | dict(place.addresses))
    variables = {
        # So that "python" is the Python that the emulator runs on, with its packages.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", _PATH))),
        "HOME": str(home),
        "HOSTNAME": find(pod, "spec.hostname") or meta(pod)["name"],
    }
    for name, value in _given_variables(store, pod, container):
        variables[name] = rewrite(expand(value, variables))
    words = (*container["command"], *(container.get("args") or ()))
    return Setting(
        command=[rewrite(expand(word, variables)) for word in words],
        environment=variables,
        folder=home,
        mark=f"{place.mark}/{container['name']}",
        rewrite=rewrite,
        termination_file=termination_file,
    )


def data_of(store: Store, plural: str, namespace: str, reference: Object) -> dict[str, bytes]:
    """
    Return what a Secret or a ConfigMap holds.

    :param reference: has its name, and perhaps that it is optional.
    :raises MissingSourceError: if there is none.
    """
    thing = store.find(plural, namespace, reference["name"])
    if thing is None:
        if reference.get("optional"):
            return {}
        message = f'{plural[:-1]} "{reference["name"]}" not found'
        raise MissingSourceError(message)
    texts, encoded = ({}, "data") if plural == "secrets" else (thing.get("data") or {}, "binaryData")
    binary = {name: base64.b64decode(value) for name, value in (thing.get(encoded) or {}).items()}
    return {name: value.encode() for name, value in texts.items()} | binary


def rewriter(replacements: Mapping[str, str]) -> Rewrite:
    """Return what replaces paths and names of hosts wherever they stand alone; of two that fit the longer is taken."""
    if not replacements:
        return str
    longest_first = sorted(replacements, key=len, reverse=True)
    # Neither in the middle of a longer path or name, nor at its beginning.
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, longest_first))})(?![\w-])(?!\.\w)")
    return lambda text: pattern.sub(lambda match: replacements[match[1]], text)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: what is unknown stays, ``$$`` is a dollar."""
    return _VARIABLE.sub(lambda match: "$" if match[0] == "$$" else variables.get(match[1], match[0]), text)


def _given_variables(store: Store, pod: Object, container: Object) -> list[tuple[str, str]]:
    namespace, given = meta(pod)["namespace"], []
    for source in container.get("envFrom") or ():
        plural, reference = _reference(source, secret="secretRef", config_map="configMapRef")  # noqa: S106 - a field
        data = data_of(store, plural, namespace, reference)
        given += [(f"{source.get('prefix') or ''}{name}", _verbatim(value)) for name, value in data.items()]
    for entry in container.get("env") or ():
        source = entry.get("valueFrom")
        if not source:
            given.append((entry["name"], str(entry.get("value") or "")))
        elif "fieldRef" in source:
            given.append((entry["name"], _field(pod, source["fieldRef"]["fieldPath"])))
        else:
            plural, reference = _reference(source, secret="secretKeyRef", config_map="configMapKeyRef")  # noqa: S106
            data = data_of(store, plural, namespace, reference)
            if reference["key"] in data:
                given.append((entry["name"], _verbatim(data[reference["key"]])))
            elif not reference.get("optional"):
                message = f"couldn't find key {reference['key']} in {plural[:-1]} {reference['name']}"
                raise MissingSourceError(message)
    return given


def _reference(source: Object, *, secret: str, config_map: str) -> tuple[str, Object]:
    return ("secrets", source[secret]) if source.get(secret) else ("configmaps", source[config_map])


def _verbatim(value: bytes) -> str:
    """Return a value in which no variable is expanded."""
    return value.decode(errors="surrogateescape").replace("$", "$$")


def _field(pod: Object, path: str) -> str:
    match = _KEYED_FIELD.fullmatch(path)
    value = (meta(pod).get(match[1]) or {}).get(match[2]) if match else find(pod, path)
    return str(value or "").replace("$", "$$")
