"""`trace` shows every local tensor of an unmodified function, in order, and leaves no mark on it or on Python."""

import contextlib
import doctest
import functools
import html
import inspect
import io
import re
import sys
import threading

import nbclient
import nbformat
import pytest
import torch
from rich.console import Console
from torch import nn

from attention_variants.lab.code.trace import Assignment, Trace, trace
from attention_variants.variants import VARIANTS, attention_loops, attention_tiled, multihead_attention_fused

B, T_Q, T_K, H, D_MODEL = 2, 5, 7, 2, 8


def inputs(variant, *, seed=0, requires_grad=False):
    """Arguments for a variant, with a mask from variant 4 and two heads from variant 5."""
    generator = torch.Generator().manual_seed(seed)
    batch = (B,) if variant >= 3 else ()
    shapes = [(*batch, T_Q, D_MODEL), (*batch, T_K, D_MODEL), (*batch, T_K, D_MODEL)]
    args = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=requires_grad) for s in shapes]
    if variant >= 4:
        args.append(torch.ones(T_Q, T_K, dtype=torch.bool).tril(2))
    if variant >= 5:
        args.append(H)
    return args


def tiled_inputs():
    return [*inputs(4), 4]  # 7 keys in blocks of 4 and 3


def steps(traced):
    return [(step.kind, step.name) for step in traced]


def arguments(*names):
    return [("argument", name) for name in names]


def assigns(*names):
    return [("assign", name) for name in names]


def writes(name, times=1):
    return [("write", name)] * times


QKV, QKVM = arguments("q", "k", "v"), arguments("q", "k", "v", "mask")
MASKED_WEIGHTS = [*assigns("scores"), *writes("scores"), *assigns("weights")]
STEPS = {
    1: [
        *QKV,
        *assigns("scores"),
        *writes("scores", T_Q * T_K),
        *assigns("weights"),
        *[*assigns("largest", "exp"), *writes("weights")] * T_Q,
        *assigns("context"),
        *writes("context", T_Q * T_K),
    ],
    2: [*QKV, *assigns("scores", "weights", "context")],
    3: [*QKV, *assigns("scores", "weights", "context")],
    4: [*QKVM, *MASKED_WEIGHTS, *assigns("context")],
    5: [
        *QKVM,
        *[*assigns("q", "k", "v", "mask"), *MASKED_WEIGHTS, *assigns("context")] * H,
        *assigns("context", "weights"),
    ],
    6: [*QKVM, *assigns("q", "k", "v"), *MASKED_WEIGHTS, *assigns("context", "context")],
    7: [*QKVM, *assigns("q", "k", "v"), *MASKED_WEIGHTS, *assigns("context", "context")],
}
TILED_BLOCK = assigns(
    "scores", "scores", "new_max", "exp", "correction", "running_sum", "context", "running_max"
)  # fmt: skip
STEPS_TILED = [
    *QKVM,
    *assigns("mask", "running_max", "running_sum", "context"),
    *TILED_BLOCK * 2,
    *assigns("context"),
]


# The variants


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_shows_its_tensors_in_order(variant):
    assert steps(trace(VARIANTS[variant], *inputs(variant))) == STEPS[variant]


def test_a_query_with_no_key_takes_one_step_more():
    q, k, v, mask = inputs(4)
    mask[3] = False
    assert steps(trace(VARIANTS[4], q, k, v, mask)) == [*QKVM, *MASKED_WEIGHTS, *assigns("weights", "context")]


