"""What an animation paints is what its frames hold, it is kept in files that others can read, and it stays small."""

import base64
import functools
import io
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attention_variants as av
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.lab.animation.animate import animate
from attention_variants.lab.animation.paint import CAPTION, Painter, _Pen, _wrap
from attention_variants.lab.animation.player import Animation
from attention_variants.lab.code.trace import trace
from attention_variants.lab.plots.axes import colormap
from attention_variants.lab.plots.colors import BLOCKED, INK, LINE_NOW
from attention_variants.variants import VARIANTS, attention_loops, attention_matmul, attention_tiled

pytestmark = pytest.mark.slow

B, T_Q, T_K, H, D_MODEL = 2, 5, 7, 2, 8
CAUSAL = torch.ones(T_Q, T_K, dtype=torch.bool).tril(1)
QUERIES, KEYS = ["it", "was", "too", "tired", "."], ["[CLS]", "the", "animal", "crossed", "the", "street", "[SEP]"]
WHITE = (255, 255, 255)
EMPTY = (0xF4, 0xF4, 0xF4)  # where no number is yet
#: How far off a channel may be, of 255: a number is painted in the nearest of some shades.
SHADE = 20


def qkv(*batch, d=D_MODEL, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*batch, rows, d, generator=generator).to(dtype) for rows in (T_Q, T_K, T_K)]


def call(variant):
    """The arguments for a variant: a batch for 3 and 4, a mask from 4, two heads from 5."""
    args = qkv(*[B] * (variant in (3, 4)))
    return args + [CAUSAL] * (variant >= 4) + [H] * (variant >= 5)


@functools.cache
def animation(variant):
    words = {"query_tokens": QUERIES, "key_tokens": KEYS}
    return animate(variant, *call(variant), **words, max_frames=48 if variant > 4 else 120)  # numbers move in 3 steps


@functools.cache
def painted(variant):
    pictures = animation(variant).pictures()
    return pictures, [np.asarray(picture) for picture in pictures]


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


# ------------------------------------------------------------------------------------------------------- pixels


def centres(box, rows, columns):
    """The pixel in the middle of every cell of a sheet."""
    corners = np.array([[box.cell(row, column) for column in range(columns)] for row in range(rows)])
    return (corners[..., 0] + corners[..., 2]) / 2, (corners[..., 1] + corners[..., 3]) / 2


def covered(stage, frame, x, y):
    """Where numbers on their way lie over a point."""
    over = np.zeros(x.shape, dtype=bool)
    for move in frame.moves:
        start, end = stage._corners(move.start), stage._corners(move.end)
        for left, top, right, bottom in start + (end - start) * move.progress:
            over |= (left - 1 <= x) & (x <= right) & (top - 1 <= y) & (y <= bottom)
    return over


#: What is drawn in the colours of another, between 0 and the second or on both sides of 0.
COLOURS = {
    "q": "q",
    "k": "k",
    "v": "v",
    "scores": "scores",
    "context": "context",
    "weights": "weights",
    "exp": "weights",
    "running_max": "scores",
    "new_max": "scores",
    "running_sum": "weights",
    "correction": "difference",
}


def largest(steps):
    """The largest magnitude that each name ever held, what stands for nothing left out."""
    found = {}
    for step in steps:
        numbers = step.value.double().abs()
        numbers = numbers[numbers < 1e30]
        found[step.name] = max(found.get(step.name, 0.0), numbers.max().item() if numbers.numel() else 0.0)
    return found


def colours(name, value, limit):
    if name in ("weights", "exp"):
        share = value
    elif name == "running_sum":
        share = value / limit
    else:
        share = (value / limit + 1) / 2
    return 255 * colormap(COLOURS[name])(np.clip(share, 0, 1))[..., :3]


def traced(variant):
    """The variant's trace; of the seventh, that of the tiled version on its heads."""
    args = call(variant)
    if variant < 7:
        return trace(VARIANTS[variant], *args)
    q, k, v, mask, heads = args
    return trace(attention_tiled, *(x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (q, k, v)), mask)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_cell_of_every_frame_has_the_colour_of_its_number(variant):
    board = animation(variant).storyboards[0]
    (stage,) = animation(variant)._painters(1)
    limits = largest(traced(variant))
    seen = 0
    for frame, picture in zip(board.frames, painted(variant)[1], strict=True):
        for key, panel in board.panels.items():
            cells = frame.cells.get(key)
            assert len(stage.boxes[key]) == panel.sheets
            for sheet, box in enumerate(stage.boxes[key]):
                x, y = centres(box, panel.rows, panel.columns)
                shown = picture[np.floor(y).astype(int), np.floor(x).astype(int)].astype(int)
                free = ~covered(stage, frame, x, y)
                there = cells.there[sheet] if cells is not None else np.zeros(x.shape, dtype=bool)
                where = f"{frame.caption}: {key}, sheet {sheet}"
                beside, below = abs(x - x.mean()), abs(y - y.mean())  # "moved" stands there, in a narrow one upright
                said = (((beside < 24) & (below < 8)) | ((beside < 8) & (below < 24))) & (not there.any())
                assert (shown[free & ~there & ~said] == EMPTY).all(), where
                if not there.any():
                    continue
                blocked = cells.blocked[sheet]
                hatched = np.isin(shown, [0xEC, 0x9C]).all(axis=-1)
                np.testing.assert_array_equal(hatched[free & there], blocked[free & there], err_msg=where)
                filled = free & there & ~blocked
                if panel.name == "mask":
                    assert len(np.unique(shown[filled], axis=0)) <= 1, where
                    continue
                expected = colours(panel.name, cells.value[sheet][filled], limits[panel.name])
                np.testing.assert_allclose(shown[filled], expected, atol=SHADE, err_msg=where)
                seen += int(filled.sum())
    assert seen > 4 * 100  # the test has looked at something


@pytest.mark.parametrize("variant", [5, 6])
def test_numbers_on_their_way_are_painted_where_they_are(variant):
    board = animation(variant).storyboards[0]
    (stage,) = animation(variant)._painters(1)
    limits = largest(traced(variant))
    legs = 0
    for frame, picture in zip(board.frames, painted(variant)[1], strict=True):
        for move in frame.moves:
            assert move.name != "mask"  # masks do not travel
            if move.progress < 1 or move.end.group:
                continue
            legs += 1
            for sheet, box in enumerate(stage.boxes[move.end.key]):
                here = move.end.cells[:, 0] == sheet
                panel = board.panels[move.end.key]
                x, y = centres(box, panel.rows, panel.columns)
                rows, columns = move.end.cells[here, 1], move.end.cells[here, 2]
                shown = picture[y[rows, columns].astype(int), x[rows, columns].astype(int)]
                np.testing.assert_allclose(shown, colours(move.name, move.value[here], limits[move.name]), atol=SHADE)
    assert legs == (7 if variant == 5 else 4)


