"""Parts that all figures share: greys, scale bar, writing."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import reason
from dewedge.io.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

PERCENTILES = (0.5, 99.5)
DPI = 150


@contextmanager
def dispensable(path: Path) -> Iterator[None]:
    """Warn, and go on, where a figure or page cannot be made, whatever the reason: results do without.

    An interrupt is none, even where a library made another error of it, as an extension that it met while it
    was imported does.
    """
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None:
            if isinstance(behind, KeyboardInterrupt):
                raise behind from None
            behind = behind.__cause__ or behind.__context__
        logger.warning("%s: not made: %s: %s", path, type(error).__name__, reason(error))
        logger.debug("traceback", exc_info=True)


def write_figure(path: Path, make: Callable[[], Figure]) -> None:
    """Write a figure as PNG, in matplotlib's own style, whatever a matplotlibrc says.

    The file appears whole or not at all; where it cannot be made, a warning is logged.
    """
    with dispensable(path):
        import matplotlib.style

        with matplotlib.style.context("default"), atomic_path(path) as temporary:
            make().savefig(temporary, format="png", dpi=DPI)


def png(make: Callable[[], Figure], page: Path) -> bytes:
    """A figure as PNG for a page that holds it, in matplotlib's own style; nothing if it cannot be made."""
    buffer = io.BytesIO()
    with dispensable(page):
        import matplotlib.style

        with matplotlib.style.context("default"):
            make().savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def image_tag(data: bytes, text: str) -> str:
    """A PNG within an HTML page, with the text that stands for it; a word about it if there is none."""
    if not data:
        return "<p>It could not be drawn.</p>"
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(data).decode("ascii")}">'


def grey_limits(sections: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Black and white of a volume: percentiles of all its sections, of any shape, that are shown."""
    values = np.concatenate([np.asarray(section, dtype=np.float32).ravel() for section in sections])
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high) if high > low else float(low) + 1


def show_section(
    axes: Axes,
    section: NDArray[Any],
    limits: tuple[float, float],
    label: str,
    opacity: NDArray[np.float64] | None = None,
) -> None:
    """Draw an ``(up, right)`` section in a thin frame; its label, the two axes' names, in a corner.

    ``limits`` are its black and white. Where an opacity from 0 to 1, of the section's shape, is given, it
    fades to the white of the page.
    """
    from matplotlib.patheffects import withStroke

    axes.imshow(
        np.asarray(section, dtype=np.float32),
        cmap="gray",
        alpha=opacity,
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        interpolation="nearest",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, edgecolor="0.6")
    axes.annotate(
        label,
        (0, 1),
        (4, -4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        color="white",
        fontsize=9,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def add_scale_bar(axes: Axes, voxel_size_A: float, width: int) -> None:
    """Draw a bar of about a quarter of the width of a section of ``width`` voxels, and its length."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    length_A = round_length(width * voxel_size_A / 4)
    length = length_A / voxel_size_A
    height = axes.get_ylim()[1] + 0.5
    margin, thickness = 0.04 * width, max(0.012 * height, 0.6)
    bar = Rectangle((margin, margin), length, thickness, facecolor="white", edgecolor="black", linewidth=0.5)
    axes.add_patch(bar)
    axes.annotate(
        length_text(length_A),
        (margin + length / 2, margin + thickness),
        (0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color="white",
        fontsize=9,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``length``.

    Examples
    --------
    >>> round_length(340.0), round_length(0.5)
    (200.0, 0.5)
    """
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def length_text(length_A: float) -> str:
    """Length as people read it.

    Examples
    --------
    >>> length_text(500), length_text(20_000)
    ('50 nm', '2 µm')
    """
    return f"{length_A / 10:g} nm" if length_A < 10000 else f"{length_A / 10000:g} µm"
