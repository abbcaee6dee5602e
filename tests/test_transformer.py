"""The Transformer around the seven: the same as PyTorch's, blind to padding and to the future."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attention_variants.model import (
    AddNorm,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    Transformer,
    padding_mask,
)
from attention_variants.model.sublayers import add_and_norm

pytestmark = pytest.mark.numeric

B, T_S, T_T, H, D_MODEL, D_FF, LAYERS = 2, 7, 5, 2, 8, 16, 2
SOURCE_VOCAB, TARGET_VOCAB = 11, 9
SOURCE_LENGTHS, TARGET_LENGTHS = [T_S, 4], [3, T_T]  # each side has padding, in another item

SEVEN = pytest.mark.parametrize("variant", range(1, 8))
NORM_FIRST = pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
NORM_AND_VARIANT = pytest.mark.parametrize(
    ("norm_first", "variant"), [(True, 7), *((False, variant) for variant in range(1, 8))]
)
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


@pytest.fixture(autouse=True)
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    torch.default_generator.manual_seed(0)  # torch.manual_seed is slow
    yield
    torch.set_default_dtype(torch.float32)


def randomise(module):
    """No parameter stays where it began: no norm at 1, no bias at 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4 + (0.5 if parameter.ndim == 1 else 0.0))
    return module


def make_model(*, seed=0, **options):
    torch.default_generator.manual_seed(seed)
    options = {"dropout": 0.0, "max_len": 20, **options}
    return randomise(Transformer(SOURCE_VOCAB, TARGET_VOCAB, D_MODEL, H, LAYERS, D_FF, **options))


def make_tokens(lengths, vocab, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, vocab, (len(lengths), max(lengths)), generator=generator)
    return tokens * padding_mask(lengths)[:, 0]


def make_batch():
    return make_tokens(SOURCE_LENGTHS, SOURCE_VOCAB), make_tokens(TARGET_LENGTHS, TARGET_VOCAB, seed=2)


def is_real(lengths):
    return padding_mask(lengths)[:, 0]  # (B, T)


def key_mask(lengths):
    return padding_mask(lengths, head_axis=True)  # (B, 1, 1, T)


def close(actual, expected, tolerance=1e-10):
    return actual.shape == expected.shape and (actual - expected).abs().max() <= tolerance * expected.abs().max()


def gradients(loss, leaves):
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def assert_same_gradients(actual, expected, tolerance=1e-10):
    """Relative to the largest of all, for some are 0 by the mathematics (a bias of the keys, for one)."""
    assert actual.keys() == expected.keys()
    scale = max(x.abs().max() for x in expected.values())
    assert scale > 1e-3
    for name, x in expected.items():
        assert actual[name].shape == x.shape, name
        assert (actual[name] - x).abs().max() <= tolerance * scale, name


# ------------------------------------------------------------------------------------------- against PyTorch's

SIZES = [(8, 2, 2, 16), (12, 3, 1, 20), (16, 4, 3, 8)]  # d_model, num_heads, num_layers, d_ff


def make_torch(d_model=D_MODEL, num_heads=H, num_layers=LAYERS, d_ff=D_FF, *, last_norm=True, **options):
    """PyTorch's Transformer with nothing at its trivial initial value."""
    options = {"dropout": 0.0, "batch_first": True, **options}
    bias = options.get("bias", True)
    encoder_layer = nn.TransformerEncoderLayer(d_model, num_heads, d_ff, **options)
    decoder_layer = nn.TransformerDecoderLayer(d_model, num_heads, d_ff, **options)
    norms = [nn.LayerNorm(d_model, eps=0.01, bias=bias) if last_norm else None for _ in range(2)]
    theirs = nn.Transformer(
        d_model,
        num_heads,
        batch_first=options["batch_first"],
        custom_encoder=nn.TransformerEncoder(encoder_layer, num_layers, norms[0], enable_nested_tensor=False),
        custom_decoder=nn.TransformerDecoder(decoder_layer, num_layers, norms[1]),
    )
    return randomise(theirs)