@pytest.mark.parametrize("variant", [4, 7])
def test_a_blocked_cell_is_hatched_and_has_no_colour(variant):
    board = animation(variant).storyboards[0]
    (stage,) = animation(variant)._painters(1)
    picture = painted(variant)[1][-2]
    keys = [key for key, panel in board.panels.items() if panel.name == "mask"]
    assert [board.panels[key].sheets for key in keys] == ([1] if variant == 4 else [1, H])  # it stays, and has heads
    for box in (box for key in keys for box in stage.boxes[key]):
        hatched = np.zeros(CAUSAL.shape, dtype=bool)
        for row, column in np.ndindex(*CAUSAL.shape):
            x, y, right, bottom = (round(number) for number in box.cell(row, column))
            inside = {tuple(pixel) for pixel in picture[y + 2 : bottom - 2, x + 2 : right - 2].reshape(-1, 3).tolist()}
            hatched[row, column] = len(inside) == 2
            if hatched[row, column]:
                assert rgb(BLOCKED) in inside
            else:
                assert len(inside) == 1
                assert inside.isdisjoint({WHITE, EMPTY})
        np.testing.assert_array_equal(hatched, ~CAUSAL)


@pytest.mark.parametrize("variant", [2, 4])
def test_what_is_lit_has_a_line_around_it_and_nothing_else_has(variant):
    board = animation(variant).storyboards[0]
    (stage,) = animation(variant)._painters(1)
    for frame, picture in zip(board.frames, painted(variant)[1], strict=True):
        inked = (picture == rgb(INK)).all(axis=-1)
        for key, cells in frame.cells.items():
            panel = board.panels[key]
            for sheet, box in enumerate(stage.boxes[key]):
                lit = cells.lit[sheet]
                x, y = centres(box, panel.rows, panel.columns)
                x, y = np.unique(x), np.unique(y)
                wide, high = (abs(box.cell(0, 0)[at + 2] - box.cell(0, 0)[at]) for at in (0, 1))
                area = inked[
                    int(y[0] - high / 2) - 1 : int(y[-1] + high / 2) + 1,
                    int(x[0] - wide / 2) - 1 : int(x[-1] + wide / 2) + 1,
                ]
                assert area.any() == lit.any(), (frame.caption, key, sheet)
                if lit.any() and not lit.all():  # it runs round just the lit cells
                    rows, columns = np.nonzero(lit)
                    corners = np.array([box.cell(*cell) for cell in zip(rows, columns, strict=True)])
                    (left, top), (right, bottom) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
                    ys, xs = np.nonzero(area)
                    ys, xs = ys + int(y[0] - high / 2) - 1, xs + int(x[0] - wide / 2) - 1
                    assert left - 4 <= xs.min() <= left
                    assert top - 4 <= ys.min() <= top
                    assert right - 2 <= xs.max() <= right + 4
                    assert bottom - 2 <= ys.max() <= bottom + 4


@pytest.mark.parametrize("variant", [1, 4])
def test_the_running_line_is_lit_and_the_lower_the_later_it_stands(variant):
    heights = {}
    (stage,) = animation(variant)._painters(1)
    ground = np.asarray(stage.still)[:, :8]  # at the edge, beside the code
    assert min(box.x for boxes in stage.boxes.values() for box in boxes) > 8
    for frame, picture in zip(animation(variant).frames, painted(variant)[1], strict=True):
        marked = (picture[:, :8] != ground).any(axis=(1, 2))
        rows = np.flatnonzero(marked)
        assert len(rows)
        heights.setdefault(frame.lines[0], set()).add((rows.min(), rows.max()))
    assert all(len(found) == 1 for found in heights.values())
    ordered = [next(iter(heights[line])) for line in sorted(heights)]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ordered))


def test_every_size_of_pixels_shows_the_same():
    moving = animate(2, *qkv())
    (stage,) = moving._painters(1)
    once, twice = moving.pictures(), moving.pictures(2)
    for small, large in zip(once, twice, strict=True):
        assert large.size == (2 * small.width, 2 * small.height)
        for key, panel in moving.storyboards[0].panels.items():
            x, y = (place.ravel() for place in centres(stage.boxes[key][0], panel.rows, panel.columns))
            one = np.asarray(small)[y.astype(int), x.astype(int)]
            two = np.asarray(large)[(2 * y).astype(int), (2 * x).astype(int)]
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_are_of_one_size_and_panels_do_not_overlap(variant):
    pictures, _ = painted(variant)
    assert {(picture.size, picture.mode) for picture in pictures} == {(pictures[0].size, "RGB")}
    assert len(pictures) == len(animation(variant)) == len(animation(variant).frames)
    (stage,) = animation(variant)._painters(1)
    width, height = pictures[0].size
    taken = np.zeros((height, width), dtype=int)
    for key, panel in animation(variant).storyboards[0].panels.items():
        for box in stage.boxes[key]:
            left, top, *_ = box.cell(0, 0)
            *_, right, bottom = box.cell(panel.rows - 1, panel.columns - 1)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            taken[round(top) : round(bottom), round(left) : round(right)] += 1
    assert taken.max() == 1


def test_what_is_multiplied_meets():
    (stage,) = animation(2)._painters(1)
    boxes = {key: sheets[0] for key, sheets in stage.boxes.items()}
    for i, j in np.ndindex(T_Q, T_K):
        x, y, right, bottom = boxes["scores"].cell(i, j)
        assert boxes["q"].cell(i, 0)[1::2] == pytest.approx((y, bottom))  # to the left, at the same height
        assert boxes["k"].cell(j, 0)[::2] == pytest.approx((x, right))  # above, in the same column
        assert boxes["q"].cell(i, D_MODEL - 1)[2] < x
        assert boxes["k"].cell(j, D_MODEL - 1)[3] < y
        assert boxes["weights"].cell(i, j)[1::2] == pytest.approx((y, bottom))
        assert boxes["v"].cell(j, 0)[0] == pytest.approx(boxes["context"].cell(i, 0)[0])
        assert boxes["v"].cell(j, 0)[3] < boxes["context"].cell(i, 0)[1]


