"""Mistakes with attention block by block; those that every attention can have stand in the other themes too."""

from __future__ import annotations

from ._mistake import InFile, Mistake

MISTAKES = (
    Mistake(
        name="sums_of_blocks_not_corrected",
        explanation="A new maximum turns up in a later block, and what was summed before is left as it is.",
        hint="Two exponentials were measured against different maxima: what makes them comparable?",
        shows="where a later block has a larger score",
        of_goals={
            "flash_attention": InFile(
                (
                    ("running_sum * correction", "running_sum"),
                    ("context[..., rows, :] * correction", "context[..., rows, :]"),
                )
            )
        },
    ),
    Mistake(
        name="context_of_blocks_not_corrected",
        explanation="At a new maximum the running sum is corrected, the context that was summed so far is not.",
        hint="Which two things have been summed against the old maximum?",
        shows="where a later block has a larger score",
        of_goals={"flash_attention": InFile((("context[..., rows, :] * correction", "context[..., rows, :]"),))},
    ),
    Mistake(
        name="each_block_normalised_alone",
        explanation="Each block is divided by its own sum: over all blocks, a row of weights sums to more than 1.",
        hint="To what do the weights of a row sum, over all blocks?",
        shows="from two blocks on",
        of_goals={
            "flash_attention": InFile(
                (
                    (
                        "context[..., rows, :] = context[..., rows, :] * correction + exp @ v[..., columns, :]",
                        "context[..., rows, :] = context[..., rows, :] "
                        "+ exp / exp.sum(dim=-1, keepdim=True).clamp(min=1.0) @ v[..., columns, :]",
                    ),
                    ("            context[..., rows, :] /= running_sum\n", ""),
                )
            )
        },
    ),
    Mistake(
        name="context_not_divided_at_the_end",
        explanation="The context is the sum of exponentials times values: it is never divided by their sum.",
        hint="To what do the exponentials of a row sum, and to what should weights?",
        shows="everywhere",
        of_goals={"flash_attention": InFile((("            context[..., rows, :] /= running_sum\n", ""),))},
    ),
    Mistake(
        name="causal_counted_within_the_block",
        explanation="With is_causal, queries and keys are counted from the beginning of their blocks, not of the text.",
        hint="At which positions of the text stand the first query and the first key of a block?",
        shows="with is_causal, from two blocks on",
        of_goals={
            "flash_attention": InFile(
                (
                    ("torch.arange(rows.start, rows.stop, device", "torch.arange(rows.stop - rows.start, device"),
                    (
                        "torch.arange(columns.start, columns.stop, device",
                        "torch.arange(columns.stop - columns.start, device",
                    ),
                )
            )
        },
    ),
    Mistake(
        name="causal_by_whole_blocks",
        explanation="Blocks in the future are skipped, but in those on the diagonal every query sees every key.",
        hint="In a block that the diagonal crosses, which of its keys may its first query look at?",
        shows="with is_causal, in blocks larger than one",
        of_goals={"flash_attention": InFile((("columns.stop - 1 > rows.start", "False"),))},
    ),
    Mistake(
        name="last_block_left_out",
        explanation="Only whole blocks are looked at: keys that do not fill the last block are left out.",
        hint="With seven keys and blocks of three: how many keys does your loop look at?",
        shows="where the number of keys is no multiple of the block",
        of_goals={
            "flash_attention": InFile(
                (
                    (
                        "for start in range(0, end, self.block_k):",
                        "whole = end - end % self.block_k if end >= self.block_k else end\n"
                        "        for start in range(0, whole, self.block_k):",
                    ),
                )
            )
        },
    ),
    Mistake(
        name="gradient_without_the_mean",
        explanation="The gradient of the scores lacks the mean that a softmax takes off: a row of it must sum to 0.",
        hint="What happens to all weights of a row if one of its scores grows?",
        shows="in the gradients of q and k",
        of_goals={
            "flash_attention": InFile((("weights * (grad_weights - mean[..., rows, :])", "weights * grad_weights"),))
        },
    ),
    Mistake(
        name="log_sum_without_the_maximum",
        explanation="Of the log-sum-exp the maximum is left out, so that the backward pass makes other weights.",
        hint="The exponentials were taken of scores less their maximum: what does that do to the logarithm of the sum?",
        shows="in the gradients",
        of_goals={"flash_attention": InFile((("running_max + running_sum.log()", "running_sum.log()"),))},
    ),
    Mistake(
        name="gradient_of_the_scale_missing",
        explanation="The gradient of q is not multiplied by the scale, though the scores were.",
        hint="Which factor stands between q and the scores, and where does it stand in the gradient?",
        shows="in the gradient of q",
        of_goals={
            "flash_attention": InFile(
                (
                    (
                        "return grad_q, grad_k, grad_v, None",
                        "return grad_q * math.sqrt(q.shape[-1]), grad_k, grad_v, None",
                    ),
                )
            )
        },
    ),
    # Latent and linear attention.
    Mistake(
        name="latent_scaled_by_its_own_width",
        explanation="The scores are divided by the root of the latent width, and not by that of a head.",
        hint="Absorbed or not, a score is the same product: over how many numbers of a head does it sum?",
        shows="unless the latent vector is as wide as a head",
        of_goals={"latent_attention": (("q = q * math.sqrt(d_latent / d_k)  # attention", "#"),)},
    ),
    Mistake(
        name="values_from_the_matrix_of_the_keys",
        explanation="The values are made with the matrix that makes the keys.",
        hint="Which of the two matrices makes the values?",
        shows="in the context",
        of_goals={"latent_attention": (("context = context @ w_uv", "context = context @ w_uk.transpose(-2, -1)"),)},
    ),
    Mistake(
        name="latent_heads_split_by_view",
        explanation="The columns of the matrices are dealt out to the heads one by one, where each owns a block.",
        hint="Number the columns of the matrix and write down which ones the second head gets.",
        shows="from two heads on",
        of_goals={
            "latent_attention": (
                (
                    "w_uk.view(d_latent, num_heads, d_k).permute(1, 2, 0)",
                    "w_uk.view(d_latent, d_k, num_heads).permute(2, 1, 0)",
                ),
                (
                    "w_uv.view(d_latent, num_heads, d_k).transpose(0, 1)",
                    "w_uv.view(d_latent, d_k, num_heads).permute(2, 0, 1)",
                ),
            )
        },
    ),
    Mistake(
        name="linear_without_one_added",
        explanation="elu alone can be negative: weights are below 0, and their sum can be 0.",
        hint="What is the smallest value that elu takes, and what must a weight be?",
        shows="everywhere",
        of_goals={
            "linear_attention": (
                (
                    "_above_zero(q.to(exact)), _above_zero(k.to(exact))",
                    "torch.nn.functional.elu(q), torch.nn.functional.elu(k)",
                ),
            )
        },
    ),
    Mistake(
        name="linear_with_relu",
        explanation="relu makes many numbers 0: a row with no positive product is 0 / 0.",
        hint="Is every weight above 0 after your function of q and k?",
        shows="everywhere",
        of_goals={
            "linear_attention": (
                ("_above_zero(q.to(exact)), _above_zero(k.to(exact))", "torch.relu(q), torch.relu(k)"),
            )
        },
    ),
    Mistake(
        name="linear_not_causal",
        explanation="All keys are summed for every query: each one looks at what comes later.",
        hint="Which keys does the state hold when the first query meets it?",
        shows="in all rows but the last",
        of_goals={
            "linear_attention": (
                ("(q @ k.transpose(-2, -1)).tril()", "(q @ k.transpose(-2, -1))"),
                (
                    "        state = state + k[..., t, :, None] * v[..., t, None, :]",
                    "        state = k.transpose(-2, -1) @ v",
                ),
                ("        total = total + k[..., t, :]", "        total = k.sum(dim=-2)"),
            )
        },
    ),
    Mistake(
        name="linear_not_normalised",
        explanation="The products are not divided by their sum: the weights of a row do not sum to 1.",
        hint="To what do the weights of a row sum?",
        shows="everywhere",
        of_goals={
            "linear_attention": (
                ("scores / scores.sum(dim=-1, keepdim=True)", "scores"),
                ("found / (q[..., t, :] * total).sum(dim=-1, keepdim=True)", "found"),
            )
        },
    ),
    Mistake(
        name="linear_normalised_by_all_keys",
        explanation="The sum runs over all keys, later ones too: the weights of a row sum to less than 1.",
        hint="Over which keys does the sum in the denominator run, and over which the one above it?",
        shows="in all rows but the last",
        of_goals={
            "linear_attention": (
                (
                    "scores / scores.sum(dim=-1, keepdim=True)",
                    "scores / (q @ k.transpose(-2, -1)).sum(dim=-1, keepdim=True)",
                ),
                ("(q[..., t, :] * total)", "(q[..., t, :] * k.sum(dim=-2))"),
            )
        },
    ),
    Mistake(
        name="linear_state_one_late",
        explanation="The query meets the state before its own key and value are in: it does not see its own position.",
        hint="Which keys does the state hold when the first query meets it?",
        shows="token by token",
        of_goals={
            "linear_attention": (
                (
                    "        state = state + k[..., t, :, None] * v[..., t, None, :]  # (..., d_k, 1) * (..., 1, d_v)\n"
                    "        total = total + k[..., t, :]\n",
                    "",
                ),
                (
                    "        contexts.append(found / (q[..., t, :] * total).sum(dim=-1, keepdim=True))\n",
                    "        contexts.append(found / (q[..., t, :] * total).sum(dim=-1, keepdim=True))\n"
                    "        state = state + k[..., t, :, None] * v[..., t, None, :]\n"
                    "        total = total + k[..., t, :]\n",
                ),
            )
        },
    ),
    Mistake(
        name="softmax_for_linear",
        explanation="The weights are a softmax: a right attention, but another function than this one.",
        hint="Can the exponential of a dot product be taken apart into a factor for q and one for k?",
        shows="everywhere",
        of_goals={
            "linear_attention": (
                ("_above_zero(q.to(exact)), _above_zero(k.to(exact))", "q / q.shape[-1] ** 0.5, k"),
                ("(q @ k.transpose(-2, -1)).tril()", "(q @ k.transpose(-2, -1)).exp().tril()"),
            )
        },
    ),
)
