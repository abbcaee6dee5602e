"""The whole of the fused kernel: blocks of queries and of keys, and a backward pass that keeps no scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_variants.variants.checks import check_flag, check_inputs

from .checks import check_count


def flash_attention(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    is_causal: bool = False,
    block_q: int = 64,
    block_k: int = 64,
) -> tuple[Float[Tensor, "*batch T_q d_v"], None]:
    """Scaled dot-product attention in memory that grows with T, in training too.

    `attention_tiled` looks at a block of keys at a time, for all queries. Here the queries come in blocks too: a block
    of scores is block_q x block_k, whatever T is. For the backward pass one number is kept for each query, the
    logarithm of the sum of its exponentials: from it every block of weights is computed anew, in one step, without a
    running maximum. Under ``is_causal``, blocks that lie wholly in the future are not computed at all.
    Dao et al. (2022), "FlashAttention", algorithms 1 and 4, arXiv:2205.14135; Dao (2023), "FlashAttention-2",
    section 3.1, arXiv:2307.08691. This page is to be read; the fast one is variant 7. In Triton, which compiles such
    loops for a GPU, the forward pass is ``scripts/triton_flash.py``; it runs in Triton's interpreter, without a GPU.
    ``torch.func`` cannot look into a backward pass that is written out: give it `attention_masked`.
    Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
    k : Tensor of shape (..., T_k, d_k)
    v : Tensor of shape (..., T_k, d_v)
    mask : boolean Tensor that broadcasts to (..., T_q, T_k), optional
        True = may attend.
    is_causal : bool, default False
        The same as a causal mask aligned top-left: query i sees keys 0 to i. Combines with ``mask``.
    block_q, block_k : int, default 64
        How many queries and keys to look at in one go.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
        The same as that of `attention_masked`.
    weights : None
        They never exist in one piece.
    """
    check_inputs(4, q, k, v, mask, caller="flash_attention")
    check_count("flash_attention", "block_q", block_q)
    check_count("flash_attention", "block_k", block_k)
    check_flag("flash_attention", "is_causal", is_causal)
    blocks = Blocks(q, k, mask, is_causal, block_q, block_k)
    context, _ = FlashFunction.apply(q / math.sqrt(q.shape[-1]), k, v, blocks)
    return context, None


class FlashFunction(torch.autograd.Function):
    """Both passes of `flash_attention`, block by block; q comes in divided by sqrt(d_k)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Compute context and log_sum; a row of blocks after the other."""
        context = q.new_zeros(*q.shape[:-1], v.shape[-1])
        log_sum = q.new_zeros(*q.shape[:-1], 1)  # (..., T_q, 1): all that the backward pass needs of the scores
        for rows in blocks.rows():
            running_max = q.new_full((*q[..., rows, :].shape[:-1], 1), torch.finfo(q.dtype).min)
            running_sum = torch.zeros_like(running_max)
            for columns, mask in blocks.columns(rows):
                scores = q[..., rows, :] @ k[..., columns, :].transpose(-2, -1)  # (..., block_q, block_k)
                scores = scores.masked_fill(~mask, torch.finfo(q.dtype).min)
                new_max = torch.maximum(running_max, scores.amax(dim=-1, keepdim=True))
                exp = torch.exp(scores - new_max).masked_fill(~mask, 0.0)
                correction = torch.exp(running_max - new_max)
                running_sum = running_sum * correction + exp.sum(dim=-1, keepdim=True)
                context[..., rows, :] = context[..., rows, :] * correction + exp @ v[..., columns, :]
                running_max = new_max
            running_sum = running_sum.clamp(min=1.0)  # the largest adds exp(0) = 1; less is no key
            context[..., rows, :] /= running_sum
            log_sum[..., rows, :] = running_max + running_sum.log()
        ctx.save_for_backward(q, k, v, context, log_sum)
        ctx.blocks = blocks
        return context, log_sum

    @staticmethod
    def backward(ctx: Any, grad_context: Tensor, grad_log_sum: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Compute the gradients of q, k and v; the same blocks, once more."""
        q, k, v, context, log_sum = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        # What softmax takes off every gradient of a row: the mean of them, by weight, which is this dot product.
        # The weights are also the derivative of log_sum, which has a gradient when this pass is differentiated again.
        mean = (grad_context * context).sum(dim=-1, keepdim=True) - grad_log_sum  # (..., T_q, 1)
        for rows in ctx.blocks.rows():
            for columns, mask in ctx.blocks.columns(rows):
                scores = q[..., rows, :] @ k[..., columns, :].transpose(-2, -1)
                scores = (scores - log_sum[..., rows, :]).masked_fill(~mask, -torch.inf)
                weights = torch.exp(scores)  # anew, already divided
                grad_v[..., columns, :] += weights.transpose(-2, -1) @ grad_context[..., rows, :]
                grad_weights = grad_context[..., rows, :] @ v[..., columns, :].transpose(-2, -1)
                grad_scores = weights * (grad_weights - mean[..., rows, :])  # (..., block_q, block_k)
                grad_q[..., rows, :] += grad_scores @ k[..., columns, :]
                grad_k[..., columns, :] += grad_scores.transpose(-2, -1) @ q[..., rows, :]
        return grad_q, grad_k, grad_v, None


class Blocks:
    """Which blocks of the T_q x T_k square are computed, in which order, and what of the mask lies in each.

    Parameters
    ----------
    q, k : Tensor of shape (..., T, d_k)
        Their lengths count.
    mask, is_causal, block_q, block_k
        As `flash_attention` takes them.
    """

    def __init__(self, q: Tensor, k: Tensor, mask: Tensor | None, is_causal: bool, block_q: int, block_k: int) -> None:
        self.T_q, self.T_k, self.device = q.shape[-2], k.shape[-2], q.device
        self.mask, self.is_causal = mask, is_causal
        self.block_q, self.block_k = block_q, block_k

    def rows(self) -> Iterator[slice]:
        """The blocks of queries."""
        for start in range(0, self.T_q, self.block_q):
            yield slice(start, min(start + self.block_q, self.T_q))

    def columns(self, rows: slice) -> Iterator[tuple[slice, Tensor]]:
        """The blocks of keys that some query of a block may see, each with its mask."""
        end = min(rows.stop, self.T_k) if self.is_causal else self.T_k  # what begins later lies in the future
        for start in range(0, end, self.block_k):
            columns = slice(start, min(start + self.block_k, self.T_k))
            mask = self._part(rows, columns)
            if self.is_causal and columns.stop - 1 > rows.start:  # it crosses the diagonal
                queries = torch.arange(rows.start, rows.stop, device=self.device)
                keys = torch.arange(columns.start, columns.stop, device=self.device)
                mask = mask & (queries[:, None] >= keys)  # (block_q, 1) >= (block_k)
            yield columns, mask

    def _part(self, rows: slice, columns: slice) -> Tensor:
        """The mask of a block; an axis of length 1 stands for all queries or keys."""
        if self.mask is None:
            return torch.ones((1, 1), dtype=torch.bool, device=self.device)
        mask = torch.atleast_2d(self.mask)
        mask = mask if mask.shape[-2] == 1 else mask[..., rows, :]
        return mask if mask.shape[-1] == 1 else mask[..., columns]
