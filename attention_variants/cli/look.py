"""``show``, ``diff``, ``animate``, ``explore``, ``dates``, ``write``: read the variants, and see them at work."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .options import VariantArgument, VariantOption


def show(
    variant: VariantArgument,
    docstring: Annotated[bool, typer.Option("--docstring", help="With the docstring.")] = False,
) -> int:
    """Print the code of a variant.

    Example: attention-variants show 4
    """
    from rich.console import Console

    from attention_variants.lab.code.source import show

    Console().print(show(variant, docstring=docstring))
    return 0


def diff(old: VariantArgument, new: VariantArgument) -> int:
    """Print what changes from one variant to another.

    Example: attention-variants diff 3 4
    """
    from rich.console import Console

    from attention_variants.lab.code.source import diff

    Console().print(diff(old, new))
    return 0


def animate(
    variant: VariantArgument,
    file: Annotated[
        str, typer.Argument(help="What to write: .html (a player that works from disk), .gif, .png (animated) or .mp4.")
    ],
    sentence: Annotated[str, typer.Option(metavar="TEXT", help="A part of one of the sentences.")] = "Dog bites",
    head: Annotated[int, typer.Option(metavar="H", help="0 to 11.")] = 1,
    scale: Annotated[int, typer.Option(metavar="N", help="Pixels for each pixel, 1 to 4.")] = 2,
) -> int:
    """Animate a variant: the running line lit, the tensors filling.

    The variant runs on a real sentence; shown are the line that runs,
    what it reads, and what it writes. Each variant gets what it newly takes:
    two sentences, then a causal mask, then the first three columns of two
    heads, so that each number can be seen. A fused kernel cannot be watched:
    attention_tiled, the same algorithm, runs in its place.

    Example: attention-variants animate 6 split.html
    """
    from attention_variants.lab.animation.animate import animate

    inputs, options = _inputs(variant, sentence, head)
    animation = animate(variant, *inputs, **options)
    if file.lower().endswith((".html", ".htm")):
        animation.to_html(file, scale=scale)
    else:
        animation.save(file, scale=scale)
    print(f"{len(animation)} frames: {file}")
    return 0


def _inputs(variant: int, sentence: str, head: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and options that show what a variant takes, small enough to be read in an animation."""
    from attention_variants.lab.animation.animate import can_be_watched
    from attention_variants.lab.examples import load_batch, load_example
    from attention_variants.model import causal_mask
    from attention_variants.variants import takes

    example = load_example(sentence)
    one_head: tuple[Any, ...] = example.head(head)
    options: dict[str, Any] = {"tokens": example.tokens}
    if not can_be_watched(variant):  # the tiled version stands in for one head of it
        return one_head, options
    if takes(variant, "heads"):  # the first columns of the head, and of the one after it
        num_heads, d_k = example.layer.num_heads, one_head[0].shape[-1]
        columns = [h * d_k + column for h in (head, (head + 1) % num_heads) for column in range(3)]
        return tuple(x[:, columns] for x in (example.q, example.k, example.v)), options | {"num_heads": 2}
    if takes(variant, "mask"):
        return one_head, options | {"mask": causal_mask(len(example.tokens))}
    if takes(variant, "batch"):
        return load_batch([sentence, "Man bites"]).head(head), {}
    return one_head, options


def explore(
    file: Annotated[str, typer.Argument(help="What to write, such as heads.html.")],
    sentences: Annotated[
        list[str] | None, typer.Argument(help="Parts of sentences; by default all ten.", show_default=False)
    ] = None,
) -> int:
    """Write a page on which one can look into all heads of the real sentences.

    It works from disk, with the network off: choose a sentence and a head,
    click on a word, and see where it looks and by which numbers.

    Example: attention-variants explore heads.html
    """
    from attention_variants.lab.explore import explore

    explore(*(sentences or [])).to_html(file)
    print(f"the heads of the layer: {file}")
    return 0


