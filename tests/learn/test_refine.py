from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.fill import fill_wedge
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.precision import preferred_precision
from dewedge.learn.refine import MOST_TILES, RefineOptions, refine, tiles_that_fit
from dewedge.physics.wedge import wedge_mask

ALL = TiltRange(-90, 90)
ASYMMETRIC = TiltRange(-50, 62)


class Pointwise(nn.Module):
    """A network without a receptive field, a UNet in all that `refine` asks for."""

    def __init__(self, function=lambda v: v, multiple=1):
        super().__init__()
        self.function, self.multiple = function, multiple

    def forward(self, volume):
        return self.function(volume)


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small_unet(levels=1, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(NetworkConfig(channels=4, levels=levels))


def refined(sources, network, tilt_range=ALL, *, input_std=1.0, **options):
    output = np.full(sources[0].shape, np.nan, dtype=np.float32)
    names = {field.name for field in fields(RefineOptions)} & options.keys()
    chosen = RefineOptions(**{name: options.pop(name) for name in names})
    refine(sources, output, network, tilt_range, chosen, input_std=input_std, **options)
    return output


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 23)] * 3).filter(lambda s: np.prod(s) > 1),
    multiple=st.sampled_from([1, 2, 4]),
    edge=st.integers(1, 4),
    overlap=st.integers(0, 7),
    tiles_at_once=st.integers(1, 3),
)
def test_with_the_identity_for_a_network_the_output_is_the_input(
    shape, multiple, edge, overlap, tiles_at_once
):
    tile = multiple * (edge + -(-overlap // multiple))
    source = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    output = refined(
        [source], Pointwise(multiple=multiple), tile=tile, overlap=overlap, tiles_at_once=tiles_at_once
    )
    np.testing.assert_allclose(output, source, atol=2e-6 * source.max())


@pytest.mark.parametrize("shape", [(9, 4, 11), (8, 5, 10), (7, 6, 12), (12, 3, 9)])
@pytest.mark.parametrize("tilt_range", [ASYMMETRIC, TiltRange(-45, 45), TiltRange(-60, 20)])
def test_the_wedge_is_cut_as_by_the_whole_volumes_spectrum(shape, tilt_range):
    three_d = wedge_mask(shape, tilt_range)
    two_d = wedge_mask((shape[0], 1, shape[2]), tilt_range)
    assert torch.equal(three_d, two_d.expand_as(three_d))
    source = noise(shape) + 3
    output = refined([source], Pointwise(), tilt_range, tile=4, overlap=2)
    np.testing.assert_allclose(output, cut_wedge(torch.from_numpy(source), three_d), atol=1e-5)
    assert np.abs(output - source).max() > 0.1


def test_a_turned_wedge_is_cut_as_by_the_whole_volumes_spectrum():
    shape, tilt_range = (24, 72, 24), TiltRange(-60, 50, 8)
    source = noise(shape) + 3
    output = refined([source], Pointwise(), tilt_range, tile=16, overlap=4)
    expected = cut_wedge(torch.from_numpy(source), wedge_mask(shape, tilt_range)).numpy()
    level = cut_wedge(torch.from_numpy(source), wedge_mask(shape, TiltRange(-60, 50))).numpy()
    middle = np.s_[:, 12:-12]
    errors = [np.square(output[middle] - other[middle]).mean() for other in (expected, level)]
    assert errors[0] < 0.2 * errors[1]


def test_the_network_gets_the_standard_deviation_and_gives_back_the_grey_scale():
    seen = []

    def record(volume):
        seen.append(volume.clone())
        return volume

    source = 1e4 + 250 * noise((16, 16, 16))
    output = np.empty_like(source)
    options = RefineOptions(tile=16, overlap=0)
    (scale,) = refine([source], output, Pointwise(record), ALL, options, input_std=0.7)
    assert float(seen[0].mean()) == pytest.approx(0, abs=1e-5)
    assert float(seen[0].std(correction=0)) == pytest.approx(0.7, rel=1e-5)
    assert scale == pytest.approx((source.mean(dtype=np.float64), source.std(dtype=np.float64)), rel=1e-6)
    np.testing.assert_allclose(output, source, rtol=1e-6)


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0), (1e6, 0), (1, 1e5), (300, -2e5)])
def test_grey_scale_and_offset_of_the_source_pass_to_the_output(factor, offset):
    source = noise((16, 13, 18))
    network = small_unet()
    network.head.bias.data.fill_(0.3)
    options = {"tilt_range": ASYMMETRIC, "tile": 12, "overlap": 4}
    expected = refined([source], network, **options)
    scaled = (source.astype(np.float64) * factor + offset).astype(np.float32)
    atol = 1e-5 * factor * expected.std() + 1e-6 * abs(offset)
    np.testing.assert_allclose(refined([scaled], network, **options), factor * expected + offset, atol=atol)


