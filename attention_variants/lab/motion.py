"""Moving pictures: the frames of a figure, stored as one animated PNG that plays wherever a PNG is shown."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TypeVar

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

_Step = TypeVar("_Step")

_COLOURS = 256  # a palette: a third of the bytes of full colour, and heat maps do not show it


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
    if not frames:
        raise ValueError("animated_png: steps must have at least one step; got none.")
    palette = _palette(frames)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * pause)]
    buffer = io.BytesIO()
    frames[-1].save(  # as the picture for those that play none, and after it those that are played
        buffer, "PNG", save_all=True, default_image=True, append_images=frames, duration=durations, loop=0
    )
    return buffer.getvalue()


def _palette(frames: list[Image.Image]) -> Image.Image:
    """Choose one palette for all frames, so that a colour is the same in each."""
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for index, frame in enumerate(frames):
        sheet.paste(frame, (0, height * index))
    return sheet.quantize(_COLOURS)
