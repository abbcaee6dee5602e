"""What is asked of the grader."""

from __future__ import annotations

from attention_variants.variants import VARIANTS

#: At least this share of the submissions must be named right.
NAMED_RIGHT = 0.95
#: One check may take so many seconds: the loops of the first variant take longer.
SECONDS = {variant: 2.0 if variant == min(VARIANTS) else 1.0 for variant in VARIANTS}
#: A class of so many may take so long on two cores; it is measured for these variants.
STUDENTS, SECONDS_FOR_A_CLASS, CLASSES = 100, 120.0, (4, 6)
