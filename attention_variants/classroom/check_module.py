"""Is a module what stands around attention in a Transformer? Held against the package's own, values and gradients."""

from __future__ import annotations

from torch import nn

from attention_variants.model import AddNorm, DecoderLayer, EncoderLayer

from .check_goal import check_goal
from .report_goal import GoalReport
from .sandbox.limits import MEMORY, SECONDS_OF_A_LAYER

__all__ = ["check_module"]

_KNOWN = (AddNorm, EncoderLayer, DecoderLayer)


def check_module(module: type[nn.Module], like: type[nn.Module], *, seconds: float = SECONDS_OF_A_LAYER) -> GoalReport:
    """Hold a module that you wrote against one of the package: the same weights, the same inputs, the same answer.

    Both are made with the same arguments; yours gets the weights of the other, by their names; and both must return the
    same numbers for B = 2 items, 5 positions (of the target), 7 positions of the source and 2 heads, and the same
    gradients for inputs and weights. Where the numbers are those of a known mistake, it is named.
    The same as ``check(module, "AddNorm")``, for classes alone.

    Parameters
    ----------
    module : type
        A class of ``nn.Module``, not called; easiest is one derived from ``like``, with a ``forward`` of its own. What
        it returns may be the tensor alone, or a tuple that begins with it.
    like : type
        `AddNorm`, `EncoderLayer` or `DecoderLayer`.
    seconds : float, default 20
        How long it may take.

    Returns
    -------
    report : GoalReport
        True if nothing is wrong.

    Raises
    ------
    TypeError
        If ``module`` is not a class of ``nn.Module``.
    ValueError
        If ``like`` is another class.

    Examples
    --------
    >>> bool(check_module(AddNorm, AddNorm))
    True
    """
    if like not in _KNOWN:
        names = ", ".join(known.__name__ for known in _KNOWN)
        raise ValueError(f"check_module: like must be one of {names}; got {getattr(like, '__name__', like)!r}.")
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise TypeError(f"check_module: module must be a class of nn.Module, not called; got {type(module).__name__}.")
    return check_goal(module, like.__name__, seconds=seconds, memory=MEMORY)
