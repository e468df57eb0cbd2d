"""Links of the documents lead somewhere, their commands are understood, the reference is whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from textwrap import dedent

import pytest
import reference
from cyclopts import CycloptsError

from dewedge.cli import main, relion
from dewedge.cli.app import VERBS, build_app
from dewedge.settings.base import Section
from dewedge.settings.sections import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
IN_ROOT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
FLAG = r"--[a-z0-9][A-Za-z0-9-]*"
# Pages that name flags of benchmarks, launchers and clusters, too.
OF_OTHERS = {
    "baselines.md",
    "clusters.md",
    "comparison.md",
    "gpu.md",
    "install.md",
    "paper.md",
    "realistic.md",
}
# Made from pages of the root when the site is built.
FROM_ROOT = {"contributing/index.md", "contributing/security.md", "contributing/changes.md"}
# Pages for those who use dewedge, or begin to change it.
USERS = r"(guide/|reference/|results/|explain/|tutorial|index|\.\./README|contributing/how_to_add)"
MOST_WORDS = 25
MOST_WORDS_OF_RESULTS = 600
MOST_LETTERS_OF_TITLES = 24
# As wide as a box of code is in a laptop's window (1280 pixels), beside both columns of links.
CODE_WIDTH = 80


@cache
def pages() -> dict[str, str]:
    """Text of each page, by its path in docs/ (../README.md of one in the root); generated ones, too."""
    written = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
    in_root = {f"../{path.name}": path.read_text("utf-8") for path in IN_ROOT}
    return in_root | dict(sorted(written.items())) | reference.pages()


@cache
def help_of(verb: str) -> str:
    with redirect_stdout(StringIO()) as shown:
        main([verb, "--help"])
    return shown.getvalue()


def commands(text: str) -> Iterator[str]:
    """Command lines of a page, those broken by backslashes in one, without what stands for something else."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    for line in re.findall(r"^ *(?:srun (?:-\S+ )*)?(dewedge [a-z].*)$", text, flags=re.MULTILINE):
        command = line.partition("  #")[0]
        if command.split()[1] in VERBS and not re.search(r"\.\.\.|\[|\]", command):
            yield command


def test_commands_can_be_understood() -> None:
    app = build_app()
    shown = {command: page for page, text in pages().items() for command in commands(text)}
    assert len(shown) > 50
    for command, page in shown.items():
        try:
            app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"{page}: {command}\n{error}")


def test_fields_of_relions_window_exist(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    relion.main(["--help"])
    known = capsys.readouterr().out
    page = pages()["guide/relion.md"]
    labels = re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE)
    assert len(labels) > 5
    shown = re.findall(r"^ {4}dewedge-relion (.*)$", page, flags=re.MULTILINE)
    for name in [*labels, *re.findall(r"--([a-z_]+)", " ".join(shown))]:
        assert f"--{name.replace('_', '-')} " in known, name


def test_flags_named_in_the_text_exist() -> None:
    known = {flag for verb in VERBS for flag in re.findall(FLAG, help_of(verb))}
    for page, text in pages().items():
        if Path(page).name not in OF_OTHERS and page != "reference/commands.md":
            named = set(re.findall(rf"`({FLAG})", text))
            assert named <= known, f"{page}: {sorted(named - known)}"


def test_links_lead_somewhere() -> None:
    wrong = []
    for page, text in pages().items():
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
            path, _, anchor = link.partition("#")
            target = (DOCS / page).parent.joinpath(path).resolve() if path else (DOCS / page).resolve()
            name = target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else f"../{target.name}"
            there = target.exists() or name in pages() or name in FROM_ROOT
            if not re.match(r"[a-z]+:", link) and not (
                there and (not anchor or anchor in anchors(pages()[name]))
            ):
                wrong.append(f"{page}: {link}")
    assert not wrong


def test_every_command_flag_and_key_has_its_place_in_the_reference() -> None:
    shown, keys = reference.commands(), reference.configuration()
    parts = dict(re.findall(r"^## dewedge ([a-z]+)\n(.*?)(?=^## )", shown, flags=re.MULTILINE | re.DOTALL))
    assert list(parts) == list(VERBS)
    for verb, part in parts.items():
        flags = re.findall(rf"^│ [ *]*(?:[A-Z0-9]+ )?({FLAG})", help_of(verb), flags=re.MULTILINE)
        assert flags and [flag for flag in flags if f"`{flag}`" not in part] == [], verb
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            places = [f"#{name}-{key} " for key in section.model_fields]
        else:
            places = [f"#top-{name} "]
        assert [place for place in places if place not in keys] == []


