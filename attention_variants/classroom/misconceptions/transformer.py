"""Mistakes in what stands around attention in a Transformer: Add & Norm, and the order of the sub-layers."""

from __future__ import annotations

from ._mistake import Changes, Mistake

_SUM = "        x = x + self.dropout(computed)\n"
_NORM = "return x if self.norm_first else self.norm(x)"
# The encoder layer's sub-layers.
_LOOK = """\
        attended, weights = self.self_attention(self.add_norm_1.entrance(x), mask=mask, need_weights=need_weights)
        x = self.add_norm_1(x, attended)
"""
_WORK = "        x = self.add_norm_2(x, self.feed_forward(self.add_norm_2.entrance(x)))\n"
# The decoder layer's.
_LOOK_BACK = """\
        attended, self_weights = self.self_attention(
            self.add_norm_1.entrance(x), mask=mask, is_causal=is_causal, need_weights=need_weights, cache=of_target
        )
        x = self.add_norm_1(x, attended)
"""
_LOOK_OVER = """\
        attended, cross_weights = self.cross_attention(
            self.add_norm_2.entrance(x), memory, mask=memory_mask, need_weights=need_weights, cache=of_memory
        )
        x = self.add_norm_2(x, attended)
"""
_WORK_LAST = "        x = self.add_norm_3(x, self.feed_forward(self.add_norm_3.entrance(x)))\n"
_NOTHING_BEFORE, _NOTHING_OVER = "        self_weights = None\n", "        cross_weights = None\n"


def _decoder(*changes: tuple[str, str]) -> dict[str, Changes]:
    return {"DecoderLayer": changes}