def test_half_sets_are_refined_one_by_one_and_averaged():
    halves = [noise((12, 17, 10), seed=1) * 3 + 2, noise((12, 17, 10), seed=2) * 5 - 1]
    network = small_unet()
    options = {"tilt_range": ASYMMETRIC, "tile": 8, "overlap": 2}
    average = np.mean([refined([half], network, **options) for half in halves], axis=0)
    np.testing.assert_allclose(refined(halves, network, **options), average, atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_averaging_over_rotations_keeps_what_is_equivariant(turns):
    source = noise((8, 8, 16))
    one = refined([source], Pointwise(), TiltRange(-60, 60))
    many = refined([source], Pointwise(), TiltRange(-60, 60), average_rotations=turns)
    np.testing.assert_allclose(many, one, atol=1e-5)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_averaging_over_shifts_takes_out_stripes_along_an_axis(axis):
    """Of a network that predicts every other voxel too bright, as one that unfolds blocks may."""

    def striped(volume):
        places = torch.arange(volume.shape[axis]).reshape([-1 if i == axis else 1 for i in range(5)])
        return volume * torch.where(places % 2 == 0, 1.5, 0.5)

    source = noise((8, 12, 16))
    options = {"tile": 8, "overlap": 4}
    identity = refined([source], Pointwise(multiple=2), **options)
    network = Pointwise(striped, multiple=2)
    assert np.abs(refined([source], network, **options) - identity).max() > 0.5
    np.testing.assert_allclose(refined([source], network, average_shifts=2, **options), identity, atol=1e-5)


@pytest.mark.parametrize(("tilt_range", "turns"), [(TiltRange(-60, 60), 4), (ASYMMETRIC, 2)])
def test_averaging_makes_the_result_turn_with_its_source(tilt_range, turns):
    """By 180 degrees about the tilt axis always, about z only where that leaves the wedge where it is."""
    network, source = small_unet(), noise((8, 8, 16))
    about_y, about_z = (0, 2), (1, 2)
    options = {"average_rotations": 4, "average_shifts": 2}
    result = refined([source], network, tilt_range, **options)
    turned = refined([np.flip(source, about_y)], network, tilt_range, **options)
    np.testing.assert_allclose(np.flip(turned, about_y), result, atol=1e-3)
    turned = refined([np.flip(source, about_z)], network, tilt_range, **options)
    difference = np.abs(np.flip(turned, about_z) - result).max()
    assert (difference < 1e-3) == (turns == 4)


def test_filling_the_wedge_keeps_what_was_measured():
    source, tilt_range = noise((16, 8, 17)), TiltRange(-60, 60)
    source.flags.writeable = False  # as a file that is mapped for reading
    options = {
        "options": RefineOptions(tile=16, overlap=4),
        "input_std": 1.0,
        "device": torch.device("cpu"),
    }
    filled = fill_wedge(source, small_unet(), tilt_range, **options)
    predicted = refined([source], small_unet(), tilt_range, tile=16, overlap=4)
    mask = wedge_mask(source.shape, tilt_range)
    for volume, part in ((source, mask), (predicted, 1 - mask)):
        expected = cut_wedge(torch.tensor(volume), part)
        torch.testing.assert_close(cut_wedge(torch.from_numpy(filled), part), expected, atol=1e-4, rtol=0)


def test_renormalised_filling_does_not_depend_on_how_strong_the_prediction_is():
    """As where noise was taken from it; and the result has the range of what was measured."""

    class Scaled(UNet):
        gain, offset = 1.0, 0.0

        def forward(self, volume: torch.Tensor) -> torch.Tensor:
            return self.gain * super().forward(volume) + self.offset

    source = 3 * noise((16, 8, 17)) + 40
    options = {
        "options": RefineOptions(tile=16, overlap=4),
        "input_std": 1.0,
        "device": torch.device("cpu"),
    }
    network = Scaled(small_unet().config)
    network.load_state_dict(small_unet().state_dict())
    once = fill_wedge(source, network, TiltRange(-60, 60), **options, renormalise=True)
    plain = fill_wedge(source, network, TiltRange(-60, 60), **options)
    network.gain, network.offset = 0.2, 0.7
    again = fill_wedge(source, network, TiltRange(-60, 60), **options, renormalise=True)
    np.testing.assert_allclose(again, once, atol=1e-3)
    np.testing.assert_allclose(np.percentile(once, [4, 96]), np.percentile(source, [4, 96]), rtol=1e-4)
    faint = fill_wedge(source, network, TiltRange(-60, 60), **options)
    assert np.abs(faint - plain).max() > 0.1


def test_memory_mapped_files_in_and_out(tmp_path):
    source = noise((10, 12, 14))
    np.save(tmp_path / "source.npy", source)
    mapped = np.load(tmp_path / "source.npy", mmap_mode="r")
    output = np.lib.format.open_memmap(tmp_path / "output.npy", "w+", np.float32, source.shape)
    refine([mapped], output, small_unet(), ASYMMETRIC, RefineOptions(tile=8, overlap=2), input_std=1)
    output.flush()
    expected = refined([source], small_unet(), ASYMMETRIC, tile=8, overlap=2)
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.float16, ">f4"])
def test_sources_of_other_types(dtype):
    source = (20 * noise((8, 9, 10))).astype(dtype)
    output = refined([source], Pointwise(), tile=8, overlap=2)
    np.testing.assert_allclose(output, source.astype(np.float32), atol=1e-4)


