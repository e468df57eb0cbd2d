"""Muon, an optimiser for convolutions: steps that go equally far in all directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
UPDATE_SCALE = 0.2  # root mean square of Adam's updates, which learning rates are made for
ADAM_DECAYS = (0.9, 0.999)
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions, Adam for all else.

    The momentum of weights ``(outputs, inputs, d, h, w)``, taken as a matrix of ``outputs`` rows, is made
    orthogonal: its singular values become about 1. The step is scaled to the size that one of Adam has, so
    that both take one learning rate.

    Parameters
    ----------
    weights
        Of convolutions, five axes each.
    others
        Biases, and the weights of the first and the last layer.
    lr
        Learning rate.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", with its
    coefficients and momentum; the scale of the steps from Liu et al. 2025 (arXiv 2502.16982), section 2.2;
    Adam from Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1. torch.optim.Muon takes matrices only.
    """

    def __init__(self, weights: Iterable[Tensor], others: Iterable[Tensor], lr: float) -> None:
        super().__init__([{"params": list(weights)}, {"params": list(others)}], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step with the gradients at hand; there is no closure."""
        for group, update in zip(self.param_groups, (self._muon, self._adam), strict=True):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(update(parameter, parameter.grad), alpha=group["lr"])

    def _muon(self, weights: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[weights]
        if not state:
            state["momentum"] = torch.zeros_like(weights)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        nesterov = gradient.lerp(state["momentum"], MOMENTUM)
        matrix = orthogonalised(nesterov.flatten(1))
        return (UPDATE_SCALE * max(matrix.shape) ** 0.5 * matrix).view_as(weights)

    def _adam(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - ADAM_DECAYS[0])
        state["square"].lerp_(gradient.square(), 1 - ADAM_DECAYS[1])
        mean, square = (
            state[name] / (1 - decay ** float(state["step"]))
            for name, decay in zip(("mean", "square"), ADAM_DECAYS, strict=True)
        )
        return mean / (square.sqrt() + EPSILON)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought to between about 0.7 and 1.2, by Newton-Schulz iterations.

    They go on in the small matrix of products of rows: every iterate is a polynomial of it, times the matrix.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / torch.linalg.matrix_norm(wide).clamp_min(torch.finfo(wide.dtype).tiny)
    products = wide @ wide.T
    identity = torch.eye(len(wide), device=wide.device)
    total = identity
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        factor = a * identity + b * products + c * products @ products
        total = factor @ total
        products = factor @ products @ factor
    result = total @ wide
    return result if len(matrix) <= matrix.shape[1] else result.T
