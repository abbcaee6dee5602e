"""Mistakes in the layer around attention: what is projected by what, and what comes out.

They are no variant's: each changes the ``forward`` of `MultiHeadAttention`, and `check_layer` names them.
"""

from __future__ import annotations

from ._mistake import Mistake

_PROJECTED = "self.w_q(query), self.w_k(key), self.w_v(value)"

MISTAKES = (
    Mistake(
        name="no_output_projection",
        explanation="The merged heads are handed out as they are: w_o, which lets the heads mix, is never used.",
        hint="How many projections does the layer have, and where does the last one stand in the figure?",
        shows="whenever w_o is not the identity",
        seen="common",
        forward=(("self.w_o(context), weights", "context, weights"),),
        of_goals={
            "RotaryAttention": (("return self.w_o(context), weights", "return context, weights"),),
        },
    ),
    Mistake(
        name="output_projected_twice",
        explanation="w_o is applied to what has been through w_o already.",
        hint="Count how often the context passes through w_o.",
        shows="whenever w_o is not the identity",
        seen="common",
        forward=(("self.w_o(context), weights", "self.w_o(self.w_o(context)), weights"),),
    ),
    Mistake(
        name="nothing_projected",
        explanation="Queries, keys and values enter attention as they came: w_q, w_k and w_v are never used.",
        hint="What turns a token's vector into a question, an address and a message?",
        shows="whenever the projections are not the identity",
        seen="common",
        forward=((_PROJECTED, "query, key, value"),),
    ),
    Mistake(
        name="one_projection_for_all",
        explanation="One projection makes queries, keys and values, so that a token mostly finds itself.",
        hint="Three roles: does each of them have a matrix of its own?",
        shows="whenever the projections differ",
        seen="common",
        forward=((_PROJECTED, "self.w_q(query), self.w_q(key), self.w_q(value)"),),
    ),
    Mistake(
        name="values_projected_as_keys",
        explanation="The values go through w_k, which is there for what is looked up.",
        hint="Which of the four matrices does your forward never read?",
        shows="whenever w_k and w_v differ",
        seen="common",
        forward=((_PROJECTED, "self.w_q(query), self.w_k(key), self.w_k(value)"),),
    ),
    Mistake(
        name="projections_of_keys_and_values_swapped",
        explanation="Keys go through w_v and values through w_k.",
        hint="Say which matrix makes what is compared, and which makes what is handed over.",
        shows="whenever w_k and w_v differ",
        seen="common",
        forward=((_PROJECTED, "self.w_q(query), self.w_v(key), self.w_k(value)"),),
    ),
    Mistake(
        name="projections_of_queries_and_keys_swapped",
        explanation="Queries go through w_k and keys through w_q: each token asks with its address.",
        hint="Which matrix makes the side that asks?",
        shows="whenever w_q and w_k differ",
        seen="common",
        forward=((_PROJECTED, "self.w_k(query), self.w_q(key), self.w_v(value)"),),
    ),
    Mistake(
        name="keys_from_the_query",
        explanation="Keys and values are made from the query's tokens: key and value are accepted and never read.",
        hint="Let the decoder ask the encoder: whose tokens are the keys?",
        shows="with keys of another sentence than the queries",
        seen="common",
        forward=((_PROJECTED, "self.w_q(query), self.w_k(query), self.w_v(query)"),),
    ),
    Mistake(
        name="values_from_the_key",
        explanation="Values are made from the key's tokens, even where other values are passed.",
        hint="Pass keys and values that differ: does the output change with the values?",
        shows="with values that are not the keys",
        seen="common",
        forward=((_PROJECTED, "self.w_q(query), self.w_k(key), self.w_v(key)"),),
    ),
    Mistake(
        name="weights_of_the_projections_transposed",
        explanation="The input is multiplied with W and not with its transpose, which is what nn.Linear stores.",
        hint="nn.Linear keeps its weight as (out, in): what does it multiply with?",
        shows="whenever the matrices are not symmetric",
        seen="common",
        forward=(
            (
                _PROJECTED,
                "(x @ w.weight + w.bias for x, w in ((query, self.w_q), (key, self.w_k), (value, self.w_v)))",
            ),
        ),
    ),
    Mistake(
        name="biases_left_out",
        explanation="The weights of the projections are used, their biases are not.",
        hint="A linear layer holds two parameters. What becomes of the second?",
        shows="whenever the biases are not 0",
        seen="common",
        forward=((_PROJECTED, "query @ self.w_q.weight.T, key @ self.w_k.weight.T, value @ self.w_v.weight.T"),),
    ),
    Mistake(
        name="residual_inside_the_layer",
        explanation="The input is added to the output here already; Add & Norm, around the layer, does it again.",
        hint="Whose work is the residual connection: the layer's, or that of what stands around it?",
        shows="always",
        seen="common",
        forward=(("self.w_o(context), weights", "query + self.w_o(context), weights"),),
    ),
)
