"""What a training run is made of, and the presets."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from typing import Any, Literal

from infnet.errors import InputError

Task = Literal["infection", "findings"]
CHOICES: Mapping[str, tuple[str, ...]] = {
    "encoder_weights": ("imagenet", "none"),
    "loss": ("modern", "paper", "paper-released-code"),
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("one-cycle", "constant", "paper-released-code"),
    "multi_scale": ("random", "all"),
}
_LARGEST_SEED = 2**32 - 1  # of NumPy's global generator, which Lightning seeds too


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training's outcome, besides the data and what it starts from.

    network, network_options - of `infnet.networks.NETWORKS`; they say whether infection or findings are learnt
    encoder_weights - what an encoder of `infnet.networks.encoders` starts from, Inf-Net's or FCN8s'; the other networks
        start from random weights
    loss - see `infnet.training.losses`
    schedule - "one-cycle": up to the learning rate within 15 % of the steps, then down to nothing, while Adam's β1 goes
        from 0.95 to 0.85 and back; "constant"; "paper-released-code": from epoch 50 on, every epoch divides what is
        left of the learning rate by ten
    gradient_clip - every element of the gradient is kept within ± this value; 0: as it is
    ema_decay - the result is the moving average of the weights with this decay a step; 0: the last weights
    soft_share - slices with a soft truth in an epoch, drawn anew every time, as a share of the labelled ones with
        infection; None: all of them
    healthy_share - healthy slices in an epoch, drawn anew every time, as a share of all others
    synthetic_lesions - share of the healthy slices that lesions are painted into
    size - side of the square that slices are resized to, in pixels
    scales, multi_scale - sizes, as multiples of ``size`` rounded to 32 pixels, that a batch is seen at: at "random"
        one of them, or at "all", a step each
    """

    network: str = "inf-net"
    network_options: Mapping[str, Any] = field(default_factory=lambda: {"encoder": "efficientnet_lite0"})
    encoder_weights: str = "imagenet"
    loss: str = "modern"
    optimizer: str = "adamw"
    momentum: float = 0.0  # of SGD
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: str = "one-cycle"
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    epochs: int = 50
    batch_size: int = 5
    augmentation: bool = True
    soft_share: float | None = None
    healthy_share: float = 0.4
    synthetic_lesions: float = 0.5
    size: int = 352
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    multi_scale: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for values that no training can have."""
        from infnet.networks import NETWORKS
        from infnet.networks.encoders import ENCODERS

        if self.network not in NETWORKS:
            raise InputError(f"network {self.network}: there are {', '.join(NETWORKS)}.")
        encoder = self.network_options.get("encoder", ENCODERS[0])
        if self.network == "inf-net" and encoder not in ENCODERS:
            raise InputError(f"encoder {encoder}: there are {', '.join(ENCODERS)}.")
        signature = inspect.signature(NETWORKS[self.network].build)
        try:
            signature.bind(**self.network_options)
        except TypeError as error:
            options = ", ".join(signature.parameters)
            raise InputError(f"network {self.network}: {error}; its options are {options}.") from error
        for name, value in self.network_options.items():
            wanted = type(signature.parameters[name].default)
            if type(value) is not wanted:  # "no" would count as true
                examples = {bool: "true or false", int: "a whole number", str: "a name"}
                raise InputError(f"network {self.network}: {name} {value!r}: {examples[wanted]} is wanted.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name)}: there are {', '.join(choices)}.")
        for problem, wrong in {
            f"{self.epochs} epochs: one or more": self.epochs < 1,
            f"a batch of {self.batch_size}: two or more, for batch normalisation": self.batch_size < 2,
            f"learning rate {self.learning_rate}: more than 0": not 0 < self.learning_rate < inf,
            f"weight decay {self.weight_decay}: 0 or more": not 0 <= self.weight_decay < inf,
            f"momentum {self.momentum}: from 0 to less than 1": not 0 <= self.momentum < 1,
            f"gradient clip {self.gradient_clip}: 0 or more": not 0 <= self.gradient_clip < inf,
            f"EMA decay {self.ema_decay}: from 0 to less than 1": not 0 <= self.ema_decay < 1,
            f"soft share {self.soft_share}: 0 or more": self.soft_share is not None and not 0 <= self.soft_share < inf,
            f"healthy share {self.healthy_share}: 0 or more": not 0 <= self.healthy_share < inf,
            f"synthetic lesions {self.synthetic_lesions}: from 0 to 1": not 0 <= self.synthetic_lesions <= 1,
            f"size {self.size}: 64 pixels or more": self.size < 64,
            f"scales {self.scales}: one or more, each of 32 pixels or more": not (
                all(map(isfinite, self.scales)) and min(self.sizes(), default=0) >= 32
            ),
            f"seed {self.seed}: 0 to {_LARGEST_SEED}": not 0 <= self.seed <= _LARGEST_SEED,
        }.items():
            if wrong:
                raise InputError(f"{problem} can be used.")

    @property
    def task(self) -> Task:
        """What the network finds."""
        from infnet.networks import NETWORKS

        return NETWORKS[self.network].task

    def sizes(self) -> tuple[int, ...]:
        """The side lengths of the multi-scale training, multiples of 32."""
        return tuple(round(self.size * scale / 32) * 32 for scale in self.scales)

    def size_at(self, step: int) -> int:
        """The side length that a step of the training sees its batch at, a function of the seed and the step alone."""
        import numpy as np  # the help text needs the rest of this module, and should be there at once

        sizes = self.sizes()
        if self.multi_scale == "all":
            return sizes[step % len(sizes)]
        return int(np.random.default_rng([self.seed, step]).choice(sizes))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "network_options": dict(self.network_options), "scales": list(self.scales)}


PRESETS: Mapping[str, Mapping[Task, Mapping[str, Any]]] = {
    # Ours; for infection, the defaults of `Recipe`.
    "modern": {
        "infection": {},
        "findings": {
            "network": "infection-guided-unet",
            "network_options": {"base_channels": 16},
            "epochs": 30,
        },
    },
    # Infection: what the paper says of its implementation; element-wise clipping and a step at each of the three
    # scales are the released code's.
    # Findings: the released code's multi-class U-Net; the paper tells the schedule of its FCN8s alone.
    "paper": {
        "infection": {
            "network_options": {"encoder": "res2net50"},
            "loss": "paper",
            "optimizer": "adam",
            "learning_rate": 1e-4,
            "weight_decay": 0.0,
            "schedule": "constant",
            "gradient_clip": 0.5,
            "epochs": 100,
            "batch_size": 24,
            "augmentation": False,
            "synthetic_lesions": 0.0,
            "multi_scale": "all",
        },
        "findings": {
            "network": "infection-guided-unet",
            "network_options": {"base_channels": 64},
            "loss": "paper",
            "optimizer": "sgd",
            "momentum": 0.7,
            "learning_rate": 1e-2,
            "weight_decay": 0.0,
            "schedule": "constant",
            "epochs": 200,
            "batch_size": 16,
            "augmentation": False,
            "synthetic_lesions": 0.0,
            "scales": (1.0,),
        },
    },
}


def preset(name: str, task: Task = "infection", **changes: Any) -> Recipe:
    """The recipe of a preset, with ``changes``. A network other than the preset's brings its own default options.

    Raises InputError for values that no training can have.
    """
    values = dict(PRESETS[name][task])
    presets_own = values.get("network", Recipe.network)
    if changes.get("network", presets_own) != presets_own:
        values["network_options"] = {}
    return Recipe(**{**values, **changes})
