"""After the seven: `check` with a public name. Every entry is named alone, and right code passes in any style."""

from __future__ import annotations

import html
import math
import re

import pytest
import torch
from goal_strangers import WRONG
from goal_styles import RIGHT

import attention_variants as av
from attention_variants.classroom import wording
from attention_variants.classroom.check import Submission
from attention_variants.classroom.goals import GOALS
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake, of_goal
from attention_variants.classroom.nbgrader.points import grade
from attention_variants.classroom.nbgrader.preprocessors import code_to_repair
from attention_variants.classroom.sandbox.lock import is_closed
from attention_variants.classroom.wording.goals import QUESTIONS

ENTRIES = [(name, mistake) for name in GOALS for mistake in of_goal(name).values()]
#: Mistakes that are in no variant.
AFTER = {mistake.name: mistake for _, mistake in ENTRIES if not mistake.variants and not mistake.forward}

LISTS = """
import torch

class Cache:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, -2), torch.cat(self.v, {axis})
"""


def names_of(report: av.classroom.check.GoalReport) -> list[str]:
    return [mistake.name for mistake in report.misconceptions]


# -------------------------------------------------------------------------------------------------- the catalogue


def test_there_are_at_least_forty_over_all_goals():
    assert len(AFTER) >= 40
    assert {name for name, _ in ENTRIES} == set(GOALS)
    assert all(MISCONCEPTIONS[name] is mistake for name, mistake in AFTER.items())


@pytest.mark.parametrize(("goal", "mistake"), ENTRIES, ids=lambda one: getattr(one, "name", one))
def test_every_entry_is_caught_and_named_alone(goal: str, mistake: Mistake):
    for form in mistake.forms(goal):
        report = av.check(form, goal)
        assert not report
        assert names_of(report) == [mistake.name]
        assert report.looks_like is mistake
        for words in (str(report), html.unescape(report._repr_html_())):
            assert mistake.explanation in words
            assert mistake.hint in words


@pytest.mark.parametrize("mistake", AFTER.values(), ids=AFTER)
def test_an_entry_says_what_a_student_needs(mistake: Mistake):
    assert re.fullmatch("[a-z0-9_]+", mistake.name)
    assert mistake.goal == mistake.goals[0]
    assert mistake.function is mistake.implementations[mistake.goal]
    assert mistake.right is GOALS[mistake.goal].right
    assert mistake.shows
    assert mistake.shows[-1] != "."
    assert mistake.seen == "common" or re.fullmatch(r"https://github\.com/[\w./-]+/(issues|pull)/\d+", mistake.seen)
    for sentence, ends in ((mistake.explanation, "."), (mistake.hint, ".?")):
        assert sentence[-1] in ends, sentence
        assert not re.search(r"[.?!] [A-Z]", sentence), f"one sentence: {sentence}"
        assert not re.search(r"[^\s,]*[=@~*][^\s,]*", mistake.hint), "code in a hint"


def test_a_mistake_in_variants_too_has_both():
    mistake = MISCONCEPTIONS["scale_by_d_model"]
    assert mistake.variant == 5
    assert mistake.function is mistake.functions[5]
    assert mistake.right is av.VARIANTS[5]
    assert mistake.goals == ("grouped_query_attention", "latent_attention")
    q, k, v = torch.randn(3, 5, 8)
    q = torch.cat([q, q], dim=-1)
    wrong, _ = mistake.implementations["grouped_query_attention"](q, k, v, None, 4, 2)
    assert not torch.allclose(wrong, av.grouped_query_attention(q, k, v, None, 4, 2)[0])


def test_the_wrong_code_is_the_right_one_with_a_change():
    mistake = MISCONCEPTIONS["top_p_without_renormalising"]
    removed = [line for line in str(av.diff(mistake.right, mistake.function)).splitlines() if line.startswith("-")]
    assert removed == [
        "- def sampling_probabilities(",
        "-         probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)",
    ]
    mistake = MISCONCEPTIONS["cache_not_reordered"]
    assert "self.k[items]" in str(av.diff(mistake.right.reorder, mistake.function.reorder))


def test_the_code_can_be_handed_out_for_repair():
    code = code_to_repair("repeat_for_repeat_interleave", "grouped_query_attention", "mine")
    names: dict = {"torch": torch, "math": math}
    exec(code, names)
    assert "check_" not in code
    assert names_of(av.check(names["mine"], "grouped_query_attention")) == ["repeat_for_repeat_interleave"]


def test_an_entry_that_no_longer_fits_its_source_says_so():
    stale = Mistake("stale", "", "", of_goals={"apply_rotary": (("what does not stand there", ""),)})
    with pytest.raises(ValueError, match="does not stand in apply_rotary"):
        next(stale.forms("apply_rotary"))


# ------------------------------------------------------------------------------------------------ other hands


@pytest.mark.parametrize(("made", "goal", "fair"), WRONG, ids=lambda one: getattr(one, "__name__", ""))
def test_wrong_code_of_other_hands_is_caught_and_named(made, goal: str, fair: frozenset[str]):
    report = av.check(made, goal)
    assert not report
    assert set(names_of(report)) <= fair
    assert bool(names_of(report)) == bool(fair)


