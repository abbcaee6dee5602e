"""Operations and multiplications are counted as they happen, and agree with what one works out by hand."""

from __future__ import annotations

import pytest
import torch

from attention_variants import VARIANTS, lift
from attention_variants.lab.measure.operations import Operations, count_operations

T_Q, T_K, D_K, D_V = 5, 7, 4, 3
B, H, D_MODEL = 2, 2, 8


@pytest.mark.parametrize("variant", [1, 2])
def test_loops_and_products_multiply_alike(variant):
    q, k, v = torch.randn(T_Q, D_K), torch.randn(T_K, D_K), torch.randn(T_K, D_V)
    counted = count_operations(VARIANTS[variant], q, k, v)
    assert counted.multiplications == T_Q * T_K * (D_K + D_V)


@pytest.mark.parametrize("variant", range(1, 8))
@pytest.mark.parametrize("need_weights", [True, False])
def test_all_seven_multiply_alike(variant, need_weights):
    q, k, v = torch.randn(B, T_Q, D_MODEL), torch.randn(B, T_K, D_MODEL), torch.randn(B, T_K, D_MODEL)
    counted = count_operations(lift(variant), q, k, v, None, H, need_weights=need_weights)
    products = 2 * B * T_Q * T_K * D_MODEL
    scores_again = B * T_Q * T_K * D_MODEL * (variant == 7 and need_weights)  # the kernel hands out no weights
    assert counted.multiplications == products + scores_again


def test_each_step_starts_fewer_operations():
    q = torch.randn(B, T_Q, D_MODEL)
    started = [count_operations(lift(number), q, q, q, None, H).started for number in range(1, 7)]
    assert started == sorted(started, reverse=True)
    assert started[2] == started[3]  # without a mask, variant 4 is variant 3
    assert len(set(started)) == 5
    assert started[0] > 15 * started[1]


def test_a_layer_and_a_view():
    layer, x = torch.nn.Linear(4, 6), torch.randn(3, 4)
    assert count_operations(layer, x) == Operations(started=2, multiplications=3 * 4 * 6)  # the transpose, the product
    assert count_operations(lambda: x.T) == Operations(started=1, multiplications=0)
    a = torch.randn(2, 3, 4)
    assert (
        count_operations(torch.baddbmm, torch.zeros(2, 3, 5), a, torch.randn(2, 4, 5)).multiplications == 2 * 3 * 5 * 4
    )
