"""Attention in motion: a traced call as a player, made from the code that ran."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attention_variants.lab.code.trace import trace
from attention_variants.lab.web.view import bundle, page
from attention_variants.model import causal_mask
from attention_variants.variants import attention_tiled, get_variant, multihead_attention_fused
from attention_variants.variants._check import check_inputs

from .encode import encode_png, only_changes, with_one_palette, write_gif, write_mp4
from .paint import TOKENS, Stage
from .source_lines import cells_of
from .storyboard import Frame, Storyboard, storyboard, thin

__all__ = ["Animation", "animate"]

#: What a notebook stores of one animation: at most so many frames and bytes.
MOST_FRAMES, MOST_BYTES = 120, 400_000

#: The width of a picture, and of one of two beside each other, in pixels.
WHOLE, HALF = 960, 480

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
        return [max(frame.seconds for frame in both) for both in self._together()]

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
            If the file ends in something else, or the scale is not 1 to 4.
        FileNotFoundError
            If its folder is not there.
        ImportError
            If a film is wanted and ``imageio-ffmpeg`` is not installed.
        """
        path = _checked(path, _KINDS, scale)
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
        path = _checked(path, (".html", ".htm"), scale)
        path.write_text(
            page("player", self._data(self._with_palette(self.pictures(scale)), scale), title=self._title),
            encoding="utf-8",
        )
        return path

    @property
    def png(self) -> bytes:
        """The animated PNG that a notebook stores, of at most 400 kB."""
        return self._stored[0]

    @property
    def stored_frames(self) -> int:
        """How many frames it has: fewer than there are, if more would be too many bytes."""
        return self._stored[1]

    @cached_property
    def _stored(self) -> tuple[bytes, int]:
        stored, png = self, encode_png(self._painted, self.seconds)
        while len(png) > MOST_BYTES:
            most = 3 * len(stored) // 4
            if most < 5:
                raise ValueError(
                    f"animate: a few frames of {self._title} take more than {MOST_BYTES // 1000} kB; "
                    f"show less of it by names=."
                )
            boards = [replace(board, frames=tuple(thin(board.frames, most))) for board in stored.boards]
            stored = Animation(boards, self._stages)
            png = encode_png(stored._painted, stored.seconds)
        return png, len(stored)

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
        waiting = [replace(board.frames[-1], caption="returned", seconds=0.0) for board in self.boards]
        boards = [
            [*board.frames[:-1], *[wait] * (count - len(board.frames)), board.frames[-1]]
            for board, wait in zip(self.boards, waiting, strict=True)
        ]
        return list(zip(*boards, strict=True))

    def _each(self, scale: int) -> Any:
        stages = self._stages(scale)
        for both in self._together():
            pictures = [stage.paint(frame) for stage, frame in zip(stages, both, strict=True)]
            yield _beside(pictures, across=_are_halves(stages))

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
            "parts": _parts(self._stages(scale)),
            "width": pictures[0].width // scale,
            "frames": frames,
            "seconds": self.seconds,
            "captions": [". ".join(dict.fromkeys(frame.caption for frame in both)) for both in self._together()],
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
    if titles is not None and (isinstance(titles, str) or len(titles) != len(functions)):
        raise ValueError(f"animate: titles must be {len(functions)}, one for each function; got {titles!r}.")
    if max_frames > MOST_FRAMES:
        raise ValueError(f"animate: max_frames must be at most {MOST_FRAMES}; got {max_frames}.")
    if not isinstance(max_frames, int):
        raise ValueError(f"animate: max_frames must be a whole number; got {max_frames!r}.")
    names = [names] if isinstance(names, str) else names
    if names is not None and not names:
        raise ValueError("animate: names must name at least one tensor, or be left out for all of them.")
    queries, keys = (tokens if own is None else own for own in (query_tokens, key_tokens))
    if isinstance(queries, str) or isinstance(keys, str):
        raise ValueError("animate: tokens must be a list of words, one for each row; got one string.")
    words = (None if queries is None else [*map(str, queries)], None if keys is None else [*map(str, keys)])
    boards, results = [], []
    for each in functions:
        each = get_variant(each) if isinstance(each, int) else each
        fused = each is multihead_attention_fused
        call, num_heads = _watchable(args, kwargs) if fused else ((each, *args), 1)
        steps = trace(*call, **({} if fused else kwargs))
        board = storyboard(
            steps,
            names,
            max_frames=max_frames,
            heads=True if num_heads > 1 else None,
            query_tokens=words[0],
            key_tokens=words[1],
        )
        _check_words(board, words)
        boards.append(board)
        result = steps.result
        if num_heads > 1:  # the heads of the tiled version are not yet merged
            result = (result[0].transpose(-3, -2).flatten(-2), None)
        results.append(result)
        tallest = max(panel.rows for panel in board.panels.values() if panel.argument) if by_token else 0
        if tallest > len(TOKENS):
            raise ValueError(f"animate: by_token has colours for {len(TOKENS)} tokens; got {tallest}.")
    if len(boards) > 1:
        boards = _compared(boards, results)

    def stages(scale: int) -> list[Stage]:
        def staged(width: int) -> list[Stage]:
            return [
                Stage(
                    board,
                    width=width,
                    code=len(boards) == 1,
                    title=titles[at] if titles else None,
                    tokens=words,
                    by_token=by_token,
                    scale=scale,
                )
                for at, board in enumerate(boards)
            ]

        if len(boards) == 1:
            return staged(WHOLE)
        try:
            return staged(HALF)
        except ValueError:  # too much for half the width: one below the other
            return staged(WHOLE)

    stages(1)  # whether there is room for all of it shows now, and not when it is displayed
    return Animation(boards, stages)


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
    matrices = [panel for panel in board.panels.values() if panel.argument and len(panel.shape) > 1]
    for tokens, name, kind in zip(words, ("q", "k"), ("query", "key"), strict=True):
        own = [panel for panel in matrices if panel.name == name][:1] or matrices
        if tokens is not None and own and len(tokens) not in [panel.rows for panel in own]:
            rows = " or ".join(f"{panel.rows}, one for each row of {panel.name}" for panel in own)
            raise ValueError(f"animate: {kind} tokens must be {rows}; got {len(tokens)}.")


