"""The model that reads dates: what ships is as good as it says, training learns and resumes, bad files say why."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from datetime import date
from itertools import islice
from pathlib import Path

import pytest
import torch
import train_dates as script
from safetensors.torch import load_file, save_file

from attention_variants.model.date_model import (
    CHECKPOINT,
    TRAINING,
    about_date_model,
    date_accuracy,
    date_model,
    load_date_model,
    read_date,
    save_date_model,
    train_dates,
)
from attention_variants.model.dates import FORMATS, TARGET_TOKENS, date_test_set, encode_source, encode_target
from attention_variants.model.transformer import Transformer

pytestmark = pytest.mark.slow

SMALL = {"steps": 110, "batch_size": 4, "seed": 3}  # kept after steps 50, 100 and 110
# Run a script that hears Ctrl-C: where the tests run in the background, the signal would be ignored. After step 53 the
# training waits for it.
LISTENING = """
import runpy, signal, sys, time
from attention_variants.model import date_model
signal.signal(signal.SIGINT, signal.default_int_handler)
train_dates = date_model.train_dates

def waiting(*arguments, **options):
    for step, loss in enumerate(train_dates(*arguments, **options), start=1):
        yield loss
        if step == 53:
            time.sleep(100)

date_model.train_dates = waiting
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def shipped():
    return load_date_model()


# ---------------------------------------------------------------------------------------------- what ships


@pytest.mark.numeric
def test_the_shipped_model_is_as_good_as_it_says(shipped):
    about = about_date_model()
    assert list(about["accuracy"]) == [*FORMATS, "all"]
    found = date_accuracy(shipped, about["test_dates"])
    for name, share in about["accuracy"].items():
        assert found[name] == pytest.approx(share, abs=0.01), name  # another machine rounds otherwise
    assert found["all"] >= 0.99
    assert about["test_dates"] >= 300


def test_the_shipped_model_is_small(shipped):
    parameters = sum(parameter.numel() for parameter in shipped.parameters())
    assert parameters == about_date_model()["parameters"] < 200_000
    assert CHECKPOINT.stat().st_size <= 1_000_000
    assert {name: about_date_model()[name] for name in TRAINING} == TRAINING


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Mar 12th, '98", "1998-03-12"),
        ("12 March 1998", "1998-03-12"),
        ("03/04/1998", "1998-04-03"),  # the day comes first
        ("1998/3/12", "1998-03-12"),
        ("  12 MARS 1998 ", "1998-03-12"),
        ("1.2.29", "2029-02-01"),
        ("1.2.30", "1930-02-01"),
    ],
)
def test_the_shipped_model_reads(text, answer, shipped):
    assert read_date(text, shipped).answer == answer


@pytest.mark.numeric
@pytest.mark.parametrize("variant", [1, 4, 6])
def test_any_variant_reads_the_same(variant, shipped):
    reading = read_date("Mar 12th, '98", load_date_model(variant=variant))
    assert reading.answer == "1998-03-12"
    torch.testing.assert_close(reading.weights, read_date("Mar 12th, '98", shipped).weights, atol=1e-4, rtol=0)


def test_a_reading_says_where_the_model_looked(shipped):
    reading = read_date("Mar 12th, '98", shipped)
    assert reading.text == "mar 12th, '98"
    assert "".join(reading.source_tokens) == "mar␣12th,␣'98"
    assert "".join(reading.target_tokens) == "1998-03-12⏎"
    assert reading.weights.shape == (2, 11, 13)
    torch.testing.assert_close(reading.weights.sum(dim=-1), torch.ones(2, 11))
    # The month's digits come from the letters of the month, the year's last digit from its own.
    of_mar = reading.weights[:, 5:7, :3].sum(dim=-1)
    assert (of_mar > 0.8).all()
    assert (reading.weights[:, 3, 12] > 0.8).all()
    assert re.fullmatch(r"""DateReading\("mar 12th, '98" -> '1998-03-12', probability 0\.99\d\)""", repr(reading))


