"""Run a function on the problems, and hand back nothing but numbers and words.

This is the only module of the grader in which a student's code runs, in this process or in another. It knows the
questions, not the answers: what the function returned is copied into plain arrays, and judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attention_variants.classroom.contract.answer import Answer, Failure
from attention_variants.classroom.contract.problems import Problem

from .clock import TimeIsUp, alarm
from .limits import ENOUGH_NOT_WRITTEN, LONGEST_ERROR, MOST_NUMBERS
from .restore import Output, unharmed
from .signature import OtherSignature, expect_signature
from .where import where


def run_all(fn: Callable, questions: Sequence[Problem], seconds: float) -> tuple[list[Answer], int]:
    """Ask a function every question, and leave the process as it was.

    Parameters
    ----------
    fn : callable
        The function.
    questions : sequence of Problem
        The problems.
    seconds : float
        For all of them together; then the rest counts as not answered. Held only where there is an alarm clock,
        in the main thread on Unix: a function that never returns needs ``isolated=True`` elsewhere.

    Returns
    -------
    answers : list of Answer
        One for each question.
    printed : int
        How many characters the function printed.
    """
    answers: list[Answer] = []
    with unharmed() as output:
        try:
            with alarm(seconds):
                for question in questions:
                    output.begin()
                    answers.append(ask(fn, question, output))
                    if len(answers) >= ENOUGH_NOT_WRITTEN and all(x.error and x.error.is_not_written for x in answers):
                        break
        except TimeIsUp:
            pass
    missing: Failure | None = Failure("time", seconds=seconds)
    if answers and all(x.error and x.error.is_not_written for x in answers):
        missing = answers[0].error
    unanswered = [Answer(error=missing) for _ in questions[len(answers) :]]
    if unanswered:
        unanswered[0].printed = output.printed()  # in the call in which its time was up
    return [*answers, *unanswered], output.count


def ask(fn: Callable, s: Problem, output: Output | None = None) -> Answer:
    """Put one question; whatever the function does, an answer comes back.

    Parameters
    ----------
    fn : callable
        The function.
    s : Problem
        The question.
    output : Output, optional
        Where what it prints goes; then the answer has what the first call printed.

    Returns
    -------
    answer : Answer
    """
    answer = Answer()
    inputs = tensors(s)
    found: Any = None
    try:
        expect_signature(fn, s.arguments(*inputs), s.options, of="variant", variant=s.exam.variant, call=s.exam.call)
        found = call(fn, s, inputs)
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: it is the function's, not ours
        answer.error = raised(error)
    if output is not None:
        answer.printed = output.printed()
    if answer.error is not None:
        return answer
    pair = _pair(found)
    if pair is None:
        answer.returned = type(found).__name__
        answer.length = len(found) if type(found) in (tuple, list) else None
    else:
        _keep(answer, pair, inputs)
        if s.twice:
            _ask_again(fn, s, answer)
        if s.gradient:
            _ask_for_gradients(fn, s, answer)
    return answer


def _keep(answer: Answer, pair: tuple[Any, Any], inputs: Sequence[Tensor | None]) -> None:
    """Copy what the function returned, and what it left of its inputs."""
    for name, x in zip(("context", "weights"), pair, strict=True):
        found = read(x)
        setattr(answer, name, found.numbers)
        answer.kinds[name] = found.kind
        if found.size:
            answer.sizes[name] = found.size
        if found.error is not None:
            answer.unreadable[name] = found.error
    for name, x in zip(("q", "k", "v", "mask"), inputs, strict=True):
        after = read(x).numbers
        if after is not None:
            answer.after[name] = after


def _ask_again(fn: Callable, s: Problem, answer: Answer) -> None:
    try:
        pair = _pair(call(fn, s, tensors(s)))
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException:
        pair = None
    for name, x in zip(("context", "weights"), pair or (None, None), strict=True):
        array = read(x).numbers
        if array is not None:
            answer.again[name] = array


def _ask_for_gradients(fn: Callable, s: Problem, answer: Answer) -> None:
    """Of a weighted sum of the context, and of that plus a weighted sum of the weights."""
    leaves = [x.requires_grad_() for x in tensors(s)[:3] if x is not None]
    try:
        # Clones, for autograd would guard the leaves themselves against changes in place.
        with torch.enable_grad():
            pair = _pair(call(fn, s, [*(x.clone() for x in leaves), tensors(s)[3]]))
            for which in ("context", "both"):
                total = _functional(pair, s, which)
                if total is None:
                    continue
                gradients = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
                for name, x in zip("qkv", gradients, strict=True):
                    if x is not None:
                        answer.gradients[f"{which}.{name}"] = x.double().numpy().copy()
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException as error:
        answer.no_gradient = raised(error)


def _functional(pair: Any, s: Problem, which: str) -> Tensor | None:
    total = None
    for x, factor in zip(pair or (), s.cotangents, strict=False):
        if isinstance(x, Tensor) and tuple(x.shape) == factor.shape:
            part = (x * torch.from_numpy(factor).to(x.dtype)).sum()
            total = part if total is None else total + part
        if which == "context":
            break
    return total


def tensors(s: Problem) -> list[Tensor | None]:
    """Fresh q, k, v and mask: nothing that is done to them reaches the next question."""
    dtype = getattr(torch, s.dtype)
    mask = None if s.mask is None else torch.from_numpy(s.mask.copy())
    return [*(torch.from_numpy(x.copy()).to(dtype) for x in (s.q, s.k, s.v)), mask]


def call(fn: Callable, s: Problem, inputs: Sequence[Tensor | None]) -> Any:
    """Call a function as its variant is called: with what that takes, in the order of the contract."""
    return fn(*s.arguments(*inputs), **s.options)


def raised(error: BaseException) -> Failure:
    """An exception as data, however badly it behaves, and where in the student's code it arose."""
    if type(error) is OtherSignature:
        return Failure("signature", more=error.more)
    try:
        words: str | None = str(error)
    except BaseException:
        words = None
    if words is not None and len(words) > LONGEST_ERROR:
        words = words[:LONGEST_ERROR] + " ..."
    place = where(error)
    return Failure("raised", type(error).__name__, words, more={} if place is None else {"where": place})


def _pair(found: Any) -> tuple[Any, Any] | None:
    """The two results, taken from a real tuple or list (or a named tuple), not from what merely says it is one."""
    if isinstance(found, (tuple, list)):
        items = tuple(tuple.__iter__(found) if isinstance(found, tuple) else list.__iter__(found))
        if len(items) == 2:
            return items
    return None


class Read(NamedTuple):
    """A tensor's numbers and dtype; of anything else, what it is, and of numbers that are not looked at, why."""

    numbers: np.ndarray | None
    kind: str
    size: int = 0
    error: Failure | None = None


def read(x: Any) -> Read:
    """Copy a tensor's numbers. A subclass has no say in it."""
    if x is None or not issubclass(type(x), Tensor):
        return Read(None, "None" if x is None else type(x).__name__)
    try:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            x = Tensor.as_subclass(x, Tensor).detach()
            if x.numel() > MOST_NUMBERS:
                return Read(None, str(x.dtype), size=x.numel())
            kind = str(x.dtype)
            if x.is_complex():
                return Read(None, kind)
            x = x.to_dense() if x.layout != torch.strided else x
            return Read(np.array(x.to("cpu", torch.float64).numpy(), copy=True), kind)
    except Exception as error:
        return Read(None, type(x).__name__, error=raised(error))
