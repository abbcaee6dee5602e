"""What all seven guarantee beside equality: large logits, dtypes, empty rows, NaN, dropout, memory and symmetry."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from reference import D_MODEL, GRID, LIFTED, T_K, T_Q, B, H, check, make_problem, relative_error, seeded, tiled
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.masks import causal_mask, combine_masks, padding_mask, sliding_window_mask
from attention_variants.variants import VARIANTS, attention_tiled

pytestmark = pytest.mark.numeric

ALL_DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
SEVEN = pytest.mark.parametrize("variant", range(1, 8))
SEVEN_AND_TILED = pytest.mark.parametrize("attend", [*LIFTED.values(), tiled], ids=[*map(str, LIFTED), "tiled"])


def random_inputs(*, batch=(B,), T_q=T_Q, T_k=T_K, d_model=D_MODEL, dtype=torch.float64, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((*batch, T_q, d_model), (*batch, T_k, d_model), (*batch, T_k, d_model))
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad) for shape in shapes
    ]


def random_mask(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


class NoNaN(TorchDispatchMode):
    """Raise at the first operation, forward or backward, whose result holds a NaN."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            is_uninitialised = "empty" in func.__name__
            if isinstance(x, torch.Tensor) and x.is_floating_point() and not is_uninitialised and x.isnan().any():
                raise AssertionError(f"{func} made a NaN")
        return result


# ------------------------------------------------------------------------------------------------ large logits


@DTYPES
@pytest.mark.parametrize("sign", [1, -1])
@SEVEN_AND_TILED
def test_the_softmax_survives_logits_of_1e4(attend, sign, dtype):
    # One head of d_k = 4, q . k / 2 = 1e4, 1e4, 0 and -1e4: the largest share all the weight.
    q = torch.tensor([[[200.0, 0, 0, 0]]], dtype=dtype)
    k = sign * torch.tensor([[[100.0, 7, 0, 0], [100, 0, 5, 0], [0, 3, 3, 3], [-100, 1, 1, 1]]], dtype=dtype)
    v = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]], dtype=dtype)
    expected = [0.5, 0.5, 0, 0] if sign == 1 else [0, 0, 0, 1]
    context, weights = attend(q, k, v)
    assert context.tolist() == [[expected]]
    assert weights is None or weights.tolist() == [[[expected]]]


@DTYPES
@SEVEN_AND_TILED
def test_every_logit_may_be_large_and_negative(attend, dtype):
    q, k = torch.full((1, 1, 4), 100.0, dtype=dtype), torch.full((1, 2, 4), -50.0, dtype=dtype)  # logits of -1e4
    v = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0]]], dtype=dtype)
    context, _ = attend(q, k, v)
    assert context.tolist() == [[[0.5, 0.5, 0, 0]]]
    context, _ = attend(q, k, v, torch.tensor([True, False]))  # a blocked key still weighs nothing
    assert context.tolist() == [[[1.0, 0, 0, 0]]]


@SEVEN_AND_TILED
def test_a_product_that_float16_cannot_hold_is_divided_first(attend):
    # q . k is 65536 and float16 ends at 65504, but divided by sqrt(64) it is 8192. Variant 1 divides last, as the
    # formula does; the contract says so.
    q = torch.full((1, 1, 64), 32.0, dtype=torch.float16)
    k = torch.stack([q[0, 0], q[0, 0] - 1])[None]
    context, _ = attend(q, k, k)
    if attend is LIFTED[1]:
        assert context.isnan().all()
        context, _ = attend(q.float(), k.float(), k.float())
    assert (context == 32).all()


# ------------------------------------------------------------------------------------------------------ dtypes


@DTYPES
@SEVEN_AND_TILED
def test_dtype_is_kept_and_the_result_is_as_exact_as_the_dtype(attend, dtype):
    for kind in ("none", "causal top-left, empty rows", "random (B, H, T_q, T_k), empty rows"):
        problem = GRID[kind][4].rounded_to(dtype)  # B = 2, H = 2
        check(attend, problem, dtype, weights=attend is not tiled)  # a result of another dtype is a fault


# ------------------------------------------------------------------------------------- inputs, strange or shared


