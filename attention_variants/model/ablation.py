"""A language model without some of its heads, or without what one head gives to one projection of the next layer."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor

from attention_variants.variants.checks import check_kind

from .language_model import LanguageModel


def without_heads(model: LanguageModel, heads: Iterable[tuple[int, int]]) -> LanguageModel:
    """Copy a model, and let some of its heads add nothing: their rows of the output projection become 0.

    Parameters
    ----------
    model : LanguageModel
    heads : iterable of (int, int)
        Layer and head, both from 0.

    Returns
    -------
    model : LanguageModel
        A copy. The other heads, and the weights of those that are off, are computed as before.

    Raises
    ------
    TypeError
        If these are not pairs of whole numbers.
    ValueError
        If there is no such layer or head.
    """
    check_kind("without_heads", "model", model, LanguageModel)
    model, config = deepcopy(model), model.config
    for pair in heads:
        if not isinstance(pair, tuple | list) or [type(number) for number in pair] != [int, int]:
            raise TypeError(
                f"without_heads: heads must be pairs of a layer and a head, such as [(1, 0)]; got {pair!r}."
            )
        layer, head = pair
        if not (0 <= layer < config.num_layers and 0 <= head < config.num_heads):
            raise ValueError(
                f"without_heads: there are layers 0 to {config.num_layers - 1} with heads 0 to {config.num_heads - 1}; "
                f"got layer {layer}, head {head}."
            )
        columns = slice(head * config.d_k, (head + 1) * config.d_k)
        block: Any = model.layers[layer]
        with torch.no_grad():
            block.attention.w_o.weight[:, columns] = 0.0  # (d_model, H * d_k): its inputs are the heads
    return model


def without_path(
    model: LanguageModel, layer: int, head: int, projection: Literal["w_q", "w_k", "w_v"]
) -> LanguageModel:
    """Copy a model, and let one projection of the next layer not see what one head added; all else does.

    If the keys of the next layer need the head and its queries do not, the head is what they are found by.

    Parameters
    ----------
    model : LanguageModel
    layer, head : int
        Which head, both from 0; not of the last layer.
    projection : "w_q", "w_k" or "w_v"
        Which part of the next layer's attention goes without it.

    Returns
    -------
    model : LanguageModel
        A copy that runs the model twice: once without the head, to see what enters that projection then. It takes no
        cache.

    Raises
    ------
    ValueError
        If there is no such head, no layer after it, or no such projection.

    References
    ----------
    Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits", section "Two-Layer Attention-Only
    Transformers": which they call composition by query, key or value.
    """
    if projection not in ("w_q", "w_k", "w_v"):
        raise ValueError(f"without_path: projection must be w_q, w_k or w_v; got {projection!r}.")
    if not 0 <= layer < model.config.num_layers - 1:
        raise ValueError(
            f"without_path: layer must have another after it, 0 to {model.config.num_layers - 2}; got {layer}."
        )
    whole, lacking = deepcopy(model), without_heads(model, [(layer, head)])
    seen: dict[str, Tensor] = {}

    def run_lacking(_: Any, args: tuple[Any, ...]) -> None:
        if len(args) > 1:
            raise ValueError("without_path: the model runs twice, and takes no cache; got one.")
        lacking(*args)

    def keep(_: Any, args: tuple[Any, ...]) -> None:
        seen["x"] = args[0]

    def put(_: Any, args: tuple[Any, ...]) -> tuple[Tensor]:
        return (seen["x"],)

    whole.register_forward_pre_hook(run_lacking)
    name = f"layers.{layer + 1}.attention.{projection}"
    lacking.get_submodule(name).register_forward_pre_hook(keep)
    whole.get_submodule(name).register_forward_pre_hook(put)
    return whole
