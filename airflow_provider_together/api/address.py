"""
Where a connection leads, and which of Together's APIs is spoken there.

People copy a host from a browser, from documentation, from another client: with a path that every request would
repeat, or of Together's website. Separate from :mod:`.settings`, which knows no dialects.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from airflow_provider_together.api.dialects import DIALECTS, dialect_class, dialect_for_host
from airflow_provider_together.api.known_dialects import DEFAULT_DIALECT
from airflow_provider_together.api.settings import normal_base_url
from airflow_provider_together.exceptions import ConfigurationError

#: Together's pages for people, which answer no request of the API.
_WEBSITES = {
    f"{name}together.{domain}" for name in ("", "www.", "cloud.", "docs.", "console.") for domain in ("ai", "xyz")
}


def address_of(host: str, *, port: int | None, api: str) -> tuple[str, str]:
    """
    Return the base URL and the name of the dialect.

    A path of Together's own APIs at the end is left out, since each request brings it; another path stays, since it
    may lead through a reverse proxy. The dialect is what ``api`` says, else what the host or that path is known for.

    :param host: as a person has typed it; empty for Together's own.
    :param port: a port given beside it.
    :param api: the name of the wanted dialect; empty leaves it to the host.
    :raises ConfigurationError: if the host is wrong, a website, or contradicts ``api``.
    """
    url = normal_base_url(host, port=port, default=dialect_class(api or DEFAULT_DIALECT).default_url)
    parts = urlsplit(url)
    name = parts.hostname or ""
    if name in _WEBSITES:
        message = f"host={name!r} is a website of Together's, not its API: leave it empty, or give {_known_urls()}"
        raise ConfigurationError(message)
    known_host = dialect_for_host(name)
    path, known_path = api_path_of(parts.path)
    if path and known_host:
        message = f"host={host.strip()!r} is wrong: Together's API is not at the path {path!r}; give {_known_urls()}"
        raise ConfigurationError(message)
    dialect = api or known_host or known_path or DEFAULT_DIALECT
    if known_path not in {None, dialect}:
        remedy = f", or set api={known_path!r}" if api else ""
        message = (
            f"host={host.strip()!r} is wrong: its path {parts.path!r} belongs to api={known_path!r}, while "
            f"{'the extra' if api else 'this host'} means api={dialect!r}; leave the path out of the host{remedy}"
        )
        raise ConfigurationError(message)
    return f"{parts.scheme}://{parts.netloc}{path}", dialect


def api_path_of(path: str) -> tuple[str, str | None]:
    """Return a path without what belongs to one of Together's APIs at its end, and the name of that API, if any."""
    for dialect in DIALECTS.values():
        if found := re.fullmatch(f"(?P<prefix>.*?){dialect.resource_path}", path):
            return found["prefix"].rstrip("/"), dialect.name
    return path, None


def _known_urls() -> str:
    return " or ".join(f"{dialect.default_url} (api={dialect.name!r})" for dialect in DIALECTS.values())
