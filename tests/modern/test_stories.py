"""The small language: what is called known does follow from the text; and how recall and induction are measured."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attention_variants.lab.plots.stories import plot_writing, writing_table
from attention_variants.model import sampling_probabilities
from attention_variants.model.ablation import without_heads
from attention_variants.model.date_model import load_date_model
from attention_variants.model.stories import (
    ANIMALS,
    COLOURS,
    NAMES,
    PLACES,
    THINGS,
    WORDS,
    Known,
    decode_words,
    encode_words,
    repeated_pieces,
    repeated_words,
    story,
    story_corpus,
)
from attention_variants.model.story_model import (
    CHECKPOINT,
    TRAINING,
    about_story_model,
    induction_scores,
    load_story_model,
    save_story_model,
    story_model,
    story_recall,
    train_stories,
)
from attention_variants.model.story_writing import write_story

LENGTH = 64
KINDS = {Known.COLOUR: COLOURS, Known.THING: THINGS, Known.PLACE: PLACES}


def texts(kind, count=40):
    rng = random.Random(1)
    return [kind(rng, LENGTH) for _ in range(count)]


def test_words_and_numbers():
    text = "we gave anna red balls ."
    assert decode_words(encode_words(text)) == text
    assert len(set(WORDS)) == len(WORDS) < 80
    assert decode_words(encode_words("We gave Anna red balls.")) == text
    with pytest.raises(ValueError, match="the language of stories has no word 'purple'; it has: . anna bags"):
        encode_words("we gave anna purple balls .")


@pytest.mark.parametrize("kind", [story, repeated_words, repeated_pieces])
def test_every_text_begins_with_the_start_and_is_as_long_as_asked_for(kind):
    for words, known in texts(kind):
        assert len(words) == len(known) == LENGTH
        assert words[0] == 0
        assert 0 not in words[1:]


def test_what_a_story_calls_known_was_told_and_what_it_calls_free_was_not():
    counts = dict.fromkeys(KINDS, 0)
    for numbers, known in texts(story):
        words = [WORDS[number] for number in numbers]
        for t, what in enumerate(known):
            if what in KINDS:
                counts[what] += 1
                assert words[t] in KINDS[what]
                # The word before it says whose: it stood before the same word already.
                earlier = [words[s] for s in range(1, t) if words[s - 1] == words[t - 1] and words[s] in KINDS[what]]
                assert set(earlier) == {words[t]}
            elif what == Known.FREE and words[t] in (*COLOURS, *THINGS, *PLACES):
                assert words[t] not in words[:t], "else it would be known"
            else:  # people and animals, and how a sentence begins
                begins = words[t - 1] in (".", "<s>") and words[t] in ("we", "near", *NAMES)
                assert (begins or words[t] in (*NAMES, *ANIMALS)) == (what == Known.FREE), words[: t + 1]
    assert min(counts.values()) > 10


def test_what_repeats_stood_after_the_same_word_before():
    for kind in (repeated_words, repeated_pieces):
        known_words = 0
        for words, known in texts(kind):
            pairs = list(itertools.pairwise(words))
            for t, what in enumerate(known[1:]):
                if what == Known.REPEATED:
                    known_words += 1
                    followers = {b for a, b in pairs[:t] if a == words[t]}
                    assert words[t + 1] in followers
        assert known_words > 200


def test_random_words_come_again_after_their_period():
    words, known = repeated_words(random.Random(0), 30, 7)
    assert words[1:8] == words[8:15] == words[15:22]
    assert len(set(words[1:8])) == 7
    assert known == [0, *[Known.FREE] * 8, *[Known.REPEATED] * 21]


def test_a_corpus_is_made_from_its_seed():
    one, two, other = (story_corpus(50, LENGTH, seed=seed, repeated=0.5) for seed in (1, 1, 2))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], other[0])
    kinds = (one[1] == Known.REPEATED).any(dim=1).double().mean()
    assert 0.3 < kinds < 0.7
    assert not (story_corpus(50, LENGTH, seed=1)[1] == Known.REPEATED).any()


class Perfect:
    """Looks, in the second head of its second layer, at the word after the last place of the present word."""

    def __call__(self, words):
        B, T = words.shape
        weights = [torch.full((B, 2, T, T), 1 / T) for _ in range(2)]
        logits = torch.zeros(B, T, len(WORDS))
        for t in range(1, T):
            weights[0][:, 0, t] = 0
            weights[0][:, 0, t, t - 1] = 1
        for b in range(B):
            for t in range(1, T):
                before = [s for s in range(1, t) if words[b, s] == words[b, t]]
                if before:
                    weights[1][b, 1, t] = 0
                    weights[1][b, 1, t, before[-1] + 1] = 1
                    logits[b, t, words[b, before[-1] + 1]] = 5
        return logits, weights


def test_a_perfect_induction_head_scores_1():
    found = induction_scores(Perfect(), 4, period=10)
    assert found.accuracy == 1
    assert found.repeated.shape == (2, 2)
    for scores in (found.repeated, found.pairs):
        assert scores[1, 1] == 1
        assert scores[0, 1] == pytest.approx(1 / 21)
        assert scores[0, 0] < 0.2, "the word before is the right one where a pair follows itself"
    assert found.previous[0, 0] == 1


def test_recall_counts_what_was_told_and_nothing_else():
    """A model that always says "red" is right where a told colour is red."""
    red = WORDS.index("red")
    logits = torch.zeros(1, 1, len(WORDS))
    logits[..., red] = 1
    always = SimpleNamespace()
    found = story_recall(lambda words: (logits.expand(*words.shape, -1), always), 100, seed=5)
    words, known = story_corpus(100, LENGTH, seed=5)
    told = words[known == Known.COLOUR]
    assert found["colour"] == pytest.approx((told == red).double().mean().item())
    assert found["thing"] == found["place"] == found["grammar"] == 0


def test_training_learns_and_is_repeated_by_its_seed():
    losses = [
        list(itertools.islice(train_stories(story_model(seed=seed), seed=seed, steps=40), 40)) for seed in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][0] == pytest.approx(math.log(len(WORDS)), abs=0.3)
    assert sum(losses[0][-5:]) / 5 < losses[0][0] - 0.1


def test_a_model_is_made_from_its_seed_and_leaves_yours():
    torch.manual_seed(7)
    mine = torch.rand(1)
    torch.manual_seed(7)
    one, two = story_model(seed=1), story_model(seed=1)
    assert torch.equal(torch.rand(1), mine)
    assert torch.equal(one.head.weight, two.head.weight)
    assert sum(parameter.numel() for parameter in one.parameters()) < 150_000


# ---------------------------------------------------------------------------------------------- the shipped model

SHIPPED = load_story_model()


def test_the_shipped_model_recalls_what_it_was_told():
    """Every slot, on stories that no training saw; the heads on texts of both kinds, at a length of their own."""
    recall = story_recall(SHIPPED, 256, seed=123_456_789)
    assert min(recall.values()) >= 0.95, recall
    found = induction_scores(SHIPPED, 32, period=22, seed=123_456_789)
    assert found.repeated.max() >= 0.8
    assert found.pairs.max() >= 0.8
    assert found.accuracy >= 0.95
    assert found.previous[0].max() > 0.5, "and one of the first layer looks at the word before"


def test_the_shipped_model_is_small_and_says_how_it_was_made():
    about = about_story_model()
    assert CHECKPOINT.stat().st_size < 1_000_000
    assert sum(parameter.numel() for parameter in SHIPPED.parameters()) == about["parameters"] < 150_000
    assert {name: about[name] for name in TRAINING} == TRAINING
    curve = about["curve"]
    assert curve[0]["accuracy"] < 0.1 < 0.95 < curve[-1]["accuracy"]
    jump = next(one["step"] for one in curve if one["repeated"] > 0.5)
    assert jump < TRAINING["steps"] / 2


def test_a_model_is_stored_and_loaded(tmp_path):
    model = story_model(seed=5)
    save_story_model(model, tmp_path / "m.safetensors", {"note": "é"})
    loaded = load_story_model(tmp_path / "m.safetensors")
    words = torch.randint(len(WORDS), (2, 7))
    assert torch.equal(loaded(words)[0], model(words)[0])
    assert about_story_model(tmp_path / "m.safetensors") == {"note": "é"}
    assert loaded.head.weight is loaded.embedding.weight
    with pytest.raises(FileNotFoundError, match="`make stories` trains the model"):
        load_story_model(tmp_path / "none.safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="it ends within the tensor"):
        load_story_model(tmp_path / "m.safetensors")


def test_the_weights_of_another_model_are_refused(tmp_path):
    save_story_model(load_date_model(), tmp_path / "d.safetensors", {})
    with pytest.raises(ValueError, match=r"d\.safetensors does not fit the model: there is no tensor"):
        load_story_model(tmp_path / "d.safetensors")


def test_heads_that_are_off_add_nothing_and_the_model_stays():
    words = torch.randint(1, len(WORDS), (2, 9))
    before = [parameter.clone() for parameter in SHIPPED.parameters()]
    off = without_heads(SHIPPED, [(0, 1), (1, 0)])
    assert all(torch.equal(a, b) for a, b in zip(before, SHIPPED.parameters(), strict=True))
    logits, weights = off(words)
    assert not torch.allclose(logits, SHIPPED(words)[0])
    torch.testing.assert_close(weights[0], SHIPPED(words)[1][0])
    # By hand: the context of that head set to 0 before the output projection.
    whole, contexts = load_story_model(), []
    for layer, head in ((0, 1), (1, 0)):

        def silence(module, inputs, head=head):
            (context,) = inputs
            heads = context.unflatten(-1, (2, 32)).clone()
            heads[..., head, :] = 0
            contexts.append(head)
            return (heads.flatten(-2),)

        whole.layers[layer].attention.w_o.register_forward_pre_hook(silence)
    torch.testing.assert_close(logits, whole(words)[0])
    assert contexts == [1, 0]
    for wrong in ((2, 0), (0, 2), (-1, 0)):
        with pytest.raises(ValueError, match="there are layers 0 to 1 with heads 0 to 1"):
            without_heads(SHIPPED, [wrong])


# -------------------------------------------------------------------------------------------------------- writing


def test_it_writes_what_it_was_told():
    told = "we gave anna red balls . we gave tom blue boxes . we gave"
    for name, colour, thing in (("anna", "red", "balls"), ("tom", "blue", "boxes")):
        written = list(write_story(f"{told} {name}", words=3, temperature=0))
        assert [one.word for one in written] == [colour, thing, "."]
        assert min(one.probability for one in written) > 0.9


def test_a_written_word_says_what_it_was_drawn_from_and_where_the_heads_looked():
    written = list(write_story("we gave anna", words=5, temperature=0.5, top_k=4, seed=3))
    for t, one in enumerate(written):
        assert one.before == ("<s>", "we", "gave", "anna", *(earlier.word for earlier in written[:t]))
        number = WORDS.index(one.word)
        assert one.probability == one.model_probabilities[number]
        assert one.drawn_from[number] > 0
        assert (one.drawn_from > 0).sum() == 4
        expected = sampling_probabilities(one.model_probabilities.log(), temperature=0.5, top_k=4)
        torch.testing.assert_close(one.drawn_from, expected, atol=1e-5, rtol=0)
        assert one.weights.shape == (2, 2, len(one.before))
        torch.testing.assert_close(one.weights.sum(dim=-1), torch.ones(2, 2))
    _, weights = SHIPPED(torch.tensor([[0, *encode_words(" ".join(written[-1].before[1:]))]]))
    torch.testing.assert_close(written[-1].weights[1], weights[1][0, :, -1])


def test_a_story_may_begin_with_nothing_and_its_seed_decides():
    one, two, other, without = (
        [written.word for written in write_story(words=12, seed=seed, use_cache=use)]
        for seed, use in ((1, True), (1, True), (2, True), (1, False))
    )
    assert one == two == without != other
    assert next(iter(write_story())).before == ("<s>",)


def test_what_grows_past_the_training_is_said():
    for text in ("we gave anna red balls . " * 9, "we gave anna red balls . " * 12):
        with pytest.warns(UserWarning, match="grows past 64 tokens"):
            list(write_story(text, words=20))


def test_where_it_looked_in_the_terminal_and_as_a_figure():
    written = list(write_story("we gave anna red balls . we gave anna", words=3, temperature=0))
    table = writing_table(written)
    assert next(iter(table.columns[0].cells)).plain == "red"
    assert next(iter(table.columns[2].cells)).plain == "anna red balls"
    figure = plot_writing(written)
    for head, ax in enumerate(figure.axes[:2]):
        shown = ax.images[0].get_array()
        for row, one in enumerate(written):
            np.testing.assert_allclose(shown[row, : len(one.before)], one.weights[1, head])
        assert [label.get_text() for label in ax.get_yticklabels()] == ["red", "balls", "."]
    with pytest.raises(ValueError, match="at least one word"):
        plot_writing([])