def test_it_is_deterministic_and_batches_do_not_matter():
    source = noise((18, 20, 22))
    options = {"tilt_range": ASYMMETRIC, "tile": 12, "overlap": 4}
    first = refined([source], small_unet(), **options)
    np.testing.assert_array_equal(refined([source], small_unet(), **options), first)
    np.testing.assert_allclose(refined([source], small_unet(), tiles_at_once=3, **options), first, atol=1e-5)


@pytest.mark.parametrize("most", [1, 24 * 12 * 28, 24 * 12 * 40])
@pytest.mark.parametrize("overlap", [0, 4, 8])
def test_columns_of_tiles_change_nothing(monkeypatch, most, overlap):
    """However many tiles along x are in memory together, also where three of them overlap."""
    source = noise((22, 17, 61)) + 50
    options = {"tilt_range": ASYMMETRIC, "tile": 12, "overlap": overlap}
    expected = refined([source], small_unet(), **options)
    monkeypatch.setattr("dewedge.learn.refine.COLUMN_VOXELS", most)
    calls = []
    output = refined([source], small_unet(), on_tile=lambda *call: calls.append(call), **options)
    np.testing.assert_allclose(output, expected, atol=2e-5)
    assert [done for done, _ in calls] == list(range(1, calls[-1][1] + 1))


def test_a_gpu_takes_as_many_tiles_at_once_as_half_of_its_free_memory_holds(monkeypatch):
    gpu, free = torch.device("cuda"), 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    network = small_unet()
    assert tiles_that_fit(network, 128**3, torch.device("cpu")) == 1
    assert 1 < tiles_that_fit(network, 64**3, gpu) <= MOST_TILES
    assert tiles_that_fit(network, 16**3, gpu) == MOST_TILES
    assert tiles_that_fit(network, 512**3, gpu) == 1


def test_tiles_leave_no_seams():
    """Farther than its receptive field from their borders, tiles hold what the network makes of the whole."""
    source = noise((24, 44, 64))
    network = small_unet()
    # In voxels: four convolutions at full resolution, two at half of it, and two voxels that share a mean.
    reach = 4 + 2 * 2 + 1
    with torch.no_grad():
        scaled = torch.from_numpy((source - source.mean()) / source.std())
        cut = cut_wedge(scaled, wedge_mask(source.shape, ASYMMETRIC))
        whole = network(cut[None, None])[0, 0].numpy() * source.std() + source.mean()
    cut_apart = refined([source], network, ASYMMETRIC, tile=32, overlap=0)
    overlapping = refined([source], network, ASYMMETRIC, tile=32, overlap=16)

    far_y, far_x = np.ones(44, bool), np.ones(64, bool)
    far_y[22 - reach : 22 + reach] = far_x[32 - reach : 32 + reach] = (
        False  # the volume's own borders are shared
    )
    np.testing.assert_allclose(cut_apart[:, far_y][:, :, far_x], whole[:, far_y][:, :, far_x], atol=1e-5)
    error = [np.sqrt(np.mean((tiled - whole) ** 2)) / whole.std() for tiled in (cut_apart, overlapping)]
    assert error[0] > 0.1
    assert error[1] < 0.1 * error[0]


