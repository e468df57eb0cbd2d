"""Everything that can be told of the input before anything is computed: a table for each, and JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dewedge.check.alignment import check_axis, check_order, find_tilt_axis
from dewedge.check.angle_scale import check_angle_scale, describe_angle_scale, measure_angle_scale
from dewedge.check.angles import check_angles, check_lengths, describe_geometry
from dewedge.check.axis_position import check_axis_position, describe_axis, measure_axis
from dewedge.check.binning import binned_geometry
from dewedge.check.finding import Finding, Severity, errors
from dewedge.check.forecast import Forecast
from dewedge.check.halves import HalfSet, check_halves, correlation_by_frequency, half_set
from dewedge.check.images import ImageSummary, check_images, summarise_images
from dewedge.check.shifts import check_shifts, describe_shifts, measure_shifts
from dewedge.check.volumes import check_tomogram, check_voxel_sizes
from dewedge.check.wedge import check_wedge, measure_wedge
from dewedge.check.x_tilt import check_x_tilt
from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.inputs.ctf import check_ctf
from dewedge.inputs.read import open_inputs, with_correction, with_fitting_cubes, without_excluded
from dewedge.inputs.run_input import HalvesInput, RunInput, SeriesInput
from dewedge.io.files import write_text_atomic
from dewedge.io.tilt_series import FEWEST_TILTS
from dewedge.learn.sampling import held_out_side
from dewedge.physics.alignment import align_images
from dewedge.physics.tilt_axis import AxisEstimate
from dewedge.pipeline.resources import find_shortage, predict
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import claimed_report
from dewedge.runtime.log import step
from dewedge.runtime.progress import counted
from dewedge.settings.sections import Config, ReconstructSection

logger = logging.getLogger(__name__)

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}
# Of a list of many inputs, by keys of their rows.
_COLUMNS = {"images": "images", "pixel": "pixel (A)", "tilts": "tilts (deg)", "tomogram": "tomogram"}
# Shares of Nyquist at which the half-sets' correlation is shown.
_SHOWN_FREQUENCIES = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Report:
    """Facts measured of one input, by name, and findings about it; ``row`` is what a list of many tells."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    row: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Number of errors and warnings."""
        counts = {kind: sum(f.severity == kind for f in self.findings) for kind in ("error", "warning")}
        told = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
        return ", ".join(told) or "nothing wrong"


def check_files(config: Config, json_path: Path | None = None) -> None:
    """Check all inputs of a configuration, print a table for each and write JSON if asked.

    Raises
    ------
    InputError
        If an input has errors, after all have been told.
    """
    faults = Faults()
    reports = []
    inputs = with_correction(without_excluded(open_inputs(config, faults), config), config, faults)
    smaller = ""
    with suppress(InputError):  # told of each input
        config, smaller = with_fitting_cubes(config, inputs)
    with claimed_report(json_path, [path for item in inputs for path in item.files]):
        for item in inputs:
            with step(f"check {item.name}"), counted("check", item.name):
                reports.append(check_one(item, config))
        of_run = [_note_of_cubes(smaller)] if smaller else []
        predicted = predict(inputs, config)
        if predicted is not None:
            of_run += find_shortage(predicted, config)
        for name, fault in faults.by_name().items():
            why, do = "It is left out of a run", "Mend or leave it out"
            reports.append(Report(name, {}, [Finding("error", name, fault, "files", why, do)]))
        print_reports(reports, predicted, of_run)
        if json_path is not None:
            write_reports(json_path, reports, predicted, of_run)
    count = len(errors(f for report in reports for f in report.findings)) + len(errors(of_run))
    if count:
        raise InputError(f"{count} error{'s' if count > 1 else ''} found: see above")


def _note_of_cubes(smaller: str) -> Finding:
    why, do = "Cubes are drawn from the tomogram, part of which is held out", "Nothing, if they suffice"
    return Finding("note", "run", smaller, "thickness against cube size", why, do)


