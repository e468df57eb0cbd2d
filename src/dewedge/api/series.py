"""Tilt series and half tomograms, opened as the command line opens them, and their reconstruction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.api.tomogram import Halves, Tomogram, tilt_keys
from dewedge.check.volumes import require_sound
from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry, TiltRange, TiltRangeLike
from dewedge.inputs.ctf import deconvolve_file
from dewedge.inputs.planes import planes_beside, planes_of, read_planes
from dewedge.inputs.read import read_all, require_sound_images
from dewedge.inputs.run_input import HalvesInput, SeriesInput
from dewedge.io.files import StrPath
from dewedge.io.volume_file import VolumeFile
from dewedge.physics.transfer import MeasuredPlanes
from dewedge.pipeline.check import volume_findings
from dewedge.pipeline.half_sets import half_sets
from dewedge.pipeline.reconstruct import fill_beads, fill_reconstruction, made_coarse_tv, reconstruction_label
from dewedge.runtime.devices import choose_device
from dewedge.settings.base import Section
from dewedge.settings.file import resolve_options
from dewedge.settings.sections import (
    Config,
    CtfSection,
    ImagesSection,
    ReconstructSection,
    SeriesSection,
    SplitSection,
    TomogramsSection,
)

_SECTIONS: dict[str, type[Section]] = {
    "series": SeriesSection,
    "tomograms": TomogramsSection,
    "split": SplitSection,
    "images": ImagesSection,
    "reconstruct": ReconstructSection,
    "ctf": CtfSection,
}


@dataclass(frozen=True, eq=False, repr=False)
class Series:
    """A tilt series and the settings of its reconstruction; nothing is in memory yet.

    Parameters
    ----------
    item
        The files it was found in.
    config
        The settings.
    """

    item: SeriesInput
    config: Config

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.item.name

    @property
    def images(self) -> NDArray[Any]:
        """``(n, y, x)`` raw images, memory-mapped; those of the even frames where there are frames."""
        return self.item.series[0].images

    @property
    def geometry(self) -> TiltGeometry:
        """Tilt angles in degrees, alignment, pixel size in Angstrom, exposure and CTF of the raw images."""
        return self.item.series[0].geometry

    @property
    def tilt_range(self) -> TiltRange:
        """Lowest and highest tilt angle in degrees."""
        return self.item.tilt_range

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was read from which file, and what was assumed, a line each."""
        return self.item.notes

    def reconstruct(self, *, device: str = "auto") -> Halves:
        """Reconstruct both half-sets and the whole series in memory, as ``dewedge run`` writes them.

        X-rays are taken out, gold is painted over and the CTF corrected as the series was opened to have it.

        Parameters
        ----------
        device
            "cpu", "cuda", or "auto" for a GPU if there is one.

        Returns
        -------
        Halves
            Half-set 0, half-set 1 and the full tomogram: ``(z, y, x)`` float32, with voxel size, tilt range,
            what was gold, and the total variation that has its share in a refinement.

        Raises
        ------
        InputError
            If no thickness is known, images are constant or not finite, or there is no such device.
        """
        item, config = self.item, self.config
        section, ctf = config.reconstruct, config.ctf
        compute = resolve_options("reconstruct", {}, {}, {"compute": {"device": device}}).compute
        where, label = choose_device(compute), reconstruction_label(section)
        thickness = item.binned_thickness(section)
        for series in item.series:
            require_sound_images(series)
        *sets, gold = half_sets(item, section, ctf, config.split, config.fit.seed, config.images, where)
        geometry = sets[2].geometry
        shape = (thickness, *geometry.image_shape_yx)
        beads = None
        if gold is not None:
            beads = np.empty(shape, dtype=np.float32)
            fill_beads(beads, gold, geometry, item, section, ctf, where)
        of_tv = made_coarse_tv(sets[2], item, section, ctf, where)
        made = []
        for aligned, part in zip(sets, ("half-set 0", "half-set 1", "full"), strict=True):
            data = np.empty(shape, dtype=np.float32)
            fill_reconstruction(data, aligned, item, section, ctf, where)
            made.append(
                Tomogram(
                    data,
                    geometry.pixel_size_A,
                    item.tilt_range,
                    f"{item.name} {part}",
                    beads,
                    item.series[0].origin_xyz_A,
                    (*item.series[0].labels, label),
                    of_tv,
                    planes_of(aligned, item, ctf, section),
                )
            )
        half0, half1, full = made
        return Halves(half0, half1, full, name=item.name, mask=item.mask)

    def __repr__(self) -> str:
        n, height, width = self.images.shape
        size = f"{n} images of {height} x {width} (y, x), pixel size {self.geometry.pixel_size_A:g} A"
        return f"<Series {self.name}: {size}, tilts {self.tilt_range}>"


