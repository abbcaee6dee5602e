"""A small Transformer that reads dates: trained, stored, loaded, and asked.

The whole of it fits into 90 seconds of training on two cores, so it can be trained while you watch. The weights that
come with the package were made by ``make dates``.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .checkpoint import about_checkpoint, check_fit, load_checkpoint, save_checkpoint
from .date_doubts import Doubt, as_date, find_doubts
from .dates import (
    END,
    MAX_SOURCE,
    MAX_TARGET,
    SOURCE_CHARACTERS,
    START,
    TARGET_CHARACTERS,
    TARGET_TOKENS,
    date_batch,
    date_test_set,
    dates,
    decode_target,
    encode_source,
    fold,
)
from .generate import greedy_decode
from .transformer import Transformer

#: The weights that come with the package.
CHECKPOINT = Path(__file__).parents[1] / "data" / "dates.safetensors"
#: How they were trained.
TRAINING: dict[str, Any] = {"steps": 1700, "batch_size": 64, "learning_rate": 3e-3, "seed": 0}

_SIZES: dict[str, Any] = {"d_model": 64, "num_heads": 2, "num_layers": 1, "d_ff": 128}
_SAVE_EVERY = 50  # steps


def date_model(*, seed: int = 0, variant: int = 7) -> Transformer:
    """Make the untrained model: one encoder layer, one decoder layer, two heads.

    Parameters
    ----------
    seed : int, default 0
        Of the weights that are drawn. Your own random numbers stay as you seeded them.
    variant : int, default 7
        Which of the seven attends.

    Returns
    -------
    model : Transformer
        In training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(
            len(SOURCE_CHARACTERS) + 1,
            len(TARGET_CHARACTERS) + 3,
            **_SIZES,
            dropout=0.0,  # every step draws anew, so there is little to memorise
            max_len=MAX_SOURCE,
            variant=variant,
        )


def train_dates(
    model: Transformer,
    *,
    steps: int = TRAINING["steps"],
    batch_size: int = TRAINING["batch_size"],
    learning_rate: float = TRAINING["learning_rate"],
    seed: int = TRAINING["seed"],
    is_causal: bool = True,
    state: Path | str | None = None,
    resume: bool = False,
) -> Iterator[float]:
    """Train on dates of the training half; go through it with a ``for`` loop, which sees the loss of each step.

    Everything that chance decides in a step depends on ``seed`` and the number of the step alone. So a training that
    was stopped and resumed ends with the same weights, bit by bit, as one that was not (on one machine, with as many
    threads).

    Parameters
    ----------
    model : Transformer
        From `date_model`; changed in place.
    steps : int
        How many. The learning rate rises over the first tenth of them and falls to 0 over the rest.
    batch_size : int
        Dates in a step.
    learning_rate : float
        The highest learning rate, of the optimizer Adam.
    seed : int
        Decides which dates a step sees, and how they are written.
    is_causal : bool, default True
        False leaves the causal mask out, to see what becomes of it.
    state : path, optional
        A file that keeps the training every 50 steps.
    resume : bool, default False
        Whether to go on from ``state``; the losses of the steps that are behind are given again first.

    Yields
    ------
    loss : float
        The cross-entropy of a step, in nats a character.

    Raises
    ------
    FileNotFoundError
        If ``resume`` finds no ``state``.
    ValueError
        If ``state`` is of a training with other settings or another model, or ``resume`` has none.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization". arXiv:1412.6980
    """
    settings = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "is_causal": is_causal,
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    losses: list[float] = []
    if resume:
        if state is None:
            raise ValueError("resume=True needs state=, the file that kept the training.")
        losses = _resume(Path(state), settings, model, optimizer)
        yield from losses
    days = dates("train")
    for step in range(len(losses), steps):
        model.train()  # again in each step: the caller may measure in between
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule((step + 1) / steps)
        source, target = (tokens.to(_device(model)) for tokens in date_batch(days, batch_size, seed=f"{seed}/{step}"))
        logits, _ = model(source, target[:, :-1], is_causal=is_causal)  # from each character, the next
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if state is not None and ((step + 1) % _SAVE_EVERY == 0 or step + 1 == steps):
            _keep(Path(state), settings, model, optimizer, losses)
        yield losses[-1]


