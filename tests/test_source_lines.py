"""What a line that ran is said to read, to write and to move is what Python and PyTorch did there."""

import ast
import functools
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_variants.lab.animation.source_lines import RunningCode, cells_of
from attention_variants.lab.code.trace import trace
from attention_variants.variants import attention_loops, attention_tiled

B, T_Q, T_K, H, D_K = 2, 5, 7, 2, 4


def numbers(*shape):
    """Different numbers in every cell, so that a cell is known by its number."""
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).view(shape)


def run(function, *args):
    """Trace a call: its running code, and each assignment with the tensors that there were before it."""
    traced = trace(function, *args)
    values, steps = {}, []
    for step in traced:
        steps.append((step, dict(values)))
        values[step.name] = step.value
    return RunningCode(traced), steps


def reads(code, step, values):
    """The cells that are read, as indices (row, column), or all."""
    regions = code.read(step, values)
    for name, region in regions.items():
        assert region.shape == cells_of(values[name]).shape
        assert region.dtype == bool
    return {name: "all" if region.all() else cells(region) for name, region in regions.items()}


def cells(region):
    return [tuple(index) for index in np.argwhere(region)[:, 1:].tolist()]


def of_name(steps, name, kind=None):
    return [(step, values) for step, values in steps if step.name == name and kind in (None, step.kind)]


# ------------------------------------------------------------------------------------------------ what is read


def loops(q, k):
    scores = torch.zeros(5, 7)
    for i in range(5):
        for j in range(7):
            scores[i, j] = q[i] @ k[j]  # a row of each
    return scores


def test_a_line_in_two_loops_reads_and_writes_what_its_counters_say():
    code, steps = run(loops, numbers(T_Q, D_K), numbers(T_K, D_K))
    writes = of_name(steps, "scores", "write")
    assert len(writes) == T_Q * T_K
    for turn, (step, values) in enumerate(writes):
        i, j = divmod(turn, T_K)
        assert reads(code, step, values) == {
            "q": [(i, column) for column in range(D_K)],
            "k": [(j, column) for column in range(D_K)],
        }
        assert cells(code.target(step)) == [(i, j)]
        assert code.with_numbers(code.statement(step.line), step) == f"scores[{i}, {j}] = q[{i}] @ k[{j}]"


def slices(x):
    y = torch.zeros(5, 4)
    for start in range(0, 5, 2):
        block = slice(start, start + 2)
        y[block] = x[block, 1:3].sum() + x[..., -1][start]
        y[start, ::2] = x[start + 1 - 1, start % 2]
    return y


