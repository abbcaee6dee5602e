"""What training asks of the memory: forward and backward with the matrix of weights, and in blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from attention_variants.lab.measure.memory import peak_memory
from attention_variants.modern import flash_attention
from attention_variants.variants import (
    attention_masked,
    attention_tiled,
    multihead_attention,
    multihead_attention_fused,
)

from .result import Curve

#: The lengths of a run, the width of the one head, and of a block.
LENGTHS, WIDTH, BLOCK = (256, 512, 1024, 2048), 64, 64

#: What is measured, by the name it has in tables.
WAYS: dict[str, Callable] = {
    "attention_masked": attention_masked,
    "multihead_attention": multihead_attention,
    "attention_tiled": partial(attention_tiled, block_size=BLOCK),
    "flash_attention": partial(flash_attention, block_q=BLOCK, block_k=BLOCK),
    "multihead_attention_fused": partial(multihead_attention_fused, need_weights=False),
}


def measure_training(
    lengths: Sequence[int] = LENGTHS, *, report: Callable[[str], None] = lambda what: None
) -> dict[str, Curve]:
    """Count the most bytes that tensors hold at once in a forward and a backward pass, beyond q, k and v.

    One head, one sequence, without a mask. The gradients of q, k and v are among the bytes.

    Parameters
    ----------
    lengths : sequence of int
        The lengths T.
    report : callable, optional
        Is told what goes on, in words.

    Returns
    -------
    training : dict of str to Curve
        By name, bytes against T. They are counted (`peak_memory`): the same on every machine.
    """
    curves = {}
    for name, attend in WAYS.items():
        report(f"memory in training: {name}")
        curves[name] = Curve(list(lengths), [_forward_and_backward(attend, T) for T in lengths])
    return curves


def _forward_and_backward(attend: Callable, T: int) -> int:
    q, k, v = (torch.zeros(T, WIDTH, requires_grad=True) for _ in range(3))

    def step(*inputs: torch.Tensor) -> None:
        attend(*inputs)[0].sum().backward()

    return peak_memory(step, q, k, v)
