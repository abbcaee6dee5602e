"""Moving pictures: frames stored as one animated PNG that plays wherever a PNG is shown, as a GIF or as a video."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

_Step = TypeVar("_Step")

_LOOKED_AT = 12  # frames that the palette is chosen from
_COLOURS = 255  # a palette: a third of the bytes of full colour, and heat maps do not show it
# A page's own white is beside the picture, and would show the difference. Pillow takes 255 for 252 when it looks for
# the nearest colour: one of 247 would be nearer than white.
_NEARLY_WHITE = 246
_NOTHING = 255  # the place in the palette for what lets the frame before it show


def animated_png(
    figure: Figure,
    draw: Callable[[_Step], object],
    steps: Iterable[_Step],
    *,
    seconds: float = 0.15,
    pause: float = 2.0,
    dpi: int = 72,
) -> bytes:
    """Draw a figure again for each step, and store the frames as an animated PNG that plays for ever.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What is drawn. Its layout is that of the first step throughout. It is left as the last step made it.
    draw : callable
        Called as ``draw(step)`` before each frame; it changes the figure, as ``image.set_data(arrays[step])`` does.
    steps : iterable
        What ``draw`` is called with, one frame for each.
    seconds : float, default 0.15
        How long a frame stands.
    pause : float, default 2.0
        How long the last one does, before the first comes again.
    dpi : int, default 72
        Pixels for each inch of the figure.

    Returns
    -------
    png : bytes
        ``IPython.display.Image(png, format="png")`` shows it in a notebook. Where it cannot play, on paper for
        instance, the last frame is seen.

    Raises
    ------
    ValueError
        If there is no step, or a duration is not above 0.

    Examples
    --------
    >>> figure, ax = plt.subplots(figsize=(4, 2))
    >>> bar = ax.barh(["steps"], [0])[0]
    >>> _ = ax.set_xlim(0, 9)
    >>> png = animated_png(figure, bar.set_width, range(10))
    """
    if seconds <= 0 or pause <= 0:
        raise ValueError(f"animated_png: seconds and pause must be above 0; got {seconds} and {pause}.")
    frames = drawn(figure, draw, steps, dpi=dpi)
    if not frames:
        raise ValueError("animated_png: steps must have at least one step; got none.")
    return encode_png(with_one_palette(frames), [seconds] * (len(frames) - 1) + [pause])


def drawn(figure: Figure, draw: Callable[[_Step], object], steps: Iterable[_Step], *, dpi: float) -> list[Image.Image]:
    """Draw a figure again for each step.

    Parameters
    ----------
    figure, draw, steps, dpi
        As `animated_png` takes them.

    Returns
    -------
    pictures : list of PIL.Image.Image
        One for each step, in RGB.
    """
    frames: list[Image.Image] = []
    usual, resolution, engine = figure.canvas, figure.dpi, figure.get_layout_engine()
    canvas = FigureCanvasAgg(figure)  # paints into memory, whatever the window is
    try:
        figure.dpi = dpi
        for step in steps:
            draw(step)
            if not frames:  # everything finds its place once: in the other frames nothing jumps
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
            canvas.draw()
            size = canvas.get_width_height()
            frames.append(Image.frombuffer("RGBA", size, bytes(canvas.buffer_rgba())).convert("RGB"))
    finally:
        figure.dpi = resolution
        figure.set_canvas(usual)
        figure.set_layout_engine(engine)
    return frames


def encode_png(frames: Sequence[Image.Image], seconds: Sequence[float]) -> bytes:
    """Store frames as an animated PNG that plays for ever.

    Parameters
    ----------
    frames : sequence of PIL.Image.Image
        All of one size and mode, and of one palette if they have any.
    seconds : sequence of float
        How long each of them stands.

    Returns
    -------
    png : bytes
        Where it cannot play, the last frame is seen.
    """
    changes = only_changes(frames)
    buffer = io.BytesIO()
    frames[-1].save(  # as the picture for those that play none, and after it those that are played
        buffer,
        "PNG",
        save_all=True,
        default_image=True,
        append_images=changes,
        duration=[round(1000 * time) for time in seconds],
        loop=0,
        transparency=_NOTHING,
        blend=1,  # over what is there: what does not change is transparent
    )
    return buffer.getvalue()


def only_changes(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Make transparent in each frame what is as in the one before it: one is drawn over the other.

    Parameters
    ----------
    frames : sequence of PIL.Image.Image
        As `with_one_palette` gives them.

    Returns
    -------
    changes : list of PIL.Image.Image
        The first is whole.
    """
    changes = [frames[0].copy()]
    for before, frame in itertools.pairwise(frames):
        now = np.asarray(frame)
        change = Image.fromarray(np.where(now == np.asarray(before), _NOTHING, now).astype(np.uint8), "P")
        change.putpalette(frame.getpalette() or [])
        changes.append(change)
    for change in changes:
        change.info["transparency"] = _NOTHING
    return changes


