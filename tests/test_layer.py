"""One layer for all seven: one state dict, weights from PyTorch's layer, dropout in training only."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from reference import D_MODEL, T_K, T_Q, B, H, make_problem, reference, relative_error
from torch import nn

from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.masks import causal_mask, combine_masks, padding_mask
from attention_variants.variants import VARIANTS, describe_variant, registry

pytestmark = pytest.mark.numeric

SEVEN = pytest.mark.parametrize("variant", range(1, 8))
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


def make_layer(variant=7, *, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    layer = MultiHeadAttention(D_MODEL, H, variant=variant, **options).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)  # biases that are not small
    return layer


def make_inputs(*, seed=1, dtype=torch.float64, grad=True, width=(D_MODEL, D_MODEL, D_MODEL)):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((B, T_Q, width[0]), (B, T_K, width[1]), (B, T_K, width[2]))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_(grad) for shape in shapes]


def results(layer, inputs, **options):
    """Output, weights and every gradient of a functional of both, as a dict of tensors."""
    output, weights = layer(*inputs, **options)
    functional = (output.sin().sum() + weights.square().sum()) if weights is not None else output.sin().sum()
    leaves = {**dict(layer.named_parameters()), **{f"input {i}": x for i, x in enumerate(inputs)}}
    gradients = torch.autograd.grad(functional, list(leaves.values()))
    return {"output": output.detach(), "weights": weights, **dict(zip(leaves, gradients, strict=True))}


def assert_same(actual, expected, tolerance=1e-12):
    """Everything agrees; of gradients that are 0 by the mathematics, so does their being 0."""
    assert actual.keys() == expected.keys()
    largest_gradient = max(x.abs().max().item() for name, x in expected.items() if name not in ("output", "weights"))
    for name, x in expected.items():
        scale = x.abs().max().item() if name in ("output", "weights") else largest_gradient
        assert (actual[name] - x).abs().max().item() <= tolerance * scale, name


# --------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("options", [{}, {"mask": "causal"}, {"is_causal": True}, {"mask": "padding"}], ids=str)
@BIAS
@SEVEN
def test_the_layer_is_four_projections_around_attention(variant, bias, options):
    """Against the reference: the gradients of the projections, by the chain rule."""
    layer, inputs = make_layer(variant, bias=bias), make_inputs()
    masks = {"causal": causal_mask(T_Q, T_K), "padding": padding_mask([T_K, 0], head_axis=True), None: None}
    mask = masks[options.get("mask")]
    call = {"mask": mask, "is_causal": options.get("is_causal", False)}
    output, weights = layer(*inputs, **call)

    q, k, v = (f(x).detach() for f, x in zip((layer.w_q, layer.w_k, layer.w_v), inputs, strict=True))
    allowed = combine_masks(mask, causal_mask(T_Q, T_K) if call["is_causal"] else None)
    allowed = torch.ones(B, H, T_Q, T_K, dtype=torch.bool) & (True if allowed is None else allowed)
    cotangents = make_problem(mask=mask).cotangents
    wanted = reference(*(x.numpy() for x in (q, k, v, allowed, *cotangents)))
    context = torch.from_numpy(wanted["context"])
    assert relative_error(output, layer.w_o(context).detach()) <= 1e-12
    assert relative_error(weights, wanted["weights"]) <= 1e-12

    # A functional whose cotangent for the context is the one that the reference took.
    to_output = torch.linalg.solve(layer.w_o.weight.detach().T, cotangents[0].mT).mT
    ((output * to_output).sum() + (weights * cotangents[1]).sum()).backward()
    scale = max(abs(g).max() for g in wanted["gradients"])
    for linear, x, gradient in zip((layer.w_q, layer.w_k, layer.w_v), inputs, wanted["gradients"], strict=True):
        gradient = torch.from_numpy(gradient)
        expected_weight = gradient.flatten(0, 1).T @ x.detach().flatten(0, 1)
        assert (linear.weight.grad - expected_weight).abs().max() <= 1e-10 * scale
        assert (x.grad - gradient @ linear.weight.detach()).abs().max() <= 1e-10 * scale
        if bias:
            assert (linear.bias.grad - gradient.sum(dim=(0, 1))).abs().max() <= 1e-10 * scale
    expected_weight = to_output.flatten(0, 1).T @ context.flatten(0, 1)
    assert relative_error(layer.w_o.weight.grad, expected_weight) <= 1e-10


@pytest.mark.parametrize("mask_name", ["none", "per head", "empty rows", "integers"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["", "is_causal"])
def test_the_seven_are_equal_through_the_layer(is_causal, mask_name):
    random = torch.rand(B, H, T_Q, T_K, generator=torch.Generator().manual_seed(2)) < 0.6
    random[..., 0] = True
    mask = {
        "none": None,
        "per head": random,
        "empty rows": random & padding_mask([T_K, 0], head_axis=True),
        "integers": random.long(),
    }[mask_name]
    layer, inputs = make_layer(), make_inputs()
    expected = results(layer, inputs, mask=mask, is_causal=is_causal)
    assert {"w_q.weight", "w_k.weight", "w_v.weight", "w_o.weight", "w_q.bias"} <= expected.keys()
    for variant in range(1, 7):
        layer.variant = variant
        assert_same(results(layer, inputs, mask=mask, is_causal=is_causal), expected)


@SEVEN
def test_self_attention_and_values_default_to_what_came(variant):
    layer, (query, key, _) = make_layer(variant), make_inputs()
    for short, full in (((query,), (query, query, query)), ((query, key), (query, key, key))):
        assert torch.equal(layer(*short)[0], layer(*full)[0])
        assert torch.equal(layer(*short)[1], layer(*full)[1])


@SEVEN
def test_unbatched_and_many_batches(variant):
    layer, inputs = make_layer(variant), make_inputs()
    output, weights = layer(*inputs)
    one, one_weights = layer(*(x[1] for x in inputs))
    assert relative_error(one, output[1].detach()) <= 1e-12
    assert relative_error(one_weights, weights[1].detach()) <= 1e-12
    many, many_weights = layer(*(x[:, None].expand(B, 2, -1, -1) for x in inputs))
    assert relative_error(many, output[:, None].expand(B, 2, -1, -1).detach()) <= 1e-12
    assert many_weights.shape == (B, 2, H, T_Q, T_K)


@SEVEN
def test_integer_masks_mean_the_same_as_boolean_ones(variant):
    layer, inputs = make_layer(variant), make_inputs()
    mask = torch.rand(B, 1, T_Q, T_K, generator=torch.Generator().manual_seed(3)) < 0.6
    expected = layer(*inputs, mask=mask)
    for dtype in (torch.int64, torch.int32, torch.uint8):
        given = mask.to(dtype)
        for x, y in zip(layer(*inputs, mask=given), expected, strict=True):
            assert torch.equal(x, y)
        assert torch.equal(given, mask.to(dtype))
    attention_mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0, 0]])  # as a tokenizer gives it
    _, weights = layer(*inputs, mask=attention_mask[:, None, None, :])
    assert torch.equal(weights > 0, attention_mask.bool()[:, None, None].expand(B, H, T_Q, T_K))


@SEVEN
def test_need_weights(variant):
    layer, inputs = make_layer(variant), make_inputs()
    output, weights = layer(*inputs, need_weights=False)
    assert weights is None
    assert torch.equal(output, layer(*inputs)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@SEVEN
def test_dtypes(variant, dtype):
    layer, inputs = make_layer(variant, dtype=dtype), make_inputs(dtype=dtype)
    output, weights = layer(*inputs)
    exact = copy.deepcopy(layer).double()
    exact.variant = 6
    expected, expected_weights = exact(*(x.detach().double() for x in inputs))
    assert output.dtype == weights.dtype == dtype
    tolerance = 32 * torch.finfo(dtype).eps
    assert relative_error(output, expected.detach()) <= tolerance
    assert relative_error(weights, expected_weights.detach()) <= tolerance


@pytest.mark.parametrize("variant", [6, 7])
def test_autocast(variant):
    layer, inputs = make_layer(variant, dtype=torch.float32), make_inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, weights = layer(*inputs)
    assert output.dtype == torch.bfloat16
    assert relative_error(output, layer(*inputs)[0].detach()) <= 0.1
    assert relative_error(weights, layer(*inputs)[1].detach()) <= 0.1


# ----------------------------------------------------------------------------------------- one state dict, seven


@BIAS
def test_one_state_dict_serves_all_seven(bias):
    inputs = make_inputs()
    for source, target in itertools.product(range(1, 8), repeat=2):
        first, second = make_layer(source, bias=bias), make_layer(target, bias=bias, seed=5)
        outcome = second.load_state_dict(first.state_dict(), strict=True)
        assert not outcome.missing_keys
        assert not outcome.unexpected_keys
        assert relative_error(second(*inputs)[0], first(*inputs)[0].detach()) <= 1e-12
    names = [f"w_{x}.{p}" for x in "qkvo" for p in (["weight", "bias"] if bias else ["weight"])]
    assert list(first.state_dict()) == names


def test_the_state_dict_knows_nothing_of_the_variant():
    layer = make_layer(3)
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    parameters = [id(x) for x in layer.parameters()]
    layer.variant = 5
    assert layer.variant == 5
    assert [id(x) for x in layer.parameters()] == parameters
    assert all(torch.equal(x, before[name]) for name, x in layer.state_dict().items())
    assert "variant=5" in repr(layer)
    assert copy.deepcopy(layer).variant == 5
    with pytest.raises(RuntimeError, match="w_q.bias"):
        layer.load_state_dict(make_layer(bias=False).state_dict(), strict=True)


@SEVEN
def test_the_layer_calls_its_variant(variant, monkeypatch):
    """Swapping the variant swaps the function: each other one may be broken."""

    def broken(*args, **kwargs):
        raise RuntimeError("another variant was called")

    layer, inputs = make_layer(variant), make_inputs()
    for other in set(VARIANTS) - {variant}:
        monkeypatch.setitem(registry._REGISTERED, other, replace(describe_variant(other), function=broken))
    layer(*inputs)
    layer.variant = variant % 7 + 1
    with pytest.raises(RuntimeError, match="another variant"):
        layer(*inputs)


# ------------------------------------------------------------------------------------- from nn.MultiheadAttention


def torch_layer(*, bias, packed, batch_first=True, dropout=0.0):
    torch.manual_seed(7)
    widths = {} if packed else {"kdim": 6, "vdim": 4}
    module = nn.MultiheadAttention(
        D_MODEL, H, bias=bias, batch_first=batch_first, dropout=dropout, dtype=torch.float64, **widths
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


WIDTHS = {True: (D_MODEL, D_MODEL, D_MODEL), False: (D_MODEL, 6, 4)}
PACKED = pytest.mark.parametrize("packed", [True, False], ids=["packed", "kdim and vdim"])


@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@PACKED
@BIAS
@SEVEN
def test_from_torch(variant, bias, packed, training, with_mask):
    module = torch_layer(bias=bias, packed=packed).train(training)
    layer = MultiHeadAttention.from_torch(module, variant=variant)
    assert layer.variant == variant
    assert layer.training == training
    assert (layer.w_q.bias is None) == (not bias)
    inputs = make_inputs(width=WIDTHS[packed])
    mask = blocked = None
    if with_mask:
        mask = torch.rand(B, H, T_Q, T_K, generator=torch.Generator().manual_seed(4)) < 0.6
        mask[..., 0] = True  # a query without keys would be NaN there
        blocked = ~mask.flatten(0, 1)

    output, weights = layer(*inputs, mask=mask)
    theirs, their_weights = module(*inputs, attn_mask=blocked, average_attn_weights=False)
    assert relative_error(output, theirs.detach()) <= 1e-12
    assert relative_error(weights, their_weights.detach()) <= 1e-12

    ours = torch.autograd.grad(output.sin().sum(), [*inputs, *layer.parameters()])
    parameters = dict(zip((name for name, _ in layer.named_parameters()), ours[3:], strict=True))
    names = [name for name, _ in module.named_parameters()]
    expected = torch.autograd.grad(theirs.sin().sum(), [*inputs, *module.parameters()])
    expected_parameters = dict(zip(names, expected[3:], strict=True))
    scale = max(x.abs().max() for x in expected)
    for x, y in zip(ours[:3], expected[:3], strict=True):
        assert (x - y).abs().max() <= 1e-12 * scale
    for i, name in enumerate("qkv"):
        if packed:
            their_gradient = expected_parameters["in_proj_weight"].chunk(3)[i]
        else:
            their_gradient = expected_parameters[f"{name}_proj_weight"]
        assert (parameters[f"w_{name}.weight"] - their_gradient).abs().max() <= 1e-12 * scale
        if bias:
            their_gradient = expected_parameters["in_proj_bias"].chunk(3)[i]
            assert (parameters[f"w_{name}.bias"] - their_gradient).abs().max() <= 1e-12 * scale
    assert (parameters["w_o.weight"] - expected_parameters["out_proj.weight"]).abs().max() <= 1e-12 * scale


@PACKED
@BIAS
def test_from_torch_copies(bias, packed):
    module = torch_layer(bias=bias, packed=packed)
    layer = MultiHeadAttention.from_torch(module)
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all(torch.equal(x, before[name]) for name, x in layer.state_dict().items())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in layer.parameters())
    assert layer.w_q.weight.dtype == torch.float64


def test_from_torch_where_time_comes_first():
    module = torch_layer(bias=True, packed=True, batch_first=False)
    layer = MultiHeadAttention.from_torch(module)
    inputs = make_inputs()
    theirs, their_weights = module(*(x.transpose(0, 1) for x in inputs), average_attn_weights=False)
    output, weights = layer(*inputs)
    assert relative_error(output, theirs.transpose(0, 1).detach()) <= 1e-12
    assert relative_error(weights, their_weights.detach()) <= 1e-12


def test_from_torch_takes_the_dropout_along():
    layer = MultiHeadAttention.from_torch(torch_layer(bias=True, packed=True, dropout=0.25))
    assert layer.dropout == 0.25
    assert layer.num_heads == H
    assert layer.d_model == D_MODEL


# ------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@SEVEN
def test_dropout_acts_in_training_only(variant, need_weights):
    layer, inputs = make_layer(variant, dropout=0.5), make_inputs()
    plain = make_layer(variant)
    expected, expected_weights = plain(*inputs)

    layer.eval()
    output, weights = layer(*inputs, need_weights=need_weights)
    assert torch.equal(output, expected)

    layer.train()
    torch.manual_seed(0)
    first, weights = layer(*inputs, need_weights=need_weights)
    second, _ = layer(*inputs, need_weights=need_weights)
    assert not torch.equal(first, expected)
    assert not torch.equal(first, second)
    if need_weights:
        assert torch.equal(weights, expected_weights)  # as they were before dropout
    torch.manual_seed(0)
    assert torch.equal(layer(*inputs, need_weights=need_weights)[0], first)


@SEVEN
def test_without_dropout_training_changes_nothing(variant):
    layer, inputs = make_layer(variant), make_inputs()
    assert torch.equal(layer.train()(*inputs)[0], layer.eval()(*inputs)[0])


# ---------------------------------------------------------------------------------------------------- being a module


def test_it_learns():
    """A few steps of gradient descent lower a loss, with any variant the same way."""
    losses: dict[int, list[float]] = {}
    for variant in (4, 6, 7):
        layer, inputs = make_layer(variant), make_inputs(grad=False)
        losses[variant] = []
        for _ in range(5):
            loss = (layer(*inputs)[0] - 1).square().mean()
            losses[variant].append(loss.item())
            gradients = torch.autograd.grad(loss, list(layer.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                    parameter -= 0.05 * gradient
        assert losses[variant][-1] < losses[variant][0]
        assert losses[variant] == pytest.approx(losses[4], rel=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters(bias):
    layer = MultiHeadAttention(8, 2, bias=bias)
    count = sum(parameter.numel() for parameter in layer.parameters())
    assert count == 4 * (8 * 8 + 8 * bias)
    assert layer.w_q.weight.dtype == torch.float32
