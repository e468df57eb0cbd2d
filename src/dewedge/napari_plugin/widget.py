"""The widget of napari: before and after, what dewedge trust found laid over them, and its verdict."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FileEdit, FloatSlider, Label
from napari.layers import Layer
from napari.utils.notifications import show_error

from dewedge.errors import InputError
from dewedge.napari_plugin.layers import tomogram_layers
from dewedge.napari_plugin.reader import run_tomograms
from dewedge.runtime.folder import ResultFolder

if TYPE_CHECKING:
    import napari

NOTHING = "nothing"


class RunWidget(Container):
    """Look at a run, one tomogram at a time.

    Parameters
    ----------
    viewer
        Gets the layers of the tomogram that is chosen; those of the one before are taken out.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._layers: dict[Path, Any] = {}
        super().__init__(
            widgets=[
                FileEdit(name="run", mode="d", label="run"),
                ComboBox(name="tomogram", visible=False),
                FloatSlider(name="after", label="full to refined", value=1.0, max=1.0),
                ComboBox(name="overlay", choices=[NOTHING]),
                Label(name="verdict"),
            ]
        )
        self.verdict.native.setWordWrap(True)
        self.verdict.native.setOpenExternalLinks(True)
        self.run.changed.connect(self._open)
        self.tomogram.changed.connect(self._show)
        self.after.changed.connect(self._fade)
        self.overlay.changed.connect(self._lay_over)

    def _open(self, path: Path) -> None:
        """Offer the tomograms of a run, and show the first."""
        try:
            folders = run_tomograms(path)
        except InputError as error:
            show_error(str(error))
            return
        with self.tomogram.changed.blocked():
            self.tomogram.choices = [(folder.name, folder) for folder in folders]
        self.tomogram.visible = len(folders) > 1
        self._show(folders[0])

    def _show(self, folder: ResultFolder) -> None:
        """Show a tomogram in the place of the one before."""
        try:
            found = tomogram_layers(folder)
            self.verdict.value = verdict_html(folder)
        except InputError as error:
            show_error(str(error))
            return
        for layer in self._layers.values():
            # It may have been taken out by hand.
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = {path: self._viewer.add_layer(Layer.create(*data)) for path, data in found.items()}
        self._viewer.scale_bar.visible = True
        overlays = [path for path in found if path not in (folder.full, folder.result)]
        self.overlay.choices = [NOTHING, *((path.stem, path) for path in overlays)]
        self._fade(self.after.value)

    def _fade(self, opacity: float) -> None:
        """Draw the result over the reconstruction so strongly, from 0 to 1."""
        folder = self.tomogram.value
        if folder is not None and folder.result in self._layers:
            self._layers[folder.result].opacity = opacity

    def _lay_over(self, chosen: Path | str) -> None:
        """Show one of the volumes of `dewedge trust`, or none."""
        for choice in self.overlay.choices:
            if choice in self._layers:
                self._layers[choice].visible = choice == chosen


def verdict_html(folder: ResultFolder) -> str:
    """What `dewedge trust` said of a tomogram, and links to its pages.

    Raises
    ------
    InputError
        If the file of it is damaged.
    """
    # With it comes torch.
    from dewedge.pipeline.report import judged

    told = judged(folder)
    if told is None:
        text = f"dewedge trust {folder.path} tells how far what fills the missing wedge is to be believed."
    else:
        text = f"{told.verdict.sentence} {told.verdict.advice}"
    pages = [page for page in (folder.report, folder.trust_page) if page.is_file()]
    links = [f'<a href="{escape(page.absolute().as_uri())}">{page.name}</a>' for page in pages]
    return "<br>".join([escape(text), *links])
