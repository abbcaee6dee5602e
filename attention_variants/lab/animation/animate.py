"""Attention in motion: a traced call as a player, made from the code that ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from attention_variants.lab.code.trace import trace
from attention_variants.lab.measure.reference import looks_equal
from attention_variants.lab.plots.colors import TOKENS
from attention_variants.model import causal_mask
from attention_variants.variants import attention_tiled, get_variant, multihead_attention_fused
from attention_variants.variants.checks import check_inputs

from .captions import Event, Kind, Verdict
from .frames import Panel, Storyboard
from .paint import Painter
from .player import HALF, MOST_FRAMES, WHOLE, Animation
from .source_lines import cells_of
from .storyboard import storyboard

__all__ = ["animate", "can_be_watched"]

#: The words of the queries and of the keys, or nothing: then they are numbered.
_Words = tuple[list[str] | None, list[str] | None]


def animate(
    function: Callable[..., Any] | int,
    /,
    *args: Any,
    beside: Callable[..., Any] | int | None = None,
    titles: Sequence[str] | None = None,
    names: str | Sequence[str] | None = None,
    tokens: Sequence[str] | None = None,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    by_token: bool = False,
    follow: int | None = None,
    values: bool = False,
    max_frames: int = MOST_FRAMES,
    **kwargs: Any,
) -> Animation:
    """Show a call in motion: the source with the running line lit, and the tensors that fill as the code fills them.

    The function runs unchanged, under `trace`, and every number in the pictures is one that it computed. What a line
    reads is lit, and so is what it writes. Where a line only rearranges numbers, as ``view`` and ``transpose`` do, they
    are seen to go where they go.

    Parameters
    ----------
    function : callable or int
        A variant by its number, or any function that `trace` can follow. A fused kernel cannot be watched from
        Python: in place of variant 7 runs ``attention_tiled``, the same algorithm with its blocks of keys.
    *args, **kwargs
        What to call it with.
    beside : callable or int, optional
        Another function to run on the same arguments, beside the first; the last picture says where they differ.
    titles : sequence of two str, optional
        What to call the two; by default, their names.
    names : str or sequence of str, optional
        The tensors to show; by default all of one dimension or more.
    tokens : sequence of str, optional
        The words of queries and keys alike; by default they are numbered.
    query_tokens, key_tokens : sequence of str, optional
        The words of each, where they differ.
    by_token : bool, default False
        Whether a number is coloured by the row in which it came in, and called by row and column ("2d"), rather than
        coloured by its size: to see where each number goes.
    follow : int, optional
        A row to mark in every tensor that has as many rows as the first argument: one position on its way.
    values : bool, default False
        Whether to write the numbers into the cells of a function that attends; a tensor whose cells are too small
        for them goes without. Other functions and modules always have theirs.
    max_frames : int, default 120
        The most frames. Of longer loops, the first turn is shown step by step; then a frame stands for several steps
        and says so.

    Returns
    -------
    animation : Animation
        The last expression of a cell shows it; ``.save("steps.gif")`` and ``.to_html("steps.html")`` keep it.

    Raises
    ------
    TypeError
        If the function has no Python code to follow.
    ValueError
        If a tensor has more than 40 rows or columns, or more than 6 sheets, or all together do not fit into a picture;
        if a name is unknown, or the number of tokens or titles does not fit.
    Exception
        Whatever the function raises, untouched.

    Examples
    --------
    >>> example = load_example("Dog bites")
    >>> animate(1, *example.head(1), tokens=example.tokens)
    <Animation of attention_loops: 89 frames>
    """
    functions = [function] if beside is None else [function, beside]
    names = _checked(functions, titles, names, max_frames)
    words = _words(*(tokens if own is None else own for own in (query_tokens, key_tokens)))
    storyboards, results = [], []
    for each in functions:
        board, result = _storyboard_of(each, args, kwargs, names, words, max_frames)
        tallest = max(panel.rows for panel in board.panels.values() if panel.argument) if by_token else 0
        if tallest > len(TOKENS):
            raise ValueError(f"animate: by_token has colours for {len(TOKENS)} tokens; got {tallest}.")
        _check_followed(board, follow)
        storyboards.append(board)
        results.append(result)
    if len(storyboards) > 1:
        storyboards = _compared(storyboards, results)

    def of_width(width: int, scale: int) -> list[Painter]:
        settings: dict[str, Any] = {
            "tokens": words,
            "by_token": by_token,
            "follow": follow,
            "values": values,
            "scale": scale,
            "code": beside is None,
        }
        return [
            Painter(board, width=width, title=title, **settings)
            for board, title in zip(storyboards, titles or [""] * len(storyboards), strict=True)
        ]

    def painters(scale: int) -> list[Painter]:
        if beside is None:
            return of_width(WHOLE, scale)
        try:
            return of_width(HALF, scale)
        except ValueError:  # too much for half the width: one below the other
            return of_width(WHOLE, scale)

    return Animation(storyboards, painters)


def can_be_watched(function: Callable[..., Any] | int) -> bool:
    """Whether a function runs as it is in an animation; in place of a fused kernel's, ``attention_tiled`` does.

    Parameters
    ----------
    function : callable or int
        As `animate` takes it.

    Returns
    -------
    can : bool
    """
    return (get_variant(function) if isinstance(function, int) else function) is not multihead_attention_fused


def _checked(
    functions: Sequence[Any], titles: Sequence[str] | None, names: str | Sequence[str] | None, max_frames: int
) -> Sequence[str] | None:
    """Refuse settings that fit nothing; return the names as a list."""
    if titles is not None and (isinstance(titles, str) or len(titles) != len(functions)):
        raise ValueError(f"animate: titles must be {len(functions)}, one for each function; got {titles!r}.")
    if max_frames > MOST_FRAMES:
        raise ValueError(f"animate: max_frames must be at most {MOST_FRAMES}; got {max_frames}.")
    if not isinstance(max_frames, int):
        raise ValueError(f"animate: max_frames must be a whole number; got {max_frames!r}.")
    names = [names] if isinstance(names, str) else names
    if names is not None and not names:
        raise ValueError("animate: names must name at least one tensor, or be left out for all of them.")
    return names


def _words(queries: Sequence[str] | None, keys: Sequence[str] | None) -> _Words:
    """The words of queries and keys as lists of strings."""
    if isinstance(queries, str) or isinstance(keys, str):
        raise ValueError("animate: tokens must be a list of words, one for each row; got one string.")
    return (None if queries is None else [*map(str, queries)], None if keys is None else [*map(str, keys)])


def _storyboard_of(
    function: Callable[..., Any] | int,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    names: Sequence[str] | None,
    words: _Words,
    max_frames: int,
) -> tuple[Storyboard, Any]:
    """Trace one function; return its frames and its result."""
    function = get_variant(function) if isinstance(function, int) else function
    call: tuple[Any, ...] = (function, *args)
    num_heads = 1
    if not can_be_watched(function):
        call, num_heads = _watchable(args, kwargs)
        kwargs = {}
    steps = trace(*call, **kwargs)
    board = storyboard(
        steps,
        names,
        max_frames=max_frames,
        heads=True if num_heads > 1 else None,
        query_tokens=words[0],
        key_tokens=words[1],
    )
    _check_words(board, words)
    result = steps.result
    if num_heads > 1:  # the heads of the tiled version are not yet merged
        result = (result[0].transpose(-3, -2).flatten(-2), None)
    return board, result


def _watchable(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], int]:
    """Variant 7's call as one of the tiled version, which goes through the same blocks in Python; and its heads."""
    call = inspect.signature(multihead_attention_fused).bind(*args, **kwargs)
    call.apply_defaults()
    q, k, v, mask, num_heads = (call.arguments[name] for name in ("q", "k", "v", "mask", "num_heads"))
    dropout_p = call.arguments["dropout_p"]
    check_inputs(None, q, k, v, mask, num_heads, dropout_p, caller="multihead_attention_fused")
    if dropout_p:
        raise ValueError(f"animate: dropout is not drawn; got dropout_p={dropout_p}, leave it at 0.")
    if call.arguments["is_causal"]:
        causal = causal_mask(q.shape[-2], k.shape[-2])
        mask = causal if mask is None else mask & causal
    if num_heads == 1 and mask is not None and mask.ndim > 2:
        mask = mask.squeeze(-3)  # the tiled version has no axis for heads
    if num_heads > 1:  # (..., T, d_model) -> (..., H, T, d_k)
        q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))
    return (attention_tiled, q, k, v, mask), num_heads


