"""Ways to damage the files of a folder."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from good_folders import PAGE
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from dewedge.io.mrc import read_mrc, write_mrc

Damage = Callable[[Path, pytest.MonkeyPatch], object]


def text(name: str, change: Callable[[str], str]) -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / name).write_bytes(change((folder / name).read_text("utf-8-sig")).encode())

    return damage


def raw(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda folder, _: (folder / name).write_bytes(change((folder / name).read_bytes()))


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Damage:
    return text(name, lambda content: "\n".join(change(content.splitlines())) + "\n")


def header(name: str = "TS_1.st", **fields: Any) -> Damage:
    """Other values in the header of an MRC file."""

    def change(content: bytes) -> bytes:
        values = np.frombuffer(content[:1024], HEADER_DTYPE).copy()
        for field, value in fields.items():
            values[field] = value
        return values.tobytes() + content[1024:]

    return raw(name, change)


def mode(number: int, dtype: str, **fields: Any) -> Damage:
    """The stack in another mode, with the same values."""

    def change(content: bytes) -> bytes:
        values = np.frombuffer(content[1024:], "<f4").astype(dtype)
        return content[:1024] + values.tobytes()

    def damage(folder: Path, patch: pytest.MonkeyPatch) -> None:
        raw("TS_1.st", change)(folder, patch)
        header(mode=number, **fields)(folder, patch)

    return damage


def big_endian(content: bytes) -> bytes:
    values = np.frombuffer(content[:1024], HEADER_DTYPE).copy()
    values["machst"] = (0x11, 0x11, 0, 0)
    swapped = values.astype(HEADER_DTYPE.newbyteorder(">")).tobytes()
    return swapped + np.frombuffer(content[1024:], "<f4").astype(">f4").tobytes()


def imod_stamp(sign: int) -> bytes:
    """Bytes 152 to 160 of the header begin at byte 56 of extra2."""
    return np.array([1146047817, sign], "<i4").tobytes()


def unsigned(folder: Path, patch: pytest.MonkeyPatch) -> None:
    mode(0, "u1")(folder, patch)
    raw("TS_1.st", lambda content: content[:152] + imod_stamp(0) + content[160:])(folder, patch)


def folder_in_place(name: str) -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def renamed(root: str) -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        for path in list(folder.glob("TS_1.*")):
            path.rename(folder / path.name.replace("TS_1", root))

    return damage


def loop(name: str) -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / name).unlink(missing_ok=True)
        os.symlink("other", folder / name)
        os.symlink(name, folder / "other")

    return damage


def folders_in_a_ring(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "more").mkdir()
    os.symlink("..", folder / "more" / "up")


def with_loop_and_folder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "more").mkdir()
    loop("loop")(folder, patch)


def full_disk(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "posix_fallocate", refuse, raising=False)
    patch.setattr(os, "fsync", refuse)


def read_only(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As a folder without permission is to anyone but root."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    patch.setattr(os, "replace", refuse)


def in_radians(content: str) -> str:
    return "\n".join(f"{np.radians(float(word)):.5f}" for word in content.split()) + "\n"


def angles_in_radians(name: str) -> Damage:
    """The angles of an mdoc or of Warp's .xml."""

    def convert(match: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d+", lambda number: f"{np.radians(float(number[0])):.5f}", match[0])

    pattern = re.compile(r"TiltAngle = \S+|<Angles>.*?</Angles>", re.DOTALL)
    return text(name, lambda content: pattern.sub(convert, content))


def crlf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def bom(content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content


def comma(content: bytes) -> bytes:
    return content.replace(b".", b",")


def html(_: str) -> str:
    return PAGE


def of_volume(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        write_mrc(folder / name, change(np.array(read_mrc(folder / name).data)), 10.0)

    return damage


def images(change: Callable[[NDArray[Any]], NDArray[Any]], name: str = "TS_1.st") -> Damage:
    def damage(folder: Path, _: pytest.MonkeyPatch) -> None:
        stack = read_mrc(folder / name, stack=True)
        write_mrc(folder / name, change(np.array(stack.data)), stack.voxel_size_A, stack=True)

    return damage


def copied(source: str, target: str) -> Damage:
    return lambda folder, _: shutil.copy(folder / source, folder / target)


def removed(name: str) -> Damage:
    return lambda folder, _: (folder / name).unlink()


def pickled(_: bytes) -> bytes:
    return pickle.dumps({"weights": [1.0]})


def cut(name: str, length: int) -> Damage:
    return raw(name, lambda content: content[:length])
