"""Modules in motion: what they hold is drawn as it is multiplied, and a caption says what a line calls."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import attention_variants as av
from attention_variants.lab.animation.animate import animate
from attention_variants.lab.animation.captions import Kind
from attention_variants.lab.animation.crop import KEPT, WIDEST
from attention_variants.lab.animation.paint import _Pen

T, T_MEMORY, D_MODEL, H, VOCABULARY = 5, 7, 8, 2, 46
TOKENS = torch.tensor([26, 14, 31, 14, 5])
WORDS = list("abcde")


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    model = av.Transformer(VOCABULARY, 14, d_model=D_MODEL, num_heads=H, num_layers=2, d_ff=16, dropout=0.0).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # as after a training: at first, norms have factors of 1 and shifts of 0
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return av.Transformer(VOCABULARY, VOCABULARY, D_MODEL, H, 1, 16, dropout=0.0).eval()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def held(animation):
    return {key: panel for key, panel in animation.storyboards[0].panels.items() if panel.held}


def at_the_end(animation, key):
    """What a panel shows at last: the numbers, where there are some."""
    cells = animation.frames[-1].cells[key]
    assert cells.there.all()
    return cells.value


def lit(frame, key):
    return frame.cells[key].lit


def same(cells, tensor):
    np.testing.assert_allclose(cells, tensor.detach().double().reshape(cells.shape), rtol=1e-6)


def panels(animation):
    return animation.storyboards[0].panels


def captions(animation):
    return [frame.caption for frame in animation.frames]


# ------------------------------------------------------------------------------------------ what a module holds


def test_projections_are_drawn_as_they_are_multiplied_above_what_they_make(narrow):
    attention, x = narrow.encoder.layers[0].self_attention, normal(T, D_MODEL)
    animation = animate(attention, x)
    names = [f"w_{name}.weight.T" for name in "qkvo"]
    assert list(held(animation)) == names
    for name, makes in zip(names, ("q", "k", "v", "result"), strict=True):
        linear, panel = getattr(attention, name[:3]), held(animation)[name]
        assert (panel.operand.makes, panel.operand.is_factor) == (makes, True)
        cells = at_the_end(animation, name)
        same(cells[0, :D_MODEL], linear.weight.T)
        if panel.has_bias:
            same(cells[0, D_MODEL], linear.bias)
        product = x if makes != "result" else torch.tensor(at_the_end(animation, "context")[0]).float()
        ours = product @ torch.tensor(cells[0, :D_MODEL]).float()
        np.testing.assert_allclose(at_the_end(animation, makes)[0], ours + linear.bias.detach(), atol=1e-5)


def test_a_bias_that_changes_nothing_is_left_out():
    feed_forward = av.FeedForward(D_MODEL, 16)
    nn.init.zeros_(feed_forward.w_1.bias)
    panels = held(animate(feed_forward, normal(T, D_MODEL)))
    assert not panels["w_1.weight.T"].has_bias
    assert panels["w_1.weight.T"].rows == D_MODEL
    assert panels["w_2.weight.T"].has_bias
    assert panels["w_2.weight.T"].size == "(16, 8) and a bias"


def test_the_line_that_reads_a_matrix_lights_it(narrow):
    animation = animate(narrow.encoder.layers[0].feed_forward, normal(T, D_MODEL))
    by_caption = {frame.caption: frame for frame in animation.frames}
    first = by_caption["hidden: relu of w_1(x); w_1(x) is x @ w_1.weight.T + w_1.bias"]
    second = by_caption["output: w_2(hidden) is hidden @ w_2.weight.T + w_2.bias"]
    assert lit(first, "w_1.weight.T").all()
    assert not lit(first, "w_2.weight.T").any()
    assert lit(second, "w_2.weight.T").all()
    assert not lit(second, "w_1.weight.T").any()


def test_what_a_norm_holds_is_drawn_if_it_changes_anything(narrow):
    trained = animate(narrow.encoder.layers[0].add_norm_1, normal(T, D_MODEL), normal(T, D_MODEL, seed=1))
    same(at_the_end(trained, "norm.weight")[0], narrow.encoder.layers[0].add_norm_1.norm.weight)
    assert not held(animate(av.AddNorm(D_MODEL), normal(T, D_MODEL), normal(T, D_MODEL, seed=1)))


def test_the_module_s_own_come_in_by_themselves(narrow):
    frames = animate(narrow.encoder.layers[0].feed_forward, normal(T, D_MODEL)).frames
    assert [frame.event.kind for frame in frames[:2]] == [Kind.ARGUMENTS, Kind.HELD]
    assert frames[1].caption == "w_1.weight.T and w_2.weight.T: held by the module"


# -------------------------------------------------------------------------------------------------- look-ups


def test_a_look_up_moves_the_rows_of_its_tokens_and_leaves_the_table(narrow):
    embedding = narrow.source_embedding
    animation = animate(embedding, TOKENS, query_tokens=list("mar,1"))
    panel = held(animation)["weight"]
    assert panel.operand.is_table
    assert set(TOKENS.tolist()) <= set(panel.kept_rows)
    same(at_the_end(animation, "weight")[0], embedding.weight[list(panel.kept_rows)])
    same(at_the_end(animation, "vectors")[0], embedding.weight[TOKENS])
    same(at_the_end(animation, "result")[0], embedding.weight[TOKENS] * D_MODEL**0.5)
    moves = {int(move.end.cells[0, 1]): move for frame in animation.frames for move in frame.moves}
    for t, token in enumerate(TOKENS.tolist()):
        assert {panel.kept_rows[row] for row in moves[t].start.cells[:, 1].tolist()} == {token}
        assert moves[t].start.cells[:, 2].tolist() == moves[t].end.cells[:, 2].tolist() == list(range(D_MODEL))
    arrived = next(frame for frame in animation.frames if frame.event.kind is Kind.LOOKED_UP)
    read = {panel.kept_rows[row] for row in np.flatnonzero(lit(arrived, "weight").any(axis=(0, 2)))}
    assert read == set(TOKENS.tolist())


def test_of_the_positional_encoding_the_rows_that_are_added_are_lit(narrow):
    animation = animate(narrow.position, normal(T, D_MODEL))
    (panel,) = held(animation).values()
    sum_ = animation.frames[-2]
    assert {panel.kept_rows[row] for row in np.flatnonzero(lit(sum_, panel.key).any(axis=(0, 2)))} == set(range(T))
    encoding = narrow.position.encoding[list(panel.kept_rows)]
    np.testing.assert_allclose(at_the_end(animation, panel.key)[0], encoding)


# ------------------------------------------------------------------------------- names that are assigned again


def test_a_name_that_is_assigned_again_has_a_panel_of_its_own(narrow):
    layer, x, memory = narrow.decoder.layers[0], normal(T, D_MODEL), normal(T_MEMORY, D_MODEL, seed=1)
    animation = animate(layer, x, memory)
    assert list(animation.storyboards[0].panels) == [
        *("x", "memory", "attended", "x (2nd)", "attended (2nd)", "x (3rd)", "x (4th)"),
    ]
    first, _ = layer.self_attention(x, is_causal=True)
    after = layer.add_norm_1(x, first)
    second, _ = layer.cross_attention(after, memory)
    between = layer.add_norm_2(after, second)
    expected = {
        "x": x,
        "attended": first,
        "x (2nd)": after,
        "attended (2nd)": second,
        "x (3rd)": between,
        "x (4th)": layer.add_norm_3(between, layer.feed_forward(between)),
    }
    for key, tensor in expected.items():
        np.testing.assert_allclose(at_the_end(animation, key)[0], tensor.detach(), atol=1e-5, err_msg=key)
    assert animation.frames[2].caption == "x (2nd): made by add_norm_1"


class TwoNames(nn.Module):
    """As a layer that attends to itself where it is given nothing else."""

    def __init__(self):
        super().__init__()
        self.w_k = nn.Linear(D_MODEL, 3)

    def forward(self, query, key=None):
        key = query if key is None else key
        k = self.w_k(key)
        return k


def test_another_name_of_an_argument_is_not_drawn_again():
    animation = animate(TwoNames(), normal(T, D_MODEL))
    assert "key" not in animation.storyboards[0].panels
    projection = next(frame for frame in animation.frames if frame.caption.startswith("k:"))
    assert lit(projection, "query").all()
    assert list(animate(TwoNames(), normal(T, D_MODEL), normal(T, D_MODEL, seed=1)).storyboards[0].panels)[:2] == [
        "query",
        "key",
    ]


def test_heads_are_called_heads(narrow):
    assert animate(narrow.encoder.layers[0].self_attention, normal(T, D_MODEL)).storyboards[0].sheets == (
        "head 0",
        "head 1",
    )


# ------------------------------------------------------------------------------------------- what is too large


def test_a_wide_tensor_is_drawn_in_part_and_says_so():
    model, x = av.load_date_model(), normal(13, 64)
    animation = animate(model.encoder.layers[0].feed_forward, x)
    panel = animation.storyboards[0].panels["x"]
    assert panel.size == "(13, 64), here 8 columns"
    assert panel.kept_columns == tuple(range(KEPT))
    same(at_the_end(animation, "x")[0], x[:, :KEPT])
    linear = model.encoder.layers[0].feed_forward.w_1
    panel = animation.storyboards[0].panels["w_1.weight.T"]
    assert re.fullmatch(r"\(64, 128\) and a bias, here 8 rows × 8 columns", panel.size)
    cells = at_the_end(animation, "w_1.weight.T")[0]
    same(cells[:KEPT], linear.weight.T[:KEPT, :KEPT])
    same(cells[KEPT], linear.bias[:KEPT])
    hidden = torch.relu(linear(x))[:, :KEPT]
    np.testing.assert_allclose(at_the_end(animation, "hidden")[0], hidden.detach(), atol=1e-5)


def test_what_fits_is_drawn_whole(narrow):
    panels = animate(narrow.encoder.layers[0].feed_forward, normal(T, D_MODEL)).storyboards[0].panels
    assert panels["hidden"].columns == WIDEST
    assert all(panel.kept_rows is panel.kept_columns is None for panel in panels.values())


def test_of_a_function_too_wide_tensors_are_refused_as_before():
    with pytest.raises(ValueError, match="at most 40"):
        animate(lambda x: x + 1, normal(3, 41))


@pytest.mark.parametrize("width", [8, 64])
def test_every_part_of_the_machine_plays(narrow, width):
    model = narrow if width == 8 else av.load_date_model()
    x, y, memory = normal(T, width), normal(3, width, seed=1), normal(T_MEMORY, width, seed=2)
    calls = [
        (model.source_embedding, TOKENS),
        (model.position, x),
        (model.encoder.layers[0].add_norm_1, x, x + 1),
        (model.encoder.layers[0].feed_forward, x),
        (model.encoder.layers[0].self_attention, x),
        (model.encoder.layers[0], x),
        (model.encoder, x),
        (model.decoder.layers[0], y, memory),
        (model.decoder.layers[0].cross_attention, y, memory),
    ]
    for module, *arguments in calls:
        animation = animate(module, *arguments)
        assert len(animation) <= 120
        assert len(animation.html) < 400_000, module
        sizes = {picture.size for picture in animation.pictures()}
        assert len(sizes) == 1


def test_a_module_computes_the_same_whether_it_is_watched_or_not(narrow):
    layer, x = narrow.encoder.layers[0], normal(2, T, D_MODEL)
    before = layer(x)[0]
    animate(layer, x)
    assert torch.equal(layer(x)[0], before)


def test_a_place_whose_numbers_have_gone_on_says_so(monkeypatch):
    """A grey box without a word looks like a mistake."""
    said = []
    text = _Pen.text
    monkeypatch.setattr(
        _Pen, "text", lambda pen, at, words, *a, **k: (said.append(words), text(pen, at, words, *a, **k))
    )
    pictures = animate(6, *torch.randn(3, 4, 6), num_heads=2)
    painter = pictures._painters(1)[0]
    said.clear()
    painter.paint(pictures.frames[0])
    assert "moved" not in said
    painter.paint(pictures.frames[-1])
    assert said.count("moved") == 5  # q, k and v as they came in, and the context of each head
    moving = next(frame for frame in pictures.frames if frame.moves)
    said.clear()
    painter.paint(moving)
    assert not moving.cells[moving.moves[0].start.key].there.any()
    assert "moved" not in said, "the word stood below numbers that were still on their way"


# ----------------------------------------------------------------------------------------------------- follow


def test_a_row_that_is_followed_is_marked_where_there_are_as_many_rows(narrow):
    layer, y, memory = narrow.decoder.layers[0], normal(3, D_MODEL), normal(T_MEMORY, D_MODEL, seed=2)
    plain, marked = (animate(layer, y, memory, follow=follow).pictures()[-1] for follow in (None, 1))
    differ = np.asarray(plain).astype(int) != np.asarray(marked)
    painter = animate(layer, y, memory)._painters(1)[0]
    rows, columns = np.nonzero(differ.any(axis=-1))
    for key, boxes in painter.boxes.items():
        x, top, _, _ = boxes[0].cell(1, 0)
        _, _, right, bottom = boxes[0].cell(1, D_MODEL - 1)
        inside = (rows >= top - 2) & (rows <= bottom + 2) & (columns >= x - 2) & (columns <= right + 2)
        assert inside.any() == (key != "memory"), key


def test_a_row_that_there_is_not_is_told(narrow):
    with pytest.raises(ValueError, match="follow must be from 0 to 4, a row of x; got 5"):
        animate(narrow.encoder.layers[0], normal(T, D_MODEL), follow=5)


# -------------------------------------------------------------------------------------- what the code has


def test_a_loop_over_heads_has_as_many_tensors_as_turns():
    q, k, v = (normal(T, D_MODEL, seed=seed) for seed in range(3))
    sizes = {key: panel.size for key, panel in panels(animate(5, q, k, v, num_heads=H)).items()}
    each, weights = f"2 × {(T, D_MODEL // H)}", f"2 × {(T, T)}"
    assert sizes["q"] == str((T, D_MODEL))
    assert sizes[f"q {(H, T, D_MODEL // H)}"] == each
    assert sizes["scores"] == weights
    assert sizes["weights"] == f"{weights}, then {(H, T, T)}", "torch.stack makes one tensor of them"
    assert {size for key, size in sizes.items() if key.startswith("context")} == {each, str((T, D_MODEL))}


def test_what_is_one_tensor_in_the_code_is_called_one():
    q, k, v = (normal(T, D_MODEL, seed=seed) for seed in range(3))
    assert panels(animate(6, q, k, v, num_heads=H))["scores"].size == str((H, T, T))


# -------------------------------------------------------------------------------------- what a line calls


def test_a_caption_names_what_the_line_calls_in_the_order_in_which_it_runs(model):
    layer, x = model.encoder.layers[0], normal(T, D_MODEL)
    assert captions(animate(layer, x))[1:-1] == [
        "attended: made by self_attention",
        "x (2nd): made by add_norm_1",
        "x (3rd): made by feed_forward, then add_norm_2",
    ]


def test_several_products_of_one_line_are_said_together(model):
    said = captions(animate(model.encoder.layers[0].self_attention, normal(T, D_MODEL)))
    assert "q, k and v: w_q, w_k and w_v each multiply by their weight.T, plus its bias" in said
    assert "result: w_o(context) is context @ w_o.weight.T + w_o.bias" in said


def test_a_product_without_a_bias_has_none_in_its_formula():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(D_MODEL, 3, bias=False)

        def forward(self, x):
            y = self.w(x)
            return y

    assert "y: w(x) is x @ w.weight.T" in captions(animate(Product(), normal(T, D_MODEL)))


@pytest.mark.parametrize(("norm_first", "drawn"), [(False, ["norm.weight"]), (True, [])])
def test_the_branch_that_did_not_run_is_not_drawn(norm_first, drawn):
    add_norm = av.AddNorm(D_MODEL, norm_first=norm_first)
    nn.init.uniform_(add_norm.norm.weight, 0.5, 1.5)
    animation = animate(add_norm, normal(T, D_MODEL), normal(T, D_MODEL, seed=1))
    assert [key for key, panel in panels(animation).items() if panel.held] == drawn
    assert ("made by norm" in " ".join(captions(animation))) != norm_first


def test_to_ask_how_long_a_table_is_does_not_use_its_numbers(model):
    animation = animate(model.position, normal(T, D_MODEL))
    assert panels(animation)["encoding"].operand.makes == "encoded", "not max_len, which is len(self.encoding)"


# -------------------------------------------------------------------------------------- look-ups


def test_each_token_picks_its_row_while_both_are_lit(model):
    animation = animate(model.source_embedding, TOKENS, query_tokens=WORDS)
    table = panels(animation)["weight"]
    arrived = [frame for frame in animation.frames if frame.event.kind is Kind.PICKED and not frame.moves]
    assert len(arrived) == T
    for t, (frame, token) in enumerate(zip(arrived, TOKENS.tolist(), strict=True)):
        cells = frame.cells["weight"]
        rows = np.flatnonzero(cells.lit.any(axis=(0, 2)))
        assert [table.kept_rows[row] for row in rows] == [token]
        assert np.flatnonzero(frame.cells["tokens"].lit).tolist() == [t]
        there = frame.cells["vectors"].there
        assert there[0, : t + 1].all()
        assert not there[0, t + 1 :].any(), "the rows of later tokens are not there yet"
        expected = model.source_embedding.weight[TOKENS[: t + 1]].detach()
        np.testing.assert_allclose(frame.cells["vectors"].value[0, : t + 1], expected)
        assert frame.caption == f"tokens[{t}] = {token}, {WORDS[t]!r}, picks row {token} of weight: row {t} of vectors"
    result = animation.frames[-1].cells["result"].value[0]
    np.testing.assert_allclose(result, (model.source_embedding.weight[TOKENS] * math.sqrt(D_MODEL)).detach(), rtol=1e-6)


def test_numbers_of_tokens_have_words_too(model):
    animation = animate(model.encode, TOKENS[None] + 1, query_tokens=WORDS)
    painter = animation._painters(1)[0]
    assert painter.layout.column_words(panels(animation)["source"]) == tuple(WORDS)
    with pytest.raises(ValueError, match="query tokens must be 5, one for each number of source; got 3"):
        animate(model.encode, TOKENS[None] + 1, query_tokens=WORDS[:3])


# -------------------------------------------------------------------------------------- pictures


def test_heads_of_a_part_are_called_heads(model):
    animation = animate(model.encoder.layers[0], normal(T, D_MODEL), need_weights=True)
    assert animation.storyboards[0].sheets == ("head 0", "head 1")


def test_weights_are_drawn_alike_whatever_they_are_called(model):
    layer, x, memory = model.decoder.layers[0], normal(T, D_MODEL), normal(T, D_MODEL, seed=1)
    maps = animate(layer, x, memory, need_weights=True)._painters(1)[0].maps
    ours = animate(model.encoder.layers[0], x, need_weights=True)._painters(1)[0].maps["weights"]
    for name in ("self_weights", "cross_weights"):
        table, low, high = maps[name]
        np.testing.assert_array_equal(table, ours[0])
        assert (low, high) == (0.0, 1.0)


def test_what_came_in_beside_is_not_followed_even_if_it_has_as_many_rows(model):
    layer, x, memory = model.decoder.layers[0], normal(T, D_MODEL), normal(T, D_MODEL, seed=1)
    painter = animate(layer, x, memory, follow=1)._painters(1)[0]
    followed = {key for key, panel in painter.board.panels.items() if painter._is_followed(panel)}
    assert followed == set(painter.board.panels) - {"memory"}


def test_all_numbers_of_a_tensor_are_written_or_none():
    def shifted(x):
        low = x - 100
        return low

    x = torch.zeros(3, 30)
    x[0, 0] = 1.0
    decimals = animate(shifted, x)._painters(1)[0].decimals
    assert decimals["low"] is None, "'0.0' would find room, but '−100.0' does not"
    assert decimals["x"] is None, "beside numbers in x, low would look as if there were none"
    assert set(animate(lambda x: x, x)._painters(1)[0].decimals.values()) == {2}


def test_a_function_that_does_not_attend_stands_in_the_order_of_its_lines():
    animation = animate(av.positional_encoding, T, D_MODEL)
    assert list(panels(animation)) == ["position", "speed", "angle", "sine", "cosine", "result"]
    at_last = {key: cells.value[0] for key, cells in animation.frames[-1].cells.items()}
    np.testing.assert_allclose(at_last["sine"], np.sin(at_last["angle"]))
    np.testing.assert_allclose(at_last["cosine"], np.cos(at_last["angle"]))
    np.testing.assert_array_equal(at_last["result"][:, 0::2], at_last["sine"])
    np.testing.assert_array_equal(at_last["result"][:, 1::2], at_last["cosine"])
    painter = animation._painters(1)[0]
    places = [(painter.boxes[key][0].y // 100, painter.boxes[key][0].x) for key in panels(animation)]
    assert places == sorted(places)
    assert animation.storyboards[0].in_order
    assert None not in painter.decimals.values(), "with its numbers"


def test_a_function_that_attends_stands_where_it_multiplies():
    assert not animate(6, *(normal(T, D_MODEL) for _ in range(3)), num_heads=H).storyboards[0].in_order


def test_a_function_that_attends_has_its_numbers_only_if_asked_for_and_where_they_fit():
    q, k, v = normal(3, 2), normal(3, 2), normal(3, 2)
    plain, written = (animate(1, q, k, v, values=values)._painters(1)[0].decimals for values in (False, True))
    assert set(plain.values()) == {None}
    assert set(written.values()) == {2}
    wide = animate(1, normal(3, 32), normal(3, 32), v, values=True)._painters(1)[0].decimals
    assert wide["q"] is None, "32 columns are too narrow for digits"
    tiled = animate(av.attention_tiled, q, k, v, block_size=2, values=True)._painters(1)[0].decimals
    assert tiled["running_max"] is not None, "what is blocked, as a maximum of nothing, is hatched and needs no room"


def test_who_does_not_see_it_is_told_what_is_drawn_in_part():
    x = normal(T, 64)
    animation = animate(av.FeedForward(64, 128), x)
    assert animation.alt.startswith("FeedForward.forward, step by step. Drawn in part: x (5, 64), here 8 columns; ")
    assert "w_1.weight.T (64, 128) and a bias, here 8 rows × 8 columns" in animation.alt
    assert animation._repr_mimebundle_()[1]["image/png"]["alt"] == animation.alt
    assert "Drawn in part" in animation.html
    assert "Drawn in part" not in animate(av.FeedForward(8, 16), normal(T, 8)).alt


# -------------------------------------------------------------------------------------- words of the keys


def test_the_words_of_the_keys_stand_below_weights_and_below_nothing_else(model):
    keys = list("abcdefgh")  # as many as there are features, which are no keys
    layer, x, memory = model.decoder.layers[0], normal(3, D_MODEL), normal(len(keys), D_MODEL, seed=1)
    animation = animate(layer, x, memory, need_weights=True, query_tokens=list("xyz"), key_tokens=keys)
    layout = animation._painters(1)[0].layout
    words = {key: layout.column_words(panel) for key, panel in panels(animation).items()}
    assert words.pop("cross_weights") == tuple(keys)
    assert not any(words.values()), "the columns of self_weights are those of x"


def test_in_self_attention_the_keys_have_the_words_of_the_queries(model):
    animation = animate(model.encoder.layers[0], normal(T, D_MODEL), need_weights=True, query_tokens=WORDS)
    painter = animation._painters(1)[0]
    assert painter.layout.column_words(panels(animation)["weights"]) == tuple(WORDS)
    assert painter.layout.column_words(panels(animation)["x"]) == ()


def test_words_below_a_panel_have_room_above_the_foot():
    def look(scores_of):
        weights = scores_of.softmax(dim=-1)
        return weights

    x = normal(T, T)
    words, none = (animate(look, x, names="weights", key_tokens=w)._painters(1)[0].layout for w in (WORDS, None))
    for layout, room in ((words, 16), (none, 0)):
        (box,) = layout.boxes["weights"]
        assert layout.bottom == pytest.approx(box.cell(T - 1, 0)[3] + room)


def test_words_of_other_queries_are_not_given_to_keys(model):
    layer, x, memory = model.decoder.layers[0], normal(T, D_MODEL), normal(T, D_MODEL, seed=1)
    animation = animate(layer, x, memory, need_weights=True, query_tokens=WORDS)
    layout = animation._painters(1)[0].layout
    assert layout.column_words(panels(animation)["cross_weights"]) == ()


def test_only_a_cell_of_a_query_and_a_key_is_called_by_their_words():
    def note(steps):
        loss = torch.zeros(steps)
        for n in range(steps):
            loss[n] = n + 1.0
        return loss

    said = captions(animate(note, T, query_tokens=WORDS, key_tokens=WORDS))
    assert "loss[1] = n + 1.0 = 2.00" in [caption.replace("1 + 1.0", "n + 1.0") for caption in said]
    assert not any("→" in caption for caption in said)


def test_lines_that_only_check_what_came_in_are_left_out():
    def check_width(x):
        return x.shape[-1]

    def double(x):
        check_width(x)
        if x.ndim != 2:
            raise ValueError("two axes")
        if x.shape[0] > 99:
            x = x[:99]
        return 2 * x

    shown = [text.strip() for _, text in animate(double, normal(T, D_MODEL)).storyboards[0].lines]
    assert shown == ["def double(x):", "if x.shape[0] > 99:", "x = x[:99]", "return 2 * x"]
