"""A race: every contender is held against the float64 reference, and only those that equal it are timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attention_variants.lab.measure.memory import peak_memory
from attention_variants.lab.measure.reference import TOLERANCES, reference_attention, relative_error

from .adapter import Adapter
from .contenders import BARE, Contender
from .reasons import Reason, Why
from .result import Race, Result
from .workloads import DTYPES, Problem, Workload

#: Rounds that a race has at least and at most, whatever its budget.
FEWEST, MOST = 6, 40
#: And at least where weights are returned: times with large new tensors spread most.
FEWEST_WITH_WEIGHTS = 15


def check(contender: Contender, workload: Workload, *, device: torch.device | str = "cpu") -> dict[str, float]:
    """Hold a contender against a float64 reference, on a small problem of the same kind.

    Parameters
    ----------
    contender : Contender
    workload : Workload
        Its kind counts, not its sizes.
    device : torch.device, default "cpu"

    Returns
    -------
    errors : dict
        The relative error of the output, of the weights if the contender returns them, and of the gradient of each
        input.
    """
    problem = Problem.make(workload.small(), device=device)
    with torch.enable_grad():
        expected = _expected(problem)
        adapter = contender.prepare(problem)
        x, memory = _inputs(adapter, problem, grad=True)
        output, weights = adapter(x, memory)
        upstream = problem.upstream.transpose(0, 1) if adapter.time_first else problem.upstream
        gradients: Sequence[Tensor] = adapter.step(adapter, x, memory, upstream)[:2]
    if not workload.backward:  # without gradients a library may take another way, and that is the one that is timed
        with torch.no_grad():
            output, weights = adapter(x, memory)
    found = {"output": output, "grad x": gradients[0], "grad memory": gradients[1]}
    if adapter.time_first:
        found = {name: tensor.transpose(0, 1) for name, tensor in found.items()}
    if workload.weights and contender is not BARE:
        found["weights"] = output.new_zeros(0) if weights is None else weights
    # In self-attention both inputs are one tensor; and the gradients of the bare operations are of separate pieces.
    left_out = {"grad memory"} if workload.is_self else set()
    if contender is BARE or not contender.has_gradients:
        left_out = {"grad x", "grad memory"}
    return {
        name: relative_error(tensor.detach(), expected[name]) for name, tensor in found.items() if name not in left_out
    }


@dataclass(frozen=True)
class Verdict:
    """What `check_adapter` found; true if the adapter equals the reference.

    Attributes
    ----------
    name : str
        The adapter.
    workload : Workload
        The small problem on which it was checked.
    errors : dict
        As `check` returns them; empty if it raised something.
    reason : Reason or None
        What it raised, if it did.
    """

    name: str
    workload: Workload
    errors: dict[str, float]
    reason: Reason | None = None

    def __bool__(self) -> bool:
        return not self._far and self.reason is None

    @property
    def _far(self) -> list[str]:
        tolerance = TOLERANCES[DTYPES[self.workload.dtype]]
        return [name for name, error in self.errors.items() if not error <= tolerance]

    def __repr__(self) -> str:
        small = f"{self.workload.size}, mask: {self.workload.mask}"
        if self:
            return f"{self.name} equals the reference, in values and gradients ({small}): it may be timed."
        if self.reason and not self.reason.details["message"]:
            return f"{self.name} raises {self.reason.details['error']}."
        what = f"raises {self.reason}" if self.reason else f"differs from the reference: {', '.join(self._far)}"
        return f"{self.name} {what} ({small}: take the sizes from `problem`)."


def check_adapter(adapter: Callable[[Problem], Adapter], workload: Workload) -> Verdict:
    """Ask whether an adapter of your own may be timed: on a small problem of the same kind.

    Parameters
    ----------
    adapter : type
        A subclass of `Adapter`; ``adapter(problem)`` makes it ready.
    workload : Workload
        Its kind counts, not its sizes.

    Returns
    -------
    verdict : Verdict
    """
    name = str(getattr(adapter, "__name__", type(adapter).__name__))
    try:
        return Verdict(name, workload.small(), check(Contender(name, adapter), workload))
    except Exception as error:  # the reader's code may raise anything
        return Verdict(name, workload.small(), {}, Reason.raised(error))


def race(
    workload: Workload,
    contenders: Iterable[Contender],
    *,
    budget: float = 15.0,
    rounds: int | None = None,
    device: torch.device | str = "cpu",
    checked: dict[tuple[Contender, Workload], dict[str, float]] | None = None,
    report: Callable[[str], None] = lambda what: None,
) -> Race:
    """Let the contenders solve one workload, one after the other, again and again.

    Each is first checked (`check`); who is not equal is not timed. Then everybody warms up, and the rounds follow:
    A B C, B C A, C A B, ..., so that whatever the machine does beside happens to all of them, and nobody always comes
    after the same one.

    Parameters
    ----------
    workload : Workload
    contenders : iterable of Contender
        The bare operations are added.
    budget : float, default 15
        About how many seconds the rounds may take together.
    rounds : int, optional
        How many rounds; by default as many as the budget allows, at least 6.
    device : torch.device, default "cpu"
    checked : dict, optional
        What `check` has found, to be used again for workloads that differ in their size alone.
    report : callable, optional
        Is told what goes on, in words.

    Returns
    -------
    race : Race

    Raises
    ------
    ValueError
        If there is less than one round.
    """
    if rounds is not None and rounds < 1:
        raise ValueError(f"race: rounds must be at least 1; got {rounds}.")
    problem = Problem.make(workload, device=device)
    results, ready = _all_made_ready(problem, (BARE, *contenders), {} if checked is None else checked, device, report)
    if rounds is None:
        fewest = FEWEST_WITH_WEIGHTS if workload.weights and not workload.backward else FEWEST
        rounds = min(MOST, max(fewest, int(budget / max(sum(seconds for _, seconds in ready.values()), 1e-9))))
    order = [result for result in results if result.name in ready]
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            report(f"{workload.size}, {workload.kind}: round {done + 1} of {rounds}")
            for result in order[done % len(order) :] + order[: done % len(order)]:
                result.seconds.append(_seconds(ready[result.name][0], device))
    finally:
        gc.enable()
    return Race(workload, results)


#: What is timed, a call, and the seconds of its first one when warm.
_Ready = tuple[Callable[[], Any], float]


def _all_made_ready(
    problem: Problem,
    contenders: Iterable[Contender],
    checked: dict[tuple[Contender, Workload], dict[str, float]],
    device: torch.device | str,
    report: Callable[[str], None],
) -> tuple[list[Result], dict[str, _Ready]]:
    """Check all contenders and warm them up: a result for each, and by name what is to be timed."""
    workload = problem.workload
    if workload.compiled:
        torch.compiler.reset()
    results: list[Result] = []
    ready: dict[str, _Ready] = {}
    for contender in contenders:
        report(f"{workload.size}, {workload.kind}: check {contender.name}")
        result = Result(contender.name, "", reason=contender.absent(workload))
        results.append(result)
        if result.reason is not None:
            continue
        try:
            call = _made_ready(contender, problem, result, checked, device)
            if call is not None:
                call()
                ready[result.name] = call, _seconds(call, device)
        except Exception as error:  # a library may raise anything; the table reports it
            result.reason = Reason.raised(error)
    return results, ready


def _made_ready(
    contender: Contender,
    problem: Problem,
    result: Result,
    checked: dict[tuple[Contender, Workload], dict[str, float]],
    device: torch.device | str,
) -> Callable[[], Any] | None:
    """Check a contender and write into its result what came out; return what is to be timed, if anything is."""
    workload = problem.workload
    result.tolerance = TOLERANCES[DTYPES[workload.dtype]]
    result.version = contender.version
    kind = contender, workload.small()
    if kind not in checked:
        checked[kind] = check(contender, workload, device=device)
    result.errors = dict(checked[kind])
    result.reason = contender.untimed(workload) if result.equal else Reason(Why.NOT_EQUAL)
    if result.reason is not None:
        return None
    call, given, compiled_error = _call(contender, problem)
    if workload.compiled and contender is not BARE:
        result.errors["compiled"] = compiled_error
        if not result.equal:
            result.reason = Reason(Why.NOT_EQUAL_COMPILED)
            return None
    if not workload.compiled and not contender.is_opaque:
        result.memory, result.kernel = _memory_and_kernel(call, given, device)
    return call


def _expected(problem: Problem) -> dict[str, Tensor]:
    """Output, weights and the gradients of the inputs, in float64."""
    x, memory = problem.x.double().requires_grad_(), problem.memory.double().requires_grad_()
    if problem.memory is problem.x:
        memory = x

    def project(linear: nn.Linear, y: Tensor) -> Tensor:
        assert linear.bias is not None
        return y @ linear.weight.double().T + linear.bias.double()

    layer = problem.layer
    q, k, v = project(layer.w_q, x), project(layer.w_k, memory), project(layer.w_v, memory)
    context, weights = reference_attention(q, k, v, problem.mask, layer.num_heads)
    output = project(layer.w_o, context)
    grad_x, grad_memory = torch.autograd.grad(output, (x, memory), problem.upstream.double())
    assert weights is not None
    return {
        "output": output.detach(),
        "weights": weights.detach(),
        "grad x": grad_x,
        "grad memory": grad_memory,
    }


def _inputs(adapter: Adapter, problem: Problem, *, grad: bool) -> tuple[Tensor, Tensor]:
    """The inputs as the adapter likes them, as leaves."""

    def leaf(tensor: Tensor) -> Tensor:
        tensor = tensor.transpose(0, 1).contiguous() if adapter.time_first else tensor
        return tensor.detach().clone().requires_grad_(grad)

    x = leaf(problem.x)
    return x, x if problem.memory is problem.x else leaf(problem.memory)


def _call(contender: Contender, problem: Problem) -> tuple[Callable[[], Any], list[Tensor], float]:
    """What is timed, a call without arguments; the tensors that are there before it; and what compiling changes.

    The last is the relative difference of the output from that of the adapter as it is; 0 if nothing is compiled.
    """
    workload = problem.workload
    adapter = contender.prepare(problem)
    x, memory = _inputs(adapter, problem, grad=workload.backward)
    attend: Callable = adapter
    error = 0.0
    if workload.compiled and contender is not BARE:
        attend = torch.compile(adapter, fullgraph=contender.is_ours, dynamic=False)
        with torch.set_grad_enabled(workload.backward):
            error = relative_error(attend(x, memory)[0].detach(), adapter(x, memory)[0].detach())
    if workload.backward:
        upstream = problem.upstream.transpose(0, 1).contiguous() if adapter.time_first else problem.upstream

        def call() -> Any:
            return adapter.step(attend, x, memory, upstream)
    else:

        def call() -> Any:
            with torch.no_grad():
                return attend(x, memory)

    # Masks and the like are plain attributes of the adapters; what is no tensor is passed over.
    buffers = [value for module in adapter.modules() for value in tree_leaves(list(vars(module).values()))]
    return call, [x, memory, problem.upstream, *adapter.parameters(), *adapter.buffers(), *buffers], error


def _memory_and_kernel(call: Callable[[], Any], given: list[Tensor], device: torch.device | str) -> tuple[int, str]:
    """The peak memory of a call, and which kernel it ran."""
    with _Kernels() as kernels:
        if torch.device(device).type == "cuda":
            call()  # cuBLAS takes its workspace once
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            call()
            memory = torch.cuda.max_memory_allocated(device) - before
        else:
            memory = peak_memory(lambda *_: call(), *given)
    return memory, ", ".join(kernels.seen)


class _Kernels(TorchDispatchMode):
    """Note which kernels of ``scaled_dot_product_attention`` run; "math" if none can and it takes plain operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch's default imports its compiler at the first operation, which takes over a second

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "_safe_softmax":
            kernel = "math"  # plain operations, of which this one is found nowhere else
        elif name.startswith("_scaled_dot_product_") and "backward" not in name:
            kernel = name.removeprefix("_scaled_dot_product_")
        else:
            kernel = ""
        if kernel and kernel not in self.seen:
            self.seen.append(kernel)
        return func(*args, **(kwargs or {}))


def _seconds(call: Callable[[], Any], device: torch.device | str) -> float:
    """Time one call: by the clock on a CPU, by events on a CUDA GPU, where a call returns before it is done."""
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1e3
    begin_time = time.perf_counter()
    call()
    return time.perf_counter() - begin_time
