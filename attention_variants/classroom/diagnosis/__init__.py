"""How a mistake gets its name."""
