"""What is said of a broken rule of a variant, by the rule's code."""

#: A rule that compares two problems tells how many operations each took, or how many products of matrices.
RULES = {
    "not_the_library": "it calls a variant of this library; write the steps yourself.",
    "not_a_ready_layer": "it calls a ready-made layer, nn.MultiheadAttention; write the steps yourself.",
    "answers_when_watched": "it fails when its operations are watched, and only then.",
    "no_whole_product": "it multiplies whole matrices; here each score is computed for one query and one key.",
    "no_whole_softmax": "it takes the softmax of a whole matrix; here it is taken of one row at a time.",
    "no_kernel": "it calls the fused kernel, scaled_dot_product_attention; that is variant 7.",
    "kernel": "it never calls the fused kernel, scaled_dot_product_attention.",
    "context_of_the_kernel": "what it returns is not the context that the fused kernel computes.",
    "heads_in_turn": "it takes all heads in one product; here they come one after the other. At once is variant 6.",
    "no_loop_over_queries": "a larger problem takes more operations ({few}, then {many}): there is a loop, "
    "perhaps over queries or keys.",
    "no_loop_over_queries_in_products": "a larger problem takes more products of matrices ({few}, then {many}): "
    "there is a loop, perhaps over queries or keys.",
    "no_loop_over_batch": "a larger problem takes more operations ({few}, then {many}): there is a loop, "
    "perhaps over the batch.",
    "no_loop_over_batch_in_products": "a larger problem takes more products of matrices ({few}, then {many}): "
    "there is a loop, perhaps over the batch.",
    "no_loop_over_heads": "a larger problem takes more operations ({few}, then {many}): there is a loop, "
    "perhaps over heads.",
    "no_loop_over_heads_in_products": "a larger problem takes more products of matrices ({few}, then {many}): "
    "there is a loop, perhaps over heads.",
}
