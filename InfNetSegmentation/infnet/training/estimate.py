"""What a run will take on this machine, from a few of its real training steps."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import replace as changed
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infnet.data.labelled_slices import LabelledSlice, Slice
from infnet.devices import choose_device
from infnet.errors import CancelledError
from infnet.reporting import Progress, silent
from infnet.training.fit import batches_of, fit
from infnet.training.held_out import predict
from infnet.training.model import make_model
from infnet.training.modules import MODULES
from infnet.training.pseudo_labels import write_pseudo_label
from infnet.training.recipe import Recipe
from infnet.training.semi_supervised import SemiSupervision
from infnet.weights.store import Model, save_model

_FEWEST_STEPS, _MOST_STEPS = 3, 12  # that are timed, after a first one, which is slower than all others
_ENOUGH_SECONDS = 15.0
_TIMED_PREDICTIONS = 3
_CHECKPOINTS = 3  # two are kept while the next one is written


@dataclass(frozen=True)
class Training:
    """One of the trainings that a run is made of; ``stage`` is what its progress is called."""

    stage: str
    slices: Sequence[LabelledSlice]
    recipe: Recipe

    def pixels(self) -> float:
        """The pixels that are seen in it, each as often as it is seen: what its time grows with."""
        epoch = changed(self.recipe, epochs=1)
        seen = self.recipe.epochs * sum(map(len, batches_of(self.slices, epoch)))
        return seen * float(np.mean(np.square(self.recipe.sizes())))


@dataclass(frozen=True)
class Estimate:
    """Of a run on this machine, as busy as it is now; start-up and the prediction of held-out slices are not in it.

    stages - seconds of each part, by the name of its progress, all rounds together
    disk_bytes - of the run folder, at its largest; free_bytes - what is free there now
    gpu_bytes - the most memory of the GPU that the steps took, or None where there is none
    timed_steps - how many steps all this is drawn from
    """

    stages: Mapping[str, float]
    disk_bytes: int
    free_bytes: int
    gpu_bytes: int | None
    device: str
    timed_steps: int

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "seconds": self.seconds}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_clock(seconds)}" for name, seconds in self.stages.items())
        lines = [
            f"About {_clock(self.seconds)} on {self.device}, judged by {self.timed_steps} steps: {parts}",
            f"Disk: up to {self.disk_bytes / 1e6:.0f} MB; {self.free_bytes / 1e6:.0f} MB are free",
        ]
        if self.gpu_bytes is not None:
            lines.append(f"Memory of the GPU: {self.gpu_bytes / 1e6:.0f} MB in these steps")
        return "\n".join(lines)


def estimate(
    trainings: Sequence[Training],
    output: Path,
    device: str = "auto",
    precision: str = "auto",
    initial: Model | None = None,
    pseudo_labelled: Sequence[Slice] = (),
    progress: Progress = silent,
) -> Estimate:
    """Time some steps of the first of ``trainings``, in a temporary folder, and tell what all of them will take.

    The time of a step is taken to grow with the pixels in its batch. ``pseudo_labelled``: the slices that a network
    labels, each as often as it does. ``output``, the run's folder, need not exist. Raises what `fit` raises.
    """
    recipe, chosen = trainings[0].recipe, choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.reset_peak_memory_stats(chosen)
    with tempfile.TemporaryDirectory(prefix="infnet-estimate-") as temporary:
        folder = Path(temporary)
        watch = _StopWatch(progress)
        enough = changed(recipe, epochs=max(recipe.epochs, _MOST_STEPS + 1))
        try:
            fit(trainings[0].slices, enough, folder, device, watch, initial=initial, precision=precision)
        except CancelledError:
            if not watch.is_done:
                raise
        steps = islice(enumerate(batches_of(trainings[0].slices, enough)), 1, watch.timed + 1)
        a_pixel = watch.seconds / sum(len(batch) * recipe.size_at(step) ** 2 for step, batch in steps)
        checkpoint = sum(path.stat().st_size for path in folder.rglob("*.ckpt"))
        gpu = torch.cuda.max_memory_allocated(chosen) if chosen.type == "cuda" else None
        stages: dict[str, float] = {}
        for training in trainings:
            stages[training.stage] = stages.get(training.stage, 0.0) + a_pixel * training.pixels()
        model = untrained(recipe)
        save_model(folder / "model", model.card, model.network)
        disk = _CHECKPOINTS * checkpoint + len(trainings) * _bytes_in(folder / "model")
        if pseudo_labelled:
            seconds = _label(model, pseudo_labelled[:_TIMED_PREDICTIONS], folder / "labels", chosen)
            share = len(pseudo_labelled) / min(len(pseudo_labelled), _TIMED_PREDICTIONS)
            stages["pseudo-labels"] = seconds * share
            disk += round(_bytes_in(folder / "labels") * share)
    return Estimate(stages, disk, shutil.disk_usage(_existing(output)).free, gpu, str(chosen), watch.timed)


def untrained(recipe: Recipe) -> Model:
    """A model of the recipe's network with random weights."""
    return make_model("untrained", MODULES[recipe.task](recipe, 1).eval())


@dataclass(frozen=True)
class PlannedSemiSupervision(SemiSupervision):
    """Goes the way of a run without training: notes its trainings, and the slices that get pseudo-labels.

    Its ``run_folder`` has to be one that does not exist.
    """

    trainings: list[Training] = field(default_factory=list)
    pseudo_labelled: list[Slice] = field(default_factory=list)

    def ready(self, maps: Path) -> list[LabelledSlice]:
        return _with_some_truth(self.unlabelled)

    def _train(
        self,
        name: str,
        slices: Sequence[LabelledSlice],
        recipe: Recipe,
        initial: Model | None = None,
        stage: str | None = None,
    ) -> Model:
        if not any(training.stage == name for training in self.trainings):  # a finished one is not begun again
            self.trainings.append(Training(stage or name, slices, recipe))
        return initial or untrained(recipe)

    def _pseudo_label(self, m: Model, slices: Sequence[Slice], name: str) -> None:
        self.pseudo_labelled.extend(slices)

    def _read(self, pseudo_labels: Mapping[str, Sequence[Slice]]) -> list[LabelledSlice]:
        return [s for slices in pseudo_labels.values() for s in _with_some_truth(slices)]


class _StopWatch:
    """Progress of a training that stops it when enough of its steps have been timed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = 0.0
        self.timed = 0
        self.seconds = 0.0
        self.is_done = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._progress("timing", min(done, _MOST_STEPS), _MOST_STEPS)
        if done == 1:
            self._began = time.monotonic()
            return
        self.timed, self.seconds = done - 1, time.monotonic() - self._began
        long = self.timed >= _FEWEST_STEPS and self.seconds >= _ENOUGH_SECONDS
        self.is_done = long or self.timed == _MOST_STEPS
        if self.is_done:
            raise CancelledError("Timed.")


def _label(model: Model, slices: Sequence[Slice], folder: Path, device: torch.device) -> float:
    """Seconds in which slices get pseudo-labels (in ``folder``), as `SemiSupervision` makes them."""
    model.network.to(device)
    began = time.monotonic()
    for s in slices:
        write_pseudo_label(folder, s, predict(model, s, device))
    return time.monotonic() - began


def _with_some_truth(slices: Sequence[Slice]) -> list[LabelledSlice]:
    return [LabelledSlice(s.stem, s.image, s.image, soft=s.image, soft_consolidation=s.image) for s in slices]


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _clock(seconds: float) -> str:
    """As hours:minutes:seconds, with days where there are some."""
    return str(timedelta(seconds=round(seconds)))
