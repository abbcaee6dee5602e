"""Both loops and the backward pass that recomputes: variant 4 in values and gradients, in memory that grows with T."""

from __future__ import annotations

import itertools

import pytest
import torch

import attention_variants as av
from attention_variants.lab.measure.memory import peak_memory

pytestmark = pytest.mark.numeric

B, T_Q, T_K, D_K, D_V = 2, 5, 7, 4, 6
CLOSE = {"rtol": 0.0, "atol": 1e-12}
BLOCKS = [(1, 1), (2, 3), (3, 2), (5, 7), (64, 64)]


def qkv(T_q=T_Q, T_k=T_K, seed=0, factor=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T_q, D_K), (T_k, D_K), (T_k, D_V))
    return [
        (factor * torch.randn(B, *shape, generator=generator, dtype=torch.float64)).requires_grad_() for shape in shapes
    ]


def scattered(*shape):
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(2)) > 0.4
    mask[..., min(2, shape[-2] - 1), :] = False  # a query with no key
    return mask


MASKS = {
    "none": None,
    "for all": scattered(T_Q, T_K),
    "for each item": scattered(B, T_Q, T_K),
    "padding": av.padding_mask([3, 7]),
    "for all queries": scattered(1, T_K) | (torch.arange(T_K) == 1),
    "for each query": torch.tensor([[True], [False], [True], [True], [False]]),
    "a row": torch.arange(T_K) > 2,
    "one for everything": torch.tensor(True),
}


def same(found, expected, leaves):
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = (torch.autograd.grad(one.sin().sum(), leaves) for one in (found, expected))
    for a, b in zip(*gradients, strict=True):
        largest = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-12 * largest)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("mask", MASKS)
def test_it_is_variant_4_in_values_and_gradients(mask, blocks, is_causal):
    leaves, mask = qkv(), MASKS[mask]
    block_q, block_k = blocks
    context, weights = av.flash_attention(*leaves, mask, is_causal=is_causal, block_q=block_q, block_k=block_k)
    causal = av.causal_mask(T_Q, T_K) if is_causal else None
    expected, _ = av.attention_masked(*leaves, av.combine_masks(mask, causal))
    assert weights is None
    same(context, expected, leaves)


@pytest.mark.parametrize(("T_q", "T_k"), [(7, 5), (1, 7), (7, 1), (3, 0)])
def test_any_lengths(T_q, T_k):
    leaves = qkv(T_q, T_k)
    context, _ = av.flash_attention(*leaves, is_causal=T_k > 0, block_q=2, block_k=2)
    mask = av.causal_mask(T_q, T_k) if T_k else torch.zeros(T_q, T_k, dtype=torch.bool)
    same(context, av.attention_masked(*leaves, mask)[0], leaves)


def test_large_scores_do_no_harm():
    leaves = qkv(factor=30.0)  # scores of some thousands
    same(av.flash_attention(*leaves, block_q=2, block_k=2)[0], av.attention_masked(*leaves)[0], leaves)


def test_blocks_that_lie_in_the_future_are_not_computed(monkeypatch):
    """Of 4 x 4 blocks, those below and on the diagonal: 10, in each pass."""
    computed = []
    exp = torch.exp
    monkeypatch.setattr(torch, "exp", lambda x: (computed.append(tuple(x.shape)), exp(x))[1])
    leaves = qkv(8, 8)
    context, _ = av.flash_attention(*leaves, is_causal=True, block_q=2, block_k=2)
    assert computed.count((B, 2, 2)) == 10
    computed.clear()
    context.sum().backward()
    assert computed == [(B, 2, 2)] * 10


def test_memory_grows_with_the_length_in_training_too():
    """Twice the length, at most 2.2 times the memory; the tiled page, which keeps all blocks, takes about 4 times."""

    def training(function, **options):
        def both_passes(q, k, v):
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            function(*leaves, **options)[0].sum().backward()

        return [peak_memory(both_passes, *[torch.zeros(T, 32)] * 3) for T in (256, 512, 1024)]

    flash, tiled = training(av.flash_attention), training(av.attention_tiled, block_size=64)
    assert all(b / a < 2.2 for a, b in itertools.pairwise(flash))
    assert all(b / a > 3.5 for a, b in itertools.pairwise(tiled))
    assert flash[-1] < tiled[-1] / 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes(dtype):
    q, k, v = (x.detach().to(dtype) for x in qkv())
    context, _ = av.flash_attention(q, k, v, block_q=2, block_k=2)
    assert context.dtype == dtype
    expected, _ = av.attention_masked(q.double(), k.double(), v.double())
    assert (context.double() - expected).abs().max() < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"block_q": 0}, "block_q must be a whole number of at least 1; got 0"),
        ({"block_k": 2.5}, "block_k must be a whole number of at least 1; got 2.5"),
        ({"mask": torch.ones(3, 3, dtype=torch.bool)}, "mask must broadcast to the shape of the weights"),
    ],
)
def test_what_does_not_fit_is_told(changed, message):
    with pytest.raises(ValueError, match=f"flash_attention: {message}"):
        av.flash_attention(*qkv(), **changed)


def test_torch_func_is_refused_and_never_silently_wrong():
    q, k, v = (x.detach() for x in qkv())
    for transformed in (torch.func.vmap, lambda f: torch.func.grad(lambda *x: f(*x)[0].sum())):
        with pytest.raises(RuntimeError, match="setup_context"):
            transformed(lambda q, k, v: av.flash_attention(q, k, v)[0])(q, k, v)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("mask", [None, scattered(T_Q, T_K)])
def test_second_derivatives(mask, is_causal):
    def flash(q, k, v):
        return av.flash_attention(q, k, v, mask, is_causal=is_causal, block_q=2, block_k=3)[0]

    assert torch.autograd.gradgradcheck(flash, qkv())
