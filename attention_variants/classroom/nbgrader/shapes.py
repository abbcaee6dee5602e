"""The warm-up of an assignment: shapes that are found on paper, held against those of the running code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.report_html import render
from attention_variants.classroom.wording import AROUND, SHAPES, say
from attention_variants.lab.code.trace import trace
from attention_variants.model import (
    MultiHeadAttention,
    causal_mask,
    combine_masks,
    padding_mask,
    sampling_probabilities,
)
from attention_variants.modern import KVCache, apply_rotary, grouped_query_attention
from attention_variants.variants import VARIANTS, takes

#: The sizes in the warm-up of every assignment.
SIZES = {"B": 3, "T_q": 5, "T_k": 7, "d_k": 8, "d_v": 6, "d_model": 8, "num_heads": 2}
#: After the seven: heads of queries that share those of the keys, `SIZES["num_heads"]`; tokens; and how many stay.
HEADS_OF_QUERIES, VOCABULARY, TOP_K = 4, 9, 4


@dataclass(frozen=True, repr=False)
class ShapesReport:
    """Which shapes of a warm-up are right; of the others, what is odd about them and not what is right.

    Attributes
    ----------
    remarks : dict
        Name to what is said of it, a code of `wording.SHAPES` and its numbers; None for what is right.
    """

    remarks: dict[str, Remark | None]

    @property
    def score(self) -> float:
        """The share that is right."""
        return sum(remark is None for remark in self.remarks.values()) / len(self.remarks)

    @property
    def said(self) -> dict[str, str]:
        """Name to what is said of it, in words; empty for what is right."""
        return {name: _words(remark) if remark else "" for name, remark in self.remarks.items()}

    def __bool__(self) -> bool:
        return self.score == 1

    def _lines(self) -> list[tuple[bool, str]]:
        """Whether it is right, and what is said of it."""
        lines = []
        for name, remark in self.remarks.items():
            sign = "✗" if remark else "✓"
            words = _words(remark or Remark("right"))
            lines.append((remark is None, say(AROUND["line"], sign=sign, name=name, words=words)))
        return lines

    def __repr__(self) -> str:
        return "\n".join(line for _, line in self._lines())

    def _repr_html_(self) -> str:
        return render("shapes.html", lines=self._lines())


def _words(remark: Remark) -> str:
    return say(SHAPES[remark.code], **remark.numbers)


def check_shapes(answers: Mapping[str, Any], assignment: int) -> ShapesReport:
    """Hold shapes that were found on paper against those of the running code.

    Parameters
    ----------
    answers : dict
        Name to shape, a tuple; `None` where there is no such tensor, and ``...`` where nothing is written yet.
    assignment : int
        1 to 7 for the variants, 8 for the layer, 9 to 11 for what comes after.

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


def _said(name: str, answers: Mapping[str, Any], expected: tuple[int, ...] | None) -> Remark | None:
    found = answers.get(name, ...) if isinstance(answers, Mapping) else ...
    found = tuple(found) if isinstance(found, (list, tuple)) else found
    if found == expected and not isinstance(found, bool):
        return None
    if found is ...:
        return Remark("nothing_written")
    if found is None:
        return Remark("exists")
    if isinstance(found, int):
        return Remark("number", {"found": str(found)})
    if not isinstance(found, tuple):
        return Remark("no_shape", {"found": str(found)[:40]})
    if expected is None:
        return Remark("does_not_exist")
    if sorted(map(str, found)) == sorted(map(str, expected)):
        return Remark("another_order", {"found": str(found)})
    if len(found) != len(expected):
        return Remark("another_length", {"found": str(found), "length": len(found)})
    right = sum(a == b for a, b in zip(found, expected, strict=True))
    return Remark("other_numbers", {"found": str(found), "right": right})


@lru_cache
def expected_shapes(assignment: int) -> dict[str, tuple[int, ...] | None]:
    """Read the shapes of a warm-up off the running code.

    Parameters
    ----------
    assignment : int
        1 to 7 for the variants, 8 for the layer, 9 to 11 for what comes after.

    Returns
    -------
    shapes : dict
        Name to shape; `None` for what does not exist.
    """
    if assignment not in _WARM_UPS:
        listed = f"{min(_WARM_UPS)} to {max(_WARM_UPS)}"
        raise ValueError(f"check_shapes: there are assignments {listed}; got {assignment!r}.")
    return {name: None if x is None else tuple(x.shape) for name, x in _WARM_UPS[assignment]().items()}


# ------------------------------------------------------------------------------------- what each assignment asks about

_Tensors = dict[str, Tensor | None]


