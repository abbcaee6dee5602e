"""Seven versions of attention, one change at a time.

``import attention_variants as av`` costs little more than ``import torch``: what draws, measures or grades
is loaded when it is used.

- ``av.VARIANTS[1]`` ... ``av.VARIANTS[7]``: the functions themselves, read them first
- ``av.MultiHeadAttention``, ``av.lift``, the masks: what stands around them
- ``av.Transformer``: the whole machine, every attention in it any of the seven; ``av.read_date`` asks a trained one
- ``av.compare``, ``av.trace``, ``av.show``, ``av.diff``, ``av.plot_weights``, ``av.load_example``: look and measure
- ``av.animate``, ``av.explore``, ``av.pretrained``: see it move, look around in it, and run it inside a real model
- ``av.check``: write a step yourself and hear what is wrong with it
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .model import (
    AddNorm,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    PositionalEncoding,
    TokenEmbedding,
    Transformer,
    beam_search,
    causal_mask,
    combine_masks,
    greedy_decode,
    lift,
    padding_mask,
    positional_encoding,
    sliding_window_mask,
)
from .variants import (
    VARIANTS,
    attention_batched,
    attention_loops,
    attention_masked,
    attention_matmul,
    attention_tiled,
    fused_kernel,
    get_variant,
    multihead_attention,
    multihead_attention_fused,
    multihead_attention_loop,
)

if TYPE_CHECKING:
    from .classroom.check import check
    from .classroom.check_layer import check_layer
    from .classroom.misconceptions import MISCONCEPTIONS
    from .lab.animation.animate import animate
    from .lab.code.source import code_lines, diff, show
    from .lab.code.trace import trace
    from .lab.examples import list_examples, load_batch, load_example
    from .lab.explore import explore
    from .lab.measure.compare import compare
    from .lab.measure.same import same_answer
    from .lab.plots.chain import plot_chain
    from .lab.plots.colors import COLORS
    from .lab.plots.dates import plot_reading
    from .lab.plots.diagrams import plot_staircase, plot_transformer
    from .lab.plots.difference import plot_difference
    from .lab.plots.heads import plot_heads
    from .lab.plots.weights import plot_weights
    from .lab.pretrained import pretrained
    from .model.date_model import date_accuracy, date_model, load_date_model, read_date, train_dates
    from .model.two_lookups import two_lookups

__version__ = "0.1.0"

#: Where the names live that are loaded when they are first used.
_LAZY = {
    "COLORS": "lab.plots.colors",
    "MISCONCEPTIONS": "classroom.misconceptions",
    "animate": "lab.animation.animate",
    "check": "classroom.check",
    "check_layer": "classroom.check_layer",
    "code_lines": "lab.code.source",
    "compare": "lab.measure.compare",
    "date_accuracy": "model.date_model",
    "date_model": "model.date_model",
    "diff": "lab.code.source",
    "explore": "lab.explore",
    "list_examples": "lab.examples",
    "load_batch": "lab.examples",
    "load_date_model": "model.date_model",
    "load_example": "lab.examples",
    "plot_chain": "lab.plots.chain",
    "plot_difference": "lab.plots.difference",
    "plot_heads": "lab.plots.heads",
    "plot_reading": "lab.plots.dates",
    "plot_staircase": "lab.plots.diagrams",
    "plot_transformer": "lab.plots.diagrams",
    "plot_weights": "lab.plots.weights",
    "pretrained": "lab.pretrained",
    "read_date": "model.date_model",
    "same_answer": "lab.measure.same",
    "show": "lab.code.source",
    "trace": "lab.code.trace",
    "train_dates": "model.date_model",
    "two_lookups": "model.two_lookups",
}

__all__ = [
    "COLORS",
    "MISCONCEPTIONS",
    "VARIANTS",
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
    "animate",
    "attention_batched",
    "attention_loops",
    "attention_masked",
    "attention_matmul",
    "attention_tiled",
    "beam_search",
    "causal_mask",
    "check",
    "check_layer",
    "code_lines",
    "combine_masks",
    "compare",
    "date_accuracy",
    "date_model",
    "diff",
    "explore",
    "fused_kernel",
    "get_variant",
    "greedy_decode",
    "lift",
    "list_examples",
    "load_batch",
    "load_date_model",
    "load_example",
    "multihead_attention",
    "multihead_attention_fused",
    "multihead_attention_loop",
    "padding_mask",
    "plot_chain",
    "plot_difference",
    "plot_heads",
    "plot_reading",
    "plot_staircase",
    "plot_transformer",
    "plot_weights",
    "positional_encoding",
    "pretrained",
    "read_date",
    "same_answer",
    "show",
    "sliding_window_mask",
    "trace",
    "train_dates",
    "two_lookups",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
