"""What was found wrong in the answers of a function: the code of a finding, or of a failure, to its sentence."""

#: A code to what is said of it; the rows of numbers below a sentence stand in `ROWS`.
FOUND = {
    # no pair, or of other shapes
    "raised": "it raised {error}",
    "signature_variant": "variant {variant} is called as {call}; this function takes {takes}",
    "signature_class": "a layer is made as {call}; this class takes {takes}",
    "signature_layer": "the layer is called as {call}; this one takes {takes}",
    "signature_goal": "it is called as {call}; this one takes {takes}",
    "parameters": "its parameters are others, so that it cannot take the same weights; missing: {missing}; unknown: "
    "{unknown}; of another shape: {shapes}",
    "time": "it did not finish within {seconds:g} seconds",
    "ended": "the process ended before the function had returned (exit, or os._exit?)",
    "wrote_too_much": "it wrote more into a file than it may",
    "stopped_signal": "the process was stopped (signal {signal})",
    "stopped_lost": "the process was stopped (lost)",
    "no_pair": "it returned {type}; expected the pair (context, weights)",
    "no_pair_of_several": "it returned a {type} of {length}; expected the pair (context, weights)",
    "no_tensor": "{name} is a {kind}; expected a tensor of shape {expected}",
    "no_tensor_too_large": "{name} is a tensor of {count} numbers; expected a tensor of shape {expected}",
    "no_tensor_unreadable": "{name} is a {kind} whose numbers cannot be read ({error}); expected a tensor of shape "
    "{expected}",
    "no_tensor_none": "{name} is None; expected a tensor of shape {expected}",
    "other_shape": "{name} has shape {found}; expected {expected}",
    "other_shape_swapped": "{name} has shape {found}; expected {expected}. Are the two swapped? It is (context, "
    "weights)",
    "weights_not_asked_for": "weights is a {kind}; with need_weights=False it must be None",
    "other_dtype": "{name} has dtype {kind}; expected {expected}, as q, k and v",
    # scores and softmax
    "no_multiple_of_the_products": "the weights do not follow from any multiple of q . k",
    "other_scale": "the weights are those of scores {scale:.3f} * (q . k); expected {expected:.3f} * (q . k), which is "
    "1 / sqrt(d_k) with d_k = {d_k}",
    "unequal_weights_of_equal_keys": "all keys are the same, their weights are not: {weights}",
    "negative_weights": "there are negative weights, such as {lowest:.3f}",
    "other_row_sums": "the rows of the weights must sum to 1; here they sum to {sums}",
    "other_row_sums_columns": "the rows of the weights must sum to 1; here they sum to {sums}; the columns do sum to 1",
    "other_row_sums_first": "the rows of the weights must sum to 1; here they sum to {sums}; summed over the first "
    "axis they give 1",
    "other_row_sums_heads": "the rows of the weights must sum to 1; here they sum to {sums}; summed over the heads "
    "they give 1",
    "other_row_sums_everything": "the rows of the weights must sum to 1; here they sum to {sums}; the whole matrix "
    "does sum to 1",
    "weights_not_above_zero": "weights of 0, negative or not finite, where the softmax of moderate scores is always "
    "above 0",
    "not_exponentials": "within a row, the weights are not proportional to the exponentials of scores",
    # the weighted sum, and other orders
    "not_the_weighted_sum": "the context is not the sum of the values by the weights that were returned:",
    "another_answer_for_reordered_keys": "keys and values in another order, together, change the answer",
    "another_answer_for_a_reordered_batch": "the batch in another order changes the answers",
    "another_answer_without_a_batch": "the first item alone gives another answer than in a batch",
    "another_answer_with_two_batch_axes": "with two batch dimensions, an item gets another answer than with one",
    # masks and heads
    "blocked_key_has_weight": "key {key} is blocked for query {query} (mask: {mask}), but gets a weight of "
    "{weight:.3g}; "
    "the row is {weights}",
    "other_sum_under_a_mask": "with the mask {mask} a row is {weights}: it sums to {sum:.3f}, not to 1",
    "other_proportions_under_a_mask": "with the mask {mask} a row is {weights}; its weights without a mask, {before}, "
    "make that {expected}",
    "something_for_no_key_weights": "query 1 may attend to nothing, but its weights are {found}; expected 0",
    "something_for_no_key_context": "query 1 may attend to nothing, but its context is {found}; expected 0",
    "another_answer_of_a_head_alone_weights": "the weights of head 0 are not those that its own columns of q and k "
    "give",
    "another_answer_of_a_head_alone_context": "the first d_k columns of the context are not what head 0 gives alone",
    "another_answer_for_reordered_heads": "the heads in another order change the answers",
    # gradients, side effects, large numbers
    "no_gradient": "no gradient can be computed from the output",
    "no_gradient_error": "{error}",
    "gradient_does_not_reach": "no gradient flows from the context back to {name}",
    "gradient_not_finite": "there is NaN or inf in the gradient of {name}",
    "gradient_missing": "the gradient of {name} differs: there is none",
    "other_gradient_context": "the gradient of {name} through the context differs, first in row {at}:",
    "other_gradient_both": "the gradient of {name} through context and weights differs, first in row {at}:",
    "input_changed": "it changed its input {name}; the caller's tensors must stay as they are",
    "two_calls_differ": "two calls on the same input give a different {name}: something in it is random, or remembered",
    "not_finite": "there is NaN or inf in the {name}",
    # options
    "another_context_without_weights": "the context is not the one that comes with the weights",
    "weights_after_dropout": "the weights returned with dropout_p={p} are those after dropout; return those before it",
    "other_weights_under_dropout": "the weights returned with dropout_p={p} are not those before dropout",
    "dropout_of_the_context": "dropout_p={p} drops numbers of the context; it is weights that are dropped, before "
    "they meet v",
    "no_dropout": "dropout_p={p} drops nothing",
    "other_share_dropped": "dropout_p={p} drops {share:.0%} of the weights",
    "not_rescaled": "weights that are not dropped must be scaled by 1 / (1 - {p}) = {expected:.3f}; found {ratio:.3f}",
    # the same answer
    "other_numbers_weights": "weights differ in {wrong} of {of} numbers, first in weights{at}:",
    "other_numbers_context": "context differs in {wrong} of {of} numbers, first in context{at}:",
    "other_numbers_of_the_layer": "{name} of the real layer: {wrong} of {of} numbers differ, first in {name}{at}:",
}

#: Rows of numbers, to be shown below each other in letters of one width.
ROWS = {
    "not_the_weighted_sum": ("  context{at}                {context}", "  those weights with v give  {expected}"),
    "other_gradient_context": ("  found     {found}", "  expected  {expected}"),
    "other_gradient_both": ("  found     {found}", "  expected  {expected}"),
    "other_numbers_weights": ("  found     {found}", "  expected  {expected}"),
    "other_numbers_context": ("  found     {found}", "  expected  {expected}"),
    "other_numbers_of_the_layer": ("  found     {found}", "  expected  {expected}"),
}

#: Where in the student's code an exception arose, below its sentence: with the code of that line, or without.
#: Below that, the tensors that it names, with their shapes.
PLACES = {
    "line": "  line {line}: {source}",
    "line_of_a_cell": "  cell {cell}, line {line}: {source}",
    "line_alone": "  in line {line}",
    "line_of_a_cell_alone": "  in line {line} of cell {cell}",
    "shapes": "  where {shapes}",
    "shape": "{name} {shape}",
}

#: In place of the message of an exception.
ERRORS = {"unprintable": "(its message cannot be printed)"}
