"""What the notebooks of the course call: the points for a piece of work, with the report that explains them.

``grade(attention_masked, 4, points=3)`` is the last line of a cell that nbgrader reads, and its value is the grade.
Students run some of these cells themselves, on the problems that are known; the others are hidden from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.classroom.check import Report, Submission, check
from attention_variants.classroom.check_layer import check_layer
from attention_variants.classroom.sandbox.parent import read_value
from attention_variants.lab.plots.colors import COLORS

#: The assignment after the seven variants: the layer.
LAYER = 8

#: The sizes in the warm-up of every assignment.
SIZES = {"B": 3, "T_q": 5, "T_k": 7, "d_k": 8, "d_v": 6, "d_model": 8, "num_heads": 2}


class Points(float):
    """A number of points that shows, in a notebook and in the feedback, the report that it comes from.

    Parameters
    ----------
    value : float
        The points.
    of : float
        How many there could have been.
    report : Report or ShapesReport
        Why.
    """

    report: Report | ShapesReport
    of: float

    def __new__(cls, value: float, of: float, report: Report | ShapesReport) -> Points:
        """Make the number, to hundredths."""
        points = super().__new__(cls, round(value, 2))
        points.report, points.of = report, of
        return points

    def _repr_html_(self) -> str:
        return f"<p><b>{self:g} of {self.of:g} points</b></p>{self.report._repr_html_()}"


def grade(
    work: Callable | Submission,
    variant: int,
    *,
    points: float,
    exam: int = 0,
    rules: bool = True,
    whole: bool = False,
) -> Points:
    """Give points for an implementation of a variant.

    Parameters
    ----------
    work : callable or Submission
        The function. A `Submission` is run in a process of its own.
    variant : int
        1 to 7.
    points : float
        For all that the contract asks.
    exam : int, default 0
        Which problems, as in `check`: a number that students do not know.
    rules : bool, default True
        Whether it must be done the variant's way.
    whole : bool, default False
        Whether there are points only if all is right, as for code that was nearly right to begin with.

    Returns
    -------
    points : Points
        A float: the share of the contract that is kept, of the points.
    """
    report = check(work, variant, exam=exam, rules=rules)
    share = float(report.passed) if whole else report.score
    return Points(share * points, points, report)


def grade_layer(work: Callable[..., nn.Module] | Submission, *, points: float, exam: int = 0) -> Points:
    """Give points for the multi-head layer.

    Parameters
    ----------
    work : type or Submission
        The class.
    points : float
        For all that the layer promises.
    exam : int, default 0
        Which problems its heads get.

    Returns
    -------
    points : Points
    """
    report = check_layer(work, exam=exam, rules=True)
    return Points(report.score * points, points, report)


def grade_shapes(answers: Mapping[str, Any] | Submission, assignment: int, *, points: float) -> Points:
    """Give points for the warm-up.

    Parameters
    ----------
    answers : dict or Submission
        What stands beside each name. A `Submission` is run in a process of its own, which hands the dict back.
    assignment : int
        1 to 8.
    points : float
        For all shapes.

    Returns
    -------
    points : Points
    """
    report = check_shapes(_read(answers) if isinstance(answers, Submission) else answers, assignment)
    return Points(report.score * points, points, report)


# ------------------------------------------------------------------------------------- the warm-up: shapes on paper


@dataclass(frozen=True, repr=False)
class ShapesReport:
    """Which shapes of a warm-up are right; of the others, what is odd about them and not what is right.

    Attributes
    ----------
    said : dict
        Name to what is said of it; empty for what is right.
    """

    said: dict[str, str]

    @property
    def score(self) -> float:
        """The share that is right."""
        return sum(not words for words in self.said.values()) / len(self.said)

    def __bool__(self) -> bool:
        return self.score == 1

    def _lines(self) -> list[tuple[str, str]]:
        return [("✗" if words else "✓", f"{name}: {words or 'right'}") for name, words in self.said.items()]

    def __repr__(self) -> str:
        return "\n".join(f"{sign} {line}" for sign, line in self._lines())

    def _repr_html_(self) -> str:
        colours = {"✓": COLORS["v"], "✗": COLORS["q"]}
        return "".join(
            f'<div style="border-left: 4px solid {colours[sign]}; padding: 1px 12px;">{sign} {escape(line)}</div>'
            for sign, line in self._lines()
        )


def check_shapes(answers: Mapping[str, Any], assignment: int) -> ShapesReport:
    """Hold shapes that were found on paper against those of the running code.

    Parameters
    ----------
    answers : dict
        Name to shape, a tuple; `None` where there is no such tensor, and ``...`` where nothing is written yet.
    assignment : int
        1 to 7 for the variants, 8 for the layer.

    Returns
    -------
    report : ShapesReport
        True if all are right.

    Raises
    ------
    ValueError
        If there is no such assignment.
    """
    return ShapesReport({name: _said(name, answers, shape) for name, shape in expected_shapes(assignment).items()})


def _said(name: str, answers: Mapping[str, Any], expected: tuple[int, ...] | None) -> str:
    found = answers.get(name, ...) if isinstance(answers, Mapping) else ...
    found = tuple(found) if isinstance(found, (list, tuple)) else found
    if found == expected and not isinstance(found, bool):
        return ""
    if found is ...:
        return "nothing is written there yet"
    if found is None:
        return "there is such a tensor"
    if isinstance(found, int):
        return f"{found} is a number; a shape is a tuple, even of one number: ({found},)"
    if not isinstance(found, tuple):
        return f"{str(found)[:40]} is not a shape; a shape is a tuple such as (3, 4)"
    if expected is None:
        return "is there such a tensor at all? Where there is none, write None"
    if sorted(map(str, found)) == sorted(map(str, expected)):
        return f"{found} has the right numbers in another order"
    if len(found) != len(expected):
        return f"{found} has {len(found)} axes; another number of axes is right"
    return f"{found} is not it; {sum(a == b for a, b in zip(found, expected, strict=True))} of its axes are right"


@lru_cache
def expected_shapes(assignment: int) -> dict[str, tuple[int, ...] | None]:
    """Read the shapes of a warm-up off the running code.

    Parameters
    ----------
    assignment : int
        1 to 7 for the variants, 8 for the layer.

    Returns
    -------
    shapes : dict
        Name to shape; `None` for what does not exist.
    """
    tensors = _tensors(assignment)
    return {name: None if x is None else tuple(x.shape) for name, x in tensors.items()}


def _tensors(assignment: int) -> dict[str, Tensor | None]:
    from attention_variants.lab.code.trace import trace
    from attention_variants.model import MultiHeadAttention, causal_mask, combine_masks, padding_mask
    from attention_variants.variants import VARIANTS

    if assignment not in (*VARIANTS, LAYER):
        raise ValueError(f"check_shapes: there are assignments 1 to {LAYER}; got {assignment!r}.")
    B, T_q, T_k, d_model, num_heads = (SIZES[name] for name in ("B", "T_q", "T_k", "d_model", "num_heads"))
    d_k, d_v = (SIZES["d_k"], SIZES["d_v"]) if assignment <= 4 else (d_model, d_model)
    batch = (B,) if assignment >= 3 else ()
    q, k, v = torch.ones(*batch, T_q, d_k), torch.ones(*batch, T_k, d_k), torch.ones(*batch, T_k, d_v)
    if assignment == LAYER:
        layer = MultiHeadAttention(d_model, num_heads)
        output, weights = layer(q, k, v)
        return {
            "w_q.weight": layer.w_q.weight,
            "w_o.bias": layer.w_o.bias,
            "w_k(key)": layer.w_k(k),
            "weights": weights,
            "output": output,
        }
    mask = None if assignment < 4 else padding_mask([T_k, T_k - 3, T_k - 1])
    if assignment < 4:
        steps = trace(VARIANTS[assignment], q, k, v)
    elif assignment == 4:
        steps = trace(VARIANTS[4], q, k, v, mask)
    else:
        steps = trace(VARIANTS[assignment], q, k, v, None, num_heads)
    found = {name: steps[name] for name in ("scores", "weights", "context")}
    if assignment == 1:
        return {"q[i]": q[0], "scores[i]": steps["scores"][0], **found}
    if assignment == 2:
        return {"k.T": k.T, **found}
    if assignment == 3:
        return {"k.transpose(-2, -1)": k.transpose(-2, -1), **found}
    if assignment == 4:
        masks = {"causal mask": causal_mask(T_q, T_k), "padding mask": mask}
        return {**masks, "both masks together": combine_masks(*masks.values()), **found}
    if assignment == 5:
        return {
            "q of one head": q[..., : d_model // num_heads],
            "scores of one head": steps["scores"],
            "weights": steps["weights"],
            "context": steps["context"],
        }
    if assignment == 6:
        before, split = (step.value for step in steps.history("q")[:2])
        return {
            "q before the split": before,
            "q after the split": split,
            "scores": steps["scores"],
            "context before the merge": steps.history("context")[0].value,
            "context": steps["context"],
        }
    _, no_weights = VARIANTS[7](q, k, v, None, num_heads, need_weights=False)
    return {
        "causal mask": causal_mask(T_q, T_k),
        "weights": steps["weights"],
        "weights with need_weights=False": no_weights,
        "context": steps["context"],
    }


def _read(submission: Submission) -> dict[str, Any]:
    """The dict that a student's cells make, as they made it."""
    value = read_value(submission)
    return {name: _as_written(x) for name, x in value.items()} if isinstance(value, dict) else {}


def _as_written(x: Any) -> Any:
    if isinstance(x, list):
        return tuple(map(_as_written, x))
    if isinstance(x, dict):
        return x.get("text", x)
    return ... if x == "..." else x
