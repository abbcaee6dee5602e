"""Read the weights of other libraries' attentions, so that a layer of ours computes what they do.

Nothing here knows our layers: `MultiHeadAttention.from_torch`, `from_bert` and `from_gpt2` make one of what these
functions return.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .sublayers import AddNorm


@dataclass(frozen=True, eq=False)
class AttentionWeights:
    """What makes an attention layer: its weights, not copied, and its settings.

    Attributes
    ----------
    pairs : tuple of four (Tensor of shape (d_model, width), Tensor of shape (d_model,) or None)
        The weight and the bias of w_q, w_k, w_v and w_o.
    num_heads : int
        The number of heads.
    dropout : float
        The probability of dropping an attention weight.
    training : bool
        Whether the layer is in training mode.
    """

    pairs: tuple[tuple[Tensor, Tensor | None], ...]
    num_heads: int
    dropout: float
    training: bool


def from_torch(module: nn.MultiheadAttention) -> AttentionWeights:
    """Read a ``torch.nn.MultiheadAttention``; errors as `MultiHeadAttention.from_torch` says."""
    check_class(module, nn.MultiheadAttention)
    if module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        raise ValueError("from_torch: add_bias_kv and add_zero_attn add keys of their own; this layer has none.")
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None, None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    pairs = (*zip(weights, biases, strict=True), (module.out_proj.weight, module.out_proj.bias))
    return AttentionWeights(pairs, module.num_heads, module.dropout, module.training)


def from_bert(attention: Any) -> AttentionWeights:
    """Read a BERT attention of the ``transformers`` library; errors as `MultiHeadAttention.from_bert` says."""
    try:
        bert, dense = attention.self, attention.output.dense
        projections = (bert.query, bert.key, bert.value, dense)
        num_heads, dropout = bert.num_attention_heads, bert.dropout.p
        is_bert = type(bert).__name__.startswith("Bert")
        positions = getattr(bert, "position_embedding_type", None) or "absolute"
    except AttributeError:
        is_bert = False
    if not is_bert:
        raise TypeError(
            f"from_bert takes a BertAttention, model.encoder.layer[i].attention; got {type(attention).__name__}."
        )
    if positions != "absolute":
        raise ValueError(f"from_bert: this model adds {positions} positions to its scores; this layer does not.")
    pairs = tuple((linear.weight, linear.bias) for linear in projections)
    return AttentionWeights(pairs, num_heads, dropout, attention.training)


def from_gpt2(attention: Any) -> AttentionWeights:
    """Read a GPT-2 attention of the ``transformers`` library; errors as `MultiHeadAttention.from_gpt2` says."""
    try:
        # Conv1D keeps its weight as (in, out), and queries, keys and values packed side by side.
        weights = attention.c_attn.weight.T.chunk(3)
        biases = attention.c_attn.bias.chunk(3)
        output = (attention.c_proj.weight.T, attention.c_proj.bias)
        num_heads, dropout = attention.num_heads, attention.attn_dropout.p
        plain_scale = attention.scale_attn_weights and not attention.scale_attn_by_inverse_layer_idx
        is_self_attention = not attention.is_cross_attention
    except AttributeError as error:
        raise TypeError(
            f"from_gpt2 takes a GPT2Attention, model.h[i].attn; got {type(attention).__name__} ({error})."
        ) from None
    if not is_self_attention:
        raise TypeError("from_gpt2 takes the self-attention, model.h[i].attn; got a cross-attention.")
    if not plain_scale:
        raise ValueError("from_gpt2: this model scales its scores by something other than 1 / sqrt(d_k).")
    return AttentionWeights((*zip(weights, biases, strict=True), output), num_heads, dropout, attention.training)


def check_class(module: object, wanted: type[nn.Module]) -> None:
    """Refuse what has other parts, or the same parts for another use."""
    if not isinstance(module, wanted):
        raise TypeError(f"from_torch takes a torch.nn.{wanted.__name__}; got {type(module).__name__}.")


def copy_around_attention(ours: Any, theirs: Any) -> None:
    """Copy what stands around the attentions of a layer: the feed-forward network, and each Add & Norm in order."""
    network = ours.feed_forward
    network.w_1, network.w_2 = deepcopy(theirs.linear1), deepcopy(theirs.linear2)
    network.dropout, network.activation = deepcopy(theirs.dropout), deepcopy(theirs.activation)
    add_norms = [child for child in ours.children() if isinstance(child, AddNorm)]
    for i, add_norm in enumerate(add_norms, start=1):
        add_norm.norm = deepcopy(getattr(theirs, f"norm{i}"))
        add_norm.dropout = deepcopy(getattr(theirs, f"dropout{i}"))
