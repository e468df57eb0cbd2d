"""Pictures of docs/guide/troubleshooting.md: faults made on purpose, each beside the result without it.

    python docs/figures/troubleshooting.py tutorial/result tutorial/00254.mrc

from a run of the series of docs/tutorial.md, and that series. What `dewedge evaluate` would measure of each
volume is printed as a table.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import dewedge
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc
from dewedge.physics.fourier import frequencies
from dewedge.physics.wedge import wedge_mask
from dewedge.report.figure import add_scale_bar, grey_limits, show_section
from dewedge.scores.anisotropy import Anisotropy, anisotropy
from dewedge.simulate.controls import control_halves

PICTURES = Path(__file__).resolve().parents[1] / "images"

Volume = NDArray[np.float32]

AS_IT_SHOULD_BE = "as it should be"
SIGMA_A = 40.0  # of compact objects, as `dewedge evaluate` looks for them
TILE = 64  # voxels, of the tiles with seams
PANEL_INCHES, GAP_INCHES, TITLE_INCHES = 3.0, 0.06, 0.25


@dataclass(frozen=True, eq=False)
class Panel:
    """One section of a picture, and the grey values that are black and white."""

    title: str
    section: Volume
    limits: tuple[float, float]


def filtered(volume: Volume, transfer: torch.Tensor) -> Volume:
    """The volume, its half-spectrum multiplied by a transfer function of the same frequencies."""
    spectrum = torch.fft.rfftn(torch.from_numpy(np.array(volume, dtype=np.float32)))
    return torch.fft.irfftn(spectrum * transfer, s=volume.shape).numpy()


def with_grid(volume: Volume, strength: float = 0.5, seed: int = 0) -> Volume:
    """A weave along x and y at 0.3 to 0.45 cycles per voxel, ``strength`` standard deviations strong."""
    _, ky, kx = frequencies(volume.shape)
    along = [(k.abs() > 0.3) & (k.abs() < 0.45) & (other.abs() < 0.03) for k, other in ((kx, ky), (ky, kx))]
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    weave = filtered(noise, (along[0] | along[1]).float())
    return volume + strength * volume.std() / weave.std() * weave


def with_seams(volume: Volume, tile: int = TILE, seed: int = 0) -> Volume:
    """Tiles that do not overlap, each with a grey scale of its own."""
    rng = np.random.default_rng(seed)
    result = np.array(volume, dtype=np.float32)
    for starts in product(*(range(0, size, tile) for size in volume.shape)):
        box = tuple(slice(start, start + tile) for start in starts)
        result[box] = rng.uniform(0.8, 1.25) * result[box] + rng.normal(0, 0.3) * volume.std()
    return result


def borders_of_tiles(shape: Sequence[int], tile: int = TILE) -> dict[str, list[int]]:
    """First section behind each border, by axis."""
    return {axis: list(range(tile, size, tile)) for axis, size in zip("zyx", shape, strict=True)}


def with_empty_wedge(volume: Volume, tilt_range: TiltRange) -> Volume:
    """Nothing where no tilt measured."""
    return filtered(volume, wedge_mask(volume.shape, tilt_range))


def with_fake_wedge(volume: Volume, tilt_range: TiltRange) -> Volume:
    """The same wedge cut about x, where tilts about y measured all."""
    turned = with_empty_wedge(np.ascontiguousarray(volume.swapaxes(1, 2)), tilt_range)
    return np.ascontiguousarray(turned.swapaxes(1, 2))


def over_smoothed(volume: Volume, sigma: float = 3.0) -> Volume:
    """Nothing finer than about ten voxels is left."""
    return gaussian_filter(volume, sigma)


def without_structure(half0: Volume, half1: Volume, tilt_range: TiltRange) -> Volume:
    """A tomogram of the measured spectrum and random phases, in which nothing is."""
    halves = dict(control_halves(half0, half1, tilt_range))["randomised"]
    return (halves[0] + halves[1]) / 2


def log_spectrum(volume: Volume, axis: int) -> Volume:
    """Logarithm of the power in planes across ``axis``, zero frequency in the middle."""
    windows = (np.hanning(n) if i != axis else np.ones(n) for i, n in enumerate(volume.shape))
    taper = math.prod(np.ix_(*windows))
    others = tuple(i for i in range(3) if i != axis)
    spectrum = np.fft.fftn((volume - volume.mean()) * taper, axes=others)
    return np.log10(np.fft.fftshift((np.abs(spectrum) ** 2).mean(axis=axis)) + 1e-12).astype(np.float32)


def write_picture(path: Path, panels: Sequence[Panel], voxel_size_A: float | None) -> None:
    """Panels of one size in true proportions, as JPEG: side by side, or below each other if they are wide."""
    rows, columns = panels[0].section.shape
    stacked = columns > 1.5 * rows
    width = 2 * PANEL_INCHES if stacked else PANEL_INCHES
    height = width * rows / columns
    across, down = (1, len(panels)) if stacked else (len(panels), 1)
    total_width, total_height = across * (width + GAP_INCHES), down * (height + TITLE_INCHES)
    figure = Figure(figsize=(total_width, total_height), facecolor="white")
    for i, panel in enumerate(panels):
        left = 0 if stacked else i * (width + GAP_INCHES)
        bottom = (down - 1 - i) * (height + TITLE_INCHES) if stacked else 0
        axes = figure.add_axes(
            (left / total_width, bottom / total_height, width / total_width, height / total_height)
        )
        show_section(axes, panel.section, panel.limits, "")
        axes.set_title(panel.title, fontsize=10, pad=3)
        if i == 0 and voxel_size_A is not None:
            add_scale_bar(axes, voxel_size_A, columns)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 70, "optimize": True})


def picture(name: str) -> Path:
    """Where the picture of a fault lies."""
    return PICTURES / f"fault_{name.replace(' ', '_').replace('-', '_')}.jpg"


def write_pair(run: Tutorial, name: str, sections: Mapping[str, Volume]) -> None:
    """Sections side by side, with the greys of the first."""
    greys = grey_limits(list(sections.values())[:1])
    panels = [Panel(title, section, greys) for title, section in sections.items()]
    write_picture(picture(name), panels, run.voxel_size_A)


def row(name: str, found: Anisotropy) -> str:
    """A row of the table: what `dewedge evaluate` tells of a tomogram, where it is worst."""
    objects = "-" if found.objects is None else f"{found.objects.ratio:.2f}"
    inside, rotated = (
        " ".join(f"{x:.2f}" for x in part) for part in (found.wedge.inside, found.wedge.rotated)
    )
    steps = max(found.steps.values(), default=float("nan"))
    return f"| {name} | {objects} | {inside} | {rotated} | {found.weave.axes.max():.1f} | {steps:.2f} |"


@dataclass(frozen=True, eq=False)
class Tutorial:
    """A run of the tutorial's series, and where to look at it.

    Parameters
    ----------
    refined, painted, beads
        ``(z, y, x)`` result, reconstruction with its gold painted over, and the gold.
    halves
        Both half-sets.
    model
        The fitted network.
    voxel_size_A
        Of all of these.
    refine_axis
        Whether the run put the tilt axis right.
    """

    refined: Volume
    painted: Volume
    beads: Volume
    halves: tuple[Volume, Volume]
    model: dewedge.Model
    voxel_size_A: float | None
    refine_axis: str

    @classmethod
    def read(cls, folder: Path) -> Tutorial:
        """All of it, in memory."""
        names = ("refined", "full", "beads", "half0", "half1")
        files = [read_mrc(folder / f"{name}.mrc") for name in names]
        refined, painted, beads, *halves = (np.array(file.data, dtype=np.float32) for file in files)
        model = dewedge.load(folder / "model.safetensors")
        settings = tomllib.loads((folder / "config.toml").read_text())["reconstruct"]
        voxel_size_A, refine_axis = files[0].voxel_size_A, settings["refine_axis"]
        return cls(refined, painted, beads, (halves[0], halves[1]), model, voxel_size_A, refine_axis)

    def middle(self, width: int) -> tuple[int | slice, ...]:
        """Index of a square of the middle section."""
        depth, rows, columns = self.refined.shape
        return (depth // 2, around(rows // 2, width, rows), around(columns // 2, width, columns))


def faults(run: Tutorial) -> dict[str, Volume]:
    """The refined tomogram with each fault that its figures alone tell."""
    good, tilt_range = run.refined, run.model.tilt_range
    return {
        "grid": with_grid(good),
        "seams": with_seams(good),
        "empty wedge": with_empty_wedge(good, tilt_range),
        "fake wedge": with_fake_wedge(good, tilt_range),
        "over-smoothed": over_smoothed(good),
    }


def draw(run: Tutorial, made: Mapping[str, Volume]) -> None:
    """The pictures of the faults of a refined tomogram."""
    good = run.refined
    _, rows, columns = good.shape
    wide, near, close = run.middle(max(rows, columns)), run.middle(140), run.middle(70)
    for name, place in {"grid": close, "seams": wide, "over-smoothed": near}.items():
        write_pair(run, name, {AS_IT_SHOULD_BE: good[place], name: made[name][place]})
    for name, across in {"empty wedge": 1, "fake wedge": 2}.items():
        index: list[int | slice] = [slice(None), *(around(n // 2, 200, n) for n in (rows, columns))]
        index[across] = good.shape[across] // 2
        section = tuple(index)
        write_pair(run, name, {AS_IT_SHOULD_BE: good[section], name: made[name][section]})
        spectra = [log_spectrum(volume, across) for volume in (good, made[name])]
        greys = (float(np.percentile(spectra[0], 20)), float(np.percentile(spectra[0], 99.9)))
        titles = (f"power, {AS_IT_SHOULD_BE}", f"power, {name}")
        panels = [Panel(title, part, greys) for title, part in zip(titles, spectra, strict=True)]
        write_picture(picture(f"{name} power"), panels, None)
    panels = [
        Panel(title, part, grey_limits([part]))
        for title, part in {"protein is dark": good[near], "protein is bright": -good[near]}.items()
    ]
    write_picture(picture("contrast"), panels, run.voxel_size_A)
    nothing = without_structure(*run.halves, run.model.tilt_range)
    greys = grey_limits([good[near]])
    panels = [
        Panel("random phases: nothing is there", nothing[near], grey_limits([nothing[near]])),
        Panel("what the network makes of it", run.model.refine(nothing, device="cpu")[near], greys),
        Panel("the cell", good[near], greys),
    ]
    write_picture(picture("invented"), panels, run.voxel_size_A)


def draw_reconstructions(run: Tutorial, stack: Path) -> None:
    """The tutorial's stack with its gold kept: tails of the strongest bead, and what a lost .xf does."""
    depth, rows, columns = run.beads.shape
    z, y, x = np.unravel_index(np.argmax(np.abs(run.beads)), run.beads.shape)
    aligned = reconstructed(stack, [".tlt", ".xf"], refine_axis=run.refine_axis)
    across = (slice(None), y, around(x, 180, columns))
    write_pair(run, "gold", {"gold painted over": run.painted[across], "gold kept": aligned[across]})
    # Seven sections together: less noise, and beads at other heights are seen, too.
    along = (around(z, 7, depth), around(y, 240, rows), around(x, 240, columns))
    titles = {"aligned": aligned, "without its .xf": reconstructed(stack, [".tlt"])}
    sections = {title: gaussian_filter(volume[along].mean(axis=0), 1) for title, volume in titles.items()}
    panels = [Panel(title, part, grey_limits([part])) for title, part in sections.items()]
    write_picture(picture("unaligned"), panels, run.voxel_size_A)


