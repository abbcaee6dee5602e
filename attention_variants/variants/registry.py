"""The list of variants: each registers at the end of its page, and says there what it adds and what it takes.

Everything else asks what a variant takes, never for its number: one that is registered later is then treated rightly.

>>> describe_variant(4).name
'attention_masked'
>>> describe_variant(4).takes
('batch', 'mask')
>>> takes(4, "heads")
False
>>> variants_that_take("mask", "heads")
(5, 6, 7)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

#: What a variant can take, in the order in which the seven come to it.
CAPABILITIES = ("batch", "mask", "heads", "dropout", "is_causal", "need_weights")

#: A variant's function: ``function(q, k, v, ...) -> (context, weights)``.
Attention: TypeAlias = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Variant:
    """A variant as it describes itself.

    Attributes
    ----------
    number : int
        Its place in the list, from 1.
    function : callable
        The implementation, ``function(q, k, v, ...) -> (context, weights)``.
    adds : str
        What it adds to the variant before it, in a few words.
    takes : tuple of str
        Those of `CAPABILITIES` that it has, in their order: "batch", any leading dimensions; "mask", a boolean mask;
        "heads", ``num_heads``; "dropout", ``dropout_p``; "is_causal" and "need_weights", the keywords of these names.
    """

    number: int
    function: Attention
    adds: str
    takes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of_function(self.function, self.number)


_REGISTERED: dict[int, Variant] = {}


class _Functions(Mapping[int, Attention]):
    """The functions of the registered variants by their numbers, in ascending order; it changes as they do."""

    def __getitem__(self, number: int) -> Attention:
        return _REGISTERED[number].function

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(_REGISTERED))

    def __reversed__(self) -> Iterator[int]:
        return iter(sorted(_REGISTERED, reverse=True))

    def __len__(self) -> int:
        return len(_REGISTERED)

    def __repr__(self) -> str:
        return repr(dict(self))


#: The functions by their numbers, in order. `register` and `unregister` change it.
VARIANTS = _Functions()


def register(function: Attention, *, number: int, adds: str, takes: Collection[str] = ()) -> None:
    """Add a variant to the list.

    Parameters
    ----------
    function : callable
        The implementation, ``function(q, k, v, ...) -> (context, weights)``.
    number : int
        Its place in the list, from 1, which no other variant has.
    adds : str
        What it adds to the variant before it, in a few words.
    takes : collection of str
        Those of `CAPABILITIES` that it has.

    Raises
    ------
    TypeError
        If the function cannot be called, or ``takes`` is a single string.
    ValueError
        If the number is not a whole number of at least 1, or is taken, or there is no such capability.

    Examples
    --------
    >>> def attention_of_mine(q, k, v, mask=None): ...
    >>> register(attention_of_mine, number=8, adds="an idea of mine", takes=("batch", "mask"))
    >>> variants_that_take("mask")
    (4, 5, 6, 7, 8)
    >>> unregister(8)
    """
    if not callable(function):
        raise TypeError(f"register: function must be callable; got {type(function).__name__}.")
    if not _is_whole(number) or number < 1:
        raise ValueError(f"register: number must be a whole number of at least 1; got {number!r}.")
    if number in _REGISTERED:
        raise ValueError(
            f"register: variant {number} is there already, {_REGISTERED[number].name}; "
            f"take another number, or call unregister({number}) first."
        )
    if isinstance(takes, str):
        raise TypeError(f'register: takes must be a collection of names, such as ("mask",); got {takes!r}.')
    for capability in takes:
        _check_capability("register: takes", capability)
    ordered = tuple(capability for capability in CAPABILITIES if capability in takes)
    _REGISTERED[number] = Variant(number, function, adds, ordered)


def name_of_function(function: Attention, number: int) -> str:
    """The name of a variant's function; "variant_8", say, for one without, as ``functools.partial`` makes them.

    Parameters
    ----------
    function : callable
        The implementation.
    number : int
        The number of the variant.

    Returns
    -------
    name : str
    """
    return getattr(function, "__name__", f"variant_{number}")


def unregister(number: int) -> None:
    """Take a variant off the list, such as one that a notebook or a test has registered.

    Parameters
    ----------
    number : int
        Its number.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    del _REGISTERED[describe_variant(number).number]


def get_variant(variant: int) -> Attention:
    """Look up a variant by its number.

    Parameters
    ----------
    variant : int
        Its number, 1 to 7.

    Returns
    -------
    function : callable
        The variant's function.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    return describe_variant(variant).function


def describe_variant(variant: int) -> Variant:
    """Look up what a variant says of itself.

    Parameters
    ----------
    variant : int
        Its number, 1 to 7.

    Returns
    -------
    description : Variant
        Number, function, what it adds and what it takes.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    if not _is_whole(variant) or variant not in _REGISTERED:
        numbers = list(VARIANTS)
        without_gaps = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
        words = f"{numbers[0]} to {numbers[-1]}" if without_gaps else ", ".join(map(str, numbers))
        listed = ", ".join(f"{number} {_REGISTERED[number].name}" for number in numbers)
        raise ValueError(f"variant must be one of {words} ({listed}); got {variant!r}.")
    return _REGISTERED[variant]


def takes(variant: int, capability: str) -> bool:
    """Whether a variant has a capability.

    Parameters
    ----------
    variant : int
        Its number.
    capability : str
        One of `CAPABILITIES`.

    Returns
    -------
    takes : bool

    Raises
    ------
    ValueError
        If there is no such variant, or no such capability.
    """
    _check_capability("takes: capability", capability)
    return capability in describe_variant(variant).takes


def variants_that_take(*capabilities: str) -> tuple[int, ...]:
    """List the variants that have all of some capabilities.

    Parameters
    ----------
    *capabilities : str
        Of `CAPABILITIES`; with none, all variants are listed.

    Returns
    -------
    numbers : tuple of int
        In ascending order.

    Raises
    ------
    ValueError
        If there is no such capability.
    """
    for capability in capabilities:
        _check_capability("variants_that_take: capability", capability)
    return tuple(number for number in VARIANTS if set(capabilities) <= set(_REGISTERED[number].takes))


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _check_capability(what: str, capability: str) -> None:
    if capability not in CAPABILITIES:
        raise ValueError(f"{what} must be of {', '.join(CAPABILITIES)}; got {capability!r}.")
