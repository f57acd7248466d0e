"""One training run: from labelled slices and a recipe to a trained network."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from infnet.data.labelled_slices import LabelledSlice
from infnet.data.slice_dataset import SeededSampler, SliceDataset
from infnet.devices import choose_device, supports_bf16
from infnet.errors import CancelledError, InputError
from infnet.networks import InfNet
from infnet.networks.pretrained import load_imagenet_weights
from infnet.reporting import Progress, silent
from infnet.training.modules import MODULES, SliceModule
from infnet.training.recipe import Recipe
from infnet.training.run_folder import claim


class _TellProgress(Callback):
    def __init__(self, progress: Progress, stage: str) -> None:
        self._progress = progress
        self._stage = stage

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        self._progress(self._stage, trainer.global_step, int(trainer.estimated_stepping_batches))


def fit(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    run_folder: Path,
    device: str = "auto",
    progress: Progress = silent,
    stage: str = "training",
) -> SliceModule:
    """Train a network on ``slices``; returns its module in evaluation mode, on the CPU.

    ``run_folder`` gets ``checkpoints/last.ckpt`` every fifth epoch and the losses as CSV; where a checkpoint is
    there already, the run goes on from it, with the same draws as if it had never stopped and its losses in a CSV
    of their own. Mixed precision is used where the device has bfloat16. Raises InputError for fewer slices than a
    batch of two, for findings where no slice has them, and for the folder of another training.
    """
    batch_size = min(recipe.batch_size, len(slices))
    if batch_size < 2:
        raise InputError(f"{len(slices)} labelled slice(s): training needs two or more.")
    if recipe.task == "findings" and not any((s.labels == 2).any() for s in slices):
        raise InputError("No slice has label 2, consolidation: its truth must tell the findings apart.")
    chosen = choose_device(device)
    claim(run_folder, recipe, slices)
    lightning.seed_everything(recipe.seed, verbose=False)
    dataset = SliceDataset(slices, max(recipe.sizes()))
    loader = DataLoader(dataset, batch_size, sampler=SeededSampler(len(slices), recipe.seed), drop_last=True)
    module = MODULES[recipe.task](recipe, total_steps=recipe.epochs * len(loader))
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    resume = checkpoint.is_file()
    if not resume and recipe.encoder_weights == "imagenet" and isinstance(module.network, InfNet):
        module.initial_weights = load_imagenet_weights(module.network.encoder)
    module.to(memory_format=torch.channels_last)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings(), _told_as_cancelled():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            accelerator={"cuda": "gpu"}.get(chosen.type, chosen.type),
            devices=[chosen.index or 0] if chosen.type == "cuda" else 1,
            precision="bf16-mixed" if supports_bf16(chosen) else "32-true",
            logger=CSVLogger(run_folder, name="log"),
            callbacks=[
                ModelCheckpoint(
                    run_folder / "checkpoints",
                    filename="last",
                    every_n_epochs=5,
                    save_top_k=1,
                    enable_version_counter=False,
                ),
                _TellProgress(progress, stage),
            ],
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        trainer.fit(module, loader, ckpt_path=checkpoint if resume else None, weights_only=True)
    return module.cpu().eval()


@contextmanager
def _told_as_cancelled() -> Iterator[None]:
    """Lightning answers Ctrl+C with an exit of its own."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise CancelledError("Interrupted. Run again to go on from the last checkpoint.") from None
        raise
