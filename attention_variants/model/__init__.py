"""What stands around the variants: masks, lifting, the layer, and the whole Transformer.

The date task, ``model.dates`` and ``model.date_model``, is not imported here: it is loaded when it is used.
"""

from .decoder import Decoder, DecoderLayer
from .embedding import PositionalEncoding, TokenEmbedding, positional_encoding
from .encoder import Encoder, EncoderLayer
from .generate import beam_search, greedy_decode
from .language_layers import LanguageModelLayer, RMSNorm, RotaryAttention, SwiGLU
from .language_model import LanguageModel, LanguageModelConfig
from .layer import MultiHeadAttention
from .lift import lift
from .masks import causal_mask, combine_masks, padding_mask, sliding_window_mask
from .sampling import generate, sampling_probabilities, stream
from .sublayers import AddNorm, FeedForward
from .transformer import Transformer

__all__ = [
    "AddNorm",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "LanguageModel",
    "LanguageModelConfig",
    "LanguageModelLayer",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RMSNorm",
    "RotaryAttention",
    "SwiGLU",
    "TokenEmbedding",
    "Transformer",
    "beam_search",
    "causal_mask",
    "combine_masks",
    "generate",
    "greedy_decode",
    "lift",
    "padding_mask",
    "positional_encoding",
    "sampling_probabilities",
    "sliding_window_mask",
    "stream",
]
