"""Rotary positions: lengths stay, scores depend on distances, and transformers' Llama computes the same."""

from __future__ import annotations

import math
import re

import pytest
import torch

import attention_variants as av

pytestmark = pytest.mark.numeric

B, H, T, D_K = 2, 3, 7, 8
PAIRS = ("halves", "interleaved")
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(x, positions, base, pairs):
    """The same with complex numbers, a pair at a time: times e^(i angle)."""
    turned = x.clone()
    width = x.shape[-1]
    for i in range(width // 2):
        one, two = (i, i + width // 2) if pairs == "halves" else (2 * i, 2 * i + 1)
        angle = positions.double() * base ** (-2 * i / width)
        z = torch.complex(x[..., one], x[..., two]) * torch.polar(torch.ones_like(angle), angle)
        turned[..., one], turned[..., two] = z.real, z.imag
    return turned


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("base", [10_000.0, 500_000.0, 10.0])
def test_it_is_a_complex_number_turned(pairs, base):
    x, positions = normal(B, H, T, D_K).requires_grad_(), torch.tensor([0, 1, 2, 5, 9, 100, 4000])
    found, expected = av.apply_rotary(x, positions, base=base, pairs=pairs), by_hand(x, positions, base, pairs)
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = (torch.autograd.grad(one.sin().sum(), x)[0] for one in (found, expected))
    torch.testing.assert_close(*gradients, **CLOSE)


@pytest.mark.parametrize("pairs", PAIRS)
def test_lengths_are_kept_and_scores_depend_on_distances_alone(pairs):
    q, k, positions = normal(B, H, T, D_K), normal(B, H, T, D_K, seed=1), torch.arange(T)
    turned = [av.apply_rotary(x, positions, pairs=pairs) for x in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm(dim=-1), **CLOSE)
    scores = turned[0] @ turned[1].mT
    later = [av.apply_rotary(x, positions + 1000, pairs=pairs) for x in (q, k)]
    torch.testing.assert_close(later[0] @ later[1].mT, scores, **CLOSE)
    assert (scores - q @ k.mT).abs().max() > 0.1, "it does something"
    only_keys = q @ av.apply_rotary(k, positions + 1000, pairs=pairs).mT
    assert (only_keys - q @ turned[1].mT).abs().max() > 0.1, "the place itself is seen if one side is not turned"


def test_one_pairing_is_the_other_with_its_columns_in_another_order():
    x, positions = normal(B, H, T, D_K), torch.arange(T)
    order = torch.cat([torch.arange(0, D_K, 2), torch.arange(1, D_K, 2)])  # 0, 2, 4, 6, 1, 3, 5, 7
    halves = av.apply_rotary(x[..., order], positions)
    torch.testing.assert_close(halves, av.apply_rotary(x, positions, pairs="interleaved")[..., order], **CLOSE)
    differ = av.apply_rotary(x, positions) - av.apply_rotary(x, positions, pairs="interleaved")
    assert differ.abs().max() > 0.1


def test_positions_may_be_those_of_each_item():
    x = normal(B, H, T, D_K)
    positions = torch.stack([torch.arange(T), torch.arange(T) + 40])
    together = av.apply_rotary(x, positions[:, None])
    for item in range(B):
        torch.testing.assert_close(together[item], av.apply_rotary(x[item], positions[item]), **CLOSE)


def test_the_head_may_stand_behind_the_position():
    x = normal(B, T, H, D_K)
    found = av.apply_rotary(x, torch.arange(T)[:, None])
    torch.testing.assert_close(found, av.apply_rotary(x.transpose(1, 2), torch.arange(T)).transpose(1, 2), **CLOSE)


@pytest.mark.parametrize("pairs", PAIRS)
def test_a_part_of_the_columns(pairs):
    x, positions = normal(B, T, D_K), torch.arange(T)
    found = av.apply_rotary(x, positions, pairs=pairs, rotary_dim=4)
    torch.testing.assert_close(found[..., :4], av.apply_rotary(x[..., :4], positions, pairs=pairs), **CLOSE)
    assert torch.equal(found[..., 4:], x[..., 4:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_angles_are_computed_in_float64_whatever_the_dtype(dtype):
    x, positions = normal(T, D_K).to(dtype), torch.arange(T) + 100_000
    found = av.apply_rotary(x, positions)
    assert found.dtype == dtype
    error = (found.double() - av.apply_rotary(x.double(), positions)).abs().max()
    assert error < 8 * torch.finfo(dtype).eps


# ---------------------------------------------------------------------------------------- transformers does the same


def llama_family(name, dtype, **settings):
    """A layer of transformers with random weights, its tables of angles, and its configuration."""
    import transformers
    from transformers.models.llama import modeling_llama
    from transformers.models.mistral import modeling_mistral
    from transformers.models.qwen3 import modeling_qwen3

    module = {"Llama": modeling_llama, "Mistral": modeling_mistral, "Qwen3": modeling_qwen3}[name]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=D_K, num_hidden_layers=1, **settings
    )
    config._attn_implementation = "sdpa"  # "eager" takes its softmax in float32
    layer = getattr(module, f"{name}Attention")(config, 0).to(dtype).eval()
    if name == "Qwen3":  # as after a training: at first, norms have a factor of 1
        for norm in (layer.q_norm, layer.k_norm):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return layer, getattr(module, f"{name}RotaryEmbedding")(config), config


def ours(layer, x, mask, base, scaling=None):
    """Our pages with the weights of the layer."""
    q, k, v = (project(x).unflatten(-1, (-1, D_K)) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
    if hasattr(layer, "q_norm"):
        q, k = layer.q_norm(q), layer.k_norm(k)
    positions = torch.arange(x.shape[1])[:, None]  # (T, 1): q and k are (B, T, H, d_k)
    q, k = (av.apply_rotary(one, positions, base=base, scaling=scaling).flatten(-2) for one in (q, k))
    context, _ = av.grouped_query_attention(q, k, v.flatten(-2), mask, 4, 2)
    return layer.o_proj(context)


FAMILY = {
    "Llama": ("Llama", {}, None, {}),
    "Llama with another base": ("Llama", {"base": 500_000.0}, None, {}),
    "Llama 3, scaled": ("Llama", {"base": 500_000.0, "scaling": {"original_length": 4}}, None, {}),
    "Mistral with a window": ("Mistral", {}, 3, {"sliding_window": 3}),
    "Qwen3 with norms": ("Qwen3", {}, None, {}),
}


@pytest.mark.parametrize("tables", ["float64", "float32"])
@pytest.mark.parametrize("case", FAMILY)
def test_transformers_computes_the_same(case, tables):
    name, rotary, window, settings = FAMILY[case]
    base = rotary.get("base", 10_000.0)
    parameters = {"rope_type": "default", "rope_theta": base}
    scaling = None
    if "scaling" in rotary:
        scaling = av.Llama3Scaling(**rotary["scaling"])
        parameters |= {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_length,
        }
    layer, embedding, _ = llama_family(name, torch.float64, rope_parameters=parameters, **settings)
    x = normal(B, T, 32)
    mask = av.causal_mask(T)
    if window is not None:  # theirs counts the query's own key
        mask = av.combine_masks(mask, av.sliding_window_mask(T, window=window - 1))
    cosine, sine = embedding(x, torch.arange(T)[None])  # their tables: float32 inside
    if tables == "float64":
        angle = torch.arange(T)[:, None] * av.rotary_speeds(D_K, base=base, scaling=scaling)
        cosine, sine = (table(torch.cat([angle, angle], dim=-1))[None] for table in (torch.cos, torch.sin))
    bias = torch.zeros(1, 1, T, T, dtype=torch.float64).masked_fill(~mask, torch.finfo(torch.float64).min)
    expected, _ = layer(x, position_embeddings=(cosine, sine), attention_mask=bias)
    error = (ours(layer, x, mask, base, scaling) - expected).abs().max().item()
    # Theirs normalises in float32, whatever the dtype.
    assert error < (1e-12 if tables == "float64" and name != "Qwen3" else 1e-6)


def test_scaling_slows_what_turns_slowly_and_nothing_else():
    scaling = av.Llama3Scaling()
    plain, scaled = (av.rotary_speeds(128, base=500_000.0, scaling=s) for s in (None, scaling))
    turns = plain * scaling.original_length / (2 * math.pi)
    assert torch.equal(scaled[turns >= 4], plain[turns >= 4])
    torch.testing.assert_close(scaled[turns <= 1], plain[turns <= 1] / 8, rtol=1e-15, atol=0)
    between = (turns < 4) & (turns > 1)
    assert between.any()
    assert ((scaled < plain) & (scaled > plain / 8))[between].all()


# ------------------------------------------------------------------------------------------------------- bad input

ordinary = {"x": torch.zeros(B, T, D_K), "positions": torch.arange(T)}
BAD = {
    "an odd width": (
        {"x": torch.zeros(T, 7)},
        ValueError,
        "their number must be even, at least 2 and at most d_k = 7; got 7",
    ),
    "an odd part": ({"rotary_dim": 3}, ValueError, "must be even, at least 2 and at most d_k = 8; got 3"),
    "too large a part": ({"rotary_dim": 10}, ValueError, "at most d_k = 8; got 10"),
    "no length": ({"x": torch.zeros(D_K)}, ValueError, "x must have shape (..., T, d_k); got (8,)"),
    "whole numbers": (
        {"x": torch.zeros(T, D_K, dtype=torch.int64)},
        TypeError,
        "x must be floating point; got torch.int64",
    ),
    "negative": (
        {"positions": torch.arange(T) - 1},
        ValueError,
        "positions count from 0; the smallest that came is -1",
    ),
    "fractions": (
        {"positions": torch.arange(T) / 2},
        TypeError,
        "positions must be an integer tensor, such as torch.arange(7); got torch.float32",
    ),
    "a list": ({"positions": list(range(T))}, TypeError, "got list"),
    "too few": (
        {"positions": torch.arange(5)},
        ValueError,
        "positions must broadcast to the rows of x, (2, 7); got (5,)",
    ),
    "of items, for heads": (
        {"x": torch.zeros(3, H, T, D_K), "positions": torch.zeros(2, T, dtype=torch.int64)},
        ValueError,
        "pass positions[:, None]",
    ),
    "one number": ({"positions": torch.tensor(3)}, ValueError, "got ()"),
    "a base below 1": ({"base": 0.5}, ValueError, "base must be a number above 1, such as 10_000.0; got 0.5"),
    "a base that is NaN": ({"base": math.nan}, ValueError, "base must be a number above 1"),
    "another pairing": (
        {"pairs": "neighbours"},
        ValueError,
        'pairs must be "halves" or "interleaved"; got \'neighbours\'',
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_told(case):
    changed, error, message = BAD[case]
    with pytest.raises(error, match="apply_rotary: .*" + re.escape(message)):
        av.apply_rotary(**{**ordinary, **changed})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_turn_keeps_the_dtype_of_what_is_turned(dtype):
    x = torch.ones(T, D_K, dtype=dtype)
    angle = torch.arange(T)[:, None] * av.rotary_speeds(D_K)
    turned = av.turn(x, angle.cos(), angle.sin())
    assert turned.dtype == dtype
    torch.testing.assert_close(turned, av.apply_rotary(x, torch.arange(T)))
