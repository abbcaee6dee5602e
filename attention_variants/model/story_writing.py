"""Writing with the model of stories: word by word, with what each word was drawn from and where the heads looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attention_variants.variants.checks import check_count, check_kind

from .language_model import LanguageModel
from .sampling import stream
from .stories import START, WORDS, encode_words
from .story_model import check_story_model, load_story_model

__all__ = ["WrittenWord", "write_story"]


@dataclass(frozen=True)
class WrittenWord:
    """A word, what it was drawn from, and where the heads looked for it.

    Attributes
    ----------
    word : str
    before : tuple of str
        All words before it. The first is ``"<s>"``, with which every text begins.
    probability : float
        What the model gave the word, at temperature 1 and with nothing left out.
    model_probabilities : Tensor of shape (vocab_size)
        What it gave each word, in the order of `attention_variants.model.stories.WORDS`.
    drawn_from : Tensor of shape (vocab_size)
        The same after temperature, top-k and top-p.
    weights : Tensor of shape (num_layers, num_heads, T)
        Where each head of each layer looked, among the words before.
    """

    word: str
    before: tuple[str, ...]
    probability: float
    model_probabilities: Float[Tensor, " vocab_size"]
    drawn_from: Float[Tensor, " vocab_size"]
    weights: Float[Tensor, "num_layers num_heads T"]


def write_story(
    text: str = "",
    model: LanguageModel | None = None,
    *,
    words: int = 20,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    use_cache: bool = True,
    seed: int | None = 0,
) -> Iterator[WrittenWord]:
    """Go on with a text, and hand over each word as soon as it is there.

    Parameters
    ----------
    text : str
        How the story begins, such as "we gave anna red balls ."; may be empty.
    model : LanguageModel, optional
        One of this language; by default the one that comes with the package.
    words : int, default 20
        How many to write.
    temperature, top_k, top_p, use_cache
        As `stream` takes them.
    seed : int, optional
        The same seed gives the same words; with None, every call draws anew.

    Yields
    ------
    written : WrittenWord

    Raises
    ------
    TypeError
        If the text is not a string, or the model not a `LanguageModel`.
    ValueError
        If the text has a word that the language does not have, or an option is out of its range.

    Warns
    -----
    UserWarning
        When the text grows longer than those of the training.

    Examples
    --------
    >>> from itertools import islice
    >>> story = write_story("we gave anna red balls . we gave anna", temperature=0)
    >>> [written.word for written in islice(story, 3)]
    ['red', 'balls', '.']
    """
    check_kind("write_story", "text", text, str)
    check_count("write_story", "words", words, least=0)
    if model is not None:
        check_kind("write_story", "model", model, LanguageModel)
        check_story_model("write_story", model)
    numbers = encode_words(f"{START} {text}")
    before = [WORDS[number] for number in numbers]
    written_tokens = stream(
        load_story_model() if model is None else model,
        torch.tensor([numbers]),
        words,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        use_cache=use_cache,
        seed=seed,
    )
    for written in written_tokens:
        number, shares = int(written.token), written.logits[0].softmax(dim=-1)
        yield WrittenWord(
            WORDS[number],
            tuple(before),
            float(shares[number]),
            shares,
            written.probabilities[0],
            torch.stack(written.weights)[:, 0],  # of the one text: (num_layers, B, H, T) -> (num_layers, H, T)
        )
        before.append(WORDS[number])