def test_the_tiled_version_shows_its_tensors_block_by_block():
    traced = trace(attention_tiled, *tiled_inputs())
    assert steps(traced) == STEPS_TILED
    assert [step.shape[-1] for step in traced.history("scores")] == [4, 4, 3, 3]
    assert torch.equal(traced["context"], attention_tiled(*tiled_inputs())[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_values_are_what_the_variant_returned(variant):
    args = inputs(variant)
    traced = trace(VARIANTS[variant], *args)
    context, weights = VARIANTS[variant](*args)
    assert torch.equal(traced["context"], context)
    assert torch.equal(traced["weights"], weights)
    assert torch.equal(traced.result[0], context)
    assert torch.equal(traced.result[1], weights)
    assert torch.equal(traced.history("q")[0].value, args[0])
    assert traced.final().keys() == set(traced.names)
    assert torch.equal(traced.final()["context"], context)


def test_weights_that_are_not_asked_for_do_not_appear():
    traced = trace(multihead_attention_fused, *inputs(7), need_weights=False)
    assert "weights" not in traced
    assert "scores" not in traced.names
    assert traced.result[1] is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_tracing_changes_neither_values_nor_gradients(variant):
    def run(call):
        args = inputs(variant, requires_grad=True)
        context, weights = call(*args)
        (context.sin().sum() + weights.square().sum()).backward()
        return [context, weights, *(x.grad for x in args[:3])]

    plain = run(VARIANTS[variant])
    traced = run(lambda *args: trace(VARIANTS[variant], *args).result)
    assert all(torch.equal(a, b) for a, b in zip(plain, traced, strict=True))


def test_values_are_copies_without_a_graph():
    args = inputs(1, requires_grad=True)
    traced = trace(attention_loops, *args)
    assert traced.result[0].requires_grad
    assert not any(step.value.requires_grad for step in traced)
    theirs = {x.data_ptr() for x in (*args, *traced.result)}
    ours = [step.value.data_ptr() for step in traced]
    assert theirs.isdisjoint(ours)
    assert len(set(ours)) == len(ours)


def test_writes_of_variant_1_cover_every_cell_once_and_row_by_row():
    traced = trace(attention_loops, *inputs(1))
    _, *score_writes = traced.history("scores")
    cells = [step.changed.nonzero().tolist() for step in score_writes]
    assert cells == [[[i, j]] for i in range(T_Q) for j in range(T_K)]
    _, *weight_writes = traced.history("weights")
    rows = [step.changed.nonzero().tolist() for step in weight_writes]
    assert rows == [[[i, j] for j in range(T_K)] for i in range(T_Q)]
    _, *context_writes = traced.history("context")
    rows = [step.changed.nonzero()[:, 0].unique().tolist() for step in context_writes]
    assert rows == [[i] for i in range(T_Q) for _ in range(T_K)]


def test_a_value_is_that_of_its_moment():
    q, k, v = inputs(1)
    traced = trace(attention_loops, q, k, v)
    scores, weights = traced["scores"].flatten(), traced["weights"]
    for done, step in enumerate(traced.history("scores")):
        assert torch.equal(step.value.flatten()[:done], scores[:done])
        assert not step.value.flatten()[done:].any()
    for done, step in enumerate(traced.history("context")):
        i, j = divmod(done - 1, T_K)  # this write added value j to context i
        if done:
            torch.testing.assert_close(step.value[i], weights[i, : j + 1] @ v[: j + 1])
            assert not step.value[i + 1 :].any()


@pytest.mark.parametrize("function", [*VARIANTS.values(), attention_tiled])
def test_line_and_code_are_those_of_the_source(function):
    variant = next((n for n in VARIANTS if VARIANTS[n] is function), None)
    traced = trace(function, *(inputs(variant) if variant else tiled_inputs()))
    lines, first_line = inspect.getsourcelines(function)
    assert traced.source == "".join(lines)
    assert traced.first_line == first_line
    for step in traced:
        assert step.code == lines[step.line - first_line].strip()
        pattern = {
            "argument": f"{step.name}: ",
            "assign": rf"^(for .*)?\b{step.name}\b.* (=|in) ",
            "write": rf"^{step.name}(\[i|\.masked_fill_\()",
        }
        assert re.search(pattern[step.kind], step.code)


# What counts as an assignment, and what as a write


def test_a_new_tensor_counts_even_when_its_numbers_are_the_old_ones():
    def again(x):
        for _ in range(3):
            y = torch.zeros(2)
        return x, y

    assert steps(trace(again, torch.ones(1))) == arguments("x") + assigns("y", "y", "y")


def test_a_write_of_the_numbers_already_there_counts():
    q, k, v = inputs(1)
    traced = trace(attention_loops, q * 0, k, v)
    assert steps(traced) == STEPS[1]
    assert not any(step.changed.any() for step in traced.history("scores")[1:])


def test_a_write_shows_for_every_name_that_changed_and_no_other():
    def through_a_view(scores):
        row, other = scores[0], scores[1]
        row[2] = 5
        return other

    traced = trace(through_a_view, torch.zeros(2, 3))
    assert steps(traced) == arguments("scores") + assigns("row", "other") + writes("scores") + writes("row")
    assert traced.history("scores")[-1].changed.tolist() == [[False, False, True], [False, False, False]]
    assert traced.history("row")[-1].changed.tolist() == [False, False, True]
    assert traced["other"].tolist() == [0, 0, 0]


def write_to_data(x):
    x.data[1] = 3
    return x


def write_to_numpy(x):
    x.numpy()[1] = 3
    return x


def write_in_place(x):
    x[1] = 3
    return x


@pytest.mark.parametrize("function", [write_to_data, write_to_numpy, write_in_place])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_write_is_seen_by_whatever_road_and_in_whatever_mode(function, mode):
    with mode():
        traced = trace(function, torch.zeros(3))
    assert steps(traced) == arguments("x") + writes("x")
    assert traced["x"].tolist() == [0, 3, 0]
    assert traced.history("x")[-1].changed.tolist() == [False, True, False]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_variant_traces_alike_without_gradients(mode):
    with mode():
        traced = trace(attention_loops, *inputs(1))
    assert steps(traced) == STEPS[1]
    assert torch.equal(traced["context"], attention_loops(*inputs(1))[0])
    assert not any(step.value.is_inference() for step in traced)
    assert not any(step.changed.is_inference() for step in traced if step.kind == "write")


def test_nan_is_no_change_but_a_write_beside_it_is():
    def beside_nan(x):
        y = x + 1
        x.data[1] = 2
        x.data[2] = float("nan")
        return y

    traced = trace(beside_nan, torch.tensor([float("nan"), 0.0, 0.0]))
    assert steps(traced) == arguments("x") + assigns("y") + writes("x", 2)
    changed = [step.changed.tolist() for step in traced.history("x")[1:]]
    assert changed == [[False, True, False], [False, False, True]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.complex64])
def test_a_write_is_seen_in_every_dtype(dtype):
    traced = trace(write_to_data, torch.zeros(3, dtype=dtype))
    assert traced.history("x")[-1].changed.tolist() == [False, True, False]
    assert traced.history("x")[-1].dtype == dtype


def test_a_change_of_shape_or_dtype_is_a_write_of_everything():
    def reshape(x):
        x.t_()
        x.data = x.data.double()
        return x

    traced = trace(reshape, torch.zeros(2, 3))
    assert steps(traced) == arguments("x") + writes("x", 2)
    assert [step.shape for step in traced] == [(2, 3), (3, 2), (3, 2)]
    assert traced["x"].dtype == torch.float64
    assert all(step.changed.all() and step.changed.shape == (3, 2) for step in traced.history("x")[1:])


@pytest.mark.parametrize("x", [torch.zeros(3, device="meta"), torch.eye(3).to_sparse()], ids=["meta", "sparse"])
def test_where_values_cannot_be_compared_the_version_counter_counts(x):
    def twice(x):
        y = x * 2
        x.mul_(2)
        return y

    traced = trace(twice, x)
    assert steps(traced) == arguments("x") + assigns("y") + writes("x")
    assert traced["y"].shape == x.shape


def test_other_locals_are_ignored():
    outside = torch.ones(1)

    def collect(x, *rest, number=2, **named):
        several = [x, x + 1]
        last = {"x": outside}
        total = sum(several)
        return total, rest, number, named, last

    traced = trace(collect, torch.ones(2), torch.ones(3), number=3, other=torch.ones(4))
    assert steps(traced) == arguments("x") + assigns("total")


def test_a_name_shared_with_an_inner_function_is_still_local():
    def share(x):
        y = x + 1

        def inner():
            return y * x

        z = inner()
        return z

    assert set(trace(share, torch.ones(2)).names) == {"x", "y", "z"}


def test_a_deleted_name_may_come_back():
    def come_and_go(x):
        y = x
        del y
        y = 1
        y = x
        return y

    assert steps(trace(come_and_go, torch.ones(2))) == arguments("x") + assigns("y", "y")


def test_the_last_line_counts_and_so_does_a_loop_on_one_line():
    namespace = {}
    exec("def one_line(x):\n    for _ in range(3): x[0] += 1", namespace)
    traced = trace(namespace["one_line"], torch.zeros(2))
    assert [(step.kind, step.line, step.value[0].item()) for step in traced] == [
        ("argument", 1, 0),
        ("write", 2, 1),
        ("write", 2, 2),
        ("write", 2, 3),
    ]


def test_a_statement_over_several_lines_is_named_by_its_first():
    def several(x):
        y = torch.stack(
            [
                x,
                x,
            ]
        )
        return y

    step = trace(several, torch.ones(2)).history("y")[0]
    assert step.code == "y = torch.stack("
    assert step.line == several.__code__.co_firstlineno + 1


def test_a_caught_exception_does_not_shift_the_lines():
    def stumble(x):
        try:
            y = x + 1
            y @ torch.ones(5)
        except RuntimeError:
            y = x + 2
        return y

    traced = trace(stumble, torch.ones(2))
    assert [step.code for step in traced.history("y")] == ["y = x + 1", "y = x + 2"]


# What can be traced


def double(x):
    y = x * 2
    return y


class Doubler:
    def method(self, x):
        y = x * 2
        return y

    @classmethod
    def of_class(cls, x):
        y = x * 2
        return y

    @staticmethod
    def static(x):
        y = x * 2
        return y

    __call__ = method


class DoublerModule(nn.Module):
    def forward(self, x):
        y = x * 2
        return y


def wrapped(function, updated=functools.WRAPPER_UPDATES):
    @functools.wraps(function, updated=updated)
    def wrapper(*args):
        noise = args[0] + 100
        return function(*args) + 0 * noise

    return wrapper


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (double, "double"),
        (wrapped(wrapped(double)), "double"),
        (torch.no_grad()(double), "double"),
        (functools.partial(double), "double"),
        (functools.partial(wrapped(double)), "double"),
        (torch.compiler.disable(double), "double"),
        (Doubler().method, "Doubler.method"),
        (wrapped(Doubler().method), "Doubler.method"),
        (Doubler.of_class, "Doubler.of_class"),
        (Doubler.static, "Doubler.static"),
        (Doubler(), "Doubler.method"),
        (DoublerModule(), "DoublerModule.forward"),
        (DoublerModule().forward, "DoublerModule.forward"),
    ],
)
def test_every_kind_of_python_callable(function, name):
    traced = trace(function, torch.ones(3))
    assert steps(traced) == arguments("x") + assigns("y")
    assert traced.history("y")[0].code == "y = x * 2"
    assert traced.function is function
    assert traced.name == name
    assert torch.equal(traced.result, double(torch.ones(3)))


