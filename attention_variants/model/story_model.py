"""A language model that is trained while you watch: it recalls what was told, and grows induction heads.

Its weights come with the package; ``make stories`` makes them anew.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attention_variants.variants.checks import check_count, check_kind, check_number, check_seed

from .checkpoint import about_checkpoint, load_checkpoint, save_checkpoint
from .language_model import LanguageModel, LanguageModelConfig
from .stories import WORDS, Known, repeated_words, story_corpus

#: The weights that come with the package.
CHECKPOINT = Path(__file__).parents[1] / "data" / "stories.safetensors"
LENGTH = 64
#: How they were trained.
TRAINING: dict[str, Any] = {"steps": 800, "batch_size": 64, "learning_rate": 3e-3, "seed": 0}
#: Of the texts, this share is random words that repeat: stories alone give no induction head in this time.
REPEATED = 0.75
_TEXTS = 16_384
_UNSEEN = 10_000_000  # seeds from here on are not those of a training


def story_model(*, seed: int = 0) -> LanguageModel:
    """Make the untrained model: two layers of two heads, which share one head of keys.

    Parameters
    ----------
    seed : int, default 0
        Of the weights that are drawn. Your own random numbers stay as you seeded them.

    Returns
    -------
    model : LanguageModel
        In training mode.
    """
    config = LanguageModelConfig(
        vocab_size=len(WORDS),
        d_model=64,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        d_ff=176,
        max_len=LENGTH,
        tied=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(config)
        _draw_weights(model)
    return model


def check_story_model(caller: str, model: LanguageModel) -> None:
    """Raise a ValueError for a `LanguageModel` of another language."""
    if isinstance(model, LanguageModel) and model.config.vocab_size != len(WORDS):
        raise ValueError(
            f"{caller}: model must know the {len(WORDS)} words of the language of stories, as story_model() does; "
            f"this one has {model.config.vocab_size} tokens."
        )


@torch.no_grad()
def _draw_weights(model: LanguageModel) -> None:
    """Draw the weights so that heads look near at first.

    A score is a number for each distance, times what query and key have in common. The words begin with much in common
    and queries begin as keys: then the highest score is that of distance 0, and the next ones those of the neighbours.
    Drawn so, seven seeds of eight had an induction head with a score above 0.9, and all eight recalled everything. With
    queries drawn on their own, one seed of five looked at the word before; three settled two to four words back; one
    had learned nothing after 500 steps. With all weights small, as in GPT-2 (normal, of standard deviation 0.02), five
    of five had an induction head (0.87 to 0.94).
    """
    for name, weight in model.named_parameters():
        if name == "embedding.weight":
            weight.normal_(std=0.02).add_(0.04 * torch.randn(weight.shape[1]))
        elif weight.ndim == 2:
            weight.normal_(std=0.7 * weight.shape[1] ** -0.5)
            if name.endswith(("w_o.weight", "w_down.weight")):
                weight.div_(math.sqrt(2 * len(model.layers)))  # they add up over the layers
    for layer in model.layers:
        attention: Any = layer.attention
        attention.w_q.weight.copy_(attention.w_k.weight.repeat(attention.num_heads // attention.num_kv_heads, 1))


def train_stories(
    model: LanguageModel,
    *,
    steps: int = TRAINING["steps"],
    batch_size: int = TRAINING["batch_size"],
    learning_rate: float = TRAINING["learning_rate"],
    seed: int = TRAINING["seed"],
) -> Iterator[float]:
    """Train on texts of the language; go through it with a ``for`` loop, which sees the loss of each step.

    No loss is taken on the first pass through random words: nobody can know them.

    Parameters
    ----------
    model : LanguageModel
        From `story_model`; changed in place.
    steps : int
        How many. The learning rate rises over the first 100 of them and falls along a cosine over all.
    batch_size : int
        Texts in a step.
    learning_rate : float
        The highest learning rate, of the optimizer AdamW.
    seed : int
        Decides the texts, and which of them a step sees.

    Yields
    ------
    loss : float
        The cross-entropy of a step, in nats a word.

    References
    ----------
    Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization". arXiv:1711.05101
    """
    check_kind("train_stories", "model", model, LanguageModel)
    check_story_model("train_stories", model)
    check_count("train_stories", "steps", steps, least=0)
    check_count("train_stories", "batch_size", batch_size)
    check_number("train_stories", "learning_rate", learning_rate, above=0.0)
    check_seed("train_stories", seed)
    words, known = story_corpus(_TEXTS, LENGTH, seed=seed, repeated=REPEATED)
    counts = (known[:, 1:] != Known.FREE) | (known[:, 1:] == Known.GRAMMAR).any(dim=1, keepdim=True)
    chance = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    model.train()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        batch = torch.randint(len(words), (batch_size,), generator=chance)
        logits, _ = model(words[batch, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1), words[batch, 1:].flatten(), reduction="none")
        counted = counts[batch].flatten()
        loss = losses[counted].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()
    model.eval()


def load_story_model(path: Path | str | None = None) -> LanguageModel:
    """Load trained weights.

    Parameters
    ----------
    path : path, optional
        A file that `save_story_model` wrote; by default the one that comes with the package.

    Returns
    -------
    model : LanguageModel
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or cut off, or does not fit the model; the error names the tensor.
    """
    model = story_model()
    load_checkpoint(model, CHECKPOINT if path is None else path, made_by="make stories")
    return model.eval()


def save_story_model(model: LanguageModel, path: Path | str, about: Mapping[str, Any]) -> None:
    """Store trained weights, and what is to be known about them, in a safetensors file.

    Parameters
    ----------
    model : LanguageModel
        From `story_model`, trained.
    path : Path or str
        The file; what is there is replaced.
    about : mapping of str to anything that JSON can hold
        The settings of the training, and what was measured.
    """
    save_checkpoint(model, path, about)


def about_story_model(path: Path | str | None = None) -> dict[str, Any]:
    """Tell what is known about stored weights: how they were trained, and what was measured in which step.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `load_story_model`; a file without such knowledge is an error too.
    """
    return about_checkpoint(CHECKPOINT if path is None else path, made_by="make stories")


@torch.no_grad()
def story_recall(model: LanguageModel, count: int = 256, *, seed: int = _UNSEEN) -> dict[str, float]:
    """Measure on unseen stories how often the likeliest word is the right one.

    Parameters
    ----------
    model : LanguageModel
        From `story_model`.
    count : int, default 256
        How many stories.
    seed : int
        Of the stories.

    Returns
    -------
    accuracy : dict of str to float
        For the words that were told, by what they tell ("colour", "thing", "place"), and for those that the sentence
        asks for ("grammar").
    """
    check_story_model("story_recall", model)
    check_count("story_recall", "count", count)
    words, known = story_corpus(count, LENGTH, seed=seed)
    right = model(words[:, :-1])[0].argmax(dim=-1) == words[:, 1:]
    kinds = (Known.COLOUR, Known.THING, Known.PLACE, Known.GRAMMAR)
    return {kind.name.lower(): right[known[:, 1:] == kind].double().mean().item() for kind in kinds}


class Induction(NamedTuple):
    """What `induction_scores` found.

    Attributes
    ----------
    repeated : Tensor of shape (num_layers, num_heads)
        The mean weight that each head puts on the word after the last time the present word stood there, in random
        words that repeat.
    pairs : Tensor of shape (num_layers, num_heads)
        The same in pairs of words that come again in another order: no distance helps there, only the word itself.
    previous : Tensor of shape (num_layers, num_heads)
        The mean weight on the word just before.
    accuracy : float
        How often the likeliest word is the repeated one.
    """

    repeated: Float[Tensor, "num_layers num_heads"]
    pairs: Float[Tensor, "num_layers num_heads"]
    previous: Float[Tensor, "num_layers num_heads"]
    accuracy: float


@torch.no_grad()
def induction_scores(model: LanguageModel, count: int = 64, *, period: int = 24, seed: int = _UNSEEN) -> Induction:
    """Find the induction heads by measuring, not by looking at pictures.

    Parameters
    ----------
    model : LanguageModel
    count : int, default 64
        How many texts of each kind.
    period : int, default 24
        After how many words they repeat; even.
    seed : int
        Of the texts.

    Returns
    -------
    scores : Induction

    References
    ----------
    Olsson et al. (2022), "In-context Learning and Induction Heads", section "Key concepts". arXiv:2209.11895
    """
    check_story_model("induction_scores", model)
    check_count("induction_scores", "count", count)
    check_count("induction_scores", "period", period, least=2)
    if period % 2 or period >= len(WORDS):
        raise ValueError(
            f"induction_scores: period must be even, for its words are paired, and less than {len(WORDS)}, for they "
            f"all differ; got {period}."
        )
    rng = random.Random(seed)
    words = torch.tensor([repeated_words(rng, 2 * period + 1, period)[0] for _ in range(count)])
    logits, weights = model(words)
    query = torch.arange(period + 1, 2 * period)  # the second time a word stands there
    repeated = torch.stack([w[:, :, query, query - period + 1].mean(dim=(0, 2)) for w in weights])
    previous = torch.stack([w[:, :, query, query - 1].mean(dim=(0, 2)) for w in weights])
    accuracy = (logits[:, query].argmax(dim=-1) == words[:, query + 1]).double().mean().item()

    texts = torch.tensor([_shuffled_pairs(rng, period // 2) for _ in range(count)])
    _, weights = model(texts)
    firsts = torch.arange(period + 1, 2 * period + 1, 2)  # the first word of each pair, the second time
    before = (
        texts[:, None, 1 : period + 1] == texts[:, firsts, None]
    )  # (count, period / 2, period): where it stood before
    item, after = torch.arange(count)[:, None], before.int().argmax(dim=-1) + 2
    pairs = torch.stack([w[item, :, firsts, after].mean(dim=(0, 1)) for w in weights])
    return Induction(repeated, pairs, previous, accuracy)


def _shuffled_pairs(rng: random.Random, pairs: int) -> list[int]:
    """Pairs of words, and then the same pairs in another order."""
    words = rng.sample(range(1, len(WORDS)), 2 * pairs)
    order = rng.sample(range(pairs), pairs)
    return [0, *words, *(word for pair in order for word in words[2 * pair : 2 * pair + 2])]
