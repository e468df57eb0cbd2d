"""Good input, damaged in many ways: each gets one clear line and a non-zero status, or works as before."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from damages import (
    Damage,
    angles_in_radians,
    big_endian,
    bom,
    comma,
    copied,
    crlf,
    cut,
    folder_in_place,
    folders_in_a_ring,
    full_disk,
    header,
    html,
    images,
    in_radians,
    lines,
    loop,
    mode,
    of_volume,
    pickled,
    raw,
    read_only,
    removed,
    renamed,
    text,
    unsigned,
    with_loop_and_folder,
)
from good_folders import GOOD, PAGE
from numpy.typing import NDArray

from dewedge.cli import main
from dewedge.io.mrc import read_mrc

FEWEST_CASES = 60
WORKS = ""


class Case(NamedTuple):
    """A good folder, what is done to it, a command within it, and what its error says."""

    start: str
    damage: Damage
    command: tuple[str, ...]
    says: str


RECONSTRUCT = ("reconstruct", "TS_1.st", "--thickness", "16")
ALN = ("reconstruct", "TS_1.aln", "--thickness", "16")
STAR = ("reconstruct", "tomograms.star", "--thickness", "16")
XML = ("reconstruct", "TS_1.xml", "--thickness", "16")
REFINE = ("refine", "model.safetensors", "TS_1.mrc", "--device", "cpu")
EVALUATE = ("evaluate", "TS_1.mrc", "--truth", "TS_1_even.mrc", "--tilt-range", "-60", "60", "--box", "8")
PARTICLES = (*EVALUATE, "--particles", "particles.star")
CHECK = ("check", "TS_1_even.mrc", "--cube-size", "8", "--tilt-range", "-60", "60", "--device", "cpu")
SMALL = ("--thickness", "16", "--cube-size", "8", "--device", "cpu")
TLT, XF, MDOC, TILT_STAR = "TS_1.tlt", "TS_1.xf", "TS_1.st.mdoc", "tilt_series/TS_1.star"
STACK, MODEL = "TS_1.st", "model.safetensors"

CASES: dict[str, Case] = {}


def table(start: str, command: tuple[str, ...], **cases: tuple[Damage, str]) -> None:
    for name, (damage, says) in cases.items():
        key = f"{start} {command[0]}: {name.replace('_', ' ')}"
        assert key not in CASES
        CASES[key] = Case(start, damage, command, says)


table(
    "imod",
    RECONSTRUCT,
    **{f"stack_cut_at_{n}": (cut(STACK, n), "TS_1.st: ") for n in (0, 1, 100, 1023, 1024, 1025, 99999, -1)},
    nx_is_0=(header(nx=0), "broken MRC header"),
    nz_is_negative=(header(nz=-21), "broken MRC header"),
    nx_one_too_large=(header(nx=55), "truncated"),
    huge_sizes=(header(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1), "truncated"),
    huge_extended_header=(header(nsymbt=2**31 - 1), "truncated"),
    negative_extended_header=(header(nsymbt=-8), "broken MRC header"),
    images_fewer_than_angles=(header(nz=20), "21 angles for 20 images"),
    mode_4=(header(mode=4), "MRC mode 4"),
    mode_101=(header(mode=101), "MRC mode 101"),
    stack_of_volumes=(header(ispg=401, mz=3), "stack of volumes"),
    oblong_pixels=(header(my=20), "pixels of"),
    pixel_size_NaN=(header(cella=(np.nan, np.nan, np.nan)), "pixel size"),
    stack_is_a_page=(raw(STACK, lambda _: PAGE.encode() * 20), "TS_1.st: not an MRC"),
    stack_is_gzip=(raw(STACK, gzip.compress), "compressed"),
    stack_is_a_folder=(folder_in_place(STACK), "TS_1.st"),
    stack_is_a_loop_of_links=(loop(STACK), "TS_1.st"),
    stack_is_a_pipe=(lambda f, _: ((f / STACK).unlink(), os.mkfifo(f / STACK)), "TS_1.st"),
    other_byte_order=(raw(STACK, big_endian), WORKS),
    mode_0_signed=(mode(0, "i1"), WORKS),
    mode_0_unsigned=(unsigned, WORKS),
    mode_1=(mode(1, "<i2"), WORKS),
    mode_6=(mode(6, "<u2"), WORKS),
    mode_12=(mode(12, "<f2"), WORKS),
    bytes_after_the_images=(raw(STACK, lambda content: content + b"more"), WORKS),
    no_MAP=(header(map=b""), WORKS),
    tlt_CRLF=(raw(TLT, crlf), WORKS),
    tlt_CR=(raw(TLT, lambda content: content.replace(b"\n", b"\r")), WORKS),
    tlt_BOM=(raw(TLT, bom), WORKS),
    tlt_comma=(raw(TLT, comma), WORKS),
    tlt_blank_lines=(raw(TLT, lambda content: b"\n" + content + b"\n \n"), WORKS),
    tlt_UTF16=(raw(TLT, lambda c: c.decode().encode("utf-16")), WORKS),
    tlt_radians=(text(TLT, in_radians), "look like radians"),
    tlt_is_a_page=(text(TLT, html), "TS_1.tlt, line 1: expected one tilt angle"),
    tlt_empty=(text(TLT, lambda _: ""), "the file is empty"),
    tlt_NaN=(lines(TLT, lambda t: [*t[:5], "nan", *t[6:]]), "TS_1.tlt, line 6"),
    tlt_two_columns=(lines(TLT, lambda t: [f"{i} {line}" for i, line in enumerate(t)]), "TS_1.tlt, line 1"),
    tlt_too_steep=(lines(TLT, lambda t: ["-95", *t[1:]]), "between -90 and 90"),
    tlt_too_long=(lines(TLT, lambda t: [*t, "63"]), "22 angles for 21 images"),
    xf_CRLF=(raw(XF, crlf), WORKS),
    xf_BOM=(raw(XF, bom), WORKS),
    xf_comma=(raw(XF, comma), WORKS),
    xf_five_columns=(lines(XF, lambda t: [" ".join(line.split()[:5]) for line in t]), "TS_1.xf, line 1"),
    xf_flat_matrix=(lines(XF, lambda t: [*t[:2], "1 1 1 1 0 0", *t[3:]]), "TS_1.xf, line 3"),
    xf_too_short=(lines(XF, lambda t: t[:-1]), "20"),
    xf_empty=(cut(XF, 0), "TS_1.xf"),
    xf_cut_in_a_number=(cut(XF, -20), "TS_1.xf, line 21"),
    disk_full=(full_disk, "No space left"),
    folder_read_only=(read_only, "Permission denied"),
)
for root in ("a name with spaces", "Größe 日本", "100% [bold] {x}", "-dash", "semi;colon'quote"):
    CASES[f"imod reconstruct: named {root}"] = Case(
        "imod", renamed(root), ("reconstruct", f"./{root}.st", "--thickness", "16"), WORKS
    )
CASES["imod reconstruct: folders in a ring"] = Case(
    "imod", folders_in_a_ring, ("reconstruct", ".", "--thickness", "16"), WORKS
)
table(
    "serialem",
    RECONSTRUCT,
    mdoc_CRLF=(raw(MDOC, crlf), WORKS),
    mdoc_BOM=(raw(MDOC, bom), WORKS),
    mdoc_comma=(text(MDOC, lambda t: t.replace(".", ",")), "mdoc"),
    mdoc_lacks_a_section=(text(MDOC, lambda t: t[: t.index("[ZValue = 20]")]), "mdoc"),
    mdoc_has_a_section_twice=(
        text(MDOC, lambda t: t.replace("ZValue = 20", "ZValue = 19")),
        "ZValue occurs twice",
    ),
    mdoc_lacks_an_angle=(text(MDOC, lambda t: t.replace("TiltAngle = 0.00\n", "")), "no TiltAngle"),
    mdoc_empty=(cut(MDOC, 0), "mdoc"),
    mdoc_of_a_montage=(text(MDOC, lambda t: "Montage = 1\n" + t), "montage"),
    mdoc_is_a_page=(text(MDOC, html), "mdoc"),
)
table(
    "aretomo",
    ALN,
    aln_CRLF=(raw("TS_1.aln", crlf), WORKS),
    aln_BOM=(raw("TS_1.aln", bom), WORKS),
    aln_empty=(cut("TS_1.aln", 0), "TS_1.aln"),
    aln_cut_in_a_line=(cut("TS_1.aln", -30), "TS_1.aln"),
    aln_with_words=(text("TS_1.aln", lambda t: t.replace("1.00000", "one")), "TS_1.aln"),
    aln_of_a_longer_stack=(header("TS_1.mrc", nz=15, mz=15), "TS_1.aln"),
    aln_against_reversed_angles=(lines("TS_1.rawtlt", lambda t: t[::-1]), "TS_1.aln"),
    aln_is_a_page=(text("TS_1.aln", html), "TS_1.aln"),
)
table(
    "relion",
    STAR,
    set_CRLF=(raw("tomograms.star", crlf), WORKS),
    tilts_BOM=(raw(TILT_STAR, bom), WORKS),
    set_lacks_pixel_size=(text("tomograms.star", lambda t: t.replace("PixelSize", "Other")), WORKS),
    set_lacks_names=(
        text("tomograms.star", lambda t: t.replace("rlnTomoName", "rlnOther")),
        "tomograms.star",
    ),
    tilts_lack_angles=(
        text(TILT_STAR, lambda t: t.replace("YTilt", "A").replace("TiltAngle", "B")),
        "TS_1.star",
    ),
    tilts_cut_in_a_row=(cut(TILT_STAR, -40), "TS_1.star"),
    tilts_missing=(removed(TILT_STAR), "TS_1.star"),
    tilts_are_a_folder=(folder_in_place(TILT_STAR), "TS_1.star"),
    set_empty=(cut("tomograms.star", 0), "tomograms.star"),
    images_missing=(removed("MotionCorr/job002/TS_1.mrc"), "TS_1.mrc"),
    image_numbers_too_high=(text(TILT_STAR, lambda t: t.replace("000021@", "000099@")), "99"),
)
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
table(
    "warp",
    XML,
    xml_CRLF=(raw("TS_1.xml", crlf), WORKS),
    xml_cut=(cut("TS_1.xml", 900), "TS_1.xml"),
    xml_malformed=(text("TS_1.xml", lambda t: t.replace("</Angles>", "")), "TS_1.xml"),
    xml_lacks_angles=(text("TS_1.xml", lambda t: t.replace("Angles>", "Others>")), "TS_1.xml"),
    xml_with_entities=(text("TS_1.xml", lambda t: t.replace("<TiltS", f"{BOMB}<TiltS", 1)), "TS_1.xml"),
    xml_with_words=(text("TS_1.xml", lambda t: t.replace("<Angles>", "<Angles>left\n")), "TS_1.xml"),
    xml_is_a_page=(text("TS_1.xml", html), "TS_1.xml"),
)
YAML = "ddw.yaml"
table(
    "halves",
    ("import", YAML),
    python_object=(text(YAML, lambda t: t + "x: !!python/object/apply:os.system ['touch HARM']\n"), YAML),
    no_mapping=(text(YAML, lambda _: "- 1\n- 2\n"), YAML),
    malformed=(text(YAML, lambda t: t.replace("]", "", 1)), YAML),
    word_for_angle=(text(YAML, lambda t: t.replace("60", "sixty")), "mw_angle"),
    lists_of_unequal_length=(text(YAML, lambda t: t.replace("[TS_1_odd.mrc]", "[]")), YAML),
    half_missing=(removed("TS_1_odd.mrc"), "TS_1_odd.mrc: no such file"),
    half_cut=(cut("TS_1_odd.mrc", -5), "TS_1_odd.mrc: truncated"),
)
table(
    "halves",
    ("import", "isonet.star"),
    star_without_halves=(
        text("isonet.star", lambda t: t.replace("TS_1_odd.mrc", "None")),
        "no half tomograms",
    ),
    star_cut=(cut("isonet.star", -8), "isonet.star"),
)
table(
    "halves",
    CHECK,
    half_black=(of_volume("TS_1_odd.mrc", np.zeros_like), "black: every voxel is 0"),
    half_identical=(copied("TS_1_even.mrc", "TS_1_odd.mrc"), "same up to grey scale"),
    half_inverted=(of_volume("TS_1_odd.mrc", np.negative), "inverted"),
    half_reversed=(of_volume("TS_1_odd.mrc", lambda v: v[::-1]), "mirrored along z"),
    half_of_other_shape=(of_volume("TS_1_odd.mrc", lambda v: v[:, :-1]), "TS_1_odd.mrc: shape (16, 31, 32)"),
)
table(
    "imod",
    ("check", "TS_1.st", *SMALL),
    image_black=(images(lambda s: np.where(np.arange(21)[:, None, None] == 7, 0, s)), "every pixel is 0"),
    image_twice=(images(lambda s: s[[*range(8), 7, *range(9, 21)]]), "two images are the same"),
)
for start, file, given in (("serialem", MDOC, "TS_1.st"), ("warp", "TS_1.xml", "TS_1.xml")):
    table(start, ("check", given, *SMALL), angles_in_radians=(angles_in_radians(file), "look like radians"))
for name, to in {
    "below a file": "TS_1.tlt/rec.mrc",
    "is a folder": "more",
    "with a name too long": "x" * 300 + ".mrc",
    "is an input": "TS_1.st",
    "below a loop of links": "loop/rec.mrc",
}.items():
    CASES[f"imod reconstruct: output {name}"] = Case(
        "imod", with_loop_and_folder, (*RECONSTRUCT, "--overwrite", "-o", to), to
    )
table(
    "halves",
    ("check", "TS_1_even.mrc", "--config", "my.toml", "--tilt-range", "-60", "60"),
    toml_cut=(cut("my.toml", 15), "my.toml: not a TOML file"),
    toml_binary=(raw("my.toml", lambda content: content + b"\0"), "my.toml"),
    toml_comma=(text("my.toml", lambda t: t.replace("= 16", "= 16,5", 1)), "my.toml"),
    toml_is_a_page=(text("my.toml", html), "my.toml"),
)
table(
    "halves",
    PARTICLES,
    particles_lack_a_column=(
        text("particles.star", lambda t: t.replace("CoordinateZ", "Other")),
        "particles.star",
    ),
    particles_with_words=(text("particles.star", lambda t: t.replace("16 16 8", "16 x 8")), "particles.star"),
    particles_empty=(cut("particles.star", 0), "particles.star"),
    truth_cut=(cut("TS_1_even.mrc", 5000), "TS_1_even.mrc: truncated"),
    truth_without_voxel_size=(header("TS_1_even.mrc", cella=(0, 0, 0)), "no voxel size"),
    tomogram_of_other_shape=(of_volume("TS_1.mrc", lambda v: v[1:]), "TS_1.mrc: shape"),
)
table(
    "model",
    REFINE,
    model_empty=(cut(MODEL, 0), "model.safetensors: damaged"),
    model_cut=(cut(MODEL, -100), "model.safetensors: damaged"),
    model_with_a_huge_header=(raw(MODEL, lambda c: b"\xff" * 8 + c[8:]), "model.safetensors: damaged"),
    model_of_another_kind=(copied("other.safetensors", MODEL), "expected a 'dewedge model"),
    model_undescribed=(copied("bare.safetensors", MODEL), "description of the model is damaged"),
    model_is_a_pickle=(raw(MODEL, pickled), "model.safetensors: damaged"),
    model_is_a_folder=(folder_in_place(MODEL), "model.safetensors"),
    tomogram_cut=(cut("TS_1.mrc", 3000), "TS_1.mrc: truncated"),
)

RESULTS = {
    "reconstruct": ("-o", "rec.mrc"),
    "import": ("-o", "set.star"),
    "refine": ("-o", "refined.mrc"),
    "evaluate": ("--json", "scores.json"),
    "check": (),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a good folder; not to be changed."""
    folders: dict[str, Path] = {}

    def give(start: str) -> Path:
        if start not in folders:
            folders[start] = tmp_path_factory.mktemp(start)
            GOOD[start](folders[start])
        return folders[start]

    return give


