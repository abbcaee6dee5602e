"""Who leaves the work to the package gets no points for it; and what a question about a goal is worth."""

from __future__ import annotations

import sys

import pytest
from course_strangers import COURSE_STRANGERS

import attention_variants as av
from attention_variants.classroom.check import Submission
from attention_variants.classroom.goals import GOALS
from attention_variants.classroom.grading_scheme import KEPT_OF_A_QUESTION, QUESTIONS, score_of_questions
from attention_variants.classroom.sandbox.ready_made import watching

HEAD = "import math\nimport torch\nimport attention_variants as av\n"

#: Ways to leave the work to the package: the goal, and the code.
READY_MADE = {
    "its name": ("apply_rotary", "from attention_variants import apply_rotary as mine"),
    "a call": (
        "grouped_query_attention",
        "def mine(q, k, v, mask=None, num_heads=1, num_kv_heads=1):\n"
        "    return av.grouped_query_attention(q, k, v, mask, num_heads, num_kv_heads)",
    ),
    "another module": (
        "sampling_probabilities",
        "from attention_variants.model import sampling\n"
        "def mine(logits, **options):\n    return sampling.sampling_probabilities(logits, **options)",
    ),
    "derived": ("KVCache", "class mine(av.KVCache):\n    pass"),
    "one inside": (
        "KVCache",
        "class mine:\n    def __init__(self):\n        self.inside = av.KVCache()\n"
        "    def append(self, k, v):\n        return self.inside.append(k, v)",
    ),
}


@pytest.mark.parametrize("way", READY_MADE)
def test_what_is_ready_made_is_right_and_gets_nothing_where_rules_are_asked_for(way):
    goal, code = READY_MADE[way]
    submission = Submission(HEAD + code, "mine")
    assert av.check(submission, goal)
    names: dict = {}
    exec(HEAD + code, names)
    for work in (submission, names["mine"]):
        report = av.check(work, goal, rules=True)
        assert report.ready_made
        assert not report
        assert report.score == 0
        assert not report.findings
        assert f"leaves the work to {goal} of the package" in str(report)
        assert f"leaves the work to {goal} of the package" in report._repr_html_()


@pytest.mark.parametrize("name", COURSE_STRANGERS)
def test_work_of_one_s_own_is_not_ready_made(name):
    for student, one in COURSE_STRANGERS[name].items():
        for code in one.cells.values():
            goal = next(goal for goal in GOALS if f"def {goal}(" in code or f"class {goal}:" in code)
            report = av.check(Submission(HEAD + code, goal), goal, rules=True)
            assert not report.ready_made, student
            assert report.passed or one.wrong


def test_a_part_that_is_ready_made_is_no_work_of_one_s_own_and_an_instance_does_no_harm():
    whole = COURSE_STRANGERS["9_cache"]["row_by_row"].cells["function"]
    with_one = whole.replace("def __init__(self):\n", "def __init__(self):\n        self.other = av.KVCache()\n")
    assert with_one != whole
    assert av.check(Submission(HEAD + with_one, "KVCache"), "KVCache", rules=True)
    derived = whole.replace("class KVCache:", "class mine(av.KVCache):").replace("def __len__(", "def length(")
    assert av.check(Submission(HEAD + derived, "mine"), "KVCache", rules=True).ready_made


def test_the_watch_counts_calls_and_leaves_nothing_behind():
    before = sys.getprofile()
    with watching(av.KVCache) as counts:
        cache = av.KVCache()
        assert not counts
        assert len(cache) == 0
    assert counts["library"] == 1
    assert sys.getprofile() is before
    len(cache)
    assert counts["library"] == 1


def test_questions_have_their_weights_and_wrong_answers_keep_a_part():
    asked = ("plain", "top_k_and_top_p")
    of = 0.5 + 1.5
    assert score_of_questions("sampling_probabilities", asked, {}) == 1
    assert score_of_questions("sampling_probabilities", asked, {"plain": "failed"}) == 1.5 / of
    assert score_of_questions("sampling_probabilities", asked, {"top_k_and_top_p": "values"}) == (0.5 + 0.2 * 1.5) / of
    assert score_of_questions("sampling_probabilities", asked, dict.fromkeys(asked, "shape")) == 0


def test_a_class_that_is_written_in_part_hears_what_is_not():
    whole = COURSE_STRANGERS["9_cache"]["row_by_row"].cells["function"]
    part = whole.replace("del self.keys[length:], self.values[length:]", "raise NotImplementedError")
    report = av.check(Submission(HEAD + part, "KVCache"), "KVCache")
    assert not report.not_written
    assert report.score > 0.8
    assert "It first goes wrong where it is trimmed" in str(report)
    assert "Nothing is written" not in str(report)
    nothing = whole.replace("self.keys, self.values = [], []", "raise NotImplementedError")
    assert "Nothing is written there yet" in str(av.check(Submission(HEAD + nothing, "KVCache"), "KVCache"))


def test_every_weight_is_that_of_a_question():
    keys = {f"{goal.name}.{question.key}" for goal in GOALS.values() for question in goal.questions}
    assert set(QUESTIONS) <= keys
    assert all(0 < kept < 1 for kept in KEPT_OF_A_QUESTION.values())
