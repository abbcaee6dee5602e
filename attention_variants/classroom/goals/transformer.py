"""Questions about what stands around attention in a Transformer, with the weights of the package's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attention_variants.model import AddNorm, DecoderLayer, EncoderLayer, padding_mask

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _T_Q, _T_K, _HEADS, _D_MODEL, _D_FF = 2, 5, 7, 2, 8, 16


def _ask(notes: Notes, inputs: dict[str, Tensor | None]) -> None:
    """Make both with the same arguments and weights; ask for output and gradients, of inputs and weights."""
    right, arguments = notes.goal.right, notes.goal.made_with
    made = notes.call(notes.goal.call, notes.mine, *arguments).double()
    notes.give_weights(made, randomised(right(*arguments), notes))
    handed = [None if x is None else notes.leaf(name, x) for name, x in inputs.items()]
    found = notes.call(f"layer({', '.join(inputs)})", made, *handed)
    output = found[0] if isinstance(found, tuple) and found else found
    notes.keep("output", output)
    notes.keep_inputs()
    notes.keep_gradients(output, dict(made.named_parameters()))


def randomised(module: nn.Module, notes: Notes) -> nn.Module:
    """Leave no weight where it began: no factor at 1, no bias at 0."""
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.4 * notes.draw(*parameter.shape) + (0.5 if parameter.ndim == 1 else 0.0))
    return module


def _vectors(notes: Notes, length: int) -> Tensor:
    return 2.0 * notes.draw(_B, length, _D_MODEL) + 0.5


def _add_norm(mine: Any, notes: Notes) -> None:
    _ask(notes, {"x": _vectors(notes, _T_Q), "computed": _vectors(notes, _T_Q)})


def _encoder_plain(mine: Any, notes: Notes) -> None:
    _ask(notes, {"x": _vectors(notes, _T_K)})


def _encoder_padded(mine: Any, notes: Notes) -> None:
    _ask(notes, {"x": _vectors(notes, _T_K), "mask": padding_mask([_T_K, 3], head_axis=True)})


def _decoder_plain(mine: Any, notes: Notes) -> None:
    _ask(notes, {"x": _vectors(notes, _T_Q), "memory": _vectors(notes, _T_K)})


def _decoder_padded(mine: Any, notes: Notes) -> None:
    masks = padding_mask([_T_Q, 3], head_axis=True), padding_mask([4, _T_K], head_axis=True)
    x, memory = _vectors(notes, _T_Q), _vectors(notes, _T_K)
    _ask(notes, {"x": x, "memory": memory, "mask": masks[0], "memory_mask": masks[1]})


_SIZES = (_D_MODEL, _HEADS, _D_FF)

GOALS = (
    Goal(AddNorm, "AddNorm(d_model)", (Question("plain", _add_norm),), made_with=(_D_MODEL,)),
    Goal(
        EncoderLayer,
        "EncoderLayer(d_model, num_heads, d_ff)",
        (Question("plain", _encoder_plain), Question("padded", _encoder_padded)),
        made_with=_SIZES,
    ),
    Goal(
        DecoderLayer,
        "DecoderLayer(d_model, num_heads, d_ff)",
        (Question("plain", _decoder_plain), Question("padded", _decoder_padded)),
        made_with=_SIZES,
    ),
)