def _check_words(board: Storyboard, words: Sequence[Sequence[str] | None]) -> None:
    """Refuse tokens of which there are more or fewer than rows: of q and k, or else of every argument."""
    arguments = [panel for panel in board.panels.values() if panel.argument]
    matrices = [panel for panel in arguments if len(panel.shape) > 1 or panel.whole_numbers]
    for tokens, name, kind in zip(words, ("q", "k"), ("query", "key"), strict=True):
        own = [panel for panel in matrices if panel.name == name][:1] or matrices
        if tokens is not None and own and len(tokens) not in [_length(panel) for panel in own]:
            rows = " or ".join(
                f"{_length(panel)}, one for each {'number' if panel.whole_numbers else 'row'} of {panel.name}"
                for panel in own
            )
            raise ValueError(f"animate: {kind} tokens must be {rows}; got {len(tokens)}.")


def _length(panel: Panel) -> int:
    """How many tokens an argument stands for: a row of a matrix is one, and so is the number of one."""
    return panel.columns if panel.whole_numbers else panel.rows


def _check_followed(board: Storyboard, follow: int | None) -> None:
    """Refuse a row that what came in first does not have."""
    first = next((panel for panel in board.panels.values() if panel.argument and len(panel.shape) > 1), None)
    if follow is None or (first is not None and isinstance(follow, int) and 0 <= follow < first.rows):
        return
    there_is = f"from 0 to {first.rows - 1}, a row of {first.name}" if first else "left out: no argument has rows"
    raise ValueError(f"animate: follow must be {there_is}; got {follow!r}.")


