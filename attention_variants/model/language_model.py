"""A language model: a stack of decoder layers and no encoder, as Llama, Mistral and Qwen3 are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attention_variants.modern import KVCache, Llama3Scaling, RollingKVCache, rotary_speeds
from attention_variants.modern.checks import check_base, is_cache
from attention_variants.variants.checks import (
    check_count,
    check_flag,
    check_groups,
    check_kind,
    check_number,
    check_tokens,
)

from .language_layers import LanguageModelLayer, RMSNorm, check_attention


@dataclass(frozen=True)
class LanguageModelConfig:
    """The sizes and choices of a `LanguageModel`.

    Attributes
    ----------
    vocab_size : int
        How many different tokens there are.
    d_model : int
        The width of every vector.
    num_layers : int
    num_heads, num_kv_heads : int
        The heads of the queries, and of the keys and values.
    d_ff : int
        The width inside the feed-forward networks.
    d_k : int
        The width of a head; 0 for d_model / num_heads.
    max_len : int
        The length of the training, in tokens. Longer texts are written all the same, and are a risk.
    base : float
        Of the rotary positions, as `scaling`.
    scaling : Llama3Scaling, optional
    window : int, optional
        How many positions a query looks back at most, in every layer.
    qk_norm : bool
        Whether queries and keys are normalised, as in Qwen3.
    tied : bool
        Whether the table of the embedding is the output projection too.
    eps : float
        Of the norms.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    d_ff: int
    d_k: int = 0
    max_len: int = 2048
    base: float = 10_000.0
    scaling: Llama3Scaling | None = None
    window: int | None = None
    qk_norm: bool = False
    tied: bool = False
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "num_layers", "num_heads", "num_kv_heads", "d_ff", "max_len"):
            check_count("LanguageModel", name, getattr(self, name))
        check_groups("LanguageModel", self.num_heads, self.num_kv_heads)
        if not self.d_k:
            if self.d_model % self.num_heads:
                raise ValueError(
                    f"LanguageModel: d_model must be divisible by num_heads, or d_k be given; "
                    f"got d_model = {self.d_model} and num_heads = {self.num_heads}."
                )
            object.__setattr__(self, "d_k", self.d_model // self.num_heads)
        check_attention(
            "LanguageModel", self.num_heads, self.num_kv_heads, self.d_k, window=self.window, qk_norm=self.qk_norm
        )
        check_base("LanguageModel", self.base)
        check_number("LanguageModel", "eps", self.eps, least=0.0)
        check_flag("LanguageModel", "tied", self.tied)
        if self.scaling is not None:
            check_kind("LanguageModel", "scaling", self.scaling, Llama3Scaling)


class LanguageModel(nn.Module):
    """Predict the next token from those before it.

    Since the Transformer of 2017: no encoder, norms before the sub-layers and without a mean, rotary positions in place
    of added ones, key heads that are shared, a gate in the feed-forward networks, no biases. With the same weights it
    computes the logits of ``transformers``' ``LlamaForCausalLM``; `from_llama` and `to_llama` carry them over.

    Parameters
    ----------
    config : LanguageModelConfig
        Sizes and choices.

    Attributes
    ----------
    embedding : torch.nn.Embedding
    layers : torch.nn.ModuleList of LanguageModelLayer
    norm : RMSNorm
    head : torch.nn.Linear
        The output projection; tied, its weight is that of the embedding.

    References
    ----------
    Touvron et al. (2023), "LLaMA: Open and Efficient Foundation Language Models", section 2.2. arXiv:2302.13971

    Examples
    --------
    >>> config = LanguageModelConfig(vocab_size=20, d_model=8, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=16)
    >>> logits, weights = LanguageModel(config)(torch.randint(20, (2, 5)))
    >>> logits.shape, weights[0].shape
    (torch.Size([2, 5, 20]), torch.Size([2, 4, 5, 5]))
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        check_kind("LanguageModel", "config", config, LanguageModelConfig)
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            LanguageModelLayer(
                config.d_model,
                config.num_heads,
                config.num_kv_heads,
                config.d_k,
                config.d_ff,
                qk_norm=config.qk_norm,
                window=config.window,
                eps=config.eps,
            )
            for _ in range(config.num_layers)
        )
        self.norm = RMSNorm(config.d_model, config.eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        # Computed, so neither parameter nor buffer: whatever the model is converted to, the speeds stay exact.
        self.speeds = rotary_speeds(config.d_k, base=config.base, scaling=config.scaling)

    def forward(
        self, tokens: Int[Tensor, "B T"], cache: Sequence[KVCache | RollingKVCache] | None = None
    ) -> tuple[Float[Tensor, "B T vocab_size"], list[Float[Tensor, "B H T T_k"]]]:
        """Predict, at every position, the token that comes next.

        Parameters
        ----------
        tokens : integer Tensor of shape (B, T)
            The numbers of the tokens, at least one; with a cache, of those that are new.
        cache : sequence of KVCache or RollingKVCache, optional
            One for each layer, `new_cache` at first; all have seen the same text.

        Returns
        -------
        logits : Tensor of shape (B, T, vocab_size)
        weights : list of Tensor of shape (B, num_heads, T, T_k)
            Of each layer.

        Raises
        ------
        TypeError, ValueError
            If these are not numbers of tokens that there are, on the device of the model, or there is not a cache of
            its own for each layer.
        """
        caches = self._checked(tokens, cache)
        start = 0 if cache is None else cache[0].seen
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device).view(-1, 1, 1)
        angle = positions * self.speeds.to(tokens.device)  # (T, 1, 1) * (d_k / 2)
        x = self.embedding(tokens)  # (B, T) -> (B, T, d_model)
        cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)  # (T, 1, d_k / 2): for all heads, and layers

        all_weights = []
        for layer, kept in zip(self.layers, caches, strict=True):
            x, weights = layer(x, cosine, sine, kept)
            all_weights.append(weights)
        return self.head(self.norm(x)), all_weights  # (B, T, d_model) -> (B, T, vocab_size)

    def new_cache(self, max_len: int | None = None) -> list[KVCache]:
        """Make an empty cache for each layer; ``max_len`` as `KVCache` takes it."""
        return [KVCache(max_len) for _ in self.layers]

    def _checked(
        self, tokens: Tensor, cache: Sequence[KVCache | RollingKVCache] | None
    ) -> Sequence[KVCache | RollingKVCache | None]:
        check_tokens("LanguageModel", "tokens", tokens, self.config.vocab_size)
        if tokens.device != self.embedding.weight.device:
            raise ValueError(
                f"LanguageModel: tokens must be on the device of the model, {self.embedding.weight.device}; "
                f"got {tokens.device}."
            )
        if cache is None:
            return [None] * len(self.layers)
        expected = f"LanguageModel: cache must be one for each of {len(self.layers)} layers, as model.new_cache() makes"
        if not isinstance(cache, Sequence) or not all(map(is_cache, cache)):
            came = [type(kept).__name__ for kept in cache] if isinstance(cache, Sequence) else type(cache).__name__
            raise TypeError(f"{expected} them; got {came}.")
        if len(cache) != len(self.layers):
            raise ValueError(f"{expected} them; got {len(cache)}.")
        seen = [kept.seen for kept in cache]
        if len({id(kept) for kept in cache}) != len(cache) or len(set(seen)) > 1:
            raise ValueError(
                f"LanguageModel: each layer needs a cache of its own, and all must have seen the same text; got "
                f"{len({id(kept) for kept in cache})} caches, which have seen {seen} positions."
            )
        return cache

    @classmethod
    def from_llama(cls, model: Any) -> LanguageModel:
        """Make a model with copies of the weights of ``transformers``' Llama, Mistral or Qwen3 for causal language.

        Parameters
        ----------
        model : LlamaForCausalLM, MistralForCausalLM or Qwen3ForCausalLM

        Returns
        -------
        model : LanguageModel
            Of the same dtype. The logits agree up to rounding: ``transformers`` computes sines, cosines and norms in
            float32 whatever the dtype of the model.

        Raises
        ------
        TypeError
            For a model of another class.
        ValueError
            For a configuration that this model does not have: biases, another activation or kind of positions, a
            window in some layers only.
        """
        config = _config_of(model)
        new = cls(config).to(next(model.parameters()).dtype)
        weights = model.state_dict()
        new.load_state_dict({ours: weights[theirs] for ours, theirs in _names(config)})
        return new.train(model.training)

    def to_llama(self) -> Any:
        """Make ``transformers``' model of the same weights: Qwen3 with norms, else Mistral with a window, else Llama.

        Returns
        -------
        model : LlamaForCausalLM, MistralForCausalLM or Qwen3ForCausalLM
        """
        import transformers

        config = self.config
        name = "Qwen3" if config.qk_norm else "Llama" if config.window is None else "Mistral"
        positions: dict[str, Any] = {"rope_type": "default", "rope_theta": config.base}
        if config.scaling is not None:
            scaling = asdict(config.scaling)
            positions |= {"original_max_position_embeddings": scaling.pop("original_length"), **scaling}
            positions["rope_type"] = "llama3"
        options = {} if config.window is None else {"sliding_window": config.window + 1}  # theirs counts itself
        if config.window is not None and config.qk_norm:
            options |= {"use_sliding_window": True, "max_window_layers": 0}  # in Qwen3, from which layer on
        theirs = getattr(transformers, f"{name}Config")(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.d_k,
            max_position_embeddings=config.max_len,
            rope_parameters=positions,
            rms_norm_eps=config.eps,
            tie_word_embeddings=config.tied,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            **options,
        )
        new = getattr(transformers, f"{name}ForCausalLM")(theirs).to(self.head.weight.dtype)
        weights = self.state_dict()
        new.load_state_dict({theirs: weights[ours] for ours, theirs in _names(config)})
        return new.train(self.training)


def _names(config: LanguageModelConfig) -> list[tuple[str, str]]:
    """Ours and theirs, of all parameters."""
    inside = {
        "norm_1": "input_layernorm",
        "attention.w_q": "self_attn.q_proj",
        "attention.w_k": "self_attn.k_proj",
        "attention.w_v": "self_attn.v_proj",
        "attention.w_o": "self_attn.o_proj",
        "norm_2": "post_attention_layernorm",
        "feed_forward.w_gate": "mlp.gate_proj",
        "feed_forward.w_up": "mlp.up_proj",
        "feed_forward.w_down": "mlp.down_proj",
    }
    if config.qk_norm:
        inside |= {"attention.norm_q": "self_attn.q_norm", "attention.norm_k": "self_attn.k_norm"}
    names = [("embedding.weight", "model.embed_tokens.weight"), ("norm.weight", "model.norm.weight")]
    names.append(("head.weight", "lm_head.weight"))
    for number in range(config.num_layers):
        names += [
            (f"layers.{number}.{ours}.weight", f"model.layers.{number}.{theirs}.weight")
            for ours, theirs in inside.items()
        ]
    return names


def _config_of(model: Any) -> LanguageModelConfig:
    """Read a configuration of transformers; raise an error for what ours does not have."""
    kind = type(model).__name__
    known = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM")
    if kind not in known:
        raise TypeError(f"LanguageModel.from_llama takes {', '.join(known)} of transformers; got {kind}.")
    theirs = model.config
    positions = dict(theirs.rope_parameters)
    rope_type = positions.get("rope_type", "default")
    biases = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    for what, came, expected in (
        ("biases", biases[:1] or "none", "none"),
        ("the activation", theirs.hidden_act, "silu"),
        ("rotary positions", rope_type, "default" if rope_type != "llama3" else "llama3"),
    ):
        if came != expected:
            raise ValueError(f"LanguageModel.from_llama: {what} must be {expected}; this model has {came}.")
    scaling = None
    if rope_type == "llama3":
        scaling = Llama3Scaling(
            positions["factor"],
            positions["low_freq_factor"],
            positions["high_freq_factor"],
            positions["original_max_position_embeddings"],
        )
    window = getattr(theirs, "sliding_window", None)
    if kind == "Qwen3ForCausalLM":
        kinds = set(theirs.layer_types)
        if len(kinds) > 1:
            raise ValueError(
                f"LanguageModel.from_llama: all layers must look equally far back; this model has {sorted(kinds)}."
            )
        window = window if kinds == {"sliding_attention"} else None
    config = LanguageModelConfig(
        vocab_size=theirs.vocab_size,
        d_model=theirs.hidden_size,
        num_layers=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        num_kv_heads=theirs.num_key_value_heads,
        d_ff=theirs.intermediate_size,
        d_k=theirs.head_dim,
        max_len=theirs.max_position_embeddings,
        base=positions["rope_theta"],
        scaling=scaling,
        qk_norm=kind == "Qwen3ForCausalLM",
        tied=theirs.tie_word_embeddings,
        eps=theirs.rms_norm_eps,
    )
    return config if window is None else replace(config, window=window - 1)
