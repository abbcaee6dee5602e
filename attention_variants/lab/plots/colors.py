"""One colour for each tensor, the same in every picture of the project.

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

#: Lines, letters and hatching.
INK = "#333333"
#: The ground of a blocked cell, under its hatching.
BLOCKED = "#ECECEC"
