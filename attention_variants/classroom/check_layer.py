"""Is a module the multi-head layer? Its heads are asked what variant 6 is, its projections about real sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from attention_variants.variants import VARIANTS, multihead_attention

from . import grading_scheme
from .check import check, prints_of, run_exam
from .contract.answer import Answer
from .contract.evidence import Breach, Evidence, Finding, Missing, first_row, row
from .contract.problems import REAL, Exam, Problem, check_number
from .contract.reference import far_from_the_layer
from .misconceptions import Mistake, of_the_layer
from .report import Report
from .sandbox import adapters
from .sandbox.limits import MEMORY, SECONDS_OF_A_LAYER
from .sandbox.rules import READY_MADE_RULES
from .sandbox.submission import Submission

#: The variant that is left of a layer when its projections do nothing: one with a mask and heads. A layer need not have
#: dropout, is_causal or need_weights, so it is none that takes these. Two variants take just a mask and heads: this is
#: the one with all heads in one product; the rules in which they differ are not asked of a layer.
HEADS = next(number for number, function in VARIANTS.items() if function is multihead_attention)


def check_layer(
    layer: Callable[..., nn.Module] | Submission,
    *,
    isolated: bool = False,
    rules: bool = False,
    exam: int = 0,
    seconds: float = SECONDS_OF_A_LAYER,
    memory: int = MEMORY,
) -> Report:
    """Hold a module against what `MultiHeadAttention` guarantees, and say what is wrong in words.

    First its projections are made to do nothing: what is left must be multi-head attention, and is checked as variant 6
    is. Then it gets the weights of the real layer, and must make of real sentences what that makes of them.

    Parameters
    ----------
    layer : type or Submission
        ``layer(d_model, num_heads)`` makes a module with four ``nn.Linear(d_model, d_model)``, called w_q, w_k, w_v and
        w_o, and ``forward(query, key, value, mask) -> (output, weights)``. A `Submission` names the class.
    isolated : bool, default False
        Run it in a process of its own, as `check` does.
    rules : bool, default False
        Whether ready-made attention is forbidden.
    exam : int, default 0
        Which problems its heads get, as in `check`.
    seconds : float, default 20
        How long it may take, for the heads and again for the sentences.
    memory : int, default 2 GiB
        How many bytes it may take beyond what PyTorch itself needs; held on Linux, if isolated.

    Returns
    -------
    report : Report
        True if nothing is wrong.

    Raises
    ------
    TypeError
        If ``layer`` cannot be called, or ``exam`` is no whole number.
    ValueError
        If there is no such exam.

    Examples
    --------
    >>> from attention_variants import MultiHeadAttention
    >>> bool(check_layer(MultiHeadAttention))
    True
    """
    if not isinstance(layer, Submission) and (isinstance(layer, nn.Module) or not callable(layer)):
        came = f"a layer that is made already, {type(layer).__name__}" if isinstance(layer, nn.Module) else repr(layer)
        raise TypeError(f"check_layer: layer must be a class, such as MultiHeadAttention, not called; got {came}.")
    check_number("check_layer", exam)
    name = layer.name if isinstance(layer, Submission) else str(getattr(layer, "__name__", layer))
    heads = check(
        _asked_by(adapters.heads_alone, layer),
        HEADS,
        isolated=isolated,
        rules=rules,
        exam=exam,
        seconds=seconds,
        memory=memory,
    )
    real = Exam(HEADS, REAL)
    asked = _asked_by(adapters.with_real_weights, layer)
    answers = run_exam(asked, real, isolated=isolated, rules=False, seconds=seconds, memory=memory).answers
    findings = _judge(real, answers)
    return replace(
        heads,
        name=name,
        parts=grading_scheme.with_projections(heads.parts, 1 - len(findings) / len(real.problems)),
        findings=(*heads.findings, *findings),
        misconceptions=_named(real, answers, findings) or heads.misconceptions,
        broken_rules=tuple(broken for broken in heads.broken_rules if broken.rule in READY_MADE_RULES),
        is_layer=True,
        prints={**heads.prints, **prints_of(real, answers)},
    )


def _asked_by(adapter: Callable, layer: Callable[..., nn.Module] | Submission) -> Callable | Submission:
    """The layer behind a function, here or in the code that was handed in."""
    if not isinstance(layer, Submission):
        return adapter(layer)
    return replace(layer, adapter=adapter.__name__)


def _judge(exam: Exam, answers: list[Answer]) -> list[Finding]:
    """What is wrong on real sentences: one finding for each on which anything is."""
    e = Evidence(exam, {s.key: answer for s, answer in zip(exam.problems, answers, strict=True)})
    findings = []
    for s, expected in zip(exam.problems, _expected(exam), strict=True):
        try:
            breach = _difference(e.full(s), expected)
        except Missing as missing:
            breach = missing.breach
        if breach is not None:
            part = grading_scheme.PROJECTIONS
            findings.append(Finding(breach.code, part, "as_the_real_layer", s, breach.numbers))
    return findings


def _difference(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> Breach | None:
    """Where output or weights are not those of the real layer, the weights first."""
    for name, x, y in reversed(list(zip(("output", "weights"), found, expected, strict=True))):
        wrong = far_from_the_layer(x, y)
        if wrong.any():
            at = first_row(wrong)
            rows = {"found": row(x[at]), "expected": row(y[at])}
            numbers = {"name": name, "wrong": int(wrong.sum()), "of": wrong.size, "at": at, **rows}
            return Breach("other_numbers_of_the_layer", numbers)
    return None


def _named(exam: Exam, answers: list[Answer], findings: list[Finding]) -> tuple[Mistake, ...]:
    """The mistake that gives what was given on every sentence."""
    if not findings or any(answer.context is None or answer.weights is None for answer in answers):
        return ()
    pairs = [(answer.context, answer.weights) for answer in answers]
    for mistake in of_the_layer().values():
        if all(_same(pair, wrong) for pair, wrong in zip(pairs, _expected(exam, mistake.name), strict=True)):
            return (mistake,)
    return ()


def _same(found: tuple, expected: tuple[np.ndarray, np.ndarray]) -> bool:
    shapes = all(x.shape == y.shape for x, y in zip(found, expected, strict=True))
    return shapes and _difference(found, expected) is None


@lru_cache
def _expected(exam: Exam, name: str | None = None) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """What the real layer makes of the sentences, or would with the mistake of this name."""
    from attention_variants.lab.examples import load_example
    from attention_variants.model import MultiHeadAttention

    made: type[MultiHeadAttention] = MultiHeadAttention if name is None else of_the_layer()[name].layer
    layer = made(384, 12)
    layer.load_state_dict(load_example("Dog bites").layer.state_dict())
    layer = layer.double().eval()

    def ask(s: Problem) -> tuple[np.ndarray, np.ndarray]:
        mask = None if s.mask is None else torch.from_numpy(s.mask)
        with torch.no_grad():
            output, weights = layer(*(torch.from_numpy(x) for x in (s.q, s.k, s.v)), mask)
        assert weights is not None
        return output.numpy(), weights.numpy()

    return tuple(ask(s) for s in exam.problems)
