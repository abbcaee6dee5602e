"""Writing with a trained Transformer, token by token: the likeliest each time, or the likeliest altogether."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attention_variants.variants.checks import check_count, check_flag, check_kind, check_number, check_tokens

from .transformer import Transformer


@torch.no_grad()
def greedy_decode(
    model: Transformer,
    source: Int[Tensor, "B T_s"],
    *,
    start: int,
    end: int,
    max_len: int,
    use_cache: bool = True,
) -> Int[Tensor, "B T_t"]:
    """Take the likeliest next token, again and again.

    Parameters
    ----------
    model : Transformer
        In evaluation mode.
    source : integer Tensor of shape (B, T_s)
        The sequences to read.
    start, end : int
        The tokens that begin and end a target.
    max_len : int
        How many tokens to write at most.
    use_cache : bool, default True
        Whether to keep keys and values, and compute only what is new; the tokens are the same.

    Returns
    -------
    tokens : integer Tensor of shape (B, T_t)
        Without ``start``, with ``end`` where it was reached, padding behind it; T_t is at most ``max_len``.

    Raises
    ------
    TypeError, ValueError
        If something is of another class, there are no such tokens, or max_len is negative.
    """
    _check("greedy_decode", model, source, start, end, max_len, use_cache)
    memory, _ = model.encode(source)
    memory_mask = model.mask(source)
    target = source.new_full((len(source), 1), start)
    ended = torch.zeros_like(target[:, 0], dtype=torch.bool)
    cache = model.decoder.new_cache() if use_cache else None
    for _ in range(max_len):
        logits, _ = model.decode(target, memory, memory_mask, cache=cache)
        token = logits[:, -1].argmax(dim=-1).masked_fill(ended, model.pad)
        target = torch.cat([target, token[:, None]], dim=1)
        ended |= token == end
        if ended.all():
            break
    return target[:, 1:]


@torch.no_grad()
def beam_search(
    model: Transformer,
    source: Int[Tensor, "B T_s"],
    *,
    start: int,
    end: int,
    max_len: int,
    beam_size: int = 4,
    length_penalty: float = 0.6,
    use_cache: bool = True,
) -> tuple[Int[Tensor, "B beam_size T_t"], Float[Tensor, "B beam_size"]]:
    """Follow the ``beam_size`` likeliest beginnings at once, for the best first token need not begin the best whole.

    Parameters
    ----------
    model, source, start, end, max_len, use_cache
        As `greedy_decode` takes them.
    beam_size : int, default 4
        How many beginnings to keep. With 1, this is `greedy_decode`.
    length_penalty : float, default 0.6
        Every token makes a sequence less likely, so short ones would win: at the end, the log-probability is divided
        by ``((5 + length) / 6) ** length_penalty`` (Wu et al., 2016). 0 leaves it as it is.

    Returns
    -------
    tokens : integer Tensor of shape (B, beam_size, T_t)
        As `greedy_decode` returns them, the best first.
    scores : Tensor of shape (B, beam_size)
        Their log-probabilities, with the penalty; -inf where there are fewer different sequences than beams, and the
        tokens mean nothing.

    Raises
    ------
    TypeError, ValueError
        As in `greedy_decode`; if ``beam_size`` is less than 1, or the penalty not a finite number.

    References
    ----------
    Wu et al. (2016), "Google's Neural Machine Translation System", section 7. arXiv:1609.08144
    """
    _check("beam_search", model, source, start, end, max_len, use_cache)
    check_count("beam_search", "beam_size", beam_size)
    check_number("beam_search", "length_penalty", length_penalty)
    B, K = len(source), beam_size
    memory, _ = model.encode(source)
    memory = memory.repeat_interleave(K, dim=0)  # (B, T_s, d_model) -> (B * K, T_s, d_model)
    memory_mask = model.mask(source).repeat_interleave(K, dim=0)
    target = source.new_full((B, K, 1), start)
    scores = memory.new_full((B, K), -torch.inf)
    scores[:, 0] = 0.0  # at first all beginnings are the same: count them once
    ended = torch.zeros_like(target[..., 0], dtype=torch.bool)
    length = torch.zeros_like(scores)
    cache = model.decoder.new_cache() if use_cache else None
    for _ in range(max_len):
        logits, _ = model.decode(target.flatten(0, 1), memory, memory_mask, cache=cache)
        V = logits.shape[-1]
        log_p = logits[:, -1].log_softmax(dim=-1).view(B, K, V)
        log_p = log_p.masked_fill(ended[..., None], -torch.inf)
        log_p[..., model.pad] = log_p[..., model.pad].masked_fill(
            ended, 0.0
        )  # after its end, only padding, for nothing
        scores, best = (scores[..., None] + log_p).flatten(1).topk(K)  # of (B, K * V) continuations, K for each item
        parent, token = best // V, best % V
        target = torch.cat([target.gather(1, parent[..., None].expand_as(target)), token[..., None]], dim=-1)
        ended, length = ended.gather(1, parent), length.gather(1, parent)
        length = length + ~ended
        ended = ended | (token == end)
        for layer in cache or ():  # each beam goes on from the one that it came from; all look at the same source
            layer.target.reorder((torch.arange(B, device=parent.device)[:, None] * K + parent).flatten())
        if ended.all():
            break
    tokens = target[..., 1:]
    scores, order = (scores / ((5 + length) / 6) ** length_penalty).sort(dim=-1, descending=True, stable=True)
    return tokens.gather(1, order[..., None].expand_as(tokens)), scores


def _check(
    caller: str, model: Transformer, source: Tensor, start: int, end: int, max_len: int, use_cache: bool
) -> None:
    """Raise an error unless a model can write from this source with these tokens."""
    check_kind(caller, "model", model, Transformer)
    check_tokens(caller, "source", source, model.source_embedding.num_embeddings)
    vocab_size = model.target_embedding.num_embeddings
    for name, token in (("start", start), ("end", end)):
        check_count(caller, name, token, least=0)
        if token >= vocab_size:
            raise ValueError(f"{caller}: {name} must be one of the tokens 0 to {vocab_size - 1}; got {token}.")
    check_count(caller, "max_len", max_len, least=0)
    check_flag(caller, "use_cache", use_cache)
