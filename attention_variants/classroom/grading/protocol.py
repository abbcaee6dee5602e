"""What `pool` and the `worker` that it starts have to agree on, though neither imports the other."""

from __future__ import annotations

#: What a process that grades says when it is ready: after it, one line of JSON for each submission, in the order asked.
READY = b"ready\n"
