"""Weights on disk: safetensors files, with what is known about them as JSON in their header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_checkpoint(model: nn.Module, path: Path | str, about: Mapping[str, Any]) -> None:
    """Store weights, and what is to be known about them; what is there is replaced.

    Parameters
    ----------
    model : torch.nn.Module
        A weight that it has under several names is stored once, under the first.
    path : Path or str
        The file.
    about : mapping of str to anything that JSON can hold
        How they were trained, and what was measured.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    save_file(parameters, path, metadata={"about": json.dumps(about)})


def load_checkpoint(model: nn.Module, path: Path | str, *, made_by: str) -> None:
    """Put stored weights into a model.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    path : Path or str
        The file.
    made_by : str
        What makes such a file, for the error where there is none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or cut off, or does not fit the model; the error names the tensor.
    """
    tensors, _ = _read(Path(path), made_by)
    check_fit(model, tensors, Path(path))
    model.load_state_dict(tensors, strict=False)  # strict would ask for a shared weight under all of its names


def about_checkpoint(path: Path | str, *, made_by: str) -> dict[str, Any]:
    """Tell what is known about stored weights.

    Parameters
    ----------
    path, made_by
        As in `load_checkpoint`.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `load_checkpoint`; a file without such knowledge is an error too.
    """
    metadata = _read(Path(path), made_by)[1]
    if "about" not in metadata:
        raise ValueError(f"{Path(path).name} does not say how it was trained: `{made_by}` did not write it.")
    about: dict[str, Any] = json.loads(metadata["about"])
    return about


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise a ValueError that names the first tensor that is missing, of another shape, or too many.

    Parameters
    ----------
    model : torch.nn.Module
        What the tensors are for.
    tensors : mapping of str to Tensor
        By their names.
    path : Path
        Where they come from, for the error.
    """
    expected = dict(model.named_parameters())
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{path.name} does not fit the model: there is no tensor {name!r}.")
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{path.name} does not fit the model: {name!r} must have shape {tuple(tensor.shape)}; "
                f"got {tuple(tensors[name].shape)}."
            )
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise ValueError(f"{path.name} does not fit the model, which has no tensor {unknown[0]!r}.")


def _read(path: Path, made_by: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file; if it is cut off, say which tensor is not whole."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; `{made_by}` trains the model and writes one.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged: {_damage(path) or error}.") from None


def _damage(path: Path) -> str:
    """Find the first tensor that lies beyond the end of the file: 8 bytes of length, a JSON header, the numbers."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError):
        return "its header, which lists the tensors, is not whole"
    there = len(content) - 8 - length
    cut = [name for name, end in sorted(ends.items(), key=lambda item: item[1]) if end > there]
    return f"it ends within the tensor {cut[0]!r}" if cut else ""
