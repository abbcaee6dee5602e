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
MODULE_PROBLEMS = {"padded": " with padding on both sides"}

#: By the class that it should be, and the code of the mistake.
MODULE_MISTAKES = {
    "AddNorm.no_sum": "what entered is not added to what was computed",
    "AddNorm.no_norm": "the sum is not normalised",
    "AddNorm.norm_of_computed": "what was computed is normalised before the sum, and not the sum",
    "AddNorm.norm_of_x": "what entered is normalised before the sum, and not the sum",
    "AddNorm.not_computed": "what was computed is not used",
    "EncoderLayer.no_mask": "the mask is not handed to the self-attention",
    "EncoderLayer.work_first": "the feed-forward network stands before the self-attention",
    "EncoderLayer.no_self": "the self-attention is missing",
    "EncoderLayer.no_feed_forward": "the feed-forward network is missing",
    "EncoderLayer.no_sums": "each sub-layer hands on what it computed: Add & Norm is missing",
    "EncoderLayer.one_norm": "add_norm_1 is used twice",
    "DecoderLayer.not_causal": "the self-attention may look at later positions: is_causal=True is missing",
    "DecoderLayer.no_mask": "the mask of the target is not handed to the self-attention",
    "DecoderLayer.no_memory_mask": "the mask of the source is not handed to the cross-attention",
    "DecoderLayer.looks_at_itself": "the cross-attention looks at the target again, and not at memory",
    "DecoderLayer.one_attention": "the cross-attention uses the weights of the self-attention",
    "DecoderLayer.cross_first": "the cross-attention stands before the self-attention",
    "DecoderLayer.work_before_cross": "the feed-forward network stands before the cross-attention",
    "DecoderLayer.no_self": "the self-attention is missing",
    "DecoderLayer.no_cross": "the cross-attention is missing",
    "DecoderLayer.no_feed_forward": "the feed-forward network is missing",
    "DecoderLayer.no_sums": "each sub-layer hands on what it computed: Add & Norm is missing",
    "DecoderLayer.one_norm": "add_norm_1 is used three times",
}
