"""Attention in motion: a traced call as a player, made from the code that ran."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attention_variants.variants import attention_tiled, get_variant, multihead_attention_fused
from attention_variants.variants._check import check_inputs

from .motion import encode_png, only_changes, with_one_palette, write_gif, write_mp4
from .stage import Stage
from .storyboard import Frame, Storyboard, storyboard
from .trace import trace
from .web import bundle, page

__all__ = ["Animation", "animate"]

#: What a notebook stores of one animation: at most so many frames and bytes.
MOST_FRAMES, MOST_BYTES = 120, 400_000

_KINDS = (".gif", ".png", ".mp4")


class Animation:
    """A call of a function in motion, as `animate` returns it.

    In JupyterLab it is a player; what the notebook stores is an animated PNG, which plays wherever a picture is shown.

    Attributes
    ----------
    boards : tuple of Storyboard
        The frames as data: which tensors there are in each, which cells are lit. Two, if two functions stand beside
        each other.
    """

    def __init__(self, boards: Sequence[Storyboard], stages: Callable[[int], Sequence[Stage]]) -> None:
        self.boards = tuple(boards)
        self._stages = stages

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames of the first function; see ``boards`` for both."""
        return self.boards[0].frames

    @property
    def seconds(self) -> list[float]:
        """How long each picture stands."""
        playing = itertools.zip_longest(*([frame.seconds for frame in board.frames] for board in self.boards))
        return [max(filter(None, both)) for both in playing]

    def __len__(self) -> int:
        return max(len(board.frames) for board in self.boards)

    def __repr__(self) -> str:
        names = " beside ".join(board.name for board in self.boards)
        return f"<Animation of {names}: {len(self)} frames>"

    def pictures(self, scale: int = 1) -> list[Image.Image]:
        """Paint every frame.

        Parameters
        ----------
        scale : int, default 1
            Pixels for each pixel of the usual size.

        Returns
        -------
        pictures : list of PIL.Image.Image
            All of one size, in RGB.
        """
        return list(self._each(scale))

    def save(self, path: str | Path, *, scale: int = 1, progress: bool = True) -> Path:
        """Save it as a GIF, an animated PNG or a film.

        Parameters
        ----------
        path : str or Path
            A file that ends in .gif, .png or .mp4.
        scale : int, default 1
            2 gives twice as many pixels in each direction.
        progress : bool, default True
            Whether to show a progress bar while it is painted and written.

        Returns
        -------
        path : Path
            Where it was written.

        Raises
        ------
        ValueError
            If the file ends in something else.
        ImportError
            If a film is wanted and ``imageio-ffmpeg`` is not installed.
        """
        path = Path(path)
        if path.suffix.lower() not in _KINDS:
            raise ValueError(
                f"save: the file must end in {', '.join(_KINDS)}; got {path.name!r}. to_html makes a page."
            )
        pictures = list(_with_progress(self._each(scale), len(self), f"painting {path.name}", progress))
        if path.suffix.lower() == ".mp4":
            write_mp4(path, _with_progress(pictures, len(self), f"writing {path.name}", progress), self.seconds)
        elif path.suffix.lower() == ".gif":
            write_gif(path, self._with_palette(pictures), self.seconds)
        else:
            path.write_bytes(encode_png(self._with_palette(pictures), self.seconds))
        return path

    def to_html(self, path: str | Path, *, scale: int = 2) -> Path:
        """Write a player that works from disk, with the network off: one file with everything in it.

        Parameters
        ----------
        path : str or Path
            The file.
        scale : int, default 2
            Pixels for each pixel of the usual size: 2 for sharp pictures on today's screens.

        Returns
        -------
        path : Path
            Where it was written.
        """
        path = Path(path)
        path.write_text(
            page("player", self._data(self._with_palette(self.pictures(scale)), scale), title=self._title),
            encoding="utf-8",
        )
        return path

    @cached_property
    def png(self) -> bytes:
        """The animated PNG that a notebook stores, of at most 400 kB."""
        frames, seconds = self._painted, self.seconds
        png = encode_png(frames, seconds)
        while len(png) > MOST_BYTES and len(frames) > 2:  # every second frame stays, and the last
            stay = [index % 2 == 0 or index == len(frames) - 1 for index in range(len(frames))]
            frames = list(itertools.compress(frames, stay))
            seconds = list(itertools.compress(seconds, stay))
            png = encode_png(frames, seconds)
        return png

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return bundle(
            "player", lambda: self._data(self._painted, 1), picture=self.png, alt=self._title, text=repr(self)
        )

    @property
    def _title(self) -> str:
        names = " beside ".join(board.name for board in self.boards)
        return f"{names}, step by step"

    @cached_property
    def _painted(self) -> list[Image.Image]:
        return self._with_palette(self.pictures())

    def _with_palette(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        colours = dict.fromkeys(colour for stage in self._stages(1) for colour in stage.palette)
        return with_one_palette(pictures, list(colours)[:255])

    def _together(self) -> list[tuple[Frame, ...]]:
        """The frames of all boards, picture by picture; who is done waits, and says nothing more until the end."""
        count = len(self)
        waiting = [replace(board.frames[-1], caption="returned") for board in self.boards]
        boards = [
            [*board.frames[:-1], *[wait] * (count - len(board.frames)), board.frames[-1]]
            for board, wait in zip(self.boards, waiting, strict=True)
        ]
        return list(zip(*boards, strict=True))

    def _each(self, scale: int) -> Any:
        stages = self._stages(scale)
        for both in self._together():
            yield _beside([stage.paint(frame) for stage, frame in zip(stages, both, strict=True)])

    def _data(self, pictures: Sequence[Image.Image], scale: int) -> dict[str, Any]:
        """What the player shows."""
        frames = []
        for picture in only_changes(pictures):
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            frames.append(base64.b64encode(buffer.getvalue()).decode())
        return {
            "name": self._title,
            "size": pictures[0].size,
            "width": pictures[0].width // scale,
            "frames": frames,
            "seconds": self.seconds,
            "captions": [". ".join(frame.caption for frame in both) for both in self._together()],
        }


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
        A variant by its number, or any function that `trace` can follow. The fused kernel of variant 7 cannot be
        watched from Python: in its place runs ``attention_tiled``, the same algorithm with its blocks of keys.
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
        If a tensor has more than 40 rows or columns, or more than 6 sheets; if a name is unknown, or the number of
        tokens or titles does not fit.
    Exception
        Whatever the function raises, untouched.

    Examples
    --------
    >>> example = load_example("Dog bites")
    >>> animate(1, *example.head(1), tokens=example.tokens)
    <Animation of attention_loops: 89 frames>
    """
    functions = [function] if beside is None else [function, beside]
    if titles is not None and (isinstance(titles, str) or len(titles) != len(functions)):
        raise ValueError(f"animate: titles must be {len(functions)}, one for each function; got {titles!r}.")
    if max_frames > MOST_FRAMES:
        raise ValueError(f"animate: max_frames must be at most {MOST_FRAMES}; got {max_frames}.")
    names = [names] if isinstance(names, str) else names
    words = (tokens if query_tokens is None else query_tokens, tokens if key_tokens is None else key_tokens)
    boards, results = [], []
    for each in functions:
        each = get_variant(each) if isinstance(each, int) else each
        fused = each is multihead_attention_fused
        call, num_heads = _watchable(args, kwargs) if fused else ((each, *args), 1)
        steps = trace(*call, **({} if fused else kwargs))
        board = storyboard(steps, names, max_frames=max_frames, query_tokens=words[0], key_tokens=words[1])
        if num_heads > 1:
            board = replace(board, sheet="head")
        _check_words(board, words)
        boards.append(board)
        results.append(steps.result)
    if len(boards) > 1:
        boards = _compared(boards, results)

    def stages(scale: int) -> list[Stage]:
        alone = len(boards) == 1
        return [
            Stage(
                board,
                width=960 if alone else 480,
                code=alone,
                title=titles[at] if titles else None,
                tokens=words,
                by_token=by_token,
                scale=scale,
            )
            for at, board in enumerate(boards)
        ]

    return Animation(boards, stages)


def _watchable(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], int]:
    """Variant 7's call as one of the tiled version, which goes through the same blocks in Python; and its heads."""

    def arguments(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        num_heads: int = 1,
        *,
        dropout_p: float = 0.0,
        need_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[tuple[Any, ...], int]:
        check_inputs(7, q, k, v, mask, num_heads, dropout_p)
        if dropout_p:
            raise ValueError(f"animate: dropout is not drawn; got dropout_p={dropout_p}, leave it at 0.")
        if is_causal:
            causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
            mask = causal if mask is None else mask & causal
        if num_heads == 1 and mask is not None and mask.ndim > 2:
            mask = mask.squeeze(-3)  # the tiled version has no axis for heads
        if num_heads > 1:  # (..., T, d_model) -> (..., H, T, d_k)
            q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))
        return (attention_tiled, q, k, v, mask), num_heads

    return arguments(*args, **kwargs)