#: The same numbers behind other strides.
RESTRIDE = {
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch innermost": lambda x: x.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "every second column": lambda x: torch.stack([x, torch.full_like(x, 9.0)], dim=-1).flatten(-2)[..., ::2],
    "every second row": lambda x: torch.stack([x, torch.full_like(x, 9.0)], dim=-2).flatten(-3, -2)[..., ::2, :],
    "a slice of a wider tensor": lambda x: F.pad(x, (3, 2), value=9.0)[..., 3:-2],
}


@pytest.mark.parametrize("name", RESTRIDE)
@SEVEN_AND_TILED
def test_non_contiguous_inputs(attend, name):
    q, k, v = random_inputs()
    mask = random_mask(B, H, T_Q, T_K)
    strange = [RESTRIDE[name](x) for x in (q, k, v)]
    strange_mask = mask.mT.contiguous().mT
    assert not any(x.is_contiguous() for x in (*strange, strange_mask))
    for given, given_strange in ((None, None), (mask, strange_mask)):
        context, weights = attend(q, k, v, given, H)
        context_strange, weights_strange = attend(*strange, given_strange, H)
        assert relative_error(context_strange, context) <= 1e-12
        assert weights is None or relative_error(weights_strange, weights) <= 1e-12


@SEVEN_AND_TILED
def test_expanded_inputs(attend):
    q, k, v = random_inputs(batch=(1,))
    mask = random_mask(T_Q, T_K)
    context, weights = attend(*(x.expand(3, -1, -1) for x in (q, k, v)), mask.expand(3, H, -1, -1), H)
    expected, expected_weights = attend(q, k, v, mask, H)
    assert relative_error(context, expected.expand(3, -1, -1)) <= 1e-12
    assert weights is None or relative_error(weights, expected_weights.expand(3, -1, -1, -1)) <= 1e-12


@SEVEN_AND_TILED
def test_one_tensor_in_all_three_roles(attend):
    (x, *_) = random_inputs()
    context, _ = attend(x, x, x, None, H)
    expected, _ = attend(x.clone(), x.clone(), x.clone(), None, H)
    assert torch.equal(context, expected)


@SEVEN_AND_TILED
def test_inputs_are_never_changed(attend):
    leaves = random_inputs(grad=True)
    q, k, v = (x * 1 for x in leaves)  # autograd lets nobody write into a leaf; these could be written into
    mask = random_mask(B, H, T_Q, T_K)
    mask[0, 0, 0] = False
    tensors = (q, k, v, mask)
    before, versions = [x.clone() for x in tensors], [x._version for x in tensors]
    for options in ({}, {"is_causal": True}):
        context, weights = attend(q, k, v, mask, H, **options)
        functional = context.sum() if weights is None else context.sum() + weights.square().sum()
        functional.backward(retain_graph=True)
        assert all(torch.equal(x, y) for x, y in zip(tensors, before, strict=True))
        assert [x._version for x in tensors] == versions


# -------------------------------------------------------------------------------------------------- empty rows

SMALL_Q, SMALL_K = 3, 4

#: name -> a mask that leaves queries without keys
EMPTY_MASKS = {
    "one query of one item": lambda: _blocked(torch.ones(B, 1, SMALL_Q, SMALL_K, dtype=torch.bool), (0, 0, 2)),
    "one query of one head": lambda: _blocked(torch.ones(B, H, SMALL_Q, SMALL_K, dtype=torch.bool), (1, 1, 2)),
    "one query everywhere": lambda: _blocked(torch.ones(SMALL_Q, SMALL_K, dtype=torch.bool), (2,)),
    "a sequence of length 0": lambda: padding_mask([SMALL_K, 0], head_axis=True),
    "all": lambda: torch.zeros(SMALL_K, dtype=torch.bool),
    "all, full shape": lambda: torch.zeros(B, H, SMALL_Q, SMALL_K, dtype=torch.bool),
    "all, by one number": lambda: torch.zeros((), dtype=torch.bool),
}
EMPTY = pytest.mark.parametrize("mask_name", EMPTY_MASKS)


def _blocked(mask, index):
    mask[index] = False
    return mask


