import pytest
import torch

from dewedge.learn.network import PRESETS, NetworkConfig, UNet


def test_the_paper_preset_has_the_published_size():
    with torch.device("meta"):
        network = UNet(PRESETS["paper"])
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(27e6, rel=0.1)  # "about 27 million parameters"


@pytest.mark.parametrize("normalisation", ["none", "instance"])
@pytest.mark.parametrize("resampling", ["fixed", "learned"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_kind_keeps_the_shape_and_reaches_every_weight(normalisation, resampling, residual):
    torch.manual_seed(0)
    config = NetworkConfig(
        channels=3, levels=2, normalisation=normalisation, resampling=resampling, residual=residual
    )
    network = UNet(config)
    volume = torch.randn(2, 1, 8, 12, 16)
    output = network(volume)
    assert output.shape == volume.shape
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


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
    ],
)
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected 1 to|unknown kind"):
        NetworkConfig(**wrong)
