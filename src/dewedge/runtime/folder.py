"""Folders of results, the names of their files, and what may not be replaced."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dewedge.errors import InputError
from dewedge.io.files import files_and_folders, remove_leftovers, unwritable
from dewedge.io.volume_file import ZARR_SUFFIX, file_of
from dewedge.settings.sections import OutputFormat

logger = logging.getLogger(__name__)

CONFIG = "config.toml"


class _File:
    """A file of a fixed name: of a folder, its path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: ResultFolder, owner: type[ResultFolder]) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class ResultFolder:
    """The folder of a tomogram's results, of a fit, or of both, and the paths of its files.

    Parameters
    ----------
    path
        The folder, which need not exist.
    """

    path: Path

    config_file = _File(CONFIG)
    log = _File("dewedge.log")
    # What the results were made of.
    inputs = _File("inputs.json")
    # Of a tomogram or a fit of a folder that is watched: how far it is.
    status = _File("status.json")
    # Why it was left out, of tomograms that are taken by turns.
    left_out = _File("left_out.txt")
    model = _File("model.safetensors")
    checkpoint = _File("checkpoint.safetensors")
    loss_table = _File("loss.csv")
    loss_figure = _File("loss.png")
    half0 = _File("half0.mrc")
    half1 = _File("half1.mrc")
    # What the tilts of both half-sets measured.
    planes = _File("planes.json")
    full = _File("full.mrc")
    # Total variation at twice the voxel size, for the refined tomogram.
    tv = _File("tv.mrc")
    beads = _File("beads.mrc")
    mask = _File("mask.mrc")
    refined = _File("refined.mrc")
    # The same, with a pyramid, if it was asked for.
    refined_zarr = _File("refined.zarr")
    # Each half-set refined alone.
    refined_half0 = _File("refined_half0.mrc")
    refined_half1 = _File("refined_half1.mrc")
    slices = _File("slices.png")
    # Of one tomogram; in the folder of several, the list of them.
    report = _File("report.html")
    # What dewedge trust makes of the refined tomogram: its two parts, and what can be said of them.
    measured = _File("refined_measured.mrc")
    added = _File("refined_added.mrc")
    # What independent fits make of it differently, and how far off its added part can be.
    fits_difference = _File("refined_difference.mrc")
    uncertainty = _File("refined_uncertainty.mrc")
    # The same as OME-Zarr, if it was asked for.
    measured_zarr = _File("refined_measured.zarr")
    added_zarr = _File("refined_added.zarr")
    fits_difference_zarr = _File("refined_difference.zarr")
    uncertainty_zarr = _File("refined_uncertainty.zarr")
    trust = _File("trust.json")
    trust_page = _File("trust.html")

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def result(self) -> Path:
        """Path of the refined tomogram in the format that is there; of two, that written last."""
        return self.kept(self.refined)

    def kept(self, path: Path) -> Path:
        """Path of a volume of these, named as MRC, in the format that is there; of two, that written last."""
        there = [each for each in (path, path.with_suffix(ZARR_SUFFIX)) if each.exists()]
        return max(there, key=lambda each: each.stat().st_mtime_ns, default=path)

    def refined_as(self, output_format: OutputFormat) -> list[Path]:
        """Paths of the refined tomogram in the format that is asked for, or in both."""
        both = {"mrc": self.refined, "zarr": self.refined_zarr}
        return list(both.values()) if output_format == "both" else [both[output_format]]

    @property
    def halves(self) -> list[Path]:
        """Paths of the tomograms of both half-sets."""
        return [self.half0, self.half1]

    @property
    def refined_halves(self) -> list[Path]:
        """Paths of the refined tomograms of both half-sets."""
        return [self.refined_half0, self.refined_half1]

    @property
    def of_fit(self) -> list[Path]:
        """Files of a fit, from the first that is written to the last."""
        return [self.checkpoint, self.loss_table, self.loss_figure, self.model]

    @property
    def judged(self) -> list[Path]:
        """Volumes of `dewedge trust` as MRC, from the first that is written to the last."""
        return [self.measured, self.added, self.fits_difference, self.uncertainty]

    @property
    def of_trust(self) -> list[Path]:
        """Files of `dewedge trust`, from the first that is written to the last."""
        return [
            *self.judged,
            *(path.with_suffix(ZARR_SUFFIX) for path in self.judged),
            self.trust,
            self.trust_page,
        ]

    @property
    def reconstructed(self) -> list[Path]:
        """Files of a tomogram that are there before the fit, from the first that is written to the last."""
        return [self.planes, *self.halves, self.beads, self.tv, self.full, self.mask]

    @property
    def of_tomogram(self) -> list[Path]:
        """All files of a tomogram and of its fit, from the first that is written to the last."""
        return [
            self.left_out,
            *self.reconstructed,
            *self.of_fit,
            self.refined,
            self.refined_zarr,
            *self.refined_halves,
            self.slices,
            self.report,
            *self.of_trust,
        ]


