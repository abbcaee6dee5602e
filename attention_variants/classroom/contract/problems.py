"""The problems that a function is asked to solve, from the smallest on: NumPy numbers, fixed, the same everywhere.

They are chosen so that each slip shows in at least one of them, and so that two different slips differ in at least
one. In "one_size" every axis is as long as every other: code that takes the wrong axis runs there, and its numbers
tell which axis it took. Which problems there are depends on what the variant takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

import numpy as np

from attention_variants.variants import describe_variant

#: In place of a number: the exam in which a layer with the real layer's weights is asked about real sentences.
#: No caller of `check` can ask for it.
REAL: Final = "real"
#: Capability to the argument that it brings, in the order of the contract; others bring keywords.
_ARGUMENTS = {"mask": "mask", "heads": "num_heads"}
#: NumPy's random numbers are drawn from a number below this one.
NUMBERS = 2**32


@dataclass(frozen=True)
class Exam:
    """A set of problems for a variant: made once, and handed on.

    Attributes
    ----------
    variant : int
        Whose contract is asked for.
    number : int or "real"
        0 has the smallest problems, with which a reader checks their work. Every other number asks the same questions
        with other numbers and other lengths: an exam that cannot be learnt by heart. `REAL` has what enters the real
        layer, for `check_layer`.
    takes : tuple of str
        What the variant takes: that decides which problems there are, and how the function is called.
    """

    variant: int
    number: int | Literal["real"] = 0
    takes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "takes", describe_variant(self.variant).takes)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems, the smallest first; their keys are unique."""
        return _problems(self)

    @property
    def default(self) -> Exam:
        """The exam numbered 0 of the same variant, for what does not depend on the numbers that were drawn."""
        return self if self.number == 0 else replace(self, number=0)

    @property
    def call(self) -> str:
        """How a function of the variant is called, as code: with all that is asked for in one problem or another."""
        names = ["q", "k", "v", *(name for taken, name in _ARGUMENTS.items() if taken in self.takes)]
        options = dict.fromkeys(name for s in self.problems for name in s.options)
        return f"f({', '.join([*names, *(f'{name}=...' for name in options)])})"

    def __getitem__(self, key: str) -> Problem:
        return _by_key(self)[key]

    def __contains__(self, key: object) -> bool:
        return key in _by_key(self)


