"""Deliberately wrong implementations: the mistakes people make, each with the signature of the variant it spoils.

Every function is a right implementation with one mistake, named in its docstring. `wrong` registers it with the
variant whose signature it has and with the kind of `FaultError` that gives it away; ``raises`` says that on some
problems the mistake shows as an error instead: shapes that no longer fit, or autograd's own complaint about a change
in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Wrong:
    """One wrong implementation and how it is caught."""

    name: str
    variant: int
    function: Callable
    kind: str
    raises: bool


WRONG: list[Wrong] = []


def wrong(variant: int, kind: str, *, raises: bool = False) -> Callable[[Callable], Callable]:
    """Register a wrong implementation."""

    def register(function: Callable) -> Callable:
        WRONG.append(Wrong(function.__name__, variant, function, kind, raises))
        return function

    return register


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


def causal(q: Tensor, k: Tensor) -> Tensor:
    return torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()


# ------------------------------------------------------------------------------------------- variant 1, loops


@wrong(1, "context")
def loop_misses_the_last_key(q, k, v):
    """range(T_k - 1): the last key is scored but never summed."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    context = v.new_zeros(len(q), v.shape[-1])
    for i in range(len(q)):
        for j in range(len(k) - 1):
            context[i] += weights[i, j] * v[j]
    return context, weights


@wrong(1, "weights")
def loop_misses_the_last_query(q, k, v):
    """range(T_q - 1) in the softmax: the last query keeps weights of 0."""
    scores, weights = scores_of(q, k), torch.zeros(len(q), len(k), dtype=q.dtype)
    for i in range(len(q) - 1):
        weights[i] = torch.softmax(scores[i], dim=-1)
    return weights.clone() @ v, weights


@wrong(1, "context")
def loop_overwrites_the_sum(q, k, v):
    """= where += belongs: the context is what the last key gave."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    context = v.new_zeros(len(q), v.shape[-1])
    for i in range(len(q)):
        for j in range(len(k)):
            context[i] = weights[i, j] * v[j]
    return context, weights


@wrong(1, "context")
def loop_reads_the_value_of_the_query(q, k, v):
    """v[i] where v[j] belongs."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    rows = [sum(weights[i, j] * v[i % len(v)] for j in range(len(k))) for i in range(len(q))]
    return torch.stack(rows), weights


@wrong(1, "nan")
def no_maximum_subtracted(q, k, v):
    """exp(scores) overflows: inf / inf is NaN."""
    exp = torch.exp(scores_of(q, k))
    weights = exp / exp.sum(dim=-1, keepdim=True)
    return weights @ v, weights


@wrong(1, "weights")
def maximum_clamped_away(q, k, v):
    """The exponents are clamped at 80 in place of subtracting the maximum: finite, and wrong."""
    exp = torch.exp(scores_of(q, k).clamp(max=80.0))
    weights = exp / exp.sum(dim=-1, keepdim=True)
    return weights @ v, weights


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
def no_scale(q, k, v):
    """The scores are not divided by sqrt(d_k)."""
    return with_scores(q @ k.T, v)


@wrong(2, "weights")
def scaled_by_d_k(q, k, v):
    """/ d_k where / sqrt(d_k) belongs."""
    return with_scores(q @ k.T / q.shape[-1], v)


@wrong(2, "weights")
def multiplied_by_sqrt_d_k(q, k, v):
    """* sqrt(d_k) where / sqrt(d_k) belongs."""
    return with_scores(q @ k.T * math.sqrt(q.shape[-1]), v)


@wrong(2, "weights")
def scaled_twice(q, k, v):
    """q and k are both divided by sqrt(d_k)."""
    return with_scores(scores_of(q, k / math.sqrt(k.shape[-1])), v)


@wrong(2, "weights")
def scaled_by_sqrt_T_k(q, k, v):
    """k.shape[0], the number of keys, taken for d_k."""
    return with_scores(q @ k.T / math.sqrt(k.shape[0]), v)


