"""What the course's notebooks and nbgrader call."""
