"""The seven variants of attention: read these first, in order.

Each is one function on one page, cumulative: it keeps everything before it and adds one thing.
All compute ``softmax(q k^T / sqrt(d_k)) v`` and return ``(context, weights)``.
"""

from __future__ import annotations

from ._registry import (
    CAPABILITIES,
    VARIANTS,
    Variant,
    describe_variant,
    get_variant,
    register,
    takes,
    unregister,
    variants_that_take,
)
from .v1_loops import attention_loops
from .v2_matmul import attention_matmul
from .v3_batched import attention_batched
from .v4_masked import attention_masked
from .v5_multihead_loop import multihead_attention_loop
from .v6_multihead import multihead_attention
from .v7_fused import fused_kernel, multihead_attention_fused
from .v7_tiled import attention_tiled

__all__ = [
    "CAPABILITIES",
    "VARIANTS",
    "Variant",
    "attention_batched",
    "attention_loops",
    "attention_masked",
    "attention_matmul",
    "attention_tiled",
    "describe_variant",
    "fused_kernel",
    "get_variant",
    "multihead_attention",
    "multihead_attention_fused",
    "multihead_attention_loop",
    "register",
    "takes",
    "unregister",
    "variants_that_take",
]
