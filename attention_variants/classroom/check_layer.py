"""Is a module the multi-head layer? Its heads are asked what variant 6 is, its projections about real sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from .check import check
from .contract.clauses import Evidence, Finding, Missing, numbers
from .contract.problems import REAL, Situation, situations
from .misconceptions import Mistake, of_the_layer
from .report import Report
from .sandbox import adapters
from .sandbox.parent import Submission, run_isolated
from .sandbox.rules import READY_MADE
from .sandbox.run import Answer, run_all

#: How much of the score the projections are worth; the rest goes to the heads.
OF_PROJECTIONS = 0.4

_PART = "projections"


def check_layer(
    layer: Callable[..., nn.Module] | Submission,
    *,
    isolated: bool = False,
    rules: bool = False,
    paper: int = 0,
    seconds: float = 20.0,
    memory: int = 2 * 1024**3,
) -> Report:
    """Hold a module against what `MultiHeadAttention` promises, and say what is wrong in words.

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
    paper : int, default 0
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
        If ``layer`` cannot be called.

    Examples
    --------
    >>> from attention_variants import MultiHeadAttention
    >>> bool(check_layer(MultiHeadAttention))
    True
    """
    if not isinstance(layer, Submission) and (isinstance(layer, nn.Module) or not callable(layer)):
        came = f"a layer that is made already, {type(layer).__name__}" if isinstance(layer, nn.Module) else repr(layer)
        raise TypeError(f"check_layer: layer must be a class, such as MultiHeadAttention, not called; got {came}.")
    name = layer.name if isinstance(layer, Submission) else str(getattr(layer, "__name__", layer))
    heads = check(
        _asked_by(adapters.heads_alone, layer),
        6,
        isolated=isolated,
        rules=rules,
        paper=paper,
        seconds=seconds,
        memory=memory,
    )
    asked = _asked_by(adapters.with_real_weights, layer)
    answers = _answers(asked, isolated=isolated, seconds=seconds, memory=memory)
    findings, kept = _judge(answers)
    parts = {part: (share, worth * (1 - OF_PROJECTIONS)) for part, (share, worth) in heads.parts.items()}
    return replace(
        heads,
        name=name,
        parts=parts | {_PART: (kept, OF_PROJECTIONS)},
        findings=(*heads.findings, *findings),
        misconceptions=_named(answers, findings) or heads.misconceptions,
        broken_rules=tuple(rule for rule in heads.broken_rules if rule in READY_MADE),
        goal="the layer MultiHeadAttention",
    )


def _asked_by(adapter: Callable, layer: Callable[..., nn.Module] | Submission) -> Callable | Submission:
    """The layer behind a function, here or in the code that was handed in."""
    if not isinstance(layer, Submission):
        return adapter(layer)
    return replace(layer, adapter=adapter.__name__)


def _answers(fn: Callable | Submission, *, isolated: bool, seconds: float, memory: int) -> list[Answer]:
    questions = situations(6, REAL)
    if isolated or isinstance(fn, Submission):
        return run_isolated(fn, 6, paper=REAL, rules=False, seconds=seconds, memory=memory).answers
    return run_all(fn, questions, seconds)[0]


def _judge(answers: list[Answer]) -> tuple[list[Finding], float]:
    """What is wrong on real sentences, and on how many of them all is right."""
    questions = situations(6, REAL)
    e = Evidence(6, {s.title: answer for s, answer in zip(questions, answers, strict=True)}, REAL)
    findings = []
    for s, expected in zip(questions, _expected("MultiHeadAttention"), strict=True):
        try:
            lines = _differences(e.full(s), expected)
        except Missing as missing:
            lines = [str(missing)]
        if lines:
            promise = "with the real layer's weights it does what the real layer does"
            findings.append(Finding(_PART, promise, s, tuple(lines)))
    return findings, 1 - len(findings) / len(questions)


def _differences(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> list[str]:
    """Where output or weights are not those of the real layer, the weights first."""
    for name, x, y in reversed(list(zip(("output", "weights"), found, expected, strict=True))):
        wrong = ~np.isclose(x, y, rtol=1e-3, atol=1e-4)  # NaN is wrong
        if wrong.any():
            row = tuple(np.argwhere(wrong)[0][:-1])
            return [
                f"{name} of the real layer: {int(wrong.sum())} of {wrong.size} numbers differ, first in "
                f"{name}{''.join(f'[{i}]' for i in row)}:",
                f"  found     {numbers(x[row])}",
                f"  expected  {numbers(y[row])}",
            ]
    return []


def _named(answers: list[Answer], findings: list[Finding]) -> tuple[Mistake, ...]:
    """The mistake that gives what was given on every sentence."""
    if not findings or any(answer.context is None or answer.weights is None for answer in answers):
        return ()
    pairs = [(answer.context, answer.weights) for answer in answers]
    for mistake in of_the_layer().values():
        if all(_same(pair, wrong) for pair, wrong in zip(pairs, _expected(mistake.name), strict=True)):
            return (mistake,)
    return ()


def _same(found: tuple, expected: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(x.shape == y.shape for x, y in zip(found, expected, strict=True)) and not _differences(found, expected)


@lru_cache
def _expected(name: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """What the real layer makes of the sentences, or would with a mistake."""
    from attention_variants.lab.examples import load_example
    from attention_variants.model import MultiHeadAttention

    made: type[MultiHeadAttention] = of_the_layer()[name].layer if name in of_the_layer() else MultiHeadAttention
    layer = made(384, 12)
    layer.load_state_dict(load_example("Dog bites").layer.state_dict())
    layer = layer.double().eval()

    def ask(s: Situation) -> tuple[np.ndarray, np.ndarray]:
        mask = None if s.mask is None else torch.from_numpy(s.mask)
        with torch.no_grad():
            output, weights = layer(*(torch.from_numpy(x) for x in (s.q, s.k, s.v)), mask)
        assert weights is not None
        return output.numpy(), weights.numpy()

    return tuple(ask(s) for s in situations(6, REAL))