def empty_problem(mask_name, dtype=torch.float64):
    """q, k and v; the mask; and the mask in the shape of the weights."""
    mask = EMPTY_MASKS[mask_name]()
    q_k_v = random_inputs(T_q=SMALL_Q, T_k=SMALL_K, dtype=dtype, grad=True)
    return *q_k_v, mask, mask.expand(B, H, SMALL_Q, SMALL_K)


def by_head(x):
    """(B, T, d_model) -> (B, H, T, d_k)."""
    return x.unflatten(-1, (H, -1)).transpose(1, 2)


@DTYPES
@EMPTY
@SEVEN_AND_TILED
def test_a_query_without_keys_gets_zeros_and_gives_zero_gradients(attend, mask_name, dtype):
    q, k, v, mask, allowed = empty_problem(mask_name, dtype)
    no_key, no_query = ~allowed.any(dim=-1), ~allowed.any(dim=-2)  # (B, H, T_q), (B, H, T_k)
    context, weights = attend(q, k, v, mask, H)
    (context.sum() if weights is None else context.sum() + weights.square().sum()).backward()
    assert (by_head(context)[no_key] == 0).all()
    assert (by_head(context)[~no_key] != 0).all()
    assert weights is None or (weights[no_key] == 0).all()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (by_head(q.grad)[no_key] == 0).all()
    assert (by_head(k.grad)[no_query] == 0).all()
    assert (by_head(v.grad)[no_query] == 0).all()


@EMPTY
@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@SEVEN
def test_the_layer_never_sees_nan_from_a_query_without_keys(variant, need_weights, mask_name):
    layer = MultiHeadAttention(D_MODEL, H, variant=variant).double()
    q, k, v, mask, allowed = empty_problem(mask_name)
    has_key = allowed.any(dim=-1)  # (B, H, T_q)
    empty = ~has_key.all(dim=1)  # (B, T_q): no key in some head
    with NoNaN():
        output, weights = layer(q, k, v, mask, need_weights=need_weights)
        loss = output[~empty].square().sum()  # it does not look at these rows at all
        if weights is not None:
            loss = loss + weights.transpose(1, 2)[~empty].square().sum()
        loss.backward()
    assert output.isfinite().all()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert not empty.all() or parameter.grad.count_nonzero() == 0, name
    assert (q.grad[empty] == 0).all()
    only_bias = output[~has_key.any(dim=1)]  # no key in any head
    assert torch.equal(only_bias, layer.w_o.bias.expand_as(only_bias))


@pytest.mark.parametrize("mask_name", ["one query of one head", "all"])
@SEVEN
def test_the_loss_may_look_at_a_query_without_keys(variant, mask_name):
    layer = MultiHeadAttention(D_MODEL, H, variant=variant).double()
    q, k, v, mask, _ = empty_problem(mask_name)
    with torch.autograd.set_detect_anomaly(True), NoNaN():  # neither forward nor backward, nor in between
        output, weights = layer(q, k, v, mask)
        (output.square().sum() + weights.square().sum()).backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v, *layer.parameters()))


@EMPTY
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=lambda backend: backend.name)
@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
def test_empty_rows_do_not_depend_on_the_backend(need_weights, backend, mask_name):
    q, k, v, mask, allowed = empty_problem(mask_name)
    with sdpa_kernel(backend), NoNaN():
        context, _ = VARIANTS[7](q, k, v, mask, H, need_weights=need_weights)
        context.sum().backward()
    no_key = ~allowed.any(dim=-1)
    assert (by_head(context)[no_key] == 0).all()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (by_head(q.grad)[no_key] == 0).all()


