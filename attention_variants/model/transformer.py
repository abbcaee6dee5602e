"""The whole Transformer: an encoder reads the source, a decoder writes the target, every attention one of the seven."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attention_variants.variants.checks import check_kind

from .decoder import Decoder, DecoderLayerCache
from .embedding import PositionalEncoding, TokenEmbedding
from .encoder import Encoder
from .layer import MultiHeadAttention


class Weights(NamedTuple):
    """The attention weights of a whole Transformer, one tensor for each layer.

    Attributes
    ----------
    encoder : list of Tensor of shape (B, num_heads, T_s, T_s)
        How the source looks at itself.
    decoder : list of Tensor of shape (B, num_heads, T_t, T_t)
        How the target looks back at itself.
    cross : list of Tensor of shape (B, num_heads, T_t, T_s)
        How the target looks at the source.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


class Transformer(nn.Module):
    """A Transformer for sequences of tokens, as in the paper.

    Parameters
    ----------
    source_vocab, target_vocab : int
        How many different tokens either side has; 0 is padding on both.
    d_model : int, default 512
        The width of every vector.
    num_heads : int, default 8
        The heads of every attention.
    num_layers : int, default 6
        The layers of the encoder, and of the decoder.
    d_ff : int, default 2048
        The width inside the feed-forward networks.
    dropout : float, default 0.1
        In training mode only.
    max_len : int, default 512
        The longest sequence, on either side.
    norm_first : bool, default False
        Pre-norm instead of the paper's post-norm, see `AddNorm`.
    tied : bool, default True
        Whether the output projection is the target's embedding matrix (the paper shares it with the source too), or one
        of its own.
    variant : int, default 7
        Which of the seven attends, 1 to 7; ``model.variant = 1`` swaps it everywhere.

    Attributes
    ----------
    source_embedding, target_embedding : TokenEmbedding
        A vector for each token.
    encoder, decoder : Encoder, Decoder
        The two stacks.
    output : torch.nn.Linear or None
        The output projection; None if tied.

    Raises
    ------
    ValueError
        If there is no layer, num_heads does not divide d_model, d_model is odd, or there is no such variant.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3. arXiv:1706.03762

    Examples
    --------
    >>> model = Transformer(source_vocab=20, target_vocab=12, d_model=8, num_heads=2, num_layers=1, d_ff=16)
    >>> logits, _ = model(torch.randint(1, 20, (2, 7)), torch.randint(1, 12, (2, 5)))
    >>> logits.shape
    torch.Size([2, 5, 12])
    """

    pad = 0  #: The token number of padding.

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int = 2048,
        *,
        dropout: float = 0.1,
        max_len: int = 512,
        norm_first: bool = False,
        tied: bool = True,
        variant: int = 7,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"Transformer: num_layers must be at least 1; got {num_layers}.")
        self.source_embedding = TokenEmbedding(source_vocab, d_model)
        self.target_embedding = TokenEmbedding(target_vocab, d_model)
        self.position = PositionalEncoding(d_model, max_len, dropout=dropout)
        self.encoder = Encoder(
            num_layers, d_model, num_heads, d_ff, dropout=dropout, norm_first=norm_first, variant=variant
        )
        self.decoder = Decoder(
            num_layers, d_model, num_heads, d_ff, dropout=dropout, norm_first=norm_first, variant=variant
        )
        self.output = None if tied else nn.Linear(d_model, target_vocab, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                nn.init.xavier_uniform_(parameter)

    @property
    def variant(self) -> int:
        """The number of the variant that attends, in every layer."""
        return self._attentions()[0].variant

    @variant.setter
    def variant(self, variant: int) -> None:
        for attention in self._attentions():
            attention.variant = variant

    def _attentions(self) -> list[MultiHeadAttention]:
        return [module for module in self.modules() if isinstance(module, MultiHeadAttention)]

    def forward(
        self,
        source: Int[Tensor, "B T_s"],
        target: Int[Tensor, "B T_t"],
        *,
        is_causal: bool = True,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T_t target_vocab"], Weights | None]:
        """Predict, at every position of the target, the token that comes next.

        Parameters
        ----------
        source : integer Tensor of shape (B, T_s)
            The numbers of the tokens that are read; 0 is padding, at the end.
        target : integer Tensor of shape (B, T_t)
            The numbers of the tokens that are written, from the start token on; 0 is padding, at the end.
        is_causal : bool, default True
            Whether no position of the target may look at a later one. Without it, a model in training reads the
            answer off its input, and learns nothing.
        need_weights : bool, default False
            Whether to return the weights of every attention too.

        Returns
        -------
        logits : Tensor of shape (B, T_t, target_vocab)
            At position t, those of the token at t + 1.
        weights : Weights or None
            None unless ``need_weights``.
        """
        memory, encoder_weights = self.encode(source, need_weights=need_weights)
        logits, decoder_weights = self.decode(
            target, memory, self.mask(source), is_causal=is_causal, need_weights=need_weights
        )
        if not need_weights:
            return logits, None
        decoder, cross = zip(*decoder_weights, strict=True)  # of each layer a pair
        return logits, Weights(_tensors(encoder_weights), _tensors(decoder), _tensors(cross))

    def encode(
        self, source: Int[Tensor, "B T_s"], *, need_weights: bool = False
    ) -> tuple[Float[Tensor, "B T_s d_model"], list[Tensor | None]]:
        """Read the source: make the vectors that the decoder looks at.

        Parameters
        ----------
        source : integer Tensor of shape (B, T_s)
            The numbers of the tokens; 0 is padding, at the end.
        need_weights : bool, default False
            Whether to return the weights too.

        Returns
        -------
        memory : Tensor of shape (B, T_s, d_model)
            A vector for each token.
        weights : list of Tensor of shape (B, num_heads, T_s, T_s), or of None
            Those of each layer; None unless ``need_weights``.
        """
        x = self.position(self.source_embedding(source))  # (B, T_s) -> (B, T_s, d_model)
        memory, weights = self.encoder(x, self.mask(source), need_weights=need_weights)
        return memory, weights

    def decode(
        self,
        target: Int[Tensor, "B T_t"],
        memory: Float[Tensor, "B T_s d_model"],
        memory_mask: Bool[Tensor, "B 1 1 T_s"],
        *,
        is_causal: bool = True,
        need_weights: bool = False,
        cache: Sequence[DecoderLayerCache] | None = None,
    ) -> tuple[Float[Tensor, "B T_new target_vocab"], list[tuple[Tensor | None, Tensor | None]]]:
        """Predict the next token at every position of the target, from what `encode` made of the source.

        Parameters
        ----------
        target : integer Tensor of shape (B, T_t)
            The numbers of the tokens so far; 0 is padding, at the end.
        memory : Tensor of shape (B, T_s, d_model)
            What `encode` returned.
        memory_mask : boolean Tensor of shape (B, 1, 1, T_s)
            The source's `mask`.
        is_causal : bool, default True
            Whether no position of the target may look at a later one.
        need_weights : bool, default False
            Whether to return the weights too.
        cache : sequence of DecoderLayerCache, optional
            Of earlier calls with the beginning of the same target (``model.decoder.new_cache()`` at first): positions
            that it keeps are not computed again, and nothing is returned of them.

        Returns
        -------
        logits : Tensor of shape (B, T_new, target_vocab)
            At position t, those of the token at t + 1; of all T_t positions or, with a cache, of the new ones.
        weights : list of (Tensor or None, Tensor or None)
            Of each layer those among the target, of shape (B, num_heads, T_t, T_t), and those from the target to the
            source, of shape (B, num_heads, T_t, T_s); None unless ``need_weights``.
        """
        for layer in cache or ():
            check_kind("Transformer", "each cache", layer, DecoderLayerCache)
        kept = len(cache[0].target) if cache else 0
        if kept and kept >= target.shape[1]:
            raise ValueError(
                f"Transformer: the cache keeps {kept} positions, and target has no more: {target.shape[1]}."
            )
        x = self.position(self.target_embedding(target[:, kept:]), kept)  # (B, T_t) -> (B, T_t, d_model)
        x, weights = self.decoder(
            x, memory, self.mask(target), memory_mask, is_causal=is_causal, need_weights=need_weights, cache=cache
        )
        projection = self.target_embedding.weight if self.output is None else self.output.weight
        return F.linear(x, projection), weights  # (B, T_t, d_model) -> (B, T_t, target_vocab)

    def mask(self, tokens: Int[Tensor, "B T"]) -> Bool[Tensor, "B 1 1 T"]:
        """True where there is a token, False on padding; for all heads and all queries."""
        return (tokens != self.pad)[:, None, None, :]


def _tensors(weights: Iterable[Tensor | None]) -> list[Tensor]:
    """List the weights of a call that asked for them: no layer leaves them out."""
    return [one for one in weights if one is not None]