def test_a_lambda():
    traced = trace(lambda x: (y := x * 2) + 1, torch.ones(3))  # noqa: F841
    assert steps(traced) == arguments("x") + assigns("y")
    assert "y := x * 2" in traced.history("y")[0].code
    assert traced.name == "<lambda>"


def test_a_lambda_whose_line_is_no_statement():
    functions = {
        "double": lambda x: (y := x * 2),  # noqa: F841
    }
    traced = trace(functions["double"], torch.ones(3))
    assert steps(traced) == arguments("x") + assigns("y")
    assert {step.code.partition(",")[0] for step in traced} == {'"double": lambda x: (y := x * 2)'}


def test_hooks_of_a_module_run():
    module = DoublerModule()
    module.register_forward_hook(lambda module, args, output: output + 1)
    assert trace(module, torch.ones(2)).result.tolist() == [3, 3]


def test_arguments_are_named_by_the_line_that_declares_them():
    @functools.lru_cache
    def spread(
        a,
        *,
        b=None,
    ):
        return a if b is None else a + b

    traced = trace(spread, torch.ones(1), b=torch.ones(1))
    assert [step.code for step in traced] == ["a,", "b=None,"]
    assert traced.source.lstrip().startswith("@functools.lru_cache\n")


def test_an_argument_called_function_can_be_passed():
    def takes(function):
        return function

    assert steps(trace(takes, function=torch.ones(1))) == arguments("function")


