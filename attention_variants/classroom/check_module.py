"""Is a module what stands around attention in a Transformer? Held against the package's own, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.model import AddNorm, DecoderLayer, EncoderLayer, padding_mask

from . import wording
from .contract.answer import Failure
from .contract.evidence import first_row, row
from .contract.reference import far_from_the_layer
from .report_html import render
from .sandbox.clock import TimeIsUp, alarm
from .sandbox.limits import SECONDS_OF_A_LAYER
from .sandbox.restore import unharmed
from .sandbox.run import raised

__all__ = ["ModuleFinding", "ModuleReport", "check_module"]

_B, _T_Q, _T_K, _HEADS, _D_MODEL, _D_FF = 2, 5, 7, 2, 8, 16
_Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class ModuleFinding:
    """One thing that is wrong with a module, as data.

    Attributes
    ----------
    code : str
        ``"failed"`` (it raised an exception, or took too long), ``"parameters"`` (it has others than the package's),
        ``"returned"`` (no tensor), ``"shape"``, ``"values"``, ``"inputs"`` (it changed them) or ``"gradients"``.
    numbers : mapping of str to object
        What belongs to it.
    """

    code: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class ModuleReport:
    """What `check_module` found; shows itself as text and in a notebook, and is true if all is well.

    Attributes
    ----------
    name, goal : str
        The class that was checked, and the one that it is held against.
    finding : ModuleFinding or None
        The first thing that is wrong.
    looks_like : str or None
        The code of a mistake that gives the same numbers on every problem.
    """

    name: str
    goal: str
    finding: ModuleFinding | None = None
    looks_like: str | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding is None

    def __bool__(self) -> bool:
        return self.passed

    def lines(self) -> list[str]:
        """The report as lines of text, the verdict first."""
        verdict = "right" if self.passed else "not_right"
        return [wording.say(wording.MODULE[verdict], name=self.name, goal=self.goal), *self._found()]

    def _found(self) -> list[str]:
        if self.finding is None:
            return []
        code, numbers = self.finding.code, self.finding.numbers
        if code == "failed":
            failure: Failure = numbers["failure"]
            words = wording.MODULE["nothing_written"] if failure.is_not_written else wording.failure(failure)
            found = [words if failure.is_not_written else wording.say(wording.MODULE["failed"], words=words, **numbers)]
        else:
            where = wording.MODULE_PROBLEMS.get(numbers.get("problem", ""), "")
            found = wording.say(wording.MODULE[code], where=where, **numbers).split("\n", 1)
        if self.looks_like is not None:
            mistake = wording.MODULE_MISTAKES[f"{self.goal}.{self.looks_like}"]
            found.append(wording.say(wording.MODULE["looks_like"], mistake=mistake))
        return found

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        verdict, *found = self.lines()
        return render("module.html", passed=self.passed, verdict=verdict, found=found)


@dataclass(frozen=True)
class _Known:
    """What there is to know about a class that others are held against.

    Attributes
    ----------
    arguments : tuple
        What it is made with.
    inputs : callable
        Gives the inputs of its problems, by the name of the problem.
    mistakes : mapping of str to function
        A mistake as a function of the right module and of the inputs.
    """

    arguments: tuple[int, ...]
    inputs: Callable[[], dict[str, tuple[Tensor | None, ...]]]
    mistakes: Mapping[str, _Forward]


def check_module(
    module: type[nn.Module], like: type[nn.Module], *, seconds: float = SECONDS_OF_A_LAYER
) -> ModuleReport:
    """Hold a module that you wrote against one of the package: the same weights, the same inputs, the same answer.

    Both are made with the same arguments; yours gets the weights of the other, by their names; and both must return the
    same numbers for B = 2 items, 5 positions (of the target), 7 positions of the source and 2 heads, and the same
    gradients for inputs and weights. Where the numbers are those of a known mistake, it is named.

    Parameters
    ----------
    module : type
        A class of ``nn.Module``, not called; easiest is one derived from ``like``, with a ``forward`` of its own. What
        it returns may be the tensor alone, or a tuple that begins with it.
    like : type
        `AddNorm`, `EncoderLayer` or `DecoderLayer`.
    seconds : float, default 20
        How long it may take.

    Returns
    -------
    report : ModuleReport
        True if nothing is wrong.

    Raises
    ------
    TypeError
        If ``module`` is not a class of ``nn.Module``.
    ValueError
        If ``like`` is another class.

    Examples
    --------
    >>> bool(check_module(AddNorm, AddNorm))
    True
    """
    if like not in KNOWN:
        names = ", ".join(known.__name__ for known in KNOWN)
        raise ValueError(f"check_module: like must be one of {names}; got {getattr(like, '__name__', like)!r}.")
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise TypeError(f"check_module: module must be a class of nn.Module, not called; got {type(module).__name__}.")
    known = KNOWN[like]
    real = _randomised(like(*known.arguments))
    finding: ModuleFinding | None = None
    found: dict[str, Tensor] = {}
    with unharmed():
        try:
            with alarm(seconds):
                finding, found = _hold_against(module, real, known)
        except TimeIsUp:
            finding = ModuleFinding("failed", {"failure": Failure("time", seconds=seconds), "problem": ""})
    looks_like = _named(real, known, found) if finding is not None and finding.code == "values" else None
    return ModuleReport(module.__name__, like.__name__, finding, looks_like)


def _hold_against(
    module: type[nn.Module], real: nn.Module, known: _Known
) -> tuple[ModuleFinding | None, dict[str, Tensor]]:
    """The first thing that is wrong, and what the module returned for each problem."""
    outputs: dict[str, Tensor] = {}
    findings: list[ModuleFinding] = []
    problem = ""
    try:
        made = module(*known.arguments).double()
        if finding := _other_parameters(made, real):
            return finding, {}
        made.load_state_dict(real.state_dict())
        for problem, inputs in known.inputs().items():
            finding, outputs[problem] = _compare(made, real, inputs, problem)
            if finding is not None and finding.code != "values":
                return finding, {}
            findings += [finding] if finding else []
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: it is the module's, not ours
        return ModuleFinding("failed", {"failure": raised(error), "problem": problem}), {}
    return (findings[0] if findings else None), outputs


def _other_parameters(made: nn.Module, real: nn.Module) -> ModuleFinding | None:
    """Whether the parameters have other names or shapes than those of the right module."""
    found, expected = ({name: tuple(p.shape) for name, p in each.named_parameters()} for each in (made, real))
    if found == expected:
        return None
    numbers = {
        "missing": wording.listed(sorted(expected.keys() - found.keys())) or "-",
        "unknown": wording.listed(sorted(found.keys() - expected.keys())) or "-",
        "shapes": wording.listed([n for n in expected if n in found and expected[n] != found[n]]) or "-",
    }
    return ModuleFinding("parameters", numbers)


def _compare(
    made: nn.Module, real: nn.Module, inputs: tuple[Tensor | None, ...], problem: str
) -> tuple[ModuleFinding | None, Tensor]:
    """Run both on one problem: the first thing that differs, and what the module returned."""
    expected, wanted, _ = _run(real, inputs)
    found, gradients, changed = _run(made, inputs)
    if not isinstance(found, Tensor):
        return ModuleFinding("returned", {"kind": type(found).__name__, "problem": problem}), expected
    if found.shape != expected.shape:
        shapes = {"found": tuple(found.shape), "expected": tuple(expected.shape)}
        return ModuleFinding("shape", {**shapes, "problem": problem}), expected
    x, y = found.numpy(), expected.numpy()
    wrong = far_from_the_layer(x, y)
    if wrong.any():
        at = first_row(wrong)
        rows = {"found": row(x[at]), "expected": row(y[at]), "at": at}
        return ModuleFinding("values", {"wrong": int(wrong.sum()), "of": wrong.size, "problem": problem, **rows}), found
    if changed:
        return ModuleFinding("inputs", {"problem": problem}), found
    other = [name for name, gradient in wanted.items() if _differ(gradients.get(name), gradient)]
    if other:
        return ModuleFinding("gradients", {"names": wording.listed(other), "problem": problem}), found
    return None, found


def _differ(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None:
        return found is not expected
    return bool(far_from_the_layer(found.numpy(), expected.numpy()).any())


def _run(module: nn.Module, inputs: tuple[Tensor | None, ...]) -> tuple[Any, dict[str, Tensor | None], bool]:
    """Call a module: what it returns, the gradients by name, and whether it changed its inputs."""
    leaves = [None if x is None else x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    handed = [None if x is None else x * 1 if x.is_floating_point() else x.clone() for x in leaves]  # may be written to
    output = module(*handed)
    output = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(output, Tensor):
        return output, {}, False
    changed = any(
        x is not None and h is not None and not torch.equal(h, x) for h, x in zip(handed, inputs, strict=True)
    )
    named = {f"input {i}": x for i, x in enumerate(leaves, start=1) if x is not None and x.requires_grad}
    named |= dict(module.named_parameters())
    gradients: dict[str, Tensor | None] = dict.fromkeys(named)
    if output.requires_grad:
        # Of the sum of the sines: of a plain sum, those through a norm would be 0.
        got = torch.autograd.grad(output.double().sin().sum(), list(named.values()), allow_unused=True)
        gradients = dict(zip(named, got, strict=True))
    return output.detach().double(), gradients, changed


def _named(real: nn.Module, known: _Known, found: Mapping[str, Tensor]) -> str | None:
    """The mistake that gives what the module gave, on every problem."""
    problems = known.inputs()
    if found.keys() != problems.keys():
        return None
    with torch.no_grad():
        for code, mistaken in known.mistakes.items():
            wrong = {problem: mistaken(real, *inputs) for problem, inputs in problems.items()}
            if not any(_differ(found[problem], wrong[problem]) for problem in problems):
                return code
    return None


def _randomised(module: nn.Module) -> nn.Module:
    """Leave no weight where it began: no factor at 1, no bias at 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.double().parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.4 * drawn + (0.5 if parameter.ndim == 1 else 0.0))
    return module


