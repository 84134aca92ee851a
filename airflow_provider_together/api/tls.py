"""
Whose certificates a client trusts: a field of the connection, variables of the environment, or the system.

Separate from the drivers, which only carry the result.
"""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path

import httpx

from airflow_provider_together.api.settings import UNVERIFIED, Settings
from airflow_provider_together.exceptions import ConfigurationError

#: What other programs read as well. What they name is trusted beside the system's own authorities.
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def tls_context(settings: Settings) -> ssl.SSLContext:
    """
    Return the context for a connection.

    :raises ConfigurationError: naming the field or the variable whose certificates cannot be read.
    """
    if settings.verify == UNVERIFIED and not settings.is_loopback:
        message = (
            "verify=false is refused: without a check of the certificate anybody on the way could read the API key; "
            "give the path of a file or folder of the CA certificates to trust"
        )
        raise ConfigurationError(message)
    if settings.verify or not settings.base_url.startswith("https:"):
        return _context(settings.verify)
    given = ((name, os.environ.get(name, "").strip()) for name in _VARIABLES)
    return _context("", tuple((name, value) for name, value in given if value))


@functools.lru_cache(maxsize=8)
def _context(verify: str, variables: tuple[tuple[str, str], ...] = ()) -> ssl.SSLContext:
    """Return a context, made once, since it takes 20 ms."""
    if verify == UNVERIFIED:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if verify:
        context = ssl.create_default_context(capath=verify)  # a path, so that the system's are left out
        _trust(context, "verify", verify)
        return context
    paths = ssl.get_default_verify_paths()
    if any((paths.cafile, paths.capath)):
        context = ssl.create_default_context()
    else:
        # Python builds that come without a link to the system's store bring httpx's.
        context = httpx.create_ssl_context(trust_env=False)
    for name, value in variables:
        _trust(context, f"environment variable {name}", value)
    return context


def _trust(context: ssl.SSLContext, name: str, value: str) -> None:
    """
    Trust the authorities of a file, or of all files in a folder.

    A folder needs no names by hash, as OpenSSL itself would want them. As for OpenSSL, it may be a list of folders.
    """
    try:
        path = Path(value).expanduser()
        parts = [] if path.is_file() else [Path(part).expanduser() for part in value.split(os.pathsep)]
        folders = [part for part in parts if part.is_dir()]
        if not folders:
            context.load_verify_locations(cafile=path)
        elif not sum(_load(context, file) for folder in folders for file in sorted(folder.iterdir())):
            message = f"{name}={value!r} is wrong: no file in this folder holds a CA certificate in PEM format"
            raise ConfigurationError(message)
    except (OSError, RuntimeError) as error:  # ssl's own is an OSError; ~ of somebody without a home is the other
        message = f"{name}={value!r} is wrong: it is not a readable file of CA certificates in PEM format ({error})"
        raise ConfigurationError(message) from None


def _load(context: ssl.SSLContext, path: Path) -> bool:
    """Trust the authorities of a file in a folder, where other files may lie, too."""
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        return False
    return True
