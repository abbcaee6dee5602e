"""The variants and the layer where sizes are left open or numbers cannot be looked at.

torch.compile at several lengths, torch.export with open sizes, fake and meta tensors, torch.func.vmap: one graph, no
error, the same numbers. Variant 1 looks at numbers by its nature (Python's max), and so do loops over masked queries.
"""

from __future__ import annotations

import functools

import pytest
import torch
from reference import D_MODEL, T_K, T_Q, B, H, relative_error, seeded
from torch._subclasses.fake_tensor import FakeTensorMode

from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.masks import causal_mask
from attention_variants.model.transformer import Transformer
from attention_variants.variants import get_variant, takes, variants_that_take

pytestmark = pytest.mark.slow

LENGTHS = [(5, 7), (6, 9), (20, 3), (8, 40)]
WITHOUT_LOOKS = [variant for variant in variants_that_take() if variant != 1]
WITH_MASKS = [(variant, "mask") for variant in variants_that_take("mask")]
WITH_MASKS += [(variant, "is_causal") for variant in variants_that_take("is_causal")]
WITHOUT_MASKS = [(variant, "none") for variant in WITHOUT_LOOKS]
EACH = pytest.mark.parametrize(("variant", "mask_name"), WITHOUT_MASKS + WITH_MASKS)
#: Of each variant what is hardest to compile.
HARDEST = WITH_MASKS + [case for case in WITHOUT_MASKS if (case[0], "mask") not in WITH_MASKS]


def inputs_of(variant: int, mask_name: str, T_q: int = T_Q, T_k: int = T_K, *, batch: int = B, seed: int = 0) -> tuple:
    """Q, k, v and, where the variant takes them, a mask in the shape of the weights."""
    leading = (batch,) if takes(variant, "batch") else ()
    generator = seeded(variant, mask_name, T_q, T_k, seed)
    q, k, v = (torch.randn(*leading, T, D_MODEL, generator=generator) for T in (T_q, T_k, T_k))
    if mask_name != "mask":
        return q, k, v
    heads = (H,) if takes(variant, "heads") else ()
    return q, k, v, torch.rand(*leading, *heads, T_q, T_k, generator=generator) < 0.5  # some queries have no key


def function_of(variant: int, mask_name: str):
    """The variant with whatever else it is told."""
    options = {"num_heads": H} if takes(variant, "heads") else {}
    if mask_name == "is_causal":
        options |= {"is_causal": True, "need_weights": False}
    return functools.partial(get_variant(variant), **options)


