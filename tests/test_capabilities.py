"""An eighth variant, whatever it takes, is treated rightly by all that lists or judges variants."""

from __future__ import annotations

import importlib.util
import itertools
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import attention_variants as av
from attention_variants.lab.bench.bounds import bounds
from attention_variants.lab.bench.compiled import compile_variant, compiled_variants
from attention_variants.lab.bench.contenders import all_contenders, ours
from attention_variants.lab.bench.figures import draw_all
from attention_variants.lab.bench.growth import measure_growth, peak_of_process
from attention_variants.lab.bench.machine import describe_machine
from attention_variants.lab.bench.race import race
from attention_variants.lab.bench.run import Run, bench
from attention_variants.lab.bench.shares import measure_shares
from attention_variants.lab.bench.workloads import of_size
from attention_variants.lab.measure.memory import peak_memory
from attention_variants.lab.measure.operations import loops_over_numbers
from attention_variants.lab.measure.reference import TOLERANCES, reference_attention, relative_error
from attention_variants.model.lift import lift
from attention_variants.variants import (
    CAPABILITIES,
    VARIANTS,
    attention_batched,
    attention_loops,
    attention_masked,
    multihead_attention,
    multihead_attention_fused,
    register,
    unregister,
)

B, T_Q, T_K, H, D_MODEL = 2, 5, 7, 2, 8
SMALL = {"batch": B, "queries": T_Q, "keys": T_K, "d_model": D_MODEL, "heads": H}
EVERYTHING = CAPABILITIES
ALL_SETS = [
    tuple(itertools.compress(CAPABILITIES, chosen))
    for chosen in itertools.product((True, False), repeat=len(CAPABILITIES))
]
KEYWORDS = {"dropout": "dropout_p", "is_causal": "is_causal", "need_weights": "need_weights"}


class Strict:
    """An attention that takes what it says and refuses all else; it remembers how it was called."""

    def __init__(self, takes):
        self.takes, self.calls = takes, []
        self.__name__ = "strict"

    def __call__(self, q, k, v, *given, **options):
        names = [name for name in ("mask", "heads") if name in self.takes]
        assert len(given) <= len(names), "it was given more than it takes"
        assert set(options) <= {word for name, word in KEYWORDS.items() if name in self.takes}
        assert q.ndim == 2 or "batch" in self.takes
        self.calls.append(options)
        known = dict(zip(names, given, strict=False))
        if "heads" not in self.takes and known.get("mask") is not None:
            known["mask"] = known["mask"].unsqueeze(-3)
        context, weights = multihead_attention_fused(q, k, v, known.get("mask"), known.get("heads", 1), **options)
        return context, weights if weights is None or "heads" in self.takes else weights.squeeze(-3)


