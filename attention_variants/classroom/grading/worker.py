"""The process that grades: it takes submissions from standard input, one a line, and writes a report for each.

`pool` starts it. A submission runs in a process of its own below it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from attention_variants.classroom.check import check
from attention_variants.classroom.sandbox.registered import take_over
from attention_variants.classroom.sandbox.submission import Submission

from .protocol import READY


def serve() -> None:
    """Grade until standard input ends."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    replies.write(READY)
    replies.flush()
    for line in requests:
        request = json.loads(line)
        replies.write(json.dumps({"token": request["token"], **graded(request)}).encode() + b"\n")
        replies.flush()


def graded(request: dict[str, Any]) -> dict[str, Any]:
    """Grade one submission.

    Parameters
    ----------
    request : dict
        As `pool.request` makes it.

    Returns
    -------
    told : dict
        The ``report``; or, if there is none, the ``trouble``, a code and numbers.
    """
    fields = request["submission"]
    submission = replace(Submission(**fields), cells=tuple(fields["cells"]))
    try:
        take_over(request["variants"], with_functions=True)
        return {"report": check(submission, **request["limits"]).to_dict()}
    except Exception as error:  # one that the grader trips over must not stop the others
        return {"trouble": {"code": "grader_failed", "numbers": {"error": repr(error)}}}


if __name__ == "__main__":
    serve()
