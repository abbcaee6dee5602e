"""Train the model that reads dates, and store it with its accuracy on unseen dates.

    make dates                       the weights that come with the package, anew from the seed
    make dates DATES_ARGS=--resume   after Ctrl-C: go on where it was kept last, with the same result

Prints the parameters, the seconds, the exact-match accuracy by format, and how long a step takes with variant 6 and
with variant 7, measured in one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from attention_variants.model.date_model import (
    CHECKPOINT,
    TRAINING,
    date_accuracy,
    date_model,
    save_date_model,
    train_dates,
)
from attention_variants.model.dates import date_test_set
from attention_variants.model.transformer import Transformer

ROOT = Path(__file__).resolve().parents[1]
BESIDE = (6, 7)  # whose training steps are timed: the heads in plain products, and in the fused kernel


def step_seconds(variants: tuple[int, ...], rounds: int = 15) -> dict[int, float]:
    """Time a training step with each variant, in turn, so that a slow moment of the machine meets them all.

    Parameters
    ----------
    variants : tuple of int
        Their numbers.
    rounds : int, default 15
        Steps of each; the first of each warms up and does not count.

    Returns
    -------
    seconds : dict of int to float
        The median of each variant.
    """
    trainings = {variant: train_dates(date_model(variant=variant), steps=rounds + 1) for variant in variants}
    taken: dict[int, list[float]] = {variant: [] for variant in variants}
    for _ in range(rounds + 1):
        for variant, training in trainings.items():
            start = time.perf_counter()
            next(training)
            taken[variant].append(time.perf_counter() - start)
    return {variant: statistics.median(seconds[1:]) for variant, seconds in taken.items()}


def main(arguments: list[str] | None = None) -> int:
    """Train, measure, store; the exit status is 130 after Ctrl-C, 2 for a state that does not fit."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    console = Console()
    options.state.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        options.state.unlink(missing_ok=True)  # of another training
    model = date_model(seed=options.seed)
    start = time.perf_counter()
    try:
        losses = _train(model, options, console)
    except KeyboardInterrupt:
        kept = f"{options.state} keeps the training, --resume goes on with it"
        print(f"stopped; {kept if options.state.exists() else 'so early that nothing was kept'}", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError) as error:
        print(f"train_dates: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - start

    accuracy = date_accuracy(model, options.count)
    steps = step_seconds(BESIDE)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    about = {**TRAINING, "steps": options.steps, "seed": options.seed, "parameters": parameters, "accuracy": accuracy}
    save_date_model(model, options.out, {**about, "test_dates": options.count, "losses": losses[::10]})
    _report(console, options, accuracy, parameters, seconds, steps)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line, and refuse what would fail after the training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=TRAINING["steps"], help="training steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=TRAINING["seed"], help="of weights and data (default: %(default)s)")
    parser.add_argument("--count", type=int, default=300, help="unseen dates to test, in each format (default: 300)")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="where the weights go (default: the package)")
    parser.add_argument(
        "--state", type=Path, default=ROOT / "build" / "dates.state", help="keeps the training (default: build/)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="how sums are rounded, and so the weights, depends on it (default: 2)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training that --state keeps")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1; got {options.steps}")
    try:
        date_test_set(options.count)
    except ValueError as error:
        parser.error(f"--count: {error}")
    if not options.out.parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.parent}")
    return options


def _train(model: Transformer, options: argparse.Namespace, console: Console) -> list[float]:
    """Train under a progress bar; return the loss of each step."""
    training = train_dates(model, steps=options.steps, seed=options.seed, state=options.state, resume=options.resume)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    losses: list[float] = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=options.steps, loss=float("nan"))
        for loss in training:
            losses.append(round(loss, 4))
            progress.update(task, advance=1, loss=loss)
    return losses


def _report(
    console: Console,
    options: argparse.Namespace,
    accuracy: dict[str, float],
    parameters: int,
    seconds: float,
    steps: dict[int, float],
) -> None:
    """Print what was measured."""
    table = Table("written like", "exact match", title=f"{options.count} unseen dates, each in every format")
    for name, share in accuracy.items():
        table.add_row(name, f"{share:.2%}", style="bold" if name == "all" else None)
    console.print(table)
    one, other = BESIDE
    resumed = ", resumed: these seconds are those of the last part" * options.resume
    for line in (
        f"parameters      {parameters:,}",
        f"training        {seconds:.0f} s, {options.steps} steps, {torch.get_num_threads()} threads{resumed}",
        f"a step          variant {one} {steps[one] * 1e3:.0f} ms, variant {other} {steps[other] * 1e3:.0f} ms, "
        f"ratio {steps[one] / steps[other]:.2f}",
        f"stored          {options.out.name}, {options.out.stat().st_size / 1e3:.0f} kB",
    ):
        console.print(line, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
