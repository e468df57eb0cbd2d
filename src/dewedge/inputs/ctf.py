"""The CTF and exposure of what is reconstructed: whose values are used, and the correction by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.check.finding import Finding
from dewedge.errors import InputError, shown
from dewedge.geometry import CtfParameters, Microscope, TiltGeometry
from dewedge.inputs.run_input import HalvesInput, SeriesInput
from dewedge.io.ctf_files import read_ctf_file
from dewedge.io.tilt_series import TiltSeries
from dewedge.io.volume_file import VolumeFile
from dewedge.physics.ctf import SignalToNoise, correct_images, deconvolve, first_zero_A
from dewedge.physics.exposure import RELATIVE_EXPOSURE, weight_by_exposure
from dewedge.settings.sections import CtfSection

# Where nothing is known: RELION's hand for tilt angles as IMOD has them, and the usual microscope.
HAND = -1
MICROSCOPE = {"voltage_kV": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.07}

# What tells, in a label or the name of a stack, that it was corrected already.
_CTF_CORRECTED = re.compile(r"phase.?flip|ctf.?corr|deconv", re.IGNORECASE)
_WEIGHTED = re.compile(r"dose.?(weight|filt)|(?<![a-z0-9])dw(?![a-z0-9])", re.IGNORECASE)


def with_ctf(
    series: Sequence[TiltSeries], section: CtfSection, file: Path | None
) -> tuple[tuple[TiltSeries, ...], tuple[str, ...]]:
    """Tilt series of one geometry with all that their correction needs, and notes on where it comes from.

    Raises
    ------
    InputError
        If the defocus or the exposure is asked for and not known.
    """
    geometry, path = series[0].geometry, series[0].path
    notes: list[str] = []
    known = file is not None or section.defocus_um is not None or geometry.ctf is not None
    if section.ctf not in ("auto", "none") or (section.ctf == "auto" and known):
        ctf, notes = known_ctf(
            str(path), geometry.n_tilts, geometry.ctf, section, file, told=geometry.microscope
        )
        geometry = replace(geometry, ctf=ctf)
    chosen, why = chosen_correction(section, geometry.ctf, _texts(series))
    notes += [why] if why else []
    if chosen.ctf in ("phase-flip", "wiener") and geometry.ctf is not None:
        notes.append(f"defocus hand {geometry.ctf.defocus_hand}; {_gradient(geometry)}")
    if section.dose_weight:
        if geometry.pre_exposure_e_per_A2 is None:
            raise InputError(
                f"{path}: --dose-weight: the exposure before each image is not known: expected an mdoc with "
                "doses, or metadata that hold them"
            )
        voltage_kV = exposed_voltage_kV(geometry, section)
        if voltage_kV not in RELATIVE_EXPOSURE:
            raise InputError(
                f"{path}: --dose-weight at {voltage_kV:g} kV: expected --voltage-kV 200 or 300, for which "
                "the critical exposure is known"
            )
        notes.append(
            f"weighted by exposure, up to {geometry.pre_exposure_e_per_A2.max():g} electrons per A^2"
        )
    for each in series:
        notes += _corrected_already(each.path, each.labels, chosen)
    completed = (replace(each, geometry=replace(each.geometry, ctf=geometry.ctf)) for each in series)
    return tuple(completed), tuple(notes)


def chosen_correction(
    section: CtfSection, ctf: CtfParameters | None, texts: Iterable[str]
) -> tuple[CtfSection, str]:
    """The section with a correction in the place of ``auto``, and why it was chosen.

    Parameters
    ----------
    ctf
        What is known of tilt images.
    texts
        Their files' names and labels, which may tell of earlier corrections.
    """
    if section.ctf != "auto":
        return section, ""
    chosen = "none"
    if ctf is None:
        why = "CTF not corrected, for no defocus is known"
    elif any(_CTF_CORRECTED.search(text) for text in texts):
        why = "CTF not corrected, for the images seem to be corrected already"
    elif ctf.nominal:
        why = "CTF not corrected, for the defocus is nominal: --ctf phase-flip takes it all the same"
    elif not ctf.defocus_um.any():
        why = "CTF not corrected, for a defocus of 0 in all images was hardly measured"
    else:
        chosen, why = "phase-flip", "phases flipped, for the defocus was measured (--ctf none does not)"
    return section.model_copy(update={"ctf": chosen}), why


def check_ctf(item: SeriesInput | HalvesInput, section: CtfSection, binning: int) -> list[Finding]:
    """Find zeros of the CTF within the tomogram's Nyquist frequency that nothing is done about."""
    if isinstance(item, HalvesInput):
        ctf, pixel_size_A = item.ctf, item.half0.voxel_size_A
        texts, chosen = [item.half0.path.name, *item.half0.labels], section.ctf
    else:
        geometry = item.series[0].geometry
        ctf, pixel_size_A = geometry.ctf, geometry.pixel_size_A * binning
        texts = _texts(item.series)
        chosen = chosen_correction(section, ctf, texts)[0].ctf
    if chosen not in ("auto", "none") or any(_CTF_CORRECTED.search(text) for text in texts):
        return []
    if (ctf is None and section.defocus_um is None) or pixel_size_A is None:
        return []
    count = 1 if ctf is None else ctf.defocus_um.size
    known, [note, *_] = known_ctf(item.name, count, ctf, section, None)
    zero_A = float(np.median(first_zero_A(known)))
    if zero_A <= 2 * pixel_size_A:
        return []
    ready_made = isinstance(item, HalvesInput)
    flip = "--ctf phase-flip" if not known.nominal else "--ctf phase-flip, better with --ctf-file"
    return [
        Finding(
            "note" if ready_made else "warning",
            item.name,
            f"its first zero lies at {zero_A:.1f} A ({note}), within Nyquist ({2 * pixel_size_A:.1f} A)",
            "CTF",
            "Beyond it the contrast of what was not corrected turns over, again at every zero",
            "If the tomograms were not corrected, give --ctf wiener-tomogram"
            if ready_made
            else f"Give {flip}",
        )
    ]


