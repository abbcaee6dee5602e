"""Who takes part: our variants, and what a reader would pick instead, each with the same weights.

An adapter is a small module around another library's: it copies the weights of our layer into it, says the mask in
its language (polarity, dtype and shape differ from library to library), and hands back ``(output, weights)``. What it
does once, before the clock runs, is in ``__init__``; what every call must do is in ``forward``.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from attention_variants.lab.measure.operations import loops_over_numbers
from attention_variants.model.layer import MultiHeadAttention
from attention_variants.model.lift import lift
from attention_variants.variants import VARIANTS, describe_variant, takes

from .adapter import Adapter
from .bare import BareOperations
from .reasons import Reason, Why
from .result import BARE_NAME, name_of
from .workloads import Problem, Workload

#: How to install what the extra ``bench`` cannot bring; see scripts/without_dependencies/.
_INSTALL = {
    "labml-nn": "labml && pip install --no-deps labml-nn",
    "llms-from-scratch": "--no-deps llms-from-scratch",
}

#: The names of those that are looked for in a run; what is stored has them too.
TORCH, FAST_PATH, TEXTBOOK = "nn.MultiheadAttention", "nn.MHA, fast path", "textbook class"
BERT_SDPA = "transformers BERT, sdpa"

#: With more scores than this (B * H * T_q * T_k), who stores them all is timed only where weights are asked for...
MANY_SCORES = 10_000_000
#: ... but for these two, which go on to this many, so that one sees what storing them costs.
EXAMPLES, MOST_SCORES = (name_of(6), TEXTBOOK), 100_000_000
#: In bfloat16, in which many a CPU computes at a third of the speed, it is a tenth as many.
FEWER_IN_BFLOAT16 = 10
#: Who goes through ``torch.compile`` where that is asked for: it takes seconds for each.
COMPILED = (name_of(7), name_of(6), TORCH, TEXTBOOK, BERT_SDPA)


class Ours(Adapter):
    """One of our variants, lifted, in our layer."""

    def __init__(self, problem: Problem, variant: int) -> None:
        super().__init__()
        self.layer = _copy(problem.layer, variant)
        self.need_weights = problem.workload.weights
        self.is_causal = problem.workload.mask == "causal" and takes(variant, "is_causal") and not self.need_weights
        self.mask = None if self.is_causal else problem.mask

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend."""
        return self.layer(x, memory, mask=self.mask, need_weights=self.need_weights, is_causal=self.is_causal)


class Textbook(Adapter):
    """The class that most tutorials arrive at: scores / sqrt, masked_fill(-1e9), softmax, matmul."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        layer = _copy(problem.layer)
        self.w_q, self.w_k, self.w_v, self.w_o = layer.w_q, layer.w_k, layer.w_v, layer.w_o
        self.num_heads, self.d_k = layer.num_heads, layer.d_model // layer.num_heads
        self.mask = problem.mask

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Attend."""
        q, k, v = (self._split(y) for y in (self.w_q(x), self.w_k(memory), self.w_v(memory)))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.d_k)
        if self.mask is not None:
            scores = scores.masked_fill(self.mask == 0, -1e9)
        weights = torch.softmax(scores, dim=-1)
        context = torch.matmul(weights, v).transpose(1, 2).contiguous()
        return self.w_o(context.view(*x.shape)), weights

    def _split(self, y: Tensor) -> Tensor:
        B, T, _ = y.shape
        return y.view(B, T, self.num_heads, self.d_k).transpose(1, 2)


