"""What a run needed and ran on."""

import os
import platform
import sys
from pathlib import Path
from typing import Any


def peak_memory_mb() -> float | None:
    """The most memory this process has had so far; None where the system does not tell (Windows)."""
    try:
        # Linux's getrusage counts the process that started this one, too.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return round(int(status.partition("VmHWM:")[2].split()[0]) / (1 << 10), 1)
    except (OSError, IndexError):
        pass
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def machine_facts() -> dict[str, Any]:
    """What speed depends on, as plain JSON: processor, what it computes natively, threads, load, versions, GPU."""
    import torch

    from infnet.devices import cpu_capabilities

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "capabilities": sorted(name for name, has in cpu_capabilities().items() if has is True),
        "threads": torch.get_num_threads(),
        # Of the minute before: above 0, other work took a part of the processor.
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": _version("openvino"),
    }


def _processor() -> str:
    """The processor's name as Linux tells it, elsewhere as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and most commands need no facts

    try:
        return version(package)
    except PackageNotFoundError:
        return None
