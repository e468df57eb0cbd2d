"""Whatever happens to a text file of another program: it is read, or there is one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.io.find import find_series


def write_etomo(folder: Path) -> Path:
    stack = foreign.write_imod(folder)
    (folder / "tilt.com").write_text("$tilt\nTILTFILE TS_1.tlt\nOFFSET 1.5\nSHIFT 0 3\nEXCLUDELIST 1,2-3\n")
    (folder / "TS_1.edf").write_text("#date\nSetup.PixelSize=0.5\nSetup.AxisA.ExcludeProjections=4\n")
    return stack


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tlt": (foreign.write_imod, "TS_1.tlt"),
    "xf": (foreign.write_imod, "TS_1.xf"),
    "tilt.com": (write_etomo, "tilt.com"),
    "edf": (write_etomo, "TS_1.edf"),
    "aln": (foreign.write_aretomo, "TS_1.aln"),
    "global star": (lambda f: foreign.write_relion(f, per_tilt_files=False), "tomograms.star"),
    "tilt star": (lambda f: foreign.write_relion(f, per_tilt_files=False), "tilt_series/TS_1.star"),
    "xml": (foreign.write_warp, "TS_1.xml"),
}


def change(raw: bytes, data: st.DataObject) -> bytes:
    kind = data.draw(st.sampled_from(["cut", "bytes", "line", "word", "CRLF", "BOM", "comma"]))
    if kind == "cut":
        return raw[: data.draw(st.integers(0, len(raw)))]
    if kind == "bytes":
        changed = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 5))):
            changed[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "CRLF":
        return raw.replace(b"\n", b"\r\n")
    if kind == "BOM":
        return b"\xef\xbb\xbf" + raw
    if kind == "comma":
        return raw.replace(b".", b",")
    pieces = raw.split(b"\n" if kind == "line" else b" ")
    at = data.draw(st.integers(0, len(pieces) - 1))
    wrong = [
        b"nan",
        b"inf",
        b"-1e30",
        b"1e400",
        b"0",
        b"99999999",
        b"\xc3\xa4",
        b"None",
        b"[",
        b"#",
        b"'",
        b"data_",
    ]
    pieces[at : at + 1] = data.draw(st.sampled_from([[], [pieces[at]] * 2, *([w] for w in wrong)]))
    return (b"\n" if kind == "line" else b" ").join(pieces)


@pytest.mark.parametrize("case", FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_gives_one_line(case: str, tmp_path: Path, data: st.DataObject) -> None:
    write, name = FILES[case]
    start, path = tmp_path / "start", tmp_path / name
    if not start.exists():
        start.write_text(str(write(tmp_path)))
        (tmp_path / "good").write_bytes(path.read_bytes())
    path.write_bytes(change((tmp_path / "good").read_bytes(), data))
    try:
        for entry in find_series(Path(start.read_text())):
            assert not any("\n" in note for note in entry.notes)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("convert", [b"\r\n", b"BOM"])
def test_line_ends_and_byte_order_mark_do_not_matter(case: str, convert: bytes, tmp_path: Path) -> None:
    write, name = FILES[case]
    start = write(tmp_path)
    (good,) = find_series(start)
    path = tmp_path / name
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    path.write_bytes(b"\xef\xbb\xbf" + raw if convert == b"BOM" else raw.replace(b"\n", b"\r\n"))
    (same,) = find_series(start)
    assert same.name == good.name and len(same.notes) == len(good.notes)
