"""Reading files a user names, and writing files so that a final name never stands for half a file.

Every failure is an `InputError` that names the file.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dewedge.errors import InputError, UnreadableError, UnwritableError

StrPath = str | os.PathLike[str]

_USER_ERRORS = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ENODEV, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip


@contextmanager
def open_input(path: StrPath) -> Iterator[BinaryIO]:
    """Open a regular file for reading bytes.

    Raises
    ------
    InputError
        If there is no such file, it is a folder, or reading fails (`UnreadableError`).
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a file, this is {'a folder' if path.is_dir() else 'none'}")
        file = open(path, "rb")  # noqa: SIM115
    except (FileNotFoundError, ValueError):  # the latter for a name that no file can have
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from None


def files_and_folders(folder: StrPath) -> tuple[list[Path], list[Path]]:
    """Files and folders in a folder, sorted by name, but for hidden ones and what is neither.

    Raises
    ------
    UnreadableError
        If it cannot be listed, or entered.
    """
    try:
        paths = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
        # Links that lead nowhere, or round, are neither. To enter is another permission than to list.
        return [path for path in paths if path.is_file()], [path for path in paths if path.is_dir()]
    except OSError as error:
        raise UnreadableError(f"{folder}: cannot be read: {error.strerror or error}") from None


def is_file(path: Path) -> bool:
    """True if there is such a file; false for a name that no file can have, as another file may hold it."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """True if there is such a folder; as `is_file` for names that none can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def require_inside(path: Path, store: Path) -> None:
    """Refuse a file that a link in a store leads out of it.

    Raises
    ------
    InputError
        If it does.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(store)):
        raise InputError(f"{path}: leads out of {store} by a link: expected all of a store inside of it")


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; move what was written there to ``path`` at the end.

    The folder is created. The temporary file has a hidden name with the same suffix and is removed if
    the block raises; ``path`` then stays as it was.

    Raises
    ------
    UnwritableError
        If the file cannot be written: no permission, no space, no such device, a folder of that name.
    """
    path = Path(path)
    temporary = path.with_name(f".{_cut(path.stem)}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UnwritableError(f"{path}: cannot be written: it is a folder")
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        # An error about another file, read inside the block, is not ours to explain.
        own = error.filename is None or Path(str(error.filename)) in (temporary, path, *path.parents)
        if own and error.errno in _USER_ERRORS:
            raise unwritable(path, error) from None
        raise
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Give a temporary path as `atomic_path` does, of a folder that is one file to its readers, a Zarr store.

    The block makes it. One that is there must be empty or hold a store, and is replaced. Killed at that
    moment, neither is there; never is half of one.

    Raises
    ------
    UnwritableError
        If it cannot be written, or what is there is something else.
    """
    path = Path(path)
    temporary, old = (path.with_name(f".{_cut(path.stem)}.{secrets.token_hex(4)}{path.suffix}") for _ in "ab")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_store(path)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
        _remove(old)
    except OSError as error:
        _remove(temporary)
        if error.errno in _USER_ERRORS:
            raise unwritable(path, error) from None
        raise
    except BaseException:
        _remove(temporary)
        raise


def require_store(path: Path) -> None:
    """Refuse to replace or remove a folder that is no Zarr store, or a file under a store's name.

    Raises
    ------
    UnwritableError
        If there is one.
    """
    if not path.is_symlink() and path.is_dir():
        if is_store(path) or not any(path.iterdir()):
            return
        raise UnwritableError(f"{path}: cannot be written: it is a folder, and holds no Zarr store")
    if path.exists() or path.is_symlink():
        raise UnwritableError(f"{path}: cannot be written: expected a folder or nothing there, it is a file")


def is_store(path: Path) -> bool:
    """True for a folder of a Zarr group or array, of format 2 or 3."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def remove(path: Path) -> None:
    """Remove a file or a Zarr store, if it is there.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        require_store(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files and Zarr stores, those that are there.

    Raises
    ------
    UnwritableError
        If one cannot be removed.
    """
    for path in paths:
        try:
            remove(path)
        except OSError as error:
            raise unwritable(path, error) from None


def remove_leftovers(path: StrPath) -> None:
    """Remove what killed processes left of ``path`` by its temporary name; no other may write it.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    path = Path(path)
    # Those of a name that is cut may be of another one.
    if not path.parent.is_dir() or _cut(path.stem) != path.stem:
        return
    pattern = re.compile(rf"\.{re.escape(path.stem)}\.[0-9a-f]{{8}}{re.escape(path.suffix)}")
    for name in os.listdir(path.parent):
        if pattern.fullmatch(name):
            leftover = path.with_name(name)
            # Of a store, whatever part of it was written.
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


def unwritable(path: StrPath, error: OSError) -> UnwritableError:
    """The error a user sees when ``path`` cannot be written."""
    return UnwritableError(f"{path}: cannot be written: {error.strerror or error}")


def reserve(path: Path, needed: int) -> None:
    """Refuse to begin a file of so many bytes where there is not the space for it.

    Raises
    ------
    UnwritableError
        If the disk has less.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise UnwritableError(
            f"{path}: not enough space: {needed / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free in "
            f"{path.parent}"
        )


def allocate(descriptor: int) -> None:
    """Give a file its blocks now: writing to a sparse memory map on a full disk would kill the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def write_text_atomic(path: StrPath, text: str) -> None:
    """Write UTF-8 text through `atomic_path`.

    Errors as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _cut(stem: str) -> str:
    """A stem short enough: most file systems take names of 255 bytes."""
    while len(os.fsencode(stem)) > 200:
        stem = stem[:-1]
    return stem


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder may not be there, or not ours: nothing was written
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