def test_users_pages_have_no_long_sentences() -> None:
    for page, text in users_pages():
        long = [each for each in sentences(text) if len(each.split()) > MOST_WORDS]
        assert not long, "\n".join([page, *long])


def test_pages_of_results_are_short() -> None:
    words = {
        page: len(without_code(text).replace("|", " ").split())
        for page, text in pages().items()
        if page.startswith("results/")
    }
    assert len(words) >= 4
    assert {page: n for page, n in words.items() if n > MOST_WORDS_OF_RESULTS} == {}


def test_code_of_users_pages_is_as_wide_as_a_laptop_shows() -> None:
    wide = [
        f"{page}: {line}"
        for page, text in users_pages()
        for block in code_blocks(text)
        for line in block.splitlines()
        if len(line) > CODE_WIDTH
    ]
    assert not wide, "\n".join(wide)


def test_figures_say_what_they_show() -> None:
    figures = [(page, alt) for page, text in pages().items() for alt in re.findall(r"!\[([^\]]*)\]\(", text)]
    assert len(figures) > 20
    assert [each for each in figures if len(each[1].split()) < 3] == []


def test_titles_fit_beside_the_page() -> None:
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    titles = re.findall(r"^ +- (?:(.+): )?\S+\.md$", config.partition("\nnav:\n")[2], flags=re.MULTILINE)
    assert len(titles) > 50
    assert [title for title in titles if len(title) > MOST_LETTERS_OF_TITLES] == []
    assert titles.count("") == 2  # the first pages of two parts, which have the part's title


def test_commits_are_named_in_the_notebook_only() -> None:
    for page, text in pages().items():
        if page.startswith("notebook/"):
            assert "> **Laboratory notebook, not for users.**" in text, page
        else:
            assert re.findall(r"(?<![\w.#/-])(?=[a-f]*\d)[0-9a-f]{7,40}(?![\w.-])", text) == [], page


def test_a_long_sentence_is_found() -> None:
    words = " ".join(["word"] * 13)
    text = (
        f"A {words}, `code of three` words,\n{words}. Short.\n\n    {words} {words}\n\n- {words}\n- {words}"
    )
    assert [len(each.split()) for each in sentences(text)] == [29, 1, 13, 13]


def users_pages() -> list[tuple[str, str]]:
    found = [(page, text) for page, text in pages().items() if re.match(USERS, page)]
    assert len(found) > 30
    return found


def code_blocks(text: str) -> Iterator[str]:
    """Code between fences, and what four spaces make code: eight of them within an item of a list."""
    fences = r"^ *```.*\n((?:.*\n)*?) *```$"
    yield from map(dedent, re.findall(fences, text, flags=re.MULTILINE))
    within_item = False
    for paragraph in re.split(r"\n\s*\n", re.sub(fences, "", text, flags=re.MULTILINE)):
        lines = paragraph.splitlines()
        if re.match(r"- |\d+\. ", paragraph):
            within_item = True
        elif not paragraph.startswith("    "):
            within_item = False
        elif all(line.startswith("        " if within_item else "    ") for line in lines):
            yield dedent(paragraph)


def without_code(text: str) -> str:
    """The text without blocks of code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<=\n\n)(?: {4}.*\n?|\n)+", "", text)


def sentences(text: str) -> Iterator[str]:
    """Sentences of a page; code is a word, as are names between dots; items, cells, headings stand alone."""
    text = re.sub(r"`[^`]*`", "code", without_code(text))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"code(?: · code)+", "code", text)
    text = re.sub(r"^#+ (.*)$", r"\n\1\n", text, flags=re.MULTILINE)
    text = re.sub(r"^(:   |- |\d+\. |> )", "\n", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\|", text):
        yield from filter(None, (each.strip() for each in re.split(r"(?<=[.!?])[*\")]*\s+", block)))


def anchors(text: str) -> set[str]:
    """Places of a page that a link can name."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), flags=re.MULTILINE)
    slugs = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", slug) for slug in slugs} | set(re.findall(r"\{ #([\w-]+) \}", text))
