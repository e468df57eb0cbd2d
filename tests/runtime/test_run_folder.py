"""The output folder of a verb: refused, begun, resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.log import stop_messages
from dewedge.runtime.run_folder import RunFolder, require_output
from dewedge.settings.file import resolve_config

ALONE = Fabric(accelerator="cpu", devices=1)


def folder(path: Path, bin: int = 1, **given: Any) -> RunFolder:
    config = resolve_config(None, {"output": path, "reconstruct": {"bin": bin}})
    tomograms = [ResultFolder(path / name) for name in ("a", "b")]
    return RunFolder(path, config=config, verb="run", tomograms=tomograms, **given)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder in which a run was begun and left a tomogram and a part of another one."""
    with folder(tmp_path / "OUT").begun(ALONE):
        stop_messages()
    first = ResultFolder(tmp_path / "OUT" / "a")
    first.path.mkdir()
    for path in (first.full, first.half0.with_name(".half0.0123abcd.mrc")):
        path.write_text("")
    return tmp_path / "OUT"


def test_an_empty_folder_is_usable_and_begun_with_log_and_settings(tmp_path: Path):
    new = folder(tmp_path / "OUT")
    new.require_usable([])
    assert not new.path.exists()
    with new.begun(ALONE):
        stop_messages()
    assert {path.name for path in new.path.iterdir()} == {"config.toml", "inputs.json", "dewedge.log"}


def test_what_is_there_is_not_replaced_unasked(begun: Path):
    with pytest.raises(InputError, match=r"already holds a run \(config.toml\): give --resume"):
        folder(begun).require_usable([])
    folder(begun, bin=2, overwrite=True).require_usable([])
    folder(begun, resume=True).require_usable([])
    with pytest.raises(InputError, match=r"reconstruct\.bin = 1, not 2; resume with the same settings"):
        folder(begun, bin=2, resume=True).require_usable([])
    with pytest.raises(InputError, match="is an input that a result would replace"):
        folder(begun, overwrite=True).require_usable([begun / "b" / "mask.mrc"])


def test_what_cannot_be_meant(tmp_path: Path):
    with pytest.raises(InputError, match="got both"):
        folder(tmp_path, resume=True, overwrite=True)
    with pytest.raises(InputError, match=r"nothing to resume: expected the config\.toml of an earlier run"):
        folder(tmp_path, resume=True)
    with pytest.raises(InputError, match="expected -o FOLDER"):
        require_output(None)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_leftovers_go_and_results_stay_when_resuming(begun: Path, how: str):
    with folder(begun, **{how: True}).begun(ALONE):
        stop_messages()
    assert [path.name for path in (begun / "a").iterdir()] == (["full.mrc"] if how == "resume" else [])


def test_an_interruption_tells_how_to_resume(tmp_path: Path):
    with (
        pytest.raises(KeyboardInterrupt, match=f"continue with: dewedge run --resume -o {tmp_path}"),
        folder(tmp_path).begun(ALONE),
    ):
        stop_messages()
        raise KeyboardInterrupt


def test_newer(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    assert not is_newer(new, old)
    new.write_text("")
    assert is_newer(new, old) and is_newer(old, old)
