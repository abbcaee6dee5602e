"""Mistakes around a cache: in a layer that uses it, and in a model that writes with it."""

from __future__ import annotations

from ._mistake import InFile, Mistake

_MASK = "mask = cache.mask(q.shape[-2])  # (T_new, T): asked for before the new keys are in"
_APPEND = "k, v = cache.append(k, v)  # (..., T, num_kv_heads * d_k)"
_MODEL = "logits, _ = model(new, cache)  # (B, T_new, vocab_size)"
_CACHE = "cache = model.new_cache()"
_TURNED = "q, k, v = turn(self.norm_q(q), cosine, sine), turn(self.norm_k(k), cosine, sine), self.w_v(x)"

MISTAKES = (
    # In attention with a cache.
    Mistake(
        name="is_causal_with_one_query",
        explanation="The mask begins at the first key: a single query sees that alone, and gets its value whole.",
        hint="A query stands at position 5: which row of the causal mask is its own?",
        shows="wherever earlier keys are kept: every row becomes the first value",
        seen="https://github.com/pytorch/pytorch/issues/144858",
        of_goals={
            "attend_with_cache": (
                (_MASK, "mask = torch.ones(q.shape[-2], len(cache) + q.shape[-2], dtype=torch.bool).tril()"),
            ),
            "RotaryAttention": (
                ("return None  # one query may look at all that is kept", "pass"),
                (
                    "causal_mask(T, device=device) if cache is None else cache.mask(T)",
                    "causal_mask(T, T if cache is None else len(cache) + T, device=device)",
                ),
            ),
        },
    ),
    Mistake(
        name="no_mask_for_a_chunk",
        explanation="With a cache there is no mask at all: of several new queries the first ones see what comes later.",
        hint="Three positions come at once: which of them may the first of the three look at?",
        shows="where several positions come at once",
        seen="https://github.com/mlx-node/mlx-node/pull/24",
        of_goals={
            "attend_with_cache": ((_MASK, "mask = None"),),
            "RotaryAttention": (("cache is not None and T == 1 and window is None", "cache is not None"),),
        },
    ),
    Mistake(
        name="heads_repeated_before_the_cache",
        explanation="The heads of keys are repeated before they are kept: the numbers are right, no memory is saved.",
        hint="How many numbers does the cache keep of each token, and how many would tell the same?",
        shows="in the size of the cache, where heads share keys",
        seen="https://github.com/FYYFU/HeadKV/issues/3",
        of_goals={
            "attend_with_cache": (
                (
                    _APPEND,
                    "R = num_heads // num_kv_heads\n"
                    "    k, v = (x.unflatten(-1, (num_kv_heads, -1)) for x in (k, v))\n"
                    "    k, v = (x.repeat_interleave(R, dim=-2).flatten(-2) for x in (k, v))\n"
                    "    k, v = cache.append(k, v)",
                ),
                ("mask, num_heads, num_kv_heads)\n", "mask, num_heads, num_heads)\n"),
            )
        },
    ),
    Mistake(
        name="looks_at_the_new_keys_alone",
        explanation="The keys go into the cache, but the queries look at the new ones alone: the text is forgotten.",
        hint="What does append hand back, and what does your code do with it?",
        shows="from the second call on",
        of_goals={
            "attend_with_cache": (
                (_MASK, _MASK.replace("cache.mask(q.shape[-2])", "cache.mask(q.shape[-2])[:, len(cache) :]")),
                (_APPEND, "cache.append(k, v)"),
            )
        },
    ),
    Mistake(
        name="mask_asked_after_the_append",
        explanation="The mask is asked for when the new keys are in: it has columns for them twice.",
        hint="What does the cache count as kept at the moment when its mask is made?",
        shows="in every call",
        of_goals={"attend_with_cache": ((f"    {_MASK}\n    {_APPEND}\n", f"    {_APPEND}\n    {_MASK}\n"),)},
    ),
    Mistake(
        name="values_kept_as_keys",
        explanation="Keys and values change places on the way into the cache.",
        hint="In which order does append take the two, and in which does it hand them back?",
        shows="in every call",
        of_goals={"attend_with_cache": ((_APPEND, "k, v = cache.append(v, k)"),)},
    ),
    # In a layer with rotary positions.
    Mistake(
        name="cached_keys_turned_again",
        explanation="Kept keys are turned already, and are turned again with each new token: their angles add up.",
        hint="How often is the key of the first token turned until the fifth token looks at it?",
        shows="with a cache, from the second call on",
        seen="https://github.com/MooreThreads/TurboRAG/issues/5",
        of_goals={
            "RotaryAttention": (
                (
                    "            k, v = cache.append(k, v)  # (B, T_k, G * d_k), turned already\n",
                    "            k, v = cache.append(k, v)\n"
                    "            old = getattr(cache, 'angles', (cosine[:0], sine[:0]))\n"
                    "            cache.angles = torch.cat([old[0], cosine]), torch.cat([old[1], sine])\n"
                    "            k = k.unflatten(-1, (self.num_kv_heads, -1))\n"
                    "            old = turn(k[:, :-T], *(x[:-T] for x in cache.angles))\n"
                    "            k = torch.cat([old, k[:, -T:]], dim=1).flatten(-2)\n",
                ),
            )
        },
    ),
    Mistake(
        name="keys_not_turned",
        explanation="The queries are turned, the keys are not: a score depends on the position of the query alone.",
        hint="Which two vectors must be turned so that a score depends on their distance?",
        shows="wherever a position is not 0",
        of_goals={
            "RotaryAttention": ((_TURNED, _TURNED.replace("turn(self.norm_k(k), cosine, sine)", "self.norm_k(k)")),)
        },
    ),
    Mistake(
        name="queries_not_turned",
        explanation="The keys are turned, the queries are not: a score depends on the position of the key alone.",
        hint="Which two vectors must be turned so that a score depends on their distance?",
        shows="wherever a position is not 0",
        of_goals={
            "RotaryAttention": ((_TURNED, _TURNED.replace("turn(self.norm_q(q), cosine, sine)", "self.norm_q(q)")),)
        },
    ),
    Mistake(
        name="values_turned_too",
        explanation="The values are turned by their positions as the keys are.",
        hint="Rotary positions change scores; what do the values have to do with a score?",
        shows="in the output, wherever a position is not 0",
        of_goals={
            "RotaryAttention": (
                (
                    _TURNED,
                    _TURNED.replace(
                        "self.w_v(x)", "turn(self.w_v(x).unflatten(-1, (-1, self.d_k)), cosine, sine).flatten(-2)"
                    ),
                ),
            )
        },
    ),
    Mistake(
        name="turned_before_the_norm",
        explanation="Queries and keys are turned first and normalised then, so that factors meet the wrong columns.",
        hint="Each column has its own factor in the norm: which numbers stand in a column before and after the turn?",
        shows="with norms of queries and keys",
        of_goals={
            "RotaryAttention": (
                (
                    _TURNED,
                    _TURNED.replace("turn(self.norm_q(q), cosine, sine)", "self.norm_q(turn(q, cosine, sine))").replace(
                        "turn(self.norm_k(k), cosine, sine)", "self.norm_k(turn(k, cosine, sine))"
                    ),
                ),
            )
        },
    ),
    Mistake(
        name="window_ignored",
        explanation="The window is accepted and forgotten: queries look back as far as the text goes.",
        hint="Which keys does the last query of a long text look at, and which should it?",
        shows="with a window shorter than the text",
        of_goals={
            "RotaryAttention": (
                (
                    "self.d_k, self.window = num_heads, num_kv_heads, d_k, window",
                    "self.d_k, self.window = num_heads, num_kv_heads, d_k, None",
                ),
            )
        },
    ),
    # In a language model.
    Mistake(
        name="positions_restart_with_a_cache",
        explanation="Positions are counted from 0 in every call, though the cache holds what came before.",
        hint="The cache holds four tokens and one comes: at which position does it stand?",
        shows="with a cache, from the second call on",
        seen="https://github.com/pytorch/executorch/pull/2010",
        of_goals={"LanguageModel": (("start = 0 if cache is None else cache[0].seen", "start = 0"),)},
    ),
    Mistake(
        name="positions_one_too_high_with_a_cache",
        explanation="The new tokens are counted before they are in: with a cache each stands one position too far.",
        hint="Nothing is kept yet: at which position does the first token stand?",
        shows="with a cache, from the second call on",
        seen="https://github.com/microsoft/onnxruntime-genai/pull/2354",
        of_goals={"LanguageModel": (("else cache[0].seen", "else cache[0].seen + (cache[0].seen > 0)"),)},
    ),
    Mistake(
        name="one_cache_for_all_layers",
        explanation="All layers keep their keys in the same cache: a layer looks at the keys of the others.",
        hint="Whose keys does the second layer find in the cache?",
        shows="with a cache, from two layers on",
        of_goals={"LanguageModel": (("layer(x, cosine, sine, kept)", "layer(x, cosine, sine, caches[0])"),)},
    ),
    Mistake(
        name="last_norm_left_out",
        explanation="What leaves the last layer goes to the head as it is: the last norm is left out.",
        hint="How many norms does a model with two layers have, and where does the last one stand?",
        shows="everywhere",
        of_goals={"LanguageModel": (("self.head(self.norm(x))", "self.head(x)"),)},
    ),
    # In writing.
    Mistake(
        name="whole_text_into_a_filled_cache",
        explanation="The whole text goes into the model each time, though the cache holds it already.",
        hint="How many keys are in the cache after the second token, and how long is the text?",
        shows="from the second new token on",
        of_goals={"generate": ((_MODEL, "logits, _ = model(tokens, cache)"),)},
    ),
    Mistake(
        name="everything_computed_again",
        explanation="The text is right, but each token computes all positions anew: no use is made of the cache.",
        hint="How many positions does your model compute for the tenth token, and how many are new?",
        shows="in the number of positions that the model computes",
        of_goals={"generate": ((_MODEL, "logits, _ = model(tokens)"),)},
    ),
    Mistake(
        name="cache_not_cleared",
        explanation="The next text begins with the keys of the one before it: the cache is never emptied.",
        hint="What does the cache hold when the second text begins?",
        shows="in every text after the first",
        of_goals={
            "generate": [
                ((_CACHE, "cache = model.kept = getattr(model, 'kept', None) or model.new_cache()"),),
                InFile(
                    (
                        ("max_new_tokens: int) -> Tensor:", "max_new_tokens: int, kept: list = []) -> Tensor:"),
                        (_CACHE, "cache = kept or model.new_cache()\n    kept[:] = cache"),
                    )
                ),
            ]
        },
    ),
    Mistake(
        name="logits_of_the_first_position",
        explanation="The next token is read at the first position of what went in, not at the last.",
        hint="Which row of the logits predicts what comes after the whole beginning?",
        shows="with beginnings of several tokens",
        of_goals={"generate": (("logits[:, -1]", "logits[:, 0]"),)},
    ),
    Mistake(
        name="beginning_not_returned",
        explanation="What comes back are the new tokens alone, where the beginning should stand before them.",
        hint="How long is the text that comes back, with a beginning of four tokens and six new ones?",
        shows="everywhere",
        of_goals={
            "generate": [
                (("    return tokens\n", "    return tokens[:, tokens.shape[1] - max_new_tokens :]\n"),),
            ]
        },
    ),
    Mistake(
        name="last_token_read_twice",
        explanation="The beginning is read, and its last token once more: it stands in the cache twice.",
        hint="How many keys are kept when the first new token has been chosen?",
        shows="everywhere",
        of_goals={
            "generate": (("    new = tokens\n    for", "    model(tokens, cache)\n    new = tokens[:, -1:]\n    for"),)
        },
    ),
    Mistake(
        name="beginning_not_read",
        explanation="Only the last token of the beginning goes into the model: what stands before it is not read.",
        hint="What does the cache hold of the beginning?",
        shows="with beginnings of several tokens",
        of_goals={"generate": (("    new = tokens\n    for", "    new = tokens[:, -1:]\n    for"),)},
    ),
    Mistake(
        name="one_token_too_many",
        explanation="One token more than asked for is written.",
        hint="How often does your code choose a token if two are asked for?",
        shows="everywhere",
        of_goals={"generate": (("range(max_new_tokens)", "range(max_new_tokens + 1)"),)},
    ),
    Mistake(
        name="one_token_too_few",
        explanation="One token less than asked for is written.",
        hint="How often does your code choose a token if two are asked for?",
        shows="everywhere",
        of_goals={"generate": (("range(max_new_tokens)", "range(max_new_tokens - 1)"),)},
    ),
)
