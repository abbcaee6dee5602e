"""Mistakes that break a guarantee beside the numbers: gradients, dtypes, the caller's tensors, the pair."""

from __future__ import annotations

from ._mistake import Changes, Mistake, alike, by_hand

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
    Mistake(
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
    Mistake(
        name="queries_detached",
        explanation="The queries are cut off from the gradient: what made them never learns.",
        hint="Call backward and look at the gradients of q, k and v one by one.",
        shows="always, in the gradient of q alone",
        seen="common",
        changes=alike((2,), ("(q / math", "(q.detach() / math"))
        | alike((1,), ("q[i] @", "q[i].detach() @"))
        | alike((3, 4, 5, 6), ("(q / math", "(q.detach() / math"))
        | by_hand(),
    ),
    Mistake(
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
    Mistake(
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
    Mistake(
        name="no_gradients",
        explanation="The result is cut off from its inputs, as by NumPy or no_grad: nothing can learn from it.",
        hint="Does what you return still know what it was computed from?",
        shows="always, in the gradients alone",
        seen="https://github.com/paiml/aprender/pull/2203",
        changes=alike((2, 1, 3, 4, 5, 6), (_RETURN, "return context.detach(), weights.detach()")) | by_hand(),
    ),
    Mistake(
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
    Mistake(
        name="always_float32",
        explanation="Everything is turned into float32, so that float64 loses digits and float16 comes out too wide.",
        hint="What dtype comes out when float64 goes in?",
        shows="only if the inputs are not float32",
        seen="https://github.com/tinygrad/tinygrad/pull/5100",
        changes=_first("q, k, v = q.float(), k.float(), v.float()"),
    ),
    Mistake(
        name="always_float64",
        explanation="Everything is turned into float64, and float64 is what comes out.",
        hint="What dtype comes out when float32 goes in?",
        shows="only if the inputs are not float64",
        seen="common",
        changes=_first("q, k, v = q.double(), k.double(), v.double()"),
    ),
    Mistake(
        name="queries_scaled_in_place",
        explanation="The caller's queries are divided in place: after the call they are smaller than before.",
        hint="Print q before the call and after it.",
        shows="from d_k = 2 on: q itself changes",
        seen="https://github.com/flashinfer-ai/flashinfer/pull/2084",
        changes=alike((2,), ("    scores = (q / math.sqrt(d_k)) @", "    q /= math.sqrt(d_k)\n    scores = q @"))
        | alike(
            (1,),
            ("    scores = q.new_zeros", "    q /= math.sqrt(d_k)\n    scores = q.new_zeros"),
            (" @ k[j] / math.sqrt(d_k)", " @ k[j]"),
        )
        | alike((3, 4, 5, 6), ("    scores = (q / math.sqrt(d_k)) @", "    q /= math.sqrt(d_k)\n    scores = q @"))
        | by_hand(),
    ),
    Mistake(
        name="pair_swapped",
        explanation="The weights come first and the context second, where it should be the other way round.",
        hint="In which order does the contract name the two results?",
        shows="always",
        seen="common",
        changes=alike((1, 2, 3, 4, 5, 6, 7), (_RETURN, "return weights, context")),
    ),
    Mistake(
        name="context_alone",
        explanation="The context comes back alone, without the weights.",
        hint="How many results does the contract guarantee?",
        shows="always",
        seen="common",
        changes=alike((1, 2, 3, 4, 5, 6, 7), (_RETURN, "return context")),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="written_into_after_use",
        explanation=(
            "A tensor is written into after something was computed from it: autograd can no longer find its way back."
        ),
        hint="Which tensor do you fill row by row, and read from in between? Keep the row in a name of its own first.",
    ),
    Mistake(
        name="squeeze_drops_an_axis",
        explanation="An axis that happens to be 1 long is lost on the way: a single key is a sequence too.",
        hint="What does squeeze do where there is one key only, and which axis did you mean?",
    ),
    Mistake(
        name="needs_as_many_queries_as_keys",
        explanation="It works only where there are as many queries as keys; the two lengths may differ.",
        hint="Which of your lengths come from q and which from k?",
    ),
    Mistake(
        name="context_transposed",
        explanation="The context comes back transposed: its rows must be the queries.",
        hint="What is a row of the context, and how many of them do you want for three queries?",
    ),
    Mistake(
        name="tensors_in_a_list",
        explanation="What comes back is a list of tensors, or of numbers, where one tensor belongs.",
        hint="Which function makes one tensor of a list of them?",
    ),
    Mistake(
        name="different_from_call_to_call",
        explanation="Two calls on the same input disagree: something is random, or is kept from the call before.",
        hint="Who decides whether weights are dropped, and what does the function remember?",
    ),
    Mistake(
        name="changes_its_input",
        explanation="A tensor of the caller is changed in place.",
        hint="Which of your operations write into a tensor that they were given? (x *= 2 does, x = x * 2 does not.)",
    ),
    Mistake(
        name="gradient_cut",
        explanation="The numbers are right, but autograd cannot follow how they came about.",
        hint="Where do the numbers leave the tensor they were in: detach, data, item, tolist, numpy, no_grad?",
    ),
    Mistake(
        name="gradient_cut_in_part",
        explanation="The numbers are right, but part of the way back is missing: a gradient is too small or too large.",
        hint="Which tensor on the way is detached, or copied into a new one?",
    ),
    Mistake(
        name="dtype_not_kept",
        explanation="The result has a dtype of its own, not that of q, k and v.",
        hint="Which tensor do you make yourself, and who tells it its dtype?",
    ),
)
