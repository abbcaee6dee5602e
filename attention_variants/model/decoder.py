"""The decoder: every position of the target looks back at the target, and over at what the encoder made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_variants.modern import KVCache

from .convert import check_class, copy_around_attention
from .layer import MultiHeadAttention
from .stack import Stack
from .sublayers import AddNorm, FeedForward


@dataclass(frozen=True)
class DecoderLayerCache:
    """What a decoder layer keeps while a target is written.

    Attributes
    ----------
    target : KVCache
        Of the self-attention: it grows by a position for each token.
    memory : KVCache
        Of the cross-attention: the source's keys and values, projected once.
    """

    target: KVCache = field(default_factory=KVCache)
    memory: KVCache = field(default_factory=KVCache)


class DecoderLayer(nn.Module):
    """Three sub-layers, each inside Add & Norm: masked self-attention, cross-attention, a feed-forward network.

    Parameters
    ----------
    d_model, num_heads, d_ff, dropout, norm_first, variant
        As in `EncoderLayer`.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.1. arXiv:1706.03762
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        *,
        dropout: float = 0.0,
        norm_first: bool = False,
        variant: int = 7,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads, dropout=dropout, variant=variant)
        self.add_norm_1 = AddNorm(d_model, dropout=dropout, norm_first=norm_first)
        self.cross_attention = MultiHeadAttention(d_model, num_heads, dropout=dropout, variant=variant)
        self.add_norm_2 = AddNorm(d_model, dropout=dropout, norm_first=norm_first)
        self.feed_forward = FeedForward(d_model, d_ff, dropout=dropout)
        self.add_norm_3 = AddNorm(d_model, dropout=dropout, norm_first=norm_first)

    def forward(
        self,
        x: Float[Tensor, "*batch T_t d_model"],
        memory: Float[Tensor, "*batch T_s d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        *,
        is_causal: bool = True,
        need_weights: bool = False,
        cache: DecoderLayerCache | None = None,
    ) -> tuple[Float[Tensor, "*batch T_t d_model"], tuple[Tensor | None, Tensor | None]]:
        """Look back, look over, work on what was found.

        Parameters
        ----------
        x : Tensor of shape (..., T_t, d_model)
            A vector for each position of the target.
        memory : Tensor of shape (..., T_s, d_model)
            What the encoder made of the source: the keys and values of the cross-attention.
        mask : boolean Tensor that broadcasts to (..., num_heads, T_t, T_t), optional
            Which positions of the target may be looked at, besides what ``is_causal`` allows; True = may attend.
        memory_mask : boolean Tensor that broadcasts to (..., num_heads, T_t, T_s), optional
            Which positions of the source may be looked at.
        is_causal : bool, default True
            Whether no position may look at a later one of the target.
        need_weights : bool, default False
            Whether to return the weights too.
        cache : DecoderLayerCache, optional
            What is kept of earlier positions, which are then not in x; the mask is for all of them.

        Returns
        -------
        x : Tensor of shape (..., T_t, d_model)
            The vectors, reworked.
        weights : tuple of two Tensors, or of None
            Of the self-attention, (..., num_heads, T_t, T_t), and of the cross-attention, (..., num_heads, T_t, T_s).
            None unless ``need_weights``.
        """
        of_target, of_memory = (None, None) if cache is None else (cache.target, cache.memory)
        attended, self_weights = self.self_attention(
            self.add_norm_1.entrance(x), mask=mask, is_causal=is_causal, need_weights=need_weights, cache=of_target
        )
        x = self.add_norm_1(x, attended)
        attended, cross_weights = self.cross_attention(
            self.add_norm_2.entrance(x), memory, mask=memory_mask, need_weights=need_weights, cache=of_memory
        )
        x = self.add_norm_2(x, attended)
        x = self.add_norm_3(x, self.feed_forward(self.add_norm_3.entrance(x)))
        return x, (self_weights, cross_weights)

    @classmethod
    def from_torch(cls, layer: nn.TransformerDecoderLayer, *, variant: int = 7) -> DecoderLayer:
        """Make a layer with copies of the weights of a ``torch.nn.TransformerDecoderLayer``."""
        check_class(layer, nn.TransformerDecoderLayer)
        attention = layer.self_attn
        new = cls(attention.embed_dim, attention.num_heads, layer.linear1.out_features, norm_first=layer.norm_first)
        new.self_attention = MultiHeadAttention.from_torch(attention, variant=variant)
        new.cross_attention = MultiHeadAttention.from_torch(layer.multihead_attn, variant=variant)
        copy_around_attention(new, layer)
        return new.train(layer.training)


class Decoder(Stack):
    """A stack of decoder layers.

    Parameters
    ----------
    num_layers : int
        How many layers (6 in the paper).
    d_model, num_heads, d_ff, dropout, norm_first, variant
        Of each layer, see `EncoderLayer`.

    Attributes
    ----------
    layers : torch.nn.ModuleList of DecoderLayer
        From the first to the last.
    norm : torch.nn.Module
        As in `Encoder`.
    """

    layer_class = DecoderLayer
    torch_class = nn.TransformerDecoder

    def forward(
        self,
        x: Float[Tensor, "*batch T_t d_model"],
        memory: Float[Tensor, "*batch T_s d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        *,
        is_causal: bool = True,
        need_weights: bool = False,
        cache: Sequence[DecoderLayerCache] | None = None,
    ) -> tuple[Float[Tensor, "*batch T_t d_model"], list[tuple[Tensor | None, Tensor | None]]]:
        """Run the layers in order; every one looks at the same memory.

        Parameters
        ----------
        x, memory, mask, memory_mask, is_causal, need_weights
            As `DecoderLayer.forward` takes them.
        cache : sequence of DecoderLayerCache, optional
            One for each layer, see `new_cache`.

        Returns
        -------
        x : Tensor of shape (..., T_t, d_model)
            The vectors from which the next tokens are predicted.
        weights : list of tuple
            Those of each layer: of its self-attention and of its cross-attention.
        """
        all_weights = []
        caches = [None] * len(self.layers) if cache is None else cache
        if len(caches) != len(self.layers):
            raise ValueError(f"Decoder: cache must be one for each of {len(self.layers)} layers; got {len(caches)}.")
        for layer, kept in zip(self.layers, caches, strict=True):
            x, weights = layer(x, memory, mask, memory_mask, is_causal=is_causal, need_weights=need_weights, cache=kept)
            all_weights.append(weights)
        return self.norm(x), all_weights

    def new_cache(self) -> list[DecoderLayerCache]:
        """Make an empty cache for each layer."""
        return [DecoderLayerCache() for _ in self.layers]