def series_correction(series: Sequence[TiltSeries], section: CtfSection) -> CtfSection:
    """The correction of a series, ``auto`` being replaced by what is chosen for it."""
    return chosen_correction(section, series[0].geometry.ctf, _texts(series))[0]


def _texts(series: Sequence[TiltSeries]) -> list[str]:
    return [text for each in series for text in (each.path.name, *each.labels)]


def with_tomogram_ctf(
    tomogram: VolumeFile, metadata: CtfParameters | None, section: CtfSection
) -> tuple[CtfParameters | None, tuple[str, ...]]:
    """CTF parameters of a ready-made tomogram, one value each, and notes on where they come from.

    Raises
    ------
    InputError
        If it is to be corrected as only tilt images can be, or its defocus or voxel size are not known.
    """
    if section.ctf in ("phase-flip", "wiener") or section.dose_weight or section.ctf_file:
        raise InputError(
            f"{tomogram.path}: a tomogram cannot be corrected image by image: expected "
            "--ctf wiener-tomogram with --defocus-um, or no --ctf and no --dose-weight"
        )
    earlier = _corrected_already(tomogram.path, tomogram.labels, section)
    if section.ctf in ("auto", "none"):
        return metadata, tuple(earlier)
    if tomogram.voxel_size_A is None:
        raise InputError(f"{tomogram.path}: --ctf {section.ctf}: expected a voxel size in its header")
    ctf, notes = known_ctf(str(tomogram.path), 1, metadata, section, None)
    return ctf, (*notes, *earlier)


def known_ctf(
    where: str,
    n: int,
    metadata: CtfParameters | None,
    section: CtfSection,
    file: Path | None,
    *,
    told: Microscope | None = None,
) -> tuple[CtfParameters, list[str]]:
    """CTF parameters of ``n`` images: as given, else of ``file``, else of the metadata, else as usual.

    Parameters
    ----------
    told
        What the metadata tell of the microscope, whether or not they hold a defocus.

    Raises
    ------
    InputError
        If no defocus is known, a file is given along with a defocus, or is not of these images.
    """
    if file is not None and section.defocus_um is not None:
        raise InputError("--ctf-file and --defocus-um: expected one of them")
    if file is not None:
        ctf, source = read_ctf_file(file, n), f"from {file.name}"
    elif section.defocus_um is not None:
        ctf, source = CtfParameters(defocus_u_um=np.full(n, section.defocus_um)), "as given"
    elif metadata is not None:
        ctf, source = (
            metadata,
            "nominal: asked of the microscope, not measured" if metadata.nominal else "measured",
        )
    else:
        raise InputError(
            f"{where}: --ctf {section.ctf}: no defocus known: expected --ctf-file or --defocus-um, or "
            "metadata that hold it"
        )
    low, high = ctf.defocus_um.min(), ctf.defocus_um.max()
    span = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
    notes = [f"defocus {span} um, {source}"]
    values: dict[str, Any] = {
        "voltage_kV": section.voltage_kV,
        "spherical_aberration_mm": section.cs_mm,
        "amplitude_contrast": section.amplitude_contrast,
        "defocus_hand": section.defocus_hand,
    }
    assumed = []
    for name, usual in {**MICROSCOPE, "defocus_hand": HAND}.items():
        for source_of_value in (ctf, metadata, told):
            if values[name] is None and source_of_value is not None:
                values[name] = getattr(source_of_value, name)
        if values[name] is None:
            values[name] = usual
            assumed.append(f"{name} {usual:g}")
    if assumed:
        notes.append(f"assumed, for no file tells: {', '.join(assumed)}")
    return replace(ctf, **values), notes


