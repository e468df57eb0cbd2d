"""Watch folders: fit a network to what arrives first, and apply it to all that arrives from then on.

What there is to do is told by the records in the folders of the tomograms and of the fits alone, so that a
watch that was killed goes on as if nothing had been.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lightning_fabric import Fabric

from dewedge.check.volumes import check_model_voxel, require_sound
from dewedge.errors import InputError, UnwritableError, reason
from dewedge.geometry import TiltRange
from dewedge.inputs.arrivals import Arrival, Arrivals
from dewedge.inputs.read import read_entry
from dewedge.inputs.run_input import HalvesInput, source_of
from dewedge.io.files import atomic_path, remove_all
from dewedge.io.text_files import read_text
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.network import UNet
from dewedge.learn.state import FitState
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.initial import initial_files, initial_weights, require_initial_voxel
from dewedge.pipeline.live import LivePage
from dewedge.pipeline.resources import require_memory
from dewedge.pipeline.run import tell
from dewedge.pipeline.stages import (
    Tomogram,
    make_halves_of,
    open_reconstructed,
    refine_all,
    report,
    require_crops,
)
from dewedge.pipeline.watch.attempts import Attempts, is_full
from dewedge.pipeline.watch.board import Board, Standing
from dewedge.pipeline.watch.folder import WatchFolder, require_watchable
from dewedge.pipeline.watch.records import (
    FitFolder,
    Record,
    fits,
    next_fit,
    read_records,
)
from dewedge.runtime import made_of
from dewedge.runtime.devices import launched
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder, is_newer, refuse_outside, refuse_sources
from dewedge.runtime.run_folder import require_output
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

# Files by which a watch is asked for something, in its output folder.
STOP, REFIT = "STOP", "REFIT"
# A file that asks is read when whoever writes it has had the time.
_WRITTEN_S = 2.0


def watch(config: Config, *, resume: bool = False, overwrite: bool = False) -> None:
    """Watch the folders of a configuration until told to stop, or until nothing has arrived for long enough.

    A tomogram that cannot be done is told on the status page, and at the end.

    Parameters
    ----------
    config, resume, overwrite
        As for `dewedge.pipeline.run.run`.

    Raises
    ------
    InputError
        If the configuration or the output folder cannot be used or, at the end, a tomogram is not done.
    """
    output = require_output(config.output)
    records = read_records(output)
    known = [ResultFolder(output / name) for name in records]
    folder = WatchFolder(
        output, config=config, verb="run", resume=resume, overwrite=overwrite, tomograms=known
    )
    require_watchable(config, output)
    if not resume:
        initial_weights(config.fit)
    folder.require_usable(initial_files(config.fit))
    with launched(config.compute) as fabric, folder.begun(fabric):
        watched = Watch(config, fabric, records if resume else {})
        watched.go_on()
    watched.attempts.require_done()


@dataclass(frozen=True)
class Ready:
    """A tomogram that is reconstructed."""

    folder: ResultFolder
    tilt_range: TiltRange

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


class Watch:
    """Does what there is to do, one thing after another.

    Parameters
    ----------
    config
        The resolved configuration.
    fabric
        Of one process.
    records
        Of the tomograms that were begun before.
    """

    def __init__(self, config: Config, fabric: Fabric, records: dict[str, Record]) -> None:
        self.config, self.fabric = config, fabric
        self.output = require_output(config.output)
        self.attempts = Attempts(self.output, records)
        self.run = ResultFolder(self.output)
        self.queue: dict[str, Arrival] = {}
        self.fits = fits(self.output)
        self.fit: FitFolder | None = None
        self.model: Model | None = None
        for fit in self.fits:
            if fit.model.is_file():
                self._use(fit, load_model(fit.model))
        self.attempts.fail_killers()
        self.arrivals = Arrivals(config, self.attempts.not_wanted)
        self.board = Board(self.run)
        self.notes: dict[str, str] = {}
        self.is_ending = False
        self._doing = ("", "")
        self._next_look_s = 0.0
        self._idle_since_s = time.monotonic()

    def go_on(self) -> None:
        """Watch until it is over; where it is interrupted, say so on the page.

        Raises
        ------
        InputError
            If a file cannot be written, or the first fit fails.
        """
        logger.info("watching %s: look at %s", ", ".join(map(str, self.config.paths)), self.run.report)
        try:
            while True:
                self._look()
                self._obey()
                if self._do_next():
                    self._idle_since_s = time.monotonic()
                elif self._is_over():
                    break
                else:
                    time.sleep(self.config.watch.look_every.total_seconds())
        except BaseException:
            self._show("Stopped.")
            raise
        self._show("Ended.")
        for name, why in self.arrivals.waiting.items():
            logger.warning("%s has not arrived: %s", name, why)

    def _do_next(self) -> bool:
        """Do the next thing; False if there is none."""
        ready = [record for record in self.attempts.records.values() if record.state == "reconstructed"]
        begun = next((fit for fit in self.fits if fit.is_begun), None)
        if begun is not None:
            self._fit(begun)
        elif self.model is not None and ready:
            self._refine(ready[0])
        elif ready and (len(ready) >= self.config.watch.fit_first or self._is_last()):
            self._begin_fit([record.name for record in ready[: self.config.watch.fit_first]])
        elif self.queue:
            self._reconstruct(self.queue.pop(next(iter(self.queue))))
        else:
            return False
        return True

    def _is_last(self) -> bool:
        """True if no more tomograms will come for the fit."""
        return not self.queue and self._is_over()

    def _is_over(self) -> bool:
        """True if it was asked to stop, or nothing has happened for long enough."""
        limit = self.config.watch.until_idle
        if limit is not None and time.monotonic() - self._idle_since_s >= limit.total_seconds():
            self.is_ending = True
        return self.is_ending

    def _look(self) -> None:
        """Look for what has arrived, unless that was done a short time ago, and show it."""
        if not self.is_ending and time.monotonic() >= self._next_look_s:
            for arrival in self.arrivals.look():
                self._arrived(arrival)
            self._note("look", self.arrivals.trouble)
            self._next_look_s = time.monotonic() + self.config.watch.look_every.total_seconds()
        self._show()

    def _arrived(self, arrival: Arrival) -> None:
        record = self.attempts.records.get(arrival.name)
        self._idle_since_s = time.monotonic()
        if record is not None and record.state in ("reconstructed", "done"):
            logger.warning("%s: its files have changed: what was made of them stays", arrival.name)
            return
        logger.info("arrived: %s", arrival.name)
        self.queue[arrival.name] = arrival

    def _obey(self) -> None:
        """Do what files in the output folder ask for."""
        if (self.output / STOP).exists():
            logger.info("%s: no more looks; what has arrived is done", STOP)
            remove_all([self.output / STOP])
            self.is_ending = True
        path = self.output / REFIT
        if path.is_file() and time.time() - path.stat().st_mtime > _WRITTEN_S:
            try:
                why_not = self._refit(read_text(path).split())
            except UnwritableError:
                raise
            except InputError as error:
                why_not = str(error)
            self._note("refit", why_not)
            remove_all([path])

    def _refit(self, names: Sequence[str]) -> str:
        """Begin a fit to the tomograms of these names, or to the last that are done; why not, if not."""
        done = sorted(
            (r for r in self.attempts.records.values() if r.state == "done"), key=lambda r: r.finished
        )
        chosen = list(names) or [record.name for record in done[-self.config.watch.fit_first :]]
        missing = set(chosen) - {record.name for record in done}
        if self.model is None or not chosen or missing:
            why = f"not done: {', '.join(sorted(missing))}" if missing else "nothing is done yet"
            return f"{REFIT} was not obeyed: {why}."
        self._begin_fit(chosen)
        return ""

    def _begin_fit(self, names: Sequence[str]) -> None:
        fit = next_fit(self.output)
        fit.begin(names)
        self.fits.append(fit)
        logger.info("fit %d is to %s", fit.number, ", ".join(names))

    def _fit(self, fit: FitFolder) -> None:
        """Fit a network, or go on with it; where a later one fails, the earlier one stays."""
        try:
            with self._step("", f"fit {fit.number}"):
                model = self._fitted(fit)
        except UnwritableError:
            raise
        except Exception as error:
            if self.model is None or is_full(error):
                raise
            logger.debug("traceback", exc_info=True)
            self._note("refit", f"Fit {fit.number} failed, the network before stays: {reason(error)}.")
            fit.give_up()
            self.fits.remove(fit)
            return
        self._use(fit, model)

    def _fitted(self, fit: FitFolder) -> Model:
        records = [self.attempts.records[name] for name in fit.names if name in self.attempts.records]
        usable = [record for record in records if record.is_reconstructed]
        if not usable:
            raise InputError(
                f"{fit.path}: {', '.join(fit.names)} are gone, which it is of: remove the folder"
            )
        pairs = [
            open_reconstructed(self._ready(record), self.config, of_series=record.of_series)
            for record in usable
        ]
        live = LivePage(self._ready(usable[0]).folder, pairs[0], fit, self.config, self.fabric)

        def on_look(state: FitState, network: UNet, share: float, left_s: float | None) -> float | None:
            then_s = live.look(state, network, share, left_s)
            self._look()
            return then_s

        with live.going_on():
            model = fit_model(pairs, self.config.fit, self.fabric, fit, fit.checkpoint.exists(), on_look)
            live.fitted()
        return model

    def _use(self, fit: FitFolder, model: Model) -> None:
        """Apply this network from now on; its files lie in the output folder, too, as those of any run."""
        self.fit, self.model = fit, model
        copies = zip(fit.of_fit, self.run.of_fit, strict=True)
        for source, target in copies:
            if source != fit.checkpoint and source.is_file() and not is_newer(target, source):
                with atomic_path(target) as temporary:
                    shutil.copyfile(source, temporary)

    def _reconstruct(self, arrival: Arrival) -> None:
        """Read what has arrived, and write half-sets, full tomogram and mask into its folder."""
        known = self.attempts.records.get(arrival.name, Record(name=arrival.name))
        if arrival.is_changed:
            known = replace(known, attempts=0)
        begun = replace(known, state="begun", tilt_range_deg=None, seconds=0.0)
        with self.attempts.at(begun, self._step(begun.name, "reconstruct")) as record:
            item = read_entry(self.arrivals.open(arrival), self.config)
            tomogram = Tomogram(item, ResultFolder(self.output / item.name))
            warnings = self._checked(tomogram)
            self._renew(tomogram)
            make_halves_of(tomogram, self.config, self.fabric)
            of_series = not isinstance(item, HalvesInput)
            require_crops(open_reconstructed(tomogram, self.config, of_series=of_series), self.config)
            self.attempts.keep(
                replace(
                    record,
                    state="reconstructed",
                    tilt_range_deg=item.tilt_range,
                    of_series=of_series,
                    warnings=warnings,
                )
            )

    def _checked(self, tomogram: Tomogram) -> int:
        """Refuse an input as a run does, and tell of it; the number of warnings."""
        item, config = tomogram.item, self.config
        voxel_size_A = item.voxel_size_A(config.reconstruct)
        if config.no_check:
            tell([tomogram], Faults(), [])
            return 0
        require_memory([item], config)
        if self.model is not None:
            require_sound(check_model_voxel(item.name, voxel_size_A, self.model.voxel_size_A))
        else:
            require_initial_voxel(config.fit, {item.name: voxel_size_A})
        _, warnings = check_inputs([item], config, Faults())
        tell([tomogram], Faults(), warnings)
        return len(warnings)

    def _renew(self, tomogram: Tomogram) -> None:
        """Write down what a tomogram is made of, and remove what was made of something else."""
        item, folder = tomogram.item, tomogram.folder
        results = [*folder.of_tomogram, folder.inputs, folder.status]
        refuse_sources(results, item.files)
        refuse_outside(self.output, results)
        source = source_of(item, folder.reconstructed)
        try:
            made_of.refuse_changed(folder.inputs, [source])
        except InputError as difference:
            logger.info("%s: begun anew: %s", item.name, difference)
            remove_all([*folder.of_tomogram, folder.inputs])
        made_of.write_record(folder.inputs, [source])

    def _refine(self, known: Record) -> None:
        """Refine a tomogram that is reconstructed, and make its page."""
        with self.attempts.at(known, self._step(known.name, "refine")) as record:
            assert self.model is not None and self.fit is not None
            ready = [self._ready(record)]
            refine_all(ready, self.fit.model, self.model, self.config, self.fabric)
            report(ready, self.config)
            self.attempts.keep(replace(record, state="done", network=self.fit.number))
            logger.info("done: %s, by network %d", record.name, self.fit.number)

    def _ready(self, record: Record) -> Ready:
        return Ready(ResultFolder(self.output / record.name), record.tilt_range)

    @contextmanager
    def _step(self, name: str, step: str) -> Iterator[None]:
        """Show what is being done."""
        self._doing = (name, step)
        self._show()
        try:
            yield
        finally:
            self._doing = ("", "")

    def _note(self, about: str, text: str) -> None:
        """Tell something on the page and once in the log, in the place of what was told about the same."""
        if text and self.notes.get(about) != text:
            logger.warning(text)
        self.notes[about] = text

    def _show(self, ended: str = "") -> None:
        self.board.show(
            Standing(
                records=dict(self.attempts.records),
                queued=tuple(self.queue),
                waiting=dict(self.arrivals.waiting),
                doing=self._doing,
                fits=tuple(self.fits),
                notes=tuple(filter(None, self.notes.values())),
            ),
            ended,
        )
