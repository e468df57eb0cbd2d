"""Muon: orthogonal steps for convolutions, those of Adam for the rest."""

import pytest
import torch

from dewedge.learn.muon import ADAM_DECAYS, UPDATE_SCALE, Muon, orthogonalised


@pytest.mark.parametrize("shape", [(4, 4), (32, 216), (216, 32), (1, 27)])
def test_singular_values_become_about_one_and_directions_stay(shape):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(0, -2, len(values))  # two orders of magnitude apart
    (result,) = orthogonalised([left * values @ right])
    in_its_own_basis = left.T @ result @ right.T
    assert (in_its_own_basis.diagonal() > 0.65).all() and (in_its_own_basis.diagonal() < 1.25).all()
    assert (in_its_own_basis - torch.diag(in_its_own_basis.diagonal())).abs().max() < 0.01


def test_many_matrices_are_made_orthogonal_as_each_alone():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in [(32, 216), (216, 32), (8, 9), (32, 32), (8, 9), (1, 27)]]
    matrices[1] *= 1e-6
    matrices[4] *= 0
    for together, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        (alone,) = orthogonalised([matrix])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_many_weights_take_the_steps_that_each_takes_alone():
    torch.manual_seed(0)
    shapes = [(8, 4, 3, 3, 3), (4, 8, 1, 1, 1), (8, 4, 3, 3, 3)]
    together, alone = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
    optimisers = [Muon(together, [], lr=0.1), *(Muon([weights], [], lr=0.1) for weights in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = other.grad = torch.randn_like(one)
        for optimiser in optimisers:
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_a_step_does_not_depend_on_the_scale_of_the_gradient(scale):
    torch.manual_seed(0)
    gradient = torch.randn(8, 4, 3, 3, 3)
    weights = torch.nn.Parameter(torch.zeros_like(gradient))
    optimiser = Muon([weights], [], lr=0.01)
    weights.grad = scale * gradient
    optimiser.step()
    size = weights.detach().square().mean().sqrt()
    assert float(size) == pytest.approx(0.01 * UPDATE_SCALE, rel=0.25)
    assert float((weights.detach() * gradient).sum()) < 0


def test_the_others_take_the_steps_of_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimisers = Muon([], [ours], lr=0.01), torch.optim.Adam([theirs], lr=0.01, betas=ADAM_DECAYS)
    for _ in range(10):
        ours.grad = theirs.grad = torch.randn(5)
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(ours, theirs)


def test_a_gradient_of_zero_moves_nothing():
    weights = torch.nn.Parameter(torch.ones(2, 2, 1, 1, 1))
    optimiser = Muon([weights], [], lr=1.0)
    weights.grad = torch.zeros_like(weights)
    optimiser.step()
    torch.testing.assert_close(weights, torch.ones_like(weights))
