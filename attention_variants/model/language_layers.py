"""The layers of a language model as they are built today: what has changed since the Transformer of 2017."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attention_variants.modern import KVCache, RollingKVCache, grouped_query_attention, turn
from attention_variants.modern.checks import check_cache, check_width
from attention_variants.variants.checks import check_count, check_flag, check_groups, check_number

from .masks import causal_mask, sliding_window_mask


def check_attention(
    caller: str, num_heads: int, num_kv_heads: int, d_k: int, *, window: int | None, qk_norm: bool
) -> None:
    """Raise an error unless these can be the settings of a `RotaryAttention`."""
    check_groups(caller, num_heads, num_kv_heads)
    check_count(caller, "d_k", d_k)
    if d_k % 2:
        raise ValueError(f"{caller}: rotary positions turn columns in pairs: d_k must be even; got {d_k}.")
    if window is not None:
        check_count(caller, "window", window, least=0)
    check_flag(caller, "qk_norm", qk_norm)


class RMSNorm(nn.Module):
    """Bring each vector to length sqrt(d_model), times a factor for each column; no mean is taken off, nothing added.

    Parameters
    ----------
    d_model : int
        The width.
    eps : float, default 1e-5
        Added to the mean of the squares, so that a vector of zeros stays one.

    References
    ----------
    Zhang and Sennrich (2019), "Root Mean Square Layer Normalization", section 3. arXiv:1910.07467
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_count("RMSNorm", "d_model", d_model)
        check_number("RMSNorm", "eps", eps, least=0.0)
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise along the last axis."""
        check_width("RMSNorm", x, self.weight.shape[0])
        exact = x.to(torch.promote_types(x.dtype, torch.float32))  # the square of 256 is more than a float16 holds
        mean_square = exact.square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (exact * torch.rsqrt(mean_square + self.eps)).to(x.dtype) * self.weight


class SwiGLU(nn.Module):
    """A feed-forward network in which one product decides how much of another goes through.

    Parameters
    ----------
    d_model : int
        The width of what goes in and comes out.
    d_ff : int
        The width inside.

    References
    ----------
    Shazeer (2020), "GLU Variants Improve Transformer", section 2. arXiv:2002.05202
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        check_count("SwiGLU", "d_model", d_model)
        check_count("SwiGLU", "d_ff", d_ff)
        self.w_gate = nn.Linear(d_model, d_ff, bias=False)
        self.w_up = nn.Linear(d_model, d_ff, bias=False)
        self.w_down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Rework each vector on its own."""
        check_width("SwiGLU", x, self.w_gate.in_features)
        gate = F.silu(self.w_gate(x))  # (..., d_ff): z * sigmoid(z)
        x = self.w_down(gate * self.w_up(x))
        return x


class RotaryAttention(nn.Module):
    """Causal self-attention with rotary positions, shared keys and a cache.

    Parameters
    ----------
    d_model : int
        The width of what goes in and comes out.
    num_heads : int
        The heads of the queries.
    num_kv_heads : int
        The heads of the keys and values; it divides num_heads.
    d_k : int
        The width of a head; num_heads * d_k need not be d_model.
    qk_norm : bool, default False
        Whether queries and keys are normalised before they are turned, as in Qwen3.
    window : int, optional
        How many positions a query looks back at most, see `sliding_window_mask`; by default all.
    eps : float, default 1e-5
        Of the norms of queries and keys.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        d_k: int,
        *,
        qk_norm: bool = False,
        window: int | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_attention("RotaryAttention", num_heads, num_kv_heads, d_k, window=window, qk_norm=qk_norm)
        check_count("RotaryAttention", "d_model", d_model)
        self.num_heads, self.num_kv_heads, self.d_k, self.window = num_heads, num_kv_heads, d_k, window
        self.w_q = nn.Linear(d_model, num_heads * d_k, bias=False)
        self.w_k = nn.Linear(d_model, num_kv_heads * d_k, bias=False)
        self.w_v = nn.Linear(d_model, num_kv_heads * d_k, bias=False)
        self.w_o = nn.Linear(num_heads * d_k, d_model, bias=False)
        self.norm_q = RMSNorm(d_k, eps) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(d_k, eps) if qk_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T d_model"],
        cosine: Float[Tensor, "T 1 pairs"],
        sine: Float[Tensor, "T 1 pairs"],
        cache: KVCache | RollingKVCache | None = None,
    ) -> tuple[Float[Tensor, "B T d_model"], Float[Tensor, "B H T T_k"]]:
        """Let each position look back.

        Parameters
        ----------
        x : Tensor of shape (B, T, d_model)
            The vectors of the new positions.
        cosine, sine : Tensor of shape (T, 1, d_k / 2)
            Of the angles by which the pairs turn at these positions, for all heads.
        cache : KVCache or RollingKVCache, optional
            What is kept of earlier positions; the new ones are appended.

        Returns
        -------
        output : Tensor of shape (B, T, d_model)
        weights : Tensor of shape (B, num_heads, T, T_k)
        """
        check_width("RotaryAttention", x, self.w_q.in_features)
        if x.ndim != 3:
            raise ValueError(f"RotaryAttention: x must have shape (B, T, d_model); got {tuple(x.shape)}.")
        if cache is not None:
            check_cache("RotaryAttention", cache)
        B, T, _ = x.shape
        q = self.w_q(x).view(B, T, self.num_heads, self.d_k)
        k = self.w_k(x).view(B, T, self.num_kv_heads, self.d_k)
        q, k, v = turn(self.norm_q(q), cosine, sine), turn(self.norm_k(k), cosine, sine), self.w_v(x)
        q, k = q.flatten(-2), k.flatten(-2)  # (B, T, H, d_k) -> (B, T, H * d_k)

        mask = self._mask(T, cache, x.device)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, T_k, G * d_k), turned already
        context, weights = grouped_query_attention(q, k, v, mask, self.num_heads, self.num_kv_heads)
        return self.w_o(context), weights

    def _mask(self, T: int, cache: KVCache | RollingKVCache | None, device: torch.device) -> Tensor | None:
        """Which of the kept and the new keys each new query may look at; None for all."""
        window = None if isinstance(cache, RollingKVCache) else self.window  # a rolling cache keeps no others
        if cache is not None and T == 1 and window is None:
            return None  # one query may look at all that is kept
        mask = causal_mask(T, device=device) if cache is None else cache.mask(T)  # (T, T_k)
        if window is not None:
            mask = mask & sliding_window_mask(T, mask.shape[-1], window=window, align="bottom-right", device=device)
        return mask


