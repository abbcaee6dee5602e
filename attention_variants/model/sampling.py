"""Writing with a language model: from logits to a choice, token by token."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attention_variants.modern.checks import check_floating
from attention_variants.variants.checks import (
    check_count,
    check_flag,
    check_kind,
    check_number,
    check_seed,
    check_tokens,
    look,
)

from .language_model import LanguageModel


def sampling_probabilities(
    logits: Float[Tensor, "*batch vocab_size"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*batch vocab_size"]:
    """From what distribution the next token is drawn.

    In this order: the logits are divided by the temperature; of the tokens, the ``top_k`` likeliest stay; of these the
    fewest that have at least ``top_p`` of the probability together stay; what stays is made to sum to 1.
    Fan et al. (2018), "Hierarchical Neural Story Generation", section 5.1, arXiv:1805.04833 (top-k); Holtzman et al.
    (2020), "The Curious Case of Neural Text Degeneration", section 3.1, arXiv:1904.09751 (top-p).

    Parameters
    ----------
    logits : Tensor of shape (..., vocab_size)
    temperature : float, default 1.0
        Above 1 the choice is freer, below 1 it is safer; towards 0 it becomes the likeliest token, and 0 is that.
    top_k : int, optional
        How many tokens stay. If several are equally likely at the limit, those with the smaller numbers do.
    top_p : float, optional
        How much of the probability stays, above 0 and at most 1, which leaves all.

    Returns
    -------
    probabilities : Tensor of shape (..., vocab_size)
        They sum to 1; 0 for what is left out.

    Raises
    ------
    TypeError
        If the logits are not a floating-point tensor, or temperature or top_p not a number.
    ValueError
        If the temperature is negative, NaN or infinite, top_k is less than 1, or top_p is not as above; if logits are
        NaN or +inf, or all those of a choice -inf.
    """
    _check("sampling_probabilities", temperature, top_k, top_p)
    _check_logits("sampling_probabilities", logits)
    if temperature == 0.0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    logits = logits - logits.amax(dim=-1, keepdim=True)  # the highest is 0, by whatever it is divided
    # Stable: of equal ones, that with the smaller number comes first, on every machine.
    ordered, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered[..., top_k:] = -torch.inf
    probabilities = torch.softmax(ordered, dim=-1)
    if top_p is not None:
        before = probabilities.cumsum(dim=-1) - probabilities  # what those ahead of a token have together
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter_(-1, order, probabilities)


class WrittenToken(NamedTuple):
    """A token of each item of the batch, and what it was drawn from.

    Attributes
    ----------
    token : integer Tensor of shape (B)
    probabilities : Tensor of shape (B, vocab_size)
        What it was drawn from: `sampling_probabilities` of the logits.
    logits : Tensor of shape (B, vocab_size)
        What the model said.
    weights : list of Tensor of shape (B, num_heads, T_k)
        Of each layer, where the query of the last position looked.
    """

    token: Int[Tensor, " B"]
    probabilities: Float[Tensor, "B vocab_size"]
    logits: Float[Tensor, "B vocab_size"]
    weights: list[Float[Tensor, "B H T_k"]]


@torch.inference_mode()
def stream(
    model: LanguageModel,
    tokens: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    use_cache: bool = True,
    seed: int | None = None,
) -> Iterator[WrittenToken]:
    """Write token by token, and hand over each as soon as it is there.

    Parameters
    ----------
    model : LanguageModel
        In evaluation mode.
    tokens : integer Tensor of shape (B, T)
        The beginnings, all of one length.
    max_new_tokens : int
        How many tokens to write.
    temperature, top_k, top_p
        As `sampling_probabilities` takes them.
    use_cache : bool, default True
        Whether to keep keys and values, and compute only what is new; the tokens are the same.
    seed : int, optional
        The same seed gives the same text; without one, every call draws anew.

    Yields
    ------
    written : WrittenToken
        The next token of each text, from what it was drawn, and where the heads looked.

    Raises
    ------
    TypeError, ValueError
        If there is no token to begin with, or something is not as above.

    Warns
    -----
    UserWarning
        When the text grows longer than those of the training.
    """
    written = _written(model, tokens, max_new_tokens, temperature, top_k, top_p, use_cache, seed)
    for new, probabilities, logits, weights in written:
        yield WrittenToken(new[:, 0], probabilities, logits, [layer[:, :, -1] for layer in weights])


def generate(
    model: LanguageModel,
    tokens: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    use_cache: bool = True,
    seed: int | None = None,
) -> Int[Tensor, "B T_all"]:
    """Write to the end, and return all; `stream` hands over each token as soon as it is there.

    Parameters
    ----------
    model, tokens, max_new_tokens, temperature, top_k, top_p, use_cache, seed
        As `stream` takes them.

    Returns
    -------
    tokens : integer Tensor of shape (B, T + max_new_tokens)
        The beginnings and what was written.
    """
    with torch.inference_mode():
        written = _written(model, tokens, max_new_tokens, temperature, top_k, top_p, use_cache, seed)
        pieces = [new for new, *_ in written]
    return torch.cat([tokens, *pieces], dim=1)  # a tensor as any other: it may be read with gradients


def _written(
    model: LanguageModel,
    tokens: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    use_cache: bool,
    seed: int | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor, list[Tensor]]]:
    """The loop of both: `stream` leaves the inference mode between two tokens, `generate` stays in it."""
    _check("generate", temperature, top_k, top_p)
    _check_writing(model, tokens, use_cache, seed)
    check_count("generate", "max_new_tokens", max_new_tokens, least=0)
    generator = None
    if seed is not None:
        generator = torch.Generator(device=tokens.device).manual_seed(seed)
    cache = model.new_cache() if use_cache else None
    longest = model.config.max_len
    if max_new_tokens and tokens.shape[-1] + max_new_tokens > longest:
        warnings.warn(
            f"generate: the text grows past {longest} tokens, the length of the training; what comes then is a guess.",
            stacklevel=2,
        )
    read = tokens
    for _ in range(max_new_tokens):
        all_logits, weights = model(read, cache)
        logits = all_logits[:, -1]  # (B, T, vocab_size) -> (B, vocab_size): of what comes after the last position
        probabilities = sampling_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        if temperature == 0.0:
            new = probabilities.argmax(dim=-1, keepdim=True)  # (B, 1)
        else:
            new = torch.multinomial(probabilities, 1, generator=generator)
        read = new if use_cache else torch.cat([read, new], dim=1)
        yield new, probabilities, logits, weights


def _check(caller: str, temperature: float, top_k: int | None, top_p: float | None) -> None:
    likeliest = "a number of at least 0, and 0 takes the likeliest token"
    check_number(caller, "temperature", temperature, least=0.0, expected=likeliest)
    if 0.0 < temperature < 1e-30:  # nothing can be divided by it in float32
        raise ValueError(
            f"{caller}: temperature must be 0, which takes the likeliest token, or more; got {temperature}."
        )
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise ValueError(f"{caller}: top_k must be a whole number of at least 1, or None for all; got {top_k!r}.")
    if top_p is not None:
        expected = "above 0 and at most 1, or None for all"
        check_number(caller, "top_p", top_p, above=0.0, most=1.0, expected=expected)


def _check_logits(caller: str, logits: Tensor) -> None:
    check_floating(caller, logits=logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"{caller}: logits must have shape (..., vocab_size), of at least one token; got {tuple(logits.shape)}."
        )
    # One operation: a sum of finite numbers is finite in float64, and that with NaN or an infinite one is not.
    if look(logits.amax(dim=-1), lambda highest: not math.isfinite(highest.sum(dtype=torch.float64))):
        raise ValueError(f"{caller}: the highest logit must be a finite number; got NaN, +inf, or -inf throughout.")


def _check_writing(model: LanguageModel, tokens: Tensor, use_cache: bool, seed: int | None) -> None:
    check_kind("generate", "model", model, LanguageModel)
    check_tokens("generate", "tokens", tokens, model.config.vocab_size)
    check_flag("generate", "use_cache", use_cache)
    if seed is not None:
        check_seed("generate", seed)
