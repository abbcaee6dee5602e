"""What is measured of a head is what it says, and a function of one's own is judged by numbers, shape, side effects."""

from __future__ import annotations

import pytest
import torch

from attention_variants import MultiHeadAttention, multihead_attention
from attention_variants.lab.measure.heads import beyond_others, check_function, silenced, weight_before

B, T, H, D_MODEL = 2, 5, 2, 8


@pytest.fixture
def weights():
    torch.manual_seed(0)
    x = torch.randn(B, T, D_MODEL)
    return multihead_attention(x, x, x, num_heads=H)[1]


def test_the_weight_before(weights):
    expected = torch.zeros(B, H)
    for i in range(1, T):
        expected += weights[:, :, i, i - 1] / (T - 1)
    assert torch.allclose(weight_before(weights), expected)
    assert weight_before(torch.eye(T).roll(-1, dims=1)) == 1


def test_beyond_others(weights):
    expected = weights[:, :, 3, 1] - (weights[:, :, 0, 1] + weights[:, :, 2, 1] + weights[:, :, 4, 1]) / 3
    assert torch.allclose(beyond_others(weights, 3, 1), expected)


def test_a_silent_head_adds_nothing_and_the_layer_stays():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(d_model=D_MODEL, num_heads=H), torch.randn(B, T, D_MODEL)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    q, k, v = layer.w_q(x), layer.w_k(x), layer.w_v(x)
    context, _ = multihead_attention(q, k, v, num_heads=H)
    context[..., 4:] = 0  # the columns of head 1
    assert torch.allclose(silenced(layer, x, 1), layer.w_o(context), atol=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_a_function_of_ones_own(weights):
    assert check_function(weight_before, weight_before, weights)
    wrong = {
        "other numbers": lambda w: w.diagonal(dim1=-2, dim2=-1).mean(-1),
        r"the shape \(\); expected is \(2, 2\)": lambda w: w.mean(),
        "expected is a tensor": lambda w: 1.0,
        "raises ValueError: no": lambda w: (_ for _ in ()).throw(ValueError("no")),
        "leave it as it was": lambda w: weight_before(w) + 0 * w.zero_().sum(),
    }
    for words, function in wrong.items():
        verdict = check_function(function, weight_before, weights)
        assert not verdict
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(repr(verdict))


def test_a_layer_that_is_changed_is_seen():
    layer = MultiHeadAttention(d_model=D_MODEL, num_heads=H)

    def careless(layer, x, head):
        with torch.no_grad():
            layer.w_o.weight[:, 4:] = 0
            return layer(x)[0]

    verdict = check_function(careless, silenced, layer, torch.ones(T, D_MODEL), 1)
    assert "changes what it is given" in repr(verdict)
    assert layer.w_o.weight[:, 4:].abs().sum() > 0, "the reader's own layer was changed by the check"


def test_options_are_handed_over_by_name():
    def right(x, *, times):
        return x * times

    assert check_function(lambda x, *, times: times * x, right, torch.ones(3), times=4)
    assert not check_function(lambda x, *, times: x, right, torch.ones(3), times=4)
