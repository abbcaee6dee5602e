"""A variant's source as a student would write it."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from typing import Any

#: What a look at the inputs begins with.
_CHECKS = ("check_", "_check(")


def without_comments(code: str) -> str:
    """Leave out what is said beside the code.

    Parameters
    ----------
    code : str

    Returns
    -------
    code : str
        With its blank lines; a line that was a comment is gone.
    """
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() or "#"
    return "\n".join(line for line in lines if line != "#")


def plain_code(source: str, called: str | None = None) -> str:
    """Leave of a variant's source what a student would write: no annotations, docstring or look at the inputs.

    Parameters
    ----------
    source : str
        Of one function.
    called : str, optional
        Another name for it.

    Returns
    -------
    code : str
        With the comments and the layout of the body.
    """
    tree = ast.parse(source)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    for argument in (*function.args.args, *function.args.kwonlyargs):
        argument.annotation = None
    skip = [
        statement
        for statement in function.body
        if isinstance(statement, ast.Expr)
        and (isinstance(statement.value, ast.Constant) or ast.unparse(statement.value).startswith(_CHECKS))
    ]
    lines = source.splitlines()
    gone = {number for statement in skip for number in range(statement.lineno, (statement.end_lineno or 0) + 1)}
    kept = [line for number, line in enumerate(lines, 1) if number >= function.body[0].lineno and number not in gone]
    body = re.sub(r" and lacks_keys\(.*\):", ":", "\n".join(kept).strip("\n"))
    return f"def {called or function.name}({ast.unparse(function.args)}):\n{body}"


# --------------------------------------------------------------------------- what is no variant: functions and classes


#: What the assignments do not ask for: arguments, attributes and methods, by the name of the whole.
NOT_ASKED: dict[str, frozenset[str]] = {
    "KVCache": frozenset({"max_len", "_room", "bytes", "seen", "__repr__"}),
    "apply_rotary": frozenset({"pairs", "scaling", "rotary_dim"}),
    "turn": frozenset({"pairs"}),
    "rotary_speeds": frozenset({"scaling"}),
}
#: What then stands where these stand.
SETTLED = {
    "self.max_len is None": "True",
    "self._room is None": "True",
    "rotary_dim is None": "True",
    "scaling is None": "True",
    "pairs == 'halves'": "True",
    "width == x.shape[-1]": "True",
    "x[..., :width]": "x",
}


def plain_definition(source: str, called: str | None = None, *, of: str | None = None) -> str:
    """Leave of a function or a class what a student would write, and of that what the course asks for.

    Parameters
    ----------
    source : str
        Of the page's own, or of a wrong one.
    called : str, optional
        Another name for it.
    of : str, optional
        The name of the page's own, by default the one that it has.

    Returns
    -------
    code : str
        Without annotations, docstrings, comments, looks at the inputs, and `NOT_ASKED`.
    """
    (definition,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(definition, (ast.FunctionDef, ast.ClassDef))
    plain = _Plain(NOT_ASKED.get(of or definition.name, frozenset())).visit(definition)
    plain.name = called or plain.name
    lines = ast.unparse(ast.fix_missing_locations(plain)).splitlines()
    if isinstance(plain, ast.ClassDef):
        lines.pop(1)  # the empty line before the first method
    return "\n".join(map(_without_parentheses, lines))


def _without_parentheses(line: str) -> str:
    """Write ``return a, b`` where Python's own printer has ``return (a, b)``."""
    found = re.fullmatch(r"( *)(return|[^()=]+ =) \((.*)\)", line)
    if found is None:
        return line
    without = f"{found[2]} {found[3]}"
    try:
        meant, written = (ast.dump(ast.parse(f"def f():\n {code.strip()}")) for code in (line, without))
    except SyntaxError:
        return line
    return found[1] + without if written == meant else line


