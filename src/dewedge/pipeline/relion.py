"""An external job of RELION 5: its tomograms in, the same with the denoised ones out."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from dewedge.errors import InputError
from dewedge.io.programs.relion import HALF1, NAME, write_denoised, write_output_nodes
from dewedge.io.star import name_within, read_star
from dewedge.pipeline.run import run
from dewedge.runtime.first_process import is_first_process
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.run_folder import require_output
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

# Of the job's folder: what RELION reads.
TOMOGRAMS, OUTPUT_NODES = "tomograms.star", "RELION_OUTPUT_NODES.star"


def denoise_tomograms(
    star: Path, config: Config, threads: int | None, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Run on the half tomograms of a set, and write the set with the refined ones into the output folder.

    What is done already is kept, and rows that are new are done.

    Parameters
    ----------
    star
        The STAR file of the set. Its names count from the working folder, that of the project.
    config
        The resolved configuration, the star among its paths.
    threads
        Threads on the CPU; None for as many as it has cores.

    Raises
    ------
    InputError
        If the set names no half tomograms or, after all others are done, as `dewedge.pipeline.run.run`.
    """
    output = require_output(config.output)
    require_halves(star)
    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # told, hence not to be limited
    try:
        run(config, resume=resume, overwrite=overwrite, always_folders=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("RELION's Continue goes on where it stopped") from None
    finally:
        if is_first_process():
            write_set(star, output)


def require_halves(star: Path) -> None:
    """Refuse a set of tomograms without any halves.

    Raises
    ------
    InputError
        If it has none, or is no such set.
    """
    tables = [table for table in read_star(star).values() if NAME in table]
    if not tables:
        raise InputError(f"{star}: no column {NAME}: expected the tomograms.star of RELION 5")
    if not any(HALF1 in table for table in tables):
        raise InputError(
            f"{star}: no column {HALF1}: expected the tomograms.star of a job 'Reconstruct tomograms' with "
            "'Generate tomograms for denoising?' Yes"
        )


def write_set(star: Path, output: Path) -> None:
    """Write the set with all tomograms that are refined, if any, and the list of results for RELION.

    Errors as `dewedge.io.star.read_star` and `dewedge.io.files.atomic_path`.
    """
    names = [name for table in read_star(star).values() for name in table.get(NAME, [])]
    done = {}
    for name in names:
        folder = ResultFolder(output / name)
        # With --fit-each it has a model of its own.
        model = folder.model if folder.model.exists() else ResultFolder(output).model
        # A name that leads elsewhere was refused by the run.
        if folder.path.parent == output and model.exists() and is_newer(folder.refined, model):
            done[name] = name_within(folder.refined, Path.cwd())
    if done:
        write_denoised(star, output / TOMOGRAMS, done)
        write_output_nodes(output / OUTPUT_NODES, name_within(output / TOMOGRAMS, Path.cwd()))
        logger.info("%d of %d tomograms are denoised: %s", len(done), len(names), output / TOMOGRAMS)
