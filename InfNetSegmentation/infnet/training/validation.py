"""Live validation: the Dice of held-out slices, measured now and then while a network is trained."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, WeightAveraging

from infnet.data.files import written_whole
from infnet.data.labelled_slices import LabelledSlice
from infnet.errors import InputError
from infnet.evaluation.statistics import summarise
from infnet.training.held_out import dice_of, predict
from infnet.training.model import make_model
from infnet.training.modules import SliceModule

_LOOKS = 10  # at most, in a training


class Validation(Callback):
    """Writes the mean Dice of ``slices`` into ``path`` (CSV), a row for each of at most ten looks.

    It looks after every so many epochs, and after the last. When it looks is a function of the step alone, and nothing
    is drawn at random or changed by it: neither the weights nor a run that goes on after a stop depend on it. It looks
    at the moving average of the weights, where that is to be the result, and the last look is at what the training ends
    with. Raises InputError where ``path`` is damaged: before the training, not at a look.
    """

    def __init__(self, slices: Sequence[LabelledSlice], path: Path) -> None:
        self._slices = slices
        self._path = path
        self._rows = _read(path) if os.path.lexists(path) else []

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        assert isinstance(module, SliceModule)
        epochs, step = module.recipe.epochs, trainer.global_step
        every = -(-epochs // _LOOKS) * module.steps_per_epoch
        is_last = step == epochs * module.steps_per_epoch
        if not trainer.is_global_zero or (step % every and not is_last):
            return
        averages = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
        for average in averages:  # exchange the weights with their average
            average.on_validation_epoch_start(trainer, module)
        module.eval()
        model = make_model("validation", module)
        found = [dice_of(s, predict(model, s, module.device), module.recipe.task) for s in self._slices]
        module.train()
        for average in averages:
            average.on_validation_epoch_end(trainer, module)
        means = summarise(found)["mean"]
        self._write(step, {"step": step, "epoch": step // module.steps_per_epoch, **means})

    def _write(self, step: int, row: Mapping[str, float | None]) -> None:
        # A run that goes on from an older checkpoint looks again.
        self._rows = [*(old for old in self._rows if int(old["step"]) < step), row]
        with written_whole(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)


def _read(path: Path) -> list[Mapping[str, Any]]:
    """What a training has looked at before it was stopped."""
    try:
        if not path.is_file():  # for a pipe one would wait
            raise ValueError("not a file")
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
        for row in rows:
            int(row["step"])
            for value in row.values():
                float("0" if value == "" else value)  # empty where no slice has the finding
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); remove it, and the training goes on.") from error
    return list(rows)