# ------------------------------------------------------------------------------------------------- the problems


def _vectors(*lengths: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(_B, length, _D_MODEL) for length in lengths]
    return tuple(2.0 * torch.randn(shape, generator=generator, dtype=torch.float64) + 0.5 for shape in shapes)


def _of_an_encoder_layer() -> dict[str, tuple[Tensor | None, ...]]:
    (x,) = _vectors(_T_K)
    return {"plain": (x, None), "padded": (x, padding_mask([_T_K, 3], head_axis=True))}


def _of_a_decoder_layer() -> dict[str, tuple[Tensor | None, ...]]:
    x, memory = _vectors(_T_Q, _T_K)
    padding = padding_mask([_T_Q, 3], head_axis=True), padding_mask([4, _T_K], head_axis=True)
    return {"plain": (x, memory, None, None), "padded": (x, memory, *padding)}


# ------------------------------------------------------------------------------- mistakes, made with the right module


_OF_ADD_NORM: dict[str, _Forward] = {
    "no_sum": lambda add_norm, x, computed: add_norm.norm(computed),
    "no_norm": lambda add_norm, x, computed: x + computed,
    "norm_of_computed": lambda add_norm, x, computed: x + add_norm.norm(computed),
    "norm_of_x": lambda add_norm, x, computed: add_norm.norm(x) + computed,
    "not_computed": lambda add_norm, x, computed: add_norm.norm(x),
}


