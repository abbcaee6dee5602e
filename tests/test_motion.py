"""A moving picture has a frame for each step, shows what it claims, plays for ever, and stays small."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from attention_variants.lab.motion import animated_png

ARRAYS = [np.triu(np.ones((4, 5)), k) for k in (0, 1, 2, 3)]
INCH = 40  # pixels, in these tests


@pytest.fixture(autouse=True)
def _figures():
    yield
    plt.close("all")


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
