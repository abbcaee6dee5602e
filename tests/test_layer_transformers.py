"""A layer made of a BERT or GPT-2 attention computes what ``transformers`` computes, whichever variant attends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from attention_variants.model import MultiHeadAttention, causal_mask, combine_masks

pytestmark = pytest.mark.numeric

B, T, H, D_MODEL = 2, 5, 2, 8
VARIANTS = range(1, 8)
PADDING = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])  # as a tokenizer gives it
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def bert_model(**config):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11,
        hidden_size=D_MODEL,
        num_hidden_layers=2,
        num_attention_heads=H,
        intermediate_size=16,
        max_position_embeddings=T,
        attn_implementation="eager",
        initializer_range=0.5,  # the default makes scores near 0 and every weight 1 / T
        **config,
    )
    return _with_biases(BertModel(config))


def gpt2_model(**config):
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=11,
        n_embd=D_MODEL,
        n_layer=2,
        n_head=H,
        n_positions=T,
        attn_implementation="eager",
        initializer_range=0.5,
        **config,
    )
    return _with_biases(GPT2Model(config))


def _with_biases(model):
    """Fresh models have biases of 0, which would hide one that is lost or put in the wrong place."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


def run(model, attention, projected, **inputs):
    """Run a whole model, and keep what enters and what leaves one attention in it.

    ``projected`` is the module whose output is the attention's, before dropout and the residual connection.
    """
    kept = {}

    def before(_, args, kwargs):
        kept["hidden"] = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]

    hooks = [
        attention.register_forward_pre_hook(before, with_kwargs=True),
        projected.register_forward_hook(lambda _, __, output: kept.update(output=output)),
    ]
    torch.manual_seed(1)
    embeddings = torch.randn(B, T, D_MODEL, dtype=torch.float64, requires_grad=True)
    outputs = model(inputs_embeds=embeddings, output_attentions=True, **inputs)
    for hook in hooks:
        hook.remove()
    return SimpleNamespace(**kept, outputs=outputs)


def assert_same(layer, theirs, weights, **how):
    """The layer gives the output and the weights that transformers gave, and the gradients of the input."""
    hidden = theirs.hidden.detach().requires_grad_()
    ours_output, ours_weights = layer(hidden, **how)
    torch.testing.assert_close(ours_output, theirs.output, **CLOSE)
    torch.testing.assert_close(ours_weights, weights, **CLOSE)

    torch.manual_seed(2)
    for ours, expected in ((ours_output, theirs.output), (ours_weights, weights)):
        towards = torch.randn_like(ours)
        (gradient,) = torch.autograd.grad(ours, hidden, towards, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, theirs.hidden, towards, retain_graph=True)
        assert expected_gradient.abs().max() > 0.01
        torch.testing.assert_close(gradient, expected_gradient, **CLOSE)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("padded", [False, True])
def test_from_bert(variant, padded):
    model = bert_model()
    attention = model.encoder.layer[1].attention
    theirs = run(model, attention, attention.output.dense, attention_mask=PADDING if padded else None)
    layer = MultiHeadAttention.from_bert(attention, variant=variant)
    assert_same(layer, theirs, theirs.outputs.attentions[1], mask=PADDING[:, None, None, :] if padded else None)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("padded", [False, True])
