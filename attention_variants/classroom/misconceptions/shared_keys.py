"""Mistakes with heads that share keys; those that every multi-head attention can have stand in the other themes too."""

from __future__ import annotations

from ._mistake import Mistake

_SPLIT_Q = "q = q.view(*batch, T_q, G, R, d_k).movedim(-4, -2).reshape(*batch, G, R * T_q, d_k)"
_SPLIT_Q_LINE = f"    {_SPLIT_Q}\n"

MISTAKES = (
    Mistake(
        name="repeat_for_repeat_interleave",
        explanation="The heads of keys are repeated as a whole, 0 1 0 1, so that neighbouring queries do not share keys.",
        hint="With four heads of queries and two of keys: which keys does the second head of queries look at?",
        shows="where more than one head of keys is shared",
        of_goals={
            "grouped_query_attention": (
                (
                    _SPLIT_Q_LINE,
                    "    q = q.view(*batch, T_q, R, G, d_k).movedim(-4, -2).transpose(-4, -3).reshape(*batch, G, R * T_q, d_k)\n",
                ),
                (
                    "    scores = scores.view(*batch, num_heads, T_q, T_k)\n",
                    "    scores = scores.view(*batch, G, R, T_q, T_k).transpose(-4, -3).reshape(*batch, num_heads, T_q, T_k)\n",
                ),
                (
                    "    context = weights.view(*batch, G, R * T_q, T_k) @ v  # (..., G, R * T_q, d_k)\n",
                    "    shared = weights.view(*batch, R, G, T_q, T_k).transpose(-4, -3).reshape(*batch, G, R * T_q, T_k)\n"
                    "    context = shared @ v  # (..., G, R * T_q, d_k)\n",
                ),
                (
                    "context.view(*batch, G, R, T_q, d_k).movedim(-2, -4)",
                    "context.view(*batch, G, R, T_q, d_k).permute(*range(len(batch)), -2, -3, -4, -1)",
                ),
            )
        },
    ),
    Mistake(
        name="first_kv_head_for_all",
        explanation="All heads of queries look at the keys and values of the first head.",
        hint="How many different heads of keys are looked at, and how many are there?",
        shows="where there is more than one head of keys",
        of_goals={
            "grouped_query_attention": (
                (
                    "    scores = (q /",
                    "    k, v = k[..., :1, :, :].expand_as(k), v[..., :1, :, :].expand_as(v)\n    scores = (q /",
                ),
            )
        },
    ),
)
