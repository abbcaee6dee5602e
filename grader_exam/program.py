"""One program with marked places, into which one slip or two are put: the usual mistakes, alone and in twos.

None of this code stands in the catalogue, and nothing of the catalogue stands here. `make` writes the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from attention_variants.variants import takes

#: Whose signature it can have: it works on whole matrices, and has none of the options of the fused kernel.
VARIANTS_OF_THE_PROGRAM = (2, 3, 4, 5, 6)

#: The marked places of the program, and what stands there when all is right.
RIGHT = {
    "split": "q, k, v = (torch.stack(x.chunk(num_heads, -1), -3) for x in (q, k, v))",
    "score": 'torch.einsum("...id,...jd->...ij", q, k)',
    "scale": "/ q.shape[-1] ** 0.5",
    "mask": "s = s if mask is None else torch.where(mask, s, torch.full_like(s, torch.finfo(s.dtype).min))",
    "softmax": "e = (s - s.amax(-1, keepdim=True)).exp(); w = e / e.sum(-1, keepdim=True)",
    "after": "w = w if mask is None else w * mask",
    "sum": 'torch.einsum("...ij,...jd->...id", w, v)',
    "merge": "c = torch.cat(c.unbind(-3), -1)",
    "shown": "w",
}

PROGRAM = """
def student({signature}):
    d_model = q.shape[-1]
    {split}
    s = {score} {scale}
    {mask}
    {softmax}
    {after}
    c = {sum}
    {merge}
    return c, {shown}
