"""DeepDeWedge for cryo-electron tomography: from raw tilt series to refined tomogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dewedge.errors import InputError

try:
    from dewedge._version import __version__  # written when the package is built or installed
except ImportError:  # from a checkout that never was
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from dewedge import scores
    from dewedge.api.model import Model, fit, load
    from dewedge.api.series import Series, open, open_all
    from dewedge.api.tomogram import Halves, Tomogram
    from dewedge.learn.loss_curve import EpochRow

__all__ = [
    "EpochRow",
    "Halves",
    "InputError",
    "Model",
    "Series",
    "Tomogram",
    "__version__",
    "fit",
    "load",
    "open",
    "open_all",
    "scores",
]

if not TYPE_CHECKING:
    # Imported when they are asked for, and torch with them.
    _MODULES = {
        "EpochRow": "learn.loss_curve",
        "Halves": "api.tomogram",
        "Model": "api.model",
        "Series": "api.series",
        "Tomogram": "api.tomogram",
        "fit": "api.model",
        "load": "api.model",
        "open": "api.series",
        "open_all": "api.series",
    }

    def __getattr__(name):
        from importlib import import_module

        if name == "scores":
            return import_module("dewedge.scores")
        if name in _MODULES:
            return getattr(import_module(f"dewedge.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'dewedge' has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