def reconstructed(stack: Path, suffixes: Sequence[str], *, refine_axis: str = "never") -> Volume:
    """The stack back-projected with its gold, and with those of the files beside it."""
    with tempfile.TemporaryDirectory() as temporary:
        alone = Path(temporary) / stack.name
        for suffix in [stack.suffix, *suffixes]:
            shutil.copy(stack.with_suffix(suffix), alone.with_suffix(suffix))
        series = dewedge.open(alone, thickness=200, binning=2, gold="keep", refine_axis=refine_axis)
        return np.array(series.reconstruct(device="cpu").full, dtype=np.float32)


def around(middle: int, width: int, size: int) -> slice:
    """``width`` voxels about a place, or as many as there are, within an axis of ``size``."""
    start = min(max(0, middle - width // 2), max(0, size - width))
    return slice(start, start + width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("stack", type=Path, help="its tilt series, with .tlt and .xf beside it")
    given = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    run = Tutorial.read(given.run)
    made = faults(run)
    draw(run, made)
    draw_reconstructions(run, given.stack)
    print("| volume | z : x | wedge | wedge about x | weave | steps |\n|---|---|---|---|---|---|")
    borders = borders_of_tiles(run.refined.shape)
    for name, volume in {AS_IT_SHOULD_BE: run.refined, **made, "reconstruction": run.painted}.items():
        print(row(name, anisotropy(volume, borders=borders, sigma=SIGMA_A / (run.voxel_size_A or SIGMA_A))))


if __name__ == "__main__":
    main()
