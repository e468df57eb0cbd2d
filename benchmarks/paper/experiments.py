"""What each experiment consists of: its data, and the preparations and methods of its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dewedge.io.entries import SeriesEntry
from paper import settings
from paper.flagella import flagella, within
from paper.ribosomes import ribosomes
from paper.runs import Variant
from paper.settings import Settings
from paper.shrec import simulated_cell

METHODS = ("fbp", "cryocare", "isonet", "cryocare+isonet", "deepdewedge", "dewedge")
# Of the figures that compare ways of preparing the data, not methods.
OF_PREPARATIONS = ("fbp", "deepdewedge", "dewedge")
WIDER_DEG = 60.0  # largest tilt that is kept, for a wedge of 60 degrees
PICTURE_SNR = 0.25
DATA = "data"


@dataclass(frozen=True)
class Request:
    """What a command asks for.

    Parameters
    ----------
    folder, output
        Of the download, and of the results.
    figures
        Numbers of the figures; none for all.
    models
        Of SHREC; the first is that of the figures with one model.
    small
        True for stand-ins.
    """

    folder: Path
    output: Path
    figures: tuple[int, ...] = ()
    models: tuple[int, ...] = (0,)
    small: bool = False


def of_ribosomes(request: Request) -> list[Variant]:
    """EMPIAR-10045, figure 3: all seven series at once, one network for all."""
    return [
        Variant(
            name="ribosomes",
            experiment="10045",
            entries=ribosomes(request.folder),
            methods=METHODS,
            figures=(3,),
            labels={"ctf": "Wiener filter", "split": "tilts"},
        )
    ]


def of_flagella(request: Request) -> list[Variant]:
    """Tomo110, figure 4: phase flip against the Wiener filter; 9: tilts against frames, and a wider wedge."""
    entry = flagella(request.folder, request.output / DATA)
    wider = within(entry, WIDER_DEG)
    return [
        _of_flagella("frames_flip", (4, 9), entry, "phase-flip", "frames"),
        _of_flagella("frames_wiener", (4,), entry, "wiener-tomogram", "frames"),
        _of_flagella("tilts_flip", (9,), entry, "phase-flip", "tilts"),
        _of_flagella("frames_flip_wide", (9,), wider, "phase-flip", "frames"),
    ]


def _of_flagella(name: str, figures: tuple[int, ...], entry: SeriesEntry, ctf: str, split: str) -> Variant:
    low, high, _ = entry.geometry.tilt_range
    return Variant(
        name=name,
        experiment="tomo110",
        entries=[entry],
        settings={"ctf": {"ctf": ctf}, "split": {"split": split}},
        methods=METHODS if 4 in figures else OF_PREPARATIONS,
        figures=figures,
        labels={
            "ctf": "phase flip" if ctf == "phase-flip" else "Wiener filter",
            "split": split,
            "wedge_deg": round(180 - (high - low)),
        },
    )


def of_shrec(request: Request) -> list[Variant]:
    """SHREC 2020, figures 5, 6: methods by SNR; 7: size of the sub-tomograms; 8: splitting."""
    first = request.models[0]
    asked = set(request.figures or (5, 6, 7, 8))
    found: list[Variant] = []
    for model in request.models:
        for snr in sorted(settings.SNRS.value, key=lambda snr: snr != PICTURE_SNR):
            # The one of figure 6 is a point of figures 7 and 8, too.
            figures = (5, 6, 7, 8) if model == first and snr == PICTURE_SNR else (5,)
            if asked.intersection(figures):
                found.append(_of_shrec(request, model, snr, figures, METHODS))
    if 7 in asked:
        for cube in settings.SMALL_CUBES if request.small else settings.CUBES.value:
            others = [m for m in OF_PREPARATIONS[1:] if cube != settings.cube_size("shrec", m, request.small)]
            if others:
                found.append(_of_shrec(request, first, PICTURE_SNR, (7,), others, cube=cube))
    if 8 in asked:
        splits: Sequence[str] = settings.SPLITS.value[1:]
        found += [
            _of_shrec(request, first, PICTURE_SNR, (8,), OF_PREPARATIONS, split=split) for split in splits
        ]
    return found


def _of_shrec(
    request: Request,
    model: int,
    snr: float,
    figures: tuple[int, ...],
    methods: Sequence[str],
    *,
    split: str = "tilts",
    cube: int | None = None,
) -> Variant:
    kind, _, fraction = split.partition(" ")
    cell = simulated_cell(request.folder, model, snr, request.output / DATA, frames=kind == "frames")
    given: Settings = {"split": {"split": kind}}
    if fraction:
        given["split"]["fraction"] = float(fraction)
    if cube is not None:
        given["fit"] = {"cube_size": cube}
    name = f"model_{model}_snr_{snr:.3f}"
    changed = [split.replace(" ", "_")] * (split != "tilts") + [f"cube_{cube}"] * (cube is not None)
    return Variant(
        name="_".join([name, *changed]),
        experiment="shrec",
        entries=[cell.entry],
        settings=given,
        methods=tuple(methods),
        figures=figures,
        labels={"model": model, "snr": snr, "split": split},
        truth=cell.truth,
        centres=cell.particles,
    )


EXPERIMENTS: dict[str, Callable[[Request], list[Variant]]] = {
    "10045": of_ribosomes,
    "tomo110": of_flagella,
    "shrec": of_shrec,
}
