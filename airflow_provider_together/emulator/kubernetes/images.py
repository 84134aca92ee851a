"""
Images, of which the emulator has none: which names are treated as ones that a registry does not have.

Pure functions; it imports nothing of ours.
"""

from __future__ import annotations


def pull_error(image: str) -> str | None:
    """
    Return why an image cannot be pulled; None for one that can.

    It cannot if its registry is under ``.invalid``, where no host ever is, or if its tag is ``missing``.
    """
    registry, separator, _ = image.partition("/")
    host = registry.partition(":")[0]
    if separator and host.endswith(".invalid"):
        return f'failed to pull and unpack image "{image}": dial tcp: lookup {host}: no such host'
    if image.rpartition("/")[2].partition(":")[2] == "missing":
        return f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    return None
