"""The shapes in the annotations are true: jaxtyping's import hook, with beartype, checks them at every call.

It runs in a process of its own: the hook rewrites the package as it is imported, which torch.compile and the tests
of our own error messages must not meet.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from jaxtyping import TypeCheckError, install_import_hook

install_import_hook("attention_variants", "beartype.beartype")  # to the end: a name is loaded when it is first used
import attention_variants as av
from attention_variants.variants import v2_matmul
import torch

B, T_q, T_k, H, d_k, d_v = 2, 5, 7, 2, 4, 3

for number, function in av.VARIANTS.items():
    batch = (B,) if number >= 3 else ()
    heads = (H,) if number >= 5 else ()
    width, width_v = (H * d_k, H * d_k) if heads else (d_k, d_v)
    q, k, v = (torch.randn(*batch, *shape) for shape in ((T_q, width), (T_k, width), (T_k, width_v)))
    options = {"mask": torch.ones(T_q, T_k, dtype=torch.bool)} if number >= 4 else {}
    options |= {"num_heads": H} if heads else {}
    context, weights = function(q, k, v, **options)
    if context.shape == (*batch, T_q, width_v) and weights.shape == (*batch, *heads, T_q, T_k):
        print(f"variant {number} fits")

if av.multihead_attention_fused(q, k, v, num_heads=H, need_weights=False)[1] is None:
    print("variant 7 without weights fits")
if av.attention_tiled(q, k, v)[0].shape == q.shape:
    print("tiled fits")

model = av.Transformer(20, 12, H * d_k, H, 2, 16).eval()
source, target = torch.randint(1, 20, (B, T_k)), torch.randint(1, 12, (B, T_q))
source[1, 4:] = 0
if model(source, target, need_weights=True)[0].shape == (B, T_q, 12):
    print("the Transformer fits")
written, _ = av.beam_search(model, source, start=1, end=2, max_len=4, beam_size=3)
if len(av.greedy_decode(model, source, start=1, end=2, max_len=4)) == len(written) == B:
    print("decoding fits")
if av.read_date("12.3.98").weights.ndim == 3:
    print("the date model fits")
if av.positional_encoding(T_q, 8).shape == (T_q, 8):
    print("positions fit")

q, k, v = torch.randn(B, T_k, 2 * H * d_k), torch.randn(B, T_k, H * d_k), torch.randn(B, T_k, H * d_k)
cache, rolling = av.KVCache(), av.RollingKVCache(3, sinks=1)
for t in range(T_k):
    now = slice(t, t + 1)
    rolling.mask(1)
    pairs = cache.append(k[:, now], v[:, now]), rolling.append(k[:, now], v[:, now])
cache.trim(4)
cache.reorder(torch.tensor([1, 0]))
found = [
    av.grouped_query_attention(q, k, v, None, 2 * H, H)[0].shape == q.shape,
    av.flash_attention(q, q, q, is_causal=True)[0].shape == q.shape,
    av.linear_attention(k, k, v)[0].shape == av.linear_attention(k, k, v, recurrent=True)[0].shape,
    av.latent_attention(q, v, torch.randn(H * d_k, 2 * H * d_k), torch.randn(H * d_k, 2 * H * d_k))[0].shape == q.shape,
    av.apply_rotary(k, torch.arange(T_k), scaling=av.Llama3Scaling(), rotary_dim=4).shape == k.shape,
    av.MultiHeadAttention(H * d_k, H)(k, is_causal=True, cache=av.KVCache())[1].shape == (B, H, T_k, T_k),
]
if all(found):
    print("what comes after the seven fits")
language = av.LanguageModel(av.LanguageModelConfig(20, 16, 2, 4, 2, 24, qk_norm=True)).eval()
if av.generate(language, torch.randint(20, (B, 3)), 4, top_k=5, top_p=0.9, seed=0).shape == (B, 7):
    print("the language model fits")

v2_matmul.check_inputs = lambda *args: None  # so that the annotations are the only guard
q, k, v = torch.randn(T_q, d_k), torch.randn(T_k, d_k), torch.randn(T_k, d_v)
try:
    av.attention_matmul(q, k[:, 1:], v)
except TypeCheckError:
    print("a wrong argument is rejected")

softmax = torch.softmax
torch.softmax = lambda scores, dim: softmax(scores, dim).repeat(2, 1)  # twice as many rows as there are queries
try:
    av.attention_matmul(q, k, v)
except TypeCheckError:
    print("a wrong return is rejected")
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        *(f"variant {number} fits" for number in range(1, 8)),
        "variant 7 without weights fits",
        "tiled fits",
        "the Transformer fits",
        "decoding fits",
        "the date model fits",
        "positions fit",
        "what comes after the seven fits",
        "the language model fits",
        "a wrong argument is rejected",
        "a wrong return is rejected",
    ],
)
def test_shapes_under_the_import_hook(line, said):
    assert line in said