def test_from_gpt2(variant, padded):
    model = gpt2_model()
    attention = model.h[1].attn
    theirs = run(model, attention, attention.c_proj, attention_mask=PADDING if padded else None)
    layer = MultiHeadAttention.from_gpt2(attention, variant=variant)
    mask = PADDING[:, None, None, :] if padded else None
    assert_same(layer, theirs, theirs.outputs.attentions[1], mask=mask, is_causal=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_bert_decoder(variant):
    """BERT as a decoder attends causally: it takes the causal mask, here together with padding."""
    model = bert_model(is_decoder=True)
    attention = model.encoder.layer[1].attention
    theirs = run(model, attention, attention.output.dense, attention_mask=PADDING, use_cache=False)
    layer = MultiHeadAttention.from_bert(attention, variant=variant)
    mask = combine_masks(causal_mask(T), PADDING.bool()[:, None, None, :])
    assert_same(layer, theirs, theirs.outputs.attentions[1], mask=mask)


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_bert_cross_attention(variant):
    model = bert_model(is_decoder=True, add_cross_attention=True)
    attention = model.encoder.layer[1].crossattention
    torch.manual_seed(3)
    encoder_states = torch.randn(B, 7, D_MODEL, dtype=torch.float64)
    encoder_padding = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    theirs = run(
        model,
        attention,
        attention.output.dense,
        encoder_hidden_states=encoder_states,
        encoder_attention_mask=encoder_padding,
        use_cache=False,
    )
    layer = MultiHeadAttention.from_bert(attention, variant=variant)
    weights = theirs.outputs.cross_attentions[1]
    assert weights.shape == (B, H, T, 7)
    assert_same(layer, theirs, weights, key=encoder_states, mask=encoder_padding[:, None, None, :])


def _bert(**config):
    return bert_model(**config).encoder.layer[0].attention


def _gpt2(**config):
    return gpt2_model(**config).h[0].attn


def _roformer():
    """The parts of a BERT attention by name, but queries and keys are rotated."""
    from transformers import RoFormerConfig, RoFormerModel

    config = RoFormerConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    return RoFormerModel(config).encoder.layer[0].attention


FROM = [
    (MultiHeadAttention.from_bert, _bert, "attention_probs_dropout_prob"),
    (MultiHeadAttention.from_gpt2, _gpt2, "attn_pdrop"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("load", "make", "dropout"), FROM)
def test_the_weights_are_copies(load, make, dropout):
    attention = make()
    layer = load(attention)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in layer.parameters())


@pytest.mark.parametrize(("load", "make", "dropout"), FROM)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_mode_and_dtype_come_along(load, make, dropout, training, dtype):
    layer = load(make(**{dropout: 0.25}).train(training).to(dtype), variant=3)
    assert layer.dropout == 0.25
    assert layer.training is training
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    assert (layer.d_model, layer.num_heads, layer.variant) == (D_MODEL, H, 3)


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda: nn.Linear(8, 8), "Linear"),
        (lambda: bert_model().encoder.layer[0], "BertLayer"),
        (lambda: _bert().self, "BertSelfAttention"),
        (_gpt2, "GPT2Attention"),
        (lambda: nn.MultiheadAttention(8, 2), "MultiheadAttention"),
        (lambda: None, "NoneType"),
        (_roformer, "RoFormerAttention"),
    ],
)
def test_from_bert_says_what_it_takes(make, came):
    message = rf"from_bert takes a BertAttention, model.encoder.layer\[i\].attention; got {came}\."
    with pytest.raises(TypeError, match=message):
        MultiHeadAttention.from_bert(make())


def test_from_bert_takes_no_relative_positions():
    attention = _bert()
    attention.self.position_embedding_type = "relative_key"  # as older releases of transformers had it
    with pytest.raises(ValueError, match="adds relative_key positions to its scores"):
        MultiHeadAttention.from_bert(attention)


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda: nn.Linear(8, 8), "Linear"),
        (lambda: gpt2_model().h[0], "GPT2Block"),
        (_bert, "BertAttention"),
        (lambda: nn.MultiheadAttention(8, 2), "MultiheadAttention"),
        (lambda: None, "NoneType"),
    ],
)
def test_from_gpt2_says_what_it_takes(make, came):
    with pytest.raises(TypeError, match=rf"from_gpt2 takes a GPT2Attention, model.h\[i\].attn; got {came} "):
        MultiHeadAttention.from_gpt2(make())


def test_from_gpt2_takes_no_cross_attention():
    with pytest.raises(TypeError, match=r"takes the self-attention, model.h\[i\].attn; got a cross-attention"):
        MultiHeadAttention.from_gpt2(gpt2_model(add_cross_attention=True).h[0].crossattention)


@pytest.mark.parametrize("config", [{"scale_attn_by_inverse_layer_idx": True}, {"scale_attn_weights": False}])
def test_from_gpt2_refuses_another_scale(config):
    with pytest.raises(ValueError, match=r"scales its scores by something other than 1 / sqrt\(d_k\)"):
        MultiHeadAttention.from_gpt2(gpt2_model(**config).h[1].attn)
