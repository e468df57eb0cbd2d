"""The complete configuration of a run: sections, keys, defaults and their documentation.

Every key is a flag of the same name on the command line, without its unit; a key's description is that
flag's help.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import docstring_parser
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from dewedge.errors import InputError
from dewedge.learn.options import FitOptions
from dewedge.settings.image_numbers import image_numbers

DEFAULT_BUDGET = "10min"
# Learning rates from random and from given weights: docs/defaults.md and docs/initial_weights.md.
RATES = {"muon": (3e-3, 1e-4), "adam": (1e-3, 3e-4)}
SIMULATED_PRESET = "large"  # whose weights come with the package: docs/initial_weights.md

_SECONDS = {"h": 3600.0, "min": 60.0, "s": 1.0}


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``10min``, ``90s``, ``2h`` or ``1h30min``.

    Raises
    ------
    InputError
        If it is none, or not positive.
    """
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)min)?(?:([\d.]+)s)?", text.replace(" ", ""))
    try:
        assert match is not None
        parts = zip(match.groups(), _SECONDS.values(), strict=True)
        seconds = sum(float(number) * unit for number, unit in parts if number)
        assert seconds > 0
    except (AssertionError, ValueError):
        raise InputError(f"duration {text!r}: expected one such as 10min, 90s, 2h or 1h30min") from None
    return seconds


def _duration(text: str) -> str:
    try:
        duration_s(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


def _pairs(value: Any) -> Any:
    """Flat lists of numbers, as flags and short TOML give them, as pairs."""
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        return [value[i : i + 2] for i in range(0, len(value), 2)]
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (str, Path)) else value


def _whole(value: Any) -> Any:
    """A whole number, which flags give as text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) else value


def _image_lists(value: Any) -> Any:
    texts = [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
    try:
        image_numbers(texts)
    except InputError as error:
        raise ValueError(str(error)) from None
    return texts


Duration = Annotated[str, AfterValidator(_duration)]
Paths = Annotated[list[Path], BeforeValidator(_listed)]
Names = Annotated[list[str], BeforeValidator(_listed)]
ImageLists = Annotated[list[str], BeforeValidator(_image_lists)]
Hand = Annotated[Literal[1, -1], BeforeValidator(_whole)]
TiltRanges = Annotated[list[tuple[float, float]], BeforeValidator(_pairs)]


class Section(BaseModel):
    """A table of the configuration; ``"none"`` stands for None, which TOML lacks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {
            name for name, field in cls.model_fields.items() if type(None) in get_args(field.annotation)
        }
        return {key: None if key in optional and value == "none" else value for key, value in data.items()}


class SeriesSection(Section):
    """What is read beside the stacks, or in their place; with a file given, nothing else is looked for."""

    angles: Paths = Field(
        default=[], description="Tilt angles (.tlt, .rawtlt), one file a stack; else found beside it."
    )
    xf: Paths = Field(default=[], description="IMOD alignment (.xf), one file a stack; else found beside it.")
    mdoc: Paths = Field(default=[], description="SerialEM .mdoc, one a stack; else found beside it.")
    even: Paths = Field(default=[], description="Stack of even-frame averages; else found by its name.")
    odd: Paths = Field(default=[], description="Stack of odd-frame averages; else found by its name.")
    pixel_size_A: float | None = Field(
        default=None, gt=0, description="Pixel size of the stacks in Angstrom, if their headers are wrong."
    )
    axis_angle_deg: float | None = Field(
        default=None, description="Tilt-axis angle of raw stacks that have no .xf, degrees from y."
    )
    exclude_tilts: ImageLists = Field(
        default=[],
        description="Images to leave out, by their numbers in the stack from 1, as in IMOD's EXCLUDELIST: "
        "1-3,41.",
    )


class TomogramsSection(Section):
    """Ready-made tomograms of half-sets, in place of tilt series."""

    half0: Paths = Field(default=[], description="Tomogram of half-set 0; repeat for several.")
    half1: Paths = Field(default=[], description="Tomogram of half-set 1, of the same specimen and shape.")
    full: Paths = Field(default=[], description="Full tomogram; else the mean of both half-sets.")
    tilt_range: TiltRanges = Field(
        default=[],
        description="Lowest and highest tilt angle of half-sets in degrees, once for all or for each; else "
        "that of the files they came with.",
    )


class SplitSection(Section):
    """How a tilt series is split into half-sets."""

    split: Literal["auto", "tilts", "random", "frames"] = Field(
        default="auto",
        description="Even and odd tilts by order of acquisition; a random fraction of the tilts; averages of "
        "even and odd frames; auto takes frames where they are there, else tilts.",
    )
    fraction: float = Field(
        default=0.5, gt=0, lt=1, description="Share of the tilts in half-set 0, for --split random."
    )

    @property
    def of_tilts(self) -> Literal["tilts", "random"]:
        """How a series without frames is split."""
        return "random" if self.split == "random" else "tilts"


