"""
Handing keys and certificates to libraries that take nothing but the names of files, without leaving files behind.

Both Kubernetes clients write what a kubeconfig holds to the folder of temporary files, and remove it when the process
ends in order: one that is killed leaves an admin's key behind, and a triggerer hardly ever ends.
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What a kubeconfig may hold as base64, instead of the name of a file.
_FIELDS = ("certificate-authority", "client-certificate", "client-key")


def with_files(kubeconfig: Mapping[str, Any], *, owner: object) -> dict[str, Any]:
    """
    Return a kubeconfig that names files instead of holding keys and certificates.

    :param owner: the files exist as long as this object does.
    """
    named = dict(kubeconfig)
    for section, name in (("clusters", "cluster"), ("users", "user")):
        entries = kubeconfig.get(section)
        if isinstance(entries, list):
            named[section] = [_named(entry, name, owner) for entry in entries]
    return named


def _named(entry: Any, name: str, owner: object) -> Any:
    fields = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(fields, Mapping):
        return entry
    changed = dict(fields)
    for field in _FIELDS:
        content = changed.get(f"{field}-data")
        if content:
            try:
                decoded = base64.b64decode(content)
            except (binascii.Error, TypeError, ValueError):
                continue  # the client says what is wrong with it
            del changed[f"{field}-data"]
            changed[field] = secret_file(decoded, owner=owner)
    return {**entry, name: changed}


def secret_file(content: bytes, *, owner: object) -> str:
    """
    Return the name of a file that is in memory only, and readable by this user only.

    Where the system has no such files, it is one that is removed with its owner, or when the process ends.

    :param owner: the file exists as long as this object does.
    """
    if not hasattr(os, "memfd_create"):
        return _temporary_file(content, owner)
    number = os.memfd_create("kubeconfig", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)
    weakref.finalize(owner, os.close, number)
    return f"/proc/self/fd/{number}"


def _temporary_file(content: bytes, owner: object) -> str:
    number, name = tempfile.mkstemp()
    with os.fdopen(number, "wb") as file:
        file.write(content)
    weakref.finalize(owner, Path(name).unlink, missing_ok=True)
    return name
