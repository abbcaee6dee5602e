"""The problems of the benchmark: sizes, masks, and everything else that changes what a layer costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from attention_variants.model.language_model import LanguageModel, LanguageModelConfig
from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.masks import causal_mask, padding_mask

Mask = Literal["none", "causal", "padding"]

#: In which the layers compute, by the word for it.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Workload:
    """One problem, to be solved by every contender that can.

    Attributes
    ----------
    batch, queries, keys, d_model, heads : int
        B, T_q, T_k, d_model and H. If T_q = T_k it is self-attention, else cross-attention.
    mask : {"none", "causal", "padding"}
        "causal" comes as a layer likes it best, as a flag or as a mask; "padding" gives every item another length.
    backward : bool
        Whether the gradients of the inputs and of all weights are part of the work.
    weights : bool
        Whether the weights of each head are asked for.
    dtype : {"float32", "bfloat16"}
        In which the layers compute.
    compiled : bool
        Whether the layers go through ``torch.compile`` first.
    """

    batch: int
    queries: int
    keys: int
    d_model: int
    heads: int
    mask: Mask = "none"
    backward: bool = False
    weights: bool = False
    dtype: str = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        sizes = (self.batch, self.queries, self.keys, self.d_model, self.heads)
        if min(sizes) < 1 or self.d_model % self.heads:
            raise ValueError(
                f"a workload needs sizes of at least 1 and heads that divide d_model; got (B, T_q, T_k, d_model, H) = "
                f"{sizes}."
            )
        if self.mask not in get_args(Mask) or self.dtype not in DTYPES:
            raise ValueError(
                f"a workload's mask is none, causal or padding, its dtype float32 or bfloat16; got {self.mask!r} and "
                f"{self.dtype!r}."
            )
        if self.mask == "causal" and not self.is_self:
            raise ValueError(
                f"a causal workload needs T_q = T_k, for libraries disagree on which corner the triangle starts from; "
                f"got {self.queries} and {self.keys}."
            )

    @property
    def is_self(self) -> bool:
        """Whether queries and keys come from the same sequence."""
        return self.queries == self.keys

    @property
    def size(self) -> str:
        """The sizes in words."""
        return ", ".join(self.size_in_two)

    @property
    def size_in_two(self) -> tuple[str, str]:
        """The sizes in words, first the lengths, then the widths: for where one line is too long."""
        lengths = f"T={self.queries}" if self.is_self else f"T_q={self.queries}, T_k={self.keys}"
        return f"B={self.batch}, {lengths}", f"d_model={self.d_model}, H={self.heads}"

    @property
    def kind(self) -> str:
        """Everything else in words."""
        words = ["forward + backward" if self.backward else "forward"]
        words += [{"none": "no mask", "causal": "causal", "padding": "padding"}[self.mask]]
        words += ["cross"] * (not self.is_self) + ["with weights"] * self.weights
        words += [self.dtype] * (self.dtype != "float32") + ["compiled"] * self.compiled
        return ", ".join(words)

    @property
    def short(self) -> str:
        """B × T and what sets it apart, as short as it can be said; bwd is forward + backward."""
        words = [f"{self.batch} × {self.queries}"] + ["bwd"] * self.backward + [self.mask] * (self.mask != "none")
        words += ["cross"] * (not self.is_self) + ["weights"] * self.weights
        words += [self.dtype] * (self.dtype != "float32") + ["compiled"] * self.compiled
        return " ".join(words)

    def small(self) -> Workload:
        """The same kind of problem, small enough for a float64 reference: B = 2, T_q = 5, T_k = 7, two heads."""
        return replace(self, batch=2, queries=5, keys=5 if self.is_self else 7, d_model=16, heads=2)


@dataclass(frozen=True)
class Writing:
    """A language model that writes one text, greedily, to be done by every contender.

    Attributes
    ----------
    d_model, layers, heads, key_heads, d_ff, vocabulary : int
        The sizes of the model, see `LanguageModelConfig`.
    tokens : int
        How many tokens it writes.
    prompt : int
        How many there are before the first.
    """

    d_model: int
    layers: int
    heads: int
    key_heads: int
    d_ff: int
    tokens: int
    vocabulary: int = 80
    prompt: int = 8

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.prompt < 1:
            raise ValueError(
                f"a model writes at least 1 token, after at least 1; got tokens = {self.tokens} and "
                f"prompt = {self.prompt}."
            )

    @property
    def size(self) -> str:
        """The model in words."""
        return f"d_model={self.d_model}, {self.layers} layers, H={self.heads}, key heads {self.key_heads}"

    def model(self, *, key_heads: int | None = None) -> LanguageModel:
        """Draw a model of this size; the weights are the same each time.

        Parameters
        ----------
        key_heads : int, optional
            Another number of them.

        Returns
        -------
        model : LanguageModel
        """
        config = LanguageModelConfig(
            vocab_size=self.vocabulary,
            d_model=self.d_model,
            num_layers=self.layers,
            num_heads=self.heads,
            num_kv_heads=key_heads or self.key_heads,
            d_ff=self.d_ff,
            max_len=max(1024, self.prompt + self.tokens),
            tied=True,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return LanguageModel(config).eval()

    def beginning(self) -> Tensor:
        """What stands before the first token that is written, (1, prompt)."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(self.vocabulary, (1, self.prompt), generator=generator)