def run_torch(theirs, source, target, *, is_causal=True):
    """Their masks are ours turned around: True = blocked."""
    T_t = target.shape[1]
    future = torch.ones(T_t, T_t, dtype=torch.bool).triu(1)
    inputs = (source, target) if theirs.batch_first else (source.transpose(0, 1), target.transpose(0, 1))
    output = theirs(
        *inputs,
        tgt_mask=future if is_causal else None,
        src_key_padding_mask=~is_real(SOURCE_LENGTHS),
        tgt_key_padding_mask=~is_real(TARGET_LENGTHS),
        memory_key_padding_mask=~is_real(SOURCE_LENGTHS),
    )
    return output if theirs.batch_first else output.transpose(0, 1)


def run_ours(encoder, decoder, source, target, *, is_causal=True):
    memory, _ = encoder(source, key_mask(SOURCE_LENGTHS))
    return decoder(target, memory, key_mask(TARGET_LENGTHS), key_mask(SOURCE_LENGTHS), is_causal=is_causal)[0]


def make_vectors(d_model=D_MODEL):
    return torch.randn(B, T_S, d_model).requires_grad_(), torch.randn(B, T_T, d_model).requires_grad_()


def named_as_theirs(named):
    """Our parameters, or their gradients, by PyTorch's names and packed as PyTorch packs them."""
    names = {
        "self_attention": "self_attn",
        "cross_attention": "multihead_attn",
        "w_o": "out_proj",
        "feed_forward.w_": "linear",
        **{f"add_norm_{i}.norm": f"norm{i}" for i in (1, 2, 3)},
    }
    renamed = {}
    for name, x in named.items():
        for our_name, their_name in names.items():
            name = name.replace(our_name, their_name)
        renamed[name] = x
    for name in [name for name in renamed if ".w_q." in name]:
        parts = [renamed.pop(name.replace(".w_q.", f".w_{part}.")) for part in "qkv"]
        renamed[name.replace(".w_q.", ".in_proj_")] = torch.cat(parts)
    return renamed


def assert_same_as_torch(theirs, *, variant=7, is_causal=True):
    encoder = Encoder.from_torch(theirs.encoder, variant=variant)
    decoder = Decoder.from_torch(theirs.decoder, variant=variant)
    source, target = make_vectors(theirs.d_model)
    real = is_real(TARGET_LENGTHS)

    expected = run_torch(theirs, source, target, is_causal=is_causal)[real]
    actual = run_ours(encoder, decoder, source, target, is_causal=is_causal)[real]
    assert close(actual, expected)

    cotangent = torch.randn(expected.shape)
    inputs = {"source": source, "target": target}
    wanted = gradients((expected * cotangent).sum(), {**inputs, **dict(theirs.named_parameters())})
    leaves = {
        **{f"encoder.{name}": x for name, x in encoder.named_parameters()},
        **{f"decoder.{name}": x for name, x in decoder.named_parameters()},
    }
    assert_same_gradients(named_as_theirs(gradients((actual * cotangent).sum(), {**inputs, **leaves})), wanted)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@NORM_FIRST
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weights_of_torch_give_the_same_outputs_and_gradients(size, norm_first, activation):
    assert_same_as_torch(make_torch(*size, norm_first=norm_first, activation=activation))


@SEVEN
def test_any_variant_takes_weights_of_torch(variant):
    theirs = make_torch()
    assert_same_as_torch(theirs, variant=variant)
    assert {layer.self_attention.variant for layer in Encoder.from_torch(theirs.encoder, variant=variant).layers} == {
        variant
    }


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"bias": False, "norm_first": True},
        {"last_norm": False},
        {"last_norm": False, "norm_first": True},
        {"batch_first": False},
        {"layer_norm_eps": 0.1},
        {"activation": nn.ELU()},
    ],
    ids=str,
)
def test_whatever_the_module_of_torch_is_like(options):
    assert_same_as_torch(make_torch(**options))


def test_without_causality_it_is_the_module_of_torch_without_its_mask():
    assert_same_as_torch(make_torch(), is_causal=False)


@NORM_FIRST
def test_the_encoder_alone_is_that_of_torch(norm_first):
    theirs = make_torch(norm_first=norm_first).encoder
    source, _ = make_vectors()
    real = is_real(SOURCE_LENGTHS)
    memory, _ = Encoder.from_torch(theirs)(source, key_mask(SOURCE_LENGTHS))
    assert close(memory[real], theirs(source, src_key_padding_mask=~real)[real])
    assert not close(memory[real], Encoder.from_torch(theirs)(source)[0][real], 1e-3)


