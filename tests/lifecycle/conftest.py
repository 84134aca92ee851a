"""See ``tests/support/fixtures.py``."""

from tests.support.fixtures import _no_proxy_of_this_machine, dialect, dialect_name, driving

__all__ = ["_no_proxy_of_this_machine", "dialect", "dialect_name", "driving"]