def check_inputs(
    inputs: Sequence[RunInput], config: Config, faults: Faults
) -> tuple[list[RunInput], list[Finding]]:
    """Check the inputs of a run: those without errors, and what else was found.

    Errors are appended to ``faults``.

    Raises
    ------
    InputError
        If no input is without.
    """
    usable: list[RunInput] = []
    found: list[Finding] = []
    for item in inputs:
        with counted("check", item.name):
            report = check_one(item, config)
        wrong = errors(report.findings)
        found += [finding for finding in report.findings if finding.severity == "warning"]
        if wrong:
            with faults.collected(item.name):
                raise InputError(f"{' '.join(map(str, wrong))} (--no-check goes on all the same)")
        else:
            usable.append(item)
    faults.require_some(usable)
    return usable, found


def check_one(item: RunInput, config: Config) -> Report:
    """Measure one input, and find what is wrong with it.

    Errors as `dewedge.check.halves.check_halves`, of half tomograms.
    """
    report = _check_halves(item) if isinstance(item, HalvesInput) else _check_series(item, config)
    report.findings.extend(check_ctf(item, config.ctf, config.reconstruct.bin))
    report.row.update(_row(item))
    try:
        shape = item.tomogram_shape(config.reconstruct)
        if config.model is None:
            held_out_side(item.name, shape, config.fit.cube_size, config.fit.held_out)
        report.row["tomogram"] = " x ".join(map(str, shape))
        report.facts["tomogram"] = f"{shape} (z, y, x), cubes of {config.fit.cube_size}"
    except InputError as error:
        known = isinstance(item, HalvesInput) or config.reconstruct.thickness or item.thickness
        why = "Cubes are drawn from the tomogram, part of which is held out"
        do = "Give a smaller --cube-size or --bin, or a larger --thickness"
        if known:
            finding = Finding("error", item.name, str(error), "thickness against cube size", why, do)
        else:
            why, do = "A run needs it", "Give --thickness in unbinned pixels"
            finding = Finding("note", item.name, "no thickness is given", "tomogram", why, do)
        report.findings.append(finding)
    report.findings.sort(key=lambda finding: list(_STYLES).index(finding.severity))
    return report


def _row(item: RunInput) -> dict[str, str]:
    """What a list of many tells of an input."""
    if isinstance(item, HalvesInput):
        data, size_A = "half-sets", item.half0.voxel_size_A
    else:
        geometry = item.series[0].geometry
        data, size_A = (
            " x ".join(map(str, (geometry.n_tilts, *geometry.image_shape_yx))),
            geometry.pixel_size_A,
        )
    size = "not known" if size_A is None else f"{size_A:.4g}"
    return {"images": data, "pixel": size, "tilts": str(item.tilt_range).replace(" degrees", "")}


def _check_series(item: SeriesInput, config: Config) -> Report:
    report = Report(item.name, {"files": ", ".join(str(series.path) for series in item.series)})
    summaries, usable, aligned = _check_images(report, item, config.reconstruct)
    if aligned:
        _check_axis_position(report, item, config.reconstruct, usable)
        _check_angle_scale(report, item, config, usable)
    if len(summaries) == 2 and usable.size >= FEWEST_TILTS:
        halves = [_half_stack(summary, usable) for summary in summaries]
        _compare(report, halves[0], halves[1], ("image", "y", "x"))
    return report


def misplaced_axis(item: SeriesInput, section: ReconstructSection) -> AxisEstimate | None:
    """The place of the tilt axis of a series, if `dewedge check` tells that it is off; else None.

    None, too, for images that cannot be used: what reads them next says why.
    """
    geometry, stacks = item.series[0].geometry, [series.images for series in item.series]
    try:
        found = measure_axis(stacks, geometry, section.thickness or item.thickness)
    except InputError:
        return None
    if not check_axis_position(item.name, found, geometry, section.bin):
        return None
    # Rarely looked at, for it reads all images once more.
    _, _, aligned = _check_images(Report(item.name), item, section)
    return found if aligned else None