def test_a_reading_says_how_likely_each_character_was(shipped):
    reading = read_date("Mar 12th, '98", shipped)
    assert reading.probabilities.shape == (11, 14)
    torch.testing.assert_close(reading.probabilities.sum(dim=-1), torch.ones(11))
    assert [TARGET_TOKENS[token] for token in reading.probabilities.argmax(dim=-1)] == reading.target_tokens
    # Step by step, as it writes: from what stands there so far, the next.
    target = encode_target([date(1998, 3, 12)])[:, :-1]
    with torch.no_grad():
        for t in range(11):
            logits, _ = shipped(encode_source([reading.text]), target[:, : t + 1])
            torch.testing.assert_close(logits[0, -1].softmax(-1), reading.probabilities[t], atol=1e-4, rtol=0)
    likeliest = [row.max().item() for row in reading.probabilities]
    assert reading.probability == pytest.approx(math.prod(likeliest))
    assert reading.date == date(1998, 3, 12)
    assert reading.doubts == ()
    assert str(reading) == f"mar 12th, '98 -> 1998-03-12   probability {reading.probability:.3f}"


@pytest.mark.parametrize(
    ("text", "codes", "words"),
    [
        ("5 Sep 1850", {"year_outside", "other_date"}, "the year 1850 is not between 1930 and 2029"),
        ("hello", {"unknown_way", "unsure"}, "in none of the ten ways"),
        ("31 Feb 1998", {"no_such_day", "no_date"}, "there is no day 31 of month 2 in 1998"),
        ("12/25/1998", {"no_such_day"}, "there is no day 12 of month 25 in 1998"),
        ("Mon, 12 March 1998", {"wrong_weekday"}, "1998-03-12 is a Thursday"),
        ("2 Jan 2051", {"year_outside", "other_date"}, "the question means 2051-01-02"),
        ("12 marzec 1998", {"unknown_way"}, "in none of the ten ways"),
    ],
)
def test_a_question_outside_the_data_gets_an_answer_and_doubts(text, codes, words, shipped):
    reading = read_date(text, shipped)
    assert codes <= {doubt.code for doubt in reading.doubts}
    first, *lines = str(reading).splitlines()
    assert first.startswith(f"{text.lower()} -> {reading.answer}   probability 0.")
    assert len(lines) == len(reading.doubts)
    assert all(line.startswith("  in doubt: ") for line in lines)
    assert words in str(reading)
    assert repr(reading).endswith(" doubts)" if len(lines) > 1 else ", 1 doubt)")


def test_the_31st_of_february_is_no_date_however_sure_the_model_is(shipped):
    reading = read_date("31 Feb 1998", shipped)
    assert reading.answer == "1998-02-31"
    assert reading.probability > 0.98
    assert reading.date is None


def test_few_right_answers_are_in_doubt_and_no_wrong_one_is_not(shipped):
    right, doubted = 0, 0
    for pairs in date_test_set(40).values():
        for question, answer in pairs:
            reading = read_date(question, shipped)
            right += reading.answer == answer
            doubted += bool(reading.doubts) and reading.answer == answer
            assert reading.answer == answer or reading.doubts, question
    assert doubted <= 0.02 * right


def test_a_reading_of_an_untrained_model_has_a_token_for_each_row():
    for seed in range(4):
        reading = read_date("12.3.98", date_model(seed=seed))
        assert len(reading.target_tokens) == reading.weights.shape[1] <= 11
        assert len(reading.source_tokens) == reading.weights.shape[2] == 7
        assert "other_date" in {doubt.code for doubt in reading.doubts}


def test_reading_something_else_is_an_error():
    with pytest.raises(TypeError, match="read_date takes a text; got int"):
        read_date(19980312)


# ---------------------------------------------------------------------------------------------- training


@pytest.mark.numeric
def test_training_learns():
    model = date_model()
    losses = list(islice(train_dates(model, batch_size=32), 120))  # the beginning of the real training
    assert losses[0] > 3.0
    assert sum(losses[-10:]) / 10 < 1.2


