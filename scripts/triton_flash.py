"""The forward pass of `flash_attention` in Triton, causal, held against ours: in Triton's interpreter, without a GPU.

    pip install triton  # a gigabyte; it is in no extra of this package
    python scripts/triton_flash.py

A kernel is a function of one block of queries; Triton starts it once for each. Where there is a GPU it is compiled, and
its blocks live in the fast memory of the processor: that is what no loop in Python can have. **Here only the
interpreter was run.** It computes the same with NumPy, block by block, to look at and to compare.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    sys.exit("triton is not installed here: pip install triton (a gigabyte, for Linux)")

import attention_variants as av


@triton.jit
def causal_kernel(q, k, v, context, T, scale, d_k: tl.constexpr, block: tl.constexpr) -> None:  # type: ignore[no-untyped-def]
    """One block of queries of one head: the inner loop of `FlashFunction.forward`."""
    head = tl.program_id(1) * T * d_k
    row = tl.program_id(0) * block + tl.arange(0, block)
    feature = tl.arange(0, d_k)
    queries = tl.load(q + head + row[:, None] * d_k + feature, mask=row[:, None] < T, other=0.0) * scale
    running_max = tl.full((block,), -1e30, tl.float32)
    running_sum = tl.zeros((block,), tl.float32)
    total = tl.zeros((block, d_k), tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * block, block):  # what begins later lies in the future
        column = start + tl.arange(0, block)
        there = column[:, None] < T
        keys = tl.load(k + head + column[:, None] * d_k + feature, mask=there, other=0.0)
        values = tl.load(v + head + column[:, None] * d_k + feature, mask=there, other=0.0)
        scores = tl.dot(queries, tl.trans(keys))
        scores = tl.where((column <= row[:, None]) & (column < T), scores, -1e30)
        new_max = tl.maximum(running_max, tl.max(scores, 1))
        exp = tl.exp(scores - new_max[:, None])
        correction = tl.exp(running_max - new_max)
        running_sum = running_sum * correction + tl.sum(exp, 1)
        total = total * correction[:, None] + tl.dot(exp, values)
        running_max = new_max
    tl.store(context + head + row[:, None] * d_k + feature, total / running_sum[:, None], mask=row[:, None] < T)


def triton_attention(q: Tensor, k: Tensor, v: Tensor, *, block: int = 16) -> Tensor:
    """Causal attention of heads (H, T, d_k) in float32; d_k and block are powers of 2, at least 16."""
    H, T, d_k = q.shape
    context: Any = torch.empty_like(q)
    causal_kernel[triton.cdiv(T, block), H](q, k, v, context, T, d_k**-0.5, d_k, block)
    return context


def main() -> int:
    """Compare, and say by how much they differ; 1 if it is more than rounding."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for H, T, d_k, block in ((4, 50, 32, 16), (2, 33, 16, 16), (1, 64, 16, 32)):
        q, k, v = (torch.randn(H, T, d_k, generator=generator) for _ in range(3))
        ours, _ = av.flash_attention(q, k, v, is_causal=True, block_q=block, block_k=block)
        difference = (triton_attention(q, k, v, block=block) - ours).abs().max().item()
        print(f"H={H}, T={T}, d_k={d_k}, blocks of {block}: largest difference {difference:.1e}")
        worst = max(worst, difference)
    return int(not worst < 1e-5)


if __name__ == "__main__":
    sys.exit(main())