def check_number(caller: str, number: object) -> None:
    """Refuse what is no number of an exam.

    Parameters
    ----------
    caller : str
        The function that was called, for the error.
    number : object
        What it got.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is below 0, or too large.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{caller}: exam must be a whole number from 0 to {NUMBERS - 1}; got {number!r}.")
    if not 0 <= number < NUMBERS:
        raise ValueError(f"{caller}: exam must be a whole number from 0 to {NUMBERS - 1}; got {number}.")


@dataclass(frozen=True, eq=False)
class Problem:
    """One problem, as a function of a given variant takes it.

    Attributes
    ----------
    key : str
        How code calls it; `wording.title` has the words.
    q, k, v : array
        In float64; the values are exact in ``dtype``.
    exam : Exam
        To which it belongs.
    mask : boolean array or None
        True = may attend. Passed to variants that take one.
    num_heads : int or None
        None for variants without heads.
    options : dict
        Keywords beside these.
    dtype : str
        In which the function gets q, k and v.
    twice : bool
        Whether two calls are compared.
    gradient : bool
        Whether gradients are asked for.
    large : bool
        Whether the scores are large: outputs count, digits less.
    random : bool
        Whether the context is random, so that only its properties can be judged.
    """

    key: str
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    exam: Exam
    mask: np.ndarray | None = None
    num_heads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    twice: bool = False
    gradient: bool = False
    large: bool = False
    random: bool = False

    @property
    def heads(self) -> tuple[int, ...]:
        """The head axis of the weights, if there is one."""
        return () if self.num_heads is None else (self.num_heads,)

    @property
    def asks_for_weights(self) -> bool:
        """Whether weights are to come back."""
        return bool(self.options.get("need_weights", True))

    @property
    def is_masked(self) -> bool:
        """Whether it has a mask and ordinary scores, and nothing else that changes the answer."""
        return self.mask is not None and not self.large and not self.options

    @cached_property
    def weights_shape(self) -> tuple[int, ...]:
        """The shape that the weights must have."""
        return (*self.q.shape[:-2], *self.heads, self.q.shape[-2], self.k.shape[-2])

    @cached_property
    def context_shape(self) -> tuple[int, ...]:
        """The shape that the context must have."""
        return (*self.q.shape[:-1], self.v.shape[-1])

    @cached_property
    def allowed(self) -> np.ndarray:
        """Which key each query may attend to, in the shape of the weights."""
        allowed = np.ones(self.weights_shape, dtype=bool)
        if self.mask is not None:
            allowed &= self.mask
        if self.options.get("is_causal"):
            allowed &= np.tril(np.ones(self.weights_shape[-2:], dtype=bool))
        return allowed

    @cached_property
    def cotangents(self) -> tuple[np.ndarray, np.ndarray]:
        """With what context and weights are multiplied in the sum whose gradient is taken."""
        random = np.random.RandomState(7)
        return random.randn(*self.context_shape).round(2), random.randn(*self.weights_shape).round(2)

    def arguments(self, q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, ...]:
        """What the function is called with, in the order of the variant's signature; ``options`` go by keyword."""
        given = {"mask": mask, "num_heads": self.num_heads}
        return (q, k, v, *(given[name] for taken, name in _ARGUMENTS.items() if taken in self.exam.takes))


@lru_cache(maxsize=256)
def _problems(exam: Exam) -> tuple[Problem, ...]:
    return _real(exam) if exam.number == REAL else tuple(_Maker(exam, exam.number).problems())


@lru_cache(maxsize=256)
def _by_key(exam: Exam) -> dict[str, Problem]:
    return {problem.key: problem for problem in exam.problems}


