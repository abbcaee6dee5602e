"""The frames of an animation hold, one by one, the numbers that the tensors held, where they held them.

What is expected is worked out here a second time, in NumPy and float64, as the variants' pages describe it: moment by
moment, each with the name of every tensor on the stage and its numbers, NaN where there is none yet.
"""

import inspect
import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.lab.animation.animate import animate
from attention_variants.lab.animation.frames import SECONDS, thin
from attention_variants.lab.animation.storyboard import storyboard
from attention_variants.lab.code.trace import trace
from attention_variants.model.masks import padding_mask
from attention_variants.variants import VARIANTS, attention_loops, attention_matmul, attention_tiled

B, T_Q, T_K, H, D_MODEL, D_K = 2, 5, 7, 2, 8, 4
BLOCK = 4
LOWEST = float(np.finfo(np.float64).min)
CAUSAL = torch.ones(T_Q, T_K, dtype=torch.bool).tril()
EMPTY_ROW = CAUSAL.clone()
EMPTY_ROW[2] = False


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qkv(*batch, d=D_MODEL):
    return normal(*batch, T_Q, d, seed=1), normal(*batch, T_K, d, seed=2), normal(*batch, T_K, d, seed=3)


def arrays(*tensors):
    return [tensor.numpy() for tensor in tensors]


def sheets(array):
    """An array as it is drawn: its leading dimensions one after the other."""
    array = np.asarray(array, dtype=float)
    return array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:]) if array.ndim > 1 else array.reshape(1, 1, -1)


def softmax(scores):
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def check_moments(frames, moments, *, blocked=None):
    """Compare frames that stand still with what there should be, one by one, and return nothing.

    ``moments`` has for each frame a dict of array by key. Blocked are the cells that hold the lowest number there is,
    those of a mask that are False, and those that ``blocked`` (a dict of array by key) names, where they are 0.
    """
    assert len(frames) == len(moments)
    for at, (frame, moment) in enumerate(zip(frames, moments, strict=True)):
        there = {key: cells for key, cells in frame.cells.items() if cells.there.any()}
        expected = {key: sheets(array) for key, array in moment.items() if not np.isnan(array).all()}
        assert there.keys() == expected.keys(), (at, frame.caption)
        for key, array in expected.items():
            cells, where = there[key], (at, frame.caption, key)
            assert cells.value.shape == array.shape, where
            np.testing.assert_array_equal(cells.there, ~np.isnan(array), err_msg=str(where))
            held = cells.value[cells.there]
            np.testing.assert_allclose(held, array[cells.there], rtol=1e-12, atol=1e-14, err_msg=str(where))
            away = array == 0 if key.startswith("mask") else array == LOWEST
            if blocked is not None and key in blocked:
                away |= sheets(blocked[key]).astype(bool) & (array == 0)
            np.testing.assert_array_equal(cells.blocked & cells.there, away, err_msg=str(where))
            assert not (cells.lit & ~cells.there).any(), where


def at_rest(board):
    return [frame for frame in board.frames if not frame.moves]


def unseen(shape):
    return np.full(shape, np.nan)


# ------------------------------------------------------------------------------------------- variant 1, in loops


@pytest.fixture(scope="module")
def traced_loops():
    return trace(attention_loops, *qkv())


@pytest.fixture(scope="module")
def loops():
    return animate(1, *qkv()).storyboards[0]


def moments_of_loops(q, k, v):
    """Every moment of variant 1, and beside it what the line reads and writes: {key: [(row, column), ...]}."""
    d_k = q.shape[-1]
    now = {"q": q, "k": k, "v": v}
    yield dict(now), {}
    scores = (q / math.sqrt(d_k)) @ k.T
    weights, context = softmax(scores), np.zeros((len(q), v.shape[1]))

    def row(i, columns):
        return [(i, column) for column in range(columns)]

    partly = np.zeros_like(scores)
    yield (now := {**now, "scores": partly.copy()}), {"scores": "all"}
    for i, j in np.ndindex(scores.shape):
        partly[i, j] = scores[i, j]
        lit = {"q": row(i, d_k), "k": row(j, d_k), "scores": [(i, j)]}
        yield (now := {**now, "scores": partly.copy()}), lit
    partly = np.zeros_like(weights)
    yield (now := {**now, "weights": partly.copy()}), {"weights": "all"}
    for i in range(len(q)):
        exp = np.exp(scores[i] - scores[i].max())
        yield (now := {**now, "exp": exp}), {"scores": row(i, len(k)), "exp": "all"}
        partly[i] = weights[i]
        yield (now := {**now, "weights": partly.copy()}), {"exp": "all", "weights": row(i, len(k))}
    yield (now := {**now, "context": context.copy()}), {"context": "all"}
    for i, j in np.ndindex(scores.shape):
        context[i] += weights[i, j] * v[j]
        lit = {"weights": [(i, j)], "v": row(j, v.shape[1]), "context": row(i, v.shape[1])}
        yield (now := {**now, "context": context.copy()}), lit
    yield now, {"context": "all", "weights": "all"}  # what is returned


def check_lit(frame, expected):
    lit = {key: cells.lit for key, cells in frame.cells.items() if cells.lit.any()}
    assert lit.keys() == expected.keys(), frame.caption
    for key, where in expected.items():
        if where == "all":
            assert lit[key].all(), (frame.caption, key)
        else:
            found = [tuple(index) for index in np.argwhere(lit[key])[:, -2:].tolist()]
            assert found == sorted(where), (frame.caption, key)


def test_the_loops_show_every_number_when_it_comes(loops):
    moments, _ = zip(*moments_of_loops(*arrays(*qkv())), strict=True)
    assert len(moments) == 2 + 35 + 1 + 2 * 5 + 1 + 35 + 1
    check_moments(loops.frames, moments)


def test_the_loops_light_just_what_a_line_reads_and_writes(loops):
    _, lit = zip(*moments_of_loops(*arrays(*qkv())), strict=True)
    for frame, expected in zip(loops.frames, lit, strict=True):
        check_lit(frame, expected)


def test_the_loops_light_the_line_that_ran_and_say_its_numbers(loops):
    lines, first = inspect.getsourcelines(attention_loops)
    q, k, _ = arrays(*qkv())
    scores = (q / math.sqrt(D_MODEL)) @ k.T
    pairs = list(np.ndindex(T_Q, T_K))
    said = ["scores = q.new_zeros(T_q, T_k)"]
    said += ["scores[i, j] = q[i] @ k[j] / math.sqrt(d_k)"] * len(pairs)
    said += ["weights = torch.zeros_like(scores)"]
    said += ["exp = torch.exp(scores[i] - largest)", "weights[i] = exp / exp.sum()"] * T_Q
    said += ["context = v.new_zeros(T_q, d_v)"] + ["context[i] += weights[i, j] * v[j]"] * len(pairs)
    said += ["return context, weights"]
    opening, *frames = loops.frames
    assert lines[opening.lines.start - first].startswith("def attention_loops(")
    for frame, code in zip(frames, said, strict=True):
        assert len(frame.lines) == 1
        assert lines[frame.lines[0] - first].partition("  #")[0].strip() == code
        assert (frame.lines[0], lines[frame.lines[0] - first].partition("  #")[0].rstrip()) in loops.lines
    captions = [frame.caption for frame in frames]
    for (i, j), caption in zip(pairs, captions[1:36], strict=True):
        number = f"{scores[i, j]:.2f}".replace("-", "−")
        assert caption == f"scores[{i}, {j}] = q[{i}] @ k[{j}] / math.sqrt(d_k) = {number}"
    for i in range(T_Q):
        assert captions[37 + 2 * i] == f"exp = torch.exp(scores[{i}] - largest)"
        assert captions[38 + 2 * i] == f"weights[{i}] = exp / exp.sum()"
    for (i, j), caption in zip(pairs, captions[48:-1], strict=True):
        assert caption == f"context[{i}] += weights[{i}, {j}] * v[{j}]"


