"""Mistakes with heads that share keys; those that every multi-head attention can have stand in the other themes too."""

from __future__ import annotations

from ._mistake import Mistake

_SPLIT_Q = "q = q.view(*batch, T_q, G, R, d_k).movedim(-4, -2).reshape(*batch, G, R * T_q, d_k)"
_SPLIT_V = "v = v.view(*batch, T_k, G, d_k).transpose(-3, -2)"

MISTAKES = (
    Mistake(
        name="repeat_for_repeat_interleave",
        explanation="The heads of keys are repeated in turn, 0 1 0 1, where neighbours should share one, 0 0 1 1.",
        hint="With four heads of queries and two of keys: which keys does the second head of queries look at?",
        shows="where more than one head of keys is shared",
        seen="https://github.com/onnx/onnx/pull/7274",
        of_goals={
            "grouped_query_attention": (
                (
                    "    # split, the R heads that share keys below each other: "
                    "(..., T_q, G, R, d_k) -> (..., G, R, T_q, d_k) -> one matrix\n",
                    "",
                ),
                (_SPLIT_Q, "q = q.view(*batch, T_q, num_heads, d_k).transpose(-3, -2)  # (..., H, T_q, d_k)"),
                (
                    _SPLIT_V,
                    f"{_SPLIT_V}\n    k, v = (torch.cat([x] * R, dim=-3) for x in (k, v))  # (..., H, T_k, d_k)",
                ),
                (
                    "# (..., G, R * T_q, T_k)\n    scores = scores.view(*batch, num_heads, T_q, T_k)",
                    "# (..., H, T_q, T_k)",
                ),
                (
                    "context = weights.view(*batch, G, R * T_q, T_k) @ v  # (..., G, R * T_q, d_k)",
                    "context = weights @ v  # (..., H, T_q, d_k)",
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
