"""Wrong implementations that the equality tests must catch: the whole catalogue of misconceptions, and what is none.

A mistake that people make has its place in the catalogue. Here stand others, which no one would make but which a check
could miss, and other ways to make one: each a right implementation with one mistake, named in its docstring. `wrong`
registers it with the variant whose signature it has and with the kind of `FaultError` that gives it away; ``raises``
says that on some problems the mistake shows as an error instead: shapes that no longer fit, or autograd's own complaint
about a change in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_variants.classroom.misconceptions import with_code


@dataclass(frozen=True)
class Wrong:
    """One wrong implementation and how it is caught."""

    name: str
    variant: int
    function: Callable
    kind: str
    raises: bool
    dtype: torch.dtype = torch.float64


WRONG: list[Wrong] = []


def wrong(variant: int, kind: str, *, raises: bool = False) -> Callable[[Callable], Callable]:
    """Register a wrong implementation."""

    def register(function: Callable) -> Callable:
        WRONG.append(Wrong(function.__name__, variant, function, kind, raises))
        return function

    return register


# ------------------------------------------------------------------------------------------------- the catalogue

#: By what those are caught that are not caught by their weights.
KINDS = {
    "context": """
        last_key_left_out sum_overwritten value_of_the_query context_carried_on keys_for_values queries_for_values
        weights_transposed context_averaged mask_on_the_returned_weights_alone heads_interleaved_in_the_merge
        heads_in_reverse merge_without_transpose merge_swaps_the_wrong_axes dropout_in_evaluation
        kernel_gets_the_mask_inverted scaled_before_the_kernel
    """,
    "gradient": "weights_detached queries_detached keys_detached values_detached no_gradients",
    "nan": """
        no_max_subtraction maximum_of_everything maximum_starts_at_zero masked_then_renormalised no_key_gives_nan
        nan_in_the_gradient minus_infinity_after_the_softmax
    """,
    "shape": """
        batch_as_one_sequence batch_averaged batch_taken_for_the_sequence heads_averaged heads_summed last_head_left_out
        number_of_heads_ignored weights_averaged_over_heads weights_of_the_last_head heads_attend_to_heads
        heads_and_width_exchanged
    """,
    "input changed": "queries_scaled_in_place mask_changed_in_place",
    "error": "queries_and_keys_swapped transpose_of_the_batch context_alone weights_never_returned always_float64",
}
#: Those that are an error on some problems.
RAISES = """
    queries_and_keys_swapped value_of_the_query as_many_keys_as_queries always_float32 pair_swapped context_alone
    keepdim_forgotten queries_for_values weights_transposed transpose_of_the_batch batch_as_one_sequence
    batch_taken_for_the_sequence mask_on_the_query_axis mask_changed_in_place last_head_left_out
    number_of_heads_ignored weights_averaged_over_heads weights_of_the_last_head heads_attend_to_heads
    heads_and_width_exchanged weights_never_returned always_float64
""".split()
#: Those that no problem of the equality tests shows: there, lifting makes the values as wide as the keys, weights are
#: always asked for, and under dropout, which is random, the context is not compared.
NOT_SHOWN = """
    scale_by_the_width_of_the_values context_as_wide_as_the_keys weights_made_though_not_needed dropout_ignored
    dropout_without_rescaling dropout_on_the_context
""".split()
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}

WRONG += [
    Wrong(
        mistake.name,
        mistake.variant,
        mistake.function,
        _KIND_OF.get(mistake.name, "weights"),
        mistake.name in RAISES,
        torch.float32 if mistake.name == "always_float64" else torch.float64,
    )
    for mistake in with_code().values()
    if mistake.name not in NOT_SHOWN
]


# --------------------------------------------------------------------------------------------------- and what is none

# The right pieces, so that each function below shows its mistake and little else.


def scores_of(q: Tensor, k: Tensor) -> Tensor:
    return (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.softmax(scores, dim=-1)
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights.masked_fill(~mask, 0.0)


def split(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(-3, -2).flatten(-2)


def right(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, num_heads: int = 1) -> tuple[Tensor, Tensor]:
    q, k, v = split(q, num_heads), split(k, num_heads), split(v, num_heads)
    weights = masked_softmax(scores_of(q, k), mask)
    return merge(weights @ v), weights


# ------------------------------------------------------------------------------------------- variant 1, loops


@wrong(1, "weights")
def epsilon_in_the_denominator(q, k, v):
    """exp / (sum + 1e-6): a row sums to a little less than 1."""
    scores = scores_of(q, k)
    exp = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = exp / (exp.sum(dim=-1, keepdim=True) + 1e-6)
    return weights @ v, weights


# ------------------------------------------------------------------------------- variant 2, two matrix products


def with_scores(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.softmax(scores, dim=-1)
    return weights @ v, weights


@wrong(2, "weights")
def squared_distance(q, k, v):
    """The score is -|q - k|^2, without its half: a Gaussian kernel."""
    return with_scores(-(q[:, None] - k).square().sum(dim=-1) / math.sqrt(q.shape[-1]), v)


@wrong(2, "gradient")
def denominator_detached(q, k, v):
    """The softmax by hand with its denominator detached."""
    scores = scores_of(q, k)
    exp = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = exp / exp.sum(dim=-1, keepdim=True).detach()
    return weights @ v, weights


@wrong(2, "context")
def weights_rounded(q, k, v):
    """Rounded to four digits, as printed."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights.round(decimals=4) @ v, weights


