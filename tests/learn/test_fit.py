import itertools
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors import safe_open
from safetensors.torch import save
from scipy import ndimage
from test_sampling import make_pair
from torch.utils._python_dispatch import TorchDispatchMode

import dewedge.learn.fit as fit_module
from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.ahead import made_ahead
from dewedge.learn.batch import Sources
from dewedge.learn.checkpoint import load_model, save_model
from dewedge.learn.fit import fit
from dewedge.learn.loss import cut_wedge
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.objective import Objective
from dewedge.learn.options import FitOptions, learning_rate
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.rounds import round_epochs
from dewedge.learn.sampling import CropSampler, Inputs
from dewedge.learn.state import FitState
from dewedge.physics.wedge import wedge_mask

NETWORK = NetworkConfig(channels=2, levels=2)
OPTIONS = FitOptions(cube_size=16, batch_size=2, epoch_samples=8, epochs=4, validation_crops=4)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


@pytest.fixture(scope="module")
def pairs():
    return [make_pair((24, 48, 48)), make_pair((20, 40, 48), seed=1)]


@pytest.fixture
def threads():
    """Sets the number of torch's threads for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_same_weights(a, b) -> None:
    assert a.weights.keys() == b.weights.keys()
    for name in a.weights:
        assert torch.equal(a.weights[name], b.weights[name]), name


@pytest.mark.parametrize("optimiser", ["muon", "adam"])
def test_a_resumed_fit_is_the_unbroken_one_bit_by_bit(fabric, pairs, tmp_path: Path, optimiser):
    options = replace(OPTIONS, optimiser=optimiser, schedule="constant", warm_up=0.0)
    unbroken, rows = fit(pairs, NETWORK, options, fabric)
    file = tmp_path / "checkpoint.safetensors"
    fit(pairs, NETWORK, replace(options, epochs=2), fabric, checkpoint=file)
    resumed, resumed_rows = fit(pairs, NETWORK, options, fabric, checkpoint=file, resume=True)
    assert_same_weights(unbroken, resumed)
    assert [r.fit_loss for r in rows] == [r.fit_loss for r in resumed_rows]
    assert [r.validation_loss for r in rows] == [r.validation_loss for r in resumed_rows]


def test_a_fit_killed_in_an_epoch_resumes_to_the_unbroken_result(fabric, pairs, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("dewedge.learn.fit.CHECKPOINT_INTERVAL_S", 0.0)
    unbroken, _ = fit(pairs, NETWORK, OPTIONS, fabric)
    file = tmp_path / "checkpoint.safetensors"

    def kill(state, progress):
        if state.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(pairs, NETWORK, OPTIONS, fabric, checkpoint=file, on_step=kill)
    resumed, _ = fit(pairs, NETWORK, OPTIONS, fabric, checkpoint=file, resume=True)
    assert_same_weights(unbroken, resumed)


def test_a_resumed_fit_in_float16_has_the_scale_of_its_loss(pairs, tmp_path: Path):
    """Fabric scales the loss on GPUs only; the scaler is made for the CPU here, for one crop a batch."""
    one = {"batch_size": 1, "epoch_samples": 4}
    options = replace(OPTIONS, **one, schedule="constant", warm_up=0.0, update_interval=None)

    def fitted(epochs: int, checkpoint: Path | None = None, resume: bool = False):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
        half = MixedPrecision("16-mixed", "cpu", scaler)
        fabric = Fabric(accelerator="cpu", devices=1, plugins=half)
        fabric.launch()
        limited = replace(options, epochs=epochs)
        model, _ = fit(pairs, NETWORK, limited, fabric, checkpoint=checkpoint, resume=resume)
        return model, scaler.get_scale()

    file = tmp_path / "checkpoint.safetensors"
    unbroken, scale = fitted(4)
    assert scale == 2.0**14  # doubled every four of 16 steps
    fitted(2, file)
    resumed, resumed_scale = fitted(4, file, resume=True)
    assert resumed_scale == scale
    assert_same_weights(unbroken, resumed)


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_nothing_on_the_device(fabric, pairs):
    """What reads a value or a shape back, but for Adam's counters, which are on the CPU."""
    counts: list[Counter[str]] = []
    options = replace(OPTIONS, epochs=1, epoch_samples=16)
    others = sum(1 for _ in UNet(NETWORK).parameters()) - len(UNet(NETWORK).inner_weights())
    with Counted() as counted:
        fit(pairs, NETWORK, options, fabric, on_step=lambda *_: counts.append(counted.count.copy()))
    for before, after in itertools.pairwise(counts):
        step = after - before
        assert step["_local_scalar_dense"] <= others
        assert step["nonzero"] == step["equal"] == step["masked_select"] == 0
        assert step["_to_copy"] <= 8


