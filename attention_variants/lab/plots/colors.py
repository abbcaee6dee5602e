"""Every colour of the project's pictures: one for each tensor, and what lies around them.

The six come from the palette of Okabe and Ito (2008), "Color Universal Design", which readers with any of the common
kinds of colour blindness can tell apart. The warm ones make the scores, the cool ones the context.
"""

from __future__ import annotations

#: What each tensor is drawn in.
COLORS: dict[str, str] = {
    "q": "#D55E00",  # vermillion
    "k": "#E69F00",  # orange
    "v": "#009E73",  # bluish green
    "scores": "#CC79A7",  # reddish purple
    "weights": "#0072B2",  # blue
    "context": "#56B4E9",  # sky blue
}

#: What the negative numbers of a signed tensor are drawn in: a darker hue that stays apart from the tensor's own.
#: The pairs are those of the diverging schemes that ColorBrewer 2.0 lists as safe for colour-blind readers
#: (RdBu, PuOr, PRGn, PiYG, BrBG), with the colour of the tensor at one end.
OPPOSITES: dict[str, str] = {
    "q": "#004C99",  # blue
    "k": "#4B2E83",  # purple
    "v": "#4C0099",  # violet
    "scores": "#397200",  # green
    "context": "#725600",  # brown
}

#: A difference of two maps: what is negative, 0, and what is positive (ColorBrewer 2.0, PuOr).
DIFFERENCE = ("#542788", "white", "#B35806")

#: Lines and letters.
INK = "#333333"
#: Letters of the second rank: a contrast of 5 with white.
QUIET = "#6B6B6B"

# In a heat map
BLOCKED, HATCHING = "#ECECEC", "#9C9C9C"  # the ground of a blocked cell, and the lines across it
NOT_A_NUMBER = "#000000"
GRID = "#D9D9D9"  # thin lines between cells, and around small plots
FRAME = "#8C8C8C"  # around a map or its scale, and between the maps of a figure
ZERO = "#8C8C8C"  # a number in a cell that rounds to 0.00

# In a diagram
EDGE, GROUND = "#A0A0A0", "#F4F4F4"  # of the boxes that are not attention

# In an animation
BACKGROUND, RULE = "#FFFFFF", "#D8D8D8"  # the ground, and the lines between its parts
LINE_NOW, LINE_BAR = "#FCF0B8", "#B45804"  # the ground of the running line, and the bar before it
EMPTY = "#F4F4F4"  # where no number is yet: a 0 is white
OPEN = "#CCE0EC"  # where a mask lets through
#: One for each token, where tokens are coloured: Okabe and Ito's again, the yellow left out, and two greys.
TOKENS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#B8B8B8", "#666666")
#: Those of them on which white letters have more contrast than black ones.
DARK_TOKENS = ("#D55E00", "#0072B2", "#666666", "#009E73")
#: One for each head of keys, where heads of queries share them: dark enough for letters, and of no tensor.
KEY_HEADS = ("#5E3C99", "#4D8A00", "#8C510A", "#C51B7D", "#01665E", "#444444", "#A67C00", "#2166AC")

# In the figures of the benchmark
OURS, OTHERS = "#0072B2", "#8A5A00"  # blue and brown, which no eye confuses
BAND, AXIS_GRID = "#F5F5F5", "#E2E2E2"  # every second line's ground, and the lines of a scale
#: Where the time of a call goes.
PARTS: dict[str, str] = {
    "projections": "#D9D9D9",
    "scores": COLORS["scores"],
    "mask": "#999999",
    "softmax": COLORS["weights"],
    "weighted sum": COLORS["context"],
    "fused kernel": COLORS["v"],
    "copies": COLORS["k"],
    "other": "#FFFFFF",
}

# Code in a notebook, as HTML
PAGE_INK, PAGE_QUIET, PAGE_GROUND = "#1F2328", "#57606A", "#FFFFFF"  # letters, letters of the second rank, ground
# What lies on a ground that may be light or dark lets it through: lines, headers,
PAGE_RULE, PAGE_HEADER = "rgba(128,128,128,0.35)", "rgba(128,128,128,0.08)"
#: a line that goes and one that comes, and in it the words that differ.
REMOVED, REMOVED_WORDS = "rgba(213,94,0,0.12)", "rgba(213,94,0,0.4)"
ADDED, ADDED_WORDS = "rgba(0,158,115,0.12)", "rgba(0,158,115,0.4)"
