"""Look into the real sentence: choose a sentence, a head and a token, and see where it looks and by which numbers.

One view in JavaScript, ``web/explorer.js``, serves in notebooks and as a page of its own. It computes no
attention: what it shows was recorded here from variant 6 as it ran.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from attention_variants.variants import multihead_attention
from attention_variants.variants.checks import check_mask_dtype

from .animation.encode import with_one_palette
from .code.trace import trace
from .examples import list_examples, load_example
from .measure.reference import WEIGHTS_OF_A_MODEL
from .plots.axes import (
    LABEL_SIZE,
    LINE_HEIGHT,
    TICK_SIZE,
    TITLE_SIZE,
    draw_map,
    label_columns,
    label_rows,
    longest_label,
    style_colorbar,
    tick_texts,
)
from .plots.colors import BLOCKED, COLORS, GRID, INK, OPPOSITES, PAGE_QUIET
from .table import html_table, plain_text, rich_table
from .web import view as web

if TYPE_CHECKING:
    from rich.table import Table

    from .pretrained import Reading

__all__ = ["CellNumbers", "Exploration", "explore"]

_MOST_TOKENS = 40
MOST_BYTES = 2_000_000
_DPI = 96
_THICKEST = 10.0  # points: how thick the line of a weight of 1 is
_WORKED = ("q·k", "score", "exp", "sum", "weight")  # the steps from a product to a weight, as the table names them


class _Heads(Protocol):
    @property
    def num_heads(self) -> int: ...


class Explorable(Protocol):
    """What `explore` shows: an `Example`, or anything that has as much.

    A boolean ``mask`` of shape (T, T), True = may attend, is heeded if there is one.
    """

    @property
    def sentence(self) -> str:
        """The sentence."""

    @property
    def tokens(self) -> Sequence[str]:
        """Its T tokens."""

    @property
    def q(self) -> Tensor:
        """The queries (T, d_model), all heads side by side."""

    @property
    def k(self) -> Tensor:
        """The keys (T, d_model), all heads side by side."""

    @property
    def weights(self) -> Tensor:
        """The weights (num_heads, T, T)."""

    @property
    def layer(self) -> _Heads:
        """What says how many heads there are."""


@dataclass(frozen=True, eq=False, repr=False)
class CellNumbers:
    """The numbers behind one cell of a heat map, in the order in which attention computes them.

    ``print`` gives plain text, a notebook and ``rich.print`` a table.

    Attributes
    ----------
    head : int
        The head.
    query, key : str
        The two tokens; one that stands more than once in the sentence is named with its position.
    q, k : Tensor of shape (d_k,)
        The query of the one and the key of the other, in this head.
    product : float
        Their product, q·k.
    d_k : int
        The width of the head.
    scaled : float
        The score: the product divided by the square root of ``d_k``.
    largest : float
        The largest score of the row, which is subtracted so that exp cannot overflow.
    exp : float
        exp(score - largest); 0 for a blocked cell.
    sum : float
        The sum of all exp of the row.
    weight : float
        exp divided by sum; 0 if every key is blocked.
    """

    head: int
    query: str
    key: str
    q: Float[Tensor, " d_k"]
    k: Float[Tensor, " d_k"]
    product: float
    d_k: int
    scaled: float
    largest: float
    exp: float
    sum: float
    weight: float

    @property
    def _title(self) -> str:
        return f"head {self.head}: how much of its weight {self.query!r} gives {self.key!r}"

    def _rows(self) -> list[tuple[str, str, str]]:
        numbers = (self.product, self.scaled, self.exp, self.sum, self.weight)
        how = (
            f"the sum of {self.d_k} products",
            f"{_digits(self.product)} / √{self.d_k}",
            _exponent(self.scaled, self.largest) if self.exp else "blocked: counts as 0",
            "of exp over the row",
            f"{_digits(self.exp)} / {_digits(self.sum)}" if self.sum else "every key is blocked",
        )
        return [(name, text, _digits(x)) for name, x, text in zip(_WORKED, numbers, how, strict=True)]

    def __str__(self) -> str:
        return plain_text(self.__rich__())

    __repr__ = __str__

    def __rich__(self) -> Table:
        return rich_table(self._title, ("step", "how", "number"), self._rows(), left=2)

    def _repr_html_(self) -> str:
        return html_table(self._title, ("step", "how", "number"), self._rows(), left=2)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _View:
    """One sentence in one layer: every number that can be asked for."""

    label: str
    title: str  # the label, and the sentence where that does not name it
    sentence: str
    tokens: list[str]
    query: int
    blocked: np.ndarray  # (T, T)
    q: Tensor  # (H, T, d_k), and so is k
    k: Tensor
    products: Tensor  # (H, T, T), and so are scores, exps and weights
    scores: Tensor
    exps: Tensor
    weights: Tensor
    largest: Tensor  # (H, T), and so are sums
    sums: Tensor

    @property
    def num_heads(self) -> int:
        return self.q.shape[0]

    @property
    def d_k(self) -> int:
        return self.q.shape[2]

    def name(self, i: int) -> str:
        """Name a token, with its position if it stands more than once."""
        token = self.tokens[i]
        return f"{token} ({i})" if self.tokens.count(token) > 1 else token

    def data(self) -> dict[str, Any]:
        """Write it as explorer.js reads it: tensors as base64, little-endian."""
        names = ("products", "scores", "exps", "weights", "largest", "sums")
        tensors: dict[str, Any] = {name: _base64(getattr(self, name), "<f4") for name in names}
        # Queries and keys are most of the bytes and are drawn as bars: 16 bits do for them.
        tensors |= {"q": _in_16_bits(self.q), "k": _in_16_bits(self.k)}
        tensors["blocked"] = _base64(torch.from_numpy(self.blocked), "u1") if self.blocked.any() else None
        about = {"label": self.label, "tokens": self.tokens, "query": self.query}
        return {"view": about | {"heads": self.num_heads, "d_k": self.d_k}, "tensors": tensors}


class Exploration:
    """Sentences to look into, as `explore` returns them.

    A notebook stores it; where no script may run, a picture of its first view is seen. Nothing in it changes.
    """

    def __init__(self, views: Sequence[_View], start: int, head: int, kind: str = "sentence") -> None:
        self._views = tuple(views)
        self._kind = kind  # what one chooses from: sentences, or the layers of one
        self._start = start
        self._head = head

    @property
    def labels(self) -> list[str]:
        """What the chooser of sentences lists, in order."""
        return [view.label for view in self._views]

    def data(self) -> dict[str, Any]:
        """What the view in JavaScript shows, as JSON can hold it.

        Returns
        -------
        data : dict
            ``colors``; ``kind``, what one chooses from ("sentence" or "layer"); ``start``, the view, head and query it
            begins with; and ``views``: for each its tokens and, in base64, its tensors. q and k (num_heads, T, d_k) are
            16-bit integers times ``unit``; products, scores, exps and weights (num_heads, T, T), largest and sums
            (num_heads, T) are float32.
        """
        opposites = {f"{name}_opposite": OPPOSITES[name] for name in ("q", "k", "scores")}
        return {
            "colors": COLORS | opposites | {"ink": INK, "blocked": BLOCKED},
            "kind": self._kind,
            "start": {"view": self._start, "head": self._head, "query": self._views[self._start].query},
            "views": [view.data() for view in self._views],
        }

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """Make a page of it that works from disk, without a kernel and without a network.

        Parameters
        ----------
        path : str or Path, optional
            Where to write it.

        Returns
        -------
        page : Path or str
            Where it was written or, without ``path``, the text of the page.

        Raises
        ------
        ValueError
            If it would be larger than 2 MB.
        """
        element, _, _ = self._shown()
        page = web.page(element, title=f"Attention: {self._views[self._start].sentence}")
        size = len(page.encode())
        if size > MOST_BYTES:
            raise ValueError(
                f"explore: the page of {len(self._views)} sentences or layers would be {size / 1e6:.1f} MB, more than "
                f"{MOST_BYTES / 1e6:g} MB; pass fewer of them, or one layer: explore(reading.example(3))."
            )
        if path is None:
            return page
        path = Path(path)
        path.write_text(page, encoding="utf-8")
        return path

    def numbers(
        self,
        head: int | None = None,
        query: int | str | None = None,
        key: int | str | None = None,
        *,
        sentence: int = 0,
    ) -> CellNumbers:
        """Give the numbers behind one cell.

        Parameters
        ----------
        head : int, optional
            The head; by default the one `explore` was given.
        query, key : int or str, optional
            The two tokens, by position or text; by default the query that the view begins with, and the key it gives
            the largest weight.
        sentence : int, default 0
            Which of `labels`, counted from 0.

        Returns
        -------
        numbers : CellNumbers
            From the queries and keys to the weight.

        Raises
        ------
        ValueError
            If there is no such sentence, head or token, or a token stands more than once.
        """
        view, head, i, j = self._cell(sentence, head, query, key)
        parts = (view.products[head, i, j], view.scores[head, i, j], view.largest[head, i], view.exps[head, i, j])
        product, scaled, largest, exp = (part.item() for part in parts)
        return CellNumbers(
            head=head,
            query=view.name(i),
            key=view.name(j),
            q=view.q[head, i].clone(),
            k=view.k[head, j].clone(),
            product=product,
            d_k=view.d_k,
            scaled=scaled,
            largest=largest,
            exp=exp,
            sum=view.sums[head, i].item(),
            weight=view.weights[head, i, j].item(),
        )

    def plot(
        self,
        head: int | None = None,
        query: int | str | None = None,
        key: int | str | None = None,
        *,
        sentence: int = 0,
    ) -> Figure:
        """Draw one view as a figure: lines from the query, the heat map with its row framed, and one cell in numbers.

        Parameters
        ----------
        head, query, key, sentence
            As for `numbers`.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Its axes are labelled "lines", "map", "q", "k" and "product".

        Raises
        ------
        ValueError
            As `numbers`.
        """
        view, head, i, j = self._cell(sentence, head, query, key)
        return _draw_view(plt.figure(figsize=_size(view)), view, self.numbers(head, i, j, sentence=sentence), i, j)

    def __repr__(self) -> str:
        count = len(self._views)
        what = f"{count} {self._kind}{'s' * (count > 1)}"
        view = self._views[self._start]
        return f"Exploration({what}, head {self._head}, query {view.name(view.query)!r}: {self._reading()})"

    def _reading(self) -> str:
        view = self._views[self._start]
        row = view.weights[self._head, view.query]
        top = [(view.name(j), row[j].item()) for j in row.argsort(descending=True, stable=True)[:5].tolist()]
        looks = ", ".join(f"{name} {weight:.2f}" for name, weight in top if weight > 0)
        return f"looks at {looks}" if looks else "every key is blocked"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        element, picture, alt = self._shown()
        return web.bundle(element, picture=picture, alt=alt, text=repr(self))

    def _shown(self) -> tuple[str, bytes, str]:
        """All of it as HTML; the first view as a PNG, and in words."""
        view, head, i, j = self._cell(self._start, None, None, None)
        # Not by way of pyplot: the notebook would show the figure a second time.
        figure = _draw_view(Figure(figsize=_size(view)), view, self.numbers(sentence=self._start), i, j)
        drawn, png = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=_DPI, facecolor="white")
        (picture,) = with_one_palette([Image.open(drawn).convert("RGB")])  # a third of the bytes
        picture.save(png, "PNG", optimize=True)
        alt = f"Where {view.name(i)!r} looks in head {head} of {view.sentence!r}: it {self._reading()}."
        element = web.element(
            "explorer",
            self.data(),
            picture=picture,
            alt=alt,
            line=f"A picture of the explorer. Run this cell to choose {self._kind}, head and token.",
        )
        return element, png.getvalue(), alt

    def _cell(
        self, sentence: int, head: int | None, query: int | str | None, key: int | str | None
    ) -> tuple[_View, int, int, int]:
        """Find what is asked for: the view, the head, and the positions of query and key."""
        view = self._views[_number("sentence", sentence, len(self._views))]
        head = min(self._head, view.num_heads - 1) if head is None else _number("head", head, view.num_heads)
        i = view.query if query is None else _position("query", query, view.tokens)
        j = int(view.weights[head, i].argmax()) if key is None else _position("key", key, view.tokens)
        return view, head, i, j


def explore(
    *sentences: int | str | Explorable | Reading | Sequence[Explorable],
    head: int = 1,
    query: int | str | None = None,
    layer: int | None = None,
    labels: Sequence[str] | None = None,
) -> Exploration:
    """Look into sentences: in the output of a cell, on a page of its own, in a figure.

    Choose the sentence, the head and the query token. Lines lead from it to the tokens that it attends to, as thick as
    the weights; the heat map frames its row; and for one cell all numbers are there, from q and k to the weight.

    Parameters
    ----------
    *sentences : int, str, Example, Reading or list of Example
        What `load_example` takes; an example such as it returns; or all layers of one sentence, as the reading of a
        pretrained model or as a list of examples. By default all sentences that ship with the package.
    head : int, default 1
        The head to begin with.
    query : int or str, optional
        The token to begin with, by position or text; by default "it" or else the first real token. A sentence without
        it begins with its own default.
    layer : int, optional
        Which layer to begin with, where the first sentence is given with several; by default the first.
    labels : sequence of str, optional
        What the chooser calls each; by default the sentences, the layers of one numbered from 0.

    Returns
    -------
    exploration : Exploration
        The last expression of a notebook's cell shows it; ``to_html("page.html")`` writes a page, ``plot()`` draws it,
        ``numbers(head, "it", "animal")`` gives the numbers behind a cell.

    Raises
    ------
    TypeError
        If something is no sentence.
    ValueError
        If there is no such sentence, head, layer or token; if a sentence has more than 40 tokens, which is more than
        can be read; if the number of labels or tokens does not fit; if the weights are not those of q and k.

    Examples
    --------
    >>> explore("tired").numbers(1, "it", "animal").weight
    0.68...
    """
    given = [_layers(sentence) for sentence in sentences or range(len(list_examples()))]
    examples = [example for layers in given for example in layers]
    titles = [
        f"layer {i}: {_attribute(example, 'sentence')}" if len(layers) > 1 else _attribute(example, "sentence")
        for layers in given
        for i, example in enumerate(layers)
    ]
    names = titles
    of_one = len(given) == 1 and len({_attribute(example, "sentence") for example in examples}) == 1
    if of_one and len(examples) > 1:  # in a list of layers, their sentence would be said in each line
        names = [f"layer {i}" for i in range(len(examples))]
    if labels is not None:
        if isinstance(labels, str) or len(labels) != len(examples):
            got = repr(labels) if isinstance(labels, str) else len(labels)
            raise ValueError(
                f"explore: labels must be one for each of the {len(examples)} sentences or layers; got {got}."
            )
        titles = names = [str(label) for label in labels]
    start = 0 if layer is None else _number("layer", layer, len(given[0]))

    views = [_view(*each, query) for each in zip(examples, names, titles, strict=True)]
    head = _number("head", head, views[start].num_heads)
    somewhere = isinstance(query, str) and any(_positions(query, view.tokens) for view in views)
    if query is not None and (not somewhere or _positions(str(query), views[start].tokens)):
        _position("query", query, views[start].tokens)
    kinds = {"layer" if len(layers) > 1 else "sentence" for layers in given}
    return Exploration(views, start, head, "layer" if kinds == {"layer"} and len(given) == 1 else "sentence")


def _layers(given: Any) -> list[Any]:
    """Make examples of one sentence as it was given: one, or one for each layer."""
    if isinstance(given, int | str):
        return [load_example(given)]
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError("explore: a list of layers must hold at least one example; got an empty one.")
        return list(given)
    if hasattr(given, "layers") and hasattr(given, "example"):
        return [given.example(layer) for layer in range(len(given.layers))]
    return [given]


def _view(example: Explorable, label: str, title: str, query: int | str | None) -> _View:
    """Let `multihead_attention` run on the queries and keys of an example, and keep what it computed."""
    tokens = [str(token) for token in _attribute(example, "tokens")]
    num_heads = _attribute(_attribute(example, "layer"), "num_heads")
    q, k, weights = _checked_tensors(example, label, len(tokens), num_heads)
    ran = trace(multihead_attention, q, k, k, num_heads=num_heads)  # only its scores are wanted, so any values will do
    split_q, split_k, scores = ran["q"], ran["k"], ran["scores"].double()

    allowed, blocked = _allowed(example, label, weights)
    largest = scores.masked_fill(~allowed, -torch.inf).amax(dim=-1)
    largest = largest.masked_fill(~allowed.any(dim=-1), 0.0)  # a query with every key blocked
    exps = (scores - largest[..., None]).exp().masked_fill(~allowed, 0.0)  # (H, T, T)
    sums = exps.sum(dim=-1)
    expected = exps / sums.clamp(min=1e-300)[..., None]
    if not torch.allclose(expected.float(), weights, rtol=0.0, atol=WEIGHTS_OF_A_MODEL):  # NaN is close to nothing
        raise ValueError(
            f"explore: the weights of {label!r} must be the softmax of its q and k, q k^T / sqrt(d_k), by rows; they "
            f"are not. If a mask blocks cells, the example must have it as its mask, True = may attend."
        )
    return _View(
        label=label,
        title=title,
        sentence=example.sentence,
        tokens=tokens,
        query=_first_query(tokens, query),
        blocked=blocked,
        q=split_q,
        k=split_k,
        products=split_q.double() @ split_k.double().transpose(-2, -1),
        scores=scores,
        exps=exps,
        weights=weights,
        largest=largest,
        sums=sums,
    )


def _checked_tensors(example: Explorable, label: str, T: int, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """The q, k and weights of an example, in float32, if they can be shown."""
    if T > _MOST_TOKENS:
        raise ValueError(f"explore: more than {_MOST_TOKENS} tokens cannot be read in one picture; {label!r} has {T}.")
    q, k, weights = (_attribute(example, name).detach().cpu().float() for name in ("q", "k", "weights"))
    if weights.shape != (num_heads, T, T):
        raise ValueError(
            f"explore: {label!r} has {T} tokens and {num_heads} heads, so its weights must have the shape "
            f"{(num_heads, T, T)}; got {tuple(weights.shape)}."
        )
    for name, x in (("q", q), ("k", k)):
        if x.ndim != 2 or x.shape[0] != T or x.shape[1] % num_heads:
            raise ValueError(
                f"explore: {name} of {label!r} must have the shape (T, d_model), T = {T} and d_model divisible by "
                f"{num_heads}; got {tuple(x.shape)}."
            )
    return q, k, weights


def _allowed(example: Explorable, label: str, weights: Tensor) -> tuple[Tensor, np.ndarray]:
    """Which keys each query of each head may attend to, (H, T, T), and which cells are shown as blocked, (T, T)."""
    mask, (num_heads, T, _) = getattr(example, "mask", None), weights.shape
    if mask is None:
        # No mask tells which cells are blocked, but their weights are 0. A weight of 0 adds nothing to the sum anyway.
        return weights > 0, np.zeros((T, T), dtype=bool)
    check_mask_dtype("explore", mask)
    if tuple(mask.shape) != (T, T):
        raise ValueError(f"explore: the mask of {label!r} must have the shape {(T, T)}; got {tuple(mask.shape)}.")
    allowed = mask.detach().cpu().expand(num_heads, T, T)
    return allowed, ~allowed[0].numpy()


def _attribute(example: Any, name: str) -> Any:
    if not hasattr(example, name):
        raise TypeError(
            f"explore takes the number or text of a sentence that ships with the package, or an example with sentence, "
            f"tokens, q, k, weights and layer.num_heads; {type(example).__name__} has no {name}."
        )
    return getattr(example, name)


def _number(what: str, given: int, count: int) -> int:
    """Check a number that counts from 0."""
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < count:
        expected = f"a whole number from 0 to {count - 1}" if count > 1 else "0, for there is one alone"
        raise ValueError(f"explore: {what} must be {expected}; got {given!r}.")
    return given


def _positions(text: str, tokens: Sequence[str]) -> list[int]:
    """Find a token by its text, with or without the mark that a tokenizer puts before a word."""
    bare = [token.lstrip("Ġ▁ ").lower() for token in tokens]
    return [i for i, token in enumerate(tokens) if token == text] or [
        i for i, token in enumerate(bare) if token == text.lower()
    ]


def _position(what: str, given: int | str, tokens: Sequence[str]) -> int:
    if not isinstance(given, str):
        return _number(what, given, len(tokens))
    found = _positions(given, tokens)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"explore: the {what} {given!r} stands at {' and '.join(map(str, found))}; pass a position.")
    raise ValueError(f"explore: no token is {given!r}, so it cannot be the {what}; the tokens are {', '.join(tokens)}.")


def _first_query(tokens: Sequence[str], query: int | str | None) -> int:
    """Choose where a view begins: at the query asked for, or at "it", or at the first token that is text."""
    if isinstance(query, int) and query < len(tokens):
        return query
    found = _positions(query, tokens) if isinstance(query, str) else []
    found = found or _positions("it", tokens)
    found = found or [i for i, token in enumerate(tokens) if not re.fullmatch(r"\[.+\]|<.+>", token)]
    return (found or [0])[0]


def _base64(x: Tensor | np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(np.asarray(x).astype(dtype)).tobytes()).decode()


def _in_16_bits(x: Tensor) -> dict[str, Any]:
    # A power of two: it is the same wherever the numbers are computed, whose last digits are not.
    unit = 2.0 ** math.ceil(math.log2(max(float(x.abs().max()), 1e-30) / (2**15 - 1)))
    return {"unit": unit, "numbers": _base64((x.double() / unit).round(), "<i2")}


def _digits(x: float) -> str:
    """Write four digits, as explorer.js does."""
    return "0" if x == 0 else f"{x:#.4g}".replace("-", "−")


def _exponent(score: float, largest: float) -> str:
    subtracted = f"({_digits(largest)})" if largest < 0 else _digits(largest)
    return f"exp({_digits(score)} − {subtracted}), less the largest score"


# --------------------------------------------------------------------------------------------------- the figure


def _pitch(view: _View) -> float:
    """Return how high a row is, in inches: of a long sentence as low as can be read."""
    return min(max(3.0 / len(view.tokens), LINE_HEIGHT), 0.36)


def _head(view: _View) -> float:
    """Return how much stands above the map, in inches: its labels, upright if columns are narrow, and a word."""
    return 0.3 + longest_label(_short_tokens(view)) * (0.75 if _pitch(view) >= 1.5 * LINE_HEIGHT else 1.0)


def _short_tokens(view: _View) -> list[str]:
    return [_cut(token, 12 if len(view.tokens) <= 24 else 8) for token in view.tokens]


def _cut(text: str, length: int) -> str:
    """Cut what is too long for its place, and mark it so."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _size(view: _View) -> tuple[float, float]:
    return 10.0, 0.55 + _head(view) + _pitch(view) * len(view.tokens) + 1.75