class TorchModule(Adapter):
    """``torch.nn.MultiheadAttention``; in evaluation and without gradients it takes its inference fast path."""

    def __init__(self, problem: Problem, *, training: bool) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        self.module = nn.MultiheadAttention(w.d_model, w.heads, batch_first=True)
        with torch.no_grad():
            self.module.in_proj_weight.copy_(torch.cat([layer.w_q.weight, layer.w_k.weight, layer.w_v.weight]))
            self.module.in_proj_bias.copy_(torch.cat([layer.w_q.bias, layer.w_k.bias, layer.w_v.bias]))
            _load(self.module.out_proj, layer.w_o)
        self.module.to(problem.x).train(training)
        self.options: dict[str, Any] = {"need_weights": w.weights, "average_attn_weights": False}
        if problem.mask is not None:
            blocked = ~problem.mask if w.mask == "causal" else ~problem.mask[:, 0, 0]
            if training:  # of booleans it would make such numbers to add in every call; the fast path wants booleans
                blocked = torch.zeros_like(blocked, dtype=problem.x.dtype).masked_fill(blocked, -math.inf)
            if w.mask == "causal":  # the flag says that the mask is the causal one
                self.options |= {"attn_mask": blocked, "is_causal": not w.weights}
            else:
                self.options["key_padding_mask"] = blocked

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend."""
        return self.module(x, memory, memory, **self.options)


class FromScratch(Adapter):
    """A class of chapter 3 of ``llms-from-scratch``: always causal, gives no weights.

    Its classes with a single head are not the same function. ``MultiHeadAttentionWrapper`` has no output projection;
    it gets one here.
    """

    def __init__(self, problem: Problem, name: str) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        chapter = _import("llms_from_scratch.ch03")
        sizes = {"d_in": w.d_model, "d_out": w.d_model, "qkv_bias": True, "num_heads": w.heads, "dropout": 0.0}
        self.output: nn.Module = nn.Identity()
        if name == "PyTorchMultiHeadAttention":
            self.module = chapter.PyTorchMultiHeadAttention(**sizes)
            _load(self.module.qkv, layer.w_q, layer.w_k, layer.w_v)
            _load(self.module.proj, layer.w_o)
        elif name == "MultiHeadAttention":
            self.module = chapter.MultiHeadAttention(**sizes, context_length=w.queries)
            _load(self.module.W_query, layer.w_q)
            _load(self.module.W_key, layer.w_k)
            _load(self.module.W_value, layer.w_v)
            _load(self.module.out_proj, layer.w_o)
        else:
            d_k = w.d_model // w.heads
            self.module = chapter.MultiHeadAttentionWrapper(**sizes | {"d_out": d_k}, context_length=w.queries)
            for h, head in enumerate(self.module.heads):
                rows = slice(h * d_k, (h + 1) * d_k)
                _load(head.W_query, layer.w_q, rows=rows)
                _load(head.W_key, layer.w_k, rows=rows)
                _load(head.W_value, layer.w_v, rows=rows)
            self.output = nn.Linear(w.d_model, w.d_model)
            _load(self.output, layer.w_o)
        self.to(problem.x).eval()

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, None]:
        """Attend."""
        return self.output(self.module(x)), None


class XTransformers(Adapter):
    """``x_transformers.Attention`` with its flash option; its projections have no bias and get ours here."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        attention = _import("x_transformers.x_transformers").Attention
        causal = w.mask == "causal"
        self.module = attention(dim=w.d_model, heads=w.heads, dim_head=w.d_model // w.heads, flash=True, causal=causal)
        for name in ("q", "k", "v"):
            _load(getattr(self.module, f"to_{name}"), getattr(layer, f"w_{name}"))
        _load(self.module.to_out, layer.w_o)
        self.to(problem.x).eval()
        self.mask = None if causal else problem.mask
        self.is_self = w.is_self

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, None]:
        """Attend."""
        return self.module(x, context=None if self.is_self else memory, attn_mask=self.mask), None