@pytest.mark.parametrize("answer", [float("nan"), 1.0], ids=["NaN", "uniform"])
def test_variant_7_survives_a_kernel_that_answers_empty_rows_badly(monkeypatch, answer):
    """Older kernels gave NaN, or the mean of all values, for a row of nothing but -inf."""
    kernel = F.scaled_dot_product_attention

    def careless(q, k, v, attn_mask=None, **options):
        context = kernel(q, k, v, attn_mask=attn_mask, **options)
        return context if attn_mask is None else context.masked_fill(~attn_mask.any(-1, keepdim=True), answer)

    monkeypatch.setattr(F, "scaled_dot_product_attention", careless)
    q, k, v, mask, _ = empty_problem("one query of one head")
    with NoNaN():
        context, _ = VARIANTS[7](q, k, v, mask, H)
        context.sum().backward()
    assert (context[1, 2, D_MODEL // 2 :] == 0).all()
    assert context.isfinite().all()


# --------------------------------------------------------------------------------------------- NaN, nothing at all


@SEVEN_AND_TILED
def test_nan_passes_through_to_the_rows_that_use_it(attend):
    nan = float("nan")
    q, k, v = random_inputs()
    q[0, 1, 0] = nan  # head 0 of one query
    context, weights = attend(q, k, v, None, H)
    expected = torch.zeros(B, T_Q, D_MODEL, dtype=torch.bool)
    expected[0, 1, : D_MODEL // H] = True
    assert torch.equal(context.isnan(), expected)
    if weights is not None:
        assert weights[0, 0, 1].isnan().all()
        assert weights.isnan().sum() == T_K

    q, k, v = random_inputs()
    k[1, 3, -1] = nan  # the last head of one item: every query compares itself with this key
    context, weights = attend(q, k, v, None, H)
    expected = torch.zeros(B, T_Q, D_MODEL, dtype=torch.bool)
    expected[1, :, -D_MODEL // H :] = True
    assert torch.equal(context.isnan(), expected)
    assert weights is None or torch.equal(weights.isnan().any(-1), expected[..., [0, -1]].transpose(1, 2))

    q, k, v = random_inputs()
    v[1, 3, 2] = nan
    context, weights = attend(q, k, v, None, H)
    expected = torch.zeros(B, T_Q, D_MODEL, dtype=torch.bool)
    expected[1, :, 2] = True
    assert torch.equal(context.isnan(), expected)
    assert weights is None or not weights.isnan().any()


@SEVEN
def test_nan_in_a_blocked_key_leaves_the_weights_alone(variant):
    q, k, v = random_inputs()
    k[0, 3] = float("nan")
    mask = torch.ones(T_Q, T_K, dtype=torch.bool)
    mask[:, 3] = False
    _, weights = LIFTED[variant](q, k, v, mask, H)
    assert not weights.isnan().any()


@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["", "is_causal"])
@pytest.mark.parametrize(("batch", "T_q", "T_k"), [(2, 0, 3), (2, 3, 0), (2, 0, 0), (0, 3, 4)])
@SEVEN_AND_TILED
def test_no_queries_no_keys_no_batch(attend, batch, T_q, T_k, is_causal, with_mask):
    q, k, v = random_inputs(batch=(batch,), T_q=T_q, T_k=T_k, grad=True)
    mask = torch.ones(T_q, T_k, dtype=torch.bool) if with_mask else None
    context, weights = attend(q, k, v, mask, H, is_causal=is_causal)
    assert context.shape == (batch, T_q, D_MODEL)
    assert weights is None or weights.shape == (batch, H, T_q, T_k)
    assert (context == 0).all()  # nothing to take, or nobody to take it
    if weights is not None:
        (context.sum() + weights.sum()).backward()
        assert all((x.grad == 0).all() for x in (q, k, v))


@pytest.mark.parametrize(("T_q", "T_k"), [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("function", [*(VARIANTS[variant] for variant in (1, 2, 3, 4)), attention_tiled])
def test_no_queries_no_keys_direct(function, T_q, T_k):
    q, k, v = torch.ones(T_q, 4), torch.ones(T_k, 4), torch.ones(T_k, 3)
    context, weights = function(q, k, v)
    assert context.tolist() == torch.zeros(T_q, 3).tolist()
    assert weights is None or weights.shape == (T_q, T_k)


@SEVEN
def test_the_layer_with_no_keys_gives_its_bias(variant):
    layer = MultiHeadAttention(D_MODEL, H, variant=variant).double()
    q, k, v = random_inputs(T_k=0)
    output, weights = layer(q, k, v)
    assert torch.equal(output, layer.w_o.bias.expand(B, T_Q, D_MODEL))
    assert weights.shape == (B, H, T_Q, 0)
    assert layer(q[:, :0])[0].shape == (B, 0, D_MODEL)


# --------------------------------------------------------------------------------------- is_causal, need_weights


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("mask_shape", [None, (7,), (5, 1), (5, 7), (2, 1, 1, 7), (2, 2, 5, 7)], ids=str)
@pytest.mark.parametrize("flip", [False, True], ids=["T_q < T_k", "T_q > T_k"])
@SEVEN
def test_is_causal_is_the_top_left_causal_mask(variant, flip, mask_shape, need_weights):
    T_q, T_k = (T_K, T_Q) if flip else (T_Q, T_K)
    mask = None
    if mask_shape is not None:
        sizes = {5: T_q, 7: T_k}
        mask = random_mask(*(sizes.get(size, size) for size in mask_shape))
    q, k, v = random_inputs(T_q=T_q, T_k=T_k)
    if mask is None and variant == 7:
        # The kernel itself takes is_causal; for T_q = T_k too, where the usual models are.
        square = random_inputs(T_q=6, T_k=6)
        by_flag, _ = VARIANTS[7](*square, None, H, is_causal=True, need_weights=need_weights)
        assert relative_error(by_flag, VARIANTS[7](*square, causal_mask(6), H)[0]) <= 1e-12
    context, weights = LIFTED[variant](q, k, v, mask, H, is_causal=True, need_weights=need_weights)
    expected, expected_weights = LIFTED[variant](q, k, v, combine_masks(mask, causal_mask(T_q, T_k)), H)
    assert relative_error(context, expected) <= 1e-12
    if need_weights:
        assert relative_error(weights, expected_weights) <= 1e-12
        assert (weights[..., ~causal_mask(T_q, T_k)] == 0).all()  # no leak of the future in what is plotted
    else:
        assert weights is None


@SEVEN
def test_the_context_is_the_same_with_and_without_weights(variant):
    q, k, v = random_inputs()
    for mask in (None, random_mask(B, H, T_Q, T_K)):
        context, weights = LIFTED[variant](q, k, v, mask, H, need_weights=False)
        assert weights is None
        expected, weights = LIFTED[variant](q, k, v, mask, H)
        assert torch.equal(context, expected)
        assert weights.shape == (B, H, T_Q, T_K)


@SEVEN
def test_every_row_of_weights_is_a_share(variant):
    q, k, v = random_inputs()
    mask = random_mask(B, H, T_Q, T_K)
    mask[0, 1, 2] = False
    _, weights = LIFTED[variant](q, k, v, mask, H)
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    assert (weights[mask] > 0).all()
    torch.testing.assert_close(weights.sum(-1), mask.any(-1).double(), rtol=0, atol=1e-12)


# ----------------------------------------------------------------------------------------------------- dropout


def weights_seen_by_the_context(attend, q, k, mask, dropout_p, **options):
    """With the unit vectors as values, the context of a head is its row of (dropped) weights."""
    T_k = k.shape[-2]
    unit_vectors = torch.eye(T_k, dtype=q.dtype).repeat(1, H).expand(*k.shape[:-2], T_k, H * T_k)
    context, weights = attend(q, k, unit_vectors, mask, H, dropout_p=dropout_p, **options)
    return context.unflatten(-1, (H, T_k)).transpose(-3, -2), weights


@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@SEVEN
def test_dropout_drops_weights_and_returns_them_undropped(variant, with_mask):
    torch.manual_seed(0)
    q, k, _ = random_inputs(batch=(B if variant == 1 else 20,), d_model=H * T_K)
    mask = sliding_window_mask(T_Q, T_K, window=2) if with_mask else None
    seen, weights = weights_seen_by_the_context(LIFTED[variant], q, k, mask, 0.25)
    _, expected = weights_seen_by_the_context(LIFTED[variant], q, k, mask, 0.0)
    assert torch.equal(weights, expected)
    allowed = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask.expand_as(weights)
    dropped = (seen == 0) & allowed
    torch.testing.assert_close(seen, torch.where(dropped, 0.0, weights / 0.75), rtol=1e-9, atol=0)
    assert 0.1 < dropped.sum() / allowed.sum() < 0.4


@SEVEN
def test_dropout_leaves_the_mean_where_it_was(variant):
    torch.manual_seed(0)
    q, k, v = random_inputs(batch=(1,), T_q=2, T_k=3, d_model=2)
    n = 100 if variant <= 2 else 4000  # a loop over the batch is slow
    repeated = [x.expand(n, -1, -1) for x in (q, k, v)]
    context, _ = LIFTED[variant](*repeated, None, H, dropout_p=0.25)
    expected, _ = LIFTED[variant](q, k, v, None, H)
    spread = context.std(dim=0) / n**0.5
    assert (spread > 0).all()
    assert ((context.mean(dim=0) - expected[0]).abs() < 4 * spread).all()


@SEVEN
def test_without_dropout_nothing_is_random(variant):
    q, k, v = random_inputs()
    torch.manual_seed(0)
    first, _ = LIFTED[variant](q, k, v, None, H, dropout_p=0.0)
    torch.manual_seed(1)
    second, _ = LIFTED[variant](q, k, v, None, H)
    assert torch.equal(first, second)
    third, _ = LIFTED[variant](q, k, v, None, H, dropout_p=0.5)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@SEVEN
def test_gradients_flow_through_dropout(variant, need_weights):
    torch.manual_seed(0)
    q, k, v, mask, _ = empty_problem("one query everywhere")
    with NoNaN():
        context, _ = LIFTED[variant](q, k, v, mask, H, dropout_p=0.5, need_weights=need_weights)
        context.square().sum().backward()
    assert (context[:, 2] == 0).all()
    assert all(x.grad.isfinite().all() and (x.grad != 0).any() for x in (q, k, v))


@SEVEN
def test_dropping_everything_leaves_zeros(variant):
    q, k, v = random_inputs(grad=True)
    with NoNaN():
        context, weights = LIFTED[variant](q, k, v, None, H, dropout_p=1.0)
        context.sum().backward()
    assert (context == 0).all()
    assert (weights > 0).all()
    assert all((x.grad == 0).all() for x in (q, k, v))


# ------------------------------------------------------------------------------------------- the fused kernel


class LargestStorage(TorchDispatchMode):
    """Remember the largest memory that any operation's result lives in, in numbers, and which operation it was."""

    def __init__(self):
        super().__init__()
        self.size, self.operation = 0, ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                size = x.untyped_storage().nbytes() // x.element_size()
                if size > self.size:
                    self.size, self.operation = size, str(func)
        return result


@pytest.mark.parametrize("batch", [(), (1,), (2,), (2, 2)], ids=str)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"padding": True}], ids=str)
def test_variant_7_builds_no_matrix_of_queries_by_keys_unless_asked(options, batch):
    T = 256
    q, k, v = random_inputs(batch=batch, T_q=T, T_k=T, d_model=4, dtype=torch.float32, grad=True)
    options = dict(options)
    mask = torch.arange(T) < T - 9 if options.pop("padding", False) else None
    with LargestStorage() as seen:
        context, weights = VARIANTS[7](q, k, v, mask, H, need_weights=False, **options)
        context.sum().backward()
    assert weights is None
    assert seen.size < T * T, seen.operation
    for variant, given in ((7, options), (6, {})):  # asked for, the matrix is seen
        with LargestStorage() as seen:
            VARIANTS[variant](q, k, v, mask, H, **given)
        assert seen.size >= math.prod(batch) * H * T * T


@pytest.mark.parametrize("head_axis", [False, True], ids=["one sequence", "a batch"])
def test_variant_7_does_not_expand_a_padding_mask(head_axis):
    T = 256
    q, k, v = random_inputs(batch=(2,) if head_axis else (), T_q=T, T_k=T, d_model=4, dtype=torch.float32)
    mask = padding_mask([T, T - 9], head_axis=True) if head_axis else torch.arange(T) < T - 9
    with LargestStorage() as seen:
        VARIANTS[7](q, k, v, mask, H, need_weights=False)
    assert seen.size < T * T, seen.operation


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
def test_variant_7_uses_the_kernel_of_pytorch(monkeypatch, need_weights):
    calls, kernel = [], F.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q, k, v = random_inputs()
    VARIANTS[7](q, k, v, None, H, need_weights=need_weights, dropout_p=0.25)
    VARIANTS[7](q, k, v, random_mask(T_Q, T_K), H, need_weights=need_weights)
    assert len(calls) == 2
    assert calls[0]["dropout_p"] == 0.25
    VARIANTS[7](q, k, v, None, H, need_weights=False, is_causal=True)
    assert calls[2]["is_causal"] is True
    assert calls[2].get("attn_mask") is None


def test_the_tiled_version_holds_one_block_of_scores_at_a_time():
    T, d_k, block_size = 64, 4, 8
    q, k, v = (torch.randn(T, d_k) for _ in range(3))
    with LargestStorage() as seen:
        attention_tiled(q, k, v, block_size=block_size)
    assert seen.size <= T * block_size, seen.operation


# --------------------------------------------------------------------------------------------- slopes, symmetry


@pytest.mark.parametrize("mask_name", ["no mask", "one query of one head", "a sequence of length 0"])
@SEVEN_AND_TILED
def test_gradcheck(attend, mask_name):
    mask = None if mask_name == "no mask" else EMPTY_MASKS[mask_name]()
    q, k, v = random_inputs(T_q=SMALL_Q, T_k=SMALL_K, d_model=4, grad=True)

    def both(q, k, v):
        context, weights = attend(q, k, v, mask, H)
        return context if weights is None else (context, weights)

    assert torch.autograd.gradcheck(both, (q, k, v), fast_mode=True)


@SEVEN_AND_TILED
def test_the_order_of_keys_queries_items_and_heads_does_not_matter(attend):
    q, k, v = random_inputs()
    mask = random_mask(B, H, T_Q, T_K)
    context, weights = attend(q, k, v, mask, H)

    def same(actual, expected, expected_weights):
        assert relative_error(actual[0], expected) <= 1e-12
        assert weights is None or relative_error(actual[1], expected_weights()) <= 1e-12

    keys = torch.randperm(T_K, generator=seeded("keys"))
    same(attend(q, k[:, keys], v[:, keys], mask[..., keys], H), context, lambda: weights[..., keys])

    queries = torch.randperm(T_Q, generator=seeded("queries"))
    same(attend(q[:, queries], k, v, mask[:, :, queries], H), context[:, queries], lambda: weights[:, :, queries])

    same(attend(q.flip(0), k.flip(0), v.flip(0), mask.flip(0), H), context.flip(0), lambda: weights.flip(0))

    swap = torch.arange(D_MODEL).unflatten(0, (H, -1)).flip(0).flatten()  # the columns of the heads, swapped
    swapped = attend(q[..., swap], k[..., swap], v[..., swap], mask.flip(1), H)
    same(swapped, context[..., swap], lambda: weights.flip(1))


@SEVEN_AND_TILED
def test_what_a_query_may_not_read_does_not_matter(attend):
    q, k, v = random_inputs()
    mask = random_mask(B, 1, 1, T_K)
    blocked = ~mask[:, 0, 0]
    context, _ = attend(q, k, v, mask, H)
    k[blocked], v[blocked] = 1e3, -1e3
    assert relative_error(attend(q, k, v, mask, H)[0], context) <= 1e-12


COMPILED = [(variant, "no mask") for variant in range(2, 8)]
COMPILED += [(variant, name) for variant in range(4, 8) for name in ("every query has a key", "a query with no key")]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "mask_name"), COMPILED)
def test_compiles_as_one_graph(variant, mask_name):
    torch.compiler.reset()
    batch = () if variant == 2 else (B,)
    q, k, v = random_inputs(batch=batch, grad=True)
    mask = None if mask_name == "no mask" else causal_mask(T_Q, T_K).clone()
    if mask_name == "a query with no key":
        mask[3] = False
    args = () if variant <= 3 else (mask,) if variant == 4 else (mask, H)
    compiled = torch.compile(VARIANTS[variant], fullgraph=True, backend="eager")
    results = []
    for function in (VARIANTS[variant], compiled):
        context, weights = function(q, k, v, *args)
        gradients = torch.autograd.grad((context.square().sum() + weights.square().sum()), (q, k, v))
        results.append((context, weights, *gradients))
    for expected, actual in zip(*results, strict=True):
        assert relative_error(actual, expected.detach()) <= 1e-12


def test_problems_have_the_default_shapes():
    problem = make_problem()
    assert problem.q.shape == (2, 5, 8)
    assert problem.k.shape == problem.v.shape == (2, 7, 8)
    assert problem.num_heads == 2
    assert len(set(itertools.chain(problem.q.shape, problem.k.shape))) == 4  # no two axes can be mistaken
