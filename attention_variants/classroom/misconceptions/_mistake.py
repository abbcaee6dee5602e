"""What a mistake is, and how wrong code is made out of the right."""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from attention_variants.classroom.goals import GOALS
from attention_variants.model import MultiHeadAttention
from attention_variants.model.lift import lift
from attention_variants.variants import get_variant

#: What stands in a variant's source, and what stands there in the wrong one; several, one after the other.
Changes = tuple[tuple[str, str], ...]


class InFile(tuple[tuple[str, str], ...]):
    """Changes to the whole file in which a function stands, where it is what the function calls that is wrong."""

    __slots__ = ()


#: What is wrong in a goal: changes to its source, or to its file; a function or class; or several forms of the same
#: mistake, which give different numbers, first the one to be shown.
Wrong = Changes | Callable | list[Changes | Callable]

#: Makes variant 7 of the wrong variant 6: written by hand, without the kernel, the mistake is the same in both.
BY_HAND = "by hand"

#: A softmax where the variants have it, from 2 on.
SOFTMAX = "torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1"

#: Where a mask meets the scores, from variant 4 on.
BLOCK = """\
    if mask is not None:
        # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
"""

#: With what whole lines begin, see `rewrite`.
_INDENTATION = "    "

#: Sets blocked weights to 0 in any case. The variants do where some query has no key: a right softmax needs no more.
CLEAR_ALWAYS = ("mask is not None and lacks_keys(mask)", "mask is not None")


@dataclass(frozen=True)
class Mistake:
    """A mistake with a name: what a report says of it, and, for many, code that makes it.

    Attributes
    ----------
    name : str
        What the function with the mistake is called.
    explanation : str
        What goes wrong, in a sentence.
    hint : str
        Where to look, in a sentence that does not give the line away.
    shows : str
        With code: the problems in which the output differs from the right one.
    seen : str
        Where it was seen, an address; or "common".
    changes : mapping of int to changes, callable or "by hand"
        For each variant in which there is wrong code, what it changes in the variant's source. Where that cannot say
        it, a function with the variant's signature; "by hand" lifts the one of variant 6 to variant 7. Empty for what
        is known by what it computes, or by what it breaks, alone.
    of_goals : mapping of str to changes, callable or list of them
        The same for what `check` can be asked for beside the variants, by name: what it changes in the source of the
        function or class (or, `InFile`, in the file where that stands), or one that is wrong; several forms in a list.
    forward : changes
        For a mistake in the layer around attention: what it changes in the ``forward`` of `MultiHeadAttention`.
    """

    name: str
    explanation: str
    hint: str
    shows: str = ""
    seen: str = "common"
    changes: Mapping[int, Changes | Callable | str] = field(default_factory=dict, repr=False, compare=False)
    of_goals: Mapping[str, Wrong] = field(default_factory=dict, repr=False, compare=False)
    forward: Changes = field(default=(), repr=False, compare=False)

    @property
    def variants(self) -> tuple[int, ...]:
        """The variants in which there is wrong code, first the one that shows it best; none for a name without code."""
        return tuple(self.changes)

    @property
    def variant(self) -> int:
        """The variant that shows it best: the one of its notebook, where it is in one."""
        if not self.changes:
            raise ValueError(f"{self.name} has no code of a variant; with_code() gives the mistakes that have.")
        return self.variants[0]

    @cached_property
    def functions(self) -> Mapping[int, Callable]:
        """For each of ``variants`` the wrong implementation, with the variant's signature; made when asked for."""
        return _Functions(self)

    @property
    def goals(self) -> tuple[str, ...]:
        """The public names of which there is a wrong implementation, first the one that shows it best."""
        return tuple(self.of_goals)

    @property
    def goal(self) -> str:
        """The public name that shows it best; "" for a mistake in the variants alone."""
        return self.goals[0] if self.goals else ""

    @cached_property
    def implementations(self) -> Mapping[str, Any]:
        """For each of ``goals`` the wrong function or class, with the signature of the right one."""
        return {goal: next(self.forms(goal)) for goal in self.goals}

    def forms(self, goal: str) -> Iterator[Any]:
        """Make the wrong implementations of a goal anew, so that they remember nothing of earlier calls.

        Parameters
        ----------
        goal : str
            One of ``goals``.

        Yields
        ------
        wrong : function or class
            First the one that is shown.
        """
        wrong = self.of_goals[goal]
        for number, one in enumerate(wrong if isinstance(wrong, list) else [wrong]):
            where = "" if goal == self.goal and not self.changes else f", {goal}"
            file = f"<{self.name}{where}{f', form {number + 1}' if number else ''}>"
            if callable(one):
                yield one
            elif isinstance(one, InFile):
                yield rewrite_file(GOALS[goal].right, *one, file=file)
            else:
                yield rewrite(GOALS[goal].right, self.name, *one, file=file)

    @property
    def function(self) -> Callable:
        """The wrong implementation of ``variant`` or, of a mistake in none of the variants, of ``goal``."""
        if self.goals and not self.variants:
            wrong: Callable = self.implementations[self.goal]
            return wrong
        return self.functions[self.variant]

    @property
    def right(self) -> Callable:
        """What ``function`` should be: ``diff(mistake.right, mistake.function)`` shows what is wrong."""
        if self.goals and not self.variants:
            right: Callable = GOALS[self.goal].right
            return right
        return get_variant(self.variant)

    @cached_property
    def layer(self) -> type[MultiHeadAttention]:
        """The layer with the mistake, for those that have one."""
        if not self.forward:
            raise ValueError(f"{self.name} has no code of a layer; of_the_layer() gives the mistakes that have.")
        forward = rewrite(MultiHeadAttention.forward, "forward", *self.forward, file=f"<{self.name}>")
        return type(self.name, (MultiHeadAttention,), {"forward": forward})


