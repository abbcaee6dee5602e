"""Read a line that ran: which cells of which tensors it read and wrote, and where it put each number.

The trace knows what changed; this adds what the source says. Where it says ``scores[i, j] = ... q[i] ... k[j]``, the
counters of that moment say which cell, which row of q and which of k.
"""

from __future__ import annotations

import ast
import functools
import io
import math
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attention_variants.lab.code.trace import Assignment, Trace

from .operands import Operand, calls, function_around, module_of, operands

#: What a tensor is asked for without its numbers being used.
_ABOUT = {"shape", "dtype", "device", "ndim", "size", "numel", "new_zeros", "new_full", "new_ones", "new_empty"}
_MAKERS = {"zeros_like", "ones_like", "full_like", "empty_like", "finfo", "check_inputs"}
#: What gives the same numbers in another order or shape.
_REARRANGING = {
    *("view", "reshape", "transpose", "permute", "flatten", "unflatten", "swapaxes", "movedim", "contiguous"),
    *("T", "mT", "unsqueeze", "squeeze"),
}


@dataclass(frozen=True, eq=False)
class Link:
    """One link of a chain such as ``.view(...).transpose(...)``.

    Attributes
    ----------
    code : str
        What it does, as ``ast.unparse`` writes it.
    before, after : tuple of int
        The shapes.
    indices : integer Tensor of shape ``after``
        Where in the first tensor of the chain each number stood.
    """

    code: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    indices: Tensor


