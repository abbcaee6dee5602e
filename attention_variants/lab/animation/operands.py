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


def calls(expression: ast.expr, own: str, module: nn.Module) -> list[tuple[str, str, nn.Module]]:
    """Find the modules that an expression calls.

    Parameters
    ----------
    expression : ast.expr
        Of a line of a method.
    own : str
        What the method calls its module: "self".
    module : torch.nn.Module
        The method's own.

    Returns
    -------
    called : list of (str, str, torch.nn.Module)
        In the order in which they run: the name, the first argument, and what is called. Those that do nothing now, as
        a dropout after the training, are left out.
    """
    called: list[tuple[str, str, nn.Module]] = []
    for node in _ran(expression, own, module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            code, held = _what(node.func, own, module)
            if isinstance(held, nn.Module) and not _is_idle(held):
                argument = node.args[0] if node.args else None
                while isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute) and argument.args:
                    if not _is_idle(_what(argument.func, own, module)[1]):
                        break
                    argument = argument.args[0]
                called.append((code.partition(".")[2], ast.unparse(argument) if argument else "", held))
    return called


def function_around(expression: ast.expr, own: str, module: nn.Module) -> str:
    """The name of a function that the module holds and the expression calls last: "relu" in ``self.activation(...)``.

    Parameters
    ----------
    expression, own, module
        As `calls` takes them.

    Returns
    -------
    name : str
        "" if it calls a module last, or something else.
    """
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
        names = ast.unparse(expression.func).split(".")
        held = getattr(module, names[1], None) if names[0] == own and len(names) == 2 else None
        if callable(held) and not isinstance(held, nn.Module) and not inspect.ismethod(held):
            return str(getattr(held, "__name__", names[1]))
    return ""


def _is_idle(held: Any) -> bool:
    """Whether a module does nothing now, as a dropout after the training."""
    return isinstance(held, nn.Identity) or (isinstance(held, nn.Dropout) and not (held.training and held.p))


def _ran(expression: ast.expr, own: str, module: nn.Module) -> Iterator[ast.AST]:
    """The parts of an expression whose numbers were used, what is within a part before it."""
    if isinstance(expression, ast.IfExp):
        went = _decided(expression.test, own, module)
        branches = (
            [expression.body, expression.orelse] if went is None else [[expression.orelse, expression.body][went]]
        )
        for branch in branches:
            yield from _ran(branch, own, module)
        return
    if isinstance(expression, ast.Call) and ast.unparse(expression.func) == "len":
        return
    for child in ast.iter_child_nodes(expression):
        if isinstance(child, ast.expr | ast.keyword):
            yield from _ran(child, own, module)  # type: ignore[arg-type]
    yield expression


def _decided(test: ast.expr, own: str, module: nn.Module) -> bool | None:
    """Which way a condition went that asks for what the module holds, and for nothing else; None of any other."""
    nodes = list(ast.walk(test))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    if names != {own} or any(isinstance(node, ast.Call) for node in nodes):
        return None
    return bool(eval(compile(ast.Expression(test), "<condition>", "eval"), {"__builtins__": {}, own: module}))


def _what(node: ast.Attribute, own: str, module: nn.Module) -> tuple[str, Any]:
    """How something is named, and what of the module it stands for: None if for nothing."""
    code = ast.unparse(node)
    names = code.split(".")
    held: Any = module if names[0] == own else None
    for name in names[1:]:
        held = getattr(held, name, None) if isinstance(held, nn.Module) else None
    return code, held


def _held(expression: ast.expr, own: str, module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """What of a module an expression reads: how it is named there, the thing itself, and whether it is looked up in."""
    tables = [
        node.args[1]
        for node in ast.walk(expression)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("F.embedding", "embedding") and len(node.args) > 1
    ]
    for node in _ran(expression, own, module):
        if isinstance(node, ast.Attribute):
            code, held = _what(node, own, module)
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
