"""The output folder of a validation: its files, and the settings that are kept there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from dewedge.errors import InputError, shown
from dewedge.io.nested import read_toml
from dewedge.runtime.folder import CONFIG, ResultFolder, refuse_outside
from dewedge.runtime.run_folder import RunFolder
from dewedge.scores.spectra import checked_edges
from dewedge.scores.withheld import EDGES
from dewedge.scores.withholding import Withholding
from dewedge.settings.file import write_settings
from dewedge.settings.sections import Config

SETTINGS = "validate.toml"
# Reconstructions of all tilts, and of those that are given.
ALL_TILTS = "all_tilts.mrc"
ALL_TILTS_HALVES = ("all_tilts_half0.mrc", "all_tilts_half1.mrc")
GIVEN = "given.mrc"
FIGURES = "validate.json"
TABLE = "validate.md"
PICTURES = "validate.png"
RESULTS = (SETTINGS, CONFIG, ALL_TILTS, *ALL_TILTS_HALVES, GIVEN, FIGURES, TABLE, PICTURES)


@dataclass(frozen=True)
class ValidationSettings:
    """Settings of a validation: the tilts that are kept back, and the tomograms that are judged.

    Parameters
    ----------
    withhold, limits_deg
        Kind and angles, see `dewedge.scores.withholding.withheld_tilts`; usual angles if there are none.
    gap_deg
        Distance of the cone from the given tilts, see `dewedge.scores.withholding.withheld_cone`.
    seeds
        Of the fits; that of the configuration if there are none.
    predictions
        Tomograms made elsewhere of the given tilts, to be judged in place of fits.
    edges
        Of the shells of frequency in cycles per voxel.
    """

    withhold: Withholding = "outer"
    limits_deg: tuple[float, ...] = ()
    gap_deg: float | None = None
    seeds: tuple[int, ...] = ()
    predictions: tuple[Path, ...] = ()
    edges: tuple[float, ...] = EDGES


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationFolder(RunFolder):
    """The output folder of a validation, with a folder for the run of every seed."""

    settings_name = SETTINGS
    noun = "validation"
    occupied_by = "a validation"

    settings: ValidationSettings

    @property
    def results(self) -> list[Path]:
        """Files of the validation; those of the runs are the runs' own."""
        return [*(self.path / name for name in RESULTS), self.inputs]

    def _require_free(self) -> None:
        seeds = seeds_of(self.config, self.settings)
        refuse_outside(self.path, [seed_folder(self.path, seed).model for seed in seeds])
        super()._require_free()

    def difference(self) -> str | None:
        """First setting that is not as it was, in words; None if none is. Errors as `read_validation`."""
        then = read_validation(self.path / SETTINGS, {})
        difference = super().difference()
        for name in ("withhold", "limits_deg"):
            old, new = getattr(then, name), getattr(self.settings, name)
            if old != new:
                difference = difference or f"the validation there has {name} = {shown(old)}, not {shown(new)}"
        if bool(then.predictions) != bool(self.settings.predictions):
            return difference or "the validation there fits, or judges predictions, as this one does not"
        return difference

    def write_settings(self) -> None:
        """Write what repeats the validation, and what `read_validation` reads back."""
        super().write_settings()
        write_validation(self.path / SETTINGS, self.settings)


def seeds_of(config: Config, settings: ValidationSettings) -> tuple[int, ...]:
    """Seeds of the fits."""
    return settings.seeds or (config.fit.seed,)


def seed_folder(output: Path, seed: int) -> ResultFolder:
    """The folder of the run with a seed."""
    return ResultFolder(output / f"seed{seed}")


def write_validation(path: Path, settings: ValidationSettings) -> None:
    """Write what `read_validation` reads back; errors as `dewedge.io.files.atomic_path`."""
    values = asdict(settings)
    values["predictions"] = [str(name.absolute()) for name in settings.predictions]
    write_settings(
        path, {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}, "validate"
    )


def read_validation(path: Path | None, given: Mapping[str, Any]) -> ValidationSettings:
    """The settings of an earlier validation, if any, overridden by what is ``given`` and not None.

    Raises
    ------
    InputError
        If the file cannot be read, or a value cannot be used.
    """
    values = {} if path is None else read_toml(path)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        gap = values.get("gap_deg", "none")
        settings = ValidationSettings(
            withhold=values.get("withhold", "outer"),
            limits_deg=tuple(float(limit) for limit in values.get("limits_deg", [])),
            gap_deg=None if gap == "none" else float(gap),
            seeds=tuple(int(seed) for seed in values.get("seeds", [])),
            predictions=tuple(Path(name) for name in values.get("predictions", [])),
            edges=checked_edges(values.get("edges", EDGES)),
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if settings.withhold not in get_args(Withholding):
        raise InputError(f"--withhold {settings.withhold}: expected outer, side or inner")
    return settings
