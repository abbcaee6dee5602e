"""The weights are as large as nothing else, and are copied only where a query has no key."""

from __future__ import annotations

import pytest
import torch
from reference import D_MODEL, T_K, T_Q, B, H, relative_error
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attention_variants.model.masks import causal_mask, padding_mask
from attention_variants.variants import VARIANTS, attention_masked
from attention_variants.variants.checks import lacks_keys

NO_KEY = causal_mask(T_Q, T_K).clone()
NO_KEY[3] = False

#: By name: a mask, and whether some query has no key under it.
MASKS = {
    "causal": (causal_mask(T_Q, T_K), False),
    "one query": (NO_KEY, True),
    "padding": (padding_mask([T_K, 2], T_K), False),
    "a sequence of length 0": (padding_mask([T_K, 0], T_K), True),
    "one query of one head": (torch.stack([causal_mask(T_Q, T_K), NO_KEY]), True),
    "one row for all": (torch.arange(T_K) < 2, False),
    "one empty row for all": (torch.zeros(T_K, dtype=torch.bool), True),
    "one column, for all keys": (torch.ones(T_Q, 1, dtype=torch.bool), False),
    "one column with a hole": (torch.arange(T_Q)[:, None] > 0, True),
    "True": (torch.tensor(True), False),
    "False": (torch.tensor(False), True),
    "expanded": (NO_KEY.expand(B, H, T_Q, T_K), True),
    "no keys at all": (torch.ones(T_Q, 0, dtype=torch.bool), True),
    "no queries": (torch.ones(0, T_K, dtype=torch.bool), False),
}


@pytest.mark.parametrize("name", MASKS)
def test_it_tells_whether_some_query_has_no_key(name):
    mask, expected = MASKS[name]
    before = mask.clone()
    assert lacks_keys(mask) is expected
    assert torch.equal(mask, before)


def test_where_it_cannot_look_or_would_wait_it_says_maybe():
    full = torch.ones(B, T_Q, T_K, dtype=torch.bool)
    answers = []

    def ask(mask):
        answers.append(lacks_keys(mask))
        return mask

    torch.func.vmap(ask)(full)
    torch.func.vmap(lambda x: ask(full))(torch.zeros(B))  # one mask for all: it can look
    ask(full.to("meta"))
    with FakeTensorMode() as mode:
        ask(mode.from_tensor(full))
    torch.compile(ask, backend="eager")(full)
    assert answers == [True, False, True, True, True]


def test_an_error_of_another_kind_is_not_taken_for_maybe():
    with pytest.raises(AttributeError):
        lacks_keys([[True]])


# ----------------------------------------------------------------------------------------------- tensors made


class Made(TorchDispatchMode):
    """Count the operations that make a new floating point tensor of some shape, in memory of its own."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.storages, self.operations = shape, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel() == self.shape.numel():
                storage = x.untyped_storage()
                if all(storage.data_ptr() != other.data_ptr() for other in self.storages):
                    self.storages.append(storage)  # kept, so that its address is not given out again
                    self.operations.append(str(func))
        return result


@pytest.mark.parametrize("mask", ["none", "causal", "padding", "one query"])
@pytest.mark.parametrize("variant", [4, 6, 7])
def test_two_tensors_of_the_size_of_the_weights_and_a_third_where_a_query_has_no_key(variant, mask):
    T_q, T_k = 11, 13  # their product is the size of nothing else
    q, k, v = (torch.randn(B, T, D_MODEL) for T in (T_q, T_k, T_k))
    empty = causal_mask(T_q, T_k).clone()
    empty[3] = False
    heads = (H,) if variant >= 5 else ()
    masks = {
        "none": None,
        "causal": causal_mask(T_q, T_k),
        "padding": padding_mask([T_k, 2], T_k, head_axis=variant >= 5),
        "one query": empty,
    }
    with Made(torch.Size((B, *heads, T_q, T_k))) as made:
        _, weights = VARIANTS[variant](q, k, v, masks[mask], *heads)
    assert len(made.storages) == (3 if mask == "one query" else 2), made.operations
    assert weights.untyped_storage().data_ptr() == made.storages[-1].data_ptr()


# ------------------------------------------------------------------------------------------------------- vmap


@pytest.mark.parametrize("mapped", ["q k v mask", "q k v", "q mask", "k mask", "q", "v"])
@pytest.mark.parametrize("mask", ["none", "causal", "one query"])
def test_variant_4_can_be_mapped(mapped, mask):
    generator = torch.Generator().manual_seed(0)
    inputs = dict(zip("qkv", (torch.randn(B, T, 4, generator=generator) for T in (T_Q, T_K, T_K)), strict=True))
    inputs["mask"] = None if mask == "none" else MASKS[mask][0].expand(B, T_Q, T_K).clone()
    if mask == "one query":
        inputs["mask"][1] = MASKS["causal"][0]  # not in every item
    names = [name for name in mapped.split() if inputs[name] is not None]
    given = [x if x is None or name in names else x[0] for name, x in inputs.items()]
    found = torch.func.vmap(attention_masked, in_dims=tuple(0 if name in names else None for name in inputs))(*given)
    for item in range(B):
        one = [x if x is None or name not in names else x[item] for name, x in zip(inputs, given, strict=True)]
        for actual, expected in zip(found, attention_masked(*one), strict=True):
            assert relative_error(actual[item].double(), expected.double()) <= 1e-6
