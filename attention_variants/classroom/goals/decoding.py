"""Questions about writing with a cache: the few lines around it in a layer, and those around a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attention_variants.model import LanguageModel, LanguageModelConfig
from attention_variants.modern import KVCache, grouped_query_attention

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes


def attend_with_cache(
    q: Tensor, k: Tensor, v: Tensor, cache: KVCache, num_heads: int = 1, num_kv_heads: int = 1
) -> tuple[Tensor, Tensor]:
    """Let new queries look at all keys so far: those that are kept, and the new ones up to their own.

    Parameters
    ----------
    q : Tensor of shape (..., T_new, num_heads * d_k)
        The queries of the new positions.
    k, v : Tensor of shape (..., T_new, num_kv_heads * d_k)
        Their keys and values; `cache` keeps them as they are.
    cache : KVCache
        What is kept of earlier positions.
    num_heads, num_kv_heads : int, default 1
        As `grouped_query_attention` takes them.

    Returns
    -------
    context : Tensor of shape (..., T_new, num_heads * d_k)
    weights : Tensor of shape (..., num_heads, T_new, T)
    """
    mask = cache.mask(q.shape[-2])  # (T_new, T): asked for before the new keys are in
    k, v = cache.append(k, v)  # (..., T, num_kv_heads * d_k)
    return grouped_query_attention(q, k, v, mask, num_heads, num_kv_heads)


def write_greedily(model: LanguageModel, tokens: Tensor, max_new_tokens: int) -> Tensor:
    """Write the likeliest token each time, with a cache: every position is computed once.

    Parameters
    ----------
    model : LanguageModel
    tokens : integer Tensor of shape (B, T)
        The beginnings.
    max_new_tokens : int
        How many tokens to write.

    Returns
    -------
    tokens : integer Tensor of shape (B, T + max_new_tokens)
        The beginnings and what was written.
    """
    cache = model.new_cache()
    new = tokens
    for _ in range(max_new_tokens):
        logits, _ = model(new, cache)  # (B, T_new, vocab_size)
        new = logits[:, -1].argmax(dim=-1, keepdim=True)  # (B, 1)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens


# ---------------------------------------------------------------------------------------------- one layer's step


_RETURNS = ("context", "weights")


def _step(notes: Notes, cache: KVCache, number: str, T: int, num_heads: int, num_kv_heads: int) -> None:
    q, k, v = (notes.draw(2, T, heads * 3) for heads in (num_heads, num_kv_heads, num_kv_heads))
    found = notes.call(notes.goal.call, notes.mine, q, k, v, cache, num_heads, num_kv_heads)
    notes.keep_all([f"{name} {number}" for name in _RETURNS], found)
    notes.keep(f"cache.k {number}", cache.k)


def _steps(notes: Notes, lengths: tuple[int, ...], num_heads: int = 2, num_kv_heads: int = 2) -> None:
    cache = KVCache()
    for number, T in enumerate(lengths, start=1):
        _step(notes, cache, str(number), T, num_heads, num_kv_heads)


def _one_at_a_time(mine: Any, notes: Notes) -> None:
    _steps(notes, (1, 1, 1))


def _prompt_and_token(mine: Any, notes: Notes) -> None:
    _steps(notes, (4, 1, 1))


def _in_chunks(mine: Any, notes: Notes) -> None:
    _steps(notes, (3, 2, 2))


def _shared_keys(mine: Any, notes: Notes) -> None:
    _steps(notes, (3, 1, 2), 4, 2)


def _gradients(mine: Any, notes: Notes) -> None:
    _steps(notes, (2,))
    q, k, v = (notes.leaf(name, notes.draw(2, 3, 6)) for name in "qkv")
    context, _ = notes.call(notes.goal.call, mine, q, k, v, KVCache(), 2, 2)
    notes.keep("context 2", context)
    notes.keep_inputs()
    notes.keep_gradients(context)


# ------------------------------------------------------------------------------------------------ a whole text


_CONFIG = LanguageModelConfig(vocab_size=23, d_model=8, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=16)


def tiny_model(notes: Notes) -> LanguageModel:
    """Make a model with weights that have a say: what it writes depends on every token before."""
    model = LanguageModel(_CONFIG).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(notes.draw(*parameter.shape) * (1.0 if parameter.ndim > 1 else 0.3))
    return model


def _write(notes: Notes, name: str, model: LanguageModel, tokens: Tensor, max_new_tokens: int) -> None:
    greedy = {"temperature": 0.0} if notes.takes("temperature") else {}
    code = "generate(model, tokens, max_new_tokens" + ", temperature=0.0" * bool(greedy) + ")"
    notes.keep(name, notes.call(code, notes.mine, model, tokens.clone(), max_new_tokens, **greedy))


def _tokens(notes: Notes, B: int, T: int) -> Tensor:
    return torch.randint(_CONFIG.vocab_size, (B, T), generator=notes.generator)


def _batch(mine: Any, notes: Notes) -> None:
    _write(notes, "tokens", tiny_model(notes), _tokens(notes, 2, 4), 6)


def _from_one_token(mine: Any, notes: Notes) -> None:
    _write(notes, "tokens", tiny_model(notes), _tokens(notes, 1, 1), 5)


def _two_texts(mine: Any, notes: Notes) -> None:
    model = tiny_model(notes)
    _write(notes, "tokens 1", model, _tokens(notes, 2, 4), 4)
    _write(notes, "tokens 2", model, _tokens(notes, 2, 3), 4)


def _nothing(mine: Any, notes: Notes) -> None:
    _write(notes, "tokens", tiny_model(notes), _tokens(notes, 2, 3), 0)


def _computed_once(mine: Any, notes: Notes) -> None:
    model, computed = tiny_model(notes), 0

    def count(module: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        nonlocal computed
        tokens = arguments[0] if arguments else options["tokens"]
        computed += tokens.shape[-1]

    model.register_forward_pre_hook(count, with_kwargs=True)
    _write(notes, "tokens", model, _tokens(notes, 1, 5), 4)
    # Of 9 positions the last need not be computed; who does has not computed any of them twice.
    notes.keep("computed_again", computed > 9)


GOALS = (
    Goal(
        attend_with_cache,
        "attend_with_cache(q, k, v, cache, num_heads, num_kv_heads)",
        (
            Question("one_at_a_time", _one_at_a_time),
            Question("prompt_and_token", _prompt_and_token),
            Question("in_chunks", _in_chunks),
            Question("shared_keys", _shared_keys),
            Question("gradients", _gradients),
        ),
    ),
    Goal(
        write_greedily,
        "generate(model, tokens, max_new_tokens)",
        (
            Question("batch", _batch),
            Question("from_one_token", _from_one_token),
            Question("two_texts", _two_texts),
            Question("nothing", _nothing),
            Question("computed_once", _computed_once),
        ),
        called="generate",
    ),
)
