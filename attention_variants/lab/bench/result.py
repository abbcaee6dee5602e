"""What a run of the benchmark found, as data alone: it is stored as JSON, and tables and figures are made of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attention_variants.lab.measure.reference import TOLERANCES

from .machine import machine_in_words
from .reasons import Reason
from .workloads import Workload, Writing

#: How the tables call what everybody is compared with, see `bare.BareOperations`.
BARE_NAME = "bare operations"


def name_of(variant: int) -> str:
    """How runs and tables call a variant: by this its results are found.

    Parameters
    ----------
    variant : int
        Its number.

    Returns
    -------
    name : str
    """
    return f"variant {variant}"


#: How many of the longest T an exponent is fitted to: short ones measure what each call costs anyway.
FITTED = 4

#: The shortest T at which the memory of a process is more than a trace.
SEEN_FROM = 512


@dataclass
class Result:
    """What one contender did in one race.

    Attributes
    ----------
    name, version : str
        Who it is.
    errors : dict
        The relative error, beside float64, of the output, the gradients of the inputs, and the weights if asked for.
    tolerance : float
        What counts as equal.
    reason : Reason or None
        Why it was not timed; None if it was.
    seconds : list of float
        One call in each round, in the order of the rounds.
    memory : int or None
        The most bytes that tensors held at once in a call, beyond its inputs and weights: counted tensor by tensor
        on a CPU (`peak_memory`, which does not see what an operation takes and frees inside), by the allocator on a
        GPU. None where there are no single tensors to see: if compiled, and in PyTorch's fast path.
    kernel : str
        Which kernel of ``scaled_dot_product_attention`` ran, "math" if it had none for this; "" if it was not
        called, or if compiled.
    """

    name: str
    version: str
    errors: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    reason: Reason | None = None
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    kernel: str = ""

    @property
    def equal(self) -> bool:
        """Whether it was checked, and every error is within the tolerance."""
        return bool(self.errors) and all(error <= self.tolerance for error in self.errors.values())

    @property
    def largest_error(self) -> float:
        """The largest of the errors (nan counts as the largest)."""
        return max(self.errors.values(), key=lambda error: (error != error, error), default=float("nan"))

    @property
    def median(self) -> float:
        """The median time of a call, in seconds."""
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {**asdict(self), "reason": None if self.reason is None else self.reason.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """Read what `to_dict` wrote."""
        reason = data["reason"]
        return cls(**{**data, "reason": None if reason is None else Reason.from_dict(reason)})


@dataclass(frozen=True)
class Ratio:
    """How much longer one contender takes than another, round by round.

    Attributes
    ----------
    median, low, high : float
        The median of the rounds' ratios, and their quartiles.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ±{(self.high - self.low) / 2:.2f}"


class Rounds:
    """What the results of interleaved rounds are asked; the first of them is what the others are compared with.

    Attributes
    ----------
    results : list of Result
        Their seconds stand in the order of the rounds.
    """

    results: list[Result]

    @property
    def timed(self) -> list[Result]:
        """Those that were timed, in their order."""
        return [result for result in self.results if result.seconds]

    @property
    def all_equal(self) -> bool:
        """Whether everybody who was checked equals the reference."""
        return all(result.equal for result in self.results if result.errors)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"{name!r} took no part; there are {', '.join(result.name for result in self.results)}")

    def was_timed(self, name: str) -> bool:
        """Whether somebody took part and was timed."""
        return any(result.name == name for result in self.timed)

    def ratio(self, name: str, to: str = BARE_NAME) -> Ratio:
        """Compare two contenders round by round, so that a machine that slows down slows both.

        Parameters
        ----------
        name : str
            Whose time is above the line.
        to : str, default "bare operations"
            Whose time is below it.

        Returns
        -------
        ratio : Ratio

        Raises
        ------
        KeyError
            If one of them took no part.
        ValueError
            If one of them was not timed; the message says why.
        """
        for one in (name, to):
            if not self[one].seconds:
                raise ValueError(f"ratio: {one!r} was not timed: {self[one].reason or 'there was no round'}.")
        rounds = zip(self[name].seconds, self[to].seconds, strict=True)
        ratios = [above / below for above, below in rounds]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return Ratio(median, low, high)


