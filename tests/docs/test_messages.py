"""Messages on the pages are those of the code: each is found in its sources, and whole ones are produced here."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.exceptions import AuthenticationError, SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator
from tests.docs.pages import PACKAGE, PAGES, README, Block, blocks, codes, rows, section

TROUBLESHOOTING = PACKAGE / "docs" / "troubleshooting.md"
HEADINGS = ("Connection and key", "Parameters", "Creating", "Waiting", "Deleting and sweeping", "Kubernetes", "Slurm")
#: What a page leaves out of a message.
GAP = "…"
#: Blocks of text that are no messages, by page; each says in its fence why nothing can be compared with it.
UNTESTED = {"architecture.md": 1, "money.md": 1}


def templates() -> Iterator[str]:
    """Yield every text in the sources, with a gap for each value that is put into it."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[srd]|\{\w+\}", GAP, node.value)
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)


TEMPLATES = [text for text in templates() if " " in text]


def is_of(message: str, template: str) -> bool:
    """Whether a message with gaps can have come from a template."""
    pieces = [piece for piece in message.split(GAP) if piece.strip()]
    return bool(re.search(".*".join(map(re.escape, pieces)), template, re.DOTALL))


def listed() -> list[str]:
    cells = [row[0] for row in rows(section(README, "Troubleshooting"))]
    cells += [row[0] for heading in HEADINGS for row in rows(section(TROUBLESHOOTING, heading))]
    return sorted({code for cell in cells for code in codes(cell)})


@pytest.mark.parametrize("message", listed())
def test_a_message_that_is_explained_is_in_the_code(message: str) -> None:
    assert any(is_of(message, template) for template in TEMPLATES), f"no module says this any more: {message}"


def test_messages_are_explained_at_all() -> None:
    assert len(rows(section(README, "Troubleshooting"))) == 10
    assert len(listed()) > 50


def wrong_number() -> str:
    with pytest.raises(SpecError) as caught:
        CreateGPUClusterOperator(
            task_id="create", region="us-central-8", gpu_type="H100_SXM", num_gpus=12, billing_type="ON_DEMAND"
        )
    return f"SpecError: {caught.value}"


def wrong_key() -> str:
    with Emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        connection = {**json.loads(emulator.connection()), "password": "another"}
        patch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", json.dumps(connection))
        with pytest.raises(AuthenticationError) as caught:
            TogetherHook().list_gpu_clusters()
        return str(caught.value).replace(emulator.url, "https://manager.cloud.together.ai")


PRODUCERS: dict[str, Callable[[], str]] = {"num_gpus": wrong_number, "401": wrong_key}


@pytest.mark.parametrize("block", [each for each in blocks("text") if "produced" in each.notes], ids=str)
def test_a_whole_message_is_what_the_code_says(block: Block) -> None:
    written = re.sub(r"\s+", " ", block.text.strip())
    pattern = ".*".join(map(re.escape, written.split(GAP)))
    assert re.fullmatch(pattern, PRODUCERS[block.notes["produced"]]())


def test_blocks_that_nothing_is_compared_with_are_few_and_say_why() -> None:
    others = [block for block in blocks() if block.language not in {"bash", "json", "python"}]
    assert [str(block) for block in others if block.language != "text"] == [], "give the fence a language"
    left = [block for block in others if "produced" not in block.notes]
    assert [str(block) for block in left if not block.notes.get("shown")] == [], 'say shown="why" in the fence'
    assert {page.name: number for page in PAGES if (number := sum(b.page == page for b in left))} == UNTESTED
