"""The part that holds the measured part of the result against the images that it was made of."""

from __future__ import annotations

import logging

from dewedge.errors import InputError
from dewedge.pipeline.half_sets import half_sets
from dewedge.pipeline.trust.subject import Subject
from dewedge.report.trust.consistency import Consistency
from dewedge.runtime.devices import choose_device
from dewedge.runtime.log import step
from dewedge.runtime.stored import without_gold
from dewedge.scores.consistency import image_agreement

logger = logging.getLogger(__name__)


def consistency(subject: Subject) -> Consistency | None:
    """Reproject the measured part at every tilt; None, and a line about it, where there are no images.

    Gold is left out on both sides: it is painted over in the images, and taken from the tomogram.
    """
    item = subject.series
    if item is None:
        return None
    config = subject.config
    try:
        with step(f"{subject.name}: reproject the measured part"):
            *halves, full, _ = half_sets(
                item,
                config.reconstruct,
                config.ctf,
                config.split,
                config.fit.seed,
                config.images,
                choose_device(subject.compute),
            )
            agreement = image_agreement(
                without_gold(subject.folder.measured),
                full.images.numpy(),
                full.geometry.tilt_deg,
                full.noise,
                frames=[half.images.numpy() for half in halves] if item.has_frames else None,
            )
    except InputError as error:
        logger.warning("%s: not held against its images: %s", subject.name, error)
        return None
    return Consistency(agreement, tuple(item.numbers.tolist()), item.has_frames)
