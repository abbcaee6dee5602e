"""The picture of the README: made by the script, of the right size, and still what the code says."""

import importlib.util
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attention_variants.cli import main
from attention_variants.lab.examples import load_example
from attention_variants.lab.measure.compare import compare
from attention_variants.lab.plots.colors import COLORS
from attention_variants.variants import VARIANTS, attention_matmul

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "readme_picture.py"
STORED = ROOT / "assets" / "attention.png"
ANIMATION = ROOT / "assets" / "loops.png"
MAKE_FILM = "run attention-variants animate 1 assets/loops.png --scale 1"
MAX_BYTES = 300_000
SMALL = {"batch": 1, "queries": 2, "keys": 3, "d_model": 4, "heads": 2}  # as the default problem, but quick


def test_the_film_of_the_readme_is_what_its_command_makes(tmp_path):
    assert main(["animate", "1", str(tmp_path / "loops.png"), "--scale", "1"]) == 0
    with Image.open(ANIMATION) as stored, Image.open(tmp_path / "loops.png") as made:
        assert (stored.n_frames, stored.size) == (made.n_frames, made.size), MAKE_FILM
        for index in (0, 1, 40, 60, 89):
            stored.seek(index)
            made.seek(index)
            pictures = [np.asarray(animation.convert("RGB"), dtype=int) for animation in (stored, made)]
            assert np.abs(pictures[0] - pictures[1]).max() <= 16, MAKE_FILM


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("readme_picture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "compare", partial(compare, **SMALL))
        yield module


@pytest.fixture(scope="module")
def comparison(script):
    return script.compare(mask="causal", timed=False)


@pytest.fixture(scope="module")
def drawn(script, comparison):
    figure = script.draw(comparison)
    figure.draw_without_rendering()
    return figure


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    output = tmp_path_factory.mktemp("picture") / "new folder" / "picture.png"
    assert script.main(["--output", str(output)]) == 0
    return output


@pytest.mark.parametrize("which", ["made", "stored"])
def test_the_picture_fits_the_readme(which, made):
    path = made if which == "made" else STORED
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1600
        assert 800 <= picture.height <= 1000
        pixels = np.asarray(picture.convert("RGBA"))
    assert path.stat().st_size <= MAX_BYTES
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # white, not clear: a dark page shows it too
    assert (pixels[..., 3] == 255).all()
    assert (pixels[..., :3] != 255).any(axis=-1).mean() > 0.2  # and there is something on it


def test_the_stored_picture_shows_the_code_as_it_is(script):
    with Image.open(STORED) as picture:
        found = picture.text["Description"]
    assert found == script.description(), "run python scripts/readme_picture.py and store assets/attention.png"


def test_the_lines_are_as_thick_as_the_weights(drawn):
    above, _ = drawn.axes
    example = load_example("tired")
    weights = example.weights[1, example.tokens.index("it")]
    assert [arc.get_label() for arc in above.patches] == example.tokens
    thickness = np.array([arc.get_linewidth() for arc in above.patches])
    np.testing.assert_allclose(thickness / thickness.sum(), weights / weights.sum(), rtol=1e-5)

    words = [text for text in above.texts if text.get_text() in example.tokens]
    assert [text.get_text() for text in words] == example.tokens
    for text, arc in zip(words, above.patches, strict=True):
        box = text.get_window_extent()
        end = arc.get_transform().transform(arc.get_path().vertices[-1])
        assert box.x0 - 1 <= end[0] <= box.x1 + 1, text.get_text()  # each arc ends over its word
        assert end[1] > box.y1
    (query,) = [text for text in words if text.get_color() == COLORS["q"]]
    assert query.get_text() == "it"


def test_the_numbers_are_the_weights(drawn):
    above, _ = drawn.axes
    example = load_example("tired")
    weights = example.weights[1, example.tokens.index("it")].tolist()
    numbers = {}
    words = [text for text in above.texts if text.get_text() in example.tokens]
    for text in above.texts:
        if text.get_text().startswith("0."):
            middle = text.get_window_extent().x0 + text.get_window_extent().width / 2
            (over,) = [
                i
                for i, word in enumerate(words)
                if word.get_window_extent().contains(middle, words[0].get_window_extent().y0 + 1)
            ]
            numbers[over] = text.get_text()
    assert numbers == {i: f"{weight:.2f}" for i, weight in enumerate(weights) if weight > 0.03}


def test_the_staircase_shows_the_measured_errors(script, comparison, drawn):
    words = [text.get_text() for text in drawn.axes[1].texts]
    errors = [row.largest_error for row in comparison.rows if row.need_weights]
    assert len(errors) == len(VARIANTS)
    for error, function in zip(errors, VARIANTS.values(), strict=True):
        assert words[words.index(function.__name__) + 3] == script.scientific(error)  # after the phrase and the lines
    assert script.scientific(2.3e-07) == r"$2 \times 10^{-7}$"


def test_no_words_are_cut_off_or_on_top_of_others(drawn):
    texts = [text for part in [drawn, *drawn.axes] for text in part.texts]
    extents = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(extents) > 60
    for words, extent in extents:
        assert drawn.bbox.x0 <= extent.x0, words
        assert extent.x1 <= drawn.bbox.x1, words
        assert drawn.bbox.y0 <= extent.y0, words
        assert extent.y1 <= drawn.bbox.y1, words
    for (words, extent), (others, other) in itertools.combinations(extents, 2):
        assert not extent.overlaps(other), (words, others)


def test_no_picture_if_the_seven_are_not_equal(script, tmp_path, monkeypatch, capsys):
    def wrong(q, k, v):
        context, weights = attention_matmul(q, k, v)
        return 2 * context, weights

    monkeypatch.setattr(script, "compare", partial(compare, variants={**VARIANTS, 2: wrong}, **SMALL))
    assert script.main(["--output", str(tmp_path / "picture.png")]) == 1
    assert not list(tmp_path.iterdir())
    assert "not equal" in capsys.readouterr().err


def test_help_says_what_it_draws(script, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--output" in said
    assert "README" in said
