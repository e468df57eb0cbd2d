"""Alignment, CTF and reconstruction on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import CPU, difference, noise

from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.physics.alignment import align_images
from dewedge.physics.ctf import SignalToNoise, correct_images, deconvolve
from dewedge.physics.exposure import weight_by_exposure
from dewedge.physics.iterative import sirt, tv
from dewedge.physics.projection import Projector, back_project, project
from dewedge.physics.reconstruction import FilterName, fbp

TILTS = np.arange(-60.0, 61.0, 15.0)
SHAPE = (30, 44)
IMAGES = noise(TILTS.size, *SHAPE)


def geometry() -> TiltGeometry:
    n = TILTS.size
    ctf = CtfParameters(
        defocus_u_um=np.full(n, 2.1), defocus_v_um=np.full(n, 1.9), astigmatism_deg=np.full(n, 30.0),
        voltage_kV=300, spherical_aberration_mm=2.7, amplitude_contrast=0.07, defocus_hand=-1,
    )  # fmt: skip
    exposure = np.arange(n) * 3.0
    return TiltGeometry(
        tilt_deg=TILTS, image_shape_yx=SHAPE, pixel_size_A=8.0, ctf=ctf, pre_exposure_e_per_A2=exposure
    )


def turned() -> TiltGeometry:
    """By 85 degrees, as a microscope's images, and displaced."""
    angle = np.radians(85.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return replace(
        geometry(), linear_yx=np.tile(turn, (TILTS.size, 1, 1)), shift_yx=np.full((TILTS.size, 2), 1.3)
    )


@pytest.mark.parametrize("method", ["fourier", "average"])
@pytest.mark.parametrize("binning", [1, 2])
def test_images_are_aligned_as_on_the_cpu(device: torch.device, method: Any, binning: int):
    for each in (geometry(), turned()):
        aligned, after = align_images(IMAGES, each, binning, method, device)
        expected, of_cpu = align_images(IMAGES, each, binning, method)
        assert aligned.device == CPU and after.image_shape_yx == of_cpu.image_shape_yx
        assert difference(aligned, expected) < 1e-4


@pytest.mark.parametrize("snr", [None, SignalToNoise()])
def test_the_ctf_is_corrected_as_on_the_cpu(device: torch.device, snr: SignalToNoise | None):
    images = torch.from_numpy(IMAGES)
    corrected, expected = (
        correct_images(images, geometry(), snr, device),
        correct_images(images, geometry(), snr),
    )
    assert corrected.device == CPU
    # A phase at a zero of the CTF may round to either side.
    assert difference(corrected, expected) < 1e-2
    assert difference(correct_images(images.to(device), geometry(), snr), expected) < 1e-2


def test_images_are_weighted_by_exposure_as_on_the_cpu(device: torch.device):
    images = torch.from_numpy(IMAGES)
    weighted = weight_by_exposure(images, geometry(), device=device)
    assert weighted.device == CPU
    assert difference(weighted, weight_by_exposure(images, geometry())) < 1e-4


def test_tomograms_are_deconvolved_as_on_the_cpu(device: torch.device):
    volume, ctf = torch.from_numpy(noise(16, 20, 22)), geometry().ctf
    assert ctf is not None
    first = ctf.select([0])
    result = deconvolve(volume.to(device), first, 8.0, SignalToNoise())
    assert difference(result, deconvolve(volume, first, 8.0, SignalToNoise())) < 1e-3


@pytest.mark.parametrize("filter", ["ramp", "hamming", "radial", "radial-cosine"])
def test_filtered_back_projection_is_that_of_the_cpu(device: torch.device, filter: FilterName):
    images = torch.from_numpy(IMAGES)
    result = fbp(images.to(device), geometry(), 16, filter)
    assert result.device.type == device.type
    assert difference(result, fbp(images, geometry(), 16, filter)) < 1e-4


def test_iterations_are_those_of_the_cpu(device: torch.device):
    images = torch.from_numpy(IMAGES)
    there = images.to(device)
    assert difference(sirt(there, geometry(), 16, 3), sirt(images, geometry(), 16, 3)) < 1e-4
    assert difference(tv(there, geometry(), 16, 1.0, 5), tv(images, geometry(), 16, 1.0, 5)) < 1e-3


@pytest.mark.parametrize("which", [geometry, turned])
def test_back_projection_is_the_adjoint_of_projection(device: torch.device, which: Any):
    volume = torch.from_numpy(noise(12, 30, 44)).double().to(device)
    projector = Projector(which(), (12, 30, 44))
    images = torch.from_numpy(IMAGES).double().to(device)
    one, other = (projector.forward(volume) * images).sum(), (projector.adjoint(images) * volume).sum()
    assert float(one) == pytest.approx(float(other), rel=1e-9)
    assert difference(project(volume, TILTS, SHAPE), project(volume.cpu(), TILTS, SHAPE)) < 1e-10
    at_once = back_project(images, TILTS, (12, 30, 44))
    assert difference(at_once, back_project(images.cpu(), TILTS, (12, 30, 44))) < 1e-10