def write_gif(path: Path, frames: Sequence[Image.Image], seconds: Sequence[float]) -> None:
    """Write frames as a GIF that plays for ever; it counts time in hundredths of a second.

    Parameters
    ----------
    path : Path
        The file.
    frames : sequence of PIL.Image.Image
        All of one size and palette.
    seconds : sequence of float
        How long each of them stands.
    """
    durations = [max(10 * round(100 * time), 20) for time in seconds]  # below 20 ms, browsers take a tenth of a second
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def write_mp4(path: Path, frames: Iterable[Image.Image], seconds: Sequence[float], *, fps: int = 25) -> None:
    """Write frames as a video (H.264).

    Parameters
    ----------
    path : Path
        The file.
    frames : iterable of PIL.Image.Image
        All of one size; a side of an odd number of pixels loses one.
    seconds : sequence of float
        How long each of them stands; rounded to whole pictures of the video, but none is left out.
    fps : int, default 25
        Pictures per second.

    Raises
    ------
    ImportError
        If ``imageio-ffmpeg``, which brings the program ffmpeg, is not installed.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(
            'a video needs imageio-ffmpeg: pip install "attention-variants[video]", or save as .gif or .png.'
        ) from None
    writer = None
    try:
        for frame, time in zip(frames, seconds, strict=True):
            width, height = (side // 2 * 2 for side in frame.size)  # its colours are stored for 2 x 2 pixels
            if writer is None:
                writer = imageio_ffmpeg.write_frames(
                    str(path), (width, height), fps=fps, macro_block_size=2, quality=8, ffmpeg_log_level="error"
                )
                writer.send(None)
            picture = frame.convert("RGB").crop((0, 0, width, height)).tobytes()
            for _ in range(max(round(time * fps), 1)):
                writer.send(picture)
    finally:
        if writer is not None:
            writer.close()


def with_one_palette(
    frames: Sequence[Image.Image], colours: Sequence[tuple[int, int, int]] | None = None
) -> list[Image.Image]:
    """Give all frames one palette, so that a colour is the same in each.

    Parameters
    ----------
    frames : sequence of PIL.Image.Image
        In RGB, all of one size.
    colours : sequence of (int, int, int), optional
        The palette, of at most 255 colours; by default it is chosen from the frames.

    Returns
    -------
    frames : list of PIL.Image.Image
        With a palette.
    """
    palette = Image.new("P", (1, 1))
    chosen = _chosen(frames) if colours is None else [channel for colour in colours for channel in colour]
    palette.putpalette(chosen)
    painted = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    for frame in painted:  # to the end, but not before: the last place is for what does not change, and no colour
        frame.putpalette([*chosen, *[255] * (3 * (_NOTHING + 1) - len(chosen))])
    return painted


def _chosen(frames: Sequence[Image.Image]) -> list[int]:
    """Choose a palette from a few of the frames, the first and the last among them."""
    few = min(len(frames), _LOOKED_AT)
    looked_at = [frames[round(index * (len(frames) - 1) / max(few - 1, 1))] for index in range(few)]
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * few))
    for index, frame in enumerate(looked_at):
        sheet.paste(frame, (0, height * index))
    colours = (sheet.quantize(_COLOURS).getpalette() or [])[: 3 * _COLOURS]
    for at in range(0, len(colours), 3):
        if min(colours[at : at + 3]) > _NEARLY_WHITE:  # means of the ground and of the edges of letters
            colours[at : at + 3] = [255, 255, 255]
    return colours
