"""Draw many problems and check all seven variants on them, values and gradients, within what rounding explains.

    .venv/bin/python scripts/random_cases.py                             100,000 cases: half an hour on two cores
    .venv/bin/python scripts/random_cases.py --cases 2000 --start 50000  the cases 50000 to 51999
    .venv/bin/python scripts/random_cases.py --case 51234                one of them, told at length
    ATEN_CPU_CAPABILITY=avx2 .venv/bin/python scripts/random_cases.py    as on a processor without AVX-512 (or: default)

The number of a case decides everything about it: up to 9 queries and keys (sometimes 40 keys), batch, heads, d_k,
numbers from 0.001 to 1000 (or 0, equal keys, one large key), a mask, float32 or float64. Each number that a variant
returns, and each gradient, is compared with the float64 reference; tests/error_bounds.py says how far rounding may
carry it. The tests of the repository draw some hundred problems in the same spirit; this is for whoever changes a
variant, a bound or torch.

Printed are, for each variant, how many cases passed and the largest error as a share of its bound. The exit status is 1
if a case failed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reference import LIFTED, FaultError, Problem, check_within_bounds, normal  # noqa: E402

from attention_variants.model.masks import causal_mask, padding_mask  # noqa: E402

PARTS = ("weights", "context", "gradient")
LARGEST_PROBLEM = 100  # weights in all, but usually fewer: variant 1 computes each on its own
CHUNK = 100  # cases that a worker process takes at once
SHOWN = 10  # failures that are listed


# ------------------------------------------------------------------------------------------------------ a case


def draw(case: int) -> tuple[Problem, torch.dtype]:
    """Make the problem with this number, and say in which arithmetic it is to be solved."""
    choose, generator = random.Random(case), torch.Generator().manual_seed(case)
    dtype = choose.choice([torch.float32, torch.float64])
    batch, num_heads, T_q, T_k, d_k = _sizes(choose)
    d_model = num_heads * d_k
    q, k, v = (
        _magnitudes(choose, generator, T) * normal(*batch, T, d_model, generator=generator) for T in (T_q, T_k, T_k)
    )
    kind_of_keys = choose.choice(["any"] * 6 + ["equal", "one large"])
    if kind_of_keys == "equal":
        k = k[..., :1, :].expand_as(k).contiguous()
    elif kind_of_keys == "one large":
        k[..., choose.randrange(T_k), :] *= choose.choice([30.0, 1000.0])
    kind_of_mask, mask = _mask(choose, generator, (*batch, num_heads, T_q, T_k))
    is_causal = choose.random() < 0.15
    name = (
        f"case {case}: batch {batch}, {num_heads} heads, T_q={T_q}, T_k={T_k}, d_k={d_k}, {kind_of_keys} keys, "
        f"mask: {kind_of_mask}{', is_causal' * is_causal}"
    )
    return Problem(name, q, k, v, mask, num_heads, is_causal).rounded_to(dtype), dtype


def _sizes(choose: random.Random) -> tuple[tuple[int, ...], int, int, int, int]:
    """Draw batch, heads, T_q, T_k and d_k until the problem is small enough for loops."""
    largest = LARGEST_PROBLEM if choose.random() < 0.1 else LARGEST_PROBLEM // 5
    while True:
        batch: tuple[int, ...] = choose.choice([(), (1,), (2,), (3,), (2, 2)])
        num_heads, T_q, d_k = choose.randint(1, 3), choose.randint(1, 9), choose.randint(1, 8)
        T_k = choose.randint(10, 40) if choose.random() < 0.2 else choose.randint(1, 9)
        if math.prod(batch) * num_heads * T_q * T_k <= largest:
            return batch, num_heads, T_q, T_k, d_k


def _magnitudes(choose: random.Random, generator: torch.Generator, T: int) -> Tensor:
    """How large numbers are, in powers of ten: all alike, or each row in its own way; sometimes all 0."""
    kind = choose.choices(["like 1", "alike", "each row", "zero"], [6, 5, 3, 1])[0]
    if kind == "each row":
        return 10.0 ** (6 * torch.rand(T, 1, generator=generator, dtype=torch.float64) - 3)
    exponent = {"like 1": 0.0, "alike": choose.uniform(-3, 3), "zero": -torch.inf}[kind]
    return torch.full((T, 1), 10.0**exponent, dtype=torch.float64)


def _mask(choose: random.Random, generator: torch.Generator, shape: tuple[int, ...]) -> tuple[str, Tensor | None]:
    """Draw a kind of mask and make one that broadcasts to the shape of the weights."""
    kind = choose.choice(["none", "none", "none", "random", "random", "rows with no key", "causal", "padding"])
    T_q, T_k = shape[-2:]
    if kind == "none":
        return kind, None
    if kind == "causal":
        return kind, causal_mask(T_q, T_k, align=choose.choice(["top-left", "bottom-right"]))
    if kind == "padding":
        return kind, padding_mask([choose.randint(1, T_k)], T_k, head_axis=True)[0, 0]
    mask = torch.rand(choose.choice([shape, shape[-2:]]), generator=generator) < choose.choice([0.2, 0.5, 0.9])
    if kind == "random":
        mask[..., 0] |= ~mask.any(dim=-1)
    else:
        mask[..., choose.randrange(T_q), :] = False
    return kind, mask


# --------------------------------------------------------------------------------------------------- many cases


@dataclass
class Seen:
    """What was measured: cases passed by variant, the largest share by variant and part, what failed."""

    passed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LIFTED, 0))
    largest: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict)  # share, and of which case
    failed: list[tuple[int, int, str]] = field(default_factory=list)  # case, variant, what is wrong
    cpu_seconds: float = 0.0

    def add(self, other: Seen) -> None:
        """Take over what another process has seen."""
        for variant, passed in other.passed.items():
            self.passed[variant] += passed
        for key, share in other.largest.items():
            self.largest[key] = max(share, self.largest.get(key, (0.0, -1)))
        self.failed += other.failed
        self.cpu_seconds += other.cpu_seconds


def measure(cases: range) -> Seen:
    """Check all variants on some cases."""
    seen, start = Seen(), time.process_time()
    for case in cases:
        problem, dtype = draw(case)
        for variant, function in LIFTED.items():
            try:
                shares = check_within_bounds(function, problem, dtype)
            except FaultError as fault:
                seen.failed.append((case, variant, str(fault)))
                continue
            seen.passed[variant] += 1
            for part, share in shares.items():
                seen.largest[variant, part] = max((share, case), seen.largest.get((variant, part), (0.0, -1)))
    seen.cpu_seconds = time.process_time() - start
    return seen


def measure_all(cases: range, jobs: int) -> Seen:
    """The same in several processes, with a bar; Ctrl-C ends it with what has been seen."""
    seen = Seen()
    chunks = [cases[i : i + CHUNK] for i in range(0, len(cases), CHUNK)]
    columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, TextColumn("{task.fields[failed]} failed"), disable=not sys.stderr.isatty()) as progress,
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool,
    ):
        task = progress.add_task("", total=len(cases), failed=0)
        waiting = {pool.submit(measure, chunk): len(chunk) for chunk in chunks}
        try:
            for future in as_completed(waiting):
                seen.add(future.result())
                progress.update(task, advance=waiting[future], failed=len(seen.failed))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    return seen


# ------------------------------------------------------------------------------------------------------ printing


def lines_about(seen: Seen, cases: range) -> Iterator[str]:
    """Say in lines what was seen."""
    capability = torch.backends.cpu.get_cpu_capability()
    yield f"cases {cases.start} to {cases[-1]}, {capability}, torch {torch.__version__}, {seen.cpu_seconds:.0f} s CPU"
    yield "largest error as a share of its bound (and the case)"
    yield "variant  passed  " + "".join(f"{part:>20}" for part in PARTS)
    for variant, passed in seen.passed.items():
        shares = [seen.largest.get((variant, part), (0.0, -1)) for part in PARTS]
        yield f"{variant:7} {passed:7}  " + "".join(f"{f'{share:.3f} ({case})':>20}" for share, case in shares)
    for _, variant, fault in sorted(seen.failed)[:SHOWN]:
        yield f"variant {variant}: {fault}"
    if len(seen.failed) > SHOWN:
        yield f"... {len(seen.failed) - SHOWN} more failures"
    if seen.failed:
        yield f"Again, one case alone: python scripts/random_cases.py --case {min(seen.failed)[0]}"
        yield f"ATEN_CPU_CAPABILITY={capability.lower()} plays the same processor."


def tell(case: int) -> bool:
    """Print one case and what each variant makes of it; return whether all passed."""
    problem, dtype = draw(case)
    print(f"{problem.name}, {str(dtype).removeprefix('torch.')}, {torch.backends.cpu.get_cpu_capability()}")
    for name in ("q", "k", "v", "mask"):
        print(f"{name} = {getattr(problem, name)}")
    seen = measure(range(case, case + 1))
    for variant, passed in seen.passed.items():
        if passed:
            shares = ", ".join(f"{part} {seen.largest[variant, part][0]:.3f}" for part in PARTS)
            print(f"variant {variant}: passed; errors as a share of their bounds: {shares}")
    for _, variant, fault in seen.failed:
        print(f"variant {variant}: {fault}")
    return not seen.failed


def main(arguments: list[str] | None = None) -> int:
    """Draw and check; the exit status is 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, metavar="N", help="how many to draw (default 100,000)")
    parser.add_argument("--start", type=int, default=0, metavar="CASE", help="the number of the first (default 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes, of one thread each (default 2)")
    parser.add_argument("--case", type=int, metavar="CASE", help="run this case alone and tell everything about it")
    options = parser.parse_args(arguments)
    if options.cases < 1 or options.jobs < 1 or min(options.start, options.case or 0) < 0:
        parser.error("--cases and --jobs are at least 1, --start and --case at least 0")
    torch.set_num_threads(1)
    if options.case is not None:
        return int(not tell(options.case))
    cases = range(options.start, options.start + options.cases)
    seen = measure_all(cases, options.jobs)
    print("\n".join(lines_about(seen, cases)))
    return int(bool(seen.failed) or min(seen.passed.values()) < len(cases))


if __name__ == "__main__":
    sys.exit(main())
