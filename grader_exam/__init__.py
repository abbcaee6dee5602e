"""The evaluation of the grader: how good is `attention_variants.check` at its work?

It stands beside the package and is no part of it: no user runs it, no check imports it, and the wheel does not hold it.
It uses the package as a user would, by its public names. ``make score`` runs it from a clone (or, in the repository,
``python -m grader_exam.score``; options: ``make score SCORE_ARGS="--all --figure matrix.png"``).

``rewritings/``
    Every mistake of the catalogue in another hand than the catalogue's.
``program.py``
    One program with marked places, into which one slip or two are put.
``styles.py``
    Attention written in many ways, all of them right.
``a_class.py``
    A made-up class: what a hundred of them hand in.
``trials.py``
    All of that, submitted.
``counting.py``, ``bounds.py``, ``show.py``
    What comes of it, what is asked for, and both as tables and a picture.
``score.py``
    The command.

The exit status is 1 if a mistake is not caught, too few are named right or a right function is rejected. Add your own:
right code to ``styles.py``, a new mistake of the catalogue to ``rewritings/``.
"""
