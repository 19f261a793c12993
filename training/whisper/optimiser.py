"""Muon for the encoder's matrices, AdamW for everything else.

Muon turns a matrix's momentum into the nearest orthogonal matrix before the step, so that all directions are learnt
at the same pace; its steps are scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_ITERATIONS = 5


class Optimiser:
    """Both together; `ENCODER` is how much faster the encoder goes than the rest."""

    ENCODER = 1.5

    def __init__(self, model: nn.Module, helpers: nn.Module) -> None:
        encoder = {name: p for name, p in model.encoder.named_parameters() if p.requires_grad}
        self._matrices = [p for name, p in encoder.items() if name.startswith("layers") and p.dim() == 2]
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        matrices = set(map(id, self._matrices))
        rest = [p for p in (*model.parameters(), *helpers.parameters()) if p.requires_grad and id(p) not in matrices]
        self.parameters = [*self._matrices, *rest]
        self._adam = torch.optim.AdamW(_groups(rest), lr=0.0, betas=(0.9, 0.98), fused=True)

    def step(self, rate: float) -> None:
        """Clip the gradients, take a step at this learning rate, forget the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._muon(rate * self.ENCODER)
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _muon(self, rate: float) -> None:
        gradients = [p.grad for p in self._matrices if p.grad is not None]
        torch._foreach_lerp_(self._momenta, gradients, 0.05)
        wanted = torch._foreach_lerp(gradients, self._momenta, 0.95)
        for shape in {p.shape for p in self._matrices}:
            same = [i for i, p in enumerate(self._matrices) if p.shape == shape]
            steps = orthogonal(torch.stack([wanted[i] for i in same])) * (-rate * 0.2 * max(shape) ** 0.5)
            for i, step in zip(same, steps, strict=True):
                self._matrices[i].mul_(1 - rate * 0.01).add_(step)


def _groups(parameters: Iterable[Tensor]) -> list[dict[str, object]]:
    """Weight decay for matrices only."""
    both: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parameter in parameters:
        both[parameter.dim() > 1].append(parameter)
    return [{"params": both[1], "weight_decay": 0.01}, {"params": both[0], "weight_decay": 0.0}]


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrix of each in a stack, by Newton and Schulz's iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-1, -2) if tall else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(_ITERATIONS):
        square = x @ x.transpose(-1, -2)
        x = a * x + (b * square + c * square @ square) @ x
    return (x.transpose(-1, -2) if tall else x).float()
