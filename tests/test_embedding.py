"""What enters a Transformer: the paper's formula for positions, written a second time, and scaled tokens."""

from __future__ import annotations

import math

import pytest
import torch

from attention_variants.model import PositionalEncoding, TokenEmbedding, positional_encoding

pytestmark = pytest.mark.numeric

B, T, D_MODEL, V = 2, 7, 8, 11


def formula(T, d_model):
    """Section 3.5 of the paper, one number at a time."""
    encoding = torch.zeros(T, d_model, dtype=torch.float64)
    for t in range(T):
        for i in range(d_model // 2):
            angle = t / 10_000 ** (2 * i / d_model)
            encoding[t, 2 * i] = math.sin(angle)
            encoding[t, 2 * i + 1] = math.cos(angle)
    return encoding


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --------------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize(("T", "d_model"), [(1, 2), (2, 4), (7, 8), (5, 6), (50, 10), (300, 16), (3, 512)])
def test_positions_are_encoded_by_the_formula_of_the_paper(T, d_model):
    encoding = positional_encoding(T, d_model)
    assert encoding.shape == (T, d_model)
    assert encoding.dtype == torch.float64
    assert (encoding - formula(T, d_model)).abs().max() <= 1e-12


def test_the_first_position_is_0_1_0_1():
    assert positional_encoding(3, 6)[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_no_position_gives_an_empty_encoding():
    assert positional_encoding(0, 4).shape == (0, 4)


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("d_model", [2, 8, 12])
def test_a_step_of_k_positions_is_the_same_rotation_everywhere(d_model, k):
    rotation = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i in range(0, d_model, 2):
        angle = k / 10_000 ** (i / d_model)
        rotation[i, i] = rotation[i + 1, i + 1] = math.cos(angle)
        rotation[i, i + 1], rotation[i + 1, i] = math.sin(angle), -math.sin(angle)
    assert (rotation @ rotation.T - torch.eye(d_model)).abs().max() <= 1e-12
    encoding = positional_encoding(60 + k, d_model)
    assert (encoding[:60] @ rotation.T - encoding[k:]).abs().max() <= 1e-12
    assert (encoding[:60] - encoding[k:]).abs().max() > 0.1  # it is not the same everywhere by being the identity


def test_no_two_positions_are_encoded_alike():
    encoding = positional_encoding(200, 8)
    assert (torch.cdist(encoding, encoding) + torch.eye(200)).min() > 0.1


@pytest.mark.parametrize(("T", "d_model"), [(5, 7), (5, 1), (5, 0), (5, -2), (-1, 8)])
def test_a_length_or_width_that_cannot_be_is_named(T, d_model):
    with pytest.raises(ValueError, match=rf"got T = {T} and d_model = {d_model}\."):
        positional_encoding(T, d_model)


def test_a_positional_encoding_of_odd_width_is_an_error():
    with pytest.raises(ValueError, match="d_model = 5"):
        PositionalEncoding(5, 10)


@pytest.mark.parametrize("shape", [(T, D_MODEL), (B, T, D_MODEL), (3, B, T, D_MODEL)], ids=str)
def test_the_encoding_of_its_position_is_added_to_each_vector(shape, float64_by_default):
    x = torch.randn(shape).requires_grad_()
    output = PositionalEncoding(D_MODEL, 20)(x)
    assert (output - x - formula(T, D_MODEL)).abs().max() <= 1e-12
    cotangent = torch.randn(shape)
    assert torch.equal(torch.autograd.grad(output, x, cotangent)[0], cotangent)


def test_the_encoding_is_computed_and_not_learned():
    module = PositionalEncoding(D_MODEL, 20)
    assert list(module.state_dict()) == []
    assert list(module.parameters()) == []
    assert not module.encoding.requires_grad


def test_the_encoding_follows_the_dtype():
    module = PositionalEncoding(D_MODEL, 20)
    assert module(torch.zeros(B, T, D_MODEL)).dtype == torch.float32
    assert torch.equal(module(torch.zeros(T, D_MODEL)), formula(T, D_MODEL).float())
    module = module.double()
    output = module(torch.zeros(B, T, D_MODEL, dtype=torch.float64))
    assert output.dtype == torch.float64
    assert (output - formula(T, D_MODEL)).abs().max() <= 1e-7
    module.bfloat16()
    assert module(torch.zeros(B, T, D_MODEL, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_more_positions_than_there_are_encodings_are_an_error_that_names_both():
    module = PositionalEncoding(D_MODEL, 5)
    assert module(torch.zeros(B, 5, D_MODEL)).shape == (B, 5, D_MODEL)
    with pytest.raises(ValueError, match=r"at most 5 positions.*got 6"):
        module(torch.zeros(B, 6, D_MODEL))


def test_the_sum_is_dropped_out_in_training_only():
    module = PositionalEncoding(D_MODEL, 20, dropout=0.5)
    x = torch.full((B, T, D_MODEL), 3.0)  # no sum is 0
    output = module(x)
    kept = output != 0
    assert 0.2 < kept.float().mean() < 0.8
    whole = module.eval()(x)
    assert torch.equal(whole, x + module.encoding[:T].float())
    assert torch.allclose(output[kept], 2 * whole[kept])


# ------------------------------------------------------------------------------------------------------ tokens


def test_the_vector_of_a_token_is_its_row_times_the_root_of_d_model():
    embedding = TokenEmbedding(V, D_MODEL).double()
    tokens = torch.randint(V, (B, T))
    output = embedding(tokens)
    assert output.shape == (B, T, D_MODEL)
    for item in range(B):
        for t in range(T):
            expected = embedding.weight[tokens[item, t]] * math.sqrt(D_MODEL)
            assert (output[item, t] - expected).abs().max() <= 1e-15


def test_only_the_rows_of_tokens_that_came_get_a_gradient():
    embedding = TokenEmbedding(V, D_MODEL).double()
    tokens = torch.tensor([[3, 5, 3], [0, 9, 3]])
    cotangent = torch.randn(2, 3, D_MODEL, dtype=torch.float64)
    embedding(tokens).backward(cotangent)
    expected = torch.zeros(V, D_MODEL, dtype=torch.float64)
    for item in range(2):
        for t in range(3):
            expected[tokens[item, t]] += cotangent[item, t] * math.sqrt(D_MODEL)
    assert (embedding.weight.grad - expected).abs().max() <= 1e-14
    assert embedding.weight.grad.any(dim=1).nonzero().flatten().tolist() == [0, 3, 5, 9]


def test_embedded_tokens_have_unit_variance():
    torch.manual_seed(0)
    embedding = TokenEmbedding(400, 64)
    x = embedding(torch.arange(400))
    assert x.std().item() == pytest.approx(1.0, abs=0.03)
    assert x.mean().item() == pytest.approx(0.0, abs=0.03)
    before = embedding.weight.clone()
    embedding.reset_parameters()
    assert not torch.equal(embedding.weight, before)
    assert embedding.weight.std().item() == pytest.approx(1 / 8, rel=0.03)


def test_the_parameters_are_one_matrix():
    assert {name: tuple(x.shape) for name, x in TokenEmbedding(V, D_MODEL).state_dict().items()} == {
        "weight": (V, D_MODEL)
    }


def test_a_model_of_float64_adds_the_exact_encoding_and_one_of_float32_stays_so():
    module = PositionalEncoding(D_MODEL, 20)
    assert module(torch.zeros(T, D_MODEL)).dtype == torch.float32
    exact = positional_encoding(T, D_MODEL)
    assert torch.equal(module.half().double()(torch.zeros(T, D_MODEL, dtype=torch.float64)), exact)
