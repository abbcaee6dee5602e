"""PyTorch's flex_attention says masks and scores as functions of positions: the same as our masks, in values.

Without ``torch.compile``, which needs a C++ compiler, it makes the whole matrix and warns that it does: the numbers are
the same, the speed is not what it is for. On a CPU it has no gradients.
"""

from __future__ import annotations

import re

import nbformat
import pytest
import torch
from course_notebooks import NOTEBOOKS

import attention_variants as av

pytestmark = [
    pytest.mark.slow,  # PyTorch imports its compiler for it
    pytest.mark.numeric,
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
]

B, H, T_Q, T_K, D_K = 2, 2, 5, 7, 16
WINDOW, SINKS = 2, 1
CLOSE = {"rtol": 0.0, "atol": 1e-6}
positions_q, positions_k = torch.arange(T_Q)[:, None], torch.arange(T_K)
lengths = torch.tensor([3, 7])
document = torch.tensor([0, 0, 1, 1, 1, 2, 2])  # which text a position is of, in a row of several
slopes = torch.tensor([0.5, 0.25])


@pytest.fixture(scope="module")
def flex():
    return pytest.importorskip("torch.nn.attention.flex_attention", reason="this PyTorch has no flex_attention")


def qkv(heads=H, key_heads=H, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((heads, T_Q), (key_heads, T_K), (key_heads, T_K))
    return [torch.randn(B, *size, D_K, generator=generator) for size in sizes]


causal, window = av.causal_mask(T_Q, T_K), av.sliding_window_mask(T_Q, T_K, window=WINDOW)
SAID_TWICE = {
    "causal": (lambda b, h, i, j: j <= i, causal),
    "bottom-right": (lambda b, h, i, j: j <= i + T_K - T_Q, av.causal_mask(T_Q, T_K, align="bottom-right")),
    "window": (lambda b, h, i, j: (j <= i) & (i - j <= WINDOW), causal & window),
    "sinks": (
        lambda b, h, i, j: (j <= i) & ((i - j <= WINDOW) | (j < SINKS)),
        causal & (window | (positions_k < SINKS)),
    ),
    "padding": (lambda b, h, i, j: j < lengths[b], av.padding_mask(lengths, T_K, head_axis=True)),
    "documents": (
        lambda b, h, i, j: (j <= i) & (document[i] == document[j]),
        causal & (document[:T_Q, None] == document),
    ),
}


@pytest.mark.parametrize("name", SAID_TWICE)
def test_a_function_of_positions_is_our_mask(flex, name):
    said, mask = SAID_TWICE[name]
    q, k, v = qkv()
    block_mask = flex.create_block_mask(said, B, H, T_Q, T_K, device="cpu")
    expected, _ = av.attention_masked(q, k, v, mask)
    torch.testing.assert_close(flex.flex_attention(q, k, v, block_mask=block_mask), expected, **CLOSE)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_shared_keys_are_enable_gqa(flex, key_heads):
    heads = 4
    q, k, v = qkv(heads, key_heads)
    block_mask = flex.create_block_mask(SAID_TWICE["causal"][0], B, heads, T_Q, T_K, device="cpu")
    found = flex.flex_attention(q, k, v, block_mask=block_mask, enable_gqa=True)
    joined = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]  # (B, H, T, d_k) -> (B, T, H * d_k)
    expected, _ = av.grouped_query_attention(*joined, causal, heads, key_heads)
    torch.testing.assert_close(found.transpose(1, 2).flatten(2), expected, **CLOSE)


def test_a_function_of_scores_is_what_is_added_to_them(flex):
    """ALiBi: the further back a key, the more is taken off its score, in each head at another rate."""
    q, k, v = qkv()
    found = flex.flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score - slopes[h] * (i - j).abs())
    scores = q @ k.transpose(-2, -1) / D_K**0.5 - slopes[:, None, None] * (positions_q - positions_k).abs()
    torch.testing.assert_close(found, torch.softmax(scores, dim=-1) @ v, **CLOSE)


def test_a_query_without_keys_gets_zeros_there_too(flex):
    q, k, v = qkv()
    block_mask = flex.create_block_mask(lambda b, h, i, j: (i != 3) & (j <= i), B, H, T_Q, T_K, device="cpu")
    found = flex.flex_attention(q, k, v, block_mask=block_mask)
    expected, _ = av.attention_masked(q, k, v, causal & (positions_q != 3))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not found[:, :, 3].any()


def test_what_notebook_07_says_of_it_runs(flex, capsys):
    """The page does not run it, for the import alone takes seconds; so it is run here."""
    notebook = nbformat.read(NOTEBOOKS / "07_fused.ipynb", as_version=4)
    (told,) = (cell.source for cell in notebook.cells if "import create_block_mask, flex_attention" in cell.source)
    code = re.search(r"```python\n(.*?)```", told, flags=re.DOTALL)[1]
    exec(code, {"av": av, "torch": torch})
    assert code.rstrip().endswith(f"# {capsys.readouterr().out.strip()}")
    assert code.rstrip().endswith("# True")
