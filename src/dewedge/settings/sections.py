"""The complete configuration of a run: sections, keys, defaults and their documentation.

Every key is a flag of the same name on the command line, without its unit; a key's description is that
flag's help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dewedge.io.volume_file import ZarrVersion
from dewedge.limits import AXIS, COUNT, LENGTH_A, PROCESSES
from dewedge.settings.base import (
    Hand,
    ImageLists,
    Names,
    Numbers,
    Paths,
    Rotations,
    Section,
    TiltRanges,
    WritablePath,
)
from dewedge.settings.duration import Duration
from dewedge.settings.fit import FitSection

if TYPE_CHECKING:
    from dewedge.learn.network import NetworkConfig


OutputFormat = Literal["mrc", "zarr", "both"]


class SeriesSection(Section):
    """Files read beside the stacks, or in their place; with a file given, nothing else is looked for."""

    angles: Paths = Field(
        default=[], description="Tilt angles (.tlt, .rawtlt), one file a stack; else found beside it."
    )
    xf: Paths = Field(default=[], description="IMOD alignment (.xf), one file a stack; else found beside it.")
    mdoc: Paths = Field(default=[], description="SerialEM .mdoc, one a stack; else found beside it.")
    even: Paths = Field(default=[], description="Stack of even-frame averages; else found by its name.")
    odd: Paths = Field(default=[], description="Stack of odd-frame averages; else found by its name.")
    pixel_size_A: float | None = Field(
        default=None,
        ge=LENGTH_A[0],
        le=LENGTH_A[1],
        description="Pixel size of the stacks in Angstrom, if their headers are wrong.",
    )
    axis_angle_deg: float | None = Field(
        default=None, description="Tilt-axis angle of raw stacks that have no .xf, degrees from y."
    )
    axis_shift: float = Field(
        default=0.0,
        ge=-AXIS,
        le=AXIS,
        description="Move the tilt axis as if all aligned images were shifted by so many pixels along x. "
        "The log of a run tells how many.",
    )
    axis_turn_deg: float = Field(
        default=0.0,
        ge=-90,
        le=90,
        description="Turn all aligned images by so many degrees. The log of a run tells how many.",
    )
    exclude_tilts: ImageLists = Field(
        default=[],
        description="Images to leave out, by their numbers in the stack from 1, as in IMOD's EXCLUDELIST: "
        "1-3,41. Files of single images are counted in their order in the metadata.",
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
    x_tilt: Numbers = Field(
        default=[],
        description="Tilt about x in degrees by which half-sets were levelled, and their wedge turned. "
        "Repeat the flag for each of several, if they differ; else that of RELION's or Warp's files.",
    )
    halves_only: bool = Field(
        default=False,
        description="Leave out what has no half tomograms, rather than reconstruct its tilt series.",
    )


class SplitSection(Section):
    """The split of a tilt series into half-sets."""

    split: Literal["auto", "tilts", "random", "frames"] = Field(
        default="auto",
        description="tilts: even and odd ones, by order of acquisition. random: a random fraction of the "
        "tilts. frames: averages of even and odd frames. auto: frames where they are there, else tilts.",
    )
    fraction: float = Field(
        default=0.5, gt=0, lt=1, description="Share of the tilts in half-set 0, for --split random."
    )

    @property
    def of_tilts(self) -> Literal["tilts", "random"]:
        """Split of a series without frames."""
        return "random" if self.split == "random" else "tilts"


class ImagesSection(Section):
    """Preparation of tilt images before they are reconstructed."""

    normalise: Literal["auto", "none"] = Field(
        default="auto",
        description="Divide images that are counts by their means, so that tilted ones, which lose "
        "electrons, have full contrast; or leave all as they are.",
    )
    xrays: Literal["auto", "keep"] = Field(
        default="auto",
        description="Replace X-rays and hot pixels of the raw images by their neighbours; or keep them.",
    )
    gold: Literal["auto", "keep"] = Field(
        default="auto",
        description="Paint over gold beads for the fit and give them back in the refined tomogram of a run; "
        "or keep them.",
    )


class ReconstructSection(Section):
    """Reconstruction of the half-sets and of the full tomogram."""

    thickness: int | None = Field(
        default=None,
        gt=0,
        le=AXIS,
        description="Thickness of the tomogram in unbinned pixels, as in IMOD; else that of the metadata.",
    )
    bin: int = Field(default=1, ge=1, le=AXIS, description="Binning relative to the stack.")
    binning_method: Literal["fourier", "average"] = Field(
        default="fourier", description="Crop the Fourier transform, or average blocks of pixels."
    )
    filter: Literal["ramp", "hamming", "radial", "radial-cosine"] = Field(
        default="radial",
        description="Filter of the back-projection. ramp: |kx|. hamming: that times a Hamming window of kx. "
        "radial: that times one of the distance from zero frequency, alike in all directions. "
        "radial-cosine: that times a cosine of the distance.",
    )
    refine_axis: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Measure how far the tilt axis lies beside the images' middle and is turned, by the "
        "sharpness of a small reconstruction, and put it right. auto: where dewedge check would tell of it.",
    )
    algorithm: Literal["fbp", "sirt", "tv"] = Field(
        default="fbp",
        description="Filtered back-projection; iterations from zero (SIRT); or least total variation (TV).",
    )
    iterations: int | None = Field(
        default=None,
        gt=0,
        le=COUNT,
        description="Iterations of SIRT (5 if not given) or TV (100 if not given).",
    )
    tv_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the total variation relative to the noise of the images; more is smoother.",
    )


class CtfSection(Section):
    """Correction of tilt images for the contrast transfer function, and their weights by exposure."""

    ctf: Literal["auto", "none", "phase-flip", "wiener", "wiener-tomogram"] = Field(
        default="auto",
        description="Correct the CTF. phase-flip and wiener: flip the phases of each image, or deconvolve "
        "it, in strips along the tilt axis. wiener-tomogram: deconvolve the tomograms. auto flips phases of "
        "tilt images whose defocus was measured, not only asked of the microscope, and that were not "
        "corrected before.",
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


class TileSection(Section):
    """The tiles by which tomograms are refined."""

    tile: int | None = Field(
        default=None,
        gt=0,
        le=AXIS,
        description="Largest edge of the tiles in voxels; 128 if not given, the cubes' for --preset paper.",
    )
    overlap: int = Field(
        default=24, ge=0, le=AXIS, description="Least overlap of neighbouring tiles in voxels."
    )
    average_rotations: Rotations = Field(
        default=2,
        description="Average so many predictions, of the tomogram turned by 180 degrees: 2 about the tilt "
        "axis, 4 about all axes. Where the tilt range is not symmetric, 4 is 2. Each is the average of two, "
        "one voxel apart, but for --preset paper.",
    )

    wedge_amplitude: Literal["confirmed", "predicted"] = Field(
        default="confirmed",
        description="What fills the wedge is as strong as the held-out region confirms, in each shell of "
        "frequencies, or as the network predicts it.",
    )

    tv_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of a total-variation reconstruction of the tilt series (tv.mrc) in the refined "
        "tomogram, where structure is coarse; 0 for the network alone.",
    )

    def edge(self, network: NetworkConfig, cube_size: int) -> int:
        """Return the largest edge of the tiles: as given, else what suits a network fitted to such cubes.

        All edges are in voxels.
        """
        from dewedge.learn.tiling import tile_size  # and torch, which a command line must not wait for

        return self.tile or tile_size(network, cube_size)


class RefineSection(TileSection):
    """Refinement of tomograms."""

    refine: Literal["full", "halves"] = Field(
        default="full", description="Refine the full tomogram, or both halves and average them."
    )


class FilesSection(Section):
    """Volumes of a run as they are kept."""

    half_sets: Literal["keep", "drop"] = Field(
        default="keep",
        description="Keep the half-sets of a tomogram when it is done, or remove them. dewedge trust and "
        "evaluate need them; a resumed run makes them again if they are to be kept.",
    )
    output_dtype: Literal["float32", "float16"] = Field(
        default="float32",
        description="Numbers in the MRC files of a run: float32 or, half as large, float16 (mode 12).",
    )


class DeviceSection(Section):
    """Device on which it is computed."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Kind of device; auto takes a CUDA GPU if there is one."
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        default="auto",
        description="Precision of the network; auto takes bf16-mixed where the device has it, 16-mixed on "
        "other GPUs.",
    )