def test_a_copy_in_eval_mode_has_the_dropout_and_does_not_use_it():
    theirs = make_torch(dropout=0.3)
    for mode in (False, True):
        theirs.train(mode)
        ours = nn.ModuleList([Encoder.from_torch(theirs.encoder), Decoder.from_torch(theirs.decoder)])
        assert all(module.training is mode for copied in ours for module in copied.modules())
        probabilities = [module.p for module in ours.modules() if isinstance(module, nn.Dropout)]
        assert probabilities == [0.3] * (LAYERS * (3 + 4))  # one in each feed-forward network, one for each sub-layer
        attentions = [module for module in ours.modules() if isinstance(module, MultiHeadAttention)]
        assert [attention.dropout for attention in attentions] == [0.3] * (LAYERS * (1 + 2))
    source, target = make_vectors()
    real = is_real(TARGET_LENGTHS)
    expected = run_torch(theirs.eval(), source, target)[real]
    assert close(run_ours(*ours.eval(), source, target)[real], expected)
    assert not close(run_ours(*ours.train(), source, target)[real], expected, 1e-3)


def test_modules_in_different_modes_take_the_mode_of_the_whole():
    theirs = make_torch(dropout=0.3).train()
    theirs.encoder.layers[0].eval()
    assert all(module.training for module in Encoder.from_torch(theirs.encoder).modules())


@pytest.mark.parametrize("activation", [F.relu, nn.PReLU], ids=["function", "with a parameter"])
def test_changing_the_copy_leaves_the_module_of_torch_as_it_was(activation):
    theirs = make_torch(activation=activation() if isinstance(activation, type) else activation)
    before = {name: x.clone() for name, x in theirs.state_dict().items()}
    for copied in (Encoder.from_torch(theirs.encoder), Decoder.from_torch(theirs.decoder)):
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.add_(1.0)
    assert [name for name, x in theirs.state_dict().items() if not torch.equal(x, before[name])] == []


def test_changing_the_module_of_torch_leaves_the_copy_as_it_was():
    theirs = make_torch()
    copied = nn.ModuleList([Encoder.from_torch(theirs.encoder), Decoder.from_torch(theirs.decoder)])
    before = [x.clone() for x in copied.parameters()]
    randomise(theirs)
    assert all(torch.equal(x, y) for x, y in zip(copied.parameters(), before, strict=True))


def test_a_copy_has_the_dtype_of_the_module():
    theirs = make_torch().float()
    for copied in (Encoder.from_torch(theirs.encoder), Decoder.from_torch(theirs.decoder)):
        assert {parameter.dtype for parameter in copied.parameters()} == {torch.float32}


@TIED
@NORM_FIRST
def test_the_whole_is_embedding_and_position_then_torch_then_projection(norm_first, tied):
    model = make_model(norm_first=norm_first, tied=tied)
    theirs = make_torch(norm_first=norm_first, last_norm=norm_first)
    model.encoder, model.decoder = Encoder.from_torch(theirs.encoder), Decoder.from_torch(theirs.decoder)
    source, target = make_batch()

    def vectors(tokens, embedding):
        position = [
            [(math.cos if i % 2 else math.sin)(t / 10_000 ** ((i - i % 2) / D_MODEL)) for i in range(D_MODEL)]
            for t in range(tokens.shape[1])
        ]
        return embedding.weight[tokens] * math.sqrt(D_MODEL) + torch.tensor(position)

    x = run_torch(theirs, vectors(source, model.source_embedding), vectors(target, model.target_embedding))
    expected = x @ (model.target_embedding if tied else model.output).weight.T
    real = is_real(TARGET_LENGTHS)
    assert close(model(source, target)[0][real], expected[real])


# ---------------------------------------------------------------------------------------------------- the seven


@pytest.mark.slow
def test_any_variant_gives_the_same_logits_weights_and_gradients():
    model = make_model()
    source, target = make_batch()
    cotangent = torch.randn(B, T_T, TARGET_VOCAB)

    def results():
        logits, weights = model(source, target, need_weights=True)
        found = gradients((logits * cotangent).sum(), dict(model.named_parameters()))
        return logits.detach(), [x.detach() for kind in weights for x in kind], found

    expected_logits, expected_weights, expected_gradients = results()
    assert model.variant == 7
    for variant in range(1, 7):
        model.variant = variant
        logits, weights, found = results()
        assert close(logits, expected_logits)
        assert len(weights) == 3 * LAYERS
        assert all(close(x, y) for x, y in zip(weights, expected_weights, strict=True))
        assert_same_gradients(found, expected_gradients)