def _inputs(variant: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v as a variant takes them."""
    B, T_q, T_k, d_model = (SIZES[name] for name in ("B", "T_q", "T_k", "d_model"))
    d_k, d_v = (d_model, d_model) if takes(variant, "heads") else (SIZES["d_k"], SIZES["d_v"])
    batch = (B,) if takes(variant, "batch") else ()
    return torch.ones(*batch, T_q, d_k), torch.ones(*batch, T_k, d_k), torch.ones(*batch, T_k, d_v)


def _steps(variant: int, *more: Any) -> Any:
    """What happens in a variant, and its scores, weights and context by name."""
    return trace(VARIANTS[variant], *_inputs(variant), *more)


def _three(steps: Any) -> _Tensors:
    return {name: steps[name] for name in ("scores", "weights", "context")}


def _padding() -> Tensor:
    T_k = SIZES["T_k"]
    return padding_mask([T_k, T_k - 3, T_k - 1])


def _causal() -> Tensor:
    return causal_mask(SIZES["T_q"], SIZES["T_k"])


def _loops() -> _Tensors:
    steps = _steps(1)
    return {"q[i]": _inputs(1)[0][0], "scores[i]": steps["scores"][0], **_three(steps)}


def _matmul() -> _Tensors:
    return {"k.T": _inputs(2)[1].T, **_three(_steps(2))}


def _batched() -> _Tensors:
    return {"k.transpose(-2, -1)": _inputs(3)[1].transpose(-2, -1), **_three(_steps(3))}


def _masked() -> _Tensors:
    masks: _Tensors = {"causal mask": _causal(), "padding mask": _padding()}
    both = combine_masks(*masks.values())
    return {**masks, "both masks together": both, **_three(_steps(4, _padding()))}


def _heads_in_turn() -> _Tensors:
    steps, d_k = _steps(5, None, SIZES["num_heads"]), SIZES["d_model"] // SIZES["num_heads"]
    of_one = {"q of one head": _inputs(5)[0][..., :d_k], "scores of one head": steps["scores"]}
    return {**of_one, "weights": steps["weights"], "context": steps["context"]}


def _heads_at_once() -> _Tensors:
    steps = _steps(6, None, SIZES["num_heads"])
    before, split = (step.value for step in steps.history("q")[:2])
    return {
        "q before the split": before,
        "q after the split": split,
        "scores": steps["scores"],
        "context before the merge": steps.history("context")[0].value,
        "context": steps["context"],
    }


def _fused() -> _Tensors:
    steps = _steps(7, None, SIZES["num_heads"])
    _, no_weights = VARIANTS[7](*_inputs(7), None, SIZES["num_heads"], need_weights=False)
    return {
        "causal mask": _causal(),
        "weights": steps["weights"],
        "weights with need_weights=False": no_weights,
        "context": steps["context"],
    }


def _layer() -> _Tensors:
    layer = MultiHeadAttention(SIZES["d_model"], SIZES["num_heads"])
    q, k, v = _inputs(layer.variant)
    output, weights = layer(q, k, v)
    return {
        "w_q.weight": layer.w_q.weight,
        "w_o.bias": layer.w_o.bias,
        "w_k(key)": layer.w_k(k),
        "weights": weights,
        "output": output,
    }


def _cache() -> _Tensors:
    B, T_new, T, H = (SIZES[name] for name in ("B", "T_q", "T_k", "num_heads"))
    d_k = SIZES["d_model"] // H
    kept, new, next_one = (torch.ones(B, H, length, d_k) for length in (T, T_new, 1))
    cache = KVCache()
    cache.append(kept, kept)
    mask = cache.mask(T_new)
    k, v = cache.append(new, new)
    steps = trace(VARIANTS[4], new, k, v, mask)
    after = trace(VARIANTS[4], next_one, *cache.append(next_one, next_one))
    return {
        "k from append": k,
        "mask": mask,
        "scores": steps["scores"],
        "context": steps["context"],
        "scores of the next token": after["scores"],
    }


def _shared_keys() -> _Tensors:
    B, T_q, T_k, d_kv, G = (SIZES[name] for name in ("B", "T_q", "T_k", "d_model", "num_heads"))
    H, d_k = HEADS_OF_QUERIES, d_kv // G
    q, k = torch.ones(B, T_q, H * d_k), torch.ones(B, T_k, d_kv)
    steps = trace(grouped_query_attention, q, k, k, None, H, G)
    split, positions = q.unflatten(-1, (H, d_k)).transpose(-3, -2), torch.arange(T_q)
    turn = trace(apply_rotary, split, positions)
    return {
        "k after the split": steps["k"],
        "scores": steps["scores"],
        "context": steps["context"],
        "angles": turn["angle"],
        "q after the turn": turn["turned"],
    }


def _sampling() -> _Tensors:
    tokens = torch.zeros(SIZES["B"], SIZES["T_q"], dtype=torch.long)
    logits = torch.ones(*tokens.shape, VOCABULARY)
    last = logits[:, -1]
    probabilities = sampling_probabilities(last, top_k=TOP_K)
    drawn = probabilities.argmax(dim=-1, keepdim=True)  # a draw has the same shape, and would move the generator
    return {
        "logits of the model": logits,
        "logits of the next token": last,
        "the four likeliest": last.topk(TOP_K).indices,
        "probabilities": probabilities,
        "tokens that are drawn": drawn,
        "texts with them": torch.cat([tokens, drawn], dim=1),
    }


#: Assignment to its tensors: one for each of the seven variants, the layer, and what comes after.
_WARM_UPS: dict[int, Callable[[], _Tensors]] = {
    1: _loops,
    2: _matmul,
    3: _batched,
    4: _masked,
    5: _heads_in_turn,
    6: _heads_at_once,
    7: _fused,
    8: _layer,
    9: _cache,
    10: _shared_keys,
    11: _sampling,
}