@dataclass(frozen=True)
class Problem:
    """The tensors of a workload.

    Attributes
    ----------
    workload : Workload
        What it is.
    layer : MultiHeadAttention
        Its weights are those that every contender gets.
    x : Tensor of shape (B, T_q, d_model)
        What looks.
    memory : Tensor of shape (B, T_k, d_model)
        What is looked at; ``x`` itself in self-attention.
    mask : boolean Tensor or None
        True = may attend: (T, T) if causal, (B, 1, 1, T_k) if padding.
    upstream : Tensor of shape (B, T_q, d_model)
        The gradient that arrives at the output.
    """

    workload: Workload
    layer: MultiHeadAttention
    x: Tensor
    memory: Tensor
    mask: Tensor | None
    upstream: Tensor

    @classmethod
    def make(cls, workload: Workload, *, device: torch.device | str = "cpu", seed: int = 0) -> Problem:
        """Draw the weights and inputs of a workload.

        Parameters
        ----------
        workload : Workload
        device : torch.device, default "cpu"
        seed : int, default 0
            The same seed gives the same numbers.

        Returns
        -------
        problem : Problem
        """
        w, dtype = workload, DTYPES[workload.dtype]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = MultiHeadAttention(w.d_model, w.heads).to(device=device, dtype=dtype).eval()
            x, memory, upstream = (
                torch.randn(w.batch, T, w.d_model).to(device=device, dtype=dtype)
                for T in (w.queries, w.keys, w.queries)
            )
        memory = x if w.is_self else memory
        mask = None
        if w.mask == "causal":
            mask = causal_mask(w.queries, w.keys, device=device)
        elif w.mask == "padding":
            mask = padding_mask(lengths(w.batch, w.keys), w.keys, head_axis=True).to(device)
        return cls(w, layer, x, memory, mask, upstream)


def lengths(batch: int, keys: int) -> list[int]:
    """Lengths of the sequences of a padded batch: all different where there is room, none empty.

    Parameters
    ----------
    batch : int
        How many sequences.
    keys : int
        The padded length.

    Returns
    -------
    lengths : list of int
    """
    return [keys - (b + 1) * keys // (batch + 1) for b in range(batch)]


#: The three sizes, as (B, T, d_model, heads): a training batch, a GPT-2-wide layer, one long sequence.
SIZES = ((8, 256, 512, 8), (2, 1024, 768, 12), (1, 4096, 512, 8))


def of_size(size: tuple[int, int, int, int], **settings: Any) -> Workload:
    """A self-attention workload of one of `SIZES`.

    Parameters
    ----------
    size : tuple of int
        (B, T, d_model, heads).
    **settings
        The other attributes of `Workload`; ``keys`` makes it cross-attention.

    Returns
    -------
    workload : Workload
    """
    batch, T, d_model, heads = size
    return Workload(**{"batch": batch, "queries": T, "keys": T, "d_model": d_model, "heads": heads, **settings})


def full() -> list[Workload]:
    """The workloads of a full run, those that bounds speak of first.

    Returns
    -------
    workloads : list of Workload
    """
    first, second, _ = SIZES
    races = []
    for size in SIZES:
        _, T, _, _ = size
        races += [of_size(size), of_size(size, mask="causal"), of_size(size, backward=True)]
        if size in (first, second):  # on the longest sequence each of these would take a minute
            races += [
                of_size(size, mask="padding"),
                of_size(size, keys=T + T // 2),
                of_size(size, mask="causal", weights=True),
            ]
    races += [
        of_size(first, mask="causal", backward=True),
        of_size(first, mask="causal", weights=True, backward=True),
        of_size(first, dtype="bfloat16"),
        of_size(first, compiled=True),
    ]
    return races


def quick() -> list[Workload]:
    """The workloads of a quick run: every setting but compilation, on the smallest size that tells anything.

    Returns
    -------
    workloads : list of Workload
    """
    size = (4, 128, 256, 4)
    return [
        of_size(size),
        of_size(size, mask="causal"),
        of_size(size, mask="padding"),
        of_size(size, keys=192),
        of_size(size, backward=True),
        of_size(size, mask="causal", weights=True),
        of_size(size, mask="causal", weights=True, backward=True),
        of_size(size, dtype="bfloat16"),
    ]


def writings(*, is_quick: bool = False) -> list[Writing]:
    """What a run lets the language models write: three lengths, with a small model and a larger one.

    Parameters
    ----------
    is_quick : bool, default False
        One short text, with the small model.

    Returns
    -------
    writings : list of Writing
    """
    small = {"d_model": 64, "layers": 2, "heads": 2, "key_heads": 1, "d_ff": 176}  # the course's story model
    large = {"d_model": 512, "layers": 8, "heads": 8, "key_heads": 2, "d_ff": 1376}
    if is_quick:
        return [Writing(**small, tokens=50)]
    return [Writing(**sizes, tokens=tokens) for sizes in (small, large) for tokens in (50, 200, 800)]
