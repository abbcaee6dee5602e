"""Mistakes with caches of keys and values."""

from __future__ import annotations

from ._mistake import Mistake

_KEEP_K = "self.k = k if self.k is None else torch.cat([self.k, k], dim=-2)  # (..., T, d_k)"
_KEEP_V = "self.v = v if self.v is None else torch.cat([self.v, v], dim=-2)"

MISTAKES = (
    Mistake(
        name="cache_joined_on_the_head_axis",
        explanation="New keys are joined to the old ones along the axis of the heads, not along that of the positions.",
        hint="Which axis of the keys grows with the text?",
        shows="from the second call on",
        of_goals={
            "KVCache": (
                (_KEEP_K, _KEEP_K.replace("dim=-2", "dim=min(1, k.ndim - 2)")),
                (_KEEP_V, _KEEP_V.replace("dim=-2", "dim=min(1, k.ndim - 2)")),
                ("self.k.shape[-2]", "self.k.shape[min(1, self.k.ndim - 2)]"),
                ("        check_append(self, k, v)\n", ""),
            )
        },
    ),
    Mistake(
        name="cache_puts_the_new_first",
        explanation="The new keys and values are put before the old ones: the text stands in the cache backwards.",
        hint="Print the keys after the second call: which of them came first?",
        shows="from the second call on",
        of_goals={"KVCache": (("[self.k, k]", "[k, self.k]"), ("[self.v, v]", "[v, self.v]"))},
    ),
    Mistake(
        name="cache_returns_the_new_alone",
        explanation="Only the new keys and values come back: the old ones are lost, or nobody looks at them.",
        hint="How many keys should the query of the fifth token look at?",
        shows="from the second call on",
        of_goals={
            "KVCache": [
                (("return self.k, self.v\n        if self._room", "return k, v\n        if self._room"),),
                ((_KEEP_K, "self.k = k"), (_KEEP_V, "self.v = v")),
            ]
        },
    ),
    Mistake(
        name="cache_returns_what_was_there_before",
        explanation="The new keys and values are kept, but what comes back is what was there before them.",
        hint="May the query of a new token look at the key of that token?",
        shows="from the second call on",
        of_goals={
            "KVCache": (
                (
                    f"            {_KEEP_K}\n            {_KEEP_V}\n            return self.k, self.v\n",
                    "            before = (k, v) if self.k is None else (self.k, self.v)\n"
                    f"            {_KEEP_K}\n            {_KEEP_V}\n            return before\n",
                ),
            )
        },
    ),
    Mistake(
        name="cache_keeps_the_keys_alone",
        explanation="The keys are kept, the values are not: there are fewer values than keys.",
        hint="What is summed by the weights of the earlier tokens?",
        shows="from the second call on",
        of_goals={"KVCache": ((_KEEP_V, "self.v = v"),)},
    ),
    Mistake(
        name="cache_keeps_keys_for_values",
        explanation="The keys are kept in both places: what comes back as values are keys.",
        hint="How wide is what comes back as values, and how wide are the values?",
        shows="in every call after the first",
        of_goals={"KVCache": ((_KEEP_V, "self.v = v if self.v is None else self.k"),)},
    ),
    Mistake(
        name="cache_shared_by_instances",
        explanation="What is kept belongs to the class: a new instance begins with the keys of another one.",
        hint="Make two caches and append to one of them: what does the other hold?",
        shows="in a second instance; so in the second layer, or the second text",
        of_goals={
            "KVCache": (
                (
                    "self.k: Tensor | None = None\n        self.v: Tensor | None = None\n",
                    "kept = type(self)\n"
                    "        kept.k = getattr(kept, 'k', None)\n        kept.v = getattr(kept, 'v', None)\n",
                ),
                (_KEEP_K, "type(self).k = " + _KEEP_K.partition("= ")[2]),
                (_KEEP_V, "type(self).v = " + _KEEP_V.partition("= ")[2]),
            )
        },
    ),
    Mistake(
        name="cache_without_gradient",
        explanation="What is kept is detached: no gradient flows back to keys and values of earlier calls.",
        hint="Which step takes a tensor out of the graph that the gradient runs back through?",
        shows="in the gradients alone",
        of_goals={
            "KVCache": (
                ("self.k = k if self.k", "self.k = k.detach() if self.k"),
                ("self.v = v if self.v", "self.v = v.detach() if self.v"),
                ("[self.k, k]", "[self.k, k.detach()]"),
                ("[self.v, v]", "[self.v, v.detach()]"),
            )
        },
    ),
    Mistake(
        name="cache_not_reordered",
        explanation="The items stay in their places: a beam goes on with the keys of another beam.",
        hint="After the beams have been chosen anew, whose keys stand in place 0?",
        shows="in reorder, with beams in another order",
        seen="https://github.com/huggingface/transformers/issues/46612",
        of_goals={"KVCache": (("self.k, self.v = self.k[items], self.v[items]", "self.k, self.v = self.k, self.v"),)},
    ),
    Mistake(
        name="cache_reordered_in_the_keys_alone",
        explanation="The keys are taken in their new order, the values are not.",
        hint="A weight is found by a key: which value does it belong to after the beams have changed places?",
        shows="in reorder, in the values",
        of_goals={"KVCache": (("self.k[items], self.v[items]", "self.k[items], self.v"),)},
    ),
    Mistake(
        name="cache_reordered_the_wrong_way",
        explanation="Item i goes to the place that it names, where place i should get the item that is named.",
        hint="With the order 2, 0, 0: how many places get a copy of item 0?",
        shows="in reorder, where an item comes twice or the order is not its own inverse",
        of_goals={
            "KVCache": (
                (
                    "self.k, self.v = self.k[items], self.v[items]",
                    "self.k, self.v = (x.clone().index_copy_(0, items, x) for x in (self.k, self.v))",
                ),
            )
        },
    ),
    Mistake(
        name="cache_trimmed_at_the_wrong_end",
        explanation="The last positions are kept and the first ones forgotten, where it should be the other way round.",
        hint="Which positions of the text are there if it is cut to its first three?",
        shows="in trim",
        of_goals={
            "KVCache": (
                (
                    "self.k[..., :length, :], self.v[..., :length, :]",
                    "self.k[..., len(self) - length :, :], self.v[..., len(self) - length :, :]",
                ),
            )
        },
    ),
    Mistake(
        name="mask_of_the_new_tokens_alone",
        explanation="The mask is as wide as what is new: it has no columns for the keys that are kept already.",
        hint="How many keys does a query of the second chunk see, and how wide is its mask?",
        shows="in mask, from the second call on",
        of_goals={
            "KVCache": (
                (
                    "return positions[len(self) :, None] >= positions",
                    "positions = positions[len(self) :]\n        return positions[:, None] >= positions",
                ),
            ),
            "attend_with_cache": [
                (("cache.mask(q.shape[-2])", "cache.mask(q.shape[-2])[:, len(cache) :]"),),
                (  # without a look at the mask before it is used
                    (
                        "    k, v = cache.append(k, v)  # (..., T, num_kv_heads * d_k)\n",
                        "    mask = mask[:, len(cache) :]\n    k, v = cache.append(k, v)\n"
                        "    torch.zeros(1, num_heads, q.shape[-2], k.shape[-2]).masked_fill(~mask, -torch.inf)\n",
                    ),
                ),
            ],
        },
    ),
    Mistake(
        name="mask_from_the_top_left",
        explanation="The first new query is taken for the first of the text: of all kept keys it sees the first alone.",
        hint="At which position of the text does the first new query stand?",
        shows="in mask, from the second call on",
        seen="https://github.com/pytorch/pytorch/issues/110144",
        of_goals={"KVCache": (("positions[len(self) :, None] >= positions", "positions[:T_new, None] >= positions"),)},
    ),
    # What a window leaves of the text.
    Mistake(
        name="sinks_dropped",
        explanation="The first positions are dropped with the others as soon as the window has gone past them.",
        hint="Which keys are there when the window is far from the beginning of the text?",
        shows="with sinks, once the text is longer than the window",
        of_goals={"RollingKVCache": (("(positions < self.sinks) | ", ""),)},
    ),
    Mistake(
        name="window_one_too_short",
        explanation="The window counts the query's own key too: it reaches back one position less than it should.",
        hint="How far away is the farthest key that a query may look at, and how far is its own?",
        shows="once the text is longer than the window",
        seen="https://github.com/mistralai/mistral-inference/issues/60",
        of_goals={
            "RollingKVCache": (
                ("positions >= self.seen - self.window", "positions > self.seen - self.window"),
                ("queries - keys <= self.window", "queries - keys < self.window"),
            )
        },
    ),
    Mistake(
        name="window_one_too_long",
        explanation="One position too many is kept: what comes back reaches one position farther than the window.",
        hint="How many keys does a query see under a window of 0?",
        shows="once the text is longer than the window",
        seen="https://github.com/ml-explore/mlx-lm/pull/390",
        of_goals={
            "RollingKVCache": (
                ("positions >= self.seen - self.window", "positions >= self.seen - self.window - 1"),
                ("queries - keys <= self.window", "queries - keys <= self.window + 1"),
            )
        },
    ),
    Mistake(
        name="nothing_dropped",
        explanation="All positions are kept: the cache grows with the text, window or not.",
        hint="How many keys are there after a thousand tokens?",
        shows="once the text is longer than the window",
        of_goals={
            "RollingKVCache": (
                (
                    "self.k, self.v, self.positions = k[..., stay, :], v[..., stay, :], positions[stay]",
                    "self.k, self.v, self.positions = k, v, positions",
                ),
            )
        },
    ),
    Mistake(
        name="oldest_kept_for_newest",
        explanation="When the window is full, what is new is dropped, where what is oldest should be.",
        hint="Which positions are near the next query: the first of the text, or the last?",
        shows="once the text is longer than the window",
        seen="https://github.com/JaydenLyh/Reward-Forcing/issues/5",
        of_goals={
            "RollingKVCache": (("positions >= self.seen - self.window", "(positions < self.sinks + self.window)"),)
        },
    ),
    Mistake(
        name="sinks_counted_in_the_window",
        explanation="The first positions take places in the window: fewer of the last ones are kept than it says.",
        hint="How many positions are kept in all, with two sinks and a window of three?",
        shows="with sinks, once the text is longer than the window",
        of_goals={
            "RollingKVCache": (
                ("positions >= self.seen - self.window", "positions >= self.seen - self.window + self.sinks"),
            )
        },
    ),
    Mistake(
        name="dropped_before_the_queries_looked",
        explanation="A chunk longer than the window is cut before it comes back: its first queries lack their keys.",
        hint="Five positions come at once, and the window is two: which key does the first of the five need?",
        shows="with chunks, such as a prompt",
        of_goals={"RollingKVCache": (("        return k, v\n", "        return self.k, self.v\n"),)},
    ),
    Mistake(
        name="mask_without_the_window",
        explanation="The mask is causal and nothing else: the queries of a chunk look back farther than the window.",
        hint="Two queries come at once: which keys may the second of them no longer look at?",
        shows="in mask, with chunks",
        of_goals={"RollingKVCache": ((" & ((queries - keys <= self.window) | (keys < self.sinks))", ""),)},
    ),
    Mistake(
        name="mask_without_the_sinks",
        explanation="The mask blocks the first positions for queries far from them, though they are kept for these.",
        hint="Which row of the mask may look at the first key of the text?",
        shows="in mask, with sinks",
        of_goals={
            "RollingKVCache": (
                ("((queries - keys <= self.window) | (keys < self.sinks))", "(queries - keys <= self.window)"),
            )
        },
    ),
    # The causal mask by itself.
    Mistake(
        name="causal_from_the_top_left",
        explanation="Positions are counted from the first query and key, where the last ones should stand together.",
        hint="With a cache of four keys and one query: which row of the mask is that of the query?",
        shows='with align="bottom-right", if T_q differs from T_k',
        seen="https://github.com/pytorch/pytorch/issues/108108",
        of_goals={"causal_mask": ((", align, device", ', "top-left", device'),)},
    ),
    Mistake(
        name="causal_one_short_of_the_end",
        explanation="Aligned at the end, the mask stops one key too early: the last query does not see the last key.",
        hint="Which keys may the last query look at if it stands where the last key stands?",
        shows='with align="bottom-right"',
        of_goals={"causal_mask": ((">= 0", '>= (align == "bottom-right")'),)},
    ),
    Mistake(
        name="causal_as_wide_as_the_queries",
        explanation="The mask has a column for every query: it is square, however many keys there are.",
        hint="What do the columns of a mask stand for?",
        shows="if T_q differs from T_k",
        of_goals={"causal_mask": (("_distance(T_q, T_k,", "_distance(T_q, T_q,"),)},
    ),
    Mistake(
        name="mask_says_what_is_blocked",
        explanation="True stands where a key is blocked, as nn.MultiheadAttention has it: here it means may attend.",
        hint="What does True mean in the mask of this package, and what in yours?",
        shows="everywhere",
        of_goals={"causal_mask": ((">= 0", "< 0"),)},
    ),
    Mistake(
        name="mask_of_numbers",
        explanation="The mask is 0 and minus infinity, to be added to scores, where it should be True and False.",
        hint="Of which dtype is a mask that says may attend or not?",
        shows="everywhere",
        of_goals={
            "causal_mask": [
                (
                    ("return _distance", "blocked = _distance"),
                    (">= 0", "< 0\n    return torch.zeros(blocked.shape).masked_fill(blocked, -torch.inf)"),
                ),
                (("return _distance", "return (_distance"), (">= 0", ">= 0).float()")),
            ]
        },
    ),
    Mistake(
        name="cache_reordered_on_the_wrong_axis",
        explanation="The order of the items is taken along the axis of the heads or of the positions.",
        hint="Along which axis do the items of a batch stand?",
        shows="in reorder",
        seen="https://github.com/PaddlePaddle/PaddleNLP/issues/6672",
        of_goals={
            "KVCache": [
                (("self.k[items], self.v[items]", "self.k[:, items], self.v[:, items]"),),
                (("self.k[items], self.v[items]", "self.k[..., items, :], self.v[..., items, :]"),),
            ]
        },
    ),
)
