"""What stands around the variants: masks, lifting, the layer, and the whole Transformer.

The date task, ``model.dates`` and ``model.date_model``, is not imported here: it is loaded when it is used.
"""

from .decoder import Decoder, DecoderLayer
from .embedding import PositionalEncoding, TokenEmbedding, positional_encoding
from .encoder import Encoder, EncoderLayer
from .generate import beam_search, greedy_decode
from .layer import MultiHeadAttention
from .lift import lift
from .masks import causal_mask, combine_masks, padding_mask, sliding_window_mask
from .sublayers import AddNorm, FeedForward
from .transformer import Transformer

__all__ = [
    "AddNorm",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "MultiHeadAttention",
    "PositionalEncoding",
    "TokenEmbedding",
    "Transformer",
    "beam_search",
    "causal_mask",
    "combine_masks",
    "greedy_decode",
    "lift",
    "padding_mask",
    "positional_encoding",
    "sliding_window_mask",
]
