"""Watch a function run: every local tensor in the order it was assigned, without a change to the function.

The pictures are made from this, so that they show what the running code did and not a retyped copy of it.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from attention_variants.lab.table import html_table, rich_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Assignment", "Trace", "trace"]

#: One row of the table: line, code, name, shape, kind, and how many assignments it stands for.
_Row = tuple[int, str, str, str, str, int]
#: The heads of the table.
_COLUMNS = ("line", "name", "shape", "code")  # what may run out of a narrow page stands last
#: The longest loop body, in rows, whose turns the table shows as one.
_LONGEST_BODY = 20


@dataclass(frozen=True, eq=False, repr=False)
class Assignment:
    """One moment at which a local name of the traced function came to hold a tensor, or its tensor new numbers.

    Attributes
    ----------
    name : str
        The local name.
    value : Tensor
        What the name held just after the line had run: a detached copy, which nothing later changes.
    line : int
        The number of the line, in its file or notebook cell.
    code : str
        The line itself, without indentation; empty where no source is to be had. Of a statement over
        several lines it is the first, of an argument the line that declares it.
    kind : {"argument", "assign", "write"}
        An argument of the call, a tensor newly bound to the name, or a write into the tensor it holds.
    changed : boolean Tensor of the shape of ``value``, or None
        For a write, which elements changed; nowhere True if the numbers written were those already there.
    counters : dict of str to int, slice or list
        The whole numbers and slices among the locals just then, and lists of them: what the line's indices stood for.
    """

    name: str
    value: Tensor
    line: int
    code: str
    kind: Literal["argument", "assign", "write"]
    changed: Tensor | None = None
    counters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> torch.Size:
        """The shape of the value."""
        return self.value.shape

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the value."""
        return self.value.dtype

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {_shape(self)} {self.dtype} line {self.line}: {self.code}>"


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What a call did to its local tensors, in order; made by `trace`.

    Iterating gives the assignments and ``len`` counts them; ``trace["scores"]`` is the last value of a
    name. A notebook shows a table, and so does ``rich.print``; alike turns of a loop share its rows.

    Attributes
    ----------
    function : callable
        What was traced, as it was given.
    name : str
        Its name, as in ``attention_loops`` or ``MultiHeadAttention.forward``.
    source : str
        Its source text; empty where none is to be had.
    first_line : int
        The number of the first line of ``source``.
    assignments : tuple of Assignment
        Arguments first, then in the order of execution.
    result : object
        What the call returned: itself, not a copy, with its autograd graph.
    last_line : int
        The number of the line that returned it.
    """

    function: Callable[..., Any]
    name: str
    source: str
    first_line: int
    assignments: tuple[Assignment, ...]
    result: Any
    last_line: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tensors, in the order of their first assignment."""
        return tuple(dict.fromkeys(assignment.name for assignment in self.assignments))

    def history(self, name: str) -> tuple[Assignment, ...]:
        """Every assignment of one name, in order.

        Parameters
        ----------
        name : str
            A local name of the traced function.

        Returns
        -------
        assignments : tuple of Assignment
            At least one.

        Raises
        ------
        KeyError
            If no tensor had this name; the error lists the names there are.
        """
        assignments = tuple(assignment for assignment in self.assignments if assignment.name == name)
        if not assignments:
            there_are = ", ".join(self.names) or "none"
            raise KeyError(f"{self.name} held no tensor named {name!r}; the names there are: {there_are}.")
        return assignments

    def final(self) -> dict[str, Tensor]:
        """The last value of every name.

        Returns
        -------
        values : dict of str to Tensor
            In the order of `names`.
        """
        return {assignment.name: assignment.value for assignment in self.assignments}

    def __getitem__(self, name: str) -> Tensor:
        return self.history(name)[-1].value

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self.assignments)

    def __len__(self) -> int:
        return len(self.assignments)

    def __repr__(self) -> str:
        return f"<Trace of {self.name}: {', '.join(self.names) or 'no tensor'}; {len(self)} assignments>"

    def __rich__(self) -> Table:
        return rich_table(self.name, _COLUMNS, list(self._cells()), left=len(_COLUMNS))

    def _repr_html_(self) -> str:
        return html_table(self.name, _COLUMNS, list(self._cells()), left=len(_COLUMNS), code=_COLUMNS.index("code"))

    def _cells(self) -> Iterator[tuple[str, str, str, str]]:
        """The text of the table: line, name, shape, code. A line is named once for all it did in one go."""
        above = None
        for line, code, name, shape, _, times in _fold([_row(assignment) for assignment in self.assignments]):
            again = line == above
            above = line
            yield "" if again else str(line), name + (f" × {times}" if times > 1 else ""), shape, "" if again else code


