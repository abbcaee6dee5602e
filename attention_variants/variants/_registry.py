"""The list of variants: each registers at the end of its page, and says there what it adds and what it takes.

Everything else asks `takes`, never for a number: a variant that is registered later is then treated rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

#: What a variant can take, in the order in which the staircase adds it.
CAPABILITIES = ("batch", "mask", "heads", "dropout", "is_causal", "need_weights")


@dataclass(frozen=True)
class Variant:
    """A variant as it describes itself.

    Attributes
    ----------
    number : int
        Its place in the staircase, from 1.
    function : callable
        The implementation.
    adds : str
        What it adds to the variant before it, in a few words.
    takes : tuple of str
        Those of `CAPABILITIES` that it has: "batch", any leading dimensions; "mask", a boolean mask; "heads",
        ``num_heads``; "dropout", ``dropout_p``; "is_causal" and "need_weights", the keywords of these names.
    """

    number: int
    function: Callable
    adds: str
    takes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", f"variant_{self.number}")


#: The staircase: number -> function.
VARIANTS: dict[int, Callable] = {}
_DESCRIPTIONS: dict[int, Variant] = {}


def register(function: Callable, *, number: int, adds: str, takes: Collection[str] = ()) -> None:
    """Add a variant to the list.

    Parameters
    ----------
    function : callable
        The implementation, ``function(q, k, v, ...) -> (context, weights)``.
    number : int
        Its place in the staircase, from 1, which nothing else has.
    adds : str
        What it adds to the variant before it, in a few words.
    takes : collection of str
        Those of `CAPABILITIES` that it has.

    Raises
    ------
    ValueError
        If the number is taken or less than 1, or there is no such capability.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"register: number must be a whole number of at least 1; got {number!r}.")
    if number in VARIANTS:
        raise ValueError(f"register: variant {number} is there already, {_DESCRIPTIONS[number].name}.")
    unknown = sorted(set(takes) - set(CAPABILITIES))
    if unknown:
        raise ValueError(f"register: takes must be of {', '.join(CAPABILITIES)}; got {', '.join(unknown)}.")
    ordered = tuple(capability for capability in CAPABILITIES if capability in takes)
    VARIANTS[number] = function
    _DESCRIPTIONS[number] = Variant(number, function, adds, ordered)
    for later in sorted(VARIANTS):  # whoever goes through the list does so in the order of the staircase
        VARIANTS[later] = VARIANTS.pop(later)


def unregister(number: int) -> None:
    """Take a variant off the list, such as one that a notebook or a test has registered.

    Parameters
    ----------
    number : int
        Its number.
    """
    del VARIANTS[number], _DESCRIPTIONS[number]


def get_variant(variant: int) -> Callable:
    """Look up a variant by its number.

    Parameters
    ----------
    variant : int
        1 to 7.

    Returns
    -------
    function : callable
        The variant's function.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    describe_variant(variant)  # raises for one that does not exist
    return VARIANTS[variant]


def describe_variant(variant: int) -> Variant:
    """Look up what a variant says of itself.

    Parameters
    ----------
    variant : int
        Its number.

    Returns
    -------
    description : Variant
        Number, function, what it adds and what it takes.

    Raises
    ------
    ValueError
        If there is no such variant; the error lists those there are.
    """
    if not isinstance(variant, int) or isinstance(variant, bool) or variant not in VARIANTS:
        listed = ", ".join(f"{number} {described.name}" for number, described in sorted(_DESCRIPTIONS.items()))
        first, last = min(VARIANTS), max(VARIANTS)
        raise ValueError(f"variant must be one of {first} to {last} ({listed}); got {variant!r}.")
    return _DESCRIPTIONS[variant]


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
    if capability not in CAPABILITIES:
        raise ValueError(f"takes: capability must be one of {', '.join(CAPABILITIES)}; got {capability!r}.")
    return capability in describe_variant(variant).takes


def variants_that_take(*capabilities: str) -> tuple[int, ...]:
    """The numbers of the variants that have all of some capabilities.

    Parameters
    ----------
    *capabilities : str
        Of `CAPABILITIES`; none of them asks for all variants.

    Returns
    -------
    numbers : tuple of int
        In the order of the staircase.
    """
    return tuple(number for number in sorted(VARIANTS) if all(takes(number, capability) for capability in capabilities))
