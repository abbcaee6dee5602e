"""How fast a language model writes and what training holds: equal first, then in turn; data, tables and the command."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import attention_variants as av
from attention_variants import cli
from attention_variants.lab.bench import decoding, run
from attention_variants.lab.bench.bounds import bounds
from attention_variants.lab.bench.decoding import (
    TRANSFORMERS,
    WITH_CACHE,
    WITHOUT_CACHE,
    measure_decoding,
    measure_kept,
)
from attention_variants.lab.bench.machine import describe_machine
from attention_variants.lab.bench.reasons import Why
from attention_variants.lab.bench.result import Bench, Curve, Decoding, Result
from attention_variants.lab.bench.run import Run, bench
from attention_variants.lab.bench.training import WAYS, measure_training
from attention_variants.lab.bench.workloads import Writing, writings

TINY = Writing(d_model=16, layers=2, heads=4, key_heads=2, d_ff=24, tokens=6, vocabulary=11, prompt=3)
NAMES = [WITH_CACHE, WITHOUT_CACHE, TRANSFORMERS]


@pytest.fixture(scope="module")
def measured():
    return measure_decoding(TINY, rounds=2)


def test_all_three_are_equal_and_timed_in_every_round(measured):
    assert [result.name for result in measured.results] == NAMES
    for result in measured.results:
        assert result.equal
        assert result.reason is None
        assert len(result.seconds) == 2
        assert measured.per_second(result.name) == pytest.approx(TINY.tokens / result.median)


def test_it_survives_json(measured, tmp_path):
    whole = Run(describe_machine(), decoding=[measured], kept=measure_kept(TINY), training=measure_training((8, 16)))
    whole.save(tmp_path)
    assert Bench.load(tmp_path) == Bench(**vars(whole))
    text = repr(whole)
    for words in ("Tokens a second: d_model=16", "What the caches keep", "flash_attention", "x transformers"):
        assert words in text


def test_the_threads_are_as_before(measured):
    before = torch.get_num_threads()
    measure_decoding(TINY, rounds=1)
    assert torch.get_num_threads() == before


def test_a_model_that_writes_something_else_is_not_timed(monkeypatch):
    """The cache of a model that forgets its positions: every new token stands at 0."""

    def forgets(self, tokens, cache=None):
        if cache is not None and tokens.shape[1] == 1:
            cache = [replaced(one) for one in cache]
        return forward(self, tokens, cache)

    def replaced(cache):
        class AtZero(type(cache)):
            seen = 0

        cache.__class__ = AtZero
        return cache

    forward = av.LanguageModel.forward
    monkeypatch.setattr(av.LanguageModel, "forward", forgets)
    found = measure_decoding(TINY, rounds=1)
    assert found[WITH_CACHE].reason.code == Why.NOT_EQUAL
    assert not found.was_timed(WITH_CACHE)
    assert found.was_timed(WITHOUT_CACHE)
    assert not Bench({}, decoding=[found]).all_equal


def test_what_would_take_too_long_is_not_timed_and_says_so():
    found = measure_decoding(TINY, rounds=1, longest=0.0)
    assert {result.reason.code for result in found.results} == {Why.TAKES_TOO_LONG}
    assert "would take about" in str(found[WITH_CACHE].reason)
    assert found.all_equal


def test_without_transformers_ours_are_timed(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(decoding.importlib, "import_module", missing)
    found = measure_decoding(TINY, rounds=1)
    assert found[TRANSFORMERS].reason.code == Why.NOT_INSTALLED
    assert [result.name for result in found.timed] == NAMES[:2]


def test_the_rounds_are_interleaved(monkeypatch):
    calls = []
    monkeypatch.setattr(decoding, "_first", lambda *given: 0.0)
    names = {}

    def checked(model, writing):
        results, writers = original(model, writing)
        names.update({write: name for name, write in writers.items()})
        return results, writers

    original = decoding._checked
    monkeypatch.setattr(decoding, "_checked", checked)
    monkeypatch.setattr(decoding, "_seconds", lambda write, *given: calls.append(names[write]) or 1.0)
    measure_decoding(TINY, rounds=3)
    a, b, c = NAMES
    assert calls == [a, b, c, b, c, a, c, a, b]


@pytest.mark.parametrize("rounds", [0, -1])
def test_less_than_one_round_is_refused(rounds):
    with pytest.raises(ValueError, match=f"at least 1; got {rounds}"):
        measure_decoding(TINY, rounds=rounds)


def test_a_text_needs_tokens():
    with pytest.raises(ValueError, match="tokens = 0"):
        replace(TINY, tokens=0)


# ----------------------------------------------------------------------------------------------------- what is kept


def test_what_is_kept_is_counted_on_paper_too():
    """Key and value, layers, heads, width, 4 bytes; the token written last is not kept."""
    kept = measure_kept(TINY)
    assert [one.key_heads for one in kept] == [1, 2, 4]
    for one in kept:
        assert one.bytes == 2 * TINY.layers * one.key_heads * 4 * (TINY.prompt + TINY.tokens - 1) * 4
        assert one.per_token == 2 * TINY.layers * one.key_heads * 4 * 4


def test_transformers_keeps_as_much():
    from transformers import DynamicCache

    cache = DynamicCache()
    tokens = TINY.beginning()
    with torch.inference_mode():
        TINY.model().to_llama().eval()(tokens, past_key_values=cache, use_cache=True)
    theirs = sum(x.numel() * 4 for layer in cache.layers for x in (layer.keys, layer.values))
    (ours,) = measure_kept(replace(TINY, tokens=1), key_heads=[TINY.key_heads])
    assert ours.bytes == theirs


def test_heads_that_do_not_divide_are_left_out():
    assert [one.key_heads for one in measure_kept(replace(TINY, heads=2, key_heads=1))] == [1, 2]


# ------------------------------------------------------------------------------------------------- memory in training


def test_memory_in_training_grows_with_t_where_it_is_computed_anew():
    training = measure_training((256, 512, 1024))
    assert list(training) == list(WAYS)
    exponents = {name: curve.exponent_beyond_fixed for name, curve in training.items()}
    for name in ("flash_attention", "multihead_attention_fused"):
        assert exponents[name] == pytest.approx(1.0, abs=0.15)
    for name in ("attention_masked", "multihead_attention", "attention_tiled"):
        assert exponents[name] == pytest.approx(2.0, abs=0.15)
    at_1024 = {name: curve.values[-1] / 2**20 for name, curve in training.items()}
    assert at_1024["flash_attention"] < 2.0
    assert at_1024["attention_tiled"] > 20.0


# ------------------------------------------------------------------------------------------------ tables and command


KEYS = {"cache": WITH_CACHE, "without": WITHOUT_CACHE, "transformers": TRANSFORMERS}


def made_up(writing, **seconds):
    results = [Result(name, "", {"logits": 0.0}, seconds=list(seconds[key])) for key, name in KEYS.items()]
    return Decoding(writing, results)


def test_the_bound_is_that_of_the_small_model_in_a_full_run():
    small, large = writings()[0], writings()[-1]
    assert (small.d_model, large.d_model) == (64, 512)
    found = [made_up(writing, cache=[1.0], without=[9.0], transformers=[1.4]) for writing in (small, large)]
    asked = {bound.what: bound.met for bound in bounds(Bench({}, decoding=found[:1]))}
    assert asked == {"no cache / cache": None, "transformers / cache": False}
    assert not any(bound.asked for bound in bounds(Bench({}, decoding=found[1:])))
    assert not any(bound.asked for bound in bounds(Bench({}, quick=True, decoding=found)))


def test_the_command_prints_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "writings", lambda *, is_quick: [TINY])
    monkeypatch.setattr(run, "LENGTHS", (8, 16))
    arguments = ["bench", "--parts", "decoding,training", "--rounds", "1", "--json", "--out", str(tmp_path)]
    assert cli.main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [result["name"] for result in printed["decoding"][0]["results"]] == NAMES
    assert [one["key_heads"] for one in printed["kept"]] == [1, 2, 4]
    assert printed["training"]["flash_attention"]["lengths"] == [8, 16]


def test_a_run_that_was_stored_before_has_no_such_parts(tmp_path):
    data = Bench({}).to_dict()
    for part in ("decoding", "kept", "training"):
        del data[part]
    (tmp_path / "bench.json").write_text(json.dumps(data))
    assert Bench.load(tmp_path) == Bench({})


def test_parts_are_those_that_there_are():
    with pytest.raises(ValueError, match="parts must be among races, growth, shares, decoding, training, compile"):
        bench(parts=["writing"])


def test_a_curve_of_two_lengths_has_no_exponent_in_the_table():
    assert "nan" not in repr(Run(describe_machine(), training={"x": Curve([8, 16], [1.0, 2.0])}))


# ------------------------------------------------------------------------------------------------- the stored run

STORED = Path(__file__).resolve().parents[1] / "assets" / "bench" / "decoding"


def test_the_stored_run_is_whole_and_its_bounds_are_what_the_code_makes_of_it():
    stored = Bench.load(STORED)
    assert stored.all_equal
    assert not stored.quick
    assert [one.writing for one in stored.decoding] == writings()
    for one in stored.decoding:
        assert one.was_timed(WITH_CACHE)
        assert one.was_timed(TRANSFORMERS)
        for result in one.results:
            assert len(result.seconds) >= 3 or result.reason.code == Why.TAKES_TOO_LONG
    written = json.loads((STORED / "bench.json").read_text(encoding="utf-8"))
    assert written["bounds"] == json.loads(json.dumps([asdict(bound) for bound in bounds(stored)]))


def test_the_readme_tells_what_the_stored_run_measured():
    stored, readme = Bench.load(STORED), (STORED.parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"| model, {stored.caption} |" in readme
    for one in stored.decoding:
        begins = f"| d_model {one.writing.d_model}, {one.writing.layers} layers | {one.writing.tokens} "
        (row,) = (line for line in readme.splitlines() if line.startswith(begins))
        assert f"| {one.per_second(WITH_CACHE):,.0f} |" in row
        for name in (WITHOUT_CACHE, TRANSFORMERS):
            if one.was_timed(name):
                assert f"| {one.ratio(name, to=WITH_CACHE).median:.2f} |" in row
    a_token = [f"{one.per_token:,.0f}" for one in stored.kept if one.writing.d_model > 64]
    assert f"keeps {', '.join(a_token)} bytes" in " ".join(readme.split())
    for name in ("attention_masked", "attention_tiled", "flash_attention"):
        curve = stored.training[name]
        assert f"{curve.values[curve.lengths.index(1024)] / 2**20:.1f} " in readme
