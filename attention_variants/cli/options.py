"""What several commands share: their options, the check of a variant's number, and how an error is said."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

Mask = Literal["causal", "padding", "none"]


def in_one_line(where: str, words: str) -> None:
    """Say on standard error what is wrong, and where."""
    print(f"{where}: {' '.join(words.split())}", file=sys.stderr)


def missing_package(error: ModuleNotFoundError) -> str:
    """Which extra of the package brings a module that is not installed.

    Parameters
    ----------
    error : ModuleNotFoundError

    Returns
    -------
    words : str
        The error, and how to install what is missing.
    """
    import re
    from importlib.metadata import PackageNotFoundError, requires

    package = (error.name or "").partition(".")[0].replace("_", "-").lower()
    try:
        lines = requires("attention-variants") or []
    except PackageNotFoundError:  # run from its folder, and not installed
        lines = []
    for line in lines:
        found = re.match(r"([\w.-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?", line)
        if found and found[1].replace("_", "-").lower() == package:
            extra = f"[{found[2]}]" if found[2] else ""
            return f'{error}: pip install "attention-variants{extra}"'
    return f"{error}: pip install {package}" if package else str(error)


def _a_variant(ctx: typer.Context, number: int) -> int:
    """Refuse a number that no variant has; loads torch, so not while a shell completes."""
    if not ctx.resilient_parsing:
        from attention_variants.variants import get_variant

        try:
            get_variant(number)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return number


def more_than_zero(number: float | None) -> float | None:
    """Refuse a number of seconds that gives no time."""
    if number is not None and not 0 < number < 1e6:
        raise typer.BadParameter(f"must be more than 0; got {number:g}.")
    return number


VariantArgument = Annotated[int, typer.Argument(callback=_a_variant, help="A variant, 1 to 7.", show_default=False)]
VariantOption = Annotated[
    int, typer.Option("--variant", callback=_a_variant, metavar="N", help="Which of the seven it is, 1 to 7.")
]