def words_on(moving, monkeypatch, *, at=0):
    """Every text that is painted once, with its corner."""
    texts = []
    with monkeypatch.context() as patch:
        patch.setattr(_Pen, "text", lambda self, corner, text, *args, **kwargs: texts.append((text, corner)))
        moving._painters(1)[at]
    return texts


@pytest.mark.parametrize("d", [4, 8, 16, 40])
def test_sixteen_tokens_keep_their_labels(monkeypatch, d):
    tokens = [f"t{number}" for number in range(16)]
    x = [torch.ones(16, d)] * 3
    for moving in (animate(2, *x, tokens=tokens), animate(1, *x, tokens=tokens)):
        (stage,) = moving._painters(1)
        texts = [text for text, _ in words_on(moving, monkeypatch)]
        assert all(texts.count(token) == 1 for token in tokens)  # of the queries; those of the keys stand upright
        boxes = {key: boxes[0] for key, boxes in stage.boxes.items()}
        assert boxes["scores"].high >= 9
        for key in ("q", "v", "context"):  # many features share the room of six cells
            assert boxes[key].high == boxes["scores"].high
            assert boxes[key].wide * d == pytest.approx(min(d, 6) * boxes["scores"].wide)
        assert boxes["k"].high * d == pytest.approx(min(d, 6) * boxes["scores"].high)
        assert stage.layout.bottom <= 500


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_is_air_between_a_panel_and_the_title_below(variant):
    (stage,) = animation(variant)._painters(1)
    board, titles = animation(variant).storyboards[0], stage.layout.titles
    below = 0
    for key, boxes in stage.boxes.items():
        *_, bottom = boxes[0].cell(board.panels[key].rows - 1, board.panels[key].columns - 1)
        for other, (x, y) in titles.items():
            if x == titles[key][0] and y > titles[key][1] and board.panels[key] in stage.layout.over:
                below += 1
                assert y - bottom >= 6, (key, other)
    assert below >= 1


@pytest.mark.parametrize(
    ("variant", "batch", "shape"), [(2, (), (8, 7)), (3, (B,), (B, 8, 7)), (4, (B, 2), (B, 2, 8, 7))]
)
def test_the_title_of_the_transposed_keys_has_the_transposed_shape(monkeypatch, variant, batch, shape):
    moving = animate(variant, *qkv(*batch), key_tokens=KEYS)
    texts = words_on(moving, monkeypatch)
    (corner,) = [corner for text, corner in texts if text == "kᵀ"]
    assert [text for text, at in texts if at == (corner[0] - 13, corner[1] + 15)] == [str(shape)]
    assert str((*batch, T_Q, D_MODEL)) in [text for text, _ in texts]  # q, as it is


@pytest.mark.parametrize("variant", [3, 6])
def test_sheets_are_called_what_the_board_calls_them(monkeypatch, variant):
    args = qkv(B) if variant == 3 else [*qkv(B), None, H]
    moving = animate(variant, *args, max_frames=20)
    texts = [text for text, _ in words_on(moving, monkeypatch)]
    sheets = moving.storyboards[0].sheets
    assert len(sheets) == (B if variant == 3 else B * H)
    assert all(texts.count(name) == 1 for name in sheets)


@pytest.mark.parametrize(
    ("variant", "args"), [(3, [torch.ones(6, 20, 8)] * 3), (6, [*[torch.ones(16, 16)] * 3, None, 4])]
)
def test_what_does_not_fit_into_one_picture_is_refused(variant, args):
    message = (
        r"^animate: the tensors of \w+ do not fit into one picture legibly; show some of them by names=, or pass fewer "
        r"heads, tokens or features.$"
    )
    with pytest.raises(ValueError, match=message):
        animate(variant, *args).pictures()
    if variant == 6:  # as it says
        assert animate(variant, *args, names=["scores"]).pictures()


@pytest.mark.parametrize(
    "text",
    [
        "    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)  + 1",
        "    y = torch.softmax(a-b-c-d, dim=-1) + torch.softmax(well-known-words-with-hyphens, dim=-1) + one + two + 3",
        "        " + " + ".join(f"term_{number}" for number in range(30)),
    ],
)
def test_a_long_line_of_code_breaks_at_spaces_and_goes_on_further_in(text):
    first, *others = _wrap(text)
    indent = len(text) - len(text.lstrip())
    assert others
    assert max(map(len, [first, *others])) <= 58
    assert first.startswith(" " * indent)
    assert first[indent] != " "
    for part in others:
        assert part.startswith(" " * (indent + 8))
        assert part[indent + 8] != " "
    assert " ".join(part.strip() for part in [first, *others]).split() == text.split()  # no word is broken


def test_code_without_a_space_is_not_broken():
    words = ["    long", "=", "call(" + ",".join(f"argument_{number}" for number in range(9)) + ")"]
    assert " ".join(part.strip() for part in _wrap(" ".join(words))).split() == " ".join(words).split()


@pytest.mark.parametrize("text", ["", "    y = x", "x" * 58])
def test_a_short_line_of_code_stays(text):
    assert _wrap(text) == [text]


def passes(x):
    y = x * 1
    return y


def centre(moving, picture, key, row, column):
    box = moving._painters(1)[0].boxes[key][0]
    x, y, right, bottom = box.cell(row, column)
    return picture.getpixel((int((x + right) / 2), int((y + bottom) / 2)))


@pytest.fixture
def no_numbers(monkeypatch):
    """Cells without the numbers that stand in them, to look at their colours."""
    monkeypatch.setattr(Painter, "_number", lambda *_: None)


@pytest.mark.usefixtures("no_numbers")
def test_nan_is_black_and_zero_is_white():
    moving = animate(passes, torch.tensor([[float("nan"), 0.0, 2.0], [-1.0, float("inf"), -2.0]]))
    *_, last = moving.pictures()
    shown = {cell: centre(moving, last, "y", *cell) for cell in np.ndindex(2, 3)}
    assert shown[0, 0] == (0, 0, 0)
    assert shown[0, 1] == WHITE
    np.testing.assert_allclose(shown[0, 2], 255 * np.array(colormap("difference")(1.0)[:3]), atol=2)
    np.testing.assert_allclose(shown[1, 2], 255 * np.array(colormap("difference")(0.0)[:3]), atol=2)


def makes_room(x):
    y = torch.zeros_like(x)
    y[0] = x[0]
    return y