def dates(
    date: Annotated[list[str], typer.Argument(help="Such as 12 March 1998, 12/03/1998 or 12 mars 1998.")],
    variant: VariantOption = 7,
    figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw every head into a picture (.png, .svg, .pdf).")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print the answer alone.")] = False,
) -> int:
    """Ask a small trained Transformer what a date is in ISO 8601.

    It has under 100,000 parameters, reads a date as people write it, and
    writes it character by character. Below the answer stands how sure it was,
    what speaks against the answer, and where it looked for each character: the
    mean of the cross-attention heads. Days come before months (03/04/1998 is
    the 3rd of April), unless the year comes first; '30 to '99 are 1930 to 1999,
    '00 to '29 are 2000 to 2029. It answers every question, so look at the
    doubts; if the answer is printed alone, they stand on standard error.

    Exit status: 0 if nothing speaks against the answer, 1 if something does, 2
    for a wrong argument.

    Example: attention-variants dates "Mar 12th, '98" --figure where.png
    """
    from attention_variants.model.date_model import load_date_model, read_date

    reading = read_date(" ".join(date), load_date_model(variant=variant))
    print(reading.answer)
    if not plain:
        print(f"probability {reading.probability:.3f}")
    for doubt in reading.doubts:
        print(f"in doubt: {doubt}", file=sys.stderr if plain else sys.stdout)
    if figure:
        from attention_variants.lab.plots.dates import plot_reading

        plot_reading(reading).savefig(figure, dpi=150, bbox_inches="tight")
        if not plain:
            print(f"where each head looked: {figure}")
    elif not plain:
        from rich.console import Console

        from attention_variants.lab.plots.dates import reading_table

        Console().print(reading_table(reading))
    return 1 if reading.doubts else 0


def write(
    text: Annotated[list[str] | None, typer.Argument(help="How the story begins.", show_default=False)] = None,
    words: Annotated[int, typer.Option(metavar="N", min=1, help="How many to write.")] = 20,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="0 takes the likeliest word each time; above 1 the choice is freer.")
    ] = 0.7,
    top_k: Annotated[int | None, typer.Option(metavar="K", help="Choose among the K likeliest words.")] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Choose among the fewest words with a probability of P together.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, other words.")] = 0,
    figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw where every head looked (.png, .svg, .pdf).")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print the text alone.")] = False,
) -> int:
    """Let a small trained language model go on with a story, word by word.

    It has under 100,000 parameters and 63 words: people, colours, things,
    animals and places. What it was told, it remembers: "we gave anna" goes on
    with the colour and the thing that Anna got before. Below the story stands,
    for each word, how probable the model held it, and at which word the head
    of its last layer looked that looked hardest. A word that it does not know
    is an error that lists all words.

    Exit status: 0, or 2 for a wrong argument.

    Example: attention-variants write "we gave anna red balls ." --temperature 0
    """
    import warnings

    from attention_variants.model.story_writing import write_story

    beginning, written = " ".join(text or []), list[Any]()
    options: dict[str, Any] = {"words": words, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for word in write_story(beginning, **options):
            if not written:  # now that all arguments are known to be right
                print(*word.before[1:], end="", flush=True)
            print("" if len(word.before) == 1 else " ", word.word, sep="", end="", flush=True)
            written.append(word)
        print()
    for warning in warned:
        print(warning.message, file=sys.stderr)
    if figure:
        from attention_variants.lab.plots.stories import plot_writing

        plot_writing(written).savefig(figure, dpi=150, bbox_inches="tight")
    if plain:
        return 0
    settings = {"temperature": temperature, "top-k": top_k, "top-p": top_p, "seed": seed}
    print(", ".join(f"{name} {value:g}" for name, value in settings.items() if value is not None))
    if figure:
        print(f"where each head looked: {figure}")
        return 0
    from rich.console import Console

    from attention_variants.lab.plots.stories import writing_table

    Console().print(writing_table(written))
    return 0
