"""The command line: ``attention-variants compare``, ``show``, ``diff``, ``bench``, ``check``, ``grade`` and more."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    status : int
        0 if all is well, 1 if `compare` or `bench` found a variant that is not equal or `check` a function that is
        wrong; a wrong argument exits with 2.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"attention-variants {arguments.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="attention-variants",
        description="Seven versions of attention, one change at a time: read them, and see that they are equal.",
        epilog="Example: attention-variants compare --mask causal",
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="compare | show | diff | animate | explore | dates | bench | check | grade",
    )

    compare = commands.add_parser(
        "compare",
        help="run all seven on one problem: differences, time, memory, lines of code",
        description="Run the seven variants on one random problem. Each is first compared with a float64 reference, in "
        "values and gradients; only if it is equal is it timed. What a variant cannot do itself (a batch, a mask, "
        "heads) is done by plain loops around it.",
        epilog="The exit status is 0 if all are equal and 1 if not. "
        "Example: attention-variants compare --mask padding --queries 8 --keys 100",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    compare.add_argument("--batch", type=int, default=2, metavar="B", help="sequences in the batch")
    compare.add_argument("--queries", type=int, default=10, metavar="T_q", help="queries in each")
    compare.add_argument("--keys", type=int, default=16, metavar="T_k", help="keys in each")
    compare.add_argument("--d-model", type=int, default=32, metavar="N", help="width of all heads together")
    compare.add_argument("--heads", type=int, default=4, metavar="H", help="heads; must divide d_model")
    compare.add_argument(
        "--mask", choices=("causal", "padding", "none"), default="none", help="what the queries may attend to"
    )
    compare.add_argument("--json", action="store_true", help="print JSON in place of the table")
    compare.set_defaults(run=_compare)

    show = commands.add_parser("show", help="print the code of a variant", description="Print the code of a variant.")
    show.add_argument("variant", type=int, help="1 to 7")
    show.add_argument("--docstring", action="store_true", help="with the docstring")
    show.set_defaults(run=_show)

    diff = commands.add_parser(
        "diff",
        help="print what changes from one variant to another",
        description="Print what changes between variants.",
    )
    diff.add_argument("old", type=int, help="1 to 7")
    diff.add_argument("new", type=int, help="1 to 7")
    diff.set_defaults(run=_diff)

    animate = commands.add_parser(
        "animate",
        help="make a film of a variant: the running line lit, the tensors filling",
        description="Run a variant on a real sentence and make a film of it: the line that runs, what it reads, and "
        "what it writes. Variant 3 gets two sentences, variant 4 a causal mask, variants 5 and 6 the first three "
        "columns of two heads, so that each number can be seen. The fused kernel of variant 7 cannot be watched: "
        "attention_tiled, the same algorithm, runs in its place.",
        epilog="Example: attention-variants animate 6 split.html",
    )
    animate.add_argument("variant", type=int, help="1 to 7")
    animate.add_argument(
        "file",
        help="what to write: .html (a player that works from disk), .gif, .png (animated) or .mp4",
    )
    animate.add_argument(
        "--sentence", default="Dog bites", metavar="TEXT", help="a part of one of the sentences (default: Dog bites)"
    )
    animate.add_argument("--head", type=int, default=1, metavar="H", help="0 to 11 (default: 1)")
    animate.add_argument("--scale", type=int, default=2, metavar="N", help="pixels for each pixel (default: 2)")
    animate.set_defaults(run=_animate)

    explore = commands.add_parser(
        "explore",
        help="write a page on which one can look into all heads of the real sentences",
        description="Write a page that works from disk, with the network off: choose a sentence and a head, click on "
        "a word, and see where it looks and by which numbers.",
        epilog="Example: attention-variants explore heads.html",
    )
    explore.add_argument("file", help="what to write, such as heads.html")
    explore.add_argument("sentences", nargs="*", metavar="SENTENCE", help="parts of sentences (default: all ten)")
    explore.set_defaults(run=_explore)

    dates = commands.add_parser(
        "dates",
        help="ask a small trained Transformer what a date is in ISO 8601, and see where it looked",
        description="A Transformer of under 100,000 parameters reads a date as people write it and writes it in ISO "
        "8601, character by character. Below the answer stands where it looked for each character: the mean of the "
        "cross-attention heads. Days come before months (03/04/1998 is the 3rd of April), unless the year comes first; "
        "'30 to '99 are 1930 to 1999, '00 to '29 are 2000 to 2029.",
        epilog='Example: attention-variants dates "Mar 12th, \'98" --figure where.png',
    )
    dates.add_argument("date", nargs="+", help='such as "12 March 1998", "12/03/1998" or "12 mars 1998"')
    dates.add_argument("--variant", type=int, default=7, metavar="1..7", help="which of the seven attends (default: 7)")
    dates.add_argument("--figure", metavar="FILE", help="draw every head into a picture (.png, .svg, .pdf)")
    dates.add_argument("--plain", action="store_true", help="print the answer alone")
    dates.set_defaults(run=_dates)

    _add_bench(commands)

    check = commands.add_parser(
        "check",
        help="hold one file against a variant: is it right, and if not, which misconception is it?",
        description="Run the function in a file, in a process of its own, on some twenty small problems; say what is "
        "wrong, and which misconception it looks like.",
        epilog="The exit status is 0 if it is right, else 1. Example: attention-variants check mine.py --variant 4",
    )
    check.add_argument("file", help="a .py file or a notebook, .ipynb")
    _how_to_check(check)
    check.set_defaults(run=_check)

    grade = commands.add_parser(
        "grade",
        help="grade a folder of submissions: a table, a page for each student, and one for the class",
        description="Grade every submission in a folder: a .py or .ipynb file for each student, named after them, or a "
        "folder for each with one file or several. Written are grades.csv, grades.json, a report for each student, and "
        "index.html: which misconceptions how many students have. Students' code runs with your rights, watched and "
        "limited but not locked away: grade code of strangers in a container.",
        epilog="Example: attention-variants grade submissions/ --variant 4",
    )
    grade.add_argument("folder", help="the submissions")
    _how_to_check(grade)
    grade.add_argument("--out", metavar="DIR", help="where the results go (default: FOLDER-graded, beside the folder)")
    grade.add_argument("--jobs", type=int, metavar="N", help="graded at the same time (default: one for each core)")
    grade.set_defaults(run=_grade)
    return parser


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure the seven beside torch.nn, transformers, x-transformers, labml-nn and llms-from-scratch",
        description="Our seven beside what you would pick instead, all with the same weights, and each first held "
        "against a float64 reference. Times are medians of interleaved rounds (A B C A B C ...), as multiples of the "
        "floor: four matrix products and the bare kernel. Then how time and memory grow with T, and where the time "
        "goes. Written are bench.json and each figure as .png and .svg.",
        epilog="The exit status is 0 if all are equal to the reference and 1 if not. Leave the machine alone while it "
        "runs. One problem of your own: attention-variants bench --sizes 4,512,512,8 --mask causal --backward",
    )
    bench.add_argument("--quick", action="store_true", help="small sizes, one minute: to see that it works")
    bench.add_argument("--out", default="bench-results", metavar="DIR", help="where to write (default: bench-results)")
    bench.add_argument(
        "--parts",
        nargs="+",
        choices=("races", "growth", "shares", "compile"),
        metavar="PART",
        help="races, growth, shares, compile: only these",
    )
    bench.add_argument("--rounds", type=int, metavar="N", help="rounds of a race (default: what fits, at least 6)")
    bench.add_argument(
        "--seconds", type=_seconds, metavar="S", help="about how long a race may take (default: 6, quick: 1)"
    )
    bench.add_argument(
        "--device", default="cpu", metavar="NAME", help="where the races run, cpu or cuda (default: cpu)"
    )
    own = bench.add_argument_group("one problem of your own")
    own.add_argument("--sizes", type=_sizes, metavar="B,T,N,H", help="batch, length, d_model and heads")
    own.add_argument("--keys", type=int, metavar="T_k", help="another length of the keys: cross-attention")
    own.add_argument("--mask", choices=("none", "causal", "padding"), default="none", help="(default: none)")
    own.add_argument("--backward", action="store_true", help="with the gradients")
    own.add_argument("--weights", action="store_true", help="with the weights of each head")
    own.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="(default: float32)")
    own.add_argument("--compile", action="store_true", help="through torch.compile")
    bench.set_defaults(run=_bench)


def _sizes(text: str) -> tuple[int, int, int, int]:
    try:
        batch, T, d_model, heads = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be four whole numbers, such as 4,512,512,8; got {text}") from None
    return batch, T, d_model, heads


def _how_to_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", type=int, required=True, metavar="N", help="which of the seven it is, 1 to 7")
    parser.add_argument(
        "--function", metavar="NAME", help="what the function is called (default: as the variant, see show N)"
    )
    parser.add_argument("--rules", action="store_true", help="it must also do it the variant's way, such as in loops")
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="S", help="how long each function may take (default: 10)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"must be more than 0; got {text}")
    return seconds


def _compare(arguments: argparse.Namespace) -> int:
    from .lab.measure.compare import compare

    comparison = compare(
        arguments.batch, arguments.queries, arguments.keys, arguments.d_model, arguments.heads, arguments.mask
    )
    if arguments.json:
        print(json.dumps(comparison.to_dict(), indent=2))
    else:
        Console().print(comparison)
    return 0 if comparison.all_equal else 1


def _show(arguments: argparse.Namespace) -> int:
    from .lab.code.source import show

    Console().print(show(arguments.variant, docstring=arguments.docstring))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from .lab.code.source import diff

    Console().print(diff(arguments.old, arguments.new))
    return 0


def _animate(arguments: argparse.Namespace) -> int:
    from .lab.animation.animate import animate
    from .lab.examples import load_batch, load_example
    from .model import causal_mask

    example = load_example(arguments.sentence)
    inputs: tuple[Any, ...] = example.head(arguments.head)
    options: dict[str, Any] = {"tokens": example.tokens}
    if arguments.variant == 3:
        inputs, options = load_batch([arguments.sentence, "Man bites"]).head(arguments.head), {}
    elif arguments.variant == 4:
        options["mask"] = causal_mask(len(example.tokens))
    elif arguments.variant in (5, 6):  # the first columns of the head, and of the one after it
        num_heads, d_k = example.layer.num_heads, inputs[0].shape[-1]
        heads = (arguments.head, (arguments.head + 1) % num_heads)
        columns = [head * d_k + column for head in heads for column in range(3)]
        inputs = tuple(x[:, columns] for x in (example.q, example.k, example.v))
        options["num_heads"] = 2
    animation = animate(arguments.variant, *inputs, **options)
    if arguments.file.lower().endswith((".html", ".htm")):
        animation.to_html(arguments.file, scale=arguments.scale)
    else:
        animation.save(arguments.file, scale=arguments.scale)
    print(f"{len(animation)} frames: {arguments.file}")
    return 0


def _explore(arguments: argparse.Namespace) -> int:
    from .lab.explore import explore

    explore(*arguments.sentences).to_html(arguments.file)
    print(f"the heads of the layer: {arguments.file}")
    return 0


def _dates(arguments: argparse.Namespace) -> int:
    from .model.date_model import load_date_model, read_date

    reading = read_date(" ".join(arguments.date), load_date_model(variant=arguments.variant))
    print(reading.answer)
    if arguments.figure:
        from .lab.plots.dates import plot_reading

        plot_reading(reading).savefig(arguments.figure, dpi=150, bbox_inches="tight")
        if not arguments.plain:
            print(f"where each head looked: {arguments.figure}")
    elif not arguments.plain:
        from .lab.plots.dates import reading_table

        Console().print(reading_table(reading))
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from .lab.bench.run import bench
    from .lab.bench.workloads import of_size

    own = ("keys", "mask", "backward", "weights", "dtype", "compile")
    workloads = None
    if arguments.sizes is not None:
        if arguments.parts not in (None, ["races"]):
            raise ValueError("--sizes is for the races; leave --parts out.")
        keys = {"keys": arguments.keys} if arguments.keys is not None else {}
        workloads = [
            of_size(
                arguments.sizes,
                **keys,
                mask=arguments.mask,
                backward=arguments.backward,
                weights=arguments.weights,
                dtype=arguments.dtype,
                compiled=arguments.compile,
            )
        ]
    elif any(getattr(arguments, name) not in (None, False, "none", "float32") for name in own):
        raise ValueError("--keys, --mask, --backward, --weights, --dtype and --compile go with --sizes B,T,N,H.")
    result = bench(
        workloads,
        is_quick=arguments.quick,
        parts=arguments.parts,
        rounds=arguments.rounds,
        budget=arguments.seconds,
        device=arguments.device,
    )
    files = result.save(arguments.out)  # first of all: nothing measured is to be lost
    console = Console()
    console.print(result)
    for path in files:
        console.print(str(path), soft_wrap=True, markup=False, highlight=False)
    return 0 if result.all_equal else 1


def _check(arguments: argparse.Namespace) -> int:
    from .classroom.check import check
    from .classroom.sandbox.submission import Submission
    from .variants import get_variant

    name = arguments.function or get_variant(arguments.variant).__name__
    submission = Submission.read(arguments.file, name)
    report = check(submission, arguments.variant, rules=arguments.rules, seconds=arguments.seconds)
    Console().print(report)
    return 0 if report else 1


def _grade(arguments: argparse.Namespace) -> int:
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .classroom.grading.grade import grade, output_folder
    from .classroom.grading.pages import write_pages

    begin = time.monotonic()
    out = output_folder(arguments.folder, arguments.out)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        result = grade(
            arguments.folder,
            arguments.variant,
            function=arguments.function,
            jobs=arguments.jobs,
            seconds=arguments.seconds,
            rules=arguments.rules,
            progress=lambda file, done, total: bar.update(task, description=escape(file), completed=done, total=total),
        )
    page = write_pages(result, out)
    console = Console()
    console.print(result)
    console.print(f"\n{len(result.rows)} graded in {time.monotonic() - begin:.0f} s. The class page:", highlight=False)
    console.print(str(page), soft_wrap=True, markup=False, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
