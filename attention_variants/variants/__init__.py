"""The seven variants of attention: read these first, in order.

Each is one function on one page. Each keeps everything of the one before it and adds one thing.

The contract
------------
What holds for all seven stands here once; a page says what is its own.

**Inputs.** ``q`` holds a query for each of T_q positions that look, ``k`` a key and ``v`` a value for each of T_k
positions that can be looked at. Queries and keys are d_k wide, values d_v; from variant 5 on all three are d_model
wide and hold the heads side by side, each of d_k = d_model / num_heads columns. "..." stands for any leading (batch)
dimensions, from variant 3 on. They must be the same in q, k and v: a silent broadcast hides mistakes.

**Result.** ``(context, weights)``, where ``context = softmax(q k^T / sqrt(d_k)) v`` (Vaswani et al., 2017, "Attention
Is All You Need", section 3.2, arXiv:1706.03762) and the weights are the softmax, which runs over the keys: no weight
is less than 0, and those of a query sum to 1. Large scores do no harm as long as the dtype can hold them (in variant
1, which divides by sqrt(d_k) last, the dtype must hold q k^T too: a limit only in float16, whose largest number is
65504).

**Mask.** Boolean, True = may attend, from variant 4 on. It broadcasts to the shape of the weights; without one, every
query may attend to every key. The weight of a blocked key is exactly 0. From variant 5 on, a mask of shape (T_q, T_k)
holds for all heads, and one of shape (B, T_q, T_k) is an error, because B could be batch or heads: write (B, 1, T_q,
T_k).

**A query with no key**, because the mask blocks them all or T_k is 0, has context 0, weights 0 and gradients 0, also if
it holds a NaN. (Called directly with T_k = 0, variant 1 computes nothing, and what it returns requires no gradient.)

**NaN.** A NaN in q, k or v reaches every row that uses it. So does a NaN in a blocked value in variants 4 to 6
(``0 * NaN`` is NaN); in variant 7, a NaN in a blocked key or value may.

**Infinite numbers** in q, k or v give what a softmax in float64 gives: NaN throughout the row if a score is +inf or all
are -inf, which is so for every query that holds an infinity; the weight 0 if a score is -inf; and of an infinite value
an infinite context, or NaN where its weight is 0. Under a mask that is guaranteed of the weights of the allowed keys if
one of their scores is more than -inf, and of the context in variants 1 to 6. It is not if all of them are -inf: then
variants 4 to 6 share the weight among the blocked keys, whose scores they have made the lowest finite number, and
variant 7 gives 0. An infinity in a blocked value does harm as a NaN does, in variant 7 in a blocked key too. Nor is
anything guaranteed of gradients, nor of the context of variant 7 under a mask or where numbers cannot be looked at
(below). All this has been seen on CPUs alone.

**Where numbers cannot be looked at**, under ``torch.compile``, ``torch.export``, ``torch.func``, and in meta and fake
tensors, what would look at them steps aside: no graph break, no error. (Variant 1 looks at numbers by its nature.) One
limit: ``torch.func.vmap`` over masks, or values and masks, alone is an error in variants 4 to 7, which fill the scores
in place, for there would be one tensor of scores and many fillings. Map the queries as well, ``q.expand(n, *q.shape)``;
`MultiHeadAttention` does so itself.

**Dtype, device and gradients** pass through: float16, bfloat16, float32 or float64, one dtype and one device for q, k
and v. The tensors that came in are never changed.

**Errors** say what came, what was expected and, where a later variant can do it, which one. ``TypeError``: q, k or v
is not a floating-point tensor, their dtypes differ, or the mask is not boolean. ``ValueError``: devices differ,
shapes do not fit, the mask does not broadcast or is ambiguous, num_heads does not divide d_model, dropout_p is not a
probability.
"""

from __future__ import annotations

from .registry import (
    CAPABILITIES,
    VARIANTS,
    Attention,
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
    "Attention",
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
