"""The list of variants: what each says it takes, and an eighth one, which is asked what it says."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from attention_variants.variants import (
    CAPABILITIES,
    VARIANTS,
    Variant,
    attention_masked,
    describe_variant,
    get_variant,
    register,
    registry,
    takes,
    unregister,
    variants_that_take,
)
from attention_variants.variants.checks import check_inputs

#: The parameter by which a function takes what it says it takes; a batch comes with q, k and v.
PARAMETERS = {
    "mask": "mask",
    "heads": "num_heads",
    "dropout": "dropout_p",
    "is_causal": "is_causal",
    "need_weights": "need_weights",
}


def eighth(q, k, v, mask=None):
    return attention_masked(q, k, v, mask)


@pytest.fixture
def registered() -> Iterator[Variant]:
    register(eighth, number=8, adds="nothing", takes=("mask", "batch"))
    yield describe_variant(8)
    unregister(8)


def test_the_examples_of_the_docstrings():
    failed, tried = doctest.testmod(registry)
    assert tried >= 8
    assert not failed


@pytest.mark.parametrize("number", range(1, 8))
def test_a_variant_takes_what_its_signature_says(number):
    described = describe_variant(number)
    parameters = inspect.signature(described.function).parameters
    assert [name for name in PARAMETERS if name in described.takes] == [
        name for name, parameter in PARAMETERS.items() if parameter in parameters
    ]
    assert describe_variant(number) == Variant(number, VARIANTS[number], described.adds, described.takes)
    assert get_variant(number) is VARIANTS[number]
    assert described.name == VARIANTS[number].__name__
    assert 0 < len(described.adds) <= 40  # it stands on a step of a picture


@pytest.mark.parametrize("number", range(1, 8))
def test_a_variant_takes_a_batch_if_it_says_so(number):
    q, k, v = torch.randn(2, 5, 4), torch.randn(2, 7, 4), torch.randn(2, 7, 4)
    if takes(number, "batch"):
        assert VARIANTS[number](q, k, v)[0].shape == (2, 5, 4)
    else:
        with pytest.raises(ValueError, match="Batches arrive in variant 3"):
            VARIANTS[number](q, k, v)


def test_the_seven_by_what_they_take():
    assert {name: variants_that_take(name) for name in CAPABILITIES} == {
        "batch": (3, 4, 5, 6, 7),
        "mask": (4, 5, 6, 7),
        "heads": (5, 6, 7),
        "dropout": (7,),
        "is_causal": (7,),
        "need_weights": (7,),
    }
    assert variants_that_take() == (1, 2, 3, 4, 5, 6, 7)
    assert variants_that_take("mask", "heads") == variants_that_take("heads", "mask") == (5, 6, 7)
    for number in VARIANTS:
        assert describe_variant(number).takes == tuple(name for name in CAPABILITIES if takes(number, name))


# ----------------------------------------------------------------------------------------------- an eighth variant


def test_an_eighth_variant_is_on_the_list_until_it_is_taken_off(registered):
    assert registered == Variant(8, eighth, "nothing", ("batch", "mask"))  # in the order of CAPABILITIES
    assert VARIANTS[8] is get_variant(8) is eighth
    assert len(VARIANTS) == 8
    assert variants_that_take("mask") == (4, 5, 6, 7, 8)
    assert takes(8, "mask")
    assert not takes(8, "heads")
    unregister(8)
    assert 8 not in VARIANTS
    assert len(VARIANTS) == 7
    with pytest.raises(ValueError, match="variant must be one of 1 to 7"):
        describe_variant(8)
    register(eighth, number=8, adds="nothing")  # the number is free again; the fixture takes it off


def test_the_list_is_in_order_whatever_was_registered_first():
    third = describe_variant(3)
    unregister(3)
    try:
        assert list(VARIANTS) == [1, 2, 4, 5, 6, 7]
        with pytest.raises(ValueError, match=r"^variant must be one of 1, 2, 4, 5, 6, 7 \(1 .*; got 3\.$"):
            get_variant(3)
    finally:
        register(third.function, number=3, adds=third.adds, takes=third.takes)
    assert list(VARIANTS) == [*reversed(VARIANTS)][::-1] == [1, 2, 3, 4, 5, 6, 7]
    assert variants_that_take("batch") == (3, 4, 5, 6, 7)
    assert describe_variant(3) == third


def test_the_list_changes_by_registering_alone():
    with pytest.raises(TypeError, match="does not support item assignment"):
        VARIANTS[1] = eighth
    assert repr(VARIANTS) == repr(dict(VARIANTS))


def test_a_partial_function_has_a_name_too():
    register(partial(eighth, mask=None), number=8, adds="nothing")
    try:
        assert describe_variant(8).name == "variant_8"
    finally:
        unregister(8)


def test_the_input_check_asks_what_an_eighth_variant_takes(registered):
    q, k, v = torch.randn(2, 5, 4), torch.randn(2, 7, 4), torch.randn(2, 7, 3)
    check_inputs(8, q, k, v, torch.ones(5, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^eighth: mask must broadcast .*\(\.\.\., T_q, T_k\) = \(2, 5, 7\)"):
        check_inputs(8, q, k, v, torch.ones(2, 7, dtype=torch.bool))
    unregister(8)
    register(eighth, number=8, adds="nothing")  # without a batch
    with pytest.raises(ValueError, match=r"^eighth takes one sequence.*Batches arrive in variant 3"):
        check_inputs(8, q, k, v)
    unregister(8)
    register(eighth, number=8, adds="nothing", takes=("batch", "heads"))
    with pytest.raises(ValueError, match="^eighth: q, k and v must share the width d_model"):
        check_inputs(8, q, k, v)
    check_inputs(8, q, k, k, num_heads=2)
    with pytest.raises(ValueError, match="^eighth: d_model must be divisible by num_heads"):
        check_inputs(8, q, k, k, num_heads=3)


def test_an_error_names_the_first_variant_that_can(registered):
    """Where nothing takes what is missing, nothing is guaranteed."""
    q = torch.randn(2, 5, 4)
    batched = [describe_variant(number) for number in variants_that_take("batch")]
    for described in batched:
        unregister(described.number)
    try:
        with pytest.raises(ValueError, match=r"got \(2, 5, 4\)\.$"):
            VARIANTS[1](q, q, q)
    finally:
        for described in batched:
            register(described.function, number=described.number, adds=described.adds, takes=described.takes)


# ---------------------------------------------------------------------------------------------------------- errors

WRONG = {
    "a number that is there": ((eighth, 4, ()), ValueError, "variant 4 is there already, attention_masked; take"),
    "no whole number": ((eighth, 8.0, ()), ValueError, "number must be a whole number of at least 1; got 8.0."),
    "True for a number": ((eighth, True, ()), ValueError, "number must be a whole number of at least 1; got True."),
    "0": ((eighth, 0, ()), ValueError, "number must be a whole number of at least 1; got 0."),
    "no such capability": ((eighth, 8, ("batch", "masks")), ValueError, "takes must be of batch, mask, heads, dropout"),
    "a string for a tuple": ((eighth, 8, "mask"), TypeError, "takes must be a collection of names, such as"),
    "no function": (("attention", 8, ()), TypeError, "function must be callable; got str."),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_registration_is_one_sentence(case):
    (function, number, given), kind, words = WRONG[case]
    with pytest.raises(kind) as caught:
        register(function, number=number, adds="nothing", takes=given)
    message = str(caught.value)
    assert message.startswith(f"register: {words}")
    assert message.endswith(".")
    assert "\n" not in message
    assert list(VARIANTS) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("ask", [get_variant, describe_variant, unregister, lambda number: takes(number, "mask")])
@pytest.mark.parametrize("number", [0, 8, "1", 1.0, True, None, [1]], ids=repr)
def test_no_such_variant(ask, number):
    with pytest.raises(ValueError, match=r"^variant must be one of 1 to 7 \(1 attention_loops, 2 .*\); got .*\.$"):
        ask(number)
    assert len(VARIANTS) == 7


def test_no_such_capability():
    for ask in (
        lambda: takes(1, "masks"),
        lambda: variants_that_take("masks"),
        lambda: variants_that_take("batch", "masks"),
    ):
        with pytest.raises(ValueError, match=r"capability must be of batch, .*, need_weights; got 'masks'\.$"):
            ask()
