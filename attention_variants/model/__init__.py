"""What stands around the variants: masks, lifting and the layer."""

from .layer import MultiHeadAttention
from .lift import lift
from .masks import causal_mask, combine_masks, padding_mask, sliding_window_mask

__all__ = [
    "MultiHeadAttention",
    "causal_mask",
    "combine_masks",
    "lift",
    "padding_mask",
    "sliding_window_mask",
]