@wrong(2, "weights")
def weights_scaled(q, k, v):
    """Divided by sqrt(d_k) after the softmax."""
    weights = torch.softmax(q @ k.T, dim=-1) / math.sqrt(q.shape[-1])
    return weights @ v, weights


@wrong(2, "weights")
def softmax_over_queries(q, k, v):
    """dim=0: the columns sum to 1, not the rows."""
    weights = torch.softmax(scores_of(q, k), dim=0)
    return weights @ v, weights


@wrong(2, "weights")
def softmax_over_everything(q, k, v):
    """The whole matrix sums to 1."""
    scores = scores_of(q, k)
    weights = torch.softmax(scores.flatten(), dim=0).view_as(scores)
    return weights @ v, weights


@wrong(2, "weights")
def softmax_twice(q, k, v):
    """softmax(softmax(scores))."""
    return with_scores(torch.softmax(scores_of(q, k), dim=-1), v)


@wrong(2, "weights")
def log_softmax_for_softmax(q, k, v):
    """F.log_softmax where F.softmax belongs."""
    weights = F.log_softmax(scores_of(q, k), dim=-1)
    return weights @ v, weights


@wrong(2, "weights")
def sigmoid_for_softmax(q, k, v):
    """Each weight between 0 and 1, but a row does not sum to 1."""
    weights = torch.sigmoid(scores_of(q, k))
    return weights @ v, weights


@wrong(2, "weights")
def hard_attention(q, k, v):
    """All weight on the largest score."""
    scores = scores_of(q, k)
    weights = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(q.dtype) + 0 * scores
    return weights @ v, weights


@wrong(2, "weights")
def cosine_similarity(q, k, v):
    """q and k are normalised to length 1 first."""
    return with_scores(scores_of(F.normalize(q, dim=-1), F.normalize(k, dim=-1)), v)


@wrong(2, "weights")
def squared_distance(q, k, v):
    """The score is -|q - k|^2, without its half: a Gaussian kernel."""
    return with_scores(-(q[:, None] - k).square().sum(dim=-1) / math.sqrt(q.shape[-1]), v)


@wrong(2, "weights")
def values_for_keys(q, k, v):
    """q is compared with v: self-attention hides it as long as v = k."""
    return with_scores(scores_of(q, v), v)


@wrong(2, "context")
def keys_for_values(q, k, v):
    """The context is summed from the keys."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights @ k, weights


@wrong(2, "context", raises=True)
def queries_for_values(q, k, v):
    """The context is summed from the queries: possible only where T_q = T_k."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights @ q, weights


@wrong(2, "weights")
def key_reshaped_for_transposed(q, k, v):
    """k.reshape(d_k, T_k) fits where k.T belongs, and scrambles the keys."""
    return with_scores(q / math.sqrt(q.shape[-1]) @ k.reshape(k.shape[1], k.shape[0]), v)


@wrong(2, "gradient")
def weights_detached(q, k, v):
    """The gradient is cut at the weights: q and k never learn from the context."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights.detach() @ v, weights


@wrong(2, "gradient")
def denominator_detached(q, k, v):
    """The softmax by hand with its denominator detached."""
    scores = scores_of(q, k)
    exp = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = exp / exp.sum(dim=-1, keepdim=True).detach()
    return weights @ v, weights


@wrong(2, "gradient")
def queries_through_data(q, k, v):
    """q.data: the queries get no gradient."""
    return with_scores(scores_of(q.data, k), v)


@wrong(2, "context")
def computed_in_float16(q, k, v):
    """Half precision inside, converted back at the end."""
    context, weights = with_scores(scores_of(q.half(), k.half()), v.half())
    return context.to(q.dtype), weights.to(q.dtype)


@wrong(2, "context")
def weights_rounded(q, k, v):
    """Rounded to four digits, as printed."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights.round(decimals=4) @ v, weights