def date_accuracy(model: Transformer, count: int = 300) -> dict[str, float]:
    """Measure how many unseen dates the model reads without any mistake.

    Parameters
    ----------
    model : Transformer
        A trained `date_model`.
    count : int, default 300
        How many dates of the test half; each is written in every format.

    Returns
    -------
    accuracy : dict of str to float
        The share of answers in which every character is right, by format, and ``"all"``.
    """
    right = {}
    for name, pairs in date_test_set(count).items():
        questions, answers = zip(*pairs, strict=True)
        found = _answer(model, questions)
        right[name] = sum(a == b for a, b in zip(found, answers, strict=True)) / len(answers)
    return right | {"all": sum(right.values()) / len(right)}


@dataclass(frozen=True, eq=False, repr=False)
class DateReading:
    """What the model made of a date, how sure it was, and where it looked; ``print`` says whether to trust it.

    Attributes
    ----------
    text : str
        The question, as the model saw it: in lower case, without spaces around it.
    answer : str
        What it wrote: ISO 8601, if it understood.
    probabilities : Tensor of shape (T_t, target_vocab)
        Row t has the probability of each token, `TARGET_TOKENS`, to be character t of the answer; the last row, to come
        after the last character. The model wrote the likeliest.
    doubts : tuple of Doubt
        What speaks against the answer: the question is of another kind than the data, the answer is not a date, or
        the model is not sure. A high probability alone says little: it is high for the 31st of February too.
    weights : Tensor of shape (num_heads, T_t, T_s)
        The cross-attention of the last layer. Row t is where the model looked when it wrote character t of the answer;
        the last row, when it wrote the end.
    source_tokens : list of str
        The T_s characters of the question; "␣" is a space.
    target_tokens : list of str
        The T_t characters that the model wrote, of `TARGET_TOKENS`: "⏎" is the end.
    """

    text: str
    answer: str
    probabilities: Float[Tensor, "T_t target_vocab"]
    doubts: tuple[Doubt, ...]
    weights: Float[Tensor, "num_heads T_t T_s"]
    source_tokens: list[str]
    target_tokens: list[str]

    @property
    def probability(self) -> float:
        """The probability of the whole answer: the product over its characters and its end."""
        return _probability(self.probabilities)

    @property
    def date(self) -> datetime.date | None:
        """The answer as a date; None if it is not one."""
        return as_date(self.answer)

    def __repr__(self) -> str:
        doubts = f", {len(self.doubts)} doubt{'s' if len(self.doubts) > 1 else ''}" if self.doubts else ""
        return f"DateReading({self.text!r} -> {self.answer!r}, probability {self.probability:.3f}{doubts})"

    def __str__(self) -> str:
        first = f"{self.text} -> {self.answer}   probability {self.probability:.3f}"
        return "\n".join([first, *(f"  in doubt: {doubt}" for doubt in self.doubts)])


def read_date(text: str, model: Transformer | None = None) -> DateReading:
    """Read one date: the answer, how sure the model was, what speaks against it, and where the model looked.

    Parameters
    ----------
    text : str
        A date as people write it, such as ``Mar 12th, '98``.
    model : Transformer, optional
        By default the trained one, `load_date_model`.

    Returns
    -------
    reading : DateReading
        Check its ``doubts`` before you use its ``answer``: the model answers every question.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If it is empty, too long, or has a character that the model does not know.

    Examples
    --------
    >>> print(read_date("31 Feb 1998"))
    31 feb 1998 -> 1998-02-31   probability 0.994
      in doubt: there is no day 31 of month 2 in 1998
      in doubt: the answer is not a date
    """
    if not isinstance(text, str):
        raise TypeError(f"read_date takes a text; got {type(text).__name__}.")
    source = encode_source([text])
    model = load_date_model() if model is None else model
    with _evaluation(model), torch.no_grad():
        tokens = greedy_decode(model, source.to(_device(model)), start=START, end=END, max_len=MAX_TARGET)
        target = torch.cat([tokens.new_full((1, 1), START), tokens[:, :-1]], dim=1)
        logits, weights = model(source.to(_device(model)), target, need_weights=True)
    folded, answer = fold(text), decode_target(tokens)[0]
    probabilities = logits[0].softmax(dim=-1).cpu()  # (1, T_t, target_vocab) -> (T_t, target_vocab)
    return DateReading(
        text=folded,
        answer=answer,
        probabilities=probabilities,
        doubts=find_doubts(folded, answer, _probability(probabilities)),
        weights=weights.cross[-1][0].cpu(),  # of the last layer: (1, num_heads, T_t, T_s) -> (num_heads, T_t, T_s)
        source_tokens=list(folded.replace(" ", "␣")),
        target_tokens=[TARGET_TOKENS[token] for token in tokens[0].tolist()],
    )