def _encoder(layer: Any, x: Tensor, mask: Tensor | None, *, slip: str) -> Tensor:
    """The right layer's ``forward`` with one slip."""
    mask = None if slip == "no_mask" else mask

    def look(x: Tensor) -> Tensor:
        return _around(layer, 1, x, layer.self_attention(x, mask=mask)[0], slip)

    def work(x: Tensor) -> Tensor:
        return _around(layer, 2, x, layer.feed_forward(x), slip)

    orders = {"work_first": (work, look), "no_self": (work,), "no_feed_forward": (look,)}
    for step in orders.get(slip, (look, work)):
        x = step(x)
    return x


def _decoder(
    layer: Any, x: Tensor, memory: Tensor, mask: Tensor | None, memory_mask: Tensor | None, *, slip: str
) -> Tensor:
    """The right layer's ``forward`` with one slip."""
    mask = None if slip == "no_mask" else mask
    memory_mask = None if slip == "no_memory_mask" else memory_mask

    def look_back(x: Tensor) -> Tensor:
        return _around(layer, 1, x, layer.self_attention(x, mask=mask, is_causal=slip != "not_causal")[0], slip)

    def look_over(x: Tensor) -> Tensor:
        attention = layer.self_attention if slip == "one_attention" else layer.cross_attention
        looked_at, allowed = (x, mask) if slip == "looks_at_itself" else (memory, memory_mask)
        return _around(layer, 2, x, attention(x, looked_at, mask=allowed)[0], slip)

    def work(x: Tensor) -> Tensor:
        return _around(layer, 3, x, layer.feed_forward(x), slip)

    orders = {
        "cross_first": (look_over, look_back, work),
        "work_before_cross": (look_back, work, look_over),
        "no_self": (look_over, work),
        "no_cross": (look_back, work),
        "no_feed_forward": (look_back, look_over),
    }
    for step in orders.get(slip, (look_back, look_over, work)):
        x = step(x)
    return x


def _around(layer: Any, number: int, x: Tensor, computed: Tensor, slip: str) -> Tensor:
    """Add & Norm of a sub-layer, or its slip."""
    add_norm = layer.add_norm_1 if slip == "one_norm" else getattr(layer, f"add_norm_{number}")
    handed_on: Tensor = computed if slip == "no_sums" else add_norm(x, computed)
    return handed_on


def _slips(layer: _Forward, goal: str) -> dict[str, _Forward]:
    known = (name.partition(".") for name in wording.MODULE_MISTAKES)
    return {code: partial(layer, slip=code) for known_goal, _, code in known if known_goal == goal}


#: The classes that others are held against.
KNOWN: dict[type[nn.Module], _Known] = {
    AddNorm: _Known((_D_MODEL,), lambda: {"plain": _vectors(_T_Q, _T_Q)}, _OF_ADD_NORM),
    EncoderLayer: _Known((_D_MODEL, _HEADS, _D_FF), _of_an_encoder_layer, _slips(_encoder, "EncoderLayer")),
    DecoderLayer: _Known((_D_MODEL, _HEADS, _D_FF), _of_a_decoder_layer, _slips(_decoder, "DecoderLayer")),
}
