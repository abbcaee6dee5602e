"""The public names: each stands here once, and is loaded when it is first used.

`lazy_loader` reads this file when the package is imported; mypy and editors read it too. A new public name is a new
line: ``from .its.module import name as name``.
"""

from . import classroom as classroom
from . import lab as lab
from . import model as model
from . import variants as variants
from .classroom.check import check as check
from .classroom.check_layer import check_layer as check_layer
from .classroom.check_module import check_module as check_module
from .classroom.misconceptions import MISCONCEPTIONS as MISCONCEPTIONS
from .lab.animation.animate import animate as animate
from .lab.animation.films import animate_figure as animate_figure
from .lab.animation.films import animate_writing as animate_writing
from .lab.code.source import code_lines as code_lines
from .lab.code.source import diff as diff
from .lab.code.source import show as show
from .lab.code.trace import trace as trace
from .lab.examples import list_examples as list_examples
from .lab.examples import load_batch as load_batch
from .lab.examples import load_example as load_example
from .lab.explore import explore as explore
from .lab.measure.compare import compare as compare
from .lab.measure.same import same_answer as same_answer
from .lab.plots.chain import plot_chain as plot_chain
from .lab.plots.colors import COLORS as COLORS
from .lab.plots.dates import plot_probabilities as plot_probabilities
from .lab.plots.dates import plot_reading as plot_reading
from .lab.plots.diagrams import plot_self_and_cross as plot_self_and_cross
from .lab.plots.diagrams import plot_staircase as plot_staircase
from .lab.plots.diagrams import plot_transformer as plot_transformer
from .lab.plots.difference import plot_difference as plot_difference
from .lab.plots.heads import plot_heads as plot_heads
from .lab.plots.layer import plot_layer as plot_layer
from .lab.plots.panels import panels as panels
from .lab.plots.projection import plot_projection as plot_projection
from .lab.plots.weights import plot_weights as plot_weights
from .lab.pretrained import pretrained as pretrained
from .model import AddNorm as AddNorm
from .model import Decoder as Decoder
from .model import DecoderLayer as DecoderLayer
from .model import Encoder as Encoder
from .model import EncoderLayer as EncoderLayer
from .model import FeedForward as FeedForward
from .model import MultiHeadAttention as MultiHeadAttention
from .model import PositionalEncoding as PositionalEncoding
from .model import TokenEmbedding as TokenEmbedding
from .model import Transformer as Transformer
from .model import beam_search as beam_search
from .model import causal_mask as causal_mask
from .model import combine_masks as combine_masks
from .model import greedy_decode as greedy_decode
from .model import lift as lift
from .model import padding_mask as padding_mask
from .model import positional_encoding as positional_encoding
from .model import sliding_window_mask as sliding_window_mask
from .model.date_model import date_accuracy as date_accuracy
from .model.date_model import date_model as date_model
from .model.date_model import load_date_model as load_date_model
from .model.date_model import read_date as read_date
from .model.date_model import train_dates as train_dates
from .model.two_lookups import two_lookups as two_lookups
from .variants import CAPABILITIES as CAPABILITIES
from .variants import VARIANTS as VARIANTS
from .variants import Variant as Variant
from .variants import attention_batched as attention_batched
from .variants import attention_loops as attention_loops
from .variants import attention_masked as attention_masked
from .variants import attention_matmul as attention_matmul
from .variants import attention_tiled as attention_tiled
from .variants import describe_variant as describe_variant
from .variants import fused_kernel as fused_kernel
from .variants import get_variant as get_variant
from .variants import multihead_attention as multihead_attention
from .variants import multihead_attention_fused as multihead_attention_fused
from .variants import multihead_attention_loop as multihead_attention_loop
from .variants import register as register
from .variants import takes as takes
from .variants import unregister as unregister
from .variants import variants_that_take as variants_that_take

__version__: str
