"""A student's layer, asked as if it were a function: what `check_layer` puts between the layer and the questions.

It runs where the student's code runs, and knows no answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .signature import expect_signature

#: What the four projections are called, as in `attention_variants.MultiHeadAttention`.
PROJECTIONS = ("w_q", "w_k", "w_v", "w_o")
#: How a layer is made and called, as code.
CONSTRUCTION = "Layer(d_model, num_heads)"
CALL, CALL_ALONE = "layer(query, key, value, mask)", "layer(query)"


def heads_alone(layer_class: Callable[..., nn.Module]) -> Callable:
    """Make a layer whose projections do nothing: what is left is multi-head attention, variant 6.

    Parameters
    ----------
    layer_class : callable
        ``layer_class(d_model, num_heads)`` makes the layer.

    Returns
    -------
    function : callable
        With the signature of variant 6.
    """

    def function(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, num_heads: int = 1) -> Any:
        layer = _made(layer_class, q.shape[-1], num_heads).to(q.dtype).eval()
        with torch.no_grad():
            for name in PROJECTIONS:
                projection = getattr(layer, name)
                nn.init.eye_(projection.weight)
                if projection.bias is not None:
                    nn.init.zeros_(projection.bias)
        return _called(layer, CALL, q, k, v, mask)

    return function


def with_real_weights(layer_class: Callable[..., nn.Module]) -> Callable:
    """Load the real layer's weights into a layer.

    Parameters
    ----------
    layer_class : callable
        ``layer_class(d_model, num_heads)`` makes the layer.

    Returns
    -------
    function : callable
        With the signature of variant 6; q, k and v are what enters the layer as query, key and value. With
        ``alone=True`` only the query is passed, and the layer is to take it for the key and the value.
    """

    def function(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, num_heads: int = 1, alone: bool = False
    ) -> Any:
        from attention_variants.lab.examples import load_example

        layer = _made(layer_class, q.shape[-1], num_heads)
        layer.load_state_dict(load_example("Dog bites").layer.state_dict())
        with torch.no_grad():
            return _called(layer.eval(), CALL_ALONE, q) if alone else _called(layer.eval(), CALL, q, k, v, mask)

    return function


def _made(layer_class: Callable[..., nn.Module], d_model: int, num_heads: int) -> nn.Module:
    expect_signature(layer_class, (d_model, num_heads), {}, of="class", call=CONSTRUCTION)
    return layer_class(d_model, num_heads)


def _called(layer: nn.Module, call: str, *inputs: Tensor | None) -> Any:
    expect_signature(getattr(layer, "forward", layer), inputs, {}, of="layer", call=call)
    return layer(*inputs)
