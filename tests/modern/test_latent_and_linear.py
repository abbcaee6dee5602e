"""A latent vector for keys: absorbed = expanded. A state for keys: recurrent = parallel, and not a softmax."""

from __future__ import annotations

import re

import pytest
import torch

import attention_variants as av

pytestmark = pytest.mark.numeric

B, T_Q, T_K, H, D_MODEL, D_LATENT = 2, 5, 7, 2, 8, 3
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def same(found, expected, leaves):
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = (torch.autograd.grad(one.sin().sum(), leaves, retain_graph=True) for one in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def latent_inputs(batch=(B,)):
    shapes = ((*batch, T_Q, D_MODEL), (*batch, T_K, D_LATENT), (D_LATENT, D_MODEL), (D_LATENT, D_MODEL))
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("mask", [None, av.causal_mask(T_Q, T_K), torch.rand(B, 1, T_Q, T_K) > 0.4])
@pytest.mark.parametrize("absorbed", [True, False])
def test_absorbed_and_expanded_are_variant_6_on_the_keys_that_are_made(absorbed, mask):
    q, latent, w_uk, w_uv = leaves = latent_inputs()
    context, weights = av.latent_attention(q, latent, w_uk, w_uv, mask, H, absorbed=absorbed)
    expected, expected_weights = av.multihead_attention(q, latent @ w_uk, latent @ w_uv, mask, H)
    same(context, expected, leaves)
    torch.testing.assert_close(weights, expected_weights, **CLOSE)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_leading_dimensions_of_latent_attention(batch):
    leaves = latent_inputs(batch)
    both = [av.latent_attention(*leaves, None, H, absorbed=absorbed)[0] for absorbed in (True, False)]
    same(*both, leaves)


def test_rotary_positions_between_the_two_cannot_be_absorbed():
    """One matrix for all positions would have to be the key's turn at each of them."""
    q, latent, w_uk, w_uv = (x.detach() for x in latent_inputs())
    k = av.apply_rotary(latent @ w_uk, torch.arange(T_K))
    turned, _ = av.multihead_attention(q, k, latent @ w_uv, None, H)
    absorbed, _ = av.latent_attention(q, latent, w_uk, w_uv, None, H)
    assert (turned - absorbed).abs().max() > 0.1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"w_uk": torch.zeros(4, D_MODEL)},
            ValueError,
            "w_uk must have shape (d_latent, d_model) = (3, 8); got (4, 8)",
        ),
        (
            {"w_uv": torch.zeros(D_LATENT, 6)},
            ValueError,
            "w_uv must have shape (d_latent, d_model) = (3, 8); got (3, 6)",
        ),
        ({"num_heads": 3}, ValueError, "d_model must be divisible by num_heads; got d_model = 8 and num_heads = 3"),
        ({"latent": torch.zeros(3, T_K, D_LATENT)}, ValueError, "must share their leading (batch) dimensions"),
        ({"latent": torch.zeros(B, T_K, D_LATENT).double()}, TypeError, "must share one dtype"),
        ({"q": torch.zeros(D_MODEL)}, ValueError, "q must have shape (..., T, width); got (8,)"),
    ],
)
def test_what_does_not_fit_latent_attention_is_told(changed, error, message):
    ordinary = {
        "q": torch.zeros(B, T_Q, D_MODEL),
        "latent": torch.zeros(B, T_K, D_LATENT),
        "w_uk": torch.zeros(D_LATENT, D_MODEL),
        "w_uv": torch.zeros(D_LATENT, D_MODEL),
        "num_heads": H,
    }
    with pytest.raises(error, match="latent_attention: .*" + re.escape(message)):
        av.latent_attention(**{**ordinary, **changed})


# ------------------------------------------------------------------------------------------------------ linear


def linear_inputs(batch=(B,)):
    return [normal(*batch, T_K, width, seed=seed) for seed, width in enumerate((4, 4, 6))]


