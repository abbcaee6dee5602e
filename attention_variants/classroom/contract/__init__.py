"""What a function is asked and what it must keep: problems, answers and clauses."""
