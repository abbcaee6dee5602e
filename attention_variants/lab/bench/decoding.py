"""How fast a language model writes: ours with a cache and without, and transformers' with the same weights."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch
from torch import Tensor

from attention_variants.lab.measure.reference import TOLERANCES, relative_error
from attention_variants.model.language_model import LanguageModel
from attention_variants.model.sampling import generate

from .reasons import Reason, Why
from .result import Decoding, Kept, Result
from .workloads import Writing

#: What takes part, as runs and tables call it.
WITH_CACHE, WITHOUT_CACHE, TRANSFORMERS = "with a cache", "without a cache", "transformers, with a cache"

#: Rounds that a text has at least and at most, whatever the budget.
FEWEST, MOST = 5, 25

#: For so many heads of keys and values what is kept is counted.
KEY_HEADS = (1, 2, 4)

#: What writes: from the tokens so far to those with as many more.
_Writer = Callable[[Tensor, int], Tensor]


def measure_decoding(
    writing: Writing,
    *,
    budget: float = 15.0,
    longest: float = 30.0,
    rounds: int | None = None,
    report: Callable[[str], None] = lambda what: None,
) -> Decoding:
    """Let a language model write one text, in three ways, one after the other, again and again.

    First of all they are compared: the logits with ours in float64, and what they write with what ours writes; who is
    not equal is not timed. Then the rounds follow: A B C, B C A, C A B, ... Everything runs on one thread, and what is
    counted is the time of the processor, so that other programs disturb less.

    Parameters
    ----------
    writing : Writing
    budget : float, default 15
        About how many seconds all rounds may take together.
    longest : float, default 30
        How many seconds a single text may take; who would need more is not timed.
    rounds : int, optional
        How many rounds; by default as many as the budget allows, at least 5.
    report : callable, optional
        Is told what goes on, in words.

    Returns
    -------
    decoding : Decoding

    Raises
    ------
    ValueError
        If there is less than one round.
    """
    if rounds is not None and rounds < 1:
        raise ValueError(f"decoding: rounds must be at least 1; got {rounds}.")
    words = f"{writing.tokens} tokens, {writing.size}"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        report(f"{words}: equal?")
        results, writers = _checked(writing.model(), writing)
        seconds = {result.name: _first(result, writers[result.name], writing, longest) for result in results}
        order = [result for result in results if result.reason is None]
        if rounds is None:
            once = sum(seconds[result.name] for result in order)
            rounds = min(MOST, max(FEWEST, int(budget / max(once, 1e-9))))
        for done in range(rounds if order else 0):
            report(f"{words}: round {done + 1} of {rounds}")
            for result in order[done % len(order) :] + order[: done % len(order)]:
                result.seconds.append(_seconds(writers[result.name], writing, writing.tokens))
    finally:
        torch.set_num_threads(threads)
    return Decoding(writing, results)


def measure_kept(writing: Writing, key_heads: Sequence[int] = KEY_HEADS) -> list[Kept]:
    """Count what the caches of all layers hold after a text.

    Parameters
    ----------
    writing : Writing
        The model and the text.
    key_heads : sequence of int, default 1, 2, 4
        The numbers of heads of keys and values; those that do not divide the heads of the model are left out.

    Returns
    -------
    kept : list of Kept
    """
    found = []
    for number in key_heads:
        if writing.heads % number == 0:
            model = writing.model(key_heads=number)
            cache = model.new_cache()
            tokens = torch.zeros(1, writing.prompt + writing.tokens - 1, dtype=torch.long)
            with torch.inference_mode():
                model(tokens, cache)
            found.append(Kept(writing, number, sum(layer.bytes for layer in cache)))
    return found


def _checked(model: LanguageModel, writing: Writing) -> tuple[list[Result], dict[str, _Writer]]:
    """A result for each, with a reason where it is not equal, and by name what writes."""
    beginning = writing.beginning()
    with torch.inference_mode():
        exact = writing.model().double()(beginning)[0]
        logits, _ = model(beginning)
        cache = model.new_cache()
        pieces = [model(token, cache)[0] for token in beginning.split(1, dim=1)]  # one at a time, as it writes
        found = {WITH_CACHE: torch.cat(pieces, dim=1), WITHOUT_CACHE: logits}
    writers: dict[str, _Writer] = {
        WITH_CACHE: lambda tokens, count: generate(model, tokens, count, temperature=0.0),
        WITHOUT_CACHE: lambda tokens, count: generate(model, tokens, count, temperature=0.0, use_cache=False),
    }
    results = [Result(name, "") for name in (WITH_CACHE, WITHOUT_CACHE)]
    try:
        importlib.import_module("transformers")
    except ImportError as error:
        missing = Reason(Why.NOT_INSTALLED, {"error": type(error).__name__, "install": "transformers"})
        results.append(Result(TRANSFORMERS, "", reason=missing))
        writers[TRANSFORMERS] = writers[WITH_CACHE]
    else:
        theirs = model.to_llama().eval()
        with torch.inference_mode():
            found[TRANSFORMERS] = theirs(beginning).logits
        writers[TRANSFORMERS] = lambda tokens, count: theirs.generate(
            tokens, max_new_tokens=count, do_sample=False, use_cache=True
        )
        results.append(Result(TRANSFORMERS, version("transformers")))

    count = min(writing.tokens, 20)
    expected = writers[WITHOUT_CACHE](beginning, count)
    for result in results:
        if result.reason is None:
            result.tolerance = TOLERANCES[torch.float32]
            result.errors = {"logits": relative_error(found[result.name], exact)}
            if not result.equal or not torch.equal(writers[result.name](beginning, count), expected):
                result.reason = Reason(Why.NOT_EQUAL)
    return results, writers


def _first(result: Result, write: _Writer, writing: Writing, longest: float) -> float:
    """About how long a whole text takes; if it is too long, the result gets its reason."""
    if result.reason is not None:
        return 0.0
    short = max(1, writing.tokens // 10)
    _seconds(write, writing, short)  # warm
    shorter, longer = _seconds(write, writing, short), _seconds(write, writing, 2 * short)
    # Between n and 2 n tokens a cost that grows as n^p doubles p times; a larger text goes on so, at most as n^2.
    growth = min(max(longer / max(shorter, 1e-9), 1.0), 4.0)
    estimate = longer * growth ** max(0.0, math.log2(writing.tokens / (2 * short)))
    if estimate > longest:
        result.reason = Reason(Why.TAKES_TOO_LONG, {"seconds": f"{estimate:,.0f}"})
    return estimate


def _seconds(write: _Writer, writing: Writing, count: int) -> float:
    """The time of the processor that a text takes."""
    beginning = writing.beginning()
    begin = time.process_time()
    with torch.inference_mode():
        write(beginning, count)
    return time.process_time() - begin
