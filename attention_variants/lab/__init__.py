"""Look and measure: compare, trace, plot, and the real sentence."""