MISTAKES = (
    Mistake(
        name="sum_left_out",
        explanation="What entered is not added to what was computed.",
        hint="What are the two things that Add & Norm adds?",
        shows="everywhere",
        of_goals={"AddNorm": ((_SUM, "        x = self.dropout(computed)\n"),)},
    ),
    Mistake(
        name="norm_left_out",
        explanation="The sum is handed on as it is, and not normalised.",
        hint="What is the second half of Add & Norm?",
        shows="everywhere",
        of_goals={"AddNorm": ((_NORM, "return x"),)},
    ),
    Mistake(
        name="norm_of_what_was_computed",
        explanation="What was computed is normalised before the sum, and not the sum.",
        hint="What is brought to one scale: what was computed, or what comes of it and of what entered?",
        shows="everywhere",
        of_goals={"AddNorm": ((_SUM, "        x = x + self.norm(computed)\n"), (_NORM, "return x"))},
    ),
    Mistake(
        name="norm_of_what_entered",
        explanation="What entered is normalised before the sum, and not the sum.",
        hint="What is brought to one scale: what entered, or what comes of it and of what was computed?",
        shows="everywhere",
        of_goals={"AddNorm": ((_SUM, "        x = self.norm(x) + computed\n"), (_NORM, "return x"))},
    ),
    Mistake(
        name="computed_left_out",
        explanation="What was computed is not used: what entered is normalised alone.",
        hint="What are the two things that Add & Norm adds?",
        shows="everywhere",
        of_goals={"AddNorm": ((_SUM, ""),)},
    ),
    Mistake(
        name="mask_not_handed_on",
        explanation="The mask is not handed to the self-attention: padding is looked at.",
        hint="Which of the things that your forward takes does it never use?",
        shows="with padding",
        of_goals={
            "EncoderLayer": (("mask=mask, need", "need"),),
            **_decoder(("mask=mask, is_causal", "is_causal")),
        },
    ),
    Mistake(
        name="feed_forward_first",
        explanation="The feed-forward network stands before the self-attention.",
        hint="What should a position have seen before it works on what it found?",
        shows="everywhere",
        of_goals={
            "EncoderLayer": (
                (
                    _LOOK + _WORK,
                    _WORK + _LOOK,
                ),
            )
        },
    ),
    Mistake(
        name="self_attention_left_out",
        explanation="The self-attention is missing.",
        hint="How many sub-layers has the layer in the figure, and how many has yours?",
        shows="everywhere",
        of_goals={"EncoderLayer": ((_LOOK, "        weights = None\n"),), **_decoder((_LOOK_BACK, _NOTHING_BEFORE))},
    ),
    Mistake(
        name="feed_forward_left_out",
        explanation="The feed-forward network is missing.",
        hint="How many sub-layers has the layer in the figure, and how many has yours?",
        shows="everywhere",
        of_goals={"EncoderLayer": ((_WORK, ""),), **_decoder((_WORK_LAST, ""))},
    ),
    Mistake(
        name="add_and_norm_left_out",
        explanation="Each sub-layer hands on what it computed: Add & Norm is missing.",
        hint="What happens to what entered a sub-layer when that is done?",
        shows="everywhere",
        of_goals={
            "EncoderLayer": (
                ("x = self.add_norm_1(x, attended)", "x = attended"),
                (_WORK, "        x = self.feed_forward(x)\n"),
            ),
            **_decoder(
                ("x = self.add_norm_1(x, attended)", "x = attended"),
                ("x = self.add_norm_2(x, attended)", "x = attended"),
                (_WORK_LAST, "        x = self.feed_forward(x)\n"),
            ),
        },
    ),
    Mistake(
        name="first_add_norm_for_all",
        explanation="The first Add & Norm is used after every sub-layer: its factors are learned for the first alone.",
        hint="How many Add & Norms has the layer, and how many does your forward use?",
        shows="everywhere",
        of_goals={
            "EncoderLayer": (("self.add_norm_2", "self.add_norm_1"),),
            **_decoder(("self.add_norm_2", "self.add_norm_1"), ("self.add_norm_3", "self.add_norm_1")),
        },
    ),
    Mistake(
        name="decoder_not_causal",
        explanation="The self-attention of the decoder may look at later positions.",
        hint="What may a position of the target know of those that come after it?",
        shows="everywhere",
        of_goals=_decoder(("is_causal=is_causal", "is_causal=False")),
    ),
    Mistake(
        name="mask_of_the_source_not_handed_on",
        explanation="The mask of the source is not handed to the cross-attention: padding is looked at.",
        hint="Which of the things that your forward takes does it never use?",
        shows="with padding",
        of_goals=_decoder(("mask=memory_mask, ", "")),
    ),
    Mistake(
        name="cross_attention_looks_at_the_target",
        explanation="The cross-attention looks at the target again, and not at what the encoder made of the source.",
        hint="Where do the keys and values of the cross-attention come from?",
        shows="everywhere",
        of_goals=_decoder(("self.add_norm_2.entrance(x), memory, mask=memory_mask,", "x, x, mask=mask,")),
    ),
    Mistake(
        name="one_attention_for_both",
        explanation="The cross-attention uses the weights of the self-attention.",
        hint="How many attentions has the layer, and how many does your forward use?",
        shows="everywhere",
        of_goals=_decoder(("self.cross_attention(", "self.self_attention(")),
    ),
    Mistake(
        name="cross_attention_first",
        explanation="The cross-attention stands before the self-attention.",
        hint="In which order do the three sub-layers stand in the figure?",
        shows="everywhere",
        of_goals=_decoder((_LOOK_BACK + _LOOK_OVER, _LOOK_OVER + _LOOK_BACK)),
    ),
    Mistake(
        name="feed_forward_before_cross_attention",
        explanation="The feed-forward network stands before the cross-attention.",
        hint="In which order do the three sub-layers stand in the figure?",
        shows="everywhere",
        of_goals=_decoder((_LOOK_OVER + _WORK_LAST, _WORK_LAST + _LOOK_OVER)),
    ),
    Mistake(
        name="cross_attention_left_out",
        explanation="The cross-attention is missing: nothing of the source is looked at.",
        hint="How many sub-layers has the layer in the figure, and how many has yours?",
        shows="everywhere",
        of_goals=_decoder((_LOOK_OVER, _NOTHING_OVER)),
    ),
)
