"""The Lightning modules: one for the infection map, one for the findings."""

from typing import Any

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from infnet.data.slice_dataset import Sample
from infnet.networks import build_network
from infnet.networks.normalisation import normalise
from infnet.training.losses import inf_net_loss, multi_class_loss
from infnet.training.recipe import Recipe


class SliceModule(lightning.LightningModule):
    """Multi-scale training of one network on slices; subclasses say how the loss is had."""

    def __init__(self, recipe: Recipe, total_steps: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.total_steps = total_steps
        description = recipe.network()
        self.network: nn.Module = build_network(description["name"], description["options"])
        self.initial_weights = "random"
        """Where the training started from; kept in its checkpoints."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["initial_weights"] = self.initial_weights

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.initial_weights = checkpoint["initial_weights"]

    def loss(self, image: torch.Tensor, labels: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """The loss of one batch: image and prior (N, 1, S, S) in [0, 1], labels (N, S, S)."""
        raise NotImplementedError

    def training_step(self, batch: Sample, batch_index: int) -> torch.Tensor:
        # The scale depends on the step alone, so that a resumed run chooses as an undisturbed one.
        size = np.random.default_rng([self.recipe.seed, self.global_step]).choice(self.recipe.sizes())
        resized = {
            "image": functional.interpolate(batch.image, (size, size), mode="bilinear", antialias=True),
            "labels": functional.interpolate(batch.labels[:, None].float(), (size, size), mode="nearest-exact")[
                :, 0
            ].long(),
            "prior": functional.interpolate(batch.prior, (size, size), mode="bilinear", antialias=True),
        }
        loss = self.loss(**resized)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.recipe.learning_rate, total_steps=self.total_steps, pct_start=0.15
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class InfectionModule(SliceModule):
    """Inf-Net: deep supervision of the four maps and the edge."""

    def loss(self, image: torch.Tensor, labels: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        maps = self.network(normalise(image).contiguous(memory_format=torch.channels_last))
        mask = (labels > 0).float()[:, None]
        return inf_net_loss(type(maps)(*(s.float() for s in maps)), mask)


class FindingsModule(SliceModule):
    """The infection-guided multi-class network: GGO and consolidation from the slice and the infection map."""

    def loss(self, image: torch.Tensor, labels: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        inputs = (normalise(x).contiguous(memory_format=torch.channels_last) for x in (image, prior))
        return multi_class_loss(self.network(*inputs).float(), labels)


MODULES: dict[str, type[SliceModule]] = {"infection": InfectionModule, "findings": FindingsModule}