class _Functions(Mapping[int, Callable]):
    """The wrong implementations of one mistake, by variant; the compiler runs when one is asked for."""

    def __init__(self, mistake: Mistake) -> None:
        self._mistake = mistake
        self._made: dict[int, Callable] = {}

    def __getitem__(self, variant: int) -> Callable:
        if variant not in self._made:
            self._made[variant] = self._make(variant, self._mistake.changes[variant])
        return self._made[variant]

    def __contains__(self, variant: object) -> bool:
        return variant in self._mistake.changes

    def __iter__(self) -> Iterator[int]:
        return iter(self._mistake.changes)

    def __len__(self) -> int:
        return len(self._mistake.changes)

    def _make(self, variant: int, changes: Changes | Callable | str) -> Callable:
        name = self._mistake.name
        if callable(changes):
            return changes
        if isinstance(changes, str):
            function = lift(6, self[6])
            function.__name__ = function.__qualname__ = name
            return function
        file = f"<{name}>" if variant == self._mistake.variant else f"<{name}, variant {variant}>"
        return rewrite(get_variant(variant), name, *changes, file=file)


def rewrite(function: Callable, name: str, *changes: tuple[str, str], file: str | None = None) -> Callable:
    """Make a function or a class out of another one's source with pieces of it replaced.

    Parameters
    ----------
    function : callable
        A function or class defined at the top of a module.
    name : str
        What the new one is called.
    *changes : tuple of (str, str)
        What to replace, wherever it stands, and by what. Whole lines, which begin with the indentation of a
        function's body, are found at any depth, such as in a loop, and what takes their place is indented as they are.
    file : str, optional
        What the new source calls itself, by default the name in angle brackets; one for each function.

    Returns
    -------
    rewritten : callable
        Its source can be shown, traced and compared like any other.

    Raises
    ------
    ValueError
        If a piece does not stand in the source: the variant has changed and the mistake must follow.
    """
    kind = "class" if isinstance(function, type) else "def"
    source = re.sub(
        rf"^{kind} {function.__name__}\b", f"{kind} {name}", _source_of(function), count=1, flags=re.MULTILINE
    )
    for old, new in changes:
        source, count = _replaced(source, old, new)
        if not count:
            raise ValueError(f"rewrite: {old!r} does not stand in {function.__name__}.")
    file = f"<{name}>" if file is None else file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for show, trace and errors
    namespace = dict(vars(sys.modules[function.__module__]))
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


def rewrite_file(function: Callable, *changes: tuple[str, str], file: str) -> Any:
    """Make a function or a class out of its whole file with pieces of that replaced.

    Parameters
    ----------
    function : callable
        What stands in the file.
    *changes, file
        As `rewrite` takes them.

    Returns
    -------
    rewritten : callable
        Of the same name.
    """
    module = sys.modules[function.__module__]
    source = inspect.getsource(module)
    for old, new in changes:
        source, count = _replaced(source, old, new)
        if not count:
            raise ValueError(f"rewrite_file: {old!r} does not stand in the file of {function.__name__}.")
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = {"__name__": module.__name__, "__package__": module.__package__}
    exec(compile(source, file, "exec"), namespace)
    return namespace[function.__name__]


@lru_cache(maxsize=32)
def _source_of(function: Callable) -> str:
    """Read a source once: many mistakes are changes to the same few functions."""
    return textwrap.dedent(inspect.getsource(function))


def _replaced(source: str, old: str, new: str) -> tuple[str, int]:
    """Put one piece of code in place of another, and count how often."""
    if not old.startswith(_INDENTATION):
        return source.replace(old, new), source.count(old)
    first, *others = old.splitlines(keepends=True)
    followed_by = "".join((r"(?P=deeper)" if line.strip() else "") + re.escape(line) for line in others)
    lines = re.compile(rf"^(?P<deeper> *){re.escape(first)}{followed_by}", re.MULTILINE)
    return lines.subn(lambda found: textwrap.indent(new, found["deeper"]), source)


def alike(variants: tuple[int, ...], *changes: tuple[str, str]) -> dict[int, Changes | Callable | str]:
    """Give several variants the same changes.

    Parameters
    ----------
    variants : tuple of int
        The variants, the one that shows the mistake best first.
    *changes : tuple of (str, str)
        What to replace, and by what.

    Returns
    -------
    changes : dict
        The changes of each variant.
    """
    return dict.fromkeys(variants, changes)


def by_hand() -> dict[int, Changes | Callable | str]:
    """Give variant 7 the mistake of variant 6, as if it were written without the kernel.

    Returns
    -------
    changes : dict
        The change of variant 7.
    """
    return {7: BY_HAND}


def mask_becomes(wrong: str) -> tuple[str, str]:
    """Let something else be used in place of the mask, from the scores on.

    Parameters
    ----------
    wrong : str
        What stands in for the mask.

    Returns
    -------
    change : tuple of (str, str)
        What to replace, and by what.
    """
    condition, rest = BLOCK.split("\n", 1)
    return (BLOCK, f"{condition}\n        mask = {wrong}\n{rest}")