class RunningCode:
    """The source of a traced function: its statements by line, and what they read and write.

    Parameters
    ----------
    trace : Trace
        Where no source is to be had, there are no statements, and whatever is asked has an empty answer.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.first = trace.first_line
        # As many empty lines before it as in its file: then all line numbers agree.
        self.source = "\n" * (trace.first_line - 1) + textwrap.dedent(trace.source)
        self.function: Any = None
        self.nodes: list[Any] = []
        self.module = module_of(trace)
        self.operands: list[Operand] = []
        #: Other names of arguments.
        self.other_names: dict[str, str] = {}
        try:
            tree = ast.parse(self.source)
        except SyntaxError:  # a lambda amid an expression
            return
        self.function = next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)), None)
        self.nodes = list(ast.walk(self.function)) if self.function else []
        if self.module is not None and self.function is not None:
            self.operands = operands(self.module, self.function)

    @functools.cache  # noqa: B019 -- it lives no longer than the making of one animation
    def statement(self, line: int) -> Any:
        """The innermost statement of a line."""
        around = [
            node
            for node in self.nodes
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
        ]
        return max(around, key=lambda node: (node.lineno, node.col_offset), default=None)

    @functools.cache  # noqa: B019
    def loops(self, line: int) -> list[ast.For | ast.While]:
        """The loops around a line, the outermost first; the line of a loop is within it."""
        return sorted(
            (
                node
                for node in self.nodes
                if isinstance(node, ast.For | ast.While) and node.lineno <= line <= (node.end_lineno or node.lineno)
            ),
            key=lambda node: node.lineno,
        )

    def line(self, line: int) -> str:
        """A line without its comment."""
        return next((text.strip() for number, text in self.text() if number == line), "")

    @functools.cache  # noqa: B019
    def text(self) -> tuple[tuple[int, str], ...]:
        """The lines of the function that do something, with their numbers; not those that only check what came in."""
        if self.function is None:
            return ()
        lines = self.source.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
            if token.type == tokenize.COMMENT:
                line, column = token.start
                lines[line - 1] = lines[line - 1][:column].rstrip() or "#"
        body = self.function.body
        if ast.get_docstring(self.function) is not None:
            body = body[1:]
        first, last = body[0].lineno, self.function.end_lineno
        checks = [node for node in self.nodes if _only_checks(node)]
        left_out = {number for node in checks for number in range(node.lineno, node.end_lineno + 1)}
        arguments = ", ".join(arg.arg for arg in ast.walk(self.function.args) if isinstance(arg, ast.arg))
        shown = [(self.first, f"def {self.function.name}({arguments}):")]
        for number in range(first, last + 1):
            text = lines[number - 1]
            if number not in left_out and text != "#" and (text or shown[-1][1]):
                shown.append((number, text))
        return tuple(shown)

    def read(self, step: Assignment, values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """What the line of an assignment reads.

        Parameters
        ----------
        step : Assignment
            What the line did.
        values : mapping of str to Tensor
            The tensors that there were before, by name.

        Returns
        -------
        regions : dict of str to boolean array of shape (sheets, rows, columns)
            By the name of each tensor that is read, the cells that are.
        """
        statement = self.statement(step.line)
        regions: dict[str, np.ndarray] = {}

        def visit(node: Any) -> None:
            if isinstance(node, ast.Attribute) and node.attr in _ABOUT:
                return
            if isinstance(node, ast.Subscript | ast.Attribute) and self._visit_operand(node, step, values, regions):
                return
            if isinstance(node, ast.Call) and _called(node) in _ABOUT | _MAKERS:
                return
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in values:
                name, region = node.value.id, _region(node, step.counters, values[node.value.id])
                regions[name] = regions[name] | region if name in regions else region
                return
            name = self.other_names.get(node.id, node.id) if isinstance(node, ast.Name) else ""
            if name in values:
                regions[name] = np.ones(cells_of(values[name]).shape, dtype=bool)
            for child in ast.iter_child_nodes(node):
                visit(child)

        expression = _expression(statement)
        if expression is not None:
            visit(expression)
        return regions

    def renames(self, step: Assignment, arguments: Sequence[Assignment]) -> bool:
        """Whether a line of a module's method only gives an argument another name: ``key = query if ... else key``."""
        statement = self.statement(step.line)
        if self.module is None or not isinstance(getattr(statement, "value", None), ast.IfExp | ast.Name):
            return False
        for argument in arguments:
            if argument.name != step.name and same_numbers(argument.value, step.value):
                self.other_names[step.name] = argument.name
                return True
        return False

    def _visit_operand(
        self, node: Any, step: Assignment, values: Mapping[str, Tensor], regions: dict[str, np.ndarray]
    ) -> bool:
        """Add the cells of what the module holds there, if it holds something; say whether it does."""
        indexed = isinstance(node, ast.Subscript)
        code = ast.unparse(node.value if indexed else node)
        held = [operand for operand in self.operands if operand.code == code and operand.name in values]
        for operand in held:
            region = np.ones(cells_of(operand.value).shape, dtype=bool)
            if indexed:
                region = _region(node, step.counters, operand.value)
            elif operand.is_table:
                region[:] = False
                region[:, self._looked_up(step, values).tolist()] = True
            regions[operand.name] = region
        return bool(held)

    def _looked_up(self, step: Assignment, values: Mapping[str, Tensor]) -> Tensor:
        """Which rows of a table a line looks up: the whole numbers that it reads."""
        numbers = [values[name].flatten() for name in self.numbers_of_tokens(step, values)]
        return torch.cat(numbers).long() if numbers else torch.zeros(0, dtype=torch.int64)

    def called(self, step: Assignment) -> list[tuple[str, str, nn.Module]]:
        """The modules that the line of an assignment calls: the name, the first argument and the module of each."""
        expression = _expression(self.statement(step.line))
        if self.module is None or self.function is None or expression is None:
            return []
        return calls(expression, self.function.args.args[0].arg, self.module)

    def function_around(self, step: Assignment) -> str:
        """The name of a function, no module, that the line of an assignment calls last; "" if there is none."""
        expression = _expression(self.statement(step.line))
        if self.module is None or self.function is None or expression is None:
            return ""
        return function_around(expression, self.function.args.args[0].arg, self.module)

    def numbers_of_tokens(self, step: Assignment, values: Mapping[str, Tensor]) -> list[str]:
        """The names of the whole numbers that a line reads."""
        names = [node.id for node in ast.walk(self.statement(step.line)) if isinstance(node, ast.Name)]
        return [n for n in names if n in values and not values[n].is_floating_point()]

    def look_up(self, step: Assignment, values: Mapping[str, Tensor]) -> tuple[str, list[Link]] | None:
        """A look-up of rows in a table, as the one link of a chain, if the line is nothing else."""
        statement = self.statement(step.line)
        value = getattr(statement, "value", None)
        tables = [operand for operand in self.operands if operand.is_table and operand.name in values]
        if not isinstance(value, ast.Call) or len(tables) != 1:
            return None
        rows, table = self._looked_up(step, values), tables[0].value
        if rows.numel() == 0 or rows.numel() * table.shape[1] != step.value.numel():
            return None
        indices = torch.arange(table.numel()).view(table.shape)[rows].view(step.value.shape)
        if not same_numbers(table.flatten()[indices.flatten()], step.value.flatten()):
            return None
        return tables[0].name, [Link(ast.unparse(value), tuple(table.shape), tuple(step.value.shape), indices)]

    def target(self, step: Assignment) -> np.ndarray | None:
        """The cells that the line of an assignment names as its target, as in ``scores[i, j] = ``; None for all."""
        statement = self.statement(step.line)
        target = getattr(statement, "target", None) or (getattr(statement, "targets", None) or [None])[0]
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == step.name:
            return _region(target, step.counters, step.value)
        return None

    @functools.cache  # noqa: B019
    def _segment(self, node: Any) -> str:
        return ast.get_source_segment(self.source, node) or ""

    def with_numbers(self, statement: Any, step: Assignment) -> str:
        """The statement as it stands in the source, with its counters replaced by what they stood for."""
        text = self._segment(statement).encode()  # as Python counts columns
        if b"\n" in text:
            return text.splitlines()[0].decode()
        targets = [loop.target for loop in self.loops(step.line) if isinstance(loop, ast.For)]
        counting = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        for node in sorted(names, key=lambda node: node.col_offset, reverse=True):
            value = step.counters.get(node.id)
            if isinstance(value, slice) or (node.id in counting and value is not None):
                number = f"{value.start}:{value.stop}" if isinstance(value, slice) else str(value)
                start = node.col_offset - statement.col_offset
                text = text[:start] + number.encode() + text[start + len(node.id.encode()) :]
        return text.decode()

    def chain(self, step: Assignment, values: Mapping[str, Tensor]) -> tuple[str, list[Link]] | None:
        """Follow ``name = other.view(...).transpose(...)`` link by link.

        Each link is run again on a tensor that holds, in place of the numbers, their indices: so it is exact where
        each of them goes.
        """
        statement = self.statement(step.line)
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return None
        if (looked_up := self.look_up(step, values)) is not None:
            return looked_up
        links: list[tuple[str, ast.Call | None]] = []
        node: Any = statement.value
        while not isinstance(node, ast.Name):
            call = node if isinstance(node, ast.Call) else None
            node = call.func if call else node
            if not isinstance(node, ast.Attribute) or node.attr not in _REARRANGING:
                return None
            links.append((node.attr, call))
            node = node.value
        if not links or node.id not in values:
            return None
        root = values[node.id]
        # An argument may ask a tensor for its shape; its numbers it may not have.
        shapes = {name: torch.empty(value.shape, device="meta") for name, value in values.items()}
        now = torch.empty_like(root, dtype=torch.int64).copy_(torch.arange(root.numel()).view(root.shape))
        followed = []
        for attribute, call in reversed(links):
            expression: Any = ast.Attribute(ast.Name("_", ast.Load()), attribute, ast.Load())
            said = f".{attribute}"
            if call is not None:
                expression = ast.Call(expression, call.args, call.keywords)
                said = ast.unparse(ast.Call(ast.Name(said), call.args, call.keywords))
            before = tuple(now.shape)
            try:
                now = _run(expression, {**shapes, **step.counters, "_": now})
            except Exception:  # it takes more than whole numbers
                return None
            if attribute != "contiguous":
                followed.append(Link(said, before, tuple(now.shape), now))
        same = followed and same_numbers(root.flatten()[now.flatten()], step.value.flatten())
        return (node.id, followed) if same else None


