"""What the grader itself is examined on: mistakes in other hands than the catalogue's, and right functions.

No part of a check imports this. `grader_exam.score` runs all of it and counts.
"""
