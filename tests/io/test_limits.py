"""What is believed of files, and what a message shows of them: one test for each class."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import foreign
import numpy as np
import pytest

import dewedge
from dewedge import limits
from dewedge.errors import InputError, is_out_of_memory, reason, shown
from dewedge.io.angles import read_tilt_angles
from dewedge.io.find import find_series
from dewedge.io.image_numbers import image_numbers
from dewedge.io.mdoc import read_mdoc
from dewedge.io.mrc import read_mrc
from dewedge.io.nested import parse_json, read_toml, read_yaml
from dewedge.io.programs.deepdewedge import read_deepdewedge
from dewedge.io.programs.imod import read_com, read_etomo
from dewedge.io.programs.warp import read_warp
from dewedge.io.star import read_star
from dewedge.io.text_files import number, read_text

BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = "shared:\n  tomo0_files: [a.mrc]\n  tomo1_files: [b.mrc]\n  mw_angle: "

# Name of the file, what it holds, what reads it, and what the line says.
CASES: dict[str, tuple[str, str, Callable[[Path], object], str]] = {
    "text too large": ("a.tlt", "1\n" * (limits.TEXT_BYTES // 2 + 1), read_tilt_angles, "is larger"),
    "too many lines": ("a.tlt", "1\n" * (limits.LINES + 1), read_tilt_angles, "lines"),
    "too many words": ("a.star", "1 " * (limits.WORDS + 2), read_star, "words"),
    "too many angles": ("a.tlt", "1\n" * (limits.TILTS + 1), read_tilt_angles, "at most 10000 lines"),
    "a number too long": ("a.tlt", "0" * 100 + "1\n", read_tilt_angles, "line 1"),
    "a number too large": ("a.tlt", "1e13\n", read_tilt_angles, "line 1"),
    "spaces behind a title": ("a.mdoc", "T = " + " " * 200_000 + "x\n", read_mdoc, "no \\[ZValue"),
    "an alias for a value": ("a.yaml", BOMB + YAML + "*i\n", read_deepdewedge, "alias"),
    "a tag": ("a.yaml", YAML + "!!python/object:os.x {}\n", read_deepdewedge, "tag"),
    "a deep value": ("a.yaml", YAML + "[" * 5000, read_deepdewedge, "deep"),
    "a deep block": ("a.yaml", "- " * 5000, read_yaml, "deep"),
    "a deep list": ("a.toml", "a = " + "[" * 5000, read_toml, "deep"),
    "a deep table": ("a.toml", "a." * 5000 + "a = 1", read_toml, "characters"),
    "a table too wide": (
        "a.star",
        "data_\nloop_\n"
        + "".join(f"_a{i}\n" for i in range(limits.COLUMNS + 1))
        + "1 " * (limits.COLUMNS + 1),
        read_star,
        "columns",
    ),
    "a grid of 2^64": (
        "a.xml",
        '<TiltSeries><Angles>1 2</Angles><GridMovementX Width="18446744073709551616" /></TiltSeries>',
        read_warp,
        "GridMovementX Width",
    ),
    "views without end": (
        "tilt.com",
        "EXCLUDELIST 1-999999999\n" * 10_000,
        lambda p: read_etomo(p.parent, "a"),
        "expected a list of views",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_beyond_belief_is_one_line_at_once(case: str, tmp_path: Path) -> None:
    name, content, read, says = CASES[case]
    path = tmp_path / name
    path.write_text(content)
    started = time.process_time()
    with pytest.raises(InputError, match=says) as caught:
        read(path)
    assert time.process_time() - started < 2
    assert str(path) in str(caught.value) and len(str(caught.value)) < len(str(tmp_path)) + 400


def test_lists_of_views_on_many_lines_are_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "tilt.com").write_text("EXCLUDELIST 1-9000\n" * 100_000)
    started = time.process_time()
    read_com(tmp_path / "tilt.com")
    image_numbers(["1-9000"] * 100_000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, '{"a":' * 100, "9" * 5000, "{", "[0" + ",0" * limits.WORDS + "]"],
    ids=["deep", "deeper", "number", "cut", "long"],
)
def test_json_beyond_belief(text: str) -> None:
    with pytest.raises(InputError, match=r"x\.json"):
        parse_json("x.json", text)


def test_an_axis_beyond_belief(tmp_path: Path) -> None:
    """A sparse file is as large as its header says, and takes no space."""
    header = np.zeros(1, dtype=[("n", "<i4", 3), ("mode", "<i4"), ("rest", "V1008")])
    header["n"], header["mode"] = (2**17, 1, 1), 0
    with open(tmp_path / "a.mrc", "wb") as file:
        file.write(header.tobytes()[:208] + b"MAP " + header.tobytes()[212:])
        file.truncate(1024 + 2**17)
    with pytest.raises(InputError, match="at most 65536 voxels along an axis"):
        read_mrc(tmp_path / "a.mrc")


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        "\x1b[2J\n\r\0",
        [["x" * 1000] * 1000] * 1000,
        1 << 100_000,
        {"a": {"b": {"c": {}}}},
        b"x" * 10**6,
    ],
    ids=["long", "control", "nested", "number", "mapping", "bytes"],
)
def test_a_value_in_a_message_is_short_and_printable(value: object) -> None:
    text = shown(value)
    assert len(text) <= limits.SHOWN + 2 and text.isprintable()
    assert str(InputError(f"a: {value if isinstance(value, str) else 1}")).isprintable()


def test_values_get_into_messages_by_one_function() -> None:
    for path in (Path(dewedge.__file__).parent / "io").rglob("*.py"):
        assert "!r}" not in path.read_text("utf-8"), path


def test_what_a_library_says_is_cut_too() -> None:
    assert (
        reason(ValueError("a\n b" * 10_000)).startswith("a b") and len(reason(ValueError("x" * 10**6))) <= 160
    )
    assert reason(ValueError()) == "ValueError"


def test_numbers_of_files() -> None:
    assert [number(text) for text in ("1,5", "-2e3", " 7 ")] == [1.5, -2000.0, 7.0]
    assert not any(number(text) is not None for text in ("nan", "inf", "1e400", "1e13", "", "x", "1.2.3"))


def test_errors_of_memory_are_known() -> None:
    class OutOfMemoryError(RuntimeError):
        """torch.cuda's, which is not a MemoryError."""

    assert is_out_of_memory(MemoryError()) and is_out_of_memory(OutOfMemoryError())
    text = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    )
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("size mismatch")) and not is_out_of_memory(ValueError(text))


