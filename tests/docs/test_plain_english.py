"""Words that a reader stumbles over do not come back: on the pages, in the package, in the names of tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import PACKAGE, PAGES, ROOT, prose

#: What to avoid everywhere, as a pattern, and what to write instead.
EVERYWHERE = {
    r"\banew\b": "again",
    r"\bshall\b": "must, will, or the plain verb",
    r"\b(?:can|cannot) (?:still )?be had\b": "is (not) available",
    r"\bgone or going\b": "deleted or being deleted",
    r"\bbelongs? into\b": "belongs in",
    r"\bborne\b": "tolerated",
    r"\buntil when what\b": "a sentence with a subject: when the job must have ended",
    r"\bwas asked to go\b": "its deletion was requested",
}
#: What to avoid on the pages as well; the package is not clean of these.
ON_PAGES = {
    r"\b(?:told|tells?|telling)\b": "says, reports, names",
    r"\bso that\b": "two sentences, or: so",
    r"\bg(?:ive|ives|ave|iven|iving)\b(?: \w+){0,2} back\b": "delete",
    r"\bwho waits?\b": "waiter, waiters",
    r"\bwhat(?:ever)? (?:came|comes|became|becomes|has become) of\b": "the outcome of",
    r"\b(?:he|him|his|himself)\b": "it (software), you or they (people)",
    r"(?<!there )\b(?:is|are) no (?!longer|such)\b": "is not a",
    r"\bmeanwhile\b": "in the meantime, or nothing",
    r"\bstands? for\b": "means, replaces",
    r"\bwhoever\b": "if you, everybody who",
    r"\bthe time for .{1,40} is over\b": "timed out waiting for",
    r"\bkeeps? refusing to tell\b": "keeps refusing requests about",
    r"\bthose who\b": "a noun: users, waiters",
}
#: Of those everywhere, what the names of some tests still hold.
IN_NAMES_STILL = {r"\banew\b", r"\bshall\b", r"\b(?:can|cannot) (?:still )?be had\b"}


def found(text: str, phrases: dict[str, str]) -> list[str]:
    flat = re.sub(r"\s+", " ", text)
    return [
        f"...{flat[max(0, hit.start() - 30) : hit.end() + 30]}...: instead of {hit[0]!r} write: {better}"
        for phrase, better in phrases.items()
        for hit in re.finditer(phrase, flat, re.IGNORECASE)
    ]


def without_code(page: Path) -> str:
    return re.sub(r"`[^`]*`", "`code`", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_are_in_plain_english(page: Path) -> None:
    assert found(without_code(page), EVERYWHERE | ON_PAGES) == []


def test_the_package_is_in_plain_english() -> None:
    sources = {path: path.read_text().replace("#", " ") for path in sorted(PACKAGE.rglob("*.py"))}
    wrong = [f"{path.relative_to(ROOT)}: {one}" for path, text in sources.items() for one in found(text, EVERYWHERE)]
    assert wrong == []


def test_names_of_tests_are_in_plain_english() -> None:
    names = [
        node.name.replace("_", " ")
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]
    assert len(names) > 1000
    phrases = {phrase: better for phrase, better in EVERYWHERE.items() if phrase not in IN_NAMES_STILL}
    assert [problem for name in names for problem in found(name, phrases)] == []


@pytest.mark.parametrize("phrase", [*EVERYWHERE, *ON_PAGES])
def test_a_phrase_is_noticed(phrase: str) -> None:
    examples = (
        "made anew, it shall be; it can be had, cannot be had; is gone or going; belongs into; taints are borne; "
        "until when what; it was asked to go; keeps refusing to tell; told; so that; gives the cluster back; who wait; "
        "what came of it; his; is no text; meanwhile; stands for; whoever; the time for cluster c-1 is over; those who"
    )
    assert found(examples, {phrase: ""})
