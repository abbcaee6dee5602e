"""compare: all seven are equal before any is timed, and a wrong one is neither called equal nor timed."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch

from attention_variants import VARIANTS
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.lab.measure.compare import COMPARED, compare
from attention_variants.lab.measure.memory import peak_memory
from attention_variants.lab.measure.reference import reference_attention, relative_error

pytestmark = pytest.mark.numeric

SMALL = {"batch": 2, "queries": 5, "keys": 7, "d_model": 8, "heads": 2}


@pytest.mark.parametrize("mask", ["none", "causal", "padding"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_seven_are_equal_and_all_are_in_the_table(mask, dtype):
    comparison = compare(**SMALL, mask=mask, dtype=dtype, timed=False)
    assert comparison.all_equal
    assert [row.variant for row in comparison.rows] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert [row.name for row in comparison.rows[:7]] == [function.__name__ for function in VARIANTS.values()]
    for row in comparison.rows:
        expected = COMPARED if row.label.isdigit() else [name for name in COMPARED if name != "weights"]
        assert list(row.errors) == list(expected)
        assert row.time is None
        assert row.memory > 0


def test_a_tensor_serves_as_mask_and_empty_rows_are_equal_too():
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    mask[1, 0, 2] = False
    assert compare(**SMALL, mask=mask, timed=False).all_equal


@pytest.mark.parametrize("mistake", ["scale_by_d_model", "inverted_mask", "view_without_transpose"])
def test_a_wrong_row_is_reported_and_not_timed(mistake):
    mistake = MISCONCEPTIONS[mistake]
    functions = {6: VARIANTS[6], mistake.variant: mistake.function}
    comparison = compare(**SMALL, mask="causal", variants=functions)
    right = [row for row in comparison.rows if row.name != mistake.name]
    (wrong,) = [row for row in comparison.rows if row.name == mistake.name]
    assert not comparison.all_equal
    assert not wrong.equal
    assert wrong.time is None
    assert wrong.memory is None
    assert wrong.largest_error > 1e-3
    assert all(row.equal and row.time > 0 for row in right)
    assert "not timed" in comparison._repr_html_()
    assert "NOT all equal" in str(comparison)


@pytest.mark.parametrize("wrong", ["nan", "error", "gradient"])
def test_nan_errors_and_wrong_gradients_count_as_wrong(wrong):
    def function(q, k, v, mask=None, num_heads=1):
        if wrong == "error":
            raise IndexError("a mistake")
        context, weights = VARIANTS[6](q.detach() if wrong == "gradient" else q, k, v, mask, num_heads)
        return (context / 0 * 0 if wrong == "nan" else context + 0 * q), weights

    (row,) = compare(**SMALL, variants={6: function}).rows
    assert not row.equal
    assert row.time is None
    if wrong == "error":
        assert row.failure == "IndexError: not timed"
    if wrong == "nan":
        assert math.isnan(row.largest_error)
    if wrong == "gradient":
        assert row.errors["context"] <= 1e-5
        assert row.errors["grad q"] > 1e-2


def test_to_dict_is_json_and_says_what_was_run():
    data = json.loads(json.dumps(compare(**SMALL, mask="padding", timed=False).to_dict()))
    assert data["all_equal"] is True
    assert data["problem"] == {**SMALL, "mask": "padding", "dtype": "float32", "tolerance": 1e-5}
    assert len(data["rows"]) == 8
    assert data["rows"][0]["name"] == "attention_loops"


def test_times_are_measured_and_shown():
    comparison = compare(**SMALL, variants={6: VARIANTS[6], 7: VARIANTS[7]})
    assert all(row.time > 0 for row in comparison.rows)
    assert re.search(r"[µm]s", str(comparison))


def test_html_is_the_same_each_time_when_nothing_is_timed():
    first, second = (compare(**SMALL, timed=False)._repr_html_() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("batch", 0, "batch must be at least 1; got 0"),
        ("keys", -1, "keys must be at least 1; got -1"),
        ("heads", 3, "divisible by heads; got d_model = 8 and heads = 3"),
        ("mask", "triangular", "causal, padding or none"),
        ("dtype", torch.int64, "got torch.int64"),
    ],
)
def test_bad_arguments(argument, value, words):
    with pytest.raises(ValueError, match=words):
        compare(**{**SMALL, argument: value})


def test_an_unknown_variant_number():
    with pytest.raises(ValueError, match="1 to 7"):
        compare(**SMALL, variants={8: VARIANTS[6]})


def test_the_reference_is_pytorchs_attention():
    q, k, v = (torch.randn(2, T, 8, dtype=torch.float64) for T in (5, 7, 7))
    mask = torch.rand(2, 1, 5, 7) > 0.4
    mask[..., 0] = True
    context, _ = reference_attention(q, k, v, mask, 2)
    split = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(*split, attn_mask=mask).transpose(1, 2).flatten(-2)
    torch.testing.assert_close(context, expected)


def test_relative_error():
    assert relative_error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == 0.25
    assert relative_error(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5
    assert relative_error(torch.ones(2), torch.ones(3)) == math.inf
    assert relative_error(torch.ones(0), torch.ones(0)) == 0.0
    assert math.isnan(relative_error(torch.tensor([math.nan]), torch.tensor([1.0])))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + 1, 4000),
        (lambda x: (x + 1) + 1, 8000),
        (lambda x: ((x + 1) + 1) + 1, 8000),  # the first is freed before the third is made
        (lambda x: x.view(10, 100)[:5], 0),
        (lambda x: x.clone().add_(1), 4000),
        (lambda x: SimpleNamespace(kept=x + 1, more=x + 2), 8000),
    ],
)
def test_peak_memory_counts_what_is_alive_at_once(function, expected):
    assert peak_memory(function, torch.zeros(1000)) == expected


def test_variant_7_without_weights_needs_no_matrix():
    with_weights, without = compare(1, 64, 64, 8, 2, variants={7: VARIANTS[7]}, timed=False).rows
    matrix = 2 * 64 * 64 * 4
    assert with_weights.memory > matrix > 4 * without.memory