def _expression(statement: Any) -> ast.expr | None:
    """What a statement computes, or a loop goes through."""
    if isinstance(statement, ast.For):
        return statement.iter
    known = ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return | ast.Expr
    return statement.value if isinstance(statement, known) else None


def _only_checks(node: ast.AST) -> bool:
    """Whether a statement raises an error or does nothing: ``check_inputs(...)``, ``if ...: raise ...``."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _called(node.value).lstrip("_").startswith("check")
    return isinstance(node, ast.If) and not node.orelse and all(isinstance(line, ast.Raise) for line in node.body)


def _called(node: ast.Call) -> str:
    """The name of the function or method that is called."""
    return str(getattr(node.func, "attr", None) or getattr(node.func, "id", ""))


def same_numbers(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and hold the same numbers, NaN being equal to NaN."""
    return a.shape == b.shape and np.array_equal(cells_of(a), cells_of(b), equal_nan=True)


@functools.lru_cache(maxsize=256)
def _index(node: ast.Subscript) -> ast.expr:
    """The index of something that is called _ here: of an index by other tensors, the names are not found."""
    return ast.Subscript(ast.Name("_", ast.Load()), node.slice, ast.Load())


@functools.lru_cache(maxsize=256)
def _compiled(node: Any) -> Any:
    return compile(ast.unparse(node), "<line>", "eval")


def _run(node: Any, names: Mapping[str, Any]) -> Any:
    """Evaluate an expression of whole numbers and slices; whatever else it needs, it does not find."""
    return eval(_compiled(node), {"__builtins__": {}}, dict(names))


def _region(node: ast.Subscript, counters: Mapping[str, Any], value: Tensor) -> np.ndarray:
    """The cells that an index such as ``[i, j]`` or ``[..., block, :]`` chooses; all, if it is of another kind."""
    region = np.zeros(value.numel(), dtype=bool)
    indices = np.arange(value.numel()).reshape(tuple(value.shape))
    try:
        region[_run(_index(node), {"_": indices, **counters})] = True
    except Exception:  # an index that takes more than whole numbers: another tensor, a call
        region[:] = True
    shape = cells_of(value).shape
    return region.reshape(shape)


def cells_of(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor as they are drawn.

    Parameters
    ----------
    tensor : Tensor of one dimension or more

    Returns
    -------
    cells : float64 array of shape (sheets, rows, columns)
        Leading dimensions are sheets; one dimension is a row.
    """
    array = tensor.to("cpu", torch.float64).numpy()
    rows = array.shape[-2] if array.ndim > 1 else 1
    return array.reshape(math.prod(array.shape[:-2]), rows, array.shape[-1])