def test_there_are_enough_other_hands():
    assert len({name for _, _, fair in WRONG for name in fair}) >= 20
    assert len(RIGHT) >= 15
    assert {goal for _, goal in RIGHT} == {goal for _, goal, _ in WRONG} == set(GOALS)


@pytest.mark.parametrize(("made", "goal"), RIGHT, ids=lambda one: getattr(one, "__name__", ""))
def test_right_code_passes_however_it_is_written(made, goal: str):
    report = av.check(made, goal)
    assert report, str(report)
    assert report.score == 1.0
    assert not report.misconceptions


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("exam", [0, 7])
def test_our_own_passes_whatever_the_numbers(goal: str, exam: int):
    report = av.check(GOALS[goal].right, goal, exam=exam)
    assert report, str(report)
    assert not report.lacks


@pytest.mark.parametrize(("goal", "mistake"), ENTRIES[::5], ids=lambda one: getattr(one, "name", one))
def test_other_numbers_name_the_same(goal: str, mistake: Mistake):
    assert names_of(av.check(next(mistake.forms(goal)), goal, exam=12)) == [mistake.name]


# ---------------------------------------------------------------------------------------------- what is asked for


def test_what_is_not_there_is_not_asked_and_the_report_says_so():
    def alone(x, positions):
        return av.apply_rotary(x, positions)

    report = av.check(alone, "apply_rotary")
    assert report
    assert report.lacks == ("base", "pairs", "rotary_dim", "scaling")
    assert "Not asked, for it is not there: base, pairs, rotary_dim and scaling." in str(report)
    report = av.check(alone, "apply_rotary", needs=["pairs"])
    assert not report
    assert [finding.code for finding in report.findings] == ["missing"]
    assert "It does not have pairs." in str(report)
    assert report.lacks == ("base", "rotary_dim", "scaling")


def test_any_name_may_be_taken_by_keyword():
    assert not av.check(lambda x, positions, **options: av.apply_rotary(x, positions, **options), "apply_rotary").lacks


def test_other_names_of_the_parameters_pass():
    assert av.check(lambda one, where: av.apply_rotary(one, where), "apply_rotary")


def test_an_attribute_made_when_the_class_is_made_counts():
    class Sees(av.RollingKVCache):
        pass

    assert "seen" not in av.check(Sees, "RollingKVCache").lacks


# ------------------------------------------------------------------------------------------------------ findings


def test_the_report_shows_the_call_the_numbers_and_the_name():
    report = av.check(MISCONCEPTIONS["cache_not_reordered"].function, "KVCache")
    assert str(report) == "\n".join(
        [
            "cache_not_reordered is not yet KVCache: 10 of 11 questions are answered rightly.",
            "It first goes wrong where the items of the batch are reordered.",
            *str(report).splitlines()[2:9],
            f"This looks like cache not reordered. {MISCONCEPTIONS['cache_not_reordered'].explanation}",
            f"Think about: {MISCONCEPTIONS['cache_not_reordered'].hint}",
        ]
    )
    found = str(report).splitlines()[2:9]
    assert re.fullmatch(r"\d+ of 108 numbers of k are wrong, first in k\[\d\]\[\d\]\[\d\]:", found[0])
    assert found[1:5] == [
        "  cache = KVCache()",
        "  cache.append(k, v), k (3, 3, 2, 4), v (3, 3, 2, 5)",
        "  cache.reorder(tensor([2, 0, 0]))",
        "  cache.append(k, v), k (3, 3, 1, 4), v (3, 3, 1, 5)",
    ]
    assert found[5].startswith("  it gives  [")
    assert found[6].startswith("  expected  [")
    assert report.score == 0.904  # of 12.5, the weights together, 1.5 for this one, of which a fifth is kept
    assert report.failed == "where the items of the batch are reordered"


def test_an_exception_comes_with_its_line_and_shapes():
    def rotary(x, positions):
        return x + positions[None]

    words = str(av.check(rotary, "apply_rotary"))
    assert "It raised RuntimeError: The size of tensor" in words
    assert "return x + positions[None]" in words
    assert "x (2, 3, 5, 8), positions (5,)" in words


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda x: x, "It is called as apply_rotary(x, positions); this one takes (x)."),
        (lambda x, positions: None, "turned is None; expected is torch.float64."),
        (lambda x, positions: x.float(), "turned has dtype torch.float32; expected is torch.float64."),
        (lambda x, positions: x[..., :2], "turned has shape (2, 3, 5, 2); expected is (2, 3, 5, 8)."),
        (lambda x, positions: av.apply_rotary(x, positions).detach(), "but the gradient of x is not"),
        (lambda x, positions: (av.apply_rotary(x, positions), x.data.zero_())[0], "it writes into x"),
        (lambda x, positions: exit(), "It raised SystemExit"),
    ],
)
def test_what_is_wrong_is_said(made, words: str):
    assert words in str(av.check(made, "apply_rotary"))


def test_one_thing_in_place_of_two_is_said():
    words = str(av.check(lambda q, k, v, mask, num_heads, num_kv_heads: q, "grouped_query_attention"))
    assert "It returns Tensor; expected is context and weights." in words


