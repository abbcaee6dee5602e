"""Every sentence of the classroom, made of codes and numbers at the very end: what a translation begins with.

A file for each subject, with its templates in tables: how the contract is called (`contract`), what was found
(`findings`), how a submission was read and loaded (`loading`), broken rules (`rules`), what stands around them in a
report (`report`), a goal beside the variants (`goals`), the pages and the table
of a class (`class_page`), points and shapes in the course's notebooks (`shapes`). `sentences` finds the template for a
code and fills it by `filling`, which has what stands between names.

Other words stand in two places: those about a mistake in `misconceptions`, and errors for a caller in Python where they
are raised. What Python's and PyTorch's own errors say is shown as it is.

No code reads a sentence back: whatever is written here instead, the same is found and named.
"""

from .class_page import BARS, CASES, CLASS_PAGE, STUDENT_PAGE, TERMINAL
from .contract import ABOUT_PARTS, GUARANTEES, PARTS, PROBLEMS
from .filling import LISTS, Template, chosen, joined, listed, row, say
from .findings import FOUND
from .goals import GOAL, GOAL_FOUND, QUESTIONS
from .loading import FILES
from .report import LANGUAGE, REPORT
from .rules import RULES
from .sentences import Line, failure, given, goal_finding, lines, mistake, question, raised, rule, sentence, title
from .shapes import AROUND, SHAPES

__all__ = [
    "ABOUT_PARTS",
    "AROUND",
    "BARS",
    "CASES",
    "CLASS_PAGE",
    "FILES",
    "FOUND",
    "GOAL",
    "GOAL_FOUND",
    "GUARANTEES",
    "LANGUAGE",
    "LISTS",
    "PARTS",
    "PROBLEMS",
    "QUESTIONS",
    "REPORT",
    "RULES",
    "SHAPES",
    "STUDENT_PAGE",
    "TERMINAL",
    "Line",
    "Template",
    "chosen",
    "failure",
    "given",
    "goal_finding",
    "joined",
    "lines",
    "listed",
    "mistake",
    "question",
    "raised",
    "row",
    "rule",
    "say",
    "sentence",
    "title",
]
