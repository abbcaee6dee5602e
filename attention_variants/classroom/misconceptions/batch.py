"""Mistakes that a batch brings: axes taken for one another, and sequences that meet."""

from __future__ import annotations

from ._misconception import Misconception, alike, by_hand

_FIRST_TWO_SWAPPED = "    q, k, v = (x.transpose(0, 1) for x in (q, k, v))\n"

MISTAKES = (
    Misconception(
        name="transpose_of_the_batch",
        explanation="The first two axes are swapped, as in variant 2; but now the first is the batch.",
        hint="Say in words what each axis of k holds: which two does the product of matrices need swapped?",
        shows="with a batch: mostly as an error",
        seen="https://theorempath.com/labs/proof-tasks/attention-shape-trace",
        changes=alike((3, 4, 5, 6), ("k.transpose(-2, -1)", "k.transpose(0, 1)")) | by_hand(),
    ),
    Misconception(
        name="batch_as_one_sequence",
        explanation="The batch is flattened into one long sequence: tokens attend to the tokens of other sequences.",
        hint="May the first sentence of a batch know what the second one says?",
        shows="with a batch of two or more: the weights have too many columns",
        seen="https://github.com/leffff/graphormer-pyg/issues/14",
        changes=alike(
            (3,), ("k.transpose(-2, -1)", "k.flatten(0, -2).T"), ("weights @ v", "weights @ v.flatten(0, -2)")
        ),
    ),
    Misconception(
        name="batch_averaged",
        explanation="The context is averaged over the batch, so that the sequences lose what makes them different.",
        hint="How many contexts do you want for a batch of two sequences?",
        shows="with a batch",
        seen="common",
        changes=alike((3, 4), ("context = weights @ v", "context = (weights @ v).mean(dim=0)")),
    ),
    Misconception(
        name="only_the_first_item",
        explanation="Every sequence of the batch attends to the keys and values of the first.",
        hint="Change the second sequence of the batch: does its own context change?",
        shows="with a batch of two or more",
        seen="common",
        changes=alike((3, 4, 5, 6), ("@ k.transpose", "@ k[:1].transpose"), ("weights @ v", "weights @ v[:1]"))
        | by_hand(),
    ),
    Misconception(
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
)