def test_slices_steps_negative_indices_and_sums_of_counters():
    code, steps = run(slices, numbers(5, 4))
    writes = of_name(steps, "y", "write")
    assert len(writes) == 6
    for turn, (step, values) in enumerate(writes):
        start = 2 * (turn // 2)
        if turn % 2 == 0:
            rows = range(start, min(start + 2, 5))
            # x[..., -1][start]: the last column, as far as it is followed
            expected = sorted({(row, column) for row in rows for column in (1, 2)} | {(row, 3) for row in range(5)})
            assert reads(code, step, values) == {"x": expected}
            assert cells(code.target(step)) == [(row, column) for row in rows for column in range(4)]
            said = f"y[{start}:{start + 2}] = x[{start}:{start + 2}, 1:3].sum() + x[..., -1][{start}]"
        else:
            assert reads(code, step, values) == {"x": [(start, start % 2)]}
            assert cells(code.target(step)) == [(start, 0), (start, 2)]
            said = f"y[{start}, ::2] = x[{start} + 1 - 1, {start} % 2]"
        assert code.with_numbers(code.statement(step.line), step) == said


def augmented(x, y):
    for i in range(2):
        x[i] += y[i, 1] * y[1]
        x[i][1] *= 2
    x += 1
    return x


def test_an_augmented_assignment_reads_its_right_side_and_writes_its_target():
    code, steps = run(augmented, numbers(2, 3), numbers(2, 3))
    first, chained, *_, last = of_name(steps, "x", "write")
    step, values = first
    assert reads(code, step, values) == {"y": [(0, 1), (1, 0), (1, 1), (1, 2)]}
    assert cells(code.target(step)) == [(0, 0), (0, 1), (0, 2)]
    assert code.with_numbers(code.statement(step.line), step) == "x[0] += y[0, 1] * y[1]"
    assert code.target(chained[0]) is None  # not one index of a name: what changed says enough
    assert chained[0].changed.nonzero().tolist() == [[0, 1]]
    assert code.target(last[0]) is None
    assert reads(code, *last) == {}


def batched(x, heads):
    y = torch.zeros(2, 2, 3)
    for h in range(heads):
        y[:, h] = x[..., h * 3 : (h + 1) * 3].sum(-2)
    return y


def test_leading_dimensions_are_sheets():
    code, steps = run(batched, numbers(B, 5, 6), H)
    for h, (step, values) in enumerate(of_name(steps, "y", "write")):
        region = code.read(step, values)["x"]
        assert region.shape == (B, 5, 6)
        expected = np.zeros((B, 5, 6), dtype=bool)
        expected[:, :, 3 * h : 3 * h + 3] = True
        np.testing.assert_array_equal(region, expected)
        target = np.zeros((B, 2, 3), dtype=bool)
        target[:, h] = True
        np.testing.assert_array_equal(code.target(step), target)


def about(x, y):
    a = torch.zeros_like(x) + y.shape[0] + y.size(1) + torch.finfo(y.dtype).eps
    b = y.new_zeros(2, 3)
    c = x * x.ndim
    return a, b, c


def test_what_is_only_asked_for_its_shape_is_not_read():
    code, steps = run(about, numbers(2, 3), numbers(2, 3))
    read = {step.name: reads(code, step, values) for step, values in steps if step.kind == "assign"}
    assert read == {"a": {}, "b": {}, "c": {"x": "all"}}


def unclear(x, rows):
    order = rows.tolist()
    y = x[rows]
    z = x[order[0]] + x[len(order) - 1]
    return y, z


def test_an_index_that_is_no_whole_number_reads_all():
    code, steps = run(unclear, numbers(3, 2), torch.tensor([2, 0]))
    read = {step.name: reads(code, step, values) for step, values in steps if step.kind == "assign"}
    assert read["y"]["x"] == "all"
    assert read["z"]["x"] == "all"  # x[order[0]] alone is row 2; what len(order) is, nobody is asked


def own_numbers(x):
    y = x[x > 2]
    return y


def test_an_index_made_of_the_tensors_own_numbers_is_not_mistaken_for_one_of_its_indices():
    code, steps = run(own_numbers, numbers(2, 3))
    ((step, values),) = of_name(steps, "y")
    assert reads(code, step, values)["x"] in ("all", [(0, 2), (1, 0), (1, 1), (1, 2)])


def lists(x):
    order = [2, 0]
    y = x[order]
    z = x[order[0]]
    return y, z


def test_lists_of_whole_numbers_are_counters_too():
    code, steps = run(lists, numbers(3, 2))
    read = {step.name: reads(code, step, values) for step, values in steps if step.kind == "assign"}
    assert read == {"y": {"x": [(0, 0), (0, 1), (2, 0), (2, 1)]}, "z": {"x": [(2, 0), (2, 1)]}}


def over_rows(x):
    total = torch.zeros(2)
    for row in x:
        total = total + row
    return total


def test_the_head_of_a_loop_reads_what_it_goes_through():
    code, steps = run(over_rows, numbers(3, 2))
    for step, values in of_name(steps, "row"):
        assert reads(code, step, values) == {"x": "all"}
        assert isinstance(code.statement(step.line), ast.For)


# --------------------------------------------------------------------------------------- statements and their text


def several_lines(q, k):
    scores = torch.zeros(
        5,
        7,
    )
    for i in range(5):
        scores[i] = (
            q[i]  # one row
            @ k.T
        )
    return scores


def test_a_statement_over_several_lines_is_one():
    code, steps = run(several_lines, numbers(T_Q, D_K), numbers(T_K, D_K))
    first = several_lines.__code__.co_firstlineno
    for i, (step, values) in enumerate(of_name(steps, "scores", "write")):
        statement = code.statement(step.line)
        assert (statement.lineno, statement.end_lineno) == (first + 6, first + 9)
        for line in range(first + 6, first + 10):
            assert code.statement(line) is statement
            assert [loop.lineno for loop in code.loops(line)] == [first + 5]
        assert reads(code, step, values) == {"q": [(i, column) for column in range(D_K)], "k": "all"}
        assert cells(code.target(step)) == [(i, column) for column in range(T_K)]
        assert code.with_numbers(statement, step) == "scores[i] = ("  # its first line, as it stands


def nested(x):
    total = x * 0
    for i in range(2):
        for j in range(2):
            total[i] += x[j]
    for k in range(2):
        total[k] += 1
    return total


def test_the_loops_around_a_line_come_from_the_outside_in():
    code, _ = run(nested, numbers(2, 3))
    first = nested.__code__.co_firstlineno
    lines = {line: [loop.lineno - first for loop in code.loops(first + line)] for line in range(8)}
    assert lines == {0: [], 1: [], 2: [2], 3: [2, 3], 4: [2, 3], 5: [5], 6: [5], 7: []}


def plain_decorator(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@plain_decorator
@torch.no_grad()
def decorated(
    x,  # comes in
    *rest,
    scale: int = 2,
):
    """What it does.

    # no comment
    """
    # a comment of its own
    hash_sign = "# no comment"  # but this is one

    y = x * scale + len(hash_sign)  # twice

    z = y.T  # ünïcode → 你好
    return z  # done


def test_the_text_leaves_out_docstring_and_comments_and_keeps_the_numbers_of_the_file():
    code, steps = run(decorated, numbers(2, 3))
    lines, first = inspect.getsourcelines(inspect.unwrap(decorated))
    text = code.text()
    assert text[0] == (first, "def decorated(x, rest, scale):")
    assert [line for _, line in text[1:]] == [
        '    hash_sign = "# no comment"',
        "",
        "    y = x * scale + len(hash_sign)",
        "",
        "    z = y.T",
        "    return z",
    ]
    for number, line in text[1:]:
        assert lines[number - first].startswith(line)
        assert code.line(number) == line.strip()
    assert code.first == first
    for step, _ in steps[1:]:
        assert (step.line, code.line(step.line)) in [(number, line.strip()) for number, line in text]
    assert code.line(first - 1) == ""


@pytest.mark.parametrize("function", [attention_loops, attention_tiled])
def test_the_text_of_a_variant_is_its_file(function):
    code, steps = run(function, numbers(T_Q, D_K), numbers(T_K, D_K), numbers(T_K, D_K))
    lines = Path(inspect.getsourcefile(function)).read_text(encoding="utf-8").splitlines()
    for number, text in code.text()[1:]:
        assert lines[number - 1].startswith(text)
        assert text == lines[number - 1] or lines[number - 1][len(text) :].lstrip().startswith("# ")
    shown = {number for number, _ in code.text()}
    assert {step.line for step, _ in steps if step.kind != "argument"} <= shown
    docstring = {number for number, line in enumerate(lines, 1) if "Parameters" in line or "Notes" in line}
    assert docstring
    assert not docstring & shown


def sources_unknown():
    namespace = {"torch": torch}
    exec("def unknown(x):\n    for i in range(2):\n        x[i] = x[1 - i]\n    return x", namespace)
    table = {
        "first": lambda x: (y := x * 2),  # noqa: F841
    }
    return [namespace["unknown"], table["first"], lambda x: (y := x.T) * 1]  # noqa: F841


@pytest.mark.parametrize("which", [0, 1, 2], ids=["exec", "lambda amid an expression", "lambda"])
def test_without_a_source_every_answer_is_empty(which):
    code, steps = run(sources_unknown()[which], numbers(2, 3))
    assert code.text() == ()
    for step, values in steps:
        assert code.statement(step.line) is None
        assert code.loops(step.line) == []
        assert code.line(step.line) == ""
        assert code.read(step, values) == {}
        assert code.target(step) is None
        assert code.chain(step, values) is None


def only_counters(x):
    n, i = 2, 1
    y = x[i] * n
    for t in range(n):
        z = x[t] * n + y[i]
    return z


def test_only_counters_of_loops_and_slices_are_replaced_by_numbers():
    code, steps = run(only_counters, numbers(2, 3))
    (step, _), *_ = of_name(steps, "y")
    assert code.with_numbers(code.statement(step.line), step) == "y = x[i] * n"
    said = [code.with_numbers(code.statement(step.line), step) for step, _ in of_name(steps, "z")]
    assert said == ["z = x[0] * n + y[i]", "z = x[1] * n + y[i]"]


def names_within_names(i_0, x):
    for i in range(2):
        xi = x[i] + i_0[i] + {"i": i}["i"]
    return xi


def test_a_counter_within_another_name_or_a_string_stays():
    code, steps = run(names_within_names, numbers(2, 3), numbers(2, 3))
    said = [code.with_numbers(code.statement(step.line), step) for step, _ in of_name(steps, "xi")]
    assert said == [f'xi = x[{i}] + i_0[{i}] + {{"i": {i}}}["i"]' for i in (0, 1)]


def greek(α, x):
    for i in range(2):
        β = α[i] * x[i]
    return β


def test_a_letter_of_several_bytes_shifts_nothing():
    code, steps = run(greek, numbers(2, 3), numbers(2, 3))
    said = [code.with_numbers(code.statement(step.line), step) for step, _ in of_name(steps, "β")]
    assert said == ["β = α[0] * x[0]", "β = α[1] * x[1]"]


# fmt: off
def on_one_line(x, mask):
    if mask is not None: x = x * mask  # noqa: E701
    for i in range(2): x[i] = x[1 - i] + mask[i]  # noqa: E701
    return x
# fmt: on


def test_a_statement_on_the_line_of_its_if_or_for_is_the_innermost():
    code, steps = run(on_one_line, numbers(2, 3), numbers(2, 3))
    (_, (assign, before), *writes) = of_name(steps, "x")
    assert isinstance(code.statement(assign.line), ast.Assign)
    assert reads(code, assign, before) == {"x": "all", "mask": "all"}
    for i, (step, values) in enumerate(writes):
        assert reads(code, step, values)["mask"] == [(i, column) for column in range(3)]
        assert cells(code.target(step)) == [(i, column) for column in range(3)]


# ------------------------------------------------------------------------------------------------- where numbers go


def split_and_merge(x):
    B, T, D = x.shape
    H = 2
    heads = x.view(B, T, H, D // H).transpose(-3, -2)
    merged = heads.transpose(-3, -2).reshape(B, T, D)
    flat = merged.flatten(1)
    parts = flat.unflatten(-1, (T, -1)).contiguous()
    turned = parts.permute(2, 0, 1).mT
    moved = turned.movedim(0, -1).swapaxes(0, 1)
    longer = moved.unsqueeze(1).squeeze(dim=1).reshape(-1, D)
    back = longer.T
    return back


REARRANGED = {
    "heads": ("x", [".view(B, T, H, D // H)", ".transpose(-3, -2)"]),
    "merged": ("heads", [".transpose(-3, -2)", ".reshape(B, T, D)"]),
    "flat": ("merged", [".flatten(1)"]),
    "parts": ("flat", [".unflatten(-1, (T, -1))"]),
    "turned": ("parts", [".permute(2, 0, 1)", ".mT"]),
    "moved": ("turned", [".movedim(0, -1)", ".swapaxes(0, 1)"]),
    "longer": ("moved", [".unsqueeze(1)", ".squeeze(dim=1)", ".reshape(-1, D)"]),
    "back": ("longer", [".T"]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("name", REARRANGED)
def test_a_chain_says_where_torch_puts_each_index(name, dtype):
    x = numbers(B, T_Q, 6).to(dtype)
    code, steps = run(split_and_merge, x)
    ((step, values),) = of_name(steps, name)
    root, links = code.chain(step, values)
    expected_root, expected = REARRANGED[name]
    assert root == expected_root
    assert [link.code for link in links] == expected
    # The same rearrangement of the indices by PyTorch itself, run as a whole.
    indices = {known: torch.arange(value.numel()).view(value.shape) for known, value in values.items()}
    names = {"B": B, "T": T_Q, "D": 6, "H": 2, root: indices[root]}
    right = next(line for number, line in code.text() if number == step.line).partition(" = ")[2]
    whole = eval(right, names)
    assert torch.equal(links[-1].indices, whole)
    assert torch.equal(values[root].flatten()[links[-1].indices], step.value)
    shapes = [tuple(values[root].shape), *(tuple(link.indices.shape) for link in links)]
    assert [(link.before, link.after) for link in links] == list(itertools.pairwise(shapes))


def strided(x):
    y = x.transpose(0, 1).reshape(-1, 2)
    return y


def test_a_chain_from_memory_in_another_order():
    x = numbers(6, 4)[::2].t()  # (4, 3), neither dense nor in order
    code, steps = run(strided, x)
    ((step, values),) = of_name(steps, "y")
    _, links = code.chain(step, values)
    assert torch.equal(x.flatten()[links[-1].indices], step.value)
    assert torch.equal(links[-1].indices, torch.arange(12).view(4, 3).transpose(0, 1).reshape(-1, 2))


def test_a_chain_is_followed_where_there_are_nan():
    x = numbers(B, T_Q, 6)
    x[0, 1, 2] = float("nan")
    code, steps = run(split_and_merge, x)
    ((step, values),) = of_name(steps, "heads")
    assert code.chain(step, values) is not None


def no_chains(x, other):
    a = x.view(3, 2) + 1
    b = x * 1
    c = x.view_as(other)
    d = x.expand(2, 2, 3)
    e = x.reshape(other[2, 0].long().item() - 2, -1)
    f = torch.transpose(x, 0, 1)
    x = x + 0
    g, h = x.T, x
    i = (x + 1).T
    j = x.view(len("abc"), -1)
    return a, b, c, d, e, f, g, h, i, j


def shapes_of_others(q, k, other):
    H = 2
    a = k.reshape(-1, H, q.shape[1] // H)
    b = k.reshape(*other.shape)
    c = k.view(other.size(0), q.ndim, -1).transpose(0, -1)
    d = k.reshape(k.shape[1], -1)
    e = q.reshape(other.shape[0], -1).T
    return a, b, c, d, e


def test_the_shape_of_another_tensor_may_stand_in_an_argument():
    q, k, other = numbers(6, 4), numbers(5, 4), numbers(10, 2)
    q, other = q[:5], other.bool()
    code, steps = run(shapes_of_others, q, k, other)
    values = {step.name: (step, before) for step, before in steps}
    every, of_q = torch.arange(20).view(5, 4), torch.arange(20).view(5, 4)
    expected = {
        "a": ("k", [every.reshape(-1, 2, 2)]),
        "b": ("k", [every.reshape(10, 2)]),
        "c": ("k", [every.view(10, 2, 1), every.view(10, 2, 1).transpose(0, -1)]),
        "d": ("k", [every.reshape(4, 5)]),
        "e": ("q", [of_q.reshape(10, 2), of_q.reshape(10, 2).T]),
    }
    for name, (root, ways) in expected.items():
        step, before = values[name]
        found, links = code.chain(step, before)
        assert found == root
        assert all(torch.equal(way, link.indices) for way, link in zip(ways, links, strict=True))
        assert torch.equal(before[root].flatten()[links[-1].indices], step.value)
        shapes = [(5, 4), *(tuple(way.shape) for way in ways)]
        assert [(link.before, link.after) for link in links] == list(itertools.pairwise(shapes))
    assert code.chain(*values["a"])[1][0].code == ".reshape(-1, H, q.shape[1] // H)"
    assert code.chain(*values["b"])[1][0].code == ".reshape(*other.shape)"


def test_whatever_else_stands_in_a_line_is_no_chain():
    code, steps = run(no_chains, numbers(2, 3), numbers(3, 2))
    for step, values in steps:
        assert code.chain(step, values) is None, step


def twice_on_one_line(x):
    y = x.view(3, 2); y = y * 2  # noqa: E702  # fmt: skip
    return y


def test_a_chain_that_does_not_give_the_numbers_is_none():
    code, steps = run(twice_on_one_line, numbers(2, 3))
    ((step, values),) = of_name(steps, "y")
    assert code.chain(step, values) is None


def a_chain_of_another(x, y):
    z = x.view(3, 2)
    x = y.T
    return x, z


def test_a_chain_begins_at_the_tensor_of_that_name_then():
    code, steps = run(a_chain_of_another, numbers(2, 3), -numbers(3, 2))
    (_, (step, values)) = of_name(steps, "x")
    root, links = code.chain(step, values)
    assert root == "y"
    assert torch.equal(links[-1].indices, torch.arange(6).view(3, 2).T)


def calls_a_method_of_its_own(x):
    class Odd:
        def view(self, *shape):
            return x.flatten().flip(0).view(*shape)

    x_ = x * 1
    odd = Odd()
    y = odd.view(3, 2)
    return x_, y


def test_a_view_that_is_not_a_tensors_is_not_followed():
    code, steps = run(calls_a_method_of_its_own, numbers(2, 3))
    ((step, values),) = of_name(steps, "y")
    assert code.chain(step, values) is None


# ----------------------------------------------------------------------------------------------- cells of a tensor


@pytest.mark.parametrize(
    ("shape", "drawn"), [((7,), (1, 1, 7)), ((5, 7), (1, 5, 7)), ((2, 5, 7), (2, 5, 7)), ((2, 3, 5, 7), (6, 5, 7))]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool])
def test_leading_dimensions_become_sheets_and_one_dimension_a_row(shape, drawn, dtype):
    tensor = (numbers(*shape) % 5).to(dtype)
    drawn_cells = cells_of(tensor)
    assert drawn_cells.shape == drawn
    assert drawn_cells.dtype == np.float64
    assert drawn_cells.ravel().tolist() == [float(number) for number in tensor.flatten().tolist()]
