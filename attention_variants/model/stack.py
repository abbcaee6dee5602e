"""What encoder and decoder have in common: a stack of layers with a last norm."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

from torch import nn

from .convert import check_class


class Stack(nn.Module):
    """Layers, one upon the other, and in a pre-norm stack a last norm: there the sum itself is never normalised.

    Parameters
    ----------
    num_layers : int
        How many layers (6 in the paper).
    d_model, num_heads, d_ff, dropout, norm_first, variant
        Of each layer, see `EncoderLayer`.
    """

    layer_class: ClassVar[Any]  #: Ours, of which the stack is made.
    torch_class: ClassVar[type[nn.Module]]  #: PyTorch's stack of the same kind.

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
            self.layer_class(d_model, num_heads, d_ff, dropout=dropout, norm_first=norm_first, variant=variant)
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.LayerNorm(d_model) if norm_first else nn.Identity()

    @classmethod
    def from_torch(cls, module: Any, *, variant: int = 7) -> Stack:
        """Make a stack with copies of the weights of PyTorch's: ``TransformerEncoder`` or ``TransformerDecoder``.

        Ours is batch-first whatever the module is. A last norm is taken over if there is one.
        """
        check_class(module, cls.torch_class)
        layers = [cls.layer_class.from_torch(layer, variant=variant) for layer in module.layers]
        stack = cls(0, layers[0].self_attention.d_model, 1, 1)
        stack.layers.extend(layers)
        stack.norm = nn.Identity() if module.norm is None else deepcopy(module.norm)
        return stack.train(module.training)
