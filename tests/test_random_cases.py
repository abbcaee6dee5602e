"""The script that draws cases: what it draws, what it says, and that it finds what is wrong."""

from __future__ import annotations

import pytest
import random_cases
import torch

pytestmark = pytest.mark.numeric

CASES = range(300)


def test_a_number_is_a_case():
    one, dtype = random_cases.draw(17)
    again, same_dtype = random_cases.draw(17)
    assert one.name == again.name
    assert dtype == same_dtype
    assert torch.equal(one.q, again.q)
    assert not torch.equal(one.q.flatten()[:1], random_cases.draw(18)[0].q.flatten()[:1])


def test_what_is_drawn():
    drawn = [random_cases.draw(case) for case in CASES]
    problems = [problem for problem, _ in drawn]
    assert {dtype for _, dtype in drawn} == {torch.float32, torch.float64}
    assert {problem.q.shape[-2] for problem in problems} == set(range(1, 10))
    assert {problem.k.shape[-2] for problem in problems} >= set(range(1, 10))
    assert max(problem.k.shape[-2] for problem in problems) > 20
    assert {problem.num_heads for problem in problems} == {1, 2, 3}
    assert {problem.q.ndim for problem in problems} == {2, 3, 4}
    assert {problem.is_causal for problem in problems} == {True, False}
    assert {problem.mask is None for problem in problems} == {True, False}
    assert any(not problem.allowed.any(dim=-1).all() for problem in problems)
    for kind in ("equal keys", "one large keys", "rows with no key", "mask: causal", "mask: padding"):
        assert any(kind in problem.name for problem in problems), kind
    sizes = [problem.q.abs().max().item() for problem in problems]
    assert min(sizes) == 0
    assert min(size for size in sizes if size) < 0.01
    assert max(sizes) > 300
    assert max(problem.allowed.numel() for problem in problems) <= random_cases.LARGEST_PROBLEM
    for problem, dtype in drawn:
        assert torch.equal(problem.q.to(dtype).double(), problem.q)


def test_every_variant_passes_and_its_largest_errors_are_told(capsys):
    seen = random_cases.measure(range(30))
    assert seen.passed == dict.fromkeys(random_cases.LIFTED, 30)
    lines = list(random_cases.lines_about(seen, range(30)))
    assert lines[0].startswith("cases 0 to 29, ")
    assert [line.split()[:2] for line in lines[3:]] == [[str(variant), "30"] for variant in random_cases.LIFTED]
    assert random_cases.main(["--case", "3"]) == 0
    told = capsys.readouterr().out
    assert "case 3: batch" in told
    assert told.count("passed; errors as a share of their bounds: weights 0.") == len(random_cases.LIFTED)


def test_a_wrong_variant_is_found_and_the_case_can_be_run_again(monkeypatch, capsys):
    right = random_cases.LIFTED[6]
    wrong = {6: right, 7: lambda q, *args, **options: right(q * 1.001, *args, **options)}
    monkeypatch.setattr(random_cases, "LIFTED", wrong)
    seen = random_cases.measure(range(30))
    assert seen.passed[6] == 30
    assert seen.passed[7] + len(seen.failed) == 30
    case, variant, fault = seen.failed[0]
    assert variant == 7
    assert "times what rounding explains" in fault
    text = "\n".join(random_cases.lines_about(seen, range(30)))
    assert f"--case {case}" in text
    assert f"variant 7: {fault}" in text

    monkeypatch.setattr(random_cases, "measure_all", lambda cases, jobs: random_cases.measure(cases))
    assert random_cases.main(["--cases", "30"]) == 1
    assert random_cases.main(["--case", str(case)]) == 1
    assert fault in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_takes_the_cases_in_chunks(monkeypatch):
    monkeypatch.setattr(random_cases, "CHUNK", 3)
    seen = random_cases.measure_all(range(100, 107), jobs=1)
    assert set(seen.passed.values()) == {7}
    assert seen.largest == random_cases.measure(range(100, 107)).largest


@pytest.mark.parametrize("arguments", [["--cases", "0"], ["--jobs", "0"], ["--start", "-1"], ["--case", "-1"]])
def test_numbers_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit):
        random_cases.main(arguments)
    assert "at least" in capsys.readouterr().err
