"""A wrong input gets an error that says what came, what was expected and, if there is one, which variant can do it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.lift import lift
from attention_variants.variants import VARIANTS, attention_tiled, get_variant

ONE_SEQUENCE, BATCHED, MASKED, HEADS = (1, 2), (3, 4, "tiled"), (4, "tiled"), (5, 6, 7)
FUNCTIONS: dict[Any, Callable] = {**VARIANTS, "tiled": attention_tiled}


def x(*shape, dtype=torch.float32, device=None):
    return torch.zeros(shape, dtype=dtype, device=device)


def true(*shape, device=None):
    return torch.ones(shape, dtype=torch.bool, device=device)


def batch_of(which):
    """The leading dimensions of an ordinary input: variants 1 and 2 take one sequence."""
    return () if which in ONE_SEQUENCE else (2,)


def inputs(which, **changed):
    """Ordinary q, k and v, but for what is changed."""
    batch = batch_of(which)
    ordinary = {"q": x(*batch, 5, 8), "k": x(*batch, 7, 8), "v": x(*batch, 7, 8)}
    return {**ordinary, **changed}


@contextmanager
def refuses(error, *fragments):
    """Expect exactly this error, on one line, with every fragment in its message."""
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    assert caught.type is error
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def name_of(which):
    return FUNCTIONS[which].__name__


ALL = pytest.mark.parametrize("which", FUNCTIONS)


def test_the_ordinary_inputs_are_accepted():
    """What each test below changes one thing of."""
    for which, function in FUNCTIONS.items():
        context, _ = function(**inputs(which))
        assert context.shape == (*batch_of(which), 5, 8)
        if which in MASKED + HEADS:
            function(**inputs(which), mask=true(5, 7))
    for which in HEADS:
        FUNCTIONS[which](**inputs(which), mask=true(2, 2, 5, 7), num_heads=2)


# ------------------------------------------------------------------------------------------- rank, width, length


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@pytest.mark.parametrize("which", ONE_SEQUENCE)
def test_a_batch_for_one_sequence(which, argument):
    letters = {"q": "(T_q, d_k)", "k": "(T_k, d_k)", "v": "(T_k, d_v)"}
    wrong = {argument: x(2, 5, 8)}
    expected = f"one sequence, {argument} of shape {letters[argument]}; got (2, 5, 8)"
    with refuses(ValueError, name_of(which), expected, "Batches arrive in variant 3, attention_batched."):
        FUNCTIONS[which](**inputs(which, **wrong))


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@ALL
def test_one_dimension_is_too_few(which, argument):
    with refuses(ValueError, name_of(which), f"{argument} of shape (", "; got (8,)") as caught:
        FUNCTIONS[which](**inputs(which, **{argument: x(8)}))
    assert "variant 3" not in str(caught.value)  # no later variant takes it either


@pytest.mark.parametrize("which", HEADS)
def test_the_expected_shape_is_that_of_the_variant(which):
    with refuses(ValueError, "q of shape (..., T_q, d_model); got (8,)"):
        FUNCTIONS[which](**inputs(which, q=x(8)))


@ALL
def test_queries_and_keys_of_different_width(which):
    width = "d_model" if which in HEADS else "d_k"
    wrong = {"q": x(*batch_of(which), 5, 6)}
    with refuses(ValueError, name_of(which), "q", "k", f"width {width}", str((*batch_of(which), 5, 6))):
        FUNCTIONS[which](**inputs(which, **wrong))


@pytest.mark.parametrize("which", HEADS)
def test_values_of_another_width_work_in_earlier_variants(which):
    with refuses(ValueError, "q, k and v must share the width d_model", "v (2, 7, 6)", "variants 1, 2, 3, 4"):
        FUNCTIONS[which](**inputs(which, v=x(2, 7, 6)))
    assert VARIANTS[4](**inputs(4, v=x(2, 7, 6)))[0].shape == (2, 5, 6)


@ALL
def test_no_width(which):
    batch = batch_of(which)
    wrong = {"q": x(*batch, 5, 0), "k": x(*batch, 7, 0), "v": x(*batch, 7, 0)}
    with refuses(ValueError, name_of(which), "q and k need a width of at least 1", str((*batch, 5, 0))):
        FUNCTIONS[which](**inputs(which, **wrong))


@ALL
def test_keys_and_values_of_different_length(which):
    batch = batch_of(which)
    expected = "k and v must have the same length T_k"
    with refuses(ValueError, name_of(which), expected, f"k {(*batch, 7, 8)}", f"v {(*batch, 6, 8)}"):
        FUNCTIONS[which](**inputs(which, v=x(*batch, 6, 8)))


@pytest.mark.parametrize("batch", [(3,), (1,), (2, 2), ()], ids=str)
@pytest.mark.parametrize("which", BATCHED + HEADS)
def test_different_leading_dimensions(which, batch):
    """(1,) would broadcast: silently, which hides mistakes."""
    expected = "q, k and v must share their leading (batch) dimensions"
    with refuses(ValueError, name_of(which), expected, "q (2, 5, 8)", f"k {(*batch, 7, 8)}"):
        FUNCTIONS[which](**inputs(which, k=x(*batch, 7, 8)))


# ------------------------------------------------------------------------------------------ types, dtypes, devices


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@ALL
def test_something_that_is_no_tensor(which, argument):
    with refuses(TypeError, name_of(which), f"{argument} must be a torch.Tensor; got list"):
        FUNCTIONS[which](**inputs(which, **{argument: [[1.0, 2.0]]}))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("argument", ["q", "k", "v"])
@ALL
def test_tensors_that_are_not_floating_point(which, argument, dtype):
    wrong = {argument: inputs(which)[argument].to(dtype)}
    with refuses(
        TypeError, name_of(which), f"{argument} must be floating point", f"got {dtype}", f"{argument}.float()"
    ):
        FUNCTIONS[which](**inputs(which, **wrong))


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@ALL
def test_mixed_dtypes(which, argument):
    wrong = {argument: inputs(which)[argument].double()}
    with refuses(TypeError, name_of(which), "q, k and v must share one dtype", f"{argument} torch.float64"):
        FUNCTIONS[which](**inputs(which, **wrong))


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@ALL
def test_mixed_devices(which, argument):
    wrong = {argument: inputs(which)[argument].to("meta")}
    with refuses(ValueError, name_of(which), "q, k and v must be on one device", f"{argument} on meta", "on cpu"):
        FUNCTIONS[which](**inputs(which, **wrong))


# --------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("which", MASKED + HEADS)
def test_a_mask_that_is_no_tensor(which):
    with refuses(TypeError, name_of(which), "mask must be a boolean torch.Tensor, True = may attend; got list"):
        FUNCTIONS[which](**inputs(which), mask=[[True]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("which", MASKED + HEADS)
def test_a_float_mask_hears_how_to_convert(which, dtype):
    fragments = (
        "mask must be boolean, True = may attend",
        f"got {dtype}",
        "added to the scores",
        "mask > -1",
        "mask == 1",
    )
    with refuses(TypeError, name_of(which), *fragments):
        FUNCTIONS[which](**inputs(which), mask=x(5, 7, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=str)
@pytest.mark.parametrize("which", MASKED + HEADS)
def test_an_integer_mask_hears_how_to_convert(which, dtype):
    fragments = (
        "mask must be boolean, True = may attend",
        f"got {dtype}",
        "mask.bool()",
        "mask == 0",
        "MultiHeadAttention",
    )
    with refuses(TypeError, name_of(which), *fragments):
        FUNCTIONS[which](**inputs(which), mask=x(5, 7, dtype=dtype))


@pytest.mark.parametrize("which", MASKED + HEADS)
def test_a_mask_on_another_device(which):
    with refuses(ValueError, name_of(which), "mask must be on the device of the queries, cpu; got meta"):
        FUNCTIONS[which](**inputs(which), mask=true(5, 7, device="meta"))


@pytest.mark.parametrize("shape", [(7, 5), (6,), (4, 7), (3, 5, 7), (2, 5, 7, 1)], ids=str)
@pytest.mark.parametrize("which", MASKED)
def test_a_mask_of_the_wrong_shape(which, shape):
    fragments = ("mask must broadcast to the shape of the weights", "(..., T_q, T_k) = (2, 5, 7)", f"got {shape}")
    with refuses(ValueError, name_of(which), *fragments):
        FUNCTIONS[which](**inputs(which), mask=true(*shape))


@pytest.mark.parametrize("shape", [(7, 5), (6,), (3, 1, 5, 7), (2, 3, 5, 7), (1, 2, 2, 5, 7)], ids=str)
@pytest.mark.parametrize("which", HEADS)
def test_a_mask_of_the_wrong_shape_beside_heads(which, shape):
    fragments = ("mask must broadcast to", "(..., num_heads, T_q, T_k) = (2, 2, 5, 7)", f"got {shape}")
    with refuses(ValueError, name_of(which), *fragments):
        FUNCTIONS[which](**inputs(which), mask=true(*shape), num_heads=2)


@pytest.mark.parametrize("which", MASKED)
def test_a_mask_that_would_enlarge_the_weights(which):
    """It broadcasts with them, but not to their shape."""
    with refuses(ValueError, "mask must broadcast to the shape of the weights", "= (5, 7); got (2, 5, 7)"):
        FUNCTIONS[which](x(5, 8), x(7, 8), x(7, 8), true(2, 5, 7))


def test_a_mask_with_heads_arrives_in_variant_5():
    with refuses(ValueError, "got (2, 1, 5, 7)", "Heads arrive in variant 5, multihead_attention_loop."):
        VARIANTS[4](**inputs(4), mask=true(2, 1, 5, 7))
    VARIANTS[5](**inputs(5), mask=true(2, 1, 5, 7))


def test_a_padding_mask_without_its_axes():
    with refuses(ValueError, "got (2, 7)", "A padding mask of shape (B, T_k) needs a query axis: mask[:, None, :]"):
        VARIANTS[4](**inputs(4), mask=true(2, 7))
    VARIANTS[4](**inputs(4), mask=true(2, 7)[:, None, :])
    for which in HEADS:
        with refuses(ValueError, "got (2, 7)", "needs a head and a query axis: mask[:, None, None, :]"):
            VARIANTS[which](**inputs(which), mask=true(2, 7))
        VARIANTS[which](**inputs(which), mask=true(2, 7)[:, None, None, :])


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("which", HEADS)
def test_a_mask_with_batch_or_head_axis_is_ambiguous(which, num_heads):
    """(2, 5, 7): one mask per item, or, with two heads, one per head?"""
    fragments = ("(2, 5, 7) is ambiguous", f"(2, {num_heads}, 5, 7)", "batches or heads")
    advice = ("mask.unsqueeze(-3) for one mask per batch item", "mask.unsqueeze(0) for one mask per head")
    with refuses(ValueError, name_of(which), *fragments, *advice):
        VARIANTS[which](**inputs(which), mask=true(2, 5, 7), num_heads=num_heads)
    VARIANTS[which](**inputs(which), mask=true(2, 5, 7).unsqueeze(-3), num_heads=num_heads)
    if num_heads == 2:
        VARIANTS[which](**inputs(which), mask=true(2, 5, 7).unsqueeze(0), num_heads=num_heads)
    VARIANTS[which](**inputs(which), mask=true(1, 5, 7), num_heads=num_heads)  # nothing ambiguous about one mask


@pytest.mark.parametrize("which", HEADS)
def test_a_mask_per_head_of_one_sequence_is_not_ambiguous(which):
    _, weights = VARIANTS[which](x(5, 8), x(7, 8), x(7, 8), true(2, 5, 7), num_heads=2)
    assert weights.shape == (2, 5, 7)


# --------------------------------------------------------------------------------- heads, dropout, blocks, variants


@pytest.mark.parametrize("num_heads", [3, 16])
@pytest.mark.parametrize("which", HEADS)
def test_d_model_not_divisible(which, num_heads):
    fragments = (
        "d_model must be divisible by num_heads",
        f"d_model = 8 and num_heads = {num_heads}",
        "1, 2, 4, 8 heads",
    )
    with refuses(ValueError, name_of(which), *fragments):
        VARIANTS[which](**inputs(which), num_heads=num_heads)


@pytest.mark.parametrize("num_heads", [0, -1, 2.0, True, "2"], ids=repr)
@pytest.mark.parametrize("which", HEADS)
def test_num_heads_that_is_no_number_of_heads(which, num_heads):
    expected = f"num_heads must be a whole number of at least 1; got {num_heads!r}"
    with refuses(ValueError, name_of(which), expected):
        VARIANTS[which](**inputs(which), num_heads=num_heads)


@pytest.mark.parametrize("dropout_p", [-0.1, 1.1, float("nan")])
def test_dropout_p_that_is_no_probability(dropout_p):
    expected = f"dropout_p must be a probability, 0 to 1; got {dropout_p}"
    with refuses(ValueError, "multihead_attention_fused", expected):
        VARIANTS[7](**inputs(7), dropout_p=dropout_p)
    for variant in range(1, 7):
        with refuses(ValueError, f"variant {variant}", expected):
            lift(variant)(**inputs(7), dropout_p=dropout_p)


def test_block_size_of_nothing():
    with refuses(ValueError, "attention_tiled: block_size must be at least 1; got 0"):
        attention_tiled(**inputs("tiled"), block_size=0)


@pytest.mark.parametrize("number", [0, 8, -1, "3", None, True, 2.5], ids=repr)
@pytest.mark.parametrize(
    "use", [get_variant, lift, lambda variant: MultiHeadAttention(8, 2, variant=variant)], ids=["get", "lift", "layer"]
)
def test_a_variant_that_does_not_exist(use, number):
    fragments = ("variant must be one of 1 to 7", "1 attention_loops", "7 multihead_attention_fused", f"got {number!r}")
    with refuses(ValueError, *fragments):
        use(number)


def test_get_variant():
    for variant, function in VARIANTS.items():
        assert get_variant(variant) is function
    assert list(VARIANTS) == [1, 2, 3, 4, 5, 6, 7]


# -------------------------------------------------------------------------------------------------------- lifted


@pytest.mark.parametrize("variant", range(1, 7))
def test_lifted_variants_refuse_what_variant_7_refuses(variant):
    lifted = lift(variant)
    caller = f"variant {variant}, lifted"
    with refuses(ValueError, caller, "k and v must have the same length"):
        lifted(**inputs(7, v=x(2, 6, 8)))
    with refuses(ValueError, caller, "d_model must be divisible by num_heads"):
        lifted(**inputs(7), num_heads=3)
    with refuses(ValueError, caller, "is ambiguous"):
        lifted(**inputs(7), mask=true(2, 5, 7))
    with refuses(TypeError, caller, "mask must be boolean"):
        lifted(**inputs(7), mask=x(5, 7))
    with refuses(ValueError, caller, "must share their leading (batch) dimensions"):
        lifted(**inputs(7, k=x(3, 7, 8)))


# ----------------------------------------------------------------------------------------------------- the layer


@pytest.fixture(params=range(1, 8))
def layer(request):
    return MultiHeadAttention(8, 2, variant=request.param)


@pytest.mark.parametrize("argument", ["query", "key", "value"])
def test_layer_rank_and_width(layer, argument):
    ordinary = {"query": x(2, 5, 8), "key": x(2, 7, 8), "value": x(2, 7, 8)}
    for wrong in ((8,), (2, 5, 6)):
        fragments = (f"{argument} must have shape (..., T, 8), as wide as the layer", f"got {wrong}")
        with refuses(ValueError, "MultiHeadAttention", *fragments):
            layer(**{**ordinary, argument: x(*wrong)})


@pytest.mark.parametrize("argument", ["query", "key", "value"])
def test_layer_types_dtypes_and_devices(layer, argument):
    ordinary = {"query": x(2, 5, 8), "key": x(2, 7, 8), "value": x(2, 7, 8)}
    wrong = ordinary[argument]
    with refuses(TypeError, f"MultiHeadAttention: {argument} must be a torch.Tensor; got list"):
        layer(**{**ordinary, argument: wrong.tolist()})
    with refuses(TypeError, f"MultiHeadAttention: {argument} must be floating point; got torch.int64", "embedding"):
        layer(**{**ordinary, argument: wrong.long()})
    with refuses(TypeError, f"{argument} must have the dtype of the layer, torch.float32; got torch.float64"):
        layer(**{**ordinary, argument: wrong.double()})
    with refuses(ValueError, f"MultiHeadAttention: {argument} must be on the device of the layer, cpu; got meta"):
        layer(**{**ordinary, argument: wrong.to("meta")})


def test_layer_lengths_and_batches(layer):
    with refuses(ValueError, "MultiHeadAttention: key and value must have the same length T_k", "value (2, 6, 8)"):
        layer(x(2, 5, 8), x(2, 7, 8), x(2, 6, 8))
    with refuses(ValueError, "query, key and value must share their leading (batch) dimensions", "key (3, 7, 8)"):
        layer(x(2, 5, 8), x(3, 7, 8))
    with refuses(ValueError, "MultiHeadAttention: value came without key"):
        layer(x(2, 5, 8), value=x(2, 7, 8))


def test_layer_masks(layer):
    query = x(2, 5, 8)
    with refuses(TypeError, "MultiHeadAttention: mask must be boolean", "got torch.float32", "mask > -1"):
        layer(query, mask=x(5, 5))
    with refuses(TypeError, "MultiHeadAttention: mask must be a boolean torch.Tensor", "got list"):
        layer(query, mask=[[1, 0]])
    with refuses(ValueError, "MultiHeadAttention: a mask of shape (2, 5, 5) is ambiguous", "mask.unsqueeze(-3)"):
        layer(query, mask=true(2, 5, 5))
    with refuses(ValueError, "MultiHeadAttention: mask must broadcast", "got (5, 4)"):
        layer(query, mask=true(5, 4))
    with refuses(ValueError, "MultiHeadAttention: mask must broadcast", "got (2, 5)", "mask[:, None, None, :]"):
        layer(query, mask=true(2, 5))
    with refuses(ValueError, "MultiHeadAttention: mask must be on the device of the queries, cpu; got meta"):
        layer(query, mask=true(5, 5, device="meta"))


@pytest.mark.parametrize("wrong", [2, -1, -10000])
def test_layer_takes_integer_masks_of_0_and_1_only(layer, wrong):
    mask = torch.ones(5, 5, dtype=torch.int64)
    layer(x(2, 5, 8), mask=mask)
    mask[2, 2] = wrong
    expected = f"got values from {min(wrong, 1)} to {max(wrong, 1)}"
    with refuses(ValueError, "MultiHeadAttention: an integer mask must hold only 1 (may attend) and 0", expected):
        layer(x(2, 5, 8), mask=mask)


@pytest.mark.parametrize(("d_model", "num_heads"), [(8, 3), (8, 0), (0, 1), (4, 8)])
def test_layer_d_model_not_divisible(d_model, num_heads):
    came = f"d_model = {d_model} and num_heads = {num_heads}"
    with refuses(ValueError, "MultiHeadAttention: d_model must be divisible by num_heads", came):
        MultiHeadAttention(d_model, num_heads)


@pytest.mark.parametrize("dropout", [-0.1, 1.1])
def test_layer_dropout(dropout):
    with refuses(ValueError, f"MultiHeadAttention: dropout must be a probability, 0 to 1; got {dropout}"):
        MultiHeadAttention(8, 2, dropout=dropout)


def test_layer_variant_is_checked_when_it_is_swapped(layer):
    before = layer.variant
    with refuses(ValueError, "variant must be one of 1 to 7", "got 8"):
        layer.variant = 8
    assert layer.variant == before


def test_layer_from_torch_takes_no_other_module():
    with refuses(TypeError, "from_torch takes a torch.nn.MultiheadAttention; got Linear"):
        MultiHeadAttention.from_torch(torch.nn.Linear(8, 8))  # type: ignore[arg-type]
    for option in ("add_bias_kv", "add_zero_attn"):
        with refuses(ValueError, "from_torch", option):
            MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(8, 2, **{option: True}))
