"""Mistakes around the fused kernel: dropout, what is causal, and weights that the kernel does not hand out."""

from __future__ import annotations

from ._mistake import Mistake, alike

_CALL = "fused_kernel(q, k, v, mask, dropout_p=dropout_p, is_causal=is_causal)"
_CAUSAL = """\
    if is_causal and (need_weights or mask is not None):  # the kernel takes is_causal or a mask
        causal = torch.ones(T_q, T_k, dtype=torch.bool, device=q.device).tril()
        mask = causal if mask is None else mask & causal

"""
_SCORES = "(q / math.sqrt(d_k)) @ k.transpose(-2, -1)"
_BLOCK = """\
        if mask is not None:
            # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
"""
_CLEAR = """\
        if mask is not None and lacks_keys(mask):
            weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
"""

MISTAKES = (
    Mistake(
        name="dropout_in_evaluation",
        explanation="Dropout is always on: two calls on the same input disagree.",
        hint="Who decides whether weights are dropped, and when should the answer be 0?",
        shows="always, in the context alone, which is random",
        seen="https://github.com/pytorch/pytorch/issues/124464",
        changes=alike((7,), ("dropout_p=dropout_p", "dropout_p=0.1")),
    ),
    Mistake(
        name="dropout_ignored",
        explanation="The probability of dropout is accepted and forgotten: nothing is ever dropped.",
        hint="Call it twice with dropout_p = 0.5: should the two agree?",
        shows="only with dropout",
        seen="common",
        changes=alike((7,), ("dropout_p=dropout_p", "dropout_p=0.0")),
    ),
    Mistake(
        name="dropout_without_rescaling",
        explanation="What dropout leaves is not scaled up: on average the context is too small.",
        hint="What is the mean of a weight of 1 that is dropped half of the time?",
        shows="only with dropout",
        seen="https://github.com/NVIDIA/apex/pull/816",
        changes=alike((7,), ("context = fused_kernel(", "context = (1 - dropout_p) * fused_kernel(")),
    ),
    Mistake(
        name="dropout_on_the_scores",
        explanation="Scores are dropped and not weights: a dropped score is 0, and a key with it still has a share.",
        hint="What should the weight of a dropped key be?",
        shows="only with dropout",
        seen="https://github.com/facebookresearch/fairseq/issues/351",
        changes=alike(
            (7,),
            (f"scores = {_SCORES}", f"scores = F.dropout({_SCORES}, dropout_p)"),
            (f"context = {_CALL}", f"context = weights @ v if need_weights else {_CALL}"),
        ),
    ),
    Mistake(
        name="dropout_on_the_context",
        explanation="Entries of the context are dropped, where it should be the weights that made it.",
        hint="At which of the three stages, scores, weights or context, does dropout take a key out?",
        shows="only with dropout, in the context alone",
        seen="common",
        changes=alike(
            (7,),
            (
                f"context = {_CALL}",
                "context = F.dropout(fused_kernel(q, k, v, mask, dropout_p=0.0, is_causal=is_causal), dropout_p)",
            ),
        ),
    ),
    Mistake(
        name="weights_returned_after_dropout",
        explanation="What comes back is not what attention decided, but what dropout left of it.",
        hint="What do the rows of the returned weights sum to when dropout is on?",
        shows="only with dropout, in the weights alone",
        seen="https://github.com/pytorch/pytorch/issues/42929",
        changes=alike(
            (7,),
            ("return context, weights", "return context, F.dropout(weights, dropout_p) if need_weights else None"),
        ),
    ),
    Mistake(
        name="is_causal_ignored",
        explanation="is_causal is accepted and forgotten: every query sees the future.",
        hint="Does your output change when is_causal does?",
        shows="only with is_causal",
        seen="https://github.com/pytorch/pytorch/issues/99282",
        changes=alike((7,), (_CAUSAL, ""), ("is_causal=is_causal", "is_causal=False")),
        of_goals={
            "flash_attention": (("mask, is_causal, block_q", "mask, False, block_q"),),
        },
    ),
    Mistake(
        name="is_causal_ignored_beside_a_mask",
        explanation="is_causal counts only where there is no mask: beside one, the future is open.",
        hint="A causal decoder with padding needs two rules at once, and which of them does your code keep?",
        shows="only with is_causal and a mask",
        seen="common",
        changes=alike(
            (7,), ("mask = causal if mask is None else mask & causal", "mask = causal if mask is None else mask")
        ),
    ),
    Mistake(
        name="causal_replaces_the_mask",
        explanation="With is_causal the mask is thrown away: queries attend to padding.",
        hint="A causal decoder with padding needs two rules at once, and which of them does your code keep?",
        shows="only with is_causal and a mask",
        seen="https://github.com/pytorch/pytorch/pull/178588",
        changes=alike((7,), ("mask = causal if mask is None else mask & causal", "mask = causal")),
    ),
    Mistake(
        name="future_in_the_returned_weights",
        explanation="The kernel is causal, the weights computed beside it are not: the picture shows the future.",
        hint="Two things must hear about is_causal, the kernel and what else?",
        shows="only with is_causal and no mask, in the weights alone",
        seen="common",
        changes=alike(
            (7,), ("if is_causal and (need_weights or mask is not None):", "if is_causal and mask is not None:")
        ),
    ),
    Mistake(
        name="causal_by_triu",
        explanation="The upper triangle is kept where it should be the lower: queries see nothing but the future.",
        hint="Print the mask for three tokens and read its first row aloud.",
        shows="only with is_causal",
        seen="https://github.com/karpathy/nanoGPT/issues/170",
        changes=alike((7,), (".tril()", ".triu()")),
        of_goals={
            "causal_mask": ((">= 0", "<= 0"),),
        },
    ),
    Mistake(
        name="causal_sees_the_next_key",
        explanation="The triangle is one diagonal too wide: every query sees the token that comes next.",
        hint="Which keys may the very first query attend to?",
        shows="only with is_causal, from two keys on",
        seen="common",
        changes=alike((7,), (".tril()", ".tril(diagonal=1)")),
        of_goals={
            "causal_mask": ((">= 0", ">= -1"),),
        },
    ),
    Mistake(
        name="causal_does_not_see_itself",
        explanation="The triangle leaves out the diagonal: no query sees its own token, and the first sees nothing.",
        hint="Which keys may the very first query attend to?",
        shows="only with is_causal",
        seen="https://github.com/TransformerLensOrg/TransformerLens/issues/284",
        changes=alike((7,), (".tril()", ".tril(diagonal=-1)")),
        of_goals={
            "causal_mask": ((">= 0", "> 0"),),
            "attend_with_cache": (("cache.mask(q.shape[-2])", "cache.mask(q.shape[-2]).tril(len(cache) - 1)"),),
        },
    ),
    Mistake(
        name="causal_from_the_bottom_right",
        explanation="The last query is aligned with the last key, where is_causal aligns the first with the first.",
        hint="With two queries and five keys, which corner of the mask do the two conventions share?",
        shows="only with is_causal, if T_q differs from T_k",
        seen="https://github.com/ml-explore/mlx/issues/2835",
        changes=alike((7,), (".tril()", ".tril(diagonal=T_k - T_q)")),
        of_goals={
            "causal_mask": ((", align, device", ', "bottom-right", device'),),
        },
    ),
    Mistake(
        name="kernel_gets_the_mask_inverted",
        explanation="The kernel gets True for blocked, as nn.MultiheadAttention wants it; it reads it as allowed.",
        hint="Look up what True means to scaled_dot_product_attention.",
        shows="under any mask, in the context alone",
        seen="https://github.com/rasbt/LLMs-from-scratch/issues/1061",
        changes=alike((7,), ("fused_kernel(q, k, v, mask,", "fused_kernel(q, k, v, None if mask is None else ~mask,")),
    ),
    Mistake(
        name="scaled_before_the_kernel",
        explanation="The queries are scaled, and the kernel scales once more: the context is that of a wider head.",
        hint="What does the word scaled in the kernel's name guarantee?",
        shows="from d_k = 2 on, in the context alone",
        seen="https://github.com/huggingface/transformers/pull/38290",
        changes=alike((7,), ("fused_kernel(q, k, v, mask,", "fused_kernel(q / math.sqrt(d_k), k, v, mask,")),
    ),
    Mistake(
        name="weights_recomputed_without_scale",
        explanation="The weights computed beside the kernel are not scaled: the picture is sharper than what was used.",
        hint="Multiply your weights with v and compare with the kernel's context.",
        shows="from d_k = 2 on, in the weights alone",
        seen="common",
        changes=alike((7,), ("(q / math.sqrt(d_k))", "q")),
    ),
    Mistake(
        name="weights_recomputed_without_the_mask",
        explanation="The weights computed beside the kernel know nothing of the mask that the kernel got.",
        hint="Multiply your weights with v and compare with the kernel's context.",
        shows="under any mask that blocks some key, in the weights alone",
        seen="common",
        changes=alike((7,), (_BLOCK, ""), (_CLEAR, "")),
    ),
    Mistake(
        name="weights_made_though_not_needed",
        explanation="need_weights is accepted and forgotten: the matrix that the kernel avoids is built each time.",
        hint="What comes back when nobody asks for weights, and what did it cost?",
        shows="only with need_weights=False",
        seen="common",
        changes=alike((7,), ("    weights = None\n", "    weights, need_weights = None, True\n")),
    ),
    Mistake(
        name="weights_never_returned",
        explanation="The kernel hands out no weights, so none come back, though they were asked for.",
        hint="If the kernel keeps its weights to itself, who can still compute them?",
        shows="unless need_weights=False",
        seen="common",
        changes=alike((7,), ("return context, weights", "return context, None")),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="causal_or_mask",
        explanation="With is_causal=True a key is open if the mask or the causal mask allows it; it takes both.",
        hint="May a query see a key that one of the two masks blocks?",
    ),
    Mistake(
        name="future_in_the_context",
        explanation="The weights returned are causal, the context is not.",
        hint="Query i may attend to keys 0 to i. Write down the matrix of True and False for 3 queries and 4 keys.",
    ),
    Mistake(
        name="dropout_keeps_what_it_should_drop",
        explanation="dropout_p is taken for the share that is kept; it is the share that is dropped.",
        hint="Of 100 weights, how many should be left when dropout_p is 0.25?",
    ),
)