def _draw_view(figure: Figure, view: _View, numbers: CellNumbers, query: int, key: int) -> Figure:
    """Draw the same view as explorer.js. Axes are placed by hand, in inches: so tokens and rows stand level."""
    width, height = _size(view)
    T, pitch = len(view.tokens), _pitch(view)

    def axes(label: str, left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height), label=label)

    tokens, side, bottom = _short_tokens(view), pitch * T, 1.75
    labels = 0.4 + longest_label(tokens)  # inches to the left of the map
    lines = min(width - 0.15 - 0.3 - labels - side - 0.85, 3.9)
    _draw_lines(axes("lines", 0.15, bottom, lines, side), view, numbers.head, query)
    ax = axes("map", 0.15 + lines + 0.3 + labels, bottom, side, side)
    image = draw_map(ax, view.weights[numbers.head].double().numpy(), "weights", view.blocked)
    label_rows(ax, "query", tokens, T, pitch)
    label_columns(ax, "key", tokens, T, pitch)
    frame: dict[str, Any] = {"fill": False, "zorder": 3, "clip_on": False}
    ax.add_patch(Rectangle((-0.5, query - 0.5), T, 1, edgecolor=COLORS["q"], linewidth=2, **frame))
    ax.add_patch(Rectangle((key - 0.5, query - 0.5), 1, 1, edgecolor=INK, linewidth=1.5, **frame))
    scale = ax.inset_axes((1 + 0.15 / side, 0.0, 0.12 / side, 1.0))
    style_colorbar(
        figure.colorbar(image, cax=scale, ticks=[0, 0.5, 1]),
        "weight, hatched: blocked" if view.blocked.any() else "weight",
    )

    title = f"{_cut(view.title, 90)}   (head {numbers.head}, of 0 to {view.num_heads - 1})"
    figure.text(
        0.15 / width, 1 - 0.2 / height, tick_texts([title], range(1))[0], fontsize=TITLE_SIZE, color=INK, va="center"
    )
    _draw_numbers(figure, axes, view, numbers)
    return figure


