"""What helps a beginner to find the place: what was printed, the line that failed, and how the function is called."""

from __future__ import annotations

import functools
import inspect
import json
import linecache
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import attention_variants as av
from attention_variants.classroom import wording
from attention_variants.classroom.check import Submission
from attention_variants.classroom.contract.answer import LONGEST_LINE, MOST_LINES, Failure, Printed
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.report_html import report_html
from attention_variants.classroom.sandbox.limits import MOST_PRINTED
from attention_variants.classroom.sandbox.restore import Output
from attention_variants.classroom.wording import contract

#: What stands for a character that cannot be printed.
ODD = "\N{REPLACEMENT CHARACTER}"
HERE = pytest.mark.parametrize("isolated", [False, True])


def right(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v, weights


def first(report):
    return report.findings[report.to_dict()["first"]]


def line_of(function, text):
    lines, start = inspect.getsourcelines(function)
    return start + next(i for i, line in enumerate(lines) if text in line)


# --------------------------------------------------------------------------------------------------------- prints


def printing(q, k, v):
    print(q.shape)
    print("k", tuple(k.shape), end="")
    return right(q, k, v)


def printing_where_it_fails(q, k, v):
    print(tuple(q.shape), tuple(k.shape))
    if len(q) != len(k):
        print("oblong")
        raise ValueError
    return right(q, k, v)


def printing_much(q, k, v):
    for i in range(25):
        print(i, "x" * 1000 if i == 2 else "")
    return right(q, k, v)


@HERE
def test_what_the_first_call_printed_is_shown(isolated):
    report = av.check(printing, 2, isolated=isolated)
    assert report
    text = str(report).split("\n")
    at = text.index("With as many queries as keys it printed:")
    assert text[at + 1 : at + 3] == ["  torch.Size([3, 4])", "  k (3, 4)"]
    assert text[at + 3].startswith("kept: ")
    assert f"(In all calls together it printed {report.printed} characters.)" in text
    assert report.to_dict()["prints"] == {
        "problem": "square",
        "title": "as many queries as keys",
        "lines": ["torch.Size([3, 4])", "k (3, 4)"],
        "number": 2,
        "is_cut": False,
    }
    assert "torch.Size([3, 4])\nk (3, 4)</pre>" in report._repr_html_()


@HERE
def test_it_is_the_example_that_fails_whose_prints_are_shown(isolated):
    report = av.check(printing_where_it_fails, 2, isolated=isolated)
    assert first(report).problem.key == "fewer_queries"
    assert report.to_dict()["prints"]["lines"] == ["(2, 4) (3, 4)", "oblong"]
    text = str(report)
    assert text.index("it raised ValueError") < text.index("oblong") < text.index("to do:")
    html = report._repr_html_()
    assert html.index("it raised ValueError") < html.index("oblong</pre>") < html.index("What is kept")


@HERE
def test_prints_are_cut_and_the_report_says_so(isolated):
    report = av.check(printing_much, 2, isolated=isolated)
    told = report.to_dict()["prints"]
    assert (len(told["lines"]), told["number"], told["is_cut"]) == (MOST_LINES, 25, True) == (10, 25, True)
    assert told["lines"][2] == "2 " + "x" * (LONGEST_LINE - 6) + " ..."
    assert told["lines"][9].strip() == "9"
    for text in (str(report), report._repr_html_()):
        assert "... (10 of 25 lines are shown)" in text
        assert "\n10 " not in text


def test_prints_of_an_endless_call_are_shown():
    def endless(q, k, v):
        print("before the loop")
        while True:
            pass

    report = av.check(endless, 2, seconds=0.3)
    assert first(report).code == "time"
    assert report.to_dict()["prints"]["lines"] == ["before the loop"]


@HERE
def test_prints_before_what_is_not_written_are_shown(isolated):
    report = av.check(printing_and_not_written, 2, isolated=isolated)
    assert report.not_written
    assert "torch.Size([3, 4])" in str(report)
    assert "torch.Size([3, 4])</pre>" in report._repr_html_()


def printing_and_not_written(q, k, v):
    print(q.shape)
    raise NotImplementedError


@pytest.mark.parametrize(
    ("pieces", "lines", "number"),
    [
        ([], (), 0),
        ([""], (), 0),
        (["a"], ("a",), 1),
        (["a", "b\n"], ("ab",), 1),
        (["a\n", ""], ("a",), 1),
        (["\n", "b"], ("", "b"), 2),
        (["a\tb\r\n\x1b[31mc\ud800"], (f"a   b{ODD}", f"{ODD}[31mc{ODD}"), 2),
        (["x" * LONGEST_LINE], ("x" * LONGEST_LINE,), 1),
        (["x" * (LONGEST_LINE + 1)], ("x" * (LONGEST_LINE - 4) + " ...",), 1),
        (["x\n" * 10**6], ("x",) * MOST_LINES, 10**6),
    ],
)  # fmt: skip
def test_of_what_is_printed_the_beginning_is_kept(pieces, lines, number):
    output = Output()
    for piece in ["what was before\n", *pieces]:
        output.write(piece)
        if piece == "what was before\n":
            output.begin()
    assert output.printed() == Printed(lines, number)
    assert output.count == len("".join(["what was before\n", *pieces]))
    assert len(vars(output)["_text"]) <= MOST_PRINTED


def test_the_prints_of_a_submission_come_from_its_process_and_are_escaped():
    report = av.check(Submission("def f(q, k, v):\n    print('<script>', 1)\n    return q, k", "f"), 2)
    assert report.to_dict()["prints"]["lines"] == ["<script> 1"]
    assert "<script>" not in report._repr_html_()
    assert "&lt;script&gt; 1" in report._repr_html_()


def test_a_layer_prints_too():
    class Layer(av.MultiHeadAttention):
        def forward(self, query, *others, **options):
            print(tuple(query.shape))
            return super().forward(query, *others, **options)

    told = av.check_layer(Layer).to_dict()["prints"]
    assert told["lines"] == ["(2, 3, 8)"]


# --------------------------------------------------------------------------------------------------- the line


def crash(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores.mask_fill(~mask, -1e9)
    weights = torch.softmax(scores, -1)
    return weights @ v, weights


def helper(a, b):
    return a @ b


def crash_in_a_helper(q, k, v):
    s = helper(q, k)
    return s, s


def crash_in_torch(q, k, v):
    weights = torch.softmax(q @ k.mT, dim=-1)
    x = torch.nn.functional.layer_norm(weights, (99,))
    return x, weights


def only_without_gradients(q, k, v):
    context, weights = right(q, k, v)
    context.numpy()
    return context, weights


@HERE
@pytest.mark.parametrize(
    ("function", "variant", "place", "text", "shapes"),
    [
        (crash, 4, crash, "scores.mask_fill(~mask, -1e9)", {"scores": (2, 3, 3), "mask": (3, 3)}),
        (crash_in_a_helper, 2, helper, "return a @ b", {"a": (3, 4), "b": (3, 4)}),
        (crash_in_torch, 2, crash_in_torch, "x = torch.nn.functional.layer_norm(weights, (99,))", {"weights": (3, 3)}),
    ],
)
def test_an_exception_shows_its_line_and_the_shapes_that_met(function, variant, place, text, shapes, isolated):
    report = av.check(function, variant, isolated=isolated)
    where = first(report).numbers["where"]
    assert where == {"line": line_of(place, text), "cell": None, "source": text, "shapes": shapes}
    said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    for shown in (str(report), "\n".join(report.to_dict()["findings"][report.to_dict()["first"]]["lines"])):
        assert f"  line {where['line']}: {text}\n  where {said}" in shown
    assert f"line {where['line']}: " in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))


