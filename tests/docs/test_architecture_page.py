"""The page for those who change the package: each file and folder that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "airflow_provider_together"
PAGE = (PACKAGE / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/.]+(?:\.py|/))`", PAGE))))
def test_what_the_page_names_is_there(name: str) -> None:
    assert any((root / name).exists() for root in (PACKAGE, PACKAGE.parent))


def test_the_drawing_shows_each_folder_of_the_package() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert {name for name in folders if f"{name}/" not in PAGE} == set()