@pytest.fixture(scope="module")
def expected(
    good: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], NDArray[Any]]:
    """Gives the tomogram of a good folder."""
    tomograms: dict[str, NDArray[Any]] = {}
    commands = {"imod": RECONSTRUCT, "serialem": RECONSTRUCT, "aretomo": ALN, "relion": STAR, "warp": XML}

    def give(start: str) -> NDArray[Any]:
        if start not in tomograms:
            path = tmp_path_factory.mktemp("expected") / "rec.mrc"
            verb, name, *flags = commands[start]
            assert main([verb, str(good(start) / name), *flags, "-o", str(path)]) == 0
            tomograms[start] = np.array(read_mrc(path).data)
        return tomograms[start]

    return give


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder and its bytes; links, pipes and folders without."""
    paths = [Path(top) / name for top, inner, names in os.walk(folder) for name in (*inner, *names)]
    plain = {path: path.is_file() and not path.is_symlink() for path in paths if not path.is_symlink()}
    return {str(p.relative_to(folder)): p.read_bytes() if plain.get(p) else None for p in paths}


@pytest.mark.parametrize("name", CASES)
def test_one_line_or_works(
    name: str,
    good: Callable[[str], Path],
    expected: Callable[[str], NDArray[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start, damage, command, says = CASES[name]
    reference = expected(start) if says == WORKS else None
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(good(start), folder)
    output.mkdir()
    flags = RESULTS[command[0]]
    if flags and "-o" not in command:
        (output / flags[1]).write_text("earlier")
        command = (*command, flags[0], str(output / flags[1]))
        command = (*command, *(["--overwrite"] if command[0] != "evaluate" else []))
    monkeypatch.chdir(folder)
    damage(folder, monkeypatch)
    before, earlier = contents(folder), contents(output)
    capsys.readouterr()
    status = main(command)
    printed = capsys.readouterr()
    assert contents(folder) == before
    if reference is not None:
        assert status == 0, printed.err
        np.testing.assert_array_equal(read_mrc(output / "rec.mrc").data, reference)
        return
    assert status == 2, printed.err
    assert contents(output) == earlier
    *told, error = printed.err.splitlines()
    assert error.startswith("dewedge: error: "), error
    # What a check found it told before.
    assert says in (error if "see above" not in error else " ".join(printed.out.split())), error
    assert "Traceback" not in printed.out + printed.err and not any("error" in line for line in told)


def test_how_many_there_are() -> None:
    assert len(CASES) >= FEWEST_CASES
