"""The list of safeguards fits the package as it is; whether each is proved, ``python -m tests.mutations`` tells."""

from __future__ import annotations

import ast
import subprocess

import pytest

from tests.mutations.mutate import ROOT, without
from tests.mutations.safeguards import SAFEGUARDS, Safeguard


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_a_safeguard_can_be_taken_out(safeguard: Safeguard) -> None:
    text = without(safeguard)
    if safeguard.module.endswith(".sh"):
        subprocess.run(["/bin/sh", "-n"], input=text, text=True, timeout=60, check=True)
    else:
        ast.parse(text)


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_a_safeguard_has_tests(safeguard: Safeguard) -> None:
    assert safeguard.tests
    for name in safeguard.tests:
        file, _, test = name.partition("::")
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
        assert (ROOT / file).is_file()