def test_code_without_source_has_empty_lines():
    namespace = {}
    # Not as "<string>": Python 3.13 takes what was given to python -c for its source.
    exec(compile("def unknown(x):\n    y = x * 2\n    return y", "<nowhere>", "exec"), namespace)
    traced = trace(namespace["unknown"], torch.ones(2))
    assert steps(traced) == arguments("x") + assigns("y")
    assert {step.code for step in traced} == {""}
    assert traced.source == ""
    assert "<code" not in traced._repr_html_()


@pytest.mark.parametrize(
    ("function", "came"),
    [
        (torch.softmax, "builtin_function_or_method softmax"),
        (len, "builtin_function_or_method len"),
        (nn.Linear, "type Linear"),
        (3, "an object of type int"),
    ],
)
def test_what_has_no_python_code_is_refused(function, came):
    with pytest.raises(TypeError, match=f"takes a Python function, method or torch.nn.Module.* got {came}, which"):
        trace(function, torch.ones(2))


def compiled_in_place():
    module = DoublerModule()
    module.compile(backend="eager")
    return module


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.compile(double, backend="eager"),
        lambda: wrapped(torch.compile(double, backend="eager")),
        lambda: wrapped(torch.compile(double, backend="eager"), updated=()),
        lambda: functools.partial(torch.compile(double, backend="eager")),
        lambda: torch.compile(DoublerModule(), backend="eager"),
        compiled_in_place,
    ],
)
def test_what_is_compiled_is_refused(make):
    with pytest.raises(TypeError, match=r"torch\.compile has replaced.* Pass the original function or module"):
        trace(make(), torch.ones(2))


