"""How a student's code is run: in another process, within limits, and leaving nothing behind."""
