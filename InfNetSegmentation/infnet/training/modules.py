"""The Lightning modules: one for the infection map, one for the findings."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from infnet.data.slice_dataset import Sample
from infnet.errors import DivergedError, InputError
from infnet.networks import build_network
from infnet.networks.normalisation import normalise
from infnet.training.losses import consolidation_loss, gate_loss, infection_loss, multi_class_loss
from infnet.training.recipe import Recipe

BATCH_RANDOMNESS = 1  # beside the seed and the step, so that the draws of a step's size and of its dropout differ


class SliceModule(lightning.LightningModule):
    """Multi-scale training of one network on slices; subclasses say how the loss is had.

    Raises InputError where the recipe's options are none of the network's.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        try:
            self.network: nn.Module = build_network(recipe.network, recipe.network_options)
        except (TypeError, ValueError) as error:
            raise InputError(f"network {recipe.network}: {error}") from error
        self.initial_weights = "random"
        """Where the training started from; kept in its checkpoints."""
        self.parts = 1
        """How many parts of a batch are looked at one after the other, where memory is short."""
        self.seconds = 0.0
        """How long the training took up to its last checkpoint, which every training ends with; kept there too."""

    def on_train_start(self) -> None:
        self._began = time.monotonic() - self.seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds = time.monotonic() - self._began
        checkpoint |= {"initial_weights": self.initial_weights, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.initial_weights, self.seconds = checkpoint["initial_weights"], checkpoint["seconds"]

    def loss(self, batch: Sample) -> torch.Tensor:
        """The mean over the images of a batch: see `Sample`, each with N in front."""
        raise NotImplementedError

    def on_train_batch_start(self, batch: Sample, batch_index: int) -> None:
        # Dropout, too, depends on the step (and the process) alone, so that a resumed run draws as an undisturbed one.
        sequence = np.random.SeedSequence([self.recipe.seed, self.global_step, self.global_rank, BATCH_RANDOMNESS])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def training_step(self, batch: Sample, batch_index: int) -> torch.Tensor:
        loss = self._loss_in_parts(_resized(batch, self.recipe.size_at(self.global_step)))
        if not torch.isfinite(loss):
            raise DivergedError(
                f"The loss of step {self.global_step + 1} is {loss.item()}: the training has diverged. Begin again in "
                f"another folder, with less than a learning rate of {self.recipe.learning_rate:g}, or --precision 32."
            )
        self.log("loss", loss)
        self.log("epoch", self.global_step / self.steps_per_epoch)
        return loss

    def _loss_in_parts(self, batch: Sample) -> torch.Tensor:
        """The loss of the whole batch; of each part, only the loss is kept, and the rest computed again backwards."""
        if self.parts == 1:
            return self.loss(batch)
        images = len(batch.image)
        loss = torch.zeros((), device=batch.image.device)
        for part in zip(*(t.chunk(self.parts) for t in batch), strict=True):
            mean = checkpoint(
                self.loss,
                Sample(*part),
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _without_statistics(self.network)),
            )
            loss = loss + mean * (len(part[0]) / images)
        return loss

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        if recipe.optimizer == "sgd":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
            )
        else:
            optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](
                self.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
            )
        if recipe.schedule == "constant":
            return optimizer
        if recipe.schedule == "one-cycle":
            schedule: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                recipe.learning_rate,
                total_steps=recipe.epochs * self.steps_per_epoch,
                pct_start=0.15,
                cycle_momentum=recipe.optimizer != "sgd",  # whose momentum is that of the recipe
            )
        else:  # The released code counts epochs from one.
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: 0.1 ** max(0, step // self.steps_per_epoch + 1 - 49)
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class InfectionModule(SliceModule):
    """A network that finds infection: deep supervision of its maps and its edge; the gate and the findings' head."""

    def loss(self, batch: Sample) -> torch.Tensor:
        maps = self.network(_channels_last(normalise(batch.image))).each(torch.Tensor.float)
        loss = infection_loss(maps, batch.mask, self.recipe.loss)
        if maps.gate is not None:
            loss = loss + gate_loss(maps.gate, batch.mask)
        if maps.consolidation is not None:
            loss = loss + consolidation_loss(maps.consolidation, batch.mask, batch.consolidation)
        return loss


class FindingsModule(SliceModule):
    """A multi-class network: GGO and consolidation from the slice and the infection map."""

    def loss(self, batch: Sample) -> torch.Tensor:
        logits = self.network(_channels_last(normalise(batch.image)), _channels_last(normalise(batch.prior)))
        return multi_class_loss(logits.float(), batch.labels, self.recipe.loss)


MODULES: dict[str, type[SliceModule]] = {"infection": InfectionModule, "findings": FindingsModule}


@contextmanager
def _without_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisation, which looks at the same part once more, does not count it again."""
    counted = {module: module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    for module in counted:
        module.momentum = 0.0
    try:
        yield  # which ends with an exception as soon as all is there again
    finally:
        for module, momentum in counted.items():
            module.momentum = momentum


def _resized(batch: Sample, size: int) -> Sample:
    def smoothly(x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, (size, size), mode="bilinear", antialias=True)

    labels = functional.interpolate(batch.labels[:, None].float(), (size, size), mode="nearest-exact")[:, 0].long()
    mask = smoothly(batch.mask).clamp(0, 1)
    consolidation = smoothly(batch.consolidation).clamp(0, 1).minimum(mask)  # but for rounding it is at most that
    return Sample(smoothly(batch.image), labels, smoothly(batch.prior), mask, consolidation)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)
