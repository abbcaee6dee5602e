"""What is asked of the grader."""

from __future__ import annotations

from attention_variants.lab.measure.operations import loops_over_numbers
from attention_variants.model.lift import lift
from attention_variants.variants import VARIANTS

#: At least this share of the submissions must be named right.
NAMED_RIGHT = 0.95
#: One check may take so many seconds: Python loops over numbers take longer.
SECONDS = {variant: 2.0 if loops_over_numbers(lift(variant)) else 1.0 for variant in VARIANTS}
#: A class of so many may take so long on two cores; it is measured for these variants.
STUDENTS, SECONDS_FOR_A_CLASS, CLASSES = 100, 120.0, (4, 6)
#: Two entries that compute the same, relative and absolute: both run in float32 on the same numbers, mostly by the same
#: operations, so they differ by some eps (1e-7) of what is summed. That is finer than what the diagnosis calls the same
#: (`contract.reference.SAME`): two entries that it cannot tell apart must not pass for twins for that reason alone.
TWINS = (1e-4, 1e-6)
