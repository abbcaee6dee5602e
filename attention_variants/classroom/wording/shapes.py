"""What is said in the course's notebooks: of a shape in a warm-up, and of points."""

#: What is said of a shape in a warm-up.
SHAPES = {
    "right": "right",
    "nothing_written": "nothing is written there yet",
    "exists": "there is such a tensor",
    "number": "{found} is a number; a shape is a tuple, even of one number: ({found},)",
    "no_shape": "{found} is not a shape; a shape is a tuple such as (3, 4)",
    "does_not_exist": "is there such a tensor at all? Where there is none, write None",
    "another_order": "{found} has the right numbers in another order",
    "another_length": "{found} has {length} axes; another number of axes is right",
    "other_numbers": "{found} is not it; {right} of its axes are right",
}
#: One name of a warm-up and what is said of its shape; and the points.
AROUND = {
    "line": "{sign} {name}: {words}",
    "points": "{points:g} of {of:g} points",
}