def generator(x):
    yield x


async def coroutine(x):
    return x


@pytest.mark.parametrize("function", [generator, coroutine])
def test_what_does_not_run_when_called_is_refused(function):
    with pytest.raises(TypeError, match=f"got function {function.__name__}, a generator or coroutine"):
        trace(function, torch.ones(2))


def test_a_cached_answer_is_no_trace():
    cached = functools.lru_cache(double)
    x = torch.ones(2)
    assert len(trace(cached, x)) == 2
    with pytest.raises(RuntimeError, match="double gave a result, but its own code was not seen to run"):
        trace(cached, x)


# Calls within calls


def test_recursion_records_the_outermost_call():
    def countdown(x, n):
        y = x + n
        if n:
            countdown(x, n - 1)
        z = y * 1
        return z

    traced = trace(countdown, torch.zeros(1), 3)
    assert steps(traced) == arguments("x") + assigns("y", "z")
    assert traced["z"].item() == 3


def test_a_function_called_twice_by_its_decorator_shows_the_first_call():
    @functools.wraps(double)
    def twice(x):
        return double(double(x))

    assert trace(twice, torch.ones(1))["y"].item() == 2


def test_a_trace_inside_a_trace():
    inside = []

    def outer(x):
        before = x + 1
        inside.append(trace(double, before))
        after = before + 1
        return after

    traced = trace(outer, torch.zeros(1))
    assert steps(traced) == arguments("x") + assigns("before", "after")
    assert steps(inside[0]) == arguments("x") + assigns("y")


