"""The masks do what their docstrings say: every one against a loop that asks the question of its docstring."""

from __future__ import annotations

import doctest
import itertools

import pytest
import torch

from attention_variants.model import layer, masks
from attention_variants.model.masks import causal_mask, combine_masks, padding_mask, sliding_window_mask
from attention_variants.variants import VARIANTS

pytestmark = pytest.mark.numeric

LENGTHS = list(itertools.product(range(5), range(5)))


def brute_force(T_q, T_k, may_attend):
    return [[may_attend(i, j) for j in range(T_k)] for i in range(T_q)]


def is_boolean_of_shape(mask, *shape):
    return mask.dtype == torch.bool and mask.shape == shape


@pytest.mark.parametrize(("T_q", "T_k"), LENGTHS)
def test_causal_mask_top_left(T_q, T_k):
    mask = causal_mask(T_q, T_k)
    assert is_boolean_of_shape(mask, T_q, T_k)
    assert mask.tolist() == brute_force(T_q, T_k, lambda i, j: j <= i)
    assert torch.equal(mask, causal_mask(T_q, T_k, align="top-left"))


@pytest.mark.parametrize(("T_q", "T_k"), LENGTHS)
def test_causal_mask_bottom_right(T_q, T_k):
    """Counted from the end: the last query sees the last key."""
    mask = causal_mask(T_q, T_k, align="bottom-right")
    assert is_boolean_of_shape(mask, T_q, T_k)
    assert mask.tolist() == brute_force(T_q, T_k, lambda i, j: T_k - j >= T_q - i)


def test_the_alignments_agree_only_where_the_lengths_do():
    assert torch.equal(causal_mask(4), causal_mask(4, 4, align="bottom-right"))
    assert causal_mask(3).tolist() == brute_force(3, 3, lambda i, j: j <= i)
    assert not torch.equal(causal_mask(3, 4), causal_mask(3, 4, align="bottom-right"))
    assert causal_mask(4, 2, align="bottom-right").any(dim=-1).tolist() == [False, False, True, True]


@pytest.mark.parametrize("window", [0, 1, 2, 9])
@pytest.mark.parametrize(("T_q", "T_k"), LENGTHS)
def test_sliding_window_mask(T_q, T_k, window):
    mask = sliding_window_mask(T_q, T_k, window=window)
    assert is_boolean_of_shape(mask, T_q, T_k)
    assert mask.tolist() == brute_force(T_q, T_k, lambda i, j: abs(i - j) <= window)
    mask = sliding_window_mask(T_q, T_k, window=window, align="bottom-right")
    assert mask.tolist() == brute_force(T_q, T_k, lambda i, j: abs((T_q - i) - (T_k - j)) <= window)
    assert torch.equal(sliding_window_mask(T_q, window=window), sliding_window_mask(T_q, T_q, window=window))


@pytest.mark.parametrize("as_tensor", [False, True], ids=["list", "tensor"])
@pytest.mark.parametrize(("lengths", "T_k"), [([3, 1], 4), ([3, 1], None), ([0, 2, 2], 2), ([0], None), ([4], 4)])
def test_padding_mask(lengths, T_k, as_tensor):
    given = torch.tensor(lengths) if as_tensor else lengths
    longest = max(lengths) if T_k is None else T_k
    mask = padding_mask(given, T_k)
    assert is_boolean_of_shape(mask, len(lengths), 1, longest)
    assert mask[:, 0].tolist() == [[j < length for j in range(longest)] for length in lengths]
    assert torch.equal(padding_mask(given, T_k, head_axis=True), mask[:, None])
    assert is_boolean_of_shape(padding_mask(given, T_k, head_axis=True), len(lengths), 1, 1, longest)


def test_padding_mask_of_no_sequences():
    assert padding_mask(torch.zeros(0, dtype=torch.int64)).shape == (0, 1, 0)
    assert padding_mask(torch.zeros(0, dtype=torch.int64), 3, head_axis=True).shape == (0, 1, 1, 3)


def test_padding_mask_of_a_tokenizers_attention_mask():
    attention_mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert torch.equal(padding_mask(attention_mask.sum(-1), 4)[:, 0], attention_mask.bool())