def _draw_numbers(figure: Figure, axes: Callable[..., Axes], view: _View, numbers: CellNumbers) -> None:
    """Draw below the map what one cell is made of: q, k and their product as bars, then number by number."""
    width, height = _size(view)
    style: dict[str, Any] = {"fontsize": LABEL_SIZE, "color": INK, "va": "center"}
    for row, (label, x, tensor) in enumerate(
        [
            (f"q of {_cut(numbers.query, 16)}", numbers.q, "q"),
            (f"k of {_cut(numbers.key, 16)}", numbers.k, "k"),
            ("q × k", numbers.q * numbers.k, "scores"),
        ]
    ):
        low = 0.95 - 0.42 * row
        ax = axes(["q", "k", "product"][row], 1.7, low, 3.4, 0.36)
        values = x.double().numpy()
        colors = [COLORS[tensor] if value >= 0 else OPPOSITES[tensor] for value in values]
        ax.bar(range(view.d_k), values, color=colors, width=0.8)
        limit = float(np.abs(values).max()) * 1.05 or 1.0
        ax.set(xlim=(-0.6, view.d_k - 0.4), ylim=(-limit, limit), xticks=[], yticks=[])
        ax.axhline(0.0, color=INK, linewidth=0.6)
        for spine in ax.spines.values():
            spine.set(color=GRID, linewidth=0.6)
        figure.text(1.6 / width, (low + 0.18) / height, tick_texts([label], range(1))[0], ha="right", **style)
    for row, (name, how, number) in enumerate(numbers._rows()):
        y = (1.2 - 0.26 * row) / height
        figure.text(5.9 / width, y, name, ha="right", **style)
        figure.text(6.65 / width, y, number, ha="right", weight="bold", **style)
        figure.text(6.8 / width, y, how, **style | {"color": PAGE_QUIET, "fontsize": TICK_SIZE})


