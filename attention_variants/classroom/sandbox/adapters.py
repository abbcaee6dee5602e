"""A student's layer, asked as if it were a function: what `check_layer` puts between the layer and the questions.

It runs where the student's code runs, and knows no answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: What the four projections are called, as in `attention_variants.MultiHeadAttention`.
PROJECTIONS = ("w_q", "w_k", "w_v", "w_o")


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
        layer = layer_class(q.shape[-1], num_heads).to(q.dtype).eval()
        with torch.no_grad():
            for name in PROJECTIONS:
                projection = getattr(layer, name)
                nn.init.eye_(projection.weight)
                if projection.bias is not None:
                    nn.init.zeros_(projection.bias)
        return layer(q, k, v, mask)

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

        layer = layer_class(q.shape[-1], num_heads)
        layer.load_state_dict(load_example("Dog bites").layer.state_dict())
        with torch.no_grad():
            return layer.eval()(q) if alone else layer.eval()(q, k, v, mask)

    return function
