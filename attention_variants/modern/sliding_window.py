"""Only the last keys, and the very first few, are kept: memory that does not grow with the text."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .checks import check_append, check_count


class RollingKVCache:
    """The keys and values that a sliding window leaves to the next query, of one attention layer.

    A query looks back at most ``window`` positions, as under `sliding_window_mask`, and at the first ``sinks``
    positions of the text. What no later query may look at is dropped. Without sinks, a model that was not trained with
    a window loses its text as soon as the first keys go: every softmax must spend a weight of 1, and many heads put
    it on the first tokens when there is nothing to look for.
    Jiang et al. (2023), "Mistral 7B", section 2, arXiv:2310.06825 (its ``sliding_window`` counts the query's own key
    too: it is ``window + 1``); Xiao et al. (2023), "Efficient Streaming Language Models with Attention Sinks",
    section 3, arXiv:2309.17453 (which also counts positions within the cache; here they are those of the text).

    Parameters
    ----------
    window : int
        The largest distance of a key from its query, in positions; 0 leaves a query its own key only.
    sinks : int, default 0
        How many positions from the beginning of the text are never dropped.

    Attributes
    ----------
    k, v : Tensor of shape (..., T, d_k) and (..., T, d_v), or None
        What is kept: at most sinks + window positions.
    positions : integer Tensor of shape (T)
        Where in the text they stand.
    seen : int
        How many positions the text has so far.

    Examples
    --------
    >>> cache = RollingKVCache(window=2, sinks=1)
    >>> for t in range(6):
    ...     k, v = cache.append(torch.randn(1, 4), torch.randn(1, 4))
    >>> k.shape, cache.positions  # the last query sees positions 0, 3, 4 and 5; the next will not see 3
    (torch.Size([4, 4]), tensor([0, 4, 5]))
    """

    def __init__(self, window: int, sinks: int = 0) -> None:
        check_count("RollingKVCache", "window", window, least=0)
        check_count("RollingKVCache", "sinks", sinks, least=0)
        self.window, self.sinks = window, sinks
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.positions = torch.arange(0)
        self.seen = 0

    def append(
        self, k: Float[Tensor, "*batch T_new d_k"], v: Float[Tensor, "*batch T_new d_v"]
    ) -> tuple[Float[Tensor, "*batch T d_k"], Float[Tensor, "*batch T d_v"]]:
        """Take in new positions, return what their queries need, and drop what later ones do not.

        Parameters
        ----------
        k : Tensor of shape (..., T_new, d_k)
        v : Tensor of shape (..., T_new, d_v)
            As `KVCache.append` takes them.

        Returns
        -------
        k : Tensor of shape (..., T, d_k)
        v : Tensor of shape (..., T, d_v)
            What was kept and, last, what is new. One query may look at all of it; several need `mask`, asked for
            before.

        Raises
        ------
        TypeError, ValueError
            If they do not fit what is kept.
        """
        check_append(self, k, v)
        T_new, self.positions = k.shape[-2], self.positions.to(k.device)
        k = k if self.k is None else torch.cat([self.k, k], dim=-2)  # (..., T, d_k)
        v = v if self.v is None else torch.cat([self.v, v], dim=-2)
        positions = self._positions_with(T_new)
        self.seen += T_new
        # The next query stands at position `seen`, and later ones look no further back.
        stay = (positions < self.sinks) | (positions >= self.seen - self.window)
        self.k, self.v, self.positions = k[..., stay, :], v[..., stay, :], positions[stay]
        return k, v

    def mask(self, T_new: int) -> Bool[Tensor, "T_new T"]:
        """Which of the kept and new keys each of several new queries may look at.

        Parameters
        ----------
        T_new : int
            How many positions the next `append` will bring.

        Returns
        -------
        mask : boolean Tensor of shape (T_new, T)
            True = may attend.
        """
        check_count("RollingKVCache.mask", "T_new", T_new, least=0)
        keys = self._positions_with(T_new)
        queries = keys[len(self) :, None]  # (T_new, 1)
        return (keys <= queries) & ((queries - keys <= self.window) | (keys < self.sinks))

    def _positions_with(self, T_new: int) -> Int[Tensor, " T"]:
        device = self.positions.device
        return torch.cat([self.positions, torch.arange(self.seen, self.seen + T_new, device=device)])

    @property
    def bytes(self) -> int:
        """The memory that is taken between two calls."""
        return sum(x.numel() * x.element_size() for x in (self.k, self.v) if x is not None)

    def __len__(self) -> int:
        """How many positions are kept."""
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<RollingKVCache: {len(self)} of {self.seen} positions, {self.bytes} bytes>"
