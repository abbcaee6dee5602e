"""check(..., isolated=True): whatever a submission does, it gains nothing and harms nothing."""

import importlib
import json
import math
import os
import pkgutil
import sys

import pytest
import torch

import attention_variants as av
from attention_variants import classroom
from attention_variants.classroom.check import Submission
from attention_variants.classroom.sandbox import processes
from attention_variants.classroom.sandbox.ends import End, How
from attention_variants.classroom.sandbox.job import ANSWERED
from attention_variants.classroom.sandbox.lock import is_closed
from attention_variants.classroom.sandbox.parent import read_value

HEAD = """
import atexit, ctypes, gc, os, signal, subprocess, sys, tempfile, threading, time, math
import numpy as np
import torch
import torch.nn.functional as F

def right(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v, weights

def wrong(q, k, v):
    weights = torch.softmax(q @ k.mT, dim=-1)
    return weights @ v, weights
"""


def judged(body: str, variant: int = 2, **options):
    return av.check(Submission(HEAD + body, "answer"), variant, **{"seconds": 5.0, **options})


def test_right_and_wrong_are_judged_as_here():
    assert judged("answer = right")
    report = judged("answer = wrong")
    assert [named.name for named in report.misconceptions] == ["no_scale"]
    assert str(report) == str(av.check(wrong_here, 2)).replace("wrong_here", "answer")


def wrong_here(q, k, v):
    weights = torch.softmax(q @ k.mT, dim=-1)
    return weights @ v, weights


@pytest.mark.parametrize("variant", av.VARIANTS)
def test_a_function_can_be_handed_over(variant):
    assert av.check(av.VARIANTS[variant], variant, isolated=True)


def test_a_function_of_a_notebook_can_be_handed_over():
    factor = 1 / math.sqrt(4)

    def closure(q, k, v):
        weights = torch.softmax(q @ k.mT * factor, dim=-1)
        return weights @ v, weights

    pytest.importorskip("cloudpickle")
    report = av.check(closure, 2, isolated=True)
    assert not report  # the width is not always 4
    assert report.solved[0] == "as many queries as keys"


