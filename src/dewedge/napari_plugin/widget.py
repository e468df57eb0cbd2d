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
from dewedge.report.trust.judged import judged
from dewedge.runtime.folder import ResultFolder

if TYPE_CHECKING:
    import napari

# Stems of files, by which layers are known.
FULL, REFINED = "full", "refined"
NOTHING = "nothing"
LINK = "#3a8fff"  # to be read on napari's dark theme and on the light one


class RunWidget(Container):
    """Look at a run, one tomogram at a time.

    Parameters
    ----------
    viewer
        Gets the layers of the tomogram that is chosen; those of the one before are taken out.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._folders: dict[str, ResultFolder] = {}
        # By the stems of their files.
        self._layers: dict[str, Any] = {}
        super().__init__(
            widgets=[
                FileEdit(name="run", mode="d"),
                ComboBox(name="tomogram", visible=False),
                FloatSlider(name="share", label=f"{FULL} to {REFINED}", value=1.0, max=1.0),
                ComboBox(name="overlay", choices=[NOTHING]),
                Label(name="verdict"),
            ]
        )
        self.verdict.native.setWordWrap(True)
        self.verdict.native.setOpenExternalLinks(True)
        self.run.changed.connect(self._open)
        self.tomogram.changed.connect(self._show)
        self.share.changed.connect(self._fade)
        self.overlay.changed.connect(self._lay_over)

    def _open(self, path: Path) -> None:
        """Offer the tomograms of a run, and show the first."""
        try:
            self._folders = {folder.name: folder for folder in run_tomograms(path)}
        except InputError as error:
            show_error(str(error))
            return
        names = list(self._folders)
        with self.tomogram.changed.blocked():
            self.tomogram.choices = names
            self.tomogram.value = names[0]
        self.tomogram.visible = len(names) > 1
        self._show(names[0])

    def _show(self, name: str) -> None:
        """Show a tomogram in the place of the one before."""
        try:
            found = tomogram_layers(self._folders[name])
            told = verdict_html(self._folders[name])
        except InputError as error:
            show_error(str(error))
            return
        for layer in self._layers.values():
            # It may have been taken out by hand.
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = {stem: self._viewer.add_layer(Layer.create(*data)) for stem, data in found.items()}
        self._viewer.layers.selection.active = self._layers.get(REFINED, self._layers[FULL])
        self.verdict.value = told
        self.overlay.choices = [NOTHING, *(stem for stem in found if stem not in (FULL, REFINED))]
        self._fade(self.share.value)
        self._lay_over(self.overlay.value)

    def _fade(self, share: float) -> None:
        """Draw the result over the reconstruction so strongly, from 0 to 1."""
        if REFINED in self._layers:
            self._layers[REFINED].opacity = share

    def _lay_over(self, chosen: str) -> None:
        """Show one of the volumes of `dewedge trust`, or none."""
        for stem, layer in self._layers.items():
            if stem not in (FULL, REFINED):
                layer.visible = stem == chosen


def verdict_html(folder: ResultFolder) -> str:
    """Verdict of `dewedge trust` on a tomogram as HTML, and links to its pages.

    Raises
    ------
    InputError
        If the file of it is damaged.
    """
    told = judged(folder)
    if told is None:
        text = "dewedge trust tells how far what fills the missing wedge is to be believed."
    else:
        text = f"{told.verdict.sentence} {told.verdict.advice}"
    pages = [page for page in (folder.report, folder.trust_page) if page.is_file()]
    addresses = {page.name: escape(page.absolute().as_uri()) for page in pages}
    links = [f'<a style="color: {LINK}" href="{address}">{name}</a>' for name, address in addresses.items()]
    return "<br>".join([escape(text), *links])