def trace(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Trace:
    """Run a function and return every tensor that its local names held, in the order they were assigned.

    The function is not changed and need not know: Python reports each line as it runs, and the local
    names are looked at after each. The result and its gradients are those of a plain call.

    Parameters
    ----------
    function : callable
        A Python function, method or lambda, a ``torch.nn.Module`` (its ``forward`` is traced), another
        object with a ``__call__`` in Python, or a ``functools.partial`` or decorated form of these.
    *args, **kwargs
        What to call it with.

    Returns
    -------
    trace : Trace
        The assignments and the result. Arguments come first.

    Raises
    ------
    TypeError
        If there is no Python code to follow line by line: a builtin, a compiled function, a generator.
    RuntimeError
        If the call returned without its code having run from start to end where it could be seen, as when a cache
        answers for it.
    Exception
        Whatever the function raises, untouched.

    Notes
    -----
    - Only tensors count: other locals are ignored, and so are lists, tuples and dicts of tensors.
    - A write into a tensor, such as ``scores[i, j] = ...``, is found by comparing values (NaN equals
      NaN), so that it does not matter by which road it came: another name that shares the memory,
      ``.data`` or ``.numpy()``. It is recorded for every local name whose numbers changed.
    - A write of the numbers already there counts too, where PyTorch's version counter tells of it: not
      in ``inference_mode``, nor by way of ``.data`` or ``.numpy()``. Where no value can be compared
      (the meta device, sparse tensors), only the counter counts.
    - A line is the smallest step: of several assignments to one name on one line, the last is seen. A
      name that is given the very tensor it already holds (``x = x.contiguous()`` may do so) is no
      assignment.
    - If the function calls itself, or a decorator calls it more than once, the first call is recorded.
    - Inside ``torch.vmap`` a tensor stands for a whole batch, and its copy cannot be used outside: trace the
      function itself.
    - Every line compares and every change copies whole tensors: meant for sizes that one can draw.
    - Tracing belongs to the thread and may nest. Whatever traced before (a debugger, coverage) is put
      back at the end, also after an exception; it does not see the lines that run in between.

    Examples
    --------
    >>> def halve_then_double(x):
    ...     x = x / 2
    ...     x[0] *= 2
    ...     return x
    >>> for step in trace(halve_then_double, torch.tensor([2.0, 4.0])):
    ...     print(step.kind, step.name, step.value.tolist())
    argument x [2.0, 4.0]
    assign x [1.0, 2.0]
    write x [2.0, 2.0]
    """
    code = _code_of(function)
    name = code.co_qualname.rpartition("<locals>.")[-1]
    source, first_line = _source_of(code)
    recorder = _Recorder(code, _parameter_lines(source, first_line))

    previous = sys.gettrace()
    sys.settrace(recorder.on_call)
    try:
        result = function(*args, **kwargs)
    finally:
        sys.settrace(previous)

    if not recorder.finished:
        raise RuntimeError(
            f"trace: {name} gave a result, but its own code was not seen to run from start to end. A cache or a "
            f"wrapper may have answered for it, it may have run in another thread, or a debugger stopped in it. "
            f"Pass the function itself, without what wraps it."
        )
    return Trace(function, name, source, first_line, tuple(recorder.assignments), result, recorder.line)


class _Recorder:
    """The trace function: notes what each line of the first call of ``code`` did to the local tensors."""

    def __init__(self, code: CodeType, parameter_lines: dict[str, int]) -> None:
        self.code = code
        self.parameter_lines = parameter_lines
        # Not the free variables: a tensor that a closure refers to is not a local one.
        self.names = tuple(dict.fromkeys(code.co_varnames + code.co_cellvars))
        self.assignments: list[Assignment] = []
        #: name -> the tensor it holds, its version and its last copy. Holding the tensor itself keeps its
        #: identity from passing to another.
        self.held: dict[str, tuple[Tensor, int | None, Tensor]] = {}
        self.started = self.finished = False

    def on_call(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        if self.started or frame.f_code is not self.code:
            return None
        self.started = True
        self.line = frame.f_lineno
        self.look(frame, "argument")
        return self.on_line

    def on_line(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
        if event in ("line", "return"):  # before the next line runs, or after the last one
            self.look(frame, "assign")
            self.line = frame.f_lineno
            self.finished = event == "return"
        return self.on_line

    def look(self, frame: FrameType, kind: Literal["argument", "assign"]) -> None:
        """Note what changed since the last look; it was the line at ``self.line`` that did it."""
        variables = frame.f_locals
        tensors = {name: variables[name] for name in self.names if isinstance(variables.get(name), Tensor)}
        for name in self.held.keys() - tensors.keys():
            del self.held[name]

        changes: dict[str, Tensor | None] = {}  # name -> the elements written; None for a new tensor
        touched, written = [], set()
        for name, tensor in tensors.items():
            if name not in self.held or self.held[name][0] is not tensor:
                changes[name] = None
                continue
            _, version, before = self.held[name]
            changed = _difference(tensor, before)
            if changed is not None:
                changes[name] = changed
                written.add(_memory(tensor))
            elif _version(tensor) != version:
                touched.append(name)
                self.held[name] = (tensor, _version(tensor), before)
        for name in touched:
            # The counter is shared by all views of one memory. If one of them changed, the write was there;
            # if none did, the numbers written were those already there.
            if _memory(tensors[name]) not in written:
                changes[name] = torch.zeros(tensors[name].shape, dtype=torch.bool, device=tensors[name].device)
        for name, tensor in tensors.items():
            if name in changes:
                self.note(frame, name, tensor, kind if changes[name] is None else "write", changes[name])

    def note(
        self,
        frame: FrameType,
        name: str,
        tensor: Tensor,
        kind: Literal["argument", "assign", "write"],
        changed: Tensor | None,
    ) -> None:
        line = self.parameter_lines.get(name, self.line) if kind == "argument" else self.line
        code = linecache.getline(self.code.co_filename, line, frame.f_globals).strip()
        with torch.inference_mode(False):  # so that the copies made in inference mode are ordinary tensors
            value = tensor.detach().clone()
        self.held[name] = (tensor, _version(tensor), value)
        counters = {name: copy.deepcopy(value) for name, value in frame.f_locals.items() if _counts(value)}
        self.assignments.append(Assignment(name, value, line, code, kind, changed, counters))


def _version(tensor: Tensor) -> int | None:
    """How often PyTorch has seen the tensor's memory written, or None where it does not count."""
    return None if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    """What names the memory that a tensor shares with its views."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def _counts(value: object) -> bool:
    """Whether it is a whole number or a slice, or a list of them."""
    if isinstance(value, list | tuple):
        return all(map(_counts, value))
    return isinstance(value, int | slice) and not isinstance(value, bool)


def _difference(new: Tensor, old: Tensor) -> Tensor | None:
    """Which elements differ, NaN being equal to NaN; None if none does or values cannot be compared."""
    try:
        if new.dtype == old.dtype and torch.equal(new, old):
            return None
        with torch.inference_mode(False):
            if new.dtype != old.dtype or new.shape != old.shape:  # as after x.data = ... or x.t_()
                return torch.ones(new.shape, dtype=torch.bool, device=new.device)
            changed = new != old
            if torch.equal(old, old):
                return changed
            changed &= ~((new != new) & (old != old))  # a NaN that stayed
        return changed if changed.any() else None
    except RuntimeError:  # a meta tensor has no values, sparse tensors have no comparison
        return None


def _code_of(function: object) -> CodeType:
    """The Python code that a call of the function runs, whatever is wrapped around it."""
    target = function
    while True:
        if _is_compiled(target):
            raise TypeError(
                f"trace follows Python code line by line; got {_describe(function)}, whose lines torch.compile has "
                f"replaced by a kernel. Pass the original function or module, as it was before torch.compile."
            )
        if isinstance(target, functools.partial):
            target = target.func
        elif isinstance(target, nn.Module):
            target = target.forward
        elif inspect.ismethod(target):
            target = target.__func__
        elif hasattr(target, "__wrapped__"):
            target = inspect.unwrap(target, stop=_is_compiled)  # type: ignore[arg-type]
        elif inspect.isfunction(target):
            break
        elif callable(target) and inspect.isfunction(type(target).__call__):
            target = type(target).__call__
        else:
            advice = " Wrap it in a function of your own: lambda x: f(x)." if callable(function) else ""
            raise TypeError(
                f"trace takes a Python function, method or torch.nn.Module, which it can follow line by line; "
                f"got {_describe(function)}, which has no Python code to follow.{advice}"
            )
    if target.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise TypeError(
            f"trace takes a function that runs to its end when called; got {_describe(function)}, a generator or "
            f"coroutine. Trace a function that runs through it, or the function that does the work of one turn."
        )
    return target.__code__


def _is_compiled(function: object) -> bool:
    """Whether torch.compile made it; torch.compiler.disable marks its wrappers alike, and those do run."""
    attributes = getattr(function, "__dict__", {})
    if attributes.get("_compiled_call_impl") is not None:  # module.compile()
        return True
    return "_torchdynamo_orig_callable" in attributes and not attributes.get("_torchdynamo_disable", False)


def _describe(function: object) -> str:
    name = getattr(function, "__name__", None)
    return f"{type(function).__name__} {name}" if name else f"an object of type {type(function).__name__}"


def _source_of(code: CodeType) -> tuple[str, int]:
    """The source text and the number of its first line; the text is empty where none is to be had."""
    try:
        lines, first_line = inspect.getsourcelines(code)
    except (OSError, TypeError, SyntaxError):  # typed at a prompt, made by exec, a lambda amid an expression
        return "", code.co_firstlineno
    return "".join(lines), first_line


def _parameter_lines(source: str, first_line: int) -> dict[str, int]:
    """The line that declares each parameter: where the signatures of the variants tell its shape."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:  # a lambda amid an expression: the line of the function will do
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            return {
                parameter.arg: first_line + parameter.lineno - 1
                for parameter in ast.walk(node.args)
                if isinstance(parameter, ast.arg)
            }
    return {}


def _shape(assignment: Assignment) -> str:
    return str(tuple(assignment.shape))


def _row(assignment: Assignment) -> _Row:
    return assignment.line, assignment.code, assignment.name, _shape(assignment), assignment.kind, 1


def _fold(rows: list[_Row]) -> list[_Row]:
    """Show the turns of a loop that did the same as one: first bodies of one row, then of two, and so on.

    So 35 writes in a row become one row that says "× 35", and five turns that each assign ``exp`` and
    then write ``weights`` become two that say "× 5".
    """
    for body in range(1, _LONGEST_BODY + 1):
        folded: list[_Row] = []
        start = 0
        while start < len(rows):
            turn = rows[start : start + body]
            turns = 1
            while rows[start + turns * body : start + (turns + 1) * body] == turn:
                turns += 1
            if turns == 1:
                turn = turn[:1]  # no loop begins here
            folded += [(*row[:-1], row[-1] * turns) for row in turn]
            start += turns * len(turn)
        rows = folded
    return rows