@SEVEN
def test_the_variant_is_set_in_every_attention(variant):
    swapped = make_model()
    swapped.variant = variant
    for model in (swapped, make_model(variant=variant)):
        attentions = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
        assert [attention.variant for attention in attentions] == [variant] * (3 * LAYERS)
        assert model.variant == variant


def test_there_is_no_variant_8():
    model = make_model()
    with pytest.raises(ValueError, match="8"):
        model.variant = 8
    assert model.variant == 7


@SEVEN
def test_one_state_dict_serves_all_seven(variant):
    model, other = make_model(seed=1), make_model(seed=2, variant=variant)
    batch = make_batch()
    expected = model(*batch)[0]
    assert not close(other(*batch)[0], expected, 1e-3)
    other.load_state_dict(model.state_dict(), strict=True)
    assert other.variant == variant
    assert close(other(*batch)[0], expected)


# ---------------------------------------------------------------------------------- what comes out, of what shape


def test_logits_and_weights_have_their_shapes():
    model = make_model()
    logits, weights = model(*make_batch(), need_weights=True)
    assert logits.shape == (B, T_T, TARGET_VOCAB)
    assert [tuple(x.shape) for x in weights.encoder] == [(B, H, T_S, T_S)] * LAYERS
    assert [tuple(x.shape) for x in weights.decoder] == [(B, H, T_T, T_T)] * LAYERS
    assert [tuple(x.shape) for x in weights.cross] == [(B, H, T_T, T_S)] * LAYERS


@SEVEN
def test_without_need_weights_there_are_none_and_the_logits_are_the_same(variant):
    model, batch = make_model(variant=variant), make_batch()
    expected, weights = model(*batch, need_weights=True)
    assert weights is not None
    logits, weights = model(*batch)
    assert weights is None
    assert close(logits, expected, 1e-12)
    memory, weights = model.encode(batch[0])
    assert weights == [None] * LAYERS
    assert model.decode(batch[1], memory, model.mask(batch[0]))[1] == [(None, None)] * LAYERS


@pytest.mark.parametrize("is_causal", [True, False], ids=["causal", "not causal"])
def test_forward_is_encode_then_decode(is_causal):
    model, (source, target) = make_model(), make_batch()
    logits, weights = model(source, target, is_causal=is_causal, need_weights=True)
    memory, encoder_weights = model.encode(source, need_weights=True)
    decoded, decoder_weights = model.decode(target, memory, model.mask(source), is_causal=is_causal, need_weights=True)
    assert memory.shape == (B, T_S, D_MODEL)
    assert torch.equal(logits, decoded)
    for layer in range(LAYERS):
        assert torch.equal(weights.encoder[layer], encoder_weights[layer])
        assert torch.equal(weights.decoder[layer], decoder_weights[layer][0])
        assert torch.equal(weights.cross[layer], decoder_weights[layer][1])


@SEVEN
@pytest.mark.parametrize("is_causal", [True, False], ids=["causal", "not causal"])
def test_weights_sum_to_1_and_are_0_exactly_on_padding_and_on_the_future(is_causal, variant):
    model, (source, target) = make_model(variant=variant), make_batch()
    _, weights = model(source, target, is_causal=is_causal, need_weights=True)
    past = torch.ones(T_T, T_T, dtype=torch.bool).tril() if is_causal else torch.ones(T_T, T_T, dtype=torch.bool)
    allowed = {
        "encoder": (source != 0)[:, None, None, :].expand(B, H, T_S, T_S),
        "decoder": ((target != 0)[:, None, None, :] & past).expand(B, H, T_T, T_T),
        "cross": (source != 0)[:, None, None, :].expand(B, H, T_T, T_S),
    }
    for name, where in allowed.items():
        assert not where.all()
        for x in getattr(weights, name):
            assert (x.sum(dim=-1) - 1).abs().max() <= 1e-12
            assert (x[~where] == 0).all()
            assert (x[where] > 0).all()


def test_the_mask_is_true_on_tokens():
    source, _ = make_batch()
    mask = make_model().mask(source)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, padding_mask(SOURCE_LENGTHS, head_axis=True))


