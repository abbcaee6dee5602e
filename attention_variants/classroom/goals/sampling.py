"""Questions about the distribution from which the next token is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.model import sampling_probabilities

from .goal import TOLERANCE_IN_FLOAT32, Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_LOGITS = (2, 3, 9)
#: Probabilities that leave no doubt where top_p cuts: .4, .25, .15, .1, .06, .04, in no order.
_SHARES = (0.1, 0.4, 0.04, 0.25, 0.06, 0.15)


def _ask(notes: Notes, logits: torch.Tensor | None = None, **options: Any) -> None:
    logits = 2.0 * notes.draw(*_LOGITS) if logits is None else logits
    notes.function(["probabilities"], gradients=False, logits=logits, **options)


def _shares() -> torch.Tensor:
    return torch.tensor([_SHARES, _SHARES[::-1]], dtype=torch.float64).log()


def _plain(mine: Any, notes: Notes) -> None:
    _ask(notes)


def _warm(mine: Any, notes: Notes) -> None:
    _ask(notes, temperature=2.0)


def _cold(mine: Any, notes: Notes) -> None:
    _ask(notes, temperature=0.5)


def _at_0(mine: Any, notes: Notes) -> None:
    _ask(notes, temperature=0.0)


def _top_k(mine: Any, notes: Notes) -> None:
    _ask(notes, top_k=3)


def _top_k_of_one(mine: Any, notes: Notes) -> None:
    _ask(notes, top_k=1)


def _top_k_of_all(mine: Any, notes: Notes) -> None:
    _ask(notes, top_k=20)


def _top_k_ties(mine: Any, notes: Notes) -> None:
    _ask(notes, torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]).double(), top_k=2)


def _top_p(mine: Any, notes: Notes) -> None:
    _ask(notes, _shares(), top_p=0.7)


def _top_p_of_one(mine: Any, notes: Notes) -> None:
    _ask(notes, _shares(), top_p=0.1)


def _top_p_of_all(mine: Any, notes: Notes) -> None:
    _ask(notes, top_p=1.0)


def _top_p_and_temperature(mine: Any, notes: Notes) -> None:
    _ask(notes, _shares(), temperature=2.0, top_p=0.7)


def _top_k_and_top_p(mine: Any, notes: Notes) -> None:
    _ask(notes, _shares(), top_k=4, top_p=0.7)  # of all that is three tokens, of the four that stay two


def _in_float32(mine: Any, notes: Notes) -> None:
    _ask(notes, notes.draw(*_LOGITS, dtype=torch.float32), temperature=0.7, top_k=5)


GOALS = (
    Goal(
        sampling_probabilities,
        "sampling_probabilities(logits)",
        (
            Question("plain", _plain),
            Question("warm", _warm, ("temperature",)),
            Question("cold", _cold, ("temperature",)),
            Question("at_0", _at_0, ("temperature",)),
            Question("top_k", _top_k, ("top_k",)),
            Question("top_k_of_one", _top_k_of_one, ("top_k",)),
            Question("top_k_of_all", _top_k_of_all, ("top_k",)),
            Question("top_k_ties", _top_k_ties, ("top_k",)),
            Question("top_p", _top_p, ("top_p",)),
            Question("top_p_of_one", _top_p_of_one, ("top_p",)),
            Question("top_p_of_all", _top_p_of_all, ("top_p",)),
            Question("top_p_and_temperature", _top_p_and_temperature, ("temperature", "top_p")),
            Question("top_k_and_top_p", _top_k_and_top_p, ("top_k", "top_p")),
            Question("in_float32", _in_float32, ("temperature", "top_k"), tolerance=TOLERANCE_IN_FLOAT32),
        ),
    ),
)
