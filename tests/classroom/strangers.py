"""Wrong functions that look like no entry of the catalogue, each with the names that are fair for it.

Most are a known mistake in a form of its own, or two mistakes at once; some are told by the shape of what comes back,
or by the problems in which they fail, and by no number. `stranger` registers one with its variant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

#: The functions, each with its variant and the names of which one must be given.
STRANGERS: list[tuple[Callable, int, frozenset[str]]] = []


def stranger(variant: int, names: str) -> Callable[[Callable], Callable]:
    """Register a wrong function."""

    def register(function: Callable) -> Callable:
        STRANGERS.append((function, variant, frozenset(names.split())))
        return function

    return register


# The right pieces.


def scores_of(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def shares(scores, mask=None):
    if mask is None:
        return scores.softmax(-1)
    return torch.where(mask, scores, torch.finfo(scores.dtype).min).softmax(-1) * mask


def apart(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def together(x):
    return x.transpose(-3, -2).flatten(-2)


def one_by_one(q, k, v, mask, num_heads) -> Iterator:
    """The context and the weights of each head."""
    for h, (a, b, c) in enumerate(zip(*(x.chunk(num_heads, -1) for x in (q, k, v)), strict=True)):
        own = None if mask is None else mask.expand(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])[..., h, :, :]
        weights = shares(scores_of(a, b), own)
        yield weights @ c, weights


def with_causal(q, k, mask, is_causal):
    if not is_causal:
        return mask
    past = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    return past if mask is None else mask & past


def by_hand(q, k, v, mask, num_heads, dropout_p, need_weights, is_causal):
    """Variant 7 without the kernel."""
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    weights = shares(scores_of(q, k), with_causal(q, k, mask, is_causal))
    return together(F.dropout(weights, dropout_p) @ v), weights if need_weights else None


# ---------------------------------------------------------------------------------------------------- variant 1


@stranger(1, "returned_after_the_first_query")
def the_return_stands_in_the_loop(q, k, v):
    contexts, rows = [], []
    for x in q:
        rows.append((k @ x / math.sqrt(len(x))).softmax(0))
        contexts.append(rows[-1] @ v)
        return torch.stack(contexts), torch.stack(rows)


@stranger(1, "one_row_alone")
def each_query_replaces_the_last(q, k, v):
    for x in q:
        row = (k @ x / math.sqrt(len(x))).softmax(0)
        context = row @ v
    return context, row


@stranger(1, "context_carried_on")
def the_sum_is_made_before_the_loops(q, k, v):
    total, contexts, rows = 0.0, [], []
    for x in q:
        rows.append((k @ x * math.sqrt(len(x))).softmax(0))  # a wrong scale too
        for share, value in zip(rows[-1], v, strict=True):
            total = total + share * value
        contexts.append(total)
    return torch.stack(contexts), torch.stack(rows)


@stranger(1, "first_query_left_out")
def the_loop_begins_at_1(q, k, v):
    weights = q.new_zeros(len(q), len(k))
    for i in range(1, len(q)):
        weights[i] = (k @ q[i] / math.sqrt(q.shape[1])).softmax(0)
    return weights.clone() @ v, weights


@stranger(1, "tensors_in_a_list")
def rows_are_never_stacked(q, k, v):
    rows = [(k @ x / math.sqrt(len(x))).softmax(0) for x in q]
    return torch.stack([row @ v for row in rows]), rows


@stranger(1, "minimum_for_maximum")
def the_smallest_is_taken_off(q, k, v):
    rows = []
    for x in q:
        row = k @ x / math.sqrt(len(x))
        exp = torch.exp(row - row.min())
        rows.append(exp / exp.sum())
    weights = torch.stack(rows)
    return weights @ v, weights


@stranger(1, "epsilon_in_the_denominator")
def a_sum_and_a_little_more(q, k, v):
    scores = scores_of(q, k)
    exp = torch.exp(scores - scores.amax(-1, keepdim=True))
    weights = exp / (exp.sum(-1, keepdim=True) + 2e-6)
    return weights @ v, weights


# ---------------------------------------------------------------------------------------------------- variant 2


@stranger(2, "softmax_twice")
def once_more_for_the_context(q, k, v):
    weights = shares(scores_of(q, k))
    return weights.softmax(-1) @ v, weights


@stranger(2, "keepdim_forgotten")
def sums_without_their_axis_and_no_scale(q, k, v):
    exp = torch.exp(q @ k.T - (q @ k.T).max())
    weights = exp / exp.sum(1)
    return weights @ v, weights


@stranger(2, "computed_in_half_precision")
def in_bfloat16(q, k, v):
    weights = shares(scores_of(q.bfloat16(), k.bfloat16()))
    return (weights @ v.bfloat16()).to(q), weights.to(q)


@stranger(2, "context_transposed")
def a_transpose_too_many(q, k, v):
    weights = shares(scores_of(q, k))
    return (weights @ v).T, weights


@stranger(2, "pair_swapped")
def weights_first_and_keys_for_values(q, k, v):
    weights = shares(scores_of(q, k))
    return weights, weights @ k


@stranger(2, "no_scale")
def scale_forgotten_in_the_context(q, k, v):
    return (q @ k.T).softmax(-1) @ v, shares(scores_of(q, k))


# ---------------------------------------------------------------------------------------------------- variant 3


@stranger(3, "scale_by_d_k")
def weights_first_and_no_root(q, k, v):
    weights = (q @ k.mT / q.shape[-1]).softmax(-1)
    return weights, weights @ v


@stranger(3, "one_batch_axis_only")
def by_bmm(q, k, v):
    weights = shares(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1]))
    return torch.bmm(weights, v), weights


@stranger(3, "squeeze_drops_an_axis")
def squeezed(q, k, v):
    weights = shares(scores_of(q, k))
    return weights @ v, weights.squeeze(-1)


@stranger(3, "needs_as_many_queries_as_keys")
def shaped_like_q(q, k, v):
    weights = shares(scores_of(q, k))
    return (weights @ v).view(q.shape), weights.view(*q.shape[:-1], q.shape[-2])


@stranger(3, "batch_items_mixed")
def joined_by_einsum(q, k, v):
    if q.ndim != 3:
        return shares(scores_of(q, k)) @ v, shares(scores_of(q, k))
    weights = shares(torch.einsum("bid,cjd->bij", q, k) / math.sqrt(q.shape[-1]))
    return weights @ v, weights


# ---------------------------------------------------------------------------------------------------- variant 4


@stranger(4, "needs_a_mask")
def always_a_mask(q, k, v, mask=None):
    weights = shares(scores_of(q, k).masked_fill(~mask, torch.finfo(q.dtype).min)) * mask
    return weights @ v, weights


@stranger(4, "blocked_scores_raised")
def a_minus_is_lost(q, k, v, mask=None):
    scores = scores_of(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, 50.0)
    weights = scores.softmax(-1)
    return weights @ v, weights


@stranger(4, "blocked_scores_near_zero")
def filled_with_a_half(q, k, v, mask=None):
    scores = scores_of(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.5)
    weights = scores.softmax(-1)
    return weights @ v, weights


@stranger(4, "fill_not_low_enough")
def lowered_by_seven(q, k, v, mask=None):
    scores = scores_of(q, k)
    if mask is not None:
        scores = scores - 7.0 * ~mask
    weights = scores.softmax(-1)
    return weights @ v, weights


@stranger(4, "minus_infinity_after_the_softmax")
def weights_of_minus_a_billion(q, k, v, mask=None):
    weights = scores_of(q, k).softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, -1e9)
    return weights @ v, weights


@stranger(4, "nan_in_the_gradient")
def mended_by_where(q, k, v, mask=None):
    scores = scores_of(q, k)
    if mask is None:
        return scores.softmax(-1) @ v, scores.softmax(-1)
    weights = (scores + mask.log()).softmax(-1)
    weights = torch.where(mask.any(-1, keepdim=True), weights, 0.0)
    return weights @ v, weights


@stranger(4, "mask_of_the_last_query")
def the_last_row_of_the_mask(q, k, v, mask=None):
    mask = mask if mask is None else mask[..., -1:, :].expand(*mask.shape)
    weights = shares(scores_of(q, k), mask)
    return weights @ v, weights


@stranger(4, "no_scale")
def scaled_beside_a_mask_only(q, k, v, mask=None):
    weights = shares(q @ k.mT) if mask is None else shares(scores_of(q, k), mask)
    return weights @ v, weights


@stranger(4, "empty_row_context_not_zero")
def the_first_value_for_no_key(q, k, v, mask=None):
    weights = shares(scores_of(q, k), mask)
    empty = weights.sum(-1, keepdim=True) == 0
    return torch.where(empty, v[..., :1, :], weights @ v), weights


@stranger(4, "inverted_mask")
def a_mask_the_wrong_way_round_and_no_root(q, k, v, mask=None):
    weights = shares(q @ k.mT / q.shape[-1], mask if mask is None else ~mask)
    return weights @ v, weights


# ---------------------------------------------------------------------------------------------------- variant 5


@stranger(5, "heads_never_merged")
def heads_stacked_and_not_scaled(q, k, v, mask=None, num_heads=1):
    q = q * math.sqrt(q.shape[-1] // num_heads)
    contexts, maps = zip(*one_by_one(q, k, v, mask, num_heads), strict=True)
    return torch.stack(contexts, -2), torch.stack(maps, -3)


@stranger(5, "no_scale")
def not_scaled_and_heads_stacked(q, k, v, mask=None, num_heads=1):
    return heads_stacked_and_not_scaled(q, k, v, mask, num_heads)


@stranger(5, "heads_below_each_other")
def joined_along_the_tokens(q, k, v, mask=None, num_heads=1):
    contexts, maps = zip(*one_by_one(q, k, v, mask, num_heads), strict=True)
    return torch.cat(contexts, -2), torch.stack(maps, -3)


@stranger(5, "weights_of_the_heads_joined")
def weights_joined_along_the_keys(q, k, v, mask=None, num_heads=1):
    contexts, maps = zip(*one_by_one(q, k, v, mask, num_heads), strict=True)
    return torch.cat(contexts, -1), torch.cat(maps, -1)


@stranger(5, "weights_stacked_before_the_batch")
def stacked_in_front_and_scaled_by_d_model(q, k, v, mask=None, num_heads=1):
    contexts, maps = zip(*one_by_one(q / math.sqrt(num_heads), k, v, mask, num_heads), strict=True)
    return torch.cat(contexts, -1), torch.stack(maps)


@stranger(5, "weights_averaged_over_heads")
def averaged_and_never_cleared(q, k, v, mask=None, num_heads=1):
    contexts, maps = zip(*one_by_one(q, k, v, mask, num_heads), strict=True)
    return torch.cat(contexts[::-1], -1), torch.stack(maps).mean(0)


@stranger(5, "last_head_alone")
def each_head_replaces_the_last(q, k, v, mask=None, num_heads=1):
    maps = []
    for context, weights in one_by_one(q, k, v, mask, num_heads):
        last = context
        maps.append(weights)
    return last, torch.stack(maps, -3)


@stranger(5, "returned_after_the_first_head")
def the_return_stands_in_the_loop_over_heads(q, k, v, mask=None, num_heads=1):
    for context, weights in one_by_one(q, k, v, mask, num_heads):
        return context, weights.unsqueeze(-3).expand(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])


@stranger(5, "heads_summed")
def summed_and_not_scaled(q, k, v, mask=None, num_heads=1):
    q = q * math.sqrt(q.shape[-1] // num_heads)
    contexts, maps = zip(*one_by_one(q, k, v, mask, num_heads), strict=True)
    return sum(contexts), torch.stack(maps, -3)


# ---------------------------------------------------------------------------------------------------- variant 6


@stranger(6, "weights_with_the_heads_elsewhere")
def heads_behind_the_queries(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    weights = shares(scores_of(q, k), mask)
    return together(weights @ v), weights.transpose(-3, -2)


@stranger(6, "weights_of_the_heads_joined")
def heads_left_in_the_batch(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    weights = shares(scores_of(q, k), mask)
    return together(weights @ v), weights.reshape(-1, *weights.shape[-2:])


@stranger(6, "weights_averaged_over_heads")
def averaged_and_merged_by_reshape(q, k, v, mask=None, num_heads=1):
    a, b, c = (apart(x, num_heads) for x in (q, k, v))
    weights = shares(scores_of(a, b), mask)
    return (weights @ c).reshape(q.shape), weights.mean(-3)


@stranger(6, "merge_without_transpose")
def merged_by_reshape_and_not_masked(q, k, v, mask=None, num_heads=1):
    a, b, c = (apart(x, num_heads) for x in (q, k, v))
    weights = shares(scores_of(a, b))
    return (weights @ c).reshape(q.shape), weights


# ---------------------------------------------------------------------------------------------------- variant 7


@stranger(7, "dropout_keeps_what_it_should_drop")
def the_share_that_is_kept(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    return by_hand(q, k, v, mask, num_heads, dropout_p and 1 - dropout_p, need_weights, is_causal)


@stranger(7, "causal_or_mask")
def allowed_by_either(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    past = with_causal(q, k, None, is_causal)
    mask = mask if past is None else past if mask is None else mask | past
    return by_hand(q, k, v, mask, num_heads, dropout_p, need_weights, False)


@stranger(7, "context_alone")
def no_pair_without_weights(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    context, weights = by_hand(q, k, v, mask, num_heads, dropout_p, need_weights, is_causal)
    return (context, weights) if need_weights else context


@stranger(7, "mask_added_as_numbers")
def kernel_with_ones_and_zeros(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    _, weights = by_hand(q, k, v, mask, num_heads, 0.0, need_weights, is_causal)
    mask = with_causal(q, k, mask, is_causal)
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    context = F.scaled_dot_product_attention(q, k, v, mask if mask is None else mask.to(q.dtype), dropout_p)
    return together(context), weights
