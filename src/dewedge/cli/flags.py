"""Flags that several verbs share, and the configuration they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from dewedge.cli.output import ESSENTIAL
from dewedge.settings.base import Section
from dewedge.settings.fit import FitSection
from dewedge.settings.sections import (
    ComputeSection,
    Config,
    CtfSection,
    DeviceSection,
    FilesSection,
    ImagesSection,
    ReconstructSection,
    RefineSection,
    SeriesSection,
    SplitSection,
    TileSection,
    TomogramsSection,
    WatchSection,
)

# The rest of a section of the fit, after all others.
_EXPERT = Group("Fit, for experts", sort_key=10)
_ESSENTIAL_KEYS = {"half0", "half1", "tilt_range", "thickness", "bin", "budget"}
_USUAL_KEYS = {"preset", "init", "mask", "cube_size", "batch_size", "epochs", "seed"}


def _group_keys() -> None:
    """Give keys a place in the help that is not their section's."""
    for section in (TomogramsSection, ReconstructSection, FitSection):
        for key, field in section.model_fields.items():
            if key in _ESSENTIAL_KEYS:
                field.metadata.append(Parameter(group=ESSENTIAL))
            elif section is FitSection and key not in _USUAL_KEYS:
                field.metadata.append(Parameter(group=_EXPERT))


_group_keys()


def _titled(title: str, order: int) -> Parameter:
    """All keys of a section as flags, under a title in the help."""
    return Parameter(name="*", group=Group(title, sort_key=order))


Tomograms = Annotated[TomogramsSection, _titled("Ready-made tomograms", 3)]
Fit = Annotated[FitSection, _titled("Fit", 7)]
Compute = Annotated[ComputeSection, _titled("Devices", 9)]
Watch = Annotated[WatchSection, _titled("Folders that are watched", 10)]


@Parameter(name="*")
class Flags(Section):
    """Sections of a configuration, whose keys are flags; a key that was given is a field that is set."""


class SplitFlags(Flags):
    """The sections of split."""

    series: Annotated[SeriesSection, _titled("Tilt series", 2)] = SeriesSection.defaults()
    split: Annotated[SplitSection, _titled("Split", 4)] = SplitSection.defaults()


class ImageFlags(SplitFlags):
    """The sections of all that is done to a tilt series before the fit."""

    images: Annotated[ImagesSection, _titled("Tilt images", 5)] = ImagesSection.defaults()
    reconstruct: Annotated[ReconstructSection, _titled("Reconstruction", 5)] = ReconstructSection.defaults()
    ctf: Annotated[CtfSection, _titled("CTF and exposure", 6)] = CtfSection.defaults()


class ReconstructFlags(ImageFlags):
    """The sections of reconstruct."""

    compute: Annotated[DeviceSection, _titled("Device", 9)] = DeviceSection.defaults()


class SeriesFlags(ImageFlags):
    """The sections of what goes from a tilt series to a refined tomogram."""

    fit: Fit = FitSection.defaults()
    refine: Annotated[RefineSection, _titled("Refinement", 8)] = RefineSection.defaults()
    compute: Compute = ComputeSection.defaults()


class RunFlags(SeriesFlags):
    """The sections of what takes tilt series or ready-made half-sets: all there are."""

    tomograms: Tomograms = TomogramsSection.defaults()


class StoredRunFlags(RunFlags):
    """Those sections, and how the files of a run are kept."""

    files: Annotated[FilesSection, _titled("Files", 8)] = FilesSection.defaults()


class FitFlags(Flags):
    """The sections of fit."""

    tomograms: Tomograms = TomogramsSection.defaults()
    fit: Fit = FitSection.defaults()
    compute: Compute = ComputeSection.defaults()


class RefineFlags(Flags):
    """The sections of refine."""

    refine: Annotated[TileSection, _titled("Refinement", 8)] = TileSection.defaults()
    compute: Compute = ComputeSection.defaults()


def resolve(
    config: Path | None, output: Path | None, flags: Flags, *, resume: bool = False, **given: object
) -> Config:
    """Resolve the configuration of the file, or of the run to resume, overridden by the flags given.

    Errors as `dewedge.settings.file.resolve_config`.
    """
    # With what reads files, which a help must not wait for.
    from dewedge.runtime.folder import CONFIG
    from dewedge.settings.file import resolve_config

    if config is None and resume and output is not None and (output / CONFIG).is_file():
        config = output / CONFIG
    return resolve_config(config, flags_given(flags, output=output, **given))


def flags_given(flags: Flags, **given: object) -> dict[str, Any]:
    """Return the keys of a configuration for which there was a flag."""
    return flags.model_dump(exclude_unset=True) | {key: value for key, value in given.items() if value}


def seed_given(seed: int | None) -> dict[str, int]:
    """Return the key of a seed, if it was given."""
    return {} if seed is None else {"seed": seed}