class _Maker:
    """Draws the numbers of an exam, one problem after the other."""

    def __init__(self, exam: Exam, number: int) -> None:
        self.exam = exam
        self.random = np.random.RandomState(number)
        self.more = more = 1 + number % 3 if number else 0  # so much longer is every axis
        self.two, self.three, self.four = 2 + more, 3 + more, 4 + more
        self.batch = (2,) if self.takes("batch") else ()
        self.num_heads = 2 if self.takes("heads") else None
        self.square = self.make("square", self.three, self.three, twice=True, gradient=True)
        self.plain = replace(self.square, twice=False, gradient=False)

    def takes(self, *capabilities: str) -> bool:
        return set(capabilities) <= set(self.exam.takes)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.random.randn(*shape).astype("float32").astype("float64")

    def make(
        self, key: str, T_q: int, T_k: int, d_k: int | None = None, d_v: int | None = None, **options: Any
    ) -> Problem:
        """Draw a problem; the widths are those of one head."""
        lead = options.pop("batch", self.batch)
        heads = options.get("num_heads", self.num_heads) or 1
        d_k = d_k or self.four
        width, width_v = d_k * heads, (d_v or d_k) * heads
        arrays = self.numbers(*lead, T_q, width), self.numbers(*lead, T_k, width), self.numbers(*lead, T_k, width_v)
        return Problem(key, *arrays, self.exam, **{"num_heads": self.num_heads, **options})

    def reordered(self, key: str, change: Callable[[np.ndarray], np.ndarray], names: str = "qkv") -> Problem:
        """The first problem with its inputs changed, so that the answers can be compared."""
        changed: dict[str, Any] = {name: change(getattr(self.square, name)) for name in names}
        return replace(self.plain, key=key, **changed)

    def problems(self) -> list[Problem]:
        masks: list[Problem] = []
        made = [self.square, *self.lengths(), *self.keys()]
        if self.takes("batch"):
            made += self.batches()
        if self.takes("heads"):
            made += self.of_heads()
        if self.takes("mask"):
            masks = self.masks()
            made += masks
        made += self.with_options({problem.key: problem for problem in masks})
        return [*made, *self.dtypes(), *self.large()]

    def lengths(self) -> list[Problem]:
        two, three, more = self.two, self.three, self.more
        made = [
            self.make("fewer_queries", two, three, twice=True, gradient=True),
            self.make("fewer_keys", three, two),
            # 5 keys, 6 queries, width 7: a scale by the wrong number, and a wrong axis, show.
            self.make("all_different", 6 + more, 5 + more, d_k=7 + more, num_heads=self.num_heads and 3),
        ]
        if not self.takes("heads"):
            made.append(self.make("wide_values", two, three, d_v=6 + more))
            made.append(self.make("narrow_values", two, three, d_v=2))
        size = two if self.takes("heads") else self.four
        made.append(self.make("one_size", size, size, d_k=size, batch=self.batch and (size,)))
        return made

    def keys(self) -> list[Problem]:
        equal = self.make("equal_keys", self.three, self.three)
        return [
            replace(equal, k=np.repeat(equal.k[..., :1, :], self.three, axis=-2)),
            self.reordered("keys_reordered", lambda x: np.roll(x, 1, axis=-2), "kv"),
        ]

    def batches(self) -> list[Problem]:
        other = self.make("two_batch_axes", self.three, self.three)
        both = [np.stack([getattr(self.square, name), getattr(other, name)]) for name in "qkv"]
        return [
            self.reordered("batch_reordered", lambda x: x[::-1].copy()),
            self.reordered("no_batch", lambda x: x[0]),
            replace(other, q=both[0], k=both[1], v=both[2]),
        ]

    def of_heads(self) -> list[Problem]:
        d_k = self.four
        alone = self.reordered("first_head", lambda x: x[..., :d_k].copy())
        return [
            self.reordered("heads_reordered", lambda x: np.roll(x, d_k, axis=-1)),
            replace(alone, num_heads=1),
            self.make("three_heads", self.two, self.three, num_heads=3),
        ]

    def masks(self) -> list[Problem]:
        """The same q, k and v as the first problem, so that the answers with and without a mask can be compared."""
        plain, n = self.plain, self.three
        everything = np.ones((n, n), bool)
        scattered = np.array([[0, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
        nothing = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=bool)
        oblong = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
        if self.exam.number:  # in each row one key at least is open and one is blocked
            own = np.eye(n, dtype=bool)
            scattered = ((self.random.rand(n, n) < 0.5) | own) & ~np.roll(own, 1, axis=1)
            nothing = scattered & (np.arange(n) != 1)[:, None]
            oblong = scattered[: n - 1]
        made = [
            replace(plain, key="open_mask", mask=everything),
            replace(plain, key="causal_mask", mask=np.tril(everything), gradient=True, twice=True),
            replace(plain, key="scattered_mask", mask=scattered),
        ]
        if self.takes("batch"):
            axes = (1,) * len(plain.heads)
            padding = (np.arange(n) < np.array([[n], [1]])).reshape(2, *axes, 1, n)
            per_item = np.stack([scattered, scattered[::-1]]).reshape(2, *axes, n, n)
            made.append(replace(plain, key="padding_mask", mask=padding))
            made.append(replace(plain, key="mask_for_each_item", mask=per_item))
        made.append(replace(plain, key="nothing_allowed", mask=nothing, gradient=True))
        made.append(replace(self.make("oblong_mask", n - 1, n), mask=oblong))
        if self.takes("heads"):
            per_head = np.stack([scattered, scattered[:, ::-1]])
            made.append(replace(plain, key="mask_for_each_head", mask=per_head[None] if self.batch else per_head))
        return made

    def with_options(self, masks: dict[str, Problem]) -> list[Problem]:
        plain = self.plain
        causal, no_weights = {"is_causal": True}, {"need_weights": False}
        made: list[Problem] = []
        rectangle = None
        if self.takes("is_causal"):
            rectangle = self.make("is_causal", 3, 4, d_k=4, options=causal, gradient=True)
            made.append(rectangle)
            made.append(self.make("is_causal_fewer_keys", 4, 3, d_k=4, options=causal))
            if masks:
                holes = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1]], dtype=bool)
                made.append(replace(rectangle, key="is_causal_and_mask", mask=holes, gradient=False))
        if self.takes("need_weights"):
            made.append(replace(plain, key="no_weights", options=no_weights, gradient=True))
            if rectangle is not None:
                both = causal | no_weights
                made.append(replace(rectangle, key="no_weights_is_causal", options=both, gradient=False))
            if masks:  # as in the problem of that name, so that the two can be compared
                mask = masks["nothing_allowed"].mask
                made.append(replace(plain, key="no_weights_and_mask", mask=mask, options=no_weights))
        if self.takes("dropout"):
            dropped = self.make("dropout", 16, 4, d_k=8, options={"dropout_p": 0.25}, random=True)
            # Values that are the identity matrix, twice in each head: the context is twice the weights that are left.
            identities = np.tile(np.eye(4), dropped.v.shape[-1] // 4)
            made.append(replace(dropped, v=np.broadcast_to(identities, dropped.v.shape).copy()))
        return made

    def dtypes(self) -> list[Problem]:
        single = self.make("single_key", self.two, 1)
        double = self.make("float64", self.two, self.three)
        half = self.make("float16", self.two, self.three)
        rounded = [getattr(half, name).astype("float16").astype("float64") for name in "qkv"]
        return [
            replace(single, dtype="float64"),
            replace(double, dtype="float64"),
            replace(half, q=rounded[0], k=rounded[1], v=rounded[2], dtype="float16"),
        ]

    def large(self) -> list[Problem]:
        large = self.make("large_scores", 3, 4, d_k=4, gradient=True, large=True)
        large = replace(large, q=large.q * 256, k=large.k * 128)  # powers of two: still exact in float32
        # A maximum that starts at 0, or a mask that fills with -10,000, is found only where all scores are far below.
        low = replace(large, key="low_scores", q=-np.abs(large.q), k=np.abs(large.k).round() + 256)
        made = [large, low]
        if self.takes("mask"):
            triangle = np.tril(np.ones((3, 4), bool))
            made.append(replace(large, key="large_scores_and_mask", mask=triangle, gradient=False))
            made.append(replace(low, key="low_scores_and_mask", mask=triangle, gradient=False))
        return made


def _real(exam: Exam) -> tuple[Problem, ...]:
    """Hidden states of real sentences, as query, key and value of a layer."""
    from attention_variants.lab.examples import load_batch, load_example

    def make(key: str, query: Any, key_: Any, value: Any, mask: np.ndarray | None = None, **options: bool) -> Problem:
        q, k, v = (x.numpy().astype("float64") for x in (query, key_, value))
        return Problem(key, q, k, v, exam, mask, num_heads=12, options=options)

    dog, man = load_example("Dog bites").hidden, load_example("Man bites").hidden
    animal = load_example("too tired").hidden
    batch = load_batch(["Dog bites", "too tired"])
    both = batch.hidden
    padding = np.arange(both.shape[-2]) < batch.lengths.numpy()[:, None]
    return (
        make("real_sentence", dog, dog, dog),
        make("real_query_alone", animal, animal, animal, alone=True),
        make("real_keys_of_another", dog, animal, animal),
        make("real_values_of_another", dog, dog, man),
        make("real_padding_mask", both, both, both, padding[:, None, None, :]),
    )
