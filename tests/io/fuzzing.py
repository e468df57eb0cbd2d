"""Hostile files for every reader, made from good ones, and the watch that is kept while one is read."""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import foreign
import numpy as np
import torch
from good_folders import write_halves, write_serialem
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE
from safetensors.torch import load, save

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.inputs.planes import read_planes, write_planes
from dewedge.io.angles import read_tilt_angles
from dewedge.io.ctf_files import read_ctf_file
from dewedge.io.find import find_series
from dewedge.io.formats import read_volume, write_volume
from dewedge.io.mdoc import read_mdoc
from dewedge.io.movies import movie_frames, read_movie
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.particles import read_particles
from dewedge.io.programs.aln import aln_geometry, read_aln
from dewedge.io.programs.aretomo_metrics import read_metrics
from dewedge.io.programs.deepdewedge import read_deepdewedge
from dewedge.io.programs.imod import read_etomo
from dewedge.io.programs.isonet import read_isonet
from dewedge.io.programs.warp import read_warp
from dewedge.io.volume_file import ZarrVersion
from dewedge.io.xf import read_xf
from dewedge.learn.checkpoint import Model, load_model, save_model
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.limits import MESSAGE
from dewedge.physics.transfer import RADII, MeasuredPlanes
from dewedge.settings.file import resolve_config

MOST_SECONDS = 2.0  # of computing
MOST_BYTES = 200e6
# Largest input in the tests and in benchmarks/fuzz.py: the latter is beyond any text that is believed.
LARGEST, LARGEST_OF_ALL = 1 << 17, 3 << 23

Change = Callable[[bytes, st.DataObject, int], bytes]


class Reader(NamedTuple):
    """A reader: what writes a good folder, the file there that is changed, what reads it, what changes it."""

    write: Callable[[Path], object]
    name: str
    read: Callable[[Path], object]
    change: Change


class Hang(Exception):
    """More computing than any file of use takes."""


# What means something, or something else, to one of the readers.
_PIECES = [
    *(
        b"nan",
        b"inf",
        b"-1e30",
        b"1e400",
        b"0",
        b"-1",
        b"99999999",
        b"1e9",
        b"1_000",
        b"0x10",
        b"1:30",
        b"1.2.3",
    ),
    *(
        b"9" * 400,
        b"18446744073709551616",
        b"1,5",
        b"true",
        b"None",
        b"null",
        b"~",
        b"\xc3\xa4",
        b"\xff",
        b"\0",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b"(",
        b"#",
        b"'",
        b'"',
        b"\\",
        b";",
        b"@",
        b"&#0;",
        b"&#55296;",
        b"&x;",
        b"*a",
        b"&a ",
    ),
    *(
        b"!!python/object/apply:os.system ['true']",
        b"<<: *a",
        b"data_",
        b"loop_\n",
        b"save_x\n",
        b"_rlnTomoName",
    ),
    *(
        b"<!DOCTYPE x>",
        b"<![CDATA[",
        b"</TiltSeries>",
        b"<Node/>",
        b"[[a]]\n",
        b"a.b.c = 1\n",
        b"T = ",
        b"[T =",
        b"=",
    ),
    *(
        b"../../x",
        b"/dev/zero",
        b"/dev/stdin",
        b"..",
        b".",
        b"x" * 300,
        b"C:\\x",
        b"a\nb",
        b"\x1b[2J",
        b"$HOME",
        b"%s",
    ),
    *(
        b"1-99999999",
        b"1-3,1-3",
        b"EXCLUDELIST 1-9999\n",
        b"[ZValue = 0]\n",
        b"Montage = 1\n",
        b"1 2 3\n",
        b"\t",
        b"\r",
    ),
]


def change_text(good: bytes, data: st.DataObject, largest: int) -> bytes:
    """A text with one to three changes."""
    text = good
    for _ in range(data.draw(st.integers(1, 3))):
        text = _changed(text, data, largest)[: 2 * largest]
    return text


