"""What the log of a run tells of it: command, versions, times, warnings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dewedge.io.text_files import read_text

# Lines as `dewedge.runtime.log` writes them.
_LINE = re.compile(r"\S+ \S+ (\w+) +(.*)")
_COMMAND = re.compile(r"(dewedge \S+): (.*)")
# Before the versions stands the name of the machine, which is nobody else's business.
_VERSIONS = re.compile(r"[^,]*, (.*), (Python \S+, torch \S+, numpy \S+)")
_MACHINE = re.compile(r"\d+ CPU cores, \d+ threads")
_DEVICE = re.compile(r".*, \d+ process\(es\)")
_NOT_DONE = re.compile(r"not done: (.+?): (.*)")
_EARLIER = re.compile(r"finished earlier: (.+?): (.*)")
# Times as `dewedge.runtime.log.duration` writes them: what else a damaged log has there is no step.
_STEP = re.compile(r"(.*): (\d{1,9}(?:\.\d|(?::\d\d){1,2})? (?:s|min|h)), peak memory (.*)")


@dataclass(frozen=True)
class Logged:
    """Facts, steps and warnings of one run, with all that resumed it.

    Parameters
    ----------
    facts
        Command, versions and machine, by name; the last where it was resumed.
    steps
        Name of each step that was done, how long it took, and the peak of memory until then.
    warnings
        As they were told, without the word.
    not_done
        Why inputs were not done, by name, when it ended last.
    earlier
        What is to be said of tomograms of which it took what was there, by name; when it was resumed last.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[tuple[str, str, str]] = ()
    warnings: Sequence[str] = ()
    not_done: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds of all steps together."""
        return sum(in_seconds(took) for _, took, _ in self.steps)


def in_seconds(text: str) -> float:
    """Seconds of what `dewedge.runtime.log.duration` wrote.

    Examples
    --------
    >>> in_seconds("2:00:10 h")
    7210.0
    """
    seconds = 0.0
    for part in text.split()[0].split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def read_log(path: Path) -> Logged:
    """Read what a log tells of its last run; nothing if there is none.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    facts: dict[str, str] = {}
    steps: list[tuple[str, str, str]] = []
    warnings: dict[str, None] = {}
    not_done: dict[str, str] = {}
    earlier: dict[str, str] = {}
    for line in read_text(path).splitlines() if path.is_file() else ():
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        level, message = parts.groups()
        if level == "WARNING":
            warnings[message.removeprefix("warning: ")] = None
        elif command := _COMMAND.fullmatch(message):
            if not {"--resume", "--share"} & set(command[2].split()):
                # Another run, which replaced what was there before.
                facts, steps, warnings = {}, [], {}
            not_done, earlier = {}, {}
            facts.setdefault("command", command[2])
            facts["versions"] = command[1]
        elif versions := _VERSIONS.fullmatch(message):
            facts["versions"] = f"{facts.get('versions', 'dewedge')}, {versions[2]}"
            facts["system"] = versions[1]
        elif _MACHINE.fullmatch(message):
            facts["machine"] = message
        elif _DEVICE.fullmatch(message):
            facts["computed on"] = message
        elif done := _STEP.fullmatch(message):
            steps.append((done[1], done[2], done[3]))
        elif left := _NOT_DONE.fullmatch(message):
            not_done[left[1]] = left[2]
        elif there := _EARLIER.fullmatch(message):
            earlier[there[1]] = there[2]
    return Logged(facts, steps, tuple(warnings), not_done, earlier)
