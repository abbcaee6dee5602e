"""What `check_module` says."""

MODULE = {
    "right": "{name} computes what {goal} does, in values and gradients.",
    "not_right": "{name} is not yet {goal}.",
    "nothing_written": "Nothing is written there yet: it raises NotImplementedError.",
    "failed": "It does not come to its end: {words}.",
    "parameters": (
        "Its parameters are others, so that it cannot take the same weights. "
        "Missing: {missing}; unknown: {unknown}; of another shape: {shapes}."
    ),
    "returned": "It returns {kind}; expected is a tensor, or a tuple that begins with one.",
    "shape": "It returns the shape {found}; expected is {expected}.",
    "values": "{wrong} of {of} numbers are wrong{where}. At {at}:\n  it returns  {found}\n  expected    {expected}",
    "inputs": "The numbers are right, but it writes into the tensors that it was given.",
    "gradients": "The numbers are right, the gradients of {names} are not: was something detached on the way?",
    "looks_like": "These are the numbers of a known mistake: {mistake}.",
}

#: By the name of the problem.
MODULE_PROBLEMS = {"plain": "", "padded": " with padding on both sides"}

#: By the class that it should be.
MODULE_MISTAKES: dict[str, dict[str, str]] = {
    "AddNorm": {
        "no_sum": "what entered is not added to what was computed",
        "no_norm": "the sum is not normalised",
        "norm_of_computed": "what was computed is normalised before the sum, and not the sum",
        "norm_of_x": "what entered is normalised before the sum, and not the sum",
        "not_computed": "what was computed is not used",
    },
    "EncoderLayer": {
        "no_mask": "the mask is not handed to the self-attention",
        "work_first": "the feed-forward network stands before the self-attention",
        "no_self": "the self-attention is missing",
        "no_feed_forward": "the feed-forward network is missing",
        "no_sums": "each sub-layer hands on what it computed: Add & Norm is missing",
        "one_norm": "add_norm_1 is used twice",
    },
    "DecoderLayer": {
        "not_causal": "the self-attention may look at later positions: is_causal=True is missing",
        "no_mask": "the mask of the target is not handed to the self-attention",
        "no_memory_mask": "the mask of the source is not handed to the cross-attention",
        "looks_at_itself": "the cross-attention looks at the target again, and not at memory",
        "one_attention": "the cross-attention uses the weights of the self-attention",
        "cross_first": "the cross-attention stands before the self-attention",
        "work_before_cross": "the feed-forward network stands before the cross-attention",
        "no_self": "the self-attention is missing",
        "no_cross": "the cross-attention is missing",
        "no_feed_forward": "the feed-forward network is missing",
        "no_sums": "each sub-layer hands on what it computed: Add & Norm is missing",
        "one_norm": "add_norm_1 is used three times",
    },
}
