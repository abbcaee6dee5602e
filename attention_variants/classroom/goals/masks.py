"""Questions about the causal mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attention_variants.model import causal_mask

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes


def _ask(notes: Notes, T_q: int, T_k: int, **options: Any) -> None:
    inside = ", ".join([f"{T_q}, {T_k}", *(f"{name}={x!r}" for name, x in options.items())])
    notes.keep("mask", notes.call(f"causal_mask({inside})", notes.mine, T_q, T_k, **options))


def _square(mine: Any, notes: Notes) -> None:
    _ask(notes, 5, 5)


def _more_keys(mine: Any, notes: Notes) -> None:
    _ask(notes, 2, 5)


def _bottom_right(mine: Any, notes: Notes) -> None:
    _ask(notes, 2, 5, align="bottom-right")


def _one_query(mine: Any, notes: Notes) -> None:
    _ask(notes, 1, 4, align="bottom-right")


def _more_queries(mine: Any, notes: Notes) -> None:
    _ask(notes, 5, 3, align="bottom-right")


def _square_bottom_right(mine: Any, notes: Notes) -> None:
    _ask(notes, 4, 4, align="bottom-right")


GOALS = (
    Goal(
        causal_mask,
        "causal_mask(T_q, T_k)",
        (
            Question("square", _square),
            Question("more_keys", _more_keys),
            Question("bottom_right", _bottom_right, ("align",)),
            Question("one_query", _one_query, ("align",)),
            Question("more_queries", _more_queries, ("align",)),
            Question("square_bottom_right", _square_bottom_right, ("align",)),
        ),
    ),
)