def _probability(probabilities: Float[Tensor, "T_t target_vocab"]) -> float:
    """Of the likeliest token in every row at once."""
    return probabilities.amax(dim=-1).prod().item()


def load_date_model(path: Path | str | None = None, *, variant: int = 7) -> Transformer:
    """Load trained weights.

    Parameters
    ----------
    path : path, optional
        A file that `save_date_model` wrote; by default the one that comes with the package.
    variant : int, default 7
        Which of the seven attends.

    Returns
    -------
    model : Transformer
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or cut off, or does not fit the model; the error names the tensor.
    """
    model = date_model(variant=variant)
    load_checkpoint(model, CHECKPOINT if path is None else path, made_by="make dates")
    return model.eval()


def save_date_model(model: Transformer, path: Path | str, about: Mapping[str, Any]) -> None:
    """Store trained weights, and what is to be known about them, in a safetensors file.

    Parameters
    ----------
    model : Transformer
        From `date_model`, trained.
    path : Path or str
        The file; what is there is replaced.
    about : mapping of str to anything that JSON can hold
        The settings of the training, and the accuracy on unseen dates.
    """
    save_checkpoint(model, path, about)


def about_date_model(path: Path | str | None = None) -> dict[str, Any]:
    """Tell what is known about stored weights: how they were trained, and their accuracy on unseen dates.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `load_date_model`; a file without such knowledge is an error too.
    """
    return about_checkpoint(CHECKPOINT if path is None else path, made_by="make dates")


def _answer(model: Transformer, questions: Sequence[str]) -> list[str]:
    source = encode_source(questions).to(_device(model))
    with _evaluation(model):
        return decode_target(greedy_decode(model, source, start=START, end=END, max_len=MAX_TARGET))


@contextmanager
def _evaluation(model: Transformer) -> Iterator[None]:
    """Put the model into evaluation mode, and back."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def _device(model: Transformer) -> torch.device:
    return next(model.parameters()).device


def _schedule(progress: float) -> float:
    """From 0 to 1 over the first tenth, back to 0 over the rest."""
    return min(progress / 0.1, (1.0 - progress) / 0.9)


def _keep(
    path: Path, settings: dict[str, Any], model: Transformer, optimizer: torch.optim.Optimizer, losses: list[float]
) -> None:
    """Write beside the file, then move: whenever it is interrupted, there is a whole one."""
    beside = path.with_name(f"{path.name}.new")
    parts = {"settings": settings, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
    torch.save(parts, beside)
    beside.replace(path)


def _resume(path: Path, settings: dict[str, Any], model: Transformer, optimizer: torch.optim.Optimizer) -> list[float]:
    """Put model and optimizer where they were, and return the losses so far."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path} to go on from; start without resuming.")
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        kept = None
    if not isinstance(kept, dict) or kept.keys() != {"settings", "model", "optimizer", "losses"}:
        raise ValueError(f"{path.name} keeps no training: it is damaged or something else.")
    for name, value in settings.items():
        if kept["settings"][name] != value:
            raise ValueError(f"{path.name} is of a training with {name} = {kept['settings'][name]}; got {value}.")
    check_fit(model, kept["model"], path)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    losses: list[float] = kept["losses"]
    return losses
