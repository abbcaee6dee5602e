"""What an animation says of a module's lines: what they call, which row a token picks, what is drawn in part."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import attention_variants as av
from attention_variants.lab.animation.animate import animate
from attention_variants.lab.animation.captions import Kind
from attention_variants.lab.animation.films import animate_figure

T, D_MODEL, H, VOCABULARY = 5, 8, 2, 20
TOKENS = torch.tensor([9, 3, 17, 3, 0])
WORDS = list("abcde")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return av.Transformer(VOCABULARY, VOCABULARY, D_MODEL, H, 1, 16, dropout=0.0).eval()


def panels(animation):
    return animation.storyboards[0].panels


def captions(animation):
    return [frame.caption for frame in animation.frames]


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
    assert panels(animation)["encoding"].makes == "encoded", "not max_len, which is len(self.encoding)"


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
    assert decimals["x"] is not None
    assert decimals["low"] is None, "'0.0' would find room, but '−100.0' does not"


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


def test_who_does_not_see_it_is_told_what_is_drawn_in_part():
    x = normal(T, 64)
    animation = animate(av.FeedForward(64, 128), x)
    assert animation.alt.startswith("FeedForward.forward, step by step. Drawn in part: x (5, 64), here 8 columns; ")
    assert "w_1.weight.T (64, 128) and a bias, here 8 rows × 8 columns" in animation.alt
    assert animation._repr_mimebundle_()[1]["image/png"]["alt"] == animation.alt
    assert "Drawn in part" in animation.html
    assert "Drawn in part" not in animate(av.FeedForward(8, 16), normal(T, 8)).alt


# -------------------------------------------------------------------------------------- films on a phone


def test_a_figure_s_panels_may_stand_below_each_other():
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for ax, colour in zip(axes, ("#FF0000", "#00FF00", "#0000FF"), strict=True):
        ax.set(facecolor=colour, ylabel="a long label of the rows")
    film = animate_figure(figure, lambda step: None, range(2), "ab")
    picture = film.pictures()[-1]
    parts = film._shape(picture.size, 1)["parts"]
    assert len(parts) == 3
    assert sum(part[2] for part in parts) == picture.width
    for number, (x, y, width, height) in enumerate(parts):
        seen = np.asarray(picture.crop((x, y, x + width, y + height))).reshape(-1, 3)
        colours = [(seen == np.eye(3)[other] * 255).all(axis=1).any() for other in range(3)]
        assert colours == [other == number for other in range(3)]


def test_a_figure_with_a_title_of_the_whole_is_not_cut():
    figure, _ = plt.subplots(1, 2)
    figure.suptitle("both")
    film = animate_figure(figure, lambda step: None, range(2), "ab")
    assert len(film._shape((960, 300), 1)["parts"]) == 1


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
    for layout, room in ((words, 12), (none, 0)):
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
