"""Seven versions of attention, one change at a time.

``import attention_variants as av`` costs next to nothing: PyTorch, the variants, and what draws, measures or grades
are loaded when they are first used.

- ``av.VARIANTS[1]`` ... ``av.VARIANTS[7]``: the functions themselves, read them first
- ``av.MultiHeadAttention``, ``av.lift``, the masks: what stands around them
- ``av.Transformer``: a whole Transformer, every attention in it any of the seven; ``av.read_date`` asks a trained one
- ``av.compare``, ``av.trace``, ``av.show``, ``av.diff``, ``av.plot_weights``, ``av.load_example``: look and measure
- ``av.animate``, ``av.explore``, ``av.pretrained``: see it move, look around in it, and run it inside a real model
- ``av.check``: write a step yourself and hear what is wrong with it
- ``av.register``: add a variant of your own; all that lists or judges variants then knows it

The public names and where they live stand in ``__init__.pyi``, and nowhere else.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
#: What ``from attention_variants import *`` brings: no subpackages, whose names, such as ``model``, readers use too.
__all__ = [name for name in _names if name not in ("classroom", "lab", "model", "modern", "variants")]