@pytest.mark.parametrize("batch", [(), (B,), (2, 3)])
def test_recurrent_and_parallel_are_one_function(batch):
    leaves = linear_inputs(batch)
    parallel, weights = av.linear_attention(*leaves)
    recurrent, none = av.linear_attention(*leaves, recurrent=True)
    assert none is None
    same(recurrent, parallel, leaves)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(*batch, T_K, dtype=torch.float64), **CLOSE)
    assert torch.equal(weights, weights.tril())


def test_each_weight_is_a_product_of_positive_numbers():
    """As a sum over keys, written out: no product of matrices."""
    q, k, v = (x.detach()[0] for x in linear_inputs())
    f = lambda x: torch.where(x > 0, x + 1, x.exp())  # noqa: E731 -- elu(x) + 1
    context, _ = av.linear_attention(q, k, v)
    for i in range(T_K):
        raw = torch.stack([(f(q[i]) * f(k[j])).sum() for j in range(i + 1)])
        torch.testing.assert_close(context[i], (raw / raw.sum()) @ v[: i + 1], **CLOSE)


def test_it_is_not_the_softmax():
    """One key ten times as fitting gets nearly all of a softmax, and here only a larger share."""
    q = k = v = 3.0 * torch.eye(4, dtype=torch.float64)
    linear, soft = av.linear_attention(q, k, v)[1], av.attention_masked(q, k, v, av.causal_mask(4))[1]
    assert soft.diagonal().min() > 0.96
    assert linear.diagonal()[1:].max() < 0.7


def test_lengths_that_differ_are_told():
    with pytest.raises(ValueError, match="q and k must be equally long; got q .2, 5, 4. and k .2, 7, 4."):
        av.linear_attention(torch.zeros(B, 5, 4), torch.zeros(B, 7, 4), torch.zeros(B, 7, 4))


def linear_reference(q, k, v):
    """In float64, with the exponential itself."""
    q, k, v = (x.detach().double() for x in (q, k, v))
    q, k = (torch.where(x > 0, x + 1, x.exp()) for x in (q, k))
    weights = (q @ k.mT).tril()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights @ v, weights


@pytest.mark.parametrize("recurrent", [False, True])
def test_far_below_0_the_weights_stay_above_0(recurrent):
    """``elu(-20) + 1`` is 0 in float32; ``exp(-20)`` is not."""
    q, k, v = (normal(B, T_Q, D_MODEL, seed=seed).detach().float() for seed in range(3))
    context, weights = av.linear_attention(q - 20.0, k - 20.0, v, recurrent=recurrent)
    expected, expected_weights = linear_reference(q - 20.0, k - 20.0, v)
    torch.testing.assert_close(context.double(), expected, rtol=1e-4, atol=1e-4)
    if weights is not None:
        torch.testing.assert_close(weights.double(), expected_weights, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("recurrent", [False, True])
def test_sums_over_many_keys_are_not_taken_in_half_precision(dtype, recurrent):
    """In float16 these would be infinite, and in bfloat16 a sum of equal numbers stops growing at 256 of them."""
    q, k = (4.0 * normal(B, 600, 64, seed=seed).detach().abs().to(dtype) for seed in range(2))
    v = torch.ones(B, 600, 3, dtype=dtype)
    context, weights = av.linear_attention(q, k, v, recurrent=recurrent)
    assert context.dtype == dtype
    torch.testing.assert_close(context, v, rtol=1e-2, atol=0.0)
    if weights is not None:
        assert weights.dtype == dtype
        torch.testing.assert_close(weights.double().sum(dim=-1), torch.ones(B, 600).double(), rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("recurrent", [False, True])
def test_no_positions_give_none(recurrent):
    q, k, v = torch.zeros(B, 0, 4), torch.zeros(B, 0, 4), torch.zeros(B, 0, 3)
    assert av.linear_attention(q, k, v, recurrent=recurrent)[0].shape == (B, 0, 3)
