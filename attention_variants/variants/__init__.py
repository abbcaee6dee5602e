"""The seven variants of attention: read these first, in order.

Each is one function on one page, cumulative: it keeps everything before it and adds one thing.
All compute ``softmax(q k^T / sqrt(d_k)) v`` and return ``(context, weights)``.
"""

from __future__ import annotations

from collections.abc import Callable

from .v1_loops import attention_loops
from .v2_matmul import attention_matmul
from .v3_batched import attention_batched
from .v4_masked import attention_masked
from .v5_multihead_loop import multihead_attention_loop
from .v6_multihead import multihead_attention
from .v7_fused import fused_kernel, multihead_attention_fused
from .v7_tiled import attention_tiled

__all__ = [
    "VARIANTS",
    "attention_batched",
    "attention_loops",
    "attention_masked",
    "attention_matmul",
    "attention_tiled",
    "fused_kernel",
    "get_variant",
    "multihead_attention",
    "multihead_attention_fused",
    "multihead_attention_loop",
]

#: The staircase: number -> function.
VARIANTS: dict[int, Callable] = {
    1: attention_loops,
    2: attention_matmul,
    3: attention_batched,
    4: attention_masked,
    5: multihead_attention_loop,
    6: multihead_attention,
    7: multihead_attention_fused,
}


def get_variant(variant: int) -> Callable:
    """Look up a variant by its number.

    Parameters
    ----------
    variant : int
        1 to 7.

    Returns
    -------
    function : callable
        The variant's function.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    if not isinstance(variant, int) or isinstance(variant, bool) or variant not in VARIANTS:
        listed = ", ".join(f"{number} {function.__name__}" for number, function in VARIANTS.items())
        raise ValueError(f"variant must be one of 1 to 7 ({listed}); got {variant!r}.")
    return VARIANTS[variant]
