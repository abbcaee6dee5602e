"""Put the questions of a goal to a student's code, and note what comes back.

It runs where that code runs, and knows no answers.
"""

from __future__ import annotations

import contextlib
import copy
import types
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.classroom.contract.answer import Failure
from attention_variants.classroom.contract.noted import AFTER, GRADIENT, Noted
from attention_variants.classroom.goals.goal import Goal, Question

from .clock import TimeIsUp, alarm
from .limits import ENOUGH_NOT_WRITTEN
from .restore import Output, unharmed
from .run import raised, read
from .signature import expect_signature, parameters

#: What a class may keep for all of its instances.
_REMEMBERS = (list, dict, set, Tensor, int, float, type(None))


class OtherParameters(Exception):  # noqa: N818 (no error of ours: it carries what there is)
    """A module has other parameters than it should; `more` says which."""

    def __init__(self, more: dict[str, list[str]]) -> None:
        super().__init__()
        self.more = more


class Wrong(Exception):  # noqa: N818 (no error of ours: it carries why a question ends)
    """What came back is of another kind, so that the question cannot go on; it has been noted."""


class Notes:
    """One question being put: it draws what goes in, makes the calls, and keeps what comes back.

    Parameters
    ----------
    goal : Goal
        What is asked for.
    question : Question
        Which question.
    exam : int
        Other numbers for each.
    mine : object
        The function or class.

    Attributes
    ----------
    noted : Noted
        What has come so far.
    """

    def __init__(self, goal: Goal, question: Question, exam: int, mine: Any) -> None:
        self.goal, self.mine, self.noted = goal, mine, Noted()
        seed = zlib.crc32(f"{goal.name} {question.key} {exam}".encode())
        self.generator = torch.Generator().manual_seed(seed)
        self._leaves: dict[str, Tensor] = {}
        self._given: list[tuple[str, Tensor, Tensor]] = []

    def draw(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Draw a tensor of normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(dtype)

    def leaf(self, name: str, x: Tensor) -> Tensor:
        """Hand a tensor in, so that its gradient can be asked for and its change be seen.

        Parameters
        ----------
        name : str
            What it is called in the goal.
        x : Tensor
            The numbers.

        Returns
        -------
        given : Tensor
            A tensor that may be written into, as autograd forbids for a leaf.
        """
        original = x.clone()
        if x.is_floating_point():
            self._leaves[name] = x.clone().requires_grad_()
            x = self._leaves[name] * 1
        else:
            x = x.clone()
        self._given.append((name, original, x))
        return x

    def takes(self, name: str) -> bool:
        """Whether the function or the class takes an argument of this name."""
        return name in parameters(self.mine)

    def call(self, code: str, function: Callable, *arguments: Any, **options: Any) -> Any:
        """Make a call, and remember it as code.

        Parameters
        ----------
        code : str
            The call, such as "cache.append(k, v)", with the names of the arguments in their order.
        function : callable
        *arguments, **options
            What goes in.

        Returns
        -------
        found : object
            Whatever comes back.
        """
        shapes = [f"{name} {tuple(x.shape)}" for name, x in _named(code, arguments) if isinstance(x, Tensor)]
        self.noted.calls.append(", ".join([code, *shapes]))
        expect_signature(function, arguments, options, of="goal", call=code)
        return function(*arguments, **options)

    def keep(self, name: str, x: Any) -> None:
        """Keep a value as it is now: a tensor's numbers, or a number, or the type of anything else."""
        is_number = type(x) in (int, bool, float)
        found = read(torch.tensor(x))._replace(kind=type(x).__name__) if is_number else read(x)
        self.noted.kinds[name] = found.kind
        if found.numbers is not None:
            self.noted.values[name] = found.numbers
        self.noted.after_call[name] = len(self.noted.calls)

    def keep_all(self, names: Sequence[str], found: Any) -> tuple[Any, ...]:
        """Keep what a call returned: one value, or a tuple or list of as many as there are names.

        Raises
        ------
        Wrong
            If there are not so many.
        """
        if len(names) == 1:
            self.keep(names[0], found)
            return (found,)
        items = tuple(found) if type(found) in (tuple, list) or isinstance(found, tuple) else None
        if items is None or len(items) != len(names):
            kind = "None" if found is None else type(found).__name__
            self.noted.kinds["returned"] = kind if items is None else f"{kind} {len(items)}"
            self.noted.after_call["returned"] = len(self.noted.calls)
            raise Wrong
        for name, x in zip(names, items, strict=True):
            self.keep(name, x)
        return items

    def keep_inputs(self) -> None:
        """Keep the inputs as the calls have left them."""
        for name, _, x in self._given:
            self.keep(AFTER + name, x)

    def give_weights(self, made: nn.Module, right: nn.Module) -> None:
        """Give a module the weights of another, by their names.

        Raises
        ------
        OtherParameters
            If its parameters have other names or shapes.
        """
        found, expected = ({name: tuple(p.shape) for name, p in one.named_parameters()} for one in (made, right))
        if found != expected:
            raise OtherParameters(
                {
                    "missing": sorted(expected.keys() - found.keys()),
                    "unknown": sorted(found.keys() - expected.keys()),
                    "shapes": [name for name in expected if name in found and expected[name] != found[name]],
                }
            )
        made.load_state_dict(right.state_dict())

    def keep_gradients(self, output: Any, parameters: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        """Keep the gradients of what was handed in, and of parameters: of the sum of the sines of an output."""
        leaves = {**self._leaves, **parameters}
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if isinstance(output, Tensor) and output.requires_grad:
            found = torch.autograd.grad(output.double().sin().sum(), list(leaves.values()), allow_unused=True)
        for name, x in zip(leaves, found, strict=True):
            self.keep(GRADIENT + name, x)

    def function(self, returns: Sequence[str], *, gradients: bool = True, call: str = "", **options: Any) -> Any:
        """Put the usual question to a function: what does it make of these, and what are the gradients?

        Parameters
        ----------
        returns : sequence of str
            The names of what it returns.
        gradients : bool, default True
            Whether they are asked for.
        call : str, optional
            The call as code, by default that of the goal with the options.
        **options
            What goes in: tensors and numbers, by their names; those that the call of the goal names go in by place.
        """
        code = call or self.goal.call
        placed = [name for name, _ in _named(code, tuple(options.values())) if name in options]
        given = {name: self.leaf(name, x) if isinstance(x, Tensor) else x for name, x in options.items()}
        others = {name: x for name, x in given.items() if name not in placed}
        if others:
            inside = ", ".join(f"{name}={_shown(x)}" for name, x in others.items())
            code = f"{code[:-1]}, {inside})"
        found = self.call(code, self.mine, *(given[name] for name in placed), **others)
        first, *_ = self.keep_all(returns, found)
        self.keep_inputs()
        if gradients:
            self.keep_gradients(first)


def _named(code: str, arguments: Sequence[Any]) -> list[tuple[str, Any]]:
    """The arguments that a call names, in their order, with what they are."""
    inside = code.partition("(")[2].rstrip(")")
    names = [part.strip() for part in inside.split(",") if part.strip().isidentifier()]
    return list(zip(names, arguments, strict=False))


def _shown(x: Any) -> str:
    return f"tensor{tuple(x.shape)}" if isinstance(x, Tensor) else repr(x)


@contextlib.contextmanager
def _remembering_nothing(mine: Any) -> Iterator[None]:
    """Put back what a function or a class itself remembers from one call to the next: the next check begins as this."""
    functions = [mine, *vars(mine).values()] if isinstance(mine, type) else [mine]
    functions = [one for one in functions if isinstance(one, types.FunctionType)]
    defaults = [(one, _copied(one.__defaults__), _copied(one.__kwdefaults__)) for one in functions]
    attributes = {}
    if isinstance(mine, type):
        attributes = {name: _copied(x) for name, x in vars(mine).items() if not callable(x) and name[:2] != "__"}
    try:
        yield
    finally:
        for one, placed, named in defaults:
            one.__defaults__, one.__kwdefaults__ = placed, named
        if isinstance(mine, type):
            for name in [name for name, x in vars(mine).items() if not callable(x) and name[:2] != "__"]:
                if name not in attributes:
                    type.__delattr__(mine, name)
            for name, x in attributes.items():
                if isinstance(x, _REMEMBERS):
                    type.__setattr__(mine, name, x)


def _copied(x: Any) -> Any:
    try:
        return copy.deepcopy(x)
    except Exception:  # such as a property, which remembers nothing
        return x


def ask_goal(mine: Any, goal: Goal, exam: int, seconds: float) -> tuple[list[Noted], tuple[str, ...], int]:
    """Put all questions of a goal, and leave the process as it was.

    Parameters
    ----------
    mine : object
        The function or class.
    goal : Goal
        What is asked for.
    exam : int
        Which numbers.
    seconds : float
        How long all of it may take.

    Returns
    -------
    noted : list of Noted
        One for each question, in their order; of those that ask for what it does not offer, one with nothing in it.
    lacks : tuple of str
        What it does not offer.
    printed : int
        How many characters it printed.
    """
    noted: list[Noted] = []
    lacks: tuple[str, ...] = ()
    with unharmed() as output, _remembering_nothing(mine):
        try:
            with alarm(seconds):
                lacks = tuple(name for name in goal.optional if not _offers(mine, goal, name))
                for question in goal.questions:
                    noted.append(
                        Noted() if set(question.asks_for) & set(lacks) else _ask(mine, goal, question, exam, output)
                    )
                    if len(noted) >= ENOUGH_NOT_WRITTEN and all(
                        one.error and one.error.is_not_written for one in noted
                    ):
                        break
        except TimeIsUp:
            pass
    missing: Failure | None = Failure("time", seconds=seconds)
    if noted and all(one.error and one.error.is_not_written for one in noted):
        missing = noted[0].error
    unanswered = [Noted(error=missing) for _ in goal.questions[len(noted) :]]
    return [*noted, *unanswered], lacks, output.count


def _ask(mine: Any, goal: Goal, question: Question, exam: int, output: Output) -> Noted:
    """Put one question; whatever the code does, something comes back."""
    notes = Notes(goal, question, exam, mine)
    output.begin()
    try:
        with torch.enable_grad():
            question.ask(mine, notes)
    except Wrong:
        pass
    except OtherParameters as error:
        notes.noted.error = Failure("parameters", more=error.more)
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: it is the function's, not ours
        notes.noted.error = raised(error)
    notes.noted.printed = output.printed()
    return notes.noted


def _offers(mine: Any, goal: Goal, name: str) -> bool:
    """Whether a function takes an option, or a class has a method or an attribute or takes an argument."""
    takes = parameters(mine)
    if name in takes or (not goal.is_class and "**" in takes):
        return True
    if not goal.is_class:
        return False
    try:
        return hasattr(mine, name) or hasattr(mine(*goal.made_with), name)
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException:
        return False