def open(
    path: StrPath | Sequence[StrPath] = (),
    *,
    thickness: int | None = None,
    binning: int = 1,
    angles: StrPath | None = None,
    xf: StrPath | None = None,
    tilt_range: TiltRangeLike | None = None,
    recipe: str | None = None,
    seed: int = 0,
    no_check: bool = False,
    **options: Any,
) -> Series | Halves:
    """Open one tilt series, or both half tomograms of one specimen, memory-mapped.

    Parameters
    ----------
    path
        A stack, a folder, or metadata of another program, as ``dewedge run`` takes them; several paths if
        they describe one input, such as both half tomograms. None with ``even`` and ``odd``, or ``half0`` and
        ``half1``.
    thickness
        Thickness of the tomogram in unbinned pixels; else that of the metadata.
    binning
        Binning relative to the stack, the flag ``--bin``.
    angles, xf
        Files of the tilt angles and of the IMOD alignment; else found beside the stack.
    tilt_range
        Lowest and highest tilt angle of half tomograms in degrees; else that of the files they came with.
    recipe
        The method whose settings of the reconstruction are the defaults, as of `dewedge.fit`.
    seed
        Of a random split, and of the noise that gold is painted over with.
    no_check
        Whether half tomograms may differ in voxel size, or seem to be stacks of tilt images.
    **options
        Every other flag of ``dewedge run`` that tells of tilt series, half tomograms, split, tilt images,
        reconstruction or CTF, by its key in ``config.toml``: ``even``, ``odd``, ``mdoc``, ``half0``,
        ``half1``, ``full``, ``pixel_size_A``, ``exclude_tilts``, ``filter``, ``gold``, ``ctf``,
        ``defocus_um`` ...

    Returns
    -------
    Series or Halves
        Half tomograms have no ``reconstruct``: they are what it returns. With ``ctf="wiener-tomogram"``
        they are deconvolved, in memory.

    Raises
    ------
    InputError
        If there is no such file or option, a file is damaged, or there are several inputs.
    """
    named = {"thickness": thickness, "angles": angles, "xf": xf}
    named |= {} if tilt_range is None else tilt_keys(tilt_range)
    options |= {"binning": binning} | {key: value for key, value in named.items() if value is not None}
    opened = open_all(path, recipe=recipe, seed=seed, no_check=no_check, **options)
    if len(opened) != 1:
        names = ", ".join(each.name for each in opened)
        raise InputError(f"open: expected one input, got {len(opened)} ({names}): dewedge.open_all opens all")
    return opened[0]


def open_all(
    paths: StrPath | Sequence[StrPath] = (),
    *,
    recipe: str | None = None,
    seed: int = 0,
    no_check: bool = False,
    **options: Any,
) -> list[Series | Halves]:
    """Open every tilt series and pair of half tomograms in files and folders.

    Parameters
    ----------
    paths
        As ``dewedge run`` takes them.
    recipe, seed, no_check, **options
        As those of `open`, for all inputs; of files that are named, such as ``angles``, a list of one for
        each.

    Raises
    ------
    InputError
        If there is no such file or option, or any input cannot be opened.
    """
    given: dict[str, Any] = {"paths": listed(paths), "fit": {"seed": seed}, "no_check": no_check}
    if recipe is not None:
        given["recipe"] = recipe
    config = resolve_options("open", options, _SECTIONS, given)
    opened: list[Series | Halves] = []
    for item in read_all(config):
        opened.append(Series(item, config) if isinstance(item, SeriesInput) else _halves(item, config))
    return opened


def listed(paths: StrPath | Sequence[StrPath]) -> list[StrPath]:
    """One path, or several, as a list.

    Examples
    --------
    >>> listed("TS_01.mrc"), listed(["TS_01.mrc", "TS_02.mrc"])
    (['TS_01.mrc'], ['TS_01.mrc', 'TS_02.mrc'])
    """
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _halves(item: HalvesInput, config: Config) -> Halves:
    """Half tomograms; deconvolved, and so in memory, only if the settings say so."""
    if not config.no_check:
        require_sound(volume_findings(item))
    ctf = config.ctf
    known = read_planes(planes_beside(item.half0.path))
    of_half0, of_half1 = (None, None) if known is None else known

    def tomogram(mrc: VolumeFile, planes: MeasuredPlanes | None = None) -> Tomogram:
        return Tomogram(
            deconvolved(mrc.data, mrc.voxel_size_A),
            mrc.voxel_size_A,
            item.tilt_range,
            str(mrc.path),
            origin_xyz_A=mrc.origin_xyz_A,
            labels=mrc.labels,
            planes=planes,
        )

    def deconvolved(data: NDArray[Any], voxel_size_A: float | None) -> NDArray[Any]:
        if ctf.ctf != "wiener-tomogram":
            return data
        values = np.array(data, dtype=np.float32)
        deconvolve_file(values, item.ctf, voxel_size_A, ctf, torch.device("cpu"))
        return values

    full = None if item.full is None else tomogram(item.full)
    half0, half1 = tomogram(item.half0, of_half0), tomogram(item.half1, of_half1)
    return Halves(half0, half1, full, name=item.name, mask=item.mask, no_check=config.no_check)