def _check_words(board: Storyboard, words: tuple[Sequence[str] | None, Sequence[str] | None]) -> None:
    """Refuse tokens of which there are more or fewer than rows."""
    for tokens, name, kind in zip(words, ("q", "k"), ("query", "key"), strict=True):
        rows = next((panel.rows for panel in board.panels.values() if panel.name == name), None)
        if tokens is not None and rows is not None and len(tokens) != rows:
            raise ValueError(f"animate: {kind} tokens must be {rows}, one for each row of {name}; got {len(tokens)}.")


def _compared(boards: list[Storyboard], results: Sequence[Any]) -> list[Storyboard]:
    """Let the last caption of each say where the two differ: in what is still drawn, and in what they returned."""
    one, other = (board.frames[-1].cells for board in boards)
    pairs = {
        board.panels[key].name: (one[key].value, other[key].value)
        for board in boards[:1]
        for key, panel in board.panels.items()
        if not panel.argument
        and key in one
        and key in other
        and panel.shape == boards[1].panels[key].shape
        and one[key].there.all()
        and other[key].there.all()
    }
    returned = [[x for x in (r if isinstance(r, tuple) else (r,)) if isinstance(x, Tensor)] for r in results]
    for number, (a, b) in enumerate(zip(*returned, strict=False), start=1):
        if a.shape == b.shape:
            pairs.setdefault(f"result {number}", (a.detach().numpy(force=True), b.detach().numpy(force=True)))
    said, differ = [], False
    for name, (a, b) in pairs.items():
        close = np.isclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        differ |= not close.all()
        if not close.all() and not name.startswith("result"):
            said.append(f"{int((~close).sum())} of {close.size} numbers of {name} differ")
    verdict = "; ".join(said) or ("the results differ" if differ else "both have the same numbers")
    caption = f"returned; {verdict}" if pairs else "returned"
    return [replace(board, frames=(*board.frames[:-1], replace(board.frames[-1], caption=caption))) for board in boards]


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    if len(pictures) == 1:
        return pictures[0]
    both = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    x = 0
    for picture in pictures:
        both.paste(picture, (x, 0))
        x += picture.width
    return both


def _with_progress(items: Any, total: int, words: str, progress: bool) -> Any:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    seen = progress and (console.is_terminal or console.is_jupyter)
    return track(items, words, total, console=console, transient=True, disable=not seen)