def test_a_trace_of_the_same_function_inside_it():
    inside = []

    def outer(x, again):
        y = x + 1
        if again:
            inside.append(trace(outer, y, False))
        z = y + 1
        return z

    traced = trace(outer, torch.zeros(1), True)
    assert [step.value.item() for step in traced] == [0, 1, 2]
    assert [step.value.item() for step in inside[0]] == [1, 2, 3]


def fail(x):
    y = x + 1
    raise LookupError(f"from {y.item():.0f}")


def test_a_failing_trace_inside_a_trace():
    def outer(x):
        try:
            trace(fail, x)
        except LookupError:
            x = x + 10
        y = x + 1
        return y

    traced = trace(outer, torch.zeros(1))
    assert [(step.name, step.value.item()) for step in traced] == [("x", 0), ("x", 10), ("y", 11)]


def test_threads_trace_beside_each_other():
    meet = threading.Barrier(2, timeout=10)
    traces = {}

    def meeting(x):
        meet.wait()
        y = x + 1
        meet.wait()
        z = y + 1
        return z

    def work(start):
        traces[start] = trace(meeting, torch.tensor(start))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, traced in traces.items():
        assert [step.value.item() for step in traced] == [start, start + 1, start + 2]
    assert traces.keys() == {0, 10}


# The trace function that was there before


class Watcher:
    """A trace function as coverage or a debugger installs one: notes every line of every function."""

    def __init__(self):
        self.lines = []

    def __call__(self, frame, event, arg):
        if event == "line":
            self.lines.append((frame.f_code.co_name, frame.f_lineno - frame.f_code.co_firstlineno))
        return self

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *exception):
        self.left_by = sys.gettrace()
        sys.settrace(self.before)


def work_around(function):
    with contextlib.suppress(LookupError):
        trace(function, torch.ones(1))
    return double(torch.ones(1))


@pytest.mark.parametrize("function", [double, fail])
def test_a_watcher_before_sees_every_line_after(function):
    with Watcher() as watcher:
        work_around(function)
    assert watcher.left_by is watcher
    around = {line for name, line in watcher.lines if name == "work_around"}
    assert around == {1, 2, 3}
    assert [line for name, line in watcher.lines if name == "double"] == [1, 2]  # the call after, and no other
    assert ("fail", 1) not in watcher.lines


def test_nothing_is_left_behind_where_there_was_nothing():
    before = sys.gettrace()  # of coverage, if the tests run under it
    sys.settrace(None)
    try:
        trace(double, torch.ones(1))
        after = [sys.gettrace()]
        with pytest.raises(LookupError, match="from 2"):
            trace(fail, torch.ones(1))
        after.append(sys.gettrace())
        with pytest.raises(TypeError):
            trace(double)
        after.append(sys.gettrace())
    finally:
        sys.settrace(before)
    assert after == [None, None, None]


def test_a_debugger_that_takes_over_is_reported():
    before = sys.gettrace()

    def interrupted(x):
        sys.settrace(None)
        sys._getframe().f_trace = None
        y = x + 1
        return y

    with pytest.raises(RuntimeError, match="a debugger stopped in it"):
        trace(interrupted, torch.ones(1))
    assert sys.gettrace() is before


# Asking and showing


def toy(q, k):
    scores = q @ k.T  # a <b> & "c"
    for i in range(2):
        for j in range(3):
            scores[i, j] += 1
    for _ in range(2):
        exp = scores.exp()
        scores[0] = exp[0]
    return scores


def toy_trace():
    return trace(toy, torch.ones(2, 4), torch.ones(3, 4))


