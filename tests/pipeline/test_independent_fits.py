"""Half-sets refined by networks that were fitted apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.checkpoint import Model
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.pipeline.trust.fits import _refine
from dewedge.pipeline.trust.subject import Subject
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.sections import ComputeSection, Config


@pytest.mark.parametrize("full_std", [0.5, 2.0])
def test_a_half_set_alone_has_the_grey_scale_of_the_fit(full_std: float, tmp_path: Path):
    """Not that of the full tomogram, in which noise is weaker."""
    config = NetworkConfig(channels=2, levels=1, convolutions=1)
    torch.manual_seed(0)
    # With biases, without which the scale of the input would not matter.
    weights = {
        name: values + 0.1 * torch.randn_like(values) for name, values in UNet(config).state_dict().items()
    }
    model = Model(weights, config, 16, 1.0, None, None, TiltRange(-60, 60), {})
    folder = ResultFolder(tmp_path)
    compute = ComputeSection(device="cpu", precision="32-true")
    half = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    outputs = [np.zeros_like(half) for _ in range(2)]
    for output, std in zip(outputs, (1.0, full_std), strict=True):
        subject = Subject(folder, folder, model, Config(), compute)
        _refine(subject, replace(model, full_std=std), half, output)
    assert outputs[0].std() > 0
    np.testing.assert_array_equal(*outputs)
