"""What the results of a folder were made of, kept in it: inputs.json, and what has changed since."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dewedge.errors import InputError
from dewedge.io.files import write_text_atomic
from dewedge.io.fingerprint import Fingerprint, fingerprint
from dewedge.io.text_files import read_text

logger = logging.getLogger(__name__)

# Of numbers read from text: machines may differ in the last digits of what is computed of them.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


@dataclass(frozen=True, eq=False)
class Source:
    """Files and values that results are made of.

    Parameters
    ----------
    name
        Of the input.
    files
        Files of images, volumes and masks, which are compared by their fingerprints.
    values
        What was read from metadata files: numbers, texts, lists of them or None, by name.
    results
        Files that are made of it. While none of them exists it may change.
    """

    name: str
    files: Sequence[Path]
    values: Mapping[str, Any]
    results: Sequence[Path]

    @cached_property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """Fingerprints of its files, by path, as they are when this is first asked for.

        Errors as `dewedge.io.fingerprint.fingerprint`.
        """
        return {str(path.absolute()): fingerprint(path) for path in self.files}

    @property
    def is_used(self) -> bool:
        """True if any result exists."""
        return any(path.exists() for path in self.results)


@dataclass(frozen=True, eq=False)
class Record:
    """Fingerprints and values that are kept of a `Source`."""

    files: Mapping[str, Fingerprint]
    values: Mapping[str, Any]

    def difference(self, source: Source) -> str | None:
        """First thing that has changed, in words; None if nothing has. A new time alone is logged.

        Errors as `Source.fingerprints`.
        """
        now = source.fingerprints
        for path in dict.fromkeys([*self.files, *now]):
            if path not in now or path not in self.files:
                word = "no more" if path in self.files else "now"
                return f"{path}: is {word} a file of {source.name}, unlike then"
            difference = self.files[path].difference(now[path])
            if difference is not None:
                return f"{path}: has changed since then ({difference})"
            if self.files[path].modified != now[path].modified:
                logger.info("%s: written anew since then, with the same contents where looked at", path)
        for key in dict.fromkeys([*self.values, *source.values]):
            if not _same(self.values.get(key), source.values.get(key)):
                return f"{source.name}: its {key} is not what was read then"
        return None


def read_records(*paths: Path) -> dict[str, Record]:
    """Read what several files tell, each as `read_record` does, with its errors."""
    return {name: record for path in paths for name, record in read_record(path).items()}


def read_record(path: Path) -> dict[str, Record]:
    """Read what results were made of, by the names of the inputs; nothing if there is no such file.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return {
            name: Record(
                {file: Fingerprint(**found) for file, found in record["files"].items()},
                dict(record["values"]),
            )
            for name, record in json.loads(read_text(path)).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged ({error}): remove it, and nobody knows whether the input has changed"
        ) from error


def write_record(path: Path, sources: Sequence[Source]) -> None:
    """Write what results are made of; what is known of those that exist already stays.

    Errors as `read_record`, `Source.fingerprints` and `dewedge.io.files.atomic_path`.
    """
    known = read_record(path)
    for source in sources:
        if source.name not in known or not source.is_used:
            known[source.name] = Record(source.fingerprints, source.values)
    values = {
        name: {
            "files": {file: asdict(found) for file, found in record.files.items()},
            "values": record.values,
        }
        for name, record in known.items()
    }
    write_text_atomic(path, json.dumps(values) + "\n")


def refuse_changed(path: Path, sources: Sequence[Source]) -> None:
    """Refuse sources of which results exist, and which are not what these were made of.

    Raises
    ------
    InputError
        If one has changed.
    """
    known = read_record(path)
    for source in sources:
        if not source.is_used:
            continue
        if source.name not in known:
            logger.info("%s: %s does not tell what its results were made of", source.name, path.name)
            continue
        difference = known[source.name].difference(source)
        if difference is not None:
            raise InputError(
                f"{difference}: results in {path.parent} were made of what it was: put that back, or give "
                "--overwrite to start again"
            )


def plain(value: Any) -> Any:
    """A value as JSON has it, numbers to seven digits.

    Examples
    --------
    >>> plain({"tilt_deg": np.array([-60.0, 0.123456789]), "path": Path("TS_01.mrc")})
    {'tilt_deg': [-60.0, 0.1234568], 'path': 'TS_01.mrc'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value if isinstance(value, str | int | None) else str(value)


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return then.keys() == now.keys() and all(_same(then[key], now[key]) for key in now)
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(map(_same, then, now))
    if isinstance(then, int | float) and isinstance(now, int | float):
        return bool(np.isclose(then, now, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True))
    return bool(then == now)