class ImagesSection(Section):
    """What is done to tilt images before they are reconstructed."""

    normalise: Literal["auto", "none"] = Field(
        default="auto",
        description="Divide images that are counts by their means, so that tilted ones, which lose "
        "electrons, have full contrast; or leave all as they are.",
    )
    xrays: bool = Field(
        default=True, description="Replace X-rays and hot pixels of the raw images by their neighbours."
    )
    gold: Literal["auto", "keep"] = Field(
        default="auto",
        description="Paint over gold beads for the fit and give them back in the refined tomogram of a run; "
        "or keep them.",
    )


class ReconstructSection(Section):
    """How half-sets and the whole are reconstructed."""

    thickness: int | None = Field(
        default=None,
        gt=0,
        description="Thickness of the tomogram in unbinned pixels, as in IMOD; else that of the metadata.",
    )
    bin: int = Field(default=1, ge=1, description="Binning relative to the stack.")
    binning_method: Literal["fourier", "average"] = Field(
        default="fourier", description="Crop the Fourier transform, or average blocks of pixels."
    )
    filter: Literal["ramp", "hamming", "radial", "radial-cosine"] = Field(
        default="radial",
        description="Filter of the back-projection: |kx|; that times a Hamming window of kx, or one of the "
        "distance from zero frequency (radial), alike in all directions; or times a cosine of it.",
    )
    refine_axis: bool = Field(
        default=False,
        description="Measure by what the tilt axis lies beside the images' middle and is turned, by the "
        "sharpness of a small reconstruction, and put it right; dewedge check tells what it would do.",
    )
    algorithm: Literal["fbp", "sirt", "tv"] = Field(
        default="fbp",
        description="Filtered back-projection; iterations from zero (SIRT); or least total variation (TV).",
    )
    iterations: int | None = Field(
        default=None, gt=0, description="Iterations of SIRT (5 if not given) or TV (100 if not given)."
    )
    tv_weight: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the total variation relative to the noise of the images; more is smoother.",
    )


class CtfSection(Section):
    """How tilt images are corrected for the contrast transfer function and weighted by exposure."""

    ctf: Literal["auto", "none", "phase-flip", "wiener", "wiener-tomogram"] = Field(
        default="auto",
        description="Correct the CTF: flip the phases of each image or deconvolve it by a Wiener filter, in "
        "strips along the tilt axis; or deconvolve the tomograms. auto flips phases of tilt images whose "
        "defocus was measured, not only asked of the microscope, and that were not corrected before.",
    )
    ctf_file: Paths = Field(
        default=[],
        description="Defocus of each image (CTFFIND, AreTomo _CTF.txt, Gctf .star, ctfplotter .defocus), one "
        "file for each input; else that of the metadata.",
    )
    defocus_um: float | None = Field(
        default=None, description="Defocus of all images in micrometres, positive is underfocus."
    )
    defocus_hand: Hand | None = Field(
        default=None,
        description="1 if defocus grows with height, z cos a - x sin a, -1 if it falls (rlnTomoHand); else "
        "that of the metadata, or -1.",
    )
    voltage_kV: float | None = Field(default=None, description="Voltage; else that of the metadata, or 300.")
    cs_mm: float | None = Field(
        default=None, description="Spherical aberration; else that of the metadata, or 2.7."
    )
    amplitude_contrast: float | None = Field(
        default=None, description="Amplitude contrast; else that of the metadata, or 0.07."
    )
    snr_strength: float = Field(
        default=1.0, description="Wiener filter: logarithm to base 10 of the SNR at low frequency."
    )
    snr_falloff: float = Field(
        default=1.0, ge=0, description="Wiener filter: how fast the SNR falls with frequency."
    )
    dose_weight: bool = Field(
        default=False,
        description="Weigh the frequencies of each image by what the exposure before it left of them.",
    )


class NetworkSection(Section):
    """What is fitted, and where."""

    preset: Literal["paper", "default", "large"] = Field(
        default="default",
        description="The network: 16 channels at half resolution (default), 32 (large), or the published one "
        "(paper). If not given, large for --init simulated.",
    )
    channels: int | None = Field(
        default=None, ge=1, le=1024, description="Channels of the network, if not those of the preset."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the network's values set to zero while fitting."
    )
    dropout_of: Literal["values", "channels"] | None = Field(
        default=None,
        description="What dropout sets to zero at once: single values, or whole channels. If not given, "
        "channels for --preset paper, else values.",
    )
    init: str = Field(
        default="random",
        description="Weights that the fit starts from: random; simulated, learnt on simulated specimens; "
        "or the model.safetensors of an earlier fit. The learning rate that is taken if none is given "
        "depends on this and on the optimiser.",
    )
    mask: Names = Field(
        default=[],
        description="Where there is specimen: none (everywhere), auto, or an MRC file for all or for each; "
        "else the mask of the metadata, if any.",
    )


