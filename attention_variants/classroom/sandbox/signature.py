"""Can a function be called as the contract says? Found by its signature, before it runs."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from attention_variants.classroom.contract.answer import one_line


class OtherSignature(TypeError):  # noqa: N818 (no error of ours: it carries what there is)
    """A function cannot be called as it should be; `more` says how it should, and what it takes."""

    def __init__(self, more: dict[str, Any]) -> None:
        super().__init__()
        self.more = more


def expect_signature(
    function: Callable,
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    *,
    of: Literal["variant", "class", "layer", "goal"],
    call: str,
    variant: int = 0,
) -> None:
    """Refuse a function that does not take what it is about to be given. It is not run.

    Parameters
    ----------
    function : callable
        One that does not tell its signature, as a builtin, is let through; so is one that says that it has another
        one, or that stands around another function: what these take is known when they run.
    arguments, options
        What it is to be given.
    of : str
        What is called: a function as a variant, the class of a layer, the layer, or what a goal asks for.
    call : str
        How, as code.
    variant : int, optional
        Which variant.

    Raises
    ------
    OtherSignature
        If it does not take that.
    """
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*arguments, **options)
    except TypeError:
        takes = _shown(signature)
    else:
        return
    raise OtherSignature({"of": of, "variant": variant, "call": call, "takes": takes})


def parameters(function: Callable) -> frozenset[str]:
    """The names of what a function or a class takes; "**" among them if it takes any name, or does not tell.

    Parameters
    ----------
    function : callable

    Returns
    -------
    names : frozenset of str
    """
    signature = _signature(function)
    if signature is None:
        return frozenset(["**"])
    any_name = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    return frozenset([*signature.parameters, *["**"] * any_name])


def _signature(function: Callable) -> inspect.Signature | None:
    with contextlib.suppress(Exception):
        said = inspect.getattr_static(getattr(function, "__func__", function), "__signature__", None)
        return inspect.signature(function, follow_wrapped=False) if said is None else None
    return None


def _shown(signature: inspect.Signature) -> str:
    """The names of the parameters, without annotations and values: those may be long, or anything."""
    shown: list[str] = []
    kinds = inspect.Parameter
    for name, one in signature.parameters.items():
        stars = "*" * (one.kind is kinds.VAR_POSITIONAL) + "**" * (one.kind is kinds.VAR_KEYWORD)
        if one.kind is kinds.KEYWORD_ONLY and not any(before.startswith("*") for before in shown):
            shown.append("*")
        shown.append(f"{stars}{name}" + ("=..." if one.default is not one.empty else ""))
    return one_line(f"({', '.join(shown)})")
