"""The problems that a function is asked to solve, from the smallest on: NumPy numbers, fixed, the same everywhere.

They are chosen so that each slip shows in at least one of them, and so that two different slips differ in at least
one. In "everything of one size" every axis is as long as every other: code that takes the wrong axis runs there, and
its numbers tell which axis it took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Situation:
    """One problem, as a function of a given variant takes it.

    Attributes
    ----------
    title : str
        How the report calls it, "with ...".
    q, k, v : array
        In float64; the values are exact in ``dtype``.
    mask : boolean array or None
        True = may attend. Passed from variant 4.
    num_heads : int or None
        None below variant 5.
    options : dict
        Keywords beside these, from variant 7.
    variant : int
        Whose signature the function has.
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

    title: str
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None = None
    num_heads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    variant: int = 1
    dtype: str = "float32"
    twice: bool = False
    gradient: bool = False
    large: bool = False
    random: bool = False

    @property
    def heads(self) -> tuple[int, ...]:
        """The head axis of the weights, if there is one."""
        return () if self.num_heads is None else (self.num_heads,)

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

    def given(self) -> str:
        """Name the inputs with their shapes."""
        parts = [f"{name} {np.shape(x)}" for name, x in (("q", self.q), ("k", self.k), ("v", self.v))]
        if self.mask is not None:
            parts.append(f"mask {self.mask.shape}")
        if self.num_heads is not None:
            parts.append(f"num_heads={self.num_heads}")
        parts += [f"{name}={value}" for name, value in self.options.items()]
        if self.dtype != "float32":
            parts.append(f"all in {self.dtype}")
        return ", ".join(parts)


#: The paper on which a layer with the real layer's weights is asked about real sentences.
REAL = -1


@lru_cache
def situations(variant: int, paper: int = 0) -> tuple[Situation, ...]:
    """Make the problems for a variant, the smallest first.

    Parameters
    ----------
    variant : int
        1 to 7.
    paper : int, default 0
        0 has the smallest problems, with which a reader checks their work. Every other number asks the same questions
        with other numbers and other lengths: an exam that cannot be learnt by heart. `REAL` has what enters the real
        layer, for `check_layer`.

    Returns
    -------
    situations : tuple of Situation
        Titles are unique.
    """
    if paper == REAL:
        return _real()
    random = np.random.RandomState(paper)
    more = 1 + paper % 3 if paper else 0  # so much longer is every axis
    two, three, four = 2 + more, 3 + more, 4 + more
    num_heads = 2 if variant >= 5 else None
    batch = (2,) if variant >= 3 else ()

    def numbers(*shape: int) -> np.ndarray:
        return random.randn(*shape).astype("float32").astype("float64")

    def make(title: str, T_q: int, T_k: int, d_k: int = four, d_v: Any = None, **options: Any) -> Situation:
        lead = options.pop("batch", batch)
        heads = options.get("num_heads", num_heads)
        width, width_v = (d_k * (heads or 1), (d_v or d_k) * (heads or 1))
        arrays = numbers(*lead, T_q, width), numbers(*lead, T_k, width), numbers(*lead, T_k, width_v)
        return Situation(title, *arrays, **{"num_heads": num_heads, "variant": variant, **options})

    square = make("as many queries as keys", three, three, twice=True, gradient=True)
    made = [
        square,
        make(f"{two} queries and {three} keys", two, three, twice=True, gradient=True),
        make(f"{three} queries and {two} keys", three, two),
        # 5 keys, 6 queries, width 7: a scale by the wrong number, and a wrong axis, have nowhere to hide.
        make("all lengths different", 6 + more, 5 + more, d_k=7 + more, num_heads=num_heads and 3),
    ]
    if variant <= 4:
        made.append(make("values wider than the keys", two, three, d_v=6 + more))
        made.append(make("values narrower than the keys", two, three, d_v=2))
    size = two if num_heads else four
    made.append(make("everything of one size", size, size, d_k=size, batch=batch and (size,)))
    equal = make("keys that are all equal", three, three)
    made.append(replace(equal, k=np.repeat(equal.k[..., :1, :], three, axis=-2)))
    made.append(_reordered(square, "keys and values in another order", lambda x: np.roll(x, 1, axis=-2), ("k", "v")))
    if variant >= 3:
        made.append(_reordered(square, "the batch in another order", lambda x: x[::-1].copy(), ("q", "k", "v")))
        made.append(_reordered(square, "no batch dimension", lambda x: x[0], ("q", "k", "v")))
        other = make("two batch dimensions", three, three)
        both = [np.stack([getattr(square, name), getattr(other, name)]) for name in "qkv"]
        made.append(replace(other, q=both[0], k=both[1], v=both[2]))
    if variant >= 5:
        made.append(
            _reordered(square, "the heads in another order", lambda x: np.roll(x, four, axis=-1), ("q", "k", "v"))
        )
        alone = _reordered(square, "the first head alone", lambda x: x[..., :four].copy(), ("q", "k", "v"))
        made.append(replace(alone, num_heads=1))
        made.append(make("three heads", two, three, num_heads=3))
    if variant >= 4:
        made += _masked(square, make, variant, random if paper else None)
    if variant == 7:
        nothing = next(s.mask for s in made if s.title == "a query that may attend to nothing")
        made += _with_options(square, make, nothing)
    single = make("a single key", two, 1)
    made.append(replace(single, dtype="float64"))
    made.append(replace(make("numbers in float64", two, three), dtype="float64"))
    half = make("numbers in float16", two, three)
    rounded = [getattr(half, name).astype("float16").astype("float64") for name in "qkv"]
    made.append(replace(half, q=rounded[0], k=rounded[1], v=rounded[2], dtype="float16"))
    large = make("scores of about 40,000", 3, 4, d_k=4, gradient=True, large=True)
    large = replace(large, q=large.q * 256, k=large.k * 128)  # powers of two: still exact in float32
    made.append(large)
    # A maximum that starts at 0, or a mask that fills with -10,000, is found only where all scores are far below.
    low = replace(large, title="scores all far below zero", q=-np.abs(large.q), k=np.abs(large.k).round() + 256)
    made.append(low)
    if variant >= 4:
        triangle = np.tril(np.ones((3, 4), bool))
        made.append(replace(large, title="scores of about 40,000 and a mask", mask=triangle, gradient=False))
        made.append(replace(low, title="scores all far below zero and a mask", mask=triangle, gradient=False))
    return tuple(made)


