"""Writing token by token, against a plain loop and against trying out every sequence."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from attention_variants.model import Transformer, beam_search, greedy_decode

pytestmark = pytest.mark.numeric

B, T_S, D_MODEL, H, D_FF, LAYERS = 4, 7, 8, 2, 16, 2
SOURCE_VOCAB, TARGET_VOCAB = 11, 5
PAD, START, END = 0, 1, 2
LENGTHS = [T_S, 4, 2, 5]
SEEDS = pytest.mark.parametrize("seed", range(4))


@pytest.fixture(autouse=True)
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_model(seed=0, *, target_vocab=TARGET_VOCAB, end=0.0, pad=-20.0, max_len=20):
    """A model of random weights with opinions that differ from source to source, and that writes no padding itself.

    The last norm makes the first number of every vector 1, whose column in the projection are biases of the logits.
    """
    torch.default_generator.manual_seed(seed)
    model = Transformer(SOURCE_VOCAB, target_vocab, D_MODEL, H, LAYERS, D_FF, tied=False, max_len=max_len).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                far = "embedding" in name or "cross_attention" in name or name == "output.weight"
                parameter.normal_(std=1.0 if far else 0.2)
        last = model.decoder.layers[-1].add_norm_3.norm
        last.weight[0], last.bias[0] = 0.0, 1.0
        model.output.weight[:, 0] = 0.0
        model.output.weight[END, 0], model.output.weight[PAD, 0] = end, pad
    return model


def make_source(lengths=LENGTHS, *, seed=0):
    tokens = torch.randint(1, SOURCE_VOCAB, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return tokens * (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def each_alone(source):
    return [row[row != PAD][None] for row in source]


def next_log_p(model, source, tokens):
    """Of one source without padding: the log-probabilities of the token after ``start`` and ``tokens``."""
    with torch.no_grad():
        logits, _ = model(source, torch.tensor([[START, *tokens]]))
    return (logits[0, -1] - logits[0, -1].exp().sum().log()).tolist()


def written(row):
    """Up to and with the end."""
    row = row.tolist()
    return tuple(row[: row.index(END) + 1] if END in row else row)


def log_p(model, source, tokens):
    """By teacher forcing: every token at once, each predicted from those before it; nothing behind the end."""
    assert END not in tokens[:-1]
    with torch.no_grad():
        logits, _ = model(source, torch.tensor([[START, *tokens[:-1]]]))
    return sum(logits[0].log_softmax(-1)[t, token].item() for t, token in enumerate(tokens))


def penalised(score, length, length_penalty):
    return score / ((5 + length) / 6) ** length_penalty


# ------------------------------------------------------------------------------------------------------- greedy


def greedy_loop(model, source, max_len):
    tokens = []
    while len(tokens) < max_len and END not in tokens:
        scores = next_log_p(model, source, tokens)
        tokens.append(scores.index(max(scores)))
    return tokens


@SEEDS
def test_greedy_decoding_is_a_plain_loop_over_each_item_alone(seed):
    model, source = make_model(seed, target_vocab=9, end=1.0), make_source(seed=seed)
    tokens = greedy_decode(model, source, start=START, end=END, max_len=8)
    expected = [greedy_loop(model, one, 8) for one in each_alone(source)]
    assert tokens.dtype == source.dtype
    assert tokens.shape == (B, max(map(len, expected)))
    for row, one in zip(tokens.tolist(), expected, strict=True):
        assert row == one + [PAD] * (len(row) - len(one))


def test_items_that_end_early_are_padded_and_nothing_is_written_when_all_have_ended():
    """Over some models, so that the test above has seen all there is to see."""
    ended_early = never_ended = stopped_early = 0
    for seed in range(8):
        tokens = greedy_decode(make_model(seed, end=1.0), make_source(seed=seed), start=START, end=END, max_len=6)
        ends = [row.index(END) if END in row else None for row in tokens.tolist()]
        for row, end in zip(tokens, ends, strict=True):
            if end is not None:
                assert (row[end + 1 :] == PAD).all()
                ended_early += end + 1 < len(row)
        never_ended += None in ends
        if None not in ends:
            assert tokens.shape[1] == max(ends) + 1
            stopped_early += tokens.shape[1] < 6
        else:
            assert tokens.shape[1] == 6
    assert ended_early
    assert never_ended
    assert stopped_early


@pytest.mark.parametrize("max_len", [0, 1, 3, 6])
def test_greedy_decoding_writes_at_most_max_len_tokens(max_len):
    never = make_model(end=-20.0)
    assert greedy_decode(never, make_source(), start=START, end=END, max_len=max_len).shape == (B, max_len)
    at_once = make_model(end=20.0)
    tokens = greedy_decode(at_once, make_source(), start=START, end=END, max_len=max_len)
    assert tokens.tolist() == [[END][:max_len]] * B


def test_as_many_tokens_can_be_written_as_the_model_has_positions():
    model, source = make_model(end=-20.0, max_len=T_S), make_source()
    assert greedy_decode(model, source, start=START, end=END, max_len=T_S).shape == (B, T_S)
    with pytest.raises(ValueError, match=rf"at most {T_S} positions.*got {T_S + 1}"):
        greedy_decode(model, source, start=START, end=END, max_len=T_S + 1)


# --------------------------------------------------------------------------------------------------------- beams


def search(model, source, *, max_len=3, **options):
    return beam_search(model, source, start=START, end=END, max_len=max_len, **options)


@SEEDS
def test_a_beam_of_one_is_greedy_decoding(seed):
    model, source = make_model(seed, target_vocab=9, end=1.0), make_source(seed=seed)
    expected = greedy_decode(model, source, start=START, end=END, max_len=8)
    tokens, scores = search(model, source, max_len=8, beam_size=1)
    assert torch.equal(tokens, expected[:, None])
    assert scores.shape == (B, 1)


def every_sequence(vocab, max_len):
    """All that end, and all of ``max_len`` tokens that do not."""
    others = [token for token in range(vocab) if token != END]
    for length in range(max_len):
        for beginning in itertools.product(others, repeat=length):
            yield (*beginning, END)
    yield from itertools.product(others, repeat=max_len)


@pytest.mark.parametrize(("seed", "length_penalty"), [(0, 0.0), (1, 0.6), (0, 3.0)])
def test_a_beam_of_every_sequence_finds_them_all_in_their_order(seed, length_penalty):
    model, source = make_model(seed, end=0.5), make_source([T_S, 4], seed=seed)
    sequences = list(every_sequence(TARGET_VOCAB, 3))
    assert len(sequences) == 85  # 1 + 4 + 4 * 4 * 5
    tokens, scores = search(model, source, beam_size=85, length_penalty=length_penalty)
    assert tokens.shape == (2, 85, 3)
    for item, one in enumerate(each_alone(source)):
        expected = {x: penalised(log_p(model, one, x), len(x), length_penalty) for x in sequences if PAD not in x}
        found = dict(zip(map(written, tokens[item]), scores[item].tolist(), strict=True))
        assert len(found) == 85
        assert {x: found[x] for x in expected} == pytest.approx(expected, rel=1e-10)
        assert written(tokens[item, 0]) == max(expected, key=expected.get)
        assert scores[item].tolist() == sorted(scores[item].tolist(), reverse=True)


def test_the_probabilities_of_every_sequence_add_up_to_1():
    _, scores = search(make_model(end=0.5, pad=0.0), make_source(), beam_size=85, length_penalty=0.0)
    assert scores.exp().sum(dim=-1).tolist() == pytest.approx([1.0] * B, rel=1e-12)


def beam_loop(model, source, max_len, beam_size, length_penalty):
    """The same search over one item, with lists."""
    beams = [((), 0.0)]
    for _ in range(max_len):
        longer = []
        for tokens, score in beams:
            if tokens[-1:] == (END,):
                longer.append((tokens, score))
            else:
                longer += [((*tokens, token), score + p) for token, p in enumerate(next_log_p(model, source, tokens))]
        beams = sorted(longer, key=lambda beam: -beam[1])[:beam_size]
    beams = [(tokens, penalised(score, len(tokens), length_penalty)) for tokens, score in beams]
    return sorted(beams, key=lambda beam: -beam[1])


@pytest.mark.parametrize("beam_size", [2, 3])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_is_a_plain_loop_over_each_item_alone(seed, length_penalty, beam_size):
    model, source = make_model(seed, end=0.5), make_source(seed=seed)
    tokens, scores = search(model, source, max_len=5, beam_size=beam_size, length_penalty=length_penalty)
    assert tokens.shape[:2] == scores.shape == (B, beam_size)
    longest = 0
    for item, one in enumerate(each_alone(source)):
        expected = beam_loop(model, one, 5, beam_size, length_penalty)
        assert [written(row) for row in tokens[item]] == [x for x, _ in expected]
        assert scores[item].tolist() == pytest.approx([score for _, score in expected], rel=1e-10)
        longest = max(longest, *(len(x) for x, _ in expected))
    assert tokens.shape[2] == longest


@SEEDS
def test_scores_are_sorted_log_probabilities_of_different_sequences_padded_behind_their_end(seed):
    model, source = make_model(seed, target_vocab=9, end=1.0), make_source(seed=seed)
    tokens, scores = search(model, source, max_len=6, beam_size=4, length_penalty=0.0)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    for item, one in enumerate(each_alone(source)):
        sequences = [written(row) for row in tokens[item]]
        assert len(set(sequences)) == 4
        for row, sequence, score in zip(tokens[item].tolist(), sequences, scores[item].tolist(), strict=True):
            assert row[len(sequence) :] == [PAD] * (len(row) - len(sequence))
            assert score == pytest.approx(log_p(model, one, sequence), rel=1e-10)


@SEEDS
def test_each_item_is_searched_as_if_it_were_alone(seed):
    model, source = make_model(seed, target_vocab=9, end=1.0), make_source(seed=seed)
    tokens, scores = search(model, source, max_len=6)
    for item, one in enumerate(each_alone(source)):
        alone, alone_scores = search(model, one, max_len=6)
        T = alone.shape[2]
        assert torch.equal(tokens[item, :, :T], alone[0])
        assert (tokens[item, :, T:] == PAD).all()
        assert scores[item].tolist() == pytest.approx(alone_scores[0].tolist(), rel=1e-10)


def test_a_beam_of_two_finds_what_is_likelier_than_what_greedy_decoding_finds():
    for seed in range(40):
        model, source = make_model(seed), make_source([T_S], seed=seed)
        greedy = written(greedy_decode(model, source, start=START, end=END, max_len=4)[0])
        tokens, scores = search(model, source, max_len=4, beam_size=2, length_penalty=0.0)
        best = written(tokens[0, 0])
        assert scores[0, 0].item() == pytest.approx(log_p(model, source, best), rel=1e-10)
        if log_p(model, source, best) > log_p(model, source, greedy) + 1e-3:
            return
    pytest.fail("no such model among 40")


def test_the_length_penalty_prefers_longer_sequences():
    """Negative log-probabilities: the more a long one is divided by, the better it is."""
    longer = 0
    for seed in range(6):
        model, source = make_model(seed, end=0.5), make_source([T_S], seed=seed)
        lengths = []
        for length_penalty in (0.0, 0.6, 10.0):
            tokens, _ = search(model, source, beam_size=85, length_penalty=length_penalty)
            lengths.append(len(written(tokens[0, 0])))
        assert lengths == sorted(lengths)
        longer += lengths[0] < lengths[-1]
    assert longer


def test_padding_that_the_model_writes_itself_counts_in_the_length():
    """It is paid for like any other token."""
    model, source = make_model(pad=1.0), make_source()
    tokens, scores = search(model, source, max_len=4, beam_size=6)
    for item, one in enumerate(each_alone(source)):
        sequences = [written(row) for row in tokens[item]]
        expected = [penalised(log_p(model, one, x), len(x), 0.6) for x in sequences]
        assert scores[item].tolist() == pytest.approx(expected, rel=1e-10)


def test_the_default_is_a_beam_of_4_with_a_length_penalty_of_six_tenths():
    model, source = make_model(end=0.5), make_source()
    for x, y in zip(search(model, source), search(model, source, beam_size=4, length_penalty=0.6), strict=True):
        assert torch.equal(x, y)
    assert search(model, source)[0].shape[1] == 4


@pytest.mark.parametrize("beam_size", [86, 100])
def test_beams_without_a_sequence_of_their_own_have_a_score_of_minus_infinity(beam_size):
    model, source = make_model(end=0.5), make_source()
    expected, expected_scores = search(model, source, beam_size=85)
    tokens, scores = search(model, source, beam_size=beam_size)
    assert not scores.isnan().any()
    assert torch.equal(tokens[:, :85], expected)
    assert torch.allclose(scores[:, :85], expected_scores, rtol=1e-12)
    assert (scores[:, :85] > -torch.inf).all()
    assert (scores[:, 85:] == -torch.inf).all()


@pytest.mark.parametrize("beam_size", [TARGET_VOCAB, TARGET_VOCAB + 2, 3 * TARGET_VOCAB])
def test_a_beam_wider_than_the_vocabulary_is_full_from_the_second_token_on(beam_size):
    model, source = make_model(end=0.5), make_source()
    _, scores = search(model, source, max_len=1, beam_size=beam_size)
    assert (scores[:, :TARGET_VOCAB] > -torch.inf).all()
    assert (scores[:, TARGET_VOCAB:] == -torch.inf).all()
    tokens, scores = search(model, source, max_len=2, beam_size=beam_size)
    assert scores.isfinite().all()
    assert all(len({written(row) for row in item}) == beam_size for item in tokens)


def test_a_beam_search_that_can_end_at_once_does():
    """With one beam; several cannot all end with the first token, for they are different."""
    tokens, _ = search(make_model(end=20.0), make_source(), max_len=6, beam_size=1)
    assert tokens.tolist() == [[[END]]] * B
    tokens, _ = search(make_model(end=20.0), make_source(), max_len=6, beam_size=3)
    assert tokens.shape == (B, 3, 2)
    assert (tokens[:, 0, 0] == END).all()


@pytest.mark.parametrize("beam_size", [0, -1])
def test_a_beam_of_none_is_an_error(beam_size):
    with pytest.raises(ValueError, match=f"beam_size must be a whole number of at least 1; got {beam_size}"):
        search(make_model(), make_source(), beam_size=beam_size)


# ---------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("decode", [greedy_decode, beam_search])
def test_the_model_is_left_as_it_was_and_nothing_has_a_gradient(decode):
    model, source = make_model(), make_source()
    before, source_before = {name: x.clone() for name, x in model.state_dict().items()}, source.clone()
    results = decode(model, source, start=START, end=END, max_len=4)
    for x in results if isinstance(results, tuple) else (results,):
        assert not x.requires_grad
    assert torch.is_grad_enabled()
    assert torch.equal(source, source_before)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("variant", range(1, 7))
def test_any_variant_writes_the_same(variant):
    model, source = make_model(end=0.5), make_source()
    greedy = greedy_decode(model, source, start=START, end=END, max_len=3)
    tokens, scores = search(model, source, beam_size=2)
    model.variant = variant
    assert torch.equal(greedy_decode(model, source, start=START, end=END, max_len=3), greedy)
    actual, actual_scores = search(model, source, beam_size=2)
    assert torch.equal(actual, tokens)
    assert torch.allclose(actual_scores, scores, rtol=1e-10)


@pytest.mark.parametrize("decode", [greedy_decode, beam_search])
def test_what_is_written_depends_on_the_source_and_not_on_its_padding(decode):
    model, source = make_model(target_vocab=9), make_source()
    expected = decode(model, source, start=START, end=END, max_len=4)
    actual = decode(model, nn.functional.pad(source, (0, 3)), start=START, end=END, max_len=4)
    other = decode(model, make_source(seed=9), start=START, end=END, max_len=4)
    tokens = [x[0] if isinstance(x, tuple) else x for x in (expected, actual, other)]
    assert torch.equal(tokens[0], tokens[1])
    assert not torch.equal(tokens[0], tokens[2])
