"""Pictures of attention, drawn from tensors: weights, chains, differences, heads, and diagrams for orientation."""
