"""On which machine a run was made: what a reader must know before they read its figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch


def describe_machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Describe this machine, without its name.

    Parameters
    ----------
    device : torch.device, default "cpu"
        Where the run computes.

    Returns
    -------
    machine : dict
        Processor, cores this process may use, threads of PyTorch, memory in GiB, system, versions, and the GPU if
        there is one in the run.
    """
    device = torch.device(device)
    machine: dict[str, Any] = {
        "device": device.type,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return machine


def machine_in_words(machine: dict[str, Any]) -> str:
    """Say it in a line, for captions.

    Parameters
    ----------
    machine : dict
        From `describe_machine`.

    Returns
    -------
    words : str
    """
    cores = f"{machine['cores']} cores of {machine['processor']}"
    where = f"{machine['gpu']} (CUDA {machine['cuda']}), {cores}" if "gpu" in machine else cores
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    return f"{where}{memory}, {machine['system']}, Python {machine['python']}, torch {machine['torch']}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
