"""Are the variants equal, and what does each cost: differences, time, memory, operations."""
