"""Mistakes that heads bring: how they are split, merged, masked, and handed back."""

from __future__ import annotations

from ._mistake import Mistake, alike, by_hand, mask_becomes

_SPLIT_Q = ".view(*batch, T_q, num_heads, d_k).transpose(-3, -2)"
_SPLIT_K = ".view(*batch, T_k, num_heads, d_k).transpose(-3, -2)"
_SPLIT_LOOP = "q.split(d_k, dim=-1), k.split(d_k, dim=-1), v.split(d_k, dim=-1)"
_MERGE = "context.transpose(-3, -2).reshape("
_SHAPES = "    *batch, T_q, d_model = q.shape\n"
_SPLIT_COMMENT = "(..., T, d_model) -> (..., T, H, d_k) -> (..., H, T, d_k)"
_MERGE_COMMENT = "(..., H, T_q, d_k) -> (..., T_q, H, d_k) -> (..., T_q, d_model)"
_LOOP_MASKS = ".unbind(-3)"
_STACK = "weights = torch.stack(weights_of_heads, dim=-3)"

MISTAKES = (
    Mistake(
        name="heads_averaged",
        explanation="The contexts of the heads are averaged and not set side by side: the output is one head wide.",
        hint="Should what one head found be told apart from what another found?",
        shows="from two heads on: the context is too narrow",
        seen="common",
        changes=alike((5,), ("torch.cat(contexts, dim=-1)", "torch.stack(contexts).mean(dim=0)"))
        | alike((6,), (f"{_MERGE}*batch, T_q, d_model)", "context.mean(dim=-3)"))
        | by_hand(),
    ),
    Mistake(
        name="heads_summed",
        explanation="The contexts of the heads are added up and not set side by side: the output is one head wide.",
        hint="How wide is the context of one head, and how wide is that of all?",
        shows="from two heads on: the context is too narrow",
        seen="common",
        changes=alike((5,), ("torch.cat(contexts, dim=-1)", "torch.stack(contexts).sum(dim=0)"))
        | alike((6,), (f"{_MERGE}*batch, T_q, d_model)", "context.sum(dim=-3)"))
        | by_hand(),
    ),
    Mistake(
        name="heads_interleaved_in_the_merge",
        explanation="The contexts are stacked along a new last axis: the columns of the heads come out interleaved.",
        hint="Which columns of the context belong to the first head, by the contract and by your code?",
        shows="from two heads of width 2 on, in the context alone",
        seen="common",
        changes=alike((5,), ("torch.cat(contexts, dim=-1)", "torch.stack(contexts, dim=-1).flatten(-2)"))
        | alike((6,), (_MERGE, "context.movedim(-3, -1).reshape("))
        | by_hand(),
    ),
    Mistake(
        name="every_hth_column_to_a_head",
        explanation="The columns are dealt out one by one, like cards, where a head should own a block of them.",
        hint="Number the columns of q and write down which ones the second head gets.",
        shows="from two heads of width 2 on",
        seen="common",
        changes=alike(
            (5,),
            (
                f"zip({_SPLIT_LOOP}, masks",
                "zip(*([x[..., h::num_heads] for h in range(num_heads)] for x in (q, k, v)), masks",
            ),
        )
        | alike(
            (6,),
            (_SPLIT_Q, ".view(*batch, T_q, d_k, num_heads).movedim(-1, -3)"),
            (_SPLIT_K, ".view(*batch, T_k, d_k, num_heads).movedim(-1, -3)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="every_head_reads_the_first_columns",
        explanation="All heads read the columns of the first: they find the same, over and over.",
        hint="Are the weights of two heads different, and should they be?",
        shows="from two heads on",
        seen="https://github.com/BobMcDear/attorch/issues/14",
        changes=alike(
            (5,), (f"zip({_SPLIT_LOOP}, masks", "zip(*([x[..., :d_k]] * num_heads for x in (q, k, v)), masks")
        )
        | alike(
            (6,),
            (_SPLIT_Q, "[..., :d_k].unsqueeze(-3).expand(*batch, num_heads, T_q, d_k)"),
            (_SPLIT_K, "[..., :d_k].unsqueeze(-3).expand(*batch, num_heads, T_k, d_k)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="heads_in_reverse",
        explanation="Each head's context is put before those of the heads already done: they come out in reverse.",
        hint="Which head's columns stand first in the context?",
        shows="from two heads on, in the context alone",
        seen="common",
        changes=alike((5,), ("contexts.append(context)", "contexts.insert(0, context)")),
    ),
    Mistake(
        name="last_head_left_out",
        explanation="The loop over the heads stops one early: the context lacks the last head's columns.",
        hint="How many times does your loop run when there are two heads?",
        shows="always: the context is too narrow",
        seen="common",
        changes=alike((5,), ("for q, k, v, mask in heads:", "for q, k, v, mask in list(heads)[:-1]:")),
    ),
    Mistake(
        name="number_of_heads_ignored",
        explanation="The number of heads is accepted and forgotten: one wide head does all the work.",
        hint="How many maps of weights come back when you ask for two heads?",
        shows="from two heads on",
        seen="common",
        changes=alike((5, 6), (_SHAPES.strip(), f"{_SHAPES.strip()}\n    num_heads = 1")) | by_hand(),
    ),
    Mistake(
        name="weights_averaged_over_heads",
        explanation="The weights come back averaged over the heads, as nn.MultiheadAttention returns them by default.",
        hint="How many maps of weights does the contract guarantee for one sequence?",
        shows="always: the weights lack an axis",
        seen="https://github.com/pytorch/pytorch/issues/34537",
        changes=alike(
            (5,), ("torch.stack(weights_of_heads, dim=-3)", "torch.stack(weights_of_heads, dim=-3).mean(dim=-3)")
        )
        | alike((6,), ("return context, weights", "return context, weights.mean(dim=-3)"))
        | by_hand(),
    ),
    Mistake(
        name="weights_of_the_last_head",
        explanation="What comes back is whatever the loop left in its variable: the weights of the last head.",
        hint="After the loop, whose weights does the name still hold?",
        shows="always: the weights lack an axis",
        seen="common",
        changes=alike(
            (5,),
            (
                f"{_STACK}  # H times (..., T_q, T_k) -> (..., H, T_q, T_k)\n    ",
                "",
            ),
        ),
    ),
    Mistake(
        name="weights_stacked_before_the_batch",
        explanation="The weights are stacked along a new first axis: with a batch, heads and sequences change places.",
        hint="Where does the axis of the heads stand in (..., num_heads, T_q, T_k)?",
        shows="only with a batch, in the weights alone",
        seen="common",
        changes=alike((5,), ("torch.stack(weights_of_heads, dim=-3)", "torch.stack(weights_of_heads, dim=0)")),
    ),
    Mistake(
        name="mask_for_the_first_head_alone",
        explanation="The first head is masked and the others see everything.",
        hint="Look at the map of every head under a causal mask.",
        shows="from two heads on, under any mask that blocks some key",
        seen="common",
        changes=alike((5,), (_LOOP_MASKS, f"{_LOOP_MASKS}[:1] + (None,) * (num_heads - 1)"))
        | alike(
            (6,),
            mask_becomes("mask | (torch.arange(num_heads, device=q.device) > 0).view(-1, 1, 1)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="mask_of_the_first_head_for_all",
        explanation="Every head is masked like the first, even where each has a mask of its own.",
        hint="The mask may have an axis for the heads, and what does your code do with it?",
        shows="only under a mask that differs between the heads",
        seen="common",
        changes=alike((5,), (_LOOP_MASKS, f"{_LOOP_MASKS}[:1] * num_heads"))
        | alike((6,), mask_becomes("mask[..., :1, :, :] if mask.ndim > 2 else mask"))
        | by_hand(),
    ),
    Mistake(
        name="view_without_transpose",
        explanation="The shape is right, the numbers are not: a head gets whole tokens, not columns of each token.",
        hint="Number the entries of a small q and follow one token through the split: does it stay one row?",
        shows="from two heads and two tokens on",
        seen="https://github.com/reczoo/FuxiCTR/issues/30",
        changes=alike(
            (6, 7),
            ("T_q, num_heads, d_k).transpose(-3, -2)", "num_heads, T_q, d_k)"),
            ("T_k, num_heads, d_k).transpose(-3, -2)", "num_heads, T_k, d_k)"),
            (_SPLIT_COMMENT, "(..., T, d_model) -> (..., H, T, d_k)"),
        )
        | alike(
            (5,),
            (
                f"zip({_SPLIT_LOOP}, masks",
                "zip(*(x.reshape(*batch, num_heads, -1, d_k).unbind(-3) for x in (q, k, v)), masks",
            ),
        ),
        of_goals={
            "grouped_query_attention": (
                (
                    "q.view(*batch, T_q, G, R, d_k).movedim(-4, -2).reshape(*batch, G, R * T_q, d_k)",
                    "q.reshape(*batch, G, R * T_q, d_k)",
                ),
                ("k.view(*batch, T_k, G, d_k).transpose(-3, -2)", "k.reshape(*batch, G, T_k, d_k)"),
                ("v.view(*batch, T_k, G, d_k).transpose(-3, -2)", "v.reshape(*batch, G, T_k, d_k)"),
            ),
        },
    ),
    Mistake(
        name="merge_without_transpose",
        explanation="The heads are merged while their axis stands before the tokens: a row mixes several tokens.",
        hint="The split swapped two axes, so what must happen before the last two are joined?",
        shows="from two heads and two queries on, in the context alone",
        seen="https://github.com/jsbaan/transformer-from-scratch/pull/6",
        changes=alike(
            (6, 7), (_MERGE, "context.reshape("), (_MERGE_COMMENT, "(..., H, T_q, d_k) -> (..., T_q, d_model)")
        )
        | alike((5,), ("torch.cat(contexts, dim=-1)", "torch.cat(contexts, dim=-2).reshape(*batch, T_q, d_model)")),
        of_goals={
            "grouped_query_attention": (
                (".movedim(-2, -4).reshape(*batch, T_q, d_model)", ".reshape(*batch, T_q, d_model)"),
            ),
            "latent_attention": (
                (".transpose(-3, -2).reshape(*batch, T_q, d_model)", ".reshape(*batch, T_q, d_model)"),
            ),
        },
    ),
    Mistake(
        name="merge_swaps_the_wrong_axes",
        explanation="Before the merge the last two axes are swapped, and those are the tokens and the columns.",
        hint="Name the axes of the context before the merge, and say which two must become neighbours.",
        shows="from two queries and d_k = 2 on, in the context alone",
        seen="common",
        changes=alike(
            (6, 7),
            (_MERGE, "context.transpose(-2, -1).reshape("),
            (_MERGE_COMMENT, "(..., H, T_q, d_k) -> (..., H, d_k, T_q) -> (..., T_q, d_model)"),
        ),
    ),
    Mistake(
        name="heads_attend_to_heads",
        explanation="The split leaves the heads after the tokens: at each position the heads look at one another.",
        hint="A product of matrices runs over the last two axes, and which ones are these in your q?",
        shows="always: the weights have the wrong shape, or it is an error if T_q differs from T_k",
        seen="https://github.com/HabanaAI/vllm-fork/pull/1218",
        changes=alike(
            (6,),
            ("T_q, num_heads, d_k).transpose(-3, -2)", "T_q, num_heads, d_k)"),
            ("T_k, num_heads, d_k).transpose(-3, -2)", "T_k, num_heads, d_k)"),
            (_SPLIT_COMMENT, "(..., T, d_model) -> (..., T, H, d_k)"),
            (_MERGE, "context.reshape("),
            (_MERGE_COMMENT, "(..., T_q, H, d_k) -> (..., T_q, d_model)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="heads_and_width_exchanged",
        explanation="The split counts d_k heads of width num_heads, where it should be the other way round.",
        hint="How many heads are there along the axis of the heads after your split?",
        shows="always, unless a head is as wide as there are heads; then each takes every other column",
        seen="common",
        changes=alike(
            (6,),
            ("T_q, num_heads, d_k).transpose(-3, -2)", "T_q, d_k, num_heads).transpose(-3, -2)"),
            ("T_k, num_heads, d_k).transpose(-3, -2)", "T_k, d_k, num_heads).transpose(-3, -2)"),
        )
        | by_hand(),
    ),
    Mistake(
        name="mask_repeated_in_the_wrong_order",
        explanation="The masks are repeated for the heads in the wrong order: heads get the mask of another sequence.",
        hint="Write down the masks of two sequences for two heads, in the order in which the heads are counted.",
        shows="only under a mask that differs between sequences or heads",
        seen="https://github.com/ArrowLuo/CLIP4Clip/issues/22",
        changes=alike(
            (6,),
            mask_becomes(
                "mask.expand(*batch, num_heads, T_q, T_k).transpose(0, -3).reshape(*batch, num_heads, T_q, T_k)"
            ),
        )
        | by_hand(),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="columns_off_by_one",
        explanation="A head's columns begin one too late: it owns h * d_k to (h + 1) * d_k.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="values_split_by_view",
        explanation="q and k are split into heads rightly, v is not: it misses its transpose.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="values_interleaved",
        explanation="q and k are split into heads rightly, v takes every H-th column.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="heads_not_split",
        explanation="The heads are not split: every head compares whole vectors of width d_model.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="head_one_column_short",
        explanation="A head's scores leave out the last of its columns: it owns d_k of them.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="values_of_the_first_head",
        explanation="Every head sums up the values of the first head.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="keys_of_the_first_head",
        explanation="Every head compares with the keys of the first head.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="queries_of_the_first_head",
        explanation="Every head asks with the queries of the first head.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="values_of_the_wrong_head",
        explanation="A head sums up the values of another head.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="keys_of_the_wrong_head",
        explanation="A head compares with the keys of another head.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="keys_split_by_view",
        explanation="q and v are split into heads rightly, k is not: it misses its transpose.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="queries_split_by_view",
        explanation="k and v are split into heads rightly, q is not: it misses its transpose.",
        hint="Number the entries of a small q and follow one token through the split. Which columns does head 0 get?",
    ),
    Mistake(
        name="first_head_repeated",
        explanation="Every head's place holds the context of the first head.",
        hint="Undo the split step by step: which axes were swapped, and which were joined?",
    ),
    Mistake(
        name="last_head_repeated",
        explanation="Every head's place holds the context of the last head.",
        hint="Undo the split step by step: which axes were swapped, and which were joined?",
    ),
    Mistake(
        name="returned_weights_of_other_heads",
        explanation="The weights returned belong to the heads in another order.",
        hint="Each head decides for itself: the weights keep their head axis.",
    ),
    Mistake(
        name="returned_weights_of_the_first_head",
        explanation="The weights of the first head are returned for all.",
        hint="Each head decides for itself: the weights keep their head axis.",
    ),
    Mistake(
        name="returned_weights_of_the_last_head",
        explanation="The weights of the last head are returned for all.",
        hint="Each head decides for itself: the weights keep their head axis.",
    ),
    Mistake(
        name="returned_after_the_first_head",
        explanation="Only the first head comes back: the function returns before the loop over the heads has ended.",
        hint="How far is the return indented?",
    ),
    Mistake(
        name="heads_never_merged",
        explanation="The contexts of the heads come back on an axis of their own; they belong side by side in one row.",
        hint="How many axes does the context have, and how wide is one row of it when all heads are done?",
    ),
    Mistake(
        name="heads_below_each_other",
        explanation=(
            "The contexts of the heads are put below each other, as more tokens or items; they belong side by side."
        ),
        hint="Along which axis do the columns of the heads follow one another?",
    ),
    Mistake(
        name="weights_with_the_heads_elsewhere",
        explanation="The weights have their axis of heads behind the queries; it stands before the queries and keys.",
        hint="In which order do the axes of (..., num_heads, T_q, T_k) stand?",
    ),
    Mistake(
        name="weights_of_the_heads_joined",
        explanation=(
            "The weights of the heads are joined along an axis that is there already; heads need an axis of their own."
        ),
        hint="What is the difference between joining tensors along an axis and stacking them on a new one?",
    ),
    Mistake(
        name="last_head_alone",
        explanation="Only the last head comes back: each round of the loop replaces what the one before it had made.",
        hint="Where are the contexts of the heads kept while the loop goes on?",
    ),
)
