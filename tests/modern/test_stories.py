"""The small language: what is called known does follow from the text; and how recall and induction are measured."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace

import pytest
import torch

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
from attention_variants.model.story_model import induction_scores, story_model, story_recall, train_stories

LENGTH = 64
KINDS = {Known.COLOUR: COLOURS, Known.THING: THINGS, Known.PLACE: PLACES}


def texts(kind, count=40):
    rng = random.Random(1)
    return [kind(rng, LENGTH) for _ in range(count)]


def test_words_and_numbers():
    text = "we gave anna red balls ."
    assert decode_words(encode_words(text)) == text
    assert len(set(WORDS)) == len(WORDS) < 80
    with pytest.raises(ValueError, match="the language has no word 'purple'; it has: . anna bags"):
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
            else:
                assert (words[t] in (*NAMES, *ANIMALS)) == (what == Known.FREE)
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