@wrong(2, "input changed")
def queries_scaled_in_place(q, k, v):
    """q /= sqrt(d_k) changes the caller's tensor."""
    q /= math.sqrt(q.shape[-1])
    return with_scores(q @ k.T, v)


# -------------------------------------------------------------------------------------------- variant 3, a batch


@wrong(3, "error", raises=True)
def dot_T_on_a_batch(q, k, v):
    """k.transpose(0, 1) on a batch swaps the batch with the keys."""
    return with_scores(q @ k.transpose(0, 1) / math.sqrt(q.shape[-1]), v)


@wrong(3, "weights")
def softmax_over_the_batch(q, k, v):
    """dim=0 was right for one query; here it is the batch."""
    weights = torch.softmax(scores_of(q, k), dim=0)
    return weights @ v, weights


@wrong(3, "weights")
def softmax_over_queries_of_a_batch(q, k, v):
    """dim=1 was right for one sequence; here it is the queries."""
    weights = torch.softmax(scores_of(q, k), dim=-2)
    return weights @ v, weights


@wrong(3, "context")
def values_of_the_next_item(q, k, v):
    """The values are shifted by one in the batch."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return weights @ v.roll(1, dims=0), weights


@wrong(3, "weights", raises=True)
def sequences_read_each_other(q, k, v):
    """The batch is flattened into one long sequence."""
    everything = torch.softmax(scores_of(q, k.flatten(0, -2).expand(*k.shape[:-2], -1, -1)), dim=-1)
    context = everything @ v.flatten(0, -2)
    return context, everything[..., : k.shape[-2]]


@wrong(3, "context")
def batch_averaged(q, k, v):
    """The context is the mean over the batch."""
    context, weights = with_scores(scores_of(q, k), v)
    return context.mean(dim=0, keepdim=True).expand_as(context), weights


# -------------------------------------------------------------------------------------------- variant 4, a mask


@wrong(4, "weights")
def mask_ignored(q, k, v, mask=None):
    """The mask is accepted and forgotten."""
    return with_scores(scores_of(q, k), v)


@wrong(4, "weights", raises=True)
def queries_and_keys_swapped(q, k, v, mask=None):
    """k q^T where q k^T belongs: possible only where T_q = T_k."""
    weights = masked_softmax(scores_of(k, q), mask)
    return weights @ v, weights


@wrong(4, "context")
def weights_transposed_when_square(q, k, v, mask=None):
    """weights^T v where weights v belongs, wherever the shapes allow it."""
    weights = masked_softmax(scores_of(q, k), mask)
    return (weights.mT if weights.shape[-1] == weights.shape[-2] else weights) @ v, weights


@wrong(4, "weights")
def only_the_first_item(q, k, v, mask=None):
    """Every item of the batch attends to the keys and values of the first."""
    weights = masked_softmax(scores_of(q, k[:1]), mask)
    return weights @ v[:1], weights


@wrong(4, "shape")
def float32_comes_out(q, k, v, mask=None):
    """float64 goes in, float32 comes out."""
    weights = masked_softmax(scores_of(q.float(), k.float()), mask)
    return weights @ v.float(), weights


@wrong(4, "weights")
def mask_inverted(q, k, v, mask=None):
    """True is read as blocked, as nn.MultiheadAttention has it."""
    weights = masked_softmax(scores_of(q, k), None if mask is None else ~mask)
    return weights @ v, weights


@wrong(4, "weights")
def mask_after_the_softmax(q, k, v, mask=None):
    """Blocked weights become 0 after the softmax: the rest of the row sums to less than 1."""
    weights = torch.softmax(scores_of(q, k), dim=-1)
    weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


@wrong(4, "context")
def mask_on_the_returned_weights_only(q, k, v, mask=None):
    """The picture is masked, the computation is not."""
    scores = scores_of(q, k)
    return torch.softmax(scores, dim=-1) @ v, masked_softmax(scores, mask)


@wrong(4, "weights")
def mask_multiplied_into_scores(q, k, v, mask=None):
    """Blocked scores become 0, and exp(0) = 1."""
    scores = scores_of(q, k)
    return with_scores(scores if mask is None else scores * mask, v)


@wrong(4, "weights")
def boolean_mask_added(q, k, v, mask=None):
    """scores + mask: True adds 1, nothing is blocked."""
    scores = scores_of(q, k)
    return with_scores(scores if mask is None else scores + mask, v)


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
def mask_fills_with_1e_minus_9(q, k, v, mask=None):
    """1e-9 typed for -1e9."""
    return filled(1e-9)(q, k, v, mask)


@wrong(4, "weights")
def mask_fills_with_minus_1e4(q, k, v, mask=None):
    """Chosen for float16; scores may be lower than that."""
    scores = scores_of(q, k)
    if mask is None:
        return with_scores(scores, v)
    has_key = mask.any(dim=-1, keepdim=True)
    weights = torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1).masked_fill(~has_key, 0.0)
    return weights @ v, weights


@wrong(4, "weights")
def mask_fills_with_tiny(q, k, v, mask=None):
    """torch.finfo(dtype).tiny, the smallest positive number, where .min belongs."""
    return filled(torch.finfo(q.dtype).tiny)(q, k, v, mask)


@wrong(4, "weights")
def empty_rows_uniform(q, k, v, mask=None):
    """-1e9 everywhere is the same as 0 everywhere."""
    return filled(-1e9)(q, k, v, mask)


@wrong(4, "nan")
def empty_rows_nan(q, k, v, mask=None):
    """-inf everywhere: the softmax is 0 / 0."""
    return filled(-math.inf)(q, k, v, mask)


@wrong(4, "nan")
def empty_rows_nan_in_the_gradient(q, k, v, mask=None):
    """-inf is added and nan_to_num mends the weights: the backward pass still multiplies by NaN."""
    scores = scores_of(q, k)
    scores = scores if mask is None else scores + torch.where(mask, 0.0, -math.inf)
    weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)
    return weights @ v, weights


@wrong(4, "context")
def empty_rows_read_everything(q, k, v, mask=None):
    """The weights of an empty row are 0, the context is the mean of all values."""
    weights = masked_softmax(scores_of(q, k), mask)
    context = weights @ v
    if mask is not None:
        context = torch.where(mask.any(dim=-1, keepdim=True), context, v.mean(dim=-2, keepdim=True))
    return context, weights


@wrong(4, "weights")
def mask_of_the_first_item(q, k, v, mask=None):
    """Every item of the batch is masked like the first."""
    if mask is not None and mask.ndim > 2:
        mask = mask[:1].expand_as(mask)
    weights = masked_softmax(scores_of(q, k), mask)
    return weights @ v, weights


@wrong(4, "weights")
def mask_of_the_first_query(q, k, v, mask=None):
    """A padding mask is assumed: every query is masked like the first."""
    if mask is not None and mask.ndim > 1:
        mask = mask[..., :1, :].expand_as(mask)
    weights = masked_softmax(scores_of(q, k), mask)
    return weights @ v, weights


@wrong(4, "weights")
def mask_transposed_when_square(q, k, v, mask=None):
    """mask[..., j, i] is read for query i and key j where shapes allow it."""
    if mask is not None and mask.ndim > 1 and mask.shape[-1] == mask.shape[-2]:
        mask = mask.mT
    weights = masked_softmax(scores_of(q, k), mask)
    return weights @ v, weights


@wrong(4, "input changed", raises=True)
def mask_inverted_in_place(q, k, v, mask=None):
    """mask.logical_not_() changes the caller's mask."""
    scores = scores_of(q, k)
    if mask is None:
        return with_scores(scores, v)
    blocked = mask.logical_not_()
    weights = torch.softmax(scores.masked_fill(blocked, torch.finfo(q.dtype).min), dim=-1).masked_fill(blocked, 0.0)
    return weights @ v, weights