def test_an_exception_under_autograd_shows_its_line_too():
    report = av.check(only_without_gradients, 2)
    told = next(finding for finding in report.findings if finding.code == "no_gradient")
    assert told.numbers["where"]["source"] == "context.numpy()"
    assert "context (3, 4)" in wording.sentence(told)


CODE = """import torch
def f(q, k, v):
    s = q @ k.T
    print("<b>")

    w = torch.softmax(s, -1); w[0] @ q @ v
    return w @ v, w
"""


def test_a_line_of_a_submission_is_that_of_its_file_or_cell():
    for submission, cell in ((Submission(CODE, "f"), None), (Submission("", "f", "work.ipynb", ("1", CODE)), 2)):
        report = av.check(submission, 2)
        where = first(report).numbers["where"]
        assert (where["line"], where["cell"]) == (6, cell)
        assert where["source"] == "w = torch.softmax(s, -1); w[0] @ q @ v"
        assert list(where["shapes"]) == ["w", "s", "q", "v"]
        assert f"  {'cell 2, ' if cell else ''}line 6: w = torch" in str(report)


def of_a_cell(code, name="f", file="/tmp/ipykernel_1/2.py"):
    """A function as Jupyter makes it: its file does not exist, and its source is known to linecache."""
    names = {"__name__": "__main__"}
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    exec(compile(code, file, "exec"), names)
    return names[name]


@HERE
def test_a_line_of_a_cell_in_jupyter(isolated):
    report = av.check(of_a_cell(CODE), 2, isolated=isolated)
    assert "  line 6: w = torch.softmax(s, -1); w[0] @ q @ v\n  where w (3, 3), s (3, 3), q (3, 4), v (3, 4)" in str(
        report
    )


@HERE
def test_code_without_a_source_has_its_line_number(isolated):
    names = {}
    exec("def f(q, k, v):\n    return q @ k", names)
    report = av.check(names["f"], 2, isolated=isolated)
    assert "  in line 2\n" in str(report)
    assert "where" not in str(report)


