"""The encoder: every position of the source looks at every other, layer by layer."""

from __future__ import annotations

from copy import deepcopy

from jaxtyping import Bool, Float
from torch import Tensor, nn

from .layer import MultiHeadAttention
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
        copy_feed_forward(new.feed_forward, layer)
        for add_norm, norm, dropout in (
            (new.add_norm_1, layer.norm1, layer.dropout1),
            (new.add_norm_2, layer.norm2, layer.dropout2),
        ):
            add_norm.norm, add_norm.dropout = deepcopy(norm), deepcopy(dropout)
        return new.train(layer.training)


class Encoder(nn.Module):
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

    def __init__(
        self,
        num_layers: int,
        d_model: int,
        num_heads: int,
        d_ff: int,
        *,
        dropout: float = 0.0,
        norm_first: bool = False,
        variant: int = 7,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, num_heads, d_ff, dropout=dropout, norm_first=norm_first, variant=variant)
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.LayerNorm(d_model) if norm_first else nn.Identity()

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

    @classmethod
    def from_torch(cls, module: nn.TransformerEncoder, *, variant: int = 7) -> Encoder:
        """Make an encoder with copies of the weights of a ``torch.nn.TransformerEncoder``.

        Ours is batch-first whatever the module is. A last norm is taken over if there is one.
        """
        check_class(module, nn.TransformerEncoder)
        layers = [EncoderLayer.from_torch(layer, variant=variant) for layer in module.layers]
        encoder = cls(0, layers[0].self_attention.d_model, 1, 1)
        encoder.layers.extend(layers)
        encoder.norm = nn.Identity() if module.norm is None else deepcopy(module.norm)
        return encoder.train(module.training)


def check_class(module: object, wanted: type[nn.Module]) -> None:
    """Refuse what has other parts, or the same parts for another use."""
    if not isinstance(module, wanted):
        raise TypeError(f"from_torch takes a torch.nn.{wanted.__name__}; got {type(module).__name__}.")


def copy_feed_forward(ours: FeedForward, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    """Copy what PyTorch keeps in the layer itself: two linear layers, a dropout and the activation."""
    ours.w_1, ours.w_2 = deepcopy(theirs.linear1), deepcopy(theirs.linear2)
    ours.dropout, ours.activation = deepcopy(theirs.dropout), deepcopy(theirs.activation)
