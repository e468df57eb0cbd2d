"""The page of a run while it goes on: where the fit stands, and how the tomogram looks by now."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dewedge.check.forecast import tiled_voxels
from dewedge.check.memory import Shape
from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.learn.network import UNet
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.refine import RefineOptions, refine
from dewedge.learn.state import FitState
from dewedge.pipeline.report import file_names, log_of, titled_raw
from dewedge.pipeline.resources import predictions
from dewedge.report.figure import dispensable
from dewedge.report.run.page import REFRESH_S, RunPage, State, page
from dewedge.report.run.sections import places_of, read_sections
from dewedge.runtime.devices import choose_precision
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import duration
from dewedge.runtime.logged import read_log
from dewedge.runtime.run_folder import require_output
from dewedge.settings.file import differences
from dewedge.settings.sections import Config

# Of the part of the tomogram that is shown, about its middle: (z, y, x) voxels.
PREVIEW = (64, 256, 256)
# Of the time of the fit, at most, for looking at it.
SHARE = 0.02
SOONEST_S = 15.0  # between two looks
ROOM = 0.2  # of a page for its sections, which is written often


class LivePage:
    """Writes the page of a run while its network is fitted; what goes wrong there is a warning.

    Parameters
    ----------
    tomogram
        Folder of the tomogram that is shown: the only one, or the first of those that share the network.
    pair
        Its half-sets.
    at
        Folder of the fit, and of the page.
    config
        Of the run.
    fabric
        Of the processes, the first of which alone looks and writes.
    refined_zyx
        Shapes of the tomograms that are refined after the fit; none if it does not follow at once.
    """

    def __init__(
        self,
        tomogram: ResultFolder,
        pair: TomogramPair,
        at: ResultFolder,
        config: Config,
        fabric: Fabric,
        refined_zyx: Sequence[Shape] = (),
    ) -> None:
        self.path, self.config, self.device = at.report, config, fabric.device
        self.resume = f"dewedge run --resume -o {config.output}"
        self.tilt_range = pair.tilt_range
        full = read_result(tomogram.full)
        begin = [max(n - most, 0) // 2 for n, most in zip(full.data.shape, PREVIEW, strict=True)]
        part = tuple(slice(a, a + most) for a, most in zip(begin, PREVIEW, strict=True))
        self.block = np.ascontiguousarray(full.data[part], np.float32)
        half = np.asarray(pair.half0[part], np.float64)
        # As dewedge.learn.checkpoint.Model.full_std, of this part.
        self.input_std = float(self.block.std(dtype=np.float64) / max(half.std(), 1e-30))
        self.title = titled_raw(tomogram)
        self.page: RunPage | None = None
        self.last = "Nothing is fitted yet."
        self.looked, self.cost = time.monotonic(), 0.0
        # Of the refinement after the fit, from the last look; None before one.
        self.refine_s: float | None = None
        self.refined_zyx, self.processes = refined_zyx, fabric.world_size
        if not fabric.is_global_zero:
            return
        run = ResultFolder(require_output(config.output))
        with dispensable(self.path):
            self.page = RunPage(
                name=tomogram.name,
                shape_zyx=full.data.shape,
                voxel_size_A=full.voxel_size_A,
                tilt_range=pair.tilt_range,
                volumes={},
                checked=not config.no_check,
                log=log_of(read_log(run.log), run, tomogram),
                settings=differences(config),
                files=file_names(run, tomogram),
            )

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Write the page, and where the block is interrupted say so on it."""
        self._write("The fit begins.", volumes={self.title: self.block})
        try:
            yield
        except BaseException:
            advice = f"{self.resume} goes on where it stopped."
            self._write(f"Stopped. {self.last}", advice=advice, goes_on=False)
            raise

    def look(self, state: FitState, network: UNet, share: float, left_s: float | None) -> float | None:
        """Refine the part that is shown after an epoch, unless that was done a short time ago.

        ``share`` is that of the fit which is done, ``left_s`` the seconds that it will still take, None
        before that is known. Returns the seconds that the refinement after the fit will take, as far as that
        was measured.
        """
        left = "" if left_s is None else f", {duration(left_s)} left"
        if left and self.refine_s is not None:
            left += f" and {duration(self.refine_s)} of refinement"
        self.last = f"Epoch {state.rows[-1].epoch} of the fit is done, {min(share, 1):.0%} of all{left}."
        now = time.monotonic()
        if now - self.looked < max(SOONEST_S, self.cost / SHARE):
            return self.refine_s
        with dispensable(self.path):
            volumes = {self.title: self.block, "refined, so far": self._refined(network)}
            self.refine_s = self._refinement_s(time.monotonic() - now)
            if self.page is not None:
                self.page = replace(self.page, rows=list(state.rows))
            self._write(self.last, share=share, volumes=volumes)
        self.looked = time.monotonic()
        self.cost = self.looked - now
        return self.refine_s

    def refining(self) -> None:
        """Write that the fit is done, and the tomogram being refined."""
        self._write("The fit is done, the tomogram is being refined.")

    def fitted(self) -> None:
        """Write that the fit is done; nothing else will be seen here."""
        self._write(self.last, advice="The fit is done.", goes_on=False)

    def _refinement_s(self, seconds: float) -> float | None:
        """Seconds of the refinement, if one prediction of the part that is shown takes so many."""
        if not self.refined_zyx:
            return None
        tile = self.config.refine.edge(self.config.fit.network(), self.config.fit.cube_size)
        whole, part = (
            tiled_voxels(shapes, tile, self.config.refine.overlap)
            for shapes in (self.refined_zyx, [self.block.shape])
        )
        return seconds * predictions(self.config) * whole / part / self.processes

    def _refined(self, network: UNet) -> NDArray[np.float32]:
        """The part that is shown as a copy of the network refines it, in evaluation mode."""
        copy = UNet(self.config.fit.network())
        copy.load_state_dict(network.state_dict())
        options = self.config.fit.options()
        output = np.empty_like(self.block)
        refine(
            [self.block],
            output,
            copy,
            self.tilt_range,
            RefineOptions(
                tile=self.config.refine.edge(copy.config, options.cube_size),
                overlap=self.config.refine.overlap,
                precision=choose_precision(self.config.compute, self.device),
            ),
            input_std=self.input_std,
            clip=options.clip,
            device=self.device,
        )
        return output

    def _write(
        self,
        sentence: str,
        *,
        advice: str | None = None,
        share: float | None = None,
        volumes: dict[str, NDArray[np.float32]] | None = None,
        goes_on: bool = True,
    ) -> None:
        """Write the page with this state, and with other volumes if they are given."""
        if self.page is None:
            return
        with dispensable(self.path):
            if volumes is not None:
                places = places_of(self.block.shape, len(volumes), ROOM)
                sections = {name: read_sections(volume, places) for name, volume in volumes.items()}
                self.page = replace(self.page, volumes=sections)
            if advice is None:
                advice = (
                    f"Written at {datetime.now():%H:%M:%S}; this page loads itself again every {REFRESH_S} "
                    "seconds. Shown is the middle of the tomogram, without total variation. Where the time "
                    f"is long past, the run has ended: {self.resume} goes on."
                )
            state = State(sentence, advice, share, goes_on)
            write_text_atomic(self.path, page(replace(self.page, state=state), self.path))
