"""Keys and values are kept, so that a new token costs one query."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .checks import check_append, check_count, check_items


class KVCache:
    """The keys and values of the positions so far, of one attention layer.

    A causal query looks back only, so the keys and values of earlier positions never change. Who writes a text token
    by token keeps them, and computes query, key and value of the new token alone:

    >>> from attention_variants import attention_masked
    >>> cache = KVCache()
    >>> for t in range(3):
    ...     q, k, v = torch.randn(3, 1, 4)  # one position: T = 1
    ...     context, weights = attention_masked(q, *cache.append(k, v))
    >>> weights.shape, len(cache), cache.bytes  # 3 keys and 3 values of 4 numbers of 4 bytes
    (torch.Size([1, 3]), 3, 96)

    One query needs no mask: every key is before it. Several queries at once need one that is aligned at the end, where
    the last query stands at the last key: `mask`, which is ``causal_mask(T_q, T_k, align="bottom-right")``.
    Shazeer (2019), "Fast Transformer Decoding: One Write-Head is All You Need", section 2.4, arXiv:1911.02150, counts
    what is saved, and what is not.

    Parameters
    ----------
    max_len : int, optional
        Room for so many positions is made at the first `append` and filled in place: nothing is copied, and no
        gradient flows. By default the cache grows: each time all is copied to longer tensors, and gradients flow.

    Attributes
    ----------
    k, v : Tensor of shape (..., T, d_k) and (..., T, d_v), or None
        What is kept; None before the first `append`.
    """

    def __init__(self, max_len: int | None = None) -> None:
        if max_len is not None:
            check_count("KVCache", "max_len", max_len)
        self.max_len = max_len
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self._room: tuple[Tensor, Tensor] | None = None

    def append(
        self, k: Float[Tensor, "*batch T_new d_k"], v: Float[Tensor, "*batch T_new d_v"]
    ) -> tuple[Float[Tensor, "*batch T d_k"], Float[Tensor, "*batch T d_v"]]:
        """Keep the keys and values of new positions, and return all.

        Parameters
        ----------
        k : Tensor of shape (..., T_new, d_k)
            The keys of one position or several: of one head, of all heads beside each other, or with an axis for heads.
        v : Tensor of shape (..., T_new, d_v)
            Their values.

        Returns
        -------
        k : Tensor of shape (..., T, d_k)
        v : Tensor of shape (..., T, d_v)
            All that is kept, the new ones last.

        Raises
        ------
        TypeError, ValueError
            If they do not fit what is kept (batch, heads, width, dtype, device), or there is no room for them.
        """
        check_append(self, k, v)
        start, end = len(self), len(self) + k.shape[-2]
        if self.max_len is None:
            if self.k is None:  # a copy at first too: what is kept must not change with the caller's own tensor
                k, v = k.clone(), v.clone()
            self.k = k if self.k is None else torch.cat([self.k, k], dim=-2)  # (..., T, d_k)
            self.v = v if self.v is None else torch.cat([self.v, v], dim=-2)
            return self.k, self.v
        if self._room is None:
            room_k, room_v = (x.new_empty(*x.shape[:-2], self.max_len, x.shape[-1]) for x in (k, v))
            self._room = room_k, room_v
        room_k, room_v = self._room
        if room_k.is_inference() and not torch.is_inference_mode_enabled():  # it could not be filled here: a copy can
            self._room = room_k, room_v = room_k.clone(), room_v.clone()
        room_k[..., start:end, :] = k.detach()
        room_v[..., start:end, :] = v.detach()
        self.k, self.v = room_k[..., :end, :], room_v[..., :end, :]
        return self.k, self.v

    def mask(self, T_new: int) -> Bool[Tensor, "T_new T"]:
        """Which keys, kept and new, each of several new queries may look at; asked for before `append`.

        Parameters
        ----------
        T_new : int
            How many positions the next `append` will bring.

        Returns
        -------
        mask : boolean Tensor of shape (T_new, T)
            True = may attend.
        """
        check_count("KVCache.mask", "T_new", T_new, least=0)
        T = len(self) + T_new
        device = None if self.k is None else self.k.device
        positions = torch.arange(T, device=device)
        return positions[len(self) :, None] >= positions  # (T_new, 1) >= (T) -> (T_new, T)

    def trim(self, length: int) -> None:
        """Forget all but the first positions, as if the others had never come.

        Parameters
        ----------
        length : int
            How many to keep, at most as many as there are.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        check_count("KVCache.trim", "length", length, least=0)
        if length > len(self):
            raise ValueError(f"KVCache.trim: only {len(self)} positions are kept; got length = {length}.")
        if self.k is not None and self.v is not None:
            self.k, self.v = self.k[..., :length, :], self.v[..., :length, :]

    def reorder(self, items: Int[Tensor, " B_new"]) -> None:
        """Take other items of the batch in place of those there are: each beam goes on from the one it came from.

        Parameters
        ----------
        items : integer Tensor of shape (B_new)
            The numbers of the items to keep, in their new order; one may come several times, or not at all.

        Raises
        ------
        TypeError, ValueError
            If they are not whole numbers of items that there are, or there is no batch. An empty cache stays empty.
        """
        check_items(self, items)
        if self.k is not None and self.v is not None:
            T = len(self)
            if self._room is None:
                self.k, self.v = self.k[items], self.v[items]  # (B, ...) -> (B_new, ...)
            else:
                room_k, room_v = (x[items] for x in self._room)
                self._room, self.k, self.v = (room_k, room_v), room_k[..., :T, :], room_v[..., :T, :]

    @property
    def bytes(self) -> int:
        """The memory that is taken: of what is kept or, if there is a ``max_len``, of the whole room."""
        taken = self._room if self._room is not None else (self.k, self.v)
        return sum(x.numel() * x.element_size() for x in taken if x is not None)

    @property
    def seen(self) -> int:
        """How many positions the text has so far; all are kept."""
        return len(self)

    def __len__(self) -> int:
        """How many positions are kept."""
        return 0 if self.k is None else self.k.shape[-2]

    def __repr__(self) -> str:
        room = "" if self.max_len is None else f" of {self.max_len}"
        return f"<KVCache: {len(self)}{room} positions, {self.bytes} bytes>"
