"""Every setting of every knob of `knobs.attend`: one slip each, and the mistake that it is called.

The words for it stand with the mistake, in `misconceptions`. Several settings may be the same mistake.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake

__all__ = ["SLIPS", "Slip", "slips_of"]


@dataclass(frozen=True)
class Slip:
    """One setting of one knob.

    Attributes
    ----------
    knob, setting : str
        What is turned, and how.
    name : str
        The mistake that it is.
    takes, without : tuple of str
        What a variant must take for the slip to be possible, and what it must not.
    """

    knob: str
    setting: str
    name: str
    takes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def mistake(self) -> Mistake:
        """The mistake, with its words."""
        return MISCONCEPTIONS[self.name]

    def occurs_with(self, takes: Collection[str]) -> bool:
        """Whether a variant that takes this can have the slip."""
        return set(self.takes) <= set(takes) and not set(self.without) & set(takes)


def _of(knob: str, *, takes: tuple[str, ...] = (), without: tuple[str, ...] = (), **names: str) -> list[Slip]:
    """Settings of one knob: ``setting=name``."""
    return [Slip(knob, setting, name, takes, without) for setting, name in names.items()]


SLIPS: tuple[Slip, ...] = (
    *_of(
        "scale",
        one="no_scale",
        d_k="scale_by_d_k",
        times_sqrt="scale_multiplied",
        times_d_k="multiplied_by_d_k",
        fourth_root="scale_by_fourth_root",
        sqrt_T_k="scale_by_the_number_of_keys",
        sqrt_T_q="scale_by_the_number_of_queries",
        T_k="scale_by_T_k",
        batch="scale_by_batch",
        after="scale_after_the_softmax",
        negative="negative_scores",
        half="half_of_d_k",
        whole_root="root_cut_to_an_integer",
    ),
    *_of(
        "scale",
        without=("heads",),
        sqrt_d_v="scale_by_the_width_of_the_values",
    ),
    *_of(
        "scale",
        takes=("heads",),
        sqrt_d_model="scale_by_d_model",
        d_model="scale_by_d_model_without_root",
        sqrt_heads="scale_by_the_number_of_heads",
    ),
    *_of(
        "score",
        values="values_for_keys",
        self_keys="scores_of_keys_with_keys",
        self_queries="scores_of_queries",
        swapped="queries_and_keys_swapped",
        cosine="cosine_similarity",
        distance="squared_distance",
        reshaped="keys_reshaped",
        zero="uniform_weights",
        elementwise="sum_without_products",
        absolute="absolute_scores",
        not_transposed="keys_not_transposed",
        euclid="distance_for_product",
        no_last_column="last_column_left_out",
        no_first_column="first_column_left_out",
        carried_on="score_carried_on",
        carried_on_in_a_row="score_carried_on",
        last_is_zero="last_key_never_scored",
        only_first="first_score_for_every_key",
        first_query="first_query_for_every_row",
    ),
    *_of(
        "score",
        takes=("batch",),
        all_reversed="all_axes_of_k_reversed",
        first_two="transpose_of_the_batch",
        first_item="keys_of_the_first_item",
        next_item="keys_of_another_item",
    ),
    *_of(
        "axis",
        queries="softmax_over_queries",
        everything="softmax_over_everything",
        none="no_softmax",
        sigmoid="sigmoid_for_softmax",
        log="log_softmax_for_softmax",
        twice="softmax_twice",
        hard="all_on_the_largest",
        unnormalised="no_denominator",
        linear="divided_by_the_sum_of_scores",
        softmin="softmin",
        relu="relu_not_exp",
        base_two="base_of_two",
        length="divided_by_the_length",
        overflow="no_max_subtraction",
        whole_max="maximum_of_everything",
        all_but_last_row="last_query_left_out",
        all_but_first_row="first_query_left_out",
        minimum="minimum_for_maximum",
        one_sum="one_denominator_for_all",
        from_zero="maximum_starts_at_zero",
        clamped="scores_clamped",
        all_but_last="last_key_never_scored",
        sum_without_axis="keepdim_forgotten",
        sum_across="keepdim_forgotten",
        sum_without_axis_of_all="keepdim_forgotten",
        sum_across_of_all="keepdim_forgotten",
        max_without_axis="keepdim_forgotten",
    ),
    *_of(
        "axis",
        takes=("heads",),
        heads="softmax_over_heads",
    ),
    *_of(
        "axis",
        takes=("batch",),
        first="softmax_over_the_batch",
        second="softmax_over_axis_1",
    ),
    *_of(
        "mask",
        takes=("mask",),
        ignored="mask_ignored",
        inverted="inverted_mask",
        after="mask_after_softmax",
        multiplied="blocked_scores_near_zero",
        added="mask_added_as_numbers",
        subtracted="blocked_scores_minus_one",
        minus_ten="fill_not_low_enough",
        minus_100="fill_not_low_enough",
        minus_1000="fill_not_low_enough",
        minus_10000="fill_not_low_enough",
        multiplied_cleared="blocked_scores_near_zero",
        added_cleared="mask_added_as_numbers",
        minus_ten_cleared="fill_not_low_enough",
        minus_100_cleared="fill_not_low_enough",
        minus_1000_cleared="fill_not_low_enough",
        minus_10000_cleared="fill_not_low_enough",
        lower_by_100="fill_not_low_enough",
        lower_by_1000="fill_not_low_enough",
        lower_by_10000="fill_not_low_enough",
        lower_by_10000_cleared="fill_not_low_enough",
        raised="blocked_scores_raised",
        raised_and_cleared="blocked_scores_raised",
        renormalised="masked_then_renormalised",
        renormalised_nan="masked_then_renormalised",
        transposed="mask_on_the_query_axis",
        transposed_square="mask_on_the_query_axis",
        first_item="mask_of_the_first_item",
        first_query="mask_of_the_first_query",
        last_query="mask_of_the_last_query",
        last_item="mask_of_the_last_item",
        uniform="no_key_taken_for_every_key",
        nan="no_key_gives_nan",
        empty_mean="empty_row_context_not_zero",
        renormalised_queries="mask_blocks_whole_queries",
        values="mask_on_the_values_only",
        shown_only="mask_on_the_returned_weights_alone",
        shown_after="mask_on_the_returned_weights_alone",
    ),
    *_of(
        "mask",
        takes=("mask",),
        without=("need_weights",),
        summed_only="mask_missing_in_the_returned_weights",
    ),
    *_of(
        "mask",
        takes=("mask", "need_weights"),
        summed_only="weights_recomputed_without_the_mask",
    ),
    *_of(
        "mask",
        takes=("heads",),
        first_head="mask_of_the_first_head_for_all",
        first_head_only="mask_for_the_first_head_alone",
        heads_reversed="mask_of_the_heads_reversed",
        wrong_order="mask_repeated_in_the_wrong_order",
    ),
    *_of(
        "sum",
        transposed="weights_transposed",
        transposed_square="weights_transposed",
        keys="keys_for_values",
        queries="queries_for_values",
        scores="context_from_scores",
        mean="context_is_the_mean",
        twice="softmax_twice",
        root="scale_after_the_sum",
        first="first_key_alone",
        divided="context_divided_by_T_k",
        last="sum_overwritten",
        all_but_last="last_key_left_out",
        all_but_first="first_key_missing",
        residual="query_added",
        diagonal="value_of_the_query",
        last_row="last_context_in_every_row",
        carried_on="context_carried_on",
        largest="value_of_the_best_key",
    ),
    *_of(
        "sum",
        takes=("batch",),
        first_item="values_of_the_first_item",
        next_item="values_of_the_next_item",
        batch_mean="batch_averaged",
    ),
    *_of(
        "split",
        takes=("heads",),
        view="view_without_transpose",
        interleaved="every_hth_column_to_a_head",
        first="every_head_reads_the_first_columns",
        reversed="heads_in_reverse",
        shifted="columns_off_by_one",
        values_view="values_split_by_view",
        values_interleaved="values_interleaved",
        not_swapped="heads_attend_to_heads",
        none="number_of_heads_ignored",
        none_but_scaled="heads_not_split",
        interleaved_throughout="every_hth_column_to_a_head",
        short="head_one_column_short",
        values_first="values_of_the_first_head",
        keys_first="keys_of_the_first_head",
        queries_first="queries_of_the_first_head",
        values_reversed="values_of_the_wrong_head",
        keys_reversed="keys_of_the_wrong_head",
        keys_view="keys_split_by_view",
        queries_view="queries_split_by_view",
    ),
    *_of(
        "merge",
        takes=("heads",),
        reshape="merge_without_transpose",
        interleaved="heads_interleaved_in_the_merge",
        reversed="heads_in_reverse",
        last_two="merge_swaps_the_wrong_axes",
        mean="heads_averaged",
        total="heads_summed",
        last_lost="last_head_left_out",
        last_skipped="last_head_left_out",
        first_only="first_head_repeated",
        last_only="last_head_repeated",
    ),
    *_of(
        "shown",
        transposed="returned_weights_transposed",
        scores="scores_returned_as_weights",
        raw="unscaled_scores_returned",
        zeros="returned_weights_zero",
        uniform="returned_weights_made_up",
    ),
    *_of(
        "shown",
        takes=("heads",),
        mean="weights_averaged_over_heads",
        reversed="returned_weights_of_other_heads",
        first="returned_weights_of_the_first_head",
        last="returned_weights_of_the_last_head",
    ),
    *_of(
        "causal",
        takes=("is_causal",),
        ignored="is_causal_ignored",
        upper="causal_by_triu",
        above="causal_by_triu",
        next="causal_sees_the_next_key",
        not_itself="causal_does_not_see_itself",
        bottom_right="causal_from_the_bottom_right",
        either="causal_or_mask",
        beside_mask="is_causal_ignored_beside_a_mask",
        replaces="causal_replaces_the_mask",
        not_shown="future_in_the_returned_weights",
        shown_only="future_in_the_context",
        always="causal_without_being_asked",
    ),
    *_of(
        "causal",
        without=("is_causal",),
        always="causal_without_being_asked",
    ),
)


def slips_of(takes: Collection[str]) -> tuple[Slip, ...]:
    """The slips that a variant can have.

    Parameters
    ----------
    takes : collection of str
        What the variant takes.

    Returns
    -------
    slips : tuple of Slip
    """
    return tuple(slip for slip in SLIPS if slip.occurs_with(takes))