def _compared(boards: list[Storyboard], results: Sequence[Any]) -> list[Storyboard]:
    """Let the last caption of each say whether the results differ, and what does of that which is still drawn."""
    (one, other), (board, beside) = (board.frames[-1].cells for board in boards), boards
    differ = []
    for key, panel in board.panels.items():
        known = key in one and key in other and panel.shape == beside.panels[key].shape
        if known and not panel.argument and one[key].there.all() and other[key].there.all():
            close = _close(one[key].value, other[key].value)
            if not close.all():
                differ.append(f"{int((~close).sum())} of {close.size} numbers of {panel.name}")
    on_the_way = f"; on the way, {', '.join(differ)} differ" if differ else ""
    caption = f"returned; {_verdict(*results)}{on_the_way}"
    return [replace(board, frames=(*board.frames[:-1], replace(board.frames[-1], caption=caption))) for board in boards]


def _verdict(result: Any, other: Any) -> str:
    """Whether two functions returned the same, in words; what only one of them returned does not count."""
    pairs = zip(*(r if isinstance(r, tuple | list) else (r,) for r in (result, other)), strict=False)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)]
    if not tensors:
        return "there are no results to compare"
    for a, b in tensors:
        if a.shape != b.shape:
            return f"the results have other shapes, {tuple(a.shape)} and {tuple(b.shape)}"
    same = all(_close(cells_of(a.detach()), cells_of(b.detach()), a.dtype).all() for a, b in tensors if a.ndim)
    return "the results are the same" if same else "the results differ"


def _close(a: np.ndarray, b: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    rounding = 1e-2 if dtype in (torch.float16, torch.bfloat16) else 1e-4
    return np.isclose(a, b, rtol=rounding, atol=rounding / 10, equal_nan=True)


def _checked(path: str | Path, kinds: Sequence[str], scale: int) -> Path:
    """See before the painting whether a file can be written as wanted."""
    path = Path(path)
    if path.suffix.lower() not in kinds:
        raise ValueError(f"animate: the file must end in {' or '.join(kinds)}; got {path.name!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"animate: there is no folder {str(path.parent)!r}; make it first.")
    if not isinstance(scale, int) or not 1 <= scale <= 4:
        raise ValueError(f"animate: scale must be 1, 2, 3 or 4; got {scale!r}.")
    return path


def _are_halves(stages: Sequence[Stage]) -> bool:
    return stages[0].width <= HALF


def _parts(stages: Sequence[Stage]) -> list[tuple[int, int, int, int]]:
    """What of a picture may stand one below the other on a narrow page: x, y, width and height of each part."""
    right, down = (stages[0].width, 0) if _are_halves(stages) else (0, stages[0].height)
    return [
        (x + at * right * stage.scale, y + at * down * stage.scale, width, height)
        for at, stage in enumerate(stages)
        for x, y, width, height in stage.parts
    ]


def _beside(pictures: Sequence[Image.Image], *, across: bool) -> Image.Image:
    """Put two pictures beside each other, or one below the other."""
    if len(pictures) == 1:
        return pictures[0]
    (width, height), (other_width, other_height) = (picture.size for picture in pictures)
    if across:
        both = Image.new("RGB", (width + other_width, max(height, other_height)), "white")
        corners = ((0, 0), (width, 0))
    else:
        both = Image.new("RGB", (max(width, other_width), height + other_height), "white")
        corners = ((0, 0), (0, height))
    for picture, corner in zip(pictures, corners, strict=True):
        both.paste(picture, corner)
    return both


def _with_progress(items: Any, total: int, words: str, progress: bool) -> Any:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    seen = progress and (console.is_terminal or console.is_jupyter)
    return track(items, words, total, console=console, transient=True, disable=not seen)