def test_combine_masks():
    causal, padding, window = causal_mask(3, 4), padding_mask([4, 2]), sliding_window_mask(3, 4, window=1)
    mask = combine_masks(causal, padding, window)
    assert mask is not None
    assert is_boolean_of_shape(mask, 2, 3, 4)
    for item, length in enumerate((4, 2)):
        expected = brute_force(3, 4, lambda i, j, length=length: j <= i and j < length and i - j <= 1)
        assert mask[item].tolist() == expected


def test_combine_masks_passes_over_none_and_copies_nothing_into_its_arguments():
    causal = causal_mask(2, 3)
    before = causal.clone()
    assert combine_masks() is None
    assert combine_masks(None, None) is None
    for mask, expected in ((None, before), (torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))):
        combined = combine_masks(mask, causal)
        assert combined is not None
        assert torch.equal(combined, expected)
    assert torch.equal(causal, before)


def test_masks_fit_the_variants_they_name():
    x = torch.randn(2, 4, 8)
    for mask in (causal_mask(4), sliding_window_mask(4, window=1), padding_mask([4, 2])):
        _, weights = VARIANTS[4](x, x, x, mask)
        assert torch.equal(weights > 0, mask.expand(2, 4, 4))
    for variant in (5, 6, 7):
        for mask in (causal_mask(4), sliding_window_mask(4, window=1), padding_mask([4, 2], head_axis=True)):
            _, weights = VARIANTS[variant](x, x, x, mask, 2)
            assert torch.equal(weights > 0, mask.expand(2, 2, 4, 4))


def test_device():
    assert causal_mask(2, 3, device="meta").device.type == "meta"
    assert sliding_window_mask(2, 3, window=1, device=torch.device("meta")).device.type == "meta"
    assert causal_mask(2).device.type == "cpu"
    assert padding_mask(torch.tensor([1, 2])).device.type == "cpu"


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("build", [causal_mask, lambda *a, **k: sliding_window_mask(*a, window=1, **k)])
def test_lengths_and_alignment(build):
    with pytest.raises(ValueError, match=r"T_q must be a whole number of at least 0; got -1"):
        build(-1, 3)
    with pytest.raises(ValueError, match=r"T_k must be a whole number of at least 0; got -3"):
        build(2, -3)
    with pytest.raises(ValueError, match=r'align must be "top-left" or "bottom-right"; got \'left\''):
        build(2, 3, align="left")


def test_errors_name_the_function():
    with pytest.raises(ValueError, match=r"^causal_mask: "):
        causal_mask(-1)
    with pytest.raises(ValueError, match=r"^sliding_window_mask: "):
        sliding_window_mask(-1, window=1)
    with pytest.raises(ValueError, match=r"^sliding_window_mask: window must be a whole number of at least 0; got -1"):
        sliding_window_mask(3, window=-1)


def test_padding_mask_errors():
    with pytest.raises(TypeError, match=r"padding_mask: lengths must be whole numbers.*got torch.float32"):
        padding_mask(torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match=r"got torch.bool.*attention_mask.sum\(-1\)"):
        padding_mask(torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"padding_mask: lengths must have shape \(B,\); got \(2, 1\)"):
        padding_mask(torch.tensor([[1], [2]]))
    with pytest.raises(ValueError, match=r"padding_mask: lengths must have shape \(B,\); got \(\)"):
        padding_mask(torch.tensor(3))
    with pytest.raises(ValueError, match=r"padding_mask: lengths must be at least 0; got \[-1, 2\]"):
        padding_mask([-1, 2])
    with pytest.raises(ValueError, match=r"padding_mask: lengths must be at most T_k = 3; got \[2, 4\]"):
        padding_mask([2, 4], 3)


def test_combine_masks_errors():
    with pytest.raises(TypeError, match=r"combine_masks: mask must be boolean.*got torch.float32.*mask > -1"):
        combine_masks(causal_mask(2), torch.zeros(2, 2))
    with pytest.raises(TypeError, match=r"combine_masks: mask must be boolean.*got torch.int64.*mask.bool\(\)"):
        combine_masks(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"combine_masks: mask must be a boolean torch.Tensor.*got list"):
        combine_masks([[True]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"combine_masks: the masks must broadcast together; got \(2, 2\), \(3, 3\)"):
        combine_masks(causal_mask(2), causal_mask(3))


@pytest.mark.parametrize("module", [masks, layer])
def test_the_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