def test_a_frame_is_a_copy_that_nothing_later_changes(loops):
    counts = [int((frame.cells["scores"].value != 0).sum()) for frame in loops.frames if "scores" in frame.cells]
    assert counts[:37] == [*range(36), 35]
    assert loops.frames[1].cells["scores"].value is not loops.frames[2].cells["scores"].value


def test_a_write_of_the_number_already_there_is_lit_too():
    q, k, v = qkv()
    board = storyboard(trace(attention_loops, q * 0, k, v * 0))
    for moment, frame in zip(moments_of_loops(*arrays(q * 0, k, v * 0)), board.frames, strict=True):
        check_lit(frame, moment[1])


def test_words_stand_beside_the_number_of_a_pair(traced_loops):
    queries, keys = ["a", "b", "c", "d", "e"], ["s", "t", "u", "v", "w", "x", "y"]
    board = storyboard(traced_loops, query_tokens=queries, key_tokens=keys)
    for turn, frame in enumerate(board.frames[2:37]):
        i, j = divmod(turn, T_K)
        assert frame.caption.endswith(f"   ({queries[i]} → {keys[j]})")
    added = [frame.caption for frame in board.frames if frame.caption.startswith("context[")]
    assert added[7].endswith(f"weights[1, 0] * v[0]   ({queries[1]} → {keys[0]})")
    others = [frame.caption for frame in board.frames[37:] if frame.caption not in added]
    assert all("→" not in caption for caption in others)


def test_the_time_of_a_frame_is_by_what_it_shows(loops):
    assert loops.frames[0].seconds == SECONDS["still"]
    for at, name, count in ((1, "scores", 35), (37, "weights", 35), (48, "context", 40)):
        assert loops.frames[at].caption == f"{name}: {count} zeros, to be filled in"
        assert loops.frames[at].seconds == SECONDS["made"] == 0.5
    assert {frame.seconds for frame in loops.frames[2:9]} == {SECONDS["first write"]}
    assert {frame.seconds for frame in loops.frames[9:37]} == {SECONDS["write"]}
    assert loops.frames[38].seconds == SECONDS["first assign"]
    assert {frame.seconds for frame in loops.frames[40:48:2]} == {SECONDS["assign"]}
    assert loops.frames[-1].seconds == SECONDS["end"]


# --------------------------------------------------------------------------- variants 2, 3 and 4, everything at once


def lacks_keys(mask):
    return mask is not None and not mask.any(axis=-1).all()


def moments_of_products(q, k, v, mask=None):
    now = {"q": q, "k": k, "v": v} | ({} if mask is None else {"mask": mask})
    yield dict(now)
    scores = (q / math.sqrt(q.shape[-1])) @ np.swapaxes(k, -2, -1)
    yield (now := {**now, "scores": scores})
    if mask is not None:
        scores = np.where(mask, scores, LOWEST)
        yield (now := {**now, "scores": scores})
    weights = softmax(scores)
    yield (now := {**now, "weights": weights})
    if lacks_keys(mask):
        weights = np.where(mask, weights, 0.0)
        yield (now := {**now, "weights": weights})
    yield (now := {**now, "context": weights @ v})
    yield now


@pytest.mark.parametrize(("variant", "batch"), [(2, ()), (3, (B,)), (3, ()), (4, (B,))])
def test_the_products_show_all_numbers_at_once(variant, batch):
    inputs = qkv(*batch)
    board = animate(variant, *inputs).storyboards[0]
    check_moments(board.frames, list(moments_of_products(*arrays(*inputs))))
    lit = [{key for key, cells in frame.cells.items() if cells.lit.any()} for frame in board.frames]
    assert lit == [
        set(),
        {"q", "k", "scores"},
        {"scores", "weights"},
        {"weights", "v", "context"},
        {"context", "weights"},
    ]
    assert all(cells.lit.all() or not cells.lit.any() for frame in board.frames for cells in frame.cells.values())
    assert {panel.sheets for panel in board.panels.values()} == {math.prod(batch)}
    lines, first = inspect.getsourcelines(VARIANTS[variant])
    code = [lines[frame.lines[0] - first].strip() for frame in board.frames[1:]]
    assert [line.partition(" ")[0] for line in code] == ["scores", "weights", "context", "return"]


PADDING = padding_mask([5, 7], T_K)  # (B, 1, T_k)
MASKS = {"causal": CAUSAL, "padding": PADDING, "empty row": EMPTY_ROW, "both": PADDING & CAUSAL}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_blocks_just_its_cells_and_before_there_are_weights(name):
    inputs, mask = qkv(B), MASKS[name]
    board = animate(4, *inputs, mask).storyboards[0]
    allowed = np.broadcast_to(mask.numpy(), (B, T_Q, T_K))
    moments = list(moments_of_products(*arrays(*inputs), mask.numpy()))
    check_moments(board.frames, moments, blocked={"weights": ~allowed})
    before, after = board.frames[1].cells["scores"], board.frames[2].cells["scores"]
    assert not before.blocked.any()
    np.testing.assert_array_equal(after.blocked, ~allowed)
    assert "weights" not in board.frames[2].cells
    np.testing.assert_array_equal(board.frames[-1].cells["weights"].blocked, ~allowed)
    assert board.frames[2].caption == f"scores: {(~allowed).sum()} of {allowed.size} cells are blocked"
    assert {key for key, cells in board.frames[2].cells.items() if cells.lit.any()} == {"mask", "scores"}


def test_a_row_without_a_key_is_blocked_once_its_weights_are_taken_away():
    board = animate(4, *qkv(B), EMPTY_ROW).storyboards[0]
    before, after = (frame.cells["weights"] for frame in board.frames[3:5])
    assert not before.blocked[:, 2].any()  # still an equal share for every key
    np.testing.assert_allclose(before.value[:, 2], 1 / T_K)
    assert after.blocked[:, 2].all()
    assert not after.value[:, 2].any()


def test_a_mask_that_blocks_nothing_is_not_drawn():
    everything = torch.ones(T_Q, T_K, dtype=torch.bool)
    assert "mask" not in animate(4, *qkv(B), everything).storyboards[0].panels
    assert "mask" in animate(4, *qkv(B), CAUSAL).storyboards[0].panels


# ------------------------------------------------------------------------------------ variants 5 and 6, with heads


def split(x):
    """(..., T, d_model) -> (..., H, T, d_k), number by number: head h has the columns h*d_k and on of every row."""
    *batch, rows, _ = x.shape
    heads = np.empty((*batch, H, rows, D_K))
    for index in np.ndindex(heads.shape):
        *item, h, t, c = index
        heads[index] = x[(*item, t, h * D_K + c)]
    return heads


def attend(q, k, v, mask=None):
    scores = (q / math.sqrt(q.shape[-1])) @ np.swapaxes(k, -2, -1)
    blocked = scores if mask is None else np.where(mask, scores, LOWEST)
    soft = softmax(blocked)
    weights = soft if mask is None else np.where(mask, soft, 0.0)
    return scores, blocked, soft, weights, weights @ v


def merge(context):
    *batch, heads, rows, columns = context.shape
    merged = np.empty((*batch, rows, heads * columns))
    for index in np.ndindex(context.shape):
        *item, h, t, c = index
        merged[(*item, t, h * columns + c)] = context[index]
    return merged


def names_of(batch):
    split_shapes = {"q": (*batch, H, T_Q, D_K), "k": (*batch, H, T_K, D_K), "v": (*batch, H, T_K, D_K)}
    keys = {name: f"{name} {shape}" for name, shape in split_shapes.items()}
    return keys | {"context": f"context {(*batch, T_Q, D_MODEL)}"}