ENCODINGS = {
    "UTF-16 with a mark": lambda text: text.encode("utf-16"),
    "UTF-16 without": lambda text: text.encode("utf-16-le"),
    "UTF-16, the other way round, with a mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16, the other way round": lambda text: text.encode("utf-16-be"),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
}
TEXTS = {
    "Warp's XML": (foreign.write_warp, "TS_1.xml"),
    "IMOD's angles": (foreign.write_imod, "TS_1.tlt"),
    "IMOD's transforms": (foreign.write_imod, "TS_1.xf"),
    "AreTomo's alignment": (foreign.write_aretomo, "TS_1.aln"),
    "RELION's set": (lambda f: foreign.write_relion(f, per_tilt_files=False), "tomograms.star"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_encoding_of_a_text_does_not_matter(text: str, encoding: str, tmp_path: Path) -> None:
    write, name = TEXTS[text]
    start, path = write(tmp_path), tmp_path / name
    (good,) = find_series(start)
    content = path.read_text("utf-8-sig")
    path.write_bytes(ENCODINGS[encoding](content))
    (same,) = find_series(start)
    np.testing.assert_array_equal(same.geometry.tilt_deg, good.geometry.tilt_deg)  # type: ignore[union-attr]
    np.testing.assert_array_equal(same.geometry.shift_yx, good.geometry.shift_yx)  # type: ignore[union-attr]


def test_warp_on_windows_declares_its_encoding(tmp_path: Path) -> None:
    foreign.write_warp(tmp_path)
    path = tmp_path / "TS_1.xml"
    content = (
        path.read_text("utf-8-sig").replace('encoding="utf-8"', 'encoding="utf-16"').replace("\n", "\r\n")
    )
    expected = read_warp(path).tilt_deg
    path.write_bytes(content.encode("utf-16"))
    np.testing.assert_array_equal(read_warp(path).tilt_deg, expected)


def test_letters_beyond_ascii_in_every_encoding(tmp_path: Path) -> None:
    for encode in ENCODINGS.values():
        (tmp_path / "a.txt").write_bytes(encode("name = Größe 日本一\n"))
        assert read_text(tmp_path / "a.txt") == "name = Größe 日本一\n"
    (tmp_path / "a.txt").write_bytes("Größe\n".encode("latin-1"))
    assert read_text(tmp_path / "a.txt") == "Größe\n"


@pytest.mark.parametrize(
    "content", [b"a\0b", b"\xff\xfea", b"\xff\xfe\0\xd8", json.dumps("x").encode("utf-32")]
)
def test_what_is_no_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match="binary"):
        read_text(tmp_path / "a.txt")


def test_thickness_of_aretomo(tmp_path: Path) -> None:
    path = foreign.write_aretomo(tmp_path)
    assert find_series(path)[0].thickness is None  # type: ignore[union-attr]
    for text, expected in (("1240", 1240), ("0", None), ("-1", None)):
        content = path.read_text().replace("# AlphaOffset", f"# Thickness = {text}\n# AlphaOffset")
        (tmp_path / "TS_1.aln").write_text(content)
        assert find_series(path)[0].thickness == expected  # type: ignore[union-attr]
        foreign.write_aretomo(tmp_path)
    (tmp_path / "TS_1.aln").write_text(content.replace("Thickness = -1", "Thickness = thick"))
    with pytest.raises(InputError, match="Thickness in pixels"):
        find_series(path)