def _check_images(
    report: Report, item: SeriesInput, section: ReconstructSection
) -> tuple[list[ImageSummary], NDArray[np.intp], bool]:
    """Add what is found of angles, images and alignment.

    The images in brief, the numbers of those that can be used, and whether they are aligned: of images that
    do not fit their angles the place of the axis means nothing.
    """
    geometry = item.series[0].geometry
    report.facts["images"] = describe_geometry(geometry)
    thickness = section.thickness or item.thickness
    report.findings.extend(check_angles(item.name, geometry.tilt_deg))
    report.findings.extend(check_lengths(item.name, geometry.pixel_size_A, thickness))
    summaries = [summarise_images(series.images) for series in item.series]
    for i, summary in enumerate(summaries):
        name = item.name if len(summaries) == 1 else f"{item.name} ({('even', 'odd')[i]} frames)"
        report.findings.extend(check_images(name, summary, geometry.tilt_deg))
        low, high = summary.mean.min(), summary.mean.max()
        report.facts["grey scale"] = f"means {low:.4g} to {high:.4g}, std {np.median(summary.std):.4g}"
    usable = np.flatnonzero(np.logical_and.reduce([summary.usable for summary in summaries]))
    if usable.size < FEWEST_TILTS:
        return summaries, usable, False
    mean = np.mean([summary.binned[usable] for summary in summaries], axis=0)
    before = len(report.findings)
    _check_alignment(report, mean, binned_geometry(geometry.select(usable), summaries[0].factor), usable)
    return summaries, usable, len(report.findings) == before and not errors(report.findings)


def _check_alignment(
    report: Report, images: NDArray[np.float32], geometry: TiltGeometry, numbers: NDArray[np.intp]
) -> None:
    aligned = align_images(images, geometry)[0].numpy()
    axis = find_tilt_axis(aligned, geometry.tilt_deg)
    report.facts["tilt axis"] = (
        f"distant tilts agree to {axis.on_axis:.2f} along y, best at {axis.angle_deg:.0f} degrees from it "
        f"({axis.coherence:.2f})"
    )
    before = len(report.findings)
    report.findings.extend(check_axis(report.name, aligned, images, geometry))
    report.findings.extend(check_order(report.name, aligned, geometry.tilt_deg, numbers))
    if len(report.findings) > before:
        # Images that are not neighbours, or are stretched along another axis, tell no shifts.
        return
    shifts = measure_shifts(aligned, geometry.tilt_deg)
    report.facts["shifts"] = describe_shifts(shifts, geometry.pixel_size_A)
    report.findings.extend(check_shifts(report.name, shifts, geometry.pixel_size_A))


def _check_axis_position(
    report: Report, item: SeriesInput, section: ReconstructSection, usable: NDArray[np.intp]
) -> None:
    if section.refine_axis == "always":
        report.facts["axis position"] = (
            "measured and put right before the reconstruction (--refine-axis always)"
        )
        return
    geometry = item.series[0].geometry.select(usable)
    stacks = [[series.images[i] for i in usable] for series in item.series]
    found = measure_axis(stacks, geometry, section.thickness or item.thickness)
    report.facts["axis position"] = describe_axis(found)
    moved = section.refine_axis == "auto"
    report.findings.extend(check_axis_position(report.name, found, geometry, section.bin, moved=moved))


def _check_angle_scale(report: Report, item: SeriesInput, config: Config, usable: NDArray[np.intp]) -> None:
    geometry = item.series[0].geometry.select(usable)
    stacks = [[series.images[i] for i in usable] for series in item.series]
    found = measure_angle_scale(stacks, geometry, config.reconstruct.thickness or item.thickness)
    report.facts["angle scale"] = describe_angle_scale(found)
    report.findings.extend(check_angle_scale(report.name, found))


def _check_halves(item: HalvesInput) -> Report:
    shape, voxel_size_A = item.half0.data.shape, item.half0.voxel_size_A
    report = Report(item.name, {"files": f"{item.half0.path}, {item.half1.path}"})
    size = "voxel size not known" if voxel_size_A is None else f"{voxel_size_A:g} A"
    report.facts["half-sets"] = f"{shape} (z, y, x), {size}, tilts {item.tilt_range}"
    report.findings.extend(check_lengths(item.name, voxel_size_A))
    report.findings.extend(volume_findings(item))
    _compare(report, half_set(item.half0.data), half_set(item.half1.data), ("z", "y", "x"))
    if errors(report.findings):
        return report
    measured = measure_wedge(item.half0.data)
    report.facts["wedge"] = "none clear in the spectrum"
    if measured is not None:
        low, high, _ = measured.tilt_range
        report.facts["wedge"] = f"spectrum shows {low:.0f} to {high:.0f} degrees"
    # Half-set 1 fits half-set 0, as has been seen.
    of_wedge = check_wedge(item.name, item.half0.data, item.tilt_range, "half-set 0")
    if not errors(of_wedge):
        of_wedge += check_x_tilt(item.name, item.half0.data, item.tilt_range, "half-set 0")
    report.findings.extend(of_wedge)
    if item.full is not None:
        report.findings.extend(check_wedge(item.name, item.full.data, item.tilt_range, "full tomogram"))
    return report