def moments_of_heads(variant, q, k, v, mask):  # noqa: C901 -- one after the other, as the two variants do it
    """What stands still in variants 5 and 6, and for each moment whether numbers came there on a way of their own."""
    batch = q.shape[:-2]
    keys = names_of(batch)
    whole = {"q": q, "k": k, "v": v}
    heads = {name: split(array) for name, array in whole.items()}
    now = whole | ({} if mask is None else {"mask": mask})
    of_heads = mask if mask is None else np.broadcast_to(mask, (*batch, H, T_Q, T_K))
    yield dict(now), False
    scores, blocked, soft, weights, context = attend(*heads.values(), of_heads)
    if variant == 6:
        for name in whole:
            now = {key: array for key, array in now.items() if key != name}
            yield (now := {**now, keys[name]: heads[name]}), True
        turns = [slice(None)]
    else:
        turns = [(..., h, slice(None), slice(None)) for h in range(H)]
    for h, turn in enumerate(turns):

        def partly(name, array, now=now, turn=turn):
            held = np.array(now.get(name, unseen(array.shape)))
            held[turn] = array[turn]
            return held

        if variant == 5:
            now = dict(now)
            for name, array in whole.items():
                rest = array.copy()
                rest[..., : (h + 1) * D_K] = np.nan  # its columns have gone to their heads
                now |= {name: rest, keys[name]: partly(keys[name], heads[name])}
            if mask is not None:  # it does not travel: the one that came in stays
                now[f"mask {of_heads.shape}"] = partly(f"mask {of_heads.shape}", of_heads.astype(float))
            yield dict(now), True
        yield (now := {**now, "scores": partly("scores", scores)}), False
        if mask is not None:
            yield (now := {**now, "scores": partly("scores", blocked)}), False
        yield (now := {**now, "weights": partly("weights", soft)}), False
        if lacks_keys(mask):
            yield (now := {**now, "weights": partly("weights", weights)}), False
        yield (now := {**now, "context": partly("context", context)}), False
    now = {key: array for key, array in now.items() if key != "context"}
    yield (now := {**now, keys["context"]: merge(context)}), True
    if variant == 5:
        yield now, False  # the weights of the heads, stacked: they stand there already
    yield now, False


def head_masks(batch):
    return {
        "none": None,
        "causal": CAUSAL,
        "of each item": padding_mask([5, 7], T_K, head_axis=True) if batch else padding_mask([5], T_K)[0],
    }


SHEETS_OF_ITEMS = ("item 0, head 0", "item 0, head 1", "item 1, head 0", "item 1, head 1")
HEADS = [(variant, batch, mask) for variant in (5, 6) for batch in ((), (B,)) for mask in head_masks(())]


@pytest.mark.parametrize(("variant", "batch", "mask"), HEADS)
def test_the_heads_show_every_number_in_its_place(variant, batch, mask):
    inputs, mask = qkv(*batch), head_masks(batch)[mask]
    board = animate(variant, *inputs, mask, H).storyboards[0]
    (*arguments,) = arrays(*inputs), None if mask is None else mask.numpy()
    moments, moved = zip(*moments_of_heads(variant, *arguments[0], arguments[1]), strict=True)
    blocked = None
    if mask is not None:
        allowed = np.broadcast_to(mask.numpy(), (*batch, H, T_Q, T_K))
        blocked = {"weights": ~allowed}
    check_moments(at_rest(board), moments, blocked=blocked)
    # Just before these, and no others, numbers move.
    before = [bool(one.moves) for one, other in itertools.pairwise(board.frames) if not other.moves]
    assert [False, *before] == list(moved)
    final, _ = VARIANTS[variant](*inputs, mask, H)
    np.testing.assert_array_equal(board.frames[-1].cells[names_of(batch)["context"]].value, sheets(final.numpy()))
    assert board.sheets == (("head 0", "head 1") if not batch else SHEETS_OF_ITEMS)


@pytest.mark.parametrize("batch", [(), (B,)])
def test_both_ways_to_the_heads_end_alike(batch):
    ends = [animate(variant, *qkv(*batch), CAUSAL, H).frames[-1].cells for variant in (5, 6)]
    shared = [key for key in ends[0] if key in ends[1] and not key.startswith("mask")]
    keys = names_of(batch)
    assert {*keys.values(), "scores", "weights"} <= set(shared)
    for key in shared:
        one, other = (cells[key] for cells in ends)
        np.testing.assert_array_equal(one.there, other.there)
        np.testing.assert_allclose(one.value[one.there], other.value[one.there], rtol=1e-12)
        np.testing.assert_array_equal(one.blocked, other.blocked)
    for key in ("q", "k", "v"):
        np.testing.assert_array_equal(ends[0][keys[key]].origin, ends[1][keys[key]].origin)


#: For each rearrangement, by the key where it ends: from where, and the index of each of its numbers in the source.
def ways(batch):
    shapes = {"q": (*batch, T_Q, D_MODEL), "k": (*batch, T_K, D_MODEL), "v": (*batch, T_K, D_MODEL)}
    keys = names_of(batch)
    found = {}
    for name, shape in shapes.items():
        found[keys[name]] = (name, split(np.arange(math.prod(shape)).reshape(shape)).astype(int))
    context = np.arange(math.prod((*batch, H, T_Q, D_K))).reshape(*batch, H, T_Q, D_K)
    found[keys["context"]] = ("context", merge(context).astype(int))
    return found


@pytest.mark.parametrize("variant", [5, 6])
@pytest.mark.parametrize("batch", [(), (B,)])
def test_numbers_set_out_from_their_cell_and_arrive_in_their_cell(variant, batch):
    board = animate(variant, *qkv(*batch), None, H).storyboards[0]
    expected = ways(batch)
    held = {}
    legs = Counter()
    for frame, after in itertools.pairwise(board.frames):
        if not frame.moves:
            held = {key: (cells.value, cells.there) for key, cells in frame.cells.items()}
            continue
        for move in frame.moves:
            assert 0 < move.progress <= 1
            start, end = (board.panels[spot.key] for spot in (move.start, move.end))
            root = expected[next(key for key in expected if key.split(" ")[0] == move.name)][0]
            assert root == move.name == start.name == end.name
            # The numbers are those of the cells from which they come; these are empty now, and those to which they go.
            for spot in (move.start, move.end):
                assert len(spot.cells) == len({tuple(cell) for cell in spot.cells.tolist()}) == len(move.value)
            if not frame.lines or after.moves == ():
                legs[move.name] += 1
            source_key = next(key for key in board.panels if board.panels[key].name == root)
            value, there = held[source_key]
            target_key, (_, indices) = next((key, way) for key, way in expected.items() if way[0] == root)
            source_cells = tuple(move.start.cells.T)
            if move.start.key == source_key and move.start.group == 0:
                np.testing.assert_array_equal(value[source_cells], move.value)
                assert there[source_cells].all()
                assert not frame.cells[source_key].there[source_cells].any()
                # in the order of the tensor that they become
                flat = np.ravel_multi_index(source_cells, value.shape)
                assert set(flat.tolist()) <= set(indices.ravel().tolist())
            if move.end.key == target_key and move.end.group == 0:
                target = sheets(indices)[tuple(move.end.cells.T)].astype(int)
                np.testing.assert_array_equal(value.ravel()[target], move.value)
                if move.name != "context":
                    np.testing.assert_array_equal(move.origin, target)
            if not after.moves:  # the last of them: it is there in the next frame
                assert move.progress == 1
                cells = after.cells[move.end.key]
                np.testing.assert_array_equal(cells.value[tuple(move.end.cells.T)], move.value)
                assert cells.there[tuple(move.end.cells.T)].all()
    turns = H if variant == 5 else 1
    assert legs == {"q": turns, "k": turns, "v": turns, "context": 1}


