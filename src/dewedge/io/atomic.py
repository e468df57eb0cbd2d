"""Writing files so that a final name never stands for half a file."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dewedge.errors import UnwritableError
from dewedge.io.inputs import StrPath

_USER_ERRORS = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ENODEV, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip


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
    # The stem is cut because the longest file name most file systems take has 255 bytes.
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}{path.suffix}")
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


def unwritable(path: StrPath, error: OSError) -> UnwritableError:
    """The error a user sees when ``path`` cannot be written."""
    return UnwritableError(f"{path}: cannot be written: {error.strerror or error}")


def write_text_atomic(path: StrPath, text: str) -> None:
    """Write UTF-8 text through `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder may not be there, or not ours: nothing was written
        path.unlink(missing_ok=True)
