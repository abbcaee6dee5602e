"""Read the running code: the source of a variant, what changes between two, and every tensor that a call assigns."""
