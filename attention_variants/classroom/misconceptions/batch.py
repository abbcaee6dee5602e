"""Mistakes that a batch brings: axes taken for one another, and sequences that meet."""

from __future__ import annotations

from ._mistake import Mistake, alike, by_hand

_FIRST_TWO_SWAPPED = "    q, k, v = (x.transpose(0, 1) for x in (q, k, v))\n"

MISTAKES = (
    Mistake(
        name="transpose_of_the_batch",
        explanation="The first two axes are swapped, as in variant 2; but now the first is the batch.",
        hint="Say in words what each axis of k holds: which two does the product of matrices need swapped?",
        shows="with a batch: mostly as an error",
        seen="https://theorempath.com/labs/proof-tasks/attention-shape-trace",
        changes=alike((3, 4, 5, 6), ("k.transpose(-2, -1)", "k.transpose(0, 1)")) | by_hand(),
    ),
    Mistake(
        name="batch_as_one_sequence",
        explanation="The batch is flattened into one long sequence: tokens attend to the tokens of other sequences.",
        hint="May the first sentence of a batch know what the second one says?",
        shows="with a batch of two or more: the weights have too many columns",
        seen="https://github.com/leffff/graphormer-pyg/issues/14",
        changes=alike(
            (3,), ("k.transpose(-2, -1)", "k.flatten(0, -2).T"), ("weights @ v", "weights @ v.flatten(0, -2)")
        ),
    ),
    Mistake(
        name="batch_averaged",
        explanation="The context is averaged over the batch, so that the sequences lose what makes them different.",
        hint="How many contexts do you want for a batch of two sequences?",
        shows="with a batch",
        seen="common",
        changes=alike((3, 4), ("context = weights @ v", "context = (weights @ v).mean(dim=0)")),
    ),
    Mistake(
        name="only_the_first_item",
        explanation="Every sequence of the batch attends to the keys and values of the first.",
        hint="Change the second sequence of the batch: does its own context change?",
        shows="with a batch of two or more",
        seen="common",
        changes=alike((3, 4, 5, 6), ("@ k.transpose", "@ k[:1].transpose"), ("weights @ v", "weights @ v[:1]"))
        | by_hand(),
    ),
    Mistake(
        name="batch_taken_for_the_sequence",
        explanation="The first axis is read as the sequence, as nn.MultiheadAttention does unless told otherwise.",
        hint="Which axis comes first in your input, and which one does the code expect there?",
        shows="with a batch: as an error if T_q differs from T_k",
        seen="https://github.com/om-ai-lab/OmDet/issues/19",
        changes=alike(
            (3, 4),
            ("    d_k = q.shape[-1]\n", f"    d_k = q.shape[-1]\n{_FIRST_TWO_SWAPPED}"),
            ("return context, weights", "return context.transpose(0, 1), weights"),
        )
        | alike(
            (6,),
            ("    *batch, T_q, d_model = q.shape\n", f"{_FIRST_TWO_SWAPPED}    *batch, T_q, d_model = q.shape\n"),
            ("return context, weights", "return context.transpose(0, 1), weights"),
        )
        | by_hand(),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="keys_of_the_first_item",
        explanation="Every item of the batch is compared with the keys of the first.",
        hint="Say in words what each axis of k holds. Which two does the product of matrices need swapped?",
    ),
    Mistake(
        name="keys_of_another_item",
        explanation="The queries are compared with the keys of another item of the batch.",
        hint="Say in words what each axis of k holds. Which two does the product of matrices need swapped?",
    ),
    Mistake(
        name="values_of_the_first_item",
        explanation="Every item of the batch gets the values of the first.",
        hint="Which item of the batch do the values of the second sequence belong to?",
    ),
    Mistake(
        name="values_of_the_next_item",
        explanation="The values come from another item of the batch.",
        hint="Which item of the batch do the values of the second sequence belong to?",
    ),
    Mistake(
        name="one_batch_axis_only",
        explanation="It works with exactly one batch dimension; there may be none, or several.",
        hint="Count axes from the back: -1 and -2 are always the same two. What may stand before them?",
    ),
    Mistake(
        name="batch_items_mixed",
        explanation="The items of a batch see each other: a sequence gets another answer alone or at another place.",
        hint="Which of your operations run over the first axis, or join it with another?",
    ),
)