@pytest.mark.parametrize("mask", ["causal", "of each item"])
@pytest.mark.parametrize("batch", [(), (B,)])
@pytest.mark.parametrize("variant", [5, 6, 7])
def test_a_mask_never_travels_and_the_one_that_came_in_stays(variant, batch, mask):
    mask = head_masks(batch)[mask]
    board = animate(variant, *qkv(*batch), mask, H).storyboards[0]
    for frame in board.frames:
        assert all(board.panels[move.end.key].name != "mask" != move.name for move in frame.moves)
        there = frame.cells["mask"]
        assert there.there.all()
        np.testing.assert_array_equal(there.value, sheets(mask.numpy()))
        np.testing.assert_array_equal(there.blocked, ~sheets(mask.numpy()).astype(bool))
    of_heads = f"mask {(*batch, H, T_Q, T_K)}"
    assert (of_heads in board.panels) == (variant != 6)
    if variant != 6:
        whole = sheets(np.broadcast_to(mask.numpy(), (*batch, H, T_Q, T_K)))
        np.testing.assert_array_equal(board.frames[-1].cells[of_heads].value, whole)
        np.testing.assert_array_equal(board.frames[-1].cells[of_heads].blocked, whole == 0)
        assert (board.frames[-1].cells[of_heads].origin == -1).all()


def test_booleans_that_are_only_viewed_do_not_travel_either():
    def views(flags, x):
        flags = flags.view(3, 4)
        x = x.view(3, 4)
        return flags, x

    flags = torch.arange(12).view(2, 6) % 3 == 0
    board = storyboard(trace(views, flags, normal(2, 6)))
    assert {move.name for frame in board.frames for move in frame.moves} == {"x"}
    end = board.frames[-1].cells
    np.testing.assert_array_equal(end["flags"].value[0], flags)
    assert end["flags"].there.all()
    np.testing.assert_array_equal(end["flags (3, 4)"].value[0], flags.view(3, 4))
    assert not end["x"].there.any()


@pytest.mark.parametrize("batch", [(), (B,)])
@pytest.mark.parametrize("mask", [None, CAUSAL])
def test_what_one_line_moves_travels_together_and_the_caption_says_its_shapes(batch, mask):
    board = animate(5, *qkv(*batch), mask, H).storyboards[0]
    ways = []
    for frame in board.frames:
        if frame.moves:
            names = [move.name for move in frame.moves]
            assert len({move.progress for move in frame.moves}) == 1
            if not ways or ways[-1] != (names, frame.caption):
                ways.append((names, frame.caption))
    split_caption = f": for q, k, v, mask in heads:   {(*batch, T_Q, D_MODEL)} → {(*batch, T_Q, D_K)}"
    # The code has one context for each head, and no tensor of both.
    merge_caption = f"context = torch.cat(contexts, dim=-1)   {H} × {(*batch, T_Q, D_K)} → {(*batch, T_Q, D_MODEL)}"
    splits = [(["q", "k", "v"], f"head {h}{split_caption}") for h in range(H)]
    assert ways == [*splits, (["context"], merge_caption)]
    starts = [one for one, other in itertools.pairwise(board.frames) if other.moves and not one.moves]
    assert len(starts) == H + 1


def test_the_view_in_the_middle_is_drawn_as_groups_of_columns():
    board = animate(6, *qkv(), None, H).storyboards[0]
    for name, rows in (("q", T_Q), ("k", T_K), ("v", T_K)):
        moves = [(frame.caption, move) for frame in board.frames for move in frame.moves if move.name == name]
        captions = list(dict.fromkeys(caption for caption, _ in moves))
        length = {T_Q: "T_q", T_K: "T_k"}[rows]
        assert captions == [
            f".view(*batch, {length}, num_heads, d_k):  ({rows}, 8) → ({rows}, 2, 4)",
            f".transpose(-3, -2):  ({rows}, 2, 4) → (2, {rows}, 4)",
        ]
        for caption, move in moves:
            first = caption.startswith(".view")
            assert move.start.key == name
            assert (move.start.group, move.end.group) == ((0, D_K) if first else (D_K, 0))
            assert move.end.key == (name if first else names_of(())[name])
            if first:  # nothing changes its row or column, only the gap between the heads opens
                np.testing.assert_array_equal(move.start.cells, move.end.cells)
    progress = [frame.moves[0].progress for frame in board.frames if frame.moves and frame.moves[0].name == "q"]
    gap, way = progress[: progress.index(1.0) + 1], progress[progress.index(1.0) + 1 :]
    assert len(gap) == 3 <= len(way), "while a gap opens, no number moves: that is soon seen"
    for leg in (gap, way):
        assert leg == sorted(leg)
        assert leg[-1] == 1


@pytest.mark.parametrize(
    "variant",
    [
        5,
        6,
    ],
)
def test_equal_numbers_are_told_apart_by_where_they_came_in(variant):
    q, k, v = (torch.arange(rows * 8.0).view(rows, 8) % 3 for rows in (T_Q, T_K, T_K))
    end = animate(variant, q, k, v, None, H).frames[-1].cells
    for name, rows in (("q", T_Q), ("k", T_K), ("v", T_K)):
        expected = split(np.arange(rows * 8).reshape(rows, 8))
        np.testing.assert_array_equal(end[names_of(())[name]].origin, expected)


@pytest.mark.parametrize("batch", [(), (B,)])
def test_the_wrong_split_is_seen_to_mix_tokens(batch):
    board = animate(MISCONCEPTIONS["view_without_transpose"].function, *qkv(*batch), None, H).storyboards[0]
    for name, rows in (("q", T_Q), ("k", T_K), ("v", T_K)):
        # Where memory order puts each element.
        elements = torch.arange(math.prod(batch) * rows * D_MODEL).view(*batch, H, rows, D_K)
        cells = board.frames[-1].cells[names_of(batch)[name]]
        np.testing.assert_array_equal(cells.origin, sheets(elements.numpy()))
        came_from = cells.origin // D_MODEL % rows
        assert (came_from[0] == 0).sum() == D_MODEL  # all of the first token has gone to the first head
        right = animate(6, *qkv(*batch), None, H).frames[-1].cells[names_of(batch)[name]].origin
        np.testing.assert_array_equal(right, sheets(split(np.arange(elements.numel()).reshape(*batch, rows, D_MODEL))))
        tokens = right // D_MODEL % rows
        assert (tokens == np.arange(rows)[:, None]).all()  # every row is of its own token


# --------------------------------------------------------------------------------------- variant 7, block by block


def moments_of_blocks(q, k, v, mask):
    """The online softmax as its paper has it, with the names of attention_tiled."""
    batch = q.shape[:-2]
    shape = (*batch, T_Q, T_K)
    now = {"q": q, "k": k, "v": v}
    if mask is not None:
        now["mask"] = mask
        yield dict(now), None, ()
        allowed = np.broadcast_to(mask, shape)
        key = "mask" if mask.shape == shape else f"mask {shape}"
        now[key] = allowed
        yield dict(now), None, ()
    else:
        allowed = np.ones(shape, dtype=bool)
        yield dict(now), None, ()
    largest = np.full((*batch, T_Q, 1), LOWEST)
    total = np.zeros((*batch, T_Q, 1))
    context = np.zeros((*batch, T_Q, v.shape[-1]))
    for name, array in (("running_max", largest), ("running_sum", total), ("context", context)):
        yield (now := {**now, name: array}), None, ()
    for start in range(0, T_K, BLOCK):
        keys = slice(start, min(start + BLOCK, T_K))

        def in_block(array, keys=keys):
            held = unseen(shape)
            held[..., keys] = array
            return held

        read = ("q", "k")
        products = (q / math.sqrt(q.shape[-1])) @ np.swapaxes(k[..., keys, :], -2, -1)
        yield (now := {**now, "scores": in_block(products)}), keys, read
        scores = np.where(allowed[..., keys], products, LOWEST)
        yield (now := {**now, "scores": in_block(scores)}), keys, ("mask", "scores")
        new = np.maximum(largest, scores.max(axis=-1, keepdims=True))
        yield (now := {**now, "new_max": new}), keys, ("running_max", "scores")
        exp = np.where(allowed[..., keys], np.exp(scores - new), 0.0)
        yield (now := {**now, "exp": in_block(exp)}), keys, ("scores", "new_max", "mask")
        correction = np.exp(largest - new)
        yield (now := {**now, "correction": correction}), keys, ("running_max", "new_max")
        total = total * correction + exp.sum(axis=-1, keepdims=True)
        yield (now := {**now, "running_sum": total}), keys, ("running_sum", "correction", "exp")
        context = context * correction + exp @ v[..., keys, :]
        yield (now := {**now, "context": context}), keys, ("context", "correction", "exp", "v")
        largest = new
        yield (now := {**now, "running_max": largest}), keys, ("new_max",)
    context = context / np.maximum(total, 1.0)
    yield (now := {**now, "context": context}), None, ()
    yield now, None, ()