# -------------------------------------------------------------------------------------------- variant 3, a batch


@wrong(3, "context")
def values_of_the_next_item(q, k, v):
    """The values are shifted by one in the batch."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights @ v.roll(1, dims=0), weights


# -------------------------------------------------------------------------------------------- variant 4, a mask


@wrong(4, "weights")
def mask_multiplied_into_scores(q, k, v, mask=None):
    """Blocked scores become 0, and exp(0) = 1."""
    scores = scores_of(q, k)
    return with_scores(scores if mask is None else scores * mask, v)


def filled(fill: float) -> Callable:
    def function(q, k, v, mask=None):
        scores = scores_of(q, k)
        return with_scores(scores if mask is None else scores.masked_fill(~mask, fill), v)

    return function


@wrong(4, "weights")
def mask_fills_with_minus_10(q, k, v, mask=None):
    """Small, but not 0."""
    return filled(-10.0)(q, k, v, mask)


@wrong(4, "weights")
def mask_fills_with_tiny(q, k, v, mask=None):
    """torch.finfo(dtype).tiny, the smallest positive number, where .min belongs."""
    return filled(torch.finfo(q.dtype).tiny)(q, k, v, mask)


@wrong(4, "context")
def empty_rows_read_everything(q, k, v, mask=None):
    """The weights of an empty row are 0, the context is the mean of all values."""
    weights = masked_softmax(scores_of(q, k), mask)
    context = weights @ v
    if mask is not None:
        context = torch.where(mask.any(dim=-1, keepdim=True), context, v.mean(dim=-2, keepdim=True))
    return context, weights


@wrong(4, "input changed", raises=True)
def values_zeroed_in_place(q, k, v, mask=None):
    """Values that no query reads are set to 0 in the caller's tensor."""
    weights = masked_softmax(scores_of(q, k), mask)
    if mask is not None and mask.ndim > 1:
        v *= mask.any(dim=-2).unsqueeze(-1).expand_as(v)
    return weights @ v, weights


# --------------------------------------------------------------------------------- variant 5, heads one by one


def heads_of(q, k, v, mask, num_heads):
    """The contexts of the heads, still apart, and their weights."""
    context, weights = right(q, k, v, mask, num_heads)
    return list(context.chunk(num_heads, dim=-1)), weights


@wrong(5, "context")
def columns_off_by_one(q, k, v, mask=None, num_heads=1):
    """h * d_k + 1, going round at the end."""
    context, weights = right(q.roll(-1, -1), k.roll(-1, -1), v.roll(-1, -1), mask, num_heads)
    return context, weights


@wrong(5, "context")
def heads_averaged_and_repeated(q, k, v, mask=None, num_heads=1):
    """The mean over the heads, repeated."""
    contexts, weights = heads_of(q, k, v, mask, num_heads)
    return torch.stack(contexts).mean(dim=0).repeat(*(1,) * (q.ndim - 1), num_heads), weights


@wrong(5, "context")
def last_head_left_at_0(q, k, v, mask=None, num_heads=1):
    """The last head's context is left at 0."""
    contexts, weights = heads_of(q, k, v, mask, num_heads)
    if num_heads > 1:
        contexts[-1] = torch.zeros_like(contexts[-1])
    return torch.cat(contexts, dim=-1), weights


@wrong(5, "weights")
def weights_averaged_and_repeated(q, k, v, mask=None, num_heads=1):
    """One map for all heads, in the right shape."""
    context, weights = right(q, k, v, mask, num_heads)
    return context, weights.mean(dim=-3, keepdim=True).expand_as(weights)


# ------------------------------------------------------------------------------- variant 6, heads in one product


@wrong(6, "context")
def values_split_by_view(q, k, v, mask=None, num_heads=1):
    """q and k are split right, the values are viewed as (..., H, T_k, d_k)."""
    weights = masked_softmax(scores_of(split(q, num_heads), split(k, num_heads)), mask)
    return merge(weights @ v.reshape(*v.shape[:-2], num_heads, v.shape[-2], -1)), weights


@wrong(6, "weights")
def mask_of_the_heads_reversed(q, k, v, mask=None, num_heads=1):
    """The axes of the mask are put together in another order than those of the heads."""
    return right(q, k, v, mask.flip(-3) if mask is not None and mask.ndim > 2 else mask, num_heads)


# ------------------------------------------------------------------------------------ variant 7, the fused kernel


def fused(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    if is_causal:
        causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        mask = causal if mask is None else mask & causal
    q, k, v = split(q, num_heads), split(k, num_heads), split(v, num_heads)
    weights = masked_softmax(scores_of(q, k), mask)
    return merge(F.dropout(weights, dropout_p) @ v), weights


@wrong(7, "weights")
def weights_made_up(q, k, v, mask=None, num_heads=1, **options):
    """Uniform weights are made up, because the kernel hands out none."""
    context, weights = fused(q, k, v, mask, num_heads, **options)
    return context, torch.full_like(weights, 1 / k.shape[-2])
