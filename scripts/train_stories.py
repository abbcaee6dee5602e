"""Train the model of stories, and store it with what it has learned and when.

    make stories                              the weights that come with the package, anew from the seed
    make stories STORIES_ARGS="--seeds 8"     train seven more, store none of them, and say how many learn it

Prints, for each seed, how often the likeliest word is the right one on unseen stories, what the best head puts on the
word to copy in random words that come again, and the seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from attention_variants.model.language_model import LanguageModel
from attention_variants.model.story_model import (
    CHECKPOINT,
    TRAINING,
    induction_scores,
    save_story_model,
    story_model,
    story_recall,
    train_stories,
)

RECALL, INDUCTION = 0.95, 0.8  # what counts as learned: of each word that was told, and the best head's weight
EVERY = 25  # steps between two measurements
COLUMNS = ("colour", "thing", "place", "grammar", "repeated", "pairs", "accuracy")


def measured(model: LanguageModel, count: int = 256) -> dict[str, float]:
    """What a model has learned: recall by what is told, the best induction head, and its accuracy."""
    found = induction_scores(model, count // 4)
    best = {"repeated": found.repeated.max().item(), "pairs": found.pairs.max().item()}
    return {**story_recall(model, count), **best, "accuracy": found.accuracy}


def has_learned(found: dict[str, float]) -> bool:
    """Whether it recalls what was told, and has an induction head."""
    recalls = all(found[slot] >= RECALL for slot in ("colour", "thing", "place"))
    return recalls and min(found["repeated"], found["pairs"]) >= INDUCTION


def main(arguments: list[str] | None = None) -> int:
    """Train, measure, store; the exit status is 130 after Ctrl-C."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    console = Console()
    seeds = range(options.seed, options.seed + options.seeds)
    rows: list[tuple[int, dict[str, float], float]] = []
    try:
        for seed in seeds:
            start = time.process_time()
            model, curve = _train(seed, options.steps, console)
            rows.append((seed, measured(model, options.count), time.process_time() - start))
            if seed == options.seed:
                parameters = sum(parameter.numel() for parameter in model.parameters())
                about = {**TRAINING, "steps": options.steps, "seed": seed, "parameters": parameters}
                save_story_model(model, options.out, {**about, **rows[0][1], "curve": curve})
    except KeyboardInterrupt:
        print("stopped; what was stored before is as it was", file=sys.stderr)
        return 130
    _report(console, rows, options, parameters)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=TRAINING["steps"], help="training steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=TRAINING["seed"], help="the one that is stored (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many to train, that one first (default: 1)")
    parser.add_argument("--count", type=int, default=512, help="unseen stories to measure on (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="where the weights go (default: the package)")
    parser.add_argument(
        "--threads", type=int, default=1, help="how sums are rounded, and so the weights, depends on it (default: 1)"
    )
    options = parser.parse_args(arguments)
    for name in ("steps", "seeds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1; got {getattr(options, name)}")
    if options.count < 8:
        parser.error(f"--count must be at least 8; got {options.count}")
    if not options.out.parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.parent}")
    return options


def _train(seed: int, steps: int, console: Console) -> tuple[LanguageModel, list[dict[str, Any]]]:
    """Train under a progress bar; return the model and what it had learned every few steps."""
    model, curve = story_model(seed=seed), []
    columns = (
        TextColumn(f"seed {seed}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=steps, loss=float("nan"))
        for step, loss in enumerate(train_stories(model, steps=steps, seed=seed), start=1):
            progress.update(task, advance=1, loss=loss)
            if step % EVERY == 0 or step == steps:
                found = {name: round(value, 4) for name, value in measured(model, 64).items()}
                curve.append({"step": step, "loss": round(loss, 4), **found})
    return model, curve


def _report(console: Console, rows: list[Any], options: argparse.Namespace, parameters: int) -> None:
    table = Table("seed", *COLUMNS, "CPU s", title=f"{options.count} unseen stories, and random words that come again")
    for seed, found, seconds in rows:
        table.add_row(str(seed), *(f"{found[name]:.3f}" for name in COLUMNS), f"{seconds:.0f}")
    console.print(table)
    learned = sum(has_learned(found) for _, found, _ in rows)
    for line in (
        f"learned         {learned} of {len(rows)}: recall of at least {RECALL}, and an induction head of {INDUCTION}",
        f"training        {options.steps} steps, {torch.get_num_threads()} threads; measuring every {EVERY} included",
        f"parameters      {parameters:,}",
        f"stored          {options.out.name}, {options.out.stat().st_size / 1e3:.0f} kB",
    ):
        console.print(line, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
