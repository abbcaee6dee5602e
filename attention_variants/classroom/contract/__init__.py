"""What a function is asked and what it must keep: problems, answers, clauses, and what each is worth."""