def _with_fit_options(base: type[Section]) -> type[Section]:
    """``base`` and the options of `FitOptions` with their help; the budget is a duration, not seconds."""
    texts = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse(inspect.getdoc(FitOptions) or "").params
    }
    types = get_type_hints(FitOptions)
    members: dict[str, Any] = {}
    for field in fields(FitOptions):
        text = texts[field.name].replace("``", "").replace("None", "none").replace("budget_s", "budget")
        if field.name == "budget_s":
            text = text.replace("Wall-clock seconds", "Wall-clock time (90s, 10min, 1h30min)")
            text += f" {DEFAULT_BUDGET} if neither is given."
            members["budget"] = (Duration | None, Field(default=None, description=text))
        else:
            members[field.name] = (types[field.name], Field(default=field.default, description=text))
    return create_model("FitOptionsSection", __base__=base, **members)


FitOptionsSection = _with_fit_options(NetworkSection)


class FitSection(FitOptionsSection):  # type: ignore[misc,valid-type]
    """How the network is fitted."""

    def options(self) -> FitOptions:
        """The options of the fit."""
        values = self.model_dump(exclude=set(NetworkSection.model_fields))
        budget = values.pop("budget")
        return FitOptions(**values, budget_s=None if budget is None else duration_s(budget))


class TileSection(Section):
    """The tiles by which tomograms are refined."""

    tile: int | None = Field(
        default=None,
        gt=0,
        description="Largest edge of the tiles in voxels; 128 if not given, the cubes' for --preset paper.",
    )
    overlap: int = Field(default=24, ge=0, description="Least overlap of neighbouring tiles in voxels.")
    average_rotations: Annotated[Literal[1, 2, 4], BeforeValidator(_whole)] = Field(
        default=2,
        description="Average so many predictions, of the tomogram turned by 180 degrees: 2 about the tilt "
        "axis, 4 about all axes (as 2 if the tilt range is not symmetric). Each is the average of two, one "
        "voxel apart, but for --preset paper.",
    )


class RefineSection(TileSection):
    """How tomograms are refined."""

    refine: Literal["full", "halves"] = Field(
        default="full", description="Refine the full tomogram, or both halves and average them."
    )


class DeviceSection(Section):
    """On what it is computed."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Kind of device; auto takes a CUDA GPU if there is one."
    )
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        default="auto", description="Precision of the network; auto takes bf16-mixed where the device has it."
    )


class ComputeSection(DeviceSection):
    """On what, and on how many of them."""

    devices: int = Field(default=1, ge=1, description="Devices of each node; they divide fit and refinement.")
    nodes: int = Field(default=1, ge=1, description="Nodes, started by torchrun or SLURM.")


class Config(Section):
    """All of a run."""

    paths: Paths = Field(
        default=[], description="Stacks, folders, metadata files and dataset files that hold the input."
    )
    output: Path | None = Field(default=None, description="Folder of the results.")
    fit_each: bool = Field(default=False, description="One fit for each tomogram, instead of one for all.")
    recipe: str = Field(default="dewedge", description="The method, whose settings are the defaults.")
    no_check: bool = Field(default=False, description="Do not check the input as dewedge check does.")
    series: SeriesSection = SeriesSection()
    tomograms: TomogramsSection = TomogramsSection()
    split: SplitSection = SplitSection()
    images: ImagesSection = ImagesSection()
    reconstruct: ReconstructSection = ReconstructSection()
    ctf: CtfSection = CtfSection()
    fit: FitSection = FitSection()
    refine: RefineSection = RefineSection()
    compute: ComputeSection = ComputeSection()

    def resolved(self) -> Config:
        """The same with absolute paths, and with budget, learning rate and preset that are not given."""
        fit: Any = self.fit
        if fit.epochs is None and fit.budget is None:
            fit = fit.model_copy(update={"budget": DEFAULT_BUDGET})
        if "learning_rate" not in fit.model_fields_set:
            rate = RATES[fit.optimiser][fit.init != "random"]
            fit = fit.model_copy(update={"learning_rate": rate})
        if fit.init == "simulated" and "preset" not in fit.model_fields_set:
            fit = fit.model_copy(update={"preset": SIMULATED_PRESET})
        mask = [name if name in ("none", "auto") else str(Path(name).absolute()) for name in fit.mask]
        init = fit.init if fit.init in ("random", "simulated") else str(Path(fit.init).absolute())
        return self.model_copy(
            update={
                "paths": [path.absolute() for path in self.paths],
                "output": None if self.output is None else self.output.absolute(),
                "series": _with_absolute_paths(self.series),
                "tomograms": _with_absolute_paths(self.tomograms),
                "ctf": _with_absolute_paths(self.ctf),
                "fit": fit.model_copy(update={"mask": mask, "init": init}),
            }
        )


def _with_absolute_paths(section: Section) -> Section:
    paths = {
        name: [path.absolute() for path in value]
        for name, value in section
        if isinstance(value, list) and all(isinstance(item, Path) for item in value)
    }
    return section.model_copy(update=paths)
