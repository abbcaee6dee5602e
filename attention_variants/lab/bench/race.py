"""A race: every contender is held against the float64 reference, and only those that equal it are timed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attention_variants.lab.measure.memory import peak_memory
from attention_variants.lab.measure.reference import TOLERANCES, reference_attention, relative_error

from .contenders import FLOOR, Adapter, Contender
from .workloads import DTYPES, Problem, Workload

#: Rounds that a race has at least and at most, whatever its budget.
FEWEST, MOST = 6, 40
#: And at least where weights are returned: times with large new tensors spread most.
FEWEST_WITH_WEIGHTS = 15


@dataclass
class Result:
    """What one contender did in one race.

    Attributes
    ----------
    name, version : str
        Who it is.
    errors : dict
        The relative error, beside float64, of the output, the gradients of the inputs, and the weights if asked for.
    tolerance : float
        What counts as equal.
    reason : str
        Why it was not timed; "" if it was.
    seconds : list of float
        One call in each round, in the order of the rounds.
    memory : int or None
        The most bytes that tensors held at once in a call, beyond its inputs and weights: counted tensor by tensor
        on a CPU (`peak_memory`, which does not see what an operation takes and frees inside), by the allocator on a
        GPU. None where there are no single tensors to see: if compiled, and in PyTorch's fast path.
    kernel : str
        Which kernel of ``scaled_dot_product_attention`` ran, "math" if it had none for this; "" if it was not
        called, or if compiled.
    """

    name: str
    version: str
    errors: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    reason: str = ""
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    kernel: str = ""

    @property
    def equal(self) -> bool:
        """Whether it was checked, and every error is within the tolerance."""
        return bool(self.errors) and all(error <= self.tolerance for error in self.errors.values())

    @property
    def largest_error(self) -> float:
        """The largest of the errors (nan counts as the largest)."""
        return max(self.errors.values(), key=lambda error: (error != error, error), default=float("nan"))

    @property
    def median(self) -> float:
        """The median time of a call, in seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How much longer one contender takes than another, round by round.

    Attributes
    ----------
    median, low, high : float
        The median of the rounds' ratios, and their quartiles.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ±{(self.high - self.low) / 2:.2f}"


@dataclass
class Race:
    """A workload and how each contender did.

    Attributes
    ----------
    workload : Workload
        What was to be done.
    results : list of Result
        The floor first.
    """

    workload: Workload
    results: list[Result]

    @property
    def timed(self) -> list[Result]:
        """Those that were timed, the floor first."""
        return [result for result in self.results if result.seconds]

    @property
    def all_equal(self) -> bool:
        """Whether everybody who was checked equals the reference."""
        return all(result.equal for result in self.results if result.errors)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"{name!r} took no part; there are {', '.join(result.name for result in self.results)}")

    def was_timed(self, name: str) -> bool:
        """Whether somebody took part and was timed."""
        return any(result.name == name for result in self.timed)

    def ratio(self, name: str, to: str = FLOOR.name) -> Ratio:
        """Compare two contenders round by round, so that a machine that slows down slows both.

        Parameters
        ----------
        name : str
            Whose time is above the line.
        to : str, default "the floor"
            Whose time is below it.

        Returns
        -------
        ratio : Ratio
        """
        rounds = zip(self[name].seconds, self[to].seconds, strict=True)
        ratios = [above / below for above, below in rounds]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return Ratio(median, low, high)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {"workload": asdict(self.workload), "results": [asdict(result) for result in self.results]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Race:
        """Read what `to_dict` wrote."""
        return cls(Workload(**data["workload"]), [Result(**result) for result in data["results"]])


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
    if workload.weights and contender is not FLOOR:
        found["weights"] = output.new_zeros(0) if weights is None else weights
    # In self-attention both inputs are one tensor; and the floor's gradients are those of pieces that do not touch.
    left_out = {"grad memory"} if workload.is_self else set()
    if contender is FLOOR or not contender.has_gradients:
        left_out = {"grad x", "grad memory"}
    return {
        name: relative_error(tensor.detach(), expected[name]) for name, tensor in found.items() if name not in left_out
    }


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
        The floor is added.
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
    results: list[Result] = []
    calls: dict[str, Callable[[], Any]] = {}
    seconds: dict[str, float] = {}
    checked = {} if checked is None else checked
    problem = Problem.make(workload, device=device)
    if workload.compiled:
        torch.compiler.reset()
    for contender in (FLOOR, *contenders):
        report(f"{workload.size}, {workload.kind}: check {contender.name}")
        result = Result(contender.name, "", reason=contender.absent(workload))
        results.append(result)
        if result.reason:
            continue
        result.tolerance = TOLERANCES[DTYPES[workload.dtype]]
        try:
            result.version = contender.version
            kind = contender, workload.small()
            if kind not in checked:
                checked[kind] = check(contender, workload, device=device)
            result.errors = dict(checked[kind])
            if not result.equal:
                result.reason = "not equal: not timed"
                continue
            result.reason = contender.untimed(workload)
            if result.reason:
                continue
            call, given, compiled_error = _call(contender, problem)
            if workload.compiled and contender is not FLOOR:
                result.errors["compiled"] = compiled_error
                if not result.equal:
                    result.reason = "not equal when compiled: not timed"
                    continue
            if not workload.compiled and not contender.is_opaque:
                result.memory, result.kernel = _memory_and_kernel(call, given, device)
            call()
            seconds[result.name] = _seconds(call, device)
            calls[result.name] = call
        except Exception as error:  # a library may raise anything; the table reports it
            result.reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"

    if rounds is None:
        fewest = FEWEST_WITH_WEIGHTS if workload.weights and not workload.backward else FEWEST
        rounds = min(MOST, max(fewest, int(budget / max(sum(seconds.values()), 1e-9))))
    order = [result for result in results if result.name in calls]
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            report(f"{workload.size}, {workload.kind}: round {done + 1} of {rounds}")
            for result in order[done % len(order) :] + order[: done % len(order)]:
                result.seconds.append(_seconds(calls[result.name], device))
    finally:
        gc.enable()
    return Race(workload, results)


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
    if workload.compiled and contender is not FLOOR:
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