def test_what_is_made_ahead_is_the_same_in_the_same_order_and_one_ahead(pairs):
    sampler = CropSampler(pairs, 16)
    made: list[int] = []

    def read(step: int) -> Sources:
        return sampler.read([sampler.draw(2 * step + i) for i in range(2)])

    def make(step: int) -> Sources:
        made.append(step)
        return read(step)

    for step, sources in enumerate(made_ahead(make, range(5))):
        assert len(made) <= step + 2
        for one, other in zip(sources.groups, read(step).groups, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert made == [0, 1, 2, 3, 4]


def test_the_result_does_not_depend_on_the_grey_scale(fabric):
    one = fit([make_pair((24, 48, 48))], NETWORK, OPTIONS, fabric)[1]
    other = fit([make_pair((24, 48, 48), scale=1e6, offset=-3e5)], NETWORK, OPTIONS, fabric)[1]
    np.testing.assert_allclose([r.fit_loss for r in one], [r.fit_loss for r in other], rtol=1e-3)


def test_the_fit_learns_to_denoise(fabric):
    """Smooth signal in white noise: a good part of the held-out power where there is signal is predicted."""
    rng = np.random.default_rng(0)
    signal = ndimage.gaussian_filter(rng.standard_normal((32, 64, 64)), 2)
    signal /= signal.std()
    halves = [(signal + rng.standard_normal(signal.shape)).astype(np.float32) for _ in range(2)]
    pair = TomogramPair(*halves, TiltRange(-89, 89))
    options = FitOptions(
        cube_size=16, batch_size=4, epoch_samples=200, epochs=3, learning_rate=3e-3, wedge_weight=2.0
    )
    _, rows = fit([pair], NetworkConfig(channels=6, levels=2), options, fabric)
    # Predicting nothing costs 1; passing on the input costs more, twice the noise's share.
    assert rows[-1].validation_loss < 0.85
    # In units of a half-set's variance, half of it noise, of which the fit's own loss cannot be rid.
    assert 0.45 < rows[-1].fit_loss < 0.8


def test_a_budget_ends_the_fit_in_time(fabric, pairs):
    options = replace(OPTIONS, epochs=None, budget_s=2.0, epoch_samples=1000)
    _, rows = fit(pairs, NETWORK, options, fabric)
    assert 1.5 < rows[-1].seconds < 4
    assert rows[-1].step < 500


def after_epoch(count: int) -> Callable[[FitState, FitOptions, int | None], bool]:
    """Whether a fit overfits, by the number of its epochs in place of its held-out loss."""
    return lambda state, options, interval: state.cooling is None and len(state.rows) >= count


def test_the_rate_falls_and_the_fit_ends_when_the_held_out_loss_rises(fabric, pairs, monkeypatch):
    options = replace(OPTIONS, epochs=50, update_interval=None)
    overfits = 4
    monkeypatch.setattr(FitState, "overfits", after_epoch(overfits))
    _, rows = fit(pairs, NETWORK, options, fabric)
    assert len(rows) == math.ceil(1.25 * overfits)
    rates = [row.learning_rate for row in rows]
    assert rates[overfits - 1] > 0.8 * options.learning_rate
    assert rates[-1] < 0.3 * options.learning_rate
    constant = replace(options, schedule="constant")
    assert len(fit(pairs, NETWORK, constant, fabric)[1]) == overfits


@pytest.mark.parametrize("interval", [None, 4, 11])
def test_chance_hardly_ends_a_fit_whose_held_out_loss_is_flat(interval: int | None):
    """It falls to a plateau of noise, that of epochs and of rounds; then each epoch may add to it."""
    options = replace(OPTIONS, epochs=400, patience=20)

    def ends(seed: int, slope: float) -> bool:
        rng = np.random.default_rng(seed)
        of_rounds = 0.005 * rng.standard_normal(400)
        state = FitState()
        for epoch in range(1, 301):
            loss = 0.9 + 0.1 * math.exp(-epoch / 10) + slope * max(0, epoch - 150)
            loss += 0.01 * rng.standard_normal() + (of_rounds[(epoch - 1) // interval] if interval else 0)
            state.record(EpochRow(epoch, epoch, epoch, epoch, 1e-3, 1.0, loss))
            if state.overfits(options, interval):
                assert not state.overfits(replace(options, patience=None), interval)
                return True
        return False

    assert np.mean([ends(seed, 0.0) for seed in range(30)]) < 0.1
    assert np.mean([ends(seed, 0.001) for seed in range(30)]) > 0.85


def test_a_patience_of_one_epoch_has_two_to_judge_by():
    state = FitState()
    for epoch, loss in enumerate((0.9, 0.9, 1.0, 1.02), 1):
        assert not state.overfits(replace(OPTIONS, patience=1), None)
        state.record(EpochRow(epoch, epoch, epoch, epoch, 1e-3, 1.0, loss))
    assert state.overfits(replace(OPTIONS, patience=1), None)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_weights_kept_are_those_asked_for(fabric, pairs, keep):
    """The second of three epochs is the best by far."""
    options = replace(OPTIONS, epochs=3, keep=keep, update_interval=None)
    weights = []

    def on_epoch(state, network):
        weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        if len(weights) == 1:
            state.best_loss = math.inf  # what the next epoch betters
        if len(weights) == 2:
            state.best_loss = -math.inf

    model, _ = fit(pairs, NETWORK, options, fabric, on_epoch=on_epoch)
    expected = weights[2 if keep == "last" else 1]
    assert all(torch.equal(model.weights[name], expected[name]) for name in expected)
    assert model.details["kept_epoch"] == (3 if keep == "last" else 2)


def test_a_fit_killed_while_its_rate_falls_resumes_to_the_unbroken_result(
    fabric, pairs, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("dewedge.learn.fit.CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr(FitState, "overfits", after_epoch(8))
    options = replace(OPTIONS, epochs=50, epoch_samples=4)
    unbroken, rows = fit(pairs, NETWORK, options, fabric)
    file = tmp_path / "checkpoint.safetensors"

    def kill(state, network):
        if state.cooling is not None and state.step > state.cooling[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(pairs, NETWORK, options, fabric, checkpoint=file, on_epoch=kill)
    resumed, again = fit(pairs, NETWORK, options, fabric, checkpoint=file, resume=True)
    assert_same_weights(unbroken, resumed)
    assert [row.learning_rate for row in again] == [row.learning_rate for row in rows]


def test_rounds_are_told_where_there_are_any(fabric, pairs):
    told = []
    options = replace(OPTIONS, epochs=5, epoch_samples=2, update_interval=2)
    fit(
        pairs, NETWORK, options, fabric, on_round=lambda number, state: told.append((number, len(state.rows)))
    )
    assert told == [(1, 2), (2, 4)]


def test_dropout_goes_on_after_validation(fabric, pairs):
    training = []
    network = replace(NETWORK, dropout=0.3)
    fit(pairs, network, OPTIONS, fabric, on_epoch=lambda state, network: training.append(network.training))
    assert training and all(training)


def test_the_learning_rate_warms_up_and_decays():
    rates = [learning_rate(p, OPTIONS) for p in np.linspace(0, 1, 101)]
    assert rates[0] < 0.05 * OPTIONS.learning_rate
    assert max(rates) == pytest.approx(OPTIONS.learning_rate, rel=0.02)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert np.argmax(rates) == pytest.approx(100 * OPTIONS.warm_up, abs=1)
    assert learning_rate(0.9, replace(OPTIONS, schedule="constant")) == OPTIONS.learning_rate


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_refused(fabric, pairs, tmp_path: Path):
    file = tmp_path / "checkpoint.safetensors"
    fit(pairs, NETWORK, replace(OPTIONS, epochs=1), fabric, checkpoint=file)
    for changed in (replace(OPTIONS, learning_rate=1e-5), replace(OPTIONS, seed=9)):
        with pytest.raises(InputError, match="other options"):
            fit(pairs, NETWORK, changed, fabric, checkpoint=file, resume=True)
    brighter = replace(pairs[0], half0=1.01 * pairs[0].half0, half1=1.01 * pairs[0].half1)
    for others in (pairs[:1], [brighter, *pairs[1:]]):
        with pytest.raises(InputError, match="other data"):
            fit(others, NETWORK, OPTIONS, fabric, checkpoint=file, resume=True)
    whole = file.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged"):
            fit(pairs, NETWORK, OPTIONS, fabric, checkpoint=file, resume=True)


def test_a_fit_goes_on_with_half_sets_stored_as_float16(fabric, pairs, tmp_path: Path):
    file = tmp_path / "checkpoint.safetensors"
    fit(pairs, NETWORK, replace(OPTIONS, epochs=1), fabric, checkpoint=file)
    stored = [
        replace(pair, half0=pair.half0.astype(np.float16), half1=pair.half1.astype(np.float16))
        for pair in pairs
    ]
    _, rows = fit(stored, NETWORK, OPTIONS, fabric, checkpoint=file, resume=True)
    assert len(rows) == OPTIONS.epochs


def test_a_model_comes_back_as_it_was(fabric, pairs, tmp_path: Path):
    model, _ = fit(pairs, NETWORK, replace(OPTIONS, epochs=1), fabric)
    save_model(tmp_path / "model.safetensors", model)
    loaded = load_model(tmp_path / "model.safetensors")
    assert_same_weights(model, loaded)
    assert (loaded.network, loaded.cube_size, loaded.tilt_range) == (NETWORK, 16, model.tilt_range)
    assert loaded.full_std == pytest.approx(np.sqrt(3 / 4), rel=0.02)  # equal signal and noise
    volume = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(loaded.build()(volume), model.build()(volume))


def test_a_model_whose_weights_and_description_disagree_is_refused(fabric, pairs, tmp_path: Path):
    model, _ = fit(pairs, NETWORK, replace(OPTIONS, epochs=1), fabric)
    save_model(tmp_path / "model.safetensors", replace(model, network=NetworkConfig(channels=3, levels=2)))
    with pytest.raises(InputError, match="do not fit"):
        load_model(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": None}, "limit"),
        ({"epochs": 0}, "at least 1"),
        ({"epochs": -2, "budget_s": 5.0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"validation_crops": -1}, "at least 0"),
        ({"learning_rate": float("nan")}, "positive"),
        ({"gradient_clip": float("inf")}, "positive"),
        ({"budget_s": 0.0}, "positive"),
        ({"held_out": 1.5}, "between 0 and 1"),
        ({"warm_up": float("nan")}, "between 0 and 1"),
    ],
)
def test_values_that_make_no_fit_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **wrong)


def test_rounds_replace_the_wedge_of_the_inputs(pairs, fabric):
    """A fit with rounds differs from one without, from the end of its first round on."""
    plain, updated = (
        fit(pairs, NETWORK, replace(OPTIONS, update_interval=interval), fabric)[1] for interval in (None, 2)
    )
    assert [row.fit_loss for row in plain[:2]] == [row.fit_loss for row in updated[:2]]
    assert plain[2].fit_loss != updated[2].fit_loss


def test_losses_are_compared_on_the_inputs_of_the_same_round(pairs, fabric):
    """What is validated changes with the inputs, so the best weights are looked at again."""
    best = []
    options = replace(OPTIONS, update_interval=2, keep="best")
    rows = fit(pairs, NETWORK, options, fabric, on_epoch=lambda state, _: best.append(state.best_loss))[1]
    losses = [row.validation_loss for row in rows]
    assert best[0] == losses[0]
    assert best[1] not in losses  # the round ended here
    assert best[2] == min(best[1], losses[2])


@pytest.mark.parametrize(
    ("objective", "quarter_turns", "rotations", "swapped"),
    [("noise2noise", False, 1, True), ("noise2noise", True, 4, True), ("isonet", False, 20, False)],
)
def test_baselines_turn_and_swap_as_their_programs(
    pairs, fabric, monkeypatch, objective, quarter_turns, rotations, swapped
):
    drawn = []
    read = CropSampler.read
    monkeypatch.setattr(
        CropSampler, "read", lambda self, crops, pin: drawn.extend(crops) or read(self, crops, pin)
    )
    sizes = {"cube_size": 8, "batch_size": 32, "epoch_samples": 160, "epochs": 1, "held_out": 0.0}
    sizes["frequency_weight"] = "none"  # which would draw, too
    options = replace(OPTIONS, objective=objective, quarter_turns=quarter_turns, exact_rotations=1.0, **sizes)
    fit(pairs[:1], replace(NETWORK, levels=1), options, fabric)
    assert len(drawn) == 160
    assert len(np.unique([crop.rotation for crop in drawn], axis=0)) == rotations
    assert {crop.swapped for crop in drawn} == ({True, False} if swapped else {False})
    assert (round_epochs(CropSampler(pairs, 16), NETWORK, options) is None) == (objective == "noise2noise")


@pytest.mark.parametrize(("objective", "renormalised"), [("isonet", True), ("dewedge", False)])
def test_rounds_of_isonet_are_renormalised(pairs, fabric, monkeypatch, objective, renormalised):
    seen = []

    def fill(sampler, *arguments, renormalise):
        seen.append(renormalise)
        return sampler.inputs

    monkeypatch.setattr("dewedge.learn.fit.filled_inputs", fill)
    fit(pairs[:1], NETWORK, replace(OPTIONS, objective=objective, epochs=2, update_interval=1), fabric)
    assert seen == [renormalised]


def test_standardised_inputs_have_a_standard_deviation_of_1_each_round(pairs, fabric, threads, monkeypatch):
    """And the tomogram to be refined is scaled to the same."""
    threads(1)  # which sees whole batches
    stds = []
    inputs = Objective.inputs

    def keep(self, batch):
        cut = inputs(self, batch)
        stds.append(float(cut.var(dim=(1, 2, 3)).mean().sqrt()))
        return cut

    options = replace(
        OPTIONS, epochs=1, epoch_samples=32, batch_size=32, standardise="inputs", held_out=0.0, clip=None
    )

    def of_fit() -> list[float]:
        stds.clear()
        model, _ = fit(pairs, NETWORK, options, fabric)
        assert model.full_std == (1.0 if options.standardise == "inputs" else pytest.approx(0.87, abs=0.01))
        return stds[-1:]

    monkeypatch.setattr(Objective, "inputs", keep)
    assert of_fit() == pytest.approx([1.0], abs=0.05)
    options = replace(options, standardise="half-sets")
    assert max(of_fit()) < 0.8
    monkeypatch.setattr("dewedge.learn.fit.filled_inputs", lambda sampler, *_, **__: tenfold(sampler))
    options = replace(options, standardise="inputs", epochs=2, update_interval=1)
    assert of_fit() == pytest.approx([1.0], abs=0.05)


def tenfold(sampler: CropSampler) -> list[list[Inputs]]:
    return [[Inputs(box, 10 * half0) for box, half0 in inputs] for inputs in sampler.inputs]


def test_automatic_rounds_are_ten_times_as_long_as_filling_takes(pairs):
    options = replace(OPTIONS, update_interval="auto", epoch_samples=100)
    samples = round_epochs(CropSampler(pairs, 16, held_out=0), NETWORK, options) * options.epoch_samples
    voxels = sum(np.prod(pair.shape_zyx) for pair in pairs)
    assert voxels < 0.1 * 3 * samples * 16**3 < 4 * voxels  # tiles overlap
    assert round_epochs(CropSampler(pairs, 16), NETWORK, replace(options, update_interval=None)) is None


@pytest.mark.parametrize("broken", [2, 3])
def test_a_fit_resumed_in_or_after_a_round_is_the_unbroken_one(pairs, fabric, tmp_path, broken):
    constant = {"schedule": "constant", "warm_up": 0.0}
    options = replace(OPTIONS, update_interval=2, epochs=5, standardise="inputs", **constant)
    whole, _ = fit(pairs, NETWORK, options, fabric)
    checkpoint = tmp_path / "c.safetensors"
    fit(pairs, NETWORK, replace(options, epochs=broken), fabric, checkpoint=checkpoint)
    resumed, _ = fit(pairs, NETWORK, options, fabric, checkpoint=checkpoint, resume=True)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(resumed.weights[name], weight, rtol=0, atol=0)


def test_the_held_out_loss_of_no_prediction_is_one(fabric, monkeypatch):
    pair = make_pair((24, 48, 48))
    mask = wedge_mask(pair.shape_zyx, pair.tilt_range)
    halves = [cut_wedge(torch.from_numpy(half), mask).numpy() for half in (pair.half0, pair.half1)]
    losses = []
    validation_loss = fit_module.validation_loss

    def of_nothing(network, *others):
        with torch.no_grad():
            for weights in network.parameters():
                weights.zero_()
        losses.append(validation_loss(network, *others))
        return losses[-1]

    monkeypatch.setattr(fit_module, "validation_loss", of_nothing)
    options = replace(OPTIONS, epochs=1, update_interval=None)
    fit([TomogramPair(*halves, pair.tilt_range)], NETWORK, options, fabric)
    assert losses == pytest.approx([1.0], abs=0.1)


@pytest.mark.parametrize("steps, rounds", [(6, None), (10, 2), (8, 2)])
def test_a_fit_that_is_stopped_resumes_to_the_unbroken_one(fabric, pairs, tmp_path: Path, steps, rounds):
    """Within an epoch of four steps, within one after a round, and at the end of one."""
    options = replace(OPTIONS, epochs=3, update_interval=rounds, schedule="constant", warm_up=0.0)
    unbroken, rows = fit(pairs, NETWORK, options, fabric)
    file, reached, resumed_at = tmp_path / "checkpoint.safetensors", [0], []

    def count(state: FitState, progress: float) -> None:
        reached[0] = state.step

    with pytest.raises(KeyboardInterrupt):
        fit(
            pairs, NETWORK, options, fabric,
            checkpoint=file, on_step=count, stop=lambda: reached[0] == steps - 1,
        )  # fmt: skip
    resumed, resumed_rows = fit(
        pairs, NETWORK, options, fabric,
        checkpoint=file, resume=True, on_resume=lambda state: resumed_at.append(state.step),
    )  # fmt: skip
    assert resumed_at == [steps]
    assert_same_weights(unbroken, resumed)
    assert [row.fit_loss for row in resumed_rows] == [row.fit_loss for row in rows]
    assert [row.validation_loss for row in resumed_rows] == [row.validation_loss for row in rows]


class ShortOfMemory(UNet):
    """Fails as torch does on a CPU that has no memory for more than so many crops with their gradients."""

    most = 1

    def forward(self, volume):
        if torch.is_grad_enabled() and len(volume) > self.most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
            )
        return super().forward(volume)


def test_a_batch_for_which_memory_is_short_is_done_in_parts(fabric, pairs, threads, monkeypatch):
    threads(1)
    options = replace(OPTIONS, epochs=2, batch_size=4)
    _, rows = fit(pairs, NETWORK, options, fabric)
    monkeypatch.setattr(fit_module, "UNet", ShortOfMemory)
    monkeypatch.setattr(ShortOfMemory, "most", 2)
    told: list[str] = []
    _, rows_of_parts = fit(pairs, NETWORK, options, fabric, on_shortage=told.append)
    assert len(told) == 1 and "in parts" in told[0]
    assert rows_of_parts[-1].fit_loss == pytest.approx(rows[-1].fit_loss, rel=1e-3)
    monkeypatch.setattr(ShortOfMemory, "most", 1)
    with pytest.raises(RuntimeError, match="allocate"):
        fit(pairs, NETWORK, options, fabric)


@pytest.mark.parametrize(
    "change", [{}, {"objective": "isonet", "noise_level": 0.5, "noise_start": 0.0}], ids=["threads", "noise"]
)
def test_crops_in_threads_give_the_fit_of_one_thread(fabric, pairs, threads, change):
    threads(2)
    options = replace(OPTIONS, epochs=2, batch_size=4, **change)
    model, rows = fit(pairs, NETWORK, options, fabric)
    again, _ = fit(pairs, NETWORK, options, fabric)
    assert_same_weights(model, again)
    threads(1)
    _, rows_of_one = fit(pairs, NETWORK, options, fabric)
    assert rows[-1].fit_loss == pytest.approx(rows_of_one[-1].fit_loss, rel=1e-4)
    assert rows[-1].validation_loss == pytest.approx(rows_of_one[-1].validation_loss, rel=1e-4)


def test_threads_for_which_memory_is_short_take_turns(fabric, pairs, threads, monkeypatch):
    threads(2)
    options = replace(OPTIONS, epochs=2, batch_size=4)
    monkeypatch.setattr(fit_module, "UNet", ShortOfMemory)
    monkeypatch.setattr(ShortOfMemory, "most", 1)
    told: list[str] = []
    fit(pairs, NETWORK, options, fabric, on_shortage=told.append)
    assert len(told) == 2 and "turns" in told[0] and "in parts" in told[1]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.update({"best.head.bias": torch.full((1,), float("nan"))}), "not finite"),
        (lambda t: t.update({"network.head.bias": torch.full((1,), 1e30)}), "beyond"),
        (lambda t: t.update({"network.head.bias": torch.zeros(1, dtype=torch.int8)}), "expected F32 or F16"),
        (lambda t: t.update({"network.head.bias": torch.zeros(2)}), "do not fit"),
        (lambda t: t.pop("best.head.bias"), "do not fit"),
        (lambda t: t.update({"optimiser.0.momentum": torch.zeros(3)}), "is of shape"),
    ],
)
def test_a_hostile_checkpoint_is_refused(fabric, pairs, tmp_path: Path, change, message):
    file = tmp_path / "checkpoint.safetensors"
    options = replace(OPTIONS, epochs=1, update_interval=None)
    fit(pairs, NETWORK, options, fabric, checkpoint=file)
    with safe_open(file, framework="pt") as opened:
        tensors, metadata = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    change(tensors)
    file.write_bytes(save(tensors, metadata=metadata))
    with pytest.raises(InputError, match=message):
        fit(pairs, NETWORK, options, fabric, checkpoint=file, resume=True)


