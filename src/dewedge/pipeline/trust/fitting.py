"""Further fits to the half-sets of a tomogram, each in a folder of its own in the tomogram's."""

from __future__ import annotations

import json
from dataclasses import asdict

from dewedge.io.files import remove_leftovers
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.measures import model_file
from dewedge.pipeline.stages import read_pair
from dewedge.pipeline.trust.subject import Subject
from dewedge.runtime.devices import launched
from dewedge.runtime.folder import ResultFolder, is_newer, refuse_outside
from dewedge.settings.fit import FitSection


def half_sets(subject: Subject) -> TomogramPair:
    """Open the half-sets that the run was fitted to, with mask and planes; errors as `read_pair`."""
    folder = subject.folder
    return read_pair(
        folder.full,
        folder.halves,
        folder,
        subject.name,
        subject.model.tilt_range,
        of_series=subject.series is not None,
    )


def fit_again(subject: Subject, name: str, pair: TomogramPair, section: FitSection) -> Model:
    """Fit a network to half-sets into the folder ``name``; one that was fitted so since the run stays.

    Where such a fit was interrupted it goes on.

    Raises
    ------
    InputError
        If the folder leads elsewhere, an earlier model cannot be read, or as `fit_model`.
    """
    folder = ResultFolder(subject.folder.path / name)
    since = model_file(subject.run, subject.folder)
    refuse_outside(subject.folder.path, folder.of_fit)
    options = json.loads(json.dumps(asdict(section.options())))
    if is_newer(folder.model, since):
        model = load_model(folder.model)
        if model.details.get("options") == options:
            return model
    resume = not folder.model.exists() and is_newer(folder.checkpoint, since)
    folder.path.mkdir(parents=True, exist_ok=True)
    for path in folder.of_fit:
        remove_leftovers(path)
        if not resume:
            path.unlink(missing_ok=True)
    with launched(subject.compute) as fabric:
        return fit_model([pair], section, fabric, folder, resume)
