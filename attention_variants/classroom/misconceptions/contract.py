"""Mistakes that break a promise beside the numbers: gradients, dtypes, the caller's tensors, the pair."""

from __future__ import annotations

from ._misconception import Changes, Misconception, alike, by_hand

_MATRICES = (2, 3, 4, 5, 6)
_RETURN = "return context, weights"
_SHAPES = {
    1: "    (T_q, d_k), (T_k, d_v) = q.shape, v.shape\n",
    **dict.fromkeys((2, 3, 4), "    d_k = q.shape[-1]\n"),
    **dict.fromkeys((5, 6), "    T_k, d_k = k.shape[-2], d_model // num_heads\n"),
}


def _first(line: str, *changes: tuple[str, str]) -> dict:
    """A line that comes before everything else, and other changes, in variants 1 to 6."""
    first: dict[int, Changes] = {
        variant: ((shapes, f"{shapes}    {line}\n"), *changes) for variant, shapes in _SHAPES.items()
    }
    return first | by_hand()


MISTAKES = (
    Misconception(
        name="weights_detached",
        explanation="The gradient is cut at the weights: through the context, q and k never learn.",
        hint="Follow the gradient of the context back to q: where does it stop?",
        shows="always, in the gradients of q and k alone",
        seen="common",
        changes=alike((2,), ("weights @ v", "weights.detach() @ v"))
        | alike((1,), ("weights[i, j] * v[j]", "weights[i, j].detach() * v[j]"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights.detach() @ v"))
        | by_hand(),
    ),
    Misconception(
        name="queries_detached",
        explanation="The queries are cut off from the gradient: what made them never learns.",
        hint="Call backward and look at the gradients of q, k and v one by one.",
        shows="always, in the gradient of q alone",
        seen="common",
        changes=alike((2,), ("(q / math", "(q.detach() / math"))
        | alike((1,), ("(q[i] / math", "(q[i].detach() / math"))
        | alike((3, 4, 5, 6), ("(q / math", "(q.detach() / math"))
        | by_hand(),
    ),
    Misconception(
        name="keys_detached",
        explanation="The keys are cut off from the gradient: what made them never learns.",
        hint="Call backward and look at the gradients of q, k and v one by one.",
        shows="always, in the gradient of k alone",
        seen="common",
        changes=alike((2,), ("@ k.T", "@ k.detach().T"))
        | alike((1,), ("@ k[j]", "@ k[j].detach()"))
        | alike((3, 4, 5, 6), ("@ k.transpose", "@ k.detach().transpose"))
        | by_hand(),
    ),
    Misconception(
        name="values_detached",
        explanation="The values are cut off from the gradient: what made them never learns.",
        hint="Call backward and look at the gradients of q, k and v one by one.",
        shows="always, in the gradient of v alone",
        seen="common",
        changes=alike((2,), ("weights @ v", "weights @ v.detach()"))
        | alike((1,), ("* v[j]", "* v[j].detach()"))
        | alike((3, 4, 5, 6), ("weights @ v", "weights @ v.detach()"))
        | by_hand(),
    ),
    Misconception(
        name="no_gradients",
        explanation="The result is cut off from its inputs, as by NumPy or no_grad: nothing can learn from it.",
        hint="Does what you return still know what it was computed from?",
        shows="always, in the gradients alone",
        seen="https://github.com/paiml/aprender/pull/2203",
        changes=alike((2, 1, 3, 4, 5, 6), (_RETURN, "return context.detach(), weights.detach()")) | by_hand(),
    ),
    Misconception(
        name="computed_in_half_precision",
        explanation="Everything is computed in float16: three digits are left, and large scores overflow.",
        hint="How many digits of the result agree with the right one?",
        shows="always, from the fourth digit on, and as NaN for scores above 65,504",
        seen="common",
        changes=_first(
            "dtype, q, k, v = q.dtype, q.half(), k.half(), v.half()",
            (_RETURN, "return context.to(dtype), weights.to(dtype)"),
        ),
    ),
    Misconception(
        name="always_float32",
        explanation="Everything is turned into float32, so that float64 loses digits and float16 comes out too wide.",
        hint="What dtype comes out when float64 goes in?",
        shows="only if the inputs are not float32",
        seen="https://github.com/tinygrad/tinygrad/pull/5100",
        changes=_first("q, k, v = q.float(), k.float(), v.float()"),
    ),
    Misconception(
        name="always_float64",
        explanation="Everything is turned into float64, and float64 is what comes out.",
        hint="What dtype comes out when float32 goes in?",
        shows="only if the inputs are not float64",
        seen="common",
        changes=_first("q, k, v = q.double(), k.double(), v.double()"),
    ),
    Misconception(
        name="queries_scaled_in_place",
        explanation="The caller's queries are divided in place: after the call they are smaller than before.",
        hint="Print q before the call and after it.",
        shows="from d_k = 2 on: q itself changes",
        seen="https://github.com/flashinfer-ai/flashinfer/pull/2084",
        changes=alike((2,), ("    scores = (q / math.sqrt(d_k)) @", "    q /= math.sqrt(d_k)\n    scores = q @"))
        | alike(
            (1,),
            ("    scores = q.new_zeros", "    q /= math.sqrt(d_k)\n    scores = q.new_zeros"),
            ("(q[i] / math.sqrt(d_k))", "q[i]"),
        )
        | alike((3, 4, 5, 6), ("    scores = (q / math.sqrt(d_k)) @", "    q /= math.sqrt(d_k)\n    scores = q @"))
        | by_hand(),
    ),
    Misconception(
        name="pair_swapped",
        explanation="The weights come first and the context second, where it should be the other way round.",
        hint="In which order does the contract name the two results?",
        shows="always",
        seen="common",
        changes=alike((1, 2, 3, 4, 5, 6, 7), (_RETURN, "return weights, context")),
    ),
    Misconception(
        name="context_alone",
        explanation="The context comes back alone, without the weights.",
        hint="How many results does the contract promise?",
        shows="always",
        seen="common",
        changes=alike((1, 2, 3, 4, 5, 6, 7), (_RETURN, "return context")),
    ),
)
