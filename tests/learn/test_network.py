import functools

import pytest
import torch
import torch.nn.functional as F

from dewedge.learn.network import (
    PRESETS,
    NetworkConfig,
    UNet,
    _Convolution,
    _folded,
    _unfolded,
    network_config,
)


def test_the_paper_preset_has_the_published_size():
    with torch.device("meta"):
        network = UNet(PRESETS["paper"])
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(27e6, rel=0.1)  # "about 27 million parameters"


@pytest.mark.parametrize("normalisation", ["none", "instance"])
@pytest.mark.parametrize("resampling", ["fixed", "learned"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("fold", [1, 2])
def test_every_kind_keeps_the_shape_and_reaches_every_weight(normalisation, resampling, residual, fold):
    torch.manual_seed(0)
    config = NetworkConfig(
        channels=3,
        fold=fold,
        levels=2,
        normalisation=normalisation,
        resampling=resampling,
        residual=residual,
    )
    network = UNet(config)
    volume = torch.randn(2, 1, 8, 16, 24)
    output = network(volume)
    assert output.shape == volume.shape
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


def test_folding_keeps_blocks_together_and_unfolding_undoes_it_but_for_an_average():
    volume = torch.arange(2 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 1, 4, 6, 8)
    folded = _folded(volume, 2)
    assert folded.shape == (2, 8, 2, 3, 4)
    torch.testing.assert_close(folded[0, :, 1, 2, 3], volume[0, 0, 2:4, 4:6, 6:8].reshape(8))
    expected = F.avg_pool3d(F.pad(volume, (0, 1, 0, 1, 0, 1), mode="replicate"), 2, stride=1)
    torch.testing.assert_close(_unfolded(folded, 2), expected)


@pytest.mark.parametrize("fold", [2, 3])
def test_channels_that_differ_leave_no_grid(fold):
    """Whatever constant each voxel of a block gets, the unfolded volume is flat, but for the faces."""
    torch.manual_seed(0)
    constants = torch.randn(1, fold**3, 1, 1, 1).expand(-1, -1, 4, 4, 4)
    inside = _unfolded(constants, fold)[..., : 3 * fold, : 3 * fold, : 3 * fold]
    torch.testing.assert_close(inside, inside.mean().expand_as(inside), atol=1e-5, rtol=0)


@pytest.mark.parametrize("fold", [1, 2])
def test_shifts_by_the_networks_multiple_shift_the_output(fold):
    torch.manual_seed(0)
    config = NetworkConfig(channels=2, fold=fold, levels=1, convolutions=1)
    network, n = UNet(config).eval(), config.multiple
    volume = torch.randn(1, 1, n, n, 24 * n)
    with torch.no_grad():
        output, shifted = network(volume), network(volume.roll(n, dims=-1))
    inner = slice(8 * n, 16 * n)
    torch.testing.assert_close(shifted[..., inner], output.roll(n, dims=-1)[..., inner])


@pytest.mark.parametrize("deepest", [1, 2, 3])
@pytest.mark.parametrize("resampling", ["fixed", "learned"])
def test_gradients_in_bfloat16_are_those_of_float32(resampling, deepest):
    """However small the deepest level is, and whatever memory held before."""
    torch.manual_seed(0)
    network = UNet(NetworkConfig(channels=16, levels=2, resampling=resampling))
    volume = torch.randn(2, 1, *[deepest * network.multiple] * 3)

    def gradients(bfloat16: bool) -> list[torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = network(volume).square().sum()
        spoilt = [torch.full((10**n,), torch.nan) for n in (3, 4, 5, 6)]
        del spoilt
        loss.backward()
        return [parameter.grad.clone() for parameter in network.parameters()]

    for exact, rounded in zip(gradients(False), gradients(True), strict=True):
        assert (rounded - exact).norm() <= 0.4 * exact.norm()  # rounding alone reaches 0.2


@pytest.mark.parametrize("depth", [1, 2, 5, 24])
def test_one_small_volume_is_convolved_as_fast_as_several(depth):
    """Not by a slow way of torch's own, and with the same result."""
    torch.manual_seed(0)
    convolution, volume = _Convolution(8, 16), torch.randn(1, 8, depth, 24, 20)

    def run(convolve):
        """Operations, and value and gradients."""
        given = volume.clone().requires_grad_()
        with torch.profiler.profile() as profiler:
            found = convolve(given)
            gradients = torch.autograd.grad(found.square().sum(), [given, *convolution.parameters()])
        return {event.key for event in profiler.key_averages()}, (found.detach(), *gradients)

    plainly = functools.partial(F.conv3d, weight=convolution.weight, bias=convolution.bias, padding=1)
    slow, expected = run(plainly)
    fast, values = run(convolution)
    assert "aten::slow_conv3d_forward" in slow  # or torch no longer has it, and neither need we
    assert "aten::slow_conv3d_forward" not in fast
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)


def test_residual_adds_the_input():
    plain, residual = (UNet(NetworkConfig(channels=2, levels=1, residual=r)) for r in (False, True))
    residual.load_state_dict(plain.state_dict())
    volume = torch.randn(1, 1, 4, 4, 4)
    torch.testing.assert_close(residual(volume), plain(volume) + volume)


def test_without_normalisation_layers_the_output_does_not_depend_on_what_lies_beyond_the_receptive_field():
    torch.manual_seed(0)
    network = UNet(NetworkConfig(channels=2, levels=1, convolutions=1)).eval()
    volume = torch.randn(1, 1, 8, 8, 64)
    changed = volume.clone()
    changed[..., 48:] += 10
    with torch.no_grad():
        torch.testing.assert_close(network(changed)[..., :24], network(volume)[..., :24])


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"channels": 10**9},
        {"channels": 2, "levels": 40},
        {"channels": 2, "normalisation": "foo"},
        {"channels": 2, "dropout_of": "foo"},
    ],
)
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected 1 to|unknown kind"):
        NetworkConfig(**wrong)


