"""Variants that were registered in this process, handed to another one, which does not know them.

A process that runs submissions needs what a variant takes, and must not get its function, for that is the answer. A
process that grades gets the function too, where it can be imported there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from attention_variants import variants
from attention_variants.variants import VARIANTS, describe_variant, register


def described() -> list[dict[str, Any]]:
    """Describe the variants that another process does not know by itself.

    Returns
    -------
    variants : list of dict
        Those that do not stand in the package: number, what they add and take, and where the function can be imported.
    """
    found = []
    for number in VARIANTS:
        one = describe_variant(number)
        if getattr(variants, one.name, None) is not one.function:
            module = getattr(one.function, "__module__", "")
            found.append(
                {
                    "number": number,
                    "name": one.name,
                    "adds": one.adds,
                    "takes": list(one.takes),
                    "module": module,
                    "qualname": getattr(one.function, "__qualname__", one.name),
                }
            )
    return found


def take_over(told: Iterable[dict[str, Any]], *, with_functions: bool = False) -> None:
    """Register here what `described` has described elsewhere.

    Parameters
    ----------
    told : iterable of dict
        The descriptions.
    with_functions : bool, default False
        Whether the functions are imported too, where that is possible.
    """
    for one in told:
        if one["number"] not in VARIANTS:
            function = (_imported(one["module"], one["qualname"]) if with_functions else None) or _absent(one["name"])
            register(function, number=one["number"], adds=one["adds"], takes=one["takes"])


def _imported(module: str, qualname: str) -> Callable | None:
    try:
        found: Any = importlib.import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
    except Exception:  # __main__, a notebook, a function in a function: it stays where it is
        return None
    return found if callable(found) else None


def _absent(name: str) -> Callable:
    def function(*arguments: Any, **options: Any) -> Any:
        raise NotImplementedError(
            f"{name} is registered in another process, and cannot be imported in this one; define it in a module."
        )

    function.__name__ = function.__qualname__ = name
    return function