def with_header(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a model or checkpoint."""
    with safe_open(file, framework="pt") as opened:
        tensors, metadata = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    header = json.loads(metadata["json"])
    change(header)
    file.write_bytes(save(tensors, metadata={**metadata, "json": json.dumps(header)}))


WRONG_ROWS = [
    {"seconds": math.nan},
    {"seconds": -1.0},
    {"fit_loss": math.nan},
    {"validation_loss": math.inf},
    {"validation_loss": "low"},
    {"learning_rate": -1.0},
    {"step": 10**30},
    {"samples": -4},
    {"epoch": None},
]
WRONG_STATES = [
    {"seconds": math.nan},
    {"seconds": -1e9},
    {"seconds": math.inf},
    {"step": -1},
    {"step": 10**30},
    {"step": 0},
    {"best_loss": math.nan},
    {"best_epoch": 0},
    {"best_epoch": 7},
    {"losses": [math.nan]},
    {"cooling": [1, math.nan]},
    {"rows": []},
]


@pytest.fixture(scope="module")
def one_epoch(fabric, pairs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FitOptions]:
    """Folder with model and checkpoint of a fit, and its options."""
    folder = tmp_path_factory.mktemp("one_epoch")
    options = replace(OPTIONS, epochs=1, update_interval=None)
    model, _ = fit(pairs, NETWORK, options, fabric, checkpoint=folder / "checkpoint.safetensors")
    save_model(folder / "model.safetensors", model)
    return folder, options


@pytest.mark.parametrize("change", WRONG_ROWS, ids=str)
def test_a_model_with_an_impossible_loss_curve_is_refused(one_epoch, tmp_path: Path, change: dict[str, Any]):
    file = Path(shutil.copy(one_epoch[0] / "model.safetensors", tmp_path))
    with_header(file, lambda header: header["details"]["epochs"][0].update(change))
    with pytest.raises(InputError, match=f"description of the model is damaged .*{next(iter(change))}"):
        load_model(file)


@pytest.mark.parametrize(
    "change",
    [*WRONG_STATES, *({"rows": [row]} for row in WRONG_ROWS), {"precision": {"scale": math.nan}}],
    ids=str,
)
def test_a_checkpoint_of_an_impossible_state_is_refused(
    one_epoch, fabric, pairs, tmp_path: Path, change: dict[str, Any]
):
    folder, options = one_epoch
    file = Path(shutil.copy(folder / "checkpoint.safetensors", tmp_path))

    def apply(header: dict[str, Any]) -> None:
        state = header["state"]
        for key, value in change.items():
            if key == "rows":
                state["rows"] = [{**state["rows"][0], **row} for row in value]
            else:
                (header if key == "precision" else state)[key] = value

    with_header(file, apply)
    with pytest.raises(InputError, match="damaged checkpoint"):
        fit(pairs, NETWORK, options, fabric, checkpoint=file, resume=True)
