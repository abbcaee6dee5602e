"""Mistakes with rotary positions: which columns are a pair, by what angle they turn, and which way."""

from __future__ import annotations

from ._mistake import Mistake

_TURNED = """\
    turned = turn(x[..., :width], angle.cos().to(x.dtype), angle.sin().to(x.dtype), pairs=pairs)
"""
_SPEEDS = "    speeds = rotary_speeds(width, base=base, scaling=scaling, device=x.device)  # (width / 2), in radians\n"
_ANGLE = "    angle = positions[..., None] * speeds  # (..., T, 1) * (width / 2) -> (..., T, width / 2)\n"
_SPLIT = """\
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if pairs == "halves":
        first, second = x[..., :width].chunk(2, dim=-1)
    else:
        first, second = x[..., :width:2], x[..., 1:width:2]
"""
_JOINED = """\
    turned = torch.cat(new, dim=-1) if pairs == "halves" else torch.stack(new, dim=-1).flatten(-2)
"""

MISTAKES = (
    Mistake(
        name="rotary_pairs_interleaved",
        explanation="Columns 2i and 2i + 1 are turned together, where columns i and i + d_k / 2 should be.",
        hint="Which two columns did the model that you load turn by the same angle?",
        shows="wherever pairs are halves, from four columns on",
        seen="https://github.com/huggingface/transformers/issues/25199",
        of_goals={
            "apply_rotary": ((", pairs=pairs)", ', pairs="interleaved")'),),
            "RotaryAttention": (
                ("turn(self.norm_q(q), cosine, sine)", 'turn(self.norm_q(q), cosine, sine, pairs="interleaved")'),
                ("turn(self.norm_k(k), cosine, sine)", 'turn(self.norm_k(k), cosine, sine, pairs="interleaved")'),
            ),
        },
    ),
    Mistake(
        name="rotary_pairs_in_halves",
        explanation="Columns i and i + d_k / 2 are turned together also where neighbours should be.",
        hint="What does the option say about which columns are a pair?",
        shows="with interleaved pairs, from four columns on",
        seen="https://github.com/tenstorrent/tt-metal/issues/26844",
        of_goals={"apply_rotary": ((", pairs=pairs)", ")"),)},
    ),
    Mistake(
        name="rotary_halves_merged_interleaved",
        explanation="The pairs are halves when they are taken apart, and neighbours when they are put together.",
        hint="In which columns did the two numbers of a pair stand before they were turned?",
        shows="wherever pairs are halves, from four columns on",
        of_goals={
            "apply_rotary": (
                (
                    _TURNED,
                    _SPLIT
                    + "    new = first * cosine - second * sine, first * sine + second * cosine\n"
                    + "    turned = torch.stack(new, dim=-1).flatten(-2)\n",
                ),
            )
        },
    ),
    Mistake(
        name="rotary_turned_backwards",
        explanation="Each pair is turned by minus its angle.",
        hint="Turn the point (1, 0) by a small angle on paper: which sign does its second number get?",
        shows="wherever a position is not 0",
        of_goals={"apply_rotary": (("positions[..., None] * speeds", "-positions[..., None] * speeds"),)},
    ),
    Mistake(
        name="rotary_both_signs_plus",
        explanation="Both numbers of a pair are sums: this is no turn, and the length of a vector changes.",
        hint="Compare the length of a row before and after: which of the four products is subtracted?",
        shows="wherever a position is not 0",
        of_goals={
            "apply_rotary": (
                (
                    _TURNED,
                    _SPLIT + "    new = first * cosine + second * sine, first * sine + second * cosine\n" + _JOINED,
                ),
            )
        },
    ),
    Mistake(
        name="rotary_sine_and_cosine_exchanged",
        explanation="The sine stands where the cosine should, and the cosine where the sine should.",
        hint="What should come out at position 0, where every angle is 0?",
        shows="at every position, 0 among them",
        of_goals={
            "apply_rotary": (
                (
                    "angle.cos().to(x.dtype), angle.sin().to(x.dtype)",
                    "angle.sin().to(x.dtype), angle.cos().to(x.dtype)",
                ),
            )
        },
    ),
    Mistake(
        name="rotary_positions_restart_at_0",
        explanation="Positions are counted from 0 in every call: a token that comes alone is taken for the first.",
        hint="Of what position is the only row in the call that brings the hundredth token?",
        shows="wherever positions do not begin at 0, such as with a cache",
        seen="https://github.com/pytorch/executorch/pull/2010",
        of_goals={
            "apply_rotary": (
                ("positions[..., None] * speeds", "torch.arange(x.shape[-2], device=x.device)[:, None] * speeds"),
            )
        },
    ),
    Mistake(
        name="rotary_positions_from_1",
        explanation="Every position is counted one too high: the first is 1 and not 0.",
        hint="By what angle is the first row turned, and by what angle should it be?",
        shows="at every position; scores between two rows that are both one too far stay the same",
        seen="https://github.com/microsoft/onnxruntime-genai/pull/2354",
        of_goals={"apply_rotary": (("positions[..., None] * speeds", "(positions[..., None] + 1) * speeds"),)},
    ),
    Mistake(
        name="rotary_positions_of_the_first_item",
        explanation="All items of a batch get the positions of the first one.",
        hint="Must every item of a batch stand at the same positions?",
        shows="where items of a batch have positions of their own, such as padded ones",
        of_goals={
            "apply_rotary": (
                (
                    "positions[..., None] * speeds",
                    "(positions if positions.ndim == 1 else positions[:1])[..., None] * speeds",
                ),
            )
        },
    ),
    Mistake(
        name="rotary_turned_twice",
        explanation="The rows are turned twice, by two times their angles, as when keys of a cache are turned again.",
        hint="How often is a key turned from when it is made to when it is looked at?",
        shows="wherever a position is not 0",
        of_goals={"apply_rotary": (("positions[..., None] * speeds", "2 * positions[..., None] * speeds"),)},
    ),
    Mistake(
        name="rotary_speeds_not_spread",
        explanation="The exponents run over 0, 1, 2 and so on where they should run over 0, 2, 4: pairs turn too fast.",
        hint="By how much does the last pair turn, by the formula and by your code?",
        shows="in all pairs but the first",
        of_goals={"apply_rotary": ((_SPEEDS, _SPEEDS + "    speeds = speeds.sqrt()\n"),)},
    ),
    Mistake(
        name="rotary_speeds_upside_down",
        explanation="Later pairs turn faster, where they should turn slower: the exponent lacks its minus sign.",
        hint="Which pair should turn slowest, the first or the last?",
        shows="in all pairs but the first",
        of_goals={"apply_rotary": ((_SPEEDS, _SPEEDS + "    speeds = 1 / speeds\n"),)},
    ),
    Mistake(
        name="rotary_one_speed_for_all",
        explanation="All pairs turn at the speed of the first.",
        hint="What tells positions apart that are a whole turn away from each other?",
        shows="in all pairs but the first",
        of_goals={"apply_rotary": ((_SPEEDS, _SPEEDS + "    speeds = torch.ones_like(speeds)\n"),)},
    ),
    Mistake(
        name="rotary_over_the_wrong_axis",
        explanation="The angles go by the number of the head and not by the position.",
        hint="Which axis of your tensor counts the positions at the moment when it is turned?",
        shows="from two heads on",
        of_goals={
            "apply_rotary": (
                (
                    "positions[..., None] * speeds",
                    "(torch.arange(x.shape[-3]).view(-1, 1, 1) if x.ndim > 2 else positions[..., None]) * speeds",
                ),
            )
        },
    ),
    Mistake(
        name="rotary_positions_added",
        explanation="Sines and cosines are added to the rows, as in the Transformer of 2017; nothing is turned.",
        hint="Does your code multiply a row by its cosine, or add something to the row?",
        shows="at every position",
        of_goals={
            "apply_rotary": [
                (
                    (
                        _TURNED,
                        "    turned = x[..., :width] + torch.cat([angle.sin(), angle.cos()], dim=-1).to(x.dtype)\n",
                    ),
                ),
                (
                    (
                        _TURNED,
                        "    added = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)\n"
                        "    turned = x[..., :width] + added.to(x.dtype)\n",
                    ),
                ),
            ]
        },
    ),
    Mistake(
        name="rotary_positions_in_half_precision",
        explanation="Positions or angles are kept in bfloat16, which has 8 bits: later positions fall together.",
        hint="Which whole numbers above 256 does the dtype have in which your angles are computed?",
        shows="at later positions",
        seen="https://github.com/huggingface/transformers/pull/29285",
        of_goals={
            "apply_rotary": (("positions[..., None] * speeds", "positions.bfloat16().double()[..., None] * speeds"),)
        },
    ),
    Mistake(
        name="rotary_base_ignored",
        explanation="The base is fixed at 10,000, whatever is asked for.",
        hint="What does your code do with the base that it is given?",
        shows="with another base",
        of_goals={"apply_rotary": ((_SPEEDS, _SPEEDS.replace("base=base, ", "")),)},
    ),
    Mistake(
        name="rotary_other_columns_dropped",
        explanation="The columns that are not turned are left out, where they should come back as they were.",
        hint="How wide is a row before and after, if only a part of its columns is turned?",
        shows="with rotary_dim below d_k",
        of_goals={
            "apply_rotary": (
                (
                    "return turned if width == x.shape[-1] else torch.cat([turned, x[..., width:]], dim=-1)",
                    "return turned",
                ),
            )
        },
    ),
    Mistake(
        name="rotary_speeds_of_the_whole_width",
        explanation="If only a part of the columns is turned, the speeds still go by the width of all columns.",
        hint="Between which speeds do the pairs that are turned spread: over all columns, or over the part?",
        shows="with rotary_dim below d_k",
        of_goals={
            "apply_rotary": (
                (
                    _SPEEDS,
                    _SPEEDS.replace("width,", "x.shape[-1],").replace(
                        "device=x.device)", "device=x.device)[: width // 2]"
                    ),
                ),
            )
        },
    ),
    Mistake(
        name="rotary_interleaved_merged_in_halves",
        explanation="Neighbours are turned together, and put back as two halves: the columns change places.",
        hint="In which columns did the two numbers of a pair stand before they were turned?",
        shows="at every position, 0 among them",
        seen="https://github.com/vllm-project/vllm-metal/pull/44",
        of_goals={
            "apply_rotary": [
                (
                    (
                        _TURNED,
                        "    first, second = x[..., :width:2], x[..., 1:width:2]\n"
                        "    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)\n"
                        "    new = first * cosine - second * sine, first * sine + second * cosine\n"
                        "    turned = torch.cat(new, dim=-1)\n",
                    ),
                ),
                (
                    (
                        _TURNED,
                        _SPLIT
                        + "    new = first * cosine - second * sine, first * sine + second * cosine\n"
                        + "    turned = torch.cat(new, dim=-1)\n",
                    ),
                ),
            ]
        },
    ),
    Mistake(
        name="rotary_angles_interleaved_for_halves",
        explanation="The pairs are halves, the angles are laid out for neighbours: the two of a pair turn differently.",
        hint="Columns i and i + d_k / 2 are a pair: which two angles do they get?",
        shows="wherever a position is not 0, from four columns on",
        seen="https://github.com/huggingface/transformers/issues/40462",
        of_goals={
            "apply_rotary": (
                (
                    _TURNED,
                    "    first, second = x[..., :width].chunk(2, dim=-1)\n"
                    "    angles = angle.repeat_interleave(2, dim=-1)\n"
                    "    turned = x[..., :width] * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()\n"
                    "    turned = turned.to(x.dtype)\n",
                ),
            )
        },
    ),
)