def test_a_seed_makes_the_model_and_the_training():
    before = torch.random.get_rng_state()
    models = [date_model(seed=1), date_model(seed=1), date_model(seed=2)]
    assert torch.equal(before, torch.random.get_rng_state())
    losses = [list(train_dates(model, steps=3, batch_size=4, seed=5)) for model in models]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] != list(train_dates(date_model(seed=1), steps=3, batch_size=4, seed=6))


def test_every_step_sees_other_dates():
    losses = list(train_dates(date_model(), steps=3, batch_size=4, learning_rate=0.0))
    assert len(set(losses)) == 3  # of one model that does not change


def test_without_the_causal_mask_the_answer_is_read_off_the_input():
    model = date_model()
    losses = list(train_dates(model, steps=400, batch_size=8, is_causal=False))
    assert losses[-1] < 0.1  # it seems to have learned...
    pairs = date_test_set(2).values()
    assert not any(read_date(text, model).answer == answer for written in pairs for text, answer in written)


@pytest.mark.numeric
def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    whole = date_model()
    expected = list(train_dates(whole, **SMALL))

    state = tmp_path / "state"
    stopped = train_dates(date_model(), **SMALL, state=state)
    list(islice(stopped, 73))  # between two times that it is kept
    stopped.close()

    resumed = date_model(seed=9)  # what it begins with does not matter
    losses = list(train_dates(resumed, **SMALL, state=state, resume=True))
    assert losses == expected
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name]), name


def test_ctrl_c_keeps_the_training_and_resume_goes_on(tmp_path):
    """The command as people run it, stopped by a real signal."""
    state, out = tmp_path / "state", tmp_path / "dates.safetensors"
    options = ["--steps", "60", "--count", "1", "--threads", "1", "--state", str(state), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENING, script.__file__, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == f"stopped; {state} keeps the training, --resume goes on with it\n"
    assert not out.exists()

    assert script.main([*options, "--resume"]) == 0
    whole = date_model()
    list(train_dates(whole, steps=60))
    for name, weight in load_file(out).items():
        assert torch.equal(weight, whole.state_dict()[name]), name


def test_make_dates_prints_what_it_measured(tmp_path, capsys):
    out = tmp_path / "dates.safetensors"
    options = [
        "--steps",
        "2",
        "--count",
        "3",
        "--threads",
        "1",
        "--state",
        str(tmp_path / "deep" / "state"),
        "--out",
        str(out),
    ]
    assert script.main(options) == 0
    printed = capsys.readouterr().out
    for words in [*FORMATS, "parameters      87,552", "2 steps", "variant 6", "variant 7", "ratio", "kB"]:
        assert words in printed
    about = about_date_model(out)
    assert (about["steps"], about["test_dates"], about["parameters"]) == (2, 3, 87_552)
    assert len(about["losses"]) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 4}, "is of a training with seed = 3; got 4"),
        ({"steps": 200}, "is of a training with steps = 110; got 200"),
        ({"is_causal": False}, "is of a training with is_causal = True; got False"),
    ],
)
def test_resuming_another_training_is_an_error(changed, words, tmp_path):
    state = tmp_path / "state"
    list(islice(train_dates(date_model(), **SMALL, state=state), 51))
    with pytest.raises(ValueError, match=words):
        next(train_dates(date_model(), **{**SMALL, **changed}, state=state, resume=True))


def test_resuming_another_model_is_an_error(tmp_path):
    state, other = tmp_path / "state", Transformer(46, 14, 64, 2, 2, 128, dropout=0.0)  # one layer more
    list(islice(train_dates(date_model(), **SMALL, state=state), 51))
    with pytest.raises(
        ValueError,
        match="state does not fit the model, which has no tensor|state does not fit the model: there is no tensor",
    ):
        next(train_dates(other, **SMALL, state=state, resume=True))


def test_stopped_before_anything_is_kept(tmp_path, capsys, monkeypatch):
    def stopped(*arguments, **options):
        yield 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train_dates", stopped)
    state = tmp_path / "state"
    state.write_bytes(b"what an earlier training left")
    assert script.main(["--threads", "1", "--state", str(state)]) == 130
    assert capsys.readouterr().err == "stopped; so early that nothing was kept\n"
    assert not state.exists()


