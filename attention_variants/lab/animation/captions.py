"""What the frames of an animation say: an event is data, and here, and nowhere else, a sentence is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from torch import nn


class Kind(Enum):
    """What happens in a frame."""

    ARGUMENTS = auto()  #: Tensors come in.
    HELD = auto()  #: What a module holds.
    STATEMENT = auto()  #: One turn of a loop: the statement, with the numbers its counters stand for.
    VIEW = auto()  #: Numbers move by one link of a chain such as ``.view(...).transpose(...)``.
    REARRANGED = auto()  #: Numbers move, and nobody says how: the line, and the shapes before and after.
    MOVED = auto()  #: They have arrived: the same numbers, in another place.
    LOOKED_UP = auto()  #: They have arrived from a table: a row for each token.
    KEPT = auto()  #: The same numbers, in the same place.
    NOTHING_YET = auto()  #: Filled with the lowest number there is, before anything is known.
    BLOCKED = auto()  #: A mask has taken numbers away.
    BLANK = auto()  #: A new tensor of zeros.
    WRITTEN = auto()  #: Numbers are written all at once.
    CALLED = auto()  #: A line calls what the module holds.
    PICKED = auto()  #: A token picks its row of a table.
    RETURNED = auto()  #: The end.


class Verdict(Enum):
    """What two functions returned, one beside the other."""

    NOTHING = auto()
    SAME = auto()
    DIFFERENT = auto()
    OTHER_SHAPES = auto()


@dataclass(frozen=True)
class Event:
    """What happens in a frame.

    Attributes
    ----------
    kind : Kind
        What sort of thing.
    names : tuple of str
        The tensors to which it happens.
    code : str
        The line, statement or link that does it.
    number : float, optional
        What a statement has written into its one cell.
    tokens : (str, str), optional
        The words of the query and the key of that cell.
    count, of : int
        How many numbers are written, or cells blocked, and of how many.
    shapes : (tuple of int, tuple of int), optional
        The shape before and after; of a verdict, the two that differ.
    turns : int
        How many tensors the shape before stands for: the turns of a loop over heads.
    verdict : Verdict, optional
        At the end, if two functions stand beside each other.
    differences : tuple of (int, int, str)
        Of what differs on the way: how many numbers, of how many, of which tensor.
    head : int, optional
        In a loop over heads, of which it is.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    code: str = ""
    number: float | None = None
    tokens: tuple[str, str] | None = None
    count: int = 0
    of: int = 0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    turns: int = 1
    verdict: Verdict | None = None
    differences: tuple[tuple[int, int, str], ...] = ()
    head: int | None = None


def caption(event: Event, steps: int = 1) -> str:
    """Say what happens, in a line.

    Parameters
    ----------
    event : Event
        What happens.
    steps : int, default 1
        How many steps of a loop the frame stands for.

    Returns
    -------
    caption : str
    """
    text = ("" if event.head is None else f"head {event.head}: ") + _SENTENCES[event.kind](event)
    return f"{steps} steps, up to {text}" if steps > 1 else text


def sheet_name(index: tuple[int, ...], heads: bool, head: str = "head") -> str:
    """Call a sheet "head 0", "item 1" or "item 1, head 0", by its leading indices; the last may count heads."""
    items, last = (index[:-1], index[-1:]) if heads else (index, ())
    item = [f"item {', '.join(map(str, items))}"] if items else []
    return ", ".join([*item, *(f"{head} {number}" for number in last)])


def shape_of(shape: tuple[int, ...], turns: int = 1) -> str:
    """Say a shape; of what the turns of a loop make, how many tensors there are, and the shape of each.

    Parameters
    ----------
    shape : tuple of int
        Of all turns together: the third from the end counts them, if there are several.
    turns : int, default 1
        How many there are.

    Returns
    -------
    said : str
        "(6, 3)", or "2 × (6, 3)".
    """
    return str(shape) if turns == 1 else f"{turns} × {(*shape[:-3], *shape[-2:])}"


