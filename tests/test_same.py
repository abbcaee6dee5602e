"""same_answer: calls equal what is equal, and nothing else."""

import pytest
import torch
import torch.nn.functional as F

from attention_variants import VARIANTS, same_answer
from attention_variants.classroom.misconceptions import MISCONCEPTIONS

pytestmark = pytest.mark.numeric


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for shape in ((5, 4), (7, 4), (7, 6)))


def test_equal_functions(qkv):
    functions = {"v1": VARIANTS[1], "v2": VARIANTS[2], "PyTorch": F.scaled_dot_product_attention}
    same = same_answer(functions, *qkv)
    assert same
    assert same.errors["v2"].keys() == {"context", "weights", "gradient of q", "gradient of k", "gradient of v"}
    assert "weights" not in same.errors["PyTorch"]
    assert "not returned" in same._repr_html_()
    assert "not returned" in repr(same)
    assert "e-0" not in repr(same).split("at most 1e-05")[1]  # rounding differs from machine to machine


def test_a_single_input_is_no_query(qkv):
    same = same_answer({"sine": torch.sin, "cosine": lambda x: torch.cos(x - torch.pi / 2)}, qkv[0])
    assert same.errors["cosine"].keys() == {"context", "gradient of x"}


def test_a_different_function(qkv):
    same = same_answer({"v1": VARIANTS[1], "wrong": MISCONCEPTIONS["softmax_over_queries"].function}, *qkv)
    assert not same
    assert "differs by" in same._repr_html_()


def test_a_cut_gradient_is_seen(qkv):
    def cut(q, k, v):
        context, weights = VARIANTS[2](q, k.detach(), v)
        return context + 0 * k.sum(), weights

    same = same_answer({"v1": VARIANTS[1], "cut": cut}, *qkv)
    assert not same
    assert same.errors["cut"]["context"] <= 1e-5
    assert same.errors["cut"]["gradient of k"] > 1e-2


def test_options_and_masks_are_passed_on():
    x = torch.randn(2, 5, 8)
    functions = {"v5": VARIANTS[5], "v6": VARIANTS[6], "v7": VARIANTS[7]}
    assert same_answer(functions, x, x, x, torch.ones(5, 5).tril().bool(), num_heads=2)


def test_one_function_is_not_enough(qkv):
    with pytest.raises(ValueError, match="at least two functions are needed; got 1"):
        same_answer({"v1": VARIANTS[1]}, *qkv)


def test_nan_is_not_equal(qkv):
    same = same_answer({"v1": VARIANTS[1], "nan": lambda q, k, v: VARIANTS[1](q, k, v)[0] / 0 * 0}, *qkv)
    assert not same
    assert "NaN" in same._repr_html_()
