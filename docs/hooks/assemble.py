"""What mkdocs does beside reading docs/: generated pages, pages of the repository's root, and formulas."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import reference
from math_core import LatexToMathML
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages of the root, and where they lie in the site.
FROM_ROOT = {
    "CONTRIBUTING.md": "contributing/index.md",
    "SECURITY.md": "contributing/security.md",
    "CHANGELOG.md": "contributing/changes.md",
}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    made = reference.pages() | {
        page: in_site((ROOT / name).read_text("utf-8")) for name, page in FROM_ROOT.items()
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def in_site(text: str) -> str:
    """Text of a page of the root with links that hold in contributing/."""
    for name, page in FROM_ROOT.items():
        text = text.replace(f"]({name}", f"](../{page}")
    return text.replace("](docs/", "](../")


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let a search find the notebook last."""
    if page.file.src_uri.startswith("notebook/"):
        page.meta["search"] = {"boost": 0.2}
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers show without a script; a wrong one ends the build."""
    converter = LatexToMathML()
    return FORMULA.sub(
        lambda found: converter.convert_with_local_state(
            html.unescape(found[2]), displaystyle=found[1] == "div"
        ),
        content,
    )