def test_an_error_in_the_library_alone_has_no_line():
    report = av.check(av.attention_loops, 3)
    assert "where" not in first(report).numbers
    assert first(report).code == "raised"


def test_a_file_beside_the_package_is_a_students():
    beside = f"{Path(av.__file__).parent}_of_mine.py"
    assert first(av.check(of_a_cell(CODE, file=beside), 2)).numbers["where"]["line"] == 6


def test_the_same_line_is_told_once():
    report = av.check(crash, 4)
    assert str(report).count("scores.mask_fill(~mask") == 1


def test_a_tensor_that_lies_about_its_shape_is_seen_through():
    class Liar(torch.Tensor):
        @property
        def shape(self):
            raise SystemExit

        def size(self):
            raise SystemExit

    def f(q, k, v):
        q = q.as_subclass(Liar)
        return q.mistake + k

    assert first(av.check(f, 2)).numbers["where"]["shapes"] == {"q": (3, 4), "k": (3, 4)}


WHERE = {"line": 3, "cell": None, "source": "s = q @ k", "shapes": {"q": [3, 4]}}
RAISED = {"kind": "raised", "exception": "E", "message": "m", "seconds": 0.0, "more": {"where": WHERE}}
SIGNATURE = RAISED | {"kind": "signature", "more": {"of": "variant", "variant": 4, "call": "f(q)", "takes": "(q)"}}


def test_what_another_process_says_of_a_line_is_cut_or_not_believed():
    assert Failure.from_dict(RAISED).more["where"] == WHERE | {"shapes": {"q": (3, 4)}}
    long = WHERE | {"source": "x\x1b" * 10**5, "shapes": {f"{i}" + "q" * 10**5: [1] * 10**5 for i in range(100)}}
    assert len(str(Failure.from_dict(RAISED | {"more": {"where": long}}).numbers)) < 5_000
    for bad in (
        {"line": "3"},
        {"line": 1e300},
        {"line": 2**60},
        {"cell": "1"},
        {"shapes": {"q": [0.5]}},
        {"line": True},
    ):
        with pytest.raises(ValueError, match="a whole number was expected"):
            Failure.from_dict(RAISED | {"more": {"where": WHERE | bad}})
    assert Failure.from_dict(SIGNATURE).to_dict() == SIGNATURE
    with pytest.raises(ValueError, match="a signature is one of"):
        Failure.from_dict(SIGNATURE | {"more": SIGNATURE["more"] | {"of": "x"}})
    assert Failure.from_dict(RAISED | {"kind": "time"}).more == {}


def test_what_another_process_says_it_printed_is_cut_or_not_believed():
    told = Printed.from_dict({"lines": ["x" * 10**6] * 100, "number": 3})
    assert (len(told.lines), told.number, len(told.lines[0])) == (MOST_LINES, MOST_LINES, LONGEST_LINE)
    with pytest.raises(ValueError, match="a whole number was expected"):
        Printed.from_dict({"lines": [], "number": "many"})
    body = (
        "import json, os, numpy as np\ndef f(q, k, v):\n"
        "    said = {'error': None, 'returned': 'x', 'length': None, 'kinds': {}, 'sizes': {}, 'unreadable': {},\n"
        "            'no_gradient': None, 'printed': {'lines': ['y' * 10**3] * 500, 'number': 7}}\n"
        "    told = dict.fromkeys(('missing', 'failed', 'counts', 'value')) | {'stops': [], 'printed': 0}\n"
        "    told['lacks'] = []\n"
        "    told['answers'] = [said] * 9\n"
        "    np.savez('../answers.npz', told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8))\n"
        "    os._exit(0)\n"
    )
    report = av.check(Submission(body, "f"), 2)
    assert not report
    assert len(json.dumps(report.to_dict())) < 60_000
    assert max(map(len, report.to_dict()["prints"]["lines"])) == LONGEST_LINE


# ---------------------------------------------------------------------------------------------- the signature


def too_few(q, k, v):
    raise AssertionError("it is not run")


def too_many(q, k, v, mask, num_heads):
    raise AssertionError("it is not run")


def all_named(q, k, v, *, mask=None):
    raise AssertionError("it is not run")


@HERE
@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (too_few, "(q, k, v)"),
        (too_many, "(q, k, v, mask, num_heads)"),
        (all_named, "(q, k, v, *, mask=...)"),
    ],
)
def test_a_wrong_signature_is_met_with_the_right_one(function, takes, isolated):
    report = av.check(function, 4, isolated=isolated)
    assert {finding.code for finding in report.findings} == {"signature"}
    assert first(report).numbers["takes"] == takes
    sentence = f"variant 4 is called as f(q, k, v, mask); this function takes {takes}"
    assert sentence in str(report)
    assert sentence in report._repr_html_()


