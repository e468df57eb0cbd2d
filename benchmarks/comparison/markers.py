"""What a page of docs/notebook/ holds between two markers, and the tables that are put there.

<!-- table NAME -->
...
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

BLOCK = re.compile(r"(<!-- table (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def blocks_of(text: str) -> dict[str, str]:
    """What is between the markers of a page, by name."""
    return {match[2]: match[3].strip("\n") for match in BLOCK.finditer(text)}


def with_blocks(path: Path, blocks: Mapping[str, str]) -> str:
    """The text of a page with the content between its markers replaced."""
    text = path.read_text()
    names = [match[2] for match in BLOCK.finditer(text)]
    if sorted(names) != sorted(blocks):
        raise SystemExit(
            f"{path}: expected markers for {', '.join(sorted(blocks))}; got {', '.join(sorted(names))}"
        )
    return BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]}\n\n{match[4]}", text)


def markdown(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; empty if it has no lines."""
    body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *body]) if body else ""
