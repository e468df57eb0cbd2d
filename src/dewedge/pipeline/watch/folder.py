"""The output folder of a watch, and what one cannot be begun with."""

from __future__ import annotations

import os
from pathlib import Path

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.inputs.entries import names_files
from dewedge.inputs.read import require_cubes_for_network
from dewedge.io.formats import require_zarr
from dewedge.pipeline.fit import require_one_fit
from dewedge.pipeline.watch.records import fits
from dewedge.runtime.devices import started_processes
from dewedge.runtime.run_folder import RunFolder
from dewedge.settings.sections import Config


def require_watchable(config: Config, output: Path) -> None:
    """Refuse a configuration that cannot be used, and what goes with inputs that are all there only.

    Raises
    ------
    InputError
        If there is one or the other, or nothing to watch.
    """
    config.fit.options()
    require_one_fit(config)
    require_cubes_for_network(config.fit)
    if config.output_format != "mrc":
        require_zarr(output)
    if config.compute.devices * config.compute.nodes > 1 or started_processes() is not None:
        raise InputError(
            "--live: works with one process, on one device: expected no --devices, torchrun or srun with "
            "several tasks"
        )
    given = {
        "--fit-on": config.fit_on,
        "--fit-each": config.fit_each,
        "--model": config.model,
        "--to-warp": config.to_warp,
        "--half-sets drop": config.files.half_sets == "drop",
        "--half0, --half1": config.tomograms.half0 or config.tomograms.half1,
        "--angles, --xf, --mdoc, --even, --odd": names_files(config.series),
        "--exclude-tilts": config.series.exclude_tilts,
        "--ctf-file": config.ctf.ctf_file,
        "--mask for each": len(config.fit.mask) > 1,
        "--tilt-range for each": len(config.tomograms.tilt_range) > 1,
        "--x-tilt for each": len(config.tomograms.x_tilt) > 1,
    }
    for flag, value in given.items():
        if value:
            raise InputError(f"{flag}: is for inputs that are there: expected none with --live")
    for tilt in config.tomograms.x_tilt:
        TiltRange(-90, 90, tilt).validated()
    for angles in config.tomograms.tilt_range:
        TiltRange(*angles).validated()
    if not config.paths:
        raise InputError("--live: nothing to watch: expected a folder")
    for path in config.paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(path)):
            raise InputError(f"{output}: lies in {path}, which is watched: give an output folder elsewhere")


class WatchFolder(RunFolder):
    """The output folder of a watch."""

    @property
    def results(self) -> list[Path]:
        """All files that may be written, but for the log."""
        tomograms = [path for folder in self.tomograms for path in (folder.status, folder.inputs)]
        of_fits = [path for fit in fits(self.path) for path in (*fit.of_fit, fit.report, fit.status)]
        # The status of a fit, which tells that there is one, goes last.
        return [*super().results, *tomograms, *reversed(of_fits)]