def tiled(mask, batch=()):
    inputs = qkv(*batch, d=D_K)
    return inputs, animate(attention_tiled, *inputs, mask).storyboards[0]


@pytest.mark.parametrize("mask", ["none", "padding", "empty row", "both"])
def test_the_blocks_show_each_number_in_the_columns_of_its_keys(mask):
    mask = MASKS.get(mask)
    inputs, board = tiled(mask, (B,))
    moments = list(moments_of_blocks(*arrays(*inputs), None if mask is None else mask.numpy()))
    check_moments(at_rest(board), [moment for moment, _, _ in moments])


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_the_blocks_light_the_keys_and_values_that_are_read(mask):
    mask = MASKS.get(mask)
    inputs, board = tiled(mask, (B,))
    moments = list(moments_of_blocks(*arrays(*inputs), None if mask is None else mask.numpy()))
    for frame, (_, keys, read) in zip(at_rest(board), moments, strict=True):
        if keys is None:
            continue
        lit = {key: cells.lit for key, cells in frame.cells.items() if cells.lit.any()}
        names = {board.panels[key].name for key in lit}
        if mask is None:
            read = [name for name in read if name != "mask"]
        assert set(read) <= names, frame.caption
        for key, where in lit.items():
            name, expected = board.panels[key].name, np.ones(where.shape, dtype=bool)
            if name in ("k", "v"):
                expected[:] = False
                expected[:, keys] = True
            elif name in ("scores", "exp", "mask"):
                expected[:] = False
                expected[..., keys] = True
            np.testing.assert_array_equal(where, expected, err_msg=f"{frame.caption}, {key}")
        (lines,) = {frame.lines}
        assert inspect.getsourcelines(attention_tiled)[1] < lines[0]
        if {"k", "v"} & names:
            assert f"[..., {keys.start}:{keys.start + BLOCK}, :]" in frame.caption


@pytest.mark.parametrize("mask", [None, "causal", "of each item"])
def test_variant_7_goes_through_its_blocks_and_ends_with_its_context(mask):
    mask = None if mask is None else head_masks((B,))[mask]
    inputs = qkv(B)
    board = animate(7, *inputs, mask, H).storyboards[0]
    heads = [split(array) for array in arrays(*inputs)]
    allowed = None if mask is None else mask.numpy()
    check_moments(at_rest(board), [moment for moment, _, _ in moments_of_blocks(*heads, allowed)])
    context, _ = VARIANTS[7](*inputs, mask, H)
    end = board.frames[-1].cells["context"].value.reshape(B, H, T_Q, D_K)
    np.testing.assert_allclose(merge(end), context.numpy(), rtol=1e-10, atol=1e-12)
    assert board.name == "attention_tiled"


def test_variant_7_takes_its_own_options():
    inputs = qkv(d=D_K)
    board = animate(7, *inputs, is_causal=True, need_weights=False).storyboards[0]
    mask = np.tril(np.ones((T_Q, T_K), dtype=bool))
    check_moments(at_rest(board), [moment for moment, _, _ in moments_of_blocks(*arrays(*inputs), mask)])
    both = animate(7, *qkv(B), padding_mask([5, 7], T_K, head_axis=True), H, is_causal=True).storyboards[0]
    context, _ = VARIANTS[7](*qkv(B), padding_mask([5, 7], T_K, head_axis=True), H, is_causal=True)
    end = both.frames[-1].cells["context"].value.reshape(B, H, T_Q, D_K)
    np.testing.assert_allclose(merge(end), context.numpy(), rtol=1e-10, atol=1e-12)


def test_variant_7_with_one_head_takes_a_mask_with_a_head_axis():
    mask = padding_mask([5, 7], T_K, head_axis=True)  # (B, 1, 1, T_k)
    end = animate(7, *qkv(B), mask, 1).frames[-1].cells["context"].value
    np.testing.assert_allclose(end, VARIANTS[7](*qkv(B), mask, 1)[0].numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("variant", "batch", "heads", "sheets_"),
    [
        (1, (), 0, ()),
        (3, (B,), 0, ("item 0", "item 1")),
        (4, (B, 3), 0, ("item 0, 0", "item 0, 1", "item 0, 2", "item 1, 0", "item 1, 1", "item 1, 2")),
        (5, (), H, ("head 0", "head 1")),
        (6, (), 1, ()),
        (6, (B,), 1, ("item 0", "item 1")),
        (6, (B,), H, SHEETS_OF_ITEMS),
        (7, (), H, ("head 0", "head 1")),
        (7, (B,), H, SHEETS_OF_ITEMS),
        (7, (B,), 1, ("item 0", "item 1")),
    ],
)
def test_sheets_are_called_after_what_they_are(variant, batch, heads, sheets_):
    arguments = [*qkv(*batch), None, heads] if heads else qkv(*batch)
    board = animate(variant, *arguments).storyboards[0]
    assert board.sheets == sheets_
    assert max(panel.sheets for panel in board.panels.values()) == max(len(sheets_), 1)


# ------------------------------------------------------------------------------------------------- long loops


def steps_said(frame):
    """How many steps a frame stands for, by its caption."""
    found = re.match(r"(\d+) steps, up to ", frame.caption)
    return int(found[1]) if found else 1


def of_line(board, code):
    (number,) = (number for number, text in board.lines if text.strip().startswith(code))
    return [frame for frame in board.frames if frame.lines[0] == number]


def test_of_long_loops_the_first_turn_is_shown_and_then_a_turn_at_once():
    q, k, v = (normal(16, D_K, seed=seed) for seed in (1, 2, 3))
    board = storyboard(trace(attention_loops, q, k, v))
    assert len(board.frames) <= 120
    scores = ((q / 2) @ k.T).numpy()
    frames = of_line(board, "scores[i, j] =")
    assert [steps_said(frame) for frame in frames] == [1] * 16 + [16] * 15
    done = 0
    for frame in frames:
        before, done = done, done + steps_said(frame)
        held = np.where(np.arange(256) < done, scores.ravel(), 0.0)
        np.testing.assert_allclose(frame.cells["scores"].value.ravel(), held, rtol=1e-12)
        lit = frame.cells["scores"].lit.ravel()
        np.testing.assert_array_equal(np.flatnonzero(lit), np.arange(before, done))
        rows, columns = np.divmod(np.arange(before, done), 16)
        np.testing.assert_array_equal(np.flatnonzero(frame.cells["q"].lit[0].any(axis=1)), np.unique(rows))
        np.testing.assert_array_equal(np.flatnonzero(frame.cells["k"].lit[0].any(axis=1)), np.unique(columns))
    frames = of_line(board, "context[i] +=")
    assert [steps_said(frame) for frame in frames] == [1] * 16 + [16] * 15
    context = softmax(scores) @ v.numpy()
    np.testing.assert_allclose(board.frames[-1].cells["context"].value[0], context, rtol=1e-10)
    assert len(of_line(board, "weights[i] =")) == 16


