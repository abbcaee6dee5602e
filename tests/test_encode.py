"""A moving picture has a frame for each step, shows what it claims, plays for ever, and stays small."""

import io
import re
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from attention_variants.lab.animation.encode import (
    animated_png,
    encode_png,
    only_changes,
    with_one_palette,
    write_gif,
    write_mp4,
)

pytestmark = pytest.mark.slow

ARRAYS = [np.triu(np.ones((4, 5)), k) for k in (0, 1, 2, 3)]
INCH = 40  # pixels, in these tests


def _canvas() -> tuple:
    """Return a figure that is filled by one image of 4 rows and 5 columns, an inch each."""
    figure = plt.figure(figsize=(5, 4))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    return figure, ax.imshow(ARRAYS[0], cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")


def _open(png: bytes) -> tuple[np.ndarray, list[np.ndarray], list[float]]:
    """Return the still picture, and what plays: the frames as a viewer shows them, and their durations in ms."""
    frames, durations = [], []
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.default_image, picture.info["loop"]) == ("PNG", True, 0)
        still = np.asarray(picture.convert("RGB")) / 255
        for index in range(1, picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")) / 255)
            durations.append(picture.info["duration"])
    return still, frames, durations


def _cells(frame: np.ndarray) -> np.ndarray:
    return frame[INCH // 2 :: INCH, INCH // 2 :: INCH]


@pytest.fixture(scope="module")
def png():
    figure, image = _canvas()
    return animated_png(figure, lambda step: image.set_data(ARRAYS[step]), range(4), dpi=INCH)


def test_has_a_frame_for_each_step_that_shows_its_array(png):
    _, frames, _ = _open(png)
    for frame, array in zip(frames, ARRAYS, strict=True):
        assert frame.shape == (4 * INCH, 5 * INCH, 3)
        np.testing.assert_allclose(_cells(frame)[..., 0], array, atol=0.01)


def test_plays_for_ever_and_rests_at_the_end(png):
    _, _, durations = _open(png)  # which sees to it that it loops
    assert durations == [150, 150, 150, 2000]


def test_where_nothing_plays_the_last_frame_is_seen(png):
    still, frames, _ = _open(png)
    np.testing.assert_array_equal(still, frames[-1])


def test_steps_that_look_alike_keep_their_time():
    figure, image = _canvas()
    png = animated_png(
        figure, lambda step: image.set_data(ARRAYS[step]), [0, 1, 1, 2], seconds=0.1, pause=0.5, dpi=INCH
    )
    assert sum(_open(png)[2]) == 800


def test_colours_that_only_early_frames_have_are_kept():
    figure, image = _canvas()
    image.set_cmap("viridis")
    steps = np.linspace(0, 1, 20).reshape(4, 5), np.zeros((4, 5))
    _, frames, _ = _open(animated_png(figure, image.set_data, steps, dpi=INCH))
    np.testing.assert_allclose(_cells(frames[0]), plt.get_cmap("viridis")(steps[0])[..., :3], atol=0.02)


def test_one_step_is_a_still_picture():
    figure, image = _canvas()
    still, (frame,), _ = _open(animated_png(figure, image.set_data, [ARRAYS[2]], dpi=INCH))
    np.testing.assert_array_equal(still, frame)
    np.testing.assert_allclose(_cells(frame)[..., 0], ARRAYS[2], atol=0.01)


def test_steps_may_be_a_generator():
    figure, image = _canvas()
    assert len(_open(animated_png(figure, image.set_data, (array for array in ARRAYS), dpi=INCH))[1]) == 4


def test_the_figure_is_left_as_the_last_step_made_it(png):
    figure, image = _canvas()
    animated_png(figure, image.set_data, ARRAYS, dpi=INCH)
    np.testing.assert_array_equal(image.get_array(), ARRAYS[-1])


def test_the_figure_keeps_its_own_canvas_resolution_and_layout():
    figure = plt.figure(figsize=(5, 4), dpi=50, layout="constrained")
    canvas, engine = figure.canvas, figure.get_layout_engine()
    _, frames, _ = _open(animated_png(figure, lambda n: figure.suptitle("x" * n), range(3), dpi=INCH))
    assert {frame.shape for frame in frames} == {(4 * INCH, 5 * INCH, 3)}
    assert (figure.canvas, figure.dpi, figure.get_layout_engine()) == (canvas, 50, engine)


def test_nothing_jumps_when_a_label_grows():
    figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    places = []

    def draw(step):
        places.append(ax.get_position().bounds)
        ax.set_ylabel("\n".join("x" * (step + 1)))

    animated_png(figure, draw, range(4), dpi=INCH)
    assert len(set(places[1:])) == 1


def test_many_frames_of_heat_maps_are_small():
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
    numbers = np.random.default_rng(0).standard_normal((13, 64))
    images = [ax.imshow(np.zeros_like(numbers), vmin=-3, vmax=3, aspect="auto") for ax in axes]

    def draw(step):
        for image in images:
            image.set_data(np.where(np.arange(13)[:, None] < step / 1.5, numbers, 0))

    assert len(animated_png(figure, draw, range(20))) < 150_000


@pytest.mark.parametrize("steps", [[], iter(())], ids=["list", "iterator"])
def test_no_steps_is_an_error(steps):
    with pytest.raises(ValueError, match="at least one step"):
        animated_png(Figure(), print, steps)


@pytest.mark.parametrize("durations", [{"seconds": 0}, {"pause": -1.0}])
def test_a_duration_must_be_above_0(durations):
    with pytest.raises(ValueError, match="above 0"):
        animated_png(Figure(), print, [1], **durations)


# ------------------------------------------------------------------------------------------- frames in other files


def _solid(*colours, size=(33, 21)):
    return [Image.new("RGB", size, colour) for colour in colours]


def _grays(count, size=(33, 21)):
    """Frames that differ everywhere, each of one gray."""
    return _solid(*[(round(255 * at / (count - 1)),) * 3 for at in range(count)], size=size)


def _noisy(count=3, size=(64, 48)):
    """Frames with many thousands of colours, of which half changes from one to the next."""
    generator = np.random.default_rng(0)
    now = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    frames = []
    for _ in range(count):
        now = np.where(generator.random(now.shape[:2])[..., None] < 0.5, now, 255 - now)
        frames.append(Image.fromarray(now))
    return frames


def _drawn_over(changes):
    """What is seen when each is drawn over those before it, where a transparent pixel lets these show."""
    canvas, shown = changes[0].convert("RGBA"), []
    for change in changes:
        canvas = Image.alpha_composite(canvas, change.convert("RGBA"))
        shown.append(np.asarray(canvas))
    return shown


def test_a_colour_is_the_same_in_every_frame():
    marks = [(200, 30, 40), (31, 41, 59)]
    frames = _noisy()
    for frame in frames:
        for at, mark in enumerate(marks):
            frame.paste(mark, (20 * at, 0, 20 * at + 19, 48))
    painted = with_one_palette(frames)
    assert {frame.mode for frame in painted} == {"P"}
    assert len({tuple(frame.getpalette()) for frame in painted}) == 1
    seen = [set(), set()]
    for frame in painted:
        shown = np.asarray(frame.convert("RGB"))
        for at, mark in enumerate(marks):
            filled = shown[:, 20 * at : 20 * at + 19].reshape(-1, 3)
            seen[at] |= {tuple(colour) for colour in filled.tolist()}
            np.testing.assert_allclose(filled, np.broadcast_to(mark, filled.shape), atol=8)
        assert (np.asarray(frame) != 255).all()  # the last place stands for what does not change
    assert [len(colours) for colours in seen] == [1, 1]


def test_few_colours_are_kept_as_they_are():
    frames = _grays(5)
    for frame, painted in zip(frames, with_one_palette(frames), strict=True):
        np.testing.assert_array_equal(np.asarray(painted.convert("RGB")), np.asarray(frame))


def test_no_colour_is_far_off():
    picture = Image.new("RGB", (400, 60), "white")
    generator = np.random.default_rng(0)
    numbers = np.clip(generator.normal(0, 0.35, (6, 40)), -1, 1)
    ends = [(213, 94, 0), (230, 159, 0), (0, 158, 115), (204, 121, 167), (0, 114, 178), (86, 180, 233)]
    for (row, column), number in np.ndenumerate(numbers):
        end = np.array(ends[row]) if number > 0 else 255 - np.array(ends[row])
        colour = (255 + abs(number) * (end - 255)).round().astype(int).tolist()
        picture.paste(tuple(colour), (10 * column, 10 * row, 10 * column + 10, 10 * row + 10))
    (painted,) = with_one_palette([picture])
    off = np.abs(np.asarray(painted.convert("RGB")).astype(int) - np.asarray(picture))
    assert off.max() <= 16


def test_a_white_ground_stays_white():
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    numbers = np.random.default_rng(0).normal(size=(20, 60))
    image = left.imshow(numbers, cmap="PuOr_r", vmin=-3, vmax=3, aspect="auto")
    figure.colorbar(image, ax=right)
    _, frames, _ = _open(animated_png(figure, lambda step: image.set_data(numbers * step), range(3)))
    for frame in frames:
        assert (frame[:4] == 1).all(), "above the axes nothing is painted"


@pytest.mark.parametrize("tint", [(247, 251, 252), (249, 249, 255), (246, 250, 252)])
def test_white_is_not_taken_for_a_tint(tint):
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste(tint, (0, 0, 20, 20))
    (painted,) = with_one_palette([picture])
    assert painted.convert("RGB").getpixel((30, 10)) == (255, 255, 255)


def test_changes_drawn_over_one_another_are_the_frames():
    painted = with_one_palette(_noisy(4))
    changes = only_changes(painted)
    assert len(changes) == 4
    for change, frame, shown in zip(changes, painted, _drawn_over(changes), strict=True):
        np.testing.assert_array_equal(shown[..., :3], np.asarray(frame.convert("RGB")))
        assert (shown[..., 3] == 255).all()
        assert change.getpalette() == frame.getpalette()
    assert (np.asarray(changes[0].convert("RGBA"))[..., 3] == 255).all()  # the first is whole
    for before, frame, change in zip(painted[:-1], painted[1:], changes[1:], strict=True):
        same = np.asarray(before) == np.asarray(frame)
        assert same.any()
        assert not same.all()
        np.testing.assert_array_equal(np.asarray(change.convert("RGBA"))[..., 3] == 0, same)


def test_frames_that_come_back_are_seen_again():
    first, second, _ = with_one_palette(_noisy())
    frames = [first, second, first, first, second]
    for shown, frame in zip(_drawn_over(only_changes(frames)), frames, strict=True):
        np.testing.assert_array_equal(shown[..., :3], np.asarray(frame.convert("RGB")))


def test_the_changes_leave_the_frames_alone():
    painted = with_one_palette(_noisy())
    before = [np.asarray(frame).copy() for frame in painted]
    only_changes(painted)
    for frame, pixels in zip(painted, before, strict=True):
        np.testing.assert_array_equal(np.asarray(frame), pixels)
        assert "transparency" not in frame.info


def test_an_animated_png_has_every_frame_and_its_time():
    painted = with_one_palette(_noisy(4))
    still, frames, durations = _open(encode_png(painted, [0.1, 0.25, 1.0, 2.5]))
    for shown, frame in zip(frames, painted, strict=True):
        np.testing.assert_array_equal(np.round(255 * shown), np.asarray(frame.convert("RGB")))
    np.testing.assert_array_equal(still, frames[-1])
    assert durations == [100, 250, 1000, 2500]


def test_a_gif_has_every_frame_plays_for_ever_and_counts_hundredths(tmp_path):
    painted = with_one_palette(_noisy(4))
    write_gif(tmp_path / "noise.gif", painted, [0.07, 0.123, 0.001, 2.5])
    durations = []
    with Image.open(tmp_path / "noise.gif") as gif:
        assert (gif.n_frames, gif.info["loop"]) == (4, 0)
        for index, frame in enumerate(painted):
            gif.seek(index)
            np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), np.asarray(frame.convert("RGB")))
            durations.append(gif.info["duration"])
    assert durations == [70, 120, 20, 2500]  # browsers slow down what is faster than 20 ms


