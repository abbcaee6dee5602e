"""Mistakes in the weighted sum of the values, and loops that run over the wrong range."""

from __future__ import annotations

from ._mistake import Mistake, alike, by_hand

_SUM = "context[i] += weights[i, j] * v[j]  # one number * (d_v) -> (d_v)"

MISTAKES = (
    Mistake(
        name="last_key_left_out",
        explanation="The sum stops one key early: the last value never reaches the context.",
        hint="Which numbers does your inner loop count through when there are three keys?",
        shows="always, in the context alone",
        seen="common",
        changes=alike(
            (1,),
            (
                f"        for j in range(T_k):\n            {_SUM}",
                f"        for j in range(T_k - 1):\n            {_SUM}",
            ),
        ),
    ),
    Mistake(
        name="last_query_left_out",
        explanation="The loop over the queries stops one early: the last row of the weights stays 0.",
        hint="Which rows of the weights does your loop fill when there are three queries?",
        shows="always",
        seen="common",
        changes=alike(
            (1,), ("    for i in range(T_q):\n        largest", "    for i in range(T_q - 1):\n        largest")
        ),
    ),
    Mistake(
        name="sum_overwritten",
        explanation="Each value replaces what was there in place of being added: the last key alone is left.",
        hint="What does the context hold after the first key, and what after the second?",
        shows="from two keys on, in the context alone",
        seen="common",
        changes=alike((1,), ("context[i] += ", "context[i] = ")),
    ),
    Mistake(
        name="value_of_the_query",
        explanation="The value is read at the query's position, so that each query gets a multiple of one value.",
        hint="Which of the two loops walks through the values?",
        shows="always: as an error if there are more queries than keys",
        seen="common",
        changes=alike((1,), ("* v[j]", "* v[i]")),
    ),
    Mistake(
        name="context_carried_on",
        explanation="The sum is not set back to 0 between the queries: each context holds all those before it.",
        hint="What stands in the sum when the second query begins?",
        shows="from two queries on, in the context alone",
        seen="common",
        changes=alike(
            (1,),
            ("    context = v.new_zeros(T_q, d_v)\n", "    context, total = v.new_zeros(T_q, d_v), v.new_zeros(d_v)\n"),
            (f"            {_SUM}", "            total = total + weights[i, j] * v[j]\n        context[i] = total"),
        ),
    ),
    Mistake(
        name="context_as_wide_as_the_keys",
        explanation="The context is given the width of the keys, but it is made of values.",
        hint="What is a context a sum of, and how wide is that?",
        shows="only if d_v differs from d_k",
        seen="common",
        changes=alike((1,), ("v.new_zeros(T_q, d_v)", "v.new_zeros(T_q, d_k)")),
    ),
    Mistake(
        name="as_many_keys_as_queries",
        explanation="The number of keys is taken from the queries, as if a sequence could only look at itself.",
        hint="Try three queries and five keys: where does each of the two numbers come from?",
        shows="only if T_q differs from T_k",
        seen="https://github.com/huggingface/transformers/pull/48356",
        changes=alike(
            (1,), ("(T_q, d_k), (T_k, d_v) = q.shape, v.shape", "(T_q, d_k), d_v = q.shape, v.shape[-1]\n    T_k = T_q")
        )
        | alike((5, 6), ("T_k, d_k = k.shape[-2], ", "T_k, d_k = T_q, "))
        | by_hand(),
    ),
    Mistake(
        name="keys_for_values",
        explanation="The context is summed from the keys: what was looked at is handed over, and v is never read.",
        hint="Does your output change when you change v?",
        shows="always, unless the values are the keys",
        seen="common",
        changes=alike((2,), ("weights @ v", "weights @ k"))
        | alike((1,), ("* v[j]", "* k[j]"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights @ k"))
        | by_hand(),
    ),
    Mistake(
        name="queries_for_values",
        explanation="The context is summed from the queries, which is possible only where there are as many as keys.",
        hint="Does your output change when you change v?",
        shows="always, unless the values are the queries",
        seen="common",
        changes=alike((2,), ("weights @ v", "weights @ q"))
        | alike((1,), ("* v[j]", "* q[j]"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights @ q"))
        | by_hand(),
    ),
    Mistake(
        name="weights_transposed",
        explanation="The values are summed along the columns of the weights: keys collect where queries should.",
        hint="Row i of the weights belongs to query i, so which entries multiply the values for context i?",
        shows="always, in the context: as an error if T_q differs from T_k",
        seen="https://github.com/ok1zjf/VASNet/issues/25",
        changes=alike((2,), ("weights @ v", "weights.T @ v"))
        | alike((1,), ("weights[i, j] * v[j]", "weights[j, i] * v[j]"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights.transpose(-2, -1) @ v"))
        | by_hand(),
    ),
    Mistake(
        name="context_averaged",
        explanation="The weighted sum is divided by the number of keys, though the weights average already.",
        hint="What is the context when all values are 1?",
        shows="from two keys on, in the context alone",
        seen="common",
        changes=alike((2,), ("weights @ v", "weights @ v / k.shape[0]"))
        | alike((1,), ("return context, weights", "return context / T_k, weights"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights @ v / k.shape[-2]"))
        | by_hand(),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="context_from_scores",
        explanation="The values are weighed with the raw scores, not with the weights.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="context_is_the_mean",
        explanation="The context is the plain mean of the values: the weights do not count.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="scale_after_the_sum",
        explanation="The context is divided by the root of d_k; it is the scores that are to be divided.",
        hint="Which numbers grow with the width, those before the softmax or those after it?",
    ),
    Mistake(
        name="first_key_alone",
        explanation="The context holds only what the first key gave.",
        hint="How far is the return indented, and how many values are summed?",
    ),
    Mistake(
        name="context_divided_by_T_k",
        explanation="The context is divided by the number of keys; weights sum to 1 already.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="first_key_missing",
        explanation="The first key is left out of the sum.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="query_added",
        explanation="The queries are added to the context: that belongs to the layer around it.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="last_context_in_every_row",
        explanation="Every row of the context is that of the last query.",
        hint="How many tensors does the loop over the queries make, and how many names do they have?",
    ),
    Mistake(
        name="value_of_the_best_key",
        explanation="Only the value of the key with the largest weight is taken.",
        hint="The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
    ),
    Mistake(
        name="returned_weights_transposed",
        explanation="The weights are returned transposed: rows must be the queries.",
        hint="The weights returned are those that met the values: rows are queries, and each sums to 1.",
    ),
    Mistake(
        name="unscaled_scores_returned",
        explanation="The unscaled scores are returned in place of the weights.",
        hint="The weights returned are those that met the values: rows are queries, and each sums to 1.",
    ),
    Mistake(
        name="returned_weights_zero",
        explanation="The weights returned are 0: they are not those that were used.",
        hint="The weights returned are those that met the values: rows are queries, and each sums to 1.",
    ),
    Mistake(
        name="returned_weights_made_up",
        explanation="The weights returned are all equal: they are not those that were used.",
        hint="The weights returned are those that met the values: rows are queries, and each sums to 1.",
    ),
    Mistake(
        name="returned_after_the_first_query",
        explanation="Only the first row comes back: the function returns before the loop over the queries has ended.",
        hint="How far is the return indented?",
    ),
    Mistake(
        name="one_row_alone",
        explanation=(
            "One row comes back, that of a single query: each round of the loop replaces what the one before it "
            "had made."
        ),
        hint="Where are the rows kept while the loop goes on?",
    ),
)
