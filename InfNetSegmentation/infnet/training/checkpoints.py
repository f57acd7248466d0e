"""The checkpoints of a run: written whole, two kept, the newest readable one found again."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from infnet.data.files import written_whole
from infnet.errors import CancelledError, InputError
from infnet.reporting import Progress

_KEPT = 2
_PARTS = {"pytorch-lightning_version", "global_step", "state_dict", "initial_weights", "seconds"}  # of every checkpoint


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are on the disk before they get their name, so that a kill leaves none cut short."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], *_: Any, **__: Any) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class Checkpoints(Callback):
    """Tells ``progress`` of every step and writes ``folder/step-N.ckpt`` after step N.

    Every ``seconds``, after the last step, and where ``progress`` raises `CancelledError`, which then is raised in
    every process.
    """

    def __init__(self, folder: Path, seconds: float, progress: Progress, stage: str) -> None:
        self._folder = folder
        self._seconds = seconds
        self._progress = progress
        self._stage = stage
        self._written = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        # The first process decides for all: their clocks differ, and writing takes them together.
        decision = self._decide(trainer) if trainer.is_global_zero else (False, None)
        is_due, stop = trainer.strategy.broadcast(decision)
        if is_due:
            trainer.save_checkpoint(self._folder / f"step-{trainer.global_step:08}.ckpt")
            self._written = time.monotonic()
            if trainer.is_global_zero:
                left_by_a_kill = self._folder.glob(".*.ckpt")
                for old in (*_newest_first(self._folder)[_KEPT:], *left_by_a_kill):
                    with suppress(OSError):  # Windows removes no file that a program has open; the next time then
                        old.unlink()
        if stop is not None:
            raise CancelledError(stop)

    def _decide(self, trainer: lightning.Trainer) -> tuple[bool, str | None]:
        steps = int(trainer.estimated_stepping_batches)
        try:
            self._progress(self._stage, trainer.global_step, steps)
        except CancelledError as error:
            return True, str(error)
        return trainer.global_step == steps or time.monotonic() - self._written >= self._seconds, None

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that can be read, and what is in it; None where there is none.

        What is not of a training counts as damaged. Raises InputError where none of those that there are can be read.
        """
        paths = _newest_first(self._folder)
        for path in paths:
            if not path.is_file():  # for a pipe one would wait
                continue
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                if isinstance(state, dict) and state.keys() >= _PARTS:
                    return path, state
            except Exception:  # damaged files raise errors of many kinds, that there is no memory among them
                continue
        if paths:
            names = ", ".join(path.name for path in paths)
            raise InputError(
                f"{self._folder}: none of its checkpoints can be read ({names}); remove them to begin again, or choose "
                "another run folder."
            )
        return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)
