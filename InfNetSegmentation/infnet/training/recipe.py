"""What a training run is made of."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from infnet.errors import InputError

Task = Literal["infection", "findings"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training's outcome, besides the data.

    AdamW under a one-cycle schedule. ``size`` is the side of the square that slices are resized to; every batch
    is seen at one of ``size``'s multi-scale ratios (the paper's {0.75, 1, 1.25}, rounded to 32 pixels).
    """

    task: Task = "infection"
    encoder: str = "efficientnet_lite0"  # of Inf-Net; the multi-class U-Net has none
    encoder_weights: Literal["imagenet", "none"] = "imagenet"
    base_channels: int = 16  # of the multi-class U-Net
    epochs: int = 50
    batch_size: int = 5
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    size: int = 352
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for values that no training can have."""
        from infnet.networks.encoders import ENCODERS

        for problem, wrong in {
            f"encoder {self.encoder}: there are {', '.join(ENCODERS)}": self.encoder not in ENCODERS,
            f"{self.epochs} epochs: one or more": self.epochs < 1,
            f"a batch of {self.batch_size}: two or more, for batch normalisation": self.batch_size < 2,
            f"learning rate {self.learning_rate}: more than 0": not self.learning_rate > 0,
            f"size {self.size}: 64 pixels or more": self.size < 64,
            f"{self.base_channels} base channels: one or more": self.base_channels < 1,
        }.items():
            if wrong:
                raise InputError(f"{problem} can be used.")

    def sizes(self) -> tuple[int, ...]:
        """The side lengths of the multi-scale training, multiples of 32."""
        return tuple(round(self.size * scale / 32) * 32 for scale in self.scales)

    def network(self) -> dict[str, Any]:
        """Name and options of the network, as a model card and `infnet.networks.build_network` have them."""
        if self.task == "infection":
            return {"name": "inf-net", "options": {"encoder": self.encoder}}
        return {"name": "infection-guided-unet", "options": {"base_channels": self.base_channels}}

    def as_dict(self) -> dict[str, Any]:
        """What concerns the task, as plain JSON values."""
        other_task = {"infection": {"base_channels"}, "findings": {"encoder", "encoder_weights"}}[self.task]
        values = {**asdict(self), "scales": list(self.scales)}
        return {key: value for key, value in values.items() if key not in other_task}