def test_stacks_take_one_sequence_as_they_take_a_batch():
    model = make_model()
    source, target = make_vectors()
    memory, _ = model.encoder(source)
    output, _ = model.decoder(target, memory)
    one_memory, [one_weights, _] = model.encoder(source[1], need_weights=True)
    assert close(one_memory, memory[1])
    assert one_weights.shape == (H, T_S, T_S)
    assert close(model.decoder(target[1], one_memory)[0], output[1])


# ---------------------------------------------------------------------------------------- padding and the future


def pad(tokens, more):
    return F.pad(tokens, (0, more))


@NORM_AND_VARIANT
def test_a_padding_token_never_changes_a_real_token(norm_first, variant):
    model, (source, target) = make_model(norm_first=norm_first, variant=variant), make_batch()
    real = target != 0
    expected, _ = model(source, target)
    for more_source, more_target in ((3, 0), (0, 2), (4, 3)):
        logits, _ = model(pad(source, more_source), pad(target, more_target))
        assert close(logits[:, :T_T][real], expected[real], 1e-12)
    for item, (T_s, T_t) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)):
        alone, _ = model(source[item : item + 1, :T_s], target[item : item + 1, :T_t])
        assert close(alone[0], expected[item, :T_t], 1e-12)


@pytest.mark.parametrize("variant", [3, 7])
def test_padding_of_the_target_never_changes_a_real_token_without_causality_either(variant):
    """With it, padding lies in the future anyway."""
    model, (source, target) = make_model(variant=variant), make_batch()
    real = target != 0
    expected, _ = model(source, target, is_causal=False)
    logits, _ = model(source, pad(target, 3), is_causal=False)
    assert close(logits[:, :T_T][real], expected[real], 1e-12)


@pytest.mark.parametrize("position", range(4))
def test_a_real_token_of_the_source_changes_every_output(position):
    """So that the test above could fail."""
    model, (source, target) = make_model(), make_batch()
    changed = source.clone()
    changed[1, position] = source[1, position] % (SOURCE_VOCAB - 1) + 1  # another token, no padding
    before, after = model(source, target)[0], model(changed, target)[0]
    assert torch.equal(before[0], after[0])
    assert ((before[1] - after[1]).abs().amax(dim=-1) > 1e-4).all()


@SEVEN
def test_no_vector_of_padding_reaches_a_real_one_in_the_encoder(variant):
    encoder = make_model(variant=variant).encoder
    source, _ = make_vectors()
    real = is_real(SOURCE_LENGTHS)
    memory, _ = encoder(source, key_mask(SOURCE_LENGTHS))
    changed = torch.where(real[..., None], source, 100.0)
    assert close(encoder(changed, key_mask(SOURCE_LENGTHS))[0][real], memory[real], 1e-12)
    (gradient,) = torch.autograd.grad(memory[real].sin().sum(), source)
    assert (gradient[~real] == 0).all()
    assert (gradient[real].abs().amax(dim=-1) > 0).all()


@SEVEN
def test_no_vector_of_padding_reaches_a_real_one_in_the_decoder(variant):
    decoder = make_model(variant=variant).decoder
    memory, target = make_vectors()
    masks = key_mask(TARGET_LENGTHS), key_mask(SOURCE_LENGTHS)
    for is_causal in (True, False):
        output, _ = decoder(target, memory, *masks, is_causal=is_causal)
        found = torch.autograd.grad(output[is_real(TARGET_LENGTHS)].sin().sum(), (target, memory))
        for gradient, lengths in zip(found, (TARGET_LENGTHS, SOURCE_LENGTHS), strict=True):
            assert (gradient[~is_real(lengths)] == 0).all()
            assert (gradient[is_real(lengths)].abs().amax(dim=-1) > 0).all()


@NORM_AND_VARIANT
def test_a_token_of_the_future_never_changes_a_logit_of_the_past(norm_first, variant):
    model = make_model(norm_first=norm_first, variant=variant)
    source, target = make_tokens([T_S] * B, SOURCE_VOCAB), make_tokens([T_T] * B, TARGET_VOCAB, seed=2)
    expected, _ = model(source, target)
    open_before, _ = model(source, target, is_causal=False)
    for t in (1, T_T - 1):
        changed = target.clone()
        changed[:, t] = target[:, t] % (TARGET_VOCAB - 1) + 1
        difference = (model(source, changed)[0] - expected).abs().amax(dim=-1)
        assert (difference[:, :t] <= 1e-12).all()
        assert (difference[:, t:] > 1e-6).all()
        difference = (model(source, changed, is_causal=False)[0] - open_before).abs().amax(dim=-1)
        assert (difference > 1e-6).all()  # without causality, everything sees it


