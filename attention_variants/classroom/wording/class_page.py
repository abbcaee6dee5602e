"""What is said of a class: on its page, on a student's page, in a terminal, and in the table of grades.

The columns of the table of grades, and "yes" and "no" in it, are data for other programs, and are not translated.
"""

#: Of two templates the first is for one, the second for several: which, `number` says.
CLASS_PAGE: dict[str, str | tuple[str, str]] = {
    "title": "Variant {variant}, {function}: {passed} of {total} right",
    "over": ("Variant {variant} · {function} · {number} student", "Variant {variant} · {function} · {number} students"),
    "over_with_rules": (
        "Variant {variant} · {function} · {number} student · with the rules of the variant",
        "Variant {variant} · {function} · {number} students · with the rules of the variant",
    ),
    "right": "{passed} of {total} right",
    "lead": (
        "{number} is not right yet; the most frequent misconception, in {most} of them, is {mistake}.",
        "{number} are not right yet; the most frequent misconception, in {most} of them, is {mistake}.",
    ),
    "mean_score": "The mean score is {mean:.2f}.",
    "not_looked_at": "Not looked at, neither .py nor .ipynb: {files}.",
    "same_as_a_table": "The same as a table: {csv} and {json}",
    "misconceptions": "Misconceptions",
    "how_many_have_which": (
        "How many of the {number} student have which; one can have two.",
        "How many of the {number} students have which; one can have two.",
    ),
    "none_was_found": "None was found.",
    "after_a_number": ("student", "students"),
    "scores": "Scores",
    "about_scores": "The mean is {mean:.2f}. Each column begins at its number: 0.7 holds the scores from 0.7 to below "
    "0.8.",
    "column": (
        "score {low:.1f} to below {high:.1f}: {number} student",
        "score {low:.1f} to below {high:.1f}: {number} students",
    ),
    "column_right": ("right: {number} student", "right: {number} students"),
    "label": "{low:.1f}",
    "label_right": "right",
    "contract": "The contract",
    "about_contract": "How many students keep each part wholly.",
    "number_of_all": "{number} of {total}",
    "students": "Students",
    "head_student": "Student",
    "head_score": "Score",
    "head_case": "What it looks like",
    "head_file": "File",
}

#: Whom no misconception concerns, or not alone: the title of a bar, and what is said of it.
BARS = {
    "trouble": "nothing to judge",
    "about_trouble": "The file could not be read or run, or has no such function; each report says why.",
    "not_written": "not written yet",
    "about_not_written": "The function raises NotImplementedError.",
    "no_name": "no known misconception",
    "about_no_name": "It raises an error, does not end, or is wrong in a way without a name; each report says which.",
    "against_the_rules": "against the rules",
    "about_against_the_rules": "It may be right, but not in the way of this variant.",
}

#: One student's case in a few words, in the table of the page and in that of the grades.
CASES = {
    "not_written": "nothing is written yet",
    "against_the_rules": "against the rules",
    "fails": "fails with {problem}: {line}",
    "separator": "; ",
    "cut": "{beginning} ...",
}

#: On the page of one student.
STUDENT_PAGE = {
    "title": "{student}: variant {variant}",
    "over": "Variant {variant} · {function}",
    "over_with_file": "Variant {variant} · {function} · {file}",
}

#: What the command `grade` prints; what was not looked at is said as on the class page.
TERMINAL = {
    "verdict": "Variant {variant}, {function}: {passed} of {total} right, mean {mean:.2f}.",
    "nothing_to_judge": "Nothing to judge in {number}; their reports say why.",
    "most_frequent": "The most frequent misconceptions:",
    "graded_in": "{number} graded in {seconds:.0f} s. The class page:",
}
