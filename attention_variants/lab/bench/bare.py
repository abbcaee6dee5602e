"""The bare operations: what all times of a race are divided by."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapter import Adapter
from .workloads import Problem


class BareOperations(Adapter):
    """Four matrix products and the fused kernel, on tensors that lie ready: all times are divided by theirs.

    Nothing flows from one to the next, so nothing is split, merged, copied or checked. (What lies ready are the right
    numbers: the last product gives the right output.) Who packs three products into one, or finds in the cache what it
    has just written, can come out a little below.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.layer, self.mask, self.is_causal = problem.layer, problem.mask, problem.workload.mask == "causal"
        B, H = problem.workload.batch, problem.workload.heads
        with torch.no_grad():
            q, k, v = self._project(problem.x, problem.memory)
            q, k, v = (x.view(B, x.shape[1], H, -1).transpose(1, 2).contiguous() for x in (q, k, v))
            context = self._attend(q, k, v).transpose(1, 2).flatten(2)
        self.prepared = [x.contiguous().requires_grad_() for x in (q, k, v, context)]

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, None]:
        """Do the work, and return the last product."""
        *_, output = self._all(x, memory)
        return output, None

    def step(self, attend: Callable, x: Tensor, memory: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
        """The same forward and backward, each piece with a gradient that lies ready."""
        outputs = self._all(x, memory)
        with torch.no_grad():
            arriving = [x_out if x_out.shape != upstream.shape else upstream for x_out in outputs]
        return torch.autograd.grad(outputs, (x, memory, *self.prepared, *self.parameters()), arriving)

    def _all(self, x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        q, k, v, context = self.prepared
        return (*self._project(x, memory), self._attend(q, k, v), self.layer.w_o(context))

    def _project(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.layer.w_q(x), self.layer.w_k(memory), self.layer.w_v(memory)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = None if self.is_causal else self.mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.is_causal)
