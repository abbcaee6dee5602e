"""The real sentence: one attention layer of a pretrained BERT, and what enters it for a few sentences.

Everything comes from one file in the package, so it works offline and without ``transformers``.
``scripts/build_real_sentence.py`` makes the file; ``data/README.md`` says what is in it and under which licence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from attention_variants.model import MultiHeadAttention

_FILE = Path(__file__).parents[1] / "data" / "real_sentence.safetensors"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _Inputs:
    """Hidden states and the layer that they enter."""

    hidden: Float[Tensor, "*batch T d_model"]
    layer: MultiHeadAttention

    @property
    def q(self) -> Float[Tensor, "*batch T d_model"]:
        """The queries of all heads side by side: ``layer.w_q(hidden)``."""
        return self.layer.w_q(self.hidden)

    @property
    def k(self) -> Float[Tensor, "*batch T d_model"]:
        """The keys of all heads side by side: ``layer.w_k(hidden)``."""
        return self.layer.w_k(self.hidden)

    @property
    def v(self) -> Float[Tensor, "*batch T d_model"]:
        """The values of all heads side by side: ``layer.w_v(hidden)``."""
        return self.layer.w_v(self.hidden)

    def head(
        self, h: int
    ) -> tuple[Float[Tensor, "*batch T d_k"], Float[Tensor, "*batch T d_k"], Float[Tensor, "*batch T d_k"]]:
        """The queries, keys and values of one head, as variants 1 to 4 take them.

        Parameters
        ----------
        h : int
            The head, counted from 0.

        Returns
        -------
        q, k, v : Tensor of shape (..., T, d_k)
            Columns ``h * d_k`` to ``(h + 1) * d_k`` of `q`, `k` and `v`.

        Raises
        ------
        ValueError
            If the layer has no such head.
        """
        num_heads = self.layer.num_heads
        if not isinstance(h, int) or isinstance(h, bool) or not 0 <= h < num_heads:
            raise ValueError(f"head must be a whole number from 0 to {num_heads - 1}; got {h!r}.")
        d_k = self.layer.d_model // num_heads
        columns = slice(h * d_k, (h + 1) * d_k)
        return self.q[..., columns], self.k[..., columns], self.v[..., columns]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Example(_Inputs):
    """One sentence, the hidden states that enter the layer for it, and the layer.

    Attributes
    ----------
    sentence : str
        The sentence.
    tokens : list of str
        Its T wordpieces; the first is "[CLS]", the last "[SEP]", and "##" begins the rest of a word.
    hidden : Tensor of shape (T, d_model)
        What enters the layer, float32.
    layer : MultiHeadAttention
        The layer with its pretrained weights, in evaluation mode, without gradients.
    q, k, v : Tensor of shape (T, d_model)
        What the projections make of ``hidden``, all heads side by side.
    weights : Tensor of shape (num_heads, T, T)
        The attention weights of every head.
    """

    sentence: str
    tokens: list[str]

    @property
    def weights(self) -> Float[Tensor, "num_heads T T"]:
        """The attention weights of every head, computed by the layer."""
        return self.layer(self.hidden)[1]

    def __repr__(self) -> str:
        return f"Example({self.sentence!r}: {len(self.tokens)} tokens, hidden {tuple(self.hidden.shape)})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Batch(_Inputs):
    """Several sentences of different lengths in one tensor, and the layer.

    The hidden states behind the end of a sentence are zeros. (In the model itself they would be those of its
    padding token; no real token may attend to them, so it makes no difference.) Their queries, keys and values
    are not zero: a projection makes its bias of them. Only a mask keeps attention away from them, such as
    ``padding_mask(batch.lengths)``.

    Attributes
    ----------
    sentences : list of str
        The B sentences.
    tokens : list of list of str
        For each, its wordpieces, then "[PAD]" up to T, the length of the longest.
    lengths : integer Tensor of shape (B,)
        How many tokens of each are real.
    hidden : Tensor of shape (B, T, d_model)
        What enters the layer, float32, 0 behind the end.
    layer : MultiHeadAttention
        The layer with its pretrained weights, in evaluation mode, without gradients.
    q, k, v : Tensor of shape (B, T, d_model)
        What the projections make of ``hidden``, all heads side by side.
    """

    sentences: list[str]
    tokens: list[list[str]]
    lengths: Int[Tensor, " B"]

    def __repr__(self) -> str:
        return f"Batch({len(self.sentences)} sentences, lengths {self.lengths.tolist()}, {tuple(self.hidden.shape)})"


def list_examples() -> list[str]:
    """List the sentences that `load_example` and `load_batch` know.

    Returns
    -------
    sentences : list of str
        In the order of their numbers, from 0.
    """
    return _about()["sentences"]


def load_example(sentence: int | str = 0) -> Example:
    """Load one real sentence.

    Parameters
    ----------
    sentence : int or str, default 0
        Its number, its text, or a part of its text that no other has, such as "tired" (upper or lower case).

    Returns
    -------
    example : Example
        Its tensors and its layer are this call's own: changing them changes no other.

    Raises
    ------
    TypeError
        If ``sentence`` is neither a number nor a string.
    ValueError
        If no sentence, or more than one, fits; the error lists them all.

    Examples
    --------
    >>> example = load_example("tired")
    >>> example.tokens[10], example.tokens[2]
    ('it', 'animal')
    >>> round(example.weights[1, 10, 2].item(), 2)
    0.68
    """
    about = _about()
    number = _find(sentence, about["sentences"])
    return Example(
        sentence=about["sentences"][number],
        tokens=about["tokens"][number],
        hidden=_tensors([f"hidden.{number}"])[0],
        layer=_layer(about),
    )


def load_batch(sentences: Sequence[int | str]) -> Batch:
    """Load several real sentences as one batch, padded with zeros to the longest.

    Parameters
    ----------
    sentences : sequence of int or str
        Each as `load_example` takes it.

    Returns
    -------
    batch : Batch
        Its tensors and its layer are this call's own: changing them changes no other.

    Raises
    ------
    TypeError
        If ``sentences`` is one string, or holds something that is neither a number nor a string.
    ValueError
        If there are no sentences, or for one of them no sentence, or more than one, fits.

    Examples
    --------
    >>> batch = load_batch(["cat", "Dog bites"])
    >>> batch.lengths.tolist()
    [7, 6]
    >>> batch.tokens[1]
    ['[CLS]', 'dog', 'bites', 'man', '.', '[SEP]', '[PAD]']
    """
    if isinstance(sentences, str | int):
        raise TypeError(f"load_batch takes a list of sentences; got {sentences!r}. Pass [{sentences!r}].")
    about = _about()
    numbers = [_find(sentence, about["sentences"]) for sentence in sentences]
    if not numbers:
        raise ValueError("load_batch takes at least one sentence; got none.")
    hidden = _tensors([f"hidden.{number}" for number in numbers])
    lengths = torch.tensor([len(states) for states in hidden])
    longest = int(lengths.max())
    tokens = [about["tokens"][number] for number in numbers]
    return Batch(
        sentences=[about["sentences"][number] for number in numbers],
        tokens=[words + ["[PAD]"] * (longest - len(words)) for words in tokens],
        lengths=lengths,
        hidden=pad_sequence(hidden, batch_first=True),  # (T_i, d_model) each -> (B, T, d_model)
        layer=_layer(about),
    )


def _about() -> dict[str, Any]:
    """Read what the header of the file says: sentences, tokens, provenance, licence."""
    with safe_open(_FILE, "pt") as file:
        return json.loads(file.metadata()["about"])


def _tensors(names: Sequence[str]) -> list[Tensor]:
    """Read tensors from the file: it takes a millisecond or two, so nothing is kept that a caller could spoil."""
    with safe_open(_FILE, "pt") as file:
        return [file.get_tensor(name) for name in names]


def _layer(about: dict[str, Any]) -> MultiHeadAttention:
    """Make the layer of the weights in the file."""
    with torch.device("meta"):  # no weights to draw: a caller's random numbers stay as they were seeded
        layer = MultiHeadAttention(about["d_model"], about["num_heads"])
    names = list(layer.state_dict())
    layer.load_state_dict(dict(zip(names, _tensors(names), strict=True)), assign=True)
    return layer.eval().requires_grad_(False)


def _find(sentence: int | str, sentences: Sequence[str]) -> int:
    """Find the number of a sentence."""
    listed = "".join(f"\n  {number}  {text}" for number, text in enumerate(sentences))
    if isinstance(sentence, int) and not isinstance(sentence, bool):
        if 0 <= sentence < len(sentences):
            return sentence
        raise ValueError(f"there is no sentence {sentence}. Choose one by its number or a part of its text:{listed}")
    if isinstance(sentence, str):
        if sentence in sentences:
            return sentences.index(sentence)
        found = [number for number, text in enumerate(sentences) if sentence.lower() in text.lower()]
        if len(found) == 1:
            return found[0]
        count = f"{len(found)} sentences contain" if found else "no sentence contains"
        raise ValueError(f"{count} {sentence!r}. Choose one by its number or a part of its text:{listed}")
    raise TypeError(f"a sentence is chosen by its number or a part of its text; got {type(sentence).__name__}.{listed}")