def _film(path):
    """Return the size of a video, its pictures per second and its frames."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()  # its own read_frames leaves files open
    command = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    read = subprocess.run(command, capture_output=True, check=True)
    about = re.search(r"Video: h264.* (\d+)x(\d+).* (\d+) fps", read.stderr.decode())
    width, height, fps = map(int, about.groups())
    frames = np.frombuffer(read.stdout, np.uint8).reshape(-1, height, width, 3)
    return (width, height), fps, frames


@pytest.mark.parametrize("size", [(33, 21), (34, 20), (33, 20)])
def test_a_film_shows_each_frame_for_its_time_and_leaves_none_out(tmp_path, size):
    frames = _grays(6, size=size)
    write_mp4(tmp_path / "grays.mp4", iter(frames), [0.2, 0.001, 0.001, 0.1, 0.001, 0.4], fps=25)
    shape, fps, shown = _film(tmp_path / "grays.mp4")
    assert shape == (size[0] // 2 * 2, size[1] // 2 * 2)
    assert fps == 25
    levels = [round(float(frame.mean()) / 51) for frame in shown]
    assert levels == [0] * 5 + [1] + [2] + [3] * 2 + [4] + [5] * 10


def test_a_film_shows_what_is_in_the_picture(tmp_path):
    (frame,) = _solid("white", size=(64, 48))
    frame.paste((200, 30, 40), (0, 0, 32, 24))
    frame.paste((20, 60, 200), (32, 24, 64, 48))
    write_mp4(tmp_path / "one.mp4", [frame.convert("P", palette=Image.Palette.ADAPTIVE)], [0.2])
    _, _, shown = _film(tmp_path / "one.mp4")
    assert len(shown) == 5
    for x, y in [(16, 12), (48, 12), (16, 36), (48, 36)]:
        np.testing.assert_allclose(shown[-1][y, x].astype(int), frame.getpixel((x, y)), atol=12)


def test_a_film_of_as_many_times_as_frames(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(ValueError, match="zip"):
        write_mp4(tmp_path / "two.mp4", _grays(2), [0.1])


def test_a_film_without_its_program_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # import raises ImportError
    with pytest.raises(ImportError, match=r'^a video needs imageio-ffmpeg: pip install "attention-variants\[video\]"'):
        write_mp4(tmp_path / "grays.mp4", _grays(2), [0.1, 0.1])
    assert not list(tmp_path.iterdir())