def assert_same(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        assert (x is None) == (y is None)
        assert x is None or relative_error(x, y.detach()) <= 1e-6


class Graphs:
    """A backend that counts what it is given, and runs it as it is."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, example_inputs):
        self.count += 1
        return graph.forward


@pytest.mark.parametrize("dynamic", [None, True], ids=["", "dynamic"])
@pytest.mark.parametrize(("variant", "mask_name"), HARDEST)
def test_lengths_vary_under_compilation(variant, mask_name, dynamic):
    torch.compiler.reset()
    function, graphs = function_of(variant, mask_name), Graphs()
    compiled = torch.compile(function, fullgraph=True, backend=graphs, dynamic=dynamic)
    for T_q, T_k in LENGTHS:
        inputs = inputs_of(variant, mask_name, T_q, T_k)
        assert_same(compiled(*inputs), function(*inputs))
    assert graphs.count == (1 if dynamic else 2)  # the first length, then all of them


@EACH
def test_sizes_may_be_left_open_in_an_export(variant, mask_name):
    class Module(torch.nn.Module):
        def forward(self, q, k, v, mask=None):
            return function_of(variant, mask_name)(q, k, v, *(() if mask is None else (mask,)))

    batch, T_q, T_k = (torch.export.Dim(name, min=1, max=64) for name in ("batch", "T_q", "T_k"))
    leading = (batch,) if takes(variant, "batch") else ()
    inputs = inputs_of(variant, mask_name)
    sizes = [(*leading, T, None) for T in (T_q, T_k, T_k)]
    if mask_name == "mask":
        sizes.append((*leading, None, T_q, T_k) if takes(variant, "heads") else (*leading, T_q, T_k))
    program = torch.export.export(Module(), inputs, dynamic_shapes=tuple(sizes))
    for T_q, T_k in LENGTHS:
        inputs = inputs_of(variant, mask_name, T_q, T_k, batch=3)
        assert_same(program.module()(*inputs), Module()(*inputs))


@EACH
def test_tensors_without_numbers(variant, mask_name):
    function, inputs = function_of(variant, mask_name), inputs_of(variant, mask_name)
    expected = function(*inputs)
    with FakeTensorMode() as mode:
        fake = function(*map(mode.from_tensor, inputs))
    for results in (fake, function(*(x.to("meta") for x in inputs))):
        for x, y in zip(results, expected, strict=True):
            assert (x is None and y is None) or x.shape == y.shape


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch maps its kernel by a loop
@EACH
def test_a_map_over_problems(variant, mask_name):
    function = function_of(variant, mask_name)
    problems = [inputs_of(variant, mask_name, seed=seed) for seed in range(3)]
    stacked = [torch.stack(tensors) for tensors in zip(*problems, strict=True)]
    results = torch.func.vmap(function, out_dims=(0, None if mask_name == "is_causal" else 0))(*stacked)
    for i, problem in enumerate(problems):
        assert_same([x if x is None else x[i] for x in results], function(*problem))


# ------------------------------------------------------------------------------------------------------ the layer


def layer_and_masks(variant: int, dtype: torch.dtype):
    torch.manual_seed(0)
    layer = MultiHeadAttention(D_MODEL, H, variant=variant)

    def mask_of(T: int) -> torch.Tensor:
        mask = causal_mask(T).clone()
        mask[2] = False
        return mask.to(dtype)

    return layer, mask_of


DTYPES = pytest.mark.parametrize("dtype", [torch.bool, torch.int64], ids=["boolean", "integers"])


@DTYPES
@pytest.mark.parametrize("variant", variants_that_take("need_weights"))
def test_the_layer_compiles_with_masks(variant, dtype):
    torch.compiler.reset()
    layer, mask_of = layer_and_masks(variant, dtype)
    graphs = Graphs()
    compiled = torch.compile(layer, fullgraph=True, backend=graphs)
    for T in (5, 6, 9):
        x = torch.randn(B, T, D_MODEL, generator=seeded(T))
        assert_same(compiled(x, mask=mask_of(T)), layer(x, mask=mask_of(T)))
    assert graphs.count == 2


@DTYPES
@pytest.mark.parametrize("variant", variants_that_take("mask"))
def test_the_layer_is_exported_with_masks(variant, dtype):
    layer, mask_of = layer_and_masks(variant, dtype)
    T = torch.export.Dim("T", min=1, max=64)
    x = torch.randn(B, T_Q, D_MODEL, generator=seeded("x"))
    shapes = {"query": (None, T, None), "mask": (T, T)}
    program = torch.export.export(layer, (x,), {"mask": mask_of(T_Q)}, dynamic_shapes=shapes)
    longer = torch.randn(B, 9, D_MODEL, generator=seeded("longer"))
    assert_same(program.module()(longer, mask=mask_of(9)), layer(longer, mask=mask_of(9)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@DTYPES
@pytest.mark.parametrize("variant", variants_that_take("mask"))
def test_the_layer_with_masks_that_cannot_be_looked_at(variant, dtype):
    layer, mask_of = layer_and_masks(variant, dtype)
    x = torch.randn(2, B, T_Q, D_MODEL, generator=seeded("x"))
    masks = torch.stack([mask_of(T_Q), mask_of(T_Q).flip(0)])
    output, _ = torch.func.vmap(lambda x, mask: layer(x, mask=mask))(x, masks)
    for i in range(2):
        assert relative_error(output[i], layer(x[i], mask=masks[i])[0].detach()) <= 1e-6
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake, _ = layer(mode.from_tensor(x[0]), mask=mode.from_tensor(masks[0]))
    meta, _ = layer.to("meta")(x[0].to("meta"), mask=masks[0].to("meta"))
    assert fake.shape == meta.shape == x[0].shape


def test_an_integer_mask_of_other_numbers_is_an_error_where_it_can_be_looked_at():
    layer, mask_of = layer_and_masks(7, torch.int64)
    with pytest.raises(ValueError, match="got values from 0 to 2"):
        layer(torch.randn(B, T_Q, D_MODEL), mask=2 * mask_of(T_Q))


def test_a_transformer_compiles_for_all_lengths():
    torch.compiler.reset()
    torch.manual_seed(0)
    model = Transformer(20, 12, D_MODEL, H, 1, 16).eval()
    graphs = Graphs()
    compiled = torch.compile(model, fullgraph=True, backend=graphs)
    for T_s, T_t in LENGTHS:
        source = torch.randint(1, 20, (B, T_s), generator=seeded("source", T_s))
        target = torch.randint(1, 12, (B, T_t), generator=seeded("target", T_t))
        source[1, 2:] = 0
        assert_same(compiled(source, target), model(source, target))
    assert graphs.count == 2
