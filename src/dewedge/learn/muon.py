"""Muon, an optimiser for convolutions: steps that go equally far in all directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
UPDATE_SCALE = 0.2  # root mean square of Adam's updates, which learning rates are made for
ADAM_DECAYS = (0.9, 0.999)
EPSILON = 1e-8
TINY = torch.finfo(torch.float32).tiny


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
        weights, others = (
            [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            for group in self.param_groups
        )
        matrices = orthogonalised([self._nesterov(*pair).flatten(1) for pair in weights])
        for (parameter, _), matrix in zip(weights, matrices, strict=True):
            update = UPDATE_SCALE * max(matrix.shape) ** 0.5 * matrix
            parameter.sub_(update.view_as(parameter), alpha=self.param_groups[0]["lr"])
        for parameter, gradient in others:
            parameter.sub_(self._adam(parameter, gradient), alpha=self.param_groups[1]["lr"])

    def _nesterov(self, weights: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[weights]
        if not state:
            state["momentum"] = torch.zeros_like(weights)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM)

    def _adam(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - ADAM_DECAYS[0])
        state["square"].lerp_(gradient.square(), 1 - ADAM_DECAYS[1])
        steps = float(state["step"])  # on the CPU, wherever the parameter is
        mean, square = (
            state[name] / (1 - decay**steps)
            for name, decay in zip(("mean", "square"), ADAM_DECAYS, strict=True)
        )
        return mean / (square.sqrt() + EPSILON)


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """``(m, n)`` matrices with their singular values brought near 1, by Newton-Schulz iterations.

    They end between about 0.7 and 1.2. The iterations go on in the small matrices of products of rows:
    every iterate is a polynomial of it, times the matrix. Those of equal size are iterated together, which
    spares a GPU many small kernels.

    Source: as `Muon`.

    Examples
    --------
    >>> values = torch.linalg.svdvals(orthogonalised([torch.diag(torch.tensor([1.0, 5.0]))])[0])
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    wide = [matrix / torch.linalg.matrix_norm(matrix).clamp_min(TINY) for matrix in wide]
    by_rows: dict[int, list[int]] = {}
    for place, matrix in enumerate(wide):
        by_rows.setdefault(len(matrix), []).append(place)
    for places in by_rows.values():
        factors = _polynomials(torch.stack([wide[place] @ wide[place].T for place in places]))
        for place, factor in zip(places, factors, strict=True):
            wide[place] = factor @ wide[place]
    return [
        result if matrix.shape[0] <= matrix.shape[1] else result.T
        for result, matrix in zip(wide, matrices, strict=True)
    ]


def _polynomials(products: Tensor) -> Tensor:
    """``(b, m, m)`` what `ITERATIONS` of Newton-Schulz multiply matrices with, of their products of rows."""
    identity = torch.eye(products.shape[-1], device=products.device)
    total = identity
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        factor = a * identity + b * products + c * products @ products
        total = factor @ total
        products = factor @ products @ factor
    return total