@wrong(4, "input changed", raises=True)
def values_zeroed_in_place(q, k, v, mask=None):
    """Values that no query reads are set to 0 in the caller's tensor."""
    weights = masked_softmax(scores_of(q, k), mask)
    if mask is not None and mask.ndim > 1:
        v *= mask.any(dim=-2).unsqueeze(-1).expand_as(v)
    return weights @ v, weights


# --------------------------------------------------------------------------------- variant 5, heads one by one


def over_heads(q, k, v, mask, num_heads, columns_of, mask_of=lambda mask, h: mask[..., h, :, :]):
    *batch, T_q, d_model = q.shape
    if mask is not None:
        mask = mask.expand(*batch, num_heads, T_q, k.shape[-2])
    contexts, weights = [], []
    for h in range(num_heads):
        columns = columns_of(h, d_model // num_heads)
        w = masked_softmax(scores_of(q[..., columns], k[..., columns]), None if mask is None else mask_of(mask, h))
        contexts.append(w @ v[..., columns])
        weights.append(w)
    return contexts, torch.stack(weights, dim=-3)


def own_columns(h: int, d_k: int) -> slice:
    return slice(h * d_k, (h + 1) * d_k)


@wrong(5, "context")
def heads_concatenated_along_the_queries(q, k, v, mask=None, num_heads=1):
    """torch.cat(dim=-2), then reshaped until it fits."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns)
    return torch.cat(contexts, dim=-2).reshape(q.shape), weights


@wrong(5, "context")
def heads_stacked_last(q, k, v, mask=None, num_heads=1):
    """torch.stack(dim=-1): the columns of the heads come out interleaved."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns)
    return torch.stack(contexts, dim=-1).flatten(-2), weights


@wrong(5, "weights")
def columns_interleaved(q, k, v, mask=None, num_heads=1):
    """Head h takes columns h, h + H, h + 2 H and so on."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, lambda h, d_k: slice(h, None, num_heads))
    return torch.cat(contexts, dim=-1), weights


@wrong(5, "weights")
def every_head_reads_the_first_columns(q, k, v, mask=None, num_heads=1):
    """q[..., :d_k] for every head."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, lambda h, d_k: slice(0, d_k))
    return torch.cat(contexts, dim=-1), weights


@wrong(5, "context")
def columns_off_by_one(q, k, v, mask=None, num_heads=1):
    """h * d_k + 1, going round at the end."""
    context, weights = right(q.roll(-1, -1), k.roll(-1, -1), v.roll(-1, -1), mask, num_heads)
    return context, weights


@wrong(5, "context")
def heads_averaged(q, k, v, mask=None, num_heads=1):
    """The mean over the heads, repeated."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns)
    return torch.stack(contexts).mean(dim=0).repeat(*(1,) * (q.ndim - 1), num_heads), weights


@wrong(5, "context")
def last_head_forgotten(q, k, v, mask=None, num_heads=1):
    """The last head's context is left at 0."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns)
    if num_heads > 1:
        contexts[-1] = torch.zeros_like(contexts[-1])
    return torch.cat(contexts, dim=-1), weights


@wrong(5, "context")
def heads_in_reverse(q, k, v, mask=None, num_heads=1):
    """contexts.insert(0, context) where append belongs."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns)
    return torch.cat(contexts[::-1], dim=-1), weights


@wrong(5, "weights")
def weights_averaged_over_heads(q, k, v, mask=None, num_heads=1):
    """As nn.MultiheadAttention returns them by default."""
    context, weights = right(q, k, v, mask, num_heads)
    return context, weights.mean(dim=-3, keepdim=True).expand_as(weights)


@wrong(5, "shape", raises=True)
def weights_of_the_last_head(q, k, v, mask=None, num_heads=1):
    """The loop's last weights are returned."""
    context, weights = right(q, k, v, mask, num_heads)
    return context, weights[..., -1, :, :]


@wrong(5, "weights")
def mask_for_the_first_head_only(q, k, v, mask=None, num_heads=1):
    """The mask skips the other heads."""
    contexts, weights = over_heads(
        q, k, v, mask, num_heads, own_columns, lambda mask, h: mask[..., 0, :, :] if h == 0 else None
    )
    return torch.cat(contexts, dim=-1), weights


@wrong(5, "weights")
def mask_of_the_first_head_for_all(q, k, v, mask=None, num_heads=1):
    """mask[:, 0]: every head is masked like the first."""
    contexts, weights = over_heads(q, k, v, mask, num_heads, own_columns, lambda mask, h: mask[..., 0, :, :])
    return torch.cat(contexts, dim=-1), weights


# ------------------------------------------------------------------------------- variant 6, heads in one product


@wrong(6, "weights")
def scaled_by_sqrt_d_model(q, k, v, mask=None, num_heads=1):
    """sqrt(d_model) where the head's own sqrt(d_k) belongs."""
    scores = split(q, num_heads) @ split(k, num_heads).mT / math.sqrt(q.shape[-1])
    weights = masked_softmax(scores, mask)
    return merge(weights @ split(v, num_heads)), weights


@wrong(6, "weights")
def view_without_transpose(q, k, v, mask=None, num_heads=1):
    """view(..., H, T, d_k): each head gets a few whole rows."""
    split_wrong = [x.reshape(*x.shape[:-2], num_heads, x.shape[-2], -1) for x in (q, k, v)]
    weights = masked_softmax(scores_of(*split_wrong[:2]), mask)
    return merge(weights @ split_wrong[2]), weights


@wrong(6, "context")
def merged_without_transposing_back(q, k, v, mask=None, num_heads=1):
    """(..., H, T_q, d_k) reshaped straight to (..., T_q, d_model)."""
    weights = masked_softmax(scores_of(split(q, num_heads), split(k, num_heads)), mask)
    return (weights @ split(v, num_heads)).reshape(q.shape), weights


@wrong(6, "context")
def values_split_by_view(q, k, v, mask=None, num_heads=1):
    """q and k are split right, the values are viewed as (..., H, T_k, d_k)."""
    weights = masked_softmax(scores_of(split(q, num_heads), split(k, num_heads)), mask)
    return merge(weights @ v.reshape(*v.shape[:-2], num_heads, v.shape[-2], -1)), weights


@wrong(6, "weights")
def split_as_d_k_by_heads(q, k, v, mask=None, num_heads=1):
    """unflatten(-1, (d_k, H)): the axes of the split are the wrong way round."""
    q, k, v = (x.unflatten(-1, (-1, num_heads)).movedim(-1, -3) for x in (q, k, v))
    weights = masked_softmax(scores_of(q, k), mask)
    return merge(weights @ v), weights


@wrong(6, "weights")
def softmax_over_heads(q, k, v, mask=None, num_heads=1):
    """dim=1 of (B, H, T_q, T_k) is the heads."""
    scores = scores_of(split(q, num_heads), split(k, num_heads))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(q.dtype).min)
    weights = torch.softmax(scores, dim=-3)
    weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
    return merge(weights @ split(v, num_heads)), weights


