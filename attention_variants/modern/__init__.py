"""After the seven: what language models run today, one change at a time.

The seven variants are one function. These change what goes in (rotary positions), what is kept (a cache, fewer heads
of keys, a window, a latent vector), how it is computed (the whole kernel), or the function itself (linear attention).
Each is a page, equal to what its docstring says, in values and gradients, or not equal, and then it says so.
The contract of `attention_variants.variants` holds here too: shapes, masks (True = may attend), dtypes, errors.
"""

from __future__ import annotations

from .flash import flash_attention
from .grouped_query import grouped_query_attention
from .kv_cache import KVCache
from .latent import latent_attention
from .linear import linear_attention
from .rotary import Llama3Scaling, apply_rotary, rotary_speeds, turn
from .sliding_window import RollingKVCache

__all__ = [
    "KVCache",
    "Llama3Scaling",
    "RollingKVCache",
    "apply_rotary",
    "flash_attention",
    "grouped_query_attention",
    "latent_attention",
    "linear_attention",
    "rotary_speeds",
    "turn",
]
