"""The widget in napari's own model of a viewer, without a window.

Needs ``pip install '.[napari]' 'napari[pyqt6]'``, or another Qt binding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dewedge.runtime.folder import ResultFolder

# Importing napari warns of what its own dependencies do.
pytestmark = [pytest.mark.napari, pytest.mark.filterwarnings("default::DeprecationWarning")]
MANIFEST = Path(__file__).parents[2] / "src" / "dewedge" / "napari_plugin" / "napari.yaml"


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari", reason="needs napari")
    try:
        from qtpy.QtWidgets import QApplication
    except Exception as error:
        pytest.skip(f"needs a Qt binding: {error}")
    yield QApplication.instance() or QApplication([])


@pytest.fixture
def viewer(application: Any) -> Any:
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def widget(viewer: Any) -> Any:
    from dewedge.napari_plugin.widget import RunWidget

    return RunWidget(viewer)


def visible(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_napari_takes_the_manifest() -> None:
    npe2 = pytest.importorskip("npe2", reason="needs npe2, which comes with napari")
    npe2.PluginManifest.from_file(MANIFEST).validate_imports()


def test_a_run_is_faded_and_laid_over(viewer: Any, widget: Any, run: ResultFolder) -> None:
    widget.run.value = run.path
    assert visible(viewer) == ["TS_01: full", "TS_01: refined"]
    assert [str(unit) for unit in viewer.layers[0].units] == ["angstrom"] * 3
    widget.share.value = 0.25
    assert [layer.opacity for layer in viewer.layers][:2] == [1.0, 0.25]
    widget.overlay.value = "refined_added"
    assert visible(viewer)[2:] == ["TS_01: refined_added"]
    widget.overlay.value = "refined_uncertainty"
    assert visible(viewer)[2:] == ["TS_01: refined_uncertainty"]
    widget.overlay.value = "nothing"
    assert visible(viewer) == ["TS_01: full", "TS_01: refined"]


def test_the_verdict_is_told_with_a_link_to_the_report(widget: Any, run: ResultFolder) -> None:
    widget.run.value = run.path
    told = widget.verdict.value
    assert "Down to 90 Å &amp; no further. Look at xy." in told
    assert f'href="{run.report.as_uri()}"' in told and "trust.html" not in told
    # Of an earlier result it says nothing.
    os.utime(run.trust, (0, 0))
    widget.run.value = run.path.parent
    widget.run.value = run.path
    assert "Down to" not in widget.verdict.value


def test_tomograms_of_a_run_take_each_others_place(viewer: Any, widget: Any, several: ResultFolder) -> None:
    widget.run.value = several.path
    assert widget.tomogram.choices == ("TS_01", "TS_02")
    assert visible(viewer) == ["TS_01: full", "TS_01: refined"]
    viewer.layers.remove("TS_01: full")
    widget.tomogram.value = "TS_02"
    assert [layer.name for layer in viewer.layers] == ["TS_02: full"]


def test_a_folder_that_is_no_run_changes_nothing(
    viewer: Any, widget: Any, run: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dewedge.napari_plugin import widget as module

    said: list[str] = []
    monkeypatch.setattr(module, "show_error", said.append)
    widget.run.value = run.path
    before = list(viewer.layers)
    widget.run.value = run.path.parent
    assert [line.endswith("as dewedge run writes them") for line in said] == [True]
    assert list(viewer.layers) == before
    # What is damaged takes nothing away, either.
    run.trust.write_text("{")
    widget.run.value = run.path
    assert len(said) == 2 and "trust.json" in said[1]
    assert list(viewer.layers) == before
