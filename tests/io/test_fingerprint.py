"""Fingerprints of files: equal for equal ones, other for a change anywhere it matters."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.io.fingerprint import fingerprint


def written(path: Path, n_bytes: int) -> Path:
    path.write_bytes(np.random.default_rng(n_bytes).bytes(n_bytes))
    return path


@pytest.mark.parametrize("n_bytes", [0, 1, 1024, 1 << 20, (1 << 20) + 1, 20 << 20])
def test_a_copy_is_the_same_and_a_longer_file_is_not(tmp_path: Path, n_bytes: int):
    path = written(tmp_path / "a", n_bytes)
    before = fingerprint(path)
    copy = tmp_path / "b"
    copy.write_bytes(path.read_bytes())
    os.utime(copy, (1, 1))
    assert before.difference(fingerprint(copy)) is None
    assert before.modified != fingerprint(copy).modified
    with open(path, "ab") as file:
        file.write(b"x")
    assert before.difference(fingerprint(path)) == f"{n_bytes} bytes then, {n_bytes + 1} now"


@pytest.mark.parametrize("place", [0, 500, 5_000_000, -1])
def test_another_image_or_header_is_seen(tmp_path: Path, place: int):
    """Of a stack of 40 images, one is replaced; or a byte of the header, or the last one, is another."""
    path = written(tmp_path / "a", 20 << 20)
    before = fingerprint(path)
    content = bytearray(path.read_bytes())
    length = (20 << 20) // 40 if place > 1024 else 1
    content[place : place + length if place >= 0 else None] = bytes(length)
    path.write_bytes(content)
    assert "other contents, written 20" in (before.difference(fingerprint(path)) or "")


def test_what_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        fingerprint(tmp_path / "a")
