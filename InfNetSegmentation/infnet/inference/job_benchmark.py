"""Where the time and the memory of a whole job go: `infnet segment`, from the start of its process to its end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infnet.errors import InfNetError
from infnet.inference.case import Settings
from infnet.reporting import Progress, silent

_AROUND = ("start", "models", "end")


@dataclass(frozen=True)
class Job:
    """A job's seconds of the clock by stage, of the processor's cores in all, and its peak memory.

    The last two are None where the system does not tell (Windows).

    The stage "models" is what the job waits for them, since they are loaded while the lungs are found; "network" what
    it waits for the networks, which get their slices from a second thread; "start" what no other stage tells: Python's
    start and the loading of its packages; "end" what the process takes after its result.
    """

    seconds: Mapping[str, float]
    processor_seconds: float | None
    peak_memory_mb: float | None

    @property
    def share_outside_network(self) -> float:
        """Of the whole time."""
        return 1 - self.seconds["network"] / sum(self.seconds.values())

    @property
    def share_outside_network_once_loaded(self) -> float:
        """The same without start, end and models, as for the further cases of a cohort."""
        return 1 - self.seconds["network"] / sum(v for stage, v in self.seconds.items() if stage not in _AROUND)


def measure_job(ct: Path, settings: Settings, study: Path, progress: Progress = silent) -> Job:
    """Segment a CT into the folder ``study``, in a process of its own. Raises `InfNetError` with what it says."""
    command = [sys.executable, "-m", "infnet", "segment", str(ct), "--study", str(study), "--progress", "json"]
    options = {
        "--model": settings.model,
        "--labels-model": settings.labels_model,
        "--threshold": settings.threshold,
        "--minimum-lesion-ml": settings.minimum_lesion_ml,
        "--smoothing-mm": settings.smoothing_mm,
        "--mirror-images": settings.mirror_images,
        "--device": settings.device,
        "--lobe-source": settings.lobe_source,
        "--precision": settings.precision,
        "--runtime": settings.runtime,
    }
    for name, value in options.items():
        command += [] if value is None else [name, str(value)]
    command += ["--trust-hu"] if settings.trust_hu else []
    start, before = time.perf_counter(), os.times()
    told: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            told, told_at = json.loads(line), time.perf_counter()
            if told["event"] == "progress":
                progress(told["stage"], told["done"], told["total"])
    ended, after = time.perf_counter(), os.times()
    if told.get("event") != "result":
        raise InfNetError(f"{ct}: {told.get('message', 'infnet segment ended without a word')}")
    processor_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Job(
        {"start": told_at - start - sum(told["seconds"].values()), **told["seconds"], "end": ended - told_at},
        None if os.name == "nt" else processor_seconds,
        told["peak_memory_mb"],
    )