def _reordered(s: Situation, title: str, change: Callable, names: tuple[str, ...]) -> Situation:
    changed: dict[str, Any] = {name: change(getattr(s, name)) for name in names}
    return replace(s, title=title, twice=False, gradient=False, **changed)


def _masked(square: Situation, make: Callable, variant: int, random: np.random.RandomState | None) -> list[Situation]:
    """The same q, k and v as the first problem, so that the answers with and without a mask can be compared."""
    plain = replace(square, twice=False, gradient=False)
    axes = (1, 1) if variant >= 5 else (1,)
    n = square.q.shape[-2]
    padding = np.arange(n) < np.array([[n], [1]])
    scattered = np.array([[0, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
    nothing = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=bool)
    oblong = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
    if random is not None:  # in each row one key at least is open and one is blocked
        own = np.eye(n, dtype=bool)
        scattered = ((random.rand(n, n) < 0.5) | own) & ~np.roll(own, 1, axis=1)
        nothing = scattered & (np.arange(n) != 1)[:, None]
        oblong = scattered[: n - 1]
    padding = padding.reshape(2, *axes, n)
    per_item = np.stack([scattered, scattered[::-1]]).reshape(2, *axes[1:], n, n)
    made = [
        replace(plain, title="a mask that blocks nothing", mask=np.ones((n, n), bool)),
        replace(plain, title="a causal mask", mask=np.tril(np.ones((n, n), bool)), gradient=True, twice=True),
        replace(plain, title="a mask with scattered holes", mask=scattered),
        replace(plain, title="a padding mask", mask=padding),
        replace(plain, title="a mask for each item of the batch", mask=per_item),
        replace(plain, title="a query that may attend to nothing", mask=nothing, gradient=True),
        replace(make(f"a mask for {n - 1} queries and {n} keys", n - 1, n), mask=oblong),
    ]
    if variant >= 5:
        per_head = np.stack([scattered, scattered[:, ::-1]])[None]
        made.append(replace(plain, title="a mask for each head", mask=per_head))
    return made


def _with_options(square: Situation, make: Callable, nothing: np.ndarray | None) -> list[Situation]:
    plain = replace(square, twice=False, gradient=False)
    causal, no_weights = {"is_causal": True}, {"need_weights": False}
    holes = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1]], dtype=bool)
    rectangle = make("is_causal=True", 3, 4, d_k=4, options=causal, gradient=True)
    tall = make("is_causal=True and more queries than keys", 4, 3, d_k=4, options=causal)
    dropped = make("dropout_p=0.25", 16, 4, d_k=8, options={"dropout_p": 0.25}, random=True)
    # Values that are the identity matrix, twice in each head: the context is twice the weights that dropout has left.
    dropped = replace(dropped, v=np.broadcast_to(np.tile(np.eye(4), 4), dropped.v.shape).copy())
    return [
        rectangle,
        tall,
        replace(rectangle, title="is_causal=True and a mask", mask=holes, gradient=False),
        replace(plain, title="need_weights=False", options=no_weights, gradient=True),
        replace(rectangle, title="need_weights=False and is_causal=True", options=causal | no_weights, gradient=False),
        replace(
            plain,
            title="need_weights=False and a mask",
            mask=nothing,  # as in the problem of that name, so that the two can be compared
            options=no_weights,
        ),
        dropped,
    ]


def _real() -> tuple[Situation, ...]:
    """Hidden states of real sentences, as query, key and value of a layer."""
    from attention_variants.lab.examples import load_batch, load_example

    def make(
        title: str, query: Any, key: Any, value: Any, mask: np.ndarray | None = None, **options: bool
    ) -> Situation:
        q, k, v = (x.numpy().astype("float64") for x in (query, key, value))
        return Situation(title, q, k, v, mask, num_heads=12, options=options, variant=6)

    dog, man = load_example("Dog bites").hidden, load_example("Man bites").hidden
    animal = load_example("too tired").hidden
    batch = load_batch(["Dog bites", "too tired"])
    both = batch.hidden
    padding = np.arange(both.shape[-2]) < batch.lengths.numpy()[:, None]
    return (
        make("a real sentence", dog, dog, dog),
        make("a real sentence that is passed as the query alone", animal, animal, animal, alone=True),
        make("queries of one sentence and keys of another", dog, animal, animal),
        make("keys of one sentence and values of another", dog, dog, man),
        make("two real sentences and a padding mask", both, both, both, padding[:, None, None, :]),
    )