def test_names_history_and_final_values():
    traced = toy_trace()
    assert isinstance(traced, Trace)
    assert all(isinstance(step, Assignment) for step in traced)
    assert traced.names == ("q", "k", "scores", "exp")
    assert len(traced) == 13
    assert tuple(traced) == traced.assignments
    assert [step.kind for step in traced.history("scores")] == ["assign"] + ["write"] * 8
    assert [step.changed is None for step in traced.history("scores")] == [True] + [False] * 8
    assert torch.equal(traced["scores"], traced.result)
    assert list(traced.final()) == list(traced.names)
    assert "scores" in traced
    assert "context" not in traced


def test_an_unknown_name_is_met_with_those_there_are():
    traced = toy_trace()
    for ask in (traced.__getitem__, traced.history):
        with pytest.raises(KeyError, match=r"toy held no tensor named 'context'.* there are: q, k, scores, exp"):
            ask("context")


def test_neither_can_be_changed():
    traced = toy_trace()
    with pytest.raises(AttributeError):
        traced.name = "other"
    with pytest.raises(AttributeError):
        traced.assignments[0].name = "other"


def test_repr_is_one_line():
    traced = toy_trace()
    assert repr(traced) == "<Trace of toy: q, k, scores, exp; 13 assignments>"
    line = traced.first_line
    assert repr(traced.assignments[0]) == f"<argument q (2, 4) torch.float32 line {line}: def toy(q, k):>"


def test_the_table_folds_loops_and_escapes_the_source():
    traced = toy_trace()
    page = traced._repr_html_()
    rows = re.findall("<tr><td.*?>(.*?)</td><td.*?>(.*)</td><td.*?>(.*)</td><td.*?>(.*)</td></tr>", page)
    assert len(rows) == page.count("<tr>") - 1  # less the heading
    first = traced.first_line
    assert [(int(line) - first if line else None, name, shape) for line, name, shape, _ in rows] == [
        (0, "q", "(2, 4)"),
        (None, "k", "(3, 4)"),  # declared on the line above
        (1, "scores", "(2, 3)"),
        (4, "scores × 6", "(2, 3)"),
        (6, "exp × 2", "(2, 3)"),
        (7, "scores × 2", "(2, 3)"),
    ]
    assert [html.unescape(code) for *_, code in rows] == [
        "def toy(q, k):",
        "",
        'scores = q @ k.T  # a <b> & "c"',
        "scores[i, j] += 1",
        "exp = scores.exp()",
        "scores[0] = exp[0]",
    ]
    assert "scores = q @ k.T  # a &lt;b&gt; &amp; &quot;c&quot;" in page
    assert "<b>" not in page
    assert page == toy_trace()._repr_html_()


def test_a_loop_with_changing_shapes_is_not_folded():
    def grow(x):
        for _ in range(3):
            x = torch.cat([x, x])
        return x

    page = trace(grow, torch.ones(1))._repr_html_()
    assert "×" not in page
    assert [f"({n},)" in page for n in (1, 2, 4, 8)] == [True] * 4


def test_the_table_of_the_longest_variant_is_short():
    names = [cells[1] for cells in trace(attention_loops, *inputs(1))._cells()]
    assert names == [
        "q", "k", "v", "scores", "scores × 35",
        "weights", "largest × 5", "exp × 5", "weights × 5", "context", "context × 35",
    ]  # fmt: skip


def test_the_terminal_shows_the_same_table():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(toy_trace())
    shown = console.export_text()
    assert "scores[i, j] += 1" in shown  # not read as markup
    assert "scores × 6" in shown
    assert "(2, 3)" in shown


def test_the_example_of_the_docstring():
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    example = parser.get_doctest(trace.__doc__, {"trace": trace, "torch": torch}, "trace", None, 0)
    runner.run(example)
    assert runner.tries == 2
    assert runner.failures == 0


# In a notebook


