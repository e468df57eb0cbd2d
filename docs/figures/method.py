"""Draw the figures of docs/explain: python docs/figures/method.py, with dewedge installed.

Masks, planes, weights of the loss and places on the detector are computed by the package itself.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.learn.batch import Batch
from dewedge.learn.loss import dewedge_loss
from dewedge.physics.projection import project
from dewedge.physics.transfer import MeasuredPlanes, Transfer, constant

IMAGES = Path(__file__).parents[1] / "images"

# Colours of Okabe and Ito, which the colour-blind can tell apart.
ORANGE, SKY, GREEN, BLUE, VERMILION = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
MEASURED, ADDED, NEUTRAL, NOTHING = "#D6EBF8", "#FBE3C2", "#EEEEEE", "#22243B"
ROUNDED = "round,pad=0,rounding_size=1"  # boxes

CUBE = 48  # edge in voxels of the cubes of a fit
SAMPLES = 193  # along each axis of the spectra that are drawn; odd, without Nyquist frequencies
HALF_SET_DEG = np.arange(-60.0, 61.0, 6.0)  # every second tilt of a series by 3 degrees
TURN_DEG = 45.0


def main() -> None:
    """Write all figures."""
    matplotlib.rcParams.update({"svg.hashsalt": "dewedge", "font.size": 9})
    IMAGES.mkdir(exist_ok=True)
    drawn = io.BytesIO()
    masks_figure().savefig(drawn, dpi=120)
    Image.open(drawn).convert("RGB").quantize(192).save(IMAGES / "method_masks.png", optimize=True)
    for name, make in (("method_flow", flow_figure), ("conventions_axes", axes_figure)):
        make().savefig(IMAGES / f"{name}.svg", metadata={"Date": None})


def batch(turn_deg: float, *, tilts: bool) -> Batch:
    """One empty crop turned about the tilt axis, so that the (kz, kx) plane shows all there is to see."""
    rotation = Rotation.from_rotvec([0, np.radians(turn_deg), 0]).as_matrix()  # (z, y, x) vectors
    planes = MeasuredPlanes(HALF_SET_DEG, constant(HALF_SET_DEG), constant(HALF_SET_DEG))
    empty = torch.zeros(1, SAMPLES, SAMPLES, SAMPLES)
    tilt_range = TiltRange(float(HALF_SET_DEG[0]), float(HALF_SET_DEG[-1]))
    return Batch(
        empty,
        empty,
        torch.tensor([tilt_range]),
        torch.tensor(rotation[None], dtype=torch.float32),
        (Transfer(planes, CUBE),) if tilts else (),
    )


def loss_weight(crop: Batch) -> Tensor:
    """How much the loss counts an error at each frequency: its gradient at a point, whose spectrum is 1."""
    point = torch.zeros_like(crop.half0)
    point[0, 0, 0, 0] = 1
    point.requires_grad_()
    loss = dewedge_loss(
        point,
        torch.zeros_like(point),
        crop.input_mask(),
        crop.target_mask(),
        transfer=crop.target_transfer(),
    )
    (gradient,) = torch.autograd.grad(loss, point)
    return torch.fft.rfftn(gradient, dim=(-3, -2, -1)).real * point.numel() / 2


def plane_of(spectrum: Tensor) -> NDArray[np.float32]:
    """``(kz, kx)`` section at ky = 0 of ``(1, n, n, n // 2 + 1)``, n odd, zero frequency in the middle."""
    half = np.fft.fftshift(spectrum[0, :, 0].numpy(), axes=0)
    return np.concatenate([half[::-1, :0:-1], half], axis=1)


def masks_figure() -> Figure:
    """The masks of input and target and the weight of the loss: as published, and with single tilts."""
    own, turned, planes = batch(0, tilts=True), batch(TURN_DEG, tilts=False), batch(TURN_DEG, tilts=True)
    transfer, transfer_turned = own.target_transfer(), planes.target_transfer()
    assert transfer is not None and transfer_turned is not None
    figure = Figure(figsize=(8.4, 5.6), layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1)
    above.suptitle("As published: the wedge as a mask", fontweight="bold", fontsize=10)
    for axes, (title, spectrum) in zip(
        above.subplots(1, 3),
        (
            (r"the input keeps $W$", turned.input_mask()),
            (r"the target measured $W_R$", turned.target_mask()),
            (r"the loss counts $W_R\,(W + 2(1 - W))$", loss_weight(turned)),
        ),
        strict=True,
    ):
        _draw_spectrum(axes, title, spectrum, cmap=ListedColormap([NOTHING, SKY, ORANGE]), vmax=2)
        if "loss" in title:
            for x, z, text in ((0.3, 0.15, "1: both,\ndenoise"), (0.07, 0.41, "2: target\nonly, fill")):
                axes.text(x, z, text, ha="center", va="center", fontsize=8)
            axes.text(-0.28, 0.25, "0: no\ntarget", ha="center", va="center", fontsize=8, color="white")
    below.suptitle("By default: the planes of single tilts, 6° apart", fontweight="bold", fontsize=10)
    for axes, (title, spectrum, most) in zip(
        below.subplots(1, 3),
        (
            (r"a half-set measured $H$", transfer * own.target_mask(), 3),
            (r"turned with the target $H_R$", transfer_turned * planes.target_mask(), 3),
            (r"the loss counts that times $H_R^2$", loss_weight(planes), 6),
        ),
        strict=True,
    ):
        picture = _draw_spectrum(axes, title, spectrum, cmap="cividis", vmax=most)
        below.colorbar(picture, ax=axes, ticks=[0, most // 3, most], extend="max", shrink=0.9, pad=0.03)
    return figure


def _draw_spectrum(axes: Axes, title: str, spectrum: Tensor, cmap: Any, vmax: float) -> AxesImage:
    axes.set(xticks=[-0.5, 0.5], yticks=[-0.5, 0.5])
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("kx", labelpad=-8)
    axes.set_ylabel("kz", labelpad=-14)
    return axes.imshow(
        plane_of(spectrum), cmap=cmap, vmin=0, vmax=vmax, origin="lower", extent=(-0.5, 0.5, -0.5, 0.5)
    )


def flow_figure() -> Figure:
    """The way from tilt images to the refined tomogram."""
    figure = Figure(figsize=(8.4, 7.4), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(8, 97))
    axes.axis("off")
    for left, bottom, width, height, colour, name, text in (
        (25, 90, 50, 6, MEASURED, "tilt images", "raw, with angles and alignment"),
        (
            *(15, 77, 70, 8.5, MEASURED, "prepared images"),
            "X-rays out, divided by their means, aligned, binned,\n"
            "gold painted over, phases flipped where the defocus is known",
        ),
        (1, 62.5, 18, 9, MEASURED, "half-set 1", "every second tilt,\nor the odd frames"),
        (21, 62.5, 18, 9, MEASURED, "half-set 0", "the other tilts,\nor the even frames"),
        (45, 62.5, 17, 9, MEASURED, "full", "back-projection\nof all images"),
        (65, 62.5, 17, 9, ADDED, "total variation", "iterative, of all\nimages, coarse"),
        (85, 62.5, 14, 9, MEASURED, "beads", "back-projected\ngold"),
        (3, 46, 14, 8.5, NEUTRAL, "target", "crop,\nturned by R"),
        (20, 46, 15, 8.5, NEUTRAL, "input", "same place, same R,\na wedge cut out"),
        (20, 35.5, 18.5, 6, ADDED, "network", "3D U-Net"),
        (3, 26, 35.5, 6, NEUTRAL, "loss", "where the target measured"),
        (45, 46, 17, 8.5, NEUTRAL, "input", "wedge cut from\nthe whole volume"),
        (45, 34, 17, 8.5, ADDED, "network", "overlapping tiles,\n4 predictions each"),
        (45, 22.5, 17, 8.5, NEUTRAL, "amplitude", "in the wedge, as\nheld-out space confirms"),
        (
            *(45, 12.5, 54, 6, ADDED, "refined tomogram"),
            "prediction + three tenths total variation where coarse + beads",
        ),
        (
            *(1, 11, 37.5, 8.5, NEUTRAL, "dewedge trust"),
            "parts what was measured from\nwhat was added, and judges the latter",
        ),
    ):
        axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=ROUNDED, fc=colour, ec="0.3"))
        middle = left + width / 2
        axes.text(middle, bottom + height - 0.8, name, ha="center", va="top", fontweight="bold")
        axes.text(middle, bottom + 0.8, text, ha="center", va="bottom", fontsize=7.5, linespacing=1.15)
    axes.add_patch(FancyBboxPatch((1, 23), 39.5, 34, boxstyle=ROUNDED, fc="none", ec="0.4", ls="--"))
    axes.text(39.5, 23.5, "fit", ha="right", va="bottom", style="italic", color="0.3")
    for x, top, bottom in (
        *((50, 90, 85.5), (30, 77, 71.5), (53.5, 77, 71.5), (73.5, 77, 71.5)),
        *((10, 62.5, 54.5), (24, 62.5, 54.5), (27.5, 46, 41.5), (29, 35.5, 32), (10, 46, 32)),
        *((53.5, 62.5, 54.5), (53.5, 46, 42.5), (53.5, 34, 31), (53.5, 22.5, 18.5)),
        *((73.5, 62.5, 18.5), (92, 62.5, 18.5)),
    ):
        _arrow(axes, (x, top), (x, bottom))
    _arrow(axes, (18, 77), (10, 71.5))
    _arrow(axes, (82, 77), (92, 71.5))
    _arrow(axes, (45, 15.5), (38.5, 15.5))
    _arrow(axes, (38.5, 38.5), (45, 38.5), BLUE)
    axes.text(42.8, 39.2, "weights", color=BLUE, fontsize=6.8, ha="center")
    _arrow(axes, (37, 41.5), (37, 62.5), VERMILION)
    axes.text(
        36.3, 59.8, "fills the wedge,\nround by round", color=VERMILION, fontsize=7.5, ha="right", va="center"
    )
    for bottom, colour, text in ((93, MEASURED, "measured"), (89.5, ADDED, "network or prior")):
        axes.add_patch(FancyBboxPatch((2, bottom), 2, 1.6, boxstyle="square,pad=0", fc=colour, ec="0.3"))
        axes.text(5, bottom + 0.8, text, va="center", fontsize=8)
    return figure


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.2") -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.2})


def axes_figure() -> Figure:
    """The axes of a volume, the sign of a tilt, and the plane that it measures."""
    figure = Figure(figsize=(8.4, 3.0), layout="constrained", facecolor="white")
    volume, tilt, spectrum = figure.subplots(1, 3)
    _draw_volume(volume)
    _draw_tilt(tilt, 30.0)
    _draw_plane(spectrum, 30.0)
    return figure


def _draw_volume(axes: Axes) -> None:
    axes.set(xlim=(-0.2, 2.3), ylim=(-0.6, 1.9), aspect="equal")
    axes.set_title("a volume, array (z, y, x)", fontsize=9)
    axes.axis("off")
    deep = np.array([0.55, 0.4])
    front = np.array([(0.0, 0.0), (1.4, 0.0), (1.4, 0.7), (0.0, 0.7), (0.0, 0.0)])
    for outline in (front, front + deep, *(np.stack([corner, corner + deep]) for corner in front[:4])):
        axes.plot(*outline.T, color="0.6", lw=1)
    for end, name, colour in (
        ((1.9, 0.0), "x", VERMILION),
        ((0.94, 0.68), "y, the tilt axis", GREEN),
        ((0.0, 1.4), "z, along the beam at 0°", BLUE),
    ):
        _arrow(axes, (0, 0), end, colour)
        axes.text(end[0] + 0.06, end[1] + 0.06, name, color=colour)


def _draw_tilt(axes: Axes, angle_deg: float) -> None:
    """A point of the specimen and its place on the detector, as the package projects it."""
    edge, (z, x) = 65, (16, 12)
    section = torch.zeros(edge, 1, edge)
    section[edge // 2 + z, 0, edge // 2 + x] = 1
    image = project(section, [angle_deg], (1, edge))[0, 0].numpy()
    place = float((image * (np.arange(edge) - edge // 2)).sum() / image.sum())
    angle = np.radians(angle_deg)
    along, beam = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    detector = -22 * beam

    axes.set(xlim=(-33, 42), ylim=(-38, 37), aspect="equal")
    axes.set_title(r"tilt angle $a > 0$: $x_p = x\,\cos a + z\,\sin a$", fontsize=9)
    axes.axis("off")
    axes.plot([-30, 30, 30, -30, -30], [-19, -19, 19, 19, -19], color="0.75", lw=1)
    for end, name, colour in (((34, 0), "x", VERMILION), ((0, 34), "z", BLUE)):
        _arrow(axes, (0, 0), end, colour)
        axes.text(end[0] + 1, end[1] - 1, name, color=colour)
    _arrow(axes, tuple(detector - 26 * along), tuple(detector + 30 * along))
    axes.text(*(detector + 31 * along), r"$x_p$")
    axes.plot(*np.stack([detector, 32 * beam]).T, color="0.6", lw=1, ls=":")
    axes.text(*(32 * beam - [0, 0]), "beam", color="0.4", fontsize=8, ha="right")
    axes.plot(*np.stack([detector + place * along, (x, z)]).T, color=ORANGE, lw=1.4, ls="--")
    axes.plot(*(detector + place * along), "o", color=ORANGE, ms=5)
    axes.plot(x, z, "o", color=ORANGE, ms=7)
    arc = np.linspace(0, angle, 30)
    axes.plot(20 * np.cos(arc), 20 * np.sin(arc), color="0.2", lw=1)
    axes.plot([0, 24 * along[0]], [0, 24 * along[1]], color="0.2", lw=0.8)
    axes.text(21.5 * np.cos(angle / 2), 21.5 * np.sin(angle / 2) - 1, "$a$")


def _draw_plane(axes: Axes, angle_deg: float) -> None:
    """The mask of a tilt range, and the plane of one tilt in it."""
    mask = batch(0, tilts=False).target_mask()
    _draw_spectrum(axes, "it measures the plane atan2(kz, kx) = a", mask, ListedColormap(["0.8", "white"]), 1)
    k = 0.5 * np.array([-1, 1])
    axes.plot(k, np.tan(np.radians(angle_deg)) * k, color=ORANGE, lw=2)
    axes.axhline(0, color="0.5", lw=0.6)
    axes.text(0.2, 0.03, "$a$")
    axes.text(0, 0.38, "missing\nwedge", ha="center", va="center", fontsize=8)


if __name__ == "__main__":
    main()
