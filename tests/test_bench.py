"""The benchmark tells the truth: all have the same weights and compute the same, and the ratios are what was timed.

No test looks at a time: they are made up here, or only counted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.autograd.profiler import profile
from torch.nn.attention import SDPBackend, sdpa_kernel

from attention_variants import VARIANTS, cli
from attention_variants.lab.bench import compiled, contenders, growth, run
from attention_variants.lab.bench.adapter import Adapter
from attention_variants.lab.bench.bounds import bounds
from attention_variants.lab.bench.compiled import compile_variant, compiled_variants
from attention_variants.lab.bench.contenders import BARE, Contender, Ours, Textbook, all_contenders
from attention_variants.lab.bench.figures import draw_all, plot_ranking
from attention_variants.lab.bench.growth import measure_growth, peak_of_process
from attention_variants.lab.bench.machine import describe_machine, machine_in_words
from attention_variants.lab.bench.race import check, check_adapter, race
from attention_variants.lab.bench.reasons import _SENTENCES, FAILURES, Reason, Why
from attention_variants.lab.bench.result import Bench, Compiled, Curve, Growth, Race, Result, fit_exponent
from attention_variants.lab.bench.run import Run, bench
from attention_variants.lab.bench.shares import PARTS, measure_shares
from attention_variants.lab.bench.tables import failures
from attention_variants.lab.bench.workloads import SIZES, Problem, Workload, full, lengths, of_size, quick

pytestmark = pytest.mark.slow

SMALL = (2, 5, 8, 2)
STORED = Path(__file__).resolve().parents[1] / "assets" / "bench"
BY_NAME = {contender.name: contender for contender in all_contenders()}
OURS = [f"variant {number}" for number in range(1, 8)]
CAUSAL_ONLY = {name for name in BY_NAME if name.startswith(("transformers GPT-2", "llms-from-scratch"))}
NO_WEIGHTS = {name for name in BY_NAME if name.endswith(("sdpa", "flash")) or name.startswith("llms-from-scratch")}


@pytest.fixture(scope="module")
def quick_run():
    """The quick form on sequences that are shorter still: its settings are what is tested, not its sizes."""
    shorter = [replace(w, batch=2, queries=48, keys=48 if w.is_self else 72, d_model=64) for w in quick()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "quick", lambda: shorter)
        return bench(is_quick=True, rounds=1)


# ------------------------------------------------------------------------------------------------ the quick form, whole


def test_everybody_in_the_quick_form_equals_the_reference(quick_run):
    assert quick_run.all_equal
    for each in quick_run.races:
        for result in each.results:
            assert result.equal or result.reason, f"{result.name} was neither checked nor excused"
            assert all(0 <= error <= result.tolerance for error in result.errors.values())


def test_the_quick_form_checks_values_gradients_and_weights(quick_run):
    for each in quick_run.races:
        expected = ["output", "grad x"] + ["grad memory"] * (not each.workload.is_self)
        for name in OURS:
            assert list(each[name].errors) == expected + ["weights"] * each.workload.weights


def test_the_quick_form_leaves_out_only_who_computes_something_else(quick_run):
    for each in quick_run.races:
        w = each.workload
        expected = set() if w.mask == "causal" else set(CAUSAL_ONLY)
        expected |= NO_WEIGHTS if w.weights else set()
        expected |= {"nn.MHA, fast path"} if w.backward or not w.is_self else set()
        assert {result.name for result in each.results if not result.errors} == expected


def test_the_quick_form_times_everybody_else_but_our_loops(quick_run):
    for each in quick_run.races:
        for result in each.results:
            slow = result.name in OURS[:4]
            assert len(result.seconds) == 1 or slow or not result.errors
        assert each["variant 7"].seconds
        assert each["variant 6"].seconds


def test_variant_7_takes_the_fused_kernel_and_no_quadratic_memory(quick_run):
    for each in quick_run.races:
        w = each.workload
        assert each["variant 7"].kernel == each[BARE.name].kernel == "flash_attention_for_cpu"
        assert each["variant 6"].kernel == ""
        scores = w.batch * w.heads * w.queries * w.keys * torch.finfo(getattr(torch, w.dtype)).bits // 8
        assert each["variant 6"].memory >= 2 * scores  # the scores, and the weights
        if not w.weights and not w.backward:
            inputs = 5 * w.batch * max(w.queries, w.keys) * w.d_model * torch.finfo(getattr(torch, w.dtype)).bits // 8
            assert each["variant 7"].memory <= inputs  # q, k, v, context and output, and next to nothing more


@pytest.mark.parametrize(
    ("backend", "name"), [(SDPBackend.MATH, "math"), (SDPBackend.FLASH_ATTENTION, "flash_attention_for_cpu")]
)
def test_the_kernel_that_ran_is_named(backend, name):
    with sdpa_kernel(backend):
        result = race(Workload(2, 5, 5, 16, 2), [BY_NAME["variant 7"]], rounds=1)
    assert {each.name: each.kernel for each in result.results} == {BARE.name: name, "variant 7": name}


def test_the_quick_form_shows_growth_shares_and_a_machine(quick_run):
    assert set(quick_run.growth.seconds) == set(quick_run.growth.tensors) == set(range(1, 8))
    assert set(quick_run.shares) == {5, 6, 7}
    assert not quick_run.compiled
    assert "torch" in quick_run.caption
    text = repr(quick_run)
    for name in (BARE.name, *BY_NAME):
        assert name in text


def test_a_quick_run_makes_no_guarantee_of_the_large_sizes(quick_run):
    assert not [bound for bound in bounds(quick_run) if bound.met is not None]


def test_a_run_survives_json(quick_run, tmp_path):
    files = quick_run.save(tmp_path / "out")
    assert {path.name for path in files} == {
        "bench.json",
        *(f"{name}.{kind}" for name in ("race", "growth", "shares") for kind in ("png", "svg")),
    }
    assert all(path.stat().st_size > 1000 for path in files)
    again = Bench.load(tmp_path / "out")
    assert again.to_dict() == quick_run.to_dict()
    assert json.loads(files[0].read_text())["all_equal"] is True


# ------------------------------------------------------------------------------------------------ equality


class Inverted(Textbook):
    """A textbook class that mistakes the polarity of its mask."""

    def __init__(self, problem):
        super().__init__(problem)
        self.mask = None if self.mask is None else ~self.mask


class Detached(Textbook):
    """Right values, no gradients for what is looked at."""

    def forward(self, x, memory):
        return super().forward(x, memory.detach() + 0 * memory)


class OtherWeights(Textbook):
    """Right code, but one projection was never loaded."""

    def __init__(self, problem):
        super().__init__(problem)
        torch.nn.init.zeros_(self.w_v.bias)


@pytest.mark.parametrize(
    ("adapter", "workload", "shows"),
    [
        (Inverted, of_size(SMALL, mask="causal"), "output"),
        (Detached, of_size(SMALL, keys=7), "grad memory"),
        (OtherWeights, of_size(SMALL), "output"),
    ],
)
def test_who_is_not_equal_is_not_timed(adapter, workload, shows):
    wrong = Contender("wrong", adapter, gives_weights=True)
    result = race(workload, [wrong, BY_NAME["variant 6"]], rounds=2)
    assert not result["wrong"].equal
    assert result["wrong"].errors[shows] > 1e-3
    assert result["wrong"].reason == Reason(Why.NOT_EQUAL)
    assert not result["wrong"].seconds
    assert len(result["variant 6"].seconds) == 2
    assert not result.all_equal


def test_wrong_weights_are_seen_where_they_are_asked_for():
    class Shifted(Textbook):
        def forward(self, x, memory):
            output, weights = super().forward(x, memory)
            return output, weights.roll(1, -1)

    errors = check(Contender("wrong", Shifted, gives_weights=True), of_size(SMALL, mask="causal", weights=True))
    assert errors["output"] < 1e-5
    assert errors["weights"] > 0.1


def test_a_contender_that_raises_is_reported():
    def broken(problem):
        raise RuntimeError("no such kernel\nat line 3")

    result = race(of_size(SMALL), [Contender("broken", broken)], rounds=1)
    assert result["broken"].reason == Reason(Why.RAISED, {"error": "RuntimeError", "message": "no such kernel"})
    assert str(result["broken"].reason) == "RuntimeError: no such kernel"
    assert not result["broken"].seconds


class LyingFastPath(Textbook):
    """Right wherever gradients are watched, wrong where it is timed."""

    def forward(self, x, memory):
        output, weights = super().forward(x, memory)
        return (output if torch.is_grad_enabled() else 2 * output), weights


def test_what_is_timed_without_gradients_is_checked_without_them():
    lying = Contender("lying", LyingFastPath, gives_weights=True)
    assert not race(of_size(SMALL), [lying], rounds=1)["lying"].equal
    assert race(of_size(SMALL, backward=True), [lying], rounds=1)["lying"].equal


def test_what_is_compiled_is_checked_compiled(monkeypatch):
    def lie(module, **settings):
        return lambda x, memory: (2 * module(x, memory)[0], None)

    monkeypatch.setattr(torch, "compile", lie)
    result = race(of_size(SMALL, compiled=True), [BY_NAME["variant 7"]], rounds=1)["variant 7"]
    assert result.errors["compiled"] > 0.1
    assert result.reason == Reason(Why.NOT_EQUAL_COMPILED)
    assert not result.seconds


def test_who_owes_weights_must_give_them():
    class Silent(Textbook):
        def forward(self, x, memory):
            return super().forward(x, memory)[0], None

    workload = of_size(SMALL, mask="causal", weights=True)
    assert not race(workload, [Contender("silent", Silent, gives_weights=True)], rounds=1).all_equal


def test_the_tables_say_who_differs_and_who_is_missing(monkeypatch):
    wrong = Contender("wrong", Inverted, gives_weights=True)
    missing = Contender("missing", Textbook, package="nowhere", module="nowhere.at_all")
    text = repr(Run(describe_machine(), races=[race(of_size(SMALL, mask="causal"), [wrong, missing], rounds=1)]))
    assert "DIFFERS" in text
    assert "missing: not installed" in text
    assert "pip install nowhere" in text


OF_THIS_RUN = {
    Why.NOT_INSTALLED: {"error": "No module named 'far'", "install": "far"},
    Why.RAISED: {"error": "NoKernel", "message": "for this size"},
    Why.TAKES_TOO_LONG: {"seconds": "200"},
}
REASONS = [Reason(why, OF_THIS_RUN.get(why, {})) for why in Why]


def test_who_is_missing_is_known_by_a_code_and_not_by_words(monkeypatch):
    """Every sentence could be another one, and an exception need not be called an error."""
    monkeypatch.setattr("attention_variants.lab.bench.reasons._SENTENCES", dict.fromkeys(Why, "not equal: an Error"))
    results = [Result(reason.code.value, "", reason=reason) for reason in REASONS]
    said = failures(Bench({}, races=[Race(of_size(SMALL), results)]))
    assert said == sorted(f"{why.value}: not equal: an Error" for why in FAILURES)
    assert set(FAILURES) == {Why.NOT_INSTALLED, Why.NOT_EQUAL, Why.NOT_EQUAL_COMPILED, Why.RAISED}


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.code.value)
def test_a_reason_has_a_sentence_and_is_stored_as_data(reason):
    assert _SENTENCES[reason.code]
    assert "{" not in str(reason)
    assert all(detail in str(reason) for detail in reason.details.values())
    stored = json.loads(json.dumps(Result("x", "1", reason=reason).to_dict()))
    assert stored["reason"] == {"code": reason.code.value, "details": reason.details, "sentence": str(reason)}
    assert Result.from_dict(stored).reason == reason


def test_the_stored_run_has_the_sentences_of_now():
    stored = json.loads((STORED / "bench.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(Bench.load(STORED).to_dict()))["races"] == stored["races"]
    assert {result["reason"] is None for race in stored["races"] for result in race["results"]} == {True, False}


def test_a_guaranteed_size_with_settings_of_your_own_makes_only_the_guarantees_it_can():
    """The fast path takes no part in cross-attention: nothing can be said of it."""
    cross = made_up(
        of_size(SIZES[1], keys=1536, weights=True), variant_6=[1.0, 1.0, 1.0], textbook_class=[2.0, 2.0, 2.0]
    )
    assert {what for what, _ in verdicts(cross)} == {"6 / textbook class"}


@pytest.mark.parametrize("seed", [1, 2])
def test_equality_holds_for_other_numbers(seed, monkeypatch):
    monkeypatch.setattr(Problem, "make", partial(Problem.make, seed=seed))
    workload = of_size(SMALL, mask="causal")
    for contender in BY_NAME.values():
        assert max(check(contender, workload).values()) <= 1e-5, contender.name


def test_a_missing_library_is_named_with_the_command(monkeypatch):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(contenders, "_import", missing)
    reason = BY_NAME["labml-nn"].absent(of_size(SMALL))
    assert reason.code == Why.NOT_INSTALLED
    assert "pip install labml && pip install --no-deps labml-nn" in str(reason)


def test_the_fast_path_is_the_fast_path():
    """PyTorch falls back without a word if one of a dozen conditions does not hold."""
    for mask in ("none", "causal", "padding"):
        for weights in (False, True):
            workload = of_size(SMALL, mask=mask, weights=weights)
            seen = {}
            for name in ("nn.MHA, fast path", "nn.MultiheadAttention"):
                problem = Problem.make(workload)
                adapter = BY_NAME[name].prepare(problem)
                with torch.no_grad(), profile(use_kineto=False) as profiler:
                    adapter(problem.x, problem.memory)
                seen[name] = "aten::_native_multi_head_attention" in {event.name for event in profiler.function_events}
            assert seen == {"nn.MHA, fast path": True, "nn.MultiheadAttention": False}, workload.kind


def test_the_bare_operations_return_the_right_output_and_do_only_five_things():
    problem = Problem.make(of_size(SMALL, mask="causal"))
    bare = BARE.prepare(problem)
    with torch.no_grad(), profile(use_kineto=False) as profiler:
        bare(problem.x, problem.memory)
    top = [event.name for event in profiler.function_events if event.cpu_parent is None]
    assert top == ["aten::linear"] * 3 + ["aten::scaled_dot_product_attention", "aten::linear"]
    assert check(BARE, of_size(SMALL, mask="causal"))["output"] <= 1e-5


# ------------------------------------------------------------------------------------------------ rounds and ratios


def test_the_rounds_are_interleaved():
    order = []

    class Noted(Textbook):
        def __init__(self, problem, name):
            super().__init__(problem)
            self.name = name

        def forward(self, x, memory):
            order.append(self.name)
            return super().forward(x, memory)

    race(of_size(SMALL), [Contender(name, partial(Noted, name=name)) for name in "ABC"], rounds=3)
    # The bare operations stand before A, and the start moves on by one each round.
    assert order[-9:] == list("ABCABCBCA")


def made_up(workload, **seconds):
    results = [
        Result(name.replace("_", " "), "1.0", {"output": 1e-7}, 1e-5, seconds=list(times))
        for name, times in {"bare_operations": [1.0, 1.0, 1.0], **seconds}.items()
    ]
    return Race(workload, results)


def test_ratios_are_taken_round_by_round():
    """The machine halves its speed after the first round: who is twice as slow stays twice as slow."""
    each = made_up(of_size(SMALL), bare_operations=[1.0, 2.0, 2.0, 2.0, 4.0], variant_7=[2.0, 4.0, 4.0, 5.0, 8.0])
    ratio = each.ratio("variant 7")
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)
    ratio = made_up(of_size(SMALL), variant_7=[1.0, 2.0, 3.0]).ratio("variant 7")
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 2.0, 2.5)
    assert str(ratio) == "2.00 ±0.50"


def test_a_ratio_of_what_was_not_timed_says_why():
    unequal = made_up(of_size(SMALL), variant_7=[])
    unequal["variant 7"].reason = Reason(Why.NOT_EQUAL)
    with pytest.raises(ValueError, match="'variant 7' was not timed: not equal"):
        unequal.ratio("variant 7")


class Own(Adapter):
    def __init__(self, problem, num_heads=0):
        super().__init__()
        self.layer, self.mask = problem.layer, problem.mask
        self.num_heads = num_heads or problem.layer.num_heads

    def forward(self, x, memory):
        q, k, v = self.layer.w_q(x), self.layer.w_k(memory), self.layer.w_v(memory)
        context, weights = VARIANTS[6](q, k, v, self.mask, self.num_heads)
        return self.layer.w_o(context), weights


def test_an_adapter_of_ones_own_is_checked_on_a_small_problem():
    workload = of_size((2, 256, 128, 4), mask="causal")
    right = check_adapter(Own, workload)
    assert right
    assert "Own equals the reference" in repr(right)
    wrong = check_adapter(lambda problem: Own(problem, num_heads=4), workload)
    assert not wrong
    assert "differs from the reference: output" in repr(wrong)
    assert "take the sizes from `problem`" in repr(wrong)
    fails = check_adapter(lambda problem: Own(problem, num_heads=5), workload)
    assert not fails
    assert "raises ValueError" in repr(fails)


def verdicts(*races, **settings):
    return {(bound.what, bound.where): bound.met for bound in bounds(Bench({}, races=list(races), **settings))}


def test_the_bound_beside_the_bare_operations_counts_each_workload():
    base = of_size(SIZES[0])
    kept = made_up(base, variant_7=[1.07, 1.08, 1.09])
    missed = made_up(replace(base, mask="causal"), variant_7=[1.08, 1.09, 1.10])
    assert verdicts(kept, missed) == {("7 / bare", "8 × 256"): True, ("7 / bare", "8 × 256 causal"): False}


def test_the_bound_beside_the_others_names_the_best_of_them():
    workload = of_size(SIZES[0], backward=True)
    others = {"slow": [3.0, 3.0, 3.0], "best": [2.0, 2.0, 2.0], "variant_6": [1.0, 1.0, 1.0]}
    within_the_spread = made_up(workload, variant_7=[1.98, 2.02, 2.2], **others)
    beyond_it = made_up(workload, variant_7=[2.02, 2.02, 2.1], **others)
    assert verdicts(within_the_spread) == {("7 / best", "8 × 256 bwd"): True}
    assert verdicts(beyond_it) == {("7 / best", "8 × 256 bwd"): False}


def test_the_bounds_of_variant_6():
    times = {
        "variant_6": [1.5, 1.5, 1.5],
        "variant_5": [3.0, 3.0, 3.0],
        "textbook_class": [2.0, 2.0, 2.0],
        "nn.MultiheadAttention": [1.49, 1.49, 1.49],
        "nn.MHA,_fast_path": [1.5, 1.5, 1.5],
    }
    found = verdicts(made_up(of_size(SIZES[1], mask="causal", weights=True), **times))
    assert {what: met for (what, _), met in found.items()} == {
        "6 / nn.MultiheadAttention": False,
        "6 / nn.MHA, fast path": True,
        "6 / textbook class": True,
        "5 / 6": None,
    }


def test_other_settings_make_no_guarantee():
    assert not verdicts(made_up(of_size(SIZES[0], dtype="bfloat16"), variant_7=[9.0, 9.0, 9.0]))
    assert not verdicts(made_up(of_size(SIZES[0], compiled=True), variant_7=[9.0, 9.0, 9.0]))
    assert not verdicts(made_up(of_size(SMALL), variant_7=[9.0, 9.0, 9.0]))


def power_law(exponent, lengths_run=(1024, 2048, 4096, 8192, 16384), scale=1.0):
    return Curve(list(lengths_run), [scale * T**exponent for T in lengths_run])


def made_up_growth(six=2.0, seven=1.0):
    exponents = dict.fromkeys(range(1, 8), 2.0) | {6: six, 7: seven}
    curves = {number: power_law(p, scale=100.0) for number, p in exponents.items()}
    return Growth({**curves, 1: power_law(2.0, scale=500.0)}, curves, curves, 2**31)


def test_the_bounds_of_growth():
    found = bounds(Bench({}, growth=made_up_growth()))
    assert [(bound.what, bound.measured, bound.met) for bound in found] == [
        ("1 / 2", "5", None),
        ("7: memory, exponent of T", "1.00", True),
        ("6: memory, exponent of T", "2.00", True),
    ]
    found = bounds(Bench({}, growth=made_up_growth(six=1.5, seven=1.2)))
    assert [bound.met for bound in found] == [None, False, False]


def test_what_is_fixed_does_not_flatten_the_growth_of_memory():
    curve = Curve([1024, 2048, 4096, 8192], [5000.0 + T for T in (1024, 2048, 4096, 8192)])
    assert curve.exponent < 0.6
    assert curve.exponent_beyond_fixed == pytest.approx(1.0)


def test_the_bound_of_compilation():
    what = ("2 to 7: torch.compile", "fullgraph=True")
    works = [Compiled(2, 1e-7, 1.0), Compiled(7, 0.0, 1.0)]
    assert verdicts(compiled=works)[what] is True
    assert verdicts(compiled=[works[0], Compiled(4, 1e-2, 1.0), works[1]])[what] is False
    failed = Compiled(5, None, 0.0, "Unsupported: a loop")
    assert verdicts(compiled=[works[0], failed, works[1]])[what] is False
    assert "Unsupported: a loop" in repr(Run(describe_machine(), compiled=[failed]))


# ------------------------------------------------------------------------------------------------ growth


def test_exponents_are_fitted_to_the_longest():
    assert fit_exponent([64, 128, 256, 512], [3.0 * T**1.5 for T in (64, 128, 256, 512)]) == pytest.approx(1.5)
    assert fit_exponent([1, 2, 64, 128, 256, 512], [9e9, 9e9, *(T**2.0 for T in (64, 128, 256, 512))]) == pytest.approx(
        2
    )
    assert np.isnan(fit_exponent([64], [1.0]))


def test_reach_goes_on_along_the_fit():
    curves = made_up_growth()
    assert curves.reach(7) == pytest.approx(2**31 / 100, rel=1e-3)
    assert curves.reach(6) == pytest.approx((2**31 / 100) ** 0.5, rel=1e-3)


def test_memory_grows_with_the_square_but_for_variant_7(quick_run):
    for number in range(2, 8):
        curve = quick_run.growth.tensors[number]
        last = curve.values[-1] / curve.values[-2]
        assert 3.3 < last < 4.0 if number < 7 else last == pytest.approx(2.0, abs=0.05)


def test_a_ladder_stops_before_a_call_is_too_long_or_too_large(monkeypatch):
    assert measure_growth(shortest=16, longest=64, seconds=1e-9).longest(1) == 16
    monkeypatch.setattr(growth, "VARIANTS", range(2, 8))  # variant 1 would take seconds
    found = measure_growth(shortest=16, longest=256, seconds=1.0, budget=2**20)
    assert found.seconds[7].lengths == [16, 32, 64, 128, 256]
    for number in range(2, 7):
        assert found.tensors[number].lengths == found.seconds[number].lengths
        assert found.tensors[number].lengths[-1] < 256
        assert max(found.tensors[number].values) <= 2**20


@pytest.mark.skipif(
    not growth.Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process reset its peak"
)
def test_the_peak_of_a_process_is_that_of_its_tensors():
    scores = 8 * 1024 * 1024 * 4
    assert 2 * scores <= peak_of_process(6, 1024) <= 2.7 * scores
    assert peak_of_process(7, 1024) <= scores / 4


def test_where_the_system_does_not_say_the_tensors_do(monkeypatch):
    monkeypatch.setattr(growth, "peak_of_process", lambda variant, T: None)
    monkeypatch.setattr(growth, "VARIANTS", (6,))  # variant 1 would take minutes
    found = measure_growth(shortest=512, longest=512, seconds=1e-9)
    assert found.process == {}
    assert found.memory(6) is found.tensors[6]


# ------------------------------------------------------------------------------------------------ shares, compilation


@pytest.mark.parametrize("mask", ["none", "causal", "padding"])
def test_variant_7_copies_nothing(mask):
    shares = measure_shares(7, of_size((2, 20, 16, 2), mask=mask), calls=1)
    assert {part for part in PARTS if shares[part]} <= {"projections", "fused kernel", "mask", "other"}
    assert mask == "padding" or not shares["mask"]


def test_variant_6_multiplies_and_masks():
    shares = measure_shares(6, of_size((2, 20, 16, 2), mask="causal"), calls=1)
    assert {part for part in PARTS if shares[part]} >= {"projections", "scores", "mask", "softmax", "weighted sum"}
    assert shares["fused kernel"] == 0


def test_a_variant_that_does_not_compile_is_reported(monkeypatch):
    def refuse(function, **settings):
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(compiled.torch, "compile", refuse)
    found = compile_variant(6)
    assert not found.works
    assert found.failure == "RuntimeError: no compiler"


def test_a_compiled_variant_is_held_against_itself(monkeypatch):
    monkeypatch.setattr(compiled.torch, "compile", lambda function, **settings: function)
    assert all(compile_variant(number).works for number in compiled_variants())
    monkeypatch.setattr(
        compiled.torch, "compile", lambda function, **settings: lambda *inputs: [2 * x for x in function(*inputs)]
    )
    assert not compile_variant(6).works


# ------------------------------------------------------------------------------------------------ workloads


def test_the_full_run_has_every_setting():
    races = full()
    assert {(w.batch, w.queries, w.d_model, w.heads) for w in races} == set(SIZES)
    assert len(races) == len(set(races))
    for has in (
        lambda w: w.mask == "causal",
        lambda w: w.mask == "padding",
        lambda w: not w.is_self,
        lambda w: w.backward,
        lambda w: w.weights,
        lambda w: w.dtype == "bfloat16",
        lambda w: w.compiled,
    ):
        assert any(map(has, races))
        assert not all(map(has, races))
    assert {w.kind for w in full() if not w.compiled} >= {w.kind for w in quick()}


def test_the_small_problem_keeps_the_kind_and_shows_swapped_axes():
    for w in full():
        assert w.small().kind == w.kind
        problem = Problem.make(w.small())
        assert problem.x.shape == (2, 5, 16)
        assert problem.memory.shape == ((2, 5, 16) if w.is_self else (2, 7, 16))
        assert (problem.memory is problem.x) == w.is_self


def test_lengths_differ_and_none_is_empty():
    assert lengths(2, 7) == [5, 3]
    assert all(1 <= length < 256 for length in lengths(8, 256))
    assert len(set(lengths(8, 256))) == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keys": 7, "mask": "causal"}, "causal workload needs T_q = T_k"),
        ({"mask": "upper"}, "none, causal or padding"),
        ({"dtype": "float16"}, "float32 or bfloat16"),
    ],
)
def test_a_workload_says_what_is_wrong(settings, words):
    with pytest.raises(ValueError, match=words):
        of_size(SMALL, **settings)


def test_a_size_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="heads that divide d_model"):
        of_size((2, 5, 9, 2))


# ------------------------------------------------------------------------------------------------ figures


def test_the_race_figure_draws_the_medians():
    races = [
        made_up(of_size(SIZES[0]), variant_7=[1.0, 1.2, 1.3], textbook_class=[2.0, 2.2, 2.4]),
        made_up(of_size(SIZES[0], mask="causal"), variant_7=[1.4, 1.4, 1.4]),
        made_up(of_size(SIZES[0], backward=True), variant_7=[1.1, 1.1, 1.1]),
        made_up(of_size(SIZES[0], mask="padding"), variant_7=[9.0, 9.0, 9.0]),
        made_up(of_size(SIZES[1], mask="causal", weights=True), variant_7=[3.0, 3.0, 3.0]),
    ]
    figure = draw_all(Bench(describe_machine(), races=races))["race"]
    without, with_weights = figure.axes
    assert [label.get_text() for label in without.get_yticklabels()] == ["variant 7", "textbook class"]
    drawn = [
        (line.get_marker(), float(line.get_xdata()[0])) for line in without.lines if line.get_marker() in ("o", "D")
    ]
    assert sorted(drawn) == [("D", 1.4), ("o", 1.1), ("o", 1.2), ("o", 2.2)]
    assert [line.get_xdata()[0] for line in with_weights.lines if line.get_marker() == "D"] == [3.0]
    assert machine_in_words(describe_machine()) in figure.texts[-1].get_text()


def test_the_ranking_puts_the_fastest_on_top_and_says_who_ran_a_kernel():
    each = made_up(of_size(SIZES[0]), textbook_class=[2.0, 2.2, 2.4], variant_7=[1.0, 1.2, 1.3])
    each["variant 7"].kernel = "flash_attention_for_cpu"
    figure = plot_ranking(Bench(describe_machine(), races=[each]), {"a title": each})
    (ax,) = figure.axes
    assert ax.get_title() == "a title"
    assert ax.yaxis_inverted()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["variant 7", "textbook class"]
    marks = [(line.get_marker(), float(line.get_xdata()[0])) for line in ax.lines if line.get_marker() in ("o", "s")]
    assert marks == [("o", 1.2), ("s", 2.2)]
    plt.close(figure)


def test_the_growth_figure_draws_the_curves():
    figure = draw_all(Bench(describe_machine(), growth=made_up_growth()))["growth"]
    time_ax, memory_ax = figure.axes
    named = [text.get_text() for text in time_ax.get_legend().get_texts()]
    assert named == [line.get_label() for line in time_ax.lines]
    assert list(time_ax.lines[6].get_ydata()) == [100.0 * T for T in (1024, 2048, 4096, 8192, 16384)]
    assert memory_ax.lines[6].get_ydata()[0] == pytest.approx(100.0 * 1024 / 2**20)
    assert {text.get_text() for text in memory_ax.texts} >= {"7:  $T^{1.0}$", "1 to 6:  $T^{2.0}$", "2 GiB"}


def test_the_shares_figure_draws_percents():
    shares = {6: dict.fromkeys(PARTS, 0.001), 7: {**dict.fromkeys(PARTS, 0.0), "fused kernel": 0.004}}
    (ax,) = draw_all(Bench(describe_machine(), shares=shares, shares_of="x"))["shares"].axes
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[: len(PARTS)] == pytest.approx([100 / len(PARTS)] * len(PARTS))
    assert widths[len(PARTS) :] == [100.0 if part == "fused kernel" else 0.0 for part in PARTS]


# ------------------------------------------------------------------------------------------------ the stored run


def test_the_stored_run_is_whole_and_its_bounds_are_what_the_code_makes_of_it():
    stored = Bench.load(STORED)
    assert stored.all_equal
    assert not stored.quick
    assert [each.workload for each in stored.races] == full()
    assert all(len(result.seconds) >= 6 for each in stored.races for result in each.timed)
    written = json.loads((STORED / "bench.json").read_text())
    assert written["bounds"] == json.loads(json.dumps([asdict(bound) for bound in bounds(stored)]))
    for name in ("race", "growth", "shares"):
        assert (STORED / f"{name}.png").exists()
        assert (STORED / f"{name}.svg").exists()


def test_the_readme_tells_what_the_stored_run_measured():
    stored, readme = Bench.load(STORED), (STORED.parents[1] / "README.md").read_text()
    assert stored.caption in readme
    found: dict[str, list[float]] = {}
    for bound in bounds(stored):
        key = "7 / best" if bound.what.startswith("7 / ") and bound.what != "7 / bare" else bound.what
        if bound.measured != "works":
            found.setdefault(key, []).append(float(bound.measured.split(" ±")[0].replace(",", "")))
    rows = [line for line in readme.splitlines() if line.startswith("| ")]

    def row(words: str) -> str:
        (only,) = (line for line in rows if words in line)
        return only

    for words, what in (
        ("the bare operations, forward", "7 / bare"),
        ("the best of the others", "7 / best"),
        ("variant 1", "5 / 6"),
    ):
        assert f"| {min(found[what]):.2f} to {max(found[what]):.2f}" in row(words)
    assert f"| {found['6 / nn.MultiheadAttention'][0]:.2f} " in row("on its fast path")
    assert f"; {found['6 / nn.MHA, fast path'][0]:.2f} |" in row("on its fast path")
    assert f"| {found['6 / textbook class'][0]:.2f} |" in row("textbook class, weights")
    assert f"; {found['1 / 2'][0]:,.0f} |" in row("variant 1")
    assert f"| T^{found['7: memory, exponent of T'][0]:.2f} |" in row("peak memory of variant 7")


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_runs_one_problem_of_your_own(tmp_path, capsys):
    status = cli.main(
        ["bench", "--sizes", "2,5,8,2", "--mask", "causal", "--weights", "--rounds", "1", "--out", str(tmp_path)]
    )
    assert status == 0
    assert "variant 6" in capsys.readouterr().out
    (only,) = Bench.load(tmp_path).races
    assert only.workload == of_size(SMALL, mask="causal", weights=True)


def test_the_command_fails_if_somebody_is_not_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "all_contenders", lambda: (Contender("variant 6", Inverted, gives_weights=True),))
    arguments = ["bench", "--sizes", "2,5,8,2", "--mask", "causal", "--rounds", "1", "--out", str(tmp_path)]
    assert cli.main(arguments) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--keys", "7"], "go with --sizes"),
        (["--backward"], "go with --sizes"),
        (["--sizes", "2,5,9,2"], "divide d_model"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, words, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_size_that_is_no_size_is_refused(capsys):
    assert cli.main(["bench", "--sizes", "2,5"]) == 2
    assert "four whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"), [({"device": "tpu"}, "got 'tpu'"), ({"rounds": 0}, "at least 1; got 0")]
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        bench([of_size(SMALL)], **settings)


def test_parts_are_checked():
    with pytest.raises(
        ValueError, match="parts must be among races, growth, shares, decoding, training, compile; got speed"
    ):
        bench(parts=["speed"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_without_a_gpu_the_error_says_so():
    with pytest.raises(ValueError, match="sees no CUDA GPU"):
        bench(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_on_a_gpu_everybody_is_equal_and_the_kernel_is_named():
    result = bench([of_size((2, 64, 64, 4)), of_size((2, 64, 64, 4), backward=True)], rounds=2, device="cuda")
    assert result.all_equal
    assert "gpu" in result.machine
    for each in result.races:
        assert each["variant 7"].kernel
        assert each["variant 7"].memory > 0
        assert all(seconds > 0 for seconds in each["variant 7"].seconds)


def test_our_layer_is_compiled_as_one_graph(monkeypatch):
    """A compiled race asks for one graph of ours, and takes of the others what it gets."""
    asked = {}

    def note(module, *, fullgraph, dynamic):
        asked[type(module)] = fullgraph
        return module

    monkeypatch.setattr(torch, "compile", note)
    race(of_size(SMALL, compiled=True), [BY_NAME["variant 7"], BY_NAME["textbook class"]], rounds=1)
    assert asked == {Ours: True, Textbook: False}


def test_every_contender_is_an_adapter_of_a_library_at_hand():
    for contender in BY_NAME.values():
        assert not contender.absent(of_size(SMALL, mask="causal"))
        assert isinstance(contender.prepare(Problem.make(of_size(SMALL, mask="causal"))), Adapter)
        assert contender.version