class _Plain(ast.NodeTransformer):
    """Takes out of a definition what nobody is asked to write."""

    def __init__(self, not_asked: frozenset[str]) -> None:
        self.not_asked = not_asked

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Keep the methods that are asked for."""
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name not in self.not_asked]
        node.body = [self.visit(one) for one in methods]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Keep the arguments that are asked for, and the statements that do something for them."""
        node.returns, node.decorator_list = None, []
        arguments = node.args
        first = len(arguments.args) - len(arguments.defaults)
        placed = [(one, arguments.defaults[i - first] if i >= first else None) for i, one in enumerate(arguments.args)]
        placed = [(one, default) for one, default in placed if one.arg not in self.not_asked]
        named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        named_and = [(one, default) for one, default in named if one.arg not in self.not_asked]
        arguments.args, arguments.defaults = [one for one, _ in placed], [x for _, x in placed if x is not None]
        arguments.kwonlyargs, arguments.kw_defaults = [one for one, _ in named_and], [x for _, x in named_and]
        for one in (*arguments.args, *arguments.kwonlyargs):
            one.annotation = None
        node.body = self._statements(node.body)
        read = {x.id for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
        for block in [x for x in ast.walk(node) if isinstance(x, (ast.FunctionDef, ast.If))]:
            block.body = [one for one in block.body if not _sets_only_names_outside(one, read)]
        return node

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        """Take the branch that is settled, and leave out what only raises an error."""
        node.test = self.visit(node.test)
        node.body, node.orelse = self._statements(node.body), self._statements(node.orelse)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node if node.body else []

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        """Take the value that is settled."""
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """Leave out whether there is something to do that does no harm."""
        self.generic_visit(node)
        node.values = [x for x in node.values if not _calls(x, "lacks_keys")]
        return node if len(node.values) > 1 else node.values[0]

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Leave out arguments that are not asked for."""
        self.generic_visit(node)
        node.keywords = [one for one in node.keywords if one.arg not in self.not_asked]
        return node

    def visit(self, node: ast.AST) -> Any:
        """Put what is settled in its place, and go on."""
        if isinstance(node, (ast.Compare, ast.Subscript)) and (becomes := SETTLED.get(ast.unparse(node))):
            return ast.parse(becomes, mode="eval").body
        return super().visit(node)

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        kept: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.Raise) or self._is_left_out(statement):
                continue
            if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                statement = ast.copy_location(ast.Assign([statement.target], statement.value), statement)
            found = self.visit(statement)
            kept += found if isinstance(found, list) else [found]
            if kept and isinstance(kept[-1], ast.Return):
                break
        return kept

    def _is_left_out(self, statement: ast.stmt) -> bool:
        """Whether it is a docstring, a look at the inputs, or sets what is not asked for."""
        if isinstance(statement, ast.Expr):
            value = statement.value
            return isinstance(value, ast.Constant) or _calls(value, "check_", "_check")
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            settings = all(isinstance(x, ast.Attribute) and x.attr in self.not_asked for x in targets)
            return settings or _copies_alone(statement)
        if isinstance(statement, ast.If):
            return all(isinstance(x, ast.Raise) or self._is_left_out(x) for x in (*statement.body, *statement.orelse))
        return False


def _copies_alone(statement: ast.Assign | ast.AnnAssign) -> bool:
    """Whether names get what they hold, as a copy or in another dtype: ``k, v = k.clone(), v.clone()``."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    (target,), value = statement.targets, statement.value
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    pairs = zip(target.elts, value.elts, strict=False) if both else [(target, value)]  # type: ignore[attr-defined]
    return all(re.fullmatch(rf"{re.escape(ast.unparse(a))}\.(clone|to)\(.*\)", ast.unparse(b)) for a, b in pairs)


def _calls(x: ast.expr, *names: str) -> bool:
    return isinstance(x, ast.Call) and isinstance(x.func, ast.Name) and x.func.id.startswith(names)


def _sets_only_names_outside(statement: ast.stmt, read: set[str]) -> bool:
    """Whether it sets names, and nobody reads them."""
    if not isinstance(statement, ast.Assign):
        return False
    names = [x for target in statement.targets for x in ast.walk(target) if not isinstance(x, (ast.Tuple, ast.Store))]
    return all(isinstance(x, ast.Name) and x.id not in read for x in names)
