"""Pictures of attention: weights, heads, the chain of tensors, the difference of two, and diagrams for orientation.

All draw with ``matplotlib.pyplot``, so that a notebook shows them and a script can call ``plt.show()``; none calls it
for you. In a notebook, assign what they return (``_ = plot_heads(weights)``): a figure that is the last expression of a
cell would be shown twice. Nothing here changes matplotlib's settings for your other figures.

Each tensor has its colour, `COLORS`, the same everywhere. Weights are always drawn on a scale from 0 to 1, white to
blue. What can be negative is drawn on a scale with 0, white, in its middle. A blocked cell is hatched, which is not the
same as a weight of 0: if a weight leaks into it, its colour shows through the hatching. NaN is black.
"""