@pytest.mark.parametrize(("dropout_of", "whole"), [("channels", True), ("values", False)])
def test_dropout_sets_its_share_to_zero_before_every_activation_of_a_block(dropout_of, whole):
    torch.manual_seed(0)
    config = NetworkConfig(channels=32, levels=1, convolutions=3, dropout=0.4, dropout_of=dropout_of)
    network = UNet(config)
    seen = []
    activations = [m for m in network.encoder.modules() if isinstance(m, torch.nn.LeakyReLU)]
    assert len(activations) == 3
    for activation in activations:
        activation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0] == 0))
    network(torch.randn(4, 1, 8, 8, 8))
    for zero in seen:
        share = zero.float().mean(dim=(2, 3, 4))
        assert share.mean() == pytest.approx(0.4, abs=0.15)
        assert bool(((share == 0) | (share == 1)).all()) == whole
    seen.clear()
    network.eval()(torch.randn(4, 1, 8, 8, 8))
    assert not any(zero.any() for zero in seen)


def test_dropout_of_a_preset_is_the_published_one_unless_given_and_names_no_weight():
    assert network_config("paper", None, 0.3).dropout_of == "channels"
    assert network_config("default", None, 0.3).dropout_of == "values"
    assert network_config("paper", 2, 0.3, "values").dropout_of == "values"
    assert (
        UNet(network_config("paper", 2, 0.3)).state_dict().keys()
        == UNet(network_config("paper", 2, 0.0)).state_dict().keys()
    )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("normalisation", ["none", "instance"])
def test_activation_checkpointing_keeps_less_and_changes_no_gradient(dropout, normalisation):
    torch.manual_seed(0)
    config = NetworkConfig(channels=4, levels=2, dropout=dropout, normalisation=normalisation)
    network = UNet(config)
    volume = torch.randn(1, 1, 8, 8, 16)
    results = []
    for network.activation_checkpointing in (False, True):
        kept: dict[int, int] = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        network.zero_grad()
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network(volume).square().sum()
        loss.backward()
        gradients = [parameter.grad.clone() for parameter in network.parameters()]
        results.append((sum(kept.values()), loss, gradients))
    (whole, loss, gradients), (less, loss_again, gradients_again) = results
    assert less < 0.7 * whole
    torch.testing.assert_close(loss_again, loss, rtol=0, atol=0)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