class ComputeSection(DeviceSection):
    """Devices on which it is computed, and their number."""

    devices: int = Field(
        default=1, ge=1, le=PROCESSES, description="Devices of each node; they divide fit and refinement."
    )
    nodes: int = Field(default=1, ge=1, le=PROCESSES, description="Nodes, started by torchrun or SLURM.")


class WatchSection(Section):
    """Folders that are watched, where tilt series arrive one after another."""

    live: bool = Field(
        default=False,
        description="Watch the folders: fit one network to what arrives first, and apply it to all that "
        "arrives from then on.",
    )
    fit_first: int = Field(
        default=5, ge=1, le=COUNT, description="Number of arrivals that the network is fitted to."
    )
    settle: Duration = Field(
        default=Duration(seconds=30),
        description="What is complete has arrived when none of its files has changed for so long.",
    )
    look_every: Duration = Field(
        default=Duration(seconds=10), description="Time between two looks into the folders."
    )
    until_idle: Duration | None = Field(
        default=None,
        description="End when nothing has arrived for so long, and all is done; none to watch until told.",
    )


class Config(Section):
    """All settings of a run."""

    paths: Paths = Field(
        default=[], description="Stacks, folders, metadata files and dataset files that hold the input."
    )
    output: WritablePath | None = Field(default=None, description="Folder of the results.")
    fit_each: bool = Field(default=False, description="One fit for each tomogram, instead of one for all.")
    fit_on: Names = Field(
        default=[],
        description="Names of the inputs that the network is fitted to; it is applied to all. Else all.",
    )
    model: WritablePath | None = Field(
        default=None,
        description="The model.safetensors of an earlier fit, applied to all inputs; none is fitted.",
    )
    to_warp: bool = Field(default=False, description="Copy results to where Warp keeps denoised tomograms.")
    recipe: str = Field(default="dewedge", description="The method, whose settings are the defaults.")
    output_format: OutputFormat = Field(
        default="mrc",
        description="Format of the refined tomogram: MRC, OME-Zarr (refined.zarr), or both.",
    )
    zarr_version: ZarrVersion = Field(
        default="0.5",
        description="Version of OME-Zarr: 0.5, in few files (shards), or 0.4, which copick and others with "
        "zarr 2 read.",
    )
    no_check: bool = Field(default=False, description="Do not check the input as dewedge check does.")
    series: SeriesSection = SeriesSection.defaults()
    tomograms: TomogramsSection = TomogramsSection.defaults()
    split: SplitSection = SplitSection.defaults()
    images: ImagesSection = ImagesSection.defaults()
    reconstruct: ReconstructSection = ReconstructSection.defaults()
    ctf: CtfSection = CtfSection.defaults()
    fit: FitSection = FitSection.defaults()
    refine: RefineSection = RefineSection.defaults()
    files: FilesSection = FilesSection.defaults()
    compute: ComputeSection = ComputeSection.defaults()
    watch: WatchSection = WatchSection.defaults()

    def resolved(self) -> Config:
        """Return the same with absolute paths, and with what the fit chooses where it is not given."""
        return self.with_absolute_paths().model_copy(
            update={
                "output": None if self.output is None else self.output.absolute(),
                "model": None if self.model is None else self.model.absolute(),
                "series": self.series.with_absolute_paths(),
                "tomograms": self.tomograms.with_absolute_paths(),
                "ctf": self.ctf.with_absolute_paths(),
                "fit": self.fit.resolved(),
            }
        )
