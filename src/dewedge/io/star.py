"""Tables of STAR files as text, so that a name made of digits stays a name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dewedge import limits
from dewedge.errors import InputError, reason, shown
from dewedge.geometry import Floats
from dewedge.io import text_files
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.names import require_utf8
from dewedge.io.text_files import read_text

if TYPE_CHECKING:
    from gemmi import cif

Table = dict[str, list[str]]

# What programs write where a column has no value.
_NOTHING = ("", "None", "none", "null", "<NA>", "nan", "?", ".")


def read_star(path: StrPath) -> dict[str, Table]:
    """Blocks of a STAR file by name: columns (without the leading _) of text; pairs make a table of one row.

    Raises
    ------
    InputError
        If the file cannot be read, is no STAR file, or has a table wider than is believed.
    """
    from gemmi import cif

    blocks: dict[str, Table] = {}
    for block in _document(path, read_text(path)):
        table: Table = {}
        for item in block:
            pair: list[str] | None = item.pair  # type: ignore[assignment]
            loop = item.loop
            if pair is not None:
                table[_name(pair[0])] = [_text(cif.as_string(pair[1]))]
            elif loop is not None:
                width, values = loop.width(), list(loop.values)
                if width > limits.COLUMNS:
                    raise InputError(f"{path}: a table of {width} columns: expected at most {limits.COLUMNS}")
                # A block of pairs and a loop, or of two loops, is none of this field's tables.
                table = {
                    _name(tag): [_text(cif.as_string(value)) for value in values[i::width]]
                    for i, tag in enumerate(loop.tags)
                }
        blocks[_text(block.name).strip()] = table
    return blocks


def write_star(path: StrPath, blocks: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
    """Write tables, each as a loop; numbers in full precision.

    Raises
    ------
    InputError
        If a value cannot be written to a STAR file, or the file cannot be written.
    """
    lines: list[str] = []
    for name, table in blocks.items():
        lines += ["", f"data_{name}", "", "loop_"]
        lines += [f"_{column} #{i}" for i, column in enumerate(table, start=1)]
        for row in zip(*table.values(), strict=True):
            lines.append(" ".join(_word(value) for value in row))
        lines.append("")
    write_text_atomic(path, "\n".join(lines))


def copy_star(path: StrPath, output: StrPath, key: str, column: str, values: Mapping[str, str]) -> None:
    """Copy a STAR file with one column of its tables set; other tables, columns and pairs stay as they are.

    Parameters
    ----------
    key
        Column that names the rows; tables without it stay as they are.
    column
        Column that is set or, where it is not there, added as the last one.
    values
        Its value in the row of each name; ``N/A``, as in RELION, in other rows.

    Raises
    ------
    InputError
        If the file cannot be read or is no STAR file, a value cannot be written, or the output cannot.
    """
    from gemmi import cif

    text = read_text(path)
    document = _document(path, text)

    def value(name: str) -> str:
        return _word(values.get(_text(cif.as_string(name)), "N/A"))

    for block in document:
        loop, pair = block.find_loop(f"_{key}").get_loop(), block.find_pair(f"_{key}")
        if loop is not None:
            if f"_{column}" not in loop.tags:
                loop.add_columns([f"_{column}"], "N/A")
            of_key, of_column = (list(loop.tags).index(f"_{name}") for name in (key, column))
            for row in range(loop.length()):
                loop[row, of_column] = value(loop[row, of_key])
        elif pair is not None:
            block.set_pair(f"_{column}", value(pair[1]))
    # The library drops comments; RELION reads the version of its own format from one before each block.
    version = re.search(r"^# version \d{1,9}", text, flags=re.MULTILINE)
    mark = "" if version is None else f"\n{version[0]}\n\n"
    written = re.sub(r"^(?=data_)", mark, document.as_string(), flags=re.MULTILINE)
    write_text_atomic(output, _text(written))


def numbers(path: StrPath, table: Table, column: str, default: float | None = None) -> Floats:
    """``(rows,)`` numbers of a column; ``default`` where the column is absent.

    Raises
    ------
    InputError
        If the column is absent and there is no default, or a value is not a finite number.
    """
    rows = len(next(iter(table.values()), []))
    if column not in table:
        if default is None:
            raise InputError(f"{path}: no column {column}: expected one number for each row")
        return np.full(rows, default)
    values = text_files.numbers(table[column])
    if values is None:
        raise InputError(f"{path}: expected numbers in column {column}")
    return np.array(values)


def number(path: StrPath, table: Table, column: str, row: int = 0) -> float | None:
    """The number of one row; None if the column is absent or the row has none there.

    Raises
    ------
    InputError
        If something else is there.
    """
    text = words(table, column, row)
    if text is None:
        return None
    value = text_files.number(text)
    if value is None:
        raise InputError(f"{path}: expected a number in column {column}, got {shown(text)}")
    return value


def words(table: Table, column: str, row: int = 0) -> str | None:
    """The text of one row; None if the column is absent or the row has nothing there."""
    text = table[column][row] if column in table else ""
    return None if text in _NOTHING else text


def require_few_rows(path: StrPath, table: Table) -> None:
    """Refuse a table of tilt images or tomograms of more rows than there are of either.

    Raises
    ------
    InputError
        If it has more.
    """
    rows = len(next(iter(table.values()), []))
    if rows > limits.TILTS:
        raise InputError(f"{path}: a table of {rows} rows: expected at most {limits.TILTS}")


def find_named(name: str, beside: StrPath) -> Path:
    """The file a STAR file names: as given from the working folder, else from its folder or one above it.

    RELION's names count from the folder of the project. What does not exist anywhere is returned as it
    would lie in the folder of the STAR file.
    """
    given = Path(name)
    folder = Path(beside).absolute().parent
    with suppress(OSError, ValueError):  # a name that no file can have
        for candidate in (given, *(parent / given for parent in (folder, *folder.parents))):
            if candidate.exists():
                return candidate
    return folder / given


def name_within(path: StrPath, folder: StrPath) -> str:
    """Name by which a STAR file of a folder gives a file: its path from there, or its full one elsewhere.

    Examples
    --------
    >>> name_within("/project/rec/TS_01.mrc", "/project")
    'rec/TS_01.mrc'
    >>> name_within("/scratch/TS_01.mrc", "/project")
    '/scratch/TS_01.mrc'
    """
    full, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return str(full.relative_to(base) if full.is_relative_to(base) else full)


def _document(path: StrPath, text: str) -> cif.Document:
    """A STAR file as the library has it, letters beyond ASCII as references.

    The library takes none, as the format was defined; names of files have them.
    """
    from gemmi import cif

    try:
        return cif.read_string(text.encode("ascii", "xmlcharrefreplace").decode())
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a STAR file: {reason(error)}") from None


def _text(value: str) -> str:
    """Undo what `_document` did to letters beyond ASCII; it wrote no control characters."""
    return re.sub(r"&#(\d{3,7});", lambda match: _letter(int(match[1])), value)


def _letter(code: int) -> str:
    return chr(code) if code < 0xD800 or 0xDFFF < code <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"


def _name(tag: str) -> str:
    return tag.removeprefix("_")


def _word(value: object) -> str:
    from gemmi import cif

    if isinstance(value, float | np.floating):
        return repr(float(value))
    text = str(value)
    require_utf8(text)
    # gemmi would write ; blocks over several lines where a name holds both kinds of quotes.
    if "\n" in text or ('"' in text and "'" in text):
        raise InputError(f"{shown(text)}: cannot be written to a STAR file: rename it")
    return text if re.fullmatch(r"[\w./:@+\[\],-]+", text) and text[0] not in "_[" else str(cif.quote(text))