def _statement(event: Event) -> str:
    number = "" if event.number is None else f" = {event.number:.2f}".replace("-", "−")
    tokens = "" if event.tokens is None else f"   ({event.tokens[0]} → {event.tokens[1]})"
    return f"{event.code}{number}{tokens}"


def _shapes(event: Event, between: str) -> str:
    before, after = event.shapes or ((), ())
    return f"{shape_of(before, event.turns)} {between} {after}"


def _returned(event: Event) -> str:
    if event.verdict is None:
        return "returned"
    verdict = {
        Verdict.NOTHING: "there are no results to compare",
        Verdict.SAME: "the results are the same",
        Verdict.DIFFERENT: "the results differ",
        Verdict.OTHER_SHAPES: f"the results have other shapes, {_shapes(event, 'and')}",
    }[event.verdict]
    differ = ", ".join(f"{count} of {of} numbers of {name}" for count, of, name in event.differences)
    return f"returned; {verdict}" + f"; on the way, {differ} differ" * bool(differ)


def said_of(called: Sequence[tuple[str, str, nn.Module]], around: str = "") -> str:
    """Say what the modules that a line calls compute.

    Parameters
    ----------
    called : sequence of (str, str, torch.nn.Module)
        The name, the first argument, and the module of each, in the order in which they run.
    around : str, default ""
        The name of a function that is called with what they make.

    Returns
    -------
    said : str
        A matrix product as a formula; of other modules, their names.
    """
    products = [(name, argument, module) for name, argument, module in called if isinstance(module, nn.Linear)]
    others = [name for name, _, module in called if not isinstance(module, nn.Linear)]
    said = []
    if len(products) == 1:
        ((name, argument, module),) = products
        argument = argument if argument.isidentifier() else "…"
        if around:
            said.append(f"{around} of {name}({argument})")
        said.append(
            f"{name}({argument}) is {argument} @ {name}.weight.T" + f" + {name}.bias" * (module.bias is not None)
        )
    elif products:
        bias = ", plus its bias" * any(module.bias is not None for _, _, module in products)
        said.append(f"{_listed([name for name, *_ in products])} each multiply by their weight.T{bias}")
    if others:
        said.append(f"made by {', then '.join(others)}")
    return "; ".join(said)


def _picked(event: Event) -> str:
    tokens, table, vectors = event.names
    word = f", {event.code!r}," * bool(event.code)
    picks = f"{tokens}[{event.count}] = {event.number}{word} picks row {event.number} of {table}"
    return f"{picks}: row {event.count} of {vectors}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


_SENTENCES: dict[Kind, Callable[[Event], str]] = {
    Kind.ARGUMENTS: lambda e: f"{_listed(e.names)} come{'s' * (len(e.names) == 1)} in",
    Kind.HELD: lambda e: f"{_listed(e.names)}: held by the module",
    Kind.STATEMENT: _statement,
    Kind.VIEW: lambda e: f"{e.code}:  {_shapes(e, '→')}",
    Kind.REARRANGED: lambda e: f"{e.code}   {_shapes(e, '→')}",
    Kind.MOVED: lambda e: f"{_listed(e.names)}: the same numbers, in another place",
    Kind.LOOKED_UP: lambda e: f"{_listed(e.names)}: for each token, its row of the table",
    Kind.KEPT: lambda e: f"{_listed(e.names)}: the same numbers",
    Kind.NOTHING_YET: lambda e: f"{_listed(e.names)}: nothing yet, the lowest number there is",
    Kind.BLOCKED: lambda e: f"{_listed(e.names)}: {e.count} of {e.of} cells are blocked",
    Kind.BLANK: lambda e: f"{_listed(e.names)}: {e.count} zeros, to be filled in",
    Kind.WRITTEN: lambda e: f"{e.code or _listed(e.names)}: {e.count} number{'s' * (e.count > 1)} at once",
    Kind.CALLED: lambda e: f"{_listed(e.names)}: {e.code}",
    Kind.PICKED: _picked,
    Kind.RETURNED: _returned,
}
