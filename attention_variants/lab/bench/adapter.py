"""What a contender is made ready as, for one problem."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """A contender made ready for one problem: ``adapter(x, memory) -> (output, weights or None)``.

    Attributes
    ----------
    time_first : bool
        Whether it takes and gives (T, B, d_model) in place of (B, T, d_model).
    """

    time_first = False

    def step(self, attend: Callable, x: Tensor, memory: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
        """Run forward and backward.

        Parameters
        ----------
        attend : callable
            The adapter itself, or what ``torch.compile`` made of it.
        x, memory : Tensor
            The inputs, leaves that require gradients; the same tensor in self-attention.
        upstream : Tensor
            The gradient that arrives at the output.

        Returns
        -------
        gradients : tuple of Tensor
            Of ``x``, of ``memory`` (of ``x`` again in self-attention), and of each parameter in use.
        """
        output, _ = attend(x, memory)
        return torch.autograd.grad(output, (x, memory, *self.parameters()), upstream)