def test_the_mode_of_the_model_is_left_as_it_was():
    model = date_model()
    for step, _ in enumerate(train_dates(model, steps=2, batch_size=4)):
        assert model.training, step
        date_accuracy(model, 1)
        assert model.training
        model.eval()  # measured by hand, and not put back
        read_date("12.3.98", model)
        assert not model.training


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], "--steps must be at least 1; got 0"),
        (["--count", "0"], "count must be 1 to 3652; got 0"),
        (["--count", "4000"], "count must be 1 to 3652; got 4000"),
        (["--out", "no/such/folder/a.safetensors"], "there is no folder no/such/folder"),
    ],
)
def test_what_would_fail_after_the_training_is_refused_before_it(arguments, words, capsys, tmp_path):
    with pytest.raises(SystemExit) as error:
        script.main(["--threads", "1", "--state", str(tmp_path / "state"), *arguments])
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def test_resuming_from_nothing_is_an_error(tmp_path, capsys):
    with pytest.raises(ValueError, match="resume=True needs state="):
        next(train_dates(date_model(), resume=True))
    with pytest.raises(FileNotFoundError):
        next(train_dates(date_model(), state=tmp_path / "none", resume=True))
    (tmp_path / "state").write_bytes(b"no training")
    with pytest.raises(ValueError, match="state keeps no training"):
        next(train_dates(date_model(), state=tmp_path / "state", resume=True))
    torch.save({"model": {}}, tmp_path / "state")
    with pytest.raises(ValueError, match="state keeps no training"):
        next(train_dates(date_model(), state=tmp_path / "state", resume=True))
    assert script.main(["--resume", "--threads", "1", "--state", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------------------------------------- bad files


def changed_copy(path: Path, change) -> Path:
    tensors = load_file(CHECKPOINT)
    change(tensors)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("decoder.layers.0.cross_attention.w_q.bias"),
            "no tensor 'decoder.layers.0.cross_att.*w_q.bias'",
        ),
        (
            lambda t: t.update({"target_embedding.weight": torch.zeros(14, 32)}),
            r"'target_embedding.weight' must have shape \(14, 64\); got \(14, 32\)",
        ),
        (lambda t: t.update(extra=torch.zeros(2)), "which has no tensor 'extra'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_the_tensor(change, words, tmp_path):
    with pytest.raises(ValueError, match=f"^other.safetensors does not fit the model.*{words}"):
        load_date_model(changed_copy(tmp_path / "other.safetensors", change))


def test_a_checkpoint_that_is_cut_off_names_the_tensor(tmp_path):
    content = CHECKPOINT.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = "encoder.layers.0.feed_forward.w_1.weight"
    begin, end = header[name]["data_offsets"]
    path = tmp_path / "cut.safetensors"
    for keep in (begin + 1, end - 1):
        path.write_bytes(content[: 8 + length + keep])
        with pytest.raises(ValueError, match=rf"^cut.safetensors is damaged: it ends within the tensor '{name}'\.$"):
            load_date_model(path)
    path.write_bytes(content[: 8 + length // 2])
    with pytest.raises(ValueError, match="damaged: its header, which lists the tensors, is not whole"):
        load_date_model(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        load_date_model(path)


def test_a_file_that_says_nothing_of_itself_is_an_error(tmp_path):
    path = changed_copy(tmp_path / "silent.safetensors", lambda tensors: None)
    load_date_model(path)  # it is whole
    with pytest.raises(ValueError, match=r"silent.safetensors does not say how it was trained"):
        about_date_model(path)


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none; `make dates` trains"):
        load_date_model(tmp_path / "none")


def test_stored_and_loaded_is_the_same(tmp_path):
    model = date_model(seed=5)
    save_date_model(model, tmp_path / "a.safetensors", {"note": "é"})
    loaded = load_date_model(tmp_path / "a.safetensors")
    assert not loaded.training
    assert about_date_model(tmp_path / "a.safetensors") == {"note": "é"}
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
