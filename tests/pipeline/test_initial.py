"""The weights that a fit starts from: random, those of the package, or those of an earlier fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.checkpoint import Model, load_model, save_model
from dewedge.learn.network import PRESETS, NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.initial import SIMULATED_WEIGHTS, initial_weights
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.file import resolve_config, write_config
from dewedge.settings.fit import RATES, FitSection

# With a rate this small, a fit ends where it starts.
STANDING = {
    "cube_size": 16,
    "batch_size": 1,
    "epoch_samples": 1,
    "epochs": 1,
    "learning_rate": 1e-12,
    "held_out": 0.0,
}


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


@pytest.fixture(scope="module")
def pair() -> TomogramPair:
    rng = np.random.default_rng(0)
    half0, half1 = (rng.standard_normal((24, 48, 48), dtype=np.float32) for _ in range(2))
    return TomogramPair(half0, half1, TiltRange(-60, 60))


def written(path: Path, network: NetworkConfig, seed: int = 5) -> dict[str, torch.Tensor]:
    """Weights of a model that is written to ``path``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = UNet(network).state_dict()
    save_model(path, Model(weights, network, 16, 0.8, None, None, TiltRange(-60, 60), {}))
    return weights


def assert_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor.float(), rtol=0, atol=1e-9)


def test_random_weights_need_no_file():
    assert initial_weights(FitSection()) is None


def test_the_weights_of_the_package_are_those_of_the_default_network():
    model = load_model(SIMULATED_WEIGHTS)
    assert SIMULATED_WEIGHTS.stat().st_size < 5e6
    assert model.network == PRESETS["default"]
    weights = initial_weights(resolve_config(None, {"fit": {"init": "simulated"}}).fit)
    assert weights is not None and all(tensor.isfinite().all() for tensor in weights.values())


def test_the_weights_of_the_package_denoise():
    """Balls in noise, which the network has not seen, come out closer to the truth."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij"), axis=-1)
    truth = np.zeros((48, 48, 48), np.float32)
    for centre in rng.uniform(8, 40, size=(6, 3)):
        truth -= np.linalg.norm(grid - centre, axis=-1) < 5
    noisy = truth + 1.5 * rng.standard_normal(truth.shape).astype(np.float32)
    network = load_model(SIMULATED_WEIGHTS).build()
    standardised = torch.from_numpy((noisy - noisy.mean()) / noisy.std())
    with torch.no_grad():
        denoised = network(standardised[None, None])[0, 0].numpy()

    def correlation(volume: np.ndarray) -> float:
        return float(np.corrcoef(volume.ravel(), truth.ravel())[0, 1])

    assert correlation(denoised) > correlation(noisy) + 0.2


@pytest.mark.parametrize("init", ["simulated", "file"])
def test_the_fit_starts_from_them(fabric: Fabric, pair: TomogramPair, tmp_path: Path, init: str):
    if init == "simulated":
        section = FitSection(init=init, **STANDING)
        expected = load_model(SIMULATED_WEIGHTS).weights
    else:
        path = tmp_path / "earlier.safetensors"
        section = FitSection(init=str(path), channels=2, **STANDING)
        expected = written(path, replace(PRESETS["default"], channels=2))
    folder = ResultFolder(tmp_path)
    model = fit_model([pair], section, fabric, folder, resume=False)
    assert_close(model.weights, expected)
    random = fit_model([pair], section.model_copy(update={"init": "random"}), fabric, folder, resume=False)
    assert not torch.equal(random.weights["head.weight"], model.weights["head.weight"])


def test_a_resumed_fit_goes_on_from_its_checkpoint(fabric: Fabric, pair: TomogramPair, tmp_path: Path):
    path = tmp_path / "earlier.safetensors"
    written(path, replace(PRESETS["default"], channels=2))
    section = FitSection(
        init=str(path), channels=2, **STANDING | {"learning_rate": 1e-3, "schedule": "constant"}
    )
    unbroken = section.model_copy(update={"epochs": 2})
    (tmp_path / "whole").mkdir()
    folder = ResultFolder(tmp_path)
    whole = fit_model([pair], unbroken, fabric, ResultFolder(tmp_path / "whole"), resume=False)
    fit_model([pair], section, fabric, folder, resume=False)
    assert folder.checkpoint.exists()
    path.unlink()  # no longer needed
    assert_close(fit_model([pair], unbroken, fabric, folder, resume=True).weights, whole.weights)


@pytest.mark.parametrize(
    "network, message",
    [
        (PRESETS["large"], "its network has channels = 32, the one to be fitted 16"),
        (replace(PRESETS["default"], fold=1), "its network has fold = 1, the one to be fitted 2"),
    ],
)
def test_weights_of_another_network_are_refused(network: NetworkConfig, message: str, tmp_path: Path):
    path = tmp_path / "other.safetensors"
    written(path, replace(network))
    with pytest.raises(InputError, match=message) as caught:
        initial_weights(FitSection(init=str(path)))
    assert "\n" not in str(caught.value)


def test_dropout_makes_no_other_network(tmp_path: Path):
    written(tmp_path / "earlier.safetensors", PRESETS["large"])
    section = FitSection(
        init=str(tmp_path / "earlier.safetensors"), preset="large", dropout=0.3, dropout_of="channels"
    )
    assert initial_weights(section) is not None


def test_a_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        initial_weights(FitSection(init=str(tmp_path / "model.safetensors")))


def test_a_file_is_recorded_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_config(None, {"fit": {"init": "model.safetensors"}}).fit.init == str(
        tmp_path / "model.safetensors"
    )
    assert resolve_config(None, {"fit": {"init": "simulated"}}).fit.init == "simulated"


def test_a_fit_from_given_weights_is_slower_unless_told_otherwise(tmp_path: Path):
    def rate(**fit: object) -> float:
        return resolve_config(None, {"fit": fit}).fit.options().learning_rate

    assert rate() == FitOptions(epochs=1).learning_rate
    assert rate(optimiser="adam") == 1e-3 and rate(optimiser="adam", init="simulated") == 3e-4
    assert rate(init="simulated") == rate(init="model.safetensors") == RATES["muon"][1] < rate()
    assert rate(init="simulated", learning_rate=2e-3) == 2e-3
    write_config(tmp_path / "config.toml", resolve_config(None, {"fit": {"init": "simulated"}}))
    assert resolve_config(tmp_path / "config.toml", {}).fit.learning_rate == RATES["muon"][1]