@pytest.mark.usefixtures("no_numbers")
@pytest.mark.parametrize("scale", [1, 2])
def test_what_is_not_there_is_grey_with_its_seams_and_a_zero_is_white(scale):
    moving = animate(makes_room, torch.tensor([[1.0, 0.0, -2.0], [3.0, 2.0, 1.0]]))
    (stage,) = moving._painters(scale)
    came, room, filled, _ = (np.asarray(picture) for picture in moving.pictures(scale))
    assert [frame.caption for frame in moving.frames][1] == "y: 6 zeros, to be filled in"
    box = stage.boxes["y"][0]
    x, y, _, _ = (round(scale * number) for number in box.cell(0, 0))
    *_, right, bottom = (round(scale * number) for number in box.cell(1, 2))
    # Before there is anything: from edge to edge, no seam, and a line around it.
    assert (came[y : bottom - scale + 1, x : right - scale + 1] == EMPTY).all()
    assert (came[y - scale, x:right] != EMPTY).any(axis=-1).all()
    assert (came[y:bottom, x - scale] != EMPTY).any(axis=-1).all()
    # What is there is white, what lies between is as before.
    for picture, there in ((room, np.ones((2, 3))), (filled, [[0, 1, 0], [1, 1, 1]])):
        for row, column in np.ndindex(2, 3):
            left, top, end, low = (round(scale * number) for number in box.cell(row, column))
            top, left = top + 2 * scale, left + 2 * scale  # the line around what is lit is that wide
            inside = picture[top : low - 2 * scale, left : end - 2 * scale]
            assert (inside == WHITE).all() == there[row][column], (row, column)
            if column < 2:
                seam = picture[top : low - 2 * scale, end - scale : end]
                assert (seam == EMPTY).all(), (row, column)
            if row < 1 and picture is room:
                seam = picture[low - scale : low, left : end - 2 * scale]
                assert (seam == EMPTY).all(), (row, column)


def test_in_a_png_too_what_is_not_there_is_grey():
    board = animation(2).storyboards[0]
    (stage,) = animation(2)._painters(1)
    first = played(saved(animation(2)))[1][0]
    assert set(board.frames[0].cells) == {"q", "k", "v"}
    for key in ("scores", "weights", "context"):
        x, y = centres(stage.boxes[key][0], board.panels[key].rows, board.panels[key].columns)
        assert (first[y.astype(int), x.astype(int)] == EMPTY).all()


def test_zeros_alone_and_whole_numbers_are_painted():
    for x in (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool) ^ True):
        assert len(animate(passes, x).pictures()) == 3


def test_a_mask_in_float64_is_painted():
    animate(4, *qkv(B, dtype=torch.float64), CAUSAL).pictures()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_dtypes_and_rows_without_a_key_are_painted(dtype):
    mask = CAUSAL.clone()
    mask[2] = False
    assert len(animate(4, *qkv(B, dtype=dtype), mask).pictures()) == 7


# ---------------------------------------------------------------------------------------------- tokens in colour


@functools.cache
def by_token():
    wrong = MISCONCEPTIONS["view_without_transpose"].function
    args = [*qkv(), None, H]
    return animate(6, *args, beside=wrong, by_token=True, titles=["right", "wrong"], names=["q", "context"])


