"""What stands around the findings in a report, as text and as HTML."""

#: The language of all these files, as HTML names it.
LANGUAGE = "en"

#: What stands around the findings in a report.
REPORT = {
    "right": "{name} computes what {goal} does.",
    "not_right": "{name} is not yet {goal}: score {score:.2f} of 1.",
    "not_written": "{name} is not yet {goal}.",
    "nothing_written": "Nothing is written there yet: it raises NotImplementedError.",
    "variant": "variant {variant}",
    "right_variant": "right (variant {variant})",
    "named_variant": "{function} (variant {variant})",
    "layer": "the layer MultiHeadAttention",
    "trouble": "There is nothing to judge: {trouble}",
    "first": "It first fails with {problem}.",
    "given": "given {given}",
    "also": "{part}: {line}",
    "also_with": "{part}, with {problem}: {line}",
    "looks_like": "This looks like {mistake}",
    "and_like": "And like {mistake}",
    "named": "{named}. {explanation}",
    "think_about": "Think about:",
    "hint": "{think_about} {hint}",
    "against": "Against the rules of this variant",
    "rule": "{against}: {rule}",
    "kept": "kept: {parts}",
    "to_do": "to do: {parts}",
    "part_kept": "{part} {kept:.0%}",
    "printed": "It printed {printed} characters, which are left out here.",
    "beside": "({words})",
    # in HTML alone
    "verdict_right": "Right:",
    "verdict_not_right": "Not yet right:",
    "verdict_not_graded": "Not graded.",
    "about": "{name}, {goal}. {score}",
    "score": "Score {score:.2f} of 1.",
    "example": "The smallest example that shows it",
    "with_given": "With {problem}: {given}",
    "more": "What else was found",
    "part_with_problem": "{part}, with {problem}",
    "parts": "What is kept of the contract",
    "share": "{kept:.0%} of {worth:.2f}",
    "remarks": "Remarks",
}
