"""Whatever a file holds: it is read, or one line says why not; benchmarks/fuzz.py tries more."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import LARGEST, MOST_BYTES, READERS, Hang, prepare, read_changed, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUTS = 200

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux"
)


@pytest.mark.parametrize("name", READERS)
def test_a_hostile_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    good = prepare(reader, tmp_path)

    @settings(
        max_examples=INPUTS,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        read_changed(reader, good, data, LARGEST)

    try_one()


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    with pytest.raises(Hang), watched():
        signal.raise_signal(signal.SIGPROF)
    with pytest.raises(AssertionError, match="MB"), watched():
        len(b"x" * int(1.5 * MOST_BYTES))
    with pytest.raises(AssertionError, match="open"), watched():
        (tmp_path / "a").write_text("b")
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"), watched():
        subprocess.run([sys.executable, "-c", ""], check=True)