def correct(
    images: Tensor, geometry: TiltGeometry, section: CtfSection, device: torch.device | None = None
) -> Tensor:
    """Correct ``(n, y, x)`` aligned images as the configuration says, where ``auto`` was replaced before.

    One image at a time is on ``device``, if it is given.

    Raises
    ------
    ValueError
        If none was chosen.
    """
    if section.ctf == "auto":
        raise ValueError("expected a chosen correction, got auto")
    if section.ctf in ("phase-flip", "wiener"):
        snr = None if section.ctf == "phase-flip" else _snr(section)
        images = correct_images(images, geometry, snr, device)
    if section.dose_weight:
        images = weight_by_exposure(images, geometry, exposed_voltage_kV(geometry, section), device)
    return images


def untilted_ctf(geometry: TiltGeometry) -> CtfParameters | None:
    """Parameters of the image with the lowest tilt angle; None if there are none."""
    return None if geometry.ctf is None else geometry.ctf.select([np.abs(geometry.tilt_deg).argmin()])


def deconvolve_file(
    data: NDArray[np.float32],
    ctf: CtfParameters | None,
    voxel_size_A: float | None,
    section: CtfSection,
    device: torch.device,
) -> None:
    """Deconvolve a ``(z, y, x)`` tomogram in place, in memory, if the configuration says so.

    Raises
    ------
    ValueError
        If it says so, and CTF parameters or the voxel size are not known.
    """
    if section.ctf != "wiener-tomogram":
        return
    if ctf is None or voxel_size_A is None:
        raise ValueError("expected CTF parameters and a voxel size for wiener-tomogram")
    volume = torch.from_numpy(np.array(data)).to(device)
    data[...] = deconvolve(volume, ctf, voxel_size_A, _snr(section)).cpu().numpy()


def _snr(section: CtfSection) -> SignalToNoise:
    return SignalToNoise(section.snr_strength, section.snr_falloff)


def exposed_voltage_kV(geometry: TiltGeometry, section: CtfSection) -> float:
    """Voltage at which a specimen was exposed: as given, as its files tell, or the usual one."""
    return section.voltage_kV or geometry.microscope.voltage_kV or MICROSCOPE["voltage_kV"]


def _gradient(geometry: TiltGeometry) -> str:
    """A note on how far the defocus hand matters."""
    half_width_um = geometry.aligned_shape_yx[1] / 2 * geometry.pixel_size_A * 1e-4
    steepest = float(np.abs(np.tan(np.radians(geometry.tilt_deg))).max())
    return (
        "at the steepest tilt the defocus changes by up to "
        f"{half_width_um * steepest:.2f} um from the axis to the edge"
    )


def _corrected_already(path: Path, labels: Sequence[str], section: CtfSection) -> list[str]:
    """Notes on what the name and the labels of a file tell of earlier corrections."""
    notes = []
    for sign, what, again in (
        (_CTF_CORRECTED, "CTF", f"--ctf {section.ctf}" if section.ctf not in ("auto", "none") else ""),
        (_WEIGHTED, "exposure", "--dose-weight" if section.dose_weight else ""),
    ):
        text = next((text for text in (path.name, *labels) if sign.search(text)), None)
        if text is not None:
            twice = f", and {again} does it again" if again else ""
            notes.append(f"{path.name} seems to be corrected for the {what} already ({shown(text)}){twice}")
    return notes