@pytest.mark.parametrize("most", [2, 3, 10, 40, 84])
def test_there_are_never_more_frames_than_asked_for(traced_loops, loops, most):
    board, whole = storyboard(traced_loops, max_frames=most), loops
    assert 2 <= len(board.frames) <= most
    assert board.frames[0].caption == whole.frames[0].caption
    assert board.frames[-1].caption == "returned"
    for key, cells in whole.frames[-1].cells.items():
        np.testing.assert_array_equal(board.frames[-1].cells[key].value, cells.value)
    assert board.panels == whole.panels


def test_fewer_frames_fewer_tweens():
    counts = [len(animate(6, *qkv(), None, H, max_frames=most).frames) for most in (120, 60, 30)]
    assert counts == sorted(counts, reverse=True)
    assert all(count <= most for count, most in zip(counts, (120, 60, 30), strict=True))


def test_every_step_of_a_loop_is_in_some_frame(traced_loops):
    board = storyboard(traced_loops, max_frames=10)
    for code, name in (("scores[i, j] =", "scores"), ("context[i] +=", "weights")):
        frames = of_line(board, code)
        assert sum(map(steps_said, frames)) == T_Q * T_K
        assert np.logical_or.reduce([frame.cells[name].lit for frame in frames]).all()


@pytest.mark.parametrize("most", [20, 60])
def test_one_step_is_no_steps_and_several_end_with_that_of_their_frame(traced_loops, loops, most):
    captions = [frame.caption for frame in loops.frames]
    several = 0
    for frame in storyboard(traced_loops, max_frames=most).frames:
        number, found, rest = frame.caption.partition(" steps, up to ")
        if not found:
            assert frame.caption in captions
            continue
        several += 1
        assert int(number) >= 2
        whole = loops.frames[captions.index(rest)]
        assert frame.cells.keys() == whole.cells.keys()
        for key, cells in frame.cells.items():
            np.testing.assert_array_equal(cells.value, whole.cells[key].value)
            np.testing.assert_array_equal(cells.there, whole.cells[key].there)
            assert (cells.lit >= whole.cells[key].lit).all()
    assert several


def test_frames_that_fit_are_not_thinned(loops):
    for most in (len(loops.frames), len(loops.frames) + 1):
        assert thin(loops.frames, most) == list(loops.frames)


@pytest.mark.parametrize("most", [2, 5, 17, 40, 60, 83])
def test_frames_are_thinned_to_so_many_in_their_order_and_the_last_stays(loops, most):
    thinned = thin(loops.frames, most)
    assert 2 <= len(thinned) <= most
    assert thinned[0] is loops.frames[0]
    assert thinned[-1] is loops.frames[-1]
    values = [id(frame.cells) for frame in loops.frames]
    untouched = [values.index(id(frame.cells)) for frame in thinned if steps_said(frame) == 1]
    assert untouched == sorted(set(untouched))
    done = [int((frame.cells["scores"].value != 0).sum()) for frame in thinned if "scores" in frame.cells]
    assert done == sorted(done)


def test_what_is_thinned_again_and_again_still_says_of_how_many_steps(loops):
    frames = loops.frames
    for most in (60, 45, 33, 24):
        frames = thin(frames, most)
        assert len(frames) <= most
    assert frames[-1] is loops.frames[-1]
    for written, name in (("scores[", "scores"), ("context[", "weights")):
        steps = [frame for frame in frames if frame.caption.split(" steps, up to ")[-1].startswith(written)]
        assert all(frame.caption.count(" steps, up to ") <= 1 for frame in steps)
        assert sum(map(steps_said, steps)) == T_Q * T_K
        assert np.logical_or.reduce([frame.cells[name].lit for frame in steps]).all()


