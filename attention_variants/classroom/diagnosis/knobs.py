"""Attention with knobs: what it should be, and what it becomes when one or two things in it are turned the wrong way.

NumPy, in float64. With no knob turned this is the reference that every answer is measured by. Each setting of a knob
is one slip; two settings together are what code with two slips computes, so that both can be named.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from attention_variants.classroom.contract.problems import Situation

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Slip:
    """One setting of one knob, in words for a student.

    Attributes
    ----------
    knob, setting : str
        What is turned, and how.
    name : str
        A name like those of the catalogue.
    explanation, hint : str
        What happens, and where to look.
    variants : tuple of int
        Where it can occur.
    """

    knob: str
    setting: str
    name: str
    explanation: str
    hint: str
    variants: tuple[int, ...]


EVERY, FROM_3, FROM_4, FROM_5 = tuple(range(1, 8)), tuple(range(3, 8)), tuple(range(4, 8)), tuple(range(5, 8))


def _slips(knob: str, variants: tuple[int, ...], hint: str, **settings: tuple[str, str] | tuple[str, str, str]) -> list:
    """Settings of one knob: ``setting=(name, explanation)``, with a hint of their own if they need one."""
    return [
        Slip(knob, setting, words[0], words[1], words[2] if len(words) > 2 else hint, variants)
        for setting, words in settings.items()
    ]


_SCALE = "How does the spread of q . k grow with the number of products that it sums? What undoes just that?"
_AXIS = "Each query shares out a total of 1. Along which axis of the weights do its shares lie?"
_MASK = "Which scores must be out of the running before the shares are handed out, and how low must they be?"
_SPLIT = "Number the entries of a small q and follow one token through the split. Which columns does head 0 get?"
_MERGE = "Undo the split step by step: which axes were swapped, and which were joined?"
_CAUSAL = "Query i may attend to keys 0 to i. Write down the matrix of True and False for 3 queries and 4 keys."

#: Every setting of every knob.
SLIPS: tuple[Slip, ...] = tuple(
    _slips(
        "scale",
        EVERY,
        _SCALE,
        one=("no_scale", "The scores are not divided by anything: the wider the head, the harder the softmax."),
        d_k=("scale_by_d_k", "The scores are divided by d_k, not by its square root: the weights are too even."),
        times_sqrt=("scale_multiplied", "The scores are multiplied by sqrt(d_k) where they are to be divided."),
        times_d_k=("multiplied_by_d_k", "The scores are multiplied by d_k where they are to be divided by its root."),
        fourth_root=("scale_by_fourth_root", "Only the fourth root of d_k divides the scores: half of the scale."),
        sqrt_T_k=(
            "scale_by_the_number_of_keys",
            "The scores are divided by the root of the number of keys, not of the width.",
        ),
        sqrt_T_q=(
            "scale_by_the_number_of_queries",
            "The scores are divided by the root of the number of queries, not of the width.",
        ),
        T_k=("scale_by_T_k", "The scores are divided by the number of keys; it is the width that makes them large."),
        batch=("scale_by_batch", "The scores are divided by the root of the first axis of q, which is not its width."),
        after=(
            "scale_after_the_softmax",
            "The scale comes after the softmax: a row then sums to 1/sqrt(d_k), not to 1.",
        ),
        negative=("negative_scores", "The scores have the wrong sign: the least similar key gets the most."),
        half=("half_of_d_k", "The scores are divided by the half of d_k, not by its root."),
        whole_root=("root_cut_to_an_integer", "The root of d_k is cut to a whole number before it divides the scores."),
    )
    + _slips(
        "scale",
        (1, 2, 3, 4),
        _SCALE,
        sqrt_d_v=("scale_by_the_width_of_the_values", "The scores are divided by the root of d_v, not of d_k."),
    )
    + _slips(
        "scale",
        FROM_5,
        "Over how many products does one score of one head sum?",
        sqrt_d_model=(
            "scale_by_d_model",
            "The scores are divided by sqrt(d_model), but a head is only d_k wide: the weights are too even.",
        ),
        d_model=("scale_by_d_model_without_root", "The scores are divided by d_model, not by the root of d_k."),
        sqrt_heads=("scale_by_the_number_of_heads", "The scores are divided by the root of the number of heads."),
    )
    + _slips(
        "score",
        EVERY,
        "A score compares one query with one key. Which two vectors go into score [i][j], and how?",
        values=("values_for_keys", "The queries are compared with the values; it is the keys that are looked up."),
        self_keys=("scores_of_keys_with_keys", "The keys are compared with themselves; the queries are not asked."),
        self_queries=("scores_of_queries", "The queries are compared with themselves; the keys are not asked."),
        swapped=("queries_and_keys_swapped", "k q^T stands where q k^T belongs: rows are keys, not queries."),
        cosine=("cosine_similarity", "q and k are normalised to length 1 first: only their directions count."),
        distance=("squared_distance", "The score is a distance between q and k, not their product."),
        reshaped=("keys_reshaped", "The keys are reshaped to (d_k, T_k), not transposed: numbers mix."),
        zero=("uniform_weights", "Every key gets the same weight: the scores do not count."),
        elementwise=("sum_without_products", "The score adds q and k up; it should multiply them number by number."),
        absolute=("absolute_scores", "The sign of the scores is lost: an opposite key counts like a similar one."),
        not_transposed=(
            "keys_not_transposed",
            "q is multiplied with k as it stands; a score needs a row of q and a row of k.",
            "A product of matrices pairs rows of the first with columns of the second. What are the columns of k?",
        ),
        euclid=("distance_for_product", "The score is a distance between q and k, not their product."),
        no_last_column=(
            "last_column_left_out",
            "The product of q and k leaves out the last number of each.",
            "Over how many products does one score sum? Count them for d_k = 3.",
        ),
        no_first_column=(
            "first_column_left_out",
            "The product of q and k leaves out the first number of each.",
            "Over how many products does one score sum? Count them for d_k = 3.",
        ),
        carried_on=(
            "score_carried_on",
            "The sum of the products is not set back to 0 between the scores: each holds all those before it.",
            "Which variable collects one score, and what does it hold when the next one begins?",
        ),
        carried_on_in_a_row=(
            "score_carried_on",
            "The sum of the products is set back for each query only: a score holds those of the keys before it.",
            "Which variable collects one score, and what does it hold when the next one begins?",
        ),
        last_is_zero=(
            "last_key_never_scored",
            "The last key is never compared with a query: its score stays 0.",
            "How many scores does one query have, and how many does your loop compute?",
        ),
        only_first=(
            "first_score_for_every_key",
            "Every query is compared with the first key only.",
            "Which index of k changes from one score to the next?",
        ),
        first_query=(
            "first_query_for_every_row",
            "Every row of the scores asks with the first query.",
            "Which index of q changes from one row of the scores to the next?",
        ),
        all_reversed=("all_axes_of_k_reversed", "All axes of k are reversed; only its last two need to be swapped."),
    )
    + _slips(
        "score",
        FROM_3,
        "Say in words what each axis of k holds. Which two does the product of matrices need swapped?",
        first_two=("transpose_of_the_batch", "The first two axes of k are swapped; but the first is the batch."),
        first_item=("keys_of_the_first_item", "Every item of the batch is compared with the keys of the first."),
        next_item=("keys_of_another_item", "The queries are compared with the keys of another item of the batch."),
    )
    + _slips(
        "axis",
        EVERY,
        _AXIS,
        queries=(
            "softmax_over_queries",
            "The softmax runs over the queries: columns of the weights sum to 1, not rows.",
        ),
        everything=("softmax_over_everything", "The whole matrix of weights sums to 1, not each of its rows."),
        none=("no_softmax", "There is no softmax: the scores themselves weigh the values.", "What must a row sum to?"),
        sigmoid=("sigmoid_for_softmax", "Each score is squashed on its own: the keys do not compete for a total of 1."),
        log=(
            "log_softmax_for_softmax",
            "These are logarithms of the weights: negative numbers.",
            "What must a row sum to?",
        ),
        twice=("softmax_twice", "The softmax is taken twice: the second flattens what the first decided."),
        hard=("all_on_the_largest", "All weight goes to the largest score: a maximum, not a soft one."),
        unnormalised=("no_denominator", "The exponentials are not divided by their sum: rows do not sum to 1."),
        linear=(
            "divided_by_the_sum_of_scores",
            "Scores are divided by their sum, without exp: weights can be negative.",
        ),
        softmin=("softmin", "The softmax has the wrong sign: the least similar key gets the most."),
        relu=("relu_not_exp", "Negative scores become 0 in place of a small exponential."),
        base_two=("base_of_two", "The softmax is to the base 2: the weights are too even."),
        length=("divided_by_the_length", "Rows have length 1 (their squares sum to 1), but their sum is not 1."),
        overflow=(
            "no_max_subtraction",
            "exp of a large score overflows, and inf / inf is NaN.",
            "Softmax stays the same when one number is taken from every score of a row. Which number helps?",
        ),
        whole_max=(
            "maximum_of_everything",
            "One maximum is subtracted from all rows: a row far below it underflows to 0 / 0.",
            "Whose exponentials share a sum? Which of them must not all vanish?",
        ),
        all_but_last_row=(
            "last_query_left_out",
            "The loop over the queries stops one early: the last row of the weights stays 0.",
            "Which rows of the weights does your loop fill when there are three queries?",
        ),
        all_but_first_row=(
            "first_query_left_out",
            "The loop over the queries begins one late: the first row of the weights stays 0.",
            "Which rows of the weights does your loop fill when there are three queries?",
        ),
        minimum=(
            "minimum_for_maximum",
            "The smallest score is taken off and not the largest: exp of what is left overflows.",
            "Which of the scores of a row must become exp(0), so that none is larger?",
        ),
        one_sum=(
            "one_denominator_for_all",
            "The exponentials are divided by the sum of them all, and not each by the sum of its own row.",
        ),
        from_zero=("maximum_starts_at_zero", "The search for the maximum starts at 0, above all negative scores."),
        clamped=("scores_clamped", "Large scores are cut off: finite, but keys that differ then look alike."),
        all_but_last=(
            "last_key_never_scored",
            "The last key is never compared with a query: its weight is 0.",
            "How many scores does one query have, and how many does your loop compute?",
        ),
        sum_without_axis=(
            "keepdim_forgotten",
            "The row sums lose their axis and divide the columns: broadcasting pairs a sum with a wrong row.",
        ),
        sum_across=(
            "keepdim_forgotten",
            "The row sums divide the columns: each sum is paired with a wrong row.",
        ),
        sum_without_axis_of_all=(
            "keepdim_forgotten",
            "The row sums lose their axis and divide the columns: broadcasting pairs a sum with a wrong row.",
        ),
        sum_across_of_all=(
            "keepdim_forgotten",
            "The row sums divide the columns: each sum is paired with a wrong row.",
        ),
        max_without_axis=(
            "keepdim_forgotten",
            "The largest of each row loses its axis and is taken from the columns: each key is shifted by its own.",
        ),
    )
    + _slips(
        "axis",
        FROM_5,
        _AXIS,
        heads=("softmax_over_heads", "The softmax runs over the heads: they share a total of 1, and not the keys."),
    )
    + _slips(
        "axis",
        FROM_3,
        _AXIS,
        first=(
            "softmax_over_the_batch",
            "The softmax runs over the first axis: items of the batch share a total of 1.",
        ),
        second=("softmax_over_axis_1", "The softmax runs over axis 1, which does not hold the keys here."),
    )
    + _slips(
        "mask",
        FROM_4,
        _MASK,
        ignored=("mask_ignored", "The mask changes nothing: blocked keys are attended to."),
        inverted=(
            "inverted_mask",
            "True is read as blocked: each query attends to exactly what it must not see.",
            "Here True means may attend. nn.MultiheadAttention says the opposite.",
        ),
        after=("mask_after_softmax", "The mask comes after the softmax: blocked keys have had their share of the 1."),
        multiplied=("blocked_scores_near_zero", "Blocked scores become 0, and exp(0) = 1: a 0 blocks nothing."),
        added=("mask_added_as_numbers", "The mask is added as 0 and 1: True adds 1 to a score, nothing is blocked."),
        subtracted=("blocked_scores_minus_one", "Blocked scores are lowered by 1 only: their keys still get a share."),
        minus_ten=("fill_not_low_enough", "Blocked scores are low, but not low enough: weights stay above 0."),
        minus_100=("fill_not_low_enough", "Blocked scores are low, but not low enough: weights stay above 0."),
        minus_1000=("fill_not_low_enough", "Blocked scores are set to a number that scores can go below."),
        minus_10000=("fill_not_low_enough", "Blocked scores are set to a number that scores can go below."),
        multiplied_cleared=(
            "blocked_scores_near_zero",
            "Blocked scores become 0, and exp(0) = 1: they have had a share when their weights are cleared.",
        ),
        added_cleared=(
            "mask_added_as_numbers",
            "The mask is added as 0 and 1: blocked keys have had a share when their weights are cleared.",
        ),
        minus_ten_cleared=(
            "fill_not_low_enough",
            "Blocked scores are low, but not low enough: rows sum to less than 1.",
        ),
        minus_100_cleared=("fill_not_low_enough", "Blocked scores are set to a number that scores can go below."),
        minus_1000_cleared=("fill_not_low_enough", "Blocked scores are set to a number that scores can go below."),
        minus_10000_cleared=("fill_not_low_enough", "Blocked scores are set to a number that scores can go below."),
        lower_by_100=("fill_not_low_enough", "Blocked scores are lowered by a number that scores can differ by."),
        lower_by_1000=("fill_not_low_enough", "Blocked scores are lowered by a number that scores can differ by."),
        lower_by_10000=("fill_not_low_enough", "Blocked scores are lowered by a number that scores can differ by."),
        lower_by_10000_cleared=(
            "fill_not_low_enough",
            "Blocked scores are lowered by a number that scores can differ by.",
        ),
        raised=(
            "blocked_scores_raised",
            "Blocked scores become very large where they should become very low: they get all the weight.",
        ),
        raised_and_cleared=(
            "blocked_scores_raised",
            "Blocked scores become very large where they should become very low: they take the weight of the others.",
        ),
        renormalised=(
            "masked_then_renormalised",
            "The weights are masked and divided by what is left of their sum, which may be nothing.",
            "What is left to divide by when the blocked keys had all the weight?",
        ),
        renormalised_nan=(
            "masked_then_renormalised",
            "The weights are masked and divided by what is left of their sum, which may be nothing: 0 / 0.",
            "What is left to divide by when the blocked keys had all the weight?",
        ),
        transposed=("mask_on_the_query_axis", "The mask is read the wrong way round: as if its rows were the keys."),
        transposed_square=(
            "mask_on_the_query_axis",
            "Where there are as many queries as keys, the mask is read the wrong way round: rows as keys.",
        ),
        first_item=("mask_of_the_first_item", "Every item of the batch is masked like the first."),
        first_query=("mask_of_the_first_query", "Every query is masked like the first one."),
        last_query=(
            "mask_of_the_last_query",
            "Every query is masked like the last one.",
            "Which row of the mask does each query meet?",
        ),
        last_item=("mask_of_the_last_item", "Every item of the batch is masked like the last."),
        uniform=(
            "no_key_taken_for_every_key",
            "A query with every key blocked attends to all of them alike; it must get 0.",
            "If all scores of a row are equally low, what does the softmax make of them?",
        ),
        nan=(
            "no_key_gives_nan",
            "A query with every key blocked becomes NaN: the softmax of nothing is 0 / 0.",
            "What is the sum of the exponentials of a row in which every score is -inf?",
        ),
        empty_mean=("empty_row_context_not_zero", "A query with no key has weights 0, but its context is not 0."),
        renormalised_queries=("mask_blocks_whole_queries", "A query that has any key blocked is blocked altogether."),
        values=("mask_on_the_values_only", "Blocked values are left out of the sum, but the weights keep their share."),
        shown_only=(
            "mask_on_the_returned_weights_alone",
            "The weights returned are masked; the sum is without the mask.",
        ),
        shown_after=(
            "mask_on_the_returned_weights_alone",
            "The weights are masked when the sum has been taken: too late for the context.",
        ),
    )
    + _slips(
        "mask",
        (4, 5, 6),
        _MASK,
        summed_only=("mask_missing_in_the_returned_weights", "The context is masked; the weights returned are not."),
    )
    + _slips(
        "mask",
        (7,),
        _MASK,
        summed_only=(
            "weights_recomputed_without_the_mask",
            "The weights computed beside the kernel know nothing of the mask that the kernel got.",
        ),
    )
    + _slips(
        "mask",
        FROM_5,
        "Write down the shape of the mask and of the scores. Which axis of the one meets which of the other?",
        first_head=("mask_of_the_first_head_for_all", "Every head is masked like the first one."),
        first_head_only=("mask_for_the_first_head_alone", "Only the first head is masked, the others see everything."),
        heads_reversed=("mask_of_the_heads_reversed", "The heads get each other's masks."),
        wrong_order=(
            "mask_repeated_in_the_wrong_order",
            "The masks are repeated for the heads in the wrong order: heads get the mask of another sequence.",
        ),
    )
    + _slips(
        "sum",
        EVERY,
        "The context of a query mixes the values, each as much as its weight says. Which axis is summed over?",
        transposed=("weights_transposed", "The weights are transposed before they meet the values."),
        transposed_square=(
            "weights_transposed",
            "Where there are as many queries as keys, the weights are transposed before they meet the values.",
        ),
        keys=("keys_for_values", "The context is summed from the keys; it is the values that are handed over."),
        queries=(
            "queries_for_values",
            "The context is summed from the queries; it is the values that are handed over.",
        ),
        scores=("context_from_scores", "The values are weighed with the raw scores, not with the weights."),
        mean=("context_is_the_mean", "The context is the plain mean of the values: the weights do not count."),
        twice=("softmax_twice", "The softmax is taken once more of the weights before they meet the values."),
        root=(
            "scale_after_the_sum",
            "The context is divided by the root of d_k; it is the scores that are to be divided.",
            "Which numbers grow with the width, those before the softmax or those after it?",
        ),
        first=(
            "first_key_alone",
            "The context holds only what the first key gave.",
            "How far is the return indented, and how many values are summed?",
        ),
        divided=("context_divided_by_T_k", "The context is divided by the number of keys; weights sum to 1 already."),
        last=("sum_overwritten", "The context holds only what the last key gave: each key overwrites the sum."),
        all_but_last=("last_key_left_out", "The last key is left out of the sum."),
        all_but_first=("first_key_missing", "The first key is left out of the sum."),
        residual=("query_added", "The queries are added to the context: that belongs to the layer around it."),
        diagonal=("value_of_the_query", "The value at the query's own place is taken for every key."),
        last_row=(
            "last_context_in_every_row",
            "Every row of the context is that of the last query.",
            "How many tensors does the loop over the queries make, and how many names do they have?",
        ),
        carried_on=(
            "context_carried_on",
            "The sum is not set back to 0 between the queries: each context holds all those before it.",
            "What does the sum hold when the next query begins?",
        ),
        largest=("value_of_the_best_key", "Only the value of the key with the largest weight is taken."),
    )
    + _slips(
        "sum",
        FROM_3,
        "Which item of the batch do the values of the second sequence belong to?",
        first_item=("values_of_the_first_item", "Every item of the batch gets the values of the first."),
        next_item=("values_of_the_next_item", "The values come from another item of the batch."),
        batch_mean=("batch_averaged", "The context is averaged over the batch."),
    )
    + _slips(
        "split",
        FROM_5,
        _SPLIT,
        view=("view_without_transpose", "Shapes fit, numbers do not: a head gets whole tokens, not columns of each."),
        interleaved=("every_hth_column_to_a_head", "A head gets every H-th column; it owns d_k columns side by side."),
        first=("every_head_reads_the_first_columns", "Every head reads the columns of the first head."),
        reversed=("heads_in_reverse", "The heads come in reverse order."),
        shifted=("columns_off_by_one", "A head's columns begin one too late: it owns h * d_k to (h + 1) * d_k."),
        values_view=(
            "values_split_by_view",
            "q and k are split into heads rightly, v is not: it misses its transpose.",
        ),
        values_interleaved=("values_interleaved", "q and k are split into heads rightly, v takes every H-th column."),
        not_swapped=("heads_attend_to_heads", "Heads and tokens are not swapped: at each place, heads look at heads."),
        none=("number_of_heads_ignored", "There is one wide head: every head compares whole vectors of width d_model."),
        none_but_scaled=(
            "heads_not_split",
            "The heads are not split: every head compares whole vectors of width d_model.",
        ),
        interleaved_throughout=(
            "every_hth_column_to_a_head",
            "A head gets every H-th column, and gives back every H-th; it owns d_k columns side by side.",
        ),
        short=("head_one_column_short", "A head's scores leave out the last of its columns: it owns d_k of them."),
        values_first=("values_of_the_first_head", "Every head sums up the values of the first head."),
        keys_first=("keys_of_the_first_head", "Every head compares with the keys of the first head."),
        queries_first=("queries_of_the_first_head", "Every head asks with the queries of the first head."),
        values_reversed=("values_of_the_wrong_head", "A head sums up the values of another head."),
        keys_reversed=("keys_of_the_wrong_head", "A head compares with the keys of another head."),
        keys_view=("keys_split_by_view", "q and v are split into heads rightly, k is not: it misses its transpose."),
        queries_view=(
            "queries_split_by_view",
            "k and v are split into heads rightly, q is not: it misses its transpose.",
        ),
    )
    + _slips(
        "merge",
        FROM_5,
        _MERGE,
        reshape=("merge_without_transpose", "Heads are joined while their axis stands before the tokens: rows mix."),
        interleaved=("heads_interleaved_in_the_merge", "The columns of the heads come out in turns, not side by side."),
        reversed=("heads_in_reverse", "The heads are put together in reverse order."),
        last_two=(
            "merge_swaps_the_wrong_axes",
            "Before the merge the last two axes are swapped, and those are the tokens and the columns.",
        ),
        mean=("heads_averaged", "The heads are averaged; they belong side by side."),
        total=("heads_summed", "The heads are summed; they belong side by side."),
        last_lost=("last_head_left_out", "The last head's context is missing: it is 0."),
        last_skipped=("last_head_left_out", "The last head is never computed: its context and its weights are 0."),
        first_only=("first_head_repeated", "Every head's place holds the context of the first head."),
        last_only=("last_head_repeated", "Every head's place holds the context of the last head."),
    )
    + _slips(
        "shown",
        EVERY,
        "The weights returned are those that met the values: rows are queries, and each sums to 1.",
        transposed=("returned_weights_transposed", "The weights are returned transposed: rows must be the queries."),
        scores=("scores_returned_as_weights", "The scores are returned in place of the weights."),
        raw=("unscaled_scores_returned", "The unscaled scores are returned in place of the weights."),
        zeros=("returned_weights_zero", "The weights returned are 0: they are not those that were used."),
        uniform=("returned_weights_made_up", "The weights returned are all equal: they are not those that were used."),
    )
    + _slips(
        "shown",
        FROM_5,
        "Each head decides for itself: the weights keep their head axis.",
        mean=(
            "weights_averaged_over_heads",
            "The weights returned are averaged over heads, as nn.MultiheadAttention does.",
        ),
        reversed=("returned_weights_of_other_heads", "The weights returned belong to the heads in another order."),
        first=("returned_weights_of_the_first_head", "The weights of the first head are returned for all."),
        last=("returned_weights_of_the_last_head", "The weights of the last head are returned for all."),
    )
    + _slips(
        "causal",
        (7,),
        _CAUSAL,
        ignored=("is_causal_ignored", "is_causal=True changes nothing: the future is read."),
        upper=("causal_by_triu", "The causal mask is upside down: only the future is read."),
        above=("causal_by_triu", "What the causal mask should block is all that it allows: only the future is read."),
        next=("causal_sees_the_next_key", "With is_causal=True every query sees one key too many."),
        not_itself=("causal_does_not_see_itself", "With is_causal=True no query sees its own position."),
        bottom_right=("causal_from_the_bottom_right", "The causal mask is aligned to the last key, not to the first."),
        either=(
            "causal_or_mask",
            "With is_causal=True a key is open if the mask or the causal mask allows it; it takes both.",
            "May a query see a key that one of the two masks blocks?",
        ),
        beside_mask=("is_causal_ignored_beside_a_mask", "is_causal=True is forgotten when there is a mask too."),
        replaces=("causal_replaces_the_mask", "With is_causal=True the mask is forgotten."),
        not_shown=("future_in_the_returned_weights", "The context is causal, the weights returned are not."),
        shown_only=("future_in_the_context", "The weights returned are causal, the context is not."),
        always=("causal_without_being_asked", "The function is causal even when nobody asked for it."),
    )
    + _slips(
        "causal",
        (1, 2, 3, 4, 5, 6),
        _CAUSAL,
        always=("causal_without_being_asked", "A causal mask is applied though nobody asked."),
    )
)


def attend(s: Situation, knobs: Mapping[str, str] | None = None) -> Pair:
    """Solve a problem, with some knobs turned.

    Parameters
    ----------
    s : Situation
        The problem; its dropout is left out.
    knobs : mapping, optional
        Knob to setting; what is not named is right.

    Returns
    -------
    context, weights : array
        In float64. Whatever goes wrong with a knob turned (shapes that do not fit) is raised as it comes.
    """
    knob = dict(knobs or {}).get
    q, k, v = _split(s, knob("split"))
    allowed = _allowed(s, knob("mask"), knob("causal"))
    with np.errstate(all="ignore"):
        raw = _raw_scores(s, knob("split"), knob("score"))
        width = s.q.shape[-1] // (s.num_heads or 1) if knob("split") == "none_but_scaled" else q.shape[-1]
        scores = _scaled(raw, s, knob("scale"), width)
        weights = _weights(scores, allowed, knob("mask"), knob("axis"))
        if knob("scale") == "after":
            weights = weights / math.sqrt(q.shape[-1])
        if weights.shape != s.weights_shape:
            raise ValueError("the shapes do not fit")
        used, shown = _used_and_shown(s, scores, weights, knob("mask"), knob("causal"), knob("axis"))
        context = _sum(used, scores, q, k, v, knob("sum"))
        if knob("mask") == "empty_mean" and allowed is not None:
            context = np.where(allowed.any(-1, keepdims=True), context, v.mean(-2, keepdims=True))
        shown = _shown(shown, scores, raw, knob("shown"))
        context = _merge(context, s, knob("merge") or _MERGED_ALIKE.get(knob("split") or ""))
        if knob("merge") == "last_skipped":
            shown = shown * (np.arange(s.num_heads or 1)[:, None, None] < (s.num_heads or 1) - 1)
    if context.shape != s.context_shape or shown.shape != s.weights_shape:
        raise ValueError("the shapes do not fit")
    return context, shown


#: What a wrong split makes of the merge, where that undoes it.
_MERGED_ALIKE = {"not_swapped": "reshape", "interleaved_throughout": "interleaved"}


@lru_cache(maxsize=4096)
def _raw_scores(s: Situation, split: str | None, score: str | None) -> np.ndarray:
    return _scores(*_split(s, split), score)


@lru_cache(maxsize=2048)
def _split(s: Situation, how: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if s.num_heads is None:
        return s.q, s.k, s.v
    H = s.num_heads

    def columns(x: np.ndarray) -> np.ndarray:
        return np.swapaxes(x.reshape(*x.shape[:-1], H, -1), -3, -2)

    def view(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-2], H, x.shape[-2], -1)

    def interleaved(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x.reshape(*x.shape[:-1], -1, H), -1, -3)

    def first(x: np.ndarray) -> np.ndarray:
        return np.repeat(columns(x)[..., :1, :, :], H, axis=-3)

    def whole(x: np.ndarray) -> np.ndarray:
        return np.repeat(x[..., None, :, :], H, axis=-3)

    whose, _, which = (how or "").partition("_")
    if whose in ("queries", "keys", "values"):
        odd = {"view": view, "interleaved": interleaved, "first": first}.get(
            which, lambda x: columns(x)[..., ::-1, :, :]
        )
        q, k, v = (
            odd(x) if name == whose else columns(x) for name, x in (("queries", s.q), ("keys", s.k), ("values", s.v))
        )
        return q, k, v
    if how in ("none", "none_but_scaled"):
        return whole(s.q), whole(s.k), columns(s.v)
    if how == "short":
        return columns(s.q)[..., :-1], columns(s.k)[..., :-1], columns(s.v)
    if how == "not_swapped":
        q, k, v = (np.swapaxes(columns(x), -3, -2) for x in (s.q, s.k, s.v))
        return q, k, v

    def shifted(x: np.ndarray) -> np.ndarray:
        return columns(np.roll(x, -1, axis=-1))

    ways = {
        "shifted": shifted,
        "view": view,
        "interleaved": interleaved,
        "interleaved_throughout": interleaved,
        "first": first,
        "reversed": lambda x: columns(x)[..., ::-1, :, :],
    }
    split = ways.get(how or "", columns)
    return split(s.q), split(s.k), split(s.v)


def _scores(q: np.ndarray, k: np.ndarray, v: np.ndarray, how: str | None) -> np.ndarray:
    if how == "values":
        k = v
    elif how == "self_keys":
        q = k
    elif how == "self_queries":
        k = q
    elif how == "swapped":
        q, k = k, q
    elif how == "cosine":
        q, k = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (q, k))
    elif how == "first_item":
        k = np.broadcast_to(k[:1], k.shape)
    elif how == "next_item":
        k = np.roll(k, 1, axis=0)
    elif how == "only_first":
        k = np.broadcast_to(k[..., :1, :], k.shape)
    elif how == "first_query":
        q = np.broadcast_to(q[..., :1, :], q.shape)
    elif how == "no_last_column":
        q, k = q[..., :-1], k[..., :-1]
    elif how == "no_first_column":
        q, k = q[..., 1:], k[..., 1:]
    elif how == "euclid":
        return -np.sqrt(np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1))
    elif how == "distance":
        return -np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1)
    elif how == "reshaped":
        return q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])
    elif how == "zero":
        return np.zeros((*q.shape[:-1], k.shape[-2]))
    elif how == "elementwise":
        return (q[..., :, None, :] + k[..., None, :, :]).sum(-1)
    elif how == "first_two":
        return q @ np.swapaxes(k, 0, 1)
    elif how in ("not_transposed", "all_reversed"):
        return q @ (k if how == "not_transposed" else k.T)
    scores = q @ np.swapaxes(k, -2, -1)
    if how == "last_is_zero":
        return scores * (np.arange(scores.shape[-1]) < scores.shape[-1] - 1)
    if how == "carried_on":
        return scores.reshape(*scores.shape[:-2], -1).cumsum(-1).reshape(scores.shape)
    if how == "carried_on_in_a_row":
        return scores.cumsum(-1)
    return np.abs(scores) if how == "absolute" else scores


def _scaled(scores: np.ndarray, s: Situation, how: str | None, width: int) -> np.ndarray:
    d_k, d_model, H = s.q.shape[-1] // (s.num_heads or 1), s.q.shape[-1], s.num_heads or 1
    T_q, T_k = s.weights_shape[-2:]
    factors = {
        "one": 1.0,
        "after": 1.0,
        "d_k": 1 / d_k,
        "times_sqrt": math.sqrt(d_k),
        "times_d_k": d_k,
        "fourth_root": d_k**-0.25,
        "sqrt_T_k": 1 / math.sqrt(T_k),
        "sqrt_T_q": 1 / math.sqrt(T_q),
        "T_k": 1 / T_k,
        "batch": 1 / math.sqrt(s.q.shape[0]),
        "negative": -1 / math.sqrt(d_k),
        "sqrt_d_model": 1 / math.sqrt(d_model),
        "d_model": 1 / d_model,
        "sqrt_heads": 1 / math.sqrt(H),
        "half": 2 / d_k,
        "whole_root": 1 / int(math.sqrt(d_k)),
        "sqrt_d_v": 1 / math.sqrt(s.v.shape[-1] // H),
    }
    return scores * factors.get(how or "", 1 / math.sqrt(width))


def _allowed(s: Situation, how: str | None, causal: str | None) -> np.ndarray | None:
    mask, T_q, T_k = s.mask, *s.weights_shape[-2:]
    is_causal = bool(s.options.get("is_causal"))
    if is_causal or causal == "always":
        square = np.ones((T_q, T_k), bool)
        triangle = np.tril(square)
        other = {"upper": np.triu(square), "above": np.triu(square, 1)}
        diagonals = {"next": 1, "not_itself": -1, "bottom_right": T_k - T_q}
        if causal in diagonals:
            triangle = np.tril(np.ones((T_q, T_k), bool), diagonals[causal])
        triangle = other.get(causal or "", triangle)
        if causal == "replaces":
            return triangle
        if causal == "either" and mask is not None:
            return np.broadcast_to(mask | triangle, s.weights_shape)
        if causal != "ignored" and not (causal == "beside_mask" and mask is not None):
            mask = triangle if mask is None else mask & triangle
    if mask is None:
        return None
    mask = np.broadcast_to(mask, s.weights_shape)
    if how == "inverted":
        return ~mask
    if how == "transposed":
        return np.swapaxes(mask, -2, -1) if mask.shape[-2] == mask.shape[-1] else _impossible()
    if how == "transposed_square" and mask.shape[-2] == mask.shape[-1]:
        return np.swapaxes(mask, -2, -1)
    if how == "first_item" and len(s.q.shape) > 2:
        return np.broadcast_to(mask[:1], mask.shape)
    if how == "first_query":
        return np.broadcast_to(mask[..., :1, :], mask.shape)
    if how == "last_query":
        return np.broadcast_to(mask[..., -1:, :], mask.shape)
    if how == "last_item" and len(s.q.shape) > 2:
        return np.broadcast_to(mask[-1:], mask.shape)
    if how == "first_head":
        return np.broadcast_to(mask[..., :1, :, :], mask.shape)
    if how == "first_head_only":
        only = np.ones_like(mask)
        only[..., 0, :, :] = mask[..., 0, :, :]
        return only
    if how == "wrong_order" and len(s.q.shape) > 2:
        return np.swapaxes(mask, 0, -3).reshape(mask.shape)
    if how == "heads_reversed":
        return mask[..., ::-1, :, :]
    if how == "renormalised_queries":
        return mask & mask.all(-1, keepdims=True)
    return mask


def _impossible() -> Any:
    raise ValueError("the shapes do not fit")


_FILLS = {"multiplied": 0.0, "minus_ten": -10.0, "minus_100": -100.0, "minus_1000": -1e3, "minus_10000": -1e4}


def _weights(scores: np.ndarray, allowed: np.ndarray | None, mask: str | None, axis: str | None) -> np.ndarray:
    """Mask, softmax, mask: in this order unless a knob says otherwise."""
    if allowed is None or mask in ("ignored", "values"):
        return _softmax(scores, axis)
    if mask == "after":
        return np.where(allowed, _softmax(scores, axis), 0.0)
    if mask in ("added", "added_cleared"):
        weights = _softmax(scores + allowed, axis)
        return weights if mask == "added" else weights * allowed
    if mask in ("raised", "raised_and_cleared"):
        weights = _softmax(np.where(allowed, scores, 1e9), axis)
        return weights if mask == "raised" else weights * allowed
    if mask in ("renormalised", "renormalised_nan"):
        left = _softmax(scores, axis) * allowed
        left[left < 1e-45] = 0.0  # where float32 ends
        sums = left.sum(-1, keepdims=True)
        return left / (np.maximum(sums, 1e-9) if mask == "renormalised" else sums)
    if mask == "subtracted":
        return _softmax(scores - ~allowed, axis)
    fill = (mask or "").removesuffix("_cleared")
    if fill in _FILLS:
        weights = _softmax(np.where(allowed, scores, _FILLS[fill]), axis)
        return weights * allowed if fill != mask else weights
    if fill.startswith("lower_by_"):
        weights = _softmax(scores - ~allowed * float(fill.removeprefix("lower_by_")), axis)
        return weights * allowed if fill != mask else weights
    if mask == "uniform":
        return _softmax(np.where(allowed, scores, -1e30), axis)
    if mask == "nan":
        return _softmax(np.where(allowed, scores, -np.inf), axis)
    if axis in ("none", "linear", "relu", "unnormalised", "sigmoid", "hard", "overflow", "length"):
        low = -1e30 if axis in ("unnormalised", "sigmoid", "hard", "overflow") else 0.0
        return np.nan_to_num(_softmax(np.where(allowed, scores, low), axis)) * allowed
    return np.where(allowed, _softmax(np.where(allowed, scores, -1e30), axis), 0.0)


def _softmax(scores: np.ndarray, axis: str | None) -> np.ndarray:
    if axis in ("none", "log", "sigmoid", "hard", "linear", "relu", "unnormalised", "length"):
        return _no_softmax(scores, axis)
    if axis == "overflow":
        exp = np.exp(np.minimum(scores, 1e4))
        exp[scores > 88.7] = np.inf  # where float32 ends
        return exp / exp.sum(-1, keepdims=True)
    if axis == "whole_max":
        exp = np.exp(scores - scores.max())
        exp[exp < 1e-45] = 0.0
        return exp / exp.sum(-1, keepdims=True)
    if axis == "all_but_last":
        if scores.shape[-1] == 1:
            return np.zeros_like(scores)
        weights = _softmax(scores[..., :-1], None)
        return np.concatenate([weights, np.zeros_like(scores[..., :1])], axis=-1)
    if axis in ("all_but_last_row", "all_but_first_row"):
        rows = np.arange(scores.shape[-2])[:, None]
        return _softmax(scores, None) * (rows != (0 if axis == "all_but_first_row" else rows[-1]))
    if axis in ("minimum", "from_zero"):
        largest = scores.min(-1, keepdims=True) if axis == "minimum" else np.maximum(scores.max(-1, keepdims=True), 0)
        exp = np.exp(np.minimum(scores - largest, 1e4))
        exp[scores - largest > 88.7], exp[exp < 1e-45] = np.inf, 0.0  # where float32 ends
        return exp / exp.sum(-1, keepdims=True)
    if axis == "one_sum":
        exp = np.exp(scores - scores.max(-1, keepdims=True))
        return exp / exp.sum()
    if axis in ("sum_without_axis", "sum_across", "sum_without_axis_of_all", "sum_across_of_all"):
        # Beside the sum of another row it counts which maximum was taken off: that of the row, or one for all.
        exp = np.exp(scores - (scores.max() if axis.endswith("of_all") else scores.max(-1, keepdims=True)))
        across = axis.startswith("sum_across")
        return exp / (np.swapaxes(exp.sum(-1, keepdims=True), -2, -1) if across else exp.sum(-1))
    if axis == "max_without_axis":
        exp = np.exp(scores - scores.max(-1))
        return exp / exp.sum(-1, keepdims=True)
    if axis == "clamped":
        scores = np.clip(scores, -80, 80)
    elif axis == "softmin":
        scores = -scores
    elif axis == "base_two":
        scores = scores * math.log(2)
    elif axis == "everything":
        exp = np.exp(scores - scores.max((-2, -1), keepdims=True))
        return exp / exp.sum((-2, -1), keepdims=True)
    where = {"queries": -2, "heads": -3, "first": 0, "second": 1}.get(axis or "", -1)
    exp = np.exp(scores - scores.max(where, keepdims=True))
    weights = exp / exp.sum(where, keepdims=True)
    return _softmax(weights, None) if axis == "twice" else weights


def _no_softmax(scores: np.ndarray, how: str) -> np.ndarray:
    if how == "none":
        return scores
    if how == "sigmoid":
        return 1 / (1 + np.exp(-scores))
    if how == "hard":
        return (scores == scores.max(-1, keepdims=True)).astype(float)
    if how == "linear":
        return scores / scores.sum(-1, keepdims=True)
    if how == "relu":
        positive = np.maximum(scores, 0)
        return positive / np.maximum(positive.sum(-1, keepdims=True), 1e-12)
    exp = np.exp(scores) if how == "unnormalised" else np.exp(scores - scores.max(-1, keepdims=True))
    if how == "length":
        return exp / np.linalg.norm(exp, axis=-1, keepdims=True)
    return exp if how == "unnormalised" else np.log(exp / exp.sum(-1, keepdims=True))


def _used_and_shown(
    s: Situation, scores: np.ndarray, weights: np.ndarray, mask: str | None, causal: str | None, axis: str | None
) -> Pair:
    """The weights that meet the values, and those that are returned."""
    if mask in ("values", "shown_only", "shown_after", "summed_only") and s.mask is not None:
        if mask == "values":
            return weights * s.allowed, weights
        unmasked = _softmax(scores, axis)
        if mask == "shown_after":
            return unmasked, unmasked * s.allowed
        return (unmasked, weights) if mask == "shown_only" else (weights, unmasked)
    if causal in ("not_shown", "shown_only") and s.options.get("is_causal"):
        open_to_all = _weights(scores, _allowed(s, mask, "ignored"), mask, axis)
        return (weights, open_to_all) if causal == "not_shown" else (open_to_all, weights)
    return weights, weights


def _sum(w: np.ndarray, scores: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, how: str | None) -> np.ndarray:
    if how == "transposed" or (how == "transposed_square" and w.shape[-1] == w.shape[-2]):
        return np.swapaxes(w, -2, -1) @ v
    if how in ("keys", "queries"):
        return w @ (k if how == "keys" else q)
    if how == "scores":
        return scores @ v
    if how == "mean":
        return np.broadcast_to(v.mean(-2, keepdims=True), (*w.shape[:-1], v.shape[-1]))
    if how in ("last", "first"):
        j = -1 if how == "last" else 0
        return w[..., j, None] * v[..., j, None, :]
    if how == "twice":
        return _softmax(w, None) @ v
    if how == "all_but_last":
        return w[..., :-1] @ v[..., :-1, :]
    if how == "all_but_first":
        return w[..., 1:] @ v[..., 1:, :]
    if how == "first_item":
        return w @ np.broadcast_to(v[:1], v.shape)
    if how == "next_item":
        return w @ np.roll(v, 1, axis=0)
    if how == "diagonal":
        return w.sum(-1, keepdims=True) * v[..., np.arange(w.shape[-2]) % v.shape[-2], :]
    if how == "largest":
        return np.take_along_axis(v, w.argmax(-1)[..., None], axis=-2)
    context = w @ v
    if how == "last_row":
        return np.broadcast_to(context[..., -1:, :], context.shape)
    if how == "carried_on":
        return context.cumsum(-2)
    if how in ("divided", "root"):
        return context / (w.shape[-1] if how == "divided" else math.sqrt(q.shape[-1]))
    if how == "residual":
        return context + q
    if how == "batch_mean":
        return np.broadcast_to(context.mean(0, keepdims=True), context.shape)
    return context


def _shown(w: np.ndarray, scores: np.ndarray, raw: np.ndarray, how: str | None) -> np.ndarray:
    if how == "transposed":
        return np.swapaxes(w, -2, -1)
    if how in ("scores", "raw"):
        return scores if how == "scores" else raw
    if how == "zeros":
        return np.zeros_like(w)
    if how == "uniform":
        return np.full_like(w, 1 / w.shape[-1])
    if how == "mean":
        return np.broadcast_to(w.mean(-3, keepdims=True), w.shape)
    if how == "reversed":
        return w[..., ::-1, :, :]
    if how in ("first", "last"):
        one = w[..., :1, :, :] if how == "first" else w[..., -1:, :, :]
        return np.broadcast_to(one, w.shape)
    return w


def _merge(context: np.ndarray, s: Situation, how: str | None) -> np.ndarray:
    if s.num_heads is None:
        return context
    H = s.num_heads
    if how in ("reshape", "last_two"):
        return (context if how == "reshape" else np.swapaxes(context, -2, -1)).reshape(s.context_shape)
    if how == "reversed":
        context = context[..., ::-1, :, :]
    elif how in ("mean", "total", "first_only", "last_only"):
        one = {
            "mean": context.mean(-3, keepdims=True),
            "total": context.sum(-3, keepdims=True),
            "first_only": context[..., :1, :, :],
            "last_only": context[..., -1:, :, :],
        }[how]
        context = np.repeat(one, H, axis=-3)
    elif how == "last_skipped" or (how == "last_lost" and H > 1):
        context = context.copy()
        context[..., -1, :, :] = 0
    if how == "interleaved":
        return np.moveaxis(context, -3, -1).reshape(s.context_shape)
    return np.swapaxes(context, -3, -2).reshape(s.context_shape)


@lru_cache(maxsize=512)
def right(s: Situation) -> Pair:
    """The right answer to a problem."""
    return attend(s)


@lru_cache(maxsize=4096)
def turned(s: Situation, slips: tuple[Slip, ...]) -> Pair | None:
    """The answer with these slips, or None where they end in an error."""
    try:
        return attend(s, {slip.knob: slip.setting for slip in slips})
    except (ValueError, IndexError):
        return None


def pairs(variant: int) -> list[tuple[Slip, Slip]]:
    """Every two slips of a variant that turn different knobs."""
    here = [slip for slip in SLIPS if variant in slip.variants]
    return [(a, b) for a, b in itertools.combinations(here, 2) if a.knob != b.knob]


@lru_cache(maxsize=128)
def right_gradients(s: Situation, which: str) -> dict[str, np.ndarray]:
    """The gradients of the sum that `run` takes, by the formulas: "context" alone, or "both" with the weights."""
    q, k, v = _split(s, None)
    weights, scale = right(s)[1], 1 / math.sqrt(q.shape[-1])
    of_context, of_weights = s.cotangents
    if s.num_heads is not None:
        of_context = np.swapaxes(of_context.reshape(*of_context.shape[:-1], s.num_heads, -1), -3, -2)
    to_weights = of_context @ np.swapaxes(v, -2, -1) + (of_weights if which == "both" else 0.0)
    to_scores = weights * (to_weights - (weights * to_weights).sum(-1, keepdims=True)) * scale
    gradients = {
        "q": to_scores @ k,
        "k": np.swapaxes(to_scores, -2, -1) @ q,
        "v": np.swapaxes(weights, -2, -1) @ of_context,
    }
    if s.num_heads is None:
        return gradients
    return {name: np.swapaxes(x, -3, -2).reshape(getattr(s, name).shape) for name, x in gradients.items()}
