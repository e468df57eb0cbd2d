"""The output folder of a verb that can be resumed: what may be done in it, and how work there begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lightning_fabric import Fabric

from dewedge.errors import InputError, shown
from dewedge.io.files import remove, remove_leftovers, unwritable
from dewedge.runtime.devices import log_device, on_first_process, started_processes, told_how_to_resume
from dewedge.runtime.folder import CONFIG, ResultFolder, refuse_outside, refuse_sources
from dewedge.runtime.lock import locked_folder
from dewedge.runtime.log import log_environment, log_to_file
from dewedge.runtime.made_of import Source, refuse_changed, write_record
from dewedge.settings.file import flat, resolve_config, write_config
from dewedge.settings.sections import Config

# Keys that a resumed run may change: where the results lie, where it is computed, when the fit ends, how the
# result is written.
FREE_KEYS = {
    "output",
    "compute",
    "files",
    "no_check",
    "to_warp",
    "fit.epochs",
    "fit.budget",
    "fit.patience",
    "output_format",
    "zarr_version",
    "watch.fit_first",
    "watch.settle",
    "watch.look_every",
    "watch.until_idle",
}

# Another process that shares the folder begins within it.
_BEGIN_S = 600.0


def require_output(output: Path | None) -> Path:
    """Return the output folder, which must be given.

    Raises
    ------
    InputError
        If it is not.
    """
    if output is None:
        raise InputError("no output folder: expected -o FOLDER")
    return output


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFolder(ResultFolder):
    """The output folder of a run or a fit; other verbs derive theirs from it.

    Parameters
    ----------
    config
        The resolved configuration.
    verb
        Verb of the command line that resumes what was begun here.
    resume, overwrite
        Whether what lies in the folder is to be continued, or to be replaced.
    tomograms
        Folders of the tomograms' results.
    made_of
        What these are made of: it is recorded, and must be the same when they are continued.
    share
        Whether other processes may begin the same run here: the first one begins it, the others continue it.
    by_turns
        Whether a tomogram is locked by whoever works on it, and its folder cleared then.

    Raises
    ------
    InputError
        If it is to be both resumed and overwritten, or there is nothing to resume.
    """

    # The file whose presence tells that there is something to resume, and of what.
    settings_name: ClassVar[str] = CONFIG
    noun: ClassVar[str] = "run"
    occupied_by: ClassVar[str] = "a run"

    config: Config
    verb: str
    resume: bool = False
    overwrite: bool = False
    tomograms: Sequence[ResultFolder] = ()
    made_of: Sequence[Source] = ()
    share: bool = False
    by_turns: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise InputError("expected --resume or --overwrite, got both")
        if self.share and self.overwrite:
            raise InputError("--share: begins a run or goes on with it: expected no --overwrite")
        if self.resume and not (self.path / self.settings_name).is_file():
            raise InputError(
                f"{self.path}: nothing to resume: expected the {self.settings_name} of an earlier {self.noun}"
            )

    @property
    def continues(self) -> bool:
        """True if what lies in the folder now is continued."""
        return self.resume or (self.share and (self.path / self.settings_name).is_file())

    @property
    def results(self) -> list[Path]:
        """All files that may be written, but for the log."""
        files = [self.config_file, self.inputs, *self.of_fit, self.report]
        return files + [path for folder in self.tomograms for path in folder.of_tomogram]

    @property
    def occupants(self) -> list[Path]:
        """Files any of which means that something was begun here before."""
        return self.results

    def difference(self) -> str | None:
        """First setting of what is to be resumed that is not as it is now, in words; None if there is none.

        Errors as `dewedge.settings.file.resolve_config`.
        """
        return first_difference(resolve_config(self.config_file, {}), self.config)

    def write_settings(self) -> None:
        """Write what repeats all this; errors as `dewedge.io.files.atomic_path`."""
        write_config(self.config_file, self.config, self.verb)

    def require_usable(self, sources: Sequence[Path]) -> None:
        """Refuse a folder that holds or makes something else, or an input under a result's name.

        Nothing is changed.

        Parameters
        ----------
        sources
            Files of the input.

        Raises
        ------
        InputError
            If a result would replace an input or lie outside by a link, another process works here, the
            folder holds results that are neither to be resumed nor overwritten, or those to be resumed had
            other settings or were made of other input.
        """
        refuse_sources(self.results, sources)
        if self.share:
            return  # another process may just be beginning here: this one looks when it has the lock
        # Processes that a launcher started must all get as far as the first, which then locks the folder.
        if self.path.is_dir() and started_processes() is None:
            with locked_folder(self.path):
                pass
        self._require_free()

    def _require_free(self) -> None:
        refuse_outside(self.path, self.results)
        if self.continues:
            difference = self.difference()
            if difference is not None:
                raise InputError(
                    f"{self.path / self.settings_name}: {difference}; resume with the same settings, or give "
                    "--overwrite"
                )
            refuse_changed(self.inputs, self.made_of)
        elif not self.overwrite:
            found = next((path.relative_to(self.path) for path in self.occupants if path.exists()), None)
            if found is not None:
                raise InputError(
                    f"{self.path}: already holds {self.occupied_by} ({found}): give --resume to continue it, "
                    "--overwrite to replace it, or another folder"
                )

    @contextmanager
    def begun(self, fabric: Fabric) -> Iterator[None]:
        """Begin work here, locked, on the first process; where it is interrupted, tell how to resume it.

        Raises
        ------
        InputError
            As `require_usable`, or if a file cannot be written.
        KeyboardInterrupt, LostProcessError
            As `dewedge.runtime.devices.told_how_to_resume`.
        """
        with told_how_to_resume(f"dewedge {self.verb} --resume -o {self.path}"), ExitStack() as stack:
            on_first_process(fabric, lambda: self._begin(stack))
            log_device(fabric, self.config.compute)
            yield

    def _begin(self, stack: ExitStack) -> None:
        """Lock the folder, start the log, clear, and write settings and what is read.

        It is locked until ``stack`` ends or, if others share it, until all this is done.
        """
        with ExitStack() as lock:
            lock.enter_context(locked_folder(self.path, _BEGIN_S) if self.share else locked_folder(self.path))
            # Another process may have worked here in the meantime.
            self._require_free()
            log_to_file(self.log)
            log_environment()
            try:
                self._clear()
            except OSError as error:
                raise unwritable(error.filename or self.path, error) from None
            self.write_settings()
            write_record(self.inputs, self.made_of)
            if not self.share:
                stack.push(lock.pop_all())

    def _clear(self) -> None:
        """Remove what a killed run left half-written and, unless continuing, all earlier results."""
        continues = self.continues
        if continues and self.by_turns:
            return  # others may be writing; who takes a tomogram clears its folder
        for folder in self.tomograms if self.by_turns else ():
            if folder.path.is_dir():
                with locked_folder(folder.path):
                    pass  # nobody works there
        for path in self.results:
            remove_leftovers(path)
            if not continues:
                remove(path)


def first_difference(then: Config, now: Config) -> str | None:
    """First key, if any, in which a configuration differs that a resumed run may not change, in words.

    Examples
    --------
    >>> first_difference(Config(), Config(fit_each=True))
    'the run there has fit_each = False, not True'
    """
    old, new = (flat(config.model_dump(mode="json")) for config in (then, now))
    for key in new:
        free = key in FREE_KEYS or key.partition(".")[0] in FREE_KEYS
        if not free and old[key] != new[key]:
            return f"the run there has {key} = {shown(old[key])}, not {shown(new[key])}"
    return None
