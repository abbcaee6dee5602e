"""The encoder: every position of the source looks at every other, layer by layer."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from .convert import check_class, copy_around_attention
from .layer import MultiHeadAttention
from .stack import Stack
from .sublayers import AddNorm, FeedForward


class EncoderLayer(nn.Module):
    """Two sub-layers, each inside Add & Norm: self-attention, then a feed-forward network.

    Parameters
    ----------
    d_model : int
        The width of what goes in and comes out.
    num_heads : int
        The number of heads; must divide d_model.
    d_ff : int
        The width inside the feed-forward network.
    dropout : float, default 0.0
        On weights, inside the feed-forward network and on what each sub-layer computed; in training mode only.
    norm_first : bool, default False
        Pre-norm instead of the paper's post-norm, see `AddNorm`.
    variant : int, default 7
        Which of the seven attends.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.1. arXiv:1706.03762
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        *,
        dropout: float = 0.0,
        norm_first: bool = False,
        variant: int = 7,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads, dropout=dropout, variant=variant)
        self.add_norm_1 = AddNorm(d_model, dropout=dropout, norm_first=norm_first)
        self.feed_forward = FeedForward(d_model, d_ff, dropout=dropout)
        self.add_norm_2 = AddNorm(d_model, dropout=dropout, norm_first=norm_first)

    def forward(
        self,
        x: Float[Tensor, "*batch T d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "*batch T d_model"], Float[Tensor, "*batch num_heads T T"] | None]:
        """Let each position look at the others, then work on what it found.

        Parameters
        ----------
        x : Tensor of shape (..., T, d_model)
            A vector for each position.
        mask : boolean Tensor that broadcasts to (..., num_heads, T, T), optional
            True = may attend; `padding_mask` keeps attention away from padding.
        need_weights : bool, default False
            Whether to return the weights too.

        Returns
        -------
        x : Tensor of shape (..., T, d_model)
            The vectors, reworked.
        weights : Tensor of shape (..., num_heads, T, T), or None
            Who looked where. None unless ``need_weights``.
        """
        attended, weights = self.self_attention(self.add_norm_1.entrance(x), mask=mask, need_weights=need_weights)
        x = self.add_norm_1(x, attended)
        x = self.add_norm_2(x, self.feed_forward(self.add_norm_2.entrance(x)))
        return x, weights

    @classmethod
    def from_torch(cls, layer: nn.TransformerEncoderLayer, *, variant: int = 7) -> EncoderLayer:
        """Make a layer with copies of the weights of a ``torch.nn.TransformerEncoderLayer``."""
        check_class(layer, nn.TransformerEncoderLayer)
        attention = layer.self_attn
        new = cls(attention.embed_dim, attention.num_heads, layer.linear1.out_features, norm_first=layer.norm_first)
        new.self_attention = MultiHeadAttention.from_torch(attention, variant=variant)
        copy_around_attention(new, layer)
        return new.train(layer.training)


class Encoder(Stack):
    """A stack of encoder layers.

    Parameters
    ----------
    num_layers : int
        How many layers (6 in the paper).
    d_model, num_heads, d_ff, dropout, norm_first, variant
        Of each layer, see `EncoderLayer`.

    Attributes
    ----------
    layers : torch.nn.ModuleList of EncoderLayer
        From the first to the last.
    norm : torch.nn.Module
        A last norm in a pre-norm stack, where the sum itself is never normalised; nothing in a post-norm stack.
    """

    layer_class = EncoderLayer
    torch_class = nn.TransformerEncoder

    def forward(
        self,
        x: Float[Tensor, "*batch T d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "*batch T d_model"], list[Tensor | None]]:
        """Run the layers in order.

        Parameters
        ----------
        x, mask, need_weights
            As `EncoderLayer.forward` takes them.

        Returns
        -------
        memory : Tensor of shape (..., T, d_model)
            What the decoder will look at.
        weights : list of Tensor of shape (..., num_heads, T, T), or of None
            Those of each layer.
        """
        all_weights = []
        for layer in self.layers:
            x, weights = layer(x, mask, need_weights=need_weights)
            all_weights.append(weights)
        return self.norm(x), all_weights
