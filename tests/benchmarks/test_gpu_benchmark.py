"""The benchmark of a GPU at its smallest, on the CPU, and its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "notebook" / "gpu.md"


def gpu(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    return done.stdout


def test_all_parts_are_measured_and_told(tmp_path: Path):
    file, page = tmp_path / "gpu.json", tmp_path / "gpu.md"
    gpu("--device", "cpu", "--quick", "--json", str(file))
    figures = json.loads(file.read_text())
    assert figures["left_out"] == []
    assert len(figures["parts"]) == 14
    assert not [part for part in figures["parts"].values() if "error" in part]
    page.write_text(PAGE.read_text())
    gpu("report", "--json", str(file), "--page", str(page))
    text = page.read_text()
    assert "A trial of the program" in text and "| paper, 16, activation checkpointing |" in text
    assert text.count("\n| `") == 20  # operations


def test_what_there_is_no_time_for_is_named(tmp_path: Path):
    file = tmp_path / "gpu.json"
    said = gpu("--device", "cpu", "--quick", "--limit-s", "0", "--json", str(file))
    figures = json.loads(file.read_text())
    assert figures["parts"] == {} and len(figures["left_out"]) == 14
    assert "demo: left out" in said


def test_the_page_holds_the_figures_at_hand(tmp_path: Path):
    page = tmp_path / "gpu.md"
    page.write_text(PAGE.read_text())
    gpu("report", "--page", str(page))
    assert page.read_text() == PAGE.read_text()