def attention_everything(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    options = {"dropout_p": dropout_p, "need_weights": need_weights, "is_causal": is_causal}
    return multihead_attention_fused(q, k, v, mask, num_heads, **options)


def attention_with_a_mask(q, k, v, mask=None):
    return attention_masked(q, k, v, mask)


def attention_with_heads(q, k, v, mask=None, num_heads=1):
    return multihead_attention(q, k, v, mask, num_heads)


def attention_with_a_batch(q, k, v):
    return attention_batched(q, k, v)


def attention_alone(q, k, v):
    return attention_loops(q, k, v)


KINDS = {
    "everything": (attention_everything, EVERYTHING),
    "mask, no heads": (attention_with_a_mask, ("batch", "mask")),
    "heads, no need_weights": (attention_with_heads, ("batch", "mask", "heads")),
    "batch alone": (attention_with_a_batch, ("batch",)),
    "nothing": (attention_alone, ()),
}


@pytest.fixture(params=KINDS)
def eighth(request):
    function, takes = KINDS[request.param]
    register(function, number=8, adds="something new", takes=takes)
    yield function, takes
    unregister(8)


@pytest.fixture
def everything():
    register(attention_everything, number=8, adds="something new", takes=EVERYTHING)
    yield attention_everything
    unregister(8)


def inputs(requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(B, T, D_MODEL, generator=generator, dtype=torch.float64).requires_grad_(requires_grad)
        for T in (T_Q, T_K, T_K)
    ]


def mask_of_heads():
    """Another mask in each item and head, and a query without a key."""
    mask = torch.rand(B, H, T_Q, T_K, generator=torch.Generator().manual_seed(1)) > 0.4
    mask[1, 0, 2] = False
    return mask


# ------------------------------------------------------------------------------------------------ lifting


@pytest.mark.parametrize("is_causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("has_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("takes", [takes for takes in ALL_SETS if "dropout" not in takes], ids="+".join)
def test_lifting_makes_up_for_whatever_a_variant_does_not_take(takes, has_mask, is_causal):
    strict = Strict(takes)
    register(strict, number=8, adds="strictness", takes=takes)
    try:
        q, k, v = inputs(requires_grad=True)
        mask = mask_of_heads() if has_mask else None
        context, weights = lift(8)(q, k, v, mask, H, is_causal=is_causal)
        gradients = torch.autograd.grad(context.sin().sum() + weights.sin().sum(), (q, k, v))
        without = lift(8)(q, k, v, mask, H, is_causal=is_causal, need_weights=False)
    finally:
        unregister(8)
    if is_causal:
        causal = av.causal_mask(T_Q, T_K)
        mask = causal if mask is None else mask & causal
    expected, expected_weights = reference_attention(q, k, v, mask, H)
    expected_gradients = torch.autograd.grad(expected.sin().sum() + expected_weights.sin().sum(), (q, k, v))
    tolerance = TOLERANCES[torch.float64]
    assert relative_error(context, expected) <= tolerance
    assert relative_error(weights, expected_weights) <= tolerance
    assert all(relative_error(*pair) <= tolerance for pair in zip(gradients, expected_gradients, strict=True))
    assert without[1] is None
    assert relative_error(without[0], expected) <= tolerance


@pytest.mark.parametrize("takes", ALL_SETS, ids="+".join)
def test_lifting_hands_on_what_a_variant_takes_and_does_the_rest_itself(takes):
    strict = Strict(takes)
    register(strict, number=8, adds="strictness", takes=takes)
    try:
        context, weights = lift(8)(*inputs(), None, H, dropout_p=1.0, need_weights=False)
        lift(8)(*inputs(), None, H, need_weights=False)
    finally:
        unregister(8)
    assert weights is None
    dropping, plain = strict.calls[0], strict.calls[-1]
    if "dropout" in takes:
        assert dropping["dropout_p"] == 1.0
    else:
        assert torch.equal(context, torch.zeros_like(context))
    if "need_weights" in takes:
        assert plain["need_weights"] is False
        assert dropping["need_weights"] is ("dropout" not in takes)  # what is to be dropped must be there


@pytest.mark.parametrize("takes", [EVERYTHING, ("batch", "mask", "heads", "need_weights"), ("batch", "need_weights")])
def test_a_variant_that_can_leave_the_weights_out_keeps_its_saving(takes):
    register(Strict(takes), number=8, adds="strictness", takes=takes)
    try:
        q, k, v = (torch.randn(1, 64, 8) for _ in range(3))
        matrix = 2 * 64 * 64 * 4
        assert peak_memory(lift(8), q, k, v, None, 2, need_weights=False) < matrix
        assert peak_memory(lift(8), q, k, v, None, 2) > matrix
    finally:
        unregister(8)


def test_the_layer_and_the_transformer_take_it(eighth):
    layer = av.MultiHeadAttention(D_MODEL, H, variant=8)
    x = torch.randn(B, T_Q, D_MODEL)
    mask = av.causal_mask(T_Q)
    found = layer(x, mask=mask)
    layer.variant = 6
    for one, other in zip(found, layer(x, mask=mask), strict=True):
        assert relative_error(one, other) <= TOLERANCES[torch.float32]
    model = av.Transformer(9, 9, d_model=8, num_heads=2, num_layers=1, d_ff=8, variant=8).eval()
    source, target = torch.tensor([[1, 2, 0]]), torch.tensor([[1, 3]])
    logits, _ = model(source, target)
    model.variant = 7
    assert relative_error(logits, model(source, target)[0]) <= TOLERANCES[torch.float32]


# ------------------------------------------------------------------------------------------------ looking


def test_compare_has_its_row_and_one_more_if_it_can_leave_the_weights_out(eighth):
    function, takes = eighth
    for mask in ("none", "padding"):
        comparison = av.compare(**SMALL, mask=mask, timed=False)
        rows = [row for row in comparison.rows if row.variant == 8]
        assert [row.label for row in rows] == ["8", "8*"] if "need_weights" in takes else ["8"]
        assert all(row.equal and row.name == function.__name__ for row in rows)
        assert len(comparison.rows) == 9 + ("need_weights" in takes)
        assert function.__name__ in str(comparison)


def test_compare_names_what_is_wrong_with_it():
    def twice(q, k, v):
        context, weights = attention_batched(q, k, v)
        return 2 * context, weights

    register(twice, number=8, adds="a mistake", takes=("batch",))
    try:
        comparison = av.compare(**SMALL, timed=False)
    finally:
        unregister(8)
    assert [row.variant for row in comparison.rows if not row.equal] == [8]


def test_the_staircase_has_its_step(eighth):
    figure = av.plot_staircase()
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [patch.get_label() for patch in figure.axes[0].patches].count("step") == 8
    assert {"8", eighth[0].__name__, "something new", str(av.code_lines(8))} <= set(words)
    plt.close(figure)


def test_the_names_of_eight_or_twelve_steps_end_before_what_they_add():
    for number in range(8, 13):
        register(multihead_attention_fused, number=number, adds="something new", takes=EVERYTHING)
    try:
        figure = av.plot_staircase()
        extents = {t.get_text(): t.get_window_extent() for t in figure.axes[0].texts}
        assert extents["multihead_attention_fused"].x1 < extents["something new"].x0
    finally:
        for number in range(8, 13):
            unregister(number)
        plt.close("all")


def test_a_variant_without_source_has_no_lines_and_is_compared_nonetheless():
    register(partial(attention_batched), number=8, adds="no source", takes=("batch",))
    try:
        (row,) = [row for row in av.compare(**SMALL, timed=False).rows if row.variant == 8]
        assert row.equal
        assert row.lines is None
        assert "variant_8" in [text.get_text() for text in av.plot_staircase().axes[0].texts]
    finally:
        unregister(8)
        plt.close("all")


def test_its_code_is_shown_counted_and_compared(eighth):
    function, _ = eighth
    assert av.show(8).name == function.__name__
    assert f"def {function.__name__}(" in av.show(8).text
    assert av.code_lines(8) == av.code_lines(function) >= 2
    change = av.diff(7, 8)
    assert (change.a.name, change.b.name) == ("multihead_attention_fused", function.__name__)
    assert change.changed


def test_it_is_traced_and_animated(eighth):
    function, _ = eighth
    q, k, v = (x[0] for x in inputs())
    traced = av.trace(VARIANTS[8], q, k, v)
    assert traced.name == function.__name__
    moving = av.animate(8, q, k, v)
    assert moving.storyboards[0].name == function.__name__
    assert moving.frames[0].caption == "q, k and v come in"
    assert moving.frames[-1].caption == "returned"


@pytest.mark.parametrize("call", [av.show, av.get_variant, lift, lambda n: av.MultiHeadAttention(8, 2, variant=n)])
def test_messages_count_what_there_is(everything, call):
    with pytest.raises(ValueError, match=r"one of 1 to 8 .*8 attention_everything.*; got 9"):
        call(9)
    with pytest.raises(TypeError, match="the number of a variant, 1 to 8"):
        av.show(None)


def test_the_picture_of_the_readme_would_have_it(everything):
    path = Path(__file__).parents[1] / "scripts" / "readme_picture.py"
    spec = importlib.util.spec_from_file_location("readme_picture_of_eight", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.description().endswith(f"8 attention_everything: something new, {av.code_lines(8)} lines")


# ------------------------------------------------------------------------------------------------ measuring


@pytest.mark.slow
def test_it_takes_part_in_the_races(eighth):
    _, takes = eighth
    first = ours()[0]
    assert first.name == "variant 8"
    assert len(all_contenders()) == len({contender.name for contender in all_contenders()})
    assert first.stores_scores == ("need_weights" not in takes)
    for workload in (of_size((B, T_Q, D_MODEL, H), mask="causal"), of_size((B, T_Q, D_MODEL, H), keys=T_K)):
        result = race(workload, [first], rounds=1)["variant 8"]
        assert result.equal, result.reason
        slow = loops_over_numbers(lift(8)) or (workload.mask != "none" and "mask" not in takes)
        assert bool(result.seconds) != slow, result.reason


def test_loops_are_seen_by_what_they_start():
    assert [number for number in VARIANTS if loops_over_numbers(lift(number))] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("eighth", ["everything", "nothing"], indirect=True)
def test_its_cost_grows_like_that_of_the_others(eighth):
    growth = measure_growth(shortest=4, longest=8)
    assert list(growth.seconds) == list(growth.tensors) == list(range(1, 9))
    assert growth.seconds[8].lengths == [4, 8]
    figure = draw_all(Run(describe_machine(), growth=growth))["growth"]
    assert len(figure.axes[0].lines) == 8
    assert "variant 8" in repr(Run(describe_machine(), growth=growth))


def test_a_process_that_does_not_know_it_measures_no_memory(everything):
    assert peak_of_process(8, 16) is None


def test_compiling_leaves_out_only_what_loops(eighth, monkeypatch):
    function, _ = eighth
    assert compiled_variants() == ((2, 3, 4, 5, 6, 7) if function is attention_alone else (2, 3, 4, 5, 6, 7, 8))
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)
    found = [compile_variant(number) for number in compiled_variants()]
    assert all(one.works for one in found)
    (bound,) = bounds(Run(describe_machine(), compiled=found))
    assert bound.what == f"2 to {found[-1].variant}: torch.compile"


@pytest.mark.slow
def test_where_its_time_goes_is_measured_if_it_takes_heads(eighth):
    _, takes = eighth
    assert sum(measure_shares(8, of_size((1, 8, 8, 2)), calls=1).values()) > 0
    run = bench([of_size((1, 4, 8, 2))], parts=["shares"], is_quick=True)
    assert set(run.shares) == ({5, 6, 7, 8} if "heads" in takes else {5, 6, 7})
    assert run.shares_of.endswith(
        "(variant 7, 8 without weights)" if "need_weights" in takes else "(variant 7 without weights)"
    )