def _draw_lines(ax: Axes, view: _View, head: int, query: int) -> None:
    """Draw the tokens twice and lines from the query to each, as thick and as strong as the weight."""
    T, row = len(view.tokens), view.weights[head, query].tolist()
    ax.set(xlim=(0, 1), ylim=(T - 0.5, -0.5))
    ax.axis("off")
    names = _short_tokens(view)
    inches = ax.get_position().width * _size(view)[0]
    letters = max(
        1.15 * longest_label(names) + 0.1, 0.45
    )  # inches: the letters here are a little larger than those of the map
    left, right = letters / inches, 1 - (letters + 0.4) / inches
    names = tick_texts(names, range(T))
    t = np.linspace(0, 1, 40)
    bend = t * t * (3 - 2 * t)
    curves = [np.column_stack([left + (right - left) * t, query + (j - query) * bend]) for j in range(T)]
    colors = [to_rgba(COLORS["weights"], 0.3 + 0.7 * min(weight, 1.0)) for weight in row]
    ax.add_collection(
        LineCollection(curves, linewidths=[_THICKEST * weight for weight in row], colors=colors, capstyle="butt"),
        autolim=False,
    )
    size = min(9.0, 72 * _pitch(view) * 0.85)
    for i, (name, weight) in enumerate(zip(names, row, strict=True)):
        mine = {"weight": "bold", "color": INK} if i == query else {"color": INK}
        ax.text(left - 0.02, i, name, ha="right", va="center", fontsize=size, **mine)  # type: ignore[arg-type]
        ax.text(right + 0.02, i, name, va="center", fontsize=size, color=INK)
        ax.text(
            1, i, f"{weight:.2f}", ha="right", va="center", fontsize=size, color=INK if weight >= 0.005 else PAGE_QUIET
        )
    ax.add_patch(Rectangle((0.0, query - 0.5), left, 1, fill=False, edgecolor=COLORS["q"], linewidth=2, clip_on=False))
    for x, text, side in ((left - 0.02, "query", "right"), (right + 0.02, "key", "left"), (1.0, "weight", "right")):
        ax.annotate(
            text, (x, 1), (0, 4), "axes fraction", "offset points", ha=side, fontsize=LABEL_SIZE, color=PAGE_QUIET
        )
