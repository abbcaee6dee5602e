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
        explanation="What comes back are the new keys and values alone; the old ones are kept, and nobody looks at them.",
        hint="How many keys should the query of the fifth token look at?",
        shows="from the second call on",
        of_goals={"KVCache": (("return self.k, self.v\n        if self._room", "return k, v\n        if self._room"),)},
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
                    f"            before = (k, v) if self.k is None else (self.k, self.v)\n            {_KEEP_K}\n            {_KEEP_V}\n            return before\n",
                ),
            )
        },
    ),
    Mistake(
        name="cache_forgets_the_old",
        explanation="Each call replaces what was kept: the cache never holds more than the newest positions.",
        hint="What is left of the first token after the second call?",
        shows="from the second call on",
        of_goals={
            "KVCache": (
                (_KEEP_K, "self.k = k"),
                (_KEEP_V, "self.v = v"),
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
        explanation="What is kept belongs to the class, not to the instance: a new cache begins with another one's keys.",
        hint="Make two caches and append to one of them: what does the other hold?",
        shows="in a second instance; so in the second layer, or the second text",
        of_goals={
            "KVCache": (
                (
                    "self.k: Tensor | None = None\n        self.v: Tensor | None = None\n",
                    "kept = type(self)\n        kept.k = getattr(kept, 'k', None)\n        kept.v = getattr(kept, 'v', None)\n",
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
            )
        },
    ),
    Mistake(
        name="mask_from_the_top_left",
        explanation="The first new query is taken for the first of the text: it sees the first key alone, not all kept ones.",
        hint="At which position of the text does the first new query stand?",
        shows="in mask, from the second call on",
        of_goals={"KVCache": (("positions[len(self) :, None] >= positions", "positions[:T_new, None] >= positions"),)},
    ),
)