def _compared(storyboards: Sequence[Storyboard], results: Sequence[Any]) -> list[Storyboard]:
    """Let the last frame of each say whether the results differ, and what does of that which is still drawn."""
    (one, other), (board, beside) = (each.frames[-1].cells for each in storyboards), storyboards
    differ = []
    for key, panel in board.panels.items():
        known = key in one and key in other and panel.shape == beside.panels[key].shape
        if known and not panel.argument and one[key].there.all() and other[key].there.all():
            close = looks_equal(one[key].value, other[key].value)
            if not close.all():
                differ.append((int((~close).sum()), close.size, panel.name))
    event = replace(_verdict(*results), differences=tuple(differ))
    return [
        replace(board, frames=(*board.frames[:-1], replace(board.frames[-1], event=event))) for board in storyboards
    ]


def _verdict(result: Any, other: Any) -> Event:
    """Whether two functions returned the same; what only one of them returned does not count."""
    pairs = zip(*(r if isinstance(r, tuple | list) else (r,) for r in (result, other)), strict=False)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)]
    if not tensors:
        return Event(Kind.RETURNED, verdict=Verdict.NOTHING)
    for a, b in tensors:
        if a.shape != b.shape:
            return Event(Kind.RETURNED, verdict=Verdict.OTHER_SHAPES, shapes=(tuple(a.shape), tuple(b.shape)))
    same = all(looks_equal(cells_of(a.detach()), cells_of(b.detach()), a.dtype).all() for a, b in tensors if a.ndim)
    return Event(Kind.RETURNED, verdict=Verdict.SAME if same else Verdict.DIFFERENT)