def tomogram_folders(output: Path, names: Sequence[str], several: bool) -> list[ResultFolder]:
    """Folders of the tomograms' results: one for each in ``output`` if ``several``, else itself."""
    return [ResultFolder(output / name) for name in names] if several else [ResultFolder(output)]


def tomograms_of(output: Path) -> list[ResultFolder]:
    """Folders of the tomograms of a run, finished or not: itself, or those in it.

    Raises
    ------
    InputError
        If it is no run's folder, or cannot be read.
    """
    run = ResultFolder(output)
    folders = [run, *map(ResultFolder, files_and_folders(output)[1])]
    found = [folder for folder in folders if folder.full.is_file()]
    if not found or not run.config_file.is_file():
        names = f"{run.config_file.name} and {run.full.name}"
        raise InputError(f"{output}: no run: expected {names}, as dewedge run writes them")
    return found


def with_suffix(path: Path, suffixes: Sequence[str]) -> Path:
    """The file of one result: with the first of these suffixes if it has none, as a line tells.

    Raises
    ------
    InputError
        If it has another one, or is a folder.
    """
    if file_of(path).suffix.lower() in suffixes:
        return path
    if path.suffix:
        raise InputError(f"{path}: no such format: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder: expected the name of a file")
    named = path.with_name(path.name + suffixes[0])
    logger.info("%s: written as %s", path, named.name)
    return named


def is_newer(path: Path, than: Path) -> bool:
    """True if a file exists and was not written before another."""
    return path.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def refuse_sources(results: Sequence[Path], sources: Sequence[Path]) -> None:
    """Refuse results that would replace an input.

    Raises
    ------
    InputError
        If one would.
    """
    # Path.resolve raises where links lead round; then writing tells.
    inputs = {os.path.realpath(path) for path in sources}
    # A level of a Zarr store lies in it.
    inputs |= {os.path.realpath(file_of(path)) for path in sources}
    for path in results:
        if os.path.realpath(path) in inputs:
            raise InputError(f"{path}: is an input that a result would replace: give another output")


def refuse_outside(folder: Path, results: Sequence[Path]) -> None:
    """Refuse results below a folder that a link in it would lead out of it.

    Raises
    ------
    InputError
        If there is such a link.
    """
    inside = Path(os.path.realpath(folder))
    for parent in dict.fromkeys(path.parent for path in results):
        if not Path(os.path.realpath(parent)).is_relative_to(inside):
            raise InputError(
                f"{parent}: leads out of {folder} by a link: remove the link, or give another output"
            )


@contextmanager
def claimed(results: Sequence[Path], sources: Sequence[Path] = (), *, overwrite: bool) -> Iterator[None]:
    """Hold the results of a verb that writes single files for the block, in which they are written.

    Parameters
    ----------
    results
        The files that may be written. The others are named after the first, or lie below its folder.
    sources
        Files of the input.

    Raises
    ------
    InputError
        If a result would replace an input, lies outside by a link, exists and is not to be overwritten, or
        another process writes it.
    """
    require_free(results, sources, overwrite)
    with ExitStack() as stack:
        hold(stack, results, results[:1], overwrite)
        yield


@contextmanager
def claimed_report(path: Path | None, sources: Sequence[Path]) -> Iterator[None]:
    """Hold a file of figures as `claimed` does, if one is asked for: it replaces an earlier one."""
    if path is None:
        yield
        return
    with claimed([path], sources, overwrite=True):
        yield


def require_free(results: Sequence[Path], sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse results that would replace an input, lie outside by a link, or exist and must not.

    Errors as `refuse_sources`, `refuse_outside` and `require_new`.
    """
    refuse_sources(results, sources)
    folder = results[0].parent
    refuse_outside(folder, [path for path in results if path.is_relative_to(folder)])
    require_new(results, overwrite)


def hold(stack: ExitStack, results: Sequence[Path], locks: Sequence[Path], overwrite: bool) -> None:
    """Lock the results of ``locks`` until ``stack`` ends, and clear what a killed process left of any.

    Errors as `dewedge.runtime.lock.locked_folder` and `require_new`.
    """
    from dewedge.runtime.lock import locked_file  # and asyncio with it, which a help must not wait for

    for path in locks:
        stack.enter_context(locked_file(path))
    # Another process may have made them in the meantime.
    require_new(results, overwrite)
    for path in results:
        try:
            remove_leftovers(path)
        except OSError as error:
            raise unwritable(path, error) from None


def require_new(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse files that exist, unless they may be overwritten.

    Raises
    ------
    InputError
        If one exists, and may not.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(
                f"{path}: exists already: give --overwrite (in Python overwrite=True), or another output"
            )
