"""Draw the picture of the README from the running code: the weights of one word, and the seven variants.

Above, a real sentence: how much of each word *it* takes in head 1, the lines as thick as the weights. Below, the
staircase of the seven variants, with the largest relative difference of each from a float64 reference, as
`attention-variants compare --mask causal` measures it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from attention_variants.lab.code.source import code_lines
from attention_variants.lab.examples import Example, load_example
from attention_variants.lab.measure.compare import Comparison, compare
from attention_variants.lab.plots.axes import colormap
from attention_variants.lab.plots.colors import COLORS, INK
from attention_variants.lab.plots.diagrams import plot_staircase
from attention_variants.lab.plots.fonts import WORDS as FONT
from attention_variants.variants import VARIANTS, describe_variant

ROOT = Path(__file__).resolve().parents[1]
SENTENCE, QUERY, HEAD = "tired", "it", 1
WIDTH, DPI = 10.0, 160  # inches, and pixels to each
WORDS, STAIRS = 2.15, 3.8  # how high the two parts are, in inches
THICKEST = 18.0  # points: how thick the line of a weight of 1 would be
NUMBERED = 0.04  # the least weight that is written out
GAP = 0.19  # inches between two words


def draw_attention(ax: Axes, example: Example, query: int, head: int) -> None:
    """Draw a sentence in a line, with arcs from one word to all, each as thick as its weight.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw; an inch wide and high for each inch of the figure.
    example : Example
        The sentence.
    query : int
        The position of the word that looks.
    head : int
        The head.
    """
    weights = example.weights[head, query].tolist()
    spans, x = [], 0.0
    for position, (token, weight) in enumerate(zip(example.tokens, weights, strict=True)):
        color, strength = (COLORS["q"], "bold") if position == query else (INK, "normal")
        ground = {"boxstyle": "round,pad=0.25", "facecolor": colormap("weights")(weight), "edgecolor": "none"}
        text = ax.text(x, 0.47, token, fontsize=12.5, family=FONT, color=color, weight=strength, bbox=ground)
        width = text.get_window_extent().width / DPI
        if weight >= NUMBERED:
            ax.text(x + width / 2, 0.1, f"{weight:.2f}", ha="center", fontsize=9.5, family=FONT, color=INK)
        spans.append((x, x + width))
        x += width + GAP
    ax.set_xlim((x - GAP - WIDTH) / 2, (x - GAP + WIDTH) / 2)  # the sentence in the middle

    start, foot = sum(spans[query]) / 2, 0.75
    for position, weight in enumerate(weights):
        end, lean = sum(spans[position]) / 2, 0.0
        if position == query:
            end, lean = spans[query][1], 0.3  # a loop
        height = 0.3 + 0.22 * abs(end - start)
        curve = Curve(
            [(start, foot), (start, foot + height), (end + lean, foot + height), (end, foot)],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        look: dict[str, Any] = {"linewidth": THICKEST * weight, "edgecolor": COLORS["weights"], "capstyle": "butt"}
        ax.add_patch(PathPatch(curve, facecolor="none", label=example.tokens[position], **look))


def draw(comparison: Comparison) -> Figure:
    """Draw the whole picture.

    Parameters
    ----------
    comparison : Comparison
        Where the differences come from.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    example = load_example(SENTENCE)
    errors = {row.variant: scientific(row.largest_error) for row in comparison.rows if row.need_weights}
    high = WORDS + STAIRS
    figure = plt.figure(figsize=(WIDTH, high), dpi=DPI, facecolor="white")
    above = figure.add_axes((0, STAIRS / high, 1, WORDS / high), ylim=(0, WORDS))
    above.axis("off")
    draw_attention(above, example, example.tokens.index(QUERY), HEAD)
    plot_staircase(figure.add_axes((0, 0, 1, STAIRS / high)), column=("relative error", errors))
    style: dict[str, Any] = {"family": FONT, "color": INK, "va": "top", "linespacing": 1.4}
    caption = f"what “{QUERY}” takes from each word\nin one head of a real model"
    figure.text(0.985, 0.975, caption, ha="right", fontsize=11, **style)
    figure.text(0.012, 0.555, "seven variants,\none function", fontsize=13, weight="bold", **style)
    return figure


def scientific(number: float) -> str:
    """Write a number with one digit and a power of ten."""
    digit, power = f"{number:.0e}".split("e")
    return rf"${digit} \times 10^{{{int(power)}}}$"


def description() -> str:
    """Say what the staircase shows; stored in the file, so that a test sees when the picture has become old."""
    variants = [describe_variant(number) for number in VARIANTS]
    return "; ".join(f"{v.number} {v.name}: {v.adds}, {code_lines(v.function)} lines" for v in variants)


def main(arguments: list[str] | None = None) -> int:
    """Measure, draw and save; the exit status is 1 if the seven are not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "assets" / "attention.png"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: assets/attention.png")
    output = parser.parse_args(arguments).output

    comparison = compare(mask="causal", timed=False)
    if not comparison.all_equal:
        print(f"the seven are not equal, so there is no picture:\n{comparison}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(comparison)
    figure.savefig(output, metadata={"Description": description()})
    plt.close(figure)
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
