"""The paper's figures, drawn from the rows and the volumes they name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dewedge.io.mrc import read_mrc
from dewedge.report.figure import write_figure
from paper.experiments import METHODS, OF_PREPARATIONS
from paper.figures import Panel, curves_figure, label_text, sections_figure
from paper.results import Row
from paper.runs import Variant

# Figures of scores: the label of the rows along x, and its title. All others are of sections.
CURVES = {
    5: ("snr", "SNR of the tilt series"),
    7: ("cube", "edge of the sub-tomograms (voxels)"),
    8: ("split", "half-sets"),
}
# Methods that a figure compares, where they are not all.
OF_FIGURE = {7: ("deepdewedge", "dewedge"), 8: OF_PREPARATIONS, 9: OF_PREPARATIONS}
# Labels that the title of a panel gives.
TITLED = {"ctf": "{}", "split": "half-sets: {}", "wedge_deg": "wedge of {} degrees", "snr": "SNR {}"}


def draw(
    variants: Sequence[Variant], rows: Sequence[Row], output: Path, figures: Sequence[int] = ()
) -> list[Path]:
    """Draw the figures that are asked for, or all, of which there are rows; return the files."""
    drawn = []
    numbers = sorted({number for variant in variants for number in variant.figures})
    for number in [number for number in numbers if not figures or number in figures]:
        shown = [variant for variant in variants if number in variant.figures]
        methods = OF_FIGURE.get(number, METHODS)
        here = [row for row in rows if row["variant"] in {v.name for v in shown} and row["method"] in methods]
        if not here:
            continue
        if number in CURVES:
            drawn.append(output / f"figure{number}.png")
            write_figure(drawn[-1], partial(curves_figure, here, *CURVES[number]))
            continue
        names = [entry.name for entry in shown[0].entries]
        for i, name in enumerate(names):
            panels = [
                panel for variant in shown if (panel := panel_of(variant, i, here, methods, output)).volumes
            ]
            if panels:
                drawn.append(
                    output / (f"figure{number}_{name}.png" if len(names) > 1 else f"figure{number}.png")
                )
                write_figure(drawn[-1], partial(sections_figure, panels))
    return drawn


def panel_of(
    variant: Variant, number: int, rows: Sequence[Row], methods: Sequence[str], output: Path
) -> Panel:
    """The volumes of one tomogram of a variant, by method, and the truth where it is known."""
    name = variant.entries[number].name
    mine = {row["method"]: row for row in rows if (row["variant"], row["tomogram"]) == (variant.name, name)}
    mrcs = {method: read_mrc(output / mine[method]["volume"]) for method in methods if method in mine}
    notes = {method: note(mine[method]) for method in mrcs}
    if mrcs and variant.truth is not None:
        mrcs["truth"] = read_mrc(variant.truth)
    told = [
        text.format(label_text(variant.labels[key])) for key, text in TITLED.items() if key in variant.labels
    ]
    voxel_size_A = next((mrc.voxel_size_A for mrc in mrcs.values()), None)
    volumes = {method: mrc.data for method, mrc in mrcs.items()}
    return Panel(", ".join([name, *told]), volumes, notes, voxel_size_A)


def note(row: Row) -> str:
    """The score that stands under a picture."""
    scores = row["scores"]
    if "cc" in scores:
        return f"CC {scores['cc']:.3f}"
    value = scores.get("cc_signal")
    return "" if value is None else f"CC with the signal {value:.3f}"