class LanguageModelLayer(nn.Module):
    """Look back, then work on what was found; each is added to what entered it, which is normalised first.

    Parameters
    ----------
    d_model, num_heads, num_kv_heads, d_k, qk_norm, window, eps
        As in `RotaryAttention`.
    d_ff : int
        The width inside the feed-forward network.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        d_k: int,
        d_ff: int,
        *,
        qk_norm: bool = False,
        window: int | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm_1 = RMSNorm(d_model, eps)
        self.attention = RotaryAttention(d_model, num_heads, num_kv_heads, d_k, qk_norm=qk_norm, window=window, eps=eps)
        self.norm_2 = RMSNorm(d_model, eps)
        self.feed_forward = SwiGLU(d_model, d_ff)

    def forward(
        self,
        x: Float[Tensor, "B T d_model"],
        cosine: Float[Tensor, "T 1 pairs"],
        sine: Float[Tensor, "T 1 pairs"],
        cache: KVCache | RollingKVCache | None = None,
    ) -> tuple[Float[Tensor, "B T d_model"], Float[Tensor, "B H T T_k"]]:
        """Rework the vectors of the new positions; arguments and results as those of `RotaryAttention.forward`."""
        attended, weights = self.attention(self.norm_1(x), cosine, sine, cache)
        x = x + attended
        x = x + self.feed_forward(self.norm_2(x))
        return x, weights
