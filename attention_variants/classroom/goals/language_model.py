"""Questions about a language model and its attention: with the same weights the same numbers, cache or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from attention_variants.model import LanguageModel, LanguageModelConfig, RotaryAttention
from attention_variants.modern import KVCache, rotary_speeds

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _T, _D_MODEL, _H, _G, _D_K = 2, 5, 8, 4, 2, 4


def _with_weights(notes: Notes, right: nn.Module, made: Any) -> Any:
    """Give both the same weights, in which no number is where it began."""
    with torch.no_grad():
        for parameter in right.parameters():
            parameter.copy_(notes.draw(*parameter.shape) * 0.5 + (0.5 if parameter.ndim == 1 else 0.0))
    made = made.double()
    notes.give_weights(made, right.double())
    return made


# ------------------------------------------------------------------------------------------------- the attention


def _attention(mine: Any, notes: Notes, **options: Any) -> Any:
    inside = "".join(f", {name}={x}" for name, x in options.items())
    made = notes.call(f"layer = RotaryAttention({_D_MODEL}, {_H}, {_G}, {_D_K}{inside})", mine, 8, 4, 2, 4, **options)
    return _with_weights(notes, RotaryAttention(_D_MODEL, _H, _G, _D_K, **options), made)


def _look(notes: Notes, layer: Any, number: str, start: int, T: int, cache: KVCache | None = None) -> Any:
    angle = torch.arange(start, start + T)[:, None, None] * rotary_speeds(_D_K)
    x = notes.leaf(f"x {number}", notes.draw(_B, T, _D_MODEL))
    options = {} if cache is None else {"cache": cache}
    code = "layer(x, cosine, sine" + ", cache=cache" * bool(options) + ")"
    found = notes.call(code, layer, x, angle.cos(), angle.sin(), **options)
    return notes.keep_all([f"output {number}", f"weights {number}"], found)[0]


def _whole(mine: Any, notes: Notes) -> None:
    output = _look(notes, _attention(mine, notes), "1", 0, _T)
    notes.keep_inputs()
    notes.keep_gradients(output)


def _with_cache(mine: Any, notes: Notes, lengths: tuple[int, ...], **options: Any) -> None:
    layer, cache, start = _attention(mine, notes, **options), KVCache(), 0
    for number, T in enumerate(lengths, start=1):
        _look(notes, layer, str(number), start, T, cache)
        notes.keep(f"cache.k {number}", cache.k)
        start += T


def _one_at_a_time(mine: Any, notes: Notes) -> None:
    _with_cache(mine, notes, (1, 1, 1))


def _in_chunks(mine: Any, notes: Notes) -> None:
    _with_cache(mine, notes, (3, 2, 1))


def _normalised(mine: Any, notes: Notes) -> None:
    _with_cache(mine, notes, (3, 1), qk_norm=True)


def _window(mine: Any, notes: Notes) -> None:
    _with_cache(mine, notes, (4, 1, 2), window=2)


# ----------------------------------------------------------------------------------------------------- the model


_CONFIG = LanguageModelConfig(vocab_size=11, d_model=8, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=12)


def _model(mine: Any, notes: Notes) -> Any:
    made = notes.call("model = LanguageModel(config)", mine, _CONFIG)
    return _with_weights(notes, LanguageModel(_CONFIG), made)


def _predict(notes: Notes, model: Any, number: str, B: int, T: int, cache: Any = None) -> None:
    tokens = torch.randint(_CONFIG.vocab_size, (B, T), generator=notes.generator)
    code = "model(tokens" + ", cache" * (cache is not None) + ")"
    found = notes.call(code, model, tokens, *([] if cache is None else [cache]))
    notes.keep(f"logits {number}", found[0] if isinstance(found, tuple) else found)


def _logits(mine: Any, notes: Notes) -> None:
    _predict(notes, _model(mine, notes), "1", _B, _T)


def _logits_one_at_a_time(mine: Any, notes: Notes) -> None:
    model = _model(mine, notes)
    cache = [KVCache() for _ in range(_CONFIG.num_layers)]
    for number in ("1", "2", "3"):
        _predict(notes, model, number, _B, 1, cache)


def _logits_in_chunks(mine: Any, notes: Notes) -> None:
    model = _model(mine, notes)
    cache = [KVCache() for _ in range(_CONFIG.num_layers)]
    for number, T in enumerate((3, 2, 1), start=1):
        _predict(notes, model, str(number), _B, T, cache)


def _two_texts(mine: Any, notes: Notes) -> None:
    model = _model(mine, notes)
    for number, T in enumerate((3, 2), start=1):
        _predict(notes, model, str(number), _B, T, [KVCache() for _ in range(_CONFIG.num_layers)])


GOALS = (
    Goal(
        RotaryAttention,
        "RotaryAttention(d_model, num_heads, num_kv_heads, d_k)",
        (
            Question("whole", _whole),
            Question("one_at_a_time", _one_at_a_time),
            Question("in_chunks", _in_chunks),
            Question("normalised", _normalised, ("qk_norm",)),
            Question("window", _window, ("window",)),
        ),
        made_with=(_D_MODEL, _H, _G, _D_K),
    ),
    Goal(
        LanguageModel,
        "LanguageModel(config)",
        (
            Question("logits", _logits),
            Question("one_at_a_time", _logits_one_at_a_time),
            Question("in_chunks", _logits_in_chunks),
            Question("two_texts", _two_texts),
        ),
        made_with=(_CONFIG,),
    ),
)
