"""Mistakes with masks: when they act, what they put in, which axis they lie along, and queries with no key."""

from __future__ import annotations

from ._mistake import BLOCK, InFile, Mistake, alike, by_hand, mask_becomes

_VARIANTS = (4, 5, 6)
_CLEAR = """\
    if mask is not None and lacks_keys(mask):
        weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
"""
#: Without the last step, which would hide what a wrong filling does.
_NOT_CLEARED = (_CLEAR, "")


def _scores(line: str) -> tuple[str, str]:
    """What a mask does to the scores, in a line."""
    return (BLOCK, f"    if mask is not None:\n        {line}\n")


def _weights(line: str) -> tuple[str, str]:
    """What a mask does to the weights, in a line."""
    return (_CLEAR, f"    if mask is not None:\n        weights = {line}\n")


MISTAKES = (
    Mistake(
        name="mask_after_softmax",
        explanation="It comes after the softmax: blocked keys have had their share, a row no longer sums to 1.",
        hint="What do the rows of the weights sum to, and when must a blocked key be out of the running?",
        shows="under any mask that blocks some key",
        seen="https://github.com/huggingface/pytorch-image-models/pull/2236",
        changes=alike(
            _VARIANTS, (BLOCK, ""), ("mask is not None and lacks_keys(mask):", "mask is not None:  # whatever the mask")
        )
        | by_hand(),
        of_goals={
            "grouped_query_attention": ((BLOCK, ""), ("mask is not None and lacks_keys(mask)", "mask is not None")),
        },
    ),
    Mistake(
        name="inverted_mask",
        explanation="True is read as blocked: each query attends to exactly what it must not see.",
        hint="Here True means may attend, and nn.MultiheadAttention says the opposite.",
        shows="under any mask",
        seen="https://github.com/lucidrains/halonet-pytorch/issues/4",
        changes=alike(_VARIANTS, ("~mask", "mask"), ("lacks_keys(mask)", "lacks_keys(~mask)")) | by_hand(),
        of_goals={
            "grouped_query_attention": (("~mask", "mask"), ("lacks_keys(mask)", "lacks_keys(~mask)")),
            "flash_attention": InFile((("torch.atleast_2d(self.mask)", "~torch.atleast_2d(self.mask)"),)),
        },
    ),
    Mistake(
        name="mask_ignored",
        explanation="The mask is accepted and forgotten: every query attends to every key.",
        hint="Does your output change when the mask does?",
        shows="under any mask that blocks some key",
        seen="https://github.com/AI-Hypercomputer/maxtext/issues/878",
        changes=alike(_VARIANTS, (BLOCK, ""), _NOT_CLEARED) | by_hand(),
        of_goals={
            "grouped_query_attention": ((BLOCK, ""), _NOT_CLEARED),
        },
    ),
    Mistake(
        name="masked_then_renormalised",
        explanation="The weights are masked and divided by what is left of their sum, which may be nothing: 0 / 0.",
        hint="What is left to divide by when the blocked keys had all the weight?",
        shows="only for a query with no key, or where blocked scores are far above the others",
        seen="https://github.com/abisee/pointer-generator/issues/88",
        changes=alike(
            _VARIANTS,
            (BLOCK, ""),
            (
                _CLEAR,
                "    if mask is not None:\n"
                "        weights = weights.masked_fill(~mask, 0.0)\n"
                "        weights = weights / weights.sum(dim=-1, keepdim=True)\n",
            ),
        )
        | by_hand(),
    ),
    Mistake(
        name="mask_added_as_numbers",
        explanation="The mask is added as zeros and ones: allowed keys gain 1, and nothing is blocked.",
        hint="What would have to be added to a score so that its exponential is 0?",
        shows="under any mask that blocks some key",
        seen="common",
        changes=alike(_VARIANTS, _scores("scores = scores + mask"), _NOT_CLEARED) | by_hand(),
    ),
    Mistake(
        name="blocked_scores_near_zero",
        explanation="Blocked scores become 0 or close to it, by a product or a lost minus sign; but exp(0) is 1.",
        hint="Take the exponential of the number that blocked scores get, by hand.",
        shows="under any mask that blocks some key",
        seen="https://github.com/awslabs/gluonts/pull/1401",
        changes=alike(_VARIANTS, _scores("scores.masked_fill_(~mask, 1e-9)"), _NOT_CLEARED) | by_hand(),
    ),
    Mistake(
        name="blocked_scores_raised",
        explanation="Blocked scores become very large, where they should become very low: they take all the weight.",
        hint="Which scores does a softmax all but forget, the largest or the smallest?",
        shows="under any mask that blocks some key",
        seen="common",
        changes=alike(_VARIANTS, _scores("scores.masked_fill_(~mask, torch.finfo(scores.dtype).max)"), _NOT_CLEARED)
        | by_hand(),
    ),
    Mistake(
        name="fill_not_low_enough",
        explanation="Blocked scores become a number that only looks low: allowed scores can be lower, and lose.",
        hint="Is there a score so low that a blocked key would win against it?",
        shows="only for scores as large as the filling, and for a query with no key",
        seen="https://github.com/TransformerLensOrg/TransformerLens/pull/319",
        changes=alike(_VARIANTS, _scores("scores.masked_fill_(~mask, -1e4)"), _NOT_CLEARED) | by_hand(),
    ),
    Mistake(
        name="no_key_taken_for_every_key",
        explanation="A query with no key attends to all of them alike: equal scores, however low, give equal weights.",
        hint="What is the softmax of a row in which all scores are the same?",
        shows="only for a query with no key",
        seen="https://github.com/NVIDIA/apex/issues/1390",
        changes=alike(_VARIANTS, _NOT_CLEARED) | by_hand(),
        of_goals={
            "grouped_query_attention": (_NOT_CLEARED,),
        },
    ),
    Mistake(
        name="no_key_gives_nan",
        explanation="Blocked scores become minus infinity, and a row of nothing else is 0 / 0.",
        hint="Compute the softmax by hand for a query that may attend to nothing.",
        shows="only for a query with no key",
        seen="https://github.com/pytorch/pytorch/issues/27968",
        changes=alike(_VARIANTS, _scores("scores.masked_fill_(~mask, -math.inf)"), _NOT_CLEARED) | by_hand(),
        of_goals={
            "grouped_query_attention": (
                ("scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)", "scores.masked_fill_(~mask, -math.inf)"),
                _NOT_CLEARED,
            ),
        },
    ),
    Mistake(
        name="nan_in_the_gradient",
        explanation="The NaN of an empty row is mended after the softmax, but the way back still multiplies by it.",
        hint="The output looks right, so what does the gradient of q look like?",
        shows="only for a query with no key, in the gradients alone",
        seen="https://github.com/pytorch/pytorch/issues/41508",
        changes=alike(
            _VARIANTS,
            _scores("scores = scores + torch.zeros_like(scores).masked_fill(~mask, -math.inf)"),
            _weights("weights.nan_to_num(0.0)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="minus_infinity_after_the_softmax",
        explanation="Minus infinity, or a very low number, is filled in where the weights are: the scores want it.",
        hint="Which of the two is an exponential still to be taken of?",
        shows="under any mask that blocks some key",
        seen="https://github.com/lucidrains/memory-compressed-attention/issues/2",
        changes=alike(_VARIANTS, (BLOCK, ""), _weights("weights.masked_fill(~mask, -math.inf)")) | by_hand(),
    ),
    Mistake(
        name="mask_on_the_query_axis",
        explanation="The mask lies along the queries: padding blocks whole rows where it should block columns.",
        hint="A padded token must not be looked at: is that a row of the weights or a column?",
        shows="under a mask that is not symmetric: as an error if T_q differs from T_k",
        seen="https://github.com/hyunwoongko/transformer/pull/40",
        changes=alike(
            _VARIANTS,
            ("~mask", "~mask.transpose(-2, -1)"),
            ("lacks_keys(mask)", "lacks_keys(mask.transpose(-2, -1))"),
        )
        | by_hand(),
    ),
    Mistake(
        name="mask_of_the_first_item",
        explanation="Every sequence of the batch is masked like the first.",
        hint="Give two sequences of different lengths and look at the weights of both.",
        shows="only under a mask that differs between the sequences",
        seen="common",
        changes=alike(_VARIANTS, mask_becomes("mask[:1] if mask.ndim > 2 else mask")) | by_hand(),
    ),
    Mistake(
        name="mask_of_the_first_query",
        explanation="Every query is masked like the first, as if there were no masks but padding.",
        hint="Which rows of a causal mask are alike?",
        shows="only under a mask that differs between the queries",
        seen="common",
        changes=alike(_VARIANTS, mask_becomes("mask[..., :1, :] if mask.ndim > 1 else mask")) | by_hand(),
    ),
    Mistake(
        name="mask_on_the_returned_weights_alone",
        explanation="The weights that are handed back are masked, and the context is made of others that are not.",
        hint="Are the weights that you return the ones that the values were summed with?",
        shows="under any mask that blocks some key, in the context alone",
        seen="common",
        changes=alike(
            _VARIANTS,
            (
                "context = weights @ v",
                "context = torch.softmax((q / math.sqrt(d_k)) @ k.transpose(-2, -1), dim=-1) @ v",
            ),
        )
        | alike((7,), ("fused_kernel(q, k, v, mask,", "fused_kernel(q, k, v, None,")),
    ),
    Mistake(
        name="causal_without_being_asked",
        explanation="The future is blocked whatever the mask says, as in a decoder.",
        hint="Who decides what a query may attend to, this function or its caller?",
        shows="always, unless the mask is causal",
        seen="common",
        changes=alike(
            _VARIANTS,
            (
                BLOCK,
                "    causal = torch.ones_like(scores, dtype=torch.bool).tril()\n"
                f"    mask = causal if mask is None else mask & causal\n{BLOCK}",
            ),
        )
        | by_hand(),
    ),
    Mistake(
        name="mask_changed_in_place",
        explanation="The caller's mask is inverted in place: the next call with it gets the opposite.",
        hint="Call the function twice with the same mask and compare.",
        shows="under any mask: the mask itself changes",
        seen="common",
        changes=alike(
            (4, 6),
            _scores("scores.masked_fill_(mask.logical_not_(), torch.finfo(scores.dtype).min)"),
            _weights("weights.masked_fill(mask, 0.0)"),
        )
        | by_hand(),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="blocked_scores_minus_one",
        explanation="Blocked scores are lowered by 1 only: their keys still get a share.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="mask_of_the_last_query",
        explanation="Every query is masked like the last one.",
        hint="Which row of the mask does each query meet?",
    ),
    Mistake(
        name="mask_of_the_last_item",
        explanation="Every item of the batch is masked like the last.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="empty_row_context_not_zero",
        explanation="A query with no key has weights 0, but its context is not 0.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="mask_blocks_whole_queries",
        explanation="A query that has any key blocked is blocked altogether.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="mask_on_the_values_only",
        explanation="Blocked values are left out of the sum, but the weights keep their share.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="mask_missing_in_the_returned_weights",
        explanation="The context is masked; the weights returned are not.",
        hint="Which scores must be out of the running before the shares are handed out, and how low must they be?",
    ),
    Mistake(
        name="mask_of_the_heads_reversed",
        explanation="The heads get each other's masks.",
        hint="Write down the shape of the mask and of the scores. Which axis of the one meets which of the other?",
    ),
    Mistake(
        name="needs_a_mask",
        explanation="It works only with a mask; without one, every query may attend to every key.",
        hint="What is mask when nobody passes one, and what does your code do with that?",
    ),
)