@pytest.mark.parametrize("variant", [3, 7])
def test_an_output_of_the_decoder_depends_on_the_past_alone(variant):
    decoder = make_model(variant=variant).decoder
    memory, target = make_vectors()
    output, _ = decoder(target, memory)
    for t in range(T_T):
        (gradient,) = torch.autograd.grad(output[:, t].sin().sum(), target, retain_graph=True)
        assert (gradient[:, t + 1 :] == 0).all()
        assert (gradient[:, : t + 1].abs().amax(dim=-1) > 0).all()


def test_a_source_of_nothing_but_padding_gives_numbers():
    model, (source, target) = make_model(), make_batch()
    source[1] = 0
    logits, weights = model(source, target, need_weights=True)
    assert logits.isfinite().all()
    assert (weights.cross[0][1] == 0).all()


# ------------------------------------------------------------------------------------------------------- dropout


def dropouts(model):
    """Every place where something is dropped: (name, set its probability)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            yield name, module, "p"
        elif isinstance(module, MultiHeadAttention):
            yield name, module, "dropout"


def test_dropout_is_everywhere_where_it_should_be():
    model = make_model(dropout=0.25)
    expected = ["position.dropout"]
    for layer in range(LAYERS):
        expected += [f"encoder.layers.{layer}.{name}" for name in ("self_attention", "feed_forward.dropout")]
        expected += [f"encoder.layers.{layer}.add_norm_{i}.dropout" for i in (1, 2)]
        expected += [f"decoder.layers.{layer}.{name}" for name in ("self_attention", "feed_forward.dropout")]
        expected += [f"decoder.layers.{layer}.cross_attention"]
        expected += [f"decoder.layers.{layer}.add_norm_{i}.dropout" for i in (1, 2, 3)]
    found = list(dropouts(model))
    assert sorted(name for name, _, _ in found) == sorted(expected)
    assert {getattr(module, p) for _, module, p in found} == {0.25}


@NORM_FIRST
def test_each_dropout_makes_training_random_and_none_touches_evaluation(norm_first):
    model, batch = make_model(dropout=0.5, norm_first=norm_first), make_batch()
    expected = make_model(dropout=0.0, norm_first=norm_first)(*batch)[0]
    assert torch.equal(model.eval()(*batch)[0], expected)
    assert not torch.equal(model.train()(*batch)[0], model(*batch)[0])
    found = list(dropouts(model))
    for _, module, p in found:
        setattr(module, p, 0.0)
    assert torch.equal(model.train()(*batch)[0], expected)
    for name, module, p in found:
        setattr(module, p, 0.5)
        assert not torch.equal(model.train()(*batch)[0], model(*batch)[0]), name
        assert torch.equal(model.eval()(*batch)[0], expected), name
        setattr(module, p, 0.0)


def test_with_everything_dropped_a_residual_is_all_that_is_left():
    x = torch.randn(B, T_S, D_MODEL)
    layer = randomise(EncoderLayer(D_MODEL, H, D_FF, dropout=1.0, norm_first=True))
    assert torch.equal(layer(x)[0], x)
    layer = randomise(EncoderLayer(D_MODEL, H, D_FF, dropout=1.0))
    assert torch.equal(layer(x)[0], layer.add_norm_2.norm(layer.add_norm_1.norm(x)))
    layer = randomise(DecoderLayer(D_MODEL, H, D_FF, dropout=1.0, norm_first=True))
    assert torch.equal(layer(x, x)[0], x)


def test_dropout_in_the_feed_forward_network_is_between_the_two_products():
    network = randomise(FeedForward(D_MODEL, D_FF, dropout=1.0))
    x = torch.randn(B, T_S, D_MODEL)
    assert torch.equal(network(x), network.w_2.bias.expand_as(x))


# ------------------------------------------------------------------------------------------------- what it is of


def layer_norm(x, norm):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def test_the_feed_forward_network_is_two_products_with_a_bend_between():
    network = randomise(FeedForward(D_MODEL, D_FF))
    x = torch.randn(B, T_S, D_MODEL)
    hidden = torch.einsum("btd,fd->btf", x, network.w_1.weight) + network.w_1.bias
    expected = torch.einsum("btf,df->btd", hidden * (hidden > 0), network.w_2.weight) + network.w_2.bias
    assert close(network(x), expected, 1e-12)
    network.activation = torch.tanh
    expected = torch.einsum("btf,df->btd", hidden.tanh(), network.w_2.weight) + network.w_2.bias
    assert close(network(x), expected, 1e-12)


def test_add_and_norm_is_written_on_either_side_of_the_sub_layer():
    x, w = torch.randn(B, T_S, D_MODEL), torch.randn(D_MODEL, D_MODEL)
    for norm_first in (False, True):
        add_norm = randomise(AddNorm(D_MODEL, norm_first=norm_first))
        actual = add_norm(x, add_norm.entrance(x) @ w)
        norm = add_norm.norm
        assert close(actual, x + layer_norm(x, norm) @ w if norm_first else layer_norm(x + x @ w, norm), 1e-12)


def test_post_norm_and_pre_norm_differ():
    batch = make_batch()
    post, pre = make_model(), make_model(norm_first=True)
    pre.load_state_dict(post.state_dict(), strict=False)
    assert not close(pre(*batch)[0], post(*batch)[0], 1e-2)


def test_a_pre_norm_stack_ends_in_a_norm_and_a_post_norm_stack_in_none():
    source, target = make_vectors()
    pre, post = make_model(norm_first=True), make_model()
    memory, _ = pre.encoder(source)
    for stack, arguments in ((pre.encoder, (source,)), (pre.decoder, (target, memory))):
        x = arguments[0]
        for layer in stack.layers:
            x, _ = layer(x, *arguments[1:])
        assert isinstance(stack.norm, nn.LayerNorm)
        assert close(stack(*arguments)[0], layer_norm(x, stack.norm), 1e-12)
        assert not close(stack(*arguments)[0], x, 1e-2)
    for stack, arguments in ((post.encoder, (source,)), (post.decoder, (target, memory))):
        x = arguments[0]
        for layer in stack.layers:
            x, _ = layer(x, *arguments[1:])
        assert list(stack.norm.parameters()) == []
        assert torch.equal(stack(*arguments)[0], x)


# -------------------------------------------------------------------------------------------------- parameters


def linear_keys(prefix):
    return [f"{prefix}.weight", f"{prefix}.bias"]


@TIED
@NORM_FIRST
def test_the_state_dict_has_these_keys(norm_first, tied):
    expected = ["source_embedding.weight", "target_embedding.weight"]
    for stack, attentions in (("encoder", ["self_attention"]), ("decoder", ["self_attention", "cross_attention"])):
        for layer in range(LAYERS):
            prefix = f"{stack}.layers.{layer}"
            for attention in attentions:
                expected += [key for w in "qkvo" for key in linear_keys(f"{prefix}.{attention}.w_{w}")]
            expected += [key for i in (1, 2) for key in linear_keys(f"{prefix}.feed_forward.w_{i}")]
            for i in range(len(attentions) + 1):
                expected += linear_keys(f"{prefix}.add_norm_{i + 1}.norm")
        expected += linear_keys(f"{stack}.norm") if norm_first else []
    expected += [] if tied else ["output.weight"]
    assert sorted(make_model(norm_first=norm_first, tied=tied).state_dict()) == sorted(expected)


@TIED
@NORM_FIRST
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_number_of_parameters_is_that_of_the_formula(size, norm_first, tied):
    d, num_heads, N, d_ff = size
    model = Transformer(SOURCE_VOCAB, TARGET_VOCAB, d, num_heads, N, d_ff, norm_first=norm_first, tied=tied)
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * d_ff + d_ff + d, 2 * d
    expected = (
        (SOURCE_VOCAB + TARGET_VOCAB) * d
        + N * (attention + feed_forward + 2 * norm)
        + N * (2 * attention + feed_forward + 3 * norm)
        + (2 * norm if norm_first else 0)
        + (0 if tied else TARGET_VOCAB * d)
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_the_sizes_of_the_paper_are_the_default():
    defaults = {name: x.default for name, x in inspect.signature(Transformer).parameters.items()}
    paper = {"d_model": 512, "num_heads": 8, "num_layers": 6, "d_ff": 2048, "dropout": 0.1}
    assert paper.items() <= defaults.items()
    assert (defaults["norm_first"], defaults["tied"]) == (False, True)


def test_tied_the_projection_is_the_embedding_of_the_target():
    source, target = make_batch()
    absent = [token for token in range(TARGET_VOCAB) if token not in target]
    assert absent
    for tied in (True, False):
        model = make_model(tied=tied)
        logits, _ = model(source, target)
        memory, _ = model.encode(source)
        x = model.position(model.target_embedding(target))
        x, _ = model.decoder(x, memory, model.mask(target), model.mask(source))
        projection = model.target_embedding if tied else model.output
        assert close(logits, torch.einsum("btd,vd->btv", x, projection.weight), 1e-12)

        # A token that did not come gets a gradient through the projection alone: that of logits[..., absent].
        cotangent = torch.randn(logits.shape)
        logits.backward(cotangent)
        assert (model.target_embedding.weight.grad[absent] != 0).all() if tied else True
        expected = torch.einsum("btv,btd->vd", cotangent, x)
        assert close(projection.weight.grad[absent], expected[absent], 1e-12)
        if tied:
            assert model.output is None
        else:
            assert not model.target_embedding.weight.grad[absent].any()


def test_matrices_begin_by_xavier_and_embeddings_do_not():
    model = Transformer(SOURCE_VOCAB, 400, 64, H, 1, 96, tied=False)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embedding" not in name:
            rows, columns = parameter.shape
            bound = math.sqrt(6 / (rows + columns))
            assert bound * 0.98 < parameter.abs().max() <= bound, name
    assert model.target_embedding.weight.std().item() == pytest.approx(1 / 8, rel=0.05)


def test_a_sequence_longer_than_max_len_is_an_error_on_either_side():
    model = make_model(max_len=6)
    short, long = torch.ones(B, 6, dtype=torch.long), torch.ones(B, 7, dtype=torch.long)
    assert model(short, short)[0].shape == (B, 6, TARGET_VOCAB)
    for source, target in ((long, short), (short, long)):
        with pytest.raises(ValueError, match=r"at most 6 positions.*got 7"):
            model(source, target)


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        (
            EncoderLayer,
            lambda: nn.TransformerDecoderLayer(8, 2, 16),
            "TransformerEncoderLayer; got TransformerDecoderL",
        ),
        (
            DecoderLayer,
            lambda: nn.TransformerEncoderLayer(8, 2, 16),
            "TransformerDecoderLayer; got TransformerEncoderL",
        ),
        (Encoder, lambda: nn.Linear(2, 2), "TransformerEncoder; got Linear"),
        (Encoder, lambda: make_torch().decoder, "TransformerEncoder; got TransformerDecoder"),
        (Decoder, lambda: make_torch().encoder, "TransformerDecoder; got TransformerEncoder"),
    ],
)
def test_from_torch_of_something_else_is_an_error(ours, theirs, wanted):
    with pytest.raises(TypeError, match=f"from_torch takes a torch.nn.{wanted}"):
        ours.from_torch(theirs())


def test_a_transformer_without_layers_is_an_error():
    with pytest.raises(ValueError, match="num_layers must be at least 1; got 0"):
        Transformer(SOURCE_VOCAB, TARGET_VOCAB, D_MODEL, H, 0, D_FF)


def test_add_and_norm_spells_out_what_add_norm_computes():
    """In values and in all gradients; the spelled one is what notebook 08 plays."""
    torch.manual_seed(0)
    layer = AddNorm(8).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    x, computed = torch.randn(2, 2, 5, 8, dtype=torch.float64).requires_grad_()
    direction = torch.randn(2, 5, 8, dtype=torch.float64)
    wanted = [x, computed, *layer.parameters()]
    ours = add_and_norm(x, computed, layer.norm.weight, layer.norm.bias)
    theirs = layer(x, computed)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad((result * direction).sum(), wanted) for result in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    equal = torch.ones(2, 8)
    assert torch.equal(add_and_norm(equal, equal, torch.ones(8), torch.zeros(8)), torch.zeros(2, 8)), "not 0 / 0"
