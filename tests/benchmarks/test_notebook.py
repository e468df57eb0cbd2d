"""The tables of the laboratory notebook: none is edited by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import notebook
import pytest
from comparison.markers import blocks_of
from notebook_tables import withheld
from notebook_tables.rows import RESULTS

ROOT = Path(__file__).parents[2]
OF_THE_COMPARISON = {"comparison.md", "ablation.md"}  # written by its own report


def test_the_tables_are_those_of_the_rows() -> None:
    assert notebook.differing(notebook.DOCS) == [], "run python benchmarks/notebook.py"


def test_a_figure_typed_into_a_table_is_found_and_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = shutil.copytree(notebook.DOCS, tmp_path / "notebook", ignore=shutil.ignore_patterns("images"))
    page = docs / "live.md"
    right = page.read_text()
    page.write_text(right.replace("490 done", "491 done"))
    assert notebook.differing(docs) == ["live.md: live"]
    monkeypatch.setattr("sys.argv", ["notebook.py", "--check", "--docs", str(docs)])
    with pytest.raises(SystemExit, match=r"live\.md: live"):
        notebook.main()
    monkeypatch.setattr("sys.argv", ["notebook.py", "--docs", str(docs)])
    notebook.main()
    assert page.read_text() == right


def test_every_table_between_markers_is_made_by_a_command() -> None:
    marked = {path.name for path in notebook.DOCS.glob("*.md") if blocks_of(path.read_text())}
    assert marked == set(notebook.PAGES) | OF_THE_COMPARISON


def test_every_file_of_rows_stands_on_the_index() -> None:
    index = (notebook.DOCS / "index.md").read_text()
    files = {path.name for path in RESULTS.glob("*.json")}
    assert files and {name for name in files if f"`{name}`" not in index} == set()
    named = set(re.findall(r"`(\w+\.json)`", index))
    assert named - files <= {"gpu.json"}  # until a GPU is measured


def test_rows_of_withheld_tilts_that_are_in_no_table_are_told_on_their_page() -> None:
    rows = [row for row in withheld.read_rows() if row["table"] not in withheld.FIELDS]
    assert {row["table"] for row in rows} == {"prose"}
    for row in rows:
        text = (ROOT / row["page"]).read_text()
        for field in ("explained", "correlation"):
            assert " ".join(map(withheld.short, row.get(field, []))) in text, row


def test_figures_keep_their_digits() -> None:
    assert [withheld.short(figure) for figure in ("0.40", "-0.08", "0.00", "0.6", "1.00")] == [
        ".40",
        "-.08",
        ".00",
        "0.6",
        "1.00",
    ]
    assert withheld.cell([{"z_to_x": "1.00"}, {}, {"z_to_x": "0.97"}], "z_to_x") == "1.00; 0.97"


def test_a_fit_that_is_measured_says_where() -> None:
    old = {"recorded": "abc1234", "date": "2026-11-28"}
    new = {"commit": "def5678", "machine": "a processor"}
    assert "2 fits measured on a processor; 2 fits transcribed" in withheld.caption([old, new, old, new])
    assert "transcribed" not in withheld.caption([new])
