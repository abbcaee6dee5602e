"""One layer around any of the seven variants."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attention_variants.modern import KVCache, RollingKVCache
from attention_variants.modern.checks import check_cache
from attention_variants.variants import get_variant
from attention_variants.variants.checks import check_inputs, look, mapped_with

from . import convert
from .lift import lift
from .masks import combine_masks

#: Which layer fills a cache.
_OWNERS: weakref.WeakKeyDictionary[KVCache | RollingKVCache, weakref.ref[MultiHeadAttention]] = (
    weakref.WeakKeyDictionary()
)


class MultiHeadAttention(nn.Module):
    """Multi-head attention: four projections around any of the seven variants.

    ``output = w_o(attention(w_q(query), w_k(key), w_v(value)))``. The variants hold no weights, so one
    ``state_dict`` serves all seven, and ``layer.variant = 3`` swaps the variant and nothing else.

    Parameters
    ----------
    d_model : int
        The width of what goes in and comes out.
    num_heads : int
        The number of heads; must divide d_model. Each is ``d_k = d_model / num_heads`` wide.
    dropout : float, default 0.0
        The probability of dropping an attention weight, in training mode only.
    bias : bool, default True
        Whether the projections add a bias.
    variant : int, default 7
        Which variant attends, 1 to 7. What it cannot do itself is done by loops around it (`lift`).

    Attributes
    ----------
    w_q, w_k, w_v, w_o : torch.nn.Linear
        The projections of queries, keys and values, and of the merged heads.

    Raises
    ------
    ValueError
        If num_heads does not divide d_model, dropout is not a probability, or there is no such variant.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.2. arXiv:1706.03762

    Examples
    --------
    >>> layer = MultiHeadAttention(d_model=8, num_heads=2)
    >>> output, weights = layer(torch.randn(2, 5, 8))
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 2, 5, 5]))
    """

    def __init__(
        self, d_model: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True, variant: int = 7
    ) -> None:
        super().__init__()
        if not all(isinstance(size, int) and size >= 1 for size in (d_model, num_heads)) or d_model % num_heads:
            raise ValueError(
                f"MultiHeadAttention: d_model must be divisible by num_heads; "
                f"got d_model = {d_model} and num_heads = {num_heads}."
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"MultiHeadAttention: dropout must be a probability, 0 to 1; got {dropout}.")
        self.d_model = d_model
        self.num_heads = num_heads
        self.dropout = dropout
        self.variant = variant
        self.w_q = nn.Linear(d_model, d_model, bias=bias)
        self.w_k = nn.Linear(d_model, d_model, bias=bias)
        self.w_v = nn.Linear(d_model, d_model, bias=bias)
        self.w_o = nn.Linear(d_model, d_model, bias=bias)

    @property
    def variant(self) -> int:
        """The number of the variant that attends, 1 to 7."""
        return self._variant

    @variant.setter
    def variant(self, variant: int) -> None:
        get_variant(variant)  # raises for a variant that does not exist
        self._variant = variant

    def forward(
        self,
        query: Float[Tensor, "*batch T_q d_model"],
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        need_weights: bool = True,
        is_causal: bool = False,
        cache: KVCache | RollingKVCache | None = None,
    ) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch num_heads T_q T_k"] | None]:
        """Project, let each query attend to the keys, and project what it took.

        Parameters
        ----------
        query : Tensor of shape (..., T_q, d_model)
            What looks.
        key : Tensor of shape (..., T_k, d_model), optional
            What is looked at; by default ``query`` (self-attention).
        value : Tensor of shape (..., T_k, d_model), optional
            What is handed over; by default ``key``.
        mask : boolean or integer Tensor that broadcasts to (..., num_heads, T_q, T_k), optional
            True or 1 = may attend, False or 0 = blocked. A tokenizer's ``attention_mask`` of shape (B, T_k)
            needs its head and query axes: ``attention_mask[:, None, None, :]``.
        need_weights : bool, default True
            Whether to return the weights. Without them, variant 7 does not build the T_q x T_k matrix.
        is_causal : bool, default False
            The same as a causal mask aligned top-left; combines with ``mask``.
        cache : KVCache or RollingKVCache, optional
            What is kept of earlier calls. In self-attention ``query`` is then what is new: its keys and values are
            appended, ``is_causal`` counts from the end, and T_k is all that is kept. In cross-attention ``key`` is
            projected at the first call alone.

        Returns
        -------
        output : Tensor of shape (..., T_q, d_model)
            What each query took, projected by ``w_o``.
        weights : Tensor of shape (..., num_heads, T_q, T_k), or None
            The weights of each head before dropout. None unless ``need_weights``.

        Raises
        ------
        TypeError, ValueError
            If something is not a floating-point tensor of the layer's dtype, or shapes do not fit; if the mask
            is a float mask, holds other integers than 0 and 1, does not broadcast or is ambiguous.
        """
        mask = self._checked(query, key, value, mask)
        key = query if key is None else key
        value = key if value is None else value
        if cache is not None:
            return self._forward_with(cache, query, key, value, mask, need_weights=need_weights, is_causal=is_causal)
        q, k, v = self.w_q(query), self.w_k(key), self.w_v(value)  # (..., T, d_model) -> (..., T, d_model)
        context, weights = self._attend(q, k, v, mask, need_weights=need_weights, is_causal=is_causal)
        return self.w_o(context), weights

    def extra_repr(self) -> str:
        """The layer's settings, as ``print(layer)`` shows them."""
        return f"d_model={self.d_model}, num_heads={self.num_heads}, dropout={self.dropout}, variant={self.variant}"

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, need_weights: bool, is_causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Let the variant attend; what it cannot do itself, loops around it do."""
        check_inputs(None, q, k, v, mask, self.num_heads, caller="MultiHeadAttention", names=("query", "key", "value"))
        return lift(self.variant)(
            mapped_with(q, mask),
            k,
            v,
            mask,
            self.num_heads,
            dropout_p=self.dropout if self.training else 0.0,
            need_weights=need_weights,
            is_causal=is_causal,
        )

    def _forward_with(
        self,
        cache: KVCache | RollingKVCache,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        *,
        need_weights: bool,
        is_causal: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend to what is kept."""
        check_cache("MultiHeadAttention", cache)
        if key is not query and isinstance(cache, RollingKVCache):
            raise TypeError(
                "MultiHeadAttention: in cross-attention no key may be dropped; got a RollingKVCache. Pass a KVCache."
            )
        _claim(cache, self)
        q = self.w_q(query)
        if key is query and is_causal and query.shape[-2] > 1:
            mask = combine_masks(mask, cache.mask(query.shape[-2]))
        if key is query or cache.k is None or cache.v is None:
            k, v = cache.append(self.w_k(key), self.w_v(value))
        else:  # in cross-attention, what is looked at stays the same
            k, v = cache.k, cache.v
            if k.shape[:-1] != key.shape[:-1]:
                raise ValueError(
                    f"MultiHeadAttention: the cache keeps a key of shape {tuple(k.shape)}; got {tuple(key.shape)}. In "
                    f"cross-attention what is looked at is projected once: for another one begin with a new cache."
                )
        context, weights = self._attend(q, k, v, mask, need_weights=need_weights, is_causal=False)
        return self.w_o(context), weights

    def _checked(self, query: Tensor, key: Tensor | None, value: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """Check what only the layer knows, the widths and the dtype that its projections take; a boolean mask."""
        if key is None and value is not None:
            raise ValueError("MultiHeadAttention: value came without key; pass both, or neither for self-attention.")
        given = [query, *(x for x in (key, value) if x is not None)]
        given += given[-1:] * (3 - len(given))  # what was left out is the one before it
        projections = (self.w_q, self.w_k, self.w_v)
        for name, x, projection in zip(("query", "key", "value"), given, projections, strict=True):
            if not isinstance(x, Tensor):
                raise TypeError(f"MultiHeadAttention: {name} must be a torch.Tensor; got {type(x).__name__}.")
            width = projection.in_features
            if x.ndim < 2 or x.shape[-1] != width:
                raise ValueError(
                    f"MultiHeadAttention: {name} must have shape (..., T, {width}), as wide as the layer; "
                    f"got {tuple(x.shape)}."
                )
            if not x.is_floating_point():
                raise TypeError(
                    f"MultiHeadAttention: {name} must be floating point; got {x.dtype}. Token numbers must pass "
                    f"through an embedding first."
                )
            weight = projection.weight
            if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
                raise TypeError(
                    f"MultiHeadAttention: {name} must have the dtype of the layer, {weight.dtype}; got {x.dtype}. "
                    f"Convert one of them: {name}.to(layer.w_q.weight.dtype), or layer.to({name}.dtype)."
                )
            if x.device != weight.device:
                raise ValueError(
                    f"MultiHeadAttention: {name} must be on the device of the layer, {weight.device}; got {x.device}."
                )
        return _boolean(mask)

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention, *, variant: int = 7) -> MultiHeadAttention:
        """Make a layer with the weights of a ``torch.nn.MultiheadAttention``.

        Parameters
        ----------
        module : torch.nn.MultiheadAttention
            With packed projections or separate ones (``kdim``, ``vdim``), with or without bias. Ours is
            batch-first whatever ``module.batch_first`` says; transpose inputs of shape (T, B, d_model).
        variant : int, default 7
            Which variant attends.

        Returns
        -------
        layer : MultiHeadAttention
            With copies of the weights, and the module's dropout, dtype, device and mode.

        Raises
        ------
        TypeError
            If ``module`` is something else.
        ValueError
            If the module has ``add_bias_kv`` or ``add_zero_attn``, which change what attention computes.
        """
        return cls._of(convert.from_torch(module), variant)

    @classmethod
    def from_bert(cls, attention: Any, *, variant: int = 7) -> MultiHeadAttention:
        """Make a layer with the weights of a BERT attention of the ``transformers`` library.

        Parameters
        ----------
        attention : transformers.models.bert.modeling_bert.BertAttention
            ``model.encoder.layer[i].attention``, or ``crossattention`` of a decoder. Its residual connection and
            layer norm stay outside: our output is what enters them. A decoder's self-attention is causal:
            call the layer with ``is_causal=True``.
        variant : int, default 7
            Which variant attends.

        Returns
        -------
        layer : MultiHeadAttention
            With copies of the weights, and the module's dropout, dtype, device and mode.

        Raises
        ------
        TypeError
            If ``attention`` is not a BERT attention. (Others, such as RoFormer's, have the same parts and
            compute something else.)
        ValueError
            If it adds relative positions to its scores.
        """
        return cls._of(convert.from_bert(attention), variant)

    @classmethod
    def from_gpt2(cls, attention: Any, *, variant: int = 7) -> MultiHeadAttention:
        """Make a layer with the weights of a GPT-2 attention of the ``transformers`` library.

        GPT-2 attends causally: call the layer with ``is_causal=True``.

        Parameters
        ----------
        attention : transformers.models.gpt2.modeling_gpt2.GPT2Attention
            ``model.h[i].attn``. The dropout after its output projection stays outside.
        variant : int, default 7
            Which variant attends.

        Returns
        -------
        layer : MultiHeadAttention
            With copies of the weights, and the module's dropout, dtype, device and mode.

        Raises
        ------
        TypeError
            If ``attention`` has not the parts of a GPT-2 self-attention.
        ValueError
            If it scales its scores by anything but 1 / sqrt(d_k).
        """
        return cls._of(convert.from_gpt2(attention), variant)

    @classmethod
    def _of(cls, weights: convert.AttentionWeights, variant: int) -> MultiHeadAttention:
        """Make a layer with copies of the weights."""
        w_q, b_q = weights.pairs[0]
        layer = cls(len(w_q), weights.num_heads, dropout=weights.dropout, bias=b_q is not None, variant=variant)
        layer.to(device=w_q.device, dtype=w_q.dtype)
        with torch.no_grad():
            for name, (weight, bias) in zip(("w_q", "w_k", "w_v", "w_o"), weights.pairs, strict=True):
                linear = getattr(layer, name)
                if weight.shape[1] != linear.in_features:  # kdim and vdim of nn.MultiheadAttention
                    linear = nn.Linear(weight.shape[1], len(weight), bias is not None, weight.device, weight.dtype)
                    setattr(layer, name, linear)
                linear.weight.copy_(weight)
                if bias is not None:
                    linear.bias.copy_(bias)
        return layer.train(weights.training)


def _claim(cache: KVCache | RollingKVCache, layer: MultiHeadAttention) -> None:
    """Note whose keys a cache keeps: those of another layer would be taken for ours without an error."""
    owner = _OWNERS.setdefault(cache, weakref.ref(layer))
    if owner() is not layer:
        raise ValueError(
            f"MultiHeadAttention: this cache keeps the keys of another layer. Each layer needs one of its own: "
            f"begin with a new {type(cache).__name__}."
        )


def _boolean(mask: Tensor | None) -> Tensor | None:
    """Read integer masks of 0 and 1, as tokenizers give, as boolean ones."""
    if not isinstance(mask, Tensor) or mask.dtype == torch.bool or mask.is_floating_point() or mask.is_complex():
        return mask  # check_inputs says what is wrong, if anything is
    if look(mask, lambda mask: ((mask == 0) | (mask == 1)).all()) is False:
        raise ValueError(
            f"MultiHeadAttention: an integer mask must hold only 1 (may attend) and 0 (blocked); got values from "
            f"{mask.min().item()} to {mask.max().item()}."
        )
    return mask.bool()