class Labml(Adapter):
    """``labml_nn.transformers.mha``: axes (time, batch, feature); keeps its weights, detached, in ``attn``."""

    time_first = True

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        mha = _import("labml_nn.transformers.mha")
        if not hasattr(
            mha.tracker, "debug"
        ):  # it reports its weights there; later versions of labml have no such place
            mha.tracker.debug = lambda *_: None
        self.module = mha.MultiHeadAttention(w.heads, w.d_model, dropout_prob=0.0)
        for name in ("query", "key", "value"):
            _load(getattr(self.module, name).linear, getattr(layer, f"w_{name[0]}"))
        _load(self.module.output, layer.w_o)
        self.to(problem.x).eval()
        self.mask = None
        if problem.mask is not None:  # (T, T) or (B, 1, 1, T_k) -> (T_q or 1, T_k, B or 1)
            mask = problem.mask if w.mask == "causal" else problem.mask[:, 0]
            self.mask = torch.atleast_3d(mask) if w.mask == "causal" else mask.permute(1, 2, 0)
        self.need_weights = w.weights

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend."""
        output = self.module(query=x, key=memory, value=memory, mask=self.mask)
        return output, self.module.attn.permute(2, 3, 0, 1) if self.need_weights else None


class Bert(Adapter):
    """BERT's attention of ``transformers`` and the product after it (its residual and layer norm stay outside)."""

    def __init__(self, problem: Problem, implementation: str) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        modeling = _import("transformers.models.bert.modeling_bert")
        config = modeling.BertConfig(hidden_size=w.d_model, num_attention_heads=w.heads)
        config._attn_implementation = implementation
        kind = modeling.BertSelfAttention if w.is_self else modeling.BertCrossAttention
        self.module = kind(config, is_causal=w.mask == "causal")
        for name in ("query", "key", "value"):
            _load(getattr(self.module, name), getattr(layer, f"w_{name[0]}"))
        self.dense = nn.Linear(w.d_model, w.d_model)
        _load(self.dense, layer.w_o)
        self.to(problem.x).eval()
        self.mask, self.is_self = _mask_of_transformers(problem, implementation), w.is_self

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend."""
        options = {} if self.is_self else {"encoder_hidden_states": memory}
        context, weights = self.module(x, attention_mask=self.mask, **options)
        return self.dense(context), weights


class Gpt2(Adapter):
    """GPT-2's attention of ``transformers``: always causal, its three projections in one product."""

    def __init__(self, problem: Problem, implementation: str) -> None:
        super().__init__()
        w, layer = problem.workload, problem.layer
        modeling = _import("transformers.models.gpt2.modeling_gpt2")
        config = modeling.GPT2Config(n_embd=w.d_model, n_head=w.heads, n_positions=w.queries)
        config._attn_implementation = implementation
        self.module = modeling.GPT2Attention(config)
        with torch.no_grad():  # Conv1D keeps its weight as (in, out)
            for conv, linears in (
                (self.module.c_attn, (layer.w_q, layer.w_k, layer.w_v)),
                (self.module.c_proj, (layer.w_o,)),
            ):
                conv.weight.copy_(torch.cat([linear.weight for linear in linears]).T)
                conv.bias.copy_(torch.cat([linear.bias for linear in linears]))
        self.to(problem.x).eval()
        self.mask = _mask_of_transformers(problem, implementation)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend."""
        return self.module(x, attention_mask=self.mask)


@dataclass(frozen=True)
class Contender:
    """Somebody who takes part.

    Attributes
    ----------
    name : str
        How the tables call it.
    prepare : callable
        ``prepare(problem) -> Adapter``.
    package : str
        What must be installed for it, as the package index calls it.
    module : str
        What must be importable.
    gives_weights : bool
        Whether it can return the weights of each head.
    stores_scores : bool
        Whether the T_q x T_k matrix exists even if nobody asks for it.
    has_gradients : bool
        Whether it can be differentiated as it is timed.
    is_opaque : bool
        Whether it is one operation, into whose memory one cannot look.
    variant : int or None
        The number of our variant; None for the others.
    label : str
        A shorter name, for where its package is plain; by default the name.
    cannot, too_slow : callable
        Why it does not take part in a workload, or is checked there but not timed; None otherwise.
    """

    name: str
    prepare: Callable[[Problem], Adapter]
    package: str = "torch"
    module: str = "torch"
    gives_weights: bool = False
    stores_scores: bool = False
    has_gradients: bool = True
    is_opaque: bool = False
    variant: int | None = None
    label: str = ""
    cannot: Callable[[Workload], Why | None] = lambda workload: None
    too_slow: Callable[[Workload], Why | None] = lambda workload: None

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our variants."""
        return self.variant is not None

    @property
    def version(self) -> str:
        """The version of its package."""
        return version(self.package)

    def absent(self, workload: Workload) -> Reason | None:
        """Say why it does not take part.

        Parameters
        ----------
        workload : Workload

        Returns
        -------
        reason : Reason or None
            None if it takes part.
        """
        try:
            _import(self.module)
        except ImportError as error:
            install = _INSTALL.get(self.package, self.package)
            return Reason(Why.NOT_INSTALLED, {"error": str(error), "install": install})
        if workload.weights and not self.gives_weights:
            return Reason(Why.GIVES_NO_WEIGHTS)
        return _reason(self.cannot(workload))

    def untimed(self, workload: Workload) -> Reason | None:
        """Say why it is checked but not timed.

        Parameters
        ----------
        workload : Workload

        Returns
        -------
        reason : Reason or None
            None if it is timed.
        """
        scores = workload.batch * workload.heads * workload.queries * workload.keys
        most = MOST_SCORES if self.name in EXAMPLES else MANY_SCORES
        if workload.dtype == "bfloat16" and self.name not in EXAMPLES:
            most //= FEWER_IN_BFLOAT16
        if self.stores_scores and not workload.weights and scores > most:
            return Reason(Why.STORES_EVERY_SCORE)
        if workload.compiled and self.name not in (BARE.name, *COMPILED):
            return Reason(Why.NOT_COMPILED)
        return _reason(self.too_slow(workload))


def _reason(why: Why | None) -> Reason | None:
    return None if why is None else Reason(why)


def _ours(variant: int) -> Contender:
    has = describe_variant(variant).takes
    loops = loops_over_numbers(lift(variant))

    def too_slow(workload: Workload) -> Why | None:
        if loops:
            return Why.LOOPS_OVER_NUMBERS
        if "mask" not in has and workload.mask != "none":
            return Why.LOOPS_OVER_QUERIES
        if "heads" not in has and (workload.backward or workload.weights):
            return Why.LOOPS_OUTSIDE
        return None

    return Contender(
        name_of(variant),
        partial(Ours, variant=variant),
        package="attention-variants",
        module="attention_variants.variants",
        variant=variant,
        gives_weights=True,
        stores_scores="need_weights" not in has,
        too_slow=too_slow,
    )


