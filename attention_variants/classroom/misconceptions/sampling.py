"""Mistakes on the way from logits to a distribution."""

from __future__ import annotations

from ._mistake import Mistake

_ORDER = "ordered, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)"
_SOFTMAX = "    probabilities = torch.softmax(ordered, dim=-1)\n"
_TOP_K = "    if top_k is not None:\n        ordered[..., top_k:] = -torch.inf\n"
_RENORM = "        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)\n"
_BEFORE = "before >= top_p"

MISTAKES = (
    Mistake(
        name="temperature_after_softmax",
        explanation="Probabilities are divided by the temperature and normalised again: that changes nothing.",
        hint="What does a softmax make of twice the logits, and what does a normalisation make of twice the shares?",
        shows="at every temperature but 1",
        seen="https://github.com/google/gemma.cpp/pull/981",
        of_goals={"sampling_probabilities": ((_ORDER, _ORDER.replace("(logits / temperature)", "logits")),)},
    ),
    Mistake(
        name="temperature_multiplied",
        explanation="The logits are multiplied by the temperature: a high one makes the choice safer, not freer.",
        hint="Which way do the probabilities move as the temperature grows?",
        shows="at every temperature but 1",
        of_goals={"sampling_probabilities": ((_ORDER, _ORDER.replace("/ temperature", "* temperature")),)},
    ),
    Mistake(
        name="softmax_of_shares_at_a_temperature",
        explanation="A softmax is taken before the temperature, and another one after it: all tokens come out alike.",
        hint="How often is a softmax taken on the way from logits to probabilities?",
        shows="everywhere",
        of_goals={
            "sampling_probabilities": ((_ORDER, _ORDER.replace("(logits /", "(torch.softmax(logits, dim=-1) /")),)
        },
    ),
    Mistake(
        name="top_p_without_renormalising",
        explanation="What top_p leaves out is set to 0, and the rest still sums to less than 1.",
        hint="To what do the probabilities of the tokens that stay sum?",
        shows="with top_p below 1",
        of_goals={"sampling_probabilities": ((_RENORM, ""),)},
    ),
    Mistake(
        name="top_k_without_renormalising",
        explanation="What top_k leaves out is set to 0 after the softmax, and the rest still sums to less than 1.",
        hint="To what do the probabilities of the tokens that stay sum?",
        shows="with top_k below the number of tokens",
        of_goals={
            "sampling_probabilities": (
                (_TOP_K, ""),
                (_SOFTMAX, _SOFTMAX + "    if top_k is not None:\n        probabilities[..., top_k:] = 0.0\n"),
            )
        },
    ),
    Mistake(
        name="top_p_leaves_the_last_one_out",
        explanation="The token with which top_p is reached is left out: what stays has less than top_p together.",
        hint="Do the tokens that you keep have at least top_p of the probability together?",
        shows="with top_p below 1",
        seen="https://github.com/Biohub/esm/pull/360",
        of_goals={"sampling_probabilities": ((_BEFORE, "(before + probabilities > top_p) & (before > 0.0)"),)},
    ),
    Mistake(
        name="top_p_may_leave_nothing",
        explanation="The token with which top_p is reached is left out, the first one too: nothing may be left.",
        hint="What stays if the likeliest token alone has more than top_p?",
        shows="with top_p below 1",
        seen="https://github.com/rasbt/reasoning-from-scratch/issues/164",
        of_goals={"sampling_probabilities": ((_BEFORE, "before + probabilities > top_p"),)},
    ),
    Mistake(
        name="top_p_keeps_one_too_many",
        explanation="One token more than needed stays: those before it had top_p of the probability already.",
        hint="Which is the fewest number of tokens that have top_p together?",
        shows="with top_p below 1",
        of_goals={
            "sampling_probabilities": (
                (_BEFORE, "torch.cat([torch.zeros_like(before[..., :1]), before[..., :-1]], dim=-1) >= top_p"),
            )
        },
    ),
    Mistake(
        name="top_p_as_a_threshold",
        explanation="Every token that is less likely than top_p is left out: a threshold, not a share of the whole.",
        hint="Is top_p compared with the probability of one token, or with the sum over several?",
        shows="with top_p below 1",
        of_goals={"sampling_probabilities": ((_BEFORE, "(probabilities < top_p) & (before > 0.0)"),)},
    ),
    Mistake(
        name="top_p_before_top_k",
        explanation="The order is changed: top_p looks at all tokens, and top_k takes away what is left.",
        hint="Of what do the tokens that top_p keeps have their share: of all tokens, or of those that top_k left?",
        shows="with both",
        seen="https://github.com/ml-explore/mlx-lm/pull/388",
        of_goals={
            "sampling_probabilities": (
                (_TOP_K, ""),
                (
                    _RENORM + "    return",
                    _RENORM
                    + "    if top_k is not None:\n"
                    + "        probabilities[..., top_k:] = 0.0\n"
                    + "        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)\n"
                    + "    return",
                ),
            )
        },
    ),
    Mistake(
        name="top_k_keeps_all_ties",
        explanation="All tokens as likely as the last of the top_k stay: there may be more than top_k of them.",
        hint="How many tokens stay if several are equally likely at the limit?",
        shows="where logits are equal",
        of_goals={
            "sampling_probabilities": (
                (
                    "        ordered[..., top_k:] = -torch.inf\n",
                    "        least = ordered[..., min(top_k, ordered.shape[-1]) - 1, None]\n"
                    "        ordered = ordered.masked_fill(ordered < least, -torch.inf)\n",
                ),
            )
        },
    ),
    Mistake(
        name="probabilities_in_sorted_order",
        explanation="The probabilities are handed back in the order of their size, not in that of the tokens.",
        hint="Which token does the first number that you hand back belong to?",
        shows="wherever the likeliest token is not the first",
        of_goals={
            "sampling_probabilities": (
                ("torch.zeros_like(logits).scatter_(-1, order, probabilities)", "probabilities"),
            )
        },
    ),
    Mistake(
        name="temperature_ignored",
        explanation="The temperature is not used: the choice is equally free at every temperature, 0 among them.",
        hint="Where does your code use the temperature?",
        shows="at every temperature but 1",
        of_goals={
            "sampling_probabilities": (
                (_ORDER, _ORDER.replace("(logits / temperature)", "logits")),
                ("if temperature == 0.0:", "if False:"),
            )
        },
    ),
    Mistake(
        name="temperature_0_divides",
        explanation="At temperature 0 the logits are divided by 0: the probabilities are not numbers.",
        hint="What is the limit as the temperature goes to 0, and can a division give it?",
        shows="at temperature 0",
        of_goals={"sampling_probabilities": (("if temperature == 0.0:", "if False:"),)},
    ),
    Mistake(
        name="top_k_over_the_batch",
        explanation="One limit is found for all rows together: a row may lose tokens that are among its own likeliest.",
        hint="Along which axis are the likeliest tokens looked for?",
        shows="in batches, with top_k",
        of_goals={
            "sampling_probabilities": (
                (
                    "        ordered[..., top_k:] = -torch.inf\n",
                    "        least = ordered.flatten().topk(min(top_k, ordered.numel())).values[-1]\n"
                    "        out = (ordered < least) & (ordered < ordered[..., :1])\n"
                    "        ordered = ordered.masked_fill(out, -torch.inf)\n",
                ),
            )
        },
    ),
    Mistake(
        name="top_k_keeps_one_too_many",
        explanation="One token more than top_k stays.",
        hint="With top_k at 1: how many tokens stay?",
        shows="with top_k below the number of tokens",
        seen="https://github.com/kingoflolz/mesh-transformer-jax/issues/164",
        of_goals={"sampling_probabilities": (("ordered[..., top_k:]", "ordered[..., top_k + 1 :]"),)},
    ),
    Mistake(
        name="temperature_applied_twice",
        explanation="The logits are divided by the temperature twice.",
        hint="By what are the logits divided in all at temperature 2?",
        shows="at every temperature but 1",
        seen="https://github.com/RL-Align/RL-Kernel/issues/81",
        of_goals={"sampling_probabilities": ((_ORDER, _ORDER.replace("/ temperature", "/ temperature**2")),)},
    ),
    Mistake(
        name="top_k_by_the_smallest",
        explanation="The least likely tokens stay, where the likeliest should: it is sorted the other way round.",
        hint="Which token stays with top_k at 1?",
        shows="with top_k or top_p",
        of_goals={"sampling_probabilities": ((_ORDER, _ORDER.replace("descending=True", "descending=False")),)},
    ),
)