def test_the_options_of_variant_7_are_named():
    def function(q, k, v, mask=None, num_heads=1, *, causal=False, need_weights=True, dropout_p=0.0):
        return av.multihead_attention_fused(q, k, v, mask, num_heads, need_weights=need_weights, dropout_p=dropout_p)

    report = av.check(function, 7)
    assert first(report).problem.key == "is_causal"
    assert "signature" in {finding.code for finding in report.findings}
    call = "f(q, k, v, mask, num_heads, is_causal=..., need_weights=..., dropout_p=...)"
    assert f"variant 7 is called as {call}; this function takes (q, k, v, mask=..., " in str(report)
    assert "num_heads=..., *, causal=..., need_weights=..., dropout_p=...)" in str(report)


@pytest.mark.parametrize("variant", av.VARIANTS)
def test_each_variant_can_be_called_as_is_said(variant):
    names = Exam(variant).call.removeprefix("f(").removesuffix(")").split(", ")
    taken = inspect.signature(av.VARIANTS[variant]).parameters
    assert {name.removesuffix("=...") for name in names} == set(taken)
    positional = [name for name in names if not name.endswith("=...")]
    assert positional == [name for name, one in taken.items() if one.kind is not one.KEYWORD_ONLY]


def passes_all_on(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments[:3])

    return wrapper


class WithAnotherSignature:
    __signature__ = inspect.Signature()

    def __call__(self, q, k, v):
        return right(q, k, v)


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(lambda scale, q, k, v: right(q, k, v), 1.0),
        WithAnotherSignature(),
        lambda *arguments: right(*arguments),
        lambda q, k, v, mask=None: right(q, k, v),
        passes_all_on(right),
    ],
)
def test_right_code_passes_whatever_its_signature_looks_like(function):
    assert av.check(function, 2)


def test_what_stands_around_a_function_is_asked_and_not_the_function():
    def of_one(pack):
        raise AssertionError

    @functools.wraps(of_one)
    def wrapper(q, k, v):
        return right(q, k, v)

    assert av.check(wrapper, 2)


class LayerOfOne(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        for name in ("w_q", "w_k", "w_v", "w_o"):
            setattr(self, name, nn.Linear(d_model, d_model))

    def forward(self, x):
        return x, x


class LayerMadeOtherwise(LayerOfOne):
    def __init__(self, d_model, num_heads, dropout):
        super().__init__(d_model, num_heads)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (LayerOfOne, "the layer is called as layer(query, key, value, mask); this one takes (x)"),
        (
            LayerMadeOtherwise,
            "a layer is made as Layer(d_model, num_heads); this class takes (d_model, num_heads, dropout)",
        ),
    ],
)
def test_a_layer_is_told_what_it_is_called_like(layer, sentence):
    assert sentence in str(av.check_layer(layer))
    source = inspect.getsource(LayerOfOne) + (inspect.getsource(layer) if layer is not LayerOfOne else "")
    submission = Submission(f"from torch import nn\n{source}", layer.__name__)
    assert sentence in str(av.check_layer(submission))


# ------------------------------------------------------------------------------------- nothing ran, and the parts


def wrong_shapes(q, k, v):
    return q[None], k[None]


@pytest.mark.parametrize(
    ("function", "variant", "words"),
    [
        (too_few, 4, "No problem came to its end: nothing of the contract could be looked at yet."),
        (wrong_shapes, 2, "No part of the contract is kept yet."),
    ],
)
def test_where_nothing_is_kept_there_is_one_line_and_no_empty_bars(function, variant, words):
    report = av.check(function, variant)
    assert report.score == 0
    assert str(report).split("\n")[-1] == words
    html = report._repr_html_()
    assert words in html
    assert "0% of" not in html
    assert "What is kept of the contract" not in html


def test_a_part_explains_itself():
    report = av.check(crash, 4)
    text, html = str(report), report._repr_html_()
    for part, (kept, _) in report.parts.items():
        about = contract.ABOUT_PARTS[part]
        name = wording.PARTS[part]
        assert (f"\n  {name}: {about}" in text) == (kept < 1)
        assert f'<abbr title="{about}">{name}</abbr>' in html
        assert (f">{about[0].upper()}{about[1:]}</p>" in html) == (kept < 1)
        assert report.to_dict()["parts"][part]["about"] == about


def test_a_report_carries_its_style_in_its_elements():
    """JupyterLab takes style sheets from the output of a notebook that it does not trust."""
    for report in (av.check(crash, 4), av.check(printing, 2)):
        html = report_html(report.to_dict())
        assert "<style" not in html
        assert "var(" not in html
        assert "color-mix" not in html
        assert html.count('style=""') == 0
        assert html.count("<p>") == html.count("<pre>") == 0