def counted(x):
    y = torch.zeros(10, 20)
    n = 0
    while n < 200:
        y[n // 20, n % 20] = x[n % 5]
        n += 1
    return y


def enumerated(x):
    y = torch.zeros(10, 20)
    for i, row in enumerate(x.expand(10, 5)):
        for j in range(20):
            y[i, j] = row[j % 5]
    return y


@pytest.mark.parametrize("function", [counted, enumerated])
def test_other_loops_say_too_for_how_many_steps_a_frame_stands(function):
    board = storyboard(trace(function, torch.arange(1.0, 6.0)))
    frames = [frame for frame in board.frames if "y" in frame.cells and frame.cells["y"].lit.sum() < 200]
    assert len(board.frames) <= 120
    assert sum(map(steps_said, [frame for frame in frames if frame.cells["y"].lit.any()])) == 200
    assert np.logical_or.reduce([frame.cells["y"].lit for frame in frames]).all()


def test_other_loops_fit_and_show_what_there_is():
    for function in (counted, enumerated):
        board = storyboard(trace(function, torch.arange(1.0, 6.0)))
        assert len(board.frames) <= 120
        counts = [int(frame.cells["y"].value.astype(bool).sum()) for frame in board.frames if "y" in frame.cells]
        assert counts == sorted(counts)
        assert counts[-1] == 200


def test_a_write_outside_a_loop_over_a_counter_says_how_many_it_wrote():
    def one(x):
        y = x * 1
        y[1, 2] = 5
        return y

    board = storyboard(trace(one, normal(2, 3)))
    assert "6 numbers" not in board.frames[2].caption


# ----------------------------------------------------------------------------------------------- any function


def by_history(function, *args, **kwargs):
    """Check every frame of a call without rearrangements against the trace, tensor by tensor."""
    traced = trace(function, *args, **kwargs)
    board = storyboard(traced)
    steps = [step for step in traced if step.value.ndim]
    arguments = [step for step in steps if step.kind == "argument"]
    held, frames = {step.name: step.value for step in arguments}, iter(board.frames)
    moments = [dict(held)]
    for step in steps[len(arguments) :]:
        held[step.name] = step.value
        moments.append(dict(held))
    assert len(board.frames) == len(moments) + 1
    for frame, moment in zip(frames, [*moments, moments[-1]], strict=True):
        assert {key for key, cells in frame.cells.items() if cells.there.any()} == moment.keys()
        for name, value in moment.items():
            cells = frame.cells[name]
            assert cells.there.all()
            expected = sheets(value.detach().double().numpy())
            np.testing.assert_array_equal(cells.value, expected)
    return board


def mine(query, key):
    similarity = torch.empty(len(query), len(key), dtype=query.dtype)
    for row in range(0, len(query), 2):
        for column in range(len(key) - 1, -1, -3):
            similarity[row, column] = (query[row] * key[column]).sum()
    parts = [line.sum() for line in similarity]
    total = torch.stack(parts)
    return total


def test_a_students_function_with_other_names_and_loops_with_a_step():
    torch.manual_seed(0)
    board = by_history(mine, normal(T_Q, 3), normal(T_K, 3, seed=1))
    pairs = [(row, column) for row in (0, 2, 4) for column in (6, 3, 0)]
    for (row, column), frame in zip(pairs, board.frames[2:11], strict=True):
        check_lit(
            frame,
            {
                "query": [(row, c) for c in range(3)],
                "key": [(column, c) for c in range(3)],
                "similarity": [(row, column)],
            },
        )
        assert frame.caption.startswith(f"similarity[{row}, {column}] = (query[{row}] * key[{column}]).sum() = ")
    assert board.panels["total"].shape == (T_Q,)
    assert (board.panels["total"].sheets, board.panels["total"].rows, board.panels["total"].columns) == (1, 1, T_Q)


def until(x):
    n = 0
    while n < 3:
        x = x * 2
        n += 1
    return x


def listed(x):
    rows = [x[i] * 2 for i in range(len(x))]
    y = torch.stack(rows)
    return y


@pytest.mark.parametrize("function", [until, listed])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_loops_of_other_kinds_in_every_dtype(function, dtype):
    board = by_history(function, torch.arange(6).view(2, 3).to(dtype))
    name = "x" if function is until else "y"
    expected = np.arange(6.0).reshape(1, 2, 3) * (8 if function is until else 2)
    np.testing.assert_array_equal(board.frames[-1].cells[name].value, expected)
    assert board.limits[name] == expected.max()


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(4, 3, bias=False, dtype=torch.float64)

    def forward(self, x):
        y = self.w(x)
        z = torch.relu(y)
        return z


def test_a_module():
    layer, x = Layer(), normal(T_Q, 4)
    board = storyboard(trace(layer, x))
    assert board.name == "Layer.forward"
    expected = x.numpy() @ layer.w.weight.detach().numpy().T
    np.testing.assert_allclose(board.frames[-1].cells["y"].value[0], expected, rtol=1e-12)
    np.testing.assert_allclose(board.frames[-1].cells["z"].value[0], np.maximum(expected, 0), rtol=1e-12)


def test_tensors_with_gradients_one_dimension_and_none():
    def several(x, scale):
        y = x * scale
        total = y.sum()
        z = y / total
        return z

    x = normal(7).requires_grad_()
    board = storyboard(trace(several, x, torch.tensor(2.0, requires_grad=True)))
    assert list(board.panels) == ["x", "y", "z"]  # a number alone is not drawn
    assert {panel.rows for panel in board.panels.values()} == {1}
    end = board.frames[-1].cells["z"]
    np.testing.assert_allclose(end.value[0, 0], (x / x.sum()).detach(), rtol=1e-12)


def test_nan_and_infinity_are_held_and_leave_the_largest_alone():
    def pass_on(x):
        y = x * 2
        return y

    x = torch.tensor([[1.0, float("nan"), -3.0], [float("inf"), 2.0, -float("inf")]])
    board = by_history(pass_on, x)
    assert board.limits == {"x": 3.0, "y": 6.0}
    cells = board.frames[-1].cells["y"]
    assert np.isnan(cells.value[0, 0, 1])
    assert cells.there.all()
    np.testing.assert_array_equal(cells.blocked, [[[False] * 3, [False, False, True]]])  # minus infinity blocks


def test_the_largest_is_that_of_all_moments_without_what_a_mask_put_there():
    def shrink(x, mask):
        y = x * 10
        y = x / 10
        scores = x.masked_fill(~mask, torch.finfo(x.dtype).min)
        return y, scores

    x = normal(T_Q, T_K)
    board = storyboard(trace(shrink, x, CAUSAL))
    largest = x.abs().max().item()
    assert board.limits["y"] == pytest.approx(10 * largest)
    assert board.limits["scores"] == pytest.approx(x.masked_fill(~CAUSAL, 0).abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_mask_blocks_in_short_dtypes(dtype):
    inputs = [x.to(dtype) for x in qkv(B)]
    end = animate(4, *inputs, EMPTY_ROW).frames[-1].cells
    blocked = np.broadcast_to(~EMPTY_ROW.numpy(), (B, T_Q, T_K))
    np.testing.assert_array_equal(end["scores"].blocked, blocked)
    np.testing.assert_array_equal(end["weights"].blocked, blocked)


def with_numbers_as_mask(q, k, v, mask):
    scores = q @ k.T + mask
    weights = torch.softmax(scores, dim=-1)
    context = weights @ v
    return context


def test_a_mask_that_is_added_is_no_error():
    mask = torch.zeros(T_Q, T_K, dtype=torch.float64).masked_fill(~CAUSAL, -1e9)
    board = storyboard(trace(with_numbers_as_mask, *qkv(), mask))
    np.testing.assert_array_equal(board.frames[-1].cells["mask"].value[0], mask)


@pytest.mark.parametrize("fill", [-1e4, -1e9, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mask_that_is_added_blocks_and_does_not_count_as_the_largest(fill, dtype):
    inputs = [x.to(dtype) for x in qkv()]
    mask = torch.zeros(T_Q, T_K, dtype=dtype).masked_fill(~CAUSAL, fill)
    board = storyboard(trace(with_numbers_as_mask, *inputs, mask))
    first, *_, last = board.frames
    np.testing.assert_array_equal(first.cells["mask"].blocked[0], ~CAUSAL)
    np.testing.assert_array_equal(last.cells["scores"].blocked[0], ~CAUSAL)
    products = (inputs[0] @ inputs[1].T).masked_fill(~CAUSAL, 0).abs().max().item()
    assert products < 1e4 / 100
    assert board.limits["scores"] == pytest.approx(products)
    assert board.limits["mask"] == 0
    assert board.frames[1].caption == f"scores: {int((~CAUSAL).sum())} of 35 cells are blocked"


@pytest.mark.parametrize(
    ("numbers", "blocked"),
    [
        ([-1e4, 99.0, -99.0], [True, False, False]),
        ([-1e4, 101.0, 0.0], [False] * 3),  # not a hundred times further from 0
        ([-1e4, -101.0, 0.0], [False] * 3),
        ([-9e3, 1.0, 0.0], [False] * 3),  # not low enough
        ([-1e9, -1e9 + 64, 5.0], [True, True, False]),  # what was there before is still in it
        ([1e9, 1.0, 0.0], [False] * 3),  # high is not low
    ],
)
def test_what_is_far_below_all_others_is_blocked(numbers, blocked):
    def pass_on(x):
        y = x * 1
        return y

    board = storyboard(trace(pass_on, torch.tensor([numbers], dtype=torch.float64)))
    for key in ("x", "y"):
        assert board.frames[-1].cells[key].blocked.ravel().tolist() == blocked
        kept = [abs(number) for number, away in zip(numbers, blocked, strict=True) if not away]
        assert board.limits[key] == max(kept)


def test_whole_numbers_never_block():
    board = storyboard(trace(passes, torch.tensor([[-(10**9), 1, 0]])))
    assert not board.frames[-1].cells["x"].blocked.any()
    assert board.limits["x"] == 10**9


def test_a_mask_that_blocks_everything_says_so_and_a_start_says_nothing_yet():
    mask = torch.zeros(T_Q, T_K, dtype=torch.bool)
    board = animate(4, *qkv(B), mask).storyboards[0]
    assert board.frames[2].caption == "scores: 70 of 70 cells are blocked"
    assert board.frames[2].cells["scores"].blocked.all()
    tiled_captions = [frame.caption for frame in animate(7, *qkv(), mask).frames]
    assert "running_max: nothing yet, the lowest number there is" in tiled_captions
    assert not any("nothing yet" in frame.caption for frame in board.frames)


@pytest.mark.parametrize(("count", "caption"), [(1, "a comes in"), (2, "a and b come in"), (3, "a, b and c come in")])
def test_one_comes_in_and_several_come_in(count, caption):
    def any_number(a, b=None, c=None):
        return a

    assert storyboard(trace(any_number, *[torch.ones(2)] * count)).frames[0].caption == caption


def makes_room(x):
    y = torch.zeros(2, 3)
    one = torch.zeros(1)
    ones = torch.ones(2, 3)
    allowed = torch.zeros(2, 3, dtype=torch.bool)
    y[1] = x[1]
    return y, one, ones, allowed


def test_a_line_that_only_makes_room_says_so_and_is_short():
    first, *frames, _ = storyboard(trace(makes_room, normal(2, 3))).frames
    assert [(frame.caption, frame.seconds) for frame in frames] == [
        ("y: 6 zeros, to be filled in", 0.5),
        ("one = torch.zeros(1): 1 number at once", SECONDS["still"]),
        ("ones = torch.ones(2, 3): 6 numbers at once", SECONDS["still"]),
        ("allowed: 6 zeros, to be filled in", 0.5),
        ("y[1] = x[1]: 3 numbers at once", SECONDS["still"]),
    ]
    assert first.seconds == SECONDS["still"]  # zeros that came in do not make room
    zeros, *_ = storyboard(trace(makes_room, torch.zeros(2, 3))).frames
    assert (zeros.caption, zeros.seconds) == ("x comes in", SECONDS["still"])


# ------------------------------------------------------------------------------------- results without a name


def unnamed(x, y):
    z = x + y
    return z, x @ y.T


def test_what_is_returned_without_a_name_is_a_panel_in_a_frame_of_its_own():
    x, y = normal(T_Q, 3), normal(T_Q, 3, seed=1)
    board = storyboard(trace(unnamed, x, y))
    assert list(board.panels) == ["x", "y", "z", "result"]
    assert board.panels["result"].shape == (T_Q, T_Q)
    assert [frame.caption for frame in board.frames] == [
        "x and y come in",
        "z = x + y: 15 numbers at once",
        "result: 25 numbers at once",
        "returned",
    ]
    moments = [{"x": x, "y": y}, {"x": x, "y": y, "z": x + y}]
    moments += [{**moments[1], "result": x @ y.T}] * 2
    check_moments(board.frames, [{name: array.numpy() for name, array in moment.items()} for moment in moments])
    *_, frame, end = board.frames
    assert frame.lines == end.lines
    # The whole line is read, z too.
    check_lit(frame, {"x": "all", "y": "all", "z": "all", "result": "all"})
    assert board.limits["result"] == pytest.approx((x @ y.T).abs().max().item())


def test_a_result_alone_is_a_panel():
    def alone(x):
        return x * 2

    x = normal(2, 3).requires_grad_()
    board = storyboard(trace(alone, x))
    moments = [{"x": x.detach().numpy()}] + [{"x": x.detach().numpy(), "result": 2 * x.detach().numpy()}] * 2
    check_moments(board.frames, moments)


def test_a_result_with_a_name_is_no_other_panel_even_with_nan():
    def named(x):
        y = x * 2
        return y, y.T.contiguous().T, x, y.sum()

    x = normal(2, 3)
    x[1, 2] = float("nan")
    board = storyboard(trace(named, x))
    assert list(board.panels) == ["x", "y"]
    assert [frame.caption for frame in board.frames] == ["x comes in", "y = x * 2: 6 numbers at once", "returned"]


def test_names_leave_out_the_result_or_ask_for_it():
    traced = trace(unnamed, normal(T_Q, 3), normal(T_Q, 3, seed=1))
    assert list(storyboard(traced, ["x", "z"]).panels) == ["x", "z"]
    board = storyboard(traced, ["result"])
    assert list(board.panels) == ["result"]
    assert [frame.caption for frame in board.frames] == ["result: 25 numbers at once", "returned"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_variants_return_has_names(variant):
    extra = [CAUSAL] * (variant > 3) + [H] * (variant > 4)
    assert "result" not in animate(variant, *qkv(), *extra).storyboards[0].panels


# ------------------------------------------------------------------------------------- masks and large tensors


def mask_of_its_own(q, k, v):
    scores = q @ k.T
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask = mask.tril()
    scores = scores.masked_fill(~mask, -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    context = weights @ v
    return context


def test_a_mask_that_blocks_only_later_is_drawn():
    board = storyboard(trace(mask_of_its_own, *qkv()))
    assert "mask" in board.panels
    end = board.frames[-1].cells
    for key in ("mask", "scores", "weights"):
        np.testing.assert_array_equal(end[key].blocked[0], ~CAUSAL)


def test_other_memory_other_frames_do_not_matter():
    inputs = qkv(B)
    others = [torch.stack([x, -x], dim=-1)[..., 0] for x in inputs]
    assert not any(x.is_contiguous() for x in others)
    for variant in (3, 4):
        boards = [animate(variant, *args).storyboards[0] for args in (inputs, others)]
        for one, other in zip(boards[0].frames, boards[1].frames, strict=True):
            assert one.caption == other.caption
            for key, cells in one.cells.items():
                np.testing.assert_allclose(cells.value, other.cells[key].value, rtol=1e-12)
                np.testing.assert_array_equal(cells.lit, other.cells[key].lit)


def test_a_second_tensor_of_a_name_has_its_shape_in_its_key():
    def reshape(x):
        x = x.view(3, 4)
        x = x.view(2, 2, 3)
        x = x.flatten()
        return x

    board = storyboard(trace(reshape, normal(2, 6)))
    assert list(board.panels) == ["x", "x (3, 4)", "x (2, 2, 3)", "x (12,)"]
    assert [panel.argument for panel in board.panels.values()] == [True, False, False, False]
    end = board.frames[-1].cells
    assert [key for key in board.panels if end[key].there.any()] == ["x (12,)"]
    np.testing.assert_array_equal(end["x (12,)"].origin.ravel(), np.arange(12))


def test_where_a_loop_stacks_its_turns_each_is_a_sheet():
    def by_hand(q, k):
        all_scores = []
        for h in range(2):
            scores = q[..., h * 4 : h * 4 + 4] @ k[..., h * 4 : h * 4 + 4].T
            all_scores.append(scores)
        scores = torch.stack(all_scores)
        return scores

    q, k, _ = arrays(*qkv())
    board = storyboard(trace(by_hand, torch.tensor(q), torch.tensor(k)))
    assert board.panels["scores"].shape == (H, T_Q, T_K)
    expected = split(q) @ np.swapaxes(split(k), -2, -1)
    first, second, stacked, end = (frame.cells["scores"] for frame in board.frames[1:])
    assert first.there[0].all()
    assert not first.there[1].any()
    assert not second.lit[0].any()
    assert second.lit[1].all()
    for cells in (second, stacked, end):
        np.testing.assert_allclose(cells.value, expected, rtol=1e-12)
    assert board.frames[3].caption == "scores: the same numbers"


def test_the_end_lights_the_return_that_ran():
    def early(x):
        if x.ndim:
            return x * 2
        return x

    board = storyboard(trace(early, normal(2, 3)))
    assert board.frames[-1].lines[0] == early.__code__.co_firstlineno + 2


# ---------------------------------------------------------------------------------------------------- bad input


def passes(x):
    return x


@pytest.mark.parametrize("shape", [(41, 3), (3, 41), (41,), (7, 2, 3), (2, 4, 2, 3)])
def test_what_is_too_large_to_draw_is_refused(shape):
    with pytest.raises(ValueError, match=r"^animate: x of passes has the shape .*; at most 40 rows, 40 columns and 6 "):
        storyboard(trace(passes, torch.ones(shape)))


@pytest.mark.parametrize("shape", [(40, 40), (6, 2, 3), (2, 3, 2, 3)])
def test_what_just_fits_is_drawn(shape):
    assert storyboard(trace(passes, torch.ones(shape))).panels["x"].shape == shape


def test_an_unknown_name_is_met_with_those_there_are():
    traced = trace(attention_matmul, *qkv())
    with pytest.raises(ValueError, match=r"^animate: attention_matmul held no tensor named 'score', only q, k, v, sco"):
        storyboard(traced, ["q", "score"])


def test_a_call_without_numbers_is_refused():
    with pytest.raises(ValueError, match="^animate: passes held no tensor with numbers to draw.$"):
        storyboard(trace(passes, torch.ones(())))
    with pytest.raises(ValueError, match="held no tensor with numbers"):
        storyboard(trace(passes, torch.ones(0, 3)))


def test_one_frame_is_too_few():
    with pytest.raises(ValueError, match="^animate: max_frames must be at least 2; got 1.$"):
        storyboard(trace(passes, torch.ones(2)), max_frames=1)


@pytest.mark.parametrize("names", [["scores"], ["k", "scores"], ["context", "v"], ["exp"]])
def test_only_the_names_asked_for_are_drawn(traced_loops, names):
    board = storyboard(traced_loops, names)
    assert set(board.panels) == set(names)
    moments = [moment for moment, _ in moments_of_loops(*arrays(*qkv()))]
    ends = {name: moments[-1][name] for name in names}
    for key, array in ends.items():
        np.testing.assert_allclose(board.frames[-1].cells[key].value[0], np.atleast_2d(array), rtol=1e-12)
    for frame in board.frames:
        assert set(frame.cells) <= set(names)
