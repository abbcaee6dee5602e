"""What one may measure of a head, and a check of whether a function of one's own measures the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.model.layer import MultiHeadAttention

from .reference import TOLERANCES


def weight_before(weights: Tensor) -> Tensor:
    """Average the weight that each query puts on the token before it; the first query has none.

    Parameters
    ----------
    weights : Tensor of shape (..., T, T)

    Returns
    -------
    score : Tensor of shape (...)
        1 for a head that looks nowhere else.
    """
    return weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)


def beyond_others(weights: Tensor, query: int, key: int) -> Tensor:
    """Say how much more one query puts on a key than the other queries do on average.

    Parameters
    ----------
    weights : Tensor of shape (..., T, T)
    query, key : int
        Two positions. The key's own query is not counted among the others.

    Returns
    -------
    excess : Tensor of shape (...)
    """
    others = [i for i in range(weights.shape[-2]) if i not in (query, key)]
    return weights[..., query, key] - weights[..., others, key].mean(dim=-1)


def silenced(layer: MultiHeadAttention, x: Tensor, head: int) -> Tensor:
    """Run a layer as if one of its heads were not there, and leave the layer as it was.

    Parameters
    ----------
    layer : MultiHeadAttention
    x : Tensor of shape (..., T, d_model)
    head : int
        Its part of ``w_o`` counts as 0.

    Returns
    -------
    output : Tensor of shape (..., T, d_model)
    """
    d_k = layer.d_model // layer.num_heads
    kept = layer.w_o.weight.detach().clone()
    with torch.no_grad():
        layer.w_o.weight[:, head * d_k : (head + 1) * d_k] = 0  # (d_model, d_model): a column for each of the context
        output = layer(x)[0]
        layer.w_o.weight.copy_(kept)
    return output


@dataclass(frozen=True)
class Comparison:
    """What `check_function` found; true if both are equal.

    Attributes
    ----------
    name, right : str
        Which function is compared with which.
    wrong : str
        What is wrong, in words; "" if nothing is.
    """

    name: str
    right: str
    wrong: str = ""

    def __bool__(self) -> bool:
        return not self.wrong

    def __repr__(self) -> str:
        return f"{self.name} {self.wrong or f'computes what {self.right} does'}."


def check_function(
    mine: Callable[..., Tensor], right: Callable[..., Tensor], *inputs: Any, **options: Any
) -> Comparison:
    """Ask whether a function of one's own returns what another does, and leaves what it gets as it was.

    Parameters
    ----------
    mine, right : callable
        Both take the inputs and return a tensor.
    *inputs, **options
        Tensors, modules, numbers; options are handed over by name.

    Returns
    -------
    comparison : Comparison
    """
    name, other = (str(getattr(one, "__name__", type(one).__name__)) for one in (mine, right))
    given = copy.deepcopy(inputs)
    expected = right(*copy.deepcopy(inputs), **options)
    try:
        found = mine(*given, **options)
    except Exception as error:  # the reader's code may raise anything
        return Comparison(name, other, f"raises {type(error).__name__}{f': {error}' if str(error) else ''}")
    if not isinstance(found, Tensor):
        return Comparison(name, other, f"returns {type(found).__name__}; expected is a tensor")
    if found.shape != expected.shape:
        return Comparison(name, other, f"returns the shape {tuple(found.shape)}; expected is {tuple(expected.shape)}")
    if not all(map(_same, given, inputs)):
        return Comparison(name, other, "changes what it is given; it should leave it as it was")
    bound = TOLERANCES[torch.float32] * max(1.0, float(expected.detach().abs().max()))
    if not bool(((found - expected).abs() <= bound).all()):
        return Comparison(name, other, f"returns other numbers than {other}")
    return Comparison(name, other)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, nn.Module):
        return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b
