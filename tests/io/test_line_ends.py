"""Line ends and byte order marks of the text files of other programs; test_fuzz.py damages them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign
import pytest

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
