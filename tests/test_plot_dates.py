"""Where the date model looked, drawn in the terminal and as a figure, and the command that does it."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from rich.console import Console

from attention_variants.cli import main
from attention_variants.lab.plots.dates import plot_probabilities, plot_reading, reading_table
from attention_variants.model.date_model import DateReading, read_date
from attention_variants.model.dates import TARGET_TOKENS

pytestmark = pytest.mark.slow

H, T_T, T_S = 2, 3, 5


@pytest.fixture
def reading() -> DateReading:
    weights = torch.zeros(H, T_T, T_S)
    weights[:, 0, 4] = 1.0  # both heads
    weights[0, 1, 0] = 1.0  # one of two
    weights[1, 1, 1] = 1.0
    weights[:, 2, 2], weights[:, 2, 3] = 0.25, 0.75
    probabilities = torch.zeros(T_T, len(TARGET_TOKENS))
    for t, token in enumerate("12⏎"):
        probabilities[t, TARGET_TOKENS.index(token)] = 0.6 + 0.1 * t
        probabilities[t, TARGET_TOKENS.index("-")] = 0.4 - 0.1 * t
    return DateReading("a b c", "12", probabilities, (), weights, list("a␣b␣c"), list("12⏎"))


def printed(renderable) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue().splitlines()


def test_the_terminal_shows_the_mean_of_the_heads(reading):
    lines = printed(reading_table(reading))
    assert lines[0].split() == list("a␣b␣c")
    shades = [[line[3 + 2 * j] if len(line) > 3 + 2 * j else " " for j in range(T_S)] for line in lines[1:]]
    assert shades == [[*"    █"], [*"▒▒   "], [*"  ░▓ "]]
    assert [line[0] for line in lines[1:]] == list("12⏎")


def test_every_character_stands_above_its_column(reading):
    lines = printed(reading_table(reading))
    for j in range(T_S):
        assert lines[0][3 + 2 * j] == "a␣b␣c"[j]


def test_the_figure_draws_each_head(reading):
    figure = plot_reading(reading)
    for h in range(H):
        ax = figure.axes[h]
        np.testing.assert_array_equal(ax.images[0].get_array(), reading.weights[h])
        assert ax.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list("12⏎")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == list("a␣b␣c")
    assert [ax.get_xlabel() for ax in figure.axes[:H]] == ["the question"] * H
    assert figure.axes[0].get_ylabel() == "what it is about to write"
    plt.close(figure)


def test_the_probabilities_are_drawn_as_they_are(reading):
    figure = plot_probabilities(reading)
    (ax,) = figure.axes
    (image,) = ax.images
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == list("-0123456789⏎")
    columns = [TARGET_TOKENS.index(token) for token in labels]
    np.testing.assert_array_equal(image.get_array(), reading.probabilities[:, columns].numpy())
    assert image.get_clim() == (0, 1)
    assert [text.get_text() for text in ax.get_yticklabels()] == list("12⏎")
    assert [text.get_text() for text in ax.texts] == ["0.6000", "0.7000", "0.8000"]
    plt.close(figure)


def test_dates_prints_the_answer_and_where_the_model_looked(capsys):
    assert main(["dates", "Mar 12th, '98"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1998-03-12"
    assert lines[1].startswith("probability 0.99")
    assert "".join(lines[2].split()) == "mar␣12th,␣'98"
    assert [line[0] for line in lines[3:]] == list("1998-03-12⏎")


def test_dates_takes_unquoted_words_and_prints_the_answer_alone(capsys):
    assert main(["dates", "--plain", "12", "March", "1998"]) == 0
    assert capsys.readouterr().out == "1998-03-12\n"


def test_dates_says_what_speaks_against_an_answer(capsys):
    assert main(["dates", "31 Feb 1998"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1998-02-31"
    assert [line.split()[0] for line in lines[1:4]] == ["probability", "in", "in"]
    assert "".join(lines[4].split()) == "31␣feb␣1998"
    assert main(["dates", "--plain", "31 Feb 1998"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "1998-02-31\n"
    assert printed.err.splitlines()[-1] == "in doubt: the answer is not a date"


def test_dates_runs_any_variant(capsys):
    assert main(["dates", "--plain", "--variant", "2", "1.2.29"]) == 0
    assert capsys.readouterr().out == "2029-02-01\n"


def test_dates_draws_a_figure(tmp_path, capsys):
    path = tmp_path / "out.png"
    assert main(["dates", "12 mars 1998", "--figure", str(path)]) == 0
    answer, probability, where = capsys.readouterr().out.splitlines()
    assert (answer, where) == ("1998-03-12", f"where each head looked: {path}")
    assert probability.startswith("probability 0.99")
    assert main(["dates", "12 mars 1998", "--plain", "--figure", str(path)]) == 0
    assert capsys.readouterr().out == "1998-03-12\n"
    height, width, _ = plt.imread(path).shape
    assert width > 600
    assert height > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["12 Мар 98"], "does not know the character 'м'"),
        ([""], "at least one character"),
        (["1" * 41], "at most 40 characters; got 41"),
        (["1.2.98", "--variant", "8"], "1 to 7"),
        (["1.2.98", "--figure", "out.xyz"], "xyz"),
        (["1.2.98", "--figure", "no/such/folder/out.png"], "No such file"),
    ],
)
def test_dates_says_in_one_line_what_is_wrong(arguments, words, capsys):
    assert main(["dates", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("attention-variants dates: ")
    assert words in error
    assert error.count("\n") == 1


def test_the_answer_is_that_of_the_model():
    assert read_date("Mar 12th, '98").answer == "1998-03-12"