@wrong(6, "shape", raises=True)
def heads_attend_to_heads(q, k, v, mask=None, num_heads=1):
    """The transpose of the split is missing: at each position, the heads look at each other."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))
    weights = torch.softmax(scores_of(q, k), dim=-1)
    return (weights @ v).flatten(-2), weights


@wrong(6, "weights")
def mask_of_the_heads_reversed(q, k, v, mask=None, num_heads=1):
    """The axes of the mask are put together in another order than those of the heads."""
    return right(q, k, v, mask.flip(-3) if mask is not None and mask.ndim > 2 else mask, num_heads)


# ------------------------------------------------------------------------------------ variant 7, the fused kernel


def fused(
    q,
    k,
    v,
    mask=None,
    num_heads=1,
    *,
    dropout_p=0.0,
    need_weights=True,
    is_causal=False,
    causal_of=causal,
    weights_dropped=False,
):
    """Right, but for what its last two arguments change."""
    if is_causal:
        mask = causal_of(q, k) if mask is None else mask & causal_of(q, k)
    q, k, v = split(q, num_heads), split(k, num_heads), split(v, num_heads)
    weights = masked_softmax(scores_of(q, k), mask)
    dropped = F.dropout(weights, dropout_p)
    return merge(dropped @ v), dropped if weights_dropped else weights


@wrong(7, "context")
def dropout_left_on(q, k, v, mask=None, num_heads=1, **options):
    """Dropout acts although nobody asked for it."""
    return fused(q, k, v, mask, num_heads, **{**options, "dropout_p": 0.1})


@wrong(7, "weights")
def weights_returned_after_dropout(q, k, v, mask=None, num_heads=1, **options):
    """What comes back is not what attention decided, but what dropout left of it."""
    return fused(q, k, v, mask, num_heads, **options, weights_dropped=True)


@wrong(7, "weights")
def is_causal_ignored(q, k, v, mask=None, num_heads=1, *, is_causal=False, **options):
    """is_causal is accepted and forgotten."""
    return fused(q, k, v, mask, num_heads, **options)


@wrong(7, "weights")
def is_causal_ignored_beside_a_mask(q, k, v, mask=None, num_heads=1, *, is_causal=False, **options):
    """is_causal counts only where there is no mask."""
    return fused(q, k, v, mask, num_heads, **options, is_causal=is_causal and mask is None)


@wrong(7, "weights")
def causal_replaces_the_mask(q, k, v, mask=None, num_heads=1, *, is_causal=False, **options):
    """The mask counts only where is_causal is not given."""
    return fused(q, k, v, None if is_causal else mask, num_heads, **options, is_causal=is_causal)


@wrong(7, "weights")
def future_leaks_into_the_returned_weights(q, k, v, mask=None, num_heads=1, *, is_causal=False, **options):
    """The kernel is causal, the weights that are plotted are not."""
    context, _ = fused(q, k, v, mask, num_heads, **options, is_causal=is_causal)
    return context, fused(q, k, v, mask, num_heads, **options)[1]


@wrong(7, "weights")
def causal_by_triu(q, k, v, mask=None, num_heads=1, **options):
    """triu where tril belongs: only the future is read."""
    upper = lambda q, k: torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu()  # noqa: E731
    return fused(q, k, v, mask, num_heads, **options, causal_of=upper)


@wrong(7, "weights")
def causal_sees_the_next_key(q, k, v, mask=None, num_heads=1, **options):
    """tril(diagonal=1): every query sees one key too many."""
    off = lambda q, k: torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(diagonal=1)  # noqa: E731
    return fused(q, k, v, mask, num_heads, **options, causal_of=off)


@wrong(7, "weights")
def causal_does_not_see_itself(q, k, v, mask=None, num_heads=1, **options):
    """tril(diagonal=-1): no query sees its own position."""
    off = lambda q, k: torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(diagonal=-1)  # noqa: E731
    return fused(q, k, v, mask, num_heads, **options, causal_of=off)


@wrong(7, "weights")
def causal_from_the_bottom_right(q, k, v, mask=None, num_heads=1, **options):
    """Aligned to the last key where is_causal is aligned to the first."""

    def bottom_right(q, k):
        T_q, T_k = q.shape[-2], k.shape[-2]
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(diagonal=T_k - T_q)

    return fused(q, k, v, mask, num_heads, **options, causal_of=bottom_right)


@wrong(7, "context")
def kernel_without_the_mask(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    """The weights are masked, the kernel is called without."""
    context, _ = right(q, k, v, None, num_heads)
    return context, fused(q, k, v, mask, num_heads, is_causal=is_causal)[1]


@wrong(7, "weights")
def weights_not_returned(q, k, v, mask=None, num_heads=1, **options):
    """Uniform weights are made up, because the kernel hands out none."""
    context, weights = fused(q, k, v, mask, num_heads, **options)
    return context, torch.full_like(weights, 1 / k.shape[-2])