def test_by_token_a_number_keeps_the_colour_of_its_row():
    moving = by_token()
    first, *_, last = (np.asarray(picture) for picture in moving.pictures())
    offset = 0
    mixed = []
    for board, stage in zip(moving.storyboards, moving._painters(1), strict=True):

        def colour(picture, key, sheet, row, column, stage=stage, offset=offset):
            x, y, *_ = stage.boxes[key][sheet].cell(row, column)
            return tuple(picture[round(y) + 2, round(x) + 2 + offset].tolist())  # beside the letters

        tokens = [{colour(first, "q", 0, row, column) for column in range(D_MODEL)} for row in range(T_Q)]
        assert all(len(found) == 1 for found in tokens)
        assert len(set.union(*tokens)) == T_Q
        key = next(key for key, panel in board.panels.items() if panel.shape == (H, T_Q, 4) and panel.name == "q")
        elements = torch.arange(T_Q * D_MODEL).view(T_Q, D_MODEL)
        wrong = board.name == "view_without_transpose"
        places = elements.view(H, T_Q, 4) if wrong else elements.view(T_Q, H, 4).transpose(0, 1)
        for sheet, row, column in np.ndindex(H, T_Q, 4):
            token = places[sheet, row, column].item() // D_MODEL
            assert {colour(last, key, sheet, row, column)} == tokens[token]
        mixed.append((places // D_MODEL != torch.arange(T_Q)[:, None]).any().item())
        offset += stage.width
    assert mixed == [False, True]


def test_beside_each_other_the_last_caption_counts_what_differs():
    moving = by_token()
    right, wrong = (board.frames[-1] for board in moving.storyboards)
    elements = torch.arange(T_Q * D_MODEL).view(T_Q, D_MODEL)
    moved = (elements.view(H, T_Q, 4) != elements.view(T_Q, H, 4).transpose(0, 1)).sum()
    context = [
        function(*qkv(), None, H)[0] for function in (VARIANTS[6], MISCONCEPTIONS["view_without_transpose"].function)
    ]
    differ = (~torch.isclose(*context, rtol=1e-4, atol=1e-5)).sum()
    on_the_way = f"{moved} of 40 numbers of q, {differ} of 40 numbers of context"
    expected = f"returned; the results differ; on the way, {on_the_way} differ"
    assert right.caption == wrong.caption == expected


def test_variants_5_and_6_have_the_same_numbers():
    moving = animate(5, *call(5), beside=6)
    assert [board.frames[-1].caption for board in moving.storyboards] == ["returned; the results are the same"] * 2
    assert repr(moving) == (f"<Animation of multihead_attention_loop beside multihead_attention: {len(moving)} frames>")
    assert len(moving) == max(len(board.frames) for board in moving.storyboards)
    assert moving.frames == moving.storyboards[0].frames
    for at, seconds in enumerate(moving.seconds):
        playing = [board.frames[at].seconds for board in moving.storyboards if at < len(board.frames) - 1]
        assert seconds == (max(playing) if playing else 2.5), "the end comes when both are done"


def test_who_is_done_waits():
    moving = animate(2, *qkv(), beside=1, max_frames=20)
    lengths = [len(board.frames) for board in moving.storyboards]
    assert lengths[0] == 5 < lengths[1]
    pictures = moving.pictures()
    assert len(pictures) == lengths[1]
    half = pictures[0].width // 2
    assert pictures[0].width == sum(stage.width for stage in moving._painters(1))
    left = [np.asarray(picture)[:, :half] for picture in pictures]
    for other in left[5:-1]:
        np.testing.assert_array_equal(other, left[4])
    assert (left[-1] != left[4]).any(), "where they differ is said when both are done"
    right = [np.asarray(picture)[:, half:] for picture in pictures]
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(right))
    captions = moving._data(moving._painted, 1)["captions"]
    assert len(captions) == len(moving)
    for caption, frame in zip(captions[4:-1], moving.storyboards[1].frames[4:-1], strict=True):
        assert caption == f"attention_matmul: returned\nattention_loops: {frame.caption}"
    assert captions[-1] == "returned; the results are the same"


def softmax_elsewhere(q, k, v):
    out = torch.softmax(q @ k.T, dim=-1) @ v
    return out


def test_results_are_compared_whatever_they_are_called():
    moving = animate(2, *qkv(), beside=softmax_elsewhere)  # not scaled
    assert moving.frames[-1].caption == "returned; the results differ"


@pytest.mark.parametrize("mask", [None, CAUSAL])
@pytest.mark.parametrize("batch", [(), (B,)])
def test_the_heads_of_variant_7_are_merged_before_they_are_compared(mask, batch):
    for other in (5, 6):
        moving = animate(7, *qkv(*batch), mask, H, beside=other, max_frames=20)
        assert [board.frames[-1].caption for board in moving.storyboards] == ["returned; the results are the same"] * 2
    wrong = MISCONCEPTIONS["merge_without_transpose"].function
    caption = animate(7, *qkv(*batch), mask, H, beside=wrong, max_frames=20).frames[-1].caption
    assert caption.startswith("returned; the results differ")


def doubled(x):
    way = x * 2
    y = way + 1
    return y


def tripled(x):
    way = x * 3
    way[1] = 2 * x[1]
    x = x + 7  # an argument is no result
    y = 2 * (x - 7) + 1
    return y


def shape_4_4(x):
    return x @ x.T


def shape_4_8(x):
    return torch.cat([x, x], dim=-1)


def wrong_in_one(x):
    y = 2 * x + 1
    y[0, 0] += 1e-3
    return y


def wrong_by_little(x):
    y = 2 * x + 1
    y += 1e-7
    return y


def nothing(x):
    x * 2
    return x.shape


@pytest.mark.parametrize(
    ("function", "beside", "said"),
    [
        (doubled, doubled, "the results are the same"),
        (doubled, tripled, "the results are the same; on the way, 12 of 16 numbers of way differ"),
        (doubled, wrong_in_one, "the results differ; on the way, 1 of 16 numbers of y differ"),
        (doubled, wrong_by_little, "the results are the same"),
        (shape_4_4, shape_4_8, "the results have other shapes, (4, 4) and (4, 8)"),
        (shape_4_8, shape_4_4, "the results have other shapes, (4, 8) and (4, 4)"),
        (doubled, nothing, "there are no results to compare"),
        (nothing, nothing, "there are no results to compare"),
    ],
)
def test_the_last_caption_says_whether_the_results_differ_and_what_did_on_the_way(function, beside, said):
    x = torch.arange(1.0, 17).view(4, 4)
    moving = animate(function, x, beside=beside)
    for board in moving.storyboards:
        assert board.frames[-1].caption == f"returned; {said}"
        assert not any("results" in frame.caption for frame in board.frames[:-1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_results_in_every_dtype_are_compared(dtype):
    x = torch.arange(1, 17).view(4, 4).to(dtype)
    assert animate(doubled, x, beside=doubled).frames[-1].caption == "returned; the results are the same"


def test_alone_it_only_returns():
    assert animate(doubled, torch.ones(4, 4)).frames[-1].caption == "returned"


def test_nan_in_both_is_no_difference():
    q, k, v = qkv()
    v[1, 2] = float("nan")
    moving = animate(2, q, k, v, beside=3)
    assert moving.frames[-1].caption == "returned; the results are the same"
    k[3, 1] = float("nan")
    moving = animate(2, q, k, v, beside=3)
    assert moving.frames[-1].caption == "returned; the results are the same"


# ---------------------------------------------------------------------------------------------------- as a PNG


@functools.cache
def saved(moving):
    with tempfile.TemporaryDirectory() as folder:
        return moving.save(Path(folder) / "steps.png", progress=False).read_bytes()


def played(png):
    """The still picture, and the frames as a viewer shows them with their durations in ms."""
    frames, durations = [], []
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.default_image, picture.info["loop"]) == ("PNG", True, 0)
        still = np.asarray(picture.convert("RGB"))
        for index in range(1, picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info["duration"])
    return still, frames, durations


def check_alike(shown, pictures):
    """Alike but for the palette, in which each colour has the same place in all frames."""
    assert len(shown) == len(pictures)
    places = set()
    for one, picture in zip(shown, map(np.asarray, pictures), strict=True):
        off = np.abs(one.astype(int) - picture).max(axis=-1)
        assert off.mean() < 1
        assert np.percentile(off, 99) <= 48  # the edges of letters
        both = np.concatenate([picture, one], axis=-1).reshape(-1, 6).astype(np.int64)
        places |= set(np.unique(both @ 256 ** np.arange(6)).tolist())
    assert len(places) == len({place % 256**3 for place in places})


@pytest.mark.parametrize("variant", [2, 4])
def test_a_png_plays_every_frame_and_is_the_last_where_nothing_plays(variant):
    still, frames, durations = played(saved(animation(variant)))
    check_alike(frames, painted(variant)[0])
    np.testing.assert_array_equal(still, frames[-1])
    assert durations == [round(1000 * seconds) for seconds in animation(variant).seconds]
    assert animation(variant).seconds == [frame.seconds for frame in animation(variant).frames]


def test_the_cells_of_a_png_have_the_colours_of_their_numbers():
    board = animation(4).storyboards[0]
    (stage,) = animation(4)._painters(1)
    limits = largest(traced(4))
    _, frames, _ = played(saved(animation(4)))
    for frame, picture in zip(board.frames, frames, strict=True):
        for key, cells in frame.cells.items():
            for sheet, box in enumerate(stage.boxes[key]):
                panel = board.panels[key]
                x, y = centres(box, panel.rows, panel.columns)
                filled = cells.there[sheet] & ~cells.blocked[sheet]
                if panel.name != "mask":
                    shown = picture[y.astype(int), x.astype(int)][filled]
                    expected = colours(panel.name, cells.value[sheet][filled], limits[panel.name])
                    np.testing.assert_allclose(shown, expected, atol=SHADE + 3)


def test_the_sizes_of_the_notebook_stay_small():
    tired = av.load_example("tired")
    moving = av.animate(1, *tired.head(1), tokens=tired.tokens)
    assert len(tired.tokens) == 16
    assert len(moving) <= 120
    assert len(moving.html) <= 400_000
    _, frames, durations = played(saved(moving))
    assert len(frames) == len(moving)
    assert durations == [round(1000 * seconds) for seconds in moving.seconds]
    assert {frame.shape[1] for frame in frames} == {960}


def test_the_example_of_the_docstring():
    example = av.load_example("Dog bites")
    moving = av.animate(1, *example.head(1), tokens=example.tokens)
    assert repr(moving) == "<Animation of attention_loops: 89 frames>"
    assert len(example.tokens) == 6
    assert isinstance(moving, Animation)
    assert "(dog → bites)" in " ".join(frame.caption.lower() for frame in moving.frames)


# ------------------------------------------------------------------------------------------------------- saving


@functools.cache
def short():
    return animate(2, *qkv(), max_frames=3, names=["q", "k", "scores"])


def test_a_gif_plays_every_frame(tmp_path):
    path = short().save(tmp_path / "steps.GIF", progress=False)
    assert path == tmp_path / "steps.GIF"
    with Image.open(path) as gif:
        assert (gif.format, gif.info["loop"], gif.n_frames) == ("GIF", 0, len(short()))
        frames, durations = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    check_alike(frames, short().pictures())
    assert durations == [1000 * seconds for seconds in short().seconds]


def test_a_png_is_saved_in_any_size(tmp_path):
    moving = animate(passes, torch.tensor([[1.0, -2.0, 0.5], [0.0, 2.0, 1.5]]), names="y")
    path = moving.save(str(tmp_path / "steps.png"), scale=2, progress=False)
    still, frames, durations = played(path.read_bytes())
    check_alike(frames, moving.pictures(2))
    np.testing.assert_array_equal(still, frames[-1])
    assert durations == [1000 * seconds for seconds in moving.seconds]


def test_a_film_begins_and_ends_with_the_first_and_the_last_frame(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()  # its own read_frames leaves files open
    path = short().save(tmp_path / "steps.mp4", progress=False)
    command = [ffmpeg, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pictures = [np.asarray(picture) for picture in short().pictures()]
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    animation = subprocess.run(command, capture_output=True, check=True).stdout
    frames = np.frombuffer(animation, np.uint8).reshape(-1, height, width, 3)
    assert len(frames) == sum(max(round(25 * seconds), 1) for seconds in short().seconds)
    for frame, picture in ((frames[0], pictures[0]), (frames[-1], pictures[-1])):
        off = np.abs(frame.astype(int) - picture[:height, :width])
        assert off.mean() < 3
        assert np.percentile(off, 95) <= 24


@pytest.fixture
def _nothing_is_painted(monkeypatch):
    def paint(self, frame):
        raise AssertionError("painted before it was checked")

    short()
    monkeypatch.setattr(Painter, "paint", paint)


@pytest.mark.usefixtures("_nothing_is_painted")
@pytest.mark.parametrize("name", ["steps.webm", "steps", "steps.html", "steps.gif.txt"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    message = rf"^animate: the file must end in \.gif(,| or) \.png(,| or) \.mp4; got '{re.escape(name)}'"
    with pytest.raises(ValueError, match=message):
        short().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_nothing_is_painted")
@pytest.mark.parametrize("name", ["steps.gif", "steps", "steps.xhtml", "steps.html.png"])
def test_a_page_is_html(tmp_path, name):
    message = rf"^animate: the file must end in \.html or \.htm; got '{re.escape(name)}'.$"
    with pytest.raises(ValueError, match=message):
        short().to_html(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_nothing_is_painted")
@pytest.mark.parametrize(("method", "name"), [("save", "steps.gif"), ("save", "steps.mp4"), ("to_html", "steps.html")])
def test_a_folder_that_is_not_there_and_a_wrong_scale_are_refused_before_the_painting(tmp_path, method, name):
    with pytest.raises(FileNotFoundError, match=r"^animate: there is no folder '.*none'; make it first.$"):
        getattr(short(), method)(tmp_path / "none" / name)
    for scale in (0, 5, 1.5, -1):
        with pytest.raises(ValueError, match=rf"^animate: scale must be 1, 2, 3 or 4; got {scale}.$"):
            getattr(short(), method)(tmp_path / name, scale=scale)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["steps.HTM", "steps.html"])
def test_a_page_may_end_in_either(tmp_path, name):
    short().to_html(tmp_path / name, scale=1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_film_without_its_program_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # import raises ImportError
    with pytest.raises(ImportError, match=r'needs imageio-ffmpeg: pip install "attention-variants\[video\]", or save'):
        short().save(tmp_path / "steps.mp4")
    assert not list(tmp_path.iterdir())


class Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    ("terminal", "progress", "seen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_the_progress_bar_is_for_terminals(tmp_path, monkeypatch, capsys, terminal, progress, seen):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    short().save(tmp_path / "steps.gif", progress=progress)
    assert ("painting steps.gif" in stream.getvalue()) == seen
    assert seen or not stream.getvalue()
    assert capsys.readouterr().out == ""


# --------------------------------------------------------------------------------------------------------- a page


FIELDS = {"name", "size", "width", "parts", "code", "captioned", "lines", "frames", "seconds", "captions"}


def data_of(text):
    """What a page or an output hands to the player."""
    return json.loads(re.search(r"^const data = (.*);$", text, re.MULTILINE)[1])


def drawn_over(frames):
    """What a canvas shows after each of the pictures is drawn in its place over those before it."""
    canvas, shown = None, []
    for x, y, change in frames:
        with Image.open(io.BytesIO(base64.b64decode(change))) as picture:
            assert picture.format == "WEBP"
            picture = picture.convert("RGBA")
        if canvas is None:
            assert (x, y) == (0, 0)
            canvas = picture
        else:
            canvas.alpha_composite(picture, (x, y))
        shown.append(np.array(canvas))
    assert all((picture[..., 3] == 255).all() for picture in shown)
    return [picture[..., :3] for picture in shown]


def test_a_page_holds_everything_and_asks_for_nothing(tmp_path):
    path, scale = short().to_html(tmp_path / "steps.html"), 2  # pixels for one of the page
    assert path == tmp_path / "steps.html"
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|\b(?:src|href)=\"(?!data:)", page)
    assert "<title>attention_matmul, step by step</title>" in page
    data = data_of(page)
    pictures = short().pictures(scale)
    assert set(data) == FIELDS
    assert tuple(data["size"]) == pictures[0].size
    assert data["width"] * scale == pictures[0].width
    assert data["seconds"] == short().seconds
    assert data["captions"] == [frame.caption for frame in short().frames]
    check_alike(drawn_over(data["frames"]), pictures)


def test_a_page_of_two_says_what_happens_in_both(tmp_path):
    moving = animate(2, *qkv(), beside=3, titles=["<two>", "three"])
    page = moving.to_html(str(tmp_path / "both.html"), scale=1).read_text(encoding="utf-8")
    data = data_of(page)
    assert data["captions"][1] == "scores: 35 numbers at once", "once is enough"
    assert data["name"] == "attention_matmul beside attention_batched, step by step"


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("kind", ["one", "beside", "below"])
def test_the_parts_hold_all_that_is_painted(kind, scale):
    """On a narrow page only these are seen: what is left out is the rule between them, and the captions below."""
    if kind == "below":
        moving = animate(5, *(torch.randn(20, 40) for _ in range(3)), num_heads=2, beside=6, max_frames=2)
    else:
        moving = short() if kind == "one" else animate(2, *qkv(), beside=3)
    picture = moving.pictures(scale)[-1]
    parts = moving._data(moving._with_palette([picture]), scale)["parts"]
    assert len(parts) == 2
    left = np.asarray(picture).copy()
    feet = {y + height for _, y, _, height in parts[-1 if kind == "one" else 0 :]}
    for foot in feet:
        left[foot : foot + CAPTION * scale] = 255
    for x, y, width, height in parts:
        assert x + width <= picture.width
        assert y + height <= picture.height
        assert (left[y : y + height, x : x + width] != 255).any()
        left[y : y + height, x : x + width] = 255
    columns = (left != 255).any(axis=(0, 2)).nonzero()[0]
    assert len(columns) == (scale if kind == "one" else 0)


@pytest.mark.parametrize("scale", [1, 2])
def test_the_player_knows_which_lines_run(scale):
    """In a small window it shows those around them: where they are said to be, the ground of running lines is."""
    moving = animate(7, *(torch.randn(6, 4) for _ in range(3)), max_frames=12)
    pictures = moving.pictures(scale)
    data = moving._data(moving._with_palette(pictures), scale)
    (x, y, width, height), high = data["parts"][0], data["code"]
    assert height % high == 0
    assert {end - first for first, end in data["lines"]} >= {1, 2, 3}, "statements of several lines are there too"
    for picture, (first, end) in zip(pictures, data["lines"], strict=True):
        code = np.asarray(picture)[y : y + height, x : x + width]
        lit = (code == rgb(LINE_NOW)).all(axis=-1).any(axis=1).nonzero()[0]
        assert (lit.min(), lit.max() + 1) == (first * high, end * high)


def test_beside_each_other_there_is_no_code_to_be_shown_in_part():
    moving = animate(2, *qkv(), beside=3)
    data = moving._data(moving._painted, 1)
    assert data["code"] == 0


# ---------------------------------------------------------------------------------------------------- in a notebook


def test_a_notebook_gets_a_player_a_picture_and_a_line():
    contents, metadata = animation(2)._repr_mimebundle_()
    assert set(contents) == {"text/plain", "image/png", "text/html"}
    assert contents["text/plain"] == repr(animation(2)) == "<Animation of attention_matmul: 5 frames>"
    assert contents["text/html"] is animation(2).html
    with Image.open(io.BytesIO(base64.b64decode(contents["image/png"]))) as picture:
        assert not getattr(picture, "is_animated", False)
        check_alike([np.asarray(picture.convert("RGB"))], painted(2)[0][-1:])
    assert metadata == {"image/png": {"alt": "attention_matmul, step by step"}}
    again = animate(2, *call(2), query_tokens=QUERIES, key_tokens=KEYS)
    assert again._repr_mimebundle_()[0] == contents


def test_the_player_has_the_frames():
    data = data_of(animation(4)._repr_mimebundle_()[0]["text/html"])
    assert set(data) == FIELDS
    check_alike(drawn_over(data["frames"]), painted(4)[0])
    assert data["width"] == data["size"][0]


def test_where_no_script_runs_the_last_frame_is_seen():
    text = animation(4)._repr_mimebundle_()[0]["text/html"]
    coded = re.search(r'<img src="data:image/webp;base64,([^"]+)"', text)[1]
    with Image.open(io.BytesIO(base64.b64decode(coded))) as picture:
        check_alike([np.asarray(picture.convert("RGB"))], painted(4)[0][-1:])
    assert "Run this cell for the player." in text


# ---------------------------------------------------------------------------------------------------- any function


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(4, 3)

    def forward(self, x):
        y = self.w(x)
        return y


def one_row(x):
    y = x.cumsum(0)
    return y


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (Layer(), [torch.ones(T_Q, 4)]),
        (one_row, [torch.arange(7.0)]),
        (one_row, [torch.arange(7)]),
        (one_row, [torch.ones(5, 3, dtype=torch.bfloat16)[::2].t()]),
        (lambda x: (y := x * 2), [torch.ones(2, 3)]),  # noqa: F841
        (softmax_elsewhere, qkv()),
        (attention_matmul, [x.double() for x in qkv()]),
    ],
    ids=["module", "one dimension", "whole numbers", "strided bfloat16", "lambda", "other names", "float64"],
)
def test_any_function_is_painted(function, args):
    moving = animate(function, *args)
    first, *_, last = moving.pictures()
    assert not np.array_equal(np.asarray(first), np.asarray(last))


def test_inputs_stay_as_they_are_and_gradients_flow():
    results = []

    def keep(q, k, v):
        context, weights = attention_loops(q, k, v)
        results.append((context, weights))
        scores = context @ v.T
        return scores

    inputs = [x.double().requires_grad_() for x in qkv()]
    copies = [x.detach().clone() for x in inputs]
    moving = animate(keep, *inputs)
    moving.pictures()
    ((context, weights),) = results
    (context.sum() + weights.square().sum()).backward()
    gradients = [x.grad for x in inputs]
    plain = [x.clone().requires_grad_() for x in copies]
    context, weights = attention_loops(*plain)
    (context.sum() + weights.square().sum()).backward()
    for x, copy, gradient, other in zip(inputs, copies, gradients, plain, strict=True):
        assert torch.equal(x, copy)
        assert torch.equal(gradient, other.grad)
        assert x.requires_grad


def test_keywords_reach_the_function():
    q, k, v = qkv()
    moving = animate(4, q, k=k, v=v, mask=CAUSAL)
    assert "mask" in moving.storyboards[0].panels
    assert animate(5, q, k, v, num_heads=H).storyboards[0].panels["scores"].shape == (H, T_Q, T_K)


@pytest.mark.parametrize("names", ["scores", ["scores"], ("k", "scores"), ["exp"], ["v", "context"]])
def test_only_the_names_asked_for_are_painted(names):
    moving = animate(1, *qkv(), names=names, max_frames=12)
    assert set(moving.storyboards[0].panels) == {names} if isinstance(names, str) else set(names)
    assert len(moving.pictures()) == len(moving) <= 12


def test_it_is_public():
    assert av.animate is animate
    assert "animate" in av.__all__


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": QUERIES}, "^animate: key tokens must be 7, one for each row of k; got 5.$"),
        ({"query_tokens": KEYS}, "^animate: query tokens must be 5, one for each row of q; got 7.$"),
        ({"key_tokens": []}, "^animate: key tokens must be 7, one for each row of k; got 0.$"),
        ({"names": "score"}, "^animate: attention_matmul held no tensor named 'score', only q, k, v, scores, weights,"),
        ({"names": ["q", "x"]}, "held no tensor named 'x'"),
        ({"titles": ["one"], "beside": 1}, "^animate: titles must be 2, one for each function; got \\['one'\\].$"),
        ({"titles": ["one", "two"]}, "^animate: titles must be 1, one for each function; got \\['one', 'two'\\].$"),
        ({"max_frames": 121}, "^animate: max_frames must be at most 120; got 121.$"),
        ({"max_frames": 1}, "^animate: max_frames must be at least 2; got 1.$"),
        ({"max_frames": 0}, "^animate: max_frames must be at least 2; got 0.$"),
        ({"max_frames": 3.5}, "^animate: max_frames must be a whole number; got 3.5.$"),
        ({"names": []}, "^animate: names must name at least one tensor, or be left out for all of them.$"),
        ({"names": ()}, "^animate: names must name at least one tensor, or be left out for all of them.$"),
        ({"tokens": "a b c d e"}, "^animate: tokens must be a list of words, one for each row; got one string.$"),
        ({"query_tokens": "abcde"}, "^animate: tokens must be a list of words, one for each row; got one string.$"),
        ({"key_tokens": "abcdefg"}, "^animate: tokens must be a list of words, one for each row; got one string.$"),
        ({"beside": 8}, r"^variant must be one of 1 to 7 .*; got 8.$"),
    ],
)
def test_a_wrong_option_is_met_with_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        animate(2, *qkv(), **change)


def other_names(scale, query, key):
    scores = scale * query @ key.T
    return scores


def test_tokens_are_as_many_as_some_rows_where_nothing_is_called_q_or_k():
    args = [torch.ones(1), torch.ones(T_Q, 4), torch.ones(T_K, 4)]
    rows = "5, one for each row of query or 7, one for each row of key; got 2.$"
    with pytest.raises(ValueError, match=f"^animate: query tokens must be {rows}"):
        animate(other_names, *args, tokens=["a", "b"])
    with pytest.raises(ValueError, match=f"^animate: key tokens must be {rows}"):
        animate(other_names, *args, query_tokens=QUERIES, key_tokens=["a", "b"])
    assert animate(other_names, *args, query_tokens=QUERIES, key_tokens=KEYS).pictures()
    with pytest.raises(ValueError, match="^animate: query tokens must be 2, one for each row of x; got 3.$"):
        animate(passes, torch.ones(2, 3), tokens=["a", "b", "c"])
    assert animate(passes, torch.ones(2, 3), tokens=["a", "b"]).pictures()


def test_two_that_are_too_wide_for_half_a_page_stand_one_below_the_other():
    inputs = qkv(2)
    moving = animate(6, *inputs, num_heads=H, beside=7, max_frames=2)
    one, other = moving._painters(1)
    picture = moving.pictures()[0]
    assert (one.width, other.width) == (960, 960)
    assert picture.size == (960, one.height + other.height)


@pytest.mark.parametrize("kind", [list, tuple])
def test_tokens_may_be_anything_that_has_a_name(monkeypatch, kind):
    moving = animate(1, *qkv(), query_tokens=kind([10, 11, 12, 13, 14]), key_tokens=kind([20, 21, 22, 23, 24, 25, 26]))
    assert moving.frames[2].caption.endswith("   (10 → 20)")
    texts = [text for text, _ in words_on(moving, monkeypatch)]
    assert {"10", "14"} <= set(texts)
    assert moving.pictures()


def test_by_token_has_eight_colours():
    assert animate(2, *[torch.ones(8, 4)] * 3, by_token=True, names=["q"]).pictures()
    with pytest.raises(ValueError, match="^animate: by_token has colours for 8 tokens; got 9.$"):
        animate(2, torch.ones(5, 4), torch.ones(9, 4), torch.ones(9, 4), by_token=True)
    assert animate(2, torch.ones(5, 4), torch.ones(9, 4), torch.ones(9, 4), by_token=True, names=["q"]).pictures()


@pytest.mark.parametrize("variant", [0, 8, True])
def test_an_unknown_variant_is_met_with_those_there_are(variant):
    with pytest.raises(ValueError, match=f"^variant must be one of 1 to 7 .*; got {variant}.$"):
        animate(variant, *qkv())


@pytest.mark.parametrize(
    ("function", "came"), [(torch.softmax, "builtin"), (nn.Linear, "type Linear"), ("2", "type str")]
)
def test_what_has_no_python_code_is_refused(function, came):
    with pytest.raises(TypeError, match=f"which it can follow line by line; got .*{came}"):
        animate(function, *qkv())


def test_what_is_too_large_is_refused():
    with pytest.raises(ValueError, match=r"^animate: q of attention_matmul has the shape \(41, 8\); at most 40 rows, "):
        animate(2, torch.ones(41, 8), torch.ones(7, 8), torch.ones(7, 8))
    with pytest.raises(
        ValueError, match=r"shape \(2, 4, 5, 2\); at most .* 6 sheets .* or one head: example.head\(1\)"
    ):
        animate(6, *qkv(2), None, 4)


def test_dropout_is_refused_and_other_errors_come_through():
    with pytest.raises(ValueError, match="^animate: dropout is not drawn; got dropout_p=0.1, leave it at 0.$"):
        animate(7, *qkv(), None, H, dropout_p=0.1)
    with pytest.raises(ValueError, match="^multihead_attention_fused: d_model must be divisible by num_heads"):
        animate(7, *qkv(), None, 3)
    with pytest.raises(TypeError, match="^attention_masked: mask must be boolean"):
        animate(4, *qkv(), CAUSAL.int())
    with pytest.raises(TypeError, match="missing"):
        animate(1, *qkv()[:2])