def test_nothing_written_is_said():
    class Cache:
        def append(self, k, v):
            raise NotImplementedError

    report = av.check(Cache, "KVCache")
    assert report.not_written
    assert str(report) == "Cache is not yet KVCache.\nNothing is written there yet: it raises NotImplementedError."
    assert "Nothing is written there yet" in report._repr_html_()


def test_an_exception_of_another_kind_is_not_taken_for_a_mistake():
    def fails(q, k, v, cache, num_heads, num_kv_heads):
        raise RuntimeError("something else, of size 12 and 13")

    assert not names_of(av.check(fails, "attend_with_cache"))


def test_what_never_ends_is_stopped():
    def endless(x, positions):
        while True:
            pass

    report = av.check(endless, "apply_rotary", seconds=0.2)
    assert "It did not finish within 0.2 seconds" in str(report)
    assert not report.misconceptions


def test_two_mistakes_are_both_named():
    class Both(av.KVCache):
        def reorder(self, items):
            return None

        def mask(self, T_new):
            return torch.ones(T_new, T_new, dtype=torch.bool).tril()

    assert set(names_of(av.check(Both, "KVCache"))) == {"cache_not_reordered", "mask_of_the_new_tokens_alone"}


def test_what_a_class_remembers_is_gone_at_the_next_check():
    class Shared:
        k: list = []  # noqa: RUF012
        v: list = []  # noqa: RUF012

        def append(self, k, v):
            self.k.append(k)
            self.v.append(v)
            return torch.cat(self.k, -2), torch.cat(self.v, -2)

    first, second = (str(av.check(Shared, "KVCache")) for _ in range(2))
    assert first == second
    assert "cache shared by instances" in first
    assert Shared.k == []


def test_what_it_prints_is_left_out():
    def chatty(x, positions):
        print("here")
        return av.apply_rotary(x, positions)

    assert "It printed" in str(av.check(chatty, "apply_rotary"))


# ------------------------------------------------------------------------------------------------------ isolated


def test_a_submission_is_judged_in_another_process():
    right = Submission(LISTS.format(axis=-2), "Cache")
    wrong = Submission(LISTS.format(axis=-2).replace("self.k.append(k)", "self.k.insert(0, k)"), "Cache")
    assert av.check(right, "KVCache")
    report = av.check(wrong, "KVCache")
    assert not report
    assert report.findings[0].code == "values"
    nothing = av.check(Submission("x = 1", "Cache"), "KVCache")
    assert nothing.score == 0.0
    assert "There is nothing to judge" in str(nothing)


@pytest.mark.parametrize("name", ["cache_puts_the_new_first", "cache_without_gradient"])
def test_isolated_says_the_same(name: str):
    function = MISCONCEPTIONS[name].function
    assert str(av.check(function, "KVCache", isolated=True)) == str(av.check(function, "KVCache"))


def test_a_crash_there_does_no_harm_here():
    report = av.check(Submission("import os\ndef rotary(x, positions):\n    os._exit(0)", "rotary"), "apply_rotary")
    assert not report
    assert "ended" in str(report)


def test_the_process_that_runs_the_code_has_the_questions_and_not_the_mistakes():
    for module in ("check_goal", "report_goal", "misconceptions", "misconceptions.cache", "wording.goals"):
        assert is_closed(f"attention_variants.classroom.{module}")
    for module in ("goals", "goals.cache", "contract.noted"):
        assert not is_closed(f"attention_variants.classroom.{module}")


def test_points_for_a_name():
    points = grade(Submission(LISTS.format(axis=-2), "Cache"), "KVCache", points=5)
    assert points == 5.0
    assert "Cache computes what KVCache does." in points._repr_html_()
    needing = grade(Submission(LISTS.format(axis=-2), "Cache"), "KVCache", points=7, needs=["reorder"])
    assert needing == 5.5  # reorder weighs 1.5 of 7


# ----------------------------------------------------------------------------------------------------- bad input


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match=r"one of KVCache, RollingKVCache, .*DecoderLayer; got 'rope'\."):
        av.check(av.apply_rotary, "rope")
    with pytest.raises(ValueError, match=r"needs may name .* base, pairs, rotary_dim, scaling; got 'bases'"):
        av.check(av.apply_rotary, "apply_rotary", needs=["bases"])
    with pytest.raises(TypeError, match="needs belongs to public names"):
        av.check(av.attention_matmul, 2, needs=["mask"])
    with pytest.raises(TypeError, match="fn must be a function; got int"):
        av.check(3, "apply_rotary")
    with pytest.raises(TypeError, match="exam must be a whole number"):
        av.check(av.apply_rotary, "apply_rotary", exam=1.5)


def test_every_question_has_its_words_and_no_words_are_left_over():
    assert set(QUESTIONS) == {f"{name}.{q.key}" for name, goal in GOALS.items() for q in goal.questions}
    for goal in GOALS.values():
        assert len({question.key for question in goal.questions}) == len(goal.questions)
    assert wording.question("apply_rotary", "base") == "with another base"
