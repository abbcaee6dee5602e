"""A small language, made from a seed, in which one knows of every word whether it follows from what was told.

A story is about two to four people. Each has a colour, a thing, an animal and a place, which never change and are
told again and again: "we gave anna red balls . near the fish market we met tom .". The second time, the words that say
what somebody has are no longer free: who looks back finds them, right after the word that they belong to.

Other texts are random words that come again, as a whole or in pieces in another order: nothing helps there but looking
back to where the last word stood before, and taking the word after it. A head that does so is an induction head. Pieces
are there because a text that repeats as a whole can be continued by distance alone: whoever looks 23 places back is
right for every period that divides 24.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import IntEnum

import torch
from jaxtyping import Int
from torch import Tensor

START = "<s>"
NAMES = "anna tom mia ben lena max ida paul nora leo emma finn lucy sam ella hugo".split()
COLOURS = "red blue green yellow black white pink brown".split()
THINGS = "balls boxes hats books cups kites lamps drums bells coats rings boats dolls keys bags chairs".split()
ANIMALS = "dog cat horse bird fish rabbit mouse cow".split()
PLACES = "garden kitchen school park market forest shop station".split()
OTHERS = ". we gave near the met likes".split()
#: All words; the number of a word is its place here.
WORDS = (START, *OTHERS, *NAMES, *COLOURS, *THINGS, *ANIMALS, *PLACES)

_NUMBER = {word: number for number, word in enumerate(WORDS)}
_SLOTS = {"colour": COLOURS, "thing": THINGS, "animal": ANIMALS, "place": PLACES}


class Known(IntEnum):
    """What a reader of the text so far can know of a word."""

    GRAMMAR = 0  # the sentence asks for it
    FREE = 1  # nobody can know it
    COLOUR = 2  # it was told: the colour of this person
    THING = 3  # it was told: the thing of this person
    PLACE = 4  # it was told: the place of this animal
    REPEATED = 5  # it stood after the same word before


def encode_words(text: str) -> list[int]:
    """Turn a text into the numbers of its words; capitals and the places of full stops do not matter.

    Parameters
    ----------
    text : str
        Such as "we gave anna red balls .".

    Returns
    -------
    numbers : list of int
        One for each word, without a start.

    Raises
    ------
    ValueError
        For a word that the language does not have; the error lists those it has.
    """
    words = text.lower().replace(".", " . ").split()
    unknown = [word for word in words if word not in _NUMBER]
    if unknown:
        raise ValueError(f"the language of stories has no word {unknown[0]!r}; it has: {' '.join(sorted(WORDS[1:]))}.")
    return [_NUMBER[word] for word in words]


def decode_words(numbers: Sequence[int]) -> str:
    """Turn numbers of words into a text.

    Parameters
    ----------
    numbers : sequence of int
        As `encode_words` gives them.

    Returns
    -------
    text : str
        The words with spaces between them.
    """
    return " ".join(WORDS[number] for number in numbers)


def story(rng: random.Random, length: int) -> tuple[list[int], list[int]]:
    """Tell a story.

    Parameters
    ----------
    rng : random.Random
        Decides everything that is free.
    length : int
        How many words; the last sentence may be cut.

    Returns
    -------
    words : list of int
        From `START` on.
    known : list of int
        For each word, what could be `Known` of it.
    """
    people = rng.sample(NAMES, rng.randint(2, 4))
    # Nobody has what another has: then each told word follows from the words before it.
    has = {slot: dict(zip(people, rng.sample(words, len(people)), strict=True)) for slot, words in _SLOTS.items()}
    told: set[tuple[str, str]] = set()
    words, known = [START], [int(Known.GRAMMAR)]

    def say(text: str, what: Known = Known.GRAMMAR) -> None:
        for word in text.split():
            words.append(word)
            known.append(int(what))

    def tell(slot: str, person: str, what: Known) -> None:
        say(has[slot][person], what if (slot, person) in told else Known.FREE)
        told.add((slot, person))

    while len(words) < length:
        person, kind = rng.choice(people), rng.random()
        if kind < 0.7:
            say("we", Known.FREE)
            say("gave")
            say(person, Known.FREE)
            tell("colour", person, Known.COLOUR)
            tell("thing", person, Known.THING)
        elif kind < 0.85:
            say("near", Known.FREE)
            say("the")
            say(has["animal"][person], Known.FREE)
            tell("place", person, Known.PLACE)
            say("we met")
            say(person, Known.FREE)
        else:
            say(person, Known.FREE)
            say("likes the")
            say(has["animal"][person], Known.FREE)
        say(".")
    return encode_words(" ".join(words[:length])), known[:length]


def repeated_words(rng: random.Random, length: int, period: int | None = None) -> tuple[list[int], list[int]]:
    """Write random words, and then the same words again until the end.

    Parameters
    ----------
    rng : random.Random
    length : int
        How many words.
    period : int, optional
        After how many words they repeat; by default at random, from 3 to half of the length.

    Returns
    -------
    words : list of int
        From `START` on.
    known : list of int
        For each word, what could be `Known` of it.
    """
    period = rng.randint(3, length // 2) if period is None else period
    block = rng.sample(range(1, len(WORDS)), period)
    words = [0, *block * (length // period + 1)][:length]
    # The word that begins anew stood before, but after another word.
    known = [Known.GRAMMAR, *[Known.FREE] * (period + 1), *[Known.REPEATED] * length][:length]
    return words, [int(one) for one in known]


def repeated_pieces(
    rng: random.Random, length: int, size: int | None = None, pieces: int | None = None
) -> tuple[list[int], list[int]]:
    """Write pieces of random words again and again, each time one by chance: no distance says where to look.

    Parameters
    ----------
    rng : random.Random
    length : int
        How many words.
    size, pieces : int, optional
        How many words a piece has, two to five by default, and how many pieces there are: two at least, half of the
        time few, and at most so many that each comes about twice.

    Returns
    -------
    words, known : list of int
        As those of `repeated_words`. The first word of each piece is always free.
    """
    size = rng.randint(2, 5) if size is None else size
    if pieces is None:
        most = max(2, length // 2 // size)
        pieces = int(2 * (most / 2) ** rng.random())  # its logarithm is uniform: what comes again soon is there too
    drawn = rng.sample(range(1, len(WORDS)), size * pieces)
    words, known, seen = [0], [Known.GRAMMAR], set[int]()
    while len(words) < length:
        piece = rng.randrange(pieces)
        words += drawn[size * piece : size * (piece + 1)]
        known += [Known.FREE, *[Known.REPEATED if piece in seen else Known.FREE] * (size - 1)]
        seen.add(piece)
    return words[:length], [int(one) for one in known[:length]]


def story_corpus(
    count: int, length: int, *, seed: int, repeated: float = 0.0
) -> tuple[Int[Tensor, "count length"], Int[Tensor, "count length"]]:
    """Make many texts.

    Parameters
    ----------
    count, length : int
        How many, and how many words in each.
    seed : int
        The same seed gives the same texts.
    repeated : float, default 0.0
        The share of them that are random words which come again: a third of these as a whole, two thirds in pieces.

    Returns
    -------
    words : integer Tensor of shape (count, length)
    known : integer Tensor of shape (count, length)
        For each word, what could be `Known` of it.
    """
    rng = random.Random(seed)
    kinds, shares = (story, repeated_words, repeated_pieces), (1.0 - repeated, repeated / 3, 2 * repeated / 3)
    texts = [rng.choices(kinds, shares)[0](rng, length) for _ in range(count)]
    words, known = zip(*texts, strict=True)
    return torch.tensor(words), torch.tensor(known)
