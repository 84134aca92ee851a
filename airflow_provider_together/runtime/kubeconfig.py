"""
Keeping a kubeconfig out of the logs.

A kubeconfig makes its holder an admin of the cluster. Airflow's masker replaces exact strings, so each
credential in it is masked for itself as well as the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from airflow.sdk.log import mask_secret

_CREDENTIALS = ("token", "password", "client-key-data", "client-certificate-data")


def mask_kubeconfig(text: str) -> None:
    """Mask a kubeconfig and every credential in it, in all that this process logs from now on."""
    mask_secret(text)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    for credential in _credentials(document):
        mask_secret(credential)


def _credentials(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _CREDENTIALS and isinstance(value, str):
                yield value
            else:
                yield from _credentials(value)
    elif isinstance(node, list):
        for item in node:
            yield from _credentials(item)
