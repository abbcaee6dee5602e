"""The film of shared keys: heads of queries below each other at their head of keys, each number in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attention_variants as av
from attention_variants.lab.animation.captions import Kind
from attention_variants.lab.animation.paint import Painter
from attention_variants.lab.animation.storyboard import storyboard
from attention_variants.lab.code.trace import trace
from attention_variants.lab.plots.colors import KEY_HEADS

T_Q, T_K, D_K, H, G = 3, 4, 2, 4, 2
R = H // G
WORDS = ["dog", "bites", "man"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(*batch, T_k=T_K):
    widths = ((T_Q, H), (T_k, G), (T_k, G))
    return [normal(*batch, T, heads * D_K, seed=seed) for seed, (T, heads) in enumerate(widths)]


def board_of(*batch, mask=None, **options):
    q, k, v = inputs(*batch)
    return storyboard(trace(av.grouped_query_attention, q, k, v, mask, num_heads=H, num_kv_heads=G), **options)


def right(*batch, mask=None):
    """Scores, weights and contexts of each head of keys, worked out here: (..., G, R * T_q, .)."""
    q, k, v = inputs(*batch)
    q = torch.stack(q.split(D_K, dim=-1), dim=-3).unflatten(-3, (G, R)).flatten(-3, -2)
    k, v = (torch.stack(x.split(D_K, dim=-1), dim=-3) for x in (k, v))
    scores = q @ k.transpose(-2, -1) / D_K**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask.repeat(R, 1), torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    return {"q": q, "k": k, "v": v, "scores": scores, "weights": weights, "context": weights @ v}


def drawn(x):
    return x.flatten(0, -3).numpy()


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("mask", [None, torch.ones(T_Q, T_K, dtype=torch.bool).tril(1)], ids=["no mask", "causal"])
def test_each_sheet_is_that_of_a_head_of_keys(batch, mask):
    board = board_of(*batch, mask=mask)
    last = {}  # by name, what stood in its two-sheet panel when it was there
    for frame in board.frames:
        for key, cells in frame.cells.items():
            panel = board.panels[key]
            if not frame.moves and panel.sheets > max(1, *batch, 0) and cells.there.all():
                last[panel.name] = cells
    for name, expected in right(*batch, mask=mask).items():
        np.testing.assert_allclose(last[name].value, drawn(expected), rtol=0, atol=1e-12, err_msg=name)
    if mask is not None:
        assert np.array_equal(
            last["weights"].blocked, np.broadcast_to(~mask.repeat(R, 1).numpy(), last["weights"].there.shape)
        )


def test_the_board_knows_its_heads():
    board = board_of()
    assert board.sheets == ("key head 0", "key head 1")
    assert (board.key_heads, board.query_rows) == (G, T_Q)
    assert board_of(2).sheets == (
        "item 0, key head 0",
        "item 0, key head 1",
        "item 1, key head 0",
        "item 1, key head 1",
    )


def test_scores_stay_where_they_are_when_the_code_calls_them_four_heads():
    board = board_of()
    (scores,) = [panel for panel in board.panels.values() if panel.name == "scores"]
    assert (scores.shape, scores.then) == ((G, R * T_Q, T_K), (H, T_Q, T_K))
    assert scores.sizes == ("(2, 6, 4), then", "(4, 3, 4)")
    (weights,) = [panel for panel in board.panels.values() if panel.name == "weights"]
    assert (weights.shape, weights.sheets, weights.rows) == ((H, T_Q, T_K), G, R * T_Q)
    assert weights.size == "(4, 3, 4)"
    (frame,) = [frame for frame in board.frames if frame.event.kind is Kind.REARRANGED]
    assert frame.caption == "scores = scores.view(*batch, num_heads, T_q, T_k)   (2, 6, 4) → (4, 3, 4)"
    assert not any(move.name == "scores" for frame in board.frames for move in frame.moves)


def test_the_way_of_the_queries_is_said_with_the_shapes_at_its_ends():
    captions = {frame.caption for frame in board_of().frames if any(move.name == "q" for move in frame.moves)}
    assert captions == {"view, movedim, reshape:  (3, 8) → (2, 6, 2)"}


@pytest.mark.parametrize("variant", [5, 6])
def test_a_function_whose_heads_share_nothing_has_no_such_heads(variant):
    q = normal(T_Q, H * D_K)
    board = storyboard(trace(av.get_variant(variant), q, q, q, num_heads=H))
    assert (board.key_heads, board.query_rows) == (0, 0)
    assert all(panel.then is None and panel.drawn is None for panel in board.panels.values())
    assert board.sheets[0] == "head 0"


def test_multi_query_attention_is_one_sheet():
    q, k, v = normal(T_Q, H * D_K), normal(T_K, D_K, seed=1), normal(T_K, D_K, seed=2)
    board = storyboard(trace(av.grouped_query_attention, q, k, v, num_heads=H, num_kv_heads=1))
    assert (board.key_heads, board.query_rows) == (1, T_Q)
    (panel,) = [panel for panel in board.panels.values() if panel.name == "weights"]
    assert (panel.sheets, panel.rows) == (1, H * T_Q)
    layout = Painter(board, tokens=(WORDS, [str(n) for n in range(T_K)])).layout
    assert layout.seams(panel) == [T_Q, 2 * T_Q, 3 * T_Q]
    queries = max((panel for panel in board.panels.values() if panel.name == "q"), key=lambda panel: panel.rows)
    assert [words[::T_Q] for words in layout.words_of_rows(queries)] == [[f"head {head}  dog" for head in range(H)]]


def test_one_query_as_when_a_model_writes():
    q, k, v = normal(1, H * D_K), normal(T_K, G * D_K, seed=1), normal(T_K, G * D_K, seed=2)
    film = av.animate(av.grouped_query_attention, q, k, v, num_heads=H, num_kv_heads=G)
    (board,) = film.storyboards
    assert (board.key_heads, board.query_rows) == (G, 1)
    assert len(film.pictures()) == len(board.frames)


def painter(**options):
    board = board_of(query_tokens=WORDS)
    return Painter(board, tokens=(WORDS, [str(n) for n in range(T_K)]), **options)


def test_rows_say_of_which_head_they_are_and_lines_stand_between_heads():
    layout = painter().layout
    (panel,) = [panel for panel in layout.board.panels.values() if panel.name == "q" and panel.sheets > 1]
    assert layout.words_of_rows(panel) == [
        ["head 0  dog", "bites", "man", "head 1  dog", "bites", "man"],
        ["head 2  dog", "bites", "man", "head 3  dog", "bites", "man"],
    ]
    of_two = Painter(board_of(2, names=["q", "weights"]), tokens=(WORDS, None)).layout
    (panel,) = [panel for panel in of_two.board.panels.values() if panel.name == "q" and panel.rows > T_Q]
    assert [words[0] for words in of_two.words_of_rows(panel)] == ["head 0  dog", "head 2  dog"] * 2
    (panel,) = [panel for panel in of_two.board.panels.values() if panel.name == "weights"]
    assert (panel.sheets, panel.rows) == (2 * G, R * T_Q), "also where no scores are drawn"
    between = {panel.key: layout.seams(panel) for panel in layout.board.panels.values()}
    assert {key for key, rows in between.items() if rows} == {"q (2, 6, 2)", "scores", "weights", "context"}
    assert between["weights"] == [T_Q]


def test_each_head_of_keys_has_its_colour_around_its_sheets_and_below_its_columns():
    paint = painter()
    picture = np.asarray(paint.still)

    def shows(x, y, colour):
        return tuple(picture[round(y), round(x)]) == tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))

    for key, panel in paint.board.panels.items():
        boxes = paint.boxes[key]
        for sheet, box in enumerate(boxes if len(boxes) > 1 else []):
            x, y, _, bottom = box.cell(0, 0)
            assert shows(x - 2, (y + bottom) / 2, KEY_HEADS[sheet]), key
        if panel.sheets == 1 and panel.name in ("q", "k", "v", "context"):
            for head in range(G):
                x, _, right, bottom = boxes[0].cell(panel.rows - 1, head * panel.columns // G)
                assert shows((x + right) / 2, bottom + 5, KEY_HEADS[head]), key


def test_whole_numbers_stand_in_cells_too_narrow_for_decimals():
    whole = [x.abs().round() for x in inputs(T_k=T_Q)]
    film = av.animate(
        av.grouped_query_attention,
        *whole,
        num_heads=H,
        num_kv_heads=G,
        names=["q", "k", "scores", "weights"],
        tokens=WORDS,
        values=True,
    )
    (board,) = film.storyboards
    paint = Painter(board, tokens=(WORDS, WORDS), values=True)
    assert {board.panels[key].name: decimals for key, decimals in paint.decimals.items()} == {
        "q": 0,
        "k": 0,
        "scores": 1,
        "weights": 1,
    }
    assert len(film) == len(board.frames)
