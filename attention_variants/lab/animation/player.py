"""An animation as one plays it: in a notebook, as a file, as a page from disk."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import track

from attention_variants.lab.web.view import bundle, element, in_base64, page

from .captions import Event, Kind
from .encode import encode_png, only_changes, with_one_palette, write_gif, write_mp4
from .frames import Frame, Storyboard
from .layout import LINE
from .paint import RULE, Painter

#: An animation has at most so many frames.
MOST_FRAMES = 120

#: The width of a picture, and of one of two beside each other, in pixels.
WHOLE, HALF = 960, 480

_KINDS = (".gif", ".png", ".mp4")


class Film:
    """Pictures in order, as one plays them.

    In a notebook it is a player, which is stored with it; what shows no HTML has its last picture.

    Parameters
    ----------
    title : str
        What it shows.
    pictures : callable
        Called with a scale, the number of pixels for each pixel of the usual size; returns the pictures, all of one
        size, as PIL images in RGB.
    captions : sequence of str
        What happens in each picture.
    seconds : sequence of float
        How long each stands.
    columns : sequence of float, default (0, 1)
        Where the pictures may be cut, as shares of their width: on a narrow page what is between two cuts stands below
        what is to its left.
    """

    def __init__(
        self,
        title: str,
        pictures: Callable[[int], Iterable[Image.Image]],
        captions: Sequence[str],
        seconds: Sequence[float],
        *,
        columns: Sequence[float] = (0.0, 1.0),
    ) -> None:
        self._columns = tuple(columns)
        self.alt = title  # for those who do not see it
        self.title, self.captions, self.seconds = title, tuple(captions), list(seconds)
        self._paint = pictures

    def __len__(self) -> int:
        return len(self.seconds)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.title}: {len(self)} frames>"

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
        return list(self._paint(scale))

    def save(self, path: str | Path, *, scale: int = 1, progress: bool = True) -> Path:
        """Save it as a GIF, an animated PNG or a video.

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
            If a video is wanted and ``imageio-ffmpeg`` is not installed.
        """
        path = _checked(path, _KINDS, scale)
        pictures = list(_with_progress(self._paint(scale), len(self), f"painting {path.name}", progress))
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
        element = self._element(self._with_palette(self.pictures(scale)), scale)
        path.write_text(page(element, title=self.title), encoding="utf-8")
        return path

    @cached_property
    def html(self) -> str:
        """The player as one element of HTML that needs nothing else: what a notebook stores."""
        return self._element(self._painted, 1)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        last = io.BytesIO()
        self._painted[-1].save(last, "PNG", optimize=True)
        return bundle(self.html, picture=last.getvalue(), alt=self.alt, text=repr(self))

    @cached_property
    def _painted(self) -> list[Image.Image]:
        return self._with_palette(self.pictures())

    def _with_palette(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        return with_one_palette(pictures)

    def _shape(self, size: tuple[int, int], scale: int) -> dict[str, Any]:
        """How the player may lay it out: its parts, and which of them is code."""
        cuts = [round(share * size[0]) for share in self._columns]
        parts = [(left, 0, right - left, size[1]) for left, right in itertools.pairwise(cuts)]
        return {"parts": parts, "code": 0, "captioned": False, "lines": [(0, 0)] * len(self), "width": size[0] // scale}

    def _element(self, pictures: Sequence[Image.Image], scale: int) -> str:
        """The player as HTML; until it runs, its last frame."""
        line = "The last frame. Run this cell for the player."
        return element("player", self._data(pictures, scale), picture=pictures[-1], alt=self.alt, line=line)

    def _data(self, pictures: Sequence[Image.Image], scale: int) -> dict[str, Any]:
        """What the player shows."""
        frames = []
        for picture in only_changes(pictures):
            change = picture.convert("RGBA")
            left, top, right, bottom = change.getbbox() or (0, 0, 1, 1)  # where nothing changes, one clear pixel
            frames.append((left, top, in_base64(change.crop((left, top, right, bottom)))))
        return {
            "name": self.title,
            "size": pictures[0].size,
            **self._shape(pictures[0].size, scale),
            "frames": frames,
            "seconds": self.seconds,
            "captions": self.captions,
        }


class Animation(Film):
    """A call of a function in motion, as `animate` returns it.

    Attributes
    ----------
    storyboards : tuple of Storyboard
        The frames as data: which tensors there are in each, which cells are lit. Two, if two functions stand beside
        each other.
    """

    def __init__(self, storyboards: Sequence[Storyboard], painters: Callable[[int], Sequence[Painter]]) -> None:
        self.storyboards = tuple(storyboards)
        self._painters = painters
        # Whether there is room for all of it shows now, and not when it is displayed.
        titles = [painter.title for painter in painters(1)]
        together = self._together()
        names = " beside ".join(board.name for board in storyboards)
        super().__init__(
            f"{names}, step by step",
            self._each,
            [_said_of_all(both, titles) for both in together],
            [max(frame.seconds for frame in both) for both in together],
        )
        panels = (panel for board in storyboards for panel in board.panels.values())
        cropped = [f"{panel.title} {panel.size}" for panel in panels if panel.kept_rows or panel.kept_columns]
        if cropped:
            self.alt = f"{self.title}. Drawn in part: {'; '.join(cropped)}"

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames of the first function; see ``storyboards`` for both."""
        return self.storyboards[0].frames

    def __repr__(self) -> str:
        names = " beside ".join(board.name for board in self.storyboards)
        return f"<Animation of {names}: {len(self)} frames>"

    def _with_palette(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        colours = dict.fromkeys(colour for painter in self._painters(1) for colour in painter.palette)
        return with_one_palette(pictures, list(colours)[:255])

    def _together(self) -> list[tuple[Frame, ...]]:
        """The frames of all boards, picture by picture; who is done waits, and says nothing more until the end."""
        count = max(len(board.frames) for board in self.storyboards)
        waiting = [replace(board.frames[-1], event=Event(Kind.RETURNED), seconds=0.0) for board in self.storyboards]
        boards = [
            [*board.frames[:-1], *[wait] * (count - len(board.frames)), board.frames[-1]]
            for board, wait in zip(self.storyboards, waiting, strict=True)
        ]
        return list(zip(*boards, strict=True))

    def _each(self, scale: int) -> Any:
        painters = self._painters(scale)
        for both in self._together():
            pictures = [painter.paint(frame) for painter, frame in zip(painters, both, strict=True)]
            yield _beside(pictures, across=_are_halves(painters))

    def _shape(self, size: tuple[int, int], scale: int) -> dict[str, Any]:
        painters = self._painters(scale)
        return {
            "parts": _parts(painters),
            "code": LINE * scale * painters[0].code,
            "captioned": True,
            "lines": [painters[0].running(both[0]) for both in self._together()],
            "width": size[0] // scale,
        }


def _said_of_all(frames: Sequence[Frame], titles: Sequence[str]) -> str:
    """What happens in each, once if it is the same; of two beside each other without their lines, which are seen."""
    if len(frames) > 1:
        events = [
            replace(frame.event, code="" if frame.event.kind is Kind.WRITTEN else frame.event.code) for frame in frames
        ]
        frames = [replace(frame, event=event) for frame, event in zip(frames, events, strict=True)]
    said = [frame.caption for frame in frames]
    if len(set(said)) == 1:
        return said[0]
    return "\n".join(f"{title}: {caption}" for title, caption in zip(titles, said, strict=True))


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


def _are_halves(painters: Sequence[Painter]) -> bool:
    return painters[0].width <= HALF


def _parts(painters: Sequence[Painter]) -> list[tuple[int, int, int, int]]:
    """What of a picture may stand one below the other on a narrow page: x, y, width and height of each part."""
    right, down = (painters[0].width, 0) if _are_halves(painters) else (0, painters[0].height)
    return [
        (x + at * right * painter.scale, y + at * down * painter.scale, width, height)
        for at, painter in enumerate(painters)
        for x, y, width, height in painter.parts
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
    if across:
        ImageDraw.Draw(both).line((width - 1, 8, width - 1, both.height - 8), fill=RULE)
    return both


def _with_progress(items: Any, total: int, words: str, progress: bool) -> Any:
    console = Console(stderr=True)
    # In a notebook the bar would be a widget, which is an error in its place once the notebook is opened again.
    seen = progress and console.is_terminal and not console.is_jupyter
    return track(items, words, total, console=console, transient=True, disable=not seen)