def test_bfloat16_stays_close():
    source = noise((16, 16, 16))
    exact = refined([source], small_unet(), tile=16, overlap=8)
    rounded = refined([source], small_unet(), tile=16, overlap=8, precision="bf16-mixed")
    assert 0 < np.abs(rounded - exact).max() < 0.1 * exact.std()


def test_the_preferred_precision_is_one_fabric_takes():
    assert preferred_precision(torch.device("cpu")) in ("bf16-mixed", "32-true")
    assert preferred_precision(torch.device("meta")) == "32-true"


def test_progress_is_told_tile_by_tile():
    calls = []
    options = {"tile": 8, "overlap": 4, "tiles_at_once": 3}
    halves = [noise((12, 12, 20), seed=i) for i in range(2)]
    refined(halves, Pointwise(), on_tile=lambda done, total: calls.append((done, total)), **options)
    assert calls[-1] == (2 * 2 * 2 * 4, 2 * 2 * 2 * 4)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_wrong_sources_are_refused():
    bad = noise((8, 8, 8))
    bad[3, 4, 5] = np.nan
    with pytest.raises(InputError, match=r"x\.mrc: holds NaN"):
        refined([bad], Pointwise(), names=["x.mrc"])
    with pytest.raises(InputError, match=r"x\.mrc: all voxels are the same"):
        refined([np.zeros((8, 8, 8), np.float32)], Pointwise(), names=["x.mrc"])
    with pytest.raises(InputError, match=r"b\.mrc: shape \(8, 8, 9\)"):
        refined([noise((8, 8, 8)), noise((8, 8, 9))], Pointwise(), names=["a.mrc", "b.mrc"])
    with pytest.raises(InputError, match="expected a multiple of 2"):
        refined([noise((8, 8, 8))], small_unet(), tile=7, overlap=0)
    with pytest.raises(ValueError, match="output of shape"):
        refine(
            [noise((8, 8, 8))],
            np.empty((8, 8, 9), np.float32),
            Pointwise(),
            ALL,
            RefineOptions(),
            input_std=1,
        )


def with_beads(shape=(12, 20, 22), seed=0):
    source = noise(shape, seed)
    source[4:7, 5:8, 9:12] = -60
    return source


@pytest.mark.parametrize("sources", [1, 2])
def test_what_is_clipped_is_given_back(sources):
    volumes = [100 + 3 * with_beads(seed=seed) for seed in range(sources)]
    output = refined(volumes, Pointwise(), clip=6.0, tile=8, overlap=2)
    np.testing.assert_allclose(output, np.mean(volumes, axis=0), atol=1e-3)


def test_the_network_sees_clipped_voxels_on_the_scale_of_the_others():
    seen = []

    def record(volume):
        seen.append(volume)
        return volume

    source = with_beads()
    refined([source], Pointwise(record), clip=6.0, input_std=0.5, tile=24, overlap=0)
    (tile,) = seen
    assert tile.abs().max() == pytest.approx(3.0, abs=1e-4)
    assert tile[0, 0, :3].std() == pytest.approx(0.5, rel=0.05)


def test_beads_leave_nothing_behind_where_the_network_passes_nothing_on():
    source = with_beads()
    output = refined([source], Pointwise(torch.zeros_like), clip=6.0, tile=8, overlap=2)
    beads = source < -50
    assert (output[beads] < -45).all()
    assert np.ptp(output[~beads]) < 1e-5


def test_columns_give_back_once(monkeypatch):
    monkeypatch.setattr("dewedge.learn.refine.COLUMN_VOXELS", 1)
    source = with_beads()
    np.testing.assert_allclose(refined([source], Pointwise(), clip=6.0, tile=8, overlap=3), source, atol=1e-4)