def _changed(text: bytes, data: st.DataObject, largest: int) -> bytes:
    kinds = [
        "cut",
        "bytes",
        "line",
        "word",
        "line",
        "word",
        "ends",
        "encoding",
        "comma",
        "repeat",
        "nest",
        "noise",
    ]
    kind = data.draw(st.sampled_from(kinds))
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from(_PIECES))
    if kind == "cut":
        return text[:at]
    if kind == "bytes":
        changed = bytearray(text)
        for _ in range(data.draw(st.integers(1, 5)) if text else 0):
            changed[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "ends":
        return text.replace(b"\n", data.draw(st.sampled_from([b"\r\n", b"\r", b" ", b"\n\n", b"\x0c"])))
    if kind == "encoding":
        encoding = data.draw(
            st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"])
        )
        return text.decode("latin-1").encode(encoding, "ignore")
    if kind == "comma":
        return text.replace(b".", b",")
    if kind == "noise":
        return text[:at] + data.draw(st.binary(max_size=40)) + text[at:]
    if kind == "repeat":
        some = data.draw(
            st.sampled_from([piece, b" ", b"9", b"\n", text[at : at + 40], text[at:], piece + b" "])
        )
        times = data.draw(st.sampled_from([2, 10, 1000, largest])) if some else 0
        return text[:at] + some * min(times, largest // max(len(some), 1)) + text[at:]
    if kind == "nest":
        pair = data.draw(
            st.sampled_from([b"[]", b"{}", b"()", b"? ", b"- ", b"a.", b"<a>", b"&a [", b"{a=", b'{"a":'])
        )
        times = data.draw(st.sampled_from([5, 40, 2000, largest // 4]))
        return text[:at] + (pair if len(pair) > 2 or pair[1:] in b" ." else pair[:1]) * times + text[at:]
    separator = b"\n" if kind == "line" else b" "
    pieces = text.split(separator)
    place = data.draw(st.integers(0, len(pieces) - 1))
    pieces[place : place + 1] = data.draw(
        st.sampled_from([[], [pieces[place]] * 2, [piece], [pieces[place], piece]])
    )
    return separator.join(pieces)


def change_binary(good: bytes, data: st.DataObject, largest: int) -> bytes:
    """Other bytes, fewer, or more."""
    kind = data.draw(st.sampled_from(["cut", "bytes", "bytes", "words", "more"]))
    at = data.draw(st.integers(0, len(good) - 1))
    if kind == "cut":
        return good[:at]
    if kind == "more":
        return good[:at] + data.draw(st.binary(max_size=200)) + good[at:]
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        # The front is where the tags are.
        at = data.draw(st.integers(0, len(good) - 9) | st.integers(0, min(len(good) - 9, 600)))
        if kind == "bytes":
            changed[at] = data.draw(st.integers(0, 255))
        else:
            changed[at : at + 4] = struct.pack(
                "<I", data.draw(st.sampled_from([0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
            )
    return bytes(changed)


def change_mrc(good: bytes, data: st.DataObject, largest: int) -> bytes:
    """Other values in the header of an MRC file."""
    if data.draw(st.integers(0, 4)) == 0:
        return change_binary(good, data, largest)
    values = np.frombuffer(good[:1024], HEADER_DTYPE).copy()
    names = [name for name in HEADER_DTYPE.names or () if values[name].dtype.kind in "iuf"]
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(names))
        kind = values[name].dtype
        extremes = [0, 1, -1, 2, 4, 6, 7, 12, 101, 401, 2**15, 65536, 2**31 - 1, -(2**31), 1684300900]
        drawn = data.draw(st.sampled_from(extremes) | st.integers(-(2**31), 2**31 - 1))
        if kind.kind == "f":
            values[name] = data.draw(st.sampled_from([np.nan, np.inf, -1e38, 1e-40, 3e38, 1.0]))
        else:
            values[name] = np.array(drawn).astype(kind)
    for name in ("cella", "origin"):
        if data.draw(st.booleans()):
            axis = data.draw(st.sampled_from("xyz"))
            values[name][axis] = data.draw(st.sampled_from([np.nan, np.inf, 0, -1e30, 3e38]))
    if data.draw(st.booleans()):
        values["label"][0] = data.draw(st.binary(min_size=80, max_size=80))
    swap = data.draw(st.booleans()) and data.draw(st.booleans())
    return (values.byteswap() if swap else values).tobytes() + good[1024:]


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(
        [0, 1, -1, 2, 16, 4096, 10**30, 1e300, float("nan"), float("inf"), "", "x", "16", "none"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def change_tensors(good: bytes, data: st.DataObject, largest: int) -> bytes:
    """Other descriptions, or other tensors, in a safetensors file."""
    kind = data.draw(st.sampled_from(["bytes", "text", "header", "header", "tensor", "tensor"]))
    if kind == "bytes":
        return change_binary(good, data, largest)
    size = struct.unpack("<Q", good[:8])[0]
    if kind == "text":
        header = change_text(good[8 : 8 + size], data, largest)
        return struct.pack("<Q", len(header)) + header + good[8 + size :]
    metadata = json.loads(good[8 : 8 + size])["__metadata__"]
    described = json.loads(metadata["json"])
    tensors = load(good)
    if kind == "header":
        for _ in range(data.draw(st.integers(1, 2))):
            target = described["network"] if data.draw(st.booleans()) else described
            key = data.draw(st.sampled_from([*target, "more"]))
            if isinstance(target, dict):
                target[key] = data.draw(_VALUES)
            if not isinstance(described["network"], dict):
                break
        metadata["json"] = json.dumps(described)
    else:
        name = data.draw(st.sampled_from(sorted(tensors)))
        how = data.draw(st.sampled_from(["type", "value", "shape", "gone", "new"]))
        if how == "type":
            types = [
                torch.int8,
                torch.bool,
                torch.float16,
                torch.float64,
                torch.bfloat16,
                torch.int64,
                torch.uint8,
            ]
            tensors[name] = tensors[name].to(data.draw(st.sampled_from(types)))
        elif how == "value":
            value = data.draw(st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30]))
            tensors[name] = tensors[name].clone()
            tensors[name].view(-1)[0] = value
        elif how == "shape":
            tensors[name] = tensors[name].reshape(-1)[: data.draw(st.integers(0, 3))].clone()
        elif how == "gone":
            del tensors[name]
        else:
            tensors[data.draw(st.text(max_size=5)) + name] = torch.zeros(data.draw(st.integers(0, 9)))
    return save(tensors, metadata=metadata)


def _etomo(folder: Path) -> None:
    foreign.write_imod(folder)
    (folder / "tilt.com").write_text(
        "$tilt\nTILTFILE TS_1.tlt\nOFFSET 1.5\nSHIFT 0 3\nTHICKNESS 200\nXTILTFILE TS_1.xtilt\n"
        "EXCLUDELIST 1,2-3\nEXCLUDELIST 7\nLOCALFILE x.xf\n"
    )
    (folder / "newst.com").write_text("$newstack\nTransformFile TS_1.xf\n")
    (folder / "TS_1.edf").write_text("#date\nSetup.PixelSize=0.5\nSetup.AxisA.ExcludeProjections=4\n")


def _ctf(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _relion(folder: Path) -> None:
    foreign.write_relion(folder, per_tilt_files=False, halves=False)


def _toml(folder: Path) -> None:
    (folder / "my.toml").write_text(
        'recipe = "deepdewedge"\npaths = ["a.mrc", "b.mrc"]\n\n[fit]\ncube_size = 16\nclip = 5.0\n'
        '[series]\nexclude_tilts = ["1-3,41"]\n\n[tomograms]\ntilt_range = [[-60, 60]]\n'
    )


def _planes(folder: Path) -> None:
    one = MeasuredPlanes(np.arange(-60.0, 61, 30), *np.ones((2, 5, RADII.size)))
    write_planes(folder / "planes.json", (one, one))


def _model(folder: Path) -> None:
    config = NetworkConfig(channels=1, levels=1, convolutions=1)
    weights = UNet(config).state_dict()
    model = Model(weights, config, 16, 0.7, None, None, TiltRange(-60, 60), {"epochs": [], "kept_epoch": 0})
    save_model(folder / "model.safetensors", model)


def _tiff(folder: Path) -> None:
    import tifffile

    frames = np.arange(3 * 8 * 6, dtype=np.uint8).reshape(3, 8, 6)
    tifffile.imwrite(folder / "movie.tif", frames, photometric="minisblack", compression="lzw")


def _mrc(folder: Path) -> None:
    write_mrc(folder / "a.mrc", np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6), 10.0)


def _zarr(version: ZarrVersion) -> Callable[[Path], None]:
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    return lambda folder: write_volume(folder / "a.zarr", values, 10.0, zarr_version=version)


def _read_zarr(path: Path) -> None:
    data = read_volume(path.parents[len(path.parts) - path.parts.index("a.zarr") - 2]).data
    np.asarray(data[0, 0])


def _read_mrc(path: Path) -> None:
    for stack in (False, True):
        np.asarray(read_mrc(path, stack=stack).data[0, 0], dtype=np.float64)


def _read_model(path: Path) -> None:
    model = load_model(path)
    with torch.no_grad():
        assert model.build()(torch.ones(1, 1, 8, 8, 8)).isfinite().all()


def _in_folder(path: Path) -> object:
    return find_series(path.parent.parent if path.parent.name == "tilt_series" else path.parent)


_CTFFIND = (
    "# acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; amplitude contrast: 0.07\n"
    + "".join(f"{i}.0 20000.5 19000.5 {10 * i} 0.0 0.5 {'inf' if i == 2 else '8.5'}\n" for i in range(1, 6))
)
_DEFOCUS = "1 0 0.0 0.0 0 3\n" + "".join(
    f"{i} {i} {10 * i}.0 {10 * i}.0 3000.0 2900.0 45.0\n" for i in range(1, 6)
)
_GCTF = "data_\nloop_\n_rlnDefocusU #1\n_rlnDefocusV #2\n_rlnDefocusAngle #3\n" + "20000 19000 45\n" * 5

READERS = {
    "tlt": Reader(foreign.write_imod, "TS_1.tlt", read_tilt_angles, change_text),
    "xf": Reader(foreign.write_imod, "TS_1.xf", read_xf, change_text),
    "mdoc": Reader(write_serialem, "TS_1.st.mdoc", read_mdoc, change_text),
    "aln": Reader(foreign.write_aretomo, "TS_1.aln", lambda p: aln_geometry(read_aln(p), 5.0), change_text),
    "AreTomo's folder": Reader(foreign.write_aretomo, "TS_1.aln", _in_folder, change_text),
    "metrics": Reader(foreign.write_metrics, "TiltSeries_Metrics.csv", read_metrics, change_text),
    "set star": Reader(_relion, "tomograms.star", find_series, change_text),
    "tilt star": Reader(_relion, "tilt_series/TS_1.star", _in_folder, change_text),
    "IsoNet star": Reader(write_halves, "isonet.star", read_isonet, change_text),
    "particle star": Reader(write_halves, "particles.star", read_particles, change_text),
    "xml": Reader(foreign.write_warp, "TS_1.xml", read_warp, change_text),
    "Warp's folder": Reader(foreign.write_warp, "TS_1.xml", _in_folder, change_text),
    "Warp's settings": Reader(
        foreign.write_warp_project, "warp_tiltseries.settings", find_series, change_text
    ),
    "xml of half tomograms": Reader(
        foreign.write_warp_project, "warp_tiltseries/TS_1.xml", _in_folder, change_text
    ),
    "yaml": Reader(write_halves, "ddw.yaml", read_deepdewedge, change_text),
    "toml": Reader(_toml, "my.toml", lambda p: resolve_config(p, {}), change_text),
    "tilt.com": Reader(_etomo, "tilt.com", lambda p: read_etomo(p.parent, "TS_1"), change_text),
    "edf": Reader(_etomo, "TS_1.edf", lambda p: read_etomo(p.parent, "TS_1"), change_text),
    "IMOD's folder": Reader(_etomo, "tilt.com", _in_folder, change_text),
    "ctffind": Reader(_ctf("a.txt", _CTFFIND), "a.txt", lambda p: read_ctf_file(p, 5), change_text),
    "defocus": Reader(_ctf("a.defocus", _DEFOCUS), "a.defocus", lambda p: read_ctf_file(p, 5), change_text),
    "gctf": Reader(_ctf("a.star", _GCTF), "a.star", lambda p: read_ctf_file(p, 5), change_text),
    "planes json": Reader(_planes, "planes.json", read_planes, change_text),
    "mrc header": Reader(_mrc, "a.mrc", _read_mrc, change_mrc),
    "zarr 3 group": Reader(_zarr("0.5"), "a.zarr/zarr.json", _read_zarr, change_text),
    "zarr 3 array": Reader(_zarr("0.5"), "a.zarr/0/zarr.json", _read_zarr, change_text),
    "zarr 3 shard": Reader(_zarr("0.5"), "a.zarr/0/c/0/0/0", _read_zarr, change_binary),
    "zarr 2 array": Reader(_zarr("0.4"), "a.zarr/0/.zarray", _read_zarr, change_text),
    "zarr 2 chunk": Reader(_zarr("0.4"), "a.zarr/0/0/0/0", _read_zarr, change_binary),
    "tiff": Reader(_tiff, "movie.tif", lambda p: list(movie_frames(read_movie(p))), change_binary),
    "safetensors": Reader(_model, "model.safetensors", _read_model, change_tensors),
}


class Good(NamedTuple):
    """A good folder: the file in it that is changed, and its bytes."""

    path: Path
    content: bytes


def prepare(reader: Reader, folder: Path) -> Good:
    """Write the good folder of a reader; what it imports when it is first used is imported."""
    reader.write(folder)
    path = folder / reader.name
    reader.read(path)
    return Good(path, path.read_bytes())


def read_changed(reader: Reader, good: Good, data: st.DataObject, largest: int) -> bool:
    """Change the file and read it under watch; true if it was read, false if it was refused in one line."""
    good.path.write_bytes(reader.change(good.content, data, largest))
    try:
        with watched():
            reader.read(good.path)
    except InputError as error:
        text = str(error)
        assert text.isprintable() and 0 < len(text) <= 2 * MESSAGE, text
        return False
    return True


@contextmanager
def watched() -> Iterator[None]:
    """Fail for too much computing or memory, for any file that is written, and for any process started."""
    before = signal.signal(signal.SIGPROF, _hang)
    memory = _restarted_peak()
    _acts.clear()
    _watching.append(True)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        _watching.clear()
    taken = _peak() - memory
    assert taken < MOST_BYTES, f"{taken / 1e6:.0f} MB"
    assert not _acts, _acts


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


_watching: list[bool] = []
_acts: list[str] = []
_HARM = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
_EXECUTED = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "pickle.find_class",
)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in (*_HARM, *_EXECUTED) or (event == "open" and set(str(arguments[1] or "")) & set("wax+")):
        _acts.append(f"{event} {arguments[:2]}")


sys.addaudithook(_audit)


def _restarted_peak() -> int:
    """Bytes that are resident now, from which the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
