"""What a module holds, and which of its lines reads it: the matrices of projections, tables and norms."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.lab.code.trace import Trace


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor that a module holds and a line of its method reads.

    Attributes
    ----------
    name : str
        What it is called in the picture, in the words of the code: "w_q.weight.T", as it is multiplied.
    code : str
        How the line names what holds it: "self.w_q".
    value : Tensor of one or two dimensions
        A detached copy; below a matrix that is multiplied stands its bias, if there is one.
    makes : str
        The name that the line assigns; empty if it assigns none.
    is_factor, is_table : bool
        Whether it is multiplied with what comes in, and whether its rows are looked up.
    has_bias : bool
        Whether its last row is the bias, which is added to the product.
    """

    name: str
    code: str
    value: Tensor
    makes: str
    is_factor: bool
    is_table: bool
    has_bias: bool


def module_of(trace: Trace) -> nn.Module | None:
    """The module whose method was traced, if it was one's."""
    function: Any = trace.function
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    owner = function.__self__ if inspect.ismethod(function) else function
    return owner if isinstance(owner, nn.Module) else None


def operands(module: nn.Module, function: ast.FunctionDef) -> list[Operand]:
    """Find what the lines of a method read of its module.

    Parameters
    ----------
    module : torch.nn.Module
        The method's own.
    function : ast.FunctionDef
        The method's source.

    Returns
    -------
    operands : list of Operand
        In the order of the lines. What changes no number, as a bias of zeros, is left out.
    """
    own = function.args.args[0].arg
    found: dict[str, Operand] = {}
    for statement in ast.walk(function):
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return | ast.Expr):
            continue
        for target, value in _pairs(statement):
            for code, held, looked_up in _held(value, own, module):
                for name, tensor in _tensors(code.partition(".")[2], held):
                    bias = held.bias if isinstance(held, nn.Linear) else None
                    has_bias = bias is not None and bool(bias.any())
                    matrix = torch.cat([tensor, bias[None]]) if bias is not None and has_bias else tensor
                    is_factor, drawn = isinstance(held, nn.Linear), matrix.detach().clone()
                    found.setdefault(name, Operand(name, code, drawn, target, is_factor, looked_up, has_bias))
    return list(found.values())


def _pairs(statement: Any) -> Iterator[tuple[str, ast.expr]]:
    """What a statement assigns to what; the values of a tuple one by one."""
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    value = statement.value
    if value is None:
        return
    if isinstance(targets[0], ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(targets[0].elts, value.elts, strict=False))
    elif isinstance(statement, ast.Return):
        pairs = [(ast.Name("result"), value)]
    else:
        pairs = [(targets[0], value)]
    for target, expression in pairs:
        yield target.id if isinstance(target, ast.Name) else "", expression


def _held(expression: ast.expr, own: str, module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """What of a module an expression reads: how it is named there, the thing itself, and whether it is looked up in."""
    tables = [
        node.args[1]
        for node in ast.walk(expression)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("F.embedding", "embedding") and len(node.args) > 1
    ]
    for node in ast.walk(expression):
        if isinstance(node, ast.Attribute):
            code = ast.unparse(node)
            names = code.split(".")
            held: Any = module
            if names[0] != own:
                continue
            for name in names[1:]:
                held = getattr(held, name, None) if isinstance(held, nn.Module) else None
            if isinstance(held, nn.Linear | nn.Embedding | nn.LayerNorm | Tensor):
                yield code, held, isinstance(held, nn.Embedding) or node in tables


def _tensors(name: str, held: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors that say what it does, as they enter the product, with their names."""
    if isinstance(held, Tensor):
        if 0 < held.ndim < 3:
            yield name, held
    elif isinstance(held, nn.Linear):
        yield f"{name}.weight.T", held.weight.T
    elif isinstance(held, nn.Embedding):
        yield f"{name}.weight", held.weight
    elif isinstance(held, nn.LayerNorm):
        yield from _unless(f"{name}.weight", held.weight, 1.0)
        yield from _unless(f"{name}.bias", held.bias, 0.0)


def _unless(name: str, tensor: Tensor | None, nothing: float) -> Iterator[tuple[str, Tensor]]:
    """A tensor, if it is there and not all one number that changes nothing."""
    if tensor is not None and bool(torch.any(tensor != nothing)):
        yield name, tensor