"""


@dataclass(frozen=True)
class Rewritten:
    """A slip at one place of the program.

    Attributes
    ----------
    place, code : str
        Where it stands, and what stands there in place of what is right.
    names : frozenset of str
        By which it may be called.
    variant : int
        The smallest that has it.
    """

    place: str
    code: str
    names: frozenset[str]
    variant: int = 2


def slip(place: str, code: str, names: str, variant: int = 2) -> Rewritten:
    """Make a slip of words."""
    return Rewritten(place, code, frozenset(names.split()), variant)


NO_MASK = "s = s"

SLIPS = (
    slip("scale", "", "no_scale"),
    slip("scale", "/ q.shape[-1]", "scale_by_d_k"),
    slip("scale", "* q.shape[-1] ** 0.5", "scale_multiplied multiplied_by_sqrt_d_k"),
    slip("scale", "/ k.shape[-2] ** 0.5", "scale_by_the_number_of_keys scale_by_sqrt_T_k"),
    slip("scale", "/ d_model ** 0.5", "scale_by_d_model", 5),
    slip("scale", "/ q.shape[-1] ** 0.25", "scale_by_fourth_root"),
    slip("score", 'torch.einsum("...id,...jd->...ij", q, v)', "values_for_keys scores_from_values"),
    slip(
        "score",
        'torch.einsum("...id,...jd->...ij", q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True))',
        "cosine_similarity",
    ),
    slip("score", "-torch.cdist(q, k) ** 2", "squared_distance"),
    slip("score", "q.matmul(k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]))", "keys_reshaped"),
    slip("softmax", "w = s.softmax(-2)", "softmax_over_queries"),
    slip("softmax", "w = s.flatten(-2).softmax(-1).view_as(s)", "softmax_over_everything"),
    slip("softmax", "w = F.softmax(s, 0)", "softmax_over_the_batch", 3),
    slip("softmax", "w = F.softmax(s, -3)", "softmax_over_heads", 6),
    slip("softmax", "w = 1 / (1 + (-s).exp())", "sigmoid_for_softmax sigmoid_not_softmax"),
    slip("softmax", "w = s", "no_softmax"),
    slip("softmax", "w = F.softmax(F.softmax(s, -1), -1)", "softmax_twice"),
    slip("softmax", "w = s - s.logsumexp(-1, keepdim=True)", "log_softmax_for_softmax log_softmax"),
    slip("softmax", "e = s.exp(); w = e / e.sum(-1, keepdim=True)", "no_max_subtraction no_key_gives_nan"),
    slip("softmax", "w = (-s).softmax(-1)", "softmin negative_scores"),
    slip("mask", NO_MASK, "mask_after_softmax", 4),
    slip(
        "mask",
        "mask = None if mask is None else torch.logical_not(mask); s = s if mask is None else s - 1e30 * (~mask)",
        "inverted_mask",
        4,
    ),
    slip("mask", "mask, s = None, s", "mask_ignored", 4),
    slip("mask", "s = s if mask is None else s.masked_fill(~mask, -1e9); mask = None", "no_key_taken_for_every_key", 4),
    slip("mask", "s = s if mask is None else s + mask.to(s).log(); mask = None", "no_key_gives_nan", 4),
    slip("mask", "s = s if mask is None else s * mask; mask = None", "blocked_scores_near_zero", 4),
    slip("mask", "s = s if mask is None else s + mask.to(s); mask = None", "mask_added_as_numbers", 4),
    slip("sum", 'torch.einsum("...ij,...jd->...id", w, k)', "keys_for_values"),
    slip("sum", "w @ v / v.shape[-2]", "context_averaged context_divided_by_T_k"),
    slip("sum", "w[..., :-1] @ v[..., :-1, :]", "last_key_left_out"),
    slip("sum", "w @ v.roll(1, 0)", "values_of_the_next_item", 3),
    slip("sum", "(w @ v).mean(0, keepdim=True).expand(*w.shape[:-1], -1)", "batch_averaged", 3),
    slip("sum", "w.detach() @ v", "weights_detached"),
    slip(
        "split",
        "q, k, v = (x.reshape(*x.shape[:-2], num_heads, -1, d_model // num_heads) for x in (q, k, v))",
        "view_without_transpose",
        5,
    ),
    slip(
        "split",
        "q, k, v = (torch.stack([x[..., h::num_heads] for h in range(num_heads)], -3) for x in (q, k, v))",
        "every_hth_column_to_a_head",
        5,
    ),
    slip("merge", "c = torch.flatten(c, -3).view(*c.shape[:-3], c.shape[-2], d_model)", "merge_without_transpose", 5),
    slip("merge", "c = torch.cat(c.unbind(-3)[::-1], -1)", "heads_in_reverse", 5),
    slip("merge", "c = torch.stack(c.unbind(-3), -1).flatten(-2)", "heads_interleaved_in_the_merge", 5),
    slip("shown", "w.mean(-3, keepdim=True).repeat_interleave(num_heads, -3)", "weights_averaged_over_heads", 5),
    slip("shown", "s", "scores_returned_as_weights scores_returned"),
    slip("shown", "torch.zeros_like(w)", "returned_weights_zero"),
)

#: Two slips at once that do not hide each other.
TWO = tuple(
    (first, second)
    for i, first in enumerate(SLIPS)
    for second in SLIPS[i + 1 :]
    if (first.place, second.place)
    in (("scale", "softmax"), ("scale", "mask"), ("scale", "sum"), ("scale", "merge"), ("softmax", "merge"))
    and "softmax_over" in " ".join(first.names | second.names) + "softmax_over" * (first.place == "scale")
    and not second.names & {"no_max_subtraction", "weights_detached", "softmin"}
    and first.names != {"scale_by_fourth_root"}
)[::4]


def make(variant: int, *slips: Rewritten) -> Callable:
    """Write the program of a variant, with slips at their places.

    Parameters
    ----------
    variant : int
        One of `VARIANTS_OF_THE_PROGRAM`.
    *slips : Rewritten
        None, one or two.

    Returns
    -------
    student : callable
        The function.
    """
    pieces = {**RIGHT, **{one.place: one.code for one in slips}}
    signature = "q, k, v"
    if takes(variant, "mask"):
        signature += ", mask=None"
    else:
        pieces |= {"mask": "pass", "after": "pass"}
    if takes(variant, "heads"):
        signature += ", num_heads=1"
    else:
        pieces |= {"split": "pass", "merge": "pass"}
    namespace: dict[str, Any] = {"torch": torch, "F": F}
    exec(PROGRAM.format(signature=signature, **pieces), namespace)
    return namespace["student"]