@pytest.mark.slow
def test_a_function_of_a_notebook_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not one of the user's
    cells = [
        "import torch\n"
        "from attention_variants.lab.code.trace import trace",
        "# a function of the cell\n"
        "def attend(q, k):\n"
        "    scores = q @ k.T\n"
        "    scores[0, 0] = 1.0\n"
        "    return scores",
        "traced = trace(attend, torch.ones(2, 4), torch.ones(3, 4))\n"
        "for step in traced:\n"
        "    print(step.kind, step.name, step.line, step.code)\n"
        "print(traced.source, end='')\n"
        "trace(lambda x: (y := x + 1), torch.ones(1)).history('y')",
        "traced",
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed, last = notebook.cells[2].outputs
    definition = cells[1].partition("\n")[2]
    assert printed["text"].splitlines() == [
        "argument q 2 def attend(q, k):",
        "argument k 2 def attend(q, k):",
        "assign scores 3 scores = q @ k.T",
        "write scores 4 scores[0, 0] = 1.0",
        *definition.splitlines(),
    ]
    assert "line 5: trace(lambda x: (y := x + 1), torch.ones(1)).history('y')>" in last["data"]["text/plain"]
    data = notebook.cells[3].outputs[0]["data"]
    assert data["text/plain"] == "<Trace of attend: q, k, scores; 4 assignments>"
    assert "scores[0, 0] = 1.0</td>" in data["text/html"]


# The counters of a moment


def count(x, n, flag=True, ratio=0.5, name="x"):
    order, shape, nothing = [2, 0], x.shape, []
    for i in range(0, n, 2):
        block = slice(i, i + 2)
        x[i] = x[i] + 1
    y = x[block] * ratio
    return y, order, shape, nothing, flag, name


def test_counters_are_the_whole_numbers_and_slices_of_the_moment():
    traced = trace(count, torch.zeros(5, 3), 5)
    assert traced.assignments[0].counters == {"n": 5}
    always = {"n": 5, "order": [2, 0], "shape": (5, 3), "nothing": []}
    assert [step.counters for step in traced.history("x")[1:]] == [
        always | {"i": i, "block": slice(i, i + 2)} for i in (0, 2, 4)
    ]
    assert traced.history("y")[0].counters == always | {"i": 4, "block": slice(4, 6)}


def test_counters_of_variant_1_say_which_cell_was_written():
    traced = trace(attention_loops, *inputs(1))
    sizes = {"T_q": T_Q, "T_k": T_K, "d_k": D_MODEL, "d_v": D_MODEL}
    _, *writes = traced.history("scores")
    assert [step.counters for step in writes] == [sizes | {"i": i, "j": j} for i in range(T_Q) for j in range(T_K)]
    for step in writes:
        assert step.changed.nonzero().tolist() == [[step.counters["i"], step.counters["j"]]]
    assert all(step.counters == {} for step in traced.assignments[:3])


def test_counters_of_the_tiled_version_say_which_block():
    blocks = [step.counters["block"] for step in trace(attention_tiled, *tiled_inputs()).history("exp")]
    assert blocks == [slice(0, 4), slice(4, 8)]


def test_what_is_no_whole_number_is_no_counter():
    def others(x):
        several, mixed, words = [1, 2.0], [x, 1], ["a"]
        flag, nested, number = True, [(1, 2), [3]], 1.0
        y = x + len(several) + len(mixed) + len(words) + flag + number
        return y, nested

    assert trace(others, torch.ones(2)).history("y")[0].counters == {"nested": [(1, 2), [3]]}


def test_counters_are_copies_that_nothing_later_changes():
    def collect(x):
        order, parts = [], []
        for i in range(3):
            y = x * i
            order.append(i)
            parts.append(y)
        return order, parts

    seen = [step.counters for step in trace(collect, torch.ones(2)).history("y")]
    assert [counters["order"] for counters in seen] == [[], [0], [0, 1]]
    assert [counters.get("parts") for counters in seen] == [[], None, None]  # tensors are no counters
