"""Lifting gives every variant the signature and the abilities of variant 7, by plain loops and nothing else."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
import torch.nn.functional as F
from reference import D_MODEL, LIFTED, T_K, T_Q, B, H, check, make_problem, relative_error

from attention_variants.model.lift import lift
from attention_variants.model.masks import causal_mask, combine_masks, padding_mask
from attention_variants.variants import VARIANTS

pytestmark = pytest.mark.numeric

SEVEN = pytest.mark.parametrize("variant", range(1, 8))
LOOPED = pytest.mark.parametrize("variant", range(1, 7))


def make_inputs(**options):
    problem = make_problem(**options)
    return problem.q, problem.k, problem.v


class Recorder:
    """Calls a variant and remembers the shapes that it was given."""

    def __init__(self, variant):
        self.function, self.calls = VARIANTS[variant], []
        self.__name__ = f"recorded_{variant}"

    def __call__(self, *args):
        self.calls.append([None if x is None else tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in args])
        return self.function(*args)


@SEVEN
def test_the_signature_is_that_of_variant_7(variant):
    def plain(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert plain(lift(variant)) == plain(VARIANTS[7])


def test_variant_7_needs_no_lifting():
    assert lift(7) is VARIANTS[7]


@LOOPED
def test_a_lifted_function_says_what_it_is(variant):
    assert lift(variant).__name__.startswith("lifted")


# --------------------------------------------------------------------------- what each variant is spared, and not


def test_variants_1_and_2_get_one_sequence_and_one_head():
    q, k, v = make_inputs()
    for variant in (1, 2):
        recorder = Recorder(variant)
        lift(variant, recorder)(q, k, v, None, H)
        assert recorder.calls == [[(T_Q, 4), (T_K, 4), (T_K, 4)]] * (B * H)


def test_variant_3_gets_the_batch():
    recorder = Recorder(3)
    lift(3, recorder)(*make_inputs(), None, H)
    assert recorder.calls == [[(B, T_Q, 4), (B, T_K, 4), (B, T_K, 4)]] * H


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_under_a_mask_each_query_attends_over_just_its_keys(variant):
    recorder = Recorder(variant)
    mask = combine_masks(causal_mask(T_Q, T_K), padding_mask([T_K, 0], head_axis=True))
    lift(variant, recorder)(*make_inputs(), mask, H)
    # Head by head, the first item: query i has i + 1 keys. The second item has no keys: it is never asked.
    assert recorder.calls == [[(1, 4), (i + 1, 4), (i + 1, 4)] for i in range(T_Q)] * H


def test_variant_4_gets_batch_and_mask_of_each_head():
    recorder = Recorder(4)
    mask = torch.ones(1, H, T_Q, T_K, dtype=torch.bool)
    lift(4, recorder)(*make_inputs(), mask, H)
    assert recorder.calls == [[(B, T_Q, 4), (B, T_K, 4), (B, T_K, 4), (B, T_Q, T_K)]] * H


@pytest.mark.parametrize("variant", [5, 6])
def test_variants_5_and_6_get_everything_at_once(variant):
    recorder = Recorder(variant)
    mask = torch.ones(T_Q, T_K, dtype=torch.bool)
    lift(variant, recorder)(*make_inputs(), mask, H)
    shape = (B, T_K, D_MODEL)
    assert recorder.calls == [[(B, T_Q, D_MODEL), shape, shape, (T_Q, T_K), H]]


@SEVEN
def test_lifting_changes_nothing_that_a_variant_does_itself(variant):
    batch = () if variant <= 2 else (B,)
    problem = make_problem(batch=batch, num_heads=1 if variant <= 4 else H)
    q, k, v = problem.q, problem.k, problem.v
    args = (None, problem.num_heads) if variant >= 5 else ()
    context, weights = VARIANTS[variant](q, k, v, *args)
    lifted, lifted_weights = LIFTED[variant](q, k, v, None, problem.num_heads)
    assert torch.equal(lifted, context)
    assert torch.equal(lifted_weights.reshape(weights.shape), weights)


# ---------------------------------------------------------------------------------------- another implementation


@SEVEN
def test_another_function_takes_the_place_of_the_variant(variant):
    calls = []

    def twice_the_context(*args, **kwargs):
        calls.append(args)
        context, weights = VARIANTS[variant](*args, **kwargs)
        return 2 * context, weights

    q, k, v = make_inputs()
    mask = padding_mask([T_K, 3], head_axis=True)
    context, weights = lift(variant, twice_the_context)(q, k, v, mask, H)
    expected, expected_weights = LIFTED[variant](q, k, v, mask, H)
    assert calls
    assert torch.equal(context, 2 * expected)
    assert torch.equal(weights, expected_weights)


def test_any_function_with_the_signature_will_do():
    lifted = lift(4, lambda q, k, v, mask=None: VARIANTS[4](q, k, v, mask))
    check(lifted, make_problem(mask=causal_mask(T_Q, T_K)))


@pytest.mark.parametrize("variant", [1, 2, 3, 4, 5, 6])
def test_a_function_needs_no_name(variant):
    check(lift(variant, functools.partial(VARIANTS[variant])), make_problem())


# --------------------------------------------------------------------------------------------- its own abilities


@pytest.mark.parametrize("T_q", [T_Q, T_K, T_K + 1], ids=["T_q < T_k", "T_q = T_k", "T_q > T_k"])
@pytest.mark.parametrize("mask_name", ["none", "(T_k)", "(T_q, T_k)", "(B, 1, T_q, T_k)", "(1, H, T_q, T_k)"])
@LOOPED
def test_is_causal(variant, mask_name, T_q):
    shape = {"(T_k)": (T_K,), "(T_q, T_k)": (T_q, T_K)}.get(mask_name)
    shape = {"(B, 1, T_q, T_k)": (B, 1, T_q, T_K), "(1, H, T_q, T_k)": (1, H, T_q, T_K)}.get(mask_name, shape)
    mask = None if shape is None else torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.7
    check(LIFTED[variant], make_problem(mask=mask, is_causal=True, T_q=T_q))


@LOOPED
def test_need_weights(variant):
    q, k, v = make_inputs()
    context, weights = LIFTED[variant](q, k, v, None, H, need_weights=False)
    assert weights is None
    assert torch.equal(context, LIFTED[variant](q, k, v, None, H)[0])


@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@LOOPED
def test_dropout_is_that_of_the_weights(variant, with_mask):
    q, k, v = make_inputs()
    mask = causal_mask(T_Q, T_K) if with_mask else None
    torch.manual_seed(3)
    context, weights = LIFTED[variant](q, k, v, mask, H, dropout_p=0.5)
    torch.manual_seed(3)
    dropped = F.dropout(weights, 0.5)
    for h in range(H):
        columns = slice(4 * h, 4 * h + 4)
        assert relative_error(context[..., columns], dropped[:, h] @ v[..., columns]) <= 1e-12
    assert not torch.equal(dropped, weights)
    assert torch.equal(weights, LIFTED[variant](q, k, v, mask, H)[1])


@LOOPED
def test_dropout_without_weights_is_the_same_dropout(variant):
    q, k, v = make_inputs()
    contexts = []
    for need_weights in (True, False):
        torch.manual_seed(3)
        contexts.append(LIFTED[variant](q, k, v, None, H, dropout_p=0.5, need_weights=need_weights)[0])
    assert torch.equal(*contexts)


@LOOPED
def test_the_gradient_under_dropout_is_that_of_the_dropped_weights(variant):
    leaves = [x.requires_grad_() for x in make_inputs()]
    mask = padding_mask([T_K, 3], head_axis=True)
    torch.manual_seed(3)
    context, _ = LIFTED[variant](*leaves, mask, H, dropout_p=0.5)
    gradients = torch.autograd.grad(context.square().sum(), leaves)
    torch.manual_seed(3)
    q, k, v = (x.unflatten(-1, (H, -1)).transpose(1, 2) for x in leaves)
    weights = torch.softmax((q @ k.mT / 2).masked_fill(~mask, -torch.inf), dim=-1)
    expected = torch.autograd.grad((F.dropout(weights, 0.5) @ v).square().sum(), leaves)
    for x, y in zip(gradients, expected, strict=True):
        assert relative_error(x, y) <= 1e-12


@LOOPED
def test_values_that_are_not_contiguous_survive_dropout(variant):
    q, k, v = make_inputs()
    strange = v.mT.contiguous().mT
    contexts = []
    for values in (v, strange):
        torch.manual_seed(3)
        contexts.append(LIFTED[variant](q, k, values, None, H, dropout_p=0.5)[0])
    assert relative_error(contexts[1], contexts[0]) <= 1e-12


@LOOPED
def test_gradients_reach_every_input(variant):
    for mask in (None, padding_mask([T_K, 0], head_axis=True)):
        leaves = [x.clone().requires_grad_() for x in make_inputs()]
        context, weights = LIFTED[variant](*leaves, mask, H)
        assert context.requires_grad
        assert weights.requires_grad
        (context.sum() + weights.square().sum()).backward()
        for leaf in leaves:
            assert leaf.grad is not None
            assert (leaf.grad[0] != 0).all()
            assert mask is None or (leaf.grad[1] == 0).all()