def _causal_only(workload: Workload) -> Why | None:
    return None if workload.mask == "causal" else Why.ALWAYS_CAUSAL


def _fast_path(workload: Workload) -> Why | None:
    outside = workload.backward or not workload.is_self or workload.heads % 2
    return Why.OUTSIDE_THE_FAST_PATH if outside else None


def _from_scratch(word: str, name: str, *, stores_scores: bool) -> Contender:
    return Contender(
        f"llms-from-scratch{word}",
        lambda problem: FromScratch(problem, name),
        package="llms-from-scratch",
        module="llms_from_scratch.ch03",
        stores_scores=stores_scores,
        cannot=_causal_only,
    )


def _of_transformers(name: str, adapter: Callable[..., Adapter], implementation: str, **settings: Any) -> Contender:
    return Contender(
        f"transformers {name}, {implementation}",
        label=f"{name}, {implementation}",
        prepare=lambda problem: adapter(problem, implementation),
        package="transformers",
        module=f"transformers.models.{name.replace('-', '').lower()}",
        gives_weights=implementation == "eager",
        stores_scores=implementation == "eager",
        **settings,
    )


#: With what everybody is compared.
BARE = Contender(BARE_NAME, BareOperations, gives_weights=True)  # it gives none, and is what all are measured by

#: What a reader would pick instead of ours.
OTHERS: tuple[Contender, ...] = (
    Contender(TORCH, lambda p: TorchModule(p, training=True), gives_weights=True),
    Contender(
        FAST_PATH,
        lambda p: TorchModule(p, training=False),
        gives_weights=True,
        has_gradients=False,
        is_opaque=True,
        cannot=_fast_path,
    ),
    Contender(TEXTBOOK, Textbook, gives_weights=True, stores_scores=True),
    Contender("x-transformers, flash", XTransformers, package="x-transformers", module="x_transformers.x_transformers"),
    Contender(
        "labml-nn",
        Labml,
        package="labml-nn",
        module="labml_nn.transformers.mha",
        gives_weights=True,
        stores_scores=True,
    ),
    _of_transformers("BERT", Bert, "sdpa"),
    _of_transformers("BERT", Bert, "eager"),
    _of_transformers("GPT-2", Gpt2, "sdpa", cannot=_causal_only),
    _of_transformers("GPT-2", Gpt2, "eager", cannot=_causal_only),
    _from_scratch(", sdpa", "PyTorchMultiHeadAttention", stores_scores=False),
    _from_scratch("", "MultiHeadAttention", stores_scores=True),
    _from_scratch(", heads", "MultiHeadAttentionWrapper", stores_scores=True),
)


def ours() -> tuple[Contender, ...]:
    """Our variants, the last one first, those among them that were registered later.

    Returns
    -------
    contenders : tuple of Contender
    """
    return tuple(_ours(variant) for variant in reversed(VARIANTS))


def all_contenders() -> tuple[Contender, ...]:
    """Everybody but the bare operations: ours first, then the others.

    Returns
    -------
    contenders : tuple of Contender
    """
    return (*ours(), *OTHERS)


def _import(module: str) -> Any:
    """Import a library; what it says of its own age is not our reader's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(module)


def _copy(layer: MultiHeadAttention, variant: int = 7) -> MultiHeadAttention:
    """The same weights in a layer of its own."""
    copy = MultiHeadAttention(layer.d_model, layer.num_heads, variant=variant).to(layer.w_q.weight)
    copy.load_state_dict(layer.state_dict())
    return copy.eval()


def _load(linear: nn.Linear, *ours: nn.Linear, rows: slice = slice(None)) -> None:
    """Give a linear layer the weights of one of ours, of several packed, or of some of its rows."""
    with torch.no_grad():
        linear.weight.copy_(torch.cat([one.weight for one in ours])[rows])
        linear.bias = nn.Parameter(torch.cat([one.bias for one in ours])[rows].clone())


def _mask_of_transformers(problem: Problem, implementation: str) -> Tensor | None:
    """What a model hands to its layers: nothing if the kernel is causal, for sdpa booleans, else numbers to add."""
    w = problem.workload
    if problem.mask is None or (w.mask == "causal" and implementation == "sdpa"):
        return None
    mask = problem.mask if problem.mask.ndim == 4 else problem.mask[None, None]
    mask = mask.expand(w.batch, 1, w.queries, w.keys)  # as its own models make it
    if implementation == "sdpa":
        return mask
    return torch.zeros_like(mask, dtype=problem.x.dtype).masked_fill(~mask, torch.finfo(problem.x.dtype).min)