def volume_findings(item: RunInput) -> list[Finding]:
    """Findings on the files of half tomograms: what is no tomogram, and voxel sizes that differ.

    There are none of a tilt series.
    """
    if not isinstance(item, HalvesInput):
        return []
    found = check_voxel_sizes(item.name, {str(mrc.path): mrc.voxel_size_A for mrc in item.volumes.values()})
    for where, mrc in item.volumes.items():
        found += check_tomogram(item.name, where, mrc)
    return found


def _half_stack(summary: ImageSummary, usable: NDArray[np.intp]) -> HalfSet:
    factor = summary.factor
    return HalfSet(summary.binned[usable], (1, factor, factor), summary.patches[usable])


def _compare(report: Report, half0: HalfSet, half1: HalfSet, axes: tuple[str, str, str]) -> None:
    found = check_halves(report.name, half0, half1, axes)
    report.findings.extend(found)
    if any("black" in finding.what or "NaN" in finding.what for finding in found):
        return
    curve = correlation_by_frequency(half0, half1)
    frequencies = curve.frequency_per_voxel
    shown = [
        (share, curve.correlation[np.abs(frequencies - share / 2).argmin()]) for share in _SHOWN_FREQUENCIES
    ]
    report.facts["half-sets agree"] = ", ".join(f"{value:.2f} at {share:g} Nyquist" for share, value in shown)


def print_reports(reports: Sequence[Report], predicted: Forecast | None, of_run: Sequence[Finding]) -> None:
    """Print to stdout a list of several inputs, a table and the findings of each, and the forecast."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    if len(reports) > 1:
        console.print(_list_of(reports))
    for report in reports:
        table = Table(title=Text(report.name), title_justify="left", show_header=False)
        for what, value in report.facts.items():
            table.add_row(Text(what), Text(value))
        if report.facts:
            console.print(table)
        for finding in report.findings:
            print_finding(console, finding)
        if not any(finding.severity in ("error", "warning") for finding in report.findings):
            console.print(f"{report.name}: nothing wrong was found", markup=False)
    if predicted is not None:
        console.print(f"forecast: {predicted}", markup=False)
    for finding in of_run:
        print_finding(console, finding)


def _list_of(reports: Sequence[Report]) -> Table:
    """A row for each input."""
    table = Table("input", "found", *_COLUMNS.values(), box=SIMPLE_HEAD, pad_edge=False)
    for report in reports:
        worst = report.findings[0].severity if report.findings else "note"
        style = _STYLES[worst] if worst != "note" else ""
        cells = (Text(report.row.get(key, "")) for key in _COLUMNS)
        table.add_row(Text(report.name), Text(report.verdict, style), *cells)
    return table


def print_finding(console: Console, finding: Finding) -> None:
    """Print one line: severity, where, what, why, what to do."""
    console.print(f"[{_STYLES[finding.severity]}]{finding.severity}[/]", end=" ")
    console.print(str(finding), markup=False, soft_wrap=True)


def write_reports(
    path: Path, reports: Sequence[Report], predicted: Forecast | None, of_run: Sequence[Finding]
) -> None:
    """Write all that was measured and found as JSON; errors as `dewedge.io.files.atomic_path`."""
    values = {
        "inputs": [asdict(report) for report in reports],
        "forecast": None if predicted is None else asdict(predicted),
        "run": [asdict(finding) for finding in of_run],
    }
    write_text_atomic(path, json.dumps(values, indent=2) + "\n")
