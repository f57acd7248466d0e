"""Which device a run uses."""

import torch

from infnet.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps"), or for "auto" the fastest there is.

    Raises DeviceError for one that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
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
    return device


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is faster than float32 on ``device``."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that "auto", "bf16", "16" and "32" compute convolutions in on ``device``; None is float32 throughout.

    "auto" is bfloat16 where that is faster. Raises DeviceError for "16" elsewhere than on CUDA.
    """
    if precision == "16" and device.type != "cuda":
        raise DeviceError(f"Precision 16 is for CUDA, not for '{device}'; use --precision auto, 32 or bf16.")
    if precision == "auto":
        precision = "bf16" if supports_bf16(device) else "32"
    return {"32": None, "bf16": torch.bfloat16, "16": torch.float16}[precision]
