"""Networks that train in no time; and the command line with one more: python tinynetwork.py train …"""

import sys

from infnet.cli import main
from infnet.networks import NETWORKS, InfNetMaps, NetworkSpec
from torch import nn
from torch.nn import functional


class TinyNetwork(nn.Module):
    """Two maps, an edge and, if wanted, the heads, from two convolutions. Without batch normalisation, by default."""

    def __init__(self, batch_norm=False, dropout=0.0, consolidation_head=False, gate_head=False):
        super().__init__()
        norm = nn.BatchNorm2d(8) if batch_norm else nn.GroupNorm(2, 8)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), nn.Dropout2d(dropout))
        self.coarse, self.fine, self.edge = (nn.Conv2d(8, 1, 3, padding=1) for _ in range(3))
        self.consolidation_head = nn.Conv2d(8, 1, 3, padding=1) if consolidation_head else None
        self.gate_head = nn.Linear(8, 1) if gate_head else None

    def forward(self, x):
        f = self.body(x)
        maps = InfNetMaps(
            Sg=self.coarse(f),
            S3=self.fine(f),
            Se=self.edge(f),
            consolidation=self.consolidation_head(f) if self.consolidation_head else None,
        ).each(lambda s: functional.interpolate(s, x.shape[-2:], mode="bilinear"))
        return maps._replace(gate=self.gate_head(f.amax((-2, -1)))[:, 0] if self.gate_head else None)


TINY = NetworkSpec("tiny", "infection", TinyNetwork, guided=False, summary="", reference="")

# Options that make every network small enough for a test.
SMALL_OPTIONS = {
    "inf-net": {"encoder": "efficientnet_lite0"},
    "unet": {"base_channels": 4},
    "unet++": {"base_channels": 4},
    "attention-unet": {"base_channels": 4},
    "gated-unet": {"base_channels": 4},
    "dense-unet": {"encoder": "densenet121"},
    "deeplabv3+-s8": {"encoder": "resnet18"},
    "deeplabv3+-s16": {"encoder": "resnet18"},
    "fcn8s": {"hidden": 8},
    "infection-guided-fcn8s": {"hidden": 8},
    "multi-class-unet": {"base_channels": 4},
    "infection-guided-unet": {"base_channels": 4},
}

if __name__ == "__main__":
    NETWORKS["tiny"] = TINY
    sys.exit(main(sys.argv[1:]))
