"""What `check` can be asked for beside the seven variants: a public name of the package, and the questions about it.

One file a theme. A goal is data: the right function or class, how it is called, and its questions. A question is a few
lines that draw inputs, make the calls, and keep what comes back; it is put to a student's code, to the right one, and
to the mistakes that `misconceptions` knows for this goal, and what was kept is compared. So nothing here says what is
right or wrong, and this package is open to the process that runs a student's code.
"""

from __future__ import annotations

from . import cache, decoding, kernel, language_model, latent, linear, masks, rotary, sampling, shared_keys, transformer
from .goal import Goal, Question

__all__ = ["GOALS", "Goal", "Question"]

_THEMES = (cache, masks, decoding, shared_keys, latent, rotary, sampling, language_model, kernel, linear, transformer)

#: All goals, by name.
GOALS: dict[str, Goal] = {goal.name: goal for theme in _THEMES for goal in theme.GOALS}
