"""Methods of modules in motion: what they hold is drawn as it is multiplied, every cell a number that was there."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import attention_variants as av
from attention_variants.lab.animation.animate import animate
from attention_variants.lab.animation.captions import Kind
from attention_variants.lab.animation.crop import KEPT, WIDEST
from attention_variants.lab.animation.films import animate_figure, animate_writing, writing_passes
from attention_variants.lab.animation.paint import _Pen
from attention_variants.model.dates import END, MAX_TARGET, START, encode_source

T, T_MEMORY, D_MODEL, H = 5, 7, 8, 2
TOKENS = torch.tensor([26, 14, 31, 14, 5])


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    model = av.Transformer(46, 14, d_model=D_MODEL, num_heads=H, num_layers=2, d_ff=16, dropout=0.0).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # as after a training: at first, norms have factors of 1 and shifts of 0
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


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


# ------------------------------------------------------------------------------------------ what a module holds


def test_projections_are_drawn_as_they_are_multiplied_above_what_they_make(narrow):
    attention, x = narrow.encoder.layers[0].self_attention, normal(T, D_MODEL)
    animation = animate(attention, x)
    names = [f"w_{name}.weight.T" for name in "qkvo"]
    assert list(held(animation)) == names
    for name, makes in zip(names, ("q", "k", "v", "result"), strict=True):
        linear, panel = getattr(attention, name[:3]), held(animation)[name]
        assert (panel.makes, panel.is_factor) == (makes, True)
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
    first = by_caption["hidden: w_1(x) is x @ w_1.weight.T + w_1.bias"]
    second = by_caption["output: w_2(…) is … @ w_2.weight.T + w_2.bias"]
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
    assert panel.is_table
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


# ------------------------------------------------------------------------------------------------------ films


def test_writing_takes_the_passes_of_greedy_decoding():
    model, source = av.load_date_model(), encode_source(["Mar 12th, '98"])
    passes = writing_passes(model, source)
    written = av.greedy_decode(model, source, start=START, end=END, max_len=MAX_TARGET)
    assert [int(one["logits"].argmax()) for one in passes] == written[0].tolist()
    target = torch.cat([torch.tensor([[START]]), written[:, :-1]], dim=1)
    logits, weights = model(source, target, need_weights=True)
    for t, one in enumerate(passes):
        torch.testing.assert_close(one["logits"], logits[0, t], atol=1e-4, rtol=0)
        own = weights.decoder[-1][0].mean(dim=0)[: t + 1, : t + 1]
        torch.testing.assert_close(one["self"], own, atol=1e-5, rtol=0)
        torch.testing.assert_close(one["cross"], weights.cross[-1][0].mean(dim=0)[: t + 1], atol=1e-5, rtol=0)


def test_writing_is_a_picture_for_each_character():
    film = animate_writing("12 mars 1998")
    assert len(film) == len("1998-03-12") + 1
    assert film.captions[0].startswith("step 1: at the start the likeliest is 1, with probability ")
    assert film.captions[4].startswith("step 5: after 1998 the likeliest is -, ")
    assert "read and written" in film.title
    assert len(film.html) < 400_000
    assert len({picture.size for picture in film.pictures()}) == 1


def test_a_figure_is_drawn_once_for_each_step():
    seen = []
    film = animate_figure(_figure(), seen.append, range(3), list("abc"), title="nothing")
    assert seen == [0, 1, 2]
    assert film.captions == ("a", "b", "c")
    assert film.seconds == [0.8, 0.8, pytest.approx(2.4)]
    assert {picture.size[0] for picture in film.pictures()} == {960}
    assert repr(film) == "<Film of nothing: 3 frames>"


@pytest.mark.parametrize(
    ("steps", "captions", "seconds", "message"),
    [
        ([], [], 1, "1 to 120 steps; got 0"),
        (range(121), ["a"] * 121, 1, "1 to 120 steps; got 121"),
        (range(2), ["a"], 1, "captions must be 2, one for each step; got 1"),
        (range(1), ["a"], 0, "seconds must be above 0; got 0"),
    ],
)
def test_what_makes_no_film_is_told(steps, captions, seconds, message):
    with pytest.raises(ValueError, match=message):
        animate_figure(_figure(), print, steps, captions, seconds=seconds)


def _figure():
    figure = Figure(figsize=(4, 2))
    figure.add_subplot()
    return figure
