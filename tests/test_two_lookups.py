"""Two look-ups at once: one head cannot, two can, with as many parameters."""

from __future__ import annotations

import pytest
import torch

from attention_variants.model.two_lookups import _rows, _TwoLookups, two_lookups

pytestmark = [pytest.mark.numeric, pytest.mark.slow]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_heads_can_and_one_cannot(seed):
    one, two = (two_lookups(num_heads, seed=seed, steps=120) for num_heads in (1, 2))
    assert two.accuracy > 0.97
    assert one.accuracy < 0.4
    assert two.losses[-1] < 0.1 < 0.5 < one.losses[-1]
    assert one.parameters == two.parameters
    assert len(one.losses) == 120


def test_the_answers_are_the_digits_at_the_two_places():
    torch.manual_seed(0)
    digits, wanted, answer = _rows(50)
    assert (wanted[:, 0] != wanted[:, 1]).all()
    for row, (i, j), (first, second) in zip(digits.tolist(), wanted.tolist(), answer.tolist(), strict=True):
        assert (row[i], row[j]) == (first, second)
    assert (wanted[:, 0] > wanted[:, 1]).any()
    assert (wanted[:, 0] < wanted[:, 1]).any()


def test_parameters_are_counted_and_chance_and_threads_are_left_as_they_were():
    before = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = two_lookups(2, seed=4, steps=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before, torch.random.get_rng_state())
    assert result.parameters == sum(parameter.numel() for parameter in _TwoLookups(2).parameters())
    assert result.losses == two_lookups(2, seed=4, steps=2).losses
