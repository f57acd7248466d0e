"""Which device a run uses, and in which precision. PyTorch is imported where it is needed to tell."""

import ctypes
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from infnet.errors import DeviceError

if TYPE_CHECKING:  # takes more than a second
    import torch


def choose_device(name: str = "auto") -> "torch.device":
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps"), or for "auto" the fastest there is.

    Raises DeviceError for one that is not there or cannot compute.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available() and not _refusal(torch.device("cuda:0")):
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"No device is called '{name}'; use auto, cpu, cuda, cuda:N or mps.") from error
    available = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type):
        raise DeviceError(f"The device '{name}' is not available here; use --device auto or cpu.")
    if refusal := _refusal(device):
        raise DeviceError(f"The device '{name}' cannot compute ({refusal}); use --device auto or cpu.")
    return device


def device_name(name: str = "auto") -> str:
    """What `choose_device` chooses, as text; told without PyTorch where it can only be the CPU."""
    if name == "cpu" or (name == "auto" and not _may_have_accelerator()):
        return "cpu"
    return str(choose_device(name))


def supports_bf16(device: str) -> bool:
    """Whether bfloat16 arithmetic is faster than float32 on ``device``."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = cpu_capabilities() if device == "cpu" else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def cpu_capabilities() -> Mapping[str, Any]:
    """What the CPU computes natively, as PyTorch tells it; nothing from the older versions that cannot."""
    import torch

    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def choose_precision(name: str, device: str) -> str:
    """ "32", "bf16" or "16" as it is asked for, and for "auto" "bf16" where that is faster on ``device``.

    Raises DeviceError for "16" elsewhere than on CUDA.
    """
    if name == "auto":
        return "bf16" if supports_bf16(device) else "32"
    if name == "16" and not device.startswith("cuda"):
        raise DeviceError(f"Precision 16 is for CUDA, not for '{device}'; use --precision auto, 32 or bf16.")
    return name


def _refusal(device: "torch.device") -> str:
    """What PyTorch says to a sum on a device: a card may be too old for its build, or another program's alone."""
    import torch

    if "LOCAL_RANK" in os.environ:  # of several processes that train together, each is to touch its own card alone
        return ""
    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:
        return str(error).partition("\n")[0].rstrip(".")
    return ""


def _may_have_accelerator() -> bool:
    """False where PyTorch would find neither CUDA nor MPS: there is no driver that it could load."""
    if sys.platform == "darwin" or "rocm" in version("torch"):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True
