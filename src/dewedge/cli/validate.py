"""The verb validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dewedge.cli.flags import SeriesFlags, resolve
from dewedge.cli.output import Output, show_messages
from dewedge.errors import InputError


def validate(
    *paths: Path,
    output: Output = None,
    withhold: Literal["outer", "side", "inner"] | None = None,
    beyond_deg: float | None = None,
    between_deg: tuple[float, float] | None = None,
    gap_deg: float | None = None,
    shells: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    prediction: list[Path] | None = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recipe: str | None = None,
    no_check: bool = False,
    flags: SeriesFlags = SeriesFlags.defaults(),
) -> None:
    """Run on part of the tilts, and hold the result against those kept back: docs/guide/validate.md.

    The refined tomogram is correlated with the reconstruction of the whole series, in the directions that
    only the tilts kept back measured. Its projections are held against the images. Written: validate.md,
    validate.json, validate.png, and a run for each seed.

    Parameters
    ----------
    paths
        One tilt series, as dewedge run takes it.
    output
        Folder of the results.
    withhold
        Which tilts are kept back: the outer ones (if not given), those of one side, or an inner block.
    beyond_deg
        outer: tilts steeper than this on both sides, 17 degrees less than the highest if not given. side:
        tilts above this, half of the highest if not given.
    between_deg
        inner: tilts between these two, a tenth and six tenths of the highest if not given.
    gap_deg
        Distance of the directions that are judged from the nearest tilt given. If not given, 11 degrees, but
        at most a third of the angle between the tilts given on both sides.
    shells
        Edges of the shells of frequency in cycles per voxel; 0.02 0.04 0.06 0.08 0.11 if not given. Below
        2 / thickness in voxels there is nothing to judge.
    seeds
        A fit for each of these seeds; one with --seed if not given.
    prediction
        Tomogram that was made elsewhere of the given tilts alone, on the grid and grey scale of dewedge
        reconstruct; repeat for several. They are judged, and nothing is fitted.
    config
        TOML file with any of the keys of the flags below; flags win over it.
    resume
        Continue the validation in the output folder; no other flag is needed. Seeds can be added.
    overwrite
        Replace the validation in the output folder.
    recipe
        The method, whose settings are the defaults.
    no_check
        Do not look at the input as dewedge check does.
    """
    resolved = resolve(
        config, output, flags, resume=resume, paths=list(paths), recipe=recipe, no_check=no_check
    )
    from dewedge.pipeline.validate.folder import SETTINGS, read_validation
    from dewedge.pipeline.validate.validate import validate as validate_run

    show_messages()
    if beyond_deg is not None and between_deg is not None:
        raise InputError("expected --beyond for outer and side, or --between for inner, got both")
    limits = None
    if beyond_deg is not None:
        limits = [beyond_deg]
    elif between_deg is not None:
        limits = list(between_deg)
    given = {
        "withhold": withhold,
        "limits_deg": limits,
        "gap_deg": gap_deg,
        "seeds": seeds,
        "predictions": prediction,
        "edges": shells,
    }
    earlier = None if not resume or output is None else output / SETTINGS
    if earlier is not None and not earlier.is_file():
        earlier = None
    settings = read_validation(earlier, given)
    validate_run(resolved, settings, resume=resume, overwrite=overwrite)
