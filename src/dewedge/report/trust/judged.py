"""What `dewedge trust` said of a tomogram, as its file tells: without what it takes to find that out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from dewedge.errors import InputError, reason
from dewedge.io.nested import parse_json
from dewedge.io.text_files import read_text
from dewedge.runtime.folder import ResultFolder, is_newer

Level = Literal["good", "some", "none", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """Sentence on a tomogram, what to do, and the colour of both."""

    level: Level
    sentence: str
    advice: str


@dataclass(frozen=True)
class Judged:
    """Verdict of `dewedge trust` on the tomogram, and what goes with it.

    Parameters
    ----------
    verdict
        The sentence on top of its page.
    page
        Name of that page, beside this one; empty if there is none.
    withheld
        What it says of tilts that were kept back, if it asked them.
    """

    verdict: Verdict
    page: str
    withheld: Sequence[str] = ()


def judged(folder: ResultFolder) -> Judged | None:
    """Read what `dewedge trust` said of the refined tomogram that is there now; None if it was not asked.

    Raises
    ------
    InputError
        If its file is damaged.
    """
    if not (folder.result.exists() and is_newer(folder.trust, folder.result)):
        return None
    path = folder.trust
    try:
        told = parse_json(path, read_text(path))
        verdict = TypeAdapter(Verdict).validate_python(told["verdict"])
        withheld = (told.get("withheld") or {}).get("told", [])
        sentences = TypeAdapter(list[str]).validate_python(withheld)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({reason(error)}): dewedge trust makes it again") from None
    return Judged(verdict, folder.trust_page.name if folder.trust_page.is_file() else "", sentences)