@dataclass
class Race(Rounds):
    """A workload and how each contender did.

    Attributes
    ----------
    workload : Workload
        What was to be done.
    results : list of Result
        The bare operations first.
    """

    workload: Workload
    results: list[Result]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {"workload": asdict(self.workload), "results": [result.to_dict() for result in self.results]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Race:
        """Read what `to_dict` wrote."""
        return cls(Workload(**data["workload"]), [Result.from_dict(result) for result in data["results"]])


@dataclass
class Decoding(Rounds):
    """A language model that writes, and how long each way took.

    Attributes
    ----------
    writing : Writing
        What was to be done.
    results : list of Result
        Ours with a cache, ours without, and that of transformers. The seconds are those of the processor, for one
        text; the error is that of the logits, beside ours in float64.
    """

    writing: Writing
    results: list[Result]

    def per_second(self, name: str) -> float:
        """How many tokens a second, by the median of the rounds."""
        return self.writing.tokens / self[name].median

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {"writing": asdict(self.writing), "results": [result.to_dict() for result in self.results]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Decoding:
        """Read what `to_dict` wrote."""
        return cls(Writing(**data["writing"]), [Result.from_dict(result) for result in data["results"]])


@dataclass(frozen=True)
class Kept:
    """What the caches of all layers hold after a text, for one number of heads of keys and values.

    Attributes
    ----------
    writing : Writing
        The model and the text.
    key_heads : int
        As many heads of keys and values it has here.
    bytes : int
        Of all keys and values, in float32.
    """

    writing: Writing
    key_heads: int
    bytes: int

    @property
    def per_token(self) -> float:
        """Bytes for each token that was read."""
        return self.bytes / (self.writing.prompt + self.writing.tokens - 1)  # the last one was not read again


@dataclass(frozen=True)
class Curve:
    """A cost of one variant against T.

    Attributes
    ----------
    lengths : list of int
        The T that were run.
    values : list of float
        Seconds, or bytes.
    """

    lengths: list[int]
    values: list[float]

    @property
    def exponent(self) -> float:
        """The p of a cost that grows as T to the power of p: a line through the longest T on log axes."""
        return fit_exponent(self.lengths, self.values)

    @property
    def exponent_beyond_fixed(self) -> float:
        """The p of a cost that is something fixed and something that grows as T to the power of p.

        From one T to the next, what is fixed stays the same: so the line goes through the differences.
        """
        return fit_exponent(self.lengths[1:], list(np.diff(self.values)))


@dataclass(frozen=True)
class Growth:
    """The curves of all variants.

    Attributes
    ----------
    seconds : dict of int to Curve
        Variant -> the time of a forward call.
    tensors : dict of int to Curve
        Variant -> the most bytes that tensors held at once, beyond q, k and v (`peak_memory`).
    process : dict of int to Curve
        Variant -> how far the peak memory of a fresh process rose during the call, as the operating system counts it,
        beyond q, k and v and what a first small call takes once. For the lengths where that is more than a trace.
    budget : int
        The memory, in bytes, that no call was to exceed.
    """

    seconds: Mapping[int, Curve]
    tensors: Mapping[int, Curve]
    process: Mapping[int, Curve]
    budget: int

    def longest(self, variant: int) -> int:
        """The longest T that was run."""
        return self.seconds[variant].lengths[-1]

    def memory(self, variant: int) -> Curve:
        """The memory of the process where it was measured, else of the tensors."""
        return self.process.get(variant, self.tensors[variant])

    def reach(self, variant: int) -> int:
        """The T at which the peak memory meets the budget, if it goes on growing as it did up to the longest T."""
        curve = self.memory(variant)
        return int(curve.lengths[-1] * (self.budget / curve.values[-1]) ** (1 / curve.exponent_beyond_fixed))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Growth:
        """Read what `to_dict` wrote; JSON has made strings of the numbers of the variants."""
        curves = {
            name: {int(variant): Curve(**curve) for variant, curve in data[name].items()}
            for name in ("seconds", "tensors", "process")
        }
        return cls(**curves, budget=data["budget"])


def fit_exponent(lengths: list[int], values: list[float]) -> float:
    """Fit the p of ``values = c * lengths ** p`` to the longest lengths.

    Parameters
    ----------
    lengths : list of int
    values : list of float

    Returns
    -------
    exponent : float
        nan if there are fewer than two lengths.
    """
    if len(lengths) < 2:
        return float("nan")
    slope, _ = np.polyfit(np.log(lengths[-FITTED:]), np.log(np.maximum(values[-FITTED:], 1e-12)), deg=1)
    return float(slope)


@dataclass(frozen=True)
class Compiled:
    """What became of one variant.

    Attributes
    ----------
    variant : int
        2 to 7.
    error : float or None
        The largest relative difference from the variant as it is; None if it failed.
    seconds : float
        How long the first call took, compilation included.
    failure : str
        What was raised; "" if it works.
    """

    variant: int
    error: float | None
    seconds: float
    failure: str = ""

    @property
    def works(self) -> bool:
        """Whether it compiled to one graph that computes the same."""
        return self.error is not None and self.error <= TOLERANCES[torch.float32]


@dataclass(repr=False)
class Bench:
    """What `bench` measured.

    Attributes
    ----------
    machine : dict
        Where, see `describe_machine`.
    quick : bool
        Whether it was a quick run, whose figures are not those that are guaranteed.
    races : list of Race
        One for each workload.
    growth : Growth or None
        Time and memory against T.
    shares : dict of int to dict
        Variant -> part -> seconds of a call.
    shares_of : str
        The workload of ``shares``, in words.
    compiled : list of Compiled
        What ``torch.compile`` made of the variants.
    decoding : list of Decoding
        How fast language models write.
    kept : list of Kept
        What their caches hold.
    training : dict of str to Curve
        Function -> the most bytes that tensors held at once in forward and backward, against T, see `training`.
    """

    machine: dict[str, Any]
    quick: bool = False
    races: list[Race] = field(default_factory=list)
    growth: Growth | None = None
    shares: dict[int, dict[str, float]] = field(default_factory=dict)
    shares_of: str = ""
    compiled: list[Compiled] = field(default_factory=list)
    decoding: list[Decoding] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    training: dict[str, Curve] = field(default_factory=dict)

    @property
    def all_equal(self) -> bool:
        """Whether everybody who was checked equals the float64 reference."""
        return all(rounds.all_equal for rounds in (*self.races, *self.decoding))

    @property
    def caption(self) -> str:
        """On which machine, in a line."""
        return machine_in_words(self.machine)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {
            "machine": self.machine,
            "quick": self.quick,
            "all_equal": self.all_equal,
            "races": [race.to_dict() for race in self.races],
            "growth": self.growth.to_dict() if self.growth else None,
            "shares": self.shares,
            "shares_of": self.shares_of,
            "compiled": [asdict(one) for one in self.compiled],
            "decoding": [one.to_dict() for one in self.decoding],
            "kept": [asdict(one) for one in self.kept],
            "training": {name: asdict(curve) for name, curve in self.training.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Bench:
        """Read what `to_dict` wrote."""
        return cls(
            machine=data["machine"],
            quick=data["quick"],
            races=[Race.from_dict(race) for race in data["races"]],
            growth=Growth.from_dict(data["growth"]) if data["growth"] else None,
            shares={int(variant): parts for variant, parts in data["shares"].items()},
            shares_of=data["shares_of"],
            compiled=[Compiled(**one) for one in data["compiled"]],
            # A run that was stored before there were these parts has none of them.
            decoding=[Decoding.from_dict(one) for one in data.get("decoding", [])],
            kept=[Kept(**{**one, "writing": Writing(**one["writing"])}) for one in data.get("kept", [])],
            training={name: Curve(**curve) for name, curve in data.get("training", {}).items()},
        )

    @classmethod
    def load(cls, path: str | Path) -> Bench:
        """Read a run that was saved.

        Parameters
        ----------
        path : str or Path
            The ``bench.json``, or the folder it is in.

        Returns
        -------
        bench : Bench
        """
        path = Path(path)
        path = path / "bench.json" if path.is_dir() else path
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
