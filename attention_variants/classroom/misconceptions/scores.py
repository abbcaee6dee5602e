"""Mistakes in the scores: the scale, and who is compared with whom."""

from __future__ import annotations

from ._mistake import SOFTMAX, Mistake, alike, by_hand

_ALL = (1, 2, 3, 4, 5, 6)
_SCALE = "math.sqrt(d_k)"
_SCORE = "scores[i, j] = q[i] @ k[j] / math.sqrt(d_k)  # (d_k) @ (d_k) -> one number"
_COSINE = "(q / q.norm(dim=-1, keepdim=True)) @ (k / k.norm(dim=-1, keepdim=True))"

MISTAKES = (
    Mistake(
        name="no_scale",
        explanation="The scores are not divided by the root of d_k: they grow with the width and sharpen the softmax.",
        hint="What happens to the spread of a sum of d_k products as d_k grows, and what undoes it?",
        shows="from d_k = 2 on",
        seen="https://github.com/delzac/cntkx/issues/10",
        changes=alike((1,), (f" / {_SCALE}", "")) | alike((2, 3, 4, 5, 6), ("(q / math.sqrt(d_k))", "q")) | by_hand(),
        of_goals={
            "grouped_query_attention": (("(q / math.sqrt(d_k))", "q"),),
            "flash_attention": (("q / math.sqrt(q.shape[-1])", "q"),),
        },
    ),
    Mistake(
        name="scale_by_d_k",
        explanation="The scores are divided by d_k, or by its root twice: the weights come out too even.",
        hint="A sum of d_k independent products has a variance of d_k; which number has the same unit as the sum?",
        shows="from d_k = 2 on",
        seen="https://github.com/huggingface/transformers/pull/38290",
        changes=alike(_ALL, (_SCALE, "d_k")) | by_hand(),
        of_goals={
            "grouped_query_attention": (("math.sqrt(d_k)", "d_k"),),
            "flash_attention": (("math.sqrt(q.shape[-1])", "q.shape[-1]"),),
        },
    ),
    Mistake(
        name="scale_multiplied",
        explanation="The scores are multiplied by the root of d_k: one key takes nearly all the weight.",
        hint="Should wide heads have larger scores than narrow ones, or the same?",
        shows="from d_k = 2 on",
        seen="common",
        changes=alike(_ALL, (f"/ {_SCALE}", f"* {_SCALE}")) | by_hand(),
    ),
    Mistake(
        name="scale_by_the_number_of_keys",
        explanation="The scale is the root of the number of keys, where it should be that of the width.",
        hint="Over which axis does one score sum, and how long is it?",
        shows="unless T_k = d_k",
        seen="common",
        changes=alike((1,), (_SCALE, "math.sqrt(T_k)"))
        | alike((2, 3, 4, 5, 6), (_SCALE, "math.sqrt(k.shape[-2])"))
        | by_hand(),
    ),
    Mistake(
        name="scale_by_the_number_of_queries",
        explanation="The width is read from the wrong axis of q: the scale is the root of the number of queries.",
        hint="Print the shape of q and say what each of its axes counts.",
        shows="unless T_q = d_k",
        seen="common",
        changes=alike((1,), (_SCALE, "math.sqrt(T_q)"))
        | alike((2, 3, 4, 5, 6), (_SCALE, "math.sqrt(q.shape[-2])"))
        | by_hand(),
    ),
    Mistake(
        name="scale_by_the_width_of_the_values",
        explanation="The scale is the root of d_v, but the values take no part in the scores.",
        hint="Which two of the three tensors meet in a score?",
        shows="only if d_v differs from d_k",
        seen="common",
        changes=alike((1,), (_SCALE, "math.sqrt(d_v)")) | alike((2, 3, 4), (_SCALE, "math.sqrt(v.shape[-1])")),
    ),
    Mistake(
        name="half_of_d_k",
        explanation="The power binds before the division: d_k**1 / 2 is the half of d_k and not its root.",
        hint="Print the scale for d_k = 16 and compare it with the one you expect.",
        shows="unless d_k = 4",
        seen="common",
        changes=alike(_ALL, (_SCALE, "(d_k**1 / 2)")) | by_hand(),
    ),
    Mistake(
        name="root_cut_to_an_integer",
        explanation="The root of d_k is cut to a whole number before it divides the scores.",
        hint="Try a width that is not a square number and print the scale.",
        shows="only if d_k is not a square number",
        seen="common",
        changes=alike(_ALL, (_SCALE, f"int({_SCALE})")) | by_hand(),
    ),
    Mistake(
        name="scale_after_the_softmax",
        explanation="The weights are scaled and not the scores: a row sums to less than 1.",
        hint="What do the rows of the weights sum to, and which step should be the last to touch them?",
        shows="from d_k = 2 on",
        seen="https://github.com/FrancescoSaverioZuppichini/ViT/issues/2",
        changes=alike((1,), (f" / {_SCALE}", ""), ("exp / exp.sum()", f"exp / exp.sum() / {_SCALE}"))
        | alike(
            (2, 3, 4, 5, 6),
            ("(q / math.sqrt(d_k))", "q"),
            (SOFTMAX, f"torch.softmax(scores, dim=-1) / {_SCALE}"),
        )
        | by_hand(),
    ),
    Mistake(
        name="queries_and_keys_swapped",
        explanation="Each key is compared with each query, so the rows of the scores belong to the keys.",
        hint="Who asks, and so who owns a row of the scores?",
        shows="always: as an error if T_q differs from T_k",
        seen="common",
        changes=alike((1,), ("q[i] @ k[j]", "k[i] @ q[j]"))
        | alike((2,), ("(q / math.sqrt(d_k)) @ k.T", "(k / math.sqrt(d_k)) @ q.T"))
        | alike((3, 4, 5, 6), ("(q / math.sqrt(d_k)) @ k.", "(k / math.sqrt(d_k)) @ q."))
        | by_hand(),
    ),
    Mistake(
        name="values_for_keys",
        explanation="The queries are compared with the values: what is handed over is taken for what is looked at.",
        hint="Which of k and v is a token's label, and which its content?",
        shows="always, unless the values are the keys",
        seen="common",
        changes=alike((1,), ("@ k[j]", "@ v[j]"))
        | alike((2,), ("@ k.T", "@ v.T"))
        | alike((3, 4, 5, 6), ("@ k.transpose", "@ v.transpose"))
        | by_hand(),
    ),
    Mistake(
        name="cosine_similarity",
        explanation="Queries and keys are brought to length 1 first, so that a score is a cosine and can say little.",
        hint="May a long query be surer of its choice than a short one?",
        shows="always",
        seen="common",
        changes=alike((1,), (f"q[i] @ k[j] / {_SCALE}", "(q[i] / q[i].norm()) @ (k[j] / k[j].norm())"))
        | alike((2,), ("(q / math.sqrt(d_k)) @ k.T", f"{_COSINE}.T"))
        | alike(
            (3, 4, 5, 6),
            ("(q / math.sqrt(d_k)) @ k.transpose", f"{_COSINE}.transpose"),
        )
        | by_hand(),
    ),
    Mistake(
        name="keys_reshaped",
        explanation="The keys are reshaped to the transposed shape: it fits, but a column mixes pieces of many keys.",
        hint="Number the entries of a small k and see where the first key ends up.",
        shows="from two keys and d_k = 2 on",
        seen="common",
        changes=alike((2,), ("k.T", "k.reshape(d_k, -1)"))
        | alike((3, 4, 5, 6), ("k.transpose(-2, -1)", "k.reshape(*k.shape[:-2], d_k, -1)"))
        | by_hand(),
    ),
    Mistake(
        name="score_carried_on",
        explanation="The sum of the products is not set back to 0 between the scores: each holds all those before it.",
        hint="Which variable collects one score, and what does it hold when the next one begins?",
        shows="from two keys on",
        seen="common",
        changes=alike(
            (1,),
            ("    scores = q.new_zeros(T_q, T_k)\n", "    scores, total = q.new_zeros(T_q, T_k), q.new_zeros(())\n"),
            (
                f"            {_SCORE}",
                "            total = total + q[i] @ k[j] / math.sqrt(d_k)\n            scores[i, j] = total",
            ),
        ),
    ),
    Mistake(
        name="last_key_never_scored",
        explanation="The loop over the keys stops one early: the score of the last key stays 0.",
        hint="How many scores does one query have, and how many does your loop compute?",
        shows="from two keys on",
        seen="common",
        changes=alike(
            (1,),
            (
                f"        for j in range(T_k):\n            {_SCORE}",
                f"        for j in range(T_k - 1):\n            {_SCORE}",
            ),
        ),
    ),
    Mistake(
        name="scores_returned_as_weights",
        explanation="The scores are handed back where the weights belong; the context is right.",
        hint="What should the rows of the second result sum to?",
        shows="always, in the weights alone",
        seen="common",
        changes=alike((1, 2, 3, 4, 6), ("return context, weights", "return context, scores"))
        | alike((5,), ("weights_of_heads.append(weights)", "weights_of_heads.append(scores)"))
        | by_hand(),
    ),
    Mistake(
        name="scale_by_d_model",
        explanation="The scores are divided by sqrt(d_model), but a head is d_k wide: the weights are too even.",
        hint="Over how many products does one score of one head sum?",
        shows="from two heads on",
        seen="https://github.com/lucidrains/vit-pytorch/issues/65",
        changes=alike((5, 6), (_SCALE, "math.sqrt(d_model)")) | by_hand(),
        of_goals={
            "grouped_query_attention": (("math.sqrt(d_k)", "math.sqrt(d_model)"),),
            "latent_attention": (("math.sqrt(d_latent / d_k)", "math.sqrt(d_latent / d_model)"),),
        },
    ),
    Mistake(
        name="scale_by_the_number_of_heads",
        explanation="The scale is the root of the number of heads, where it should be that of a head's width.",
        hint="Which number says how many products a score sums: how many heads there are, or how wide one is?",
        shows="unless a head is as wide as there are heads",
        seen="https://github.com/tenstorrent/tt-metal/pull/56789",
        changes=alike((5, 6), (_SCALE, "math.sqrt(num_heads)")) | by_hand(),
        of_goals={
            "grouped_query_attention": (("math.sqrt(d_k)", "math.sqrt(num_heads)"),),
        },
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="multiplied_by_d_k",
        explanation="The scores are multiplied by d_k where they are to be divided by its root.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
    Mistake(
        name="scale_by_fourth_root",
        explanation="Only the fourth root of d_k divides the scores: half of the scale.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
    Mistake(
        name="scale_by_T_k",
        explanation="The scores are divided by the number of keys; it is the width that makes them large.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
    Mistake(
        name="scale_by_batch",
        explanation="The scores are divided by the root of the first axis of q, which is not its width.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
    Mistake(
        name="negative_scores",
        explanation="The scores have the wrong sign: the least similar key gets the most.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
    Mistake(
        name="scale_by_d_model_without_root",
        explanation="The scores are divided by d_model, not by the root of d_k.",
        hint="Over how many products does one score of one head sum?",
    ),
    Mistake(
        name="scores_of_keys_with_keys",
        explanation="The keys are compared with themselves; the queries are not asked.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="scores_of_queries",
        explanation="The queries are compared with themselves; the keys are not asked.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="squared_distance",
        explanation="The score is a squared distance between q and k, not their product.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="uniform_weights",
        explanation="Every key gets the same weight: the scores do not count.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="sum_without_products",
        explanation="The score adds q and k up; it should multiply them number by number.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="absolute_scores",
        explanation="The sign of the scores is lost: an opposite key counts like a similar one.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="keys_not_transposed",
        explanation="q is multiplied with k as it stands; a score needs a row of q and a row of k.",
        hint="A product of matrices pairs rows of the first with columns of the second. What are the columns of k?",
    ),
    Mistake(
        name="distance_for_product",
        explanation="The score is a distance between q and k, not their product.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="last_column_left_out",
        explanation="The product of q and k leaves out the last number of each.",
        hint="Over how many products does one score sum? Count them for d_k = 3.",
    ),
    Mistake(
        name="first_column_left_out",
        explanation="The product of q and k leaves out the first number of each.",
        hint="Over how many products does one score sum? Count them for d_k = 3.",
    ),
    Mistake(
        name="first_score_for_every_key",
        explanation="Every query is compared with the first key only.",
        hint="Which index of k changes from one score to the next?",
    ),
    Mistake(
        name="first_query_for_every_row",
        explanation="Every row of the scores asks with the first query.",
        hint="Which index of q changes from one row of the scores to the next?",
    ),
    Mistake(
        name="all_axes_of_k_reversed",
        explanation="All axes of k are reversed; only its last two need to be swapped.",
        hint="A score compares one query with one key. Which two vectors go into score [i][j], and how?",
    ),
    Mistake(
        name="wrong_scale",
        explanation="The scores are right but for a factor: they are not divided by the root of the width of a head.",
        hint="How does the spread of q . k grow with the number of products that it sums? What undoes just that?",
    ),
)