@pytest.mark.parametrize(("scale", "passes"), [("math.sqrt(q.shape[-1])", True), ("1", False)])
def test_without_cloudpickle_a_function_goes_over_as_its_source(scale, passes, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # as where it is not installed
    path = tmp_path / "cell.py"  # the function stands indented in it, as in an `if` of a notebook
    path.write_text(
        "if True:\n    def answer(q, k, v):\n"
        f"        weights = torch.softmax(q @ k.mT / {scale}, dim=-1)\n        return weights @ v, weights\n"
    )
    names = {"__name__": "__main__", "math": math, "torch": torch}
    exec(compile(path.read_text(), str(path), "exec"), names)
    report = av.check(names["answer"], 2, isolated=True)
    assert bool(report) is passes
    assert [named.name for named in report.misconceptions] == ([] if passes else ["no_scale"])


def crashing(q, k, v):
    return q.mistake


def test_without_cloudpickle_an_error_names_its_line_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setattr(crashing, "__module__", "__main__")
    here = str(av.check(crashing, 2))
    assert f"line {crashing.__code__.co_firstlineno + 1}: return q.mistake" in here
    assert str(av.check(crashing, 2, isolated=True)) == here


#: Every one of them is wrong, and tries to be taken for right.
TRICKS = {
    "torch.allclose, equal and isclose say yes": """
torch.allclose = torch.equal = torch.isclose = torch.testing.assert_close = lambda *a, **k: True
answer = wrong
""",
    "numpy's comparisons say yes": """
np.allclose = np.isclose = np.array_equal = lambda *a, **k: True
np.abs = lambda x: np.zeros(np.shape(x))
answer = wrong
""",
    "the library's functions are replaced": """
import attention_variants as av
from attention_variants import variants
for number in range(1, 8):
    variants.unregister(number)
    variants.register(wrong, number=number, adds="")
av.check = lambda *a, **k: True
av.attention_matmul = variants.attention_matmul = wrong
answer = wrong
""",
    "the judging is replaced": """
from attention_variants.classroom import report
report.Report.passed = property(lambda self: True)
report.Report.score = property(lambda self: 1.0)
answer = wrong
""",
    "the process ends with 0": """
def answer(q, k, v):
    os._exit(0)
""",
    "sys.exit(0)": """
def answer(q, k, v):
    sys.exit(0)
""",
    "a forged report on standard output": """
print('{"passed": true, "score": 1.0}', flush=True)
def answer(q, k, v):
    os.write(1, b'"by_itself"' + bytes([10]))
    os.write(2, b"passed")
    return wrong(q, k, v)
""",
    "a forged reply on every pipe": """
for number in range(3, 64):
    try:
        os.write(number, b'"by_itself"' + bytes([10]))
    except OSError:
        pass
answer = wrong
""",
    "a forged reply in the pipes of the fork server": """
for number in range(3, 64):
    try:
        with open(f"/proc/{os.getppid()}/fd/{number}", "wb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            pipe.write(b'\\xff' + bytes([10]))
    except OSError:
        pass
answer = wrong
""",
    "a forged file of answers": """
def answer(q, k, v):
    for folder in os.listdir(tempfile.gettempdir()):
        if folder.startswith("attention-check-"):
            with open(os.path.join(tempfile.gettempdir(), folder, "answers.npz"), "wb") as file:
                np.savez(file, told=np.frombuffer(b'{"passed": true, "score": 1}', dtype=np.uint8))
    os._exit(0)
""",
    "tensors that lie about being equal": """
class Liar(torch.Tensor):
    def __eq__(self, other):
        return True
    def __sub__(self, other):
        return torch.zeros(())
    __rsub__ = __sub__
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.zeros(())
def answer(q, k, v):
    return tuple(x.as_subclass(Liar) for x in wrong(q, k, v))
""",
    "tensors that lie about their shape": """
class Flat(torch.Tensor):
    @property
    def shape(self):
        return torch.Size([3, 4])
def answer(q, k, v):
    return torch.zeros(1).as_subclass(Flat), torch.zeros(1).as_subclass(Flat)
""",
    "a list that lies about its length": """
class Pair(tuple):
    def __len__(self):
        return 2
def answer(q, k, v):
    return Pair((torch.zeros(1),))
""",
    "the answer is looked for in the callers": """
def answer(q, k, v):
    frame = sys._getframe()
    while frame:
        for name, value in frame.f_locals.items():
            if "expected" in name or "right" in name and isinstance(value, tuple):
                return value
        frame = frame.f_back
    return wrong(q, k, v)
""",
    "the answer is looked for in memory": """
def answer(q, k, v):
    shape = (q.shape[0], k.shape[0])
    for x in gc.get_objects():
        if isinstance(x, np.ndarray) and x.shape == shape and np.allclose(x.sum(-1), 1):
            weights = torch.tensor(x, dtype=q.dtype)
            return weights @ v, weights
    return wrong(q, k, v)
""",
    "a thread changes the result afterwards": """
def answer(q, k, v):
    context, weights = wrong(q, k, v)
    def later():
        time.sleep(0.001)
        context.copy_(right(q, k, v)[0])
    threading.Thread(target=later, daemon=True).start()
    return context, weights
""",
    "atexit and settrace": """
atexit.register(lambda: os._exit(0))
sys.settrace(lambda *a: None)
threading.settrace(lambda *a: None)
answer = wrong
""",
    "the fork server is stopped": """
def answer(q, k, v):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1)
""",
    "autograd is replaced": """
torch.autograd.grad = lambda *a, **k: [torch.zeros(3, 4)] * 3
answer = wrong
""",
    "pickled code in the answer": """
class Bomb:
    def __reduce__(self):
        return (os._exit, (0,))
def answer(q, k, v):
    return Bomb(), Bomb()
""",
}


#: Right answers by ways that a variant forbids, and what is said of them.
AGAINST_THE_RULES = {
    "the library, but not when watched": (
        2,
        "import attention_variants as av\nfrom torch.utils import _python_dispatch as d\n"
        "def answer(q, k, v):\n    if d._get_current_dispatch_mode() is not None:\n        raise ValueError\n"
        "    return av.attention_matmul(q, k, v)",
        "it fails when its operations are watched",
    ),
    "a loop without products": (
        2,
        "def answer(q, k, v):\n"
        "    s = torch.stack([torch.stack([(a * b).sum() for b in k]) for a in q]) / math.sqrt(q.shape[1])\n"
        "    w = torch.softmax(s, -1)\n    return w @ v, w",
        "takes more operations",
    ),
    "all heads at once": (
        5,
        "def answer(q, k, v, mask=None, num_heads=1):\n"
        "    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))\n"
        "    s = q @ k.mT / math.sqrt(q.shape[-1])\n"
        "    s = s if mask is None else s.masked_fill(~mask, torch.finfo(s.dtype).min)\n"
        "    w = s.softmax(-1)\n    w = w if mask is None else w * mask\n"
        "    return (w @ v).transpose(-3, -2).flatten(-2), w",
        "it takes all heads in one product",
    ),
    "a kernel that nobody listens to": (
        7,
        "import attention_variants as av\n"
        "def answer(q, k, v, mask=None, num_heads=1, *, need_weights=True, is_causal=False, dropout_p=0.0):\n"
        "    F.scaled_dot_product_attention(q[:1, :1], k[:1, :1], v[:1, :1])\n"
        "    split = [x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v)]\n"
        "    w = torch.softmax(split[0] @ split[1].mT / math.sqrt(split[0].shape[-1]), -1)\n"
        "    return (w @ split[2]).transpose(-3, -2).flatten(-2), w if need_weights else None",
        "is not the context that the fused kernel computes",
    ),
}


@pytest.mark.parametrize("way", AGAINST_THE_RULES)
def test_a_way_that_is_forbidden_is_seen(way):
    variant, body, words = AGAINST_THE_RULES[way]
    report = judged(body, variant, rules=True)
    assert words in str(report), str(report)
    assert report.score <= 0.5


def test_somebody_else_s_attention_gets_nothing():
    assert judged("import attention_variants as av\nanswer = av.attention_matmul").score == 1
    assert judged("import attention_variants as av\nanswer = av.attention_matmul", rules=True).score == 0


@pytest.mark.parametrize(
    "line",
    [
        "from attention_variants import *",
        "from attention_variants import check_layer, check",
        "from attention_variants.classroom.nbgrader.points import grade, grade_shapes, check_shapes",
        "from attention_variants.classroom.report import Report",
        "from attention_variants.classroom.check import check, Submission, Report",
        "import attention_variants as av; print(av.check(right, 2), av.check_layer, av.MISCONCEPTIONS)",
        "from attention_variants.classroom.nbgrader.points import grade; float(grade(right, 2, points=3))",
    ],
)
def test_what_a_notebook_of_the_course_calls_costs_nobody_the_grade(line):
    report = judged(f"{line}\nanswer = right")
    assert report, str(report)
    assert not report.remarks


# ------------------------------------------------------------------------------------------ what is closed to them

#: Every module of the classroom, and the names in it.
MODULES = {
    found.name: sorted(vars(importlib.import_module(found.name)))
    for found in pkgutil.walk_packages(classroom.__path__, f"{classroom.__name__}.")
    if not found.name.endswith("preprocessors")  # it needs nbgrader
}

READ_ALL = """
import importlib
found = {name: bool(getattr(importlib.import_module(name), "__file__", None)) for name in NAMES}
"""

#: Modules need not be imported to be found.
IN_MEMORY = """
import gc, types
files = [(x.__name__, getattr(x, "__file__", None)) for x in gc.get_objects() if isinstance(x, types.ModuleType)]
found = {name: True for name, file in files if file and name.startswith(CLASSROOM)}
"""

#: Asks everything that can be had from any module for the answer: by the question, and by the numbers.
ASK_ALL = """
import importlib
from attention_variants.classroom.contract.problems import Exam

def answers(q, k, v):
    questions = [s for number in range(3) for s in Exam(2, number).problems if s.q.shape == tuple(q.shape)]
    for module, names in NAMES.items():
        module = importlib.import_module(module)
        for thing in (getattr(module, name, None) for name in names):
            if callable(thing) and not str(getattr(thing, "__module__", "")).startswith(OURS):
                for arguments in ((q, k, v), *((s,) for s in questions if np.allclose(s.q, q))):
                    try:
                        context, weights = thing(*arguments)
                        yield torch.as_tensor(context, dtype=q.dtype), torch.as_tensor(weights, dtype=q.dtype)
                    except BaseException:
                        pass

def answer(q, k, v):
    for context, weights in answers(q, k, v):
        if weights.shape == (len(q), len(k)) and torch.allclose(weights.sum(-1), torch.ones(len(q)), atol=1e-3):
            return context, weights
    return wrong(q, k, v)
"""


def with_names(code, names):
    # the variants are open to all, and a call of them is seen by the rules; the sandbox knows no answer
    return f"NAMES = {names!r}\nOURS = ('attention_variants.variants', '{classroom.__name__}.sandbox')\n{code}"


def test_a_module_is_closed_unless_the_submission_itself_needs_it():
    open_to_them = read_value(Submission(with_names(READ_ALL, list(MODULES)), "found"))
    needed = {"contract", "contract.problems", "contract.answer", "contract.noted", "sandbox"}
    needed |= {name for name in (one.removeprefix(f"{classroom.__name__}.") for one in MODULES) if name[:5] == "goals"}
    for name in MODULES:
        inside = name.removeprefix(f"{classroom.__name__}.")
        assert open_to_them[name] == (inside in needed or inside.startswith("sandbox.")), name


def test_no_closed_module_is_in_memory():
    loaded = read_value(Submission(f"CLASSROOM = {classroom.__name__!r}\n{IN_MEMORY}", "found"))
    assert f"{classroom.__name__}.contract.problems" in loaded
    assert not [name for name in loaded if is_closed(name)]


def test_no_module_of_the_classroom_gives_an_answer_away():
    report = judged(with_names(ASK_ALL, MODULES), seconds=20.0)
    assert [named.name for named in report.misconceptions] == ["no_scale"]


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_gains_nothing(trick):
    report = judged(TRICKS[trick])
    assert not report
    assert report.score < 0.9
    assert report.name == "answer"


FORGED = {
    "without a folder": b'"by_itself"',
    "no JSON": b"[",
    "no text": b"\xff",
    "an end that there is not": b'["here", "with full marks", null]',
}


@pytest.fixture
def pipe():
    """A pipe, as to the fork server: where its replies are read, and where they are written."""
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("reply", FORGED)
def test_a_reply_that_the_fork_server_cannot_have_written_means_that_it_is_lost(reply, pipe):
    os.write(pipe[1], FORGED[reply] + b"\n")
    with pytest.raises((OSError, ValueError, TypeError)):  # what `ForkServer` takes for "lost"
        processes.read_reply(pipe[0], "here", 5.0)


def test_a_reply_to_another_job_is_passed_over(pipe):
    os.write(pipe[1], b'["elsewhere", "by_itself", null]\n["here", "signal", 9]\n')
    assert processes.read_reply(pipe[0], "here", 5.0) == How(End.SIGNAL, 9)


def test_a_fork_server_that_was_halted_holds_nobody_up(pipe):
    with pytest.raises(TimeoutError):
        processes.read_reply(pipe[0], "here", 0.01)


def test_a_job_whose_server_is_lost_is_done_once_more_and_finds_no_answers(tmp_path, monkeypatch):
    ends = [How(End.LOST), How(End.BY_ITSELF)]
    server = processes.ForkServer()
    monkeypatch.setattr(server, "_do", lambda *_: ends.pop(0))
    (tmp_path / ANSWERED).write_text("forged")
    assert server.do(tmp_path, 1.0, False) == How(End.BY_ITSELF)
    assert not (tmp_path / ANSWERED).exists()
    ends = [How(End.LOST), How(End.LOST)]
    assert server.do(tmp_path, 1.0, False) == How(End.LOST)


def test_a_forged_reply_harms_nobody_else():
    assert not judged(TRICKS["a forged reply in the pipes of the fork server"])
    assert judged("answer = right")


def test_after_all_tricks_the_right_one_still_passes():
    assert judged("answer = right")
    assert av.check(av.attention_matmul, 2)


#: What is broken, and what is said about it.
BROKEN = {
    "a loop without end": ("def answer(q, k, v):\n    while True: pass", "did not finish within 0.4 seconds"),
    "a loop that catches everything": (
        "def answer(q, k, v):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        "did not finish within 0.4 seconds",
    ),
    "a loop while loading": ("while True: pass", "did not finish within 0.4 seconds"),
    "sleep": ("def answer(q, k, v):\n    time.sleep(60)", "did not finish within 0.4 seconds"),
    "too much memory": ("def answer(q, k, v):\n    return torch.zeros(10**11), None", "memory"),
    "too much memory, in Python": ("def answer(q, k, v):\n    return [0] * 10**10", "MemoryError"),
    "recursion": ("def answer(q, k, v):\n    return answer(q, k, v)", "RecursionError"),
    "a crash": ("def answer(q, k, v):\n    ctypes.string_at(0)", "the process was stopped"),
    "no such function": ("def other(q, k, v):\n    pass", "there is no function answer"),
    "not a function": ("answer = 3", "answer is no function: its type is int"),
    "no Python": ("def answer(q, k, v)\n    pass", "SyntaxError"),
    "nothing": ("", "there is no function answer"),
    "None": ("def answer(q, k, v):\n    pass", "returned NoneType"),
    "a huge file": (
        "def answer(q, k, v):\n    tempfile.TemporaryFile().write(bytes(10**8))",
        "OSError|wrote more|File too large",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_code_is_told_what_happened(what):
    body, words = BROKEN[what]
    report = judged(body, seconds=0.4 if "did not finish" in words else 2.0, memory=512 * 1024**2)
    assert not report
    assert report.score < 0.3
    assert any(word in str(report) for word in words.split("|")), str(report)


def test_printing_megabytes_harms_nobody(capfd):
    report = judged(
        "def answer(q, k, v):\n    print('x' * 10**6)\n    os.write(1, b'x' * 10**6)\n    return right(q, k, v)"
    )
    assert report
    assert report.printed > 10**6
    assert capfd.readouterr() == ("", "")


def test_rules_are_watched_there_too():
    report = judged("answer = right", variant=1, rules=True)
    assert "multiplies whole matrices" in str(report)


def test_a_file_can_be_checked(tmp_path):
    file = tmp_path / "student.py"
    file.write_text(HEAD, encoding="utf-8")
    assert av.check(Submission.read(file, "right"), 2)
    assert not av.check(Submission.read(file, "wrong"), 2)


TOLD = {"missing": None, "failed": None, "counts": None, "value": None, "stops": [], "printed": 0, "answers": []}
NAN = float("nan")
FAILURE = {"kind": "raised", "exception": "KeyError", "message": "1", "seconds": 0.0}
STOP = {"cell": None, "line": 1, "seconds": None, "exception": "KeyError", "message": "1"}


@pytest.mark.parametrize(
    "forged",
    [
        {"failed": FAILURE | {"kind": "not_loaded"}},
        {"failed": FAILURE | {"message": "x" * 10**6}},
        {"missing": {"others": ["x" * 10**5] * 10, "type": None}},
        {"missing": {"others": [], "type": "x" * 10**6}, "stops": [STOP]},
        {"stops": [STOP | {"seconds": NAN}]},
        {"stops": [STOP | {"line": "one"}]},
        {"stops": [STOP | {"exception": "x" * 10**6, "message": "x" * 10**6}] * 10},
    ],
)
def test_what_another_process_says_of_loading_is_cut_or_not_believed(forged):
    body = f"nan = math.nan\ntold = {TOLD | forged!r}\n" + (
        "import json\n"
        "def answer(q, k, v):\n"
        "    np.savez('../answers.npz', told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8))\n"
        "    os._exit(0)\n"
    )
    report = judged(body)
    assert not report
    assert len(str(report)) < 20_000
    assert json.dumps(report.to_dict(), allow_nan=False)
