"""Movies of the tilts to stacks of the averages of their even and of their odd frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dewedge.errors import InputError
from dewedge.io.angles import read_tilt_angles, write_tilt_angles
from dewedge.io.files import files_and_folders
from dewedge.io.mdoc import Mdoc, copy_mdoc, read_mdoc
from dewedge.io.movies import MOVIE_SUFFIXES, Movie, even_odd_averages, is_eer, read_gain, read_movie
from dewedge.io.mrc import create_mrc
from dewedge.io.names import plain_name
from dewedge.runtime.folder import claimed
from dewedge.runtime.log import step

logger = logging.getLogger(__name__)

_NAMED = 5


def average_frames(
    paths: Sequence[Path],
    folder: Path,
    *,
    mdoc: Path | None = None,
    angles: Path | None = None,
    name: str | None = None,
    gain: Path | None = None,
    pixel_size_A: float | None = None,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write NAME_EVN.mrc, NAME_ODD.mrc and NAME.tlt, and of an mdoc the copy NAME.mdoc that describes both.

    Images are in the order of the mdoc's sections, whose SubFramePath names the movies, or with ``angles`` in
    the order of the paths. Nothing is corrected for motion.

    Raises
    ------
    InputError
        If a movie is missing or one too many, movies differ in shape, or a file cannot be used.
    """
    document = None
    named_by = "--name" if name else mdoc or angles or folder
    if mdoc is not None and angles is None:
        document = read_mdoc(mdoc)
        if document.movie_files is None:
            raise InputError(
                f"{mdoc}: a section has no SubFramePath: give --angles and the movies in its order"
            )
        files, tilt_deg = _named_by(mdoc, document.movie_files, paths), document.tilt_deg
        name = name or _root(mdoc)
    elif angles is not None and mdoc is None:
        files, tilt_deg = _listed(paths), read_tilt_angles(angles)
        if len(files) != len(tilt_deg):
            raise InputError(
                f"{angles}: {len(tilt_deg)} angles for {len(files)} movies: expected one for each"
            )
        name = name or _root(angles)
    else:
        raise InputError("expected --mdoc, or --angles and the movies in its order: one of both")

    plain_name(name, named_by)
    even, odd = stacks = (folder / f"{name}_EVN.mrc", folder / f"{name}_ODD.mrc")
    tlt = folder / f"{name}.tlt"
    results = [*stacks, tlt, *([] if mdoc is None else [folder / f"{name}.mdoc"])]
    sources = [*files, *(path for path in (mdoc, angles, gain) if path is not None)]
    with claimed(results, sources, overwrite=overwrite):
        movies = [read_movie(file) for file in files]
        shape_yx = _common_shape(movies)
        pixel_size_A = pixel_size_A or _pixel_size_A(movies[0], document)
        reference = None if gain is None else read_gain(gain)
        if gain is not None and reference is not None:
            if any(is_eer(file) for file in files) and gain.suffix.lower() != ".mrc":
                raise InputError(
                    f"{gain}: expected, for EER movies, an MRC file that frames are multiplied by"
                )
            if reference.shape != shape_yx:
                raise InputError(
                    f"{gain}: gain reference of shape {reference.shape} (y, x): expected {shape_yx}, that of "
                    "the frames; rotate it first"
                )
        counts = sorted({movie.n_frames for movie in movies})
        frames = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        logger.info(
            "%d movies of %s frames, pixel size %g A; no motion correction", len(movies), frames, pixel_size_A
        )

        shape = (len(movies), *shape_yx)
        with (
            step(f"average frames of {name}"),
            create_mrc(even, shape, pixel_size_A, stack=True, what="even frames") as evens,
            create_mrc(odd, shape, pixel_size_A, stack=True, what="odd frames") as odds,
        ):
            for i, movie in enumerate(movies):
                evens.data[i], odds.data[i] = even_odd_averages(movie, reference)
        write_tilt_angles(tlt, tilt_deg)
        if mdoc is not None and document is not None:
            fits = _binning(document, shape_yx) is not None
            copy_mdoc(mdoc, folder / f"{name}.mdoc", pixel_size_A, shape_yx if fits else None)
        logger.info("even frames %s, odd frames %s", even, odd)
    return stacks


def _named_by(mdoc: Path, names: Sequence[str], paths: Sequence[Path]) -> list[Path]:
    """The movies an mdoc names, in its order; other movies in a folder may be of other series."""
    if len(set(names)) < len(names):
        raise InputError(f"{mdoc}: a movie is named twice: expected one for each tilt")
    found: dict[str, Path] = {}
    listed = []
    for path in paths:
        inside = _movies_in(path) if path.is_dir() else [path]
        listed += [] if path.is_dir() else inside
        for file in inside:
            if file.name in names and found.setdefault(file.name, file).resolve() != file.resolve():
                raise InputError(f"{file}: of the same name as {found[file.name]}: expected one movie a tilt")
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{mdoc}: {len(missing)} of its {len(names)} movies are missing: {_some(missing)}; give the "
            "folder that holds them, or an mdoc without their sections"
        )
    extra = [str(path) for path in listed if path.name not in names]
    if extra:
        raise InputError(f"{mdoc}: {len(extra)} movies it does not name: {_some(extra)}; leave them out")
    return [found[name] for name in names]


def _movies_in(folder: Path) -> list[Path]:
    return [path for path in files_and_folders(folder)[0] if path.suffix.lower() in MOVIE_SUFFIXES]


def _listed(paths: Sequence[Path]) -> list[Path]:
    for path in paths:
        if path.is_dir():
            raise InputError(
                f"{path}: a folder has no order: expected, with --angles, the movies in its order"
            )
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a movie is listed twice: expected one for each angle")
    return list(paths)


def _root(path: Path) -> str:
    """TS_01 of TS_01.mrc.mdoc and of TS_01.tlt."""
    return path.stem.removesuffix(".mrc").removesuffix(".st")


def _common_shape(movies: Sequence[Movie]) -> tuple[int, int]:
    first = movies[0]
    for movie in movies:
        if movie.shape_yx != first.shape_yx:
            raise InputError(
                f"{movie.path}: frames of shape {movie.shape_yx} (y, x): expected {first.shape_yx}, as in "
                f"{first.path.name}"
            )
    return first.shape_yx


def _pixel_size_A(movie: Movie, document: Mdoc | None) -> float:
    """That of the mdoc's images, which may be binned, else of the movie's header."""
    binning = None if document is None else _binning(document, movie.shape_yx)
    if document is not None and document.pixel_size_A is not None and binning is not None:
        return document.pixel_size_A / binning
    if movie.pixel_size_A is None or movie.pixel_size_A == 1:  # many programs write 1 A for not known
        raise InputError(f"{movie.path}: its pixel size is not known: give --pixel-size in Angstrom")
    return movie.pixel_size_A


def _binning(document: Mdoc, shape_yx: tuple[int, int]) -> int | None:
    """By how much the mdoc's images are binned relative to the frames; None if they do not fit."""
    if document.image_shape_yx is None or min(document.image_shape_yx) < 1:
        return None
    ratios = [frame / image for frame, image in zip(shape_yx, document.image_shape_yx, strict=True)]
    binning = round(ratios[0])
    # Binned images leave out what is left over at the edge.
    fits = binning >= 1 and all(abs(ratio / binning - 1) < 0.02 for ratio in ratios)
    return binning if fits else None


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
